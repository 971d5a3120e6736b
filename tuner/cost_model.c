/* cost_model.c: see cost_model.h. No factor but the rows is kept: the row of measurement n at the candidate of
 * measurement m is element (n, m) of the factor. */
#include "tuner/cost_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KNOBS_MAX = 24, VALUES_MAX = 64, ROWS_LEAST = 48, ROWS_MOST = 512 };
static const double ADDED = 0.25 * 0.25, TOGETHER = 0.08 * 0.08, TRUST = 0.5 * 0.5, REACH = 0.4, NOISE_LEAST = 0.01;

/* ---- Places ---- */

typedef struct axis {
    const char *name;
    int32_t value[VALUES_MAX];
    int count;
    int named; /* candidates that have the knob */
} axis;

typedef struct axes {
    axis axis[KNOBS_MAX];
    int count;
    float *place; /* of the candidate that is being visited, or NULL: values are being collected */
} axes;

static axis *axis_of(axes *a, const char *name) {
    for (int i = 0; i < a->count; i++)
        if (strcmp(a->axis[i].name, name) == 0)
            return &a->axis[i];
    if (a->place || a->count == KNOBS_MAX)
        return NULL;
    a->axis[a->count] = (axis){.name = name};
    return &a->axis[a->count++];
}

/* Keeps the list sorted, so that a value's index is its place. */
static void add_value(axis *x, int32_t value) {
    int i = 0;
    while (i < x->count && x->value[i] < value)
        i++;
    if (x->count == VALUES_MAX || (i < x->count && x->value[i] == value))
        return;
    memmove(&x->value[i + 1], &x->value[i], (size_t)(x->count - i) * sizeof x->value[0]);
    x->value[i] = value;
    x->count++;
}

static void collect(void *context, const char *knob, int32_t value) {
    axis *x = axis_of(context, knob);
    if (!x)
        return;
    add_value(x, value);
    x->named++;
}

static float place_of(const axis *x, int32_t value) {
    int i = 0;
    while (i < x->count - 1 && x->value[i] < value)
        i++;
    return x->count < 2 ? 0 : (float)i / (float)(x->count - 1);
}

static void put(void *context, const char *knob, int32_t value) {
    axes *a = context;
    const axis *x = axis_of(a, knob);
    if (x)
        a->place[x - a->axis] = place_of(x, value);
}

static void visit_all(const tune_candidate *c, axes *a, void (*visit)(void *, const char *, int32_t)) {
    if (c->tile.variant) { /* templates are an axis without an order: a hash of the name spreads them */
        int32_t sum = 0;
        for (const char *s = c->tile.variant->name; *s; s++)
            sum = (sum * 31 + *s) & 0xffff;
        visit(a, "variant", sum);
    }
    tune_tile_visit(&c->tile, visit, a);
}

bool tune_cost_places_open(const tune_space *space, tune_cost_places *places, err *e) {
    axes *a = calloc(1, sizeof *a);
    memset(places, 0, sizeof *places);
    if (!a)
        return err_memory(e, "search");
    for (int i = 0; i < space->count; i++)
        visit_all(&space->candidates[i], a, collect);
    for (int k = 0; k < a->count; k++)
        if (a->axis[k].named < space->count) /* a knob that a tile does not name is 0 there */
            add_value(&a->axis[k], 0);
    places->count = space->count;
    places->knobs = a->count;
    places->place = malloc(((size_t)space->count * (size_t)a->count + 1) * sizeof *places->place);
    for (int i = 0; places->place && i < space->count; i++) {
        a->place = &places->place[(size_t)i * (size_t)a->count];
        for (int k = 0; k < a->count; k++)
            a->place[k] = place_of(&a->axis[k], 0);
        visit_all(&space->candidates[i], a, put);
    }
    free(a);
    return places->place || err_memory(e, "search");
}

void tune_cost_places_close(tune_cost_places *places) {
    free(places->place);
    places->place = NULL;
}

/* ---- The model ---- */

static double covariance(const tune_cost_model *m, int a, int b) {
    const tune_cost_places *p = m->places;
    const float *x = &p->place[(size_t)a * (size_t)p->knobs], *y = &p->place[(size_t)b * (size_t)p->knobs];
    double sum = 0, square = 0;
    for (int k = 0; k < p->knobs; k++) {
        double d = (double)x[k] - (double)y[k];
        square += d * d;
        sum += d == 0 ? 1 : exp(-d * d / (2 * REACH * REACH));
    }
    return ADDED * sum / (p->knobs ? p->knobs : 1) + TOGETHER * exp(-square / (2 * REACH * REACH)) +
           TRUST * m->prior[a] * m->prior[b];
}

bool tune_cost_model_open(const tune_cost_places *places, const double *prior, size_t row_bytes, tune_cost_model *m,
                          err *e) {
    size_t count = (size_t)places->count, rows = row_bytes / (count * sizeof *m->rows + 1);
    *m = (tune_cost_model){.places = places};
    m->row_max = rows < ROWS_LEAST ? ROWS_LEAST : rows > ROWS_MOST ? ROWS_MOST : (int)rows;
    m->prior = malloc(count * sizeof *m->prior);
    m->mean = malloc(count * sizeof *m->mean);
    m->variance = malloc(count * sizeof *m->variance);
    if (!m->prior || !m->mean || !m->variance) {
        tune_cost_model_close(m);
        return err_memory(e, "search");
    }
    for (size_t i = 0; i < count; i++)
        m->mean[i] = m->prior[i] = prior[i] - prior[0];
    for (size_t i = 0; i < count; i++)
        m->variance[i] = covariance(m, (int)i, (int)i);
    if (tune_cost_model_observe(m, 0, 1, 0, e))
        return true;
    tune_cost_model_close(m);
    return false;
}

void tune_cost_model_close(tune_cost_model *m) {
    free(m->prior);
    free(m->mean);
    free(m->variance);
    free(m->rows);
    memset(m, 0, sizeof *m);
}

/* The next row, for a measurement of c; its divisor d in *scale. NULL where there is no room. */
static const float *add_row(tune_cost_model *m, int c, double noise, double *scale) {
    size_t count = (size_t)m->places->count;
    if (m->row_count == m->row_max)
        return NULL;
    if (m->row_count == m->row_capacity) {
        int capacity = m->row_capacity ? 2 * m->row_capacity : 16;
        float *grown = realloc(m->rows, (size_t)capacity * count * sizeof *grown);
        if (!grown)
            return NULL;
        m->rows = grown;
        m->row_capacity = capacity;
    }
    float *row = &m->rows[(size_t)m->row_count * count];
    noise = fmax(noise, NOISE_LEAST);
    *scale = sqrt(fmax(m->variance[c], 0) + noise * noise);
    for (size_t x = 0; x < count; x++) {
        double v = covariance(m, c, (int)x);
        for (int i = 0; i < m->row_count; i++)
            v -= (double)m->rows[(size_t)i * count + (size_t)c] * (double)m->rows[(size_t)i * count + x];
        row[x] = (float)(v / *scale);
        m->variance[x] -= (double)row[x] * (double)row[x];
    }
    m->row_count++;
    return row;
}

bool tune_cost_model_observe(tune_cost_model *m, int candidate, double ratio, double noise, err *e) {
    double scale;
    if (m->row_count == m->row_max || !(ratio > 0))
        return true;
    const float *row = add_row(m, candidate, noise, &scale);
    if (!row)
        return err_memory(e, "search");
    double step = (log(ratio) - m->mean[candidate]) / scale;
    for (int x = 0; x < m->places->count; x++)
        m->mean[x] += (double)row[x] * step;
    return true;
}

bool tune_cost_model_assume(tune_cost_model *m, int candidate) {
    double scale;
    return add_row(m, candidate, 0, &scale) != NULL;
}

void tune_cost_model_retract(tune_cost_model *m) {
    const float *row = &m->rows[(size_t)--m->row_count * (size_t)m->places->count];
    for (int x = 0; x < m->places->count; x++)
        m->variance[x] += (double)row[x] * (double)row[x];
}

double tune_cost_model_ratio(const tune_cost_model *m, int candidate) {
    return exp(m->mean[candidate]);
}

/* sd (z N(z) + n(z)), z = (best - mean) / sd; N, n: the normal distribution and its density. */
double tune_cost_model_gain(const tune_cost_model *m, int candidate, double best) {
    double sd = sqrt(fmax(m->variance[candidate], 1e-12)), z = (best - m->mean[candidate]) / sd;
    return sd * (z * 0.5 * erfc(-z * M_SQRT1_2) + exp(-z * z / 2) / sqrt(2 * M_PI));
}
