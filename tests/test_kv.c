/* Keys and values that layers share: who reads whose, what is left of parameters and caches, what a prompt then leaves
   out; and what decoding keeps, counted and allocated. */
#include "tiny_pair.h"
#include "toggle.h"
#include "graph/ops/products.h"
#include "graph/ops/rows.h"
#include "train/decoder.h"

static struct tiny planned(const char *sets, enum mode mode)
{
    return tiny_new(sets, NULL, mode, 1, mode == MODE_DECODE ? 1 : 6);
}

/* ---- who reads whose ---- */

static struct node *attention_of(const struct tiny *t, int layer)
{
    struct node *n = tiny_find(t, &op_attention, 0);
    for (; layer > 0; layer--) n = tiny_find(t, &op_attention, n->id + 1);
    return n;
}

/* The layer whose keys and values layer `reader` attends over: the first that reads the same. */
static int source_of(const struct tiny *t, int reader)
{
    const struct node *r = attention_of(t, reader);
    for (int i = 0; i < reader; i++)
        if (attention_of(t, i)->in[1] == r->in[1] && attention_of(t, i)->in[2] == r->in[2]) return i;
    return reader;
}

#define GLOBAL "{\"module\": \"gqa\", \"heads\": 2, \"kv_heads\": 1, \"head_dim\": 4, \"kv\": \"tail\"}"
#define LOCAL "{\"module\": \"gqa\", \"heads\": 2, \"kv_heads\": 1, \"head_dim\": 4, \"kv\": \"tail\", " \
              "\"mask\": {\"module\": \"window\", \"size\": 2}}"
#define SIX(list) "{\"layers\": 6, \"attention\": {\"layers\": [" list "]}}"

/* Of local and global layers the last three read the last one below of their kind. */
static void test_sources(void **state)
{
    (void)state;
    static const struct { const char *sets; int n, source[6]; } model[] = {
        { TEXT({"layers": 6, "attention.kv": {"module": "cla", "share": 3}}), 6, { 0, 0, 0, 3, 3, 3 } },
        { TEXT({"layers": 6, "attention.kv": "yoco"}), 6, { 0, 1, 2, 3, 3, 3 } },
        { TEXT({"layers": 5, "attention.kv": "yoco"}), 5, { 0, 1, 2, 2, 2 } },
        { TEXT({"layers": 6, "attention.kv": {"module": "yoco", "cross": 2}}), 6, { 0, 1, 2, 3, 4, 4 } },
        { TEXT({"layers": 6, "attention.kv": {"module": "tail", "shared": 2}}), 6, { 0, 1, 2, 3, 3, 3 } },
        { TEXT({"layers": 6, "attention.kv": "tail"}), 6, { 0, 1, 2, 2, 2, 2 } },
        { SIX(LOCAL "," GLOBAL "," LOCAL "," LOCAL "," GLOBAL "," LOCAL), 6, { 0, 1, 2, 2, 1, 2 } },
    };
    for (int i = 0; i < COUNT(model); i++) {
        struct tiny t = planned(model[i].sets, MODE_EVAL);
        for (int l = 0; l < model[i].n; l++)
            if (source_of(&t, l) != model[i].source[l])
                fail_msg("%s: layer %d reads %d, not %d", model[i].sets, l, source_of(&t, l), model[i].source[l]);
        tiny_free(&t);
    }
}

/* CLA of one, YOCO without cross layers, a tail of none: each layer its own, the same graph. */
static void test_off(void **state)
{
    (void)state;
    static const char *const off[] = { TEXT({"attention.kv": {"module": "cla", "share": 1}}),
                                       TEXT({"attention.kv": {"module": "yoco", "cross": 0}}),
                                       TEXT({"attention.kv": {"module": "tail", "shared": 0}}) };
    for (enum mode mode = MODE_TRAIN; mode <= MODE_DECODE; mode++) {
        struct tiny own = planned("{}", mode);
        for (int i = 0; i < COUNT(off); i++) {
            struct tiny t = planned(off[i], mode);
            assert_true(tiny_same(&own, &t));
            tiny_free(&t);
        }
        tiny_free(&own);
    }
}

/* Readers lack 2 d n_kv d_h weights; YOCO has one norm more. */
static void test_parameters(void **state)
{
    (void)state;
    enum { WIDTH = 8, KV = 2 * WIDTH * 4 };
    static const struct { const char *sets; int readers, more; } model[] = {
        { TEXT({"layers": 6, "attention.kv": {"module": "cla", "share": 3}}), 4, 0 },
        { TEXT({"layers": 6, "attention.kv": "yoco"}), 2, WIDTH },
        { TEXT({"layers": 6, "attention.kv": {"module": "yoco", "cross": 1}}), 0, WIDTH },
        { TEXT({"layers": 6, "attention.kv": {"module": "tail", "shared": 4}}), 4, 0 },
        { TEXT({"layers": 6, "attention.kv": "mirror"}), 0, 0 },
        { SIX(LOCAL "," GLOBAL "," LOCAL "," LOCAL "," GLOBAL "," LOCAL), 3, 0 },
    };
    struct tiny own = planned(TEXT({"layers": 6}), MODE_EVAL);
    for (int i = 0; i < COUNT(model); i++) {
        struct tiny t = planned(model[i].sets, MODE_EVAL);
        assert_int_equal(model_count(t.leaves).total,
                         model_count(own.leaves).total - model[i].readers * KV + model[i].more);
        tiny_free(&t);
    }
    tiny_free(&own);
}

/* Its keys are made of the stream that runs into the layer, by a norm of their own: the layer's own norm does not move
   them, theirs does, and moves nothing below. */
static void test_yoco_norm(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"attention.kv": {"module": "yoco", "cross": 2}}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    struct node *k = attention_of(&t, 1)->in[1], *first = attention_of(&t, 0), *last = attention_of(&t, 2);
    int64_t n = shape_count(k->shape);
    tiny_forward(&t);
    double *keys = tiny_read(&t, k), *below = tiny_read(&t, first), *above = tiny_read(&t, last);
    tiny_scale(&t, "layers.1.attention.norm.gain", 2);
    tiny_forward(&t);
    double *same = tiny_read(&t, k), *other = tiny_read(&t, last);
    check_equal(keys, same, n);
    assert_true(distance(above, other, n) > 1e-4);
    tiny_scale(&t, "layers.1.attention.norm_kv.gain", 2);
    tiny_forward(&t);
    double *twice = tiny_read(&t, k), *untouched = tiny_read(&t, first);
    for (int64_t i = 0; i < n; i++) assert_true(fabs(twice[i] - 2 * keys[i]) <= 1e-6 * fmax(1, fabs(twice[i])));
    check_equal(below, untouched, shape_count(first->shape));
    free(keys), free(below), free(above), free(same), free(other), free(twice), free(untouched);
    tiny_free(&t);
}

/* With the weights of the one that it reads in all of a layer's readers, sharing is what each would make of that
   layer's input: mirror and CLA say the same (A15e). */
static void test_sharing_is_a_mirror_of_equal_weights(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.kv": {"module": "mirror", "pairs": [2, 1]}}),
                             TEXT({"attention.kv": {"module": "tail", "shared": 1}}));
    static const char *const part[] = { "k", "v" };
    for (int i = 0; i < 2; i++) {
        char from[64], to[64];
        snprintf(from, sizeof from, "layers.1.attention.%s.weight", part[i]);
        snprintf(to, sizeof to, "layers.2.attention.%s.weight", part[i]);
        state_put(p.a.state, tiny_leaf(&p.a, to), tiny_weight(&p.a, from));
    }
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* A block of multi-token prediction makes its keys of layer 0's input, of the same rows: of token i, not of i + 1. */
static void test_mirrored_block(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"attention.kv": "mirror", "head.mtp": "sequential"}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    double *block = tiny_read(&t, tiny_user(&t, "mtp.0.attention.k.weight")->in[0]),
           *first = tiny_read(&t, tiny_user(&t, "layers.0.attention.k.weight")->in[0]),
           *queries = tiny_read(&t, tiny_user(&t, "mtp.0.attention.q.weight")->in[0]);
    for (int b = 0; b < 2; b++) check_equal(block + b * 5 * 8, first + b * 6 * 8, 5 * 8);
    assert_true(distance(block, queries, 2 * 5 * 8) > 1e-2);
    free(block), free(first), free(queries);
    tiny_free(&t);
}

static void test_refusals(void **state)
{
    (void)state;
    tiny_refused(TEXT({"attention.kv": {"module": "yoco", "cross": 4}}),
                 "attention.kv.cross = 4: the model has only 3 layers");
    tiny_refused(TEXT({"attention.kv": "yoco", "residual": "hyper"}), "the norm of its keys reads one");
    tiny_refused(TEXT({"attention.kv": {"module": "tail", "shared": 3}}), "layer 0 has no keys of its own");
    tiny_refused(SIX(LOCAL "," LOCAL "," LOCAL "," LOCAL "," GLOBAL "," LOCAL), "sees all of the past");
    tiny_refused(TEXT({"attention": {"layers": [
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4},
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4},
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "kv": "yoco"}]}}), "whose kv is not yoco");
    tiny_refused(TEXT({"attention": {"layers": [
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4},
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "kv": "yoco",
         "mask": {"module": "window", "size": 3}},
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "kv": "yoco"}]}}), "looks further back");
    static const char *const reads[][2] = { { "window", "chunk" }, { "chunk", "window" }, { "chunk", "chunk" } };
    for (int i = 0; i < COUNT(reads); i++) {                /* rings are kept by kind */
        char sets[512];
        snprintf(sets, sizeof sets, TEXT({"attention": {"layers": [
            {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "kv": "cla",
             "mask": {"module": "%s", "size": 3}},
            {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "kv": "cla",
             "mask": {"module": "%s", "size": 2}},
            {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4}]}}), reads[i][0], reads[i][1]);
        tiny_refused(sets, "layer 1 looks further back than layer 0 keeps: ");
    }
    tiny_refused(TEXT({"attention.kv": "tail", "attention.qk_clip": 5}),
                 "who reads another layer's keys has none to scale");
}

/* ---- what a prompt leaves out ---- */

enum { SEQ = 12, CHUNK = 4, BATCH = 2 };

static struct decoder *decoder_of(struct tiny *t, struct model_size size)
{
    struct decoder *d;
    struct err e;
    struct plan_how how = { &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE };
    size.batch = BATCH;
    size.context = SEQ + 4;
    if (decoder_new(&d, &t->model, how, t->leaves, t->state, size, 1, &e)) fail_msg("%s", e.text);
    return d;
}

static void chunk_at(const struct tiny *t, int64_t at, int64_t n, int32_t *to)
{
    for (int b = 0; b < BATCH; b++)
        for (int64_t i = 0; i < n; i++) to[b * n + i] = at + i < SEQ ? t->ids[b * SEQ + at + i] : 0;
}

/* Feeds a chunk and drafts for it: logits of depth k. */
static void feed(struct decoder *d, const struct tiny *t, int64_t at, int k, real *logits)
{
    int32_t ids[BATCH * SEQ], ahead[BATCH * SEQ];
    chunk_at(t, at, CHUNK, ids);
    chunk_at(t, at + k, CHUNK, ahead);
    if (k == 0) decoder_feed(d, at, ids, logits);
    else decoder_draft(d, k, at, ids, ahead, logits);
}

static void read_chunk(struct decoder *d, const struct tiny *t, int64_t at)
{
    int32_t ids[BATCH * 2 * SEQ];
    chunk_at(t, at, CHUNK + decoder_ahead(d), ids);
    decoder_read(d, at, ids);
}

/* A prompt that is read without what caches do not need, and one whose logits are made: what follows has the same bits,
   by the trunk and by drafts (A15b, X5). */
static void check_exit_of(const char *sets, bool drafts, int out)
{
    struct tiny t = tiny_new(sets, NULL, MODE_EVAL, BATCH, SEQ);
    tiny_start(&t, 1);
    int64_t n = (int64_t)BATCH * CHUNK * t.model.vocab;
    struct model_size size = { .seq = CHUNK, .most = CHUNK, .drafts = drafts };
    struct decoder *reads = decoder_of(&t, size), *feeds = decoder_of(&t, size);
    int depth = (int)decoder_ahead(reads);
    real *a = xmalloc((size_t)n * sizeof *a), *b = xmalloc((size_t)n * sizeof *b);
    if (decoder_saving(reads).layers != out)
        fail_msg("%s: %d layers are left out%s, not %d", sets, decoder_saving(reads).layers,
                 drafts ? " of drafts" : "", out);
    for (int64_t at = 0; at < SEQ - CHUNK; at += CHUNK) {
        read_chunk(reads, &t, at);
        for (int k = 0; k <= depth; k++) feed(feeds, &t, at, k, b);
    }
    for (int k = 0; k <= depth; k++) {
        feed(reads, &t, SEQ - CHUNK, k, a);
        feed(feeds, &t, SEQ - CHUNK, k, b);
        if (memcmp(a, b, (size_t)n * sizeof *a) != 0)
            fail_msg("%s: depth %d says something else after a prompt that was read", sets, k);
    }
    decoder_free(reads);
    decoder_free(feeds);
    free(a);
    free(b);
    tiny_free(&t);
}

static void check_exit(const char *sets, int out, int out_with_drafts)
{
    check_exit_of(sets, false, out);
    check_exit_of(sets, true, out_with_drafts);
}

/* Of six layers: the last one always, but for drafts, whose chain reads what it leaves. */
static void test_exit(void **state)
{
    (void)state;
    check_exit(TEXT({"layers": 6}), 1, 1);
    check_exit(TEXT({"layers": 6, "head.mtp": "sequential"}), 1, 0);
    check_exit(TEXT({"layers": 6, "head.mtp": {"module": "parallel", "heads": 2}}), 1, 1);
    check_exit(TEXT({"layers": 6, "attention.kv": "mirror"}), 3, 3);
    check_exit(TEXT({"layers": 6, "attention.kv": "mirror", "head.mtp": "sequential"}), 2, 2);
    check_exit(TEXT({"layers": 6, "attention.kv": "mirror", "head.mtp": {"module": "parallel", "heads": 1}}), 2, 2);
    check_exit(TEXT({"layers": 6, "attention.kv": {"module": "mirror", "pairs": [5, 0, 4, 1, 3, 2]}}), 4, 4);
    check_exit(TEXT({"layers": 6, "attention.kv": {"module": "mirror", "pairs": [4, 1]}}), 1, 1);
    check_exit(TEXT({"layers": 6, "attention.kv": {"module": "cla", "share": 3}}), 3, 3);
    check_exit(TEXT({"layers": 6, "attention.kv": "yoco"}), 3, 3);
    check_exit(TEXT({"layers": 6, "attention.kv": "tail"}), 4, 4);
    check_exit(SIX(LOCAL "," GLOBAL "," LOCAL "," LOCAL "," GLOBAL "," LOCAL), 4, 4);
    check_exit(TEXT({"layers": 6, "attention": {"module": "gated_delta", "heads": 1, "value_heads": 1, "key_dim": 4,
                                                "value_dim": 4}}), 1, 1);
}

/* ---- what is kept ---- */

/* Bytes of a sequence's buffers that hold what was seen, as they are allocated. */
static size_t allocated(const struct leaves *l, int batch)
{
    size_t bytes = 0;
    for (int i = 0; i < l->n; i++) {
        const struct leaf *b = l->leaf[i];
        if (b->kind == LEAF_BUFFER && b->transient && b->decl.dtype != DTYPE_I32) bytes += leaf_bytes(b);
    }
    return bytes / (size_t)batch;
}

/* Of graphs that decode a token at a time what is counted is what is allocated, with each switch: windows, chunks,
   shared keys, states. With drafts no less: the rows that are handed on are states. */
static void test_counted_is_allocated(void **state)
{
    (void)state;
    enum { CONTEXT = 40 };
    int counted = 0;
    for (int i = 0; i < toggles.n; i++) {
        const struct toggle *on = toggles.toggle[i];
        struct tiny t = toggle_load(on);
        for (int way = 0; way < 3 && model_looks_ahead(&t.model) != AHEAD_ALWAYS; way++) {
            struct leaves *leaves = leaves_new();
            struct graph *g = graph_new(leaves);
            model_build(g, t.arena, &t.model, NULL, MODE_DECODE,
                        (struct model_size){ .batch = 2, .seq = 1, .context = CONTEXT, .drafts = way > 0,
                                             .part = way == 2 ? DECODE_PROMPT : DECODE_STEP });
            struct cache_bytes bytes = model_cache_bytes(leaves, 2, CONTEXT, 4);
            if (allocated(leaves, 2) != bytes.full + bytes.fixed)
                fail_msg("%s: %zu bytes are allocated, %zu and %zu counted", on->name, allocated(leaves, 2), bytes.full,
                         bytes.fixed);
            assert_int_equal(bytes.per_token, bytes.full / CONTEXT);
            graph_free(g);
            leaves_free(leaves);
            counted++;
        }
        arena_free(t.arena);
    }
    print_message("%d graphs allocate what is counted\n", counted);
}

/* Of a layer of the tiny model 2 x 4 values a token. */
static void test_kept(void **state)
{
    (void)state;
    enum { LAYER = 2 * 4 * 4, CONTEXT = 6 };
    static const struct { const char *sets; size_t full, drafts; } model[] = {
        { TEXT({"layers": 6}), 6 * LAYER * CONTEXT, 0 },
        { TEXT({"layers": 6, "attention.kv": "mirror"}), 6 * LAYER * CONTEXT, 0 },
        { TEXT({"layers": 6, "attention.kv": {"module": "cla", "share": 2}}), 3 * LAYER * CONTEXT, 0 },
        { TEXT({"layers": 6, "attention.kv": {"module": "tail", "shared": 2}}), 4 * LAYER * CONTEXT, 0 },
        { TEXT({"layers": 6, "attention.kv": "yoco"}), 4 * LAYER * CONTEXT, 0 },
        { SIX(LOCAL "," GLOBAL "," LOCAL "," LOCAL "," GLOBAL "," LOCAL), LAYER * (CONTEXT + 2 * 2), 0 },
        { TEXT({"layers": 6, "head.mtp": {"module": "sequential", "depth": 2}}), 6 * LAYER * CONTEXT,
          2 * LAYER * CONTEXT },
        { TEXT({"layers": 6, "head.mtp": {"module": "parallel", "heads": 2}}), 6 * LAYER * CONTEXT,
          2 * LAYER * CONTEXT },
        { TEXT({"layers": 6, "attention": {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4,
                "mask": {"module": "chunk", "size": 4}}}), 6 * LAYER * 4, 0 },
    };
    for (int i = 0; i < COUNT(model); i++)
        for (int drafts = 0; drafts < 2; drafts++) {
            struct tiny t = planned(model[i].sets, MODE_EVAL);
            struct leaves *leaves = leaves_new();
            struct graph *g = graph_new(leaves);
            model_build(g, t.arena, &t.model, NULL, MODE_DECODE,
                        (struct model_size){ .batch = 1, .seq = 1, .context = CONTEXT,
                                             .part = drafts ? DECODE_PROMPT : DECODE_STEP, .drafts = drafts });
            size_t full = model_cache_bytes(leaves, 1, CONTEXT, 4).full;
            if (full != model[i].full + drafts * model[i].drafts)
                fail_msg("%s: %zu bytes, not %zu", model[i].sets, full, model[i].full + drafts * model[i].drafts);
            graph_free(g);
            leaves_free(leaves);
            tiny_free(&t);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(sources), RUN(off), RUN(parameters), RUN(yoco_norm), RUN(sharing_is_a_mirror_of_equal_weights),
        RUN(mirrored_block), RUN(refusals), RUN(exit), RUN(counted_is_allocated), RUN(kept),
    };
    return cmocka_run_group_tests(tests, toggles_begin, toggles_end);
}
