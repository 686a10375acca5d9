/* llm.c's evaluation file, little-endian: a header of 256 int32 (magic, version, examples, bytes of the longest), then
   of each example words of 16 bits:

     65535, bytes of the example, its number, label, 4 completions
     n, then n tokens of the context
     four times: n, then n tokens of a completion */
#include "evalfile.h"
#include "base/regular.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC = 20240522, VERSION = 1, HEADER = 256, START = 65535, COMPLETIONS = 4, HEAD_WORDS = 6 };

bool evalfile_is(const char *path)
{
    int32_t magic = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    bool is = fread(&magic, sizeof magic, 1, f) == 1 && magic == MAGIC;
    fclose(f);
    return is;
}

static int32_t header_at(const struct map *m, int i)
{
    int32_t x;
    memcpy(&x, m->bytes + 4 * i, sizeof x);
    return x;
}

/* The words of one example that are left. */
struct words { const unsigned char *at; size_t left; };

static int word(struct words *w)
{
    if (w->left == 0) return -1;
    int x = w->at[0] | w->at[1] << 8;
    w->at += 2;
    w->left--;
    return x;
}

static int put_tokens(struct words *w, struct item *it, bool counts, struct err *e)
{
    int n = word(w);
    if (n < 1 || (size_t)n > w->left) return err_set(e, "%d tokens, of %zu words that are left", n, w->left);
    for (int i = 0; i < n; i++) {
        int id = word(w);
        if (id == START) return err_set(e, "a token is %d, which marks a start", id);
        item_put(it, id, counts);
    }
    return 0;
}

static int read_rows(struct words *w, struct item *it, struct err *e)
{
    struct words context = *w, rest;
    int n = word(w);
    if (n < 1 || (size_t)n > w->left) return err_set(e, "a context of %d tokens", n);
    w->at += 2 * n;
    w->left -= (size_t)n;
    for (int c = 0; c < COMPLETIONS; c++) {
        rest = context;
        item_begin(it);
        if (put_tokens(&rest, it, false, e) || put_tokens(w, it, true, e)) return -1;
    }
    return w->left ? err_set(e, "%zu words more than it says", w->left) : 0;
}

static int read_example(struct questions *to, struct words *w, int number, struct err *e)
{
    struct question *q = questions_add(to);
    struct item *it = &to->item[number];
    int head[HEAD_WORDS - 1];
    for (int i = 0; i < COUNT(head); i++) head[i] = word(w);
    int index = head[2], label = head[3], completions = head[4];
    if (index != number) return err_set(e, "its number is %d", index);
    if (completions != COMPLETIONS) return err_set(e, "%d completions: must be %d", completions, COMPLETIONS);
    if (label < 0 || label >= completions) return err_set(e, "label %d of %d completions", label, completions);
    q->id = arena_text(to->arena, "%d", number);
    q->line = number + 1;
    q->n = completions;
    q->gold = it->gold = label;
    q->tokens = it;
    return read_rows(w, it, e);
}

static int read_all(struct questions *to, const struct map *m, struct err *e)
{
    size_t at = HEADER * 4, longest = 0;
    int n = header_at(m, 2);
    if (header_at(m, 1) != VERSION)
        return err_set(e, "%s: version %d: must be %d", to->path, header_at(m, 1), VERSION);
    if (n < 1 || n > UINT16_MAX) return err_set(e, "%s: %d examples: must be 1 to %d", to->path, n, UINT16_MAX);
    to->item = xcalloc((size_t)n, sizeof *to->item);
    for (int i = 0; i < n; i++) {
        struct words w = { m->bytes + at, (m->size - at) / 2 };
        int start = word(&w), bytes = word(&w);
        if (start != START) return err_set(e, "%s: example %d: byte %zu: %d is no start mark", to->path, i, at, start);
        if (bytes < 2 * HEAD_WORDS || bytes % 2 || (size_t)bytes > m->size - at)
            return err_set(e, "%s: example %d: byte %zu: %d bytes, of %zu that are left", to->path, i, at, bytes,
                           m->size - at);
        w = (struct words){ m->bytes + at, (size_t)bytes / 2 };
        if (read_example(to, &w, i, e)) return err_prefix(e, "%s: example %d: byte %zu: ", to->path, i, at);
        at += (size_t)bytes;
        if ((size_t)bytes > longest) longest = (size_t)bytes;
    }
    if (at != m->size) return err_set(e, "%s: %zu bytes follow the last example", to->path, m->size - at);
    if ((size_t)header_at(m, 3) != longest)
        return err_set(e, "%s: the longest example has %zu bytes, the header says %d", to->path, longest,
                       header_at(m, 3));
    return 0;
}

int evalfile_read(struct questions *to, struct err *e)
{
    struct map m;
    to->form = "llm.c";
    if (regular_map(&m, to->path, e)) return err_prefix(e, "%s: ", to->path);
    int failure = m.size < HEADER * 4 ? err_set(e, "%s: %zu bytes: the header has %d", to->path, m.size, HEADER * 4)
                                      : read_all(to, &m, e);
    if (!failure) failure = regular_whole(&m, e);
    regular_unmap(&m);
    return failure;
}
