/* One kind of figure: writes gnuplot commands and data for a canvas that plot.c frames. */
#ifndef SLUICE_FIGURE_H
#define SLUICE_FIGURE_H

#include "plot.h"
#include <stdio.h>

struct canvas { FILE *gp; int width, height; };             /* pixels at a scale of 1; draw may set them */
struct figure {
    const char *name, *about;
    int (*draw)(struct canvas *c, const struct runs *runs, const struct plot_options *o, struct err *e);
    bool asks;                                              /* loads checkpoints of a run, and needs its data */
};

extern const struct figure figure_loss, figure_position, figure_final, figure_pairs, figure_health, figure_load,
    figure_collapse, figure_margin, figure_coactivation, figure_saturation;

/* Text as a single-quoted gnuplot string, in which nothing is expanded. */
void figure_quote(FILE *gp, const char *text);
void figure_title(const struct canvas *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Small grey text in the lower left corner, in one or two lines: what is drawn, and from how much. */
void figure_caption(const struct canvas *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* axis: "x", "y", "cb" */
void figure_axis(const struct canvas *c, const char *axis, const char *name, const char *unit);
/* The axis' range with a margin, and about five tics at round numbers. */
void figure_range(const struct canvas *c, const char *axis, double low, double high);
void figure_tics(const struct canvas *c, const char *axis, double low, double high);
/* Okabe and Ito's colours, which the colour-blind tell apart; the dash changes when they have been used up. The
   baseline is dark grey. */
const char *figure_color(int variant, int baseline);
const char *figure_dash(int variant, int baseline);

/* A colour of a scale from 0 to 1, whose order also the colour-blind see. */
void figure_shade(double at, char out[8]);

/* n panels of equal size: `panel` pixels high, of which `below` are for what stands below a plot; right: where they
   end, of the width; apart: what is left between two columns, of the width, 0: enough for no axis. Below them is room
   for an axis and a caption. */
enum { GRID_TOP = 52, GRID_BOTTOM = 84 };
struct grid { int n, panel, below; double right, apart; int columns, rows; };
void figure_grid(struct canvas *c, struct grid *g);                 /* sets the canvas' size, columns and rows */
void figure_panel(const struct canvas *c, const struct grid *g, int at);        /* margins of the next plot */
bool figure_lowest(const struct grid *g, int at);                   /* none is below it: it has the axis' names */
/* Up to `most` of n, evenly, the first and the last among them; returns how many. */
int figure_some(int n, int most, int *chosen);

/* What a line means. color NULL: a name without a line, in grey. */
struct entry { char text[160]; const char *color, *dash; };
/* Names right of a plot that ends at `right` pixels, in one column that the canvas grows for: gnuplot's own key drops
   what does not fit. */
void figure_legend(struct canvas *c, int right, const struct entry *entry, int n);
/* The pixels that a text of the default font takes at most. */
int figure_width(const char *text);

#endif
