/* What sluice data pack says of its inputs: what it took, what it left and why. */
#include "data_print.h"
#include "cli.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 40 };                         /* lines of a list */

struct row { const char *text; int length; int order; uint64_t files, documents, bytes; const char *example; };

static int by_text(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int n = x->length < y->length ? x->length : y->length, differ = memcmp(x->text, y->text, (size_t)n);
    return differ ? differ : x->length != y->length ? x->length - y->length : x->order - y->order;
}

/* Rows of one text become one; returns how many are left. */
static int merge(struct row *row, int n)
{
    int kept = 0;
    qsort(row, (size_t)n, sizeof *row, by_text);
    for (int i = 1; i < n; i++) {
        struct row *last = &row[kept];
        if (row[i].length != last->length || memcmp(row[i].text, last->text, (size_t)last->length)) {
            row[++kept] = row[i];
            continue;
        }
        last->files += row[i].files;
        last->documents += row[i].documents;
        last->bytes += row[i].bytes;
    }
    return n ? kept + 1 : 0;
}

static void print_rest(int rows, const char *of, uint64_t files)
{
    if (rows) printf("and %d more %s of %llu files\n", rows, of, (unsigned long long)files);
}

static void print_taken(const char *taken, struct row *row, int n)
{
    bool folders = n > MOST;
    char text[FORMAT_SIZE];
    uint64_t rest = 0;
    if (folders) {
        for (int i = 0; i < n; i++) {
            const char *slash = strrchr(row[i].text, '/');
            row[i].length = slash ? (int)(slash - row[i].text) + 1 : 0;
        }
        n = merge(row, n);
    }
    const char *const columns[] = { taken, ">documents", ">bytes", ">files" };
    struct table *t = table_new(columns, COUNT(columns) - !folders);
    for (int i = 0; i < n; i++) {
        if (i >= MOST) { rest += row[i].files; continue; }
        table_cell(t, "%.*s", row[i].length, row[i].text);
        table_cell(t, "%llu", (unsigned long long)row[i].documents);
        table_cell(t, "%s", format_count((double)row[i].bytes, text));
        if (folders) table_cell(t, "%llu", (unsigned long long)row[i].files);
    }
    table_print(t, n ? stdout : NULL);
    print_rest(n > MOST ? n - MOST : 0, "folders", rest);
}

static void print_left(struct row *row, int n)
{
    uint64_t rest = 0;
    bool reasons = n > MOST;
    if (reasons) n = merge(row, n);
    const char *const columns[] = { "left out", "why" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < n; i++) {
        if (i >= MOST) { rest += row[i].files; continue; }
        if (row[i].files > 1) table_cell(t, "%llu, as %s", (unsigned long long)row[i].files, row[i].example);
        else table_cell(t, "%s", row[i].example);
        table_cell(t, "%s", row[i].text);
    }
    table_print(t, n ? stdout : NULL);
    print_rest(n > MOST ? n - MOST : 0, "reasons", rest);
}

void data_print_files(const struct packed *made)
{
    struct row *row = xcalloc((size_t)made->n_files + 1, sizeof *row);
    bool given = made->n_train < made->n_files;
    for (int kind = 0; kind < 3; kind++) {                  /* to train on, to hold out, left */
        int n = 0;
        for (int i = 0; i < made->n_files; i++) {
            const struct packed_file *f = &made->file[i];
            const char *text = f->left ? f->left : f->path;
            if (kind != (f->left ? 2 : i >= made->n_train)) continue;
            row[n++] = (struct row){ text, (int)strlen(text), i, 1, f->documents, f->bytes, f->path };
        }
        if (kind == 2) print_left(row, n);
        else print_taken(kind ? "taken to hold out" : given ? "taken to train on" : "taken", row, n);
    }
    if (made->hidden) printf("%llu hidden files and folders were passed over\n", (unsigned long long)made->hidden);
    if (made->n_files) putchar('\n');
    free(row);
}

static uint64_t skipped(const struct packed *made)
{
    uint64_t n = 0;
    for (int i = 0; i < made->n_files; i++) n += made->file[i].left ? 0 : made->file[i].skipped;
    return n;
}

void data_print_skipped(const struct packed *made)
{
    enum { SHOWN = 10 };
    uint64_t all = skipped(made), shown = 0;
    if (!all) return;
    printf("skipped    %llu values of JSON that are broken or have no text (--strict makes the first an error):\n",
           (unsigned long long)all);
    for (int i = 0; i < made->n_files; i++)
        for (int k = 0; k < COUNT(made->file[i].skip) && !made->file[i].left && shown < SHOWN; k++)
            if (made->file[i].skip[k]) { printf("  %s\n", made->file[i].skip[k]); shown++; }
    if (shown < all) printf("  and %llu more\n", (unsigned long long)(all - shown));
}

void data_add_files(const struct packed *made, json_t *to)
{
    json_t *taken = json_array(), *left = json_array();
    for (int i = 0; i < made->n_files; i++) {
        const struct packed_file *f = &made->file[i];
        json_t *skips = json_array();
        for (int k = 0; k < COUNT(f->skip); k++)
            if (f->skip[k]) json_array_append_new(skips, json_string(f->skip[k]));
        json_t *file = json_pack("{s:s, s:b, s:I, s:I, s:I, s:o}", "path", f->path, "held_out", i >= made->n_train,
                                 "documents", (json_int_t)f->documents, "bytes", (json_int_t)f->bytes,
                                 "skipped", (json_int_t)f->skipped, "first_skipped", skips);
        if (f->left) json_object_set_new(file, "why", json_string(f->left));
        json_array_append_new(f->left ? left : taken, file);
    }
    json_object_set_new(to, "taken", taken);
    json_object_set_new(to, "left_out", left);
    json_object_set_new(to, "hidden", json_integer((json_int_t)made->hidden));
    json_object_set_new(to, "skipped", json_integer((json_int_t)skipped(made)));
}
