/* report_svg.c: see report_svg.h. */
#include "tuner/report_svg.h"

#include <math.h>
#include <string.h>

enum { TICKS_MAX = 64 };
/* Of the page's 11 px font: a bound of the mean width of a character, how far letters reach above and below the line
 * they stand on; the room that a label keeps to a place. */
static const double CHARACTER = 7, ABOVE = 9, BELOW = 3, GAP = 7;

void report_escape(base_buf *out, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '&':
            base_buf_text(out, "&amp;");
            break;
        case '<':
            base_buf_text(out, "&lt;");
            break;
        case '>':
            base_buf_text(out, "&gt;");
            break;
        case '"':
            base_buf_text(out, "&quot;");
            break;
        default:
            base_buf_char(out, *text);
        }
    }
}

void report_axis_pad(report_axis *a, double share) {
    if (a->logarithmic) {
        double factor = fmax(pow(a->high / a->low, share), 1.02);
        a->low /= factor;
        a->high *= factor;
        return;
    }
    double room = fmax((a->high - a->low) * share, 1e-9);
    a->low -= room;
    a->high += room;
}

static double share(const report_axis *a, double v) {
    return a->logarithmic ? log(v / a->low) / log(a->high / a->low) : (v - a->low) / (a->high - a->low);
}

static double place_x(const report_plot *p, double x) {
    return p->left + (p->right - p->left) * share(&p->x, x);
}

static double place_y(const report_plot *p, double y) {
    return p->bottom - (p->bottom - p->top) * share(&p->y, y);
}

/* Values for ticks: powers of ten and their 2, 5 on a long logarithmic axis, else multiples of 1, 2, 5 times a power of
 * ten. */
static int ticks(const report_axis *a, double *out) {
    int count = 0;
    if (a->logarithmic && a->high / a->low > 8) {
        static const double steps[] = {1, 2, 5};
        bool thin = a->high / a->low > 2000;
        for (int power = (int)floor(log10(a->low)); power <= (int)ceil(log10(a->high)); power++)
            for (int k = 0; k < (thin ? 1 : 3) && count < TICKS_MAX; k++) {
                double v = steps[k] * pow(10, power);
                if (v >= a->low && v <= a->high)
                    out[count++] = v;
            }
        return count;
    }
    double rough = (a->high - a->low) / 5, power = pow(10, floor(log10(rough))), over = rough / power;
    double step = power * (over > 5 ? 10 : over > 2 ? 5 : over > 1 ? 2 : 1);
    for (double v = ceil(a->low / step) * step; v <= a->high + step * 1e-9 && count < TICKS_MAX; v += step)
        out[count++] = fabs(v) < step * 1e-6 ? 0 : v;
    return count;
}

static void draw_ticks(report_plot *p, bool ticks_x) {
    double at[TICKS_MAX];
    int count = ticks_x ? ticks(&p->x, at) : 0;
    for (int i = 0; i < count; i++) {
        double x = place_x(p, at[i]);
        base_buf_printf(p->out,
                        "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
                        "text-anchor=\"middle\">%g</text>\n",
                        x, p->top, p->bottom, x, p->bottom + 15, at[i]);
    }
    count = ticks(&p->y, at);
    for (int i = 0; i < count; i++) {
        double y = place_y(p, at[i]);
        base_buf_printf(
            p->out,
            "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
            p->left, y, p->right, p->left - 5, y + 4, at[i]);
    }
}

void report_plot_open(report_plot *p, base_buf *out, double width, double height, report_axis x, report_axis y,
                      const char *title, bool ticks_x) {
    *p = (report_plot){.out = out,
                       .width = width,
                       .height = height,
                       .left = 58,
                       .right = width - 12,
                       .top = 26,
                       .bottom = height - 42,
                       .x = x,
                       .y = y};
    base_buf_printf(out,
                    "<svg width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n<text "
                    "class=\"title\" x=\"%.0f\" y=\"15\">",
                    width, height, width, height, p->left);
    report_escape(out, title);
    base_buf_text(out, "</text>\n");
    draw_ticks(p, ticks_x);
    base_buf_printf(out, "<rect class=\"frame\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", p->left,
                    p->top, p->right - p->left, p->bottom - p->top);
    base_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", (p->left + p->right) / 2, height - 8);
    report_escape(out, x.label);
    double middle = (p->top + p->bottom) / 2;
    base_buf_printf(out, "</text>\n<text transform=\"translate(13 %.1f) rotate(-90)\" text-anchor=\"middle\">", middle);
    report_escape(out, y.label);
    base_buf_text(out, "</text>\n");
}

void report_plot_close(report_plot *p) {
    base_buf_text(p->out, "</svg>\n");
}

static bool is_inside(double s) {
    return s >= -1e-9 && s <= 1 + 1e-9;
}

void report_plot_point(report_plot *p, double x, double y, double radius, const char *kind, const char *title) {
    if (!is_inside(share(&p->x, x)) || !is_inside(share(&p->y, y)))
        return;
    if (p->taken_count < REPORT_MARKS_MAX)
        p->taken[p->taken_count++] = (report_box){place_x(p, x) - radius, place_y(p, y) - radius,
                                                  place_x(p, x) + radius, place_y(p, y) + radius};
    base_buf_printf(p->out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%g\"", kind, place_x(p, x), place_y(p, y),
                    radius);
    if (!title) {
        base_buf_text(p->out, "/>\n");
        return;
    }
    base_buf_text(p->out, "><title>");
    report_escape(p->out, title);
    base_buf_text(p->out, "</title></circle>\n");
}

/* Liang-Barsky, in shares of the frame: [*from, *to] of the way from a to b is inside 0..1. */
static bool clip(double a, double b, double *from, double *to) {
    double step = b - a;
    if (step == 0)
        return a >= 0 && a <= 1;
    double in = (step > 0 ? 0 - a : 1 - a) / step, out = (step > 0 ? 1 - a : 0 - a) / step;
    *from = fmax(*from, in);
    *to = fmin(*to, out);
    return *from <= *to;
}

void report_plot_line(report_plot *p, double x0, double y0, double x1, double y1, const char *kind) {
    double ax = share(&p->x, x0), ay = share(&p->y, y0), bx = share(&p->x, x1), by = share(&p->y, y1);
    double from = 0, to = 1, width = p->right - p->left, height = p->bottom - p->top;
    if (!clip(ax, bx, &from, &to) || !clip(ay, by, &from, &to))
        return;
    const double line[4] = {p->left + width * (ax + (bx - ax) * from), p->bottom - height * (ay + (by - ay) * from),
                            p->left + width * (ax + (bx - ax) * to), p->bottom - height * (ay + (by - ay) * to)};
    if (p->line_count < REPORT_MARKS_MAX)
        memcpy(p->lines[p->line_count++], line, sizeof line);
    base_buf_printf(p->out, "<path class=\"%s\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", kind, line[0], line[1], line[2],
                    line[3]);
}

/* ---- Labels ---- */

static bool overlap(const report_box *a, const report_box *b) {
    return a->left < b->right && b->left < a->right && a->top < b->bottom && b->top < a->bottom;
}

static bool crosses(const double *line, const report_box *b) {
    const double width = b->right - b->left, height = b->bottom - b->top;
    double from = 0, to = 1;
    return clip((line[0] - b->left) / width, (line[2] - b->left) / width, &from, &to) &&
           clip((line[1] - b->top) / height, (line[3] - b->top) / height, &from, &to);
}

static bool is_free(const report_plot *p, const report_box *b, bool clear) {
    bool is = b->left > p->left && b->right < p->right && b->top > p->top && b->bottom < p->bottom;
    for (int i = 0; is && i < p->taken_count; i++)
        is = !overlap(b, &p->taken[i]);
    for (int i = 0; is && clear && i < p->line_count; i++)
        is = !crosses(p->lines[i], b);
    return is;
}

/* From `at`, where the box lies to that side of it, which is -1, 0 or 1; 0: in its middle. */
static double begin_of(double at, int side, double gap, double size) {
    return side > 0 ? at + gap : side < 0 ? at - gap - size : at - size / 2;
}

bool report_plot_label(report_plot *p, double x, double y, int where, const char *text) {
    static const int sides[][2] = {{1, 0}, {-1, 0}, {0, -1}, {0, 1}, {1, -1}, {1, 1}, {-1, 1}, {-1, -1}};
    static const double rings[] = {GAP, 3 * GAP, 5 * GAP, 7 * GAP};
    const double width = CHARACTER * (double)strlen(text), height = ABOVE + BELOW, cx = place_x(p, x),
                 cy = place_y(p, y);
    const bool inside = is_inside(share(&p->x, x)) && is_inside(share(&p->y, y));
    for (int k = 0; inside && k < (where & REPORT_FAR ? 4 : 1) * 8; k++) {
        const int *side = sides[k % 8];
        double gap = rings[k / 8] * (side[0] && side[1] ? 0.7 : 1);
        report_box b = {.left = begin_of(cx, side[0], gap, width), .top = begin_of(cy, side[1], gap, height)};
        b.right = b.left + width;
        b.bottom = b.top + height;
        if ((where & REPORT_LEFT && side[0] >= 0) || !is_free(p, &b, where & REPORT_CLEAR) ||
            p->taken_count == REPORT_MARKS_MAX)
            continue;
        p->taken[p->taken_count++] = b;
        if (k >= 8)
            base_buf_printf(p->out, "<path class=\"guide\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", cx, cy,
                            fmin(fmax(cx, b.left), b.right), fmin(fmax(cy, b.top), b.bottom));
        base_buf_printf(p->out, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
                        side[0] > 0   ? b.left
                        : side[0] < 0 ? b.right
                                      : (b.left + b.right) / 2,
                        b.top + ABOVE,
                        side[0] > 0   ? "start"
                        : side[0] < 0 ? "end"
                                      : "middle");
        report_escape(p->out, text);
        base_buf_text(p->out, "</text>\n");
        return true;
    }
    return false;
}

void report_plot_place(report_plot *p, double x, const char *text) {
    base_buf_printf(p->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", place_x(p, x), p->bottom + 15);
    report_escape(p->out, text);
    base_buf_text(p->out, "</text>\n");
}
