/* What attention's sinks give and get, once all of o is known: the mean of their shares p0, and gradients
   -p0 (do . o), as a sink has a score and no value. A sum over tokens has one thread and the order of the tokens. */
#ifndef SLUICE_ATTEND_SINK_H
#define SLUICE_ATTEND_SINK_H

#include "attend_rows.h"

static real sink_share(const struct args *a, const struct sizes *s, int64_t row)
{
    return vec_exp((sink_of(a, s, row) - reals(&a->save[LSE])[row]) / LOG2E);
}

/* Of heads [from, to). */
static void sink_masses(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    int64_t tokens = s.batch * s.seq;
    for (int64_t h = from; h < to; h++) {
        double sum = 0;
        for (int64_t t = 0; t < tokens; t++) sum += (double)sink_share(a, &s, t * s.heads + h);
        reals(&a->out[SINK_MASS])[h] = (real)(sum / (double)tokens);
    }
}

static real sink_slope(const struct args *a, const struct sizes *s, int64_t row)
{
    int64_t width = s->value_width;
    real o_buffer[width], dout_buffer[width];
    const real *o = row_read(&a->out[O], row * width, width, o_buffer),
               *dout = row_read(&a->dout[O], row * width, width, dout_buffer);
    double sum;
    ROW_SUM(sum, i, width, dout[i] * o[i]);
    return -sink_share(a, s, row) * (real)sum;
}

/* A sink for each token: of rows [from, to) of [T,H]. */
static void slopes_of_rows(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    real *d = reals(&a->din[SINK]);
    for (int64_t row = from; row < to; row++) d[row] = keep(a->beta[SINK], d[row]) + sink_slope(a, &s, row);
}

/* One for each head: of heads [from, to). */
static void slopes_of_heads(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    real *d = reals(&a->din[SINK]);
    for (int64_t h = from; h < to; h++) {
        double sum = 0;
        for (int64_t t = 0; t < s.batch * s.seq; t++) sum += (double)sink_slope(a, &s, t * s.heads + h);
        d[h] = keep(a->beta[SINK], d[h]) + (real)sum;
    }
}

static void sink_backward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    if (a->in[SINK].shape.rank == 1) each(a, s.heads, 1, slopes_of_heads);
    else each(a, s.batch * s.seq * s.heads, rows_grain(s.value_width), slopes_of_rows);
}

#endif
