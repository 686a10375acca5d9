/* The folder of checkpoints. Each is written in a temporary folder, synced, renamed: a kill or a power cut leaves the old
   state or the new. */
#define _GNU_SOURCE
#include "checkpoint_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEP_DIGITS = 8 };

static void step_name(char out[32], int64_t step) { snprintf(out, 32, "step-%0*lld", STEP_DIGITS, (long long)step); }

/* The step of a checkpoint's folder name; -1 for every other name. */
static int64_t name_step(const char *name)
{
    char again[32], *end;
    if (strncmp(name, "step-", 5)) return -1;
    int64_t step = strtoll(name + 5, &end, 10);
    step_name(again, step);
    return *end || step < 0 || strcmp(again, name) ? -1 : step;
}

/* Our folders are flat: files, then the folder. */
static void remove_folder(const char *path)
{
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *f; (f = readdir(d)); ) unlinkat(dirfd(d), f->d_name, 0);
    closedir(d);
    rmdir(path);
}

/* An older checkpoint of the same step changes places with the new one, so that one of them is always there. */
static int take_place(const char *temporary, const char *path)
{
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EEXIST || renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_EXCHANGE) < 0) return -1;
    remove_folder(temporary);
    return 0;
}

static int descending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x > y ? -1 : x < y;
}

/* Steps of the checkpoints in dir, newest first; -1: dir cannot be read. Remains of dead writers are removed on the way. */
static int list(const char *dir, bool tidy, int64_t **steps)
{
    int n = 0, room = 0;
    *steps = NULL;
    DIR *d = opendir(dir);
    if (!d) return errno == ENOENT ? 0 : -1;
    for (struct dirent *f; (f = readdir(d)); ) {
        size_t length = strlen(f->d_name);
        if (tidy && length > 4 && !strcmp(f->d_name + length - 4, ".tmp")) {
            char *path = checkpoint_join(dir, f->d_name, "");
            remove_folder(path);
            free(path);
        }
        if (name_step(f->d_name) < 0) continue;
        if (n == room) *steps = xrealloc(*steps, (size_t)(room = 2 * room + 16) * sizeof **steps);
        (*steps)[n++] = name_step(f->d_name);
    }
    closedir(d);
    if (n) qsort(*steps, (size_t)n, sizeof **steps, descending);
    return n;
}

/* Renamed first: a kill amid the removal leaves no half checkpoint under a checkpoint's name. */
void checkpoint_prune(const char *dir, int64_t newest, int keep)
{
    int64_t *steps;
    int n = list(dir, keep == 0, &steps), seen = 0;
    for (int i = 0; i < n; i++) {
        char name[32];
        if (steps[i] > newest || ++seen <= keep) continue;
        step_name(name, steps[i]);
        char *path = checkpoint_join(dir, name, ""), *gone = checkpoint_join(dir, name, ".tmp");
        if (rename(path, gone) == 0) remove_folder(gone);
        free(path);
        free(gone);
    }
    free(steps);
    if (keep == 0) rmdir(dir);
}

static void path_of(const char *dir, const char *name, char *path, size_t room)
{
    INVARIANT((size_t)snprintf(path, room, "%s/%s", dir, name) < room, "a checkpoint's path is too long");
}

int checkpoint_save(const char *dir, int64_t step, struct leaves *leaves, struct state *state, const json_t *extra, int keep,
                    struct checkpoint *out, struct err *e)
{
    char name[32];
    int64_t *steps;
    step_name(name, step);
    out->step = step;
    path_of(dir, name, out->path, sizeof out->path);
    char *temporary = checkpoint_join(dir, name, ".tmp");
    int failure = mkdir(dir, 0755) < 0 && errno != EEXIST;
    if (!failure) failure = list(dir, true, &steps) < 0;
    if (!failure) free(steps);
    if (!failure) failure = mkdir(temporary, 0755) < 0 || checkpoint_write(temporary, step, leaves, state, extra, out)
                            || take_place(temporary, out->path) < 0 || checkpoint_sync(dir) < 0;
    int cause = errno;
    if (failure) {
        remove_folder(temporary);
        err_set(e, "%s: cannot be written: %s", out->path, strerror(cause));
    } else if (keep > 0) checkpoint_prune(dir, step, keep);
    free(temporary);
    errno = cause;
    return failure ? -1 : 0;
}

int checkpoint_newest(const char *dir, int64_t most, char *path, size_t room, struct err *e)
{
    int64_t *steps;
    int n = list(dir, false, &steps), found = 0;
    for (int i = 0; i < n && !found; i++) {
        char name[32];
        struct err why;
        step_name(name, steps[i]);
        path_of(dir, name, path, room);
        if (steps[i] > most) fprintf(stderr, "%s: is later than step %lld, the last that is committed; passed over\n", path, (long long)most);
        else if (checkpoint_verify(path, &why) == 0) found = 1;
        else fprintf(stderr, "%s; passed over\n", why.text);
    }
    free(steps);
    return n < 0 ? err_set(e, "%s: %s", dir, strerror(errno)) : found;
}
