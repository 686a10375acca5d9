/* Two run files, value by value. */
#include "twin.h"
#include "metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_series(struct reader *was, struct reader *is, const struct reader_series *a, struct twin *t,
                          struct err *e)
{
    const struct reader_series *b = reader_find(is, a->group, a->name);
    double *x, *y;
    int64_t cells = 1, *step, rows = t->rows[a->group];
    bool same = b && a->rank == b->rank && a->type == b->type;
    for (int i = 0; i < a->rank; i++) {
        cells *= a->dim[i];
        same = same && a->dim[i] == b->dim[i];
    }
    t->series++;
    if (!same) {
        const char *what = b ? "has other dimensions" : "is not measured any more";
        printf("differs: %s.%s: %s\n", metric_group[a->group], a->name, what);
        t->bad++;
        return 0;
    }
    if (reader_read(was, a, &x, e)) return -1;
    if (reader_read(is, b, &y, e)) { free(x); return -1; }
    int64_t at = 0, n = rows * cells;
    while (at < n && memcmp(&x[at], &y[at], sizeof *x) == 0) at++;
    int failure = at < n ? reader_steps(was, a->group, &step, e) : 0;
    if (at < n && !failure) {
        printf("differs: %s.%s at step %lld: was %.17g, is %.17g\n", metric_group[a->group], a->name,
               (long long)step[at / cells], x[at], y[at]);
        t->bad++;
        free(step);
    }
    free(x);
    free(y);
    return failure;
}

/* ---- the state at checkpoints, which the table knows by its hash ---- */

struct states { int n, room; struct state_hash { long long step; char hash[33]; } *state; };

static void take_state(void *to, const char *text)
{
    struct states *s = to;
    struct state_hash one;
    if (sscanf(text, "%lld %*s %*u %32s", &one.step, one.hash) != 2) return;
    if (s->n == s->room) s->state = xrealloc(s->state, (size_t)(s->room = 2 * s->room + 16) * sizeof *s->state);
    s->state[s->n++] = one;
}

static int compare_states(struct reader *was, struct reader *is, struct twin *t, struct err *e)
{
    struct states a = { 0 }, b = { 0 };
    int failure = reader_table(was, "checkpoints", take_state, &a, e)
               || reader_table(is, "checkpoints", take_state, &b, e);
    for (int i = 0; i < a.n && !failure; i++)
        for (int k = 0; k < b.n; k++) {
            if (a.state[i].step != b.state[k].step) continue;
            t->states++;
            if (strcmp(a.state[i].hash, b.state[k].hash) == 0) continue;
            printf("differs: the state after step %lld: was %s, is %s\n", a.state[i].step, a.state[i].hash,
                   b.state[k].hash);
            t->bad++;
        }
    free(a.state);
    free(b.state);
    return failure ? -1 : 0;
}

static int compare_steps(struct reader *was, struct reader *is, enum store_group g, struct twin *t, struct err *e)
{
    int64_t *x, *y, at = 0;
    if (reader_steps(was, g, &x, e)) return -1;
    if (reader_steps(is, g, &y, e)) { free(x); return -1; }
    while (at < t->rows[g] && x[at] == y[at]) at++;
    if (at < t->rows[g]) {
        printf("differs: row %lld of %s: was step %lld, is %lld\n", (long long)at, metric_group[g], (long long)x[at],
               (long long)y[at]);
        t->bad++;
    }
    free(x);
    free(y);
    return 0;
}

int twin_compare(struct reader *was, struct reader *is, struct twin *out, struct err *e)
{
    *out = (struct twin){ 0 };
    for (int g = 0; g < STORE_GROUPS; g++) {
        int64_t a = reader_rows(was, g), b = reader_rows(is, g);
        out->rows[g] = a < b ? a : b;
        if (compare_steps(was, is, g, out, e)) return -1;
    }
    for (int i = 0; i < reader_series_count(was); i++) {
        const struct reader_series *a = reader_series(was, i);
        if (!a->is_volatile && compare_series(was, is, a, out, e)) return -1;
    }
    return compare_states(was, is, out, e);
}
