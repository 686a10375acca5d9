/* The folder of checkpoints. Each is written in a temporary folder, synced, renamed: a kill or a power cut leaves the
   old state or the new. An older checkpoint of the same step steps aside first, as step-N.old, which readers take where
   there is no step-N; with plain renames, because exchanging two folders at once is what many file systems cannot
   do. */
#include "checkpoint_files.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEP_DIGITS = 8 };

static void step_name(char out[32], int64_t step) { snprintf(out, 32, "step-%0*lld", STEP_DIGITS, (long long)step); }

/* The folder of a checkpoint; old: a newer one of its step was about to take its place. */
struct entry { int64_t step; bool old; };

static bool name_read(const char *name, struct entry *out)
{
    char canonical[32], *end;
    if (strncmp(name, "step-", 5)) return false;
    *out = (struct entry){ .step = strtoll(name + 5, &end, 10) };
    out->old = !strcmp(end, ".old");
    step_name(canonical, out->step);
    return out->step >= 0 && (out->old || !*end) && strlen(canonical) == (size_t)(end - name) &&
           !strncmp(canonical, name, strlen(canonical));
}

static char *path_of(const char *dir, int64_t step, const char *ending)
{
    char name[32];
    step_name(name, step);
    return checkpoint_join(dir, name, ending);
}

char *checkpoint_folder(const char *run) { return checkpoint_join(run, "checkpoints", ""); }

char *checkpoint_path(const char *run, int64_t step)
{
    char *dir = checkpoint_folder(run), *path = path_of(dir, step, "");
    free(dir);
    return path;
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

static int newest_first(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->step != y->step ? (x->step < y->step) - (x->step > y->step) : x->old - y->old;
}

/* The checkpoints in dir, newest first, of one step the old one last; -1: dir cannot be read. */
static int list(const char *dir, struct entry **entries)
{
    int n = 0, room = 0;
    struct entry one;
    *entries = NULL;
    DIR *d = opendir(dir);
    if (!d) return errno == ENOENT ? 0 : -1;
    for (struct dirent *f; (f = readdir(d)); ) {
        if (!name_read(f->d_name, &one)) continue;
        if (n == room) *entries = xrealloc(*entries, (size_t)(room = 2 * room + 16) * sizeof **entries);
        (*entries)[n++] = one;
    }
    closedir(d);
    if (n) qsort(*entries, (size_t)n, sizeof **entries, newest_first);
    return n;
}

/* Renamed first: a kill amid the removal leaves no half checkpoint under a checkpoint's name. */
static void discard(const char *dir, int64_t step, const char *ending)
{
    char *path = path_of(dir, step, ending), *gone = path_of(dir, step, ".tmp");
    if (rename(path, gone) == 0) remove_folder(gone);
    free(path);
    free(gone);
}

static void put_back(const char *dir, int64_t step)
{
    char *path = path_of(dir, step, ""), *old = path_of(dir, step, ".old");
    if (rename(old, path) < 0 && (errno == EEXIST || errno == ENOTEMPTY)) discard(dir, step, ".old");
    free(path);
    free(old);
}

int checkpoint_tidy(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d) return errno == ENOENT ? 0 : -1;
    for (struct dirent *f; (f = readdir(d)); ) {
        size_t length = strlen(f->d_name);
        if (strncmp(f->d_name, "step-", 5) || strcmp(f->d_name + length - 4, ".tmp")) continue;
        char *path = checkpoint_join(dir, f->d_name, "");
        remove_folder(path);
        free(path);
    }
    closedir(d);
    struct entry *entry;
    int n = list(dir, &entry);
    for (int i = 0; i < n; i++) if (entry[i].old) put_back(dir, entry[i].step);
    free(entry);
    return n < 0 ? -1 : 0;
}

bool checkpoint_is_held(const struct held *held, int64_t step)
{
    for (int i = 0; held && i < held->n; i++) if (held->step[i] == step) return true;
    return false;
}

void checkpoint_prune(const char *dir, int64_t newest, int keep, const struct held *held)
{
    struct entry *entry;
    checkpoint_tidy(dir);                                   /* a kill amid an earlier removal */
    int n = list(dir, &entry), seen = 0;
    for (int i = 0; i < n; i++)
        if (entry[i].step <= newest && !entry[i].old && ++seen > keep && !checkpoint_is_held(held, entry[i].step))
            discard(dir, entry[i].step, "");
    free(entry);
    if (keep == 0) rmdir(dir);
}

/* The older one goes when the new name is on the disk. */
static int replace(const char *dir, int64_t step, const char *temporary, const char *path)
{
    char *old = path_of(dir, step, ".old");
    bool replaces = rename(path, old) == 0;
    int failure = (!replaces && errno != ENOENT) || rename(temporary, path) < 0, cause = errno;
    if (failure && replaces) rename(old, path);
    free(old);
    errno = cause;
    if (failure || file_sync_folder(dir) < 0) return -1;
    if (replaces) discard(dir, step, ".old");
    return 0;
}

int checkpoint_save(const char *dir, int64_t step, struct leaves *leaves, struct state *state,
                    const json_t *trainer_state, int keep, const struct held *held, struct checkpoint *out,
                    struct err *e)
{
    char *path = path_of(dir, step, ""), *temporary = path_of(dir, step, ".tmp");
    int written = 0;
    out->step = step;
    INVARIANT((size_t)snprintf(out->path, sizeof out->path, "%s", path) < sizeof out->path,
              "a checkpoint's path is too long");
    int failure = (mkdir(dir, 0777) < 0 && errno != EEXIST) || checkpoint_tidy(dir) < 0 || mkdir(temporary, 0777) < 0 ||
                  (written = checkpoint_write(temporary, step, leaves, state, trainer_state, out, e)) ||
                  replace(dir, step, temporary, path) < 0;
    int cause = errno;
    if (failure) {
        if (!written) err_set(e, "%s", strerror(cause));
        err_prefix(e, "%s: cannot be written: ", path);
        remove_folder(temporary);
    } else if (keep > 0) checkpoint_prune(dir, step, keep, held);
    free(path);
    free(temporary);
    errno = cause;
    return failure ? -1 : 0;
}

int checkpoint_newest(const char *dir, int64_t most, char *path, size_t room, struct err *e)
{
    enum { TRIES = 4 };                                     /* who writes it anew has moved it aside for a moment */
    struct entry *entry;
    int n = list(dir, &entry), found = 0, tries = 0;
    for (int i = 0; i < n && !found; i++) {
        char *name = path_of(dir, entry[i].step, entry[i].old ? ".old" : "");
        struct err why;
        INVARIANT((size_t)snprintf(path, room, "%s", name) < room, "a checkpoint's path is too long");
        if (entry[i].step <= most && !checkpoint_is(path) && ++tries < TRIES) {
            usleep(1000);
            free(entry);
            n = list(dir, &entry);
            i = -1;
        } else if (entry[i].step > most)
            fprintf(stderr, "%s: is later than step %lld, the last that is committed; passed over\n", path,
                    (long long)most);
        else if (checkpoint_verify(path, &why) == 0) found = 1;
        else fprintf(stderr, "%s; passed over\n", why.text);
        free(name);
    }
    free(entry);
    return n < 0 ? err_set(e, "%s: %s", dir, strerror(errno)) : found;
}

int checkpoint_list(const char *dir, struct checkpoint **out, struct err *e)
{
    struct entry *entry;
    int n = list(dir, &entry), taken = 0;
    *out = xcalloc((size_t)(n > 0 ? n : 0) + 1, sizeof **out);
    for (int i = n - 1; i >= 0; i--) {
        if (i > 0 && entry[i].old && entry[i - 1].step == entry[i].step) continue;
        char *path = path_of(dir, entry[i].step, entry[i].old ? ".old" : "");
        struct checkpoint *c = &(*out)[taken++];
        c->step = entry[i].step;
        INVARIANT((size_t)snprintf(c->path, sizeof c->path, "%s", path) < sizeof c->path,
                  "a checkpoint's path is too long");
        free(path);
    }
    free(entry);
    if (n >= 0) return taken;
    free(*out);
    *out = NULL;
    return err_set(e, "%s: %s", dir, strerror(errno));
}
