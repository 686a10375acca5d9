/* A hash of all weights and buffers of a session, wherever they lie. */
#ifndef SLUICE_SESSION_HASH_H
#define SLUICE_SESSION_HASH_H

#include "train/train.h"
#include <stdlib.h>

static inline struct hash session_hash(struct session *s)
{
    struct hash h = hash_bytes("", 0);
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) continue;
        void *values = xmalloc(leaf_bytes(l));
        state_get(s->state, l, values);
        h = hash_more(h, values, leaf_bytes(l));
        free(values);
    }
    return h;
}

#endif
