/* Runs a small graph node by node, below the plan: every node has its own memory, so that a test may read all of it.

       struct run r = run_new();
       struct node *x = graph_input(r.graph, "x", DTYPE_REAL, SHAPE(3, 2)), *y = square(r.graph, x);
       run_start(&r, 2);
       run_fill(&r, x, 1, 2, 3, 4, 5, 6);
       run_forward(&r);
       ... run_reals(&r, y)[0] ...
       run_free(&r);                                                                                              */
#ifndef SLUICE_RUN_GRAPH_H
#define SLUICE_RUN_GRAPH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "backend/backend.h"
#include "graph/ops.h"

struct run {
    struct leaves *leaves;
    struct graph *graph;
    void *pool;
    struct tensor (*value)[NODE_OUTS], (*save)[NODE_SAVES], (*work)[NODE_WORKS];
};

/* A node that was refused, and words of what is said of it; the graph goes on. */
static inline void check_message(struct graph *g, const struct node *made, const char *words)
{
    assert_true(g->failed && made == g->poison);
    if (!strstr(g->err.text, words)) fail_msg("'%s' lacks '%s'", g->err.text, words);
    g->failed = false;
}

static inline struct run run_new(void)
{
    struct run r = { .leaves = leaves_new() };
    r.graph = graph_new(r.leaves);
    return r;
}

static inline struct tensor run_tensor(struct decl d)
{
    static const enum format format[] = { FORMAT_REAL, FORMAT_REAL, FORMAT_I32, FORMAT_U8 };
    struct tensor t = { .shape = d.shape, .format = format[d.dtype] };
    assert_int_equal(posix_memalign(&t.data, 64, (size_t)shape_count(d.shape) * element_bytes(t.format)), 0);
    memset(t.data, 0xff, (size_t)shape_count(d.shape) * element_bytes(t.format));
    return t;
}

static inline void run_start(struct run *r, int threads)
{
    if (r->graph->failed) fail_msg("%s", r->graph->err.text);
    r->pool = backend_cpu.open(threads);
    r->value = xcalloc((size_t)r->graph->n, sizeof *r->value);
    r->save = xcalloc((size_t)r->graph->n, sizeof *r->save);
    r->work = xcalloc((size_t)r->graph->n, sizeof *r->work);
    for (int i = 0; i < r->graph->n; i++) {
        const struct node *n = r->graph->node[i];
        for (int k = 0; n->op->kind != OP_ALIAS && k < n->n_out; k++) r->value[i][k] = run_tensor(n->out[k]);
        for (int k = 0; k < n->n_save; k++) r->save[i][k] = run_tensor(n->save[k]);
        for (int k = 0; k < n->n_work; k++) r->work[i][k] = run_tensor(n->work[k]);
    }
}

/* The tensor of a node, which for results and views is another node's. */
static inline struct tensor run_value(const struct run *r, const struct node *n)
{
    struct shape shape = n->shape;
    int output = 0;
    for (; n->op->kind == OP_ALIAS; n = n->in[0]) if (n->op == &op_result) output = n->output;
    struct tensor t = r->value[n->id][output];
    t.shape = shape;
    return t;
}

static inline real *run_reals(const struct run *r, const struct node *n) { return run_value(r, n).data; }
static inline int32_t *run_ints(const struct run *r, const struct node *n) { return run_value(r, n).data; }

static inline void run_values(const struct run *r, const struct node *n, int count, const double *value)
{
    struct tensor t = run_value(r, n);
    assert_int_equal(count, shape_count(t.shape));
    for (int i = 0; i < count; i++)
        if (t.format == FORMAT_I32) ints(&t)[i] = (int32_t)value[i];
        else reals(&t)[i] = (real)value[i];
}
#define run_fill(r, n, ...) run_values(r, n, COUNT(((double[]){ __VA_ARGS__ })), (double[]){ __VA_ARGS__ })

/* N(0,1), a function of the stream alone. */
static inline void run_normal(const struct run *r, const struct node *n, uint64_t stream)
{
    struct tensor t = run_value(r, n);
    for (int64_t i = 0; i < shape_count(t.shape); i++)
        reals(&t)[i] = (real)key_normal((struct key){ 11, PURPOSE_TEST, stream, 0 }, (uint64_t)i);
}

static inline void run_forward(struct run *r)
{
    static const struct step step = { 0, 0, 1 };
    for (int i = 0; i < r->graph->n; i++) {
        const struct node *n = r->graph->node[i];
        if (n->op->kind != OP_COMPUTE) continue;
        struct tensor in[n->n_in];
        for (int k = 0; k < n->n_in; k++) in[k] = n->in[k] ? run_value(r, n->in[k]) : (struct tensor){ 0 };
        backend_cpu.kernels(op_index(n->op))->forward(&(struct args){
            .attr = n->attr, .n_in = n->n_in, .in = in, .out = r->value[i], .save = r->save[i], .work = r->work[i],
            .step = &step, .device = r->pool });
    }
}

static inline void run_free(struct run *r)
{
    for (int i = 0; i < r->graph->n; i++) {
        for (int k = 0; k < NODE_OUTS; k++) free(r->value[i][k].data);
        for (int k = 0; k < NODE_SAVES; k++) free(r->save[i][k].data);
        for (int k = 0; k < NODE_WORKS; k++) free(r->work[i][k].data);
    }
    free(r->value);
    free(r->save);
    free(r->work);
    backend_cpu.close(r->pool);
    graph_free(r->graph);
    leaves_free(r->leaves);
}

static inline void assert_near(const real *got, int n, const double *expected, double tolerance)
{
    for (int i = 0; i < n; i++) {
        double error = (double)got[i] - expected[i];
        if (!(error <= tolerance && -error <= tolerance))
            fail_msg("value %d is %.9g, expected %.9g", i, (double)got[i], expected[i]);
    }
}
#define assert_reals(got, tolerance, ...) \
    assert_near(got, COUNT(((double[]){ __VA_ARGS__ })), (double[]){ __VA_ARGS__ }, tolerance)

static inline void assert_integers(const int32_t *got, int n, const int32_t *expected)
{
    for (int i = 0; i < n; i++)
        if (got[i] != expected[i]) fail_msg("value %d is %d, expected %d", i, got[i], expected[i]);
}
#define assert_ints(got, ...) assert_integers(got, COUNT(((int32_t[]){ __VA_ARGS__ })), (int32_t[]){ __VA_ARGS__ })

#endif
