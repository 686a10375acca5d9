/* Who the ranks are: what launched this process says it in the environment; MPI, a shared object beside
   the program, joins them. */
#define _GNU_SOURCE
#include "comm.h"
#include "base/object.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct comm alone = { .ranks = 1, .locals = 1 };
static struct comm *here = &alone;
const struct comm *comm_here(void) { return here; }

void comm_divide(const struct mesh *m)
{
    INVARIANT(mesh_ranks(m) == here->ranks, "a mesh of %d ranks among %d", mesh_ranks(m), here->ranks);
    here->place = (struct place){ *m, here->rank };
}

void comm_suppose(int rank, int ranks)
{
    INVARIANT(here == &alone && rank < ranks, "rank %d of %d is supposed among ranks that are there", rank, ranks);
    alone.rank = rank;
    alone.ranks = ranks;
    alone.place = (struct place){ .mesh = { .size[AXIS_DP] = ranks }, .rank = rank };
}

void comm_fail(const char *format, ...)
{
    va_list list;
    fprintf(stderr, "sluice: rank %d of %d: ", here->rank, here->ranks);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(7);
}

void comm_send(const void *data, size_t bytes, int to)
{
    here->exchange(&(struct parcel){ to, false, (void *)data, bytes }, 1);
}

void comm_receive(void *data, size_t bytes, int from)
{
    here->exchange(&(struct parcel){ from, true, data, bytes }, 1);
}

/* What launchers say, the innermost first. Several may speak: srun also starts mpirun itself, and what
   it says is inherited. */
static const struct launcher { const char *name, *rank, *ranks, *needs; bool starts_launchers; } launchers[] = {
    { "Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", NULL, false },
    { "torchrun", "RANK", "WORLD_SIZE", NULL, false },
    { "PMI", "PMI_RANK", "PMI_SIZE", NULL, true },
    /* a batch script without a step has the others too */
    { "srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID", true },
};

static int number(const char *name, int *value, struct err *e)
{
    char *end;
    const char *text = getenv(name);
    long n = text ? strtol(text, &end, 10) : 0;
    if (!text || end == text || *end || n < 0 || n > 1 << 20)
        return err_set(e, "%s=%s: must be a whole number", name, text ? text : "");
    *value = (int)n;
    return 0;
}

/* by: NULL when nothing launched several. */
static int look(const struct launcher **by, int *rank, int *ranks, struct err *e)
{
    *by = NULL;
    *rank = 0;
    *ranks = 1;
    for (int i = 0; i < COUNT(launchers); i++) {
        const struct launcher *l = &launchers[i];
        int its_rank = 0, its_ranks = 1;
        if (!getenv(l->ranks) || (l->needs && !getenv(l->needs)) || (l->starts_launchers && *by)) continue;
        if (number(l->rank, &its_rank, e) || number(l->ranks, &its_ranks, e)) return -1;
        if (its_ranks < 1 || its_rank >= its_ranks)
            return err_set(e, "%s=%d is not below %s=%d", l->rank, its_rank, l->ranks, its_ranks);
        if (*by && (its_rank != *rank || its_ranks != *ranks))
            return err_set(e,
                           "%s says rank %d of %d, %s says rank %d of %d: unset the variables of the one that did not "
                           "launch this process (%s, %s)",
                           (*by)->name, *rank, *ranks, l->name, its_rank, its_ranks, l->rank, l->ranks);
        *by = l;
        *rank = its_rank;
        *ranks = its_ranks;
    }
    return 0;
}

int comm_look(int *rank, int *ranks, struct err *e)
{
    const struct launcher *by;
    return look(&by, rank, ranks, e);
}

static int read_patience(double *seconds, struct err *e)
{
    char *end = NULL;
    const char *text = getenv("SLUICE_COMM_TIMEOUT");
    *seconds = text ? strtod(text, &end) : 600;
    return *seconds > 0 && *seconds < 1e6 && !(end && *end)
               ? 0
               : err_set(e, "SLUICE_COMM_TIMEOUT=%s: must be a number of seconds above 0", text);
}

int comm_join(struct err *e)
{
    static const struct object mpi = {
        "libsluice_mpi.so",
        "comm_entry",
        "MPI",
        "install Open MPI or MPICH and build again; cmake -DSLUICE_MPI=ON says what it lacks",
        "it needs the MPI library that it was built with: name its folder in LD_LIBRARY_PATH",
    };
    const struct launcher *by;
    double patience;
    int rank, ranks;
    if (look(&by, &rank, &ranks, e)) return -1;
    if (ranks == 1) return 0;
    if (read_patience(&patience, e)) return -1;
    const struct comm_entry *entry = object_load(&mpi, e);
    struct comm *joined = entry ? entry->join(rank, ranks, patience, e) : NULL;
    if (!joined) return err_prefix(e, "%s says rank %d of %d, but ", by->name, rank, ranks);
    here = joined;
    comm_divide(&(struct mesh){ .size[AXIS_DP] = ranks });
    return 0;
}

void comm_leave(void)
{
    if (here != &alone) here->leave();
    here = &alone;
}

void comm_order(enum order_kind kind, int64_t value)
{
    struct order o = { kind, value };
    if (here->ranks > 1) here->broadcast(&o, sizeof o, 0, OVER_ALL);
}

struct order comm_follow(void)
{
    struct order o;
    here->broadcast(&o, sizeof o, 0, OVER_ALL);
    return o;
}
