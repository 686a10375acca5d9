/* Removing by layers: each knows the names of its files and of the folders below it. */
#include "remove.h"
#include "runs.h"
#include "base/process.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ---- */

static bool is_variant(const char *name)                    /* NAME-HASH8 */
{
    size_t n = strlen(name);
    return n > 9 && name[n - 9] == '-' && strspn(name + n - 8, "0123456789abcdef") == 8;
}

static bool is_replicate(const char *name) { return *name && !name[strspn(name, "0123456789")]; }
static bool is_checkpoints(const char *name) { return strcmp(name, "checkpoints") == 0; }
static bool is_checkpoint(const char *name) { return strncmp(name, "step-", 5) == 0; }

/* A file is known by the first word of its name: what writes and locks it is named likewise, or with a dot before. */
static const struct { const char *file[2]; bool (*folder)(const char *name); } known[] = {
    [LAYER_STUDY]       = { { "study." }, is_variant },
    [LAYER_VARIANT]     = { { 0 }, is_replicate },
    [LAYER_RUN]         = { { "run." }, is_checkpoints },
    [LAYER_CHECKPOINTS] = { { 0 }, is_checkpoint },
    [LAYER_CHECKPOINT]  = { { "state.", "manifest." }, NULL },
};

static bool is_file_of(enum layer layer, const char *name)
{
    bool found = false;
    name += *name == '.';
    for (int i = 0; i < COUNT(known[layer].file); i++) {
        const char *word = known[layer].file[i];
        found |= word && strncmp(name, word, strlen(word)) == 0;
    }
    return found;
}

/* Its last name, cut off a whole path: what is left is the folder above. */
static const char *cut(char *path)
{
    char *slash = strrchr(path, '/');
    *slash = 0;
    return slash + 1;
}

static int layer_of(char *whole, struct err *e)
{
    struct study *study;
    if (runs_is_study(whole)) {
        if (study_open(whole, &study, e)) return -1;
        study_free(study);
        return LAYER_STUDY;
    }
    const char *name = cut(whole);
    if (is_variant(name) && runs_is_study(whole)) return LAYER_VARIANT;
    if (is_replicate(name) && is_variant(cut(whole)) && runs_is_study(whole)) return LAYER_RUN;
    return err_set(e, "is no study (study.json), nor a variant or run of one");
}

int remove_layer(const char *path, struct err *e)
{
    char *bare = xstrdup(path), *whole = realpath(path, NULL);
    struct stat s;
    for (size_t n = strlen(bare); n > 1 && bare[n - 1] == '/'; n--) bare[n - 1] = 0;    /* "link/" is where it leads */
    int layer;
    if (!whole || lstat(bare, &s) != 0) layer = err_set(e, "%s", strerror(errno));
    else if (S_ISLNK(s.st_mode)) layer = err_set(e, "is a link; give the folder that it leads to");
    else layer = S_ISDIR(s.st_mode) ? layer_of(whole, e) : err_set(e, "is no folder");
    free(bare);
    free(whole);
    return layer < 0 ? err_prefix(e, "%s: ", path) : layer;
}

/* ---- removing ---- */

/* Of a study, also between two of its runs. */
static int check_idle(const char *path, enum layer layer, struct err *e)
{
    char *file;
    if (layer == LAYER_STUDY && process_is_joined(path))
        return err_set(e, "%s: a process is training this study; end it first", path);
    if (layer != LAYER_RUN) return 0;
    file = text_new("%s/run.h5", path);
    bool alive = runs_is_alive(file);
    free(file);
    return alive ? err_set(e, "%s: a process is training this run; end it first", path) : 0;
}

static int take(int above, const char *name, const char *path, enum layer layer, struct removal *r, struct err *e);

static bool is_ours(enum layer layer, const char *name, const struct stat *s)
{
    if (S_ISDIR(s->st_mode)) return known[layer].folder && known[layer].folder(name);
    return S_ISREG(s->st_mode) && is_file_of(layer, name);
}

static int cannot(struct err *e, const char *path, const char *name)
{
    return err_set(e, "%s/%s: cannot be removed: %s", path, name, strerror(errno));
}

/* In two passes, of the folders and of the files. */
static int take_entry(int folder, const char *name, const char *path, enum layer layer, bool folders, struct removal *r,
                      struct err *e)
{
    struct stat s;
    if (fstatat(folder, name, &s, AT_SYMLINK_NOFOLLOW) != 0) return 0;
    if (!is_ours(layer, name, &s)) {
        if (!folders) return 0;                             /* is told once */
        if (!r->told) fprintf(stderr, "note: %s/%s is not Sluice's and stays\n", path, name);
        r->foreign++;
        return 0;
    }
    if (S_ISDIR(s.st_mode) != folders) return 0;
    if (!folders) {
        r->bytes += 512.0 * (double)s.st_blocks;
        return r->dry || unlinkat(folder, name, 0) == 0 ? 0 : cannot(e, path, name);
    }
    char *below = text_new("%s/%s", path, name);
    int failure = take(folder, name, below, layer + 1, r, e);
    free(below);
    return failure;
}

/* Folders first: study.json and run.h5 say what is there as long as something is. */
static int take(int above, const char *name, const char *path, enum layer layer, struct removal *r, struct err *e)
{
    struct stat s;
    int folder = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), failure = 0;
    DIR *d = folder < 0 || fstat(folder, &s) != 0 ? NULL : fdopendir(folder);
    if (!d) {
        failure = err_set(e, "%s: cannot be read: %s", path, strerror(errno));
        if (folder >= 0) close(folder);
        return failure;
    }
    failure = check_idle(path, layer, e);
    int foreign = r->foreign;
    for (int folders = 1; folders >= 0 && !failure; folders--, rewinddir(d))
        for (struct dirent *f; !failure && (f = readdir(d)); ) {
            if (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0) continue;
            failure = take_entry(folder, f->d_name, path, layer, folders, r, e);
        }
    closedir(d);
    if (failure) return -1;
    if (r->foreign == foreign) r->bytes += 512.0 * (double)s.st_blocks;
    r->runs += layer == LAYER_RUN;
    r->checkpoints += layer == LAYER_CHECKPOINT;
    bool gone = r->dry || unlinkat(above, name, AT_REMOVEDIR) == 0 || errno == ENOTEMPTY;  /* others' are in it */
    return gone ? 0 : err_set(e, "%s: cannot be removed: %s", path, strerror(errno));
}

int remove_folder(const char *path, enum layer layer, struct removal *r, struct err *e)
{
    return take(AT_FDCWD, path, path, layer, r, e);
}

enum code remove_end(const struct call *c, const struct removal *r)
{
    char bytes[FORMAT_SIZE];
    printf("%s %d %s, %d %s, %s on disk\n", r->dry ? "would remove" : "removed", r->runs, r->runs == 1 ? "run" : "runs",
           r->checkpoints, r->checkpoints == 1 ? "checkpoint" : "checkpoints", format_bytes(r->bytes, bytes));
    if (!r->dry || cli_flag(c, "dry-run") || (r->runs == 0 && r->checkpoints == 0)) return CODE_OK;
    return cli_usage(c, "nothing was removed: --yes removes it, --dry-run only asks");
}
