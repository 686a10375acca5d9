/* Reading run files from outside: a child process has the file open and answers (guard.c), so that one on which HDF5
   crashes is an error like any other. */
#include "private.h"
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 22, TEXT_MOST = 1 << 26, SERIES_MOST = 1 << 16 };                 /* BLOCK: of an answer */
static const char astray[] = "what its reader answers makes no sense: the file is damaged";

struct head { enum store_status status; int64_t rows[STORE_GROUPS]; int n; };
struct reader {
    char *path;
    struct child child;
    bool ended;                         /* of the child, which is then no more */
    bool failed; struct err err;        /* the first failure, which every later call repeats */
    struct head head; struct reader_series *series;
    void *steps[STORE_GROUPS];          /* once asked for: every series of a group has them */
    struct arena *texts;
};

enum ask { ASK_STEPS, ASK_VALUES, ASK_TEXT, ASK_CONFIG, ASK_SCRIPT, ASK_REQUIRED, ASK_RECORD, ASK_TABLE };
/* which: group, series or table. An answer is followed by so many bytes: what was asked for, or why not. */
struct question { enum ask ask; int which; int64_t first, n; char group[64], name[64]; };
struct answer { bool good; uint64_t bytes; };

/* ---- the child's side ---- */

static int answer(int end, bool good, const void *content, size_t bytes)
{
    struct answer a = { good, bytes };
    return child_write(end, &a, sizeof a) || child_write(end, content, bytes) ? -1 : 0;
}

static int answer_error(int end, const struct err *e) { return answer(end, false, e->text, strlen(e->text)); }

struct lines { char *text; size_t used; };

static void take_line(void *state, const char *text)
{
    struct lines *l = state;
    size_t n = strlen(text) + 1;
    l->text = xrealloc(l->text, l->used + n);
    memcpy(l->text + l->used, text, n);
    l->used += n;
}

static int answer_numbers(int end, struct snapshot *s, const struct question *q)
{
    const struct reader_series *series = q->ask == ASK_VALUES ? &s->series[q->which] : NULL;
    size_t bytes = (size_t)q->n * 8 * (series ? dims_count(series->rank, series->dim) : 1);
    struct err e;
    void *to = xmalloc(bytes + 1);
    int bad = series ? snapshot_values(s, series, q->first, q->n, to, &e)
                     : snapshot_steps(s, q->which, q->first, q->n, to, &e);
    bad = bad ? answer_error(end, &e) : answer(end, true, to, bytes);
    free(to);
    return bad;
}

static int answer_one(int end, struct snapshot *s, const struct question *q)
{
    const char *text = "";
    struct lines lines = { NULL, 0 };
    struct err e;
    int bad = 0;
    guard_step();
    switch (q->ask) {
    case ASK_STEPS: case ASK_VALUES: return answer_numbers(end, s, q);
    case ASK_TEXT:   bad = snapshot_text(s, q->group, q->name, &text, &e); break;
    case ASK_CONFIG: bad = snapshot_config(s, &text, &e); break;
    case ASK_SCRIPT: bad = snapshot_script(s, &text, &e); break;
    case ASK_REQUIRED: bad = snapshot_required(s, &text, &e); break;
    case ASK_RECORD: bad = snapshot_record(s, &text, &e); break;
    case ASK_TABLE:  bad = snapshot_table(s, &store_table[q->which], take_line, &lines, &e); break;
    }
    if (bad) bad = answer_error(end, &e);
    else if (lines.text) bad = answer(end, true, lines.text, lines.used);
    else bad = answer(end, true, text, strlen(text));
    free(lines.text);
    return bad;
}

static void serve(int end, void *path)
{
    struct snapshot *s;
    struct question q;
    struct err e;
    if (snapshot_open(&s, path, &e)) { answer_error(end, &e); return; }
    struct head head = { s->status, { s->rows[STORE_TRAIN], s->rows[STORE_EVAL] }, s->n };
    int bad = answer(end, true, &head, sizeof head) || answer(end, true, s->series, (size_t)s->n * sizeof *s->series);
    while (!bad && child_read(end, &q, sizeof q) == 0) bad = answer_one(end, s, &q);
    snapshot_close(s);
}

/* ---- this side ---- */

static int give_up(struct reader *r, const char *why)
{
    if (!r->failed) err_set(&r->err, "%s: %s", r->path, why);
    r->failed = true;
    return -1;
}

static int gone(struct reader *r)
{
    char why[96];
    if (r->failed) return -1;
    guard_end(&r->child, why);
    r->ended = true;
    return give_up(r, why);
}

/* How many bytes the answer has; -1: it is an error. */
static int64_t hear(struct reader *r)
{
    struct answer a;
    if (r->failed) return -1;
    if (child_receive(&r->child, &a, sizeof a)) return gone(r);
    if (a.good && a.bytes > INT64_MAX) return give_up(r, astray);
    if (a.good) return (int64_t)a.bytes;
    if (a.bytes >= sizeof r->err.text) return give_up(r, astray);
    if (child_receive(&r->child, r->err.text, a.bytes)) return gone(r);
    r->err.text[a.bytes] = 0;
    r->failed = true;
    return -1;
}

static int hear_bytes(struct reader *r, void *to, size_t bytes)
{
    int64_t n = hear(r);
    if (n < 0) return -1;
    if ((size_t)n != bytes) return give_up(r, astray);
    return child_receive(&r->child, to, bytes) ? gone(r) : 0;
}

static void ask(struct reader *r, const struct question *q)
{
    if (!r->failed && child_send(&r->child, q, sizeof *q)) gone(r);
}

/* The answer as a text of the reader's, *bytes long; NULL: an error. */
static const char *ask_text(struct reader *r, const struct question *q, size_t *bytes)
{
    ask(r, q);
    int64_t n = hear(r);
    if (n > TEXT_MOST) n = give_up(r, astray);
    if (n < 0) return NULL;
    char *text = arena_alloc(r->texts, (size_t)n + 1);
    if (child_receive(&r->child, text, (size_t)n)) { gone(r); return NULL; }
    *bytes = (size_t)n;
    return text;
}

/* Rows of a series or of the steps, `bytes` each, block by block. */
static int ask_rows(struct reader *r, enum ask what, int which, int64_t from, int64_t rows, size_t bytes, void **to,
                    struct err *e)
{
    size_t all;
    int64_t most = bytes < BLOCK_BYTES ? BLOCK_BYTES / (int64_t)(bytes ? bytes : 1) : 1;
    if (reader_result(r, e)) return -1;
    if (__builtin_mul_overflow((size_t)rows, bytes, &all) || !(*to = malloc(all + 1)))
        return err_set(e, "%s: %lld rows of %zu bytes do not fit in memory", r->path, (long long)rows, bytes);
    for (int64_t first = 0; first < rows && !r->failed; first += most) {
        int64_t n = rows - first < most ? rows - first : most;
        ask(r, &(struct question){ .ask = what, .which = which, .first = from + first, .n = n });
        hear_bytes(r, (char *)*to + (size_t)first * bytes, (size_t)n * bytes);
    }
    if (!r->failed) return 0;
    free(*to);
    *to = NULL;
    return reader_result(r, e);
}

/* HDF5 may have gone astray in the child without crashing. */
static void check_head(struct reader *r)
{
    if (r->failed) return;
    bool good = r->head.n >= 0 && r->head.n <= SERIES_MOST && r->head.status >= 0 && r->head.status < STATUS_COUNT;
    for (int g = 0; g < STORE_GROUPS; g++) good = good && r->head.rows[g] >= 0;
    if (!good) give_up(r, astray);
}

/* Whether an array of characters holds a text that ends in it; its last byte is never anything else. */
#define ended(text) (!(text)[sizeof (text) - 1])

static void check_series(struct reader *r)
{
    for (int i = 0; i < r->head.n && !r->failed; i++) {
        struct reader_series *s = &r->series[i];
        bool good = s->rank >= 0 && s->rank <= COUNT(s->dim) && ended(s->name) && ended(s->unit) && ended(s->about);
        for (int d = 0; d < COUNT(s->dim); d++) good = good && s->dim[d] >= 0 && ended(s->dim_name[d]);
        good = good && (unsigned)s->group < STORE_GROUPS && (unsigned)s->better <= BETTER_HIGHER;
        if (!good) give_up(r, astray);
    }
}

int reader_open(struct reader **out, const char *path, struct err *e)
{
    struct reader *r = xcalloc(1, sizeof *r);
    *out = NULL;
    *r = (struct reader){ .path = xstrdup(path), .texts = arena_new() };
    if (guard_begin(&r->child, serve, r->path, &r->err)) {
        r->ended = r->failed = true;
        err_prefix(&r->err, "%s: ", path);
    }
    hear_bytes(r, &r->head, sizeof r->head);
    check_head(r);
    if (r->failed) r->head = (struct head){ 0 };
    r->series = xcalloc((size_t)r->head.n + 1, sizeof *r->series);
    hear_bytes(r, r->series, (size_t)r->head.n * sizeof *r->series);
    check_series(r);
    int failed = reader_result(r, e);
    if (failed) reader_close(r);
    else *out = r;
    return failed;
}

void reader_close(struct reader *r)
{
    if (!r) return;
    if (!r->ended) guard_end(&r->child, NULL);
    arena_free(r->texts);
    for (int g = 0; g < STORE_GROUPS; g++) free(r->steps[g]);
    free(r->series); free(r->path);
    free(r);
}

int reader_result(const struct reader *r, struct err *e)
{
    if (!r->failed) return 0;
    *e = r->err;
    return -1;
}

enum store_status reader_status(const struct reader *r) { return r->head.status; }
int64_t reader_rows(const struct reader *r, enum store_group group) { return r->head.rows[group]; }
int reader_series_count(const struct reader *r) { return r->head.n; }
const struct reader_series *reader_series(const struct reader *r, int i) { return &r->series[i]; }

const struct reader_series *reader_find(const struct reader *r, enum store_group group, const char *name)
{
    for (int i = 0; i < r->head.n; i++)
        if (r->series[i].group == group && !strcmp(r->series[i].name, name)) return &r->series[i];
    return NULL;
}

int reader_read(struct reader *r, const struct reader_series *s, double **values, struct err *e)
{
    return reader_read_rows(r, s, 0, r->head.rows[s->group], values, e);
}

int reader_read_rows(struct reader *r, const struct reader_series *s, int64_t first, int64_t n, double **values,
                     struct err *e)
{
    size_t bytes = sizeof **values;
    void *to = NULL;
    *values = NULL;
    for (int i = 0; i < s->rank; i++)
        if (__builtin_mul_overflow(bytes, (size_t)s->dim[i], &bytes))
            return err_set(e, "%s: %s is too large", r->path, s->name);
    int which = 0;
    while (which < r->head.n && (r->series[which].group != s->group || strcmp(r->series[which].name, s->name))) which++;
    INVARIANT(which < r->head.n, "%s has no series %s", r->path, s->name);
    INVARIANT(first >= 0 && first + n <= r->head.rows[s->group], "%s has no row %lld", r->path, (long long)(first + n));
    int failed = ask_rows(r, ASK_VALUES, which, first, n, bytes, &to, e);
    *values = to;
    return failed;
}

int reader_steps(struct reader *r, enum store_group group, int64_t **steps, struct err *e)
{
    size_t bytes = (size_t)r->head.rows[group] * sizeof **steps;
    *steps = NULL;
    if (!r->steps[group] &&
        ask_rows(r, ASK_STEPS, (int)group, 0, r->head.rows[group], sizeof **steps, &r->steps[group], e))
        return -1;
    *steps = memcpy(xmalloc(bytes + 1), r->steps[group], bytes);
    return 0;
}

static const char *text_or_nothing(struct reader *r, const struct question *q)
{
    size_t bytes;
    const char *text = ask_text(r, q, &bytes);
    return text ? text : "";
}

const char *reader_text(struct reader *r, const char *group, const char *attribute)
{
    struct question q = { .ask = ASK_TEXT };
    copy_text(q.group, sizeof q.group - 1, group);
    copy_text(q.name, sizeof q.name - 1, attribute);
    return text_or_nothing(r, &q);
}

const char *reader_config(struct reader *r) { return text_or_nothing(r, &(struct question){ .ask = ASK_CONFIG }); }
const char *reader_script(struct reader *r) { return text_or_nothing(r, &(struct question){ .ask = ASK_SCRIPT }); }
const char *reader_required(struct reader *r) { return text_or_nothing(r, &(struct question){ .ask = ASK_REQUIRED }); }
const char *reader_record(struct reader *r) { return text_or_nothing(r, &(struct question){ .ask = ASK_RECORD }); }

int reader_table(struct reader *r, const char *name, void (*line)(void *state, const char *text), void *state,
                 struct err *e)
{
    const struct table *t = table_find(name);
    size_t bytes = 0;
    if (!t)
        return err_set(e, "no table '%s' (known: events, samples, checkpoints, attempts, cost/planned, cost/executed)",
                       name);
    const char *text = ask_text(r, &(struct question){ .ask = ASK_TABLE, .which = (int)(t - store_table) }, &bytes);
    for (const char *end = text + bytes; text && text < end; text += strlen(text) + 1) line(state, text);
    return reader_result(r, e);
}
