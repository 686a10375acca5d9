/* FP8 and values of bf16 on the GPU: quantised operands, largest sizes and rounded weights have the bits of the CPU. */
#include "op_cases.h"
#include "cuda_devices.h"

static const struct op_case cases[] = { CASES(BENCH_CASE) LARGE_CASES(BENCH_CASE) };

enum { X, W, OFFSETS };

static void open_both(const struct op_case *c, bool bf16, struct bench *on_cpu, struct bench *on_gpu)
{
    bench_on.backend = &backend_cpu, bench_on.device = host;
    bench_open(on_cpu, c, bf16, 1);
    bench_on.backend = cuda, bench_on.device = gpu;
    bench_open(on_gpu, c, bf16, 1);
}

static void close_both(struct bench *on_cpu, struct bench *on_gpu)
{
    bench_close(on_gpu);
    bench_on.backend = &backend_cpu, bench_on.device = host;
    bench_close(on_cpu);
}

/* Rows of no expert are not written. */
static void same_operand(const struct bench *a, const struct bench *b, const char *name, int k, const char *when)
{
    int64_t rows = shape_count(a->work[k].shape) / shape_last(a->work[k].shape);
    if (k != W && a->in[OFFSETS].data) rows = ints(&a->in[OFFSETS])[a->in[OFFSETS].shape.dim[0] - 1];
    size_t bytes = (size_t)(rows * shape_last(a->work[k].shape)) * element_bytes(a->work[k].format);
    if (memcmp(a->work[k].data, b->work[k].data, bytes) != 0) fail_msg("%s: operand %d %s", name, k, when);
}

static void one_backward(struct bench *b, int without)
{
    struct tensor kept = b->din[without];
    b->din[without].data = NULL;
    bench_backward(b);
    b->din[without] = kept;
}

static void check_product(const struct op_case *c, bool bf16)
{
    struct bench on_cpu, on_gpu, *both[] = { &on_cpu, &on_gpu };
    open_both(c, bf16, &on_cpu, &on_gpu);
    for (int i = 0; i < 2; i++) bench_forward(both[i]);
    for (int k = X; k <= W; k++) same_operand(&on_cpu, &on_gpu, c->name, k, "forward");
    if (on_cpu.out[1].data) same(&on_cpu.out[1], &on_gpu.out[1]);
    for (int i = 0; i < 2; i++) one_backward(both[i], W);
    for (int k = W; k <= 2; k++) same_operand(&on_cpu, &on_gpu, c->name, k, "for dx");
    for (int i = 0; i < 2; i++) one_backward(both[i], X);
    for (int k = X; k <= 2; k += 2) same_operand(&on_cpu, &on_gpu, c->name, k, "for dw");
    close_both(&on_cpu, &on_gpu);
}

static void operands(void **state)
{
    int tried = 0;
    (void)state;
    for (int i = 0; i < COUNT(cases); i++)
        for (int bf16 = 0; bf16 < 2; bf16++)
            if (cases[i].op == OP_fp8_matmul) check_product(&cases[i], bf16), tried++;
    assert_true(tried >= 24);
}

static void largest_sizes(void **state)
{
    int tried = 0;
    (void)state;
    for (int i = 0; i < COUNT(cases); i++) {
        struct bench on_cpu, on_gpu, *both[] = { &on_cpu, &on_gpu };
        if (cases[i].op != OP_gradient_amax) continue;
        open_both(&cases[i], true, &on_cpu, &on_gpu);
        for (int k = 0; k < 2; k++) bench_forward(both[k]), bench_backward(both[k]);
        same(&on_cpu.out[1], &on_gpu.out[1]);
        same(&on_cpu.din[0], &on_gpu.din[0]);
        close_both(&on_cpu, &on_gpu);
        tried++;
    }
    assert_true(tried >= 3);
}

static void rounded_weights(void **state)
{
    int tried = 0;
    (void)state;
    for (int i = 0; i < COUNT(cases); i++) {
        struct bench on_cpu, on_gpu;
        if (cases[i].op != OP_round_weight) continue;
        open_both(&cases[i], false, &on_cpu, &on_gpu);
        bench_forward(&on_cpu);
        bench_forward(&on_gpu);
        same(&on_cpu.in[0], &on_gpu.in[0]);
        close_both(&on_cpu, &on_gpu);
        tried++;
    }
    assert_true(tried >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(operands), cmocka_unit_test(largest_sizes),
                                        cmocka_unit_test(rounded_weights) };
    return cmocka_run_group_tests_name("cuda_fp8", tests, open_devices, close_devices);
}
