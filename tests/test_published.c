/* Models at their published size: planned, counted and costed exactly. Nothing of them is allocated. */
#include "tiny.h"
#include "bind.h"
#include "graph/ops/products.h"

/* A planned model, its training graph and what decoding keeps. */
struct planned {
    struct arena *arena; struct model_conf model; struct train_conf train;
    struct leaves *leaves, *decode_leaves;
    struct plan *plan;
    struct graph *graph;
    struct counts counts;
    double forward, backward;
    size_t kv;
};

/* forward, backward: FLOPs of a token. kv: bytes of a token in bf16. */
static struct planned planned_new(json_t *model, int batch)
{
    struct planned p = { .arena = arena_new(), .leaves = leaves_new(), .decode_leaves = leaves_new() };
    struct problems problems = { 0 };
    struct err e;
    json_t *train = json_object();
    model_load(model, p.arena, &p.model, &problems);
    train_load(train, p.arena, &p.train, &problems);
    if (problems.n) fail_msg("%s: %s", problems.problem[0].path, problems.problem[0].text);
    p.graph = graph_new(p.leaves);
    struct graph *decode = graph_new(p.decode_leaves);
    model_build(p.graph, p.arena, &p.model, &p.train, MODE_TRAIN,
                (struct model_size){ .batch = batch, .seq = p.model.seq });
    if (plan_new(&p.plan, p.graph, (struct plan_how){ &backend_cpu, PRECISION_BF16, RECOMPUTE_NONE }, &e))
        fail_msg("%s", e.text);
    model_build(decode, p.arena, &p.model, NULL, MODE_DECODE,
                (struct model_size){ .batch = 1, .seq = 1, .context = p.model.seq });
    if (decode->failed) fail_msg("%s", decode->err.text);
    const struct plan_report *r = plan_report(p.plan);
    double tokens = (double)batch * p.model.seq;
    p.counts = model_count(p.leaves);
    p.forward = r->forward_flops / tokens;
    p.backward = (r->train_flops - r->forward_flops) / tokens;
    p.kv = model_cache_bytes(p.decode_leaves, 1, p.model.seq, 2).per_token;
    graph_free(decode);
    json_decref(train);
    json_decref(model);
    return p;
}

static void planned_free(struct planned *p)
{
    plan_free(p->plan);
    graph_free(p->graph);
    leaves_free(p->leaves);
    leaves_free(p->decode_leaves);
    arena_free(p->arena);
}

static json_t *preset(const char *name)
{
    json_t *model;
    struct err e;
    if (script_preset(name, &model, &e)) fail_msg("%s", e.text);
    return model;
}

static json_t *text(const char *json)
{
    json_t *model = json_loads(json, 0, NULL);
    assert_non_null(model);
    return model;
}

/* Parameters to the last one. `both`: active parameters in billions where input and output embedding count whole, as
   their publishers count; `active` counts one row of an untied input embedding. kv: 2 layers kv_heads head_dim 2
   bytes; of latents layers (kv_rank + rope_dim) 2. */
static void test_counts(void **state)
{
    (void)state;
    static const struct { const char *preset; int64_t total; double both; int64_t kv; bool tied; } model[] = {
        { "mixtral-8x7b", 46702792704, 12.88, 2 * 32 * 8 * 128 * 2, false },
        { "qwen3-30b-a3b", 30532122624, 3.35, 2 * 48 * 4 * 128 * 2, false },
        { "qwen3-235b-a22b", 235093634560, 22.2, 2 * 94 * 4 * 128 * 2, false },
        { "deepseekmoe-16b", 16375728128, 2.83, 2 * 28 * 16 * 128 * 2, false },
        { "mixtral-8x22b", 140620634112, 39.2, 2 * 56 * 8 * 128 * 2, false },
        { "dbrx", 131596523520, 36.5, 2 * 40 * 8 * 128 * 2, false },
        { "qwen1.5-moe-a2.7b", 14315784192, 2.69, 2 * 24 * 16 * 128 * 2, false },
        { "minicpm-moe-8x2b", 13873291776, 4.32, 2 * 40 * 36 * 64 * 2, true },
        { "glm-4.5-air", 106852245504, 13.42, 2 * 46 * 8 * 128 * 2, false },
        { "deepseek-v2", 235741434880, 21.4, 34560 * 2, false },
        { "deepseek-v2-lite", 15706484224, 2.66, 27 * 576 * 2, false },
        { "deepseek-v3", 671026419200 - 58 * 256, 37.6, 70272, false },         /* published with biases of experts */
        { "moonlight", 15960108544, 2.91, 27 * 576 * 2, false },
        { "kimi-k2", 1026408232448 - 60 * 384, 32.9, 61 * 576 * 2, false },
    };
    for (int i = 0; i < COUNT(model); i++) {
        struct planned p = planned_new(preset(model[i].preset), 1);
        int64_t table = (int64_t)p.model.vocab * p.model.d_model;
        double both = (double)p.counts.active_embedded / 1e9, digit = model[i].both > 20 ? 0.1 : 0.01;
        if (p.counts.total != model[i].total)
            fail_msg("%s: %lld parameters, published %lld", model[i].preset, (long long)p.counts.total,
                     (long long)model[i].total);
        if (fabs(both - model[i].both) > digit / 2)
            fail_msg("%s: %.4f G active with both embeddings, published %g G", model[i].preset, both, model[i].both);
        assert_int_equal(p.counts.active_embedded - p.counts.active, model[i].tied ? 0 : table - p.model.d_model);
        assert_int_equal(p.counts.non_embedding, p.counts.total - (model[i].tied ? 1 : 2) * table);
        assert_int_equal(p.kv, model[i].kv);
        const struct plan_report *r = plan_report(p.plan);
        assert_true(r->weights >= 4 * (size_t)model[i].total &&
                    r->weights < 4 * (size_t)model[i].total + 64 * (size_t)p.leaves->n);
        assert_true(r->grads == r->weights && r->buffers >= 8 * (size_t)model[i].total);        /* two moments */
        planned_free(&p);
    }
}

/* Published in total alone: gpt-oss, Gemma, SmolLM3 and OLMoE to the last one, the others to four digits. */
static void test_totals(void **state)
{
    (void)state;
    static const struct { const char *preset; int64_t total; } model[] = {
        { "gpt-oss-120b", 116829156672 }, { "gpt-oss-20b", 20914757184 }, { "grok-1", 315684820992 },
        { "glm-4.5", 352797814784 }, { "llama-4-maverick", 400711848960 }, { "llama-4-scout", 107769861120 },
        { "gemma-2-9b", 9241705984 }, { "gemma-3-27b", 27009346304 }, { "smollm3-3b", 3075098624 },
        { "olmoe-1b-7b", 6919161856 },
        { "olmo-2-7b", 7298617344 },
    };
    for (int i = 0; i < COUNT(model); i++) {
        struct planned p = planned_new(preset(model[i].preset), 1);
        if (p.counts.total != model[i].total)
            fail_msg("%s: %lld parameters, not %lld", model[i].preset, (long long)p.counts.total,
                     (long long)model[i].total);
        planned_free(&p);
    }
}

/* Experts in attention too: two of eight projections of queries and of heads, and caches of 16 heads. */
static void test_attention_experts(void **state)
{
    (void)state;
    struct planned p = planned_new(preset("jetmoe-8b"), 1);
    assert_int_equal(p.counts.total, 8522237952 - 24 * 2 * 2048);
    assert_true(fabs((double)p.counts.active_embedded / 1e9 - 2.33) < 0.005);
    assert_int_equal(p.kv, 2 * 24 * 16 * 128 * 2);
    planned_free(&p);
}

/* 128 experts of 3.66 G beside a dense model of 10 G: 480 G, 17 G active. */
static void test_shortcut(void **state)
{
    (void)state;
    int64_t experts = 35 * (int64_t)3 * 7168 * 4864;
    struct planned p = planned_new(preset("arctic-480b"), 1);
    assert_true(fabs((double)experts / 1e9 - 3.66) < 0.005);
    assert_true(fabs((double)(p.counts.total - 128 * experts) / 1e9 - 10) < 0.05);
    assert_int_equal(p.counts.active_embedded, p.counts.total - 126 * experts);
    planned_free(&p);
}

/* Dense, deep and narrow; three of them tied. */
static void test_dense_counts(void **state)
{
    (void)state;
    static const struct { int layers, width, heads, d_ff; bool tied; int64_t total; } qwen3[] = {
        { 28, 1024, 16, 3072, true, 596049920 },     { 28, 2048, 16, 6144, true, 1720574976 },
        { 36, 2560, 32, 9728, true, 4022468096 },    { 36, 4096, 32, 12288, false, 8190735360 },
        { 40, 5120, 40, 17408, false, 14768307200 }, { 64, 5120, 64, 25600, false, 32762123264 },
    };
    for (int i = 0; i < COUNT(qwen3); i++) {
        json_t *model = json_pack("{s:i, s:i, s:i, s:i, s:{s:s, s:i, s:i, s:i, s:s}, s:{s:s, s:i}, s:{s:s, s:b}}",
                                  "layers", qwen3[i].layers, "d_model", qwen3[i].width, "seq", 1024, "vocab", 151936,
                                  "attention", "module", "gqa", "heads", qwen3[i].heads, "kv_heads", 8, "head_dim", 128,
                                  "qk_norm", "qk", "ffn", "module", "dense", "d_ff", qwen3[i].d_ff, 
                                  "head", "module", "lm", "tied", qwen3[i].tied);
        struct planned p = planned_new(model, 1);
        assert_int_equal(p.counts.total, qwen3[i].total);
        assert_int_equal(p.counts.active_embedded, qwen3[i].total);
        assert_int_equal(p.counts.active, qwen3[i].total - (qwen3[i].tied ? 0 : (int64_t)151935 * qwen3[i].width));
        assert_int_equal(p.kv, 2 * qwen3[i].layers * 8 * 128 * 2);
        planned_free(&p);
    }
}

static int64_t weights_below(const struct planned *p, const char *prefix, int64_t *experts)
{
    int64_t n = 0;
    *experts = 0;
    for (int i = 0; i < p->leaves->n; i++) {
        const struct leaf *l = p->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT || strncmp(l->path, prefix, strlen(prefix)) != 0) continue;
        if (l->decl.shape.rank == 3) *experts += shape_count(l->decl.shape) / l->decl.shape.dim[0];
        else n += shape_count(l->decl.shape);
    }
    return n;
}

/* Attention of a layer: 187.1 M in DeepSeek-V3, 149.2 M in V2; a norm of the layer is beside it. FLOPs are those of the
   matrices that a token meets, and of the keys and values of heads, half of a sequence. */
static void test_latent_attention(void **state)
{
    (void)state;
    static const struct { const char *preset; int64_t layers, width, millions; } model[] = {
        { "deepseek-v3", 61, 7168, 1871 }, { "deepseek-v2", 60, 5120, 1492 } };
    for (int i = 0; i < COUNT(model); i++) {
        struct planned p = planned_new(preset(model[i].preset), 1);
        int64_t none, d = model[i].width, all = weights_below(&p, "layers.7.attention.", &none) - d;
        assert_int_equal(all, d * 1536 + 1536 * 128 * 192 + d * 576 + 512 * 128 * 256 + 128 * 128 * d + 1536 + 512);
        assert_int_equal(llround((double)all / 1e5), model[i].millions);
        int64_t gains = model[i].layers * (2 * d + 2048) + d;
        double flops = 2 * (double)(p.counts.active - d - gains) + (double)model[i].layers * 4096 * 128 * (192 + 128);
        if (fabs(p.forward - flops) > 1e-9 * flops)
            fail_msg("%s: %.0f FLOPs a token, by hand %.0f", model[i].preset, p.forward, flops);
        planned_free(&p);
    }
}

/* Qwen3-Next: three layers of four keep 2 MiB of memories and 3 inputs of each convolution, 4 bytes each, and nothing
   for a token; the others 2 KiB for a token. The published 80 G, of which 3 G are active, without what predicts further
   tokens. */
static void test_hybrid(void **state)
{
    (void)state;
    struct planned p = planned_new(preset("qwen3-next-80b-a3b"), 1);
    int64_t mixed = 2 * 16 * 128 + 32 * 128, memory = 32 * 128 * 128;
    assert_int_equal(p.counts.total, 79674391296);
    assert_true(p.counts.active_embedded > 2.9e9 && p.counts.active_embedded < 4e9);
    assert_int_equal(p.kv, 12 * 2 * 2 * 256 * 2);
    assert_int_equal(model_cache_bytes(p.decode_leaves, 1, p.model.seq, 2).fixed, 36 * 4 * (memory + 3 * mixed));
    int64_t none;
    assert_int_equal(weights_below(&p, "layers.0.attention.", &none),
                     2048 * (mixed + 4096 + 2 * 32) + 4096 * 2048 + 4 * mixed + 128 + 2 * 32 + 2048);
    planned_free(&p);
}

/* A layer of WeLM-80B, its trunk, the block of multi-token prediction, and the caches (of which MTP has none while it
   does not draft). */
static void test_welm(void **state)
{
    (void)state;
    enum { WIDTH = 2048, EXPERT = 3145728, ROUTER = 1048576, ATTENTION = 27312128, KNORM = 256, NORMS = 3 * WIDTH };
    const int64_t shared = EXPERT, block = ATTENTION + 512LL * EXPERT + ROUTER + shared + KNORM + NORMS,
                  busy = ATTENTION + 11LL * EXPERT + ROUTER + KNORM + NORMS;
    struct planned p = planned_new(preset("welm-80b"), 1);
    int64_t expert, none;
    assert_int_equal(weights_below(&p, "layers.7.attention.", &none), ATTENTION + KNORM + 2 * WIDTH);
    assert_int_equal(weights_below(&p, "layers.7.ffn.", &expert), ROUTER + shared + WIDTH);
    assert_int_equal(expert, EXPERT);
    assert_int_equal(weights_below(&p, "layers.7.", &expert) + 512 * expert, block);
    int64_t trunk = 0, further;
    for (int l = 0; l < 48; l++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "layers.%d.", l);
        trunk += weights_below(&p, prefix, &expert) + 512 * expert;
    }
    assert_int_equal(trunk, 48 * block);
    assert_true(llround((double)trunk / 1e7) == 7882 && llround(48 * (double)busy / 1e6) == 3023);
    further = weights_below(&p, "mtp.0.", &expert) + 512 * expert;
    assert_int_equal(further, block + 2 * WIDTH * WIDTH + 3 * WIDTH);
    assert_true(llround((double)(49 * block) / 1e7) == 8046);
    assert_int_equal(p.kv, 98304);
    int64_t tables = 0;
    for (int i = 0; i < 4; i++) {
        char path[32];
        snprintf(path, sizeof path, "embed.table%d", i);
        tables += shape_count(leaves_find(p.leaves, path)->decl.shape);
    }
    assert_true(llround((double)(tables + weights_below(&p, "embed.weight", &none)) / 1e8) == 60);
    /* A row each, mix, final norm, head */
    int64_t outside = WIDTH + 4 * 512 + 2048 * WIDTH + WIDTH + 151936LL * WIDTH;
    assert_int_equal(p.counts.active, 48 * busy + outside + busy + 2 * WIDTH * WIDTH + 3 * WIDTH);
    planned_free(&p);
    json_t *deep = preset("welm-80b");
    json_object_set_new(deep, "layers", json_integer(78));
    p = planned_new(deep, 1);
    assert_int_equal(weights_below(&p, "layers.77.", &expert) + 512 * expert, block);
    assert_true(llround(78 * (double)block / 1e7) == 12809 && llround(78 * (double)busy / 1e6) == 4912);
    planned_free(&p);
}

/* ---- FLOPs ---- */

struct parts {
    double layers, width, heads, kv_heads, head_dim, window, gate, experts, k, hidden, shared, dense, grams, mtp, vocab,
        seq;
};

/* Forward FLOPs of a row of a block by hand, in sequences of so many rows: two for each parameter of a matrix that it
   meets; attention's core counts the causal half. */
static double block_by_hand(const struct parts *m, double rows)
{
    double wide = m->heads * m->head_dim, w = m->window;
    double matrices = 2 * m->width * wide + 2 * m->width * m->kv_heads * m->head_dim + m->gate * m->width;
    double core = m->window ? 4 * wide * (w - w * (w - 1) / (2 * rows)) : 2 * wide * rows;
    double ffn = m->experts ? m->width * m->experts + 3 * m->width * m->hidden * (m->k + m->shared)
                            : 3 * m->width * m->dense;
    return 2 * matrices + core + 2 * ffn;
}

/* Of a token. Each further token is embedded once more, n-grams and all; a block of multi-token prediction has no row
   for the last. */
static double by_hand(const struct parts *m)
{
    double mix = 2 * m->grams * m->width, head = 2 * m->width * m->vocab,
           all = m->layers * block_by_hand(m, m->seq) + mix + head;
    for (int k = 1; k <= m->mtp; k++)
        all += mix + (m->seq - k) / m->seq * (block_by_hand(m, m->seq - k) + head + 4 * m->width * m->width);
    return all;
}

static void check_flops(const char *name, json_t *model, struct parts m)
{
    struct planned p = planned_new(model, 2);
    double want = by_hand(&m);
    if (fabs(p.forward - want) > 1e-9 * want)
        fail_msg("%s: %.0f FLOPs forward a token, by hand %.0f", name, p.forward, want);
    if (fabs(p.backward - 2 * want) > 1e-9 * want)
        fail_msg("%s: %.0f FLOPs backward a token, twice the forward is %.0f", name, p.backward, 2 * want);
    planned_free(&p);
}

static void test_flops(void **state)
{
    (void)state;
    check_flops("mixtral-8x7b", preset("mixtral-8x7b"),
                (struct parts){ .layers = 32, .width = 4096, .heads = 32, .kv_heads = 8, .head_dim = 128,
                                .experts = 8, .k = 2, .hidden = 14336, .vocab = 32000, .seq = 4096 });
    check_flops("welm-80b", preset("welm-80b"),
                (struct parts){ .layers = 48, .width = 2048, .heads = 24, .kv_heads = 2, .head_dim = 256, .gate = 24,
                                .experts = 512, .k = 10, .hidden = 512, .shared = 1, .grams = 2048, .mtp = 1,
                                .vocab = 151936, .seq = 4096 });
    check_flops("element gate",
                text(TEXT({"layers": 2, "d_model": 64, "seq": 32, "vocab": 100,
                           "attention": {"module": "gqa", "heads": 3, "kv_heads": 1, "head_dim": 16, "gate": "element"},
                           "ffn": {"module": "dense", "d_ff": 96}})),
                (struct parts){ .layers = 2, .width = 64, .heads = 3, .kv_heads = 1, .head_dim = 16, .gate = 48,
                                .dense = 96, .vocab = 100, .seq = 32 });
    check_flops("window",
                text(TEXT({"layers": 3, "d_model": 64, "seq": 128, "vocab": 100,
                           "attention": {"module": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 16,
                                         "mask": {"module": "window", "size": 24}},
                           "ffn": {"module": "moe", "experts": 6, "d_ff": 20, "router": {"top_k": 3}}})),
                (struct parts){ .layers = 3, .width = 64, .heads = 4, .kv_heads = 2, .head_dim = 16, .window = 24,
                                .experts = 6, .k = 3, .hidden = 20, .vocab = 100, .seq = 128 });
}

/* What the trunk of WeLM-80B costs without its head: 8.46 GFLOP a token at 4096, of which 29 % attention's core; 25.4
   and 76 % at 32768. */
static void test_long_sequences(void **state)
{
    (void)state;
    static const struct { int seq; double giga, core; } at[] = { { 4096, 8.46, 0.29 }, { 32768, 25.4, 0.76 } };
    for (int i = 0; i < 2; i++) {
        json_t *model = preset("welm-80b");
        json_object_set_new(model, "seq", json_integer(at[i].seq));
        json_object_set_new(model, "embed", json_string("plain"));
        json_object_set_new(json_object_get(model, "head"), "mtp", json_string("none"));
        struct planned p = planned_new(model, 1);
        double trunk = p.forward - 2.0 * 2048 * 151936, core = 48.0 * 2 * 24 * 256 * at[i].seq;
        assert_true(fabs(trunk / 1e9 - at[i].giga) < 0.05 && fabs(core / trunk - at[i].core) < 0.005);
        planned_free(&p);
    }
}

/* Of each layer min(window, context) positions are needed: the bytes are those of a full context, for each of its
   tokens. */
static void test_caches_of_a_window(void **state)
{
    (void)state;
    enum { LAYER = 2 * 2 * 32 * 2 };
    static const struct { int window, seq; size_t kv; } alone[] = { { 16, 128, 6 * LAYER / 8 }, { 128, 128, 6 * LAYER },
                                                                    { 4096, 128, 6 * LAYER },
                                                                    { 1, 256, 6 * LAYER / 256 } };
    for (int i = 0; i < COUNT(alone); i++) {
        json_t *attention = json_pack("{s:s, s:i, s:i, s:i, s:{s:s, s:i}}", "module", "gqa", "heads", 4, "kv_heads", 2,
                                      "head_dim", 32, "mask", "module", "window", "size", alone[i].window);
        struct planned p = planned_new(json_pack("{s:i, s:i, s:o}", "layers", 6, "seq", alone[i].seq,
                                                 "attention", attention), 1);
        assert_int_equal(p.kv, alone[i].kv);
        planned_free(&p);
    }
    struct planned mix = planned_new(text(TEXT({"layers": 3, "seq": 128, "attention": {"layers": [
        {"module": "gqa", "kv_heads": 2, "head_dim": 32, "mask": {"module": "window", "size": 16}},
        {"module": "gqa", "kv_heads": 2, "head_dim": 32},
        {"module": "gqa", "kv_heads": 2, "head_dim": 32, "mask": {"module": "window", "size": 64}}]}})), 1);
    assert_int_equal(mix.kv, LAYER / 8 + LAYER + LAYER / 2);
    planned_free(&mix);
}

/* ---- what decoding keeps and a prompt costs ---- */

/* A decoding graph; FLOPs of a token of its chunk: of attention's core, and of products with matrices. */
struct read { struct cache_bytes kept; double core, linear; };

static void add_cost(void *to, const struct call_cost *c)
{
    struct read *r = to;
    if (c->node->op == &op_attention) r->core += c->flops;
    else if (c->node->op == &op_matmul || c->node->op == &op_grouped_matmul) r->linear += c->flops;
}

static struct read read_of(json_t *model_json, struct model_size size)
{
    struct arena *arena = arena_new();
    struct leaves *leaves = leaves_new();
    struct graph *g = graph_new(leaves);
    struct problems problems = { 0 };
    struct model_conf model;
    struct read r = { 0 };
    struct plan *plan;
    struct err e;
    model_load(model_json, arena, &model, &problems);
    if (problems.n) fail_msg("%s: %s", problems.problem[0].path, problems.problem[0].text);
    size.batch = 1;
    size.context = model.seq;
    if (size.seq == 0) size.seq = model.seq;
    model_build(g, arena, &model, NULL, MODE_DECODE, size);
    if (plan_new(&plan, g, (struct plan_how){ &backend_cpu, PRECISION_BF16, RECOMPUTE_NONE }, &e))
        fail_msg("%s", e.text);
    plan_costs(plan, 1, add_cost, &r);
    r.core /= (double)size.seq;
    r.linear /= (double)size.seq;
    r.kept = model_cache_bytes(leaves, 1, model.seq, 2);
    plan_free(plan);
    graph_free(g);
    leaves_free(leaves);
    arena_free(arena);
    json_decref(model_json);
    return r;
}

/* WeLM-80B keeps 96 KiB a token, and 2 KiB for the block that drafts. */
static void test_drafts(void **state)
{
    (void)state;
    assert_int_equal(read_of(preset("welm-80b"), (struct model_size){ .seq = 1 }).kept.per_token, 98304);
    assert_int_equal(read_of(preset("welm-80b"), (struct model_size){ .seq = 1, .part = DECODE_PROMPT, .drafts = true })
                         .kept.per_token, 98304 + 2048);
}

/* WeLM-80B without n-grams. */
static json_t *plain_welm(const char *kv)
{
    json_t *model = preset("welm-80b");
    json_object_set_new(model, "embed", json_string("plain"));
    json_object_set_new(json_object_get(model, "attention"), "kv", json_string(kv));
    return model;
}

/* A prompt of WeLM-80B saves what 15 of 48 layers compute, but for their keys and values: 31.25 % of attention's core,
   30.2 % of the products with matrices, n-grams and head apart. Drafting costs a prompt the block's keys and values. */
static void test_mirrored_prompt(void **state)
{
    (void)state;
    struct model_size prompt = { .part = DECODE_PROMPT }, drafting = { .part = DECODE_PROMPT, .drafts = true };
    struct read whole = read_of(plain_welm("mirror"), (struct model_size){ 0 }),
                without = read_of(plain_welm("own"), prompt),
                with = read_of(plain_welm("mirror"), prompt), drafts = read_of(plain_welm("mirror"), drafting);
    double head = 2.0 * 2048 * 151936, keys = 2.0 * 2 * 2048 * 2 * 256;
    assert_true(fabs((without.core - with.core) / whole.core - 0.3125) < 1e-9);
    assert_true(fabs((without.linear - with.linear) / (whole.linear - head) - 0.302) < 0.0005);
    assert_true(drafts.core == with.core && fabs(drafts.linear - with.linear - keys) < 1e-9 * keys);
}

/* Gemma 3 27B: five layers with a window of 1024 to one without: in GiB of a sequence, beside all without. */
static void test_local_and_global(void **state)
{
    (void)state;
    static const struct { int seq; double mixed, full; } at[] = { { 4096, 0.72, 1.94 }, { 32768, 2.9, 15.5 },
                                                                  { 131072, 10.4, 62 } };
    for (int i = 0; i < COUNT(at); i++) {
        double held[2];
        for (int mixed = 0; mixed < 2; mixed++) {
            json_t *layers = json_array();
            for (int l = 0; l < 62; l++) {
                json_t *layer = json_pack("{s:s, s:i, s:i, s:i}", "module", "gqa", "heads", 32, "kv_heads", 16,
                                          "head_dim", 128);
                if (mixed && (l + 1) % 6 != 0)
                    json_object_set_new(layer, "mask", json_pack("{s:s, s:i}", "module", "window", "size", 1024));
                json_array_append_new(layers, layer);
            }
            struct read r = read_of(json_pack("{s:i, s:i, s:{s:o}}", "layers", 62, "seq", at[i].seq, "attention",
                                              "layers", layers), (struct model_size){ .seq = 1 });
            int64_t of_token = 2 * 16 * 128 * 2, global = mixed ? 10 : 62;
            assert_int_equal(r.kept.full, of_token * (global * at[i].seq + (62 - global) * 1024));
            held[mixed] = (double)r.kept.full / (1 << 30);
        }
        if (fabs(held[1] - at[i].mixed) > 0.05 * at[i].mixed || fabs(held[0] - at[i].full) > 0.01 * at[i].full)
            fail_msg("%d tokens: %.3f GiB of %.3f, published %g of %g", at[i].seq, held[1], held[0], at[i].mixed,
                     at[i].full);
    }
}

/* Bytes of a token where layers share: MQA of 20 layers 10,240, CLA of two 5,120; of 30 layers the last 10 reuse (Gemma
   3n E2B); YOCO one layer for the upper half, and the windows of the lower. */
static void test_shared(void **state)
{
    (void)state;
    static const struct { const char *kv; int layers; int64_t kept; } model[] = {
        { "{\"module\": \"own\"}", 20, 10240 }, { "{\"module\": \"cla\", \"share\": 2}", 20, 5120 },
        { "{\"module\": \"mirror\"}", 20, 10240 }, { "{\"module\": \"tail\", \"shared\": 10}", 30, 20 * 512 },
        { "{\"module\": \"tail\", \"shared\": 15}", 35, 20 * 512 }, { "{\"module\": \"yoco\"}", 24, 13 * 512 },
    };
    for (int i = 0; i < COUNT(model); i++) {
        json_t *attention = json_pack("{s:s, s:i, s:i, s:i, s:o}", "module", "gqa", "heads", 16, "kv_heads", 1,
                                      "head_dim", 128, "kv", text(model[i].kv));
        struct read r = read_of(json_pack("{s:i, s:i, s:o}", "layers", model[i].layers, "seq", 1024,
                                          "attention", attention), (struct model_size){ .seq = 1 });
        assert_int_equal(r.kept.per_token, model[i].kept);
    }
    json_t *layers = json_array();
    for (int l = 0; l < 24; l++) {
        json_t *layer = json_pack("{s:s, s:i, s:i, s:i, s:s}", "module", "gqa", "heads", 16, "kv_heads", 1,
                                  "head_dim", 128, "kv", "yoco");
        if (l < 12) json_object_set_new(layer, "mask", json_pack("{s:s, s:i}", "module", "window", "size", 256));
        json_array_append_new(layers, layer);
    }
    struct read r = read_of(json_pack("{s:i, s:i, s:{s:o}}", "layers", 24, "seq", 8192, "attention", "layers", layers),
                            (struct model_size){ .seq = 1 });
    assert_int_equal(r.kept.full, 512 * (8192 + 12 * 256));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts), cmocka_unit_test(test_totals), cmocka_unit_test(test_attention_experts),
        cmocka_unit_test(test_shortcut), cmocka_unit_test(test_dense_counts), cmocka_unit_test(test_latent_attention),
        cmocka_unit_test(test_welm), cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_flops), cmocka_unit_test(test_long_sequences), cmocka_unit_test(test_caches_of_a_window),
        cmocka_unit_test(test_drafts), cmocka_unit_test(test_mirrored_prompt), cmocka_unit_test(test_local_and_global),
        cmocka_unit_test(test_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
