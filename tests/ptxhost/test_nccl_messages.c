/* The stand-in for NCCL: messages between ranks, alone and in groups; what of them has to be reported, deadlocks above all. */
#include "test_ranks.h"

/* ---- all to all ---- */

static size_t count_of(int from, int to, int round) { return (size_t)((from * 3 + to * 5 + round) % 4) * 20011; }   /* some are 0, some need several pieces */
static int value(int from, int to, size_t i, int round) { return from * 10000000 + to * 1000000 + (int)i + round; }

/* The ranks' blocks lie behind each other in one buffer, as an all-to-all of tokens has them. */
struct blocks { size_t at[9]; int *host, *device; };

static struct blocks sent_blocks(int round)
{
    struct blocks b = { { 0 }, NULL, NULL };
    for (int r = 0; r < ranks; r++) b.at[r + 1] = b.at[r] + count_of(rank, r, round);
    b.host = malloc(b.at[ranks] * sizeof(int) + 4);
    for (int r = 0; r < ranks; r++) for (size_t i = b.at[r]; i < b.at[r + 1]; i++) b.host[i] = value(rank, r, i - b.at[r], round);
    b.device = device_of(b.host, b.at[ranks] * sizeof(int) + 4);
    return b;
}

static struct blocks received_blocks(int round)
{
    struct blocks b = { { 0 }, NULL, NULL };
    for (int r = 0; r < ranks; r++) b.at[r + 1] = b.at[r] + count_of(r, rank, round);
    b.host = malloc(b.at[ranks] * sizeof(int) + 4);
    b.device = device_of(NULL, b.at[ranks] * sizeof(int) + 4);
    return b;
}

static void exchange(const struct blocks *out, const struct blocks *in)
{
    OK(ncclGroupStart());
    for (int r = 0; r < ranks; r++) {
        OK(ncclSend(out->device + out->at[r], out->at[r + 1] - out->at[r], ncclInt32, r, comm, stream));
        OK(ncclRecv(in->device + in->at[r], in->at[r + 1] - in->at[r], ncclInt32, r, comm, stream));
    }
    OK(ncclGroupEnd());
}

static void check_blocks(struct blocks *in, int round)
{
    fetch(in->host, in->device, in->at[ranks] * sizeof(int));
    for (int r = 0; r < ranks; r++) for (size_t i = in->at[r]; i < in->at[r + 1]; i++) CHECK(in->host[i] == value(r, rank, i - in->at[r], round));
}

static void free_blocks(struct blocks *b)
{
    OK(cudaFree(b->device));
    free(b->host);
}

static void all_to_all(void)
{
    for (int round = 0; round < 4; round++) {
        struct blocks out = sent_blocks(round), in = received_blocks(round);
        exchange(&out, &in);
        check_blocks(&in, round);
        free_blocks(&out);
        free_blocks(&in);
    }
}

/* Each launch of the graph sends what is in the buffers then. */
static void recorded(void)
{
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    struct blocks out = sent_blocks(1), in = received_blocks(1);
    size_t bytes = out.at[ranks] * sizeof(int);
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    exchange(&out, &in);
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphInstantiate(&ready, graph, 0));
    for (int launch = 0; launch < 3; launch++) {
        for (int r = 0; r < ranks; r++) for (size_t i = out.at[r]; i < out.at[r + 1]; i++) out.host[i] = value(rank, r, i - out.at[r], launch);
        OK(cudaMemcpy(out.device, out.host, bytes, cudaMemcpyHostToDevice));
        OK(cudaGraphLaunch(ready, stream));
        check_blocks(&in, launch);
    }
    OK(cudaGraphExecDestroy(ready));
    OK(cudaGraphDestroy(graph));
    free_blocks(&out);
    free_blocks(&in);
}

/* ---- other patterns ---- */

/* Messages of several lengths from each rank to the next arrive in order: the senders' in one group, the receivers' one by one and in
   another; the last rank sends none. */
static void in_order(void)
{
    static int host[5][30000];
    int *out[5], *in[5];
    for (int m = 0; m < 5; m++) {
        for (int i = 0; i < 30000; i++) host[m][i] = rank * 1000000 + m * 100000 + i;
        out[m] = device_of(host[m], sizeof host[m]);
        in[m] = device_of(NULL, sizeof host[m]);
    }
    for (int m = 0; m < 5 && rank; m++) {
        if (m == 3) OK(ncclGroupStart());
        OK(ncclRecv(in[m], (size_t)(m * 7000), ncclInt32, rank - 1, comm, stream));
    }
    if (rank) OK(ncclGroupEnd());
    OK(ncclGroupStart());
    for (int m = 0; m < 5 && rank + 1 < ranks; m++) OK(ncclSend(out[m], (size_t)(m * 7000), ncclInt32, rank + 1, comm, stream));
    OK(ncclGroupEnd());
    for (int m = 0; m < 5 && rank; m++) {
        fetch(host[m], in[m], (size_t)(m * 7000) * sizeof(int));
        for (int i = 0; i < m * 7000; i++) CHECK(host[m][i] == (rank - 1) * 1000000 + m * 100000 + i);
    }
}

static void to_itself(void)
{
    int x[3] = { rank, rank + 1, 0 };
    int *a = device_of(x, sizeof x);
    OK(ncclGroupStart());
    OK(ncclRecv(a + 2, 1, ncclInt32, rank, comm, stream));
    OK(ncclRecv(a, 1, ncclInt32, rank, comm, stream));
    OK(ncclSend(a + 1, 1, ncclInt32, rank, comm, stream));
    OK(ncclSend(a, 1, ncclInt32, rank, comm, stream));      /* in place */
    OK(ncclGroupEnd());
    fetch(x, a, sizeof x);
    CHECK(x[0] == rank && x[1] == rank + 1 && x[2] == rank + 1);
}

/* A pipeline's neighbours, forward and back in one group each time. */
static void ring(void)
{
    enum { N = 50000 };
    static float host[N];
    int next = (rank + 1) % ranks, previous = (rank + ranks - 1) % ranks;
    for (int i = 0; i < N; i++) host[i] = (float)rank;
    float *mine = device_of(host, sizeof host), *others = device_of(NULL, sizeof host);
    for (int hop = 0; hop < ranks; hop++) {
        OK(ncclGroupStart());
        OK(ncclSend(mine, N, ncclFloat32, next, comm, stream));
        OK(ncclRecv(others, N, ncclFloat32, previous, comm, stream));
        OK(ncclGroupEnd());
        OK(cudaMemcpyAsync(mine, others, sizeof host, cudaMemcpyDeviceToDevice, stream));
    }
    fetch(host, mine, sizeof host);
    for (int i = 0; i < N; i++) CHECK(host[i] == (float)rank);
}

static void patterns(void **state)
{
    void (*const bodies[])(void) = { all_to_all, recorded, in_order, to_itself, ring };
    (void)state;
    for (int n = 1; n <= 4; n++) for (int i = 0; i < COUNT(bodies); i++) with_ranks(n, bodies[i]);
}

/* ---- misuse ---- */

static void send_to(int peer, size_t n) { ncclSend(some(), n, ncclFloat32, peer, comm, stream); }
static void receive_from(int peer, size_t n) { ncclRecv(some(), n, ncclFloat32, peer, comm, stream); }

static void sizes_differ_body(void)
{
    ncclGroupStart();
    for (int r = 0; r < ranks; r++) {
        send_to(r, (size_t)(10 + rank + r));
        receive_from(r, (size_t)(10 + rank + r + (rank == 0 && r == 2)));
    }
    ncclGroupEnd();
}
static void sizes_differ(void) { crowd(3, sizes_differ_body); }

static void types_differ_body(void) { if (rank) send_to(0, 4); else ncclRecv(some(), 4, ncclInt32, 1, comm, stream); }
static void types_differ(void) { pair(types_differ_body); }
static void both_receive_first_body(void) { receive_from(!rank, 5); send_to(!rank, 5); }
static void both_receive_first(void) { pair(both_receive_first_body); }
static void ring_without_group_body(void) { send_to((rank + 1) % ranks, 7); receive_from((rank + ranks - 1) % ranks, 7); }
static void ring_without_group(void) { crowd(3, ring_without_group_body); }

/* Rank 0's group sends to both; each of the others sends to rank 0 before it receives. */
static void half_a_group_body(void)
{
    if (rank) {
        send_to(0, 6);
        receive_from(0, 6);
        return;
    }
    ncclGroupStart();
    for (int r = 1; r < ranks; r++) send_to(r, 6);
    ncclGroupEnd();
    for (int r = 1; r < ranks; r++) receive_from(r, 6);
}
static void half_a_group(void) { crowd(3, half_a_group_body); }

static void one_too_few_body(void)
{
    ncclGroupStart();
    for (int m = 0; m < 3 - (rank == 1); m++) rank ? receive_from(0, 8) : send_to(1, 8);
    ncclGroupEnd();
    cudaStreamSynchronize(stream);
    if (rank) pause();
}
static void one_too_few(void) { setenv("PTXHOST_NCCL_TIMEOUT", "0.5", 1); pair(one_too_few_body); }

static void one_exits_body(void) { if (rank == 0) receive_from(1, 3); else ncclCommDestroy(comm); }
static void one_exits(void) { pair(one_exits_body); }
static void to_itself_alone_body(void) { send_to(rank, 4); }
static void to_itself_alone(void) { pair(to_itself_alone_body); }
static void no_such_peer_body(void) { send_to(2, 4); }
static void no_such_peer(void) { pair(no_such_peer_body); }

static void same_place_body(void)
{
    float *x = some();
    ncclGroupStart();
    ncclSend(x, 8, ncclFloat32, !rank, comm, stream);
    ncclRecv(x + 7, 8, ncclFloat32, !rank, comm, stream);
    ncclGroupEnd();
}
static void same_place(void) { pair(same_place_body); }

static const struct misuse misuses[] = {
    MISUSE(sizes_differ, "rank 2 sends ncclSend of 12 float32 (number 1), rank 0 expects ncclRecv of 13 float32 (number 1)"),
    MISUSE(types_differ, "rank 1 sends ncclSend of 4 float32 (number 1), rank 0 expects ncclRecv of 4 int32"),
    MISUSE(both_receive_first, "deadlock: rank 0 is in ncclRecv of 5 float32 (number 1) and waits for rank 1, rank 1 is in ncclRecv of 5"),
    MISUSE(ring_without_group, "deadlock: rank 0 is in ncclSend of 7 float32 (number 1) and waits for rank 1, rank 1 is in ncclSend of 7 float32 (number 1) and waits for rank 2, rank 2 is"),
    MISUSE(half_a_group, "deadlock: rank 0 is in ncclSend of 6 float32 (number 1) and waits for rank"),
    MISUSE(one_too_few, "has waited 0.5 s in ncclSend of 8 float32 (number 3) for rank 1, which came to ncclRecv of 8"),
    MISUSE(one_exits, "waits in ncclRecv of 3 float32 (number 1) for rank 1, which has destroyed its communicator"),
    MISUSE(to_itself_alone, "sends itself 1 messages and receives 0 in one group"), MISUSE(no_such_peer, "ncclSend with peer 2 of 2 ranks"),
    MISUSE(same_place, "in one group, the buffers of ncclRecv of 8 float32 (number 1) with rank 1 and of ncclSend of 8 float32 (number 1) with rank 1 overlap"),
};

static void misuse_is_reported(void **state)
{
    (void)state;
    MISUSES_ARE_REPORTED(misuses);
}

/* It dies before the last of its 16 pieces: each query lets one move at most. */
static void killed_body(void)
{
    static const float zero[1 << 18];
    float *x = device_of(zero, sizeof zero);
    if (rank) {
        OK(ncclSend(x, COUNT(zero), ncclFloat32, 0, comm, stream));
        for (int i = 0; i < 8; i++) cudaStreamQuery(stream);
        raise(SIGKILL);
    }
    OK(ncclRecv(x, COUNT(zero), ncclFloat32, 1, comm, stream));
    OK(cudaStreamSynchronize(stream));
    expect_remote_error(comm, "has ended; rank 0 waits for it in ncclRecv of 262144 float32");
}

static void killed_rank_is_named(void **state)
{
    (void)state;
    with_killed(2, killed_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(patterns), cmocka_unit_test(misuse_is_reported), cmocka_unit_test(killed_rank_is_named) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
