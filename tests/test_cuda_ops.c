/* Every op on the GPU against the CPU, from equal tensors: outputs, inputs that are changed in place, gradients; in
   float and bf16.

       test_cuda_ops               all cases of op_cases.h
       test_cuda_ops rope topk     those of these ops, each named before it runs
       test_cuda_ops sample        every third, with SLUICE_FULL all
       test_cuda_ops waves ...     instead of them those of op_cases_waves.h, forward and backward once
       test_cuda_ops ranks ...     instead of them, launched by mpirun, those of op_cases_ranks.h, to equal bits

   Integers must be equal. Floats may differ as tolerance() says. The last line is a digest of all bits that the GPU
   gave, which is the same for every order in which it may run its threads. */
#include "graph/signature.h"
#include "op_cases.h"
#include "cuda_devices.h"
#include <float.h>

static const struct op_case cases[] = { CASES(BENCH_CASE) LARGE_CASES(BENCH_CASE){ 0 } },
                            cases_of_waves[] = { WAVE_CASES(BENCH_CASE){ 0 } },
                            cases_of_ranks[] = { RANK_CASES(BENCH_CASE){ 0 } };

static struct hash digest;
static int differing;
static bool waves, ranks;
static int every = 1;

/* One case on both. */
struct pair { const struct op_case *is; const char *mode; struct bench cpu, gpu; };

static double largest(const struct tensor *t, int64_t from, int64_t to)
{
    double most = 0;
    for (int64_t i = from; i < to; i++) if (isfinite(tensor_get(t, i))) most = fmax(most, fabs(tensor_get(t, i)));
    return most;
}

/* By how much values of a row may differ. Everything computes in float, and differs by the order of its sums, relative
   to the largest value of the row; but what is stored as bf16 is rounded once more, and products in bf16 round what
   they multiply, as probabilities and gradients of scores. Products add up values as large as the largest of the
   tensor. A row far below the others of its tensor, or below 1, the size of the inputs, is what is left of larger
   values. Where products cancel, as all scores' gradients do for tokens that see one key, roundings are left: of an
   exponential, a logarithm and a quotient, each off by 2 units, of terms of 1 to 3. */
static double tolerance(const struct pair *p, const struct tensor *t, double all, double row)
{
    bool product = op_all[p->is->op]->cost != NULL;
    if (ranks) return 0;
    double share = t->format == FORMAT_BF16 || (p->cpu.bf16 && product) ? 1.0 / 128 : 1e-5;
    return share * ((product ? all : row + all / 100) + 0.01) + (product ? 16 * FLT_EPSILON : 0);
}

static const char *coordinates(struct shape s, int64_t i, char text[64])
{
    struct shape at = s;
    for (int d = s.rank - 1; d >= 0; i /= s.dim[d--]) at.dim[d] = i % s.dim[d];
    return shape_text(at, text);
}

/* Says where two tensors differ first. */
static void compare(const struct pair *p, const char *run, const char *what, int number, const struct tensor *want,
                    const struct tensor *got)
{
    char at[64];
    if (!want->data) return;
    digest = hash_more(digest, got->data, tensor_bytes(got));
    int64_t count = shape_count(want->shape), width = shape_last(want->shape);
    double all = largest(want, 0, count), bound = 0;
    for (int64_t i = 0; i < count; i++) {
        double x = tensor_get(want, i), y = tensor_get(got, i);
        if (i % width == 0 && bench_floats(want)) bound = tolerance(p, want, all, largest(want, i, i + width));
        if (x == y || fabs(x - y) <= bound || (isnan(x) && isnan(y))) continue;
        print_error("%s, %s, %s: %s %d at %s is %.9g, on the CPU %.9g; %.2g apart, %.2g may be\n",
                    p->is->name, p->mode, run, what, number, coordinates(want->shape, i, at), y, x, fabs(x - y), bound);
        differing++;
        return;
    }
}

static void compare_values(const struct pair *p, const char *run)
{
    for (int i = 0; i < p->cpu.node->n_out; i++) compare(p, run, "output", i, &p->cpu.out[i], &p->gpu.out[i]);
    for (int i = 0; i < p->cpu.node->n_in; i++) compare(p, run, "input", i, &p->cpu.in[i], &p->gpu.in[i]);
}

static void compare_gradients(const struct pair *p, const char *run)
{
    for (int i = 0; i < p->cpu.node->n_in; i++) compare(p, run, "gradient", i, &p->cpu.din[i], &p->gpu.din[i]);
}

/* Inputs in `adding` have a gradient to add to, the others NaN that is not read; those in `absent` are not wanted. */
static void run_backward(struct bench *b, void (*run)(struct bench *), unsigned adding, unsigned absent)
{
    struct tensor kept[BENCH_INS];
    memcpy(kept, b->din, sizeof kept);
    for (int i = 0; i < b->node->n_in; i++) {
        if (!b->din[i].data) continue;
        b->beta[i] = adding >> i & 1;
        if (b->beta[i] == 0) tensor_spoil(&b->din[i]);
        else tensor_normal(&b->din[i], 200 + i);
        if (absent >> i & 1) b->din[i].data = NULL;
    }
    run(b);
    memcpy(b->din, kept, sizeof kept);
}

static void check_backward(struct pair *p, const char *run, unsigned adding, unsigned absent)
{
    run_backward(&p->cpu, bench_backward, adding, absent);
    run_backward(&p->gpu, bench_backward, adding, absent);
    compare_gradients(p, run);
}

/* A pipeline may have the gradient of a product's weight by itself, and the others without it: with the bits of all
   together. */
static void check_halves(struct pair *p, int weight)
{
    struct bench *b = &p->gpu;
    struct tensor whole[BENCH_INS];
    unsigned only = 1u << weight;
    run_backward(b, bench_backward, only, 0);
    for (int i = 0; i < b->node->n_in; i++) {
        whole[i] = b->din[i];
        size_t bytes = whole[i].data ? tensor_bytes(&whole[i]) : 0;
        if (bytes) whole[i].data = memcpy(xmalloc(bytes), b->din[i].data, bytes);
    }
    for (int half = 0; half < 2; half++) {
        unsigned absent = half ? ~only : only;
        run_backward(b, bench_backward, only, absent);
        for (int i = 0; i < b->node->n_in; i++) {
            if (!whole[i].data || absent >> i & 1) continue;
            if (memcmp(whole[i].data, b->din[i].data, tensor_bytes(&whole[i])) == 0) continue;
            print_error("%s, %s: gradient %d has other bits %s\n", p->is->name, p->mode, i,
                        half ? "by itself" : "without that of a weight");
            differing++;
        }
    }
    for (int i = 0; i < b->node->n_in; i++) free(whole[i].data);
}

static void check_gradients(struct pair *p)
{
    const struct node *n = p->cpu.node;
    int sending = 0, taking = 0;
    for (int k = 0; k < n->n_out; k++) sending += p->cpu.dout[k].data != NULL;
    for (int i = 0; i < n->n_in; i++) taking += p->cpu.din[i].data != NULL;
    check_backward(p, "backward", 0, 0);
    if (waves) return;
    check_backward(p, "backward that adds", ~0u, 0);
    for (int i = 0; taking > 1 && i < n->n_in; i++)
        if (p->gpu.din[i].data && op_all[p->is->op]->factors >> i & 1) check_halves(p, i);
    for (int i = 0; taking > 1 && i < n->n_in; i++) {
        if (!p->cpu.din[i].data) continue;
        check_backward(p, "backward that adds to one", 1u << i, 0);
        check_backward(p, "backward without one", 0, 1u << i);
    }
    for (int k = 0; sending > 1 && k < n->n_out; k++) {
        struct tensor on_cpu = p->cpu.dout[k], on_gpu = p->gpu.dout[k];
        p->cpu.dout[k].data = p->gpu.dout[k].data = NULL;
        if (on_cpu.data) check_backward(p, "backward of one output less", 0, 0);
        p->cpu.dout[k] = on_cpu;
        p->gpu.dout[k] = on_gpu;
    }
}

static void check_joint(struct pair *p, const char *run, unsigned adding)
{
    run_backward(&p->cpu, bench_joint, adding, 0);
    run_backward(&p->gpu, bench_joint, adding, 0);
    compare_values(p, run);
    compare_gradients(p, run);
}

static void check(const struct op_case *c, const char *mode, bool bf16, bool packs)
{
    struct pair p = { .is = c, .mode = mode };
    bench_on.backend = &backend_cpu, bench_on.device = host;
    bench_open(&p.cpu, c, bf16, 1);
    bench_on.backend = cuda, bench_on.device = gpu;
    bench_open(&p.gpu, c, bf16, 1);
    p.gpu.packs = packs;
    bench_forward(&p.cpu);
    bench_forward(&p.gpu);
    compare_values(&p, "forward");
    if (op_all[c->op]->gradient) check_gradients(&p);
    assert_true(op_all[c->op]->joins == (p.gpu.kernels->joint != NULL));
    if (op_all[c->op]->joins) check_joint(&p, "joint", 0);
    if (op_all[c->op]->joins && !waves) check_joint(&p, "joint that adds", ~0u);
    bench_close(&p.gpu);
    bench_on.backend = &backend_cpu, bench_on.device = host;
    bench_close(&p.cpu);
}

static void test_parity(void **state)
{
    (void)state;
    char text[33];
    int tried = 0, seen = 0;
    for (const struct op_case *c = ranks ? cases_of_ranks : waves ? cases_of_waves : cases; c->name; c++) {
        if (seen++ % every != 0 || !bench_is_asked(c)) continue;
        check(c, "float", false, false);
        check(c, "bf16", true, false);
        if (op_all[c->op]->packs) check(c, "bf16 packed", true, true);
        tried++;
    }
    hash_print(digest, text);
    print_message("%d cases, bits %s\n", tried, text);
    assert_true(tried > 0);
    assert_int_equal(differing, 0);
}

/* Of 4, two grids of two. */
static int join_ranks(void)
{
    struct err e;
    if (comm_join(&e)) return fprintf(stderr, "%s\n", e.text), -1;
    int all = comm_here()->ranks, dp = all == 4 ? 2 : 1;
    comm_divide(&(struct mesh){ .size = { [AXIS_EP] = all / dp, [AXIS_DP] = dp } });
    return 0;
}

int main(int n, char **name)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_parity) };
    bool sample = n > 1 && strcmp(name[1], "sample") == 0;
    waves = n > 1 && strcmp(name[1], "waves") == 0;
    ranks = n > 1 && strcmp(name[1], "ranks") == 0;
    if (sample && !getenv("SLUICE_FULL")) every = 3;
    bench_words = name + (n > 0) + (waves || sample || ranks);
    if (ranks && join_ranks()) return 7;
    int failed = cmocka_run_group_tests(tests, open_devices, close_devices);
    comm_leave();
    return failed;
}
