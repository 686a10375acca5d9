/* Ranks: what the environment says of them, and what they tell each other. Launches itself with mpirun where there is
   one; with GPUs it is launched by tests/cuda_ranks.sh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <unistd.h>
#include <cmocka.h>
#include "backend/backend.h"
#include "launch.h"
#include "graph/ops.h"

static const char *self;

/* ---- who is here ---- */

static const char *const variables[] = { "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE",
                                         "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID", "RANK",
                                         "WORLD_SIZE" };

/* "NAME=value NAME=value ..." and nothing else of these. */
static void set(const char *words)
{
    char *all = xstrdup(words), *rest = all, *word;
    for (int i = 0; i < COUNT(variables); i++) unsetenv(variables[i]);
    while ((word = strsep(&rest, " ")) != NULL) {
        char *value = strchr(word, '=');
        if (!value) continue;
        *value = 0;
        setenv(word, value + 1, 1);
    }
    free(all);
}

static void is(const char *words, int rank, int ranks)
{
    struct err e;
    int its_rank, its_ranks;
    set(words);
    if (comm_look(&its_rank, &its_ranks, &e)) fail_msg("%s: %s", words, e.text);
    if (its_rank != rank || its_ranks != ranks)
        fail_msg("%s: rank %d of %d, not %d of %d", words, its_rank, its_ranks, rank, ranks);
}

static void refuses(const char *words, const char *says)
{
    struct err e;
    int rank, ranks;
    set(words);
    if (!comm_look(&rank, &ranks, &e)) fail_msg("%s: is not refused", words);
    if (!strstr(e.text, says)) fail_msg("%s: '%s' does not say '%s'", words, e.text, says);
}

static void test_look(void **state)
{
    (void)state;
    is("", 0, 1);
    is("OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4", 2, 4);
    is("PMI_RANK=1 PMI_SIZE=2", 1, 2);
    is("RANK=3 WORLD_SIZE=8", 3, 8);
    is("SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_ID=0", 1, 2);
    is("SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2", 0, 1);      /* a batch script, not a step */
    /* Mpirun within a step */
    is("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1 SLURM_STEP_ID=0 OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4", 2, 4);
    is("RANK=1 WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2", 1, 2);
    refuses("RANK=1 WORLD_SIZE=3 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2",
            "Open MPI says rank 1 of 2, torchrun says rank 1 of 3");
    refuses("OMPI_COMM_WORLD_RANK=4 OMPI_COMM_WORLD_SIZE=4",
            "OMPI_COMM_WORLD_RANK=4 is not below OMPI_COMM_WORLD_SIZE=4");
    refuses("OMPI_COMM_WORLD_RANK=one OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_RANK=one: must be a whole number");
    refuses("WORLD_SIZE=4", "RANK=: must be a whole number");
    set("");
}

static void test_alone(void **state)
{
    struct err e;
    (void)state;
    set("");
    assert_int_equal(comm_join(&e), 0);
    assert_int_equal(comm_here()->ranks, 1);
    comm_order(ORDER_STEP, 1);
    comm_leave();
    set("RANK=1 WORLD_SIZE=3");
    assert_int_equal(comm_join(&e), -1);
    if (!strstr(e.text, "torchrun says rank 1 of 3, but ")) fail_msg("%s", e.text);
    set("");
}

/* ---- what each of several ranks does: test_comm WORD ---- */

enum { LARGE = (32 << 20) / sizeof(float) + 1001 };         /* more than goes at a time */

enum { DRAWN = 4096, MOST = 4 };
static float drawn[MOST][DRAWN];
static float value(int rank, int64_t i) { return drawn[rank][i % DRAWN] + (float)(i / DRAWN); }

static void draw(void)
{
    for (int r = 0; r < MOST; r++)
        for (int i = 0; i < DRAWN; i++)
            drawn[r][i] = (float)key_uniform((struct key){ (uint64_t)r, PURPOSE_TEST, 0, 0 }, (uint64_t)i) - 0.5f;
}

static void expect(bool ok, const char *what, int64_t i)
{
    if (ok) return;
    fprintf(stderr, "rank %d: %s is wrong at %lld\n", comm_here()->rank, what, (long long)i);
    exit(1);
}

static void sums(int64_t n)
{
    const struct comm *c = comm_here();
    float *x = xmalloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = value(c->rank, i);
    c->reduce(x, n, REDUCE_SUM, OVER_ALL);
    for (int64_t i = 0; i < n; i++) {
        float sum = value(0, i);
        for (int r = 1; r < c->ranks; r++) sum += value(r, i);
        expect(memcmp(&x[i], &sum, sizeof sum) == 0, "a sum", i);
    }
    free(x);
}

/* NaN of any one rank stays. */
static float unlike(int64_t i)
{
    const struct comm *c = comm_here();
    return i % (c->ranks + 1) == c->rank ? NAN : (float)(-10 - (c->rank + i) % c->ranks);
}
static bool is_largest(int64_t i, float x)
{
    return i % (comm_here()->ranks + 1) < comm_here()->ranks ? isnan(x) : x == -10;
}

static void largest(void)
{
    float x[64];
    for (int i = 0; i < 64; i++) x[i] = unlike(i);
    comm_here()->reduce(x, 64, REDUCE_MAX, OVER_ALL);
    for (int i = 0; i < 64; i++) expect(is_largest(i, x[i]), "a maximum", i);
}

static void broadcasts(size_t bytes, int root)
{
    const struct comm *c = comm_here();
    unsigned char *x = xcalloc(bytes, 1);
    for (size_t i = 0; i < bytes && c->rank == root; i++) x[i] = (unsigned char)(i * 31 + i / 251);
    c->broadcast(x, bytes, root, OVER_ALL);
    for (size_t i = 0; i < bytes; i++) expect(x[i] == (unsigned char)(i * 31 + i / 251), "a broadcast", (int64_t)i);
    free(x);
}

static void passes(size_t bytes, int from, int to)
{
    const struct comm *c = comm_here();
    unsigned char *x = xcalloc(bytes, 1);
    for (size_t i = 0; i < bytes && c->rank == from; i++) x[i] = (unsigned char)(i * 7 + i / 253);
    if (c->rank == from) comm_send(x, bytes, to);
    if (c->rank == to) comm_receive(x, bytes, from);
    for (size_t i = 0; i < bytes && c->rank == to; i++)
        expect(x[i] == (unsigned char)(i * 7 + i / 253), "what was sent", (int64_t)i);
    free(x);
}

/* Of a grid of 2 by 2 rows and columns by themselves. */
static void groups(void)
{
    const struct comm *c = comm_here();
    static const unsigned axis[] = { OVER_EP, OVER_DP };
    comm_divide(&(struct mesh){ .size = { [AXIS_EP] = 2, [AXIS_DP] = 2 } });
    for (int k = 0; k < 2; k++) {
        int step = k + 1, first = c->rank - (c->rank / step) % 2 * step, second = first + step;
        float x[33];
        for (int i = 0; i < 33; i++) x[i] = value(c->rank, i);
        c->reduce(x, 33, REDUCE_SUM, axis[k]);
        for (int i = 0; i < 33; i++) expect(x[i] == value(first, i) + value(second, i), "a sum of a group", i);
        int rank = c->rank;
        c->broadcast(&rank, sizeof rank, second, axis[k]);
        expect(rank == second, "a broadcast to a group", k);
    }
}

/* Each sends every other something of another size, and more than goes at a time to the next. */
static void everyone(void)
{
    const struct comm *c = comm_here();
    struct parcel parcel[2 * MOST];
    int n = 0;
    for (int r = 0; r < c->ranks; r++) {
        if (r == c->rank) continue;
        size_t out = (size_t)(r + 1 == c->rank ? LARGE : r) * sizeof(float),
               in = (size_t)(c->rank + 1 == r ? LARGE : c->rank) * sizeof(float);
        float *from = xcalloc(out + 1, 1);
        for (size_t i = 0; i < out / sizeof *from; i++) from[i] = value(c->rank, (int64_t)i);
        parcel[n++] = (struct parcel){ r, false, from, out };
        parcel[n++] = (struct parcel){ r, true, xcalloc(in + 1, 1), in };
    }
    c->exchange(parcel, n);
    for (int k = 0; k < n; k++) {
        const float *x = parcel[k].data;
        for (size_t i = 0; parcel[k].receives && i < parcel[k].bytes / sizeof *x; i++)
            expect(x[i] == value(parcel[k].peer, (int64_t)i), "an exchange", (int64_t)i);
        free(parcel[k].data);
    }
}

static void exchange(void)
{
    static const int64_t sizes[] = { 1, 2, 3, 7, 1000, 5000, LARGE };
    static const size_t bytes[] = { 1, 16, 64 << 10, (64 << 10) + 1, LARGE * sizeof(float) + 3 };
    const struct comm *c = comm_here();
    draw();
    for (int i = 0; i < COUNT(sizes); i++) sums(sizes[i]);
    largest();
    for (int i = 0; i < COUNT(bytes); i++) for (int root = 0; root < c->ranks; root++) broadcasts(bytes[i], root);
    for (int i = 0; i < COUNT(bytes); i++) passes(bytes[i], 0, c->ranks - 1), passes(bytes[i], 1, 0);
    everyone();
    if (c->ranks == 4) groups();
    if (c->rank == 0) comm_order(ORDER_STEP, 17);
    else {
        struct order o = comm_follow();
        expect(o.kind == ORDER_STEP && o.value == 17, "an order", 0);
    }
    printf("rank %d of %d: all is right\n", c->rank, c->ranks);
}

/* The same between GPUs: sums, maxima (more than go at a time), and what one has, each beside the others until they
   meet. */
static void all_gpus(const struct backend *b, void *gpu)
{
    enum { N = 300001, SUMS = 0, MAXES = 1, DEALT = 2 };
    const struct comm *c = comm_here();
    void *memory[3];
    float *x = xmalloc(N * sizeof *x);
    for (int k = 0; k < 3; k++) {
        memory[k] = b->alloc(gpu, N * sizeof *x);
        for (int i = 0; i < N; i++) x[i] = k == MAXES ? unlike(i) : value(c->rank, i);
        b->put(gpu, memory[k], x, N * sizeof *x);
    }
    b->reduce(gpu, memory[SUMS], N, REDUCE_SUM, OVER_ALL);
    b->reduce(gpu, memory[MAXES], N, REDUCE_MAX, OVER_ALL);
    b->broadcast(gpu, memory[DEALT], N * sizeof *x, 1, OVER_ALL);
    b->meet(gpu);
    for (int k = 0; k < 3; k++) {
        b->get(gpu, x, memory[k], N * sizeof *x);
        for (int i = 0; i < N; i++) {
            float sum = 0;
            for (int r = 0; r < c->ranks; r++) sum += value(r, i);
            bool good = k == SUMS    ? fabsf(x[i] - sum) <= 1e-6f * fabsf(sum) + 1e-6f
                        : k == MAXES ? is_largest(i, x[i])
                                     : x[i] == value(1, i);
            expect(good, "an exchange between GPUs", i);
        }
        b->release(gpu, memory[k], N * sizeof *x);
    }
    free(x);
}

/* Sums, maxima and broadcasts of the rows and the columns of a grid of 2 by 2, and of all of it, at once; then what is
   alone keeps what it has. */
static void groups_of_gpus(const struct backend *b, void *gpu)
{
    enum { N = 33 };
    static const unsigned over[] = { OVER_EP, OVER_DP | OVER_TP, OVER_DATA };
    const struct place *here = &comm_here()->place;
    struct { float sum[N], largest[N], dealt[N]; } x[3], *memory = b->alloc(gpu, sizeof x);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < N; i++) x[k].sum[i] = x[k].largest[i] = x[k].dealt[i] = value(here->rank, i + k);
    b->put(gpu, memory, x, sizeof x);
    for (int k = 0; k < 3; k++) {
        b->reduce(gpu, memory[k].sum, N, REDUCE_SUM, over[k]);
        b->reduce(gpu, memory[k].largest, N, REDUCE_MAX, over[k]);
        b->broadcast(gpu, memory[k].dealt, sizeof x->dealt, place_member(here, over[k], 1), over[k]);
    }
    b->reduce(gpu, memory->sum, N, REDUCE_SUM, OVER_CP);
    b->broadcast(gpu, memory->dealt, sizeof x->dealt, here->rank, 0);
    b->meet(gpu);
    b->get(gpu, x, memory, sizeof x);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < N; i++) {
            float sum = 0, most = -INFINITY;
            for (int m = 0; m < place_group(here, over[k]); m++) {
                float other = value(place_member(here, over[k], m), i + k);
                sum += other;
                most = fmaxf(most, other);
            }
            expect(fabsf(x[k].sum[i] - sum) <= 1e-6f, "a sum of a group of GPUs", i);
            expect(x[k].largest[i] == most, "a maximum of a group of GPUs", i);
            expect(x[k].dealt[i] == value(place_member(here, over[k], 1), i + k), "a broadcast to a group of GPUs", i);
        }
    b->release(gpu, memory, sizeof x);
}

/* Rows of all of a group, each of which has sent its own to every other. */
static void gather_on_gpus(const struct backend *b, void *gpu, unsigned over)
{
    enum { N = 10007 };
    const struct place *here = &comm_here()->place;
    int n = place_group(here, over);
    struct over_attr at = { over, n };
    float *x = xmalloc((size_t)n * N * sizeof *x), *from = b->alloc(gpu, N * sizeof *x),
          *to = b->alloc(gpu, (size_t)n * N * sizeof *x);
    struct tensor in = { .data = from, .shape = SHAPE(N), .format = FORMAT_REAL },
                  out = { .data = to, .shape = SHAPE(n * N), .format = FORMAT_REAL };
    for (int i = 0; i < N; i++) x[i] = value(here->rank, i);
    b->put(gpu, from, x, N * sizeof *x);
    b->kernels(OP_all_gather)->forward(&(struct args){ .attr = &at, .n_in = 1, .in = &in, .out = &out, .device = gpu });
    b->get(gpu, x, to, (size_t)n * N * sizeof *x);
    for (int i = 0; i < n * N; i++)
        expect(x[i] == value(place_member(here, over, i / N), i % N), "an exchange between GPUs", i);
    b->release(gpu, from, N * sizeof *x);
    b->release(gpu, to, (size_t)n * N * sizeof *x);
    free(x);
}

/* Channels up and down a ring: all give on both before any takes, and take in another order than was given; what was
   given is written over at once. Parcels of a round are as many as the channels are opened for, with room to spare or
   none. */
static void channels_on_gpus(const struct backend *b)
{
    enum { N = 5003, PARCELS = 3, ROUNDS = 4, UP = 0, DOWN = 1 };
    const struct comm *c = comm_here();
    int ranks = c->ranks, next[] = { (c->rank + 1) % ranks, (c->rank + ranks - 1) % ranks };
    comm_divide(&(struct mesh){ .size = { [AXIS_PP] = ranks } });
    void *gpu = b->open(1);
    float *x = xmalloc(N * sizeof *x), *from = b->alloc(gpu, N * sizeof *x), *to = b->alloc(gpu, N * sizeof *x);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < 2 * ranks; i++) {
            int giver = i / 2, taker = i % 2 == UP ? (giver + 1) % ranks : (giver + ranks - 1) % ranks;
            b->open_channel(gpu, &(struct channel){ i, giver, taker, pass ? PARCELS : 0, pass * N * sizeof *x });
        }
    for (int round = 0; round < ROUNDS; round++) {
        for (int k = 0; k < 2 * PARCELS; k++) {
            int way = k / PARCELS, n = N - k % PARCELS;
            for (int i = 0; i < n; i++) x[i] = value(c->rank, i + round + k);
            b->put(gpu, from, x, (size_t)n * sizeof *x);
            b->give(gpu, &(struct parcel){ next[way], false, from, (size_t)n * sizeof *x }, 2 * c->rank + way);
            b->clear(gpu, from, N * sizeof *x);
        }
        for (int k = 2 * PARCELS; k-- > 0; ) {
            int way = k / PARCELS, of = way * PARCELS + PARCELS - 1 - k % PARCELS, n = N - of % PARCELS;
            int giver = next[!way];
            b->take(gpu, &(struct parcel){ giver, true, to, (size_t)n * sizeof *x }, 2 * giver + way);
            b->get(gpu, x, to, (size_t)n * sizeof *x);
            for (int i = 0; i < n; i++) expect(x[i] == value(giver, i + round + of), "a channel between GPUs", i);
        }
    }
    b->release(gpu, from, N * sizeof *x);
    b->release(gpu, to, N * sizeof *x);
    free(x);
    b->close(gpu);
}

static void exchange_on_gpus(void)
{
    struct err e;
    const struct backend *b = backend_find(BACKEND_CUDA, &e);
    bool grid = comm_here()->ranks == 4;
    if (!b) fprintf(stderr, "%s\n", e.text), exit(7);
    if (grid) comm_divide(&(struct mesh){ .size = { [AXIS_EP] = 2, [AXIS_DP] = 2 } });
    void *gpu = b->open(1);
    draw();
    all_gpus(b, gpu);
    gather_on_gpus(b, gpu, OVER_ALL);
    if (grid) {
        groups_of_gpus(b, gpu);
        gather_on_gpus(b, gpu, OVER_EP);
        gather_on_gpus(b, gpu, OVER_DP);
    }
    b->close(gpu);
    channels_on_gpus(b);
}

static void part_ways(const char *word)
{
    const struct comm *c = comm_here();
    float x[100] = { 0 };
    if (strcmp(word, "unlike") == 0 && c->rank == 1) c->broadcast(x, sizeof x, 1, OVER_ALL);
    else if (strcmp(word, "shorter") == 0 && c->rank == 1) c->reduce(x, 50, REDUCE_SUM, OVER_ALL);
    else if (strcmp(word, "longer") == 0 && c->rank == 1) c->broadcast(x, 40, 0, OVER_ALL);
    else if (strcmp(word, "longer") == 0) c->broadcast(x, sizeof x, 0, OVER_ALL);
    else if (strcmp(word, "silent") == 0 && c->rank == 1) sleep(30);
    else if (strcmp(word, "gone") == 0 && c->rank == 1) exit(3);
    else c->reduce(x, 100, REDUCE_SUM, OVER_ALL);
    if (c->rank != 0 || strcmp(word, "longer") != 0) c->reduce(x, 100, REDUCE_SUM, OVER_ALL);
    else sleep(30);
}

static int be_rank(const char *word)
{
    struct err e;
    if (comm_join(&e)) {
        fprintf(stderr, "%s\n", e.text);
        return 7;
    }
    if (strcmp(word, "exchange") == 0) exchange();
    else if (strcmp(word, "gpus") == 0) exchange_on_gpus();
    else part_ways(word);
    comm_leave();
    return 0;
}

/* ---- launching them ---- */

static void test_exchange(void **state)
{
    char text[8192];
    (void)state;
    for (int ranks = 2; ranks <= MOST; ranks++) {
        if (!launched_right(self, ranks, "exchange", text)) fail_msg("%d ranks: %s", ranks, text);
    }
}

static void parts(const char *word, int code, const char *says)
{
    char text[8192];
    int got = launch(self, 3, word, 2, text);
    if (got != code || !strstr(text, says))
        fail_msg("%s: exit code %d, not %d, or nothing says '%s'\n%s", word, got, code, says, text);
}

static void test_failures(void **state)
{
    (void)state;
    parts("silent", 7, "rank 1 did not answer within 2 s in sum");
    parts("unlike", 7, "rank 1 is at broadcast");
    parts("shorter", 7, "rank 1 is at sum (");
    parts("longer", 7, "rank 0 is at broadcast (more than ");
    parts("gone", 3, "");
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc > 1) return be_rank(argv[1]);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_look), cmocka_unit_test(test_alone) };
    const struct CMUnitTest launched[] = { cmocka_unit_test(test_exchange), cmocka_unit_test(test_failures) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (can_launch(self)) return failed + cmocka_run_group_tests_name("launched", launched, NULL, NULL);
    fprintf(stderr, "mpirun or libsluice_mpi.so is missing: ranks are not tested\n");
    return failed ? failed : 77;
}
