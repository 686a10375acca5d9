/* Reading, comparing, exporting and drawing a study whose numbers are known. */
#include "study_fixture.h"
#include "answer.h"
#include "export.h"
#include "metric.h"
#include "plot.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <cmocka.h>

static char folder[64], study_dir[96], few_dir[96], odd_dir[96], wide_dir[96];
static const struct fixture_variant variants[] = { { "base", 0, -1, -1 }, { "gated", -0.012, -1, -1 },
                                                   { "wild", 0, 2, -1 } };
static const struct fixture_variant few[] = { { "base", 0, -1, -1 }, { "other", 0.1, -1, 1 } };
static const struct fixture_variant odd[] = { { "base", 0, -1, -1 }, { "bare", 0.01, -1, -1 },
                                              { "brittle", -0.1, 2, -1 }, { "dull", 3, -1, -1 } };
enum { REPLICATES = 4, ODD = COUNT(odd), ODD_REPLICATES = 6, WIDE = 14, WIDE_REPLICATES = 5 };

static void near(double got, double want, double within)
{
    if (!(fabs(got - want) <= within)) fail_msg("got %.9g, want %.9g within %g", got, want, within);
}

static struct runs *open_runs(const char *path)
{
    struct runs *runs;
    struct err e;
    if (runs_open(path, &runs, &e)) fail_msg("%s", e.text);
    for (int i = 0; i < runs->n; i++) run_look(&runs->run[i]);
    return runs;
}

static struct comparison *compare(const struct runs *runs, struct compare_options o)
{
    struct comparison *c;
    struct err e;
    if (compare_study(runs, &o, &c, &e)) fail_msg("%s", e.text);
    return c;
}

/* ---- conditions ---- */

static void test_conditions(void **state)
{
    (void)state;
    struct runs *runs = open_runs(study_dir);
    assert_int_equal(runs->n, 3 * REPLICATES);
    assert_string_equal(runs->run[5].name, "gated/1");
    assert_int_equal(runs->run[0].condition, STATUS_FINISHED);
    assert_int_equal(runs->run[0].step, FIXTURE_STEPS);
    assert_int_equal(runs->run[0].steps, FIXTURE_STEPS);
    assert_int_equal(runs->run[10].condition, STATUS_DIVERGED);
    assert_int_equal(runs->run[10].step, FIXTURE_STEPS / 2);
    char *file = xstrdup(runs->run[6].path);
    runs_close(runs);

    runs = open_runs(file);                                 /* one run finds its study */
    assert_int_equal(runs->n, 1);
    assert_string_equal(runs->run[0].name, "gated/2");
    assert_non_null(runs->study);
    runs_close(runs);
    free(file);

    runs = open_runs(few_dir);
    assert_int_equal(runs->run[4].condition, CONDITION_PENDING);
    runs_close(runs);
}

/* A run that has written its first row and trains on. */
_Noreturn static void write_and_wait(const char *file, const char *lock, int told)
{
    static const struct series series[] = { { STORE_TRAIN, "loss", "nat/token", "training loss", STORE_F64, 0, { 0 },
                                              { 0 }, false, BETTER_LOWER } };
    const struct store_plan plan = { .n_series = 1, .series = series, .config_json = "{}", .script_text = "",
                                     .script_path = "" };
    struct store *store;
    struct err e;
    const double loss = 3, *row[] = { &loss };
    int fd = open(lock, O_RDWR | O_CREAT, 0666);
    bool good = flock(fd, LOCK_EX) == 0;
    fixture_must(store_create(&store, file, &plan, &e), &e);
    fixture_must(store_append(store, STORE_TRAIN, 1, row, &e) || store_flush(store, &e), &e);
    if (good && write(told, "x", 1) == 1) pause();
    _exit(1);
}

/* A file that says running is alive exactly while a process holds the lock beside it. */
static void test_dead(void **state)
{
    (void)state;
    char file[128], lock[128], byte;
    int ends[2];
    snprintf(file, sizeof file, "%s/run.h5", folder);
    snprintf(lock, sizeof lock, "%s/run.lock", folder);
    assert_int_equal(pipe(ends), 0);
    pid_t writer = fork();
    if (writer == 0) write_and_wait(file, lock, ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    struct runs *runs = open_runs(file);
    assert_int_equal(runs->run[0].condition, STATUS_RUNNING);
    assert_int_equal(runs->run[0].step, 1);
    near(metric_last(&runs->run[0], "train.loss"), 3, 0);
    runs_close(runs);
    kill(writer, SIGKILL);
    assert_int_equal(waitpid(writer, NULL, 0), writer);
    runs = open_runs(file);
    assert_int_equal(runs->run[0].condition, CONDITION_DEAD);
    runs_close(runs);
    close(ends[0]);
    close(ends[1]);
}

/* ---- the answer ---- */

static double true_loss(int variant, int replicate, int64_t step)
{
    return fixture_loss(&variants[variant], variant, replicate, step);
}

static void test_compare(void **state)
{
    (void)state;
    struct runs *runs = open_runs(study_dir);
    struct comparison *c = compare(runs, (struct compare_options){ 0 });
    const struct arm *base = &c->arm[0], *gated = &c->arm[1], *wild = &c->arm[2];
    double x[REPLICATES], y[REPLICATES], mean = 0;
    for (int k = 0; k < REPLICATES; k++) {
        x[k] = true_loss(1, k, FIXTURE_STEPS);
        y[k] = true_loss(0, k, FIXTURE_STEPS);
        mean += y[k] / REPLICATES;
    }
    struct contrast expected = stats_paired(x, y, REPLICATES, stats_alpha(FAMILY_SIDAK, 2));
    assert_string_equal(c->metric, "eval.loss");
    assert_string_equal(c->unit, "nat/token");
    near(base->mean, mean, 1e-12);
    near(gated->paired.delta, expected.delta, 1e-12);
    near(gated->paired.half, expected.half, 1e-12);
    near(gated->paired.p, expected.p, 1e-12);
    assert_int_equal(gated->verdict, VERDICT_BETTER);
    assert_true(gated->rho > 0.95 && gated->welch.half > 5 * gated->paired.half);   /* what pairing is worth */
    assert_int_equal(c->family_size, 2);                    /* wild could have been tested, had it not diverged */
    near(gated->p, 1 - pow(1 - expected.p, 2), 1e-12);

    assert_int_equal(wild->total, REPLICATES);              /* the diverged run is listed, and in no mean */
    assert_int_equal(wild->n, REPLICATES - 1);
    assert_int_equal(wild->verdict, VERDICT_FEW);
    assert_true(isnan(wild->paired.p) && isnan(wild->paired.half) && isnan(wild->detectable));
    assert_false(c->reading[wild->first + 2].counted);
    assert_string_equal(c->reading[wild->first + 2].why, "diverged at step 100 of 200");

    char sentence[ANSWER_SIZE];
    answer_sentence(c, 1, sentence, sizeof sentence);
    assert_non_null(strstr(sentence, "gated beats base by 0.0"));
    assert_non_null(strstr(sentence, " nats (4 paired seeds, p < 0.001)"));
    answer_sentence(c, 2, sentence, sizeof sentence);
    assert_non_null(strstr(sentence, "wild against base: not tested, "));
    assert_non_null(strstr(sentence, "3 paired seeds; no interval and no p-value below 4)"));
    assert_non_null(strstr(sentence, "1 of its 4 runs diverged"));
    compare_free(c);

    c = compare(runs, (struct compare_options){ .baseline = "gated" });
    near(c->arm[0].paired.delta, -expected.delta, 1e-12);
    assert_int_equal(c->arm[0].verdict, VERDICT_WORSE);
    compare_free(c);
    runs_close(runs);
}

static void test_compare_at(void **state)
{
    (void)state;
    struct runs *runs = open_runs(study_dir);
    struct comparison *c = compare(runs, (struct compare_options){ .at = AT_STEP, .where = 95 });
    assert_int_equal(c->step_low, 80);                      /* the last evaluation at or before it */
    assert_int_equal(c->step_high, 80);
    assert_int_equal(c->arm[2].n, REPLICATES);              /* the diverged run had got there */
    near(c->reading[0].value, true_loss(0, 0, 80), 1e-12);
    compare_free(c);
    c = compare(runs, (struct compare_options){ .at = AT_TOKENS, .where = 120.0 * FIXTURE_TOKENS });
    assert_int_equal(c->step_high, 120);
    assert_int_equal(c->arm[2].n, REPLICATES - 1);
    assert_non_null(strstr(c->reading[c->arm[2].first + 2].why, "has not reached tokens 491520"));
    compare_free(c);
    c = compare(runs, (struct compare_options){ .at = AT_STEP, .where = 1000 });
    assert_int_equal(c->arm[0].n, 0);
    compare_free(c);
    runs_close(runs);
}

static void refuse(const struct runs *runs, struct compare_options o, const char *words)
{
    struct comparison *c;
    struct err e = { "" };
    assert_int_equal(compare_study(runs, &o, &c, &e), -1);
    if (!strstr(e.text, words)) fail_msg("'%s' does not say '%s'", e.text, words);
}

/* A metric is read the way it declares; one without a better side is higher or lower, and beats nobody. */
static void test_direction(void **state)
{
    (void)state;
    struct runs *runs = open_runs(study_dir);
    static const struct { const char *metric; enum verdict verdict; const char *words; } want[] = {
        { "eval.loss", VERDICT_BETTER, "gated beats base by " },
        { "eval.accuracy", VERDICT_BETTER, "gated beats base by " },
        { "eval.width", VERDICT_LOWER, "gated is lower than base by " },
        { "train.wall_time", VERDICT_NONE, "gated against base: no difference detected" },
    };
    for (int i = 0; i < COUNT(want); i++) {
        struct comparison *c = compare(runs, (struct compare_options){ .metric = want[i].metric });
        char sentence[ANSWER_SIZE];
        assert_int_equal(c->arm[1].verdict, want[i].verdict);
        answer_sentence(c, 1, sentence, sizeof sentence);
        if (!strstr(sentence, want[i].words)) fail_msg("%s: '%s'", want[i].metric, sentence);
        compare_free(c);
    }
    runs_close(runs);
}

/* Of every variant of a wide study: p, interval and verdict say the same, and it rests on the seeds without which it
   would not be. */
static void hold_together(const struct comparison *c, int arm)
{
    const struct arm *a = &c->arm[arm], *b = &c->arm[c->baseline];
    double x[WIDE_REPLICATES], y[WIDE_REPLICATES];
    bool excludes_zero = fabs(a->paired.delta) > a->paired.half,
         differs = a->verdict == VERDICT_BETTER || a->verdict == VERDICT_WORSE;
    int rests = 0;
    assert_int_equal(excludes_zero, a->p < 0.05);
    assert_int_equal(excludes_zero, differs);
    if (differs) assert_int_equal(a->verdict == VERDICT_BETTER, a->paired.delta < 0);
    for (int leave = 0; leave < WIDE_REPLICATES; leave++) {
        int n = 0;
        for (int k = 0; k < WIDE_REPLICATES; k++) {
            if (k == leave) continue;
            x[n] = c->reading[a->first + k].value;
            y[n++] = c->reading[b->first + k].value;
        }
        struct contrast without = stats_paired(x, y, n, c->alpha);
        rests += (fabs(without.delta) > without.half) != excludes_zero;
    }
    assert_int_equal(a->rests, rests);
}

static void test_agreement(void **state)
{
    (void)state;
    struct runs *runs = open_runs(wide_dir);
    struct comparison *c = compare(runs, (struct compare_options){ 0 });
    int differ = 0, resting = 0;
    assert_int_equal(c->family_size, WIDE - 1);
    near(pow(1 - c->alpha, WIDE - 1), 0.95, 1e-12);
    for (int i = 1; i < WIDE; i++) {
        hold_together(c, i);
        differ += c->arm[i].p < 0.05;
        resting += c->arm[i].rests > 0;
    }
    assert_true(differ > 3 && differ < WIDE - 4 && resting > 1);        /* both kinds occur */
    compare_free(c);
    runs_close(runs);
}

/* One that sees later tokens is neither better nor worse than one that does not, and costs the others nothing. */
static void test_looks_ahead(void **state)
{
    (void)state;
    struct runs *runs = open_runs(wide_dir);
    char sentence[ANSWER_SIZE];
    runs->study->variant[2].looks_ahead = AHEAD_ALWAYS;
    struct comparison *c = compare(runs, (struct compare_options){ 0 });
    assert_int_equal(c->family_size, WIDE - 2);
    assert_int_equal(c->arm[2].verdict, VERDICT_AHEAD);
    assert_true(isnan(c->arm[2].p) && c->arm[1].verdict != VERDICT_AHEAD);
    answer_sentence(c, 2, sentence, sizeof sentence);
    assert_non_null(strstr(sentence, "sees later tokens"));
    compare_free(c);
    runs->study->variant[2].looks_ahead = AHEAD_TRAINING;               /* what is evaluated is judged, and labelled */
    c = compare(runs, (struct compare_options){ 0 });
    assert_int_equal(c->family_size, WIDE - 1);
    assert_true(c->arm[2].verdict != VERDICT_AHEAD && !isnan(c->arm[2].p));
    answer_sentence(c, 2, sentence, sizeof sentence);
    assert_non_null(strstr(sentence, "saw later tokens in training alone"));
    answer_sentence(c, 1, sentence, sizeof sentence);
    assert_null(strstr(sentence, "later tokens"));
    compare_free(c);
    c = compare(runs, (struct compare_options){ .metric = "train.loss" });
    assert_int_equal(c->arm[2].verdict, VERDICT_AHEAD);
    answer_sentence(c, 2, sentence, sizeof sentence);
    assert_non_null(strstr(sentence, "sees later tokens than it predicts"));
    assert_null(strstr(sentence, "in training alone"));
    compare_free(c);
    for (int i = 0; i < WIDE; i++) runs->study->variant[i].looks_ahead = AHEAD_ALWAYS;
    c = compare(runs, (struct compare_options){ 0 });                   /* among themselves they are compared */
    assert_int_equal(c->family_size, WIDE - 1);
    assert_true(c->arm[2].verdict != VERDICT_AHEAD);
    compare_free(c);
    runs_close(runs);
}

/* A variant without the metric is left out by name and out of the family; a name that no run knows is a mistake. */
static void test_absent(void **state)
{
    (void)state;
    struct runs *runs = open_runs(odd_dir);
    struct comparison *c = compare(runs, (struct compare_options){ .metric = "eval.accuracy" });
    char sentence[ANSWER_SIZE];
    assert_int_equal(c->arm[1].verdict, VERDICT_ABSENT);
    assert_int_equal(c->family_size, ODD - 2);
    answer_sentence(c, 1, sentence, sizeof sentence);
    assert_string_equal(sentence, "bare has no eval.accuracy: left out");
    compare_free(c);
    refuse(runs, (struct compare_options){ .metric = "eval.acuracy" }, "did you mean 'eval.accuracy'?");
    refuse(runs, (struct compare_options){ .family = "hom" }, "did you mean 'holm'?");
    runs_close(runs);
}

/* A lower loss where it finishes is not better when it diverges more often; a run no better than counting is told
   apart. */
static void test_doubts(void **state)
{
    (void)state;
    struct runs *runs = open_runs(odd_dir);
    struct comparison *c = compare(runs, (struct compare_options){ 0 });
    char sentence[ANSWER_SIZE];
    assert_int_equal(c->arm[2].verdict, VERDICT_PARTIAL);
    answer_sentence(c, 2, sentence, sizeof sentence);
    assert_non_null(strstr(sentence, "brittle is better than base where it finishes ("));
    assert_non_null(strstr(sentence, "diverged in 1 of 6 runs against 0 of 6"));
    assert_int_equal(c->arm[3].untaught, ODD_REPLICATES);
    assert_int_equal(c->arm[0].untaught, 0);
    answer_sentence(c, 3, sentence, sizeof sentence);
    assert_non_null(strstr(sentence, "dull loses to base by "));
    assert_non_null(strstr(sentence, "6 of its 6 runs have not learned"));
    near(c->arm[0].spread.baseline, c->arm[0].sd, 1e-15);
    compare_free(c);
    runs_close(runs);
}

static void test_messages(void **state)
{
    (void)state;
    struct runs *runs = open_runs(study_dir), *none;
    struct err e;
    refuse(runs, (struct compare_options){ .metric = "eval.lss" }, "did you mean 'eval.loss'?");
    refuse(runs, (struct compare_options){ .metric = "train.max_vio" },
           "has 4 values a row; ask for 'train.max_vio:mean'");
    refuse(runs, (struct compare_options){ .metric = "train.max_vio:sum" }, "must be mean, max or min");
    refuse(runs, (struct compare_options){ .baseline = "gate" }, "did you mean 'gated'?");
    assert_int_equal(runs_open("/nowhere/at/all", &none, &e), -1);
    assert_non_null(strstr(e.text, "No such file"));
    assert_int_equal(runs_open("/", &none, &e), -1);
    assert_non_null(strstr(e.text, "neither a study"));
    runs_close(runs);
}

static void test_json(void **state)
{
    (void)state;
    struct runs *runs = open_runs(study_dir);
    struct comparison *c = compare(runs, (struct compare_options){ 0 });
    json_t *j = answer_json(c), *gated = json_array_get(json_object_get(j, "variants"), 1),
           *wild = json_array_get(json_object_get(j, "variants"), 2);
    near(json_number_value(json_object_get(json_object_get(gated, "paired"), "delta")), c->arm[1].paired.delta, 0);
    assert_string_equal(json_string_value(json_object_get(gated, "verdict")), "better");
    assert_true(json_is_null(json_object_get(json_object_get(wild, "paired"), "p")));
    assert_int_equal(json_array_size(json_object_get(wild, "runs")), REPLICATES);
    json_decref(j);
    compare_free(c);
    runs_close(runs);
}

/* ---- routing metrics ---- */

static void spikes_of(const char *name, const double *loss, const double *norm, int64_t n, double *out)
{
    const struct spiked *s = spikes_derived;
    while (s->name && strcmp(s->name, name) != 0) s++;
    assert_non_null(s->name);
    s->steps(loss, norm, n, out);
}

/* Golden: of 3 + .01 sin(.9 t + .1) with 4 at 200 and 3.05 at 250 the first is a spike, which hides the second from a
   standard deviation; 3.08 it does not hide from a median. A spike of either series is one; NaN is none. */
static void test_spikes(void **state)
{
    (void)state;
    enum { N = 300 };
    double loss[N], norm[N], plain[N], robust[N], score[N];
    for (int t = 0; t < N; t++) loss[t] = 3 + .01 * sin(.9 * t + .1), norm[t] = 1;
    loss[200] = 4;
    loss[250] = 3.05;
    loss[60] = NAN;
    spikes_of("spike", loss, norm, N, plain);
    spikes_of("spike_score", loss, norm, N, score);
    for (int t = 0; t < N; t++) assert_true(plain[t] == (t == 200));
    assert_true(score[199] == 0 && score[299] == 1. / 300);
    loss[250] = 3.08;
    spikes_of("spike", loss, norm, N, plain);
    spikes_of("spike_robust", loss, norm, N, robust);
    for (int t = 0; t < N; t++) {
        assert_true(plain[t] == (t == 200));
        assert_true(robust[t] == (t == 200 || t == 250));
    }
    for (int t = 0; t < N; t++) norm[t] = 1 + .1 * cos(.7 * t);
    norm[140] = INFINITY;
    spikes_of("spike", loss, norm, N, plain);
    assert_true(plain[140] == 1 && plain[141] == 0 && plain[200] == 1);
    loss[20] = 9;                                           /* before there are 128 to compare with */
    spikes_of("spike_robust", loss, norm, N, robust);
    assert_true(robust[20] == 0);
}

static const struct derived *derived_named(const char *name)
{
    const struct derived *d = routing_derived;
    while (d->name && strcmp(d->name, name) != 0) d++;
    assert_non_null(d->name);
    return d;
}

static void test_routing(void **state)
{
    (void)state;
    enum { ROWS = 150 };
    double *tokens = xcalloc(ROWS * 2 * 4, sizeof *tokens), dropped[ROWS * 2] = { 0 }, out[ROWS * 2];
    for (int t = 0; t < ROWS; t++) {
        /* The second layer has three experts */
        const double even[] = { 5, 5, 5, 5 }, skewed[] = { 12, 4, t < 120 ? 4 : 0, NAN };
        for (int e = 0; e < 4; e++) { tokens[t * 8 + e] = even[e]; tokens[t * 8 + 4 + e] = skewed[e]; }
        dropped[t * 2 + 1] = 5;
    }
    struct loads l = { ROWS, 2, 4, tokens, (const double[]){ 2, 2 }, .needed = { dropped } };
    routing_derive(derived_named("max_vio"), &l, out);
    near(out[0], 0, 0);
    near(out[1], 12 * 3 / 20.0 - 1, 1e-15);
    routing_derive(derived_named("load_entropy"), &l, out);
    near(out[0], log(4), 1e-15);
    near(out[1], -(0.6 * log(0.6) + 0.4 * log(0.2)), 1e-15);
    routing_derive(derived_named("drop_rate"), &l, out);
    near(out[0], 0, 0);
    near(out[1], 0.2, 1e-15);
    /* Expert 2 of the second layer: four tokens in the first row only */
    for (int t = 1; t < ROWS; t++) tokens[t * 8 + 6] = 0;
    routing_derive(derived_named("dead_frac"), &l, out);
    near(out[2 * 73 + 1], 0, 0);    /* 4 of 20 + 16 t tokens: below 1 % of the mean from t = 74 on */
    near(out[2 * 74 + 1], 1 / 3.0, 1e-15);
    near(out[2 * 149 + 1], 1 / 3.0, 1e-15);
    near(out[1], 0, 0);
    near(out[2 * 149], 0, 0);
    free(tokens);
}

/* The value of a derived metric in the last row of a single layer, each of whose `rows` rows is n. */
static double derived_of(const char *name, const double *n, int experts, double top_k, int rows)
{
    double *tokens = xcalloc((size_t)(rows * experts), sizeof *tokens), *out = xcalloc((size_t)rows, sizeof *out);
    for (int i = 0; i < rows * experts; i++) tokens[i] = n[i % experts];
    routing_derive(derived_named(name), &(struct loads){ rows, 1, experts, tokens, .top_k = &top_k }, out);
    double last = out[rows - 1];
    free(tokens);
    free(out);
    return last;
}

static void test_loads(void **state)
{
    (void)state;
    const double one[] = { 12, 4, 0, 0 }, even[] = { 4, 4, 4, 4 };
    near(derived_of("min_vio", one, 4, 1, 1), -1, 0);
    near(derived_of("load_cv2", one, 4, 1, 1), (64 + 0 + 16 + 16) / 64.0, 1e-15);
    near(derived_of("load_gini", one, 4, 1, 1), (-3 * 0 - 1 * 0 + 1 * 4 + 3 * 12) / 64.0, 1e-15);
    near(derived_of("effective_experts", one, 4, 1, 1), exp(-(0.75 * log(0.75) + 0.25 * log(0.25))), 1e-14);
    for (const char *const *name = (const char *const[]){ "min_vio", "load_cv2", "load_gini", NULL }; *name; name++)
        near(derived_of(*name, even, 4, 1, 1), 0, 0);
    near(derived_of("effective_experts", even, 4, 1, 1), 4, 1e-14);
    /* Alternating loads are even in sum */
    const double two[] = { 8, 0, 0, 8 };
    double out[2], top_k = 1;
    routing_derive(derived_named("max_vio_global"), &(struct loads){ 2, 1, 2, two, .top_k = &top_k }, out);
    near(out[0], 1, 0);
    near(out[1], 0, 0);
    /* More than twice the mean: 12 of 4, not 8 of 4 */
    near(derived_of("drowned_frac", one, 4, 1, 1), 0.25, 0);
    near(derived_of("drowned_frac", (const double[]){ 8, 8, 0, 0 }, 4, 1, 1), 0, 0);
}

/* Layer 0 has 4 experts that compute and 2 idle ones, which get half of all; layer 1 has 3 and 1, layer 2 no idle
   ones: load is that of experts that compute, whatever their idle neighbours get. */
static void test_idle_experts(void **state)
{
    (void)state;
    const double with[] = { 6, 2, 2, 2, 9, 3, /**/ 4, 4, 4, 100, NAN, NAN, /**/ 3, 3, 3, 3, 3, 3 },
                 without[] = { 6, 2, 2, 2, NAN, NAN, /**/ 4, 4, 4, NAN, NAN, NAN, /**/ 3, 3, 3, 3, 3, 3 };
    const double top_k[] = { 2, 2, 2 }, dropped[] = { 24, 112, 18 };
    const int64_t idle[] = { 2, 1, 0 };
    double got[3], want[3];
    for (const struct derived *d = routing_derived; d->name; d++) {
        if (d->of_choices || !strcmp(d->name, "max_vio_floor")) continue;
        routing_derive(d, &(struct loads){ 1, 3, 6, with, top_k, .idle = idle }, got);
        routing_derive(d, &(struct loads){ 1, 3, 6, without, .top_k = top_k }, want);
        for (int layer = 0; layer < 3; layer++) near(got[layer], want[layer], 0);
    }
    routing_derive(derived_named("max_vio"), &(struct loads){ 1, 3, 6, with, top_k, .idle = idle }, got);
    near(got[0], 1, 0);
    near(got[1], 0, 0);
    /* By chance each of 6 gets a third of the tokens: those that compute have 12 of them, 3 each */
    routing_derive(derived_named("max_vio_floor"), &(struct loads){ 1, 3, 6, with, top_k, .idle = idle }, got);
    near(got[0], sqrt((1 - 2 / 6.0) / 3) * sqrt(2 * log(4)), 1e-14);
    routing_derive(derived_named("drop_rate"), &(struct loads){ 1, 3, 6, with, top_k, idle, { dropped } }, got);
    for (int layer = 0; layer < 3; layer++) near(got[layer], 0.5, 0);
}

/* Of a mean share and a mean entropy: what is known of an expert before the token is, and by it. */
static void test_information(void **state)
{
    (void)state;
    const double tokens[] = { 1, 1, 1, 1, 4, 0, NAN, NAN }, share[] = { .25, .25, .25, .25, .75, .25, NAN, NAN },
                 entropy[] = { 0.4, 0 }, top_k[] = { 1, 1 };
    const int64_t idle[] = { 2, 0 };
    double out[2];
    struct loads l = { 1, 2, 4, tokens, top_k, idle, { share, entropy } };
    routing_derive(derived_named("router_marginal_entropy"), &l, out);
    near(out[0], log(4), 1e-15);
    near(out[1], -(.75 * log(.75) + .25 * log(.25)), 1e-15);
    routing_derive(derived_named("router_information"), &l, out);
    near(out[0], log(4) - 0.4, 1e-15);
    near(out[1], -(.75 * log(.75) + .25 * log(.25)), 1e-15);
}

/* The floor is what 8 of 64 experts drawn for each of 4096 tokens have, measured 0.100, and 10 to 20 % more. */
static void test_floor(void **state)
{
    (void)state;
    enum { T = 4096, E = 64, K = 8, REPEATS = 100 };
    double mean = 0, n[E] = { 0 };
    for (int at = 0; at < REPEATS; at++) {
        memset(n, 0, sizeof n);
        for (int t = 0; t < T; t++) {
            int order[E];
            for (int i = 0; i < E; i++) order[i] = i;
            for (int i = 0; i < K; i++) {
                struct key key = { 5, PURPOSE_TEST, hash_name("draw"), (uint64_t)at };
                int j = i + (int)(key_uniform(key, (uint64_t)(t * K + i)) * (E - i)), got = order[j];
                order[j] = order[i];
                n[got]++;
            }
        }
        mean += derived_of("max_vio", n, E, K, 1) / REPEATS;
    }
    double floor = derived_of("max_vio_floor", n, E, K, 1);
    near(mean, 0.100, 0.006);           /* over three standard errors */
    assert_true(floor > 1.05 * mean && floor < 1.25 * mean);
}

/* Who sends all tokens to the same experts has collapsed after 20 rows; round robin and chance have not. */
static void test_collapsed(void **state)
{
    (void)state;
    const double constant[] = { 64, 64, 0, 0, 0, 0, 0, 0 }, uniform[] = { 16, 16, 16, 16, 16, 16, 16, 16 },
                 chance[] = { 13, 19, 16, 21, 15, 11, 18, 15 }, all[] = { 16, 16 };
    near(derived_of("collapsed", constant, 8, 2, 19), 0, 0);
    near(derived_of("collapsed", constant, 8, 2, 20), 1, 0);
    near(derived_of("collapsed", uniform, 8, 2, 200), 0, 0);
    near(derived_of("collapsed", chance, 8, 2, 200), 0, 0);
    near(derived_of("collapsed", all, 2, 2, 200), 0, 0);
    /* By the effective experts alone, 7 of 32 and then 9; by the largest load alone, with 2.2 of 8 */
    double working[32] = { 0 };
    const double lone[] = { 826, 25, 25, 25, 25, 25, 25, 24 };
    for (int i = 0; i < 7; i++) working[i] = 32;
    near(derived_of("collapsed", working, 32, 1, 20), 1, 0);
    working[7] = working[8] = 32;
    near(derived_of("collapsed", working, 32, 1, 20), 0, 0);
    near(derived_of("collapsed", lone, 8, 1, 20), 1, 0);
    /* A token's number of experts that no configuration says: by the effective ones */
    near(derived_of("collapsed", constant, 8, NAN, 20), 0, 0);
    near(derived_of("collapsed", (const double[]){ 128, 0, 0, 0, 0, 0, 0, 0 }, 8, NAN, 20), 1, 0);
}

/* Conservation, and the expert that the fixture starves, through files. */
static void test_routing_in_files(void **state)
{
    (void)state;
    struct runs *runs = open_runs(study_dir);
    struct curve c;
    struct err e;
    fixture_must(metric_scalar(&runs->run[0], "train.dead_frac:max", &c, NULL, &e), &e);
    near(c.value[59], 0, 0);
    near(c.value[FIXTURE_STEPS - 1], 1.0 / FIXTURE_EXPERTS, 1e-15);
    curve_free(&c);
    fixture_must(metric_scalar(&runs->run[0], "train.max_vio_floor:max", &c, NULL, &e), &e);
    near(c.value[0], sqrt((1 - 2.0 / FIXTURE_EXPERTS) * FIXTURE_EXPERTS / (2 * FIXTURE_TOKENS)) *
                         sqrt(2 * log(FIXTURE_EXPERTS)), 1e-14);                /* top_k, of a list of layers */
    curve_free(&c);
    const struct reader_series *s = reader_find(run_reader(&runs->run[0]), STORE_TRAIN, "expert_tokens");
    fixture_must(metric_read(&runs->run[0], &(struct metric){ .series = *s }, &c, &e), &e);
    for (int64_t at = 0; at < c.rows * FIXTURE_LAYERS; at++) {
        double sum = 0;
        for (int x = 0; x < FIXTURE_EXPERTS; x++) sum += c.value[at * FIXTURE_EXPERTS + x];
        if (at % FIXTURE_LAYERS < FIXTURE_MOE) near(sum, 2 * FIXTURE_TOKENS, 0);
        else assert_true(isnan(sum));
    }
    curve_free(&c);
    runs_close(runs);
}

/* ---- export ---- */

static char *export(const struct runs *runs, const struct export_options *o, bool json)
{
    static char *text;
    static size_t bytes;
    struct err e;
    FILE *to = open_memstream(&text, &bytes);
    fixture_must(json ? export_json(runs, o, to, &e) : export_csv(runs, o, to, &e), &e);
    fclose(to);
    return text;
}

static void test_export_csv(void **state)
{
    (void)state;
    const char *metrics[] = { "eval.loss", "train.expert_tokens" };
    struct runs *runs = open_runs(study_dir);
    char *text = export(runs, &(struct export_options){ 1, 2, metrics }, false), want[128];
    int lines = 0;
    for (const char *p = text; *p; p++) lines += *p == '\n';
    int rows = 3 * REPLICATES * FIXTURE_STEPS - FIXTURE_STEPS / 2;
    /* No line for what was not measured */
    assert_int_equal(lines, 1 + rows / FIXTURE_EVERY + rows * FIXTURE_MOE * FIXTURE_EXPERTS);
    assert_memory_equal(text, "variant,replicate,step,metric,layer,expert,value\n", 49);
    snprintf(want, sizeof want, "\ngated,3,200,eval.loss,,,");
    const char *at = strstr(text, want);
    assert_non_null(at);
    assert_true(strtod(at + strlen(want), NULL) == true_loss(1, 3, FIXTURE_STEPS));                /* the same bits */
    assert_non_null(strstr(text, "\nbase,0,100,train.expert_tokens,1,0,0\n"));
    free(text);
    text = export(runs, &(struct export_options){ 1, 1, (const char *[]){ "train.loss" } }, false);
    assert_non_null(strstr(text, "\nwild,2,100,train.loss,nan\n"));    /* the row in which it diverged */
    free(text);
    text = export(runs, &(struct export_options){ 150, 1, metrics }, false);
    assert_non_null(strstr(text, "base,0,20,eval.loss,"));  /* the first row and the last */
    assert_null(strstr(text, "base,0,40,eval.loss,"));
    assert_non_null(strstr(text, "base,0,200,eval.loss,"));
    free(text);
    runs_close(runs);
}

static void test_export_json(void **state)
{
    (void)state;
    const char *metrics[] = { "train.expert_tokens" };
    struct runs *runs = open_runs(few_dir);
    char *text = export(runs, &(struct export_options){ .every = 100 }, true);
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    assert_int_equal(json_array_size(json_object_get(j, "runs")), 5);       /* the pending run has no file */
    json_decref(j);
    free(text);
    text = export(runs, &(struct export_options){ 100, 1, metrics }, true);
    j = json_loads(text, 0, NULL);
    json_t *series = json_array_get(json_object_get(json_array_get(json_object_get(j, "runs"), 0), "series"), 0),
           *value = json_object_get(series, "value");
    assert_int_equal(json_array_size(value), 3);            /* rows 0, 100 and the last */
    json_t *last = json_array_get(value, 2);
    assert_int_equal(json_array_size(last), FIXTURE_LAYERS);
    assert_true(json_is_null(json_array_get(json_array_get(last, 3), 0)));
    double sum = 0;
    for (size_t i = 0; i < FIXTURE_EXPERTS; i++) sum += json_number_value(json_array_get(json_array_get(last, 0), i));
    near(sum, 2 * FIXTURE_TOKENS, 0);
    json_decref(j);
    free(text);
    struct err e;
    const char *wrong[] = { "eval.nothing" };
    assert_int_equal(export_csv(runs, &(struct export_options){ 1, 1, wrong }, stdout, &e), -1);
    assert_non_null(strstr(e.text, "no run has a metric 'eval.nothing'"));
    runs_close(runs);
}

/* ---- figures ---- */

static void draw(const struct runs *runs, struct plot_options o, const char *name, const char *begins)
{
    char path[160], head[8] = "";
    struct err e;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    o.out = path;
    if (plot_study(runs, &o, &e)) fail_msg("%s %s: %s", o.kind, name, e.text);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(head, 1, 5, file), 5);
    fclose(file);
    assert_memory_equal(head, begins, strlen(begins));
}

static void test_figures(void **state)
{
    (void)state;
    struct runs *runs = open_runs(study_dir), *few_runs = open_runs(few_dir);
    for (int i = 0; plot_kinds[i]; i++) {
        struct plot_options o = { .kind = plot_kinds[i], .smooth = NAN };
        if (plot_asks(plot_kinds[i])) continue;             /* the fixture has no checkpoints: cli_routing.sh */
        draw(runs, o, "figure.gp", "set t");
        if (system("command -v gnuplot >/dev/null 2>&1")) continue;
        draw(runs, o, "figure.svg", "<?xml");
        draw(few_runs, o, "figure.png", "\x89PNG");
    }
    draw(runs, (struct plot_options){ .kind = "loss", .smooth = 0.9, .metric = "train.loss" }, "train.gp", "set t");
    struct err e;
    assert_int_equal(plot_study(runs, &(struct plot_options){ .kind = "loss", .smooth = NAN, .out = "figure.bmp" }, &e),
                     -1);
    assert_non_null(strstr(e.text, "must end in .svg, .png, .pdf or .gp"));
    assert_int_equal(plot_study(runs, &(struct plot_options){ .kind = "load", .smooth = NAN, .out = "figure.svg",
                                                              .variant = "base", .replicate = 9 }, &e), -1);
    assert_non_null(strstr(e.text, "no run of variant 'base' with replicate 9"));
    struct plot_options steps = { .kind = "position", .smooth = NAN, .out = "figure.svg", .metric = "eval.loss" };
    assert_int_equal(plot_study(runs, &steps, &e), -1);
    assert_non_null(strstr(e.text, "no value for each position; eval.position_loss has"));
    runs_close(runs);
    runs_close(few_runs);
}

/* A machine without gnuplot gets one clear line. */
static void test_no_gnuplot(void **state)
{
    (void)state;
    struct runs *runs = open_runs(study_dir);
    struct err e;
    char *path = xstrdup(getenv("PATH")), out[128];
    snprintf(out, sizeof out, "%s/none.svg", folder);
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(plot_study(runs, &(struct plot_options){ .kind = "final", .smooth = NAN, .out = out }, &e), -1);
    setenv("PATH", path, 1);
    assert_non_null(strstr(e.text, "gnuplot is not installed"));
    assert_int_not_equal(access(out, F_OK), 0);
    free(path);
    runs_close(runs);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/sluice-analysis-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(study_dir, sizeof study_dir, "%s/study", folder);
    snprintf(few_dir, sizeof few_dir, "%s/few", folder);
    snprintf(odd_dir, sizeof odd_dir, "%s/odd", folder);
    snprintf(wide_dir, sizeof wide_dir, "%s/wide", folder);
    fixture_study(study_dir, variants, COUNT(variants), REPLICATES);
    fixture_study(few_dir, few, COUNT(few), 3);
    fixture_study(odd_dir, odd, ODD, ODD_REPLICATES);
    struct fixture_variant wide[WIDE];
    char name[WIDE][16];
    for (int i = 0; i < WIDE; i++) {
        snprintf(name[i], sizeof name[i], "v%d", i);
        wide[i] = (struct fixture_variant){ name[i], 0.0025 * (i - WIDE / 2) * (i > 0), -1, -1 };
    }
    fixture_study(wide_dir, wide, WIDE, WIDE_REPLICATES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spikes),
        cmocka_unit_test(test_conditions), cmocka_unit_test(test_dead), cmocka_unit_test(test_compare),
        cmocka_unit_test(test_compare_at), cmocka_unit_test(test_direction), cmocka_unit_test(test_agreement),
        cmocka_unit_test(test_looks_ahead), cmocka_unit_test(test_absent), cmocka_unit_test(test_doubts),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_json), cmocka_unit_test(test_routing), cmocka_unit_test(test_loads),
        cmocka_unit_test(test_idle_experts), cmocka_unit_test(test_information),
        cmocka_unit_test(test_floor), cmocka_unit_test(test_collapsed), cmocka_unit_test(test_routing_in_files),
        cmocka_unit_test(test_export_csv), cmocka_unit_test(test_export_json), cmocka_unit_test(test_figures),
        cmocka_unit_test(test_no_gnuplot),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
