/* Replayed rows, held against the committed ones. */
#include "private.h"
#include <math.h>
#include <string.h>

static double stored_value(enum store_type type, const char *at)
{
    switch (type) {
    case STORE_F64: return *(const double *)at;
    case STORE_F32: return *(const float *)at;
    case STORE_I64: return (double)*(const int64_t *)at;
    case STORE_U32: return *(const uint32_t *)at;
    case STORE_U8:  return *(const uint8_t *)at;
    case STORE_I16: return *(const int16_t *)at;
    case STORE_TYPES: break;
    }
    return NAN;
}

int64_t store_row_of(const int64_t *step, int64_t n, int64_t wanted)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (step[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    return low < n && step[low] == wanted ? low : -1;
}

/* A replayed row must be the committed one, bit for bit as stored. */
int replay_row(struct store *s, enum store_group group, int64_t step, const double *const *value, struct err *e)
{
    struct metrics *m = &s->metrics[group];
    int64_t row = store_row_of(m->step, m->committed, step);
    if (row < 0) {
        s->mismatch = true;
        return err_set(e, "%s: %s: step %lld was not among the committed ones", s->path, store_group_name[group],
                       (long long)step);
    }
    for (int i = 0; i < m->n; i++) {
        struct column *c = &m->column[i];
        size_t size = c->bytes / c->count;
        if (c->is_volatile) continue;
        H5(s, c->name, rows_read(c->data, store_number(c->type).memory, row, 1, c->pending));
        for (size_t k = 0; k < c->count && !s->failed; k++) {
            char now[8];
            if (store_convert(c->type, value[i][k], now) && !memcmp(now, c->pending + k * size, size)) continue;
            s->mismatch = true;
            return err_set(e, "%s: %s/%s[%zu] at step %lld was %.17g, the replay gives %.17g", s->path,
                           store_group_name[group], c->name, k, (long long)step,
                           stored_value(c->type, c->pending + k * size), value[i][k]);
        }
    }
    return store_result(s, e);
}
