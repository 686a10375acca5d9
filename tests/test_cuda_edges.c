/* What random tensors do not hold, on the GPU as on the CPU: ties and NaN among keys, counts of nothing, norms that are
   not finite, steps that are skipped, more tensors than one launch takes; and weights that an update also rounds to
   bf16. */
#include "op_check.h"
#include "cuda_devices.h"

#include <unistd.h>

#define KEY(...) positive_in(g, __VA_ARGS__)
static int32_t two_steps(int64_t i) { (void)i; return 2; }
static int32_t codes(int64_t i) { return (int32_t)(i % MOMENT_BYTES < MOMENT_LARGEST ? 0x3e : i * 7 % 251); }
#define EDGE_CASES(CASE) \
    CASE(topk, some, topk(g, KEY(4, 5), 3)) \
    CASE(topk, all, topk(g, KEY(2, 3), 3)) \
    CASE(topk_columns, some, topk_columns(g, KEY(8, 3), 2, 2)) \
    CASE(transport, some, transport(g, KEY(5, 3), (struct transport_attr){ 1, 20, 0, 3000, 4000, 0, 1, 0 })) \
    CASE(assign, some, assign(g, KEY(6, 3), (struct assign_attr){ 1, 100, 0.02 })) \
    CASE(drop_over_capacity, some, drop_over_capacity(g, int_in(g, SHAPE(4, 2), 0, 1, 0, 1, 0, 1, 0, -1), KEY(4, 2), \
                                                      NULL, 2, 1, 2, PRIORITY_GATE)) \
    CASE(drop_over_capacity, nobody, drop_over_capacity(g, int_in(g, SHAPE(2, 2), 2, -1, 3, 70), NULL, NULL, 2, 1, 2, \
                                                        PRIORITY_TOKEN)) \
    CASE(drop_zero, some, drop_zero(g, int_in(g, SHAPE(2, 2), 3, 2, 1, 0), KEY(2, 2))) \
    CASE(gather, nobodys, gather(g, act_in(g, 3, 2), int_in(g, SHAPE(4), 4, 1, -1, -1), \
                                 int_in(g, SHAPE(3, 2), -1, 1, -1, -1, 0, -1))) \
    CASE(grouped_matmul, nobodys, grouped_matmul(g, ragged_in(g, 2, 4, 2), real_in(g, 2, 2, 2), \
                                                 int_in(g, SHAPE(3), 0, 1, 2))) \
    CASE(load, reals, load(g, positive_in(g, 3))) \
    CASE(clip_norm, clips, clip_norm(g, positive_in(g, 1), positive_in(g, 1), 2)) \
    CASE(clip_norm, never, clip_norm(g, positive_in(g, 1), NULL, 0)) \
    CASE(global_norm, two, global_norm(g, 2, (struct node *[]){ positive_in(g, 3), positive_in(g, 1, 2) })) \
    CASE(adamw, small, adamw(g, real_in(g, 11), real_in(g, 11), real_in(g, 11), positive_in(g, 11), positive_in(g, 1), \
                             positive_in(g, 1), positive_in(g, 2), NULL, NULL, \
                             (struct adamw_attr){ .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, \
                                                  .rate = 1 })) \
    CASE(muon, small, muon(g, real_in(g, 2, 3, 5), real_in(g, 2, 3, 5), real_in(g, 2, 3, 5), positive_in(g, 1), \
                           positive_in(g, 2), NULL, NULL, \
                           (struct muon_attr){ .momentum = 0.95, .decay = 0.1, .scale = 0.2, .nesterov = 1, \
                                               .steps = 5 })) \
    CASE(adamw, codes, adamw(g, real_in(g, 11), real_in(g, 11), \
                             byte_in(g, SHAPE(1, MOMENT_BYTES), codes), byte_in(g, SHAPE(1, MOMENT_BYTES), codes), \
                             positive_in(g, 1), positive_in(g, 1), positive_in(g, 2), NULL, NULL, \
                             (struct adamw_attr){ .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, \
                                                  .rate = 1 })) \
    CASE(muon, codes, muon(g, real_in(g, 2, 3, 5), real_in(g, 2, 3, 5), byte_in(g, SHAPE(2, MOMENT_BYTES), codes), \
                           positive_in(g, 1), positive_in(g, 2), NULL, NULL, \
                           (struct muon_attr){ .momentum = 0.95, .decay = 0.1, .scale = 0.2, .nesterov = 1, \
                                               .steps = 5 })) \
    CASE(dion, small, dion(g, real_in(g, 2, 3, 5), real_in(g, 2, 3, 5), real_in(g, 2, 3, 5), real_in(g, 2, 2, 5), \
                           positive_in(g, 1), positive_in(g, 2), (struct dion_attr){ 0.95, 0.1, 0.2 })) \
    CASE(soap, small, soap(g, (struct soap){ \
        real_in(g, 2, 3, 5), real_in(g, 2, 3, 5), real_in(g, 2, 3, 5), positive_in(g, 2, 3, 5), positive_in(g, 1), \
        positive_in(g, 2), real_count_in(g, SHAPE(1), two_steps), real_in(g, 2, 3, 3), real_in(g, 2, 3, 3), NULL, \
        NULL }, \
                           (struct soap_attr){ 0.9, 0.95, 0.95, 1e-8, 0.1, 1, 2 })) \
    CASE(clip_heads, small, clip_heads(g, real_in(g, 6, 5), positive_in(g, 6), positive_in(g, 2), \
                                       (struct clip_heads_attr){ 0.05, 0.5, 3 })) \
    CASE(average, small, average(g, real_in(g, 11), real_in(g, 11), positive_in(g, 2), positive_in(g, 1))) \
    CASE(bias_step, small, bias_step(g, real_in(g, 4), positive_in(g, 4), positive_in(g, 2), NULL, \
                                         (struct bias_step_attr){ 1e-3, -1, 1, BIAS_SIGN, false })) \
    CASE(update_ratio, two, update_ratio(g, 2, (struct node *[]){ positive_in(g, 3), positive_in(g, 3) }))
EDGE_CASES(BENCH_BUILD)


/* One case on both. */
struct pair { struct bench cpu, gpu; };

static void use(const struct backend *backend, void *device) { bench_on.backend = backend, bench_on.device = device; }

static struct pair pair_open(int op, struct node *(*build)(struct graph *g))
{
    struct pair p;
    struct op_case c = { op, "edge", build };
    use(&backend_cpu, host);
    bench_open(&p.cpu, &c, false, 1);
    use(cuda, gpu);
    bench_open(&p.gpu, &c, false, 1);
    return p;
}

static void same_value(double want, double got, const char *what, int tensor, int64_t i)
{
    if (want == got || (isnan(want) && isnan(got)) || fabs(want - got) <= 1e-6 * fabs(want)) return;
    fail_msg("%s %d: value %lld is %.9g, on the CPU %.9g", what, tensor, (long long)i, got, want);
}

static void close_both(struct pair *p)
{
    bench_close(&p->gpu);
    use(&backend_cpu, host);
    bench_close(&p->cpu);
}

/* Runs both backwards: the same gradients. */
static void same_gradients(struct pair *p)
{
    bench_backward(&p->cpu);
    bench_backward(&p->gpu);
    for (int k = 0; k < p->cpu.node->n_in; k++)
        for (int64_t i = 0; p->cpu.din[k].data && i < shape_count(p->cpu.din[k].shape); i++) {
            assert_true(isfinite(tensor_get(&p->cpu.din[k], i)));
            same_value(tensor_get(&p->cpu.din[k], i), tensor_get(&p->gpu.din[k], i), "gradient", k, i);
        }
    close_both(p);
}

/* Runs both; what they write and what they change in place is the same. */
static void same_on_both(struct pair *p)
{
    bench_forward(&p->cpu);
    bench_forward(&p->gpu);
    for (int k = 0; k < p->cpu.node->n_out; k++)
        for (int64_t i = 0; i < shape_count(p->cpu.out[k].shape); i++)
            same_value(tensor_get(&p->cpu.out[k], i), tensor_get(&p->gpu.out[k], i), "output", k, i);
    for (int k = 0; k < p->cpu.node->n_in; k++)
        for (int64_t i = 0; p->cpu.in[k].data && i < shape_count(p->cpu.in[k].shape); i++)
            same_value(tensor_get(&p->cpu.in[k], i), tensor_get(&p->gpu.in[k], i), "input", k, i);
    close_both(p);
}

#define BOTH(op, name) struct pair p = pair_open(OP_##op, case_##op##_##name)
#define GIVE(input, ...) (PUT(p.cpu, input, __VA_ARGS__), PUT(p.gpu, input, __VA_ARGS__))

static void test_keys(void **state)
{
    (void)state;
    {
        BOTH(topk, some);
        GIVE(0, 1, 1, 1, 1, 1, /**/ 0, -0.0, NAN, 0, -0.0, /**/ NAN, -INFINITY, NAN, 2, -1e-40, /**/ INFINITY, NAN, NAN,
             NAN, INFINITY);
        same_on_both(&p);
    }
    {
        BOTH(topk, all);
        GIVE(0, NAN, NAN, NAN, /**/ -1, NAN, -1);
        same_on_both(&p);
    }
}

static void test_assignment(void **state)
{
    (void)state;
    {
        BOTH(transport, some);
        GIVE(0, 1, 0, -INFINITY, /**/ NAN, NAN, NAN, /**/ -INFINITY, 2, 1, /**/ INFINITY, 0, 3, /**/ 1, 1, 1);
        same_on_both(&p);
    }
    {
        BOTH(assign, some);
        GIVE(0, 1, 1, NAN, /**/ NAN, NAN, NAN, /**/ INFINITY, 2, INFINITY, /**/ -INFINITY, -0.0, 0, /**/ 3, 3, 3, /**/
             3, -INFINITY, 1e30);
        same_on_both(&p);
    }
    BOTH(assign, some);
    GIVE(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    same_on_both(&p);
}

static void test_room(void **state)
{
    (void)state;
    {
        BOTH(topk_columns, some);
        GIVE(0, -INFINITY, 1, NAN, -INFINITY, 1, -INFINITY, -INFINITY, 1, -INFINITY, 5, 1, -1e30,
             -0.0, 3, 0, 0, 2, -1, 0, INFINITY, INFINITY, -1, 4, 2);
        same_on_both(&p);
    }
    {
        BOTH(drop_over_capacity, some);
        GIVE(1, 0, NAN, -0.0, -INFINITY, 0, -INFINITY, -1, 7);
        same_on_both(&p);
    }
    {
        BOTH(drop_over_capacity, nobody);
        same_on_both(&p);
    }
    BOTH(drop_zero, some);
    GIVE(1, -0.0, 1e-45, 0, NAN);
    same_on_both(&p);
}

/* Gradients of rows behind the last expert's are NaN, as nobody wrote them. */
static void test_rows_of_nobody(void **state)
{
    (void)state;
    static const double gradient[] = { 1, 2, 3, 4, NAN, NAN, NAN, NAN };
    {
        BOTH(gather, nobodys);
        put(&p.cpu.dout[0], 8, gradient), put(&p.gpu.dout[0], 8, gradient);
        same_gradients(&p);
    }
    BOTH(grouped_matmul, nobodys);
    put(&p.cpu.dout[0], 8, gradient), put(&p.gpu.dout[0], 8, gradient);
    same_gradients(&p);
}

static void test_counts_of_nothing(void **state)
{
    (void)state;
    BOTH(load, reals);
    GIVE(0, 0, 0, 0);
    same_on_both(&p);
}

static void test_norms(void **state)
{
    static const double norms[] = { 0, 1e-30, 1.9, 2, 7, 3e38, INFINITY, NAN };
    (void)state;
    for (int i = 0; i < COUNT(norms); i++) {
        {
            BOTH(clip_norm, clips);
            GIVE(0, norms[i]);
            GIVE(1, i % 2 ? 0 : 3);
            same_on_both(&p);
        }
        {
            BOTH(clip_norm, never);
            GIVE(0, norms[i]);
            same_on_both(&p);
        }
        BOTH(global_norm, two);
        GIVE(0, 1e30, norms[i], -1e30);                     /* their squares are beyond float */
        GIVE(1, 3e20, 1);
        same_on_both(&p);
    }
}

/* Gradients are NaN: what the step would change stays as it is, and nothing was changed. */
static void test_skipped_steps(void **state)
{
    (void)state;
    {
        BOTH(adamw, small);
        GIVE(1, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN);
        GIVE(6, 1, 0);
        same_on_both(&p);
    }
    {
        BOTH(muon, small);
        for (int i = 0; i < 30; i++) tensor_set(&p.cpu.in[1], i, NAN), tensor_set(&p.gpu.in[1], i, NAN);
        GIVE(4, 1, 0);
        same_on_both(&p);
    }
    {
        BOTH(adamw, codes);
        GIVE(1, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN);
        GIVE(6, 1, 0);
        same_on_both(&p);
    }
    {
        BOTH(muon, codes);
        for (int i = 0; i < 30; i++) tensor_set(&p.cpu.in[1], i, NAN), tensor_set(&p.gpu.in[1], i, NAN);
        GIVE(4, 1, 0);
        same_on_both(&p);
    }
    {
        BOTH(dion, small);
        for (int i = 0; i < 30; i++) tensor_set(&p.cpu.in[1], i, NAN), tensor_set(&p.gpu.in[1], i, NAN);
        GIVE(5, 1, 0);
        same_on_both(&p);
    }
    {
        BOTH(soap, small);
        for (int i = 0; i < 30; i++) tensor_set(&p.cpu.in[1], i, NAN), tensor_set(&p.gpu.in[1], i, NAN);
        GIVE(5, 1, 0);
        same_on_both(&p);
    }
    {
        BOTH(bias_step, small);
        GIVE(2, 1, 0);
        same_on_both(&p);
    }
    {
        BOTH(clip_heads, small);
        GIVE(2, 1, 0);
        same_on_both(&p);
    }
    {
        BOTH(average, small);
        GIVE(1, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN);
        GIVE(2, 1, 0);
        same_on_both(&p);
    }
    BOTH(update_ratio, two);
    GIVE(0, 0, 0, 0);
    GIVE(1, 0, 0, 0);
    same_on_both(&p);
}

/* An expert at the mean stays where it is. */
static void test_balanced(void **state)
{
    (void)state;
    BOTH(bias_step, small);
    GIVE(1, 5, 7, 6, 6);
    same_on_both(&p);
}

/* An op on n tensors of `width` values, of which the first is i + 1 in tensor i and the others are 1: its results. */
struct results { float first, second; };

static struct results of_many(int op, int n, int64_t width)
{
    struct results result;
    struct tensor *in = xcalloc((size_t)n, sizeof *in),
                  out[] = { { cuda->alloc(gpu, sizeof result), SHAPE(1), FORMAT_REAL, NULL },
                            { NULL, SHAPE(1), FORMAT_REAL, NULL } };
    float *value = xcalloc((size_t)width, sizeof *value);
    out[1].data = (float *)out[0].data + 1;
    for (int i = 0; i < n; i++) {
        in[i] = (struct tensor){ cuda->alloc(gpu, (size_t)width * sizeof *value), SHAPE(width), FORMAT_REAL, NULL };
        for (int64_t k = 0; k < width; k++) value[k] = k == 0 ? (float)i + 1 : 1;
        cuda->put(gpu, in[i].data, value, (size_t)width * sizeof *value);
    }
    struct args a = { .n_in = n, .in = in, .out = out, .device = gpu };
    size_t scratch = cuda->scratch(op, &a);
    a.scratch = cuda->alloc(gpu, scratch);
    cuda->kernels(op)->forward(&a);
    cuda->get(gpu, &result, out[0].data, sizeof result);
    for (int i = 0; i < n; i++) cuda->release(gpu, in[i].data, (size_t)width * sizeof *value);
    cuda->release(gpu, out[0].data, sizeof result);
    cuda->release(gpu, a.scratch, scratch);
    free(value);
    free(in);
    return result;
}

static void test_many_tensors(void **state)
{
    static const struct { int n; int64_t width; } norms[] = { { 31, 1 }, { 32, 3 }, { 33, 3 }, { 70, 1 },
                                                              { 2, 131071 } };
    (void)state;
    for (int i = 0; i < COUNT(norms); i++) {
        double n = norms[i].n, squares = n * (n + 1) * (2 * n + 1) / 6 + n * (double)(norms[i].width - 1);
        same_value(sqrt(squares), (double)of_many(OP_global_norm, norms[i].n, norms[i].width).first, "norm of",
                   norms[i].n, 0);
    }
    for (int n = 1; n <= 300; n += 127) {
        struct results of = of_many(OP_update_ratio, n, 3);
        same_value(sqrt((n + 1) / 2.), (double)of.first, "ratio of", n, 0);
        same_value(1 / sqrt((n + 1) / 2.), (double)of.second, "cosine of", n, 0);
    }
}

/* The weight's bf16 form after an update is what packing gives. */
static void packs(int op, struct node *(*build)(struct graph *g))
{
    struct pair p = pair_open(op, build);
    struct bench *b = &p.gpu;
    struct tensor memory[BENCH_TENSORS];
    struct args a = bench_args(b);
    int64_t n = shape_count(b->in[0].shape);
    uint16_t *left = xcalloc((size_t)n, sizeof *left), *right = xcalloc((size_t)n, sizeof *right);
    size_t scratch = cuda->scratch(op, &a), bytes = cuda->packed_bytes(b->in[0].shape, FORMAT_BF16);
    memcpy(memory, b->tensor, sizeof memory);
    bench_lend(b, memory);
    a.scratch = cuda->alloc(gpu, scratch);
    b->in[0].packed = cuda->alloc(gpu, bytes);
    b->kernels->forward(&a);
    cuda->get(gpu, left, b->in[0].packed, bytes);
    cuda->pack(gpu, &b->in[0]);
    cuda->get(gpu, right, b->in[0].packed, bytes);
    assert_memory_equal(left, right, bytes);
    assert_true(left[0] != 0);
    cuda->release(gpu, b->in[0].packed, bytes);
    cuda->release(gpu, a.scratch, scratch);
    b->in[0].packed = NULL;
    bench_return(b, memory);
    bench_close(b);
    use(&backend_cpu, host);
    bench_close(&p.cpu);
    free(left);
    free(right);
}

static void test_packing(void **state)
{
    (void)state;
    packs(OP_adamw, case_adamw_small);
    packs(OP_muon, case_muon_small);
    packs(OP_adamw, case_adamw_codes);
    packs(OP_dion, case_dion_small);
    packs(OP_soap, case_soap_small);
    packs(OP_clip_heads, case_clip_heads_small);
}

/* ---- what ends the process: numbers that no kernel can compute with, as on the CPU, and memory that is not to be had
   ---- */

#define FAULTS_OF(CASE) \
    CASE(embed, beyond, embed(g, real_in(g, 3, 8), int_in(g, SHAPE(1, 4), 0, 3, 1, 2))) \
    CASE(embed, negative, embed(g, real_in(g, 3, 8), int_in(g, SHAPE(1, 4), 0, -7, 1, 2))) \
    CASE(cross_entropy, beyond, cross_entropy(g, act_in(g, 2, 8), real_in(g, 5, 8), int_in(g, SHAPE(1, 2), 4, 5), 0)) \
    CASE(ngram, beyond, ngram(g, int_in(g, SHAPE(1, 4), 1, 2, 3, 1), int_in(g, SHAPE(1, 2), 0, 0), \
                              int_in(g, SHAPE(1), 3), GRAM(2, 5, 11, HASH_MOD))) \
    CASE(cache, beyond, cache(g, real_in(g, 1, 4, 8), real_in(g, 2, 8), int_in(g, SHAPE(1, 2), 0, 0), \
                              int_in(g, SHAPE(1), 3))) \
    CASE(dispatch, negative, dispatch(g, int_in(g, SHAPE(3, 2), 0, 1, 2, -2, 1, 0), 4, 0)) \
    CASE(dispatch, too_few_rows, dispatch(g, int_in(g, SHAPE(3, 2), 0, 1, 2, 4, 1, 0), 4, 4)) \
    CASE(threshold, beyond, threshold(g, real_in(g, 2, 4), int_in(g, SHAPE(2, 2), 0, 1, 4, 2))) \
    CASE(threshold, negative, threshold(g, real_in(g, 2, 4), int_in(g, SHAPE(2, 2), 0, 1, 2, -1)))
FAULTS_OF(BENCH_BUILD)

static const struct op_case faults[] = { FAULTS_OF(BENCH_CASE) };

/* What this process says when it is run with a fault's number, and how it ends. */
static void test_faults(void **state)
{
    static const struct { const char *words, *end; } expected[COUNT(faults) + 1] = {
        { "embed: id 3, the table has 3 rows", "code 134" }, { "embed: id -7, the table has 3 rows", "code 134" },
        { "target 5, the vocabulary has 5", "code 134" },
        { "position 4 of 4", "code 134" }, { "position 3 of 3", "code 134" },
        { "dispatch: expert -2 of 4", "code 134" },
        { "dispatch: 5 pairs, there is room for 4 rows", "code 134" },
        { "threshold: expert 4 of 4", "code 134" }, { "threshold: expert -1 of 4", "code 134" },
        { "16777216.0 MiB of the GPU's memory were wanted", "code 7" } };
    char self[1024] = "", command[1200], said[1024];
    (void)state;
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    for (int i = 0; i < COUNT(expected); i++) {
        snprintf(command, sizeof command, "ulimit -c 0; '%s' fault %d 2>&1; echo code $?", self, i);
        FILE *from = popen(command, "r");
        said[fread(said, 1, sizeof said - 1, from)] = 0;
        pclose(from);
        if (!strstr(said, expected[i].words) || !strstr(said, expected[i].end))
            fail_msg("where '%s' was expected: %s", expected[i].words, said);
    }
}

static int meet_fault(int number)
{
    struct bench b;
    open_devices(NULL);
    use(cuda, gpu);
    if (number == COUNT(faults)) cuda->alloc(gpu, (size_t)1 << 44);
    bench_open(&b, &faults[number], false, 1);
    bench_forward(&b);
    if (b.kernels->backward) bench_backward(&b);
    return 0;
}

int main(int n, char **word)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys), cmocka_unit_test(test_assignment), cmocka_unit_test(test_room),
        cmocka_unit_test(test_rows_of_nobody), cmocka_unit_test(test_counts_of_nothing),
        cmocka_unit_test(test_norms), cmocka_unit_test(test_skipped_steps), cmocka_unit_test(test_balanced),
        cmocka_unit_test(test_many_tensors), cmocka_unit_test(test_packing), cmocka_unit_test(test_faults),
    };
    if (n == 3 && strcmp(word[1], "fault") == 0) return meet_fault(atoi(word[2]));
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
