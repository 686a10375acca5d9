/* Ranks over MPI: a shared object by itself, see comm.c. Every exchange is made of messages between two ranks, so that
   the rank that does not answer is known. What is added goes in the order of ranks, each rank adding one part for all,
   so that all have the same bits. */
#define _GNU_SOURCE
#include "comm.h"
#include "link.h"

#include <math.h>
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* exit code; bytes at a time; broadcast without detour; floats added at a time */
enum { LOST = 7, PIECE = 32 << 20, SMALL = 64 << 10, BLOCK = 1024 };
enum { CHANNELS = 32767 };                                  /* tags up to here are of channels */

/* What two ranks do together; the tag of its messages, so that ranks that do different things notice. */
enum act { SUM, MAX, GATHER, BROADCAST, EXCHANGE, CHANNEL, LEAVE };
static const char *const act_name[] = { "sum", "maximum", "gather", "broadcast", "exchange", "channel", "leave" };

struct message { int peer, bytes; bool receives; };

static struct comm here;
static struct {
    int n, most;
    enum act act;
    MPI_Request *request;
    struct message *message;
    MPI_Status *status;
    int *done;
    MPI_Request *stamped;                                   /* by message, of its stamp */
    double *stamp;
} open;
static MPI_Comm stamps;                                     /* when messages over an artificial link are delivered */
static float *parts; static size_t room;                    /* of the others, for the sum of this rank's part */
static bool joined;
static char (*name)[MPI_MAX_PROCESSOR_NAME + 16];           /* of each rank: its number, and its machine if another */

/* ---- failures ---- */

/* A rank that ends takes the others with it: they would wait for it. */
static void abandon(int code, void *unused)
{
    (void)unused;
    if (!joined) return;
    joined = false;
    fflush(NULL);
    MPI_Abort(MPI_COMM_WORLD, code ? code : 1);
}

static _Noreturn void fail(const char *text)
{
    fprintf(stderr, "sluice: rank %d of %d: %s\n", here.rank, here.ranks, text);
    exit(LOST);
}

static void check(int result)
{
    char says[MPI_MAX_ERROR_STRING] = "", text[MPI_MAX_ERROR_STRING + 64];
    int length;
    if (result == MPI_SUCCESS) return;
    MPI_Error_string(result, says, &length);
    snprintf(text, sizeof text, "MPI fails in %s: %s", act_name[open.act], says);
    fail(text);
}

/* The ranks whose messages are not done. */
static _Noreturn void fail_waiting(void)
{
    char text[512];
    int n = 0, ranks = 0;
    for (int r = 0; r < here.ranks; r++) {
        bool waits = false;
        for (int i = 0; i < open.n; i++) waits |= open.message[i].peer == r && open.request[i] != MPI_REQUEST_NULL;
        if (waits && n < 300) n += snprintf(text + n, sizeof text - (size_t)n, "%s%s", ranks++ ? ", " : "", name[r]);
    }
    char whole[700];
    snprintf(whole, sizeof whole,
             "rank%s %s did not answer within %g s in %s; it may have died: see its messages above",
             ranks > 1 ? "s" : "", text, here.patience, act_name[open.act]);
    fail(whole);
}

/* What came is what was awaited. */
static void look(const struct message *m, const MPI_Status *s, int error)
{
    int bytes = 0;
    char text[300];
    if (error != MPI_SUCCESS && error != MPI_ERR_TRUNCATE) check(error);
    if (!m->receives) return;
    MPI_Get_count(s, MPI_BYTE, &bytes);
    if (error == MPI_SUCCESS && s->MPI_TAG == (int)open.act && bytes == m->bytes) return;
    snprintf(text, sizeof text,
             "rank %d is at %s (%s%d bytes) while this rank is at %s (%d bytes): all ranks have to run the same "
             "program, study and options",
             m->peer, act_name[s->MPI_TAG], error ? "more than " : "", bytes, act_name[open.act], m->bytes);
    fail(text);
}

/* ---- messages ---- */

static void make_room(int most)
{
    if (most <= open.most) return;
    open.most = most;
    open.request = xrealloc(open.request, (size_t)most * sizeof *open.request);
    open.message = xrealloc(open.message, (size_t)most * sizeof *open.message);
    open.status = xrealloc(open.status, (size_t)most * sizeof *open.status);
    open.done = xrealloc(open.done, (size_t)most * sizeof *open.done);
    open.stamped = xrealloc(open.stamped, (size_t)most * sizeof *open.stamped);
    open.stamp = xrealloc(open.stamp, (size_t)most * sizeof *open.stamp);
}

/* What goes with a message over an artificial link. */
static void post_stamp(bool receives, size_t bytes, int peer, int tag, double *stamp, MPI_Request *r)
{
    if (!receives) *stamp = link_due(bytes);
    check(receives ? MPI_Irecv(stamp, sizeof *stamp, MPI_BYTE, peer, tag, stamps, r)
                   : MPI_Isend(stamp, sizeof *stamp, MPI_BYTE, peer, tag, stamps, r));
}

/* All that came is delivered; each has its stamp beside it. */
static void deliver(int n)
{
    double due = 0;
    check(MPI_Waitall(n, open.stamped, MPI_STATUSES_IGNORE));
    for (int i = 0; i < n; i++) if (open.message[i].receives) due = fmax(due, open.stamp[i]);
    link_wait(due);
}

static void post(bool receives, void *data, size_t bytes, int peer)
{
    MPI_Request *r = &open.request[open.n];
    if (link_there()) post_stamp(receives, bytes, peer, CHANNELS, &open.stamp[open.n], &open.stamped[open.n]);
    open.message[open.n++] = (struct message){ peer, (int)bytes, receives };
    if (receives) check(MPI_Irecv(data, (int)bytes, MPI_BYTE, peer, MPI_ANY_TAG, MPI_COMM_WORLD, r));
    else check(MPI_Isend(data, (int)bytes, MPI_BYTE, peer, (int)open.act, MPI_COMM_WORLD, r));
}

/* An answer is near at first. Then the processor is left to others: it may be the other rank that needs it. */
static void pause_before(int look)
{
    if (look > 100) nanosleep(&(struct timespec){ .tv_nsec = look < 2000 ? 20000 : 500000 }, NULL);
}

/* Waits for all that was posted. */
static void finish(void)
{
    double until = clock_seconds() + here.patience;
    int all = open.n, left = all, n;
    for (int fruitless = 0; left; fruitless++) {
        int result = MPI_Testsome(open.n, open.request, &n, open.done, open.status);
        if (result != MPI_ERR_IN_STATUS) check(result);
        for (int i = 0; i < n; i++)
            look(&open.message[open.done[i]], &open.status[i],
                 result == MPI_ERR_IN_STATUS ? open.status[i].MPI_ERROR : MPI_SUCCESS);
        left -= n;
        if (n) fruitless = 0;
        else if (clock_seconds() > until) fail_waiting();
        else pause_before(fruitless);
    }
    open.n = 0;
    if (link_there()) deliver(all);
}

/* ---- what the ranks of a group do together, a piece at a time ---- */

/* Numbers of ranks are those within the group: this one's is `me`. */
struct group { int n, me; unsigned over; };
static struct group group_of(unsigned over)
{
    return (struct group){ place_group(&here.place, over), place_index(&here.place, over), over };
}
static int rank_of(struct group g, int i) { return place_member(&here.place, g.over, i); }

struct part { size_t from, n; };                            /* of a piece, in its elements */
static struct part part_of(struct group g, int i, size_t n)
{
    size_t from = n * (size_t)i / (size_t)g.n, to = n * (size_t)(i + 1) / (size_t)g.n;
    return (struct part){ from, to - from };
}

/* Everyone's part goes to all others; number `whole` has them already. */
static void gather(struct group g, char *data, size_t n, size_t element, int whole)
{
    struct part mine = part_of(g, g.me, n);
    open.act = GATHER;
    for (int i = 0; i < g.n; i++) {
        struct part its = part_of(g, i, n);
        if (i == g.me) continue;
        if (g.me != whole) post(true, data + its.from * element, its.n * element, rank_of(g, i));
        if (i != whole) post(false, data + mine.from * element, mine.n * element, rank_of(g, i));
    }
    finish();
}

/* Through all of them where it is large, so that none sends it more than once. */
static void broadcast_piece(struct group g, char *data, size_t bytes, int root)
{
    bool parted = bytes > SMALL;
    int whole = -1;
    open.act = BROADCAST;
    for (int i = 0; i < g.n; i++) {
        struct part its = parted ? part_of(g, i, bytes) : (struct part){ 0, bytes };
        if (rank_of(g, i) == root) { whole = i; continue; }
        if (here.rank == root) post(false, data + its.from, its.n, rank_of(g, i));
        if (i == g.me) post(true, data + its.from, its.n, root);
    }
    finish();
    if (parted) gather(g, data, bytes, 1, whole);
}

static void broadcast(void *data, size_t bytes, int root, unsigned over)
{
    for (size_t at = 0; at < bytes; at += PIECE)
        broadcast_piece(group_of(over), (char *)data + at, bytes - at < PIECE ? bytes - at : PIECE, root);
}

static void combine(float *to, const float *from, size_t n, enum reduction how)
{
    if (how == REDUCE_SUM) for (size_t i = 0; i < n; i++) to[i] += from[i];
    else for (size_t i = 0; i < n; i++) to[i] = from[i] > to[i] || from[i] != from[i] ? from[i] : to[i];
}

/* mine += those of the others, which lie in `parts`, in the order of ranks. */
static void combine_parts(struct group g, float *mine, size_t n, enum reduction how)
{
    float sum[BLOCK];
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t some = n - at < BLOCK ? n - at : BLOCK;
        for (int i = 0, other = 0; i < g.n; i++) {
            const float *its = (i == g.me ? mine : parts + (size_t)other++ * n) + at;
            if (i == 0) memcpy(sum, its, some * sizeof *sum);
            else combine(sum, its, some, how);
        }
        memcpy(mine + at, sum, some * sizeof *sum);
    }
}

static void reduce_piece(struct group g, float *data, size_t n, enum reduction how)
{
    struct part mine = part_of(g, g.me, n);
    size_t need = mine.n * (size_t)(g.n - 1);
    if (room < need) parts = xrealloc(parts, (room = need) * sizeof *parts);
    open.act = how == REDUCE_SUM ? SUM : MAX;
    for (int i = 0, other = 0; i < g.n; i++) {
        struct part its = part_of(g, i, n);
        if (i == g.me) continue;
        post(true, parts + (size_t)other++ * mine.n, mine.n * sizeof *parts, rank_of(g, i));
        post(false, data + its.from, its.n * sizeof *data, rank_of(g, i));
    }
    finish();
    combine_parts(g, data + mine.from, mine.n, how);
    gather(g, (char *)data, n, sizeof *data, -1);
}

static void reduce(float *data, int64_t n, enum reduction how, unsigned over)
{
    enum { FLOATS = PIECE / sizeof *data };
    for (int64_t at = 0; at < n; at += FLOATS)
        reduce_piece(group_of(over), data + at, (size_t)(n - at < FLOATS ? n - at : FLOATS), how);
}

static void exchange(const struct parcel *parcels, int n)
{
    bool left = n > 0;
    make_room(n);
    open.act = EXCHANGE;
    for (size_t at = 0; left; at += PIECE) {
        left = false;
        for (int i = 0; i < n; i++) {
            const struct parcel *p = &parcels[i];
            size_t rest = p->bytes > at ? p->bytes - at : 0;
            if (rest || at == 0) post(p->receives, (char *)p->data + at, rest < PIECE ? rest : PIECE, p->peer);
            left |= rest > PIECE;
        }
        finish();
    }
}

/* ---- channels: messages of a communicator of their own, whose tags are the channels ---- */

static MPI_Comm channels;
static struct given { char *copy; double stamp; MPI_Request *request; int n; struct given *next; } *underway;

static int pieces_of(const struct parcel *p) { return (int)(p->bytes / PIECE) + 1; }

static void post_pieces(const struct parcel *p, char *data, int channel, bool receives, MPI_Request *request)
{
    open.act = CHANNEL;
    for (int i = 0; i < pieces_of(p); i++) {
        size_t at = (size_t)i * PIECE, n = p->bytes - at < PIECE ? p->bytes - at : PIECE;
        check(receives ? MPI_Irecv(data + at, (int)n, MPI_BYTE, p->peer, channel, channels, &request[i])
                       : MPI_Isend(data + at, (int)n, MPI_BYTE, p->peer, channel, channels, &request[i]));
    }
}

/* Lets go of the copies that have gone; whether some have not. */
static bool look_underway(void)
{
    for (struct given **at = &underway, *g; (g = *at) != NULL; ) {
        int done;
        check(MPI_Testall(g->n, g->request, &done, MPI_STATUSES_IGNORE));
        if (!done) { at = &g->next; continue; }
        *at = g->next;
        free(g->copy);
        free(g->request);
        free(g);
    }
    return underway != NULL;
}

static void give(const struct parcel *p, int channel)
{
    look_underway();
    struct given *g = xcalloc(1, sizeof *g);
    int n = pieces_of(p);
    *g = (struct given){ xmalloc(p->bytes + 1), 0, xmalloc((size_t)(n + 1) * sizeof(MPI_Request)), n + link_there(),
                         underway };
    memcpy(g->copy, p->data, p->bytes);
    if (link_there()) post_stamp(false, p->bytes, p->peer, channel, &g->stamp, &g->request[n]);
    post_pieces(p, g->copy, channel, false, g->request);
    underway = g;
}

static void take(const struct parcel *p, int channel)
{
    int n = pieces_of(p) + link_there();
    MPI_Request request[pieces_of(p) + 1];
    double stamp = 0, until = clock_seconds() + here.patience;
    char text[500];
    post_pieces(p, p->data, channel, true, request);
    if (link_there()) post_stamp(true, p->bytes, p->peer, channel, &stamp, &request[pieces_of(p)]);
    for (int looks = 0, done = 0; ; looks++) {
        check(MPI_Testall(n, request, &done, MPI_STATUSES_IGNORE));
        if (done) { link_wait(stamp); return; }
        look_underway();
        if (clock_seconds() > until) {
            snprintf(text, sizeof text, "rank %s did not answer within %g s in a channel; it may have died: see its "
                                        "messages above", name[p->peer], here.patience);
            fail(text);
        }
        pause_before(looks);
    }
}

/* ---- joining and leaving ---- */

/* MPI_Finalize would wait for ever for a rank that is gone. */
static void leave(void)
{
    open.act = LEAVE;
    for (int r = 0; r < here.ranks; r++) {
        if (r == here.rank) continue;
        post(true, NULL, 0, r);
        post(false, NULL, 0, r);
    }
    finish();
    while (look_underway()) {}
    joined = false;
    MPI_Finalize();
    free(parts);
    free(open.request);
    free(open.message);
    free(open.status);
    free(open.done);
    free(open.stamped);
    free(open.stamp);
    free(name);
}

/* So does MPI_Init for one that never comes. */
static char late_text[200];
static void late(int number)
{
    (void)number;
    if (write(2, late_text, strlen(late_text)) >= 0) _exit(LOST);
    _exit(LOST);
}

static void start(int rank, int ranks, double patience)
{
    int given;
    snprintf(late_text, sizeof late_text,
             "sluice: rank %d of %d: not all ranks started within %g s; one may have died: see its messages above\n",
             rank, ranks, patience);
    signal(SIGALRM, late);
    alarm((unsigned)ceil(patience));
    MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &given);
    alarm(0);
    signal(SIGALRM, SIG_DFL);
    if (given < MPI_THREAD_SERIALIZED) fail("this MPI serves one thread alone (MPI_THREAD_SERIALIZED is needed)");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
}

static bool is_launched(void)
{
#ifdef OPEN_MPI
    return getenv("PMIX_RANK") || getenv("OMPI_COMM_WORLD_RANK");      /* else MPI_Init ends the process */
#else
    return true;
#endif
}

static void look_around(int *local, int *locals)
{
    MPI_Comm machine;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
    MPI_Comm_rank(machine, local);
    MPI_Comm_size(machine, locals);
    MPI_Comm_free(&machine);
}

static void name_ranks(int rank, int ranks)
{
    enum { MOST = MPI_MAX_PROCESSOR_NAME };
    char its[MOST] = "", *machine = xcalloc((size_t)ranks, MOST);
    int length;
    name = xcalloc((size_t)ranks, sizeof *name);
    MPI_Get_processor_name(its, &length);
    MPI_Allgather(its, MOST, MPI_CHAR, machine, MOST, MPI_CHAR, MPI_COMM_WORLD);
    for (int r = 0; r < ranks; r++) {
        const char *where = machine + (size_t)r * MOST;
        bool other = strcmp(where, machine + (size_t)rank * MOST) != 0;
        snprintf(name[r], sizeof *name, "%d%s%s", r, other ? " on " : "", other ? where : "");
    }
    free(machine);
}

static struct comm *join(int rank, int ranks, double patience, struct err *e)
{
    static const char how[] = "launch with 'mpirun -np 4 sluice run ...' or 'srun --mpi=pmix -n 4 sluice run ...'";
    int its_rank = 0, its_ranks = 1;
    if (is_launched()) {
        start(rank, ranks, patience);
        MPI_Comm_rank(MPI_COMM_WORLD, &its_rank);
        MPI_Comm_size(MPI_COMM_WORLD, &its_ranks);
    } else {
        err_set(e, "not to MPI: %s", how);
        return NULL;
    }
    if (its_rank != rank || its_ranks != ranks) {
        err_set(e, "MPI says rank %d of %d: %s, of the MPI that sluice was built with", its_rank, its_ranks, how);
        return NULL;
    }
    if (link_read(e)) return NULL;
    joined = true;
    on_exit(abandon, NULL);
    here = (struct comm){ .rank = rank, .ranks = ranks, .locals = 1, .patience = patience, .broadcast = broadcast,
                          .reduce = reduce, .exchange = exchange, .give = give, .take = take,
                          .leave = leave };
    look_around(&here.local, &here.locals);
    name_ranks(rank, ranks);
    check(MPI_Comm_dup(MPI_COMM_WORLD, &channels));
    MPI_Comm_set_errhandler(channels, MPI_ERRORS_RETURN);
    check(MPI_Comm_dup(MPI_COMM_WORLD, &stamps));
    MPI_Comm_set_errhandler(stamps, MPI_ERRORS_RETURN);
    make_room(2 * ranks);
    return &here;
}

__attribute__((visibility("default"))) extern const struct comm_entry comm_entry;
const struct comm_entry comm_entry = { SLUICE_INTERFACE, join };
