/* A test's way to commit a mistake and see it reported: a child commits it, and has to end with the exit code of a report (86) and the words. */
#ifndef SLUICE_PTXHOST_MISUSE_H
#define SLUICE_PTXHOST_MISUSE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct misuse { const char *name; void (*commit)(void); const char *words; };

static inline void misuse_expect(const struct misuse *m)
{
    char text[16384];
    int pipe_of[2], status;
    size_t length = 0;
    fflush(NULL);
    assert_int_equal(pipe(pipe_of), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipe_of[1], STDOUT_FILENO);
        dup2(pipe_of[1], STDERR_FILENO);
        m->commit();
        exit(0);
    }
    close(pipe_of[1]);
    for (ssize_t n; length < sizeof text - 1 && (n = read(pipe_of[0], text + length, sizeof text - 1 - length)) > 0; ) length += (size_t)n;
    text[length] = 0;
    close(pipe_of[0]);
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 86 || !strstr(text, m->words)) fail_msg("%s: status %#x, wanted 86 and '%s':\n%s", m->name, status, m->words, text);
}
#endif
