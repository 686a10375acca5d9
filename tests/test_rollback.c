/* A run that goes back after an outlier is one that somebody drives by hand: the state of the last regular checkpoint,
   then the batches that come, each where it would have been. */
#include "study_fixture.h"
#include "train/checkpoint.h"
#include "train/train.h"
#include "session_hash.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define TEXT(...) #__VA_ARGS__
enum { STEPS = 90, EVERY = 10, BATCH = 2, SEQ = 32 };

static struct study *study_with(const char *guard, double lr, char *dir)
{
    static const char *const model = TEXT({"layers": 2, "d_model": 32, "seq": 32,
        "attention": {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 16},
        "ffn": {"module": "moe", "experts": 4, "d_ff": 24, "router": {"top_k": 2}, "balance": ["bias"]}});
    struct corpus *corpus;
    struct study *s;
    struct err e;
    struct problems problems = { 0 };
    json_t *given = json_pack("{s:s, s:s, s:i, s:i, s:o, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:{s:s, s:f}, "
                              "s:{s:s, s:i}, s:s}, s:[{s:s, s:{}}]}",
                              "name", "rollback", "data", "synthetic", "replicates", 1, "seed", 3,
                              "base", json_loads(model, 0, NULL), "train", "steps", STEPS, "batch", BATCH,
                              "eval_every", STEPS, "eval_tokens", 64, "checkpoint_every", EVERY, "keep", 100,
                              "guard", json_loads(guard, 0, NULL), "optim", "module", "adamw", "lr", lr,
                              "schedule", "module", "constant", "warmup", 4, "average", "ema",
                              "variants", "name", "base", "set");
    assert_non_null(given);
    assert_non_null(mkdtemp(dir));
    fixture_must(corpus_open(&corpus, "synthetic", &e), &e);
    if (study_resolve(given, corpus_info(corpus), &s, &problems))
        fail_msg("%s: %s", problems.problem[0].path, problems.problem[0].text);
    corpus_close(corpus);
    json_decref(given);
    s->dir = dir;
    fixture_must(study_save(s, &e), &e);
    return s;
}

static void end(struct study *s)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", s->dir);
    study_free(s);
    assert_int_equal(system(command), 0);
}

static double *series(const struct study *s, const char *name, int64_t *rows)
{
    struct reader *r;
    struct err e;
    double *values;
    char *path = study_point_path(s, 0, "run.h5");
    fixture_must(reader_open(&r, path, &e), &e);
    fixture_must(reader_read(r, reader_find(r, STORE_TRAIN, name), &values, &e), &e);
    *rows = reader_rows(r, STORE_TRAIN);
    reader_close(r);
    free(path);
    return values;
}

static void load(const struct study *s, struct session *into, int64_t step)
{
    char name[64];
    struct checkpoint c;
    json_t *trainer_state;
    struct err e;
    snprintf(name, sizeof name, "checkpoints/step-%08lld", (long long)step);
    char *path = study_point_path(s, 0, name);
    fixture_must(checkpoint_load(path, into->leaves, into->state, &c, &trainer_state, &e), &e);
    json_decref(trainer_state);
    free(path);
}

/* step: counted from 1 */
static void drive(const struct study *s, struct session *by, struct corpus *corpus, int64_t step)
{
    struct inputs in = inputs_new(BATCH, SEQ);
    corpus_batch(corpus, s->point[0].seed, (step - 1) * BATCH, BATCH, SEQ, in);
    plan_begin(by->plan, step - 1, STEPS, 1);
    session_stage(by, 0, &in);
    plan_step(by->plan, NULL);
    inputs_free(in);
}

static const struct train_options quiet = { .threads = 1, .watcher = -1 };

static void test_a_run_that_goes_back(void **state)
{
    (void)state;
    char dir[] = "/tmp/sluice-rollback-XXXXXX";
    struct study *s = study_with(TEXT({"module": "rollback", "window": 16, "sigma": 2.6}), 1e-2, dir);
    struct session *by_hand, *wanted;
    struct corpus *corpus;
    struct err e;
    int64_t rows;
    int returns = 0;
    assert_int_equal(train_point(s, 0, &quiet), OUTCOME_FINISHED);
    double *outlier = series(s, "outlier", &rows), *skipped = series(s, "skipped", &rows);
    assert_int_equal(rows, STEPS);                          /* what was taken back is there still */
    fixture_must(corpus_open(&corpus, "synthetic", &e), &e);
    fixture_must(session_new(&by_hand, s->variant[0].config, 1, &e), &e);
    fixture_must(session_new(&wanted, s->variant[0].config, 1, &e), &e);
    for (int64_t from = 0; from < STEPS; from += EVERY) {
        load(s, by_hand, from);
        for (int64_t step = from + 1; step <= from + EVERY; step++) {
            drive(s, by_hand, corpus, step);
            assert_true(skipped[step - 1] == outlier[step - 1]);
            if (outlier[step - 1] == 0) continue;
            load(s, by_hand, from);
            returns++;
        }
        load(s, wanted, from + EVERY);
        struct hash a = session_hash(by_hand), b = session_hash(wanted);
        if (!hash_equal(a, b)) fail_msg("steps %lld to %lld", (long long)from + 1, (long long)from + EVERY);
    }
    assert_in_range(returns, 2, 10);
    print_message("%d returns\n", returns);
    free(outlier);
    free(skipped);
    session_free(by_hand);
    session_free(wanted);
    corpus_close(corpus);
    end(s);
}

/* Nothing is far above the rest: the guard changes nothing but that it looks. */
static void test_a_guard_that_has_nothing_to_do(void **state)
{
    (void)state;
    char dir[] = "/tmp/sluice-rollback-XXXXXX", other[] = "/tmp/sluice-rollback-XXXXXX";
    struct study *with = study_with(TEXT({"module": "rollback", "window": 16, "sigma": 1000}), 1e-2, dir),
                 *without = study_with(TEXT({"module": "outliers", "window": 16, "sigma": 1000}), 1e-2, other);
    int64_t rows;
    assert_false(hash_equal(with->variant[0].fingerprint, without->variant[0].fingerprint));
    assert_int_equal(train_point(with, 0, &quiet), OUTCOME_FINISHED);
    assert_int_equal(train_point(without, 0, &quiet), OUTCOME_FINISHED);
    double *a = series(with, "loss", &rows), *b = series(without, "loss", &rows);
    assert_memory_equal(a, b, (size_t)rows * sizeof *a);
    free(a);
    free(b);
    end(with);
    end(without);
}

/* Where it only gets worse it is told. */
static void test_ten_times_is_enough(void **state)
{
    (void)state;
    char dir[] = "/tmp/sluice-rollback-XXXXXX";
    struct study *s = study_with(TEXT({"module": "rollback", "window": 4, "sigma": 0.1}), 1, dir);
    int64_t rows;
    int outliers = 0;
    assert_int_equal(train_point(s, 0, &quiet), OUTCOME_DIVERGED);
    double *outlier = series(s, "outlier", &rows);
    for (int64_t i = 0; i < rows; i++) outliers += outlier[i] > 0;
    assert_true(outliers == 11 && outlier[rows - 1] > 0 && rows < STEPS);
    free(outlier);
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_run_that_goes_back), cmocka_unit_test(test_a_guard_that_has_nothing_to_do),
        cmocka_unit_test(test_ten_times_is_enough),
    };
    return cmocka_run_group_tests_name("rollback", tests, NULL, NULL);
}
