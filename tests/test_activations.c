/* Values and slopes of elementwise ops: distributions, scores, gated units; and what feed-forwards make of them. */
#include "op_check.h"
#include "tiny.h"

#define HERE(CASE) \
    CASE(normal, values, normal(g, real_in(g, 6))) \
    CASE(sqrt_softplus, values, sqrt_softplus(g, real_in(g, 6))) \
    CASE(leaky_relu2, values, leaky_relu2(g, real_in(g, 4), 0.5)) \
    CASE(swiglu_clamped, values, swiglu_clamped(g, real_in(g, 5), real_in(g, 5), 10, 10)) \
    CASE(swiglu_oss, values, swiglu_oss(g, real_in(g, 5), real_in(g, 5), 7, 1.702)) \
    CASE(situglu, values, situglu(g, real_in(g, 5), real_in(g, 5), 4, 25))

HERE(BENCH_BUILD)

/* Gradients are slopes: each value's is what arrives. */
static void slopes(struct bench *b)
{
    for (int64_t i = 0; i < shape_count(b->dout[0].shape); i++) tensor_set(&b->dout[0], i, 1);
    bench_forward(b);
    bench_backward(b);
}

/* ---- the normal distribution ---- */

static void test_normal(void **state)
{
    (void)state;
    OPEN(b, normal, values);
    PUT(b, 0, 0, 1, -1, 1.96, -3, 40);
    slopes(&b);
    SEE(b.out[0], 2e-7, .5, .84134475, .15865525, .97500210, .00134990, 1);
    SEE(b.din[0], 2e-7, .39894228, .24197072, .24197072, .05844094, .00443185, 0);
    bench_close(&b);
}

/* ---- scores ---- */

static void test_sqrt_softplus(void **state)
{
    (void)state;
    OPEN(b, sqrt_softplus, values);
    PUT(b, 0, 2, 1, 0, -1, -200, 10000);
    slopes(&b);
    SEE(b.out[0], 1e-6, 1.458399, 1.145976, .832555, .559698, 0, 100);
    SEE(b.din[0], 1e-6, .301974, .318968, .300281, .240256, 0, .005);
    bench_close(&b);
}

/* ---- activations ---- */

static void test_leaky_relu2(void **state)
{
    (void)state;
    OPEN(b, leaky_relu2, values);
    PUT(b, 0, 3, 0, -2, -8);
    slopes(&b);
    SEE(b.out[0], 0, 9, 0, 1, 16);
    SEE(b.din[0], 0, 6, 0, -1, -4);
    bench_close(&b);
}

#define GATES(b) PUT(b, 0, -3, 0, 2, 8, 30); PUT(b, 1, 1, -2, 9, -40, 5); slopes(&(b))

/* Where a clamp holds a value no gradient passes. */
static void test_gated_units(void **state)
{
    (void)state;
    OPEN(v4, swiglu_clamped, values);
    GATES(v4);
    SEE(v4.out[0], 2e-5, -.142278, 0, 15.854347, -79.973172, 49.99773);
    SEE(v4.din[0], 2e-5, -.088104, -1, 9.817058, -10.023466, 0);
    SEE(v4.din[1], 2e-6, -.142278, 0, 1.761594, 0, 9.999546);
    bench_close(&v4);
    OPEN(oss, swiglu_oss, values);
    GATES(oss);
    SEE(oss.out[0], 1e-5, -.036143, 0, 15.485269, -41.999719, 41.999719);
    SEE(oss.din[0], 1e-5, -.049097, -.5, 8.590523, 0, 0);
    SEE(oss.din[1], 2e-6, -.018071, 0, 0, 0, 6.999953);
    bench_close(&oss);
    OPEN(situ, situglu, values);
    GATES(situ);
    SEE(situ.out[0], 3e-5, -.120426, 0, 14.051297, -88.821594, 19.73752);
    SEE(situ.din[0], 3e-6, -.086436, -.997872, 7.653207, -1.657157, .000006);
    SEE(situ.din[1], 2e-6, -.120297, 0, 1.434098, .580254, 3.84417);
    bench_close(&situ);
}

/* ---- feed-forwards ---- */

static double normal_of(double x) { return 0.5 * erfc(-x / sqrt(2)); }
static double swiglu_of(double up, double gate) { return gate / (1 + exp(-gate)) * up; }
static double geglu_of(double up, double gate) { return gate * normal_of(gate) * up; }
static double reglu_of(double up, double gate) { return gate > 0 ? gate * up : 0; }
static double gelu_of(double up, double gate) { (void)gate; return up * normal_of(up); }
static double relu2_of(double up, double gate) { (void)gate; return up > 0 ? up * up : 0; }

static double within(double x, double limit) { return fmax(-limit, fmin(x, limit)); }
static double swiglu_clamped_of(double up, double gate) { return swiglu_of(within(up, .6), fmin(gate, .6)); }
static double swiglu_oss_of(double up, double gate)
{
    double c = fmin(gate, .6);
    return c / (1 + exp(-1.5 * c)) * (within(up, .6) + 1);
}
static double situ_of(double up, double gate) { return .6 * tanh(gate / .6) / (1 + exp(-gate)) * 2 * tanh(up / 2); }

/* sets: parameters, small enough to be felt. */
static const struct unit { const char *name; double (*value)(double up, double gate); const char *sets; } units[] = {
    { "swiglu", swiglu_of, "" }, { "geglu", geglu_of, "" }, { "reglu", reglu_of, "" }, { "gelu", gelu_of, "" },
    { "relu2", relu2_of, "" }, { "swiglu_clamped", swiglu_clamped_of, ", \"limit\": 0.6" },
    { "swiglu_oss", swiglu_oss_of, ", \"limit\": 0.6, \"alpha\": 1.5" },
    { "situ", situ_of, ", \"gate_cap\": 0.6, \"up_cap\": 2" },
};

static const struct unit *unit_named(const char *name)
{
    for (int i = 0; i < COUNT(units); i++) if (strcmp(units[i].name, name) == 0) return &units[i];
    return NULL;
}

/* A unit has weights of a gate if it says so; what is multiplied with PATH.down is its value of what PATH.up and
   PATH.gate give, where its formula stands above. */
static void check_unit(struct tiny *t, const char *path)
{
    struct pick unit = module_part(t->model.ffn.pick[0], SLOT_ACTIVATION);
    const char *name = unit.module->name;
    char up[64], gate[64], down[64];
    const struct unit *known = unit_named(name);
    snprintf(up, sizeof up, "layers.1.ffn.%sup.weight", path);
    snprintf(gate, sizeof gate, "layers.1.ffn.%sgate.weight", path);
    snprintf(down, sizeof down, "layers.1.ffn.%sdown.weight", path);
    bool gated = module_traits(unit).gated;
    if (gated != (leaves_find(t->leaves, gate) != NULL))
        fail_msg("%s is %s, %s is %s", name, gated ? "gated" : "not gated", gate, gated ? "missing" : "there");
    const struct node *hidden = tiny_user(t, down)->in[0];
    double *x = tiny_read(t, tiny_user(t, up)), *y = gated ? tiny_read(t, tiny_user(t, gate)) : NULL,
           *z = tiny_read(t, hidden), most = 0;
    for (int64_t i = 0; i < shape_count(hidden->shape); i++) {
        double want = known ? known->value(x[i], y ? y[i] : 0) : z[i];
        if (!(fabs(z[i] - want) <= 1e-5 * fmax(1, fabs(want))))
            fail_msg("%s, %s: %.8g for %.8g", name, up, z[i], want);
        most = fmax(most, fabs(want));
    }
    assert_true(most > 0.1);
    free(x);
    free(y);
    free(z);
}

static void test_feed_forwards(void **state)
{
    (void)state;
    static const char *const ffn[] = { "\"dense\"", "{\"module\": \"moe\", \"experts\": 4, \"d_ff\": 6, \"shared\": "
                                                  "\"dense\"}" };
    for (const struct module *const *m = module_all; *m; m++)
        for (int kind = 0; kind < 2 && (*m)->slot == SLOT_ACTIVATION; kind++) {
            char text[256];
            snprintf(text, sizeof text, "{\"ffn\": %s, \"ffn.activation\": {\"module\": \"%s\"%s}}", ffn[kind],
                     (*m)->name, unit_named((*m)->name) ? unit_named((*m)->name)->sets : "");
            struct tiny t = tiny_new(text, NULL, MODE_EVAL, 2, 6);
            tiny_start(&t, 1);
            tiny_forward(&t);
            check_unit(&t, kind ? "experts." : "");
            if (kind) check_unit(&t, "shared.");
            tiny_free(&t);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal), cmocka_unit_test(test_sqrt_softplus), cmocka_unit_test(test_leaky_relu2),
        cmocka_unit_test(test_gated_units), cmocka_unit_test(test_feed_forwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
