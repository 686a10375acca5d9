/* What the stack promises, with each switch on: it learns, no token sees a later one or another document, a sequence
   does not know its batch, chunks through the caches equal one pass, no assignment is lost. */
#include "tiny_pair.h"
#include "toggle.h"
#include "graph/ops/broadcast.h"
#include "graph/ops/products.h"

static struct tiny start(const struct toggle *t, enum mode mode, int batch, int seq)
{
    struct tiny tiny = toggle_build(t, mode, batch, seq);
    tiny_start(&tiny, 1);
    return tiny;
}

static enum ahead when_ahead(const struct toggle *t)
{
    struct tiny tiny = toggle_load(t);
    enum ahead ahead = model_looks_ahead(&tiny.model);
    arena_free(tiny.arena);
    return ahead;
}

enum { TRAINING = 1, CAUSAL = 2 };    /* also switches of the training; models that are causal outside it alone */

static void for_each_switch(int which, void (*check)(const struct toggle *on))
{
    for (int i = 0; i < toggles.n; i++) {
        const struct toggle *on = toggles.toggle[i];
        if (!(which & TRAINING) && site_of(on->module->slot).train) continue;
        if (!(which & CAUSAL) || when_ahead(on) != AHEAD_ALWAYS) check(on);
    }
}

/* Losses of single tokens: of the next token first, then of those further on. */
enum { HEADS = 4 };
struct losses { int n; double *value[HEADS]; };

static struct losses losses_of(struct tiny *t)
{
    struct losses l = { 0 };
    tiny_forward(t);
    for (int i = 0; i < t->graph->n; i++)
        if (t->graph->node[i]->op == &op_cross_entropy) l.value[l.n++] = tiny_read(t, t->graph->node[i]);
    return l;
}

static void losses_free(struct losses *l) { for (int k = 0; k < l->n; k++) free(l->value[k]); }

/* X4, B2, I10, M1b: depth k of row i reads tokens up to i + k. What says that it looks ahead does, in training or
   always. */
static void check_causality_in(enum mode mode, const struct toggle *on)
{
    struct tiny t = start(on, mode, 2, 6);
    struct losses before = losses_of(&t);
    bool ahead = model_looks_ahead(&t.model) >= (mode == MODE_TRAIN ? AHEAD_TRAINING : AHEAD_ALWAYS), leaked = false;
    for (int j = 0; j < t.seq; j++) {
        int old = t.ids[j];
        t.ids[j] = other_token(&t, old);
        struct losses after = losses_of(&t);
        for (int k = 0; k < before.n; k++)
            /* Depth k has no rows for the last k tokens of a sequence */
            for (int row = 0; row < 2 * (t.seq - k); row++) {
                bool same = before.value[k][row] == after.value[k][row], hidden = row + k < j || row >= t.seq - k;
                leaked |= hidden && !same;
                if (hidden && !same && !ahead) fail_msg("%s: token %d changes row %d of depth %d", on->name, j, row, k);
                if (row == j && k == 0 && same) fail_msg("%s: token %d does not change its own row", on->name, j);
            }
        t.ids[j] = old;
        losses_free(&after);
    }
    if (ahead && !leaked) fail_msg("%s says that it looks ahead, and no later token changes anything", on->name);
    losses_free(&before);
    tiny_free(&t);
}

static void check_causality(const struct toggle *on)
{
    check_causality_in(MODE_EVAL, on);
    check_causality_in(MODE_TRAIN, on);
}

static void test_causality(void **state)
{
    (void)state;
    for_each_switch(0, check_causality);
}

/* Row i of depth k counts when its document holds token i + k + 1 too. */
static void check_counted(const struct toggle *on, struct tiny *t, int length)
{
    int k = 0;
    for (int i = 0; i < t->graph->n; i++) {
        if (t->graph->node[i]->op != &op_cross_entropy) continue;
        struct node *counted = tiny_find(t, &op_weighted_sum, i)->in[1];
        double *weight = tiny_read(t, counted);
        int seq = (int)shape_count(counted->shape) / (t->tokens / t->seq);    /* depth k has no rows for the last k */
        assert_int_equal(seq, t->seq - k);
        for (int row = 0; row < seq; row++)
            if (weight[row] != (row % length + k + 1 < length))
                fail_msg("%s: row %d of depth %d has weight %g", on->name, row, k, weight[row]);
        free(weight);
        k++;
    }
}

/* Attention, positions, n-grams and further tokens alike: nothing of the first document reaches the second, and a
   document reads the same wherever it stands. */
static void check_documents(const struct toggle *on)
{
    enum { FIRST = 3 };
    struct tiny t = start(on, MODE_EVAL, 1, 6);
    for (int i = FIRST; i < t.seq; i++) t.start[i] = FIRST;
    t.weight[FIRST - 1] = 0;
    struct losses before = losses_of(&t);
    for (int j = 0; j < FIRST; j++) {
        t.ids[j] = other_token(&t, t.ids[j]);
        t.target[j] = other_token(&t, t.target[j]);
    }
    struct losses after = losses_of(&t);
    check_counted(on, &t, FIRST);
    for (int k = 0; k < before.n; k++) {
        int last = t.seq - k;                               /* the rows behind have no token so far ahead */
        if (memcmp(before.value[k] + FIRST, after.value[k] + FIRST, (size_t)(last - FIRST) * sizeof(double)) != 0)
            fail_msg("%s: depth %d of a document reads the one before", on->name, k);
        assert_true(before.value[k][0] != after.value[k][0]);
    }
    memmove(t.ids, t.ids + FIRST, FIRST * sizeof *t.ids);
    memmove(t.target, t.target + FIRST, FIRST * sizeof *t.target);
    struct losses moved = losses_of(&t);
    for (int k = 0; k < before.n; k++)
        for (int i = 0; i + k < FIRST; i++)
            if (moved.value[k][i] != before.value[k][FIRST + i])
                fail_msg("%s: depth %d of a document depends on where it stands", on->name, k);
    losses_free(&before);
    losses_free(&after);
    losses_free(&moved);
    tiny_free(&t);
}

static void test_documents(void **state)
{
    (void)state;
    for_each_switch(CAUSAL, check_documents);
}

/* Evaluation must not depend on how sequences meet in batches: alone, or one of eight. */
static void check_batches(const struct toggle *on)
{
    struct tiny many = start(on, MODE_EVAL, 8, 6), one = start(on, MODE_EVAL, 1, 6);
    struct losses all = losses_of(&many);
    for (int b = 0; b < 8; b++) {
        memcpy(one.ids, many.ids + 6 * b, 6 * sizeof *one.ids);
        memcpy(one.target, many.target + 6 * b, 6 * sizeof *one.target);
        struct losses alone = losses_of(&one);
        for (int k = 0; k < all.n; k++)
            if (memcmp(alone.value[k], all.value[k] + (6 - k) * b, (size_t)(6 - k) * sizeof(double)) != 0)
                fail_msg("%s: sequence %d of 8 differs from itself alone", on->name, b);
        losses_free(&alone);
    }
    losses_free(&all);
    tiny_free(&many);
    tiny_free(&one);
}

static void test_batches(void **state)
{
    (void)state;
    for_each_switch(0, check_batches);
}

/* X5, A7, A14d, A15f, E2d: every kind of keys, values, masks and embeddings decodes to what one pass says; so does a
   second try after a rolled back draft. */
static void check_decoding(const struct toggle *on)
{
    static const struct { int at, n; } chunk[] = { { 0, 2 }, { 2, 3 }, { 2, 1 }, { 3, 1 }, { 4, 2 } };
    struct tiny whole = start(on, MODE_DECODE, 2, 6), last = { 0 };
    double *all = logits_of(&whole);
    int v = whole.model.vocab;
    for (int c = 0; c < COUNT(chunk); c++) {
        struct tiny part = start(on, MODE_DECODE, 2, chunk[c].n);
        bool draft = c == 1;
        if (c) {
            tiny_copy(&part, &last);                        /* the caches */
            tiny_free(&last);
        }
        *part.pos = chunk[c].at;
        for (int b = 0; b < 2; b++)
            for (int i = 0; i < chunk[c].n; i++) {
                int32_t id = whole.ids[b * 6 + chunk[c].at + i];
                part.ids[b * chunk[c].n + i] = draft ? other_token(&whole, id) : id;
            }
        double *some = logits_of(&part);
        for (int b = 0; b < 2; b++)
            for (int i = 0; i < chunk[c].n; i++) {
                double most = distance(some + (b * chunk[c].n + i) * v, all + (b * 6 + chunk[c].at + i) * v, v);
                if (draft ? most < 1e-4 : !(most < 1e-5))
                    fail_msg("%s: position %d is %g from one pass", on->name, chunk[c].at + i, most);
            }
        free(some);
        last = part;
    }
    tiny_free(&last);
    tiny_free(&whole);
    free(all);
}

static void test_decoding(void **state)
{
    (void)state;
    for_each_switch(CAUSAL, check_decoding);
}

/* Another learning rate for the optimizer that a switch leaves. */
static struct toggle *rate_of(const struct toggle *on, double lr)
{
    struct tiny t = toggle_load(on);
    const struct module *optim = t.train.optim.module;
    const struct param *p = optim->params;
    arena_free(t.arena);
    while (p->name && strcmp(p->name, "lr") != 0) p++;
    if (!p->name) fail_msg("optimizer %s has no lr", optim->name);
    return toggle_new(optim, p, json_real(lr));
}

static double of_head(const struct tiny *t, const char *name)
{
    const struct pick head = t->model.head;
    for (const struct param *p = head.module->params; p->name; p++)
        if (strcmp(p->name, name) == 0) return *(const double *)((const char *)head.conf + p->offset);
    fail_msg("the head has no '%s'", name);
    return 0;
}

/* Of who knows a token alone, and not those before it: the entropy of what follows it. */
static double by_token_alone(const struct tiny *t)
{
    double sum = 0, all = 0;
    for (int i = 0; i < t->tokens; i++) {
        double like = 0, right = 0;
        for (int k = 0; k < t->tokens; k++) {
            like += t->ids[k] == t->ids[i] ? (double)t->weight[k] : 0;
            right += t->ids[k] == t->ids[i] && t->target[k] == t->target[i] ? (double)t->weight[k] : 0;
        }
        if (t->weight[i] > 0) sum -= log(right / like), all++;
    }
    return sum / all;
}

/* What a model that knows all targets has: 0, or what label smoothing asks for, or a cap leaves. Where some tokens pass
   all blocks by, those are known by themselves alone. */
static double least_loss(const struct tiny *t)
{
    if (module_traits(t->model.block.pick[0]).takes > 0) return by_token_alone(t);
    if (t->model.adapter.module->adapter) return 1;         /* frozen embeddings are as short as they were drawn */
    double s = of_head(t, "smoothing"), cap = of_head(t, "softcap"), others = t->model.vocab - 1;
    if (cap > 0) return log(1 + others * exp(-2 * cap));
    return -log(1 - s + s / t->model.vocab);
}

/* X3: one batch is learnt by heart. */
static void check_learning(const struct toggle *on)
{
    struct toggle *rate = rate_of(on, 0.02);
    struct together both = together_new((const struct toggle *[]){ on, rate }, 2, true);
    struct tiny t;
    char why[256];
    if (!together_load(&both, NULL, &t, why)) fail_msg("%s: %s", on->name, why);
    tiny_build(&t, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    double loss = INFINITY, enough = least_loss(&t) + 0.05;
    int step = 0;
    while (step < 400 && !(loss < enough)) {
        tiny_step(&t, step++);
        loss = tiny_loss(&t, "lm");
    }
    if (!(loss < enough)) fail_msg("%s: loss %g after %d steps", on->name, loss, step);
    toggle_free(rate);
    tiny_free(&t);
}

static void test_learning(void **state)
{
    (void)state;
    for_each_switch(TRAINING, check_learning);
}

/* What is computed again for backward is what was computed. */
static void check_recompute(const struct toggle *on)
{
    struct tiny t[RECOMPUTE_FULL + 1];
    for (enum recompute how = RECOMPUTE_NONE; how <= RECOMPUTE_FULL; how++) {
        t[how] = toggle_build(on, MODE_TRAIN, 2, 6);
        t[how].graph->keep = false;
        tiny_start_on(&t[how], (struct plan_how){ &backend_cpu, PRECISION_FP32, how }, 1);
        for (int i = 0; i < 2; i++) tiny_step(&t[how], i);
    }
    for (int i = 0; i < t[0].leaves->n; i++) {
        const struct leaf *l = t[0].leaves->leaf[i];
        size_t bytes = leaf_bytes(l);
        for (int how = 1; how <= RECOMPUTE_FULL && (l->kind == LEAF_WEIGHT || l->kind == LEAF_BUFFER); how++)
            if (memcmp(state_data(t[0].state, l), tiny_weight(&t[how], l->path), bytes) != 0)
                fail_msg("%s: %s has other bits with %s recompute", on->name, l->path, how == 1 ? "selective" : "full");
    }
    for (int how = 0; how <= RECOMPUTE_FULL; how++) tiny_free(&t[how]);
}

static void test_recompute(void **state)
{
    (void)state;
    for_each_switch(TRAINING, check_recompute);
}

/* Every token goes to K experts, in every layer, step and micro-batch; A8, 4.2: none is dropped, none counted twice. */
static void check_conservation(const struct toggle *on)
{
    struct tiny t = start(on, MODE_TRAIN, 2, 6);
    for (int step = 0; step < 3; step++) {
        int micros = 1 + step % 2;
        plan_begin(t.plan, step, 1000, micros);
        for (int micro = 0; micros > 1 && micro < micros; micro++) plan_ahead(t.plan, micro);
        for (int micro = 0; micro < micros; micro++) {
            t.ids[micro] = other_token(&t, t.ids[micro]);
            tiny_put(&t);
            plan_forward(t.plan, micro);
            plan_backward(t.plan, micro);
        }
        plan_update(t.plan);
        for (int i = 0; i < t.graph->n_probes; i++) {
            const struct probe *p = &t.graph->probe[i];
            if (strcmp(p->name, "expert_tokens") != 0) continue;
            int k = module_traits(t.model.ffn.pick[0]).top_k;
            double *tokens = tiny_probe(&t, i), sum = 0;
            int further = p->layer < t.model.layers ? 0 : p->layer - t.model.layers + 1,
                each = t.seq - further, rows;
            double takes = module_traits(t.model.block.pick[0]).takes;
            rows = t.tokens / t.seq * (takes > 0 ? (int)ceil(takes * each) : each);
            for (int64_t e = 0; e < probe_count(p); e++) sum += tokens[e];
            if (!module_traits(t.model.ffn.pick[0]).uneven && sum != (double)(micros * rows * k))
                fail_msg("%s: layer %d counts %g assignments of %d rows", on->name, p->layer, sum, micros * rows);
            free(tokens);
        }
    }
    tiny_free(&t);
}

static void test_conservation(void **state)
{
    (void)state;
    for_each_switch(TRAINING, check_conservation);
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(causality), RUN(documents), RUN(batches), RUN(decoding), RUN(learning),
                                        RUN(recompute), RUN(conservation) };
    return cmocka_run_group_tests(tests, toggles_begin, toggles_end);
}
