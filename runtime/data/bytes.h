/* Bytes that grow, and UTF-8. */
#ifndef SLUICE_DATA_BYTES_H
#define SLUICE_DATA_BYTES_H

#include "base/base.h"
#include <string.h>

struct buffer { char *bytes; size_t used, room; };

static inline void buffer_append(struct buffer *b, const void *bytes, size_t n)
{
    if (b->used + n > b->room) b->bytes = xrealloc(b->bytes, b->room = 2 * (b->used + n));
    if (n) memcpy(b->bytes + b->used, bytes, n);
    b->used += n;
}

/* Length of the well-formed sequence at `at`, of one code point; 0: there is none. */
static inline int utf8_length(const char *at, const char *end)
{
    unsigned char c = (unsigned char)*at;
    if (c < 0x80) return 1;
    int n = c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (!n || end - at < n) return 0;
    unsigned char second = (unsigned char)at[1];
    if ((c == 0xe0 && second < 0xa0) || (c == 0xf0 && second < 0x90)) return 0;         /* longer than need be */
    if ((c == 0xed && second > 0x9f) || (c == 0xf4 && second > 0x8f)) return 0;         /* surrogates; beyond 10ffff */
    for (int i = 1; i < n; i++)
        if (((unsigned char)at[i] & 0xc0) != 0x80) return 0;
    return n;
}

/* Code points of well-formed text. */
static inline int utf8_count(const char *text)
{
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* U+FFFD stands for what is no code point. */
static inline void utf8_append(struct buffer *to, uint32_t code)
{
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) code = 0xfffd;
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char first[] = { 0, 0xc0, 0xe0, 0xf0 };
    char bytes[4] = { (char)(first[more] | code >> 6 * more) };
    for (int i = 1; i <= more; i++) bytes[i] = (char)(0x80 | (code >> 6 * (more - i) & 0x3f));
    buffer_append(to, bytes, (size_t)more + 1);
}

#endif
