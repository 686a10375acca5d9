/* Routers by name: each is accepted, builds, learns a step, and its gates sum to what its row says. */
#include "tiny_pair.h"
#include "bind.h"
#include "graph/ops/routing.h"

static void set(json_t *model, const json_t *row, const char *of, const char *key)
{
    char path[64];
    struct err e;
    json_t *value = json_object_get(row, key);
    snprintf(path, sizeof path, "%s.%s", of, key);
    if (value && config_set(&model_schema, model, path, value, &e) != 0) fail_msg("%s: %s", path, e.text);
}

/* 16 experts of a token's width, of the feed-forward or of attention: no name chooses more. */
static const char *const sixteen[][2] = {
    { "ffn", TEXT({"layers": 1, "ffn.experts": 16}) },
    { "attention.experts", TEXT({"layers": 1, "attention.experts": {"module": "routed", "n": 16}}) },
};

static struct tiny named(const json_t *row, int which)
{
    struct tiny t = { 0 };
    char why[256];
    json_t *model = tiny_json(&model_schema, tiny_base, sixteen[which][1]), *train = json_object();
    set(model, row, sixteen[which][0], "router");
    set(model, row, sixteen[which][0], "balance");
    set(model, row, sixteen[which][0], "dispatch");
    if (!tiny_load(&t, model, train, why))
        fail_msg("%s: %s", json_string_value(json_object_get(row, "name")), why);
    json_decref(model);
    json_decref(train);
    tiny_build(&t, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    return t;
}

/* Of those that are normalised after the choice. */
static void check_gates(struct tiny *t, const json_t *router, const char *name)
{
    const char *normalize = json_string_value(json_object_get(router, "normalize"));
    const json_t *scale = json_object_get(router, "scale");
    if (!normalize || strcmp(normalize, "after") != 0) return;
    const struct node *gates = tiny_find(t, &op_combine, 0)->in[3];
    int k = (int)shape_last(gates->shape);
    double *gate = tiny_read(t, gates), want = scale ? json_number_value(scale) : 1;
    assert_int_equal(k, json_integer_value(json_object_get(router, "top_k")));
    for (int token = 0; token < t->tokens; token++) {
        double sum = 0;
        for (int j = 0; j < k; j++) sum += gate[k * token + j];
        if (!(fabs(sum - want) < 1e-5)) fail_msg("%s: gates sum to %.7g, expected %.7g", name, sum, want);
    }
    free(gate);
}

static void check_weights(struct tiny *t, const char *name)
{
    for (int l = 0; l < t->leaves->n; l++) {
        const struct leaf *w = t->leaves->leaf[l];
        if (w->kind != LEAF_WEIGHT) continue;
        const real *x = state_data(t->state, w);
        for (int64_t n = 0; n < shape_count(w->decl.shape); n++)
            if (!isfinite(x[n])) fail_msg("%s: after a step %s holds %g", name, w->path, (double)x[n]);
    }
}

static void test_each_name(void **state)
{
    (void)state;
    json_t *list = script_routers(), *row;
    size_t i;
    assert_true(json_array_size(list) >= 20);
    json_array_foreach(list, i, row) {
        const char *name = json_string_value(json_object_get(row, "name")), *key;
        json_t *value;
        json_object_foreach(row, key, value)
            if (!strstr(" name about sizes router balance dispatch ", key)) fail_msg("%s: what is '%s'?", name, key);
        if (!json_object_get(row, "balance") || !json_object_get(row, "dispatch"))
            fail_msg("%s: says nothing of balance or dispatch", name);
        for (int which = 0; which < COUNT(sixteen); which++) {
            struct tiny t = named(row, which);
            tiny_step(&t, 0);
            check_gates(&t, json_object_get(row, "router"), name);
            check_weights(&t, name);
            tiny_free(&t);
        }
    }
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(each_name) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
