/* sluice compare: the answer of a study. */
#include "answer.h"
#include "status.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "metric", 'm', "NAME", "metric to compare (default: the study's primary metric)" },
    { "baseline", 'b', "NAME", "variant to compare with (default: the study's baseline)" },
    { "at", 0, "PLACE", "step=N or tokens=N: the last row at or before it (default: the end of finished runs)" },
    { "family", 0, "NAME",
      "how the variants share the 5 % of false claims: sidak, holm or none (default: the study's)" },
    { "unpaired", 0, NULL, "also show Welch's test, which ignores the pairs" },
    { "json", 0, NULL, "machine-readable" },
    { 0 }
};

static int parse_at(const struct call *c, struct compare_options *o)
{
    const char *text = cli_value(c, "at", NULL), *equals = text ? strchr(text, '=') : NULL;
    if (!text) return 0;
    char *end = NULL;
    o->where = equals ? strtod(equals + 1, &end) : 0;
    if (!strncmp(text, "step=", 5)) o->at = AT_STEP;
    else if (!strncmp(text, "tokens=", 7)) o->at = AT_TOKENS;
    if (o->at == AT_END || end == equals + 1 || *end || !(o->where >= 0)) {
        cli_usage(c, "--at %s: must be step=N or tokens=N", text);
        return -1;
    }
    return 0;
}

static void print_table(const struct comparison *c, bool unpaired)
{
    const char *columns[] = { "variant", ">n", ">mean", ">sd", ">difference", ">95 % interval", ">p", ">rho",
                              ">detectable", ">active", "verdict", ">unpaired p" };
    int digits = answer_digits(c);
    char text[FORMAT_SIZE];
    struct table *t = table_new(columns, COUNT(columns) - !unpaired);
    for (int i = 0; i < c->n_arms; i++) {
        const struct arm *a = &c->arm[i];
        const struct contrast *p = &a->paired;
        bool base = compare_is_baseline(c, i);
        table_cell(t, "%s", a->variant->name);
        table_cell(t, a->n == a->total ? "%d" : "%d of %d", a->n, a->total);
        table_cell(t, "%s", format_real(a->mean, digits, text));
        table_cell(t, "%s", format_real(a->sd, digits, text));
        if (base || isnan(p->delta)) table_cell(t, "-"); else table_cell(t, "%+.*f", digits, p->delta);
        if (base || isnan(p->half)) table_cell(t, "-");
        else table_cell(t, "%+.*f … %+.*f", digits, p->delta - p->half, digits, p->delta + p->half);
        table_cell(t, "%s", answer_p(base ? NAN : a->p, "<", "", text));
        table_cell(t, "%s", format_real(base ? NAN : a->rho, 2, text));
        table_cell(t, "%s", format_real(base ? NAN : a->detectable, digits, text));
        table_cell(t, "%s", format_count((double)a->variant->counts.active, text));
        table_cell(t, "%s", answer_verdict[a->verdict]);
        table_paint(t, a->verdict == VERDICT_BETTER ? PAINT_GOOD : a->verdict == VERDICT_WORSE ? PAINT_BAD : PAINT_OFF);
        if (unpaired) table_cell(t, "%s", answer_p(base ? NAN : a->welch.p, "<", "", text));
    }
    table_print(t, stdout);
}

static void print_answers(const struct comparison *c)
{
    char text[ANSWER_SIZE];
    putchar('\n');
    for (int i = 0; i < c->n_arms; i++) {
        if (compare_is_baseline(c, i)) continue;
        answer_sentence(c, i, text, sizeof text);
        text_print(stdout, 0, 2, "%s\n", text);
    }
    if (c->n_arms == 1)
        text_print(stdout, 0, 2, "%s is the study's only variant: there is nothing to compare it with\n",
                   c->arm[0].variant->name);
}

/* Runs that are in no mean, with their reasons. */
static void print_left_out(const struct comparison *c)
{
    int n = 0;
    for (int i = 0; i < c->n_readings; i++) n += !c->reading[i].counted;
    if (!n) return;
    printf("\nnot counted: %d of %d runs\n", n, c->n_readings);
    for (int i = 0; i < c->n_readings; i++)
        if (!c->reading[i].counted) text_print(stdout, 0, 2, "  %s: %s\n", c->reading[i].run->name, c->reading[i].why);
}

/* Runs that are in a mean and measure nothing but that they have not learned. */
static void print_untaught(const struct comparison *c)
{
    int n = 0;
    for (int i = 0; i < c->n_arms; i++) n += c->arm[i].untaught;
    if (!n) return;
    text_print(stdout, 0, 2, "\nnot learned: %d run%s in these means end%s at or above the unigram model or above the "
                             "log of the vocabulary\n", n, n == 1 ? "" : "s", n == 1 ? "s" : "");
    for (int i = 0; i < c->n_arms; i++)
        if (c->arm[i].untaught)
            printf("  %s: %d of %d\n", c->arm[i].variant->name, c->arm[i].untaught, c->arm[i].total);
}

/* Runs that leave most of their experts idle. */
static void print_collapsed(const struct comparison *c)
{
    int n = 0;
    for (int i = 0; i < c->n_arms; i++) n += c->arm[i].collapsed;
    if (!n) return;
    text_print(stdout, 0, 2, "\ncollapsed: %d run%s end%s with a layer of which few experts get nearly all tokens: "
                             "'sluice show RUN'\n", n, n == 1 ? "" : "s", n == 1 ? "s" : "");
    for (int i = 0; i < c->n_arms; i++)
        if (c->arm[i].collapsed)
            printf("  %s: %d of %d\n", c->arm[i].variant->name, c->arm[i].collapsed, c->arm[i].total);
}

static void print_family(const struct comparison *c)
{
    int k = c->family_size;
    char shared[96] = "";
    if (k > 1 && c->family == FAMILY_NONE)
        snprintf(shared, sizeof shared, ", each variant for itself: one in 20 equal ones is called different");
    else if (k > 1 && c->family == FAMILY_SIDAK)
        snprintf(shared, sizeof shared, ", Sidak's correction over %d variants; the intervals hold all at once", k);
    else if (k > 1)
        snprintf(shared, sizeof shared, ", Holm's correction of p over %d variants; intervals are not simultaneous", k);
    text_print(stdout, 0, 2, "p and intervals: paired t test, two-sided%s.\n", shared);
    text_print(stdout, 0, 2, "detectable: the smallest difference that this many pairs show with 80 %% power at that "
                             "level. rho: correlation of the pairs.\n");
}

/* Runs of one seed that are branches of one trunk. */
static void print_trunks(struct study *s)
{
    int branches = 0;
    study_trunks(s);
    for (int p = 0; p < s->n_points; p++) branches += s->point[p].shared > 0;
    if (!branches) return;
    text_print(stdout, 0, 2, "\nbranches: %d of %d runs begin with the steps of another run of their seed; they are no "
                             "independent replicates of it. n counts seeds, and differences are within seeds.\n",
               branches, s->n_points);
}

static void print_notes(const struct comparison *c)
{
    static const char *const direction[] = { "neither higher nor lower is better", "lower is better",
                                             "higher is better" };
    const struct arm *base = &c->arm[c->baseline];
    double worst = 0;
    bool tested = false;
    int baselines = 0;
    char unit[48] = "", text[FORMAT_SIZE];
    if (*c->unit) snprintf(unit, sizeof unit, " (%s)", c->unit);
    for (int i = 0; i < c->n_arms; i++) baselines += compare_is_baseline(c, i);
    if (!c->known) text_print(stdout, 0, 2, "\nNo run has %s yet.\n", c->metric);
    else
        text_print(stdout, 0, 2, "\n%s%s, %s; difference = variant - %s, over pairs of runs with one seed.\n",
                   c->metric, unit, direction[c->better],
                   baselines > 1 ? "the baseline of as many steps" : base->variant->name);
    for (int i = 0; i < c->n_arms; i++) tested |= !isnan(c->arm[i].p);
    if (tested) print_family(c);
    for (int i = 0; i < c->n_arms && base->variant->counts.active; i++)
        worst = fmax(worst, fabs((double)c->arm[i].variant->counts.active / (double)base->variant->counts.active - 1));
    if (c->n_arms > 1 && worst == 0) printf("All variants have the same number of active parameters.\n");
    else if (worst > 0)
        printf("Active parameters differ from the baseline's by up to %s %%.\n", format_figures(100 * worst, 2, text));
    if (c->step_low < c->step_high)
        printf("The values are from different steps: %lld to %lld.\n", (long long)c->step_low, (long long)c->step_high);
}

/* As a floor for losses in nats a byte. */
static void print_floor(const struct runs *runs, const struct comparison *c)
{
    const struct arm *base = &c->arm[c->baseline];
    if (strcmp(c->metric, "eval.loss") != 0 || c->step_high == 0) return;
    if (isnan(c->floor.bigram)) {
        text_print(stdout, 0, 2, "No unigram and bigram models to compare with: %s\n", c->why_no_floor);
        return;
    }
    text_print(stdout, 0, 2,
               "For reference, on the same %lld held-out tokens, from the text that %s/0 was trained on: "
               "a unigram model of bytes has %.4f nats, a bigram model %.4f.\n",
               (long long)c->floor.tokens, runs->study->variant[runs->study->baseline].name, c->floor.unigram,
               c->floor.bigram);
    if (base->mean > c->floor.bigram)
        text_print(stdout, 0, 2,
                   "The baseline is above the bigram model: differences here are of when learning begins.\n");
}

/* Runs that diverged, and none that did not, are no answer. */
static enum code outcome_of(const struct comparison *c)
{
    int counted = 0, diverged = 0;
    for (int i = 0; i < c->n_arms; i++) {
        counted += c->arm[i].n;
        diverged += c->arm[i].diverged;
    }
    return diverged && !counted ? CODE_DIVERGED : CODE_OK;
}

static enum code run(const struct call *c)
{
    struct compare_options o = { .metric = cli_value(c, "metric", NULL), .baseline = cli_value(c, "baseline", NULL),
                                 .family = cli_value(c, "family", NULL) };
    struct runs *runs;
    struct comparison *result;
    struct err e;
    if (parse_at(c, &o)) return CODE_USAGE;
    if (runs_open(c->word[0], &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (compare_study(runs, &o, &result, &e)) {
        status_unreadable(runs);
        runs_close(runs);
        return cli_fail(CODE_INPUT, "%s", e.text);
    }
    if (cli_flag(c, "json")) cli_json(answer_json(result));
    else {
        print_table(result, cli_flag(c, "unpaired"));
        print_answers(result);
        print_left_out(result);
        print_untaught(result);
        print_collapsed(result);
        print_trunks(runs->study);
        print_notes(result);
        print_floor(runs, result);
        status_earlier(runs, stdout);
    }
    enum code code = status_unreadable(runs);
    if (code == CODE_OK) code = outcome_of(result);
    compare_free(result);
    runs_close(runs);
    return code;
}

const struct command command_compare = {
    .name = "compare", .about = "every variant against the baseline: difference, interval, p, n", .usage = "STUDY",
    .example = "sluice compare runs/quickstart\nsluice compare runs/quickstart --metric train.max_vio:mean --at "
               "step=200", .options = options, .least = 1, .most = 1, .run = run,
    .more = "Runs are paired by replicate: both of a pair saw the same data in the same order and drew the same "
            "initial weights.\nOnly finished runs count, unless --at names a place: then every run that got there "
            "counts. What is not counted is listed.\nBelow four pairs there is no interval and no p-value. Of metrics "
            "that are neither better high nor low it says which is higher.\n"
            "Leaves with code 5 when every run that could count has diverged, with code 4 when one cannot be read: the "
            "others are compared all the same.",
};
