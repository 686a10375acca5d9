/* Checkpoints of several ranks: rank 0 says in which folder, every rank writes its own file or reads what it has, and
   answers. Nothing is filled before all can. */
#include "checkpoint_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH = 4096 };

static void order(enum order_kind kind, const char *folder)
{
    char path[PATH] = "";
    if (comm_here()->ranks == 1) return;
    comm_order(kind, 0);
    INVARIANT((size_t)snprintf(path, sizeof path, "%s", folder) < sizeof path, "a checkpoint's path is too long");
    comm_here()->broadcast(path, sizeof path, 0, OVER_ALL);
}

/* answers: of all ranks, rank 0's is there. The first that failed is named, and errno is its own. */
static int collect(struct answer *answers, struct err *e)
{
    int failed = -1, ranks = comm_here()->ranks;
    for (int r = 1; r < ranks; r++) comm_receive(&answers[r], sizeof *answers, r);
    for (int r = ranks - 1; r >= 0; r--) if (answers[r].failed) failed = r;
    if (failed < 0) return 0;
    *e = answers[failed].err;
    if (ranks > 1) err_prefix(e, "rank %d: ", failed);
    errno = answers[failed].cause;
    return -1;
}

/* ---- writing ---- */

static int open_part(const char *folder, int rank, struct safetensors **part, struct err *e)
{
    char *name = checkpoint_state_name(rank), *path = checkpoint_join(folder, name, "");
    int failure = safetensors_open(part, path, e);
    if (failure) err_prefix(e, "rank 0 cannot read what rank %d wrote; all have to see the output folder: ",
                           rank);
    free(path);
    free(name);
    return failure;
}

/* Of parts: bytes and hash of the one file that they stand for, as rank 0 sees them. */
static int measure(const char *folder, const struct answer *parts, struct checkpoint *out, struct err *e)
{
    int n = comm_here()->ranks, failure = 0;
    out->bytes = parts[0].bytes;
    memcpy(out->hash, parts[0].hash, sizeof out->hash);
    if (n == 1) return 0;
    struct safetensors **part = xcalloc((size_t)n, sizeof *part), *all = NULL;
    for (int r = 0; r < n && !failure; r++) failure = open_part(folder, r, &part[r], e);
    for (int r = 0; r < n && failure; r++) safetensors_close(part[r]);
    if (!failure) failure = safetensors_join(&all, n, part, e);
    if (!failure) {
        hash_print(safetensors_hash(all), out->hash);
        out->bytes = safetensors_bytes(all);
    }
    safetensors_close(all);
    free(part);
    return failure;
}

int checkpoint_write(const char *folder, int64_t step, struct leaves *leaves, struct state *state,
                     const json_t *trainer_state, struct checkpoint *out, struct err *e)
{
    struct answer *parts = xcalloc((size_t)comm_here()->ranks, sizeof *parts);
    order(ORDER_SAVE, folder);
    checkpoint_write_state(folder, leaves, state, &parts[0]);
    int failure = collect(parts, e) || measure(folder, parts, out, e);
    if (!failure && checkpoint_write_manifest(folder, step, trainer_state, parts, out))
        failure = err_set(e, "%s", strerror(errno));
    int cause = errno;
    free(parts);
    errno = cause;
    return failure ? -1 : 0;
}

/* ---- reading ---- */

/* Each rank verifies a share of the files. */
static void open_here(const char *path, const struct leaves *leaves, struct safetensors **tensors,
                      struct checkpoint *out, json_t **trainer_state, struct answer *a)
{
    const struct comm *c = comm_here();
    *a = (struct answer){ 0 };
    *tensors = NULL;
    *trainer_state = NULL;
    errno = 0;
    a->failed = (c->rank > 0 && checkpoint_sees(path, &a->err)) ||
                checkpoint_open_for(path, c->rank, c->ranks, leaves, tensors, out, trainer_state, &a->err);
    a->cause = errno;
}

/* Rank 0 says whether all could open it. */
static void fill_here(struct safetensors *tensors, int failure, struct leaves *leaves, struct state *state)
{
    if (comm_here()->ranks > 1) comm_here()->broadcast(&failure, sizeof failure, 0, OVER_ALL);
    if (!failure) checkpoint_fill(tensors, leaves, state);
    safetensors_close(tensors);
}

int checkpoint_load(const char *path, struct leaves *leaves, struct state *state, struct checkpoint *out,
                    json_t **trainer_state, struct err *e)
{
    struct answer *answers = xcalloc((size_t)comm_here()->ranks, sizeof *answers);
    struct safetensors *tensors;
    order(ORDER_LOAD, path);
    open_here(path, leaves, &tensors, out, trainer_state, &answers[0]);
    int failure = collect(answers, e), cause = errno;
    fill_here(tensors, failure, leaves, state);
    if (failure) {
        json_decref(*trainer_state);
        *trainer_state = NULL;
    }
    free(answers);
    errno = cause;
    return failure;
}

void checkpoint_answer(struct leaves *leaves, struct state *state, struct order o)
{
    char path[PATH];
    struct answer a;
    struct safetensors *tensors;
    struct checkpoint which;
    json_t *trainer_state;
    comm_here()->broadcast(path, sizeof path, 0, OVER_ALL);
    if (o.kind == ORDER_SAVE) checkpoint_write_state(path, leaves, state, &a);
    else open_here(path, leaves, &tensors, &which, &trainer_state, &a);
    comm_send(&a, sizeof a, 0);
    if (o.kind == ORDER_SAVE) return;
    json_decref(trainer_state);
    fill_here(tensors, -1, leaves, state);
}
