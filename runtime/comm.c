/* Who the ranks are: what launched this process says it in the environment; MPI, a shared object beside the program, joins them. */
#define _GNU_SOURCE
#include "comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct comm alone = { .rank = 0, .ranks = 1 };
static const struct comm *here = &alone;
const struct comm *comm_here(void) { return here; }

/* What launchers say, the most telling first. A batch script has SLURM's words too, so that only those of a step count. */
static const struct launcher { const char *name, *rank, *ranks, *needs; } launchers[] = {
    { "Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", NULL },
    { "MPICH", "PMI_RANK", "PMI_SIZE", NULL },
    { "srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID" },
    { "torchrun", "RANK", "WORLD_SIZE", NULL },
};

static int number(const char *name, int *value, struct err *e)
{
    char *end;
    const char *text = getenv(name);
    long n = text ? strtol(text, &end, 10) : 0;
    if (!text || end == text || *end || n < 0 || n > 1 << 20) return err_set(e, "%s=%s: must be a whole number", name, text ? text : "");
    *value = (int)n;
    return 0;
}

int comm_look(int *rank, int *ranks, struct err *e)
{
    const struct launcher *by = NULL;
    *rank = 0;
    *ranks = 1;
    for (int i = 0; i < COUNT(launchers); i++) {
        const struct launcher *l = &launchers[i];
        int its_rank = 0, its_ranks = 1;
        if (!getenv(l->ranks) || (l->needs && !getenv(l->needs))) continue;
        if (number(l->rank, &its_rank, e) || number(l->ranks, &its_ranks, e)) return -1;
        if (its_ranks < 1 || its_rank >= its_ranks) return err_set(e, "%s=%d is not below %s=%d", l->rank, its_rank, l->ranks, its_ranks);
        if (by && (its_rank != *rank || its_ranks != *ranks))
            return err_set(e, "%s says rank %d of %d, %s says rank %d of %d: unset the variables of the one that did not launch this process (%s, %s)",
                           by->name, *rank, *ranks, l->name, its_rank, its_ranks, l->rank, l->ranks);
        by = l;
        *rank = its_rank;
        *ranks = its_ranks;
    }
    return 0;
}

int comm_join(struct err *e)
{
    int rank, ranks;
    if (comm_look(&rank, &ranks, e)) return -1;
    return ranks == 1 ? 0 : err_set(e, "this build has no MPI");
}

void comm_leave(void) { here = &alone; }

void comm_order(enum order_kind kind, int64_t value)
{
    struct order o = { kind, value };
    if (here->ranks > 1) here->broadcast(&o, sizeof o, 0);
}

struct order comm_follow(void)
{
    struct order o;
    here->broadcast(&o, sizeof o, 0);
    return o;
}
