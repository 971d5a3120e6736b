/* report_svg.h: plots as SVG text: a frame with labelled axes, points, lines, words. Plain shapes, no script. */
#ifndef TUNER_REPORT_SVG_H
#define TUNER_REPORT_SVG_H

#include "base/buf.h"

typedef struct report_axis {
    double low, high; /* low < high; both above 0 if logarithmic */
    bool logarithmic;
    const char *label; /* with its unit */
} report_axis;

enum { REPORT_MARKS_MAX = 512 };
/* Where a label goes: clear of lines too; also further away, with a line to the place; to the left alone. */
enum { REPORT_CLEAR = 1, REPORT_FAR = 2, REPORT_LEFT = 4 };

/* Pixels. */
typedef struct report_box {
    double left, top, right, bottom;
} report_box;

typedef struct report_plot {
    base_buf *out; /* borrowed; failure is sticky in it */
    double width, height;
    double left, right, top, bottom; /* of the frame, pixels */
    report_axis x, y;
    report_box taken[REPORT_MARKS_MAX]; /* by points and labels; of more, the first */
    double lines[REPORT_MARKS_MAX][4];  /* x0, y0, x1, y1 in pixels; of more, the first */
    int taken_count, line_count;
} report_plot;

/* Widens [low, high] by a share of itself (of its logarithm) so that no point sits on the frame. */
void report_axis_pad(report_axis *axis, double share);
/* Opens the SVG and draws the frame, ticks and labels. `ticks_x`: false where the caller names the places of x itself.
 */
void report_plot_open(report_plot *plot, base_buf *out, double width, double height, report_axis x, report_axis y,
                      const char *title, bool ticks_x);
void report_plot_close(report_plot *plot);
/* A circle; `kind`: a class of the page's style: "point", "best", "default". `title` is shown where the pointer rests;
 * NULL: nothing. */
void report_plot_point(report_plot *plot, double x, double y, double radius, const char *kind, const char *title);
/* A line; what lies outside the frame is cut off. */
void report_plot_line(report_plot *plot, double x0, double y0, double x1, double y1, const char *kind);
/* Words beside a place, inside the frame and clear of the points and labels that are there: the first free position of
 * those to the sides, above and below, and at the corners. `where`: REPORT_CLEAR and so on, or 0. Returns false, and
 * draws nothing, where none is free or the place is outside. Points and lines come first. */
bool report_plot_label(report_plot *plot, double x, double y, int where, const char *text);
/* The words under the place x of an axis without ticks. */
void report_plot_place(report_plot *plot, double x, const char *text);

/* Appends text with & < > " escaped. */
void report_escape(base_buf *out, const char *text);

#endif
