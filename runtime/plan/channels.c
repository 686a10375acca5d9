/* Channels of a pipeline: two for each boundary between stages of two ranks, one that brings values up and one that
   brings gradients down. Those of a second copy of the model come after those of the first. */
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

int channels_slots(const struct plan *p, int stage, int micro)
{
    struct stage_place at = pipeline_place(&p->schedule, stage, micro);
    int flying = p->trains ? most_in_flight(&p->schedule.rank[at.rank], at.chunk) : 1;
    return flying + 1;                                      /* what is near comes early */
}

static int of_a_copy(const struct plan *p) { return 2 * (p->graph->leaves->stages.n - 1); }
static int copies(const struct plan *p) { return p->schedule.chunks * p->schedule.ranks / p->schedule.stages; }

int channels_number(const struct plan *p, const struct plan *stage, int other, int what)
{
    int below = other < stage->part ? other : stage->part;
    return 2 * below + what + (stage->first ? of_a_copy(p) : 0);
}

/* False: the boundary is within a rank. What is given and not taken is of a micro-batch that has a slot in the stage
   below, which keeps it from its forward until its backward has heard of the stage above. So who gives as many as there
   are slots before the first has to be taken never waits for who takes. */
static bool channel_of(const struct plan *p, int number, struct channel *c)
{
    int copy = number / of_a_copy(p), below = number % of_a_copy(p) / 2, what = number % 2;
    int micro = copy ? pipeline_micros(&p->schedule, copy).first : 0;
    struct stage_place from = pipeline_place(&p->schedule, below + (what == GRADS), micro),
                       to = pipeline_place(&p->schedule, below + (what == VALUES), micro);
    const struct place *here = &p->graph->leaves->here;
    const struct plan *stage = plan_chunk_at(p, from);
    const struct crossings *x = !stage ? NULL : what == VALUES ? &stage->outgoing : &stage->incoming;
    *c = (struct channel){ .number = number, .from = place_at(here, from.rank), .to = place_at(here, to.rank) };
    for (int i = 0; x && i < x->n; i++) {
        int storage = crossing_storage(&x->crossing[i], what);
        if (storage == NONE) continue;
        size_t bytes = plan_decl_bytes(p, stage->storage[storage].decl);
        c->parcels += channels_slots(p, below, micro);
        if (bytes > c->bytes) c->bytes = bytes;
    }
    return c->from != c->to;
}

static int channels(const struct plan *p)
{
    return p->how.backend->open_channel ? copies(p) * of_a_copy(p) : 0;
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
