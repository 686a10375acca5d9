/* The ranks of one communicator: meeting, waiting, and noticing who does not come. A rank holds a lock on its byte of the segment's
   file, which the kernel takes from it when its process ends, however that happens. */
#include "nccl_ranks.h"
#include "ptxhost.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const char *const op_names[] = {
    [ALL_REDUCE] = "ncclAllReduce", [REDUCE_SCATTER] = "ncclReduceScatter", [ALL_GATHER] = "ncclAllGather", [BROADCAST] = "ncclBroadcast",
    [REDUCE] = "ncclReduce", [SPLIT] = "ncclCommSplit", [SEND] = "ncclSend", [RECV] = "ncclRecv",
};
static const char *const type_names[] = { "int8", "uint8", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64", "bfloat16" };
static const char *const reduction_names[] = { "sum", "product", "maximum", "minimum", "average" };

const char *op_name(enum op op) { return op_names[op]; }

const char *call_text(const struct call *c, char text[160])
{
    if (!c->number) return "ncclCommInitRank";
    int n = snprintf(text, 160, "%s", op_names[c->op]);
    if (c->op != SPLIT) n += snprintf(text + n, 160 - (size_t)n, " of %llu %s", (unsigned long long)c->count, type_names[c->type]);
    if (c->op == ALL_REDUCE || c->op == REDUCE_SCATTER || c->op == REDUCE) n += snprintf(text + n, 160 - (size_t)n, ", %s", reduction_names[c->reduction]);
    if (c->op == BROADCAST || c->op == REDUCE) n += snprintf(text + n, 160 - (size_t)n, ", root %d", c->root);
    snprintf(text + n, 160 - (size_t)n, " (number %llu)", (unsigned long long)c->number);
    return text;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double time_limit(void)
{
    const char *text = getenv("PTXHOST_NCCL_TIMEOUT");
    double seconds = text ? atof(text) : 0;
    return seconds > 0 ? seconds : 30;
}

static bool broken(struct ncclComm *c, ncclResult_t error)
{
    c->error = error;
    atomic_store(&c->shared->seat[c->rank].presence, FAILED);
    shm_unlink(c->name);
    return false;
}

/* In a communicator of ncclCommSplit ranks have other numbers than before. */
static void explain(struct ncclComm *c, const char *format, va_list list)
{
    int n = vsnprintf(c->why, sizeof c->why / 2, format, list);
    size_t room = sizeof c->why, at = (size_t)n < room / 2 ? (size_t)n : room / 2 - 1;
    if (!c->split) return;
    for (int r = 0; r < c->ranks; r++) at += (size_t)snprintf(c->why + at, room - at, "%srank %d was %d", r ? ", " : " (before the split ", r, c->first[r]);
    snprintf(c->why + at, room - at, ")");
}

bool ranks_mistake(struct ncclComm *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    explain(c, format, list);
    va_end(list);
    ph_report("nccl: rank %d: %s", c->rank, c->why);
    return broken(c, ncclInvalidUsage);
}

static bool __attribute__((format(printf, 2, 3))) remote_error(struct ncclComm *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    explain(c, format, list);
    va_end(list);
    fprintf(stderr, "ptxhost: nccl: %s\n", c->why);
    return broken(c, ncclRemoteError);
}

static struct flock lock_of(int rank, short type) { return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = rank, .l_len = 1 }; }

static bool has_ended(const struct ncclComm *c, int rank)
{
    struct flock lock = lock_of(rank, F_WRLCK);
    return rank != c->rank && fcntl(c->file, F_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

static bool lost(struct ncclComm *c, int rank, const struct call *call)
{
    struct seat *seat = &c->shared->seat[rank];
    char text[160], own[160];
    switch (atomic_load(&seat->presence)) {
    case FAILED: return remote_error(c, "rank %d has failed; rank %d cannot go on with %s", rank, c->rank, call_text(call, own));
    case LEFT:
        return ranks_mistake(c, "waits in %s for rank %d, which has destroyed its communicator after %s", call_text(call, own), rank,
                             call_text(&seat->call, text));
    }
    return remote_error(c, "rank %d (process %lld) has ended; rank %d waits for it in %s", rank, (long long)seat->process, c->rank,
                        call_text(call, own));
}

static bool out_of_time(struct ncclComm *c, const struct call *call, uint32_t missing)
{
    char who[400], text[160];
    int n = 0;
    for (int r = 0; r < c->ranks && n < 300; r++)
        if (missing >> r & 1) {
            struct seat *seat = &c->shared->seat[r];
            bool came = atomic_load(&seat->presence) != ABSENT;
            n += snprintf(who + n, sizeof who - (size_t)n, "%srank %d, %s%s", n ? "; " : "", r, came ? "which came to " : "which never came", came ? call_text(&seat->call, text) : "");
        }
    return ranks_mistake(c, "has waited %g s in %s for %s", time_limit(), call_text(call, text), who);
}

void ranks_moved(struct ncclComm *c)
{
    c->since = 0;
    c->gone = 0;
}

/* Who has left or ended may have done its part just before: it is lost if, the next time, it is still missing. */
bool ranks_look(struct ncclComm *c, const struct call *call, uint32_t missing)
{
    double time = now();
    uint32_t gone = 0;
    if (!c->since) c->since = c->looked = time;
    if (time - c->looked < 0.02) return true;
    c->looked = time;
    for (int r = 0; r < c->ranks; r++) {
        int presence = atomic_load(&c->shared->seat[r].presence);
        bool not_there = presence == LEFT || (presence == PRESENT && has_ended(c, r));
        if (presence == FAILED || (not_there && c->gone & missing & 1u << r)) return lost(c, r, call);
        if (not_there) gone |= 1u << r;
    }
    c->gone = gone & missing;
    return time - c->since <= time_limit() || out_of_time(c, call, missing);
}

void ranks_come(struct ncclComm *c)
{
    atomic_fetch_add(&c->shared->seat[c->rank].reached, 1);
    ranks_moved(c);
}

uint32_t ranks_missing(struct ncclComm *c)
{
    uint64_t meeting = atomic_load(&c->shared->seat[c->rank].reached);
    uint32_t missing = 0;
    for (int r = 0; r < c->ranks; r++) if (atomic_load(&c->shared->seat[r].reached) < meeting) missing |= 1u << r;
    return missing;
}

bool ranks_meet(struct ncclComm *c, const struct call *call)
{
    ranks_come(c);
    for (uint32_t missing; (missing = ranks_missing(c)); ph_pass_time()) if (!ranks_look(c, call, missing)) return false;
    return true;
}

bool ranks_same(struct ncclComm *c, const struct call *call)
{
    char text[160], all[400];
    int n = 0;
    bool same = true;
    for (int r = 0; r < c->ranks; r++) same = same && memcmp(&c->shared->seat[r].call, call, sizeof *call) == 0;
    if (same) return true;
    for (int r = 0; r < c->ranks && n < 300; r++)
        n += snprintf(all + n, sizeof all - (size_t)n, "%srank %d: %s", r ? "; " : "", r, call_text(&c->shared->seat[r].call, text));
    return ranks_mistake(c, "the ranks call different things: %s", all);
}

void ranks_name(char name[64])
{
    static _Atomic int made;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    snprintf(name, 64, "/sluice-nccl-%d-%d-%lx%lx", (int)getpid(), atomic_fetch_add(&made, 1), (long)t.tv_sec, t.tv_nsec);
}

bool ranks_join(struct ncclComm *c, const char *name)
{
    static const struct call joining;
    struct flock lock = lock_of(c->rank, F_WRLCK);
    snprintf(c->name, sizeof c->name, "%s", name);
    c->file = shm_open(c->name, O_RDWR | O_CREAT, 0600);
    if (c->file < 0 || ftruncate(c->file, sizeof *c->shared)) return false;
    c->shared = mmap(NULL, sizeof *c->shared, PROT_READ | PROT_WRITE, MAP_SHARED, c->file, 0);
    if (c->shared == MAP_FAILED) return false;
    struct seat *seat = &c->shared->seat[c->rank];
    if (fcntl(c->file, F_SETLK, &lock)) {
        ph_report("nccl: rank %d joins twice: process %lld has it already", c->rank, (long long)seat->process);
        return false;
    }
    seat->process = getpid();
    seat->ranks = c->ranks;
    atomic_store(&seat->presence, PRESENT);
    if (!ranks_meet(c, &joining)) return false;
    shm_unlink(c->name);
    for (int r = 0; r < c->ranks; r++)
        if (c->shared->seat[r].ranks != c->ranks) return ranks_mistake(c, "joins %d ranks, rank %d joins %d", c->ranks, r, c->shared->seat[r].ranks);
    return true;
}

void ranks_leave(struct ncclComm *c, enum presence how)
{
    atomic_store(&c->shared->seat[c->rank].presence, how);
    munmap(c->shared, sizeof *c->shared);
    close(c->file);
    c->live = false;
}
