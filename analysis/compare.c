/* Values of runs, pairs by replicate, statistics. */
#include "compare.h"
#include "metric.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one run ---- */

/* Tokens seen by each row: a series of its own, or the training rows' tokens at the same step. NULL when unknown. */
static double *tokens_of(struct reader *r, enum store_group group, const struct curve *c)
{
    struct curve train;
    struct err e;
    if (metric_scalar(r, group == STORE_EVAL ? "eval.tokens" : "train.tokens", &train, NULL, &e) == 0) {
        double *own = train.value;
        free(train.step);
        return own;
    }
    if (metric_scalar(r, "train.tokens", &train, NULL, &e)) return NULL;
    double *tokens = xcalloc((size_t)c->rows + 1, sizeof *tokens);
    for (int64_t i = 0, t = 0; i < c->rows; i++) {
        while (t < train.rows && train.step[t] < c->step[i]) t++;
        tokens[i] = t < train.rows ? train.value[t] : train.rows ? train.value[train.rows - 1] : 0;
    }
    curve_free(&train);
    return tokens;
}

/* The row that answers: the last one, or the last at or before a place that the run has reached. -1: none. */
static int64_t row_at(const struct compare_options *o, const struct run *run, enum store_group group, const struct curve *c, struct reading *out)
{
    if (o->at == AT_END) {
        if (c->rows == 0) snprintf(out->why, sizeof out->why, "%s, no row of this metric", condition_name(run->condition));
        return c->rows - 1;
    }
    double *tokens = o->at == AT_TOKENS ? tokens_of(run->reader, group, c) : NULL;
    if (o->at == AT_TOKENS && !tokens) {
        snprintf(out->why, sizeof out->why, "the run file has no count of tokens");
        return -1;
    }
    double reached = tokens ? run_last(run, "train.tokens") : (double)run->step;
    int64_t row = -1;
    for (int64_t i = 0; i < c->rows; i++)
        if ((tokens ? tokens[i] : (double)c->step[i]) <= o->where) row = i;
    free(tokens);
    if (c->rows) reached = fmax(reached, (double)c->step[c->rows - 1] * (o->at == AT_STEP));
    if (!(reached >= o->where)) {
        snprintf(out->why, sizeof out->why, "%s at step %lld, has not reached %s %.12g", condition_name(run->condition), (long long)run->step,
                 o->at == AT_STEP ? "step" : "tokens", o->where);
        return -1;
    }
    if (row < 0) snprintf(out->why, sizeof out->why, "no row at or before %s %.12g", o->at == AT_STEP ? "step" : "tokens", o->where);
    return row;
}

/* A run counts at its end only when it finished; at a step or number of tokens, when it got there. */
static int look_at(const struct run *run, struct comparison *c, struct reading *out, struct err *e)
{
    *out = (struct reading){ .run = run, .value = NAN, .step = -1 };
    if (!run->reader) {
        snprintf(out->why, sizeof out->why, "%s%s%.100s", condition_name(run->condition), run->problem ? ": " : "", run->problem ? run->problem : "");
        return 0;
    }
    if (c->options.at == AT_END && run->condition != STATUS_FINISHED) {
        if (run->steps) snprintf(out->why, sizeof out->why, "%s at step %lld of %lld", condition_name(run->condition), (long long)run->step, (long long)run->steps);
        else snprintf(out->why, sizeof out->why, "%s at step %lld", condition_name(run->condition), (long long)run->step);
        return 0;
    }
    struct curve curve;
    struct metric m;
    if (metric_scalar(run->reader, c->metric, &curve, &m, e)) return err_prefix(e, "%s: ", run->name);
    snprintf(c->unit, sizeof c->unit, "%s", m.series.unit);
    if (m.series.group == STORE_EVAL) out->text = reader_text(run->reader, "/data", "eval_hash");
    int64_t row = row_at(&c->options, run, m.series.group, &curve, out);
    if (row >= 0) {
        out->value = curve.value[row];
        out->step = curve.step[row];
        out->counted = isfinite(out->value);
        if (!out->counted) snprintf(out->why, sizeof out->why, "%s, the value at step %lld is not finite", condition_name(run->condition), (long long)out->step);
    }
    curve_free(&curve);
    return 0;
}

/* ---- one variant ---- */

static int counted_values(const struct comparison *c, const struct arm *a, double *value)
{
    int n = 0;
    for (int i = 0; i < a->total; i++)
        if (c->reading[a->first + i].counted) value[n++] = c->reading[a->first + i].value;
    return n;
}

/* Values of the replicates that both have. */
static int pair(const struct comparison *c, const struct arm *a, const struct arm *b, double *x, double *y)
{
    int n = 0;
    for (int i = 0; i < a->total; i++)
        for (int k = 0; k < b->total; k++) {
            const struct reading *u = &c->reading[a->first + i], *v = &c->reading[b->first + k];
            if (!u->counted || !v->counted || u->run->replicate != v->run->replicate) continue;
            x[n] = u->value;
            y[n++] = v->value;
        }
    return n;
}

static void contrast_arm(struct comparison *c, struct arm *a)
{
    const struct arm *b = &c->arm[c->baseline];
    double *x = xcalloc((size_t)c->n_readings + 1, 2 * sizeof *x), *y = x + c->n_readings + 1;
    int n = counted_values(c, a, x), m = counted_values(c, b, y);
    a->welch = stats_welch(x, n, y, m);
    n = pair(c, a, b, x, y);
    a->paired = stats_paired(x, y, n);
    a->rho = n > 2 ? stats_correlation(x, y, n) : NAN;
    a->detectable = n >= STATS_LEAST ? stats_detectable(a->paired.sd, n) : NAN;
    a->p_holm = a->paired.p;
    free(x);
}

static void judge(struct comparison *c)
{
    double *p = xcalloc((size_t)c->n_arms + 1, sizeof *p);
    for (int i = 0; i < c->n_arms; i++) {
        p[i] = i == c->baseline ? NAN : c->arm[i].paired.p;
        c->tests += !isnan(p[i]);
    }
    stats_holm(p, c->n_arms);
    for (int i = 0; i < c->n_arms; i++) {
        struct arm *a = &c->arm[i];
        a->p_holm = p[i];
        bool good = c->options.higher ? a->paired.delta > 0 : a->paired.delta < 0;
        a->verdict = i == c->baseline ? VERDICT_BASELINE : isnan(p[i]) ? VERDICT_FEW : p[i] >= 0.05 ? VERDICT_NONE : good ? VERDICT_BETTER : VERDICT_WORSE;
    }
    free(p);
}

static void fill_arm(struct comparison *c, const struct study *s, int variant, int first)
{
    struct arm *a = &c->arm[variant];
    double *x = xcalloc((size_t)c->n_readings + 1, sizeof *x);
    *a = (struct arm){ .variant = &s->variant[variant], .first = first };
    while (first + a->total < c->n_readings && c->reading[first + a->total].run->variant == variant) a->total++;
    a->n = counted_values(c, a, x);
    a->mean = a->n ? stats_mean(x, a->n) : NAN;
    a->sd = stats_sd(x, a->n);
    free(x);
}

/* ---- the study ---- */

static int find_baseline(const struct study *s, const char *name, struct err *e)
{
    if (!name) return s->baseline;
    const char **names = xcalloc((size_t)s->n_variants + 1, sizeof *names);
    int at = -1;
    for (int i = 0; i < s->n_variants; i++) {
        names[i] = s->variant[i].name;
        if (!strcmp(name, names[i])) at = i;
    }
    const char *near = nearest_name(name, names);
    if (at < 0 && near) err_set(e, "no variant '%s' (did you mean '%s'?)", name, near);
    else if (at < 0) err_set(e, "no variant '%s'", name);
    free(names);
    return at;
}

/* Values of different text say nothing of the models. */
static int check_text(const struct comparison *c, struct err *e)
{
    const struct reading *first = NULL;
    for (int i = 0; i < c->n_readings; i++) {
        const struct reading *o = &c->reading[i];
        if (!o->counted || !o->text) continue;
        if (!first) first = o;
        if (strcmp(o->text, first->text) != 0)
            return err_set(e, "%s and %s were measured on different text (eval_hash %s, %s): their values cannot be compared", first->run->name, o->run->name, first->text, o->text);
    }
    return 0;
}

static int read_all(const struct runs *runs, struct comparison *c, struct err *e)
{
    c->step_low = INT64_MAX;
    for (int v = 0; v < runs->study->n_variants; v++)
        for (int i = 0; i < runs->n; i++) {
            if (runs->run[i].variant != v) continue;
            struct reading *o = &c->reading[c->n_readings++];
            if (look_at(&runs->run[i], c, o, e)) return -1;
            if (o->counted && o->step < c->step_low) c->step_low = o->step;
            if (o->counted && o->step > c->step_high) c->step_high = o->step;
        }
    return 0;
}

int compare_study(const struct runs *runs, const struct compare_options *o, struct comparison **out, struct err *e)
{
    const struct study *s = runs->study;
    if (!s || runs->n < s->n_points) return err_set(e, "only a study can be compared, this is one run");
    struct comparison *c = xcalloc(1, sizeof *c);
    *out = c;
    c->options = *o;
    snprintf(c->metric, sizeof c->metric, "%s", o->metric ? o->metric : s->primary);
    c->n_arms = s->n_variants;
    c->arm = xcalloc((size_t)s->n_variants + 1, sizeof *c->arm);
    c->reading = xcalloc((size_t)runs->n + 1, sizeof *c->reading);
    c->baseline = find_baseline(s, o->baseline, e);
    if (c->baseline < 0 || read_all(runs, c, e) || check_text(c, e)) {
        compare_free(c);
        return -1;
    }
    for (int v = 0, first = 0; v < s->n_variants; v++) {
        fill_arm(c, s, v, first);
        first += c->arm[v].total;
    }
    for (int v = 0; v < s->n_variants; v++) contrast_arm(c, &c->arm[v]);
    judge(c);
    return 0;
}

void compare_free(struct comparison *c)
{
    free(c->arm);
    free(c->reading);
    free(c);
}
