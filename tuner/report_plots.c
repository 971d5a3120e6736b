/* report_plots.c: see report_plots.h. */
#include "tuner/report_plots.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/work.h"

enum { POINTS_MAX = 3000, VALUES_MAX = 32 };
static const double SLOW =
    4; /* times the default: who is slower is drawn at the edge, so that the rest can be told apart */

static void include(report_axis *a, double v) {
    a->low = a->low > 0 ? fmin(a->low, v) : v;
    a->high = fmax(a->high, v);
}

static double shown(double ratio) {
    return fmin(fmax(ratio, 1 / SLOW), SLOW);
}

/* ---- The model ---- */

void report_plot_model(base_buf *out, const report_group *g) {
    report_axis x = {.logarithmic = true, .label = "expected by the model, relative to the default"};
    report_axis y = {.logarithmic = true, .label = "measured, relative to the default"};
    int count = 0;
    for (int i = 0; i < g->timed; i++) {
        const report_candidate *c = &g->candidates[i];
        if (!c->quick || c->quick->predicted <= 0)
            continue;
        include(&x, shown(c->quick->predicted));
        include(&y, shown(tune_paired(&c->quick->samples, &c->quick->base, NULL)));
        count++;
    }
    if (count < 2)
        return;
    include(&x, 1);
    include(&y, 1);
    report_axis_pad(&x, 0.06);
    report_axis_pad(&y, 0.06);
    report_plot p;
    report_plot_open(&p, out, 460, 360, x, y, "First impressions against the model", true);
    report_plot_line(&p, 1 / SLOW, 1 / SLOW, SLOW, SLOW, "guide");
    report_plot_line(&p, x.low, 1, x.high, 1, "default");
    for (int i = 0, drawn = 0; i < g->timed && drawn < POINTS_MAX; i++) {
        const report_candidate *c = &g->candidates[g->timed - 1 - i]; /* the best on top */
        char title[320];
        if (!c->quick || c->quick->predicted <= 0)
            continue;
        double measured = tune_paired(&c->quick->samples, &c->quick->base, NULL);
        snprintf(title, sizeof title, "%s: expected %.3f, measured %.3f", c->tile, c->quick->predicted, measured);
        report_plot_point(&p, shown(c->quick->predicted), shown(measured), c->won ? 5 : 3, c->won ? "best" : "point",
                          title);
        drawn++;
    }
    report_plot_close(&p);
}

/* ---- The roofline ---- */

/* Work of what was timed of a group, and what it took. */
static bool measured_work(const gen_problem *problem, const report_group *g, tune_work *work, double *us) {
    const report_candidate *c = g->winner ? g->winner : g->timed ? g->candidates : NULL;
    if (!c || !c->last || g->limit[0] <= 0 || g->limit[1] <= 0)
        return false;
    const gen_shape timed = {.op = (int)g->op, .batch = c->last->timed_batch, .tokens = c->last->timed_tokens};
    *work = tune_work_of(problem, &timed, g->op == NHA_DECODE ? problem->ring : 0);
    *us = g->winner ? c->us : g->default_us;
    return work->flops > 0 && work->read_bytes + work->update_bytes > 0 && *us > 0;
}

/* Bytes a second that the group's mixture of reading and updating could reach. */
static double memory_limit(const report_group *g, const tune_work *w) {
    double update = g->limit[2] > 0 ? g->limit[2] : g->limit[1];
    return (w->read_bytes + w->update_bytes) / (w->read_bytes / g->limit[1] + w->update_bytes / update);
}

static void mark(report_plot *p, const report_group *g, const tune_work *w, double us, const char *kind,
                 const char *who) {
    double intensity = w->flops / (w->read_bytes + w->update_bytes), rate = w->flops / us * 1e-3;
    char title[320];
    snprintf(title, sizeof title, "%s %lld x %lld, %s: %.1f Gflop/s, %.1f GB/s, %.2f us", gen_op_name(g->op),
             (long long)g->shape.batch, (long long)g->shape.tokens, who, rate,
             (w->read_bytes + w->update_bytes) / us * 1e-3, us);
    report_plot_point(p, intensity, rate, strcmp(kind, "best") == 0 ? 5 : 4, kind, title);
}

/* The shape's name beside its point; where there is no room the point's title has to do. */
static void label_point(report_plot *p, const report_group *g, const tune_work *w, double us) {
    double intensity = w->flops / (w->read_bytes + w->update_bytes), rate = w->flops / us * 1e-3;
    char label[64];
    snprintf(label, sizeof label, "%s %lldx%lld", gen_op_name(g->op), (long long)g->shape.batch,
             (long long)g->shape.tokens);
    if (!report_plot_label(p, intensity, rate, REPORT_CLEAR, label))
        report_plot_label(p, intensity, rate, REPORT_FAR, label);
}

/* Somewhere along a line from (x0, y0) to (x1, y1), both axes being logarithmic, better clear of all lines; where there
 * is no room the table has to do. */
static void label_line(report_plot *p, double x0, double y0, double x1, double y1, int where, const char *label) {
    enum { PLACES = 24 };
    const int tries[] = {where | REPORT_CLEAR, REPORT_CLEAR, 0};
    for (int i = 0; i < 3; i++)
        for (int k = 1; k < PLACES; k++) {
            double x = x0 * pow(x1 / x0, (double)k / PLACES), y = y0 * pow(y1 / y0, (double)k / PLACES);
            if (report_plot_label(p, x, y, tries[i], label))
                return;
        }
}

/* Whether an earlier group has about the same limit of products on the same units: one line for both. */
static bool same_roof(const report_group *groups, int index) {
    for (int i = 0; i < index; i++)
        if (groups[i].limit[0] > 0 && groups[i].tiles == groups[index].tiles &&
            strcmp(groups[i].isa, groups[index].isa) == 0 &&
            fabs(log(groups[i].limit[0] / groups[index].limit[0])) < 0.2)
            return true;
    return false;
}

/* Whether an earlier group of the op has about the same slope: one label for both. */
static bool same_slope(const gen_problem *problem, const report_group *groups, int index, double slope) {
    tune_work w;
    double us;
    for (int i = 0; i < index; i++)
        if (groups[i].op == groups[index].op && measured_work(problem, &groups[i], &w, &us) &&
            fabs(log(memory_limit(&groups[i], &w) / slope)) < 0.1)
            return true;
    return false;
}

/* Names the two lines of a group: that of products from its right end on, that of memory on its upper side if it is the
 * uppermost. */
static void label_roofs(report_plot *p, const gen_problem *problem, const report_group *groups, int index, double slope,
                        double steepest) {
    const report_group *g = &groups[index];
    const double ridge = g->limit[0] / slope, from = fmax(p->x.low, p->y.low / slope), to = fmin(ridge, p->x.high);
    char label[96], units[64];
    report_units(g, units, sizeof units);
    snprintf(label, sizeof label, "%.0f Gflop/s of %s", g->limit[0], units);
    if (!same_roof(groups, index))
        label_line(p, p->x.high, g->limit[0], fmax(ridge, p->x.low), g->limit[0], 0, label);
    snprintf(label, sizeof label, "%.1f GB/s as %s moves them", slope, gen_op_name(g->op));
    if (from < to && !same_slope(problem, groups, index, slope))
        label_line(p, from, slope * from, to, slope * to, slope == steepest ? REPORT_LEFT : 0, label);
}

void report_plot_roofline(base_buf *out, const gen_problem *problem, const report_group *groups, int count) {
    report_axis x = {.logarithmic = true, .label = "flops for each byte that must move"};
    report_axis y = {.logarithmic = true, .label = "Gflop/s"};
    tune_work w;
    double us, steepest = 0;
    int drawn = 0;
    for (int i = 0; i < count; i++) {
        const report_group *g = &groups[i];
        if (!measured_work(problem, g, &w, &us))
            continue;
        double intensity = w.flops / (w.read_bytes + w.update_bytes);
        include(&x, intensity / 4);
        include(&x, fmax(intensity * 4, 2 * g->limit[0] / memory_limit(g, &w)));
        include(&y, w.flops / us * 1e-3 / 3);
        include(&y, fmax(g->limit[0], w.flops / us * 1e-3) * 1.5);
        drawn++;
    }
    if (!drawn)
        return;
    report_plot p;
    report_plot_open(&p, out, 560, 380, x, y, "Roofline, limits measured in the same run", true);
    for (int i = 0; i < count; i++) {
        const report_group *g = &groups[i];
        if (!measured_work(problem, g, &w, &us))
            continue;
        double slope = memory_limit(g, &w), ridge = g->limit[0] / slope;
        steepest = fmax(steepest, slope);
        report_plot_line(&p, x.low, slope * x.low, ridge, g->limit[0], "roof");
        if (!same_roof(groups, i))
            report_plot_line(&p, ridge, g->limit[0], x.high, g->limit[0], "roof");
        if (g->winner)
            mark(&p, g, &w, g->default_us, "default", "the default");
        mark(&p, g, &w, us, "best", g->winner ? g->winner->tile : "the untuned default");
    }
    for (int i = 0; i < count; i++)
        if (measured_work(problem, &groups[i], &w, &us))
            label_point(&p, &groups[i], &w, us);
    for (int i = 0; i < count; i++)
        if (measured_work(problem, &groups[i], &w, &us))
            label_roofs(&p, problem, groups, i, memory_limit(&groups[i], &w), steepest);
    report_plot_close(&p);
}

/* ---- Knobs ---- */

/* A knob that a tile does not name is 0 there. */
static bool knob_value(const report_candidate *c, const char *name, int32_t *value) {
    *value = 0;
    for (int k = 0; c->status && k < c->status->knob_count; k++)
        if (strcmp(c->status->knob[k].name, name) == 0)
            *value = c->status->knob[k].value;
    return c->status != NULL;
}

/* The sorted values of a knob among the timed. */
static int values_of(const report_group *g, const char *name, int32_t *values) {
    int count = 0;
    for (int i = 0; i < g->timed; i++) {
        int32_t v;
        int at = 0;
        if (!knob_value(&g->candidates[i], name, &v))
            continue;
        while (at < count && values[at] < v)
            at++;
        if (count == VALUES_MAX || (at < count && values[at] == v))
            continue;
        memmove(&values[at + 1], &values[at], (size_t)(count - at) * sizeof *values);
        values[at] = v;
        count++;
    }
    return count;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_at(const report_group *g, const char *name, int32_t value, double *scratch) {
    int count = 0;
    for (int i = 0; i < g->timed; i++) {
        int32_t v;
        if (knob_value(&g->candidates[i], name, &v) && v == value)
            scratch[count++] = shown(g->candidates[i].ratio);
    }
    qsort(scratch, (size_t)count, sizeof *scratch, ascending);
    return count ? scratch[count / 2] : 1;
}

static void plot_knob(base_buf *out, const report_group *g, const char *name, const int32_t *values, int count,
                      double *scratch) {
    report_axis x = {.low = -0.6, .high = count - 0.4, .label = "value"};
    report_axis y = {.logarithmic = true, .label = "time / default"};
    for (int i = 0; i < g->timed; i++)
        include(&y, shown(g->candidates[i].ratio));
    include(&y, 1);
    report_axis_pad(&y, 0.05);
    report_plot p;
    report_plot_open(&p, out, 300, 240, x, y, name, false);
    report_plot_line(&p, x.low, 1, x.high, 1, "default");
    for (int i = g->timed - 1, drawn = 0; i >= 0 && drawn < POINTS_MAX; i--, drawn++) {
        const report_candidate *c = &g->candidates[i];
        int32_t v;
        int at = 0;
        if (!knob_value(c, name, &v))
            continue;
        while (at < count - 1 && values[at] < v)
            at++;
        double aside = ((i * 37) % 41 / 40.0 - 0.5) * 0.5; /* so that equals do not hide each other */
        report_plot_point(&p, at + aside, shown(c->ratio), c->won ? 4 : 2, c->won ? "best" : "point", NULL);
    }
    for (int k = 0; k < count; k++) {
        char text[16];
        double middle = median_at(g, name, values[k], scratch);
        report_plot_line(&p, k - 0.35, middle, k + 0.35, middle, "median");
        snprintf(text, sizeof text, "%d", values[k]);
        report_plot_place(&p, k, text);
    }
    report_plot_close(&p);
}

int report_plot_knobs(base_buf *out, const report_group *g) {
    const tune_record *like = NULL;
    int plots = 0;
    for (int i = 0; i < g->timed; i++) {
        const tune_record *status = g->candidates[i].status;
        if (status && (!like || status->knob_count > like->knob_count))
            like = status;
    }
    double *scratch = malloc(((size_t)g->timed + 1) * sizeof *scratch);
    for (int k = 0; scratch && like && k < like->knob_count; k++) {
        int32_t values[VALUES_MAX + 1];
        int count = values_of(g, like->knob[k].name, values);
        if (count < 2)
            continue;
        plot_knob(out, g, like->knob[k].name, values, count, scratch);
        plots++;
    }
    free(scratch);
    return plots;
}
