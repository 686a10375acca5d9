/* Ranks of the tests of NCCL's stand-in: real processes, forked. Includes what such a test needs. */
#ifndef SLUICE_PTXHOST_TEST_RANKS_H
#define SLUICE_PTXHOST_TEST_RANKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include "misuse.h"
#include "ptxhost.h"

#define COUNT(array) ((int)(sizeof array / sizeof *array))
/* In a child, where cmocka's own would go on with the next test. */
#define CHECK(what) do { if (!(what)) { fprintf(stderr, "%s:%d: rank %d: %s\n", __FILE__, __LINE__, rank, #what); _exit(1); } } while (0)
#define OK(call) CHECK((call) == 0)

static ncclUniqueId id;
static int rank, ranks;
static ncclComm_t comm;
static cudaStream_t stream;

static inline void join(int of, int as)
{
    rank = as;
    ranks = of;
    ph_check_on(true);
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(ncclCommInitRank(&comm, ranks, id, rank));
}

static inline void with_ranks(int n, void (*body)(void))
{
    pid_t child[8];
    int status;
    bool good = true;
    assert_int_equal(ncclGetUniqueId(&id), 0);
    fflush(NULL);
    for (int r = 0; r < n; r++)
        if ((child[r] = fork()) == 0) {
            join(n, r);
            body();
            OK(cudaStreamSynchronize(stream));
            OK(ncclCommDestroy(comm));
            OK(cudaStreamDestroy(stream));
            exit(0);
        }
    for (int r = 0; r < n; r++) {
        waitpid(child[r], &status, 0);
        good = good && status == 0;
    }
    assert_true(good);
}

static inline void *device_of(const void *host, size_t bytes)
{
    void *device;
    OK(cudaMalloc(&device, bytes));
    if (host) OK(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice));
    return device;
}

static inline void fetch(void *host, void *device, size_t bytes)
{
    OK(cudaStreamSynchronize(stream));
    OK(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost));
}

static inline float *some(void) { static const float zero[1024]; return device_of(zero, sizeof zero); }

/* ---- misuse: the one that reports is rank 0 ---- */

static inline void crowd(int n, void (*body)(void))
{
    pid_t child[8] = { 0 };
    int as = 0;
    ncclGetUniqueId(&id);
    for (int r = 1; r < n && as == 0; r++) if ((child[r] = fork()) == 0) as = r;
    if (as) prctl(PR_SET_PDEATHSIG, SIGKILL);
    join(n, as);
    body();
    cudaStreamSynchronize(stream);
    if (as) exit(0);
    for (int r = 1; r < n; r++) {
        kill(child[r], SIGKILL);
        waitpid(child[r], NULL, 0);
    }
}

static inline void pair(void (*body)(void)) { crowd(2, body); }

/* Rank 0 loses patience; the others stay, for one would be named otherwise if it had ended. */
static inline bool impatient(const char *seconds)
{
    if (rank) pause();
    setenv("PTXHOST_NCCL_TIMEOUT", seconds, 1);
    return true;
}

#define MISUSE(name, words) { #name, name, words }
#define MISUSES_ARE_REPORTED(misuses) do { for (int i_ = 0; i_ < COUNT(misuses); i_++) misuse_expect(&(misuses)[i_]); } while (0)

/* A process that is killed is no mistake of this one: it learns of it at once, and may say so itself. The body ends all but rank 0. */
static inline void with_killed(int n, void (*body)(void))
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        crowd(n, body);
        exit(0);
    }
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

static inline void expect_remote_error(ncclComm_t of, const char *words)
{
    ncclResult_t error;
    CHECK(ncclCommGetAsyncError(of, &error) == 0 && error == ncclRemoteError && strstr(ncclGetLastError(of), words));
    OK(ncclCommAbort(of));
}

#endif
