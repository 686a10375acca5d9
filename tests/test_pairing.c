/* Replicates are paired: under one seed all variants see the same batches and start from the same weights. Switches
   that touch the objective or the optimizer alone then give the same losses to the bit while nothing moves;
   micro-batches the same but for rounding and for the weight of sequences with more ends of documents. */
#include "study_fixture.h"
#include "train/train.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define TEXT(...) #__VA_ARGS__

/* train.steps and train.batch are the base's: windows are drawn by step. */
static const char *const description = TEXT({
    "name": "pairing", "data": "synthetic", "replicates": 2, "seed": 3, "baseline": "base",
    "base": {"layers": 3, "d_model": 16, "seq": 32, "attention": {"module": "gqa", "heads": 2, "kv_heads": 1,
                                                                  "head_dim": 8},
                                                                  "ffn": {"module": "moe", "experts": 4, "d_ff": 12}},
    "train": {"steps": 4, "batch": 4, "optim": {"module": "adamw", "lr": 0}, "eval_every": 2, "eval_tokens": 256,
              "checkpoint_every": 1000},
    "variants": [
        {"name": "base", "set": {}},
        {"name": "balanced", "set": {"ffn.balance": ["switch_aux", "z_loss"]}},
        {"name": "biased", "set": {"ffn.balance": [{"module": "bias", "gamma": 0}]}},
        {"name": "further", "set": {"head.mtp": "sequential"}},
        {"name": "muon", "set": {"train.optim": {"module": "muon", "lr": 0}}},
        {"name": "unclipped", "set": {"train.clip": 0}},
        {"name": "wider_window", "set": {"attention.mask": {"module": "window", "size": 32}}},
        {"name": "gated", "set": {"attention.gate": "head"}},
        {"name": "in_parts", "set": {"train.micro": 4}}
    ]
});
enum { SAME = 7, IN_PARTS = 8, STEPS = 4, EVALS = 2 };

static double *series(const struct study *s, int variant, int replicate, enum store_group group, const char *name,
                      int64_t rows)
{
    struct reader *r;
    struct err e;
    double *values = NULL;
    for (int i = 0; i < s->n_points; i++) {
        if (s->point[i].variant != variant || s->point[i].replicate != replicate) continue;
        char *path = study_point_path(s, i, "run.h5");
        fixture_must(reader_open(&r, path, &e), &e);
        assert_non_null(reader_find(r, group, name));
        fixture_must(reader_read(r, reader_find(r, group, name), &values, &e), &e);
        assert_int_equal(reader_rows(r, group), rows);
        reader_close(r);
        free(path);
    }
    return values;
}

static struct study *trained(const char *text, const char *dir)
{
    struct corpus *corpus;
    struct study *s;
    struct err e;
    struct problems problems = { 0 };
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    fixture_must(corpus_open(&corpus, "synthetic", &e), &e);
    if (study_resolve(json, corpus_info(corpus), &s, &problems))
        fail_msg("%s: %s", problems.problem[0].path, problems.problem[0].text);
    s->dir = dir;
    fixture_must(study_save(s, &e), &e);
    for (int i = 0; i < s->n_points; i++)
        assert_int_equal(train_point(s, i, &(struct train_options){ .threads = 1, .watcher = -1 }), OUTCOME_FINISHED);
    corpus_close(corpus);
    json_decref(json);
    return s;
}

static void test_losses_of_paired_runs(void **state)
{
    (void)state;
    char dir[] = "/tmp/sluice-pairing-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct study *s = trained(description, dir);
    for (int k = 0; k < 2; k++) {
        double *train = series(s, 0, k, STORE_TRAIN, "loss", STEPS), *eval = series(s, 0, k, STORE_EVAL, "loss", EVALS),
               *bits = series(s, 0, k, STORE_EVAL, "bits_per_byte", EVALS);
        assert_true(train[0] != train[1] && train[1] != train[2]);              /* other windows */
        assert_true(eval[0] == eval[1]);    /* the same ones, and nothing has moved */
        assert_true(fabs(bits[0] - eval[0] / M_LN2) < 1e-12 * bits[0]);         /* a token is a byte */
        for (int v = 1; v < s->n_variants; v++) {
            double *t = series(s, v, k, STORE_TRAIN, "loss", STEPS), *h = series(s, v, k, STORE_EVAL, "loss", EVALS);
            bool same = memcmp(t, train, STEPS * sizeof *t) == 0 && memcmp(h, eval, EVALS * sizeof *h) == 0;
            for (int i = 0; i < STEPS && v == IN_PARTS; i++)
                assert_true(fabs(t[i] - train[i]) < 1e-4 && fabs(h[i % EVALS] - eval[0]) < 1e-4);
            if (same != (v < SAME))
                fail_msg("%s, replicate %d: losses %s", s->variant[v].name, k, same ? "do not differ" : "differ");
            free(t);
            free(h);
        }
        double *other = series(s, 0, 1 - k, STORE_TRAIN, "loss", STEPS);
        assert_true(other[0] != train[0]);
        free(other);
        free(train);
        free(eval);
        free(bits);
    }
    study_free(s);
    fixture_remove(dir);
}

/* Of a run with averages the weights are evaluated, too: as those of its pair without, which trains alike. */
static void test_averages_beside_their_weights(void **state)
{
    static const char *const averaged = TEXT({
        "name": "averaged", "data": "synthetic", "replicates": 1, "seed": 3, "baseline": "base",
        "base": {"layers": 2, "d_model": 16, "seq": 32, "attention": {"module": "gqa", "heads": 2, "kv_heads": 1,
                                                                      "head_dim": 8}},
        "train": {"steps": 4, "batch": 4, "eval_every": 2, "eval_tokens": 256},
        "variants": [{"name": "base", "set": {}}, {"name": "ema", "set": {"train.average": "ema"}},
                     {"name": "lawa", "set": {"train.average": {"module": "lawa", "every": 1, "latest": 2}}}]
    });
    (void)state;
    char dir[] = "/tmp/sluice-pairing-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct study *s = trained(averaged, dir);
    double *base = series(s, 0, 0, STORE_EVAL, "loss", EVALS);
    for (int v = 1; v < s->n_variants; v++) {
        double *raw = series(s, v, 0, STORE_EVAL, "raw_loss", EVALS),
               *mean = series(s, v, 0, STORE_EVAL, "loss", EVALS);
        assert_memory_equal(raw, base, EVALS * sizeof *raw);
        assert_true(mean[0] != raw[0] && fabs(mean[0] - raw[0]) < 0.2);
        free(raw);
        free(mean);
    }
    free(base);
    study_free(s);
    fixture_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_losses_of_paired_runs),
                                        cmocka_unit_test(test_averages_beside_their_weights) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
