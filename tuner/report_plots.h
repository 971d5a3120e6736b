/* report_plots.h: the plots of report.html, each one SVG. A plot without data appends nothing. */
#ifndef TUNER_REPORT_PLOTS_H
#define TUNER_REPORT_PLOTS_H

#include "tuner/report_data.h"
#include "tuner/report_svg.h"

/* Measured first impressions over what the model expected when it chose them, both relative to the default. */
void report_plot_model(base_buf *out, const report_group *group);
/* Gflop/s over flops a byte, under the measured limits: the default and the winner of every group that has limits. */
void report_plot_roofline(base_buf *out, const gen_problem *problem, const report_group *groups, int count);
/* One plot a knob: the ratios of all candidates by the knob's value, with the median of each value. Returns how many.
 */
int report_plot_knobs(base_buf *out, const report_group *group);

#endif
