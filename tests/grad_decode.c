/* Decoding says what the parallel pass says: token by token, in chunks, after a prompt that was read without logits,
   and after tokens that were rolled back; of the next token and of the drafts of multi-token prediction. For all that
   has to do with what is remembered, alone and in pairs, as many as are drawn. SLUICE_FULL=1: all of them. In double:
   products of one row and of many round otherwise, and norms of what has cancelled enlarge that. */
#include "tiny_pair.h"
#include "toggle.h"
#include "train/decoder.h"

enum { SEQ = 10, BATCH = 2, MOST_DEPTH = 8, BACK = 2, PROMPT = 2 };

/* A model with weights, the tokens that it reads, and what it says of them: of next tokens, and of each MTP block's.
   [B,SEQ,V] */
struct said { int depth; real *logits[1 + MOST_DEPTH]; };

static struct decoder *decoder_of(struct tiny *t, struct model_size size)
{
    struct decoder *d;
    struct err e;
    struct plan_how how = { &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE };
    size.batch = BATCH;
    size.context = SEQ + MOST_DEPTH;                        /* room for tokens that the last rows look ahead to */
    if (decoder_new(&d, &t->model, how, t->leaves, t->state, size, 1, &e)) fail_msg("%s", e.text);
    return d;
}

/* Tokens of a chunk, `ahead` positions on, [B,n]; beyond the end 0. */
static void chunk_of(const int32_t *ids, int64_t at, int64_t n, int32_t *to)
{
    for (int b = 0; b < BATCH; b++)
        for (int64_t i = 0; i < n; i++) to[b * n + i] = at + i < SEQ ? ids[b * SEQ + at + i] : 0;
}

/* Feeds a chunk of n at `at`, then has all blocks draft for it, where their tokens are known. Block k drafts anew what
   it drafted before token at + k was there. */
static void feed(struct decoder *d, const int32_t *ids, int64_t at, int64_t n, int64_t v, struct said *to)
{
    int32_t own[BATCH * SEQ], ahead[BATCH * SEQ];
    real *some = xmalloc((size_t)(BATCH * n * v) * sizeof *some);
    for (int k = 0; k <= to->depth; k++) {
        chunk_of(ids, at, n, own);
        chunk_of(ids, at + k, n, ahead);
        if (k == 0) decoder_feed(d, at, own, some);
        else decoder_draft(d, k, at, own, ahead, some);
        for (int b = 0; b < BATCH; b++)
            memcpy(to->logits[k] + (b * SEQ + at) * v, some + b * n * v, (size_t)(n * v) * sizeof *some);
    }
    free(some);
}

static struct said said_new(int depth, int64_t v)
{
    struct said s = { .depth = depth };
    for (int k = 0; k <= depth; k++) s.logits[k] = xcalloc((size_t)(BATCH * SEQ * v), sizeof(real));
    return s;
}

static void said_free(struct said *s) { for (int k = 0; k <= s->depth; k++) free(s->logits[k]); }

static const double rounding = 1e-9;
static double worst;

static void check_alike(const char *name, const char *how, const struct said *want, const struct said *got,
                        int64_t from, int64_t v)
{
    for (int k = 0; k <= want->depth; k++)
        for (int b = 0; b < BATCH; b++)
            for (int64_t i = from; i < SEQ - k; i++)
                for (int64_t j = 0; j < v; j++) {
                    double a = (double)want->logits[k][(b * SEQ + i) * v + j],
                           c = (double)got->logits[k][(b * SEQ + i) * v + j], apart = fabs(a - c) / fmax(1, fabs(a));
                    worst = fmax(worst, apart);
                    if (!(apart <= rounding))
                        fail_msg("%s, %s: depth %d of position %lld says %.9g, not %.9g", name, how, k, (long long)i,
                                 c, a);
                }
}

/* Loss of targets depth + 1 tokens on, as an evaluation means it. */
static double loss_of(const struct said *s, const int32_t *ids, int k, int64_t v)
{
    double sum = 0;
    int64_t rows = 0;
    for (int b = 0; b < BATCH; b++)
        for (int64_t i = 0; i + k + 1 < SEQ; i++, rows++) {
            const real *z = s->logits[k] + (b * SEQ + i) * v;
            double all = 0;
            for (int64_t j = 0; j < v; j++) all += exp((double)z[j]);
            sum += log(all) - (double)z[ids[b * SEQ + i + k + 1]];
        }
    return sum / (double)rows;
}

static bool has_metric(const struct tiny *t, const char *name)
{
    for (int i = 0; i < t->graph->n_probes; i++) if (strcmp(t->graph->probe[i].name, name) == 0) return true;
    return false;
}

/* Choices that another run recorded, which decoding has not. */
static bool replays(const struct tiny *t)
{
    for (int i = 0; i < t->leaves->n; i++) if (inputs_choices_layer(t->leaves->leaf[i]) >= 0) return true;
    return false;
}

static void check_losses(struct tiny *t, const char *name, const struct said *s)
{
    double further = 0, lm = loss_of(s, t->ids, 0, t->model.vocab);
    tiny_forward(t);
    if (fabs(lm - tiny_loss(t, "lm")) > 1e-9 * fmax(1, lm))
        fail_msg("%s: decoding has a loss of %.8g, evaluation %.8g", name, lm, tiny_loss(t, "lm"));
    for (int k = 1; k <= s->depth; k++) further += loss_of(s, t->ids, k, t->model.vocab);
    if (s->depth && has_metric(t, "loss_mtp") && fabs(further - tiny_loss(t, "mtp")) > 1e-9 * fmax(1, further))
        fail_msg("%s: drafts have a loss of %.8g, evaluation %.8g", name, further, tiny_loss(t, "mtp"));
}

/* A token at a time behind a prompt, two of them wrong at first. */
static void check_tokens(struct tiny *t, const char *name, const struct said *want)
{
    int64_t v = t->model.vocab;
    struct said got = said_new(want->depth, v);
    struct model_size size = { .seq = 1, .most = PROMPT, .rewind = BACK + 1, .drafts = true };
    struct decoder *d = decoder_of(t, size);
    int32_t prompt[BATCH * SEQ], wrong[BATCH * SEQ];
    chunk_of(t->ids, 0, PROMPT + decoder_ahead(d), prompt);
    decoder_read(d, 0, prompt);
    for (int i = 0; i < BATCH * SEQ; i++) wrong[i] = i % SEQ < 5 ? t->ids[i] : other_token(t, t->ids[i]);
    for (int64_t i = PROMPT; i < 5; i++) feed(d, t->ids, i, 1, v, &got);
    for (int64_t i = 5; i < 5 + BACK; i++) feed(d, wrong, i, 1, v, &got);
    for (int64_t i = 5; i < SEQ; i++) feed(d, t->ids, i, 1, v, &got);
    decoder_free(d);
    check_alike(name, "token by token", want, &got, PROMPT, v);
    said_free(&got);
}

/* In chunks of three, the last of which is read from one position before where it stood. */
static void check_chunks(struct tiny *t, const char *name, const struct said *want)
{
    enum { CHUNK = 3 };
    int64_t v = t->model.vocab;
    struct said got = said_new(want->depth, v);
    struct decoder *d = decoder_of(t, (struct model_size){ .seq = CHUNK, .rewind = BACK, .drafts = true });
    for (int64_t at = 0; at + CHUNK < SEQ; at += CHUNK) feed(d, t->ids, at, CHUNK, v, &got);
    feed(d, t->ids, SEQ - CHUNK, CHUNK, v, &got);
    decoder_free(d);
    check_alike(name, "in chunks", want, &got, 0, v);
    said_free(&got);
}

/* As a drafter goes on: behind each token every block drafts by what is known, and by wrong tokens where nothing is;
   what was drafted by these is drafted anew when they are known, a row of block k k - 1 steps later. */
static void check_chain(struct tiny *t, const char *name, const struct said *want)
{
    int64_t v = t->model.vocab;
    int depth = want->depth;
    struct said got = said_new(depth, v);
    struct decoder *d = decoder_of(t, (struct model_size){ .seq = 1, .most = PROMPT, .rewind = depth, .drafts = true });
    int32_t own[BATCH * SEQ], ahead[BATCH * SEQ];
    real *some = xmalloc((size_t)(BATCH * v) * sizeof *some);
    chunk_of(t->ids, 0, PROMPT + decoder_ahead(d), own);
    decoder_read(d, 0, own);
    for (int64_t i = PROMPT; i < SEQ; i++)
        for (int k = 0; k <= depth; k++)
            for (int64_t row = k && i - k + 1 > PROMPT ? i - k + 1 : k ? PROMPT : i; row <= i; row++) {
                bool known = row + k <= i + 1;
                chunk_of(t->ids, row, 1, own);
                chunk_of(t->ids, row + k, 1, ahead);
                for (int b = 0; b < BATCH && !known; b++) ahead[b] = other_token(t, ahead[b]);
                if (k == 0) decoder_feed(d, i, own, some);
                else decoder_draft(d, k, row, own, ahead, some);
                for (int b = 0; b < BATCH && known; b++)
                    memcpy(got.logits[k] + (b * SEQ + row) * v, some + b * v, (size_t)v * sizeof *some);
            }
    free(some);
    decoder_free(d);
    check_alike(name, "a chain of drafts", want, &got, PROMPT, v);
    said_free(&got);
}

/* Weights that begin at 0, so that nothing is seen of what they are factors on, say something. */
static void move_zeros(struct tiny *t)
{
    for (int i = 0; i < t->leaves->n; i++) {
        struct leaf *l = t->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT || l->kept != KEPT_FLOAT) continue;
        if (l->init.kind != INIT_CONSTANT || l->init.value != 0) continue;
        real *w = state_data(t->state, l);
        for (int64_t k = 0; k < shape_count(l->decl.shape); k++) w[k] += (real)(0.3 * sin(1.7 * (double)k + i));
    }
}

/* All ways of a model that is built for evaluation. */
static void check_ways(struct tiny *t, const char *name)
{
    tiny_start(t, 1);
    move_zeros(t);
    int64_t v = t->model.vocab;
    struct said want = said_new(model_blocks(&t->model) - model_passes(&t->model), v);
    struct decoder *whole = decoder_of(t, (struct model_size){ .seq = SEQ, .drafts = true });
    feed(whole, t->ids, 0, SEQ, v, &want);
    decoder_free(whole);
    if (!replays(t)) check_losses(t, name, &want);
    check_tokens(t, name, &want);
    check_chunks(t, name, &want);
    if (want.depth) check_chain(t, name, &want);
    said_free(&want);
}

struct tally { int decoded, refused, ahead; };

static void check_decoding(const struct toggle *const *on, int n, struct tally *tally)
{
    struct together s = together_new(on, n, true);
    struct tiny t;
    char why[256], name[600] = "";
    for (int i = 0; i < n; i++)
        snprintf(name + strlen(name), sizeof name - strlen(name), "%s%s", i ? " + " : "", on[i]->name);
    if (!together_load(&s, NULL, &t, why)) {
        s = together_new(on, n, false);
        if (!together_load(&s, NULL, &t, why)) { tally->refused++; return; }
    }
    if (model_looks_ahead(&t.model) == AHEAD_ALWAYS) { arena_free(t.arena); tally->ahead++; return; }
    tiny_build(&t, MODE_EVAL, BATCH, SEQ);
    check_ways(&t, name);
    tiny_free(&t);
    tally->decoded++;
}

/* What is remembered, and what reads it. */
static bool is_of_memory(const struct toggle *t)
{
    static const enum slot slots[] = { SLOT_ATTENTION, SLOT_KV,   SLOT_MASK,    SLOT_GATE,     SLOT_QK_NORM,
                                       SLOT_POSITION,  SLOT_MTP,  SLOT_VALUE,   SLOT_EXPERTS,  SLOT_EMBED,
                                       SLOT_MEMORY,    SLOT_PLE,  SLOT_BLOCK,   SLOT_RESIDUAL, SLOT_SELECT };
    for (int i = 0; i < COUNT(slots); i++) if (t->module->slot == slots[i]) return true;
    return false;
}

static void test_each(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    for (int i = 0; i < toggles.n; i++) {
        const struct toggle *t = toggles.toggle[i];
        if (is_of_memory(t)) check_decoding(&t, 1, &tally);
    }
    print_message("%d switches decode; worst difference %.2g\n", tally.decoded, worst);
    assert_int_equal(tally.refused, 0);
}

/* Of the pairs of modules all are tried; of those with parameters a fixed sample. */
static void test_pairs(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    uint64_t number = 0;
    for (int i = 0; i < toggles.n; i++)
        for (int j = i + 1; j < toggles.n; j++) {
            const struct toggle *t[] = { toggles.toggle[i], toggles.toggle[j] };
            if (!is_of_memory(t[0]) || !is_of_memory(t[1]) || t[0]->module->slot == t[1]->module->slot) continue;
            bool drawn = (!t[0]->param && !t[1]->param) || getenv("SLUICE_FULL") ||
                         key_uniform((struct key){ 1, PURPOSE_TEST, 4, 0 }, number++) < 0.1;
            if (drawn) check_decoding(t, 2, &tally);
        }
    print_message("%d pairs decode, %d are refused; worst difference %.2g\n", tally.decoded, tally.refused, worst);
    assert_true(tally.decoded > 2 * tally.refused);
}

/* Blocks one behind the other, and beside each other, with what they may read of the trunk. */
static void test_depths(void **state)
{
    (void)state;
    static const char *const mtp[] = { TEXT({"module": "sequential", "depth": 3}),
                                       TEXT({"module": "parallel", "heads": 3}) };
    static const char *const with[] = {
        "", ", \"attention.kv\": \"mirror\"", ", \"attention.kv\": \"yoco\", \"attention.value\": \"residual\"",
        ", \"attention.kv\": \"tail\", \"attention.mask\": {\"module\": \"window\", \"size\": 3}",
        ", \"attention.mask\": {\"module\": \"chunk\", \"size\": 3}",
        ", \"embed\": {\"module\": \"over_encoding\", \"rows\": 7, \"width\": 3}, \"ple\": \"gated\"",
        ", \"residual\": \"hyper\", \"memory\": {\"module\": \"bigram\", \"rows\": 8}", ", \"block\": \"shortcut\"",
        ", \"attention\": {\"module\": \"gated_delta\", \"heads\": 1, \"value_heads\": 2, \"key_dim\": 4, "
        "\"value_dim\": 4}",
        ", \"residual\": \"partial_post\", \"order\": [0, 1, 2, 1, 2]",
    };
    int n = 0;
    for (int i = 0; i < COUNT(mtp); i++)
        for (int k = 0; k < COUNT(with); k++, n++) {
            char sets[512];
            snprintf(sets, sizeof sets, "{\"head.mtp\": %s%s}", mtp[i], with[k]);
            struct tiny t = tiny_new(sets, NULL, MODE_EVAL, BATCH, SEQ);
            check_ways(&t, sets);
            tiny_free(&t);
        }
    print_message("%d models of four tokens ahead draft; worst difference %.2g\n", n, worst);
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(each), RUN(pairs), RUN(depths) };
    return cmocka_run_group_tests(tests, toggles_begin, toggles_end);
}
