/* Sentences and JSON of a comparison. */
#include "answer.h"
#include "export.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const answer_verdict[] = {
    "baseline", "better", "worse", "higher", "lower", "better where it finishes", "no difference detected",
    "too few pairs", "no such metric", "not causal"
};

const char *answer_unit(const struct comparison *c)
{
    return !strncmp(c->unit, "nat", 3) ? "nats" : c->unit;
}

int answer_digits(const struct comparison *c)
{
    double least = INFINITY;
    for (int i = 0; i < c->n_arms; i++) {
        double s = isnan(c->arm[i].paired.half) ? c->arm[i].paired.sd : c->arm[i].paired.half;
        if (s > 0) least = fmin(least, s);
    }
    int digits = isfinite(least) ? 1 - (int)floor(log10(least)) : 4;
    return digits < 3 ? 3 : digits > 7 ? 7 : digits;
}

const char *answer_p(double p, const char *less, const char *equal, char out[32])
{
    if (isnan(p)) snprintf(out, 32, "-");
    else if (p < 0.001) snprintf(out, 32, "%s0.001", less);
    else snprintf(out, 32, "%s%.3f", equal, p);
    return out;
}

static void append(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void append(char *out, size_t size, const char *format, ...)
{
    size_t used = strlen(out);
    va_list list;
    va_start(list, format);
    vsnprintf(out + used, size - used, format, list);
    va_end(list);
}

/* "; 2 of its 5 runs diverged" */
static void append_runs(char *out, size_t size, int some, int all, const char *did)
{
    if (some && all == 1) append(out, size, "; its run %s", did);
    else if (some) append(out, size, "; %d of its %d runs %s", some, all, did);
}

/* What was measured is causal, and what was trained is not. */
static void append_learnt(const struct comparison *c, const struct arm *a, char *out, size_t size)
{
    if (a->variant->looks_ahead == AHEAD_TRAINING && !compare_saw_later(c, a))
        append(out, size, "; %s saw later tokens in training alone", a->variant->name);
}

/* What the mean does not show. */
static void append_doubts(const struct comparison *c, const struct arm *a, char *out, size_t size)
{
    const struct arm *base = compare_baseline(c, a);
    const struct spread *s = &a->spread;
    int digits = answer_digits(c);
    const char *wider = s->variant > s->baseline ? a->variant->name : base->variant->name;
    if (s->differ)
        append(out, size, "; spreads differ (sd %.*f against %.*f): few seeds hide bad ones of %s; median %+.*f, %s in "
                          "%d of %d pairs",
               digits, s->variant, digits, s->baseline, wider, digits, a->median, c->better ? "better" : "higher",
               a->wins, a->paired.n);
    if (a->rests == 1) append(out, size, "; rests on seed %d", a->rests_on);
    if (a->rests > 1) append(out, size, "; rests on each of %d seeds", a->rests);
    if (a->verdict != VERDICT_PARTIAL) append_runs(out, size, a->diverged, a->total, "diverged");
    append_learnt(c, a, out, size);
    append_learnt(c, base, out, size);
    append_runs(out, size, a->untaught, a->total, a->total == 1 ? "has not learned" : "have not learned");
}

static const char *verb(enum verdict verdict)
{
    return verdict == VERDICT_BETTER   ? "beats"
           : verdict == VERDICT_WORSE  ? "loses to"
           : verdict == VERDICT_HIGHER ? "is higher than"
                                       : "is lower than";
}

void answer_sentence(const struct comparison *c, int arm, char *out, size_t size)
{
    const struct arm *a = &c->arm[arm], *b = compare_baseline(c, a);
    const char *name = a->variant->name, *base = b->variant->name, *unit = answer_unit(c), *gap = *unit ? " " : "";
    int digits = answer_digits(c), n = a->paired.n;
    char p[32];
    answer_p(a->p, "p < ", "p = ", p);
    if (a->paired.sd == 0 && a->paired.delta != 0) snprintf(p, sizeof p, "all differ by the same");
    switch (a->verdict) {
    case VERDICT_BASELINE:
        snprintf(out, size, "%s is the baseline", name);
        break;
    case VERDICT_BETTER: case VERDICT_WORSE: case VERDICT_HIGHER: case VERDICT_LOWER:
        snprintf(out, size, "%s %s %s by %.*f ± %.*f%s%s (%d paired seeds, %s)", name, verb(a->verdict), base,
                 digits, fabs(a->paired.delta), digits, a->paired.half, gap, unit, n, p);
        break;
    case VERDICT_PARTIAL:
        snprintf(out, size,
                 "%s is better than %s where it finishes (%+.*f ± %.*f%s%s, %d pairs), but diverged in %d "
                 "of %d runs against %d of %d",
                 name, base, digits, a->paired.delta, digits, a->paired.half, gap, unit, n, a->diverged, a->total,
                 b->diverged, b->total);
        break;
    case VERDICT_NONE:
        snprintf(out, size, "%s against %s: no difference detected, %+.*f ± %.*f%s%s (%d paired seeds, %s; smallest "
                            "detectable %.*f)", name, base,
                 digits, a->paired.delta, digits, a->paired.half, gap, unit, n, p, digits, a->detectable);
        break;
    case VERDICT_FEW:
        if (n == 0) snprintf(out, size, "%s against %s: no pair of runs to compare", name, base);
        else snprintf(out, size, "%s against %s: not tested, %+.*f%s%s (%d paired seed%s; no interval and no p-value "
                                 "below %d)", name, base,
                      digits, a->paired.delta, gap, unit, n, n == 1 ? "" : "s", STATS_LEAST);
        break;
    case VERDICT_ABSENT:
        snprintf(out, size, "%s has no %s: left out", name, c->metric);
        break;
    case VERDICT_AHEAD:
        snprintf(out, size,
                 "%s against %s: not to be judged, %+.*f%s%s: %s sees later tokens than it predicts, %s does not", name,
                 base, digits, a->paired.delta, gap, unit, compare_saw_later(c, a) ? name : base,
                 compare_saw_later(c, a) ? base : name);
    }
    if (a->verdict != VERDICT_BASELINE) append_doubts(c, a, out, size);
}

static json_t *reading_json(const struct reading *o)
{
    json_t *j = json_pack("{s:i, s:s, s:o}", "replicate", o->run->replicate,
                          "status", condition_name(o->run->condition), "value", export_number(o->value));
    if (o->step >= 0) json_object_set_new(j, "step", json_integer(o->step));
    if (!o->counted) json_object_set_new(j, "not_counted", json_string(o->why));
    if (o->untaught) json_object_set_new(j, "not_learned", json_true());
    if (o->collapsed) json_object_set_new(j, "collapsed", json_true());
    return j;
}

static json_t *arm_json(const struct comparison *c, int arm)
{
    const struct arm *a = &c->arm[arm];
    json_t *runs = json_array();
    for (int i = 0; i < a->total; i++) json_array_append_new(runs, reading_json(&c->reading[a->first + i]));
    json_t *j = json_pack("{s:s, s:i, s:i, s:o, s:o, s:I, s:I, s:o, s:I, s:o}", "variant", a->variant->name,
                          "runs_asked", a->total, "n", a->n, "mean", export_number(a->mean), "sd", export_number(a->sd),
                          "params_total", (json_int_t)a->variant->counts.total,
                          "params_active", (json_int_t)a->variant->counts.active,
                          "train_flops_per_token", export_number(a->variant->train_flops_per_token),
                          "kv_bytes_per_token", (json_int_t)a->variant->kv_bytes_per_token, "runs", runs);
    if (compare_is_baseline(c, arm)) return j;
    json_object_set_new(j, "baseline", json_string(compare_baseline(c, a)->variant->name));
    char sentence[ANSWER_SIZE];
    answer_sentence(c, arm, sentence, sizeof sentence);
    json_object_set_new(j, "paired", json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i}",
                                               "pairs", a->paired.n, "delta", export_number(a->paired.delta),
                                               "sd", export_number(a->paired.sd),
                                               "ci_low", export_number(a->paired.delta - a->paired.half),
                                               "ci_high", export_number(a->paired.delta + a->paired.half),
                                               "p", export_number(a->paired.p), "p_family", export_number(a->p),
                                               "rho", export_number(a->rho), "detectable", export_number(a->detectable),
                                               "median", export_number(a->median), "wins", a->wins));
    json_object_set_new(j, "spread", json_pack("{s:o, s:o, s:o, s:b}", "sd_variant", export_number(a->spread.variant),
                                               "sd_baseline", export_number(a->spread.baseline),
                                               "p", export_number(a->spread.p),
                                               "differ", a->spread.differ));
    json_object_set_new(j, "verdict_rests_on_seeds", json_integer(a->rests));
    json_object_set_new(j, "unpaired", json_pack("{s:o, s:o, s:o, s:o, s:o}", "delta", export_number(a->welch.delta),
                                                 "df", export_number(a->welch.df),
                                                 "ci_low", export_number(a->welch.delta - a->welch.half),
                                                 "ci_high", export_number(a->welch.delta + a->welch.half),
                                                 "p", export_number(a->welch.p)));
    json_object_set_new(j, "verdict", json_string(answer_verdict[a->verdict]));
    json_object_set_new(j, "answer", json_string(sentence));
    return j;
}

json_t *answer_json(const struct comparison *c)
{
    static const char *const at[] = { "end", "step", "tokens" };
    json_t *arms = json_array();
    for (int i = 0; i < c->n_arms; i++) json_array_append_new(arms, arm_json(c, i));
    bool simultaneous = c->family == FAMILY_SIDAK && c->family_size > 1;
    return json_pack("{s:s, s:i, s:s, s:s, s:s?, s:s, s:o, s:s, s:i, s:f, s:s, s:o, s:o, s:o}",
                     "format", "sluice-comparison", "version", 1, "metric", c->metric, "unit", c->unit,
                     "better", c->known ? better_name[c->better] : NULL, "at", at[c->options.at],
                     "where", c->options.at ? export_number(c->options.where) : json_null(),
                     "family", stats_family[c->family],
                     "family_size", c->family_size, "ci_level", 1 - c->alpha,
                     "ci_kind", simultaneous ? "simultaneous" : "single", "unigram", export_number(c->floor.unigram),
                     "bigram", export_number(c->floor.bigram), "variants", arms);
}
