/* The stand-in for NCCL: every operation among one, two and three processes against plain loops, and each misuse that it has to report. */
#include "test_ranks.h"
#include "narrow.h"

/* ---- numbers: small integers, exact in every type ---- */

static size_t size_of(ncclDataType_t type) { return type == ncclFloat32 || type == ncclInt32 ? 4 : type == ncclFloat64 || type == ncclInt64 ? 8 : type == ncclUint8 ? 1 : 2; }

static void put(void *data, size_t at, ncclDataType_t type, double x)
{
    switch ((int)type) {
    case ncclFloat32: ((float *)data)[at] = (float)x; break;
    case ncclFloat64: ((double *)data)[at] = x; break;
    case ncclInt32: ((int32_t *)data)[at] = (int32_t)x; break;
    case ncclInt64: ((int64_t *)data)[at] = (int64_t)x; break;
    case ncclUint8: ((uint8_t *)data)[at] = (uint8_t)x; break;
    case ncclBfloat16: ((uint16_t *)data)[at] = bf16_narrow((float)x); break;
    case ncclFloat16: ((uint16_t *)data)[at] = f16_narrow((float)x); break;
    }
}

static double value(int of, size_t i) { return (double)((i * 7 + (size_t)of * 5) % 6); }

/* An average of three is 1/3 in the type times each; only one and two are exact. */
static double reduced(size_t i, ncclRedOp_t op)
{
    double x = value(0, i);
    for (int r = 1; r < ranks; r++) {
        double y = value(r, i);
        x = op == ncclProd ? x * y : op == ncclMax ? (y > x ? y : x) : op == ncclMin ? (y < x ? y : x) : x + y;
    }
    return op == ncclAvg ? x / ranks : x;
}

static const ncclDataType_t types[] = { ncclFloat32, ncclFloat64, ncclInt32, ncclInt64, ncclUint8, ncclBfloat16, ncclFloat16 };
static const size_t counts[] = { 0, 1, 1000, 150001 };

static void reductions_of(ncclDataType_t type, ncclRedOp_t op, size_t n)
{
    size_t size = size_of(type), all = n * (size_t)ranks;
    char *send = malloc(all * size + 8), *want = malloc(all * size + 8), *got = malloc(all * size + 8);
    for (size_t i = 0; i < all; i++) put(send, i, type, value(rank, i));
    for (size_t i = 0; i < all; i++) put(want, i, type, reduced(i, op));
    char *in = device_of(send, all * size + 8), *out = device_of(NULL, all * size + 8);
    OK(ncclAllReduce(in, out, n, type, op, comm, stream));
    fetch(got, out, n * size);
    CHECK(memcmp(got, want, n * size) == 0);
    OK(ncclReduceScatter(in, out, n, type, op, comm, stream));
    fetch(got, out, n * size);
    CHECK(memcmp(got, want + (size_t)rank * n * size, n * size) == 0);
    OK(ncclReduce(in, out, n, type, op, ranks - 1, comm, stream));
    fetch(got, out, n * size);
    CHECK(rank != ranks - 1 || memcmp(got, want, n * size) == 0);
    OK(ncclReduceScatter(in, in + (size_t)rank * n * size, n, type, op, comm, stream));
    fetch(got, in + (size_t)rank * n * size, n * size);
    CHECK(memcmp(got, want + (size_t)rank * n * size, n * size) == 0);
    OK(cudaMemcpy(in, send, all * size, cudaMemcpyHostToDevice));
    OK(ncclAllReduce(in, in, n, type, op, comm, stream));
    fetch(got, in, n * size);
    CHECK(memcmp(got, want, n * size) == 0);
    OK(cudaFree(in));
    OK(cudaFree(out));
    free(send); free(want); free(got);
}

static void reductions(void)
{
    for (int t = 0; t < COUNT(types); t++)
        for (int op = ncclSum; op <= ncclAvg; op++)
            for (int c = 0; c < COUNT(counts); c++) {
                bool whole = types[t] == ncclInt32 || types[t] == ncclInt64 || types[t] == ncclUint8;
                if (op != ncclAvg || ranks < 3 || whole) reductions_of(types[t], (ncclRedOp_t)op, counts[c]);
            }
}

static void copies(void)
{
    for (int t = 0; t < COUNT(types); t++)
        for (int c = 0; c < COUNT(counts); c++) {
            size_t n = counts[c], size = size_of(types[t]), all = n * (size_t)ranks;
            char *send = malloc(n * size + 8), *want = malloc(all * size + 8), *got = malloc(all * size + 8);
            for (size_t i = 0; i < n; i++) put(send, i, types[t], value(rank, i));
            for (size_t i = 0; i < all; i++) put(want, i, types[t], value((int)(i / n), i % n));
            char *in = device_of(send, n * size + 8), *out = device_of(NULL, all * size + 8);
            OK(ncclAllGather(in, out, n, types[t], comm, stream));
            fetch(got, out, all * size);
            CHECK(memcmp(got, want, all * size) == 0);
            OK(cudaMemcpy(out + (size_t)rank * n * size, send, n * size, cudaMemcpyHostToDevice));
            OK(ncclAllGather(out + (size_t)rank * n * size, out, n, types[t], comm, stream));
            fetch(got, out, all * size);
            CHECK(memcmp(got, want, all * size) == 0);
            OK(ncclBroadcast(in, in, n, types[t], ranks - 1, comm, stream));
            fetch(got, in, n * size);
            CHECK(memcmp(got, want + (size_t)(ranks - 1) * n * size, n * size) == 0);
            OK(cudaFree(in));
            OK(cudaFree(out));
            free(send); free(want); free(got);
        }
}

/* Each rank sends each one, itself too, a message of its own length; a sum in the same group. */
static void messages(void)
{
    enum { MOST = 100000 };
    float *in[8], *out[8], *host = malloc(MOST * 4), *one;
    for (size_t i = 0; i < MOST; i++) host[i] = (float)(rank * 1000000 + (int)i);
    one = device_of(host, 4);
    OK(ncclGroupStart());
    for (int r = 0; r < ranks; r++) {
        in[r] = device_of(host, MOST * 4);
        out[r] = device_of(NULL, MOST * 4);
        OK(ncclSend(in[r], (size_t)(MOST - 1000 * r), ncclFloat32, r, comm, stream));
        OK(ncclRecv(out[r], (size_t)(MOST - 1000 * rank), ncclFloat32, r, comm, stream));
    }
    OK(ncclAllReduce(one, one, 1, ncclFloat32, ncclSum, comm, stream));
    OK(ncclGroupEnd());
    for (int r = 0; r < ranks; r++) {
        fetch(host, out[r], (size_t)(MOST - 1000 * rank) * 4);
        for (int i = 0; i < MOST - 1000 * rank; i++) CHECK(host[i] == (float)(r * 1000000 + i));
    }
    fetch(host, one, 4);
    CHECK(host[0] == 1000000.0f * (float)(ranks * (ranks - 1) / 2));
}

/* One after the other, without a group: a pair at a time. */
static void passed_on(void)
{
    int seen = -1;
    int *token = device_of(&rank, sizeof rank);
    if (rank > 0) OK(ncclRecv(token, 1, ncclInt32, rank - 1, comm, stream));
    if (rank < ranks - 1) OK(ncclSend(token, 1, ncclInt32, rank + 1, comm, stream));
    fetch(&seen, token, sizeof seen);
    CHECK(seen == 0);
}

static void recorded(void)
{
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    float x[2] = { (float)rank + 1, 0 };
    float *a = device_of(x, 8);
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    OK(ncclAllReduce(a, a, 1, ncclFloat32, ncclSum, comm, stream));
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphInstantiate(&ready, graph, 0));
    for (int i = 0; i < 3; i++) OK(cudaGraphLaunch(ready, stream));
    fetch(x, a, 4);
    float first = (float)(ranks * (ranks + 1) / 2);
    CHECK(x[0] == first * (float)(ranks * ranks));
    OK(cudaGraphExecDestroy(ready));
    OK(cudaGraphDestroy(graph));
}

static void facts(void)
{
    int n = 0;
    ncclResult_t error = ncclInternalError;
    OK(ncclCommCount(comm, &n));
    CHECK(n == ranks);
    OK(ncclCommUserRank(comm, &n));
    CHECK(n == rank);
    OK(ncclCommCuDevice(comm, &n));
    CHECK(n == 0);
    OK(ncclCommGetAsyncError(comm, &error));
    CHECK(error == ncclSuccess);
    OK(ncclGetVersion(&n));
    CHECK(n == NCCL_VERSION_CODE);
}

static void operations(void **state)
{
    void (*const bodies[])(void) = { facts, reductions, copies, messages, passed_on, recorded };
    (void)state;
    for (int n = 1; n <= 3; n++) for (int i = 0; i < COUNT(bodies); i++) with_ranks(n, bodies[i]);
}

/* Sums whose order shows: the same bits on all ranks, and those of rank order. */
static void order_body(void)
{
    enum { N = 5000 };
    static float x[N], want[N], got[N];
    for (int i = 0; i < N; i++) want[i] = 0;
    for (int r = 0; r < ranks; r++)
        for (int i = 0; i < N; i++) {
            float v = (float)((r * 7919 + i * 104729) % 1000003) * 1e-3f;
            want[i] = r ? want[i] + v : v;
            if (r == rank) x[i] = v;
        }
    float *a = device_of(x, sizeof x);
    OK(ncclAllReduce(a, a, N, ncclFloat32, ncclSum, comm, stream));
    fetch(got, a, sizeof got);
    CHECK(getenv("PTXHOST_JITTER") || memcmp(got, want, sizeof got) == 0);
}

static void order(void **state)
{
    (void)state;
    with_ranks(3, order_body);
}

/* ---- misuse ---- */

static void sum_of(size_t n) { float *x = some(); ncclAllReduce(x, x, n, ncclFloat32, ncclSum, comm, stream); }

static void counts_differ_body(void) { sum_of(rank ? 10 : 20); }
static void counts_differ(void) { pair(counts_differ_body); }
static void operations_differ_body(void) { float *x = some(); if (rank) sum_of(4); else ncclBroadcast(x, x, 4, ncclFloat32, 1, comm, stream); }
static void operations_differ(void) { pair(operations_differ_body); }
static void roots_differ_body(void) { float *x = some(); ncclBroadcast(x, x, 4, ncclFloat32, rank, comm, stream); }
static void roots_differ(void) { pair(roots_differ_body); }
static void types_differ_body(void) { float *x = some(); ncclAllReduce(x, x, 4, rank ? ncclFloat32 : ncclInt32, ncclSum, comm, stream); }
static void types_differ(void) { pair(types_differ_body); }
static void one_does_not_come_body(void) { sum_of(1); cudaStreamSynchronize(stream); if (impatient("1")) sum_of(2); }
static void one_does_not_come(void) { pair(one_does_not_come_body); }
static void one_never_joins(void) { setenv("PTXHOST_NCCL_TIMEOUT", "0.5", 1); ncclGetUniqueId(&id); ncclCommInitRank(&comm, 2, id, 0); }
static void one_has_left_body(void) { if (rank) ncclCommDestroy(comm); else sum_of(3); }
static void one_has_left(void) { pair(one_has_left_body); }
static void ranks_differ(void) { ncclGetUniqueId(&id); bool other = fork() == 0; ncclCommInitRank(&comm, other ? 3 : 2, id, other); if (!other) wait(NULL); }
static void message_differs_body(void) { float *x = some(); if (rank) ncclSend(x, 5, ncclFloat32, 0, comm, stream); else ncclRecv(x, 6, ncclFloat32, 1, comm, stream); }
static void message_differs(void) { pair(message_differs_body); }
static void no_receiver_body(void) { float *x = some(); if (impatient("0.5")) ncclSend(x, 5, ncclFloat32, 1, comm, stream); }
static void no_receiver(void) { pair(no_receiver_body); }
static void both_send_first_body(void)
{
    float *x = some(), *y = some();
    ncclSend(x, 5, ncclFloat32, !rank, comm, stream);
    ncclRecv(y, 5, ncclFloat32, !rank, comm, stream);
}
static void both_send_first(void) { pair(both_send_first_body); }
static void host_buffer_body(void) { static float x[4]; ncclAllReduce(x, x, 4, ncclFloat32, ncclSum, comm, stream); }
static void host_buffer(void) { pair(host_buffer_body); }
static void out_of_bounds_body(void) { float *x = some(); ncclAllGather(x, x + 1000, 24, ncclFloat32, comm, stream); }
static void out_of_bounds(void) { pair(out_of_bounds_body); }
static void half_in_place_body(void) { float *x = some(); ncclAllReduce(x, x + 1, 4, ncclFloat32, ncclSum, comm, stream); }
static void half_in_place(void) { pair(half_in_place_body); }
static void never_written_body(void) { float *x = device_of(NULL, 16); ncclAllReduce(x, x, 4, ncclFloat32, ncclSum, comm, stream); }
static void never_written(void) { pair(never_written_body); }
static void destroyed_twice_body(void) { ncclCommDestroy(comm); ncclCommDestroy(comm); }
static void destroyed_twice(void) { pair(destroyed_twice_body); }
static void group_not_begun_body(void) { ncclGroupEnd(); }
static void group_not_begun(void) { pair(group_not_begun_body); }

static const struct misuse misuses[] = {
    MISUSE(counts_differ, "rank 0: ncclAllReduce of 20 float32, sum (number 1); rank 1: ncclAllReduce of 10 float32"),
    MISUSE(operations_differ, "rank 0: ncclBroadcast of 4 float32, root 1 (number 1); rank 1: ncclAllReduce of 4"),
    MISUSE(roots_differ, "root 0 (number 1); rank 1: ncclBroadcast of 4 float32, root 1"), MISUSE(types_differ, "rank 0: ncclAllReduce of 4 int32"),
    MISUSE(one_does_not_come, "has waited 1 s in ncclAllReduce of 2 float32, sum (number 2) for rank 1, which came to ncclAllReduce of 1 float32"),
    MISUSE(one_never_joins, "has waited 0.5 s in ncclCommInitRank for rank 1, which never came"), MISUSE(one_has_left, "for rank 1, which has destroyed its communicator"),
    MISUSE(ranks_differ, "joins 2 ranks, rank 1 joins 3"), MISUSE(message_differs, "rank 1 sends ncclSend of 5 float32 (number 1), rank 0 expects ncclRecv of 6"),
    MISUSE(no_receiver, "in ncclSend of 5 float32 (number 1) for rank 1"), MISUSE(both_send_first, "rank 0 is in ncclSend of 5 float32 (number 1) and waits for rank 1, rank 1 is in ncclSend of 5"), MISUSE(host_buffer, "is not device memory"),
    MISUSE(out_of_bounds, "leaves its allocation"), MISUSE(half_in_place, "overlap and are not in place"), MISUSE(never_written, "ncclAllReduce"),
    MISUSE(destroyed_twice, "does not live"), MISUSE(group_not_begun, "without ncclGroupStart"),
};

static void misuse_is_reported(void **state)
{
    (void)state;
    MISUSES_ARE_REPORTED(misuses);
}

static void killed_body(void)
{
    sum_of(1);
    OK(cudaStreamSynchronize(stream));
    if (rank) raise(SIGKILL);
    sum_of(1);
    OK(cudaStreamSynchronize(stream));
    expect_remote_error(comm, "has ended; rank 0 waits for it in ncclAllReduce");
}

static void killed_rank_is_named(void **state)
{
    (void)state;
    with_killed(2, killed_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations), cmocka_unit_test(order), cmocka_unit_test(misuse_is_reported), cmocka_unit_test(killed_rank_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
