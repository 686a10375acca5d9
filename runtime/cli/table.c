/* Tables for people: cells are collected, then every column gets the width of its widest cell. */
#include "cli.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct cell { char *text; enum paint paint; };
struct table { const char *const *column; int columns, n, room; struct cell *cell; };

/* Columns that a character takes: 0 combining marks, 2 wide East Asian ones and emoji, else 1. */
static int rune_width(uint32_t r)
{
    if ((r >= 0x300 && r <= 0x36F) || r == 0x200B || r == 0x200D || (r >= 0xFE00 && r <= 0xFE0F)) return 0;
    if ((r >= 0x1100 && r <= 0x115F) || (r >= 0x2E80 && r <= 0xA4CF) || (r >= 0xAC00 && r <= 0xD7A3) || (r >= 0xF900 && r <= 0xFAFF) ||
        (r >= 0xFE30 && r <= 0xFE6F) || (r >= 0xFF00 && r <= 0xFF60) || (r >= 0xFFE0 && r <= 0xFFE6) || (r >= 0x1F300 && r <= 0x1FAFF) ||
        (r >= 0x20000 && r <= 0x3FFFD)) return 2;
    return 1;
}

int text_width(const char *utf8)
{
    int width = 0;
    for (const unsigned char *p = (const unsigned char *)utf8; *p;) {
        int more = *p < 0xC0 ? 0 : *p < 0xE0 ? 1 : *p < 0xF0 ? 2 : 3;
        uint32_t rune = more ? *p & (0x3Fu >> more) : *p;
        for (p++; more && (*p & 0xC0) == 0x80; more--) rune = rune << 6 | (*p++ & 0x3F);
        width += rune_width(rune);
    }
    return width;
}

struct table *table_new(const char *const *columns, int n)
{
    struct table *t = xcalloc(1, sizeof *t);
    t->column = columns;
    t->columns = n;
    return t;
}

void table_cell(struct table *t, const char *format, ...)
{
    va_list list;
    if (t->n == t->room) t->cell = xrealloc(t->cell, (size_t)(t->room = 2 * t->room + 16) * sizeof *t->cell);
    va_start(list, format);
    int length = vsnprintf(NULL, 0, format, list);
    va_end(list);
    char *text = xmalloc((size_t)length + 1);
    va_start(list, format);
    vsnprintf(text, (size_t)length + 1, format, list);
    va_end(list);
    t->cell[t->n++] = (struct cell){ text, PAINT_OFF };
}

void table_paint(struct table *t, enum paint paint)
{
    t->cell[t->n - 1].paint = paint;
}

static void print_cell(FILE *to, const char *text, int width, bool right, bool last, enum paint paint)
{
    int pad = width - text_width(text);
    const char *on = paint == PAINT_OFF ? "" : cli_paint(to, paint), *off = paint == PAINT_OFF ? "" : cli_paint(to, PAINT_OFF);
    fprintf(to, "%*s%s%s%s%*s%s", right ? pad : 0, "", on, text, off, right || last ? 0 : pad, "", last ? "\n" : "  ");
}

/* Cells of one line up to its last that is not empty. */
static void print_row(const struct table *t, const struct cell *cell, const int *width, const bool *right, FILE *to)
{
    int end = t->columns;
    while (end > 0 && !*cell[end - 1].text) end--;
    for (int c = 0; c < end; c++) print_cell(to, cell[c].text, width[c], right[c], c == end - 1, cell[c].paint);
}

void table_print(struct table *t, FILE *to)
{
    INVARIANT(t->n % t->columns == 0, "a table of %d columns got %d cells", t->columns, t->n);
    int *width = xcalloc((size_t)t->columns, sizeof *width);
    bool *right = xcalloc((size_t)t->columns, sizeof *right);
    struct cell *head = xcalloc((size_t)t->columns, sizeof *head);
    for (int c = 0; c < t->columns; c++) {
        right[c] = t->column[c][0] == '>';
        head[c] = (struct cell){ (char *)(uintptr_t)(t->column[c] + right[c]), PAINT_DIM };
        width[c] = text_width(head[c].text);
        for (int i = c; i < t->n; i += t->columns)
            if (text_width(t->cell[i].text) > width[c]) width[c] = text_width(t->cell[i].text);
    }
    if (to) print_row(t, head, width, right, to);
    for (int i = 0; i < t->n && to; i += t->columns) print_row(t, t->cell + i, width, right, to);
    for (int i = 0; i < t->n; i++) free(t->cell[i].text);
    free(head);
    free(width);
    free(right);
    free(t->cell);
    free(t);
}
