/* Messages by alpha-beta. A rank sends to all others of a group at once, through its link to those of its machine and
   its link to other machines. */
#include "talk.h"
#include "base/param.h"
#include "graph/ops.h"

#include <math.h>
#include <string.h>

/* ---- what calls say ---- */

static unsigned over_of(const struct node *n)
{
    for (const struct param *p = n->op->attributes; p && p->name; p++)
        if (!strcmp(p->name, "over")) return (unsigned)*(const int64_t *)((const char *)n->attr + p->offset);
    return 0;
}

static double bytes_of(const struct tensor *t, struct filled f)
{
    return (double)shape_count(t->shape) * (double)element_bytes(t->format) * filled_share(f, t->shape);
}

/* Bytes to each other rank. Of rows for experts and copies of them, as many to each; of counts, half of what comes;
   else all that this rank has, or as much of the gradient. */
static double to_each(const struct call *c, int ranks)
{
    const struct op *op = c->node->op;
    double in = bytes_of(&c->args.in[0], (struct filled){ 0 }), out = bytes_of(&c->args.out[0], (struct filled){ 0 });
    if (op == &op_to_experts) return in / ranks;
    if (op == &op_from_experts) return out / ranks;
    if (op == &op_with_copies) return (out - in) / ranks;
    if (op == &op_exchange_counts) return out / (2 * ranks);
    return in;
}

struct talk talk_of(const struct call *c)
{
    const struct op *op = c->node->op;
    if (!(c->pass == BACKWARD ? op->travels_back : op->travels)) return (struct talk){ 0 };
    unsigned over = over_of(c->node);
    return (struct talk){ over, to_each(c, place_group(&c->node->graph->leaves->here, over)) };
}

/* ---- how long it takes ---- */

/* Of a group: its ranks, those in this one's machine, and machines. */
struct spread { int ranks, near, machines; };
static struct spread spread_of(const struct machine *m, const struct place *here, unsigned over)
{
    struct spread s = { place_group(here, over), 0, 0 };
    for (int i = 0, last = -1; i < s.ranks; i++) {
        int machine = place_member(here, over, i) / m->node;
        s.near += machine == here->rank / m->node;
        s.machines += machine != last;
        last = machine;
    }
    return s;
}

static double over_link(const struct link *l, double bytes) { return l->latency + bytes / l->rate; }

static double to_all(const struct machine *m, struct spread s, double each)
{
    double near = s.near > 1 ? over_link(&m->inside, (s.near - 1) * each) : 0,
           far = s.ranks > s.near ? over_link(&m->between, (s.ranks - s.near) * each) : 0;
    return fmax(near, far);
}

double talk_exchange(const struct machine *m, const struct place *here, struct talk t)
{
    return to_all(m, spread_of(m, here, t.over), t.bytes);
}

/* Parts to those who add them up or pass them on, or from them to all; `bytes` is the whole. Within a machine first,
   and then each rank its share of it between machines; or directly. */
static double in_parts(const struct machine *m, struct spread s, double bytes)
{
    if (!m->two_level || s.machines == 1) return to_all(m, s, bytes / s.ranks);
    double inside = s.near > 1 ? over_link(&m->inside, bytes * (s.near - 1) / s.near) : 0;
    return inside + over_link(&m->between, bytes / s.near * (s.machines - 1) / s.machines);
}

double talk_reduce(const struct machine *m, const struct place *here, unsigned over, double bytes)
{
    struct spread s = spread_of(m, here, over);
    return s.ranks == 1 || bytes == 0 ? 0 : 2 * in_parts(m, s, bytes);
}

/* What is small goes from one to all; else its parts go to all others, who pass them on. In two levels different ranks
   give many leaves at once, so that each passes on as much as it gets. */
double talk_broadcast(const struct machine *m, const struct place *here, unsigned over, double bytes)
{
    enum { SMALL = 64 << 10 };
    struct spread s = spread_of(m, here, over);
    if (s.ranks == 1) return 0;
    if (m->two_level) return in_parts(m, s, bytes);
    return bytes <= SMALL ? to_all(m, s, bytes) : 2 * to_all(m, s, bytes / s.ranks);
}

double talk_message(const struct machine *m, int from, int to, double bytes)
{
    return from == to ? 0 : over_link(from / m->node == to / m->node ? &m->inside : &m->between, bytes);
}
