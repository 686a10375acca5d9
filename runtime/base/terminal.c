/* Text from scripts and files, made harmless; and which terminals take escape codes. */
#include "terminal.h"
#include "base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool terminal_obeys(int fd)
{
    const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
    return isatty(fd) && term && *term && strcmp(term, "dumb") != 0 && !(no && *no);
}

/* Bytes of the character at c, of which `left` are there; 0: no UTF-8 (too long a form, a surrogate, past U+10FFFF). */
static int read_character(const unsigned char *c, size_t left, uint32_t *code)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    int n = *c < 0x80 ? 1 : *c >> 5 == 6 ? 2 : *c >> 4 == 14 ? 3 : *c >> 3 == 30 ? 4 : 0;
    if (n == 0 || (size_t)n > left) return 0;
    *code = n == 1 ? *c : *c & (0x7fu >> n);
    for (int i = 1; i < n; i++) {
        if (c[i] >> 6 != 2) return 0;
        *code = *code << 6 | (c[i] & 0x3f);
    }
    return *code < least[n] || *code > 0x10ffff || *code >> 11 == 0x1b ? 0 : n;
}

static bool is_hidden(uint32_t code)
{
    static const struct { uint32_t first, last; } ranges[] = {
        { 0x7f, 0x9f }, { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff },
        { 0xfff9, 0xfffb }, { 0xe0000, 0xe0fff },
    };
    for (int i = 0; i < COUNT(ranges); i++) if (code >= ranges[i].first && code <= ranges[i].last) return true;
    return code < 0x20 && code != '\n' && code != '\t';
}

char *terminal_text(const char *text, size_t size)
{
    enum { LONGEST = sizeof "\\u{10ffff}" };                /* that one byte or character becomes */
    size_t room = size + LONGEST, at = 0;
    char *out = xmalloc(room);
    const unsigned char *c = (const unsigned char *)text, *end = c + size;
    while (c < end) {
        uint32_t code = 0;
        int n = read_character(c, (size_t)(end - c), &code);
        if (room - at < LONGEST) out = xrealloc(out, room = 2 * room);
        if (n == 0) at += (size_t)snprintf(out + at, room - at, "\\x%02x", *c++);
        else if (is_hidden(code)) at += (size_t)snprintf(out + at, room - at, "\\u{%x}", code);
        else { memcpy(out + at, c, (size_t)n); at += (size_t)n; }
        c += n;
    }
    out[at] = 0;
    return out;
}
