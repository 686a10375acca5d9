/* Weights in values of bf16: nearest and stochastic rounding of one value, of a run's weights, and their bits. */
#include "op_cases.h"
#include "tiny.h"

static float float_at(uint32_t bits) { union { uint32_t bits; float value; } u = { bits }; return u.value; }
static uint32_t bits_at(double value) { union { float value; uint32_t bits; } u = { (float)value }; return u.bits; }
static bool is_bf16(double value) { return (bits_at(value) & 0xFFFF) == 0; }

/* Of two numbers beside each other in bf16, the nearest to what is `share` of the way between. */
static void the_nearest(void **state)
{
    (void)state;
    OPEN(b, round_weight, nearest);
    const uint32_t from[] = { 0x3F800000, 0x3F810000, 0xBF7F0000, 0x00810000, 0x7F7E0000, 0xFF010000, 0x40000000 };
    for (uint32_t low = 0; low < 0x10000; low += 0x1111) {
        double want[COUNT(from)], value[COUNT(from)];
        for (int i = 0; i < COUNT(from); i++) {
            bool up = low > 0x8000 || (low == 0x8000 && from[i] >> 16 & 1);
            value[i] = (double)float_at(from[i] + low);
            want[i] = (double)float_at(from[i] + (up ? 0x10000 : 0));
        }
        put(&b.in[0], COUNT(from), value);
        PUT(b, 3, 1, 1);
        bench_forward(&b);
        see(&b.in[0], COUNT(from), want, 0);
    }
    put(&b.in[0], 7, (double[]){ 1.001, 2, 3, 4, 5, INFINITY, NAN });
    bench_forward(&b);
    assert_true(isinf(tensor_get(&b.in[0], 5)) && isnan(tensor_get(&b.in[0], 6)));
    PUT(b, 0, 1.001, 2, 3, 4, 5, 6, 7);
    PUT(b, 3, 1, 0);                                        /* a step that does not count */
    bench_forward(&b);
    assert_true(tensor_get(&b.in[0], 0) == (double)1.001f && tensor_get(&b.out[0], 0) == 0);
    bench_close(&b);
}

#define MANY(CASE) CASE(round_weight, many, \
    round_weight(g, real_in(g, 200, 133), positive_in(g, 2), real_in(g, 1), positive_in(g, 2)))
MANY(BENCH_BUILD)

/* Rounds `value` everywhere and gives the mean; another key or step is other draws, the same ones the same. */
static double mean_of(struct bench *b, double value, double key, double step)
{
    double sum = 0;
    int64_t n = shape_count(b->in[0].shape);
    for (int64_t i = 0; i < n; i++) tensor_set(&b->in[0], i, value);
    PUT(*b, 1, key, 0.75);
    PUT(*b, 2, step);
    PUT(*b, 3, 1, 1);
    bench_forward(b);
    for (int64_t i = 0; i < n; i++) {
        double got = tensor_get(&b->in[0], i), next = (double)float_at((bits_at(value) & 0xFFFF0000u) + 0x10000);
        if (!is_bf16(got) || (got != next && got != (double)float_at(bits_at(value) & 0xFFFF0000u)))
            fail_msg("%g becomes %g", value, got);
        sum += got;
    }
    return sum / (double)n;
}

static void a_mean_is_kept(void **state)
{
    const double values[] = { 1.0001, 1.0039, -3.7, 1e-20, 0.1, 3e30 };
    (void)state;
    OPEN(b, round_weight, many);
    for (int i = 0; i < COUNT(values); i++) {
        uint32_t low = bits_at(values[i]) & 0xFFFF0000u;
        double w = (double)(float)values[i], gap = fabs((double)float_at(low + 0x10000) - (double)float_at(low)),
               p = fabs(w - (double)float_at(low)) / gap, n = (double)shape_count(b.in[0].shape),
               error = fabs(mean_of(&b, w, 0.3, i + 1) - w) / gap;
        if (!(error <= 5 * sqrt(p * (1 - p) / n))) fail_msg("the mean of %g is off by %g of a step", w, error);
    }
    assert_true(mean_of(&b, 1.625, 0.3, 1) == 1.625);
    double one = mean_of(&b, 1.001, 0.3, 1);
    assert_true(mean_of(&b, 1.001, 0.3, 1) == one);
    assert_true(mean_of(&b, 1.001, 0.4, 1) != one && mean_of(&b, 1.001, 0.3, 2) != one);
    bench_close(&b);
}

/* ---- in training ---- */

static void train(struct tiny *t, int from, int to)
{
    for (int step = from; step < to; step++) tiny_step_of(t, step, 8);
}

#define NEAREST TEXT({"rounding": "nearest", "optim": {"module": "adamw", "lr": 1e-5, "decay": 0}})
#define STOCHASTIC TEXT({"rounding": "stochastic", "optim": {"module": "adamw", "lr": 1e-5, "decay": 0}})

/* Every weight is of bf16; steps too small for it are lost to the nearest, and by chance some are not. */
static void weights_of_a_run(void **state)
{
    static const char *const ways[] = { NEAREST, STOCHASTIC };
    (void)state;
    for (int i = 0; i < COUNT(ways); i++) {
        struct tiny t = tiny_new(NULL, ways[i], MODE_TRAIN, 2, 6);
        int64_t moved = 0, all = 0;
        tiny_start(&t, 1);
        train(&t, 0, 1);
        const char *path = "layers.1.ffn.experts.down.weight";
        int64_t n = tiny_count(&t, path);
        real *w = tiny_weight(&t, path), *before = xmalloc((size_t)n * sizeof *before);
        memcpy(before, w, (size_t)n * sizeof *w);
        train(&t, 1, 8);
        for (int64_t k = 0; k < n; k++) moved += w[k] != before[k], all++;
        for (int l = 0; l < t.leaves->n; l++) {
            const struct leaf *leaf = t.leaves->leaf[l];
            const real *value = leaf->kind == LEAF_WEIGHT ? state_data(t.state, leaf) : NULL;
            for (int64_t k = 0; value && k < shape_count(leaf->decl.shape); k++)
                if (!is_bf16((double)value[k])) fail_msg("%s: %.9g", leaf->path, (double)value[k]);
        }
        if (i == 0 ? moved > all / 4 : moved < all / 50 || moved == all)
            fail_msg("%s: %lld of %lld values moved", ways[i], (long long)moved, (long long)all);
        free(before);
        tiny_free(&t);
    }
}

/* What a checkpoint holds, weights and buffers, goes on with the same bits; another seed draws others. */
static void goes_on_with_the_same_bits(void **state)
{
    (void)state;
    struct tiny whole = tiny_new(NULL, STOCHASTIC, MODE_TRAIN, 2, 6),
                first = tiny_new(NULL, STOCHASTIC, MODE_TRAIN, 2, 6),
                second = tiny_new(NULL, STOCHASTIC, MODE_TRAIN, 2, 6);
    tiny_start(&whole, 1);
    tiny_start(&first, 1);
    tiny_start(&second, 1);
    train(&whole, 0, 6);
    train(&first, 0, 3);
    for (int i = 0; i < second.leaves->n; i++)
        if (second.leaves->leaf[i]->kind == LEAF_BUFFER)
            memset(state_data(second.state, second.leaves->leaf[i]), 0, leaf_bytes(second.leaves->leaf[i]));
    tiny_copy(&second, &first);
    train(&second, 3, 6);
    int other = 0;
    for (int i = 0; i < whole.leaves->n; i++) {
        const struct leaf *l = whole.leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) continue;
        const void *want = state_data(whole.state, l), *got = tiny_weight(&second, l->path);
        if (memcmp(want, got, leaf_bytes(l)) != 0) fail_msg("%s has other bits", l->path);
        other += strncmp(l->path, "rounding.", 9) == 0;
    }
    assert_true(other > 10);
    tiny_free(&whole);
    tiny_free(&first);
    tiny_free(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest), cmocka_unit_test(a_mean_is_kept), cmocka_unit_test(weights_of_a_run),
        cmocka_unit_test(goes_on_with_the_same_bits),
    };
    return cmocka_run_group_tests_name("rounding", tests, NULL, NULL);
}
