/* Speculative decoding leaves the distribution as it is: enumerated, by chi-square, and token by token where the
   likeliest is taken, for models with rings, states and chains of drafts. */
#include "tiny.h"
#include "train/speculate.h"

#define RUN(name) cmocka_unit_test(test_##name)

enum { V = 4, MOST = 5 };

/* ---- one round ---- */

/* Acceptance on a grid of u that divides every p / q here: exact. */
static double kept_share(const double *p, const double *q, int32_t token)
{
    enum { GRID = 64 };
    int kept = 0;
    for (int i = 0; i < GRID; i++) kept += speculate_accepts(p, q, token, (i + 0.5) / GRID);
    return (double)kept / GRID;
}

/* The chances of the token that a draft's position gets, over all drafts. */
static void emitted(const double *p, const double *q, double *to)
{
    double instead[V];
    memset(to, 0, V * sizeof *to);
    speculate_instead(p, q, V, instead);
    for (int d = 0; d < V; d++) {
        double kept = q[d] > 0 ? kept_share(p, q, d) : 0;
        to[d] += q[d] * kept;
        for (int v = 0; v < V; v++) to[v] += q[d] * (1 - kept) * instead[v];
    }
}

static void test_enumeration(void **state)
{
    (void)state;
    static const double p[][V] = { { .5, .25, .1875, .0625 }, { .75, .25, 0, 0 }, { 0, 0, .5, .5 }, { 1, 0, 0, 0 } };
    static const double q[][V] = { { .25, .25, .25, .25 }, { .5, .5, 0, 0 }, { .125, .125, .25, .5 }, { 0, 0, 0, 1 } };
    for (int i = 0; i < COUNT(p); i++)
        for (int k = 0; k < COUNT(q); k++) {
            double got[V];
            emitted(p[i], q[k], got);
            for (int v = 0; v < V; v++) assert_true(fabs(got[v] - p[i][v]) < 1e-12);
        }
    double instead[V];
    speculate_instead((double[V]){ .5, .3, .15, .05 }, q[0], V, instead);
    assert_true(fabs(instead[0] - 5. / 6) < 1e-12 && fabs(instead[1] - 1. / 6) < 1e-12 && instead[2] + instead[3] == 0);
    speculate_instead(p[0], p[0], V, instead);
    for (int v = 0; v < V; v++) assert_true(instead[v] == p[0][v]);
}

/* A model without a graph: what follows depends on the token before. */
static const real table[V][V] = { { 1, .5, 0, -1 }, { 0, 1.2, -.5, .3 }, { .2, .1, 0, 1 }, { 2, 0, 1, 0 } };

/* How drafts are made: as the model chooses, by other chances, or of tokens that it never says. */
enum way { ALIKE, OTHERWISE, POINTS, WAYS };

static void draft(struct drafts *to, enum way way, const struct filter *f, const struct text *t, int n)
{
    int32_t ids[16];
    struct text so_far = *t;
    memcpy(ids, t->ids, (size_t)t->n * sizeof *ids);
    so_far.ids = ids;
    for (to->n = 0; to->n < n; to->n++) {
        double *chance = to->chance + to->n * V;
        int32_t last = ids[so_far.n - 1], token = (last + 1) % V;
        generate_chances(f, table[way == ALIKE ? last : token], V, &so_far, chance);
        if (way == POINTS) for (int v = 0; v < V; v++) chance[v] = v == token;
        to->token[to->n] = generate_pick(chance, V, generate_lot(&so_far, so_far.n, LOT_DRAFT));
        ids[so_far.n++] = to->token[to->n];
    }
}

/* Two tokens or more behind token 3; gives how many drafts were accepted in the first round. */
static int begin(enum way way, const struct filter *f, uint64_t number, int n, struct text *t, int32_t *ids)
{
    struct limits limits = { 2, 16, -1, NULL };
    struct writing w = { f, &limits, NULL, NULL };
    double chance[MOST * V];
    struct drafts drafts = { .chance = chance };
    int first = -1;
    ids[0] = 3;
    *t = (struct text){ .ids = ids, .n = 1, .prompt = 1, .seed = 5, .number = number };
    while (t->ending == ENDING_NONE) {
        real logits[(MOST + 1) * V];
        draft(&drafts, way, f, t, n);
        for (int j = 0; j <= n; j++)
            memcpy(logits + j * V, table[j ? drafts.token[j - 1] : ids[t->n - 1]], sizeof table[0]);
        int accepted = speculate_judge(t, &w, logits, V, &drafts);
        if (first < 0) first = accepted;
    }
    return first;
}

/* Pairs of tokens, against what the filtered model says of the first and then of the second. */
static void test_distribution(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct filter f = generate_plain;
    f.temperature = 0.8;
    f.top_k = 3;
    for (int way = 0; way < WAYS; way++) {
        int count[V][V] = { 0 };
        double chi = 0;
        struct text t, none = { 0 };
        int32_t ids[16];
        for (uint64_t i = 0; i < N; i++) {
            begin(way, &f, i, 2, &t, ids);
            count[ids[1]][ids[2]]++;
        }
        double p[V], next[V];
        generate_chances(&f, table[3], V, &none, p);
        for (int a = 0; a < V; a++) {
            generate_chances(&f, table[a], V, &none, next);
            for (int b = 0; b < V; b++) {
                double want = N * p[a] * next[b];
                if (want > 0) chi += pow(count[a][b] - want, 2) / want;
                else assert_int_equal(count[a][b], 0);
            }
        }
        if (!(chi < 26.12)) fail_msg("way %d: chi-square %.1f of eight degrees of freedom", way, chi);   /* p = 0.001 */
    }
}

/* As the model chooses: all are accepted. Without drafts: plain decoding's draws. An end stops a round. */
static void test_rounds(void **state)
{
    (void)state;
    struct filter f = generate_plain;
    struct text t, plain;
    int32_t ids[16], own[16];
    struct limits eos = { 9, 16, 3, NULL };
    struct writing w = { &f, &eos, NULL, NULL };
    for (uint64_t i = 0; i < 200; i++) {
        assert_int_equal(begin(ALIKE, &f, i, 1, &t, ids), 1);
        begin(ALIKE, &f, i, 0, &t, ids);
        plain = (struct text){ .ids = own, .n = 1, .prompt = 1, .seed = 5, .number = i };
        own[0] = 3;
        for (double p[V]; plain.n < 3; plain.n++) {
            generate_chances(&f, table[own[plain.n - 1]], V, &plain, p);
            own[plain.n] = generate_pick(p, V, generate_lot(&plain, plain.n, LOT_TOKEN));
        }
        assert_memory_equal(ids, own, 3 * sizeof *ids);
    }
    double chance[3 * V] = { 0 };
    struct drafts drafts = { 3, { 2, 3, 0 }, chance };
    for (int j = 0; j < 3; j++) chance[j * V + drafts.token[j]] = 1;
    f.temperature = 0;
    own[0] = 0;
    t = (struct text){ .ids = own, .n = 1, .prompt = 1 };
    const real logits[4 * V] = { 0, 0, 9, 0, 0, 0, 0, 9, 9, 0, 0, 0, 9, 0, 0, 0 };
    assert_int_equal(speculate_judge(&t, &w, logits, V, &drafts), 2);
    assert_true(t.ending == ENDING_EOS && t.n == 3 && t.kept == 2);
}

/* ---- models ---- */

static struct decoder *decoder_of(struct tiny *t, struct model_size size, const struct limits *l)
{
    struct decoder *d;
    struct err e;
    struct plan_how how = { &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE };
    size.context = l->context + size.seq;
    if (decoder_new(&d, &t->model, how, t->leaves, t->state, size, 1, &e)) fail_msg("%s", e.text);
    return d;
}

/* Drafts of any tokens, as often right as chance has it among the few that a plain text has. */
struct guess { const struct text *plain; };
static void draft_guesses(void *guess, const struct text *t, int64_t from, int64_t read, int most, struct drafts *to)
{
    const struct text *plain = ((struct guess *)guess)->plain;
    (void)from; (void)read;
    memset(to->chance, 0, (size_t)(most > 0 ? most : 0) * 11 * sizeof *to->chance);
    for (to->n = 0; to->n < most; to->n++) {
        struct key key = { 1, PURPOSE_TEST, 9, (uint64_t)t->n };
        bool right = key_uniform(key, (uint64_t)to->n) < 0.7;
        to->token[to->n] = right ? plain->ids[t->n + to->n] : (plain->ids[t->n + to->n] + 1) % 11;
        to->chance[to->n * 11 + to->token[to->n]] = 1;
    }
}

static struct text plain_of(struct tiny *t, const struct writing *w, const int32_t *prompt, int64_t n)
{
    struct decoder *d = decoder_of(t, (struct model_size){ .batch = 1, .seq = 1 }, w->limits);
    struct text text = texts_new(prompt, n, w->limits, 1, 0);
    texts_write(d, w, &text, 1);
    decoder_free(d);
    return text;
}

static void check_text(struct tiny *t, const char *name, const struct writing *w, const struct text *plain,
                       struct drafter by, struct model_size size)
{
    int64_t vocab = t->model.vocab;
    size.batch = 1;
    size.rewind = by.ahead + 1;
    size.seq = by.ahead + 1;
    struct decoder *d = decoder_of(t, size, w->limits);
    struct speculate_blocks blocks = { d, w->filter };
    if (by.draft == speculate_by_blocks) by.context = &blocks;
    if (by.draft == speculate_by_suffix) by.context = &vocab;
    for (int again = 0; again < 2; again++) {               /* the second where the first one's states still lie */
        struct gain gain = { 0 };
        struct text got = texts_new(plain->ids, plain->prompt, w->limits, 1, 0);
        speculate_write(d, w, &by, &got, &gain);
        if (got.n != plain->n || memcmp(got.ids, plain->ids, (size_t)got.n * sizeof *got.ids) != 0)
            fail_msg("%s, %d drafts: another text", name, by.ahead);
        assert_true(gain.tokens == got.n - got.prompt && speculate_tau(&gain) <= by.ahead + 1);
        if (by.draft == draft_guesses && by.ahead > 1) assert_true(speculate_tau(&gain) > 1.5);
        free(got.ids);
    }
    decoder_free(d);
}

static const char *const models[] = {
    TEXT({"head.mtp": {"module": "sequential", "depth": 3}}),
    TEXT({"head.mtp": {"module": "parallel", "heads": 3}, "attention.kv": "mirror"}),
    TEXT({"head.mtp": {"module": "sequential", "depth": 3}, "attention.mask": {"module": "window", "size": 4}}),
    TEXT({"head.mtp": {"module": "sequential", "depth": 3}, "attention.mask": {"module": "chunk", "size": 4}}),
    TEXT({"head.mtp": {"module": "sequential", "depth": 3}, "embed": {"module": "over_encoding", "rows": 7, "width": 3},
          "attention": {"module": "gated_delta", "heads": 1, "value_heads": 2, "key_dim": 4, "value_dim": 4}}),
};
static const int32_t prompt[] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5 };

/* The likeliest each time: drafts that are often wrong, the model's own and repeated ones change no token. */
static void test_likeliest(void **state)
{
    (void)state;
    struct filter f = generate_plain;
    struct limits limits = { 60, 40, -1, NULL };
    struct writing w = { &f, &limits, NULL, NULL };
    f.temperature = 0;
    f.repetition = 1.2;
    for (int i = 0; i < COUNT(models); i++) {
        struct tiny t = tiny_new(models[i], NULL, MODE_EVAL, 1, 6);
        tiny_start(&t, 1);
        for (int64_t n = 1; n <= COUNT(prompt); n += 5) {
            struct text plain = plain_of(&t, &w, prompt, n);
            struct guess guess = { &plain };
            for (int ahead = 1; ahead <= MOST; ahead++) {
                check_text(&t, models[i], &w, &plain, (struct drafter){ ahead, draft_guesses, &guess },
                           (struct model_size){ .most = n > 4 ? 4 : 0 });
                check_text(&t, models[i], &w, &plain, (struct drafter){ ahead, speculate_by_suffix, NULL },
                           (struct model_size){ 0 });
                if (ahead <= 3)
                    check_text(&t, models[i], &w, &plain, (struct drafter){ ahead, speculate_by_blocks, NULL },
                               (struct model_size){ .most = n > 4 ? 3 : 0, .drafts = true });
            }
            free(plain.ids);
        }
        tiny_free(&t);
    }
}

/* Prompts of many lengths in one batch, twice: each text as it is alone. */
static void test_batches(void **state)
{
    (void)state;
    struct filter f = generate_plain;
    struct limits limits = { 12, 40, -1, NULL };
    struct writing w = { &f, &limits, NULL, NULL };
    for (int i = 0; i < COUNT(models); i++) {
        struct tiny t = tiny_new(models[i], NULL, MODE_EVAL, 1, 6);
        tiny_start(&t, 1);
        struct decoder *d = decoder_of(&t, (struct model_size){ .batch = 4, .seq = 1, .most = 4 }, &limits);
        for (int again = 0; again < 2; again++) {
            struct text text[3];
            for (int b = 0; b < 3; b++)
                text[b] = texts_new(prompt + b, COUNT(prompt) - 2 - 4 * b + again, &limits, 1, 0);
            texts_write(d, &w, text, 3);
            for (int b = 0; b < 3; b++) {
                struct text alone = plain_of(&t, &w, prompt + b, text[b].prompt);
                assert_int_equal(text[b].n, alone.n);
                if (memcmp(text[b].ids, alone.ids, (size_t)alone.n * sizeof *alone.ids) != 0)
                    fail_msg("%s: text %d is another one alone", models[i], b);
                free(alone.ids);
                free(text[b].ids);
            }
        }
        decoder_free(d);
        tiny_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(enumeration), RUN(distribution), RUN(rounds), RUN(likeliest),
                                        RUN(batches) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
