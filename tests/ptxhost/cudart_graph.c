/* The emulated libcudart's graphs: capture of streams, and launches, in which the nodes run in random order as far as their edges allow. */
#define _GNU_SOURCE
#include "cudart.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct CUgraphNode_st { struct work work; struct node_set before, after; };     /* the nodes that it waits for; that wait for it */
struct CUgraph_st { int count, capacity; struct CUgraphNode_st **node; };
struct CUgraphExec_st { struct CUgraph_st *graph; struct point last; };         /* a graph of its own; the end of its last launch */
struct graph_run { const struct CUgraph_st *graph; int left, ready_count, *ready, *missing; };
struct capture {
    struct capture *next; uint64_t id; struct CUgraph_st *graph; const struct CUstream_st *origin;
    enum cudaStreamCaptureMode mode; pthread_t thread; bool broken;
};
static struct capture *captures;

static void set_add(struct node_set *s, int node)
{
    for (int i = 0; i < s->count; i++)
        if (s->node[i] == node) return;
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 4;
        s->node = realloc(s->node, (size_t)s->capacity * sizeof *s->node);
        if (!s->node) abort();
    }
    s->node[s->count++] = node;
}

static void set_unite(struct node_set *s, const struct node_set *other)
{
    for (int i = 0; i < other->count; i++) set_add(s, other->node[i]);
}

static void set_assign(struct node_set *s, const struct node_set *other)
{
    s->count = 0;
    set_unite(s, other);
}

/* ---- graphs ---- */

static int graph_add(struct CUgraph_st *g, const struct work *w, const struct node_set *before)
{
    if (g->count == g->capacity) {
        g->capacity = g->capacity ? 2 * g->capacity : 64;
        g->node = realloc(g->node, (size_t)g->capacity * sizeof *g->node);
        if (!g->node) abort();
    }
    struct CUgraphNode_st *n = g->node[g->count] = cudart_allocate(sizeof *n);
    n->work = work_copy(w);
    set_unite(&n->before, before);
    for (int i = 0; i < before->count; i++) set_add(&g->node[before->node[i]]->after, g->count);
    return g->count++;
}

static void graph_free(struct CUgraph_st *g)
{
    for (int i = 0; i < g->count; i++) {
        work_free(&g->node[i]->work);
        free(g->node[i]->before.node);
        free(g->node[i]->after.node);
        free(g->node[i]);
    }
    free(g->node);
    free(g);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    API;
    if (!graph) return cudart_fail(cudaErrorInvalidValue, "no graph");
    graph_free(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    API;
    if (!graph) return cudart_fail(cudaErrorInvalidValue, "no graph");
    for (size_t i = 0; nodes && i < *count; i++) nodes[i] = i < (size_t)graph->count ? graph->node[i] : NULL;
    if (!nodes || *count > (size_t)graph->count) *count = (size_t)graph->count;
    return cudaSuccess;
}

/* What a library enqueues counts as a kernel, as it would be. */
cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, enum cudaGraphNodeType *type)
{
    API;
    static const enum cudaGraphNodeType types[WORK_KINDS] = {
        cudaGraphNodeTypeKernel, cudaGraphNodeTypeMemcpy, cudaGraphNodeTypeMemset, cudaGraphNodeTypeHost, cudaGraphNodeTypeKernel
    };
    *type = types[node->work.kind];
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    API;
    if (!graph) return cudart_fail(cudaErrorInvalidValue, "no graph");
    if (flags) return cudart_fail(cudaErrorNotSupported, "flags %#llx", flags);
    struct CUgraphExec_st *x = cudart_allocate(sizeof *x);
    x->graph = cudart_allocate(sizeof *x->graph);
    for (int i = 0; i < graph->count; i++) graph_add(x->graph, &graph->node[i]->work, &graph->node[i]->before);
    *exec = x;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    API;
    return cudaGraphInstantiate(exec, graph, flags);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    API;
    if (!exec) return cudart_fail(cudaErrorInvalidValue, "no graph");
    return stream_find(stream) ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

/* Its launches end first. */
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    API;
    if (!exec) return cudart_fail(cudaErrorInvalidValue, "no graph");
    stream_drain(exec->last);
    graph_free(exec->graph);
    free(exec);
    return cudaSuccess;
}

/* ---- launches ---- */

/* Launches of one executable graph follow each other, whatever their streams. */
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    API;
    struct CUstream_st *s = stream_find(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (!exec) return cudart_fail(cudaErrorInvalidValue, "no graph");
    if (cudart_lost()) return cudaErrorUnknown;
    if (s->capture) return cudart_fail(cudaErrorNotSupported, "a graph in a graph is not emulated");
    const struct CUgraph_st *g = exec->graph;
    struct graph_run *run = cudart_allocate(sizeof *run);
    *run = (struct graph_run){ g, g->count, 0, cudart_allocate((size_t)g->count * sizeof(int)), cudart_allocate((size_t)g->count * sizeof(int)) };
    for (int i = 0; i < g->count; i++)
        if (!(run->missing[i] = g->node[i]->before.count)) run->ready[run->ready_count++] = i;
    cudart_trace("stream %d gets a graph of %d nodes", s->id, g->count);
    exec->last = stream_submit_graph(s, run, exec->last);
    return cudaSuccess;
}

/* Tries the nodes that are ready in random order. The one that ran is `*at`. */
static enum ph_progress run_ready(struct graph_run *run, int *at)
{
    for (*at = 0; *at < run->ready_count; ++*at) {
        int pick = *at + (int)ph_random((uint32_t)(run->ready_count - *at)), node = run->ready[pick];
        run->ready[pick] = run->ready[*at];
        run->ready[*at] = node;
        enum ph_progress progress = work_run(&run->graph->node[node]->work);
        if (progress != PH_WAITS) return progress;
    }
    return PH_WAITS;
}

enum ph_progress graph_run_step(struct graph_run *run)
{
    if (run->left > 0) {
        int at;
        enum ph_progress progress = run_ready(run, &at);
        if (progress != PH_DONE) return progress;
        const struct CUgraphNode_st *n = run->graph->node[run->ready[at]];
        run->ready[at] = run->ready[--run->ready_count];
        for (int i = 0; i < n->after.count; i++)
            if (--run->missing[n->after.node[i]] == 0) run->ready[run->ready_count++] = n->after.node[i];
        if (--run->left > 0) return PH_GOES_ON;
    }
    free(run->ready);
    free(run->missing);
    free(run);
    return PH_DONE;
}

/* ---- capture ---- */

static struct capture *find_capture(uint64_t id)
{
    struct capture *c = captures;
    while (c && c->id != id) c = c->next;
    return c;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    API;
    static uint64_t begun;
    struct CUstream_st *s = stream_find(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (s->capture) return cudart_fail(cudaErrorInvalidValue, "the stream captures already");
    struct capture *c = cudart_allocate(sizeof *c);
    *c = (struct capture){ captures, ++begun, cudart_allocate(sizeof *c->graph), s, mode, pthread_self(), false };
    s->capture = captures = c;
    s->tips.count = 0;
    return cudaSuccess;
}

void capture_add(struct CUstream_st *s, const struct work *w)
{
    int node = graph_add(s->capture->graph, w, &s->tips);
    s->tips.count = 0;
    set_add(&s->tips, node);
}

cudaError_t capture_forbid(const struct CUstream_st *s)
{
    for (struct capture *c = captures; c; c = c->next) {
        bool all = c->mode == cudaStreamCaptureModeGlobal, ours = c->mode == cudaStreamCaptureModeThreadLocal && pthread_equal(c->thread, pthread_self());
        if (!all && !ours && !(s && s->capture == c)) continue;
        c->broken = true;
        return cudart_fail(cudaErrorStreamCaptureUnsupported, "not allowed while a stream captures a graph");
    }
    return cudaSuccess;
}

bool capture_is(const struct CUstream_st *s, uint64_t id) { return s->capture && s->capture->id == id; }

uint64_t capture_record(const struct CUstream_st *s, struct node_set *tips)
{
    if (!s->capture) return 0;
    set_assign(tips, &s->tips);
    return s->capture->id;
}

cudaError_t capture_wait(struct CUstream_st *s, uint64_t id, const struct node_set *tips)
{
    struct capture *c = find_capture(id);
    if (id && !c) return cudart_fail(cudaErrorCapturedEvent, "the event was recorded in a capture that has ended");
    if (s->capture && s->capture != c) {
        s->capture->broken = true;
        return cudart_fail(cudaErrorStreamCaptureIsolation, "stream %d captures, the event was recorded outside its capture", s->id);
    }
    if (!s->capture) s->tips.count = 0;
    s->capture = c;
    set_unite(&s->tips, tips);
    return cudaSuccess;
}

/* The first node from which no edges lead to the tips, or NULL. Edges lead to later nodes. */
static const struct CUgraphNode_st *find_unjoined(const struct CUgraph_st *g, const struct node_set *tips)
{
    bool *joined = cudart_allocate((size_t)g->count);
    const struct CUgraphNode_st *found = NULL;
    for (int i = 0; i < tips->count; i++) joined[tips->node[i]] = true;
    for (int i = g->count - 1; i >= 0; i--) {
        for (int k = 0; k < g->node[i]->after.count; k++) joined[i] |= joined[g->node[i]->after.node[k]];
        if (!joined[i]) found = g->node[i];
    }
    free(joined);
    return found;
}

static cudaError_t check_capture(const struct CUstream_st *s, const struct capture *c)
{
    if (c->mode != cudaStreamCaptureModeRelaxed && !pthread_equal(c->thread, pthread_self()))
        return cudart_fail(cudaErrorStreamCaptureWrongThread, "the capture was begun by another thread");
    if (c->broken) return cudart_fail(cudaErrorStreamCaptureInvalidated, "the capture was broken by an earlier error");
    const struct CUgraphNode_st *loose = find_unjoined(c->graph, &s->tips);
    if (loose) return cudart_fail(cudaErrorStreamCaptureUnjoined, "%s on another stream: no event leads from it back to this stream", loose->work.what);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    API;
    struct CUstream_st *s = stream_find(stream);
    *graph = NULL;
    if (!s) return cudaErrorInvalidResourceHandle;
    struct capture *c = s->capture, **link = &captures;
    if (!c || c->origin != s) return cudart_fail(cudaErrorStreamCaptureUnmatched, "the capture did not begin on this stream");
    cudaError_t error = check_capture(s, c);
    if (error) graph_free(c->graph);
    else *graph = c->graph;
    for (struct CUstream_st *other = stream_list(); other; other = other->next)
        if (other->capture == c) other->capture = NULL;
    while (*link != c) link = &(*link)->next;
    *link = c->next;
    free(c);
    return error;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    API;
    struct CUstream_st *s = stream_find(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    *status = !s->capture ? cudaStreamCaptureStatusNone : s->capture->broken ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}
