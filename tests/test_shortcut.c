/* The feed-forward on a path of its own: what it reads, where it joins, and which published models that is. */
#include "tiny_pair.h"
#include "graph/ops/routing.h"

/* What the last layer hands on, [T,D], malloc'd. */
static double *stream_of(struct tiny *t)
{
    tiny_forward(t);
    return tiny_read(t, tiny_user(t, "final_norm.gain")->in[0]);
}

static int64_t stream_count(const struct tiny *t) { return (int64_t)t->tokens * t->model.d_model; }

/* What the experts of the first layer that has any give, [T,D], malloc'd. */
static double *experts_of(struct tiny *t) { return tiny_read(t, tiny_find(t, &op_combine, 0)); }

/* Gives t what `from` has under the same path with `to` in place of `part`. */
static void copy_renamed(struct tiny *t, const struct tiny *from, const char *part, const char *to)
{
    for (int i = 0; i < from->leaves->n; i++) {
        const struct leaf *l = from->leaves->leaf[i];
        const char *at = strstr(l->path, part);
        char path[128];
        if (l->kind != LEAF_WEIGHT || !at) continue;
        snprintf(path, sizeof path, "%.*s%s%s", (int)(at - l->path), l->path, to, at + strlen(part));
        state_put(t->state, tiny_leaf(t, path), state_data(from->state, l));
    }
}

/* Beside a dense feed-forward that reads the same and joins at once: experts with a shared one, to the bit. */
static void test_at_once(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"block": {"module": "shortcut", "dense": {"module": "dense", "d_ff": 6},
                                             "joins": "here"}}), TEXT({"ffn.shared": "dense"}));
    copy_renamed(&p.b, &p.a, ".dense.norm.", ".ffn.norm.");
    tiny_copy(&p.b, &p.a);
    copy_renamed(&p.b, &p.a, ".dense.gate.", ".ffn.shared.gate.");
    copy_renamed(&p.b, &p.a, ".dense.up.", ".ffn.shared.up.");
    copy_renamed(&p.b, &p.a, ".dense.down.", ".ffn.shared.down.");
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* Experts that give nothing leave the model with the dense feed-forward alone, whatever residual is around it. */
static void test_silent_experts(void **state)
{
    (void)state;
    int tried = 0, refused = 0, residuals = 0;
    for (const struct module *const *m = module_all; *m; m++) residuals += (*m)->slot == SLOT_RESIDUAL;
    for (const struct module *const *m = module_all; *m; m++)
        for (int kind = 0; kind < 4 && (*m)->slot == SLOT_RESIDUAL; kind++) {
            char with[256], without[256], why[256];
            snprintf(with, sizeof with, "{\"residual\": \"%s\", \"block\": {\"module\": \"shortcut\", \"dense\": "
                     "{\"module\": \"dense\", \"d_ff\": 6}, \"reads\": \"%s\", \"joins\": \"%s\"}}", (*m)->name,
                     kind % 2 ? "block" : "dense", kind / 2 ? "here" : "next");
            snprintf(without, sizeof without, "{\"residual\": \"%s\", \"ffn\": {\"module\": \"dense\", \"d_ff\": 6}}",
                     (*m)->name);
            struct tiny t = { 0 };
            json_t *model = tiny_json(&model_schema, tiny_base, with), *train = json_object();
            bool legal = tiny_load(&t, model, train, why);
            json_decref(model);
            json_decref(train);
            arena_free(t.arena);
            if (!legal) {
                assert_true(kind % 2 && strstr(why, "streams"));
                refused++;                                  /* it keeps several, and a norm reads one */
                continue;
            }
            struct pair p = pair_new(with, without);
            pair_run(&p);
            copy_renamed(&p.b, &p.a, ".dense.", ".ffn.");
            tiny_scale_all(&p.a, "experts.down.weight", 0);
            pair_run(&p);
            check_equal(p.x, p.y, p.n);
            tried++;
            pair_free(&p);
        }
    assert_int_equal(refused, 4);
    assert_int_equal(tried, 4 * residuals - refused);
}

/* Of two layers, the second without experts: LongCat's block. What the first one's experts give is seen at the very end
   and by nothing before. At once it is seen by the second layer. */
static void test_next_layer(void **state)
{
    (void)state;
    static const char *const joins[] = { "next", "here" };
    for (int i = 0; i < 2; i++) {
        char sets[400];
        snprintf(sets, sizeof sets, "{\"layers\": 2, \"block\": {\"layers\": [{\"module\": \"shortcut\", \"dense\": "
                 "{\"module\": \"dense\", \"d_ff\": 6}, \"joins\": \"%s\"}, \"sequential\"]}, \"ffn\": {\"layers\": "
                 "[{\"module\": \"moe\", \"experts\": 4, \"d_ff\": 6}, {\"module\": \"dense\", \"d_ff\": 6}]}}",
                 joins[i]);
        struct tiny t = decoder(sets);
        int64_t n = stream_count(&t);
        double *with = stream_of(&t), *late = experts_of(&t), most = 0;
        tiny_scale_all(&t, "experts.down.weight", 0);
        double *without = stream_of(&t);
        for (int64_t k = 0; k < n; k++) most = fmax(most, fabs(with[k] - without[k] - late[k]));
        if (i == 0) assert_true(most < 1e-5);
        else assert_true(most > 1e-3);
        free(with);
        free(without);
        free(late);
        tiny_free(&t);
    }
}

/* The layer's input does not know what attention makes of it; by a norm of its own. Arctic. */
static void test_reads_the_input(void **state)
{
    (void)state;
    static const char *const reads[] = { "block", "dense" };
    for (int i = 0; i < 2; i++) {
        char sets[256];
        snprintf(sets, sizeof sets, "{\"layers\": 1, \"block\": {\"module\": \"shortcut\", \"dense\": {\"module\": "
                 "\"dense\", \"d_ff\": 6}, \"reads\": \"%s\", \"joins\": \"here\"}}", reads[i]);
        struct tiny t = decoder(sets);
        int64_t n = stream_count(&t);
        double *with = stream_of(&t), *given = experts_of(&t);
        assert_true((leaves_find(t.leaves, "layers.0.ffn.norm.gain") != NULL) == (i == 0));
        tiny_scale_all(&t, "experts.down.weight", 0);
        double *without = stream_of(&t);
        for (int64_t k = 0; k < n; k++) assert_true(fabs(with[k] - without[k] - given[k]) < 1e-5);
        tiny_free(&t);

        t = decoder(sets);
        tiny_scale_all(&t, "attention.out.weight", 3);
        tiny_forward(&t);
        double *moved = experts_of(&t);
        if (i == 0) check_equal(moved, given, n);
        else assert_true(distance(moved, given, n) > 1e-3);
        free(moved);
        free(with);
        free(without);
        free(given);
        tiny_free(&t);
    }
}

/* Experts have the names that they have in a block without a shortcut. */
static void test_paths(void **state)
{
    (void)state;
    struct tiny a = decoder(TEXT({"block": "shortcut"})), b = decoder("{}");
    int shared = 0;
    for (int i = 0; i < b.leaves->n; i++) {
        const struct leaf *l = b.leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT || strstr(l->path, ".ffn.norm.")) continue;
        assert_memory_equal(tiny_weight(&a, l->path), tiny_weight(&b, l->path),
                            (size_t)tiny_count(&b, l->path) * sizeof(real));
        shared++;
    }
    assert_true(shared > 20);
    assert_non_null(leaves_find(a.leaves, "layers.2.dense.norm.gain"));
    assert_non_null(leaves_find(a.leaves, "layers.2.dense.up.weight"));
    tiny_free(&a);
    tiny_free(&b);
}

static void test_refused(void **state)
{
    (void)state;
    tiny_refused(TEXT({"residual": "mhc", "block": {"module": "shortcut", "reads": "block"}}),
                 "block.reads = block: residual = mhc keeps 4 streams");
    tiny_refused(TEXT({"block": {"module": "shortcut", "dense": "moe"}}), "block.dense = moe: has a router");
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(at_once), RUN(silent_experts), RUN(next_layer), RUN(reads_the_input),
                                        RUN(paths), RUN(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
