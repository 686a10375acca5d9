/* Batches and sequences that grow: how many micro-batches a step has, how long its documents are, what warm-ups in
   tokens come to. */
#include "tiny.h"

static struct tiny with(const char *train)
{
    return tiny_new("{}", train, MODE_EVAL, 1, 2);
}

static void check_micros(const char *train, const int *want, int n)
{
    struct tiny t = with(train);
    struct ramps r = train_ramps(&t.train, 8);
    int64_t sequences = 0;
    for (int step = 0; step < n; step++) {
        assert_int_equal(train_micros(&r, step), want[step]);
        assert_int_equal(train_sequences(&r, step), sequences);
        sequences += want[step] * (t.train.batch / t.train.micro);
    }
    tiny_free(&t);
}

static void test_batch(void **state)
{
    (void)state;
    static const int constant[] = { 4, 4, 4 }, linear[] = { 2, 3, 3, 4, 4, 4 }, tiny[] = { 1, 1, 2, 2, 3 },
                     down[] = { 4, 3, 3, 2, 1, 1 };
    check_micros(TEXT({"steps": 6, "batch": 8, "micro": 4}), constant, COUNT(constant));
    check_micros(TEXT({"steps": 6, "batch": 8, "micro": 4, "batch_schedule": {"module": "constant", "warmup": 4,
                                                                             "warmup_from": 0.25}}),
                 linear, COUNT(linear));
    /* never less than one */
    check_micros(TEXT({"steps": 9, "batch": 8, "micro": 4, "batch_schedule": {"module": "constant", "warmup": 8}}),
                 tiny, COUNT(tiny));
    check_micros(TEXT({"steps": 6, "batch": 4, "micro": 4, "batch_schedule": {"module": "linear", "final": 0}}),
                 down, COUNT(down));
}

/* The first number of steps that have so many tokens, which a batch's own warm-up makes more of. */
static void test_warmup_tokens(void **state)
{
    (void)state;
    static const struct { const char *train; int64_t of_batch, of_rate; } want[] = {
        { TEXT({"batch": 8, "micro": 4, "schedule": {"module": "constant", "warmup_tokens": 100}}), 0, 2 },
        { TEXT({"batch": 8, "micro": 4, "batch_schedule": {"module": "constant", "warmup": 4, "warmup_from": 0.25},
                "schedule": {"module": "constant", "warmup_tokens": 100}}), 4, 3 },     /* 32, 80, 128 */
        { TEXT({"batch": 8, "micro": 4, "batch_schedule": {"module": "constant", "warmup_tokens": 192,
                                                           "warmup_from": 0.25}}), 4, 0 },  /* 32 + 48 + 48 + 64 */
        { TEXT({"batch": 8, "micro": 4, "batch_schedule": {"module": "constant", "warmup_tokens": 193,
                                                           "warmup_from": 0.25}}), 5, 0 },
    };
    for (int i = 0; i < COUNT(want); i++) {
        struct tiny t = with(want[i].train);
        int64_t of_batch = schedule_warmup(t.train.batch_schedule, &t.train, 8),
                of_rate = schedule_warmup(t.train.schedule, &t.train, 8);
        if (of_batch != want[i].of_batch || of_rate != want[i].of_rate)
            fail_msg("%s: %lld and %lld", want[i].train, (long long)of_batch, (long long)of_rate);
        tiny_free(&t);
    }
}

static void test_longest(void **state)
{
    (void)state;
    struct tiny t = with(TEXT({"seq_schedule": {"module": "constant", "warmup": 4, "warmup_from": 0.5}})),
                usual = with("{}");
    struct ramps r = train_ramps(&t.train, 8), constant = train_ramps(&usual.train, 8);
    static const int want[] = { 5, 6, 7, 8, 8 };
    for (int step = 0; step < COUNT(want); step++) {
        assert_int_equal(train_longest(&r, step), want[step]);
        assert_int_equal(train_longest(&constant, step), 8);
    }
    tiny_free(&t);
    tiny_free(&usual);
}

/* A warm-up may begin anywhere, and ends at the peak. */
static void test_from(void **state)
{
    (void)state;
    struct tiny t = with(TEXT({"schedule": {"module": "wsd", "warmup": 4, "warmup_from": 0.6}}));
    static const double want[] = { 0.7, 0.8, 0.9, 1, 1 };
    for (int step = 0; step < COUNT(want); step++)
        assert_float_equal(schedule_factor(t.train.schedule, 4, step, 100), want[step], 1e-12);
    tiny_free(&t);
}

/* Documents of at most 3 tokens; one that begins within such a piece keeps its place. */
static void test_cut(void **state)
{
    (void)state;
    struct inputs in = inputs_new(2, 8);
    static const int32_t begins[] = { 0, 0, 0, 3, 3, 3, 6, 6, 0, 0, 0, 3, 4, 4, 6, 6 };
    static const real weight[] = { 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 1 };
    for (int i = 12; i < 16; i++) in.start[i] = 4;
    in.weight[11] = 0;
    inputs_cut(in, 2, 8, 8);
    for (int i = 0; i < 16; i++) assert_true(in.start[i] == (i < 12 ? 0 : 4) && in.weight[i] == (i != 11));
    inputs_cut(in, 2, 8, 3);
    assert_memory_equal(in.start, begins, sizeof begins);
    assert_memory_equal(in.weight, weight, sizeof weight);
    inputs_free(in);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct { const char *train, *path, *words; } of[] = {
        { TEXT({"batch_schedule": {"module": "constant", "warmup": 3}}), "train.batch_schedule", "train.micro says" },
        { TEXT({"micro": 4, "record": true, "batch_schedule": {"module": "constant", "warmup": 3}}), "train.record",
          "batch_schedule must be constant" },
        { TEXT({"steps": 4, "seq_schedule": {"module": "constant", "warmup": 5}}), "train.seq_schedule.warmup",
          "what is set is never reached; at most 4" },
        { TEXT({"steps": 4, "schedule": {"module": "constant", "warmup": 5}}), "train.schedule.warmup",
          "lr is never reached; at most 4" },
        { TEXT({"micro": 4, "batch_schedule": {"module": "constant", "warmup": 3, "warmup_tokens": 9}}),
          "train.batch_schedule.warmup_tokens", "in steps already" },
    };
    for (int i = 0; i < COUNT(of); i++) {
        struct tiny t = { 0 };
        char why[256];
        struct problems problems = { 0 };
        json_t *model = tiny_json(&model_schema, tiny_base, "{}"),
               *train = tiny_json(&train_schema, "{}", of[i].train);
        if (!tiny_load(&t, model, train, why)) fail_msg("%s", why);
        conf_agree(&t.model, &t.train, &problems);
        if (problems.n != 1 || strcmp(problems.problem[0].path, of[i].path) || !strstr(problems.problem[0].text,
                                                                                        of[i].words))
            fail_msg("%s: %s: %s", of[i].train, problems.n ? problems.problem[0].path : "not refused",
                     problems.n ? problems.problem[0].text : "");
        problems_free(&problems);
        arena_free(t.arena);
        json_decref(model);
        json_decref(train);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch), cmocka_unit_test(test_warmup_tokens), cmocka_unit_test(test_longest),
        cmocka_unit_test(test_from), cmocka_unit_test(test_cut), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
