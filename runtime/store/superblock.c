/* First look at a file, before HDF5 sees it. */
#include "private.h"
#include "base/regular.h"
#include <string.h>
#include <unistd.h>

/* Superblock version 3: signature, version, sizes of offsets and lengths, flags (bit 0: open for writing). */
int superblock_check(const char *path, bool *left_open, struct err *e)
{
    static const unsigned char signature[8] = "\x89HDF\r\n\x1a\n";
    unsigned char head[48];
    int fd = regular_open(path, e);
    if (fd < 0) return err_prefix(e, "%s: ", path);
    ssize_t n = read(fd, head, sizeof head);
    close(fd);
    if (n < (ssize_t)sizeof head || memcmp(head, signature, sizeof signature))
        return err_set(e, "%s: not a run file (no HDF5 signature)", path);
    if (head[8] != 3 || head[9] != 8 || head[10] != 8)
        return err_set(e, "%s: not a run file (HDF5 superblock version %d, run files have 3)", path, head[8]);
    *left_open = head[11] & 1;
    return 0;
}
