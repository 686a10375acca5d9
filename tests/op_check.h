/* A bench for one use of an op, below the plan: tensors come from what the node declares, kernels from the
   backend's table. Every check runs over one list of cases, so an op is tested by one line:

       CASE(op, name, expression)          in tests/op_cases_<family>.h, e.g.
       CASE(rope, last, rope(g, act_in(g, 6, 2, 8), int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 1, 1), NULL, ROPE(4, LAST, 100)))

   The expression gives the node; all its inputs must be made here:
       act_in(g, 3, 7)  real_in(g, 3, 7)        N(0,1), of dtype ACT or REAL
       positive_in(g, 3, 7)                     REAL, uniform in (0.1, 1.1)
       ragged_in(g, 2, 3, 7)                    N(0,1) in the first 2 rows, NaN behind, as memory that nobody wrote; ACT
       int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 1, 1) these integers
       count_in(g, SHAPE(2, 3), value)          value(i), for larger tensors; real_count_in, byte_in: of dtype REAL, U8
       act_of(g, number, 3, 7)  real_of(...)    number(i), a double, rounded to bf16

   CASES holds tiny tensors: grad_ops.c nudges every value of every input. LARGE_CASES holds tensors of several
   blocks: test_ops.c runs both lists with 1 and 2 threads, and in bf16 against float. An op with a gradient
   and no case fails grad_ops.c; an op without a case fails test_ops.c. Nothing else to register.

   A bench is strict as a plan is free: outputs, saves and scratch hold NaN before a kernel runs, scratch
   again before backward, which finds NaN in all inputs and outputs that the op does not say it reads.

   Tensors of a bench lie in memory of the host. A backend with a memory of its own gets copies of them for each
   call. Where there are several ranks each has other values. */
#ifndef SLUICE_OP_CHECK_H
#define SLUICE_OP_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>
#include "backend/backend.h"
#include "base/nf4.h"
#include "graph/ops.h"

enum { BENCH_INS = 16, BENCH_INTS = 64 };

enum content { FILL_NORMAL, FILL_RAGGED, FILL_POSITIVE, FILL_INTS, FILL_COUNT, FILL_NUMBER };
static struct rule {
    enum content content;
    int32_t ints[BENCH_INTS];
    int32_t (*value)(int64_t i);
    double (*number)(int64_t i);
    char name[8];
} bench_rule[BENCH_INS];
static int bench_rules;

static inline struct node *bench_in(struct graph *g, enum dtype dtype, struct shape shape, enum content content)
{
    assert_true(bench_rules < BENCH_INS);
    struct rule *r = &bench_rule[bench_rules];
    r->content = content;
    snprintf(r->name, sizeof r->name, "%d", bench_rules++);
    return graph_input(g, r->name, dtype, shape);
}

static inline struct node *bench_ints(struct graph *g, struct shape shape, int n, const int *value)
{
    assert_int_equal(n, shape_count(shape));
    assert_true(n <= BENCH_INTS);
    struct node *node = bench_in(g, DTYPE_I32, shape, FILL_INTS);
    for (int i = 0; i < n; i++) bench_rule[bench_rules - 1].ints[i] = value[i];
    return node;
}

static inline struct node *bench_count(struct graph *g, enum dtype dtype, struct shape shape,
                                       int32_t (*value)(int64_t i))
{
    struct node *node = bench_in(g, dtype, shape, FILL_COUNT);
    bench_rule[bench_rules - 1].value = value;
    return node;
}

static inline struct node *bench_ragged(struct graph *g, int rows, struct shape shape)
{
    struct node *node = bench_in(g, DTYPE_ACT, shape, FILL_RAGGED);
    bench_rule[bench_rules - 1].ints[0] = rows;
    return node;
}

static inline struct node *bench_number(struct graph *g, enum dtype dtype, struct shape shape,
                                        double (*number)(int64_t i))
{
    struct node *node = bench_in(g, dtype, shape, FILL_NUMBER);
    bench_rule[bench_rules - 1].number = number;
    return node;
}

#define act_of(g, number, ...) bench_number(g, DTYPE_ACT, SHAPE(__VA_ARGS__), number)
#define real_of(g, number, ...) bench_number(g, DTYPE_REAL, SHAPE(__VA_ARGS__), number)
#define act_in(g, ...) bench_in(g, DTYPE_ACT, SHAPE(__VA_ARGS__), FILL_NORMAL)
#define real_in(g, ...) bench_in(g, DTYPE_REAL, SHAPE(__VA_ARGS__), FILL_NORMAL)
#define ragged_in(g, rows, ...) bench_ragged(g, rows, SHAPE(__VA_ARGS__))
/* Rotary positions, of halves where nothing is said; and with frequencies divided. */
#define ROPE(width, where, base, ...) STRETCHED(width, where, base, 1, 0, 0, 1, ##__VA_ARGS__)
#define STRETCHED(width_, where_, base_, factor_, low_, high_, amplitude_, ...) (struct rope_attr){ \
    .width = width_, .where = ROPE_##where_, .base = base_, .factor = factor_, .low = low_, .high = high_, \
    .amplitude = amplitude_, ##__VA_ARGS__ }
#define positive_in(g, ...) bench_in(g, DTYPE_REAL, SHAPE(__VA_ARGS__), FILL_POSITIVE)
#define count_in(g, shape, value) bench_count(g, DTYPE_I32, shape, value)
#define byte_in(g, shape, value) bench_count(g, DTYPE_U8, shape, value)
#define real_count_in(g, shape, value) bench_count(g, DTYPE_REAL, shape, value)
#define int_in(g, shape, ...) bench_ints(g, shape, COUNT(((int[]){ __VA_ARGS__ })), (int[]){ __VA_ARGS__ })

#define GRAM(order_, vocab_, rows_, hash_, ...) (struct ngram_attr){ \
    .order = order_, .vocab = vocab_, .rows = rows_, .hash = hash_, ##__VA_ARGS__ }
/* Attention with what is named: ATTEND(QKV(6, 4, 2, 8), .start = .., .scale = 1): 6 tokens, 4 query and 2 key heads,
   8 wide; SPREAD: the entropy of the same. */
#define SPREAD(...) attention_entropy(g, (struct attention){ __VA_ARGS__ })
#define ATTEND(...) attention(g, (struct attention){ __VA_ARGS__ })
#define QKV(tokens, heads, groups, width) \
    .q = act_in(g, tokens, heads, width), .k = act_in(g, tokens, groups, width), .v = act_in(g, tokens, groups, width)

struct op_case { int op; const char *name; struct node *(*build)(struct graph *g); };

/* Ops that a test is asked for by its words (test_ops rope topk), ended by NULL; none: all. Each of their cases is
   named before it runs. */
static char **bench_words = (char *[]){ NULL };
static inline bool bench_is_asked(const struct op_case *c)
{
    size_t length = strcspn(c->name, " ");
    for (char **w = bench_words; *w; w++) {
        if (strlen(*w) != length || strncmp(*w, c->name, length) != 0) continue;
        print_message("%s\n", c->name);
        return true;
    }
    return !*bench_words;
}

/* Where benches that are opened run. device NULL: each opens one of its own. */
static struct { const struct backend *backend; void *device; } bench_on = { &backend_cpu, NULL };

enum { BENCH_TENSORS = 2 * BENCH_INS + 2 * NODE_OUTS + NODE_SAVES + NODE_WORKS };
struct bench {
    struct leaves *leaves; struct graph *graph; const struct node *node; const struct kernels *kernels;
    /* packs: weights are packed for calls */
    const struct backend *backend; void *device; bool bf16, packs; struct step step;
    union {
        struct {
            struct tensor in[BENCH_INS], din[BENCH_INS], out[NODE_OUTS], dout[NODE_OUTS], save[NODE_SAVES],
                work[NODE_WORKS];
        };
        struct tensor tensor[BENCH_TENSORS];
    };
    real beta[BENCH_INS];
};

static inline size_t tensor_bytes(const struct tensor *t)
{
    return (size_t)shape_count(t->shape) * element_bytes(t->format);
}

static inline double tensor_get(const struct tensor *t, int64_t i)
{
    real one;
    if (t->format == FORMAT_I32) return ints(t)[i];
    if (t->format == FORMAT_U8) return ((const uint8_t *)t->data)[i];
    return *row_read(t, i, 1, &one);
}

static inline void tensor_set(const struct tensor *t, int64_t i, double value)
{
    real one = (real)value;
    if (t->format == FORMAT_I32) ints(t)[i] = (int32_t)value;
    else if (t->format == FORMAT_U8) ((uint8_t *)t->data)[i] = (uint8_t)value;
    else if (t->format == FORMAT_REAL) reals(t)[i] = one;
    else row_narrow(t, i, 1, &one);
}

/* All bits set: a NaN in every float format, -1 as an integer. */
static inline void tensor_spoil(const struct tensor *t) { if (t->data) memset(t->data, 0xff, tensor_bytes(t)); }

static inline struct tensor tensor_new(const struct bench *b, struct shape shape, enum dtype dtype)
{
    static const enum format format[] = { FORMAT_REAL, FORMAT_REAL, FORMAT_I32, FORMAT_U8 };
    struct tensor t = { .shape = shape, .format = dtype == DTYPE_ACT && b->bf16 ? FORMAT_BF16 : format[dtype] };
    assert_int_equal(posix_memalign(&t.data, 64, tensor_bytes(&t)), 0);
    tensor_spoil(&t);
    return t;
}

/* Values depend on the rank, the stream and the place alone, and are those of bf16: both formats start equal. */
static inline void tensor_normal(const struct tensor *t, int stream)
{
    enum { PIECE = 1024 };
    float normal[PIECE];
    real row[PIECE];
    uint16_t narrow[PIECE];
    struct tensor half = { .data = narrow, .shape = SHAPE(PIECE), .format = FORMAT_BF16 };
    for (int64_t at = 0, all = shape_count(t->shape); at < all; at += PIECE) {
        int64_t n = all - at < PIECE ? all - at : PIECE;
        key_normals((struct key){ 7, PURPOSE_TEST, (uint64_t)stream, (uint64_t)comm_here()->rank }, (uint64_t)at, n, 0,
                    normal);
        for (int64_t i = 0; i < n; i++) row[i] = normal[i];
        row_narrow(&half, 0, n, row);
        real *to = row_write(t, at, n, row);
        row_widen(&half, 0, n, to);
        row_done(t, at, n, to);
    }
}

static inline double as_bf16(double x)
{
    uint16_t narrow;
    struct tensor one = { .data = &narrow, .shape = SHAPE(1), .format = FORMAT_BF16 };
    tensor_set(&one, 0, x);
    return tensor_get(&one, 0);
}

static inline void bench_fill(struct bench *b, int input)
{
    const struct tensor *t = &b->in[input];
    const struct rule *r = &bench_rule[atoi(b->node->in[input]->leaf->path)];
    if (r->content == FILL_NORMAL || r->content == FILL_RAGGED) {
        tensor_normal(t, input);
        int64_t from = r->content == FILL_RAGGED ? r->ints[0] * shape_last(t->shape) : shape_count(t->shape);
        for (int64_t i = from; i < shape_count(t->shape); i++) tensor_set(t, i, NAN);
    } else if (r->content == FILL_NUMBER)
        for (int64_t i = 0; i < shape_count(t->shape); i++) tensor_set(t, i, as_bf16(r->number(i)));
    else for (int64_t i = 0; i < shape_count(t->shape); i++)
        tensor_set(t, i, r->content == FILL_INTS ? r->ints[i] : r->content == FILL_COUNT ? r->value(i) :
                         0.1 + key_uniform((struct key){ 7, PURPOSE_TEST, (uint64_t)input, 0 }, (uint64_t)i));
}

static inline bool bench_floats(const struct tensor *t) { return t->format == FORMAT_REAL || t->format == FORMAT_BF16; }
static inline bool bench_takes_gradient(const struct bench *b, int input)
{
    return b->node->op->gradient && bench_floats(&b->in[input]) && !(b->node->op->no_grad >> input & 1);
}
static inline bool bench_sends_gradient(const struct bench *b, int output)
{
    return b->node->op->gradient && bench_floats(&b->out[output]) && !(b->node->op->no_grad_out >> output & 1);
}

static inline void bench_open(struct bench *b, const struct op_case *c, bool bf16, int threads)
{
    *b = (struct bench){ .leaves = leaves_new(), .bf16 = bf16, .backend = bench_on.backend, .device = bench_on.device,
                         .step = { 1, 0, 1 } };
    if (!b->device) b->device = b->backend->open(threads);
    b->leaves->here = comm_here()->place;
    b->graph = graph_new(b->leaves);
    bench_rules = 0;
    const struct node *n = b->node = c->build(b->graph);
    if (b->graph->failed) fail_msg("%s: %s", c->name, b->graph->err.text);
    if (op_index(n->op) != c->op) fail_msg("%s: the case builds a node of %s", c->name, n->op->name);
    b->kernels = b->backend->kernels(op_index(n->op));
    for (int i = 0; i < n->n_in; i++) {
        if (!n->in[i]) continue;
        if (!n->in[i]->leaf) fail_msg("%s: input %d is not made by the bench", c->name, i);
        b->in[i] = tensor_new(b, n->in[i]->shape, n->in[i]->dtype);
        bench_fill(b, i);
        if (bench_takes_gradient(b, i)) b->din[i] = tensor_new(b, n->in[i]->shape, n->in[i]->dtype);
    }
    for (int i = 0; i < n->n_out; i++) {
        b->out[i] = i == 0 && n->op->in_place ? b->in[0] : tensor_new(b, n->out[i].shape, n->out[i].dtype);
        if (!bench_sends_gradient(b, i)) continue;
        b->dout[i] = tensor_new(b, n->out[i].shape, n->out[i].dtype);
        tensor_normal(&b->dout[i], 100 + i);
    }
    for (int i = 0; i < n->n_save; i++) b->save[i] = tensor_new(b, n->save[i].shape, n->save[i].dtype);
    for (int i = 0; i < n->n_work; i++) b->work[i] = tensor_new(b, n->work[i].shape, n->work[i].dtype);
}

static inline void bench_close(struct bench *b)
{
    if (b->node->op->in_place) b->out[0].data = NULL;
    for (int i = 0; i < BENCH_TENSORS; i++) free(b->tensor[i].data);
    if (b->device != bench_on.device) b->backend->close(b->device);
    graph_free(b->graph);
    leaves_free(b->leaves);
}

static inline struct args bench_args(const struct bench *b)
{
    return (struct args){ .attr = b->node->attr, .n_in = b->node->n_in, .in = b->in, .out = b->out, .save = b->save,
                          .work = b->work,
                          .dout = b->dout, .din = b->din, .beta = b->beta, .step = &b->step, .device = b->device };
}

/* Bytes of the packed form of an input; 0: there is none. */
static inline size_t bench_packed(const struct bench *b, int input)
{
    const struct tensor *t = &b->in[input];
    if (!b->packs || !has_bit(b->node->op->packs, input) || t->format != FORMAT_REAL) return 0;
    return b->backend->packed_bytes(t->shape, b->bf16 ? FORMAT_BF16 : FORMAT_REAL);
}

static inline void *bench_give(struct bench *b, const void *host, size_t bytes)
{
    void *memory = b->backend->alloc(b->device, bytes);
    b->backend->put(b->device, memory, host, bytes);
    return memory;
}

/* Replaces the tensors of host memory by copies, each an allocation of its own, so that a step beyond its bounds is one
   beyond the device's memory. Tensors that are one memory stay one. */
static inline void bench_lend(struct bench *b, const struct tensor host[BENCH_TENSORS])
{
    for (int i = 0, same = 0; i < BENCH_TENSORS; i++, same = 0) {
        if (!host[i].data) continue;
        while (host[same].data != host[i].data) same++;
        b->tensor[i].data = same < i ? b->tensor[same].data : bench_give(b, host[i].data, tensor_bytes(&host[i]));
    }
    for (int i = 0; i < b->node->n_in; i++) {
        if (bench_packed(b, i) == 0) continue;
        b->in[i].packed = b->backend->alloc(b->device, bench_packed(b, i));
        b->backend->pack(b->device, &b->in[i]);
    }
}

static inline void bench_return(struct bench *b, const struct tensor host[BENCH_TENSORS])
{
    for (int i = 0; i < b->node->n_in; i++)
        if (b->in[i].packed) b->backend->release(b->device, b->in[i].packed, bench_packed(b, i));
    for (int i = 0, same = 0; i < BENCH_TENSORS; i++, same = 0) {
        if (!host[i].data) continue;
        while (host[same].data != host[i].data) same++;
        if (same < i) continue;
        b->backend->get(b->device, host[i].data, b->tensor[i].data, tensor_bytes(&host[i]));
        b->backend->release(b->device, b->tensor[i].data, tensor_bytes(&host[i]));
    }
    memcpy(b->tensor, host, sizeof b->tensor);
}

/* A kernel on the tensors of the bench, with spoilt scratch. */
static inline void bench_call(struct bench *b, kernel *call)
{
    struct args a = bench_args(b);
    struct tensor host[BENCH_TENSORS];
    if (b->backend == &backend_cpu) { call(&a); return; }
    memcpy(host, b->tensor, sizeof host);
    size_t bytes = b->backend->scratch ? b->backend->scratch(op_index(b->node->op), &a) : 0;
    void *spoilt = memset(xmalloc(bytes + 1), 0xff, bytes);
    bench_lend(b, host);
    if (bytes) a.scratch = bench_give(b, spoilt, bytes);
    call(&a);
    bench_return(b, host);
    if (bytes) b->backend->release(b->device, a.scratch, bytes);
    free(spoilt);
}

static inline void bench_spoil(struct bench *b)
{
    for (int i = b->node->op->in_place; i < b->node->n_out; i++) tensor_spoil(&b->out[i]);
    for (int i = 0; i < b->node->n_save; i++) tensor_spoil(&b->save[i]);
    for (int i = 0; i < b->node->n_work; i++) tensor_spoil(&b->work[i]);
}

static inline void bench_forward(struct bench *b)
{
    bench_spoil(b);
    bench_call(b, b->kernels->forward);
}

/* Forward and backward at once. */
static inline void bench_joint(struct bench *b)
{
    bench_spoil(b);
    bench_call(b, b->kernels->joint);
}

/* Leaves inputs and outputs as they were: what backward may not read is swapped for spoilt memory meanwhile. */
static inline void bench_backward(struct bench *b)
{
    const struct op *op = b->node->op;
    struct tensor in[BENCH_INS], out[NODE_OUTS];
    memcpy(in, b->in, sizeof in);
    memcpy(out, b->out, sizeof out);
    for (int i = 0; i < b->node->n_in; i++)
        if (in[i].data && !(op->reads_in >> i & 1)) b->in[i] = tensor_new(b, in[i].shape, b->node->in[i]->dtype);
    for (int i = 0; i < b->node->n_out; i++)
        if (!(op->reads_out >> i & 1)) b->out[i] = tensor_new(b, out[i].shape, b->node->out[i].dtype);
    for (int i = 0; i < b->node->n_work; i++) tensor_spoil(&b->work[i]);
    bench_call(b, b->kernels->backward);
    for (int i = 0; i < b->node->n_in; i++) if (b->in[i].data != in[i].data) free(b->in[i].data);
    for (int i = 0; i < b->node->n_out; i++) if (b->out[i].data != out[i].data) free(b->out[i].data);
    memcpy(b->in, in, sizeof in);
    memcpy(b->out, out, sizeof out);
}

#define BENCH_BUILD(op, name, made) static inline struct node *case_##op##_##name(struct graph *g) { return made; }
#define BENCH_CASE(op, name, made) { OP_##op, #op " " #name, case_##op##_##name },

/* By hand: a list of cases H built with H(BENCH_BUILD) is opened by name, gets values, and shows them. */
#define OPEN(b, op, name) \
    struct bench b; bench_open(&b, &(struct op_case){ OP_##op, #op " " #name, case_##op##_##name }, false, 1)
#define PUT(b, input, ...) put(&(b).in[input], COUNT(((double[]){ __VA_ARGS__ })), (double[]){ __VA_ARGS__ })
#define SEE(t, tolerance, ...) see(&(t), COUNT(((double[]){ __VA_ARGS__ })), (double[]){ __VA_ARGS__ }, tolerance)

static inline void put(const struct tensor *t, int n, const double *value)
{
    assert_int_equal(n, shape_count(t->shape));
    for (int i = 0; i < n; i++) tensor_set(t, i, value[i]);
}

static inline void see(const struct tensor *t, int n, const double *value, double tolerance)
{
    assert_int_equal(n, shape_count(t->shape));
    for (int i = 0; i < n; i++)
        if (!(fabs(tensor_get(t, i) - value[i]) <= tolerance) && !(isnan(value[i]) && isnan(tensor_get(t, i))))
            fail_msg("value %d is %.9g, expected %.9g", i, tensor_get(t, i), value[i]);
}

static inline void same(const struct tensor *x, const struct tensor *y)
{
    assert_memory_equal(x->data, y->data, tensor_bytes(x));
}

/* A node that an op's shape rule refuses, saying `words`. */
static inline void refuses(struct node *(*build)(struct graph *g), const char *words)
{
    struct leaves *l = leaves_new();
    struct graph *g = graph_new(l);
    bench_rules = 0;
    build(g);
    if (!g->failed) fail_msg("accepted, where '%s' was expected", words);
    if (!strstr(g->err.text, words)) fail_msg("'%s' says nothing of '%s'", g->err.text, words);
    graph_free(g);
    leaves_free(l);
}

/* A list H of refusals, H(CASE) of CASE(name, words, expression), and the test that each is refused so. */
#define REFUSAL_BUILD(name, words, made) static struct node *refused_##name(struct graph *g) { return made; }
#define REFUSAL_CHECK(name, words, made) refuses(refused_##name, words);
#define TEST_REFUSALS(H) \
    H(REFUSAL_BUILD) \
    static void test_messages(void **state) \
    { \
        (void)state; \
        H(REFUSAL_CHECK) \
    }

#endif
