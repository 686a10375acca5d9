/* Values of runs, pairs by replicate, statistics. */
#include "compare.h"
#include "metric.h"
#include "base/text.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one run ---- */

/* Tokens seen by each row: a series of its own, or the training rows' tokens at the same step. NULL when unknown. */
static double *tokens_of(struct run *r, enum store_group group, const struct curve *c)
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
static int64_t row_at(const struct compare_options *o, struct run *run, enum store_group group, const struct curve *c,
                      struct reading *out)
{
    if (o->at == AT_END) {
        if (c->rows == 0)
            snprintf(out->why, sizeof out->why, "%s, no row of this metric", condition_name(run->condition));
        return c->rows - 1;
    }
    const char *place = o->at == AT_STEP ? "step" : "tokens";
    double *tokens = o->at == AT_TOKENS ? tokens_of(run, group, c) : NULL;
    if (o->at == AT_TOKENS && !tokens) {
        snprintf(out->why, sizeof out->why, "the run file has no count of tokens");
        return -1;
    }
    double reached = tokens ? metric_last(run, "train.tokens") : (double)run->step,
           first = c->rows == 0 ? NAN : tokens ? tokens[0] : (double)c->step[0];
    int64_t row = -1;
    for (int64_t i = 0; i < c->rows; i++)
        if ((tokens ? tokens[i] : (double)c->step[i]) <= o->where) row = i;
    free(tokens);
    if (c->rows) reached = fmax(reached, (double)c->step[c->rows - 1] * (o->at == AT_STEP));
    if (!(reached >= o->where)) {
        snprintf(out->why, sizeof out->why, "%s at step %lld, has not reached %s %.12g", condition_name(run->condition),
                 (long long)run->step, place, o->where);
        return -1;
    }
    if (row < 0 && c->rows == 0) snprintf(out->why, sizeof out->why, "no row of this metric");
    else if (row < 0)
        snprintf(out->why, sizeof out->why, "no row at or before %s %.12g: the first is at %s %.12g", place, o->where,
                 place, first);
    return row;
}

static int not_read(const struct run *run, struct reading *out)
{
    out->counted = false;
    out->value = NAN;
    const char *problem = run->problem ? run->problem : "";
    snprintf(out->why, sizeof out->why, "%s%s%.100s", condition_name(run->condition), *problem ? ": " : "", problem);
    return 0;
}

static void take_value(struct run *run, struct comparison *c, const struct metric *m, const struct curve *curve,
                       struct reading *out)
{
    snprintf(c->unit, sizeof c->unit, "%s", m->series.unit);
    c->better = m->series.better;
    c->known = true;
    if (m->series.group == STORE_EVAL) snprintf(out->text, sizeof out->text, "%s", run_text(run, "/data", "eval_hash"));
    int64_t row = row_at(&c->options, run, m->series.group, curve, out);
    if (row < 0) return;
    out->value = curve->value[row];
    out->step = curve->step[row];
    out->counted = isfinite(out->value);
    if (!out->counted)
        snprintf(out->why, sizeof out->why, "%s, the value at step %lld is not finite", condition_name(run->condition),
                 (long long)out->step);
    out->loss = strcmp(c->metric, "eval.loss") == 0 ? out->value : metric_last(run, "eval.loss");
    out->collapsed = metric_last(run, "train.collapsed:max") == 1 ||
                     metric_last(run, "train.attention_collapsed:max") == 1;
}

/* A run counts at its end only when it finished; at a step or number of tokens, when it got there. */
static int look_at(struct run *run, struct comparison *c, struct reading *out, struct err *e)
{
    *out = (struct reading){ .run = run, .value = NAN, .loss = NAN, .step = -1 };
    if (!run_reader(run)) return not_read(run, out);
    out->absent = !metric_has(run, c->metric);
    if (out->absent) {
        snprintf(out->why, sizeof out->why, "has no %s", c->metric);
        return 0;
    }
    if (c->options.at == AT_END && run->condition != STATUS_FINISHED) {
        if (run->steps)
            snprintf(out->why, sizeof out->why, "%s at step %lld of %lld", condition_name(run->condition),
                     (long long)run->step, (long long)run->steps);
        else
            snprintf(out->why, sizeof out->why, "%s at step %lld", condition_name(run->condition),
                     (long long)run->step);
        return 0;
    }
    struct curve curve;
    struct metric m;
    if (metric_scalar(run, c->metric, &curve, &m, e) == 0) {
        take_value(run, c, &m, &curve, out);
        curve_free(&curve);
    }
    else if (run_look(run)) return err_prefix(e, "%s: ", run->name);
    return run_look(run) ? 0 : not_read(run, out);
}

/* ---- one variant ---- */

static int counted_values(const struct comparison *c, const struct arm *a, double *value)
{
    int n = 0;
    for (int i = 0; i < a->total; i++)
        if (c->reading[a->first + i].counted) value[n++] = c->reading[a->first + i].value;
    return n;
}

/* Sums of floats in another order differ by as much: they are one value, or a cut of a batch would be told apart from
   another. */
static bool one_value(double x, double y) { return fabs(x - y) <= 16 * (double)FLT_EPSILON * fmax(fabs(x), fabs(y)); }

/* Values of the replicates that both have, but for one (-1: for none). Readings are by replicate. */
static int pair(const struct comparison *c, const struct arm *a, const struct arm *b, int leave, double *x, double *y)
{
    int n = 0;
    for (int i = 0, k = 0; i < a->total; i++) {
        const struct reading *u = &c->reading[a->first + i];
        while (k < b->total && c->reading[b->first + k].run->replicate < u->run->replicate) k++;
        if (k == b->total) break;
        const struct reading *v = &c->reading[b->first + k];
        if (!u->counted || !v->counted || u->run->replicate != v->run->replicate || u->run->replicate == leave)
            continue;
        x[n] = u->value;
        y[n++] = one_value(u->value, v->value) ? u->value : v->value;
    }
    return n;
}

static enum verdict judge(const struct comparison *c, double p, double delta)
{
    if (isnan(p)) return VERDICT_FEW;
    if (p >= STATS_LEVEL) return VERDICT_NONE;
    if (c->better == BETTER_NONE) return delta > 0 ? VERDICT_HIGHER : VERDICT_LOWER;
    return (delta > 0) == (c->better == BETTER_HIGHER) ? VERDICT_BETTER : VERDICT_WORSE;
}

/* What stands beside the mean: medians, wins, spreads. */
static void describe_pairs(const struct comparison *c, struct arm *a, const double *x, const double *y, int n)
{
    double *d = xcalloc((size_t)n + 1, sizeof *d);
    for (int i = 0; i < n; i++) {
        d[i] = x[i] - y[i];
        a->wins += c->better == BETTER_LOWER ? d[i] < 0 : d[i] > 0;
    }
    a->rho = n > 2 ? stats_correlation(x, y, n) : NAN;
    a->median = stats_median(d, n);
    a->spread = stats_spread(x, y, n);
    free(d);
}

const struct arm *compare_baseline(const struct comparison *c, const struct arm *a) { return &c->arm[a->baseline]; }

bool compare_is_baseline(const struct comparison *c, int arm) { return c->arm[arm].baseline == arm; }

static void contrast_arm(struct comparison *c, struct arm *a)
{
    const struct arm *b = compare_baseline(c, a);
    double *x = xcalloc((size_t)c->n_readings + 1, 2 * sizeof *x), *y = x + c->n_readings + 1;
    int n = counted_values(c, a, x), m = counted_values(c, b, y);
    a->welch = stats_welch(x, n, y, m, STATS_LEVEL);
    n = pair(c, a, b, -1, x, y);
    a->paired = stats_paired(x, y, n, c->alpha);
    a->detectable = n >= STATS_LEAST ? stats_detectable(a->paired.sd, n, stats_alpha(c->family, c->family_size)) : NAN;
    describe_pairs(c, a, x, y, n);
    free(x);
}

bool compare_saw_later(const struct comparison *c, const struct arm *a)
{
    enum ahead when = a->variant->looks_ahead;
    return when == AHEAD_ALWAYS || (when == AHEAD_TRAINING && strncmp(c->metric, "train.", 6) == 0);
}

/* What knows later tokens predicts them well: nothing with a good and a bad end can be told of such a pair. */
static bool cannot_judge(const struct comparison *c, const struct arm *a)
{
    return c->better != BETTER_NONE && compare_saw_later(c, a) != compare_saw_later(c, compare_baseline(c, a));
}

/* Puts the family's p of every variant into p, for all pairs or without those of one replicate (leave >= 0). */
static void correct(const struct comparison *c, int leave, double *p)
{
    double *x = xcalloc((size_t)c->n_readings + 1, 2 * sizeof *x), *y = x + c->n_readings + 1;
    for (int i = 0; i < c->n_arms; i++) {
        int n = pair(c, &c->arm[i], compare_baseline(c, &c->arm[i]), leave, x, y);
        p[i] = compare_is_baseline(c, i) || cannot_judge(c, &c->arm[i]) ? NAN : stats_paired(x, y, n, c->alpha).p;
    }
    stats_adjust(c->family, p, c->n_arms, c->family_size);
    free(x);
}
static bool is_lost(const struct reading *o)
{
    return !o->counted && o->run->condition == STATUS_DIVERGED;
}

/* Replicates in which only the one of two diverged. */
static int lost_alone(const struct comparison *c, const struct arm *a, const struct arm *b)
{
    int n = 0;
    for (int i = 0; i < a->total; i++)
        for (int k = 0; k < b->total && is_lost(&c->reading[a->first + i]); k++) {
            const struct reading *other = &c->reading[b->first + k];
            n += other->run->replicate == c->reading[a->first + i].run->replicate && other->counted;
        }
    return n;
}

static bool is_tested(enum verdict v)
{
    return v != VERDICT_BASELINE && v != VERDICT_FEW && v != VERDICT_ABSENT && v != VERDICT_AHEAD;
}

/* Verdicts, and whether they would be others without one of the seeds. */
static void judge_all(struct comparison *c)
{
    double *p = xcalloc((size_t)c->n_arms + 1, sizeof *p);
    correct(c, -1, p);
    for (int i = 0; i < c->n_arms; i++) {
        struct arm *a = &c->arm[i];
        a->p = p[i];
        a->verdict = compare_is_baseline(c, i)      ? VERDICT_BASELINE
                     : a->absent                    ? VERDICT_ABSENT
                     : cannot_judge(c, a)           ? VERDICT_AHEAD
                                                    : judge(c, p[i], a->paired.delta);
    }
    for (int replicate = 0; replicate < c->replicates; replicate++) {
        correct(c, replicate, p);
        for (int i = 0; i < c->n_arms; i++) {
            struct arm *a = &c->arm[i];
            if (!is_tested(a->verdict) || isnan(p[i]) || (p[i] < STATS_LEVEL) == (a->p < STATS_LEVEL)) continue;
            if (!a->rests++) a->rests_on = replicate;
        }
    }
    for (int i = 0; i < c->n_arms; i++) {
        const struct arm *base = compare_baseline(c, &c->arm[i]);
        if (c->arm[i].verdict == VERDICT_BETTER && lost_alone(c, &c->arm[i], base) > lost_alone(c, base, &c->arm[i]))
            c->arm[i].verdict = VERDICT_PARTIAL;
    }
    free(p);
}

static void fill_arm(struct comparison *c, const struct study *s, int variant, int baseline, int first)
{
    struct arm *a = &c->arm[variant];
    double *x = xcalloc((size_t)c->n_readings + 1, sizeof *x);
    *a = (struct arm){ .variant = &s->variant[variant], .first = first, .baseline = baseline };
    while (first + a->total < c->n_readings && c->reading[first + a->total].run->variant == variant) {
        a->diverged += is_lost(&c->reading[first + a->total]);
        a->untaught += c->reading[first + a->total].untaught;
        a->collapsed += c->reading[first + a->total].collapsed;
        a->absent += c->reading[first + a->total++].absent;
    }
    a->n = counted_values(c, a, x);
    a->mean = a->n ? stats_mean(x, a->n) : NAN;
    a->sd = stats_sd(x, a->n);
    free(x);
}

/* ---- the study ---- */

static int find_baseline(const struct study *s, const char *name, struct err *e)
{
    int at = study_variant(s, name);
    char hint[HINT];
    if (at < 0) err_set(e, "no variant '%s'%s", name, did_you_mean(study_nearest(s, name), hint));
    return at;
}

/* Values of different text say nothing of the models. */
static int check_text(const struct comparison *c, struct err *e)
{
    const struct reading *first = NULL;
    for (int i = 0; i < c->n_readings; i++) {
        const struct reading *o = &c->reading[i];
        if (!o->counted || !*o->text) continue;
        if (!first) first = o;
        if (strcmp(o->text, first->text) != 0)
            return err_set(e, "%s and %s were measured on different text (eval_hash %s, %s): their values cannot be "
                              "compared", first->run->name, o->run->name, first->text, o->text);
    }
    return 0;
}

static int read_all(const struct runs *runs, struct comparison *c, struct err *e)
{
    int read = 0, absent = 0;
    c->step_low = INT64_MAX;
    for (int v = 0; v < runs->study->n_variants; v++)
        for (int i = 0; i < runs->n; i++) {
            if (runs->run[i].variant != v) continue;
            struct reading *o = &c->reading[c->n_readings++];
            if (look_at(&runs->run[i], c, o, e)) return -1;
            read += run_look(o->run);
            absent += o->absent;
            if (o->counted && o->step < c->step_low) c->step_low = o->step;
            if (o->counted && o->step > c->step_high) c->step_high = o->step;
        }
    for (int i = 0; read && absent == read; i++) {          /* a mistake, and any run can say what is near */
        struct curve curve;
        if (run_look(c->reading[i].run) && metric_scalar(c->reading[i].run, c->metric, &curve, NULL, e))
            return err_prefix(e, "%s: ", c->reading[i].run->name);
    }
    return 0;
}

/* No better than counting tokens, or than guessing among all of them. */
static bool is_untaught(const struct comparison *c, const struct variant *v, const struct reading *o)
{
    double vocab = json_number_value(config_get(v->config, "model.vocab"));
    return o->loss >= c->floor.unigram || (vocab > 0 && o->loss > log(vocab));
}

/* What counting alone reaches on the study's data, and which runs do no better. */
static void read_floor(struct comparison *c, const struct study *s)
{
    struct err e;
    c->floor = (struct counting){ NAN, NAN, 0 };
    if (counting_of(s, c->step_high, &c->floor, &e))
        snprintf(c->why_no_floor, sizeof c->why_no_floor, "%.255s", e.text);
    for (int i = 0; i < c->n_readings; i++) {
        struct reading *o = &c->reading[i];
        o->untaught = o->counted && is_untaught(c, &s->variant[o->run->variant], o);
    }
}

static int find_family(const char *name, struct err *e)
{
    int family = stats_family_find(name);
    const char *near = nearest_name(name, stats_family);
    if (family >= 0) return family;
    if (near) return err_set(e, "no family '%s' (did you mean '%s'?)", name, near);
    return err_set(e, "no family '%s': must be sidak, holm or none", name);
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
    c->replicates = s->replicates;
    c->arm = xcalloc((size_t)s->n_variants + 1, sizeof *c->arm);
    c->reading = xcalloc((size_t)runs->n + 1, sizeof *c->reading);
    c->baseline = o->baseline ? find_baseline(s, o->baseline, e) : s->baseline;
    int family = find_family(o->family ? o->family : s->family, e);
    if (c->baseline < 0 || family < 0 || read_all(runs, c, e) || check_text(c, e)) {
        compare_free(c);
        return -1;
    }
    read_floor(c, s);
    for (int v = 0, first = 0; v < s->n_variants; v++) {
        fill_arm(c, s, v, o->baseline ? c->baseline : s->variant[v].baseline, first);
        first += c->arm[v].total;
    }
    for (int v = 0; v < s->n_variants; v++)
        c->family_size += !compare_is_baseline(c, v) && !c->arm[v].absent && !cannot_judge(c, &c->arm[v]);
    c->family = (enum family)family;
    c->alpha = stats_interval_alpha(c->family, c->family_size);
    for (int v = 0; v < s->n_variants; v++) contrast_arm(c, &c->arm[v]);
    judge_all(c);
    return 0;
}

void compare_free(struct comparison *c)
{
    free(c->arm);
    free(c->reading);
    free(c);
}
