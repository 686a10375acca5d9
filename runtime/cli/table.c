/* Tables for people: cells are collected, then every column gets the width of its widest cell. Where that is more than
   the room, words wrap in their columns, and columns that still find none go below the others, the first one repeated.
   Numbers are never cut. */
#include "cli.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct cell { char *text; enum paint paint; };
struct table { const char *const *column; int columns, n, room; struct cell *cell; };

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

static bool is_number(const struct table *t, int column) { return t->column[column][0] == '>'; }

/* A column's width grows to that of a cell; words need at least that of the longest, a row's name and numbers all of
   it. */
static void measure(const struct table *t, int column, const char *text, int *width, int *least)
{
    int whole = text_width(text), need = column == 0 || is_number(t, column) ? whole : text_word(text);
    if (whole > *width) *width = whole;
    if (need > *least) *least = need;
}

/* Columns first..end of the table below one another with column 0, which names the rows. */
struct page { int first, end; };

static void print_cell(FILE *to, const char *text, size_t bytes, int width, bool right, bool last, enum paint paint)
{
    char *part = xmalloc(bytes + 1);
    memcpy(part, text, bytes);
    part[bytes] = 0;
    int pad = width > text_width(part) ? width - text_width(part) : 0;
    const char *on = paint == PAINT_OFF ? "" : cli_paint(to, paint),
               *off = paint == PAINT_OFF ? "" : cli_paint(to, PAINT_OFF);
    fprintf(to, "%*s%s%s%s%*s%s", right ? pad : 0, "", on, part, off, right || last ? 0 : pad, "", last ? "\n" : "  ");
    free(part);
}

/* What the columns of a page have left of a row's text; below the first page a name alone is nothing. */
static bool any_left(const char *const *left, struct page p)
{
    bool any = p.first == 1 && *left[0];
    for (int c = p.first; c < p.end; c++) any |= *left[c] != 0;
    return any;
}

/* The cells of one row, in as many lines as their words need; each line up to its last cell that is not empty. */
static void print_row(const struct table *t, const struct cell *cell, const int *width, struct page p, FILE *to)
{
    const char **left = xcalloc((size_t)t->columns, sizeof *left);
    for (int c = 0; c < t->columns; c++) left[c] = cell[c].text;
    for (bool more = any_left(left, p); more; more = any_left(left, p)) {
        int end = p.end;
        while (end > p.first && !*left[end - 1]) end--;
        for (int c = 0, next; c < end; c = next) {
            next = c ? c + 1 : p.first;
            size_t n = is_number(t, c) ? strlen(left[c]) : text_fit(left[c], width[c]);
            print_cell(to, left[c], n, width[c], is_number(t, c), next >= end, cell[c].paint);
            left[c] += n + strspn(left[c] + n, " \n");
        }
    }
    free(left);
}

static int page_width(const int *width, struct page p)
{
    int sum = width[0];
    for (int c = p.first; c < p.end; c++) sum += 2 + width[c];
    return sum;
}

/* Takes what is too much from the widest columns, as far as they give way. */
static void squeeze(int *width, const int *least, struct page p, int room)
{
    while (page_width(width, p) > room) {
        int widest = -1;
        for (int c = p.first; c < p.end; c++)
            if (width[c] > least[c] && (widest < 0 || width[c] > width[widest])) widest = c;
        if (widest < 0) return;
        width[widest]--;
    }
}

/* The columns from `first` on that fit, at least one. */
static struct page page_at(const struct table *t, const int *least, int first, int room)
{
    struct page p = { first, first + 1 };
    while (p.end < t->columns && (!room || page_width(least, (struct page){ first, p.end + 1 }) <= room)) p.end++;
    return p;
}

void table_print(struct table *t, FILE *to)
{
    INVARIANT(t->n % t->columns == 0, "a table of %d columns got %d cells", t->columns, t->n);
    int *width = xcalloc((size_t)t->columns, 2 * sizeof *width), *least = width + t->columns,
        room = to ? text_room(to) : 0;
    struct cell *head = xcalloc((size_t)t->columns, sizeof *head);
    for (int c = 0; c < t->columns; c++) {
        head[c] = (struct cell){ (char *)(uintptr_t)(t->column[c] + is_number(t, c)), PAINT_DIM };
        measure(t, c, head[c].text, &width[c], &least[c]);
        for (int i = c; i < t->n; i += t->columns) measure(t, c, t->cell[i].text, &width[c], &least[c]);
    }
    for (struct page p = { 0, 1 }; to && p.end < t->columns; ) {
        p = page_at(t, least, p.end, room);
        if (p.first > 1) fputc('\n', to);
        if (room) squeeze(width, least, p, room);
        print_row(t, head, width, p, to);
        for (int i = 0; i < t->n; i += t->columns) print_row(t, t->cell + i, width, p, to);
    }
    for (int i = 0; i < t->n; i++) free(t->cell[i].text);
    free(head);
    free(width);
    free(t->cell);
    free(t);
}
