/* What the whole stack promises: no token sees a later one or another document, chunks equal one pass, it learns. */
#include "tiny_pair.h"
#include "graph/ops/products.h"

/* B2, X4: a token changes nothing before it: logits of rows < j have the same bits. */
static void test_causality(void **state)
{
    (void)state;
    struct tiny t = decoder(tiny_welm);
    double *before = logits_of(&t);
    for (int j = 0; j < t.seq; j++) {
        int old = t.ids[j];
        t.ids[j] = other_token(&t, old);
        double *after = logits_of(&t);
        for (int row = 0; row < t.tokens; row++)
            assert_int_equal(equal_rows(before, after, t.model.vocab, row), row < j || row >= t.seq);
        t.ids[j] = old;
        free(after);
    }
    free(before);
    tiny_free(&t);
}

/* X4, M1b: depth 1 of row i reads tokens up to i + 1 and none further on. */
static void test_mtp_causality(void **state)
{
    (void)state;
    struct tiny t = tiny_new(tiny_welm, NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    struct node *trunk = tiny_find(&t, &op_cross_entropy, 0), *deeper = tiny_find(&t, &op_cross_entropy, trunk->id + 1);
    tiny_forward(&t);
    double *trunk_before = tiny_read(&t, trunk), *deeper_before = tiny_read(&t, deeper);
    for (int j = 0; j < t.seq; j++) {
        int old = t.ids[j];
        t.ids[j] = other_token(&t, old);
        tiny_forward(&t);
        double *trunk_after = tiny_read(&t, trunk), *deeper_after = tiny_read(&t, deeper);
        for (int row = 0; row < t.seq; row++) {
            assert_int_equal(trunk_before[row] == trunk_after[row], row < j);
            if (row < t.seq - 1) assert_int_equal(deeper_before[row] == deeper_after[row], row + 1 < j);
        }
        t.ids[j] = old;
        free(trunk_after);
        free(deeper_after);
    }
    free(trunk_before);
    free(deeper_before);
    tiny_free(&t);
}

/* E2e and the rest: what lies before a document's start does not exist for it. */
static void test_documents(void **state)
{
    (void)state;
    struct tiny t = decoder(tiny_welm);
    for (int i = 3; i < t.seq; i++) t.start[i] = 3;
    double *before = logits_of(&t);
    for (int i = 0; i < 3; i++) t.ids[i] = other_token(&t, t.ids[i]);
    double *after = logits_of(&t);
    for (int row = 0; row < t.seq; row++) assert_int_equal(equal_rows(before, after, t.model.vocab, row), row >= 3);
    free(before);
    free(after);
    tiny_free(&t);
}

/* A7, A15f, E2d: reading in chunks, through the caches, says what one pass says. */
static void test_chunks_equal_one_pass(void **state)
{
    (void)state;
    struct tiny whole = decoder(tiny_welm);
    double *all = logits_of(&whole);
    static const int chunk[] = { 3, 2, 1 };
    struct tiny part[3];
    int at = 0, v = whole.model.vocab;
    for (int c = 0; c < 3; at += chunk[c++]) {
        part[c] = tiny_new(tiny_welm, NULL, MODE_DECODE, 2, chunk[c]);
        tiny_start(&part[c], 1);
        if (c) tiny_copy(&part[c], &part[c - 1]);           /* the caches */
        *part[c].pos = at;
        for (int b = 0; b < 2; b++)
            for (int s = 0; s < chunk[c]; s++) part[c].ids[b * chunk[c] + s] = whole.ids[b * whole.seq + at + s];
        double *some = logits_of(&part[c]);
        for (int b = 0; b < 2; b++)
            for (int s = 0; s < chunk[c]; s++)
                check_near(some + (b * chunk[c] + s) * v, all + (b * whole.seq + at + s) * v, v, 1e-5);
        free(some);
    }
    for (int c = 0; c < 3; c++) tiny_free(&part[c]);
    free(all);
    tiny_free(&whole);
}

/* I8: sequences of a batch do not know of each other. */
static void test_batch_order(void **state)
{
    (void)state;
    struct tiny t = decoder(tiny_welm);
    double *before = logits_of(&t);
    for (int i = 0; i < t.seq; i++) {
        int32_t swap = t.ids[i];
        t.ids[i] = t.ids[t.seq + i];
        t.ids[t.seq + i] = swap;
    }
    double *after = logits_of(&t);
    check_equal(before, after + logits_count(&t) / 2, logits_count(&t) / 2);
    check_equal(before + logits_count(&t) / 2, after, logits_count(&t) / 2);
    free(before);
    free(after);
    tiny_free(&t);
}

static void test_rules(void **state)
{
    (void)state;
    tiny_refused(TEXT({"attention.kv_heads": 3}), "attention.kv_heads = 3: must divide heads = 2");
    tiny_refused(TEXT({"attention.head_dim": 5, "position": "none"}), "attention.head_dim = 5: must be even");
    tiny_refused(TEXT({"position.fraction": 0.25}), "position.fraction = 0.25 of a head of 4 is 1 dimensions");
    tiny_refused(TEXT({"layers": 2, "attention.kv": "mirror"}), "no thirds to mirror");
    tiny_refused(TEXT({"attention.kv": {"module": "mirror", "pairs": [2]}}), "pairs of reader and source");
    tiny_refused(TEXT({"attention.kv": {"module": "mirror", "pairs": [3, 0]}}), "3: the last layer is 2");
    tiny_refused(TEXT({"attention.kv": {"module": "mirror", "pairs": [1, 1]}}),
                  "the source must be a shallower layer");
    tiny_refused(TEXT({"attention.kv": {"module": "mirror", "pairs": [2, 0, 2, 1]}}), "layer 2 reads twice");
    tiny_refused(TEXT({"attention.kv": {"module": "mirror", "pairs": [1, 0, 2, 1]}}), "layer 1 reads and is a source");
    tiny_refused(TEXT({"ffn.router.top_k": 5}), "ffn.router.top_k = 5: the model has only 4 experts");
    tiny_refused(TEXT({"ffn.router.top_k": 1, "ffn.router.normalize": "after"}), "the router would get no gradient");
    tiny_refused(TEXT({"ffn.router.normalize": "before"}), "softmax scores sum to 1 already");
    tiny_refused(TEXT({"residual": {"module": "partial_post", "prenorm_layers": [3]}}), "3: the last layer is 2");
}

/* X3, small: both optimizers bring the whole stack down on one batch. */
static void test_learns_one_batch(void **state)
{
    (void)state;
    static const char *const train[] = { TEXT({"optim": {"module": "adamw", "lr": 0.01}, "schedule": "constant"}),
                                         TEXT({"optim": {"module": "muon", "lr": 0.02}, "schedule": "constant"}) };
    for (int i = 0; i < 2; i++) {
        struct tiny t = tiny_new(tiny_welm, train[i], MODE_TRAIN, 2, 6);
        tiny_start(&t, 1);
        for (int step = 0; step < 300; step++) tiny_step(&t, step);
        double loss = tiny_loss(&t, "lm");
        if (!(loss < 0.05)) fail_msg("%s: loss %g after 300 steps", train[i], loss);
        tiny_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(causality), RUN(mtp_causality), RUN(documents), RUN(chunks_equal_one_pass), RUN(batch_order), RUN(rules),
        RUN(learns_one_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
