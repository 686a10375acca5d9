/* Opening, reading and mapping regular files. Maps are kept in a list, so that SIGBUS, which is what reading beyond the end of a
   file that became shorter comes to, can say which file it was. Reading into memory instead would need no handler, and as much
   memory as the corpus has bytes in every run. */
#include "regular.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CODE_INPUT = 4 };                                    /* of the program, when an input is rejected */

const char *regular_kind(unsigned mode)
{
    return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a named pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

static int check(int failed, const struct stat *s, struct err *e)
{
    if (failed) return err_set(e, "%s", strerror(errno));
    return S_ISREG(s->st_mode) ? 0 : err_set(e, "is %s, not a file", regular_kind(s->st_mode));
}

/* Looked at before it is opened, because opening alone sets some devices going, and after it, because it may have changed. */
int regular_open(const char *path, struct err *e)
{
    struct stat s;
    if (check(stat(path, &s), &s, e)) return -1;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (check(file < 0 || fstat(file, &s), &s, e) == 0) return file;
    if (file >= 0) close(file);
    return -1;
}

/* Until the end or until `room` is full; -1: errno says why. */
static ssize_t read_all(int file, char *to, size_t room)
{
    size_t used = 0;
    for (ssize_t n = 1; n && used < room;) {
        n = read(file, to + used, room - used);
        if (n < 0 && errno != EINTR) return -1;
        if (n > 0) used += (size_t)n;
    }
    return (ssize_t)used;
}

char *regular_text(const char *path, size_t most, size_t *size, struct err *e)
{
    struct stat s;
    int file = regular_open(path, e);
    if (file < 0) return NULL;
    size_t room = fstat(file, &s) == 0 && (size_t)s.st_size < most ? (size_t)s.st_size : most;
    char *text = xmalloc(room + 2);
    ssize_t n = read_all(file, text, room + 1);             /* one more shows a file that is too large or grows */
    if (n < 0) err_set(e, "cannot be read: %s", strerror(errno));
    else if ((size_t)n > most) err_set(e, "is larger than %zu MiB", most >> 20);
    else if ((size_t)n > room) err_set(e, "grew while it was read");
    close(file);
    if (n >= 0 && (size_t)n <= room) {
        text[*size = (size_t)n] = 0;
        return text;
    }
    free(text);
    return NULL;
}

/* ---- maps ---- */

struct mapping { struct mapping *next; struct map map; int file; char path[]; };
static struct mapping *mappings;
static const char shrank[] = "became shorter while it was read: nothing may write to a file that is in use";

static struct mapping *mapping_at(const void *address)
{
    for (struct mapping *m = mappings; m; m = m->next)
        if ((size_t)((const unsigned char *)address - m->map.bytes) < m->map.size) return m;
    return NULL;
}

static void say(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

/* Any other address gets its signal again, and dies of it. */
static void lost(int number, siginfo_t *info, void *context)
{
    const struct mapping *m = mapping_at(info->si_addr);
    (void)context;
    if (!m) { signal(number, SIG_DFL); return; }
    say("sluice: ");
    say(m->path);
    say(": ");
    say(shrank);
    say("\n");
    _exit(CODE_INPUT);
}

static void hear_lost(void)
{
    static bool heard;
    struct sigaction action = { .sa_sigaction = lost, .sa_flags = SA_SIGINFO };
    if (!heard) sigaction(SIGBUS, &action, NULL);
    heard = true;
}

int regular_map(struct map *m, const char *path, struct err *e)
{
    *m = (struct map){ 0 };
    struct stat s;
    int file = regular_open(path, e);
    if (file < 0) return -1;
    int failed = check(fstat(file, &s), &s, e);
    size_t size = failed ? 0 : (size_t)s.st_size;
    void *bytes = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0) : NULL;
    if (bytes == MAP_FAILED) failed = err_set(e, "cannot be mapped: %s", strerror(errno));
    if (failed || !bytes) { close(file); return failed; }
    struct mapping *new = xmalloc(sizeof *new + strlen(path) + 1);
    *new = (struct mapping){ mappings, { bytes, size }, file };
    strcpy(new->path, path);
    mappings = new;
    hear_lost();
    *m = new->map;
    return 0;
}

void regular_unmap(struct map *m)
{
    struct mapping **at = &mappings;
    while (*at && (*at)->map.bytes != m->bytes) at = &(*at)->next;
    if (m->bytes && *at) {
        struct mapping *old = *at;
        *at = old->next;
        close(old->file);
        free(old);
    }
    if (m->bytes) munmap((void *)(uintptr_t)m->bytes, m->size);
    *m = (struct map){ 0 };
}

int regular_whole(const struct map *m, struct err *e)
{
    struct stat s;
    const struct mapping *of = m->bytes ? mapping_at(m->bytes) : NULL;
    if (!of || (fstat(of->file, &s) == 0 && (size_t)s.st_size >= m->size)) return 0;
    return err_set(e, "%s: %s", of->path, shrank);
}
