/* Runs every planted bug and its clean twin, each in a process of its own, and prints what was reported.

     planted               all, as a table; exit code 1 when a bug passes unseen or a clean twin is reported on
     planted NAME bug      one, or its twin with `clean` */
#include "planted.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPORTED = 86, EVERY_SEED = 2 };

static const char *program;

/* Runs one in a new process; its output is in text. Returns the exit code, or -1. */
static int run(const struct planted *p, bool bug, int seed, char *text, size_t room)
{
    int ends[2], status;
    size_t length = 0;
    if (pipe(ends)) return -1;
    pid_t child = fork();
    if (child == 0) {
        char number[16];
        snprintf(number, sizeof number, "%d", seed);
        setenv("PTXHOST_SEED", number, 1);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execl(program, program, p->name, bug ? "bug" : "clean", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    for (ssize_t n; length < room - 1 && (n = read(ends[0], text + length, room - 1 - length)) > 0; ) length += (size_t)n;
    text[length] = '\0';
    close(ends[0]);
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

/* The line that holds the words, cut to the width of a table. */
static void print_line(const char *text, const char *words)
{
    const char *from = strstr(text, words);
    while (from > text && from[-1] != '\n') from--;
    if (strncmp(from, "ptxhost: ", 9) == 0) from += 9;
    printf("%.*s", (int)strcspn(from, "\n"), from);
}

static bool bug_is_found(const struct planted *p)
{
    char text[1 << 15], line[1 << 15] = "";
    int found = 0, seeds = p->seeds ? p->seeds : EVERY_SEED;
    for (int seed = 0; seed < seeds; seed++) {
        int code = run(p, true, seed, text, sizeof text);
        if ((code != REPORTED && code != PLANTED_WRONG) || !strstr(text, p->words)) {
            if (!p->seeds) printf("\n  seed %d: exit code %d, wanted '%s':\n%s", seed, code, p->words, text);
            continue;
        }
        found++;
        strcpy(line, text);
    }
    printf("%2d of %d seeds  ", found, seeds);
    if (found) print_line(line, p->words);
    putchar('\n');
    return p->seeds ? found > 0 : found == seeds;
}

static bool twin_is_silent(const struct planted *p)
{
    char text[1 << 15];
    for (int seed = 0; seed < (p->seeds ? p->seeds : EVERY_SEED); seed++) {
        int code = run(p, false, seed, text, sizeof text);
        if (code == 0 && !*text) continue;
        printf("  the clean twin, seed %d, ends with exit code %d:\n%s", seed, code, text);
        return false;
    }
    return true;
}

int main(int count, char **argument)
{
    const struct planted *const lists[] = { planted_kernels, planted_host, planted_libraries };
    int all = 0, missed = 0;
    program = argument[0];
    for (int i = 0; i < 3; i++)
        for (const struct planted *p = lists[i]; p->name; p++) {
            if (count == 3 && strcmp(argument[1], p->name) == 0) {
                p->run(strcmp(argument[2], "bug") == 0);
                return 0;
            }
            if (count != 1) continue;
            printf("%-28s", p->name);
            fflush(stdout);
            bool found = bug_is_found(p), silent = twin_is_silent(p);
            all++;
            missed += !found || !silent;
        }
    if (count != 1) {
        fprintf(stderr, "no planted bug '%s'\n", argument[1]);
        return 2;
    }
    printf("%d planted bugs, %d missed or with a clean twin that is reported on\n", all, missed);
    return missed != 0;
}
