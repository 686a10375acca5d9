/* Items: rows of tokens that grow. */
#include "item.h"

#include <stdlib.h>

void item_begin(struct item *it)
{
    if (it->rows == it->room) {
        it->row = xrealloc(it->row, (size_t)(2 * it->room + 1) * sizeof *it->row);
        for (; it->room < 2 * it->rows + 1; it->room++) it->row[it->room] = (struct item_row){ 0 };
    }
    struct item_row *r = &it->row[it->rows++];
    r->n = r->bytes = r->characters = 0;
}

void item_put(struct item *it, int32_t id, bool counts)
{
    struct item_row *r = &it->row[it->rows - 1];
    if (r->n == r->room) {
        r->room = 2 * r->room + 64;
        r->id = xrealloc(r->id, (size_t)r->room * sizeof *r->id);
        r->counts = xrealloc(r->counts, (size_t)r->room);
    }
    r->id[r->n] = id;
    r->counts[r->n++] = counts;
}

void item_clear(struct item *it) { it->rows = it->gold = 0; }

void item_free(struct item *it)
{
    for (int i = 0; i < it->room; i++) {
        free(it->row[i].id);
        free(it->row[i].counts);
    }
    free(it->row);
    *it = (struct item){ 0 };
}
