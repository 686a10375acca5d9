/* The stand-in for NCCL: communicators that are split off another, several of them at once on streams of their own, and what of it has to
   be reported. */
#include "test_ranks.h"

static ncclComm_t split_off(ncclComm_t from, int color, int key)
{
    ncclComm_t made = from;
    OK(ncclCommSplit(from, color, key, &made, NULL));
    return made;
}

static void is(ncclComm_t c, int want_rank, int want_ranks)
{
    int n = -1;
    OK(ncclCommUserRank(c, &n));
    CHECK(n == want_rank);
    OK(ncclCommCount(c, &n));
    CHECK(n == want_ranks);
}

/* ---- which ranks ---- */

static float summed(ncclComm_t c, float x)
{
    float *a = device_of(&x, sizeof x);
    OK(ncclAllReduce(a, a, 1, ncclFloat32, ncclSum, c, stream));
    fetch(&x, a, sizeof x);
    OK(cudaFree(a));
    return x;
}

static float largest(ncclComm_t c, float x)
{
    float *a = device_of(&x, sizeof x);
    OK(ncclReduce(a, a, 1, ncclFloat32, ncclMax, 0, c, stream));
    OK(ncclBroadcast(a, a, 1, ncclFloat32, 0, c, stream));
    fetch(&x, a, sizeof x);
    OK(cudaFree(a));
    return x;
}

/* Keys turn the order round; equal ones keep it. The old communicator and others stay as they were. */
static void keys(void)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclComm_t turned, same = split_off(comm, 7, 3);
    OK(ncclCommSplit(comm, 0, -rank, &turned, &config));
    is(turned, ranks - 1 - rank, ranks);
    is(same, rank, ranks);
    is(comm, rank, ranks);
    float mine = (float)rank, all[8];
    float *in = device_of(&mine, sizeof mine), *out = device_of(NULL, sizeof all);
    OK(ncclAllGather(in, out, 1, ncclFloat32, turned, stream));
    fetch(all, out, sizeof *all * (size_t)ranks);
    for (int r = 0; r < ranks; r++) CHECK(all[r] == (float)(ranks - 1 - r));
    OK(ncclCommDestroy(turned));
    CHECK(summed(same, 1) == (float)ranks && summed(comm, 2) == (float)(2 * ranks));
    OK(ncclCommDestroy(same));
}

/* Odd ranks have a communicator of their own, which is split again; the others have none, and may go on. */
static void no_color(void)
{
    ncclComm_t odd = split_off(comm, rank % 2 ? 0 : NCCL_SPLIT_NOCOLOR, 0);
    CHECK((rank % 2 == 0) == (odd == NULL));
    if (odd) {
        is(odd, rank / 2, ranks / 2);
        CHECK(summed(odd, (float)rank) == (float)(ranks / 2 * (ranks / 2)));
        ncclComm_t alone = split_off(odd, rank, 0);
        is(alone, 0, 1);
        CHECK(summed(alone, 5) == 5);
        OK(ncclCommDestroy(odd));
        CHECK(largest(alone, 6) == 6);
        OK(ncclCommDestroy(alone));
    }
    CHECK(largest(comm, (float)rank) == (float)(ranks - 1));
}

/* ---- a grid: rows and columns at once ---- */

static ncclComm_t row, column;
static cudaStream_t aside;

static void make_grid(void)
{
    row = split_off(comm, rank / 2, rank);
    column = split_off(comm, rank % 2, rank);
    is(row, rank % 2, 2);
    is(column, rank / 2, 2);
    OK(cudaStreamCreateWithFlags(&aside, cudaStreamNonBlocking));
}

static void leave_grid(void)
{
    OK(cudaStreamSynchronize(aside));
    OK(ncclCommDestroy(row));
    OK(ncclCommDestroy(column));
    OK(cudaStreamDestroy(aside));
}

enum { N = 200000 };
static float *of_row, *of_column;
static float host[N];

static void fill(void)
{
    for (int i = 0; i < N; i++) host[i] = (float)(rank + 1 + i % 7);
    of_row = device_of(host, sizeof host);
    of_column = device_of(host, sizeof host);
}

static void check_sums(const float *device, int other, int times)
{
    fetch(host, (void *)(uintptr_t)device, sizeof host);
    for (int i = 0; i < N; i++) CHECK(host[i] == (float)((rank + other + 2 + 2 * (i % 7)) << (times - 1)));
}

static void check_grid(int times)
{
    OK(cudaStreamSynchronize(aside));
    check_sums(of_row, rank ^ 1, times);
    check_sums(of_column, rank ^ 2, times);
}

static void reduce_row(void) { OK(ncclAllReduce(of_row, of_row, N, ncclFloat32, ncclSum, row, stream)); }
static void reduce_column(void) { OK(ncclAllReduce(of_column, of_column, N, ncclFloat32, ncclSum, column, aside)); }

/* Two ranks give the row's first, two the column's, and wait for either first: no stream holds the other up. */
static void at_once(void)
{
    make_grid();
    fill();
    for (int i = 0; i < 5; i++) {
        if (rank == 0 || rank == 3) reduce_row(), reduce_column();
        else reduce_column(), reduce_row();
        if (i % 2) OK(cudaStreamSynchronize(rank < 2 ? stream : aside));
    }
    check_grid(5);
    leave_grid();
}

/* Both in one graph, as branches; three launches. */
static void recorded(void)
{
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    cudaEvent_t fork_, joined;
    make_grid();
    fill();
    OK(cudaEventCreateWithFlags(&fork_, cudaEventDisableTiming));
    OK(cudaEventCreateWithFlags(&joined, cudaEventDisableTiming));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    OK(cudaEventRecord(fork_, stream));
    OK(cudaStreamWaitEvent(aside, fork_, 0));
    if (rank == 0 || rank == 3) reduce_row(), reduce_column();
    else reduce_column(), reduce_row();
    OK(cudaEventRecord(joined, aside));
    OK(cudaStreamWaitEvent(stream, joined, 0));
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphInstantiate(&ready, graph, 0));
    for (int i = 0; i < 3; i++) OK(cudaGraphLaunch(ready, stream));
    check_grid(3);
    OK(cudaGraphExecDestroy(ready));
    OK(cudaGraphDestroy(graph));
    leave_grid();
}

/* One communicator on two streams, without events: the ranks come to its operations in the order of the calls, recorded or not. */
static void order_of_calls(void)
{
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    cudaEvent_t joined;
    float x[3] = { 1, 1, 1 };
    make_grid();
    OK(cudaEventCreateWithFlags(&joined, cudaEventDisableTiming));
    float *a = device_of(x, sizeof x);
    for (int i = 0; i < 20; i++) OK(ncclAllReduce(a + i % 2, a + i % 2, 1, ncclFloat32, i % 4 ? ncclMax : ncclSum, row, i % 2 ? aside : stream));
    OK(cudaStreamSynchronize(aside));
    OK(cudaStreamSynchronize(stream));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    OK(cudaEventRecord(joined, stream));
    OK(cudaStreamWaitEvent(aside, joined, 0));
    for (int i = 0; i < 6; i++) OK(ncclAllReduce(a + i % 3, a + i % 3, 1, ncclFloat32, i % 3 ? ncclMax : ncclSum, row, i % 2 ? aside : stream));
    OK(cudaEventRecord(joined, aside));
    OK(cudaStreamWaitEvent(stream, joined, 0));
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphInstantiate(&ready, graph, 0));
    for (int i = 0; i < 3; i++) OK(cudaGraphLaunch(ready, stream));
    fetch(x, a, sizeof x);
    CHECK(x[0] == 32 * 64 && x[1] == 1 && x[2] == 1);
    OK(cudaGraphExecDestroy(ready));
    OK(cudaGraphDestroy(graph));
    leave_grid();
}

/* Messages of the row and a sum of the column in one group, on one stream and on two; scattered and gathered by a pair of ranks. */
static void in_one_group(void)
{
    float x[4] = { (float)rank, 0, 10 * (float)rank, 20 * (float)rank }, got[2];
    make_grid();
    float *a = device_of(x, sizeof x), *b = device_of(NULL, 8);
    for (int i = 0; i < 4; i++) {
        OK(ncclGroupStart());
        OK(ncclSend(a, 1, ncclFloat32, rank % 2 ^ 1, row, stream));
        OK(ncclAllReduce(a + 2, b, 2, ncclFloat32, ncclSum, column, i % 2 ? aside : stream));
        OK(ncclRecv(a + 1, 1, ncclFloat32, rank % 2 ^ 1, row, stream));
        OK(ncclGroupEnd());
        OK(cudaStreamSynchronize(aside));
        fetch(x, a, sizeof x);
        fetch(got, b, sizeof got);
        CHECK(x[1] == (float)(rank ^ 1) && got[0] == 10 * (float)(rank + (rank ^ 2)) && got[1] == 2 * got[0]);
    }
    OK(ncclReduceScatter(a + 2, b, 1, ncclFloat32, ncclSum, column, stream));
    OK(ncclAllGather(b, a + 2, 1, ncclFloat32, column, stream));
    fetch(x, a, sizeof x);
    CHECK(x[2] == got[0] && x[3] == got[1]);
    leave_grid();
}

/* Rank 1 sends what rank 0 waits for on one stream only after it has had the other's: a stream that waits stands in nobody's way. */
static void streams_go_on(void)
{
    make_grid();
    float x = 0, *a = device_of(&x, 4), *b = device_of(&x, 4);
    if (rank == 0) {
        OK(ncclRecv(a, 1, ncclFloat32, 1, row, stream));
        OK(ncclSend(b, 1, ncclFloat32, 1, comm, aside));
    } else if (rank == 1) {
        OK(ncclRecv(b, 1, ncclFloat32, 0, comm, aside));
        OK(cudaStreamSynchronize(aside));
        OK(ncclSend(a, 1, ncclFloat32, 0, row, stream));
    }
    OK(cudaStreamSynchronize(stream));
    leave_grid();
}

static void splits(void **state)
{
    (void)state;
    for (int n = 1; n <= 4; n++) with_ranks(n, keys);
    for (int n = 2; n <= 4; n += 2) with_ranks(n, no_color);
    void (*const bodies[])(void) = { at_once, recorded, order_of_calls, in_one_group, streams_go_on };
    for (int i = 0; i < COUNT(bodies); i++) with_ranks(4, bodies[i]);
}

/* ---- misuse ---- */

static void sum_in(ncclComm_t c, size_t n) { float *x = some(); ncclAllReduce(x, x, n, ncclFloat32, ncclSum, c, stream); }

/* In pairs of 0 and 2, 1 and 3. */
static void counts_differ_body(void) { sum_in(split_off(comm, rank % 2, 0), rank == 2 ? 10 : 20); }
static void counts_differ(void) { crowd(4, counts_differ_body); }
static void one_does_not_come_body(void) { ncclComm_t c = split_off(comm, 0, -rank); if (impatient("0.5")) sum_in(c, 4); }
static void one_does_not_come(void) { pair(one_does_not_come_body); }
static void one_does_not_split_body(void) { if (impatient("0.5")) ncclCommSplit(comm, 0, 0, &comm, NULL); }
static void one_does_not_split(void) { pair(one_does_not_split_body); }
static void one_calls_another_body(void) { if (rank) sum_in(comm, 4); else ncclCommSplit(comm, 0, 0, &comm, NULL); cudaStreamSynchronize(stream); if (rank) pause(); }
static void one_calls_another(void) { pair(one_calls_another_body); }
static void not_waited_for_body(void) { sum_in(comm, 4); ncclCommSplit(comm, 0, 0, &comm, NULL); }
static void not_waited_for(void) { pair(not_waited_for_body); }
static void no_such_color_body(void) { ncclCommSplit(comm, -5, 0, &comm, NULL); }
static void no_such_color(void) { pair(no_such_color_body); }
static void no_config_body(void) { ncclConfig_t none = { 0 }; ncclCommSplit(comm, 0, 0, &comm, &none); }
static void no_config(void) { pair(no_config_body); }
static void destroyed_body(void) { ncclCommDestroy(comm); ncclCommSplit(comm, 0, 0, &comm, NULL); }
static void destroyed(void) { pair(destroyed_body); }

/* Row and column on one stream in different orders: nothing could go on on a device either. */
static void orders_cross_body(void)
{
    ncclComm_t one = split_off(comm, 0, 0), other = split_off(comm, 0, 0);
    setenv("PTXHOST_NCCL_TIMEOUT", rank ? "60" : "0.5", 1);
    sum_in(rank ? one : other, 1);
    sum_in(rank ? other : one, 1);
}
static void orders_cross(void) { pair(orders_cross_body); }

static void two_streams_in_a_group_body(void)
{
    float *x = some();
    OK(cudaStreamCreateWithFlags(&aside, cudaStreamNonBlocking));
    ncclGroupStart();
    ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, stream);
    ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, aside);
    ncclGroupEnd();
}
static void two_streams_in_a_group(void) { pair(two_streams_in_a_group_body); }

static const struct misuse misuses[] = {
    MISUSE(counts_differ, "rank 0: ncclAllReduce of 20 float32, sum (number 1); rank 1: ncclAllReduce of 10 float32, sum (number 1) (before the split rank 0 was 0, rank 1 was 2)"),
    MISUSE(one_does_not_come, "rank 1: has waited 0.5 s in ncclAllReduce of 4 float32, sum (number 1) for rank 0, which came to ncclCommInitRank (before the split rank 0 was 1, rank 1 was 0)"),
    MISUSE(one_does_not_split, "has waited 0.5 s in ncclCommSplit (number 1) for rank 1, which came to ncclCommInitRank"),
    MISUSE(one_calls_another, "the ranks call different things: rank 0: ncclCommSplit (number 1); rank 1: ncclAllReduce of 4 float32, sum (number 1)"),
    MISUSE(not_waited_for, "ncclCommSplit while operations of the communicator have not run (1)"), MISUSE(no_such_color, "ncclCommSplit with color -5"),
    MISUSE(no_config, "a config that is not NCCL_CONFIG_INITIALIZER's"), MISUSE(destroyed, "ncclCommSplit of a communicator that does not live"),
    MISUSE(orders_cross, "has waited 0.5 s in ncclAllReduce of 1 float32, sum (number 1) for rank 1, which came to ncclCommInitRank"),
    MISUSE(two_streams_in_a_group, "on another stream, which is not modelled"),
};

static void misuse_is_reported(void **state)
{
    (void)state;
    MISUSES_ARE_REPORTED(misuses);
}

/* Of the second pair one dies: its partner learns of it, the first pair does not. */
static void killed_body(void)
{
    ncclComm_t c = split_off(comm, rank / 2, -rank);
    if (rank == 1) raise(SIGKILL);
    sum_in(c, 4);
    OK(cudaStreamSynchronize(stream));
    if (rank >= 2) {
        ncclResult_t error = ncclInternalError;
        CHECK(ncclCommGetAsyncError(c, &error) == 0 && error == ncclSuccess);
        return;
    }
    expect_remote_error(c, "has ended; rank 1 waits for it in ncclAllReduce of 4 float32, sum (number 1) (before the split rank 0 was 1, rank 1 was 0)");
}

static void killed_rank_is_named(void **state)
{
    (void)state;
    with_killed(4, killed_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(splits), cmocka_unit_test(misuse_is_reported), cmocka_unit_test(killed_rank_is_named) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
