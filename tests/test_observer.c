/* Who looks at routers while a graph is built: what it is told, that looking changes nothing, and what closing each
   token's best experts does. */
#include "tiny.h"

enum { LAYERS = 3, EXPERTS = 4, K = 2, BATCH = 2, SEQ = 6, TOKENS = BATCH * SEQ };

struct told { int n; struct routing routing[8]; int layer[8]; char name[8][16]; };

static void tell(void *to, const char *name, int layer, const struct routed *routed)
{
    struct told *t = to;
    t->routing[t->n] = *routed->routing;
    assert_int_equal(routed->rows->shape.dim[0], routed->d->rows->shape.dim[0]);
    assert_int_equal(shape_count(routed->d->offsets->shape), routed->routing->experts - routed->routing->idle + 1);
    snprintf(t->name[t->n], sizeof t->name[0], "%s", name);
    t->layer[t->n++] = layer;
}

static struct tiny build(const char *sets, enum mode mode, const struct observer *observer)
{
    struct tiny t = { .mode = mode, .batch = BATCH, .seq = SEQ, .tokens = TOKENS };
    char why[256];
    json_t *model = tiny_json(&model_schema, tiny_base, sets), *train = tiny_json(&train_schema, "{}", NULL);
    if (!tiny_load(&t, model, train, why)) fail_msg("%s", why);
    json_decref(model);
    json_decref(train);
    t.leaves = leaves_new();
    t.graph = graph_new(t.leaves);
    t.graph->keep = true;
    model_build(t.graph, t.arena, &t.model, &t.train, mode,
                (struct model_size){ .batch = BATCH, .seq = SEQ, .observer = observer });
    if (t.graph->failed) fail_msg("%s", t.graph->err.text);
    return t;
}

static void test_told(void **state)
{
    (void)state;
    struct told told = { 0 };
    struct tiny t = build(TEXT({ "ffn.zero": 1 }), MODE_EVAL, &(struct observer){ tell, &told, 0 });
    assert_int_equal(told.n, LAYERS);
    for (int i = 0; i < LAYERS; i++) {
        const struct routing *r = &told.routing[i];
        assert_string_equal(told.name[i], "ffn");
        assert_int_equal(told.layer[i], i);
        assert_int_equal(r->experts, EXPERTS + 1);
        assert_int_equal(r->idle, 1);
        assert_true(r->largest_keys && !r->keyless);
        assert_int_equal(r->chosen->shape.dim[0], TOKENS);
        assert_int_equal(r->chosen->shape.dim[1], K);
    }
    tiny_free(&t);
    told.n = 0;
    t = build(TEXT({ "ffn.router.select": "hash" }), MODE_EVAL, &(struct observer){ tell, &told, 0 });
    assert_true(told.routing[0].keyless);
    tiny_free(&t);
    told.n = 0;
    t = build(TEXT({ "ffn": "dense" }), MODE_EVAL, &(struct observer){ tell, &told, 0 });
    assert_int_equal(told.n, 0);
    tiny_free(&t);
}

static void test_looking_changes_nothing(void **state)
{
    (void)state;
    for (enum mode mode = MODE_TRAIN; mode <= MODE_EVAL; mode++) {
        struct told told = { 0 };
        struct tiny alone = build(NULL, mode, NULL), seen = build(NULL, mode, &(struct observer){ tell, &told, 0 }),
                    closed = build(NULL, mode, &(struct observer){ tell, &told, 1 });
        assert_true(tiny_same(&alone, &seen));
        assert_false(tiny_same(&alone, &closed));
        for (int i = 0; i < alone.graph->n; i++) assert_false(alone.graph->node[i]->output_of_graph);
        tiny_free(&alone);
        tiny_free(&seen);
        tiny_free(&closed);
    }
}

/* Closed to its best R experts, a token goes to those of ranks R, R + 1, .. of the keys that it had. */
static void test_closed(void **state)
{
    (void)state;
    struct told open = { 0 };
    struct tiny whole = build(NULL, MODE_EVAL, &(struct observer){ tell, &open, 0 });
    tiny_start(&whole, 3);
    tiny_forward(&whole);
    double *key = tiny_read(&whole, open.routing[0].key);
    for (int closed = 1; closed <= EXPERTS - K; closed++) {
        struct told told = { 0 };
        struct tiny t = build(NULL, MODE_EVAL, &(struct observer){ tell, &told, closed });
        tiny_start(&t, 3);
        tiny_forward(&t);
        double *index = tiny_read(&t, told.routing[0].chosen), *gate = tiny_read(&t, told.routing[0].gate),
               *score = tiny_read(&t, told.routing[0].score);
        for (int at = 0; at < TOKENS * K; at++) {
            int token = at / K, expert = (int)index[at], better = 0;
            for (int e = 0; e < EXPERTS; e++) better += key[token * EXPERTS + e] > key[token * EXPERTS + expert];
            assert_int_equal(better, closed + at % K);
            assert_true(fabs(gate[at] - score[token * EXPERTS + expert]) < 1e-12);
        }
        free(index);
        free(gate);
        free(score);
        tiny_free(&t);
    }
    free(key);
    tiny_free(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told), cmocka_unit_test(test_looking_changes_nothing), cmocka_unit_test(test_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
