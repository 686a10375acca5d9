/* Channels of a pipeline: two for each boundary between stages of two ranks, one that brings values up and one that
   brings gradients down. */
#include "plan_private.h"

static int most_in_flight(const struct row *row, int chunk)
{
    int flying = 0, most = 0;
    for (const struct action *a = row->action; a < row->action + row->n; a++) {
        bool begins = a->kind == ACTION_FORWARD, ends = a->kind == ACTION_BACKWARD || a->kind == ACTION_WEIGHT;
        if (a->chunk == chunk) flying += begins - ends;
        if (flying > most) most = flying;
    }
    return most;
}

int channels_slots(const struct plan *p, int stage)
{
    struct stage_place at = pipeline_place(&p->schedule, stage, 0);
    int flying = p->trains ? most_in_flight(&p->schedule.rank[at.rank], at.chunk) : 1;
    return flying + 1;                                      /* what is near comes early */
}

/* False: the boundary is within a rank. What is given and not taken is of a micro-batch that has a slot in the stage
   below, which keeps it from its forward until its backward has heard of the stage above. So who gives as many as there
   are slots before the first has to be taken never waits for who takes. */
static bool channel_of(const struct plan *p, int number, struct channel *c)
{
    int below = number / 2, what = number % 2, from = below + (what == GRADS), to = below + (what == VALUES);
    const int *home = p->graph->leaves->stages.home;
    const struct place *here = &p->graph->leaves->here;
    const struct plan *stage = plan_chunk_of(p, from);
    const struct crossings *x = !stage ? NULL : what == VALUES ? &stage->outgoing : &stage->incoming;
    *c = (struct channel){ .number = number, .from = place_member(here, OVER_PP, home[from]),
                           .to = place_member(here, OVER_PP, home[to]) };
    for (int i = 0; x && i < x->n; i++) {
        int storage = crossing_storage(&x->crossing[i], what);
        if (storage == NONE) continue;
        size_t bytes = plan_decl_bytes(p, stage->storage[storage].decl);
        c->parcels += channels_slots(p, below);
        if (bytes > c->bytes) c->bytes = bytes;
    }
    return c->from != c->to;
}

static int channels(const struct plan *p)
{
    return p->how.backend->open_channel ? 2 * (p->graph->leaves->stages.n - 1) : 0;
}

size_t channels_bytes(const struct plan *p)
{
    size_t bytes = 0;
    struct channel c;
    for (int i = 0; i < channels(p); i++)
        if (channel_of(p, i, &c) && c.from == p->graph->leaves->here.rank) bytes += (size_t)c.parcels * c.bytes;
    return bytes;
}

void channels_open(const struct plan *p)
{
    struct channel c;
    for (int i = 0; i < channels(p); i++)
        if (channel_of(p, i, &c)) p->how.backend->open_channel(p->state->device, &c);
}
