/* Compressed inputs: gzip of any number of members, zstd of any number of frames. Their content is written into a file
   without a name beside the output and mapped from there, so that no input has to fit in memory. */
#define _GNU_SOURCE
#include "inputs.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { BLOCK = 1 << 20 };

struct spool { int file, *cause; unsigned char *block; };   /* block: [BLOCK] */

static int spool_write(const struct spool *to, size_t n, struct err *e)
{
    for (size_t done = 0; done < n;) {
        ssize_t wrote = write(to->file, to->block + done, n - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) *to->cause = errno;
        if (wrote < 0) return err_set(e, "what it holds cannot be written beside the output: %s", strerror(errno));
        done += (size_t)wrote;
    }
    return 0;
}

static int broken(struct err *e, size_t offset, const char *format, const char *why)
{
    return err_set(e, "offset %zu: the %s data is damaged or cut off: %s", offset, format, why);
}

/* Zeros may follow the last member, as tapes and block devices leave them. */
static bool only_zeros(const unsigned char *from, size_t n)
{
    for (size_t i = 0; i < n; i++) if (from[i]) return false;
    return true;
}

static int gzip(const struct map *m, const struct spool *to, struct err *e)
{
    z_stream z = { 0 };
    size_t at = 0;
    int failed = inflateInit2(&z, 16 + MAX_WBITS) == Z_OK ? 0 : err_set(e, "no memory to decompress");
    for (bool ended = false; !failed && !(ended && only_zeros(m->bytes + at, m->size - at));) {
        if (ended && inflateReset(&z) != Z_OK) { failed = broken(e, at, "gzip", "no state"); break; }
        size_t given = m->size - at < BLOCK ? m->size - at : BLOCK;
        z.next_in = (unsigned char *)(uintptr_t)(m->bytes + at);
        z.avail_in = (uInt)given;
        z.next_out = to->block;
        z.avail_out = BLOCK;
        int said = inflate(&z, Z_NO_FLUSH);
        at += given - z.avail_in;
        ended = said == Z_STREAM_END;
        if (said == Z_BUF_ERROR) failed = broken(e, at, "gzip", "it ends in the middle");
        else if (said != Z_OK && !ended) failed = broken(e, at, "gzip", z.msg ? z.msg : "no reason given");
        else failed = spool_write(to, BLOCK - z.avail_out, e);
    }
    inflateEnd(&z);
    return failed;
}

static int zstd(const struct map *m, const struct spool *to, struct err *e)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    ZSTD_inBuffer in = { m->bytes, m->size, 0 };
    int failed = z ? 0 : err_set(e, "no memory to decompress");
    for (size_t left = 1; !failed && (left || in.pos < in.size);) {
        ZSTD_outBuffer out = { to->block, BLOCK, 0 };
        size_t before = in.pos;
        left = ZSTD_decompressStream(z, &out, &in);
        if (ZSTD_isError(left)) failed = broken(e, in.pos, "zstd", ZSTD_getErrorName(left));
        else if (left && !out.pos && in.pos == before) failed = broken(e, in.pos, "zstd", "it ends in the middle");
        else failed = spool_write(to, out.pos, e);
    }
    ZSTD_freeDStream(z);
    return failed;
}

/* A file in the folder that has no name, or loses it at once where the file system cannot do without. */
static int nameless(const char *folder, struct err *e)
{
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file >= 0) return file;
    char *name = text_new("%s/.inflate-XXXXXX", folder);
    file = mkostemp(name, O_CLOEXEC);
    if (file < 0) err_set(e, "compressed, and nothing can be written into %s: %s", folder, strerror(errno));
    else unlink(name);
    free(name);                             /* which keeps errno */
    return file;
}

/* In the place of the compressed bytes. */
static int map_spool(struct map *m, int file, struct err *e)
{
    off_t size = lseek(file, 0, SEEK_END);
    void *bytes = size > 0 ? mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, file, 0) : NULL;
    if (size < 0 || bytes == MAP_FAILED) return err_set(e, "what it holds cannot be mapped: %s", strerror(errno));
    regular_unmap(m);
    *m = (struct map){ bytes, (size_t)size };
    return 0;
}

static bool begins(const struct map *m, const char *magic, size_t n)
{
    return m->size >= n && !memcmp(m->bytes, magic, n);
}

int inflate_map(struct map *m, const char *folder, bool *compressed, int *cause, struct err *e)
{
    bool is_gzip = begins(m, "\x1f\x8b", 2), is_zstd = begins(m, "\x28\xb5\x2f\xfd", 4);
    *compressed = is_gzip || is_zstd;
    if (!*compressed) return 0;
    struct spool to = { nameless(folder, e), cause, NULL };
    if (to.file < 0) return *cause = errno, -1;
    to.block = xmalloc(BLOCK);
    int failed = (is_gzip ? gzip : zstd)(m, &to, e);
    free(to.block);
    if (!failed) failed = regular_whole(m, e) || map_spool(m, to.file, e) ? -1 : 0;
    close(to.file);
    return failed;
}

char *corpus_library(char out[64])
{
    snprintf(out, 64, "zlib %s, zstd %s", zlibVersion(), ZSTD_versionString());
    return out;
}
