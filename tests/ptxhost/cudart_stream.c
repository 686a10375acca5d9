/* The emulated libcudart's streams and events. A stream is a queue. Deferred (the usual way) nothing runs before some call must wait
   for it; then the streams take turns at random, as far as events allow, so that an order which nothing enforces is not kept by luck.
   Work that waits for another process lets the other streams go on. With PTXHOST_DEFER=0 everything runs at once. */
#define _GNU_SOURCE
#include "cudart.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

struct CUevent_st {
    struct CUevent_st *next; bool destroyed, timed;
    struct point recorded; double time;                     /* when that point was reached */
    uint64_t capture; struct node_set tips;                 /* recorded last while a stream captured; 0: was not */
};

/* One piece of a stream's work; it waits until `after` is reached. */
struct entry {
    struct entry *next; struct point after;
    enum { ENTRY_WORK, ENTRY_RECORD, ENTRY_WAIT, ENTRY_GRAPH } kind;
    struct work work; struct CUevent_st *event; struct graph_run *run;
};

static struct CUstream_st *streams;
static struct CUevent_st *events;

struct CUstream_st *stream_list(void)
{
    return streams;
}

/* ---- the queues ---- */

static bool reached(struct point p)
{
    return !p.stream || p.stream->completed >= p.serial;
}

static struct point now_in(const struct CUstream_st *s)
{
    return (struct point){ s, s->enqueued };
}

/* Runs the first of a stream's work. Of a graph one node, and the graph stays first until its last. */
static enum ph_progress run_first(struct CUstream_st *s)
{
    struct entry *e = s->head;
    enum ph_progress progress = e->kind == ENTRY_WORK ? work_run(&e->work) : e->kind == ENTRY_GRAPH ? graph_run_step(e->run) : PH_DONE;
    struct timespec t;
    if (progress != PH_DONE) return progress;
    switch (e->kind) {
    case ENTRY_WORK: work_free(&e->work); break;
    case ENTRY_GRAPH: break;
    case ENTRY_WAIT: break;
    case ENTRY_RECORD:
        clock_gettime(CLOCK_MONOTONIC, &t);
        if (e->event->recorded.stream == s && e->event->recorded.serial == s->completed + 1) e->event->time = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    }
    s->completed++;
    if (!(s->head = e->next)) s->tail = &s->head;
    free(e);
    return PH_DONE;
}

static struct CUstream_st *choose(void)
{
    struct CUstream_st *chosen = NULL;
    uint32_t seen = 0;
    for (struct CUstream_st *s = streams; s; s = s->next)
        if (s->head && !s->waits && reached(s->head->after) && ph_random(++seen) == 0) chosen = s;
    return chosen;
}

/* All that could run waits for other processes: the longer, the longer this one sleeps. */
static int idle_turns;

static void idle(void)
{
    if (++idle_turns < 200) sched_yield();
    else nanosleep(&(struct timespec){ .tv_nsec = idle_turns < 1000 ? 20000 : 200000 }, NULL);
}

/* One piece of work of a random stream, if not all of them wait. False: there is none that may run. */
static bool take_turn(void)
{
    bool any = false;
    for (struct CUstream_st *s = streams; s; s = s->next) s->waits = false;
    for (struct CUstream_st *s; (s = choose()); s->waits = any = true)
        if (run_first(s) != PH_WAITS) {
            idle_turns = 0;
            return true;
        }
    if (any) idle();
    return any;
}

void ph_pass_time(void)
{
    API;
    if (!take_turn()) idle();
}

void stream_drain(struct point p)
{
    while (!reached(p))
        if (!take_turn()) {
            cudart_fail(cudaErrorUnknown, "stream %d waits for work that nothing can run", p.stream->id);
            return;
        }
}

void stream_drain_all(void)
{
    for (struct CUstream_st *s = streams; s; s = s->next) stream_drain(now_in(s));
}

static bool deferred(void)
{
    static int on = -1;
    if (on < 0) on = cudart_setting("PTXHOST_DEFER", 1) != 0;
    return on;
}

static struct point append(struct CUstream_st *s, struct entry new)
{
    struct entry *e = cudart_allocate(sizeof *e);
    *e = new;
    *s->tail = e;
    s->tail = &e->next;
    s->enqueued++;
    if (!deferred()) stream_drain(now_in(s));
    return now_in(s);
}

struct CUstream_st *stream_find(cudaStream_t stream)
{
    if (!stream || stream == cudaStreamLegacy || stream == cudaStreamPerThread) {
        cudart_fail(cudaErrorInvalidResourceHandle, "the default stream: pass a stream of cudaStreamCreateWithFlags(cudaStreamNonBlocking)");
        return NULL;
    }
    for (struct CUstream_st *s = streams; s; s = s->next)
        if (s == stream && !s->destroyed) return s;
    cudart_fail(cudaErrorInvalidResourceHandle, "%p is no stream, or a destroyed one", (void *)stream);
    return NULL;
}

cudaError_t stream_submit(cudaStream_t stream, const struct work *w)
{
    struct CUstream_st *s = stream_find(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (cudart_lost()) return cudaErrorUnknown;
    cudart_trace("stream %d %s %s", s->id, s->capture ? "captures" : "gets", w->what);
    if (s->capture) capture_add(s, w);
    else append(s, (struct entry){ .kind = ENTRY_WORK, .work = work_copy(w) });
    return cudaSuccess;
}

/* A synchronous copy waits for the streams that block the default one, and for no other. */
cudaError_t stream_submit_at_once(const struct work *w)
{
    cudaError_t error = capture_forbid(NULL);
    if (error) return error;
    for (struct CUstream_st *s = streams; s; s = s->next)
        if (s->blocking) stream_drain(now_in(s));
    work_run(w);
    return cudaSuccess;
}

struct point stream_submit_graph(struct CUstream_st *s, struct graph_run *run, struct point after)
{
    return append(s, (struct entry){ .kind = ENTRY_GRAPH, .run = run, .after = after });
}

void ph_enqueue(void *stream, const char *what, void (*run)(const void *data), const void *data, size_t bytes)
{
    API;
    stream_submit(stream, &(struct work){ WORK_LIBRARY, what, run, data, bytes, NULL });
}

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned int flags, int priority)
{
    API;
    static int created;
    cudaError_t error = device_check(device_current());
    if (error) return error;
    if (flags & ~(unsigned)cudaStreamNonBlocking) return cudart_fail(cudaErrorInvalidValue, "flags %#x", flags);
    struct CUstream_st *s = cudart_allocate(sizeof *s);
    *s = (struct CUstream_st){ .next = streams, .id = ++created, .device = device_current(), .priority = priority, .tail = &s->head,
                               .blocking = !(flags & cudaStreamNonBlocking) };
    *stream = streams = s;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags)
{
    API;
    return cudaStreamCreateWithPriority(stream, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    API;
    return cudaStreamCreateWithPriority(stream, cudaStreamDefault, 0);
}

/* Its work still runs. What events remember of it stays. */
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    API;
    struct CUstream_st *s = stream_find(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (s->capture) return cudart_fail(cudaErrorStreamCaptureUnsupported, "the stream captures");
    s->destroyed = true;
    for (s = streams; s && s->destroyed; ) s = s->next;
    if (!s) cudart_settle();                                /* the last: a process that ends by _exit gives no other chance */
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    API;
    struct CUstream_st *s = stream_find(stream);
    cudaError_t error = s ? capture_forbid(s) : cudaErrorInvalidResourceHandle;
    if (!error) stream_drain(now_in(s));
    return error ? error : cudart_lost();
}

/* Who asks again and again must see progress: each time one piece of work runs. */
static cudaError_t query(struct point p)
{
    if (!reached(p)) take_turn();
    return reached(p) ? cudaSuccess : cudart_refuse(cudaErrorNotReady);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    API;
    struct CUstream_st *s = stream_find(stream);
    cudaError_t error = s ? capture_forbid(s) : cudaErrorInvalidResourceHandle;
    return error ? error : query(now_in(s));
}

cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned int *flags)
{
    API;
    struct CUstream_st *s = stream_find(stream);
    if (s) *flags = s->blocking ? cudaStreamDefault : cudaStreamNonBlocking;
    return s ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority)
{
    API;
    struct CUstream_st *s = stream_find(stream);
    if (s) *priority = s->priority;
    return s ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaStreamGetDevice(cudaStream_t stream, int *device)
{
    API;
    struct CUstream_st *s = stream_find(stream);
    if (s) *device = s->device;
    return s ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

struct host_call { cudaHostFn_t function; void *data; };

static void run_host_call(const void *data)
{
    const struct host_call *c = data;
    c->function(c->data);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    API;
    struct host_call c = { function, data };
    return stream_submit(stream, &(struct work){ WORK_HOST, __func__, run_host_call, &c, sizeof c, NULL });
}

/* ---- events ---- */

static struct CUevent_st *find_event(cudaEvent_t event)
{
    for (struct CUevent_st *e = events; e; e = e->next)
        if (e == event && !e->destroyed) return e;
    cudart_fail(cudaErrorInvalidResourceHandle, "%p is no event, or a destroyed one", (void *)event);
    return NULL;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags)
{
    API;
    if (flags & ~(unsigned)(cudaEventBlockingSync | cudaEventDisableTiming))
        return cudart_fail(cudaErrorNotSupported, "flags %#x: events between processes are not emulated", flags);
    struct CUevent_st *e = cudart_allocate(sizeof *e);
    *e = (struct CUevent_st){ .next = events, .timed = !(flags & cudaEventDisableTiming) };
    *event = events = e;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    API;
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

/* What waits for it still does. */
cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    API;
    struct CUevent_st *e = find_event(event);
    if (e) e->destroyed = true;
    return e ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    API;
    struct CUevent_st *e = find_event(event);
    struct CUstream_st *s = e ? stream_find(stream) : NULL;
    if (!s) return cudaErrorInvalidResourceHandle;
    if ((e->capture = capture_record(s, &e->tips))) return cudaSuccess;
    e->recorded = (struct point){ s, s->enqueued + 1 };
    append(s, (struct entry){ .kind = ENTRY_RECORD, .event = e });
    return cudaSuccess;
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned int flags)
{
    API;
    if (flags) return cudart_fail(cudaErrorNotSupported, "flags %#x: events as nodes of a graph are not emulated", flags);
    return cudaEventRecord(event, stream);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
    API;
    struct CUevent_st *e = find_event(event);
    struct CUstream_st *s = e ? stream_find(stream) : NULL;
    if (!s) return cudaErrorInvalidResourceHandle;
    if (flags) return cudart_fail(cudaErrorNotSupported, "flags %#x: events as nodes of a graph are not emulated", flags);
    if (e->capture || s->capture) return capture_wait(s, e->capture, &e->tips);
    append(s, (struct entry){ .kind = ENTRY_WAIT, .after = e->recorded });
    return cudaSuccess;
}

bool ph_enqueue_steps(void *stream, const char *what, enum ph_progress (*step)(const void *data), const void *data, size_t bytes, void *order)
{
    API;
    struct work w = { WORK_LIBRARY, what, NULL, data, bytes, step };
    struct CUevent_st *e = find_event(order);
    struct CUstream_st *s = e ? stream_find(stream) : NULL;
    if (!s || cudart_lost()) return false;
    cudart_trace("stream %d %s %s", s->id, s->capture ? "captures" : "gets", what);
    if (!s->capture) {
        e->recorded = append(s, (struct entry){ .kind = ENTRY_WORK, .work = work_copy(&w), .after = e->recorded });
        return true;
    }
    if (capture_is(s, e->capture)) capture_wait(s, e->capture, &e->tips);
    capture_add(s, &w);
    e->capture = capture_record(s, &e->tips);
    return true;
}

static cudaError_t find_uncaptured(cudaEvent_t event, struct CUevent_st **e)
{
    *e = find_event(event);
    if (!*e) return cudaErrorInvalidResourceHandle;
    return (*e)->capture ? cudart_fail(cudaErrorCapturedEvent, "the event was recorded last in a stream that captured") : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    API;
    struct CUevent_st *e;
    cudaError_t error = find_uncaptured(event, &e);
    if (!error) error = capture_forbid(NULL);
    if (!error) stream_drain(e->recorded);
    return error ? error : cudart_lost();
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    API;
    struct CUevent_st *e;
    cudaError_t error = find_uncaptured(event, &e);
    if (!error) error = capture_forbid(NULL);
    return error ? error : query(e->recorded);
}

/* Times of this machine's: they say nothing of a GPU's. */
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    API;
    struct CUevent_st *a, *b;
    cudaError_t error = find_uncaptured(start, &a);
    if (!error) error = find_uncaptured(end, &b);
    if (error) return error;
    if (!a->timed || !b->timed || !a->recorded.stream || !b->recorded.stream)
        return cudart_fail(cudaErrorInvalidResourceHandle, "an event was never recorded, or made with cudaEventDisableTiming");
    if (!reached(a->recorded) || !reached(b->recorded)) return cudart_refuse(cudaErrorNotReady);
    *milliseconds = (float)(1e3 * (b->time - a->time));
    return cudaSuccess;
}
