/* The emulated libcudart: memory, copies, streams, events, graphs and launches as they must be, and each mistake that it has to report.
   The kernels are written by hand, as a translation would have them. Run it under several PTXHOST_SEEDs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include <cuda_runtime_api.h>
#include "misuse.h"
#include "ptxhost.h"

enum { VALUES = 1000, BYTES = VALUES * sizeof(float), TURNS = 64 };

#define DO(call) assert_int_equal(call, cudaSuccess)

/* ---- kernels, and what nvcc's host code would register ---- */

struct scale { uint64_t to, from; float by; int n; };
static uint64_t offset_address;

static void run_scale(const unsigned char *parameters)
{
    const struct scale *p = (const void *)parameters;
    int i = (int)(ph_here.id.x * ph_here.block.x + ph_now->tid.x);
    const float *from = (const void *)ph_storage(p->from), *offset = (const void *)ph_storage(offset_address);
    if (i < p->n) ((float *)(void *)ph_storage(p->to))[i] = p->by * from[i] + *offset;
}

static const float offset_init = 0;
static const struct ph_param scale_params[] = { { 0, 8 }, { 8, 8 }, { 16, 4 }, { 20, 4 } };
static const struct ph_range scale_shared[] = { { 0, 1000 }, { 1088, 1100 } };
static const struct ph_kernel kernels[] = {
    { .name = "scale", .run = run_scale, .param_bytes = 24, .params = 4, .param = scale_params, .max_threads = 256 },
    { .name = "scale_shared", .run = run_scale, .param_bytes = 24, .params = 4, .param = scale_params, .shared_bytes = 1152, .arrays = 2, .array = scale_shared },
};
static const struct ph_variable variables[] = { { "offset", 4, 4, &offset_init, true, &offset_address } };
static const struct ph_module module = { "by hand", 80, false, 2, kernels, 1, variables };
static char scale_stub, shared_stub, untranslated_stub, offset_shadow;

void **__cudaRegisterFatBinary(void *image);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name, int thread_limit,
                            uint3 *tid, uint3 *bid, dim3 *block, dim3 *grid, int *warp);
void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int external, size_t bytes, int constant, int global);

static void register_all(void)
{
    ph_register(&module);
    void **handle = __cudaRegisterFatBinary(NULL);
    __cudaRegisterFunction(handle, &scale_stub, NULL, "scale", -1, NULL, NULL, NULL, NULL, NULL);
    __cudaRegisterFunction(handle, &shared_stub, NULL, "scale_shared", -1, NULL, NULL, NULL, NULL, NULL);
    __cudaRegisterFunction(handle, &untranslated_stub, NULL, "untranslated", -1, NULL, NULL, NULL, NULL, NULL);
    __cudaRegisterVar(handle, &offset_shadow, NULL, "offset", 0, 4, 1, 0);
    __cudaRegisterFatBinaryEnd(handle);
}

static cudaError_t scale_as(const char *stub, dim3 grid, dim3 block, size_t shared, float *to, const float *from, float by, cudaStream_t stream)
{
    int n = VALUES;
    void *arguments[] = { &to, &from, &by, &n };
    return cudaLaunchKernel(stub, grid, block, arguments, shared, stream);
}

static void scale(float *to, const float *from, float by, cudaStream_t stream)
{
    DO(scale_as(&scale_stub, (dim3){ (VALUES + 255) / 256, 1, 1 }, (dim3){ 256, 1, 1 }, 0, to, from, by, stream));
}

/* ---- what the tests use ---- */

static float *a, *b, *c, *pinned;                           /* three tensors of the device; one of the host, all ones */
static cudaStream_t one, two;
static cudaEvent_t event, other_event;

static int set_up(void **state)
{
    (void)state;
    register_all();
    DO(cudaMalloc((void **)&a, BYTES));
    DO(cudaMalloc((void **)&b, BYTES));
    DO(cudaMalloc((void **)&c, BYTES));
    DO(cudaMallocHost((void **)&pinned, BYTES));
    for (int i = 0; i < VALUES; i++) pinned[i] = 1;
    DO(cudaMemcpy(a, pinned, BYTES, cudaMemcpyHostToDevice));
    DO(cudaMemcpy(b, a, BYTES, cudaMemcpyDeviceToDevice));
    DO(cudaMemcpy(c, a, BYTES, cudaMemcpyDeviceToDevice));
    DO(cudaStreamCreateWithFlags(&one, cudaStreamNonBlocking));
    DO(cudaStreamCreateWithPriority(&two, cudaStreamNonBlocking, -1));
    DO(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    DO(cudaEventCreate(&other_event));
    return 0;
}

/* The last of a tensor's values, when all that was enqueued before is done. */
static float last_of(const float *tensor)
{
    float value;
    DO(cudaDeviceSynchronize());
    DO(cudaMemcpy(&value, tensor + VALUES - 1, sizeof value, cudaMemcpyDeviceToHost));
    return value;
}

/* ---- as it must be ---- */

static void test_memory(void **state)
{
    (void)state;
    char *p, *again, bytes[300];
    size_t before, after, total;
    struct cudaPointerAttributes attributes;
    DO(cudaMemGetInfo(&before, &total));
    DO(cudaMalloc((void **)&p, sizeof bytes));
    DO(cudaMemGetInfo(&after, &total));
    assert_true(after < before && (uintptr_t)p % 256 == 0);
    DO(cudaMemcpy(bytes, p, sizeof bytes, cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < sizeof bytes; i++) assert_int_equal((unsigned char)bytes[i], 0xff);
    DO(cudaMemset(p, 3, 10));
    DO(cudaMemcpy(bytes, p + 9, 2, cudaMemcpyDefault));
    assert_int_equal(bytes[0], 3);
    assert_int_equal((unsigned char)bytes[1], 0xff);
    DO(cudaPointerGetAttributes(&attributes, p));
    assert_int_equal(attributes.type, cudaMemoryTypeDevice);
    DO(cudaPointerGetAttributes(&attributes, pinned));
    assert_int_equal(attributes.type, cudaMemoryTypeHost);
    DO(cudaFree(p));
    DO(cudaHostAlloc((void **)&p, sizeof bytes, cudaHostAllocMapped));
    DO(cudaMemGetInfo(&after, &total));
    assert_int_equal(before, after);
    DO(cudaMemset(p, 5, 10));
    DO(cudaMemcpy(bytes, p, 2, cudaMemcpyDefault));
    assert_int_equal(bytes[1], 5);
    DO(cudaPointerGetAttributes(&attributes, p));
    assert_true(attributes.type == cudaMemoryTypeHost && attributes.devicePointer == p);
    DO(cudaFreeHost(p));
    DO(cudaMalloc((void **)&again, sizeof bytes));
    assert_ptr_not_equal(p, again);
    DO(cudaFree(again));
    DO(cudaMemGetInfo(&after, &total));
    assert_int_equal(before, after);
    assert_int_equal(cudaMalloc((void **)&p, total), cudaErrorMemoryAllocation);
    assert_null(p);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
}

/* Pageable memory is read at the call, pinned memory when the copy runs. */
static void test_sources(void **state)
{
    (void)state;
    float pageable[VALUES] = { [VALUES - 1] = 5 };
    DO(cudaMemcpyAsync(b, pageable, BYTES, cudaMemcpyHostToDevice, one));
    DO(cudaMemcpyAsync(c, pinned, BYTES, cudaMemcpyHostToDevice, one));
    pageable[VALUES - 1] = 6;
    pinned[VALUES - 1] = 7;
    assert_true(last_of(b) == 5);
    assert_true(last_of(c) == 7);
    pinned[VALUES - 1] = 1;
}

static void test_launch(void **state)
{
    (void)state;
    float two_halves = 2.5f, zero = 0;
    scale(b, a, 3, one);
    assert_true(last_of(b) == 3);
    DO(cudaMemcpyToSymbolAsync(&offset_shadow, &two_halves, 4, 0, cudaMemcpyHostToDevice, one));
    scale(b, a, 3, one);
    assert_true(last_of(b) == 5.5f);
    DO(cudaMemcpyToSymbol(&offset_shadow, &zero, 4, 0, cudaMemcpyHostToDevice));
    struct cudaFuncAttributes attributes;
    int blocks;
    DO(cudaFuncGetAttributes(&attributes, &shared_stub));
    assert_int_equal(attributes.sharedSizeBytes, 1012);
    assert_int_equal(attributes.maxThreadsPerBlock, 1024);
    DO(cudaFuncGetAttributes(&attributes, &scale_stub));
    assert_int_equal(attributes.maxThreadsPerBlock, 256);
    DO(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, &scale_stub, 256, 0));
    assert_int_equal(blocks, 8);
    DO(cudaFuncSetAttribute(&shared_stub, cudaFuncAttributeMaxDynamicSharedMemorySize, 90000));
    DO(scale_as(&shared_stub, (dim3){ 4, 1, 1 }, (dim3){ 256, 1, 1 }, 90000, b, a, 2, one));
    assert_true(last_of(b) == 2);
}

/* Another stream reads what this one writes. Without an event it sometimes reads too early, with one never. */
static void test_events(void **state)
{
    (void)state;
    int early[2] = { 0 };
    for (int turn = 0; turn < 2 * TURNS; turn++) {
        bool ordered = turn % 2;
        DO(cudaMemset(b, 0, BYTES));
        scale(b, a, 4, one);
        DO(cudaEventRecord(event, one));
        if (ordered) DO(cudaStreamWaitEvent(two, event, 0));
        scale(c, b, 1, two);
        early[ordered] += last_of(c) != 4;
    }
    assert_true(early[0] > 0 && early[0] < TURNS);
    assert_int_equal(early[1], 0);
}

/* An event is what it was when a stream began to wait for it. */
static void test_event_again(void **state)
{
    (void)state;
    for (int turn = 0; turn < TURNS; turn++) {
        DO(cudaMemset(b, 0, BYTES));
        scale(b, a, 4, one);
        DO(cudaEventRecord(event, one));
        DO(cudaStreamWaitEvent(two, event, 0));
        DO(cudaEventRecord(event, two));
        scale(c, b, 1, two);
        DO(cudaEventSynchronize(event));
        assert_true(last_of(c) == 4);
    }
}

static void test_deferred(void **state)
{
    (void)state;
    float milliseconds;
    pinned[0] = 1;
    DO(cudaEventRecord(other_event, one));
    scale(b, a, 9, one);
    DO(cudaMemcpyAsync(pinned, b, BYTES, cudaMemcpyDeviceToHost, one));
    cudaEvent_t end;
    DO(cudaEventCreate(&end));
    DO(cudaEventRecord(end, one));
    assert_true(pinned[0] == 1);
    assert_int_equal(cudaEventElapsedTime(&milliseconds, other_event, end), cudaErrorNotReady);
    int asked = 0;
    while (cudaEventQuery(end) == cudaErrorNotReady) assert_true(++asked < 10);
    assert_int_equal(asked, 3);
    assert_true(pinned[0] == 9);
    DO(cudaEventElapsedTime(&milliseconds, other_event, end));
    assert_true(milliseconds >= 0);
    DO(cudaEventDestroy(end));
    cudaGetLastError();
    for (int i = 0; i < VALUES; i++) pinned[i] = 1;
}

static void add_one(void *data)
{
    ++*(int *)data;
}

/* b = 2a on one stream, c = 3a on the other, then a = b + ... on the first; and a host function. */
static void capture(cudaGraph_t *graph, int *calls)
{
    DO(cudaStreamBeginCapture(one, cudaStreamCaptureModeThreadLocal));
    DO(cudaEventRecord(event, one));
    DO(cudaStreamWaitEvent(two, event, 0));
    scale(b, a, 2, one);
    scale(c, a, 3, two);
    DO(cudaLaunchHostFunc(two, add_one, calls));
    DO(cudaEventRecord(other_event, two));
    DO(cudaStreamWaitEvent(one, other_event, 0));
    scale(a, c, 2, one);
    DO(cudaStreamEndCapture(one, graph));
}

static void test_graph(void **state)
{
    (void)state;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaGraphNode_t nodes[4];
    enum cudaGraphNodeType type;
    size_t count = 0;
    int calls = 0;
    capture(&graph, &calls);
    assert_true(last_of(a) == 1);
    DO(cudaGraphGetNodes(graph, NULL, &count));
    assert_int_equal(count, 4);
    DO(cudaGraphGetNodes(graph, nodes, &count));
    DO(cudaGraphNodeGetType(nodes[2], &type));
    assert_int_equal(type, cudaGraphNodeTypeHost);
    DO(cudaGraphInstantiate(&exec, graph, 0));
    DO(cudaGraphDestroy(graph));
    DO(cudaGraphLaunch(exec, one));
    DO(cudaGraphLaunch(exec, two));                         /* the same one: after the first */
    assert_int_equal(calls, 0);
    assert_true(last_of(a) == 36);
    assert_true(last_of(b) == 12 && last_of(c) == 18);
    assert_int_equal(calls, 2);
    DO(cudaGraphExecDestroy(exec));
    DO(cudaMemcpy(a, pinned, BYTES, cudaMemcpyHostToDevice));
}

/* ---- mistakes ---- */

static void wrong_direction(void) { cudaMemcpy(a, b, BYTES, cudaMemcpyHostToDevice); }
static void copy_past_end(void) { cudaMemcpyAsync(b, a, BYTES + 1, cudaMemcpyDeviceToDevice, one); }
static void copy_past_pinned(void) { cudaMemcpyAsync(pinned + 1, a, BYTES, cudaMemcpyDeviceToHost, one); }
static void copy_overlaps(void) { cudaMemcpyAsync(a + 1, a, BYTES / 2, cudaMemcpyDeviceToDevice, one); }
static void set_past_end(void) { cudaMemsetAsync(a + 1, 0, BYTES, one); }
static void free_inside(void) { cudaFree(a + 1); }
static void free_twice(void) { cudaFree(a); cudaFree(a); }
static void default_stream(void) { cudaMemcpyAsync(b, a, BYTES, cudaMemcpyDeviceToDevice, NULL); }
static void dead_stream(void) { cudaStreamDestroy(one); cudaStreamSynchronize(one); }
static void dead_event(void) { cudaEventDestroy(event); cudaEventRecord(event, one); }
static void async_memory(void) { cudaMallocAsync((void **)&b, BYTES, one); }
static void host_reads_device(void) { ph_watch(); exit(a[3] == 1); }
static void kernel_reads_host(void) { scale(b, pinned, 1, one); cudaStreamSynchronize(one); }
static void kernel_reads_freed(void) { cudaFree(a); scale(b, a, 1, one); cudaStreamSynchronize(one); }
static void no_translation(void) { scale_as(&untranslated_stub, (dim3){ 1, 1, 1 }, (dim3){ 1, 1, 1 }, 0, b, a, 1, one); }
static void not_a_kernel(void) { scale_as("x", (dim3){ 1, 1, 1 }, (dim3){ 1, 1, 1 }, 0, b, a, 1, one); }
static void empty_grid(void) { scale_as(&scale_stub, (dim3){ 0, 1, 1 }, (dim3){ 32, 1, 1 }, 0, b, a, 1, one); }
static void grid_too_tall(void) { scale_as(&scale_stub, (dim3){ 1, 65536, 1 }, (dim3){ 32, 1, 1 }, 0, b, a, 1, one); }
static void block_too_deep(void) { scale_as(&shared_stub, (dim3){ 1, 1, 1 }, (dim3){ 1, 1, 65 }, 0, b, a, 1, one); }
static void past_launch_bounds(void) { scale_as(&scale_stub, (dim3){ 1, 1, 1 }, (dim3){ 512, 1, 1 }, 0, b, a, 1, one); }
static void unasked_shared(void) { scale_as(&scale_stub, (dim3){ 1, 1, 1 }, (dim3){ 32, 1, 1 }, 50000, b, a, 1, one); }
static void unasked_with_static(void) { scale_as(&shared_stub, (dim3){ 1, 1, 1 }, (dim3){ 32, 1, 1 }, 48 * 1024 - 1000, b, a, 1, one); }
static void too_much_shared(void) { cudaFuncSetAttribute(&scale_stub, cudaFuncAttributeMaxDynamicSharedMemorySize, 170000); }

static void copy_to_freed_pinned(void)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaStreamBeginCapture(one, cudaStreamCaptureModeRelaxed);
    cudaMemcpyAsync(b, pinned, BYTES, cudaMemcpyHostToDevice, one);
    cudaStreamEndCapture(one, &graph);
    cudaGraphInstantiate(&exec, graph, 0);
    cudaFreeHost(pinned);
    cudaGraphLaunch(exec, one);
    cudaStreamSynchronize(one);
}

static void call_cuda(void *data) { cudaFree(data); }
static void host_function_calls(void) { cudaLaunchHostFunc(one, call_cuda, NULL); cudaStreamSynchronize(one); }

static void begin(void) { cudaStreamBeginCapture(one, cudaStreamCaptureModeThreadLocal); }
static void allocate_in_capture(void) { begin(); cudaMalloc((void **)&b, BYTES); }
static void free_in_capture(void) { begin(); cudaFree(b); }
static void synchronise_in_capture(void) { begin(); cudaStreamSynchronize(two); }
static void copy_in_capture(void) { begin(); cudaMemcpy(a, b, BYTES, cudaMemcpyDeviceToDevice); }
static void pageable_in_capture(void) { float x; begin(); cudaMemcpyAsync(&x, a, sizeof x, cudaMemcpyDeviceToHost, one); }

static void end_broken_capture(void)
{
    cudaGraph_t graph;
    begin();
    cudaMalloc((void **)&b, BYTES);
    if (cudaStreamEndCapture(one, &graph) == cudaErrorStreamCaptureInvalidated && !graph) exit(0);
}

static void unjoined(void)
{
    cudaGraph_t graph;
    begin();
    cudaEventRecord(event, one);
    cudaStreamWaitEvent(two, event, 0);
    scale(c, a, 3, two);
    cudaStreamEndCapture(one, &graph);
}

static void waits_for_outside(void)
{
    cudaEventRecord(event, two);
    begin();
    cudaStreamWaitEvent(one, event, 0);
}

static void waits_for_ended_capture(void)
{
    cudaGraph_t graph;
    begin();
    cudaEventRecord(event, one);
    cudaStreamEndCapture(one, &graph);
    cudaStreamWaitEvent(two, event, 0);
}

static const struct misuse misuses[] = {
    { "direction", wrong_direction, "asked for cudaMemcpyHostToDevice, but the pointers are cudaMemcpyDeviceToDevice" },
    { "copy past the end", copy_past_end, "4000 bytes to the end of its device allocation, the copy is of 4001" },
    { "copy past pinned memory", copy_past_pinned, "3996 bytes to the end of its pinned allocation" },
    { "overlap", copy_overlaps, "overlap" },
    { "set past the end", set_past_end, "not within one allocation" },
    { "free inside", free_inside, "but lies in one" },
    { "free twice", free_twice, "is no allocation of the device" },
    { "default stream", default_stream, "pass a stream of cudaStreamCreateWithFlags" },
    { "dead stream", dead_stream, "is no stream, or a destroyed one" },
    { "dead event", dead_event, "is no event, or a destroyed one" },
    { "cudaMallocAsync", async_memory, "not emulated" },
    { "host reads the device's memory", host_reads_device, "host code follows the device address" },
    { "kernel reads the host's memory", kernel_reads_host, "not on the device" },
    { "kernel reads freed memory", kernel_reads_freed, "lies in no allocation" },
    { "no translation", no_translation, "kernel untranslated has no translation" },
    { "not a kernel", not_a_kernel, "is not a kernel" },
    { "empty grid", empty_grid, "nothing to run" },
    { "tall grid", grid_too_tall, "grid 1x65536x1" },
    { "deep block", block_too_deep, "block 1x1x65" },
    { "launch bounds", past_launch_bounds, "512 threads in a block, its __launch_bounds__ are 256" },
    { "shared memory not asked for", unasked_shared, "cudaFuncSetAttribute must ask for more than 49152" },
    { "static and dynamic shared memory", unasked_with_static, "cudaFuncSetAttribute must ask for more than 48140" },
    { "too much shared memory", too_much_shared, "an sm_80 block has room for 166912" },
    { "graph on freed pinned memory", copy_to_freed_pinned, "its pinned source has been freed" },
    { "host function calls CUDA", host_function_calls, "the host function calls cudaFree" },
    { "allocation in a capture", allocate_in_capture, "not allowed while a stream captures" },
    { "free in a capture", free_in_capture, "not allowed while a stream captures" },
    { "waiting in a capture", synchronise_in_capture, "not allowed while a stream captures" },
    { "synchronous copy in a capture", copy_in_capture, "not allowed while a stream captures" },
    { "pageable memory in a capture", pageable_in_capture, "the graph would keep pageable memory" },
    { "broken capture", end_broken_capture, "the capture was broken by an earlier error" },
    { "unjoined capture", unjoined, "scale on another stream: no event leads from it back" },
    { "wait for an event outside", waits_for_outside, "the event was recorded outside its capture" },
    { "wait for an ended capture", waits_for_ended_capture, "a capture that has ended" },
};

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof misuses / sizeof *misuses; i++) misuse_expect(&misuses[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes), cmocka_unit_test(test_memory), cmocka_unit_test(test_sources), cmocka_unit_test(test_launch), cmocka_unit_test(test_events),
        cmocka_unit_test(test_event_again), cmocka_unit_test(test_deferred), cmocka_unit_test(test_graph),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
