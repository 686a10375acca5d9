/* Sentences and JSON of a comparison. */
#include "answer.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const answer_verdict[] = { "baseline", "better", "worse", "no difference detected", "too few pairs" };

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

void answer_sentence(const struct comparison *c, int arm, char *out, size_t size)
{
    const struct arm *a = &c->arm[arm];
    const char *name = a->variant->name, *base = c->arm[c->baseline].variant->name, *unit = answer_unit(c), *gap = *unit ? " " : "";
    int digits = answer_digits(c), n = a->paired.n, diverged = 0;
    char p[32];
    for (int i = 0; i < a->total; i++) diverged += c->reading[a->first + i].run->condition == STATUS_DIVERGED && !c->reading[a->first + i].counted;
    if (a->p_holm < 0.001) snprintf(p, sizeof p, "p < 0.001");
    else snprintf(p, sizeof p, "p = %.3f", a->p_holm);
    switch (a->verdict) {
    case VERDICT_BASELINE:
        snprintf(out, size, "%s is the baseline", name);
        break;
    case VERDICT_BETTER: case VERDICT_WORSE:
        snprintf(out, size, "%s %s %s by %.*f ± %.*f%s%s (%d paired seeds, %s)", name, a->verdict == VERDICT_BETTER ? "beats" : "loses to", base,
                 digits, fabs(a->paired.delta), digits, a->paired.half, gap, unit, n, p);
        break;
    case VERDICT_NONE:
        snprintf(out, size, "%s against %s: no difference detected, %+.*f ± %.*f%s%s (%d paired seeds, %s; smallest detectable %.*f)", name, base,
                 digits, a->paired.delta, digits, a->paired.half, gap, unit, n, p, digits, a->detectable);
        break;
    case VERDICT_FEW:
        if (n == 0) snprintf(out, size, "%s against %s: no pair of runs to compare", name, base);
        else snprintf(out, size, "%s differs from %s by %+.*f%s%s (%d paired seed%s; no interval and no p-value below %d)", name, base,
                      digits, a->paired.delta, gap, unit, n, n == 1 ? "" : "s", STATS_LEAST);
    }
    size_t used = strlen(out);
    if (diverged) snprintf(out + used, size - used, "; %d of its %d runs diverged", diverged, a->total);
}

/* JSON has no NaN. */
static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *reading_json(const struct reading *o)
{
    json_t *j = json_pack("{s:i, s:s, s:o}", "replicate", o->run->replicate, "status", condition_name(o->run->condition), "value", number(o->value));
    if (o->step >= 0) json_object_set_new(j, "step", json_integer(o->step));
    if (!o->counted) json_object_set_new(j, "not_counted", json_string(o->why));
    return j;
}

static json_t *arm_json(const struct comparison *c, int arm)
{
    const struct arm *a = &c->arm[arm];
    json_t *runs = json_array();
    for (int i = 0; i < a->total; i++) json_array_append_new(runs, reading_json(&c->reading[a->first + i]));
    json_t *j = json_pack("{s:s, s:i, s:i, s:o, s:o, s:I, s:I, s:o, s:I, s:o}", "variant", a->variant->name, "runs_asked", a->total, "n", a->n, "mean", number(a->mean),
                          "sd", number(a->sd), "params_total", (json_int_t)a->variant->counts.total, "params_active", (json_int_t)a->variant->counts.active,
                          "train_flops_per_token", number(a->variant->train_flops_per_token), "kv_bytes_per_token", (json_int_t)a->variant->kv_bytes_per_token, "runs", runs);
    if (arm == c->baseline) return j;
    char sentence[512];
    answer_sentence(c, arm, sentence, sizeof sentence);
    json_object_set_new(j, "paired", json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "pairs", a->paired.n, "delta", number(a->paired.delta),
        "sd", number(a->paired.sd), "ci_low", number(a->paired.delta - a->paired.half), "ci_high", number(a->paired.delta + a->paired.half), "p", number(a->paired.p),
        "p_holm", number(a->p_holm), "rho", number(a->rho), "smallest_detectable", number(a->detectable)));
    json_object_set_new(j, "unpaired", json_pack("{s:o, s:o, s:o, s:o, s:o}", "delta", number(a->welch.delta), "df", number(a->welch.df),
        "ci_low", number(a->welch.delta - a->welch.half), "ci_high", number(a->welch.delta + a->welch.half), "p", number(a->welch.p)));
    json_object_set_new(j, "verdict", json_string(answer_verdict[a->verdict]));
    json_object_set_new(j, "answer", json_string(sentence));
    return j;
}

json_t *answer_json(const struct comparison *c)
{
    static const char *const at[] = { "end", "step", "tokens" };
    json_t *arms = json_array();
    for (int i = 0; i < c->n_arms; i++) json_array_append_new(arms, arm_json(c, i));
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:o, s:i, s:o}", "format", "sluice-comparison", "version", 1, "metric", c->metric, "unit", c->unit,
                     "better", c->options.higher ? "higher" : "lower", "at", at[c->options.at], "where", c->options.at ? number(c->options.where) : json_null(),
                     "tests", c->tests, "variants", arms);
}
