/* Training on windows that are filled up, as those of data with answers: the loss is the mean over targets that count,
   documents of a window do not see each other, a window is worth what its documents are worth apart, and what fills up
   moves nothing, whatever is switched on. */
#include "toggle.h"

enum { SEQ = 12, FIRST = 5, SECOND = 4 };                   /* documents of a window; the rest fills it up */

static struct tiny filled_of(const char *model, int batch, int seq)
{
    struct tiny t = { 0 };
    char why[256];
    json_t *sets = tiny_json(&model_schema, tiny_base, model), *train = tiny_json(&train_schema, "{}", NULL);
    if (!tiny_load(&t, sets, train, why)) fail_msg("%s", why);
    json_decref(sets);
    json_decref(train);
    t.train.answers = true;
    tiny_build(&t, MODE_TRAIN, batch, seq);
    tiny_start(&t, 3);
    return t;
}

static struct tiny filled_new(const char *model, int batch) { return filled_of(model, batch, SEQ); }

/* Fills a row from place `at` on with a document of n tokens whose last `answers` targets count. */
static void put(struct tiny *t, int row, int at, const int32_t *ids, int n, int answers)
{
    for (int s = 0; s < n; s++) {
        int i = row * SEQ + at + s;
        t->ids[i] = ids[s];
        t->target[i] = s + 1 < n ? ids[s + 1] : 0;
        t->weight[i] = s + 1 < n && s + 1 >= n - answers;
        t->present[i] = 1;
        t->start[i] = at;
    }
}

static void fill(struct tiny *t, int row, int at, int32_t id)
{
    for (int s = at; s < SEQ; s++) {
        int i = row * SEQ + s;
        t->ids[i] = (id + s) % t->model.vocab;
        t->target[i] = 0;
        t->weight[i] = t->present[i] = 0;
        t->start[i] = at;
    }
}

static const int32_t first[FIRST] = { 3, 1, 4, 1, 5 }, second[SECOND] = { 9, 2, 6, 5 };

static void put_both(struct tiny *t)
{
    put(t, 0, 0, first, FIRST, 3);
    put(t, 0, FIRST, second, SECOND, 2);
    fill(t, 0, FIRST + SECOND, 0);
}

static double *gradients(struct tiny *t, int64_t *n)        /* malloc'd, of all weights */
{
    double *all = NULL;
    *n = 0;
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        int64_t count = shape_count(l->values);
        if (l->kind != LEAF_WEIGHT) continue;
        all = xrealloc(all, (size_t)(*n + count) * sizeof *all);
        real *values = xmalloc((size_t)count * sizeof *values);
        state_get_values(t->state, l, values);
        for (int64_t k = 0; k < count; k++) all[*n + k] = (double)values[k];
        free(values);
        *n += count;
    }
    return all;
}

static double loss_where(struct tiny *t, int from, int to)  /* of targets at these places of row 0 alone */
{
    real kept[SEQ];
    memcpy(kept, t->weight, sizeof kept);
    for (int s = 0; s < SEQ; s++) if (s < from || s >= to) t->weight[s] = 0;
    tiny_put(t);
    plan_begin(t->plan, 0, 1000, 1);
    plan_ahead(t->plan, 0);
    plan_forward(t->plan, 0);
    memcpy(t->weight, kept, sizeof kept);
    return tiny_loss(t, "lm");
}

static void test_mean_over_what_counts(void **state)
{
    (void)state;
    struct tiny t = filled_new("{}", 1);
    put_both(&t);
    double sum = 0, all = loss_where(&t, 0, SEQ);
    int counted = 0;
    for (int s = 0; s < SEQ; s++) {
        if (t.weight[s] == 0) continue;
        sum += loss_where(&t, s, s + 1);
        counted++;
    }
    assert_int_equal(counted, 5);
    assert_true(fabs(all - sum / counted) < 1e-6);
    tiny_free(&t);
}

static void test_documents_do_not_see_each_other(void **state)
{
    (void)state;
    struct tiny t = filled_new("{}", 1);
    put_both(&t);
    double before = loss_where(&t, FIRST, SEQ), other = loss_where(&t, 0, FIRST);
    for (int s = 0; s < FIRST; s++) t.ids[s] = (t.ids[s] + 3) % t.model.vocab;
    assert_true(loss_where(&t, FIRST, SEQ) == before && loss_where(&t, 0, FIRST) != other);
    tiny_free(&t);
}

/* One window of both, and two windows of one each. */
static void test_packed_as_apart(void **state)
{
    (void)state;
    static const char *const models[] = {
        "{}", TEXT({"head.mtp": "sequential"}), TEXT({"attention": {"module": "gated_delta"}}),
        TEXT({"ffn.balance": [{"module": "bias", "gamma": 0.01}, "z_loss", {"module": "switch_aux", "alpha": 1}]}),
        TEXT({"ffn.balance": [{"module": "importance", "weight": 1}, {"module": "entropy", "marginal": 1}]}),
    };
    for (int m = 0; m < COUNT(models); m++) {
        struct tiny one = filled_new(models[m], 1), two = filled_new(models[m], 2);
        put_both(&one);
        put(&two, 0, 0, first, FIRST, 3);
        fill(&two, 0, FIRST, 7);
        put(&two, 1, 0, second, SECOND, 2);
        fill(&two, 1, SECOND, 1);
        tiny_step(&one, 0);
        tiny_step(&two, 0);
        static const char *const metrics[] = { "loss", "objective", "grad_norm", "targets" };
        for (int i = 0; i < COUNT(metrics); i++) {
            double x, y;
            tiny_metric(&one, metrics[i], -1, &x);
            tiny_metric(&two, metrics[i], -1, &y);
            if (!(fabs(x - y) <= 1e-5 * fmax(1, fabs(x)))) fail_msg("%s: %s %g, apart %g", models[m], metrics[i], x, y);
        }
        double x[4], y[4], sum = 0;
        tiny_metric(&one, "expert_tokens", 0, x);
        tiny_metric(&two, "expert_tokens", 0, y);
        for (int e = 0; e < 4; e++) { assert_true(x[e] == y[e]); sum += x[e]; }
        assert_true(sum == 2 * (FIRST + SECOND));
        tiny_free(&one);
        tiny_free(&two);
    }
}

/* All but shares of distinct n-grams, of which what fills up has one. */
static void check_metrics(const char *name, struct tiny *t, struct tiny *other)
{
    assert_int_equal(t->graph->n_probes, other->graph->n_probes);
    for (int i = 0; i < t->graph->n_probes; i++) {
        const struct probe *p = &t->graph->probe[i];
        double *x = tiny_probe(t, i), *y = tiny_probe(other, i);
        for (int64_t k = 0; k < probe_count(p) && !strstr(p->name, "collision_rate"); k++)
            if (!(fabs(x[k] - y[k]) <= 1e-4 * fmax(1, fabs(x[k])) || (isnan(x[k]) && isnan(y[k]))))
                fail_msg("%s: %s[%lld] is %g, and %g", name, p->name, (long long)k, x[k], y[k]);
        free(x);
        free(y);
    }
}

/* A window that ends where its documents do is worth what one is worth that is filled up, also after a step that moved
   what balances. */
static void check_as_full(const char *name, struct tiny *filled, struct tiny *full)
{
    int64_t n, other;
    put_both(filled);
    put(full, 0, 0, first, FIRST, 3);
    put(full, 0, FIRST, second, SECOND, 2);
    for (int step = 0; step < 2; step++) {
        tiny_step(filled, step);
        tiny_step(full, step);
        check_metrics(name, filled, full);
    }
    double *x = gradients(filled, &n), *y = gradients(full, &other);
    assert_true(n == other);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= 1e-6)) fail_msg("%s: weight %lld is %.9g, and %.9g", name, (long long)i, x[i], y[i]);
    free(x);
    free(y);
}

/* Loads, quantiles and tiles are of the tokens that are there. */
static void test_filled_as_full(void **state)
{
    (void)state;
    static const char *const models[] = {
        "{}", TEXT({"ffn.router.noise": "learned", "ffn.balance": [{"module": "load", "weight": 1}]}),
        TEXT({"ffn.balance": "quantile"}), TEXT({"ffn.router.top_k": 3, "ffn.balance": "quantile"}),
        TEXT({"ffn.router.revise": {"module": "tiles", "tile": 2, "round": "down"}}),
        TEXT({"ffn.router.revise": {"module": "tiles", "tile": 3, "round": "nearest"}}),
        TEXT({"ffn.router.revise": {"module": "tiles", "tile": 4, "round": "up"}}),
        TEXT({"ffn.router.revise": {"module": "tiles", "tile": 16, "round": "up"}}),        /* more than there are */
    };
    for (int m = 0; m < COUNT(models); m++) {
        struct tiny filled = filled_new(models[m], 1), full = filled_of(models[m], 1, FIRST + SECOND);
        check_as_full(models[m], &filled, &full);
        tiny_free(&filled);
        tiny_free(&full);
    }
}

/* The denominator is that of the whole step: of one piece, or of two of which the second has few targets. */
static void test_denominator_of_the_step(void **state)
{
    (void)state;
    static const char *const models[] = { "{}", TEXT({"head.mtp": "sequential"}) };
    for (int m = 0; m < COUNT(models); m++) {
        struct tiny whole = filled_new(models[m], 2), part = filled_new(models[m], 1);
        put(&whole, 0, 0, first, FIRST, 4);
        fill(&whole, 0, FIRST, 0);
        put(&whole, 1, 0, second, SECOND, 2);
        fill(&whole, 1, SECOND, 0);
        tiny_step(&whole, 0);
        plan_begin(part.plan, 0, 1000, 2);
        for (int pass = 0; pass < 2; pass++)
            for (int micro = 0; micro < 2; micro++) {
                put(&part, 0, 0, micro ? second : first, micro ? SECOND : FIRST, micro ? 2 : 4);
                fill(&part, 0, micro ? SECOND : FIRST, 0);
                tiny_put(&part);
                if (pass == 0) { plan_ahead(part.plan, micro); continue; }
                plan_forward(part.plan, micro);
                plan_backward(part.plan, micro);
            }
        plan_update(part.plan);
        static const char *const metrics[] = { "loss", "objective", "grad_norm", "targets" };
        for (int i = 0; i < COUNT(metrics); i++) {
            double x, y;
            tiny_metric(&whole, metrics[i], -1, &x);
            tiny_metric(&part, metrics[i], -1, &y);
            if (!(fabs(x - y) <= 1e-6 * fmax(1, fabs(x))))
                fail_msg("%s: %s %g, in pieces %g", models[m], metrics[i], x, y);
        }
        tiny_free(&whole);
        tiny_free(&part);
    }
}

/* Other tokens in what fills up: the same loss, the same weights after the step. */
static void check_fill(const char *name, struct tiny *t, struct tiny *other)
{
    struct tiny *const both[] = { t, other };
    for (int k = 0; k < 2; k++) {
        put_both(both[k]);
        fill(both[k], 0, FIRST + SECOND, 4 * k + 1);
        tiny_step(both[k], 0);
    }
    int64_t n;
    double *x = gradients(t, &n), *y = gradients(other, &n);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= 1e-7) || !isfinite(x[i])) fail_msg("%s: weight %lld is %.9g, and %.9g where other "
                                                                      "tokens fill up", name, (long long)i, x[i], y[i]);
    double a = tiny_loss(t, "lm"), b = tiny_loss(other, "lm");
    if (!(fabs(a - b) <= 1e-6)) fail_msg("%s: loss %g, and %g", name, a, b);
    free(x);
    free(y);
}

/* Refused: the graph says why. */
static struct tiny switched(const struct toggle *on, int seq, bool *refused)
{
    struct tiny t = toggle_load(on);
    t.train.answers = true;
    t.mode = MODE_TRAIN;
    t.batch = 1;
    t.seq = t.tokens = seq;
    t.leaves = leaves_new();
    t.graph = graph_new(t.leaves);
    t.graph->keep = true;
    model_build(t.graph, t.arena, &t.model, &t.train, MODE_TRAIN, (struct model_size){ .batch = 1, .seq = seq });
    *refused = t.graph->failed;
    if (*refused && !strstr(t.graph->err.text, "also those that only fill it up"))
        fail_msg("%s: %s", on->name, t.graph->err.text);
    if (!*refused) tiny_start(&t, 3);
    return t;
}

static void test_what_fills_up_moves_nothing(void **state)
{
    (void)state;
    int checked = 0, refused = 0;
    for (int i = 0; i < toggles.n; i++) {
        bool no;
        if (toggles.toggle[i]->module->slot == SLOT_FP8) continue;          /* scales are of all rows of a tile */
        struct tiny t = switched(toggles.toggle[i], SEQ, &no), other = switched(toggles.toggle[i], SEQ, &no);
        if (no) refused++;
        else {
            check_fill(toggles.toggle[i]->name, &t, &other);
            checked++;
        }
        tiny_free(&t);
        tiny_free(&other);
    }
    assert_true(checked > 50 && refused > 0 && refused < checked / 5);
}

/* A share of all rows is one of those that fill up, too: here more tokens are chosen than in a window that is full. */
static bool is_share_of_rows(const struct module *m)
{
    return (m->slot == SLOT_DISPATCH && strcmp(m->name, "capacity") == 0) ||
           (m->slot == SLOT_SELECT && strcmp(m->name, "expert_choice") == 0) ||
           (m->slot == SLOT_BLOCK && strcmp(m->name, "depths") == 0);
}

static void test_metrics_of_what_is_there(void **state)
{
    (void)state;
    for (int i = 0; i < toggles.n; i++) {
        const struct toggle *on = toggles.toggle[i];
        bool no;
        if (on->module->slot == SLOT_FP8 || is_share_of_rows(on->module)) continue;
        struct tiny filled = switched(on, SEQ, &no), full = switched(on, FIRST + SECOND, &no);
        if (!no) check_as_full(on->name, &filled, &full);
        tiny_free(&filled);
        tiny_free(&full);
    }
}

/* Where each token is there, windows are those of text. */
static void test_full_as_text(void **state)
{
    (void)state;
    struct tiny text = tiny_new("{}", NULL, MODE_TRAIN, 2, SEQ), full = filled_new("{}", 2);
    tiny_start(&text, 3);
    tiny_step(&text, 0);
    tiny_step(&full, 0);
    assert_true(tiny_loss(&text, "lm") == tiny_loss(&full, "lm"));
    int64_t n;
    double *x = gradients(&text, &n), *y = gradients(&full, &n);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    free(x);
    free(y);
    tiny_free(&text);
    tiny_free(&full);
}

/* No target that far ahead: the loss of the next token is learnt all the same. */
static void test_answers_of_one_token(void **state)
{
    (void)state;
    struct tiny t = filled_new(TEXT({"head.mtp": {"module": "sequential", "depth": 2}}), 1);
    double norm, ratio;
    put_both(&t);
    for (int s = 0; s < SEQ; s++) t.weight[s] = s == 1;
    tiny_step(&t, 0);
    tiny_metric(&t, "grad_norm", -1, &norm);
    tiny_metric(&t, "update_ratio", -1, &ratio);
    assert_true(isfinite(tiny_loss(&t, "lm")) && isfinite(norm) && norm > 0 && ratio > 0);
    memset(t.weight, 0, SEQ * sizeof *t.weight);            /* and none at all: nothing is learnt, nothing lost */
    int64_t n;
    double *x = gradients(&t, &n);
    tiny_step(&t, 1);
    tiny_metric(&t, "grad_norm", -1, &norm);
    double *y = gradients(&t, &n);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    assert_true(isfinite(norm));
    free(x);
    free(y);
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mean_over_what_counts), cmocka_unit_test(test_documents_do_not_see_each_other),
        cmocka_unit_test(test_packed_as_apart), cmocka_unit_test(test_filled_as_full),
        cmocka_unit_test(test_denominator_of_the_step), cmocka_unit_test(test_what_fills_up_moves_nothing),
        cmocka_unit_test(test_metrics_of_what_is_there), cmocka_unit_test(test_full_as_text),
        cmocka_unit_test(test_answers_of_one_token),
    };
    return cmocka_run_group_tests(tests, toggles_begin, toggles_end);
}
