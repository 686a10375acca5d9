/* Text in the columns of a terminal: how wide it is, where it breaks. */
#include "cli.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Columns that a character takes: 0 combining marks, 2 wide East Asian ones and emoji, else 1. */
static int rune_width(uint32_t r)
{
    if ((r >= 0x300 && r <= 0x36F) || r == 0x200B || r == 0x200D || (r >= 0xFE00 && r <= 0xFE0F)) return 0;
    if ((r >= 0x1100 && r <= 0x115F) || (r >= 0x2E80 && r <= 0xA4CF) || (r >= 0xAC00 && r <= 0xD7A3) ||
        (r >= 0xF900 && r <= 0xFAFF) || (r >= 0xFE30 && r <= 0xFE6F) || (r >= 0xFF00 && r <= 0xFF60) ||
        (r >= 0xFFE0 && r <= 0xFFE6) || (r >= 0x1F300 && r <= 0x1FAFF) || (r >= 0x20000 && r <= 0x3FFFD))
        return 2;
    return 1;
}

/* The width of the character at *at, which moves on to the next. */
static int next_width(const char **at)
{
    const unsigned char *p = (const unsigned char *)*at;
    int more = *p < 0xC0 ? 0 : *p < 0xE0 ? 1 : *p < 0xF0 ? 2 : 3;
    uint32_t rune = more ? *p & (0x3Fu >> more) : *p;
    for (p++; more && (*p & 0xC0) == 0x80; more--) rune = rune << 6 | (*p++ & 0x3F);
    *at = (const char *)p;
    return rune_width(rune);
}

int text_width(const char *utf8)
{
    int width = 0;
    while (*utf8) width += next_width(&utf8);
    return width;
}

int text_word(const char *utf8)
{
    int widest = 0, width = 0;
    while (*utf8) {
        bool space = *utf8 == ' ';
        int w = next_width(&utf8);
        width = space ? 0 : width + w;
        if (width > widest) widest = width;
    }
    return widest;
}

size_t text_fit(const char *utf8, int width)
{
    const char *end = NULL, *p = utf8;    /* end: of the last word that fits, or of a first one that does not */
    for (int used = 0; *p && *p != '\n'; ) {
        if (*p == ' ' && p > utf8 && p[-1] != ' ' && p[1] != '%' && (used <= width || !end)) end = p;
        used += next_width(&p);
        if (used > width && end) return (size_t)(end - utf8);
    }
    return (size_t)(p - utf8);
}

int text_room(FILE *to)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size = { 0 };
    int room = columns ? atoi(columns) : 0;
    if (room <= 0 && isatty(fileno(to)) && ioctl(fileno(to), TIOCGWINSZ, &size) == 0) room = size.ws_col;
    return room > 0 ? room : 0;
}

void text_print(FILE *to, int column, int indent, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int length = vsnprintf(NULL, 0, format, list), room = text_room(to);
    va_end(list);
    char *text = xmalloc((size_t)length + 1);
    va_start(list, format);
    vsnprintf(text, (size_t)length + 1, format, list);
    va_end(list);
    if (indent > room / 2) indent = 2;                      /* also in no room at all, where no line is made */
    for (const char *line = text; *line; ) {                /* of the text; each may become several */
        int before = (int)strspn(line, " ");
        for (size_t n; *line && *line != '\n'; line += n) {
            n = room ? text_fit(line, room - column) : strcspn(line, "\n");
            fprintf(to, "%.*s", (int)n, line);
            if (!line[n] || line[n] == '\n') continue;
            n += strspn(line + n, " ");
            column = indent + before;
            fprintf(to, "\n%*s", column, "");
        }
        if (*line == '\n') fputc(*line++, to);
        column = 0;
    }
    free(text);
}
