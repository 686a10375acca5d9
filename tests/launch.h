/* A test program that launches itself as several ranks, by mpirun. */
#ifndef SLUICE_TEST_LAUNCH_H
#define SLUICE_TEST_LAUNCH_H

#include "base/base.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static inline bool can_launch(const char *self)
{
    char object[4096];
    const char *slash = strrchr(self, '/');
    snprintf(object, sizeof object, "%.*slibsluice_mpi.so", slash ? (int)(slash + 1 - self) : 0, self);
    return access(object, F_OK) == 0 && system("command -v mpirun >/dev/null") == 0;
}

/* `self WORD` as so many ranks, which wait so many seconds for each other. Gives mpirun's exit code, what they said in
   text. What MPI does not free at its end is not ours to find. */
static inline int launch(const char *self, int ranks, const char *word, int seconds, char text[8192])
{
    char command[4500];
    snprintf(command, sizeof command, "ASAN_OPTIONS=detect_leaks=0 SLUICE_COMM_TIMEOUT=%d OMPI_ALLOW_RUN_AS_ROOT=1 "
                                      "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -np %d '%s' %s 2>&1",
             seconds, ranks, self, word);
    FILE *out = popen(command, "r");
    size_t n = out ? fread(text, 1, 8191, out) : 0;
    text[n] = 0;
    int status = out ? pclose(out) : -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Whether each of them said "all is right", and nothing else was wrong. */
static inline bool launched_right(const char *self, int ranks, const char *word, char text[8192])
{
    int code = launch(self, ranks, word, 60, text), right = 0;
    for (const char *at = text; (at = strstr(at, "all is right")) != NULL; at++) right++;
    return code == 0 && right == ranks;
}

#endif
