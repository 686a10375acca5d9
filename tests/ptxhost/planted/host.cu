/* Planted bugs in host code: memory, copies, launches, streams, events, graphs. */
#include "planted.h"

enum { N = 4096, BYTES = N * sizeof(float) };

static __global__ void __launch_bounds__(256) scale(float *y, const float *x, float by)
{
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < N) y[i] = by * x[i];
}

static __global__ void __launch_bounds__(256) through_shared(float *y, int n)
{
    extern __shared__ float s[];
    for (int i = threadIdx.x; i < n; i += 256) s[i] = (float)i;
    __syncthreads();
    for (int i = threadIdx.x; i < N; i += 256) y[i] = s[n - 1 - i % n];
}

static cudaStream_t new_stream()
{
    cudaStream_t s = NULL;
    cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
    return s;
}

static cudaEvent_t new_event()
{
    cudaEvent_t e = NULL;
    cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
    return e;
}

static float *pinned()
{
    float *p = NULL;
    cudaMallocHost((void **)&p, BYTES);
    return p;
}

static void launch(cudaStream_t s, float *y, const float *x) { scale<<<N / 256, 256, 0, s>>>(y, x, 2); }

/* ---- memory and copies ---- */

static void free_inside(bool bug)
{
    float *x = planted_floats(N, true);
    cudaFree(x + (bug ? 64 : 0));
}

static void free_twice(bool bug)
{
    float *x = planted_floats(N, true);
    cudaFree(x);
    if (bug) cudaFree(x);
}

static void copy_past_end(bool bug)
{
    static float host[N + 1];
    cudaMemcpy(planted_floats(N, false), host, BYTES + (bug ? 4 : 0), cudaMemcpyHostToDevice);
}

static void wrong_direction(bool bug)
{
    static float host[N];
    cudaMemcpy(host, planted_floats(N, true), BYTES, bug ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost);
}

static void set_past_end(bool bug) { cudaMemset(planted_floats(N, false), 0, BYTES + (bug ? 1 : 0)); }

static void copy_of_unwritten(bool bug)
{
    static float host[N];
    planted_fetch(host, planted_floats(N, !bug), N);
}

static void host_follows_device_pointer(bool bug)
{
    float *x = planted_floats(N, true), first;
    planted_fetch(&first, x, 1);
    planted_expect(bug ? *(volatile float *)x : first, 0);
}

/* ---- launches ---- */

static void block_too_large(bool bug)
{
    cudaStream_t s = new_stream();
    scale<<<N / 256, bug ? 512 : 256, 0, s>>>(planted_floats(N, false), planted_floats(N, true), 2);
    cudaStreamSynchronize(s);
}

static void empty_grid(bool bug)
{
    cudaStream_t s = new_stream();
    scale<<<bug ? 0 : N / 256, 256, 0, s>>>(planted_floats(N, false), planted_floats(N, true), 2);
    cudaStreamSynchronize(s);
}

static void shared_not_asked_for(bool bug)
{
    cudaStream_t s = new_stream();
    int n = 16 << 10;
    if (!bug) cudaFuncSetAttribute(through_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, n * (int)sizeof(float));
    through_shared<<<1, 256, n * sizeof(float), s>>>(planted_floats(N, false), n);
    cudaStreamSynchronize(s);
}

/* ---- streams and events ---- */

static void missing_wait(bool bug)
{
    cudaStream_t first = new_stream(), second = new_stream();
    cudaEvent_t done = new_event();
    float *x = planted_floats(N, true), *y = planted_floats(N, false), *z = planted_floats(N, false);
    launch(first, y, x);
    cudaEventRecord(done, first);
    if (!bug) cudaStreamWaitEvent(second, done, 0);
    launch(second, z, y);
    cudaStreamSynchronize(second);
    cudaStreamSynchronize(first);
}

static void wait_before_record(bool bug)
{
    cudaStream_t first = new_stream(), second = new_stream();
    cudaEvent_t done = new_event();
    float *x = planted_floats(N, true), *y = planted_floats(N, false), *z = planted_floats(N, false);
    if (bug) cudaStreamWaitEvent(second, done, 0);
    launch(first, y, x);
    cudaEventRecord(done, first);
    if (!bug) cudaStreamWaitEvent(second, done, 0);
    launch(second, z, y);
    cudaStreamSynchronize(second);
    cudaStreamSynchronize(first);
}

static void copy_without_waiting(bool bug)
{
    cudaStream_t s = new_stream();
    static float host[N];
    float *y = planted_floats(N, false);
    launch(s, y, planted_floats(N, true));
    if (!bug) cudaStreamSynchronize(s);
    planted_fetch(host, y, N);                              /* waits for no stream that was made non-blocking */
}

static void result_before_its_time(bool bug)
{
    cudaStream_t s = new_stream();
    float *host = pinned(), *y = planted_floats(N, false);
    launch(s, y, planted_floats(N, true));
    cudaMemcpyAsync(host, y, BYTES, cudaMemcpyDeviceToHost, s);
    if (!bug) cudaStreamSynchronize(s);
    planted_expect(host[5], 10);
}

static void staging_overwritten(bool bug)
{
    cudaStream_t s = new_stream();
    float *host = pinned(), *x = planted_floats(N, false), got;
    for (int i = 0; i < N; i++) host[i] = 1;
    cudaMemcpyAsync(x, host, BYTES, cudaMemcpyHostToDevice, s);
    if (!bug) cudaStreamSynchronize(s);
    host[0] = 2;
    cudaStreamSynchronize(s);
    planted_fetch(&got, x, 1);
    planted_expect(got, 1);
}

static void freed_while_in_use(bool bug)
{
    cudaStream_t s = new_stream();
    float *host = pinned(), *x = planted_floats(N, false);
    cudaGraph_t graph = NULL;
    cudaGraphExec_t replay = NULL;
    for (int i = 0; i < N; i++) host[i] = 1;
    cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal);
    cudaMemcpyAsync(x, host, BYTES, cudaMemcpyHostToDevice, s);
    cudaStreamEndCapture(s, &graph);
    cudaGraphInstantiate(&replay, graph, 0);
    if (bug) cudaFreeHost(host);
    cudaGraphLaunch(replay, s);
    cudaStreamSynchronize(s);
}

static void dead_stream(bool bug)
{
    cudaStream_t s = new_stream();
    float *y = planted_floats(N, false), *x = planted_floats(N, true);
    if (bug) cudaStreamDestroy(s);
    launch(s, y, x);
    if (!bug) cudaStreamDestroy(s);
}

static void default_stream(bool bug) { launch(bug ? NULL : new_stream(), planted_floats(N, false), planted_floats(N, true)); }

/* ---- graphs ---- */

/* A capture of one launch, which something must not happen in. */
static void capture(void (*mistake)(cudaStream_t s, float *y))
{
    cudaStream_t s = new_stream();
    float *y = planted_floats(N, false), *x = planted_floats(N, true);
    cudaGraph_t graph = NULL;
    cudaGraphExec_t replay = NULL;
    cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal);
    launch(s, y, x);
    if (mistake) mistake(s, y);
    if (cudaStreamEndCapture(s, &graph) || cudaGraphInstantiate(&replay, graph, 0)) return;
    cudaGraphLaunch(replay, s);
    cudaStreamSynchronize(s);
}

static void allocate(cudaStream_t, float *) { planted_floats(N, false); }
static void synchronise(cudaStream_t s, float *) { cudaStreamSynchronize(s); }
static void copy_pageable(cudaStream_t s, float *y) { static float host[N]; cudaMemcpyAsync(y, host, BYTES, cudaMemcpyHostToDevice, s); }

static void fork_stream(cudaStream_t s, float *y)
{
    cudaStream_t side = new_stream();
    cudaEvent_t begun = new_event();
    cudaEventRecord(begun, s);
    cudaStreamWaitEvent(side, begun, 0);
    launch(side, y, y);
}

static void allocation_in_capture(bool bug) { capture(bug ? allocate : NULL); }
static void waiting_in_capture(bool bug) { capture(bug ? synchronise : NULL); }
static void pageable_in_capture(bool bug) { capture(bug ? copy_pageable : NULL); }
static void stream_not_joined(bool bug) { capture(bug ? fork_stream : NULL); }

#define ROW(name, words, seeds) { #name, name, words, seeds }

extern "C" const struct planted planted_host[] = {
    ROW(free_inside, "but lies in one", 0), ROW(free_twice, "is no allocation of the device", 0), ROW(copy_past_end, "to the end of its device allocation", 0),
    ROW(wrong_direction, "asked for cudaMemcpyHostToDevice", 0), ROW(set_past_end, "not within one allocation", 0), ROW(copy_of_unwritten, "is never written", 0),
    ROW(host_follows_device_pointer, "host code follows the device address", 0), ROW(block_too_large, "its __launch_bounds__ are 256", 0),
    ROW(empty_grid, "nothing to run", 0), ROW(shared_not_asked_for, "cudaFuncSetAttribute must ask for more", 0),
    ROW(missing_wait, "uninitialised read", 8), ROW(wait_before_record, "uninitialised read", 8), ROW(copy_without_waiting, "is never written", 0),
    ROW(result_before_its_time, "nan, should be 10", 0), ROW(staging_overwritten, "wrong value: 2", 0), ROW(freed_while_in_use, "its pinned source has been freed", 0),
    ROW(dead_stream, "is no stream, or a destroyed one", 0), ROW(default_stream, "the default stream", 0),
    ROW(allocation_in_capture, "not allowed while a stream captures", 0), ROW(waiting_in_capture, "not allowed while a stream captures", 0),
    ROW(pageable_in_capture, "the graph would keep pageable memory", 0), ROW(stream_not_joined, "no event leads from it back", 0),
    { NULL, NULL, NULL, 0 }
};
