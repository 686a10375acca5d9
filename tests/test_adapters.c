/* Adapters on frozen weights: what is frozen stays and costs nothing, a run begins with the model as it is, a merged
   model is the same function, and codes are read as their values are. */
#include "tiny.h"
#include "graph/ops.h"
#include "train/adapters.h"
#include "train/checkpoint.h"
#include "train/model_file.h"

#include <unistd.h>

static const char *const lora = TEXT({"adapter": {"module": "lora", "rank": 4}});
static const char *const fast = TEXT({"optim": {"module": "adamw", "lr": 0.02}, "schedule": "constant"});
static const char *const nf4 = TEXT({"adapter": {"module": "lora", "rank": 4, "base": "nf4"}});

static struct tiny started(const char *model, const char *train, enum mode mode)
{
    struct tiny t = tiny_new(model, train, mode, 2, 6);
    tiny_start(&t, 1);
    return t;
}

static int64_t bytes_of_trained(const struct tiny *t)
{
    int64_t bytes = 0;
    for (int i = 0; i < t->leaves->n; i++)
        if (leaf_trains(t->leaves->leaf[i])) bytes += (int64_t)((leaf_bytes(t->leaves->leaf[i]) + 63) / 64 * 64);
    return bytes;
}

/* What has no adapter and is in no list is frozen; gradients and moments are of the others alone. */
static void test_memory(void **state)
{
    (void)state;
    static const struct { const char *sets; const char *trained, *frozen; } model[] = {
        { TEXT({"adapter": "lora"}), "layers.0.attention.q.lora_a.weight", "layers.0.attention.q.weight" },
        { TEXT({"adapter": {"module": "lora", "also": "router gain"}}), "final_norm.gain", "embed.weight" },
        { TEXT({"adapter": {"module": "lora", "base": "nf4"}}), "layers.1.attention.out.lora_b.weight",
          "final_norm.gain" },
        { TEXT({"adapter": {"module": "lora", "roles": "v"}, "head.tied": false}), "layers.2.attention.v.lora_a.weight",
          "head.weight" },
    };
    for (int i = 0; i < COUNT(model); i++) {
        struct tiny t = started(model[i].sets, NULL, MODE_TRAIN);
        const struct plan_report *r = plan_report(t.plan);
        struct counts c = model_count(t.leaves);
        int64_t trained = 0;
        assert_false(tiny_leaf(&t, model[i].trained)->frozen);
        assert_true(tiny_leaf(&t, model[i].frozen)->frozen);
        assert_int_equal(r->weights, bytes_of_trained(&t));
        assert_int_equal(r->grads, r->weights);
        assert_true(r->frozen > 0 && r->total >= r->frozen + r->weights + r->grads + r->buffers);
        for (int k = 0; k < t.leaves->n; k++) {
            const struct leaf *l = t.leaves->leaf[k];
            if (leaf_trains(l)) trained += shape_count(l->decl.shape);
            if (l->kind == LEAF_GRAD) assert_false(l->of->frozen);
            const char *of = strncmp(l->path, "optim.", 6) == 0 ? strchr(l->path + 6, '.') : NULL;
            if (l->kind == LEAF_BUFFER && of) assert_true(leaf_trains(tiny_leaf(&t, of + 1)));
        }
        assert_int_equal(c.trained, trained);
        assert_true(c.trained < c.total);
        for (int k = 0; k < t.graph->n; k++) {
            const struct node *n = t.graph->node[k];
            if (n->leaf && n->leaf->kind == LEAF_WEIGHT && n->leaf->frozen) assert_false(n->grad);
        }
        tiny_free(&t);
    }
}

/* B is 0: what is added changes no bit, whichever product it stands beside. */
static void test_begins_as_the_base(void **state)
{
    (void)state;
    static const struct { const char *base, *with, *train; } model[] = {
        { "{}", TEXT({"adapter": "lora"}), "{}" },
        { TEXT({"head.mtp": "sequential", "ffn.shared": "dense"}),
          TEXT({"head.mtp": "sequential", "ffn.shared": "dense", "adapter": {"module": "lora", "dropout": 0.5}}),
          "{}" },
        { TEXT({"order": [0, 1, 0, 2]}), TEXT({"order": [0, 1, 0, 2], "adapter": {"module": "lora", "dropout": 0.1}}),
          "{}" },
        { "{}", TEXT({"adapter": "lora"}), TEXT({"fp8": "tile"}) },
    };
    for (int i = 0; i < COUNT(model); i++)
        for (enum precision p = PRECISION_FP32; p <= PRECISION_BF16; p++) {
            struct tiny t[2];
            for (int k = 0; k < 2; k++) {
                t[k] = tiny_new(k ? model[i].with : model[i].base, model[i].train, MODE_TRAIN, 2, 6);
                tiny_start_on(&t[k], (struct plan_how){ &backend_cpu, p, RECOMPUTE_NONE }, 1);
                tiny_forward(&t[k]);
            }
            assert_true(tiny_loss(&t[0], "lm") == tiny_loss(&t[1], "lm"));
            tiny_free(&t[0]);
            tiny_free(&t[1]);
        }
}

/* Also where a guard, averages and rounding come by. */
static void test_frozen_stay(void **state)
{
    (void)state;
    static const char *const train[] = {
        TEXT({"optim": {"module": "adamw", "lr": 0.02}, "schedule": "constant", "average": "ema",
              "rounding": "nearest"}),
        TEXT({"optim": {"module": "muon", "lr": 0.02}, "schedule": "constant", "guard": "outliers"}),
    };
    for (int i = 0; i < COUNT(train); i++)
        for (int k = 0; k < 2; k++) {
            const char *sets = k ? nf4 : lora;
            struct tiny t = started(sets, train[i], MODE_TRAIN), u = started(sets, train[i], MODE_TRAIN);
            int moved = 0;
            for (int step = 0; step < 5; step++) tiny_step(&t, step);
            for (int n = 0; n < t.leaves->n; n++) {
                const struct leaf *l = t.leaves->leaf[n];
                if (l->kind != LEAF_WEIGHT) continue;
                bool same = memcmp(state_data(t.state, l), tiny_weight(&u, l->path), leaf_bytes(l)) == 0;
                if (l->frozen && !same) fail_msg("%s moved", l->path);
                moved += !same;
            }
            assert_true(moved > 20);
            tiny_free(&t);
            tiny_free(&u);
        }
}

/* A loss falls, and codes hinder it as little as floats. */
static void test_learns(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct tiny t = started(k ? nf4 : lora, fast, MODE_TRAIN);
        tiny_forward(&t);
        double first = tiny_loss(&t, "lm");
        for (int step = 0; step < 60; step++) tiny_step(&t, step);
        assert_true(tiny_loss(&t, "lm") < 0.5 * first);
        tiny_free(&t);
    }
}

/* What W + s B A reaches is any W' of at most that rank: with W' - W = U V, B = U / s and A = V. */
static void test_whole_rank_is_any_delta(void **state)
{
    (void)state;
    struct tiny t = started(TEXT({"adapter": {"module": "lora", "rank": 8, "alpha": 4,
                                              "scale": "alpha_over_sqrt_rank"}}), NULL, MODE_EVAL);
    const char *const path = "layers.1.attention.q.weight";
    real *w = tiny_weight(&t, path), *a = tiny_weight(&t, "layers.1.attention.q.lora_a.weight"),
         *b = tiny_weight(&t, "layers.1.attention.q.lora_b.weight"), got[64], want[64];
    double s = 4 / sqrt(8);
    for (int i = 0; i < 64; i++) {
        want[i] = (real)key_normal((struct key){ 9, PURPOSE_TEST, 1, 0 }, (uint64_t)i);
        a[i] = i / 8 == i % 8;
        b[i] = (real)((want[i] - w[i]) / s);
    }
    adapters_values(t.model.adapter, t.leaves, t.state, tiny_leaf(&t, path), got);
    for (int i = 0; i < 64; i++) assert_true(fabs((double)(got[i] - want[i])) < 1e-6);
    tiny_free(&t);
}

/* The same weights in a model without adapters say the same; the base is as it was: nothing has to be undone. */
static void test_merged(void **state)
{
    (void)state;
    static const struct { const char *plain, *with; } model[] = {
        { "{}", TEXT({"adapter": {"module": "lora", "rank": 3, "alpha": 2}}) },
        { "{}", TEXT({"adapter": {"module": "lora", "base": "nf4"}}) },
        { TEXT({"head.mtp": "sequential", "ffn.balance": ["bias"]}),
          TEXT({"head.mtp": "sequential", "ffn.balance": ["bias"], "adapter": {"module": "lora", "also": "gain router",
                "scale": "alpha_over_sqrt_rank", "base": {"module": "nf4", "double_quant": false}}}) },
    };
    for (int i = 0; i < COUNT(model); i++) {
        struct tiny t = started(model[i].with, fast, MODE_TRAIN), plain = started(model[i].plain, NULL, MODE_TRAIN);
        json_t *config = json_pack("{s:o}", "model", config_write(&model_schema, &t.model));
        const struct model_source from = { config, t.leaves, t.state, t.model.adapter };
        char path[] = "/tmp/sluice-merged-XXXXXX";
        struct err e;
        close(mkstemp(path));
        for (int step = 0; step < 20; step++) tiny_step(&t, step);
        tiny_forward(&t);
        const struct leaf *q = tiny_leaf(&t, "layers.0.attention.q.weight");
        void *before = xmalloc(leaf_bytes(q));
        memcpy(before, state_data(t.state, q), leaf_bytes(q));
        if (model_file_write(path, &from, &(struct model_form){ "F32", .merged = true }, &e) ||
            model_file_read(path, plain.leaves, plain.state, &e))
            fail_msg("%s", e.text);
        assert_memory_equal(before, state_data(t.state, q), leaf_bytes(q));
        tiny_forward(&plain);
        for (int n = 0, m = 0; n < t.graph->n; n++) {
            if (t.graph->node[n]->op != &op_cross_entropy) continue;
            const struct node *other = tiny_find(&plain, &op_cross_entropy, m);
            double *x = tiny_read(&t, t.graph->node[n]), *y = tiny_read(&plain, other);
            m = other->id + 1;
            for (int64_t k = 0; k < shape_count(other->shape); k++)
                if (fabs(x[k] - y[k]) > 1e-5) fail_msg("a loss of %.8g is %.8g when merged", x[k], y[k]);
            free(x);
            free(y);
        }
        json_decref(config);
        config = model_file_config(path, &e);
        assert_string_equal(json_string_value(config_get(config, "model.adapter")), "none");
        json_decref(config);
        unlink(path);
        free(before);
        tiny_free(&t);
        tiny_free(&plain);
    }
}

/* A fresh model in codes is the fresh model of floats, quantised; and what is put is quantised likewise. */
static void test_codes_begin_as_floats(void **state)
{
    (void)state;
    struct tiny floats = started(lora, NULL, MODE_EVAL), codes = started(nf4, NULL, MODE_EVAL);
    int n = 0;
    for (int i = 0; i < codes.leaves->n; i++) {
        struct leaf *l = codes.leaves->leaf[i], *of = tiny_leaf(&floats, l->path);
        if (l->kind != LEAF_WEIGHT || l->kept == KEPT_FLOAT) continue;
        assert_true(shape_equal(l->values, of->decl.shape) && shape_equal(l->values, of->values) && l->frozen);
        void *drawn = xmalloc(leaf_bytes(l));
        memcpy(drawn, state_data(codes.state, l), leaf_bytes(l));
        state_put_values(codes.state, l, state_data(floats.state, of));
        assert_memory_equal(drawn, state_data(codes.state, l), leaf_bytes(l));
        free(drawn);
        n++;
    }
    assert_int_equal(n, 3 * 7);
    tiny_free(&floats);
    tiny_free(&codes);
}

/* The op reads codes as adapters_values and state_get_values do: a model of these floats says the same. */
static void test_codes_are_their_values(void **state)
{
    (void)state;
    struct tiny floats = started(lora, NULL, MODE_EVAL), codes = started(nf4, NULL, MODE_EVAL);
    for (int i = 0; i < codes.leaves->n; i++) {
        const struct leaf *l = codes.leaves->leaf[i];
        if (l->kind == LEAF_WEIGHT) state_get_values(codes.state, l, tiny_weight(&floats, l->path));
    }
    tiny_forward(&floats);
    tiny_forward(&codes);
    assert_true(fabs(tiny_loss(&floats, "lm") - tiny_loss(&codes, "lm")) < 1e-5);
    tiny_free(&floats);
    tiny_free(&codes);
}

/* Backward has one product for each frozen matrix, not two. */
static void test_flops(void **state)
{
    (void)state;
    struct tiny plain = started("{}", NULL, MODE_TRAIN),
                t = started(TEXT({"adapter": {"module": "lora", "rank": 1, "also": "embed"}}), NULL, MODE_TRAIN);
    const struct plan_report *all = plan_report(plain.plan), *r = plan_report(t.plan);
    double products = 0, thin = r->forward_flops - all->forward_flops;
    for (int i = 0; i < plain.leaves->n; i++) {
        const struct leaf *l = plain.leaves->leaf[i];
        if (l->kind == LEAF_WEIGHT && l->role != ROLE_EMBED && l->values.rank > 1)
            products += 2.0 * plain.tokens * (double)shape_count(l->values) * l->active;
    }
    assert_true(thin > 0);
    assert_true(fabs(all->train_flops + 3 * thin - products - r->train_flops) < 1);
    tiny_free(&plain);
    tiny_free(&t);
}

/* Weights, gradients and what the optimizer remembers, as the plan has them and as they are allocated. */
static size_t training_bytes(const char *adapter, struct plan_report *r)
{
    char sets[1024];
    snprintf(sets, sizeof sets, TEXT({"layers": 4, "d_model": 256, "vocab": 512, "attention": {"module": "gqa",
             "heads": 4, "kv_heads": 4, "head_dim": 64}, "ffn": {"module": "dense", "d_ff": 1024}, "adapter": %s}),
             adapter);
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
    t.graph->keep = false;
    tiny_start(&t, 1);
    *r = *plan_report(t.plan);
    struct state_bytes b = state_layout(t.leaves);
    size_t bytes = b.of[SLAB_WEIGHTS] + b.of[SLAB_FROZEN] + b.of[SLAB_GRADS] + b.of[SLAB_BUFFERS];
    assert_int_equal(bytes, r->weights + r->frozen + r->grads + r->buffers);
    tiny_free(&t);
    return bytes;
}

static void test_qlora_memory(void **state)
{
    (void)state;
    struct plan_report full, thin;
    size_t all = training_bytes("\"none\"", &full),
           some = training_bytes(TEXT({"module": "lora", "rank": 8, "base": "nf4"}), &thin);
    print_message("full fine-tuning %zu bytes (total %zu), QLoRA %zu (total %zu)\n", all, full.total, some, thin.total);
    assert_true((double)some <= 0.35 * (double)all && (double)thin.total <= 0.35 * (double)full.total);
}

/* A checkpoint holds what is frozen as well; codes as they are. */
static void test_checkpoint(void **state)
{
    (void)state;
    char dir[] = "/tmp/sluice-adapters-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct tiny a = started(nf4, NULL, MODE_TRAIN), b = tiny_new(nf4, NULL, MODE_TRAIN, 2, 6);
    struct checkpoint saved, loaded;
    struct err e;
    json_t *none = json_object(), *trainer_state;
    tiny_start(&b, 2);
    for (int step = 0; step < 3; step++) tiny_step(&a, step);
    if (checkpoint_save(dir, 3, a.leaves, a.state, none, 1, NULL, &saved, &e)) fail_msg("%s", e.text);
    if (checkpoint_load(saved.path, b.leaves, b.state, &loaded, &trainer_state, &e)) fail_msg("%s", e.text);
    memcpy(b.ids, a.ids, (size_t)a.tokens * sizeof *a.ids);
    memcpy(b.target, a.target, (size_t)a.tokens * sizeof *a.target);
    tiny_step(&a, 3);
    tiny_step(&b, 3);
    for (int i = 0; i < a.leaves->n; i++) {
        const struct leaf *l = a.leaves->leaf[i];
        if (leaf_is_saved(l))
            assert_memory_equal(state_data(a.state, l), tiny_weight(&b, l->path), leaf_bytes(l));
    }
    json_decref(none);
    json_decref(trainer_state);
    checkpoint_prune(dir, 3, 0, NULL);
    rmdir(dir);
    tiny_free(&a);
    tiny_free(&b);
}

static void test_messages(void **state)
{
    (void)state;
    tiny_refused(TEXT({"adapter": {"module": "lora", "roles": "q ffn_upp"}}), "did you mean 'ffn_up'?");
    tiny_refused(TEXT({"adapter": {"module": "lora", "roles": "gain"}}), "only products of hidden matrices");
    tiny_refused(TEXT({"adapter": {"module": "lora", "also": "rooter"}}), "did you mean 'router'?");
    tiny_refused(TEXT({"adapter": {"module": "lora", "also": "q"}}), "'q': has adapters");
    tiny_refused(TEXT({"adapter": {"module": "lora", "also": "lora_a"}}), "trained in any case");
    tiny_refused(TEXT({"adapter": "lora", "attention.qk_clip": 10}), "attention clips weights");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory), cmocka_unit_test(test_begins_as_the_base), cmocka_unit_test(test_frozen_stay),
        cmocka_unit_test(test_learns), cmocka_unit_test(test_whole_rank_is_any_delta), cmocka_unit_test(test_merged),
        cmocka_unit_test(test_codes_begin_as_floats), cmocka_unit_test(test_codes_are_their_values),
        cmocka_unit_test(test_flops), cmocka_unit_test(test_qlora_memory), cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
