/* A step's numbers do not depend on how its batch is cut: every mean over tokens, the gradients and what the optimizer
   makes of them are those of all tokens together, though the pieces count different numbers of tokens, or none. So are
   those of an evaluation, in which rows that only fill up a batch count for nothing.

       test_cuts            on the CPU
       test_cuts cuda       on the GPU, fewer cuts of fewer models, for the emulated one is slow */
#include "toggle.h"
#include "data/data.h"
#include "graph/ops/products.h"

static struct plan_how how = { &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE };
static bool on_gpu(void) { return how.backend != &backend_cpu; }

enum { SEQUENCES = 8, SEQ = 6, STEPS = 2 };
/* Of an evaluation: its last window is not full */
enum { WINDOWS = 6, REST = 4, TARGETS = (WINDOWS - 1) * SEQ + REST, TOP_K = 2 };

/* No loss of these has the micro-batch as its scope. */
static const char *const models[] = {
    "{}",
    TEXT({"head.mtp": {"module": "sequential", "depth": 2}}),
    TEXT({"ffn.balance": [{"module": "bias", "gamma": 0.01}], "ffn.router.score": "sigmoid", "head.mtp": "sequential",
          "norm": {"module": "noisy", "std": 0.1}}),
    TEXT({"ffn.balance": [{"module": "switch_aux", "alpha": 1, "device": 2, "communication": 1, "scope": "global",
                           "groups": 2, "per_token": 2}]}),
    TEXT({"ffn.balance": [{"module": "switch_aux", "alpha": 1, "device": 2, "communication": 1, "scope": "sequence",
                           "groups": 2, "per_token": 2}]}),
    TEXT({"ffn.router": {"score": "relu", "select": {"module": "top_k", "most": 4}, "top_k": 3},
          "head.mtp": "sequential", "ffn.balance": [{"module": "l1", "start": 0.1, "alpha": 2}]}),
    TEXT({"ffn.router": {"noise": "gumbel", "top_k": 1, "normalize": "even"}, "head.mtp": "sequential",
          "ffn.balance": [{"module": "reinforce", "weight": 1}]}),
    TEXT({"ffn.router": {"noise": "gumbel", "normalize": "even"}, "head.mtp": "sequential",
          "ffn.balance": [{"module": "reinforce", "weight": 1, "baseline": "mean", "standardize": true}]}),
    TEXT({"ffn.router.noise": "learned", "ffn.router.normalize": "after", "head.mtp": "sequential"}),
};
static const char *const plain = TEXT({"optim": {"module": "adamw", "lr": 0.01}});

/* Sequence k counts its first k tokens alone, the first none. */
static void weigh(struct tiny *t)
{
    for (int i = 0; i < t->tokens; i++) if (i % t->seq >= i / t->seq % SEQUENCES) t->weight[i] = 0;
}

/* The part's batch becomes piece `micro` of the whole's. */
static void take(struct tiny *part, const struct tiny *whole, int micro)
{
    size_t n = (size_t)part->tokens, at = n * (size_t)micro;
    memcpy(part->ids, whole->ids + at, n * sizeof *part->ids);
    memcpy(part->target, whole->target + at, n * sizeof *part->target);
    memcpy(part->weight, whole->weight + at, n * sizeof *part->weight);
    memcpy(part->noise_key, whole->noise_key + 2 * part->batch * micro,
           2 * (size_t)part->batch * sizeof *part->noise_key);
    part->place[0] = part->batch * micro;
    tiny_put(part);
}

static void step(struct tiny *part, const struct tiny *whole, int step, int pieces, bool train)
{
    plan_begin(part->plan, step, 1000, pieces);
    for (int micro = 0; train && pieces > 1 && micro < pieces; micro++) {
        take(part, whole, micro);
        plan_ahead(part->plan, micro);
    }
    for (int micro = 0; micro < pieces; micro++) {
        take(part, whole, micro);
        plan_forward(part->plan, micro);
        if (train) plan_backward(part->plan, micro);
    }
    if (train) plan_update(part->plan);
}

static void check_values(const char *what, const char *name, int pieces, const double *want, const double *got,
                         int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        bool none = isnan(want[i]) && isnan(got[i]);
        if (none || want[i] == got[i] || fabs(want[i] - got[i]) <= 1e-6 * fmax(1, fabs(want[i]))) continue;
        fail_msg("%s, %d pieces: %s %lld is %.9g, of the whole %.9g", what, pieces, name, (long long)i, got[i],
                 want[i]);
    }
}

/* Every metric that says a mean over tokens, their number, and the norms of gradients; gives how many there are. */
static int check_means(const char *what, struct tiny *whole, struct tiny *part, int pieces)
{
    int means = 0;
    for (int i = 0; i < whole->graph->n_probes; i++) {
        const struct probe *p = &whole->graph->probe[i];
        bool of_tokens = true;
        for (int k = 0; k < p->n; k++) of_tokens &= p->term[k].over != NULL;
        if (!of_tokens && !strstr(p->name, "grad_norm") && strcmp(p->name, "targets") != 0) continue;
        double *want = tiny_probe(whole, i), *got = tiny_probe(part, i);
        check_values(what, p->name, pieces, want, got, probe_count(p));
        free(want);
        free(got);
        means++;
    }
    return means;
}

static real *values_of(struct tiny *t, const struct leaf *l)        /* malloc'd */
{
    real *values = xmalloc(leaf_bytes(l));
    state_get(t->state, l, values);
    return values;
}

static void check_leaves(struct tiny *whole, struct tiny *part, int pieces)
{
    for (int i = 0; i < whole->leaves->n; i++) {
        const struct leaf *l = whole->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) continue;
        real *want = values_of(whole, l), *got = values_of(part, leaves_find(part->leaves, l->path));
        for (int64_t k = 0; k < shape_count(l->decl.shape); k++)
            if (!(fabs((double)(want[k] - got[k])) <= 2e-6))
                fail_msg("%d pieces: %s %lld is %.9g, of the whole %.9g", pieces, l->path, (long long)k, (double)got[k],
                         (double)want[k]);
        free(want);
        free(got);
    }
}

/* A tiny model with a switch on, or with what a text sets, which is then its name. */
struct subject { const char *name; const struct toggle *on; };

static struct tiny subject_new(const struct subject *s, const char *train, enum mode mode, int batch, int seq)
{
    struct tiny t = s->on ? toggle_build(s->on, mode, batch, seq) : tiny_new(s->name, train, mode, batch, seq);
    tiny_start_on(&t, how, 3);
    return t;
}

/* Of a model in which no token knows of other sequences, or of how long an evaluated one would be were it full, and
   neither loss nor rounding has the micro-batch as its scope. */
static bool is_of_tokens(const struct toggle *on)
{
    struct tiny t = toggle_build(on, MODE_TRAIN, 2, SEQ);
    bool of_tokens = model_looks_ahead(&t.model) != AHEAD_ALWAYS && !module_traits(t.model.ffn.pick[0]).of_batch;
    for (int i = 0; i < t.graph->n_losses; i++) of_tokens &= t.graph->loss[i].of_step;
    for (int i = 0; i < t.graph->n; i++) of_tokens &= t.graph->node[i]->op != &op_fp8_matmul;
    tiny_free(&t);
    return of_tokens;
}

/* On the CPU alone. */
static void for_each_switch(void (*check)(const struct subject *s))
{
    if (on_gpu()) return;
    for (int i = 0; i < toggles.n; i++)
        if (is_of_tokens(toggles.toggle[i])) check(&(struct subject){ toggles.toggle[i]->name, toggles.toggle[i] });
}

/* A switch may have a say of each micro-batch in the next step, and gradients that are nothing but rounding, of which
   the optimizer makes any step: with one on, the first step's means and norms are compared alone. */
static void check(const struct subject *s, int pieces, bool train)
{
    enum mode mode = train ? MODE_TRAIN : MODE_EVAL;
    struct tiny whole = subject_new(s, plain, mode, SEQUENCES, SEQ),
                part = subject_new(s, plain, mode, SEQUENCES / pieces, SEQ);
    weigh(&whole);
    for (int i = 0; i < (s->on ? 1 : STEPS); i++) {
        inputs_noise(whole.in, 3, i * SEQUENCES, SEQUENCES);
        step(&whole, &whole, i, 1, train);
        step(&part, &whole, i, pieces, train);
        if (check_means(s->name, &whole, &part, pieces) < (train ? 5 : 2))
            fail_msg("%s: too few means over tokens", s->name);
        if (train && !s->on) check_leaves(&whole, &part, pieces);
    }
    tiny_free(&whole);
    tiny_free(&part);
}

static void check_models(bool train)
{
    for (int m = on_gpu() ? COUNT(models) - 1 : 0; m < COUNT(models); m++)
        for (int pieces = on_gpu() ? 4 : 1; pieces <= (on_gpu() ? 4 : SEQUENCES); pieces *= 2)
            check(&(struct subject){ models[m], NULL }, pieces, train);
}

static void test_training(void **state)
{
    (void)state;
    check_models(true);
}

static void test_evaluation(void **state)
{
    (void)state;
    check_models(false);
}

static void check_switch(const struct subject *s)
{
    check(s, SEQUENCES, true);
    check(s, SEQUENCES / 2, false);
}

static void test_switches(void **state)
{
    (void)state;
    for_each_switch(check_switch);
}

/* ---- an evaluation that does not fill its batches ---- */

static const char *const filled[] = {
    TEXT({"embed": {"module": "over_encoding", "rows": 7, "width": 3}, "residual": "partial_post",
          "position.fraction": 0.5,
          "attention.qk_norm": "k", "attention.gate": "head", "attention.kv": "mirror", "ffn.router.score": "sigmoid",
          "ffn.shared": "dense",
          "ffn.balance": ["bias"], "head.tied": false, "head.mtp": "sequential"}),
    TEXT({"attention.gate": "element", "attention.mask": {"module": "window", "size": 3},
          "ffn.balance": ["z_loss"],
          "ffn.router.normalize": "after", "head.mtp": {"module": "sequential", "depth": 2}}),
};

/* What fills up is no token of the set: any ids will do. */
static void put_part(struct tiny *t, const struct corpus *c, const struct eval_set *s, int part)
{
    struct inputs b = inputs_new(t->batch, t->seq);
    corpus_eval_batch(c, s, (int64_t)part * t->batch, t->batch, t->seq, b);
    for (int i = 0; i < t->tokens; i++) {
        t->ids[i] = (b.present[i] ? b.ids[i] : i * 7 + t->batch) % t->model.vocab;
        t->target[i] = b.target[i] % t->model.vocab;
        t->start[i] = b.start[i];
        t->weight[i] = (real)b.weight[i];
        t->present[i] = (real)b.present[i];
    }
    inputs_free(b);
    tiny_put(t);
}

static void evaluate(struct tiny *t, const struct corpus *c, const struct eval_set *s)
{
    int parts = (int)(eval_windows(c, s, t->seq) + t->batch - 1) / t->batch;
    plan_begin(t->plan, 0, 1000, parts);
    for (int i = 0; i < parts; i++) {
        put_part(t, c, s, i);
        plan_forward(t->plan, i);
    }
}

static void check_all(struct tiny *want, struct tiny *got, const char *what)
{
    for (int i = 0; i < want->graph->n_probes; i++) {
        const struct probe *p = &want->graph->probe[i];
        double *x = tiny_probe(want, i), *y = tiny_probe(got, i);
        check_values(what, p->name, got->batch, x, y, probe_count(p));
        free(x);
        free(y);
    }
}

/* Every row has its K experts; a block of depth k has no row for the last k tokens of a window. */
static void check_assignments(struct tiny *t, const struct eval_set *s)
{
    for (int layer = 0; layer < model_blocks(&t->model); layer++) {
        int depth = layer < t->model.layers ? 0 : layer - t->model.layers + 1;
        int64_t rows = 0;
        double tokens[16], sum = 0;
        for (int64_t left = (int64_t)s->span; left > 0; left -= t->seq) {
            int64_t n = left < t->seq ? left : t->seq;
            rows += n > depth ? n - depth : 0;
        }
        tiny_metric(t, "expert_tokens", layer, tokens);
        for (int64_t e = 0; e < 4; e++) sum += tokens[e];
        if (sum != (double)(TOP_K * rows))
            fail_msg("layer %d: %g assignments of %lld rows", layer, sum, (long long)rows);
    }
}

/* So that some saturate. */
static void open_gates(struct tiny *t)
{
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        if (!strstr(l->path, "attention.gate")) continue;
        real *w = values_of(t, l);
        for (int64_t k = 0; k < shape_count(l->decl.shape); k++) w[k] *= 5;
        state_put(t->state, l, w);
        free(w);
    }
}

static struct tiny evaluated(const struct subject *m, int batch, int seq, const struct corpus *c,
                             const struct eval_set *s)
{
    struct tiny t = subject_new(m, NULL, MODE_EVAL, batch, seq);
    open_gates(&t);
    evaluate(&t, c, s);
    if (!m->on) check_assignments(&t, s);
    return t;
}

static void check_filled(const struct subject *m)
{
    static const int batches[] = { 2, 3, 8 };
    const bool few = on_gpu() || m->on;
    struct corpus *c;
    struct err e;
    if (corpus_open(&c, "synthetic", &e) != 0) fail_msg("%s", e.text);
    struct eval_set set = corpus_eval_set(c, TARGETS), rest = set;
    struct tiny one = evaluated(m, 1, SEQ, c, &set);
    for (int i = few; i < COUNT(batches) - few; i++) {
        struct tiny other = evaluated(m, batches[i], SEQ, c, &set);
        check_all(&one, &other, m->name);
        tiny_free(&other);
    }
    tiny_free(&one);
    rest.first += TARGETS - REST;
    rest.span = REST;
    struct tiny full = evaluated(m, 1, REST, c, &rest), part = evaluated(m, 2, SEQ, c, &rest);
    check_all(&full, &part, m->name);
    tiny_free(&full);
    tiny_free(&part);
    corpus_close(c);
}

static void test_filled_evaluation(void **state)
{
    (void)state;
    for (int m = 0; m < COUNT(filled); m++) check_filled(&(struct subject){ filled[m], NULL });
    for_each_switch(check_filled);
}

/* ---- a step in which no token counts ---- */

static double metric(struct tiny *t, const char *name)
{
    double value;
    tiny_metric(t, name, -1, &value);
    return value;
}

/* Weights, moments and balancing biases, one after the other: malloc'd. */
static char *learnt(const struct tiny *t, size_t *bytes)
{
    char *all = NULL;
    *bytes = 0;
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) continue;
        all = xrealloc(all, *bytes + leaf_bytes(l));
        state_get(t->state, l, all + *bytes);
        *bytes += leaf_bytes(l);
    }
    return all;
}

/* There is no value, not 0; nothing is learnt though other losses have gradients and weights would decay, and nothing
   is lost. */
static void check_no_token(const char *optim)
{
    struct tiny t = tiny_new(TEXT({"ffn.balance": ["bias", "z_loss"]}), optim, MODE_TRAIN, 2, SEQ);
    size_t bytes;
    tiny_start_on(&t, how, 3);
    double counting = 0;
    for (int i = 0; i < t.tokens; i++) counting += (double)t.weight[i];
    tiny_step(&t, 0);
    assert_true(metric(&t, "targets") == counting && isfinite(metric(&t, "loss")) && metric(&t, "update_ratio") > 0);
    char *before = learnt(&t, &bytes);
    memset(t.weight, 0, (size_t)t.tokens * sizeof *t.weight);
    tiny_step(&t, 1);
    assert_true(isnan(metric(&t, "loss")) && isnan(metric(&t, "accuracy")) && isnan(metric(&t, "objective")));
    assert_true(metric(&t, "grad_norm") > 0 && metric(&t, "targets") == 0 && metric(&t, "update_ratio") == 0);
    char *after = learnt(&t, &bytes);
    assert_memory_equal(before, after, bytes);
    free(after);
    t.weight[3] = 1;
    tiny_step(&t, 2);
    after = learnt(&t, &bytes);
    assert_true(metric(&t, "targets") == 1 && isfinite(metric(&t, "loss")) && metric(&t, "update_ratio") > 0);
    assert_memory_not_equal(before, after, bytes);
    free(before);
    free(after);
    tiny_free(&t);
}

static void test_no_token(void **state)
{
    (void)state;
    check_no_token(plain);
    check_no_token(TEXT({"optim": {"module": "muon", "lr": 0.01}}));
}

int main(int n, char **name)
{
    how.backend = tiny_backend(n, name);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training), cmocka_unit_test(test_evaluation), cmocka_unit_test(test_switches),
        cmocka_unit_test(test_filled_evaluation), cmocka_unit_test(test_no_token),
    };
    return cmocka_run_group_tests(tests, toggles_begin, toggles_end);
}
