/* Messages beside computation: an order in which what travels begins as soon as it can and is awaited as late as it
   can, and which call waits for what. A backend has one line on which messages go one after the other, in the order in
   which they were given, beside the calls that are given next. */
#include "plan_private.h"

#include <stdlib.h>

enum { UNDER_WAY = 4 };                                     /* messages at a time: their tensors stay that long */

static bool travels(const struct node *n, enum pass pass)
{
    return pass == BACKWARD ? n->op->travels_back : n->op->travels;
}

bool call_travels(const struct call *c) { return travels(c->node, c->pass); }

/* What is gathered of weights, which are always there. */
static bool gathers(const struct entry *e)
{
    for (int k = 0; k < e->node->n_in; k++) if (!plan_leaf_of(e->node->in[k])) return false;
    return travels(e->node, e->pass) && e->pass != BACKWARD;
}

/* ---- what calls read and write: of a node its values, those that are made again, and its gradients ---- */

enum { VALUES_OF, AGAIN_OF, GRADS_OF, KINDS };
struct used { int n, room, *at; };

static void use(struct used *u, const struct node *n, int kind)
{
    if (u->n == u->room) u->at = xrealloc(u->at, (size_t)(u->room = 2 * u->room + 16) * sizeof *u->at);
    u->at[u->n++] = KINDS * node_root(n).node->id + kind;
}

static void use_value(struct used *u, const struct plan *p, const struct node *n, enum pass pass)
{
    bool again = pass != FORWARD && p->planned[node_root(n).node->id].time[RECOMPUTE] != NONE;
    use(u, n, again ? AGAIN_OF : VALUES_OF);
}

static void find_used(const struct plan *p, const struct entry *e, struct used *reads, struct used *writes)
{
    const struct node *n = e->node;
    reads->n = writes->n = 0;
    for (int k = 0; k < n->n_in; k++) {
        if (!n->in[k]) continue;
        use_value(reads, p, n->in[k], e->pass);
        if (e->pass == BACKWARD && node_wants(n, k)) use(writes, n->in[k], GRADS_OF);
    }
    use_value(e->pass == BACKWARD ? reads : writes, p, n, e->pass);
    if (e->pass == BACKWARD) use(reads, n, GRADS_OF);
}

/* ---- calls of a layer, and which of them come after which ---- */

/* left: of those that it comes after, how many have no place yet; awaits: the last message among them, by their number
   in the layer, 0: none. leads: a message comes after it. */
struct item { struct entry entry; bool travels, leads, placed; int left, awaits, first; };
struct edge { int to, next; };
struct window {
    int n; struct item *item;
    int n_edges, room; struct edge *edge;
    int *writer, *reader;                                   /* of what is used: an item, the first of a list */
    int n_readers, room_readers; struct edge *readers;
    struct used reads, writes;                              /* of the item that is looked at */
};

static int push(struct edge **list, int *n, int *room, struct edge e)
{
    if (*n == *room) *list = xrealloc(*list, (size_t)(*room = 2 * *room + 64) * sizeof e);
    (*list)[*n] = e;
    return (*n)++;
}

static void link(struct window *w, int from, int to)
{
    if (from == NONE || from == to) return;
    w->item[from].first = push(&w->edge, &w->n_edges, &w->room, (struct edge){ to, w->item[from].first });
    w->item[to].left++;
}

static void link_item(struct window *w, const struct plan *p, int i)
{
    find_used(p, &w->item[i].entry, &w->reads, &w->writes);
    if (gathers(&w->item[i].entry)) link(w, i - 1, i);      /* not before its turn */
    for (int k = 0; k < w->reads.n; k++) {
        int r = w->reads.at[k];
        link(w, w->writer[r], i);
        w->reader[r] = push(&w->readers, &w->n_readers, &w->room_readers, (struct edge){ i, w->reader[r] });
    }
    for (int k = 0; k < w->writes.n; k++) {
        int r = w->writes.at[k];
        link(w, w->writer[r], i);
        for (int at = w->reader[r]; at != NONE; at = w->readers[at].next) link(w, w->readers[at].to, i);
        w->reader[r] = NONE;
        w->writer[r] = i;
    }
}

static void forget_used(struct window *w, const struct plan *p)
{
    for (int i = 0; i < w->n; i++) {
        find_used(p, &w->item[i].entry, &w->reads, &w->writes);
        for (int k = 0; k < w->reads.n; k++) w->reader[w->reads.at[k]] = NONE;
        for (int k = 0; k < w->writes.n; k++) w->writer[w->writes.at[k]] = w->reader[w->writes.at[k]] = NONE;
    }
    w->n = w->n_edges = w->n_readers = 0;
}

static void find_leads(struct window *w)
{
    for (int i = w->n - 1; i >= 0; i--) {
        struct item *it = &w->item[i];
        it->leads = it->travels;
        for (int e = it->first; e != NONE; e = w->edge[e].next) it->leads |= w->item[w->edge[e].to].leads;
    }
}

/* ---- their order ---- */

/* Messages that were given, and of these how many are there. */
struct told { int given, there; };

/* How many more have to be there before it: a message waits for room alone, as the line has an order. */
static int waits(const struct item *it, const struct told *t)
{
    int needs = it->travels ? t->given + 1 - UNDER_WAY : it->awaits;
    return needs > t->there ? needs - t->there : 0;
}

/* The less the sooner: a message; what leads to one; what can be done meanwhile; what has to wait, the shorter. */
static int turn(const struct item *it, const struct told *t)
{
    int n = waits(it, t);
    return n ? 2 + n : it->travels ? 0 : it->leads ? 1 : 2;
}

static int choose(const struct window *w, const struct told *t)
{
    int best = NONE;
    for (int i = 0; i < w->n; i++) {
        const struct item *it = &w->item[i];
        if (!it->placed && it->left == 0 && (best == NONE || turn(it, t) < turn(&w->item[best], t))) best = i;
    }
    return best;
}

static void place_items(struct window *w, struct entry *to)
{
    struct told t = { 0 };
    for (int placed = 0; placed < w->n; placed++) {
        struct item *it = &w->item[choose(w, &t)];
        t.there += waits(it, &t);
        t.given += it->travels;
        it->placed = true;
        to[placed] = it->entry;
        for (int e = it->first; e != NONE; e = w->edge[e].next) {
            struct item *after = &w->item[w->edge[e].to];
            after->left--;
            if (it->travels) after->awaits = t.given;
        }
    }
}

/* Calls that nothing passes. */
static bool is_fixed(const struct plan *p, const struct entry *e)
{
    const struct planned *at = &p->planned[e->node->id];
    return at->joint || at->follows != NONE || op_changes(e->node->op);
}

/* From `from` on, up to the end of the layer; returns where that is. */
static int order_layer(struct plan *p, struct window *w, int from, int to)
{
    int end = from;
    bool any = false;
    while (end < to && !is_fixed(p, &p->order[end]) && p->order[end].node->layer == p->order[from].node->layer) end++;
    if (end == from) return from + 1;
    w->item = xrealloc(w->item, (size_t)(end - from) * sizeof *w->item);
    for (int i = from; i < end; i++) {
        struct entry e = p->order[i];
        bool message = travels(e.node, e.pass) && !gathers(&e);
        w->item[w->n++] = (struct item){ .entry = e, .travels = message, .first = NONE };
        any |= message;
    }
    if (any) {
        for (int i = 0; i < w->n; i++) link_item(w, p, i);
        find_leads(w);
        place_items(w, p->order + from);
    }
    forget_used(w, p);
    return end;
}

/* Each is gathered while what comes before it is used. */
static void gather_ahead(struct plan *p, int from, int to)
{
    struct entry *was = xmalloc((size_t)(to - from + 1) * sizeof *was);
    int n = to - from, next = 0, put = from;
    memcpy(was, p->order + from, (size_t)n * sizeof *was);
    for (int i = 0; i < n; i++) {
        if (!gathers(&was[i])) { p->order[put++] = was[i]; continue; }
        if (next <= i) { p->order[put++] = was[i]; next = i + 1; }
        while (next < n && !gathers(&was[next])) next++;
        if (next < n) p->order[put++] = was[next++];
    }
    free(was);
}

void overlap_order(struct plan *p, int from, int to)
{
    struct window w = { 0 };
    size_t used = (size_t)(KINDS * p->graph->n + 1);
    bool any = false;
    for (int i = from; i < to; i++) any |= travels(p->order[i].node, p->order[i].pass);
    if (!any || !p->graph->leaves->overlap || p->graph->keep) return;
    w.writer = xmalloc(used * sizeof *w.writer);
    w.reader = xmalloc(used * sizeof *w.reader);
    for (size_t i = 0; i < used; i++) w.writer[i] = w.reader[i] = NONE;
    for (int at = from; at < to; ) at = order_layer(p, &w, at, to);
    gather_ahead(p, from, to);
    free(w.writer);
    free(w.reader);
    free(w.item);
    free(w.edge);
    free(w.readers);
    free(w.reads.at);
    free(w.writes.at);
}

/* ---- who waits ---- */

struct tensors { const struct tensor *t; int n; };
enum { SETS = 6, IN = 0, DOUT = 4, DIN = 5 };

static void sets_of(const struct call *c, struct tensors set[SETS])
{
    const struct args *a = &c->args;
    const struct node *n = c->node;
    set[IN] = (struct tensors){ a->in, a->in ? n->n_in : 0 };
    set[1] = (struct tensors){ a->out, a->out ? n->n_out : 0 };
    set[2] = (struct tensors){ a->save, a->save ? n->n_save : 0 };
    set[3] = (struct tensors){ a->work, a->work ? n->n_work : 0 };
    set[DOUT] = (struct tensors){ a->dout, a->dout ? n->n_out : 0 };
    set[DIN] = (struct tensors){ a->din, a->din ? n->n_in : 0 };
}

/* Of forward what is not read, of backward the gradients of inputs, and work. */
static bool is_written(const struct call *c, int set)
{
    return set == 3 || (c->pass == BACKWARD && !c->joint ? set == DIN : set != IN && set != DOUT);
}

/* Whether one of them writes what the other uses. */
static bool conflict(const struct call *a, const struct call *b)
{
    struct tensors of_a[SETS], of_b[SETS];
    sets_of(a, of_a);
    sets_of(b, of_b);
    for (int x = 0; x < SETS; x++)
        for (int y = 0; y < SETS; y++) {
            if (!is_written(a, x) && !is_written(b, y)) continue;
            for (int i = 0; i < of_a[x].n; i++)
                for (int k = 0; k < of_b[y].n; k++)
                    if (of_a[x].t[i].data && of_a[x].t[i].data == of_b[y].t[k].data) return true;
        }
    return false;
}

/* Or what runs with the second. */
static bool conflicts(const struct call *a, const struct call *b, const struct call *end)
{
    if (conflict(a, b)) return true;
    const struct args *next = b->args.next;
    for (const struct call *c = b + 1; next && c < end; c++)
        if (&c->args == next) {
            if (conflict(a, c)) return true;
            next = c->args.next;
        }
    return false;
}

static void stay(struct plan *p, const struct call *message, int time)
{
    struct tensors set[SETS];
    sets_of(message, set);
    for (int s = 0; s < SETS; s++)
        for (int i = 0; i < set[s].n; i++)
            if (set[s].t[i].data) plan_extend(p, (int)((uintptr_t)set[s].t[i].data - 1), time);
}

static int time_of(const struct plan *p, const struct call *c) { return p->planned[c->node->id].time[c->pass]; }

/* A message goes beside the calls before `until`, where there is one that is none itself. */
static void set_beside(struct plan *p, struct call *message, const struct call *until, const struct call *last)
{
    for (const struct call *c = message + 1; c < until; c++) message->beside |= !call_travels(c);
    stay(p, message, time_of(p, until < last ? until : last));
}

void overlap_find(struct plan *p, struct calls *calls)
{
    struct call *under[UNDER_WAY], *end = calls->call + calls->n;
    int n = 0;
    if (!p->graph->leaves->overlap || !p->how.backend->beside) return;
    for (struct call *c = calls->call; c < end; c++) {
        bool message = call_travels(c);
        int arrived = message && n == UNDER_WAY ? 1 : 0;
        for (int i = 0; i < n && !c->follower; i++)
            if (!(message && call_travels(under[i])) && conflicts(under[i], c, end)) arrived = i + 1;
        for (int i = 0; i < arrived; i++) set_beside(p, under[i], c, end - 1);
        if (arrived) c->awaits = under[arrived - 1];
        n -= arrived;
        for (int i = 0; i < n; i++) under[i] = under[i + arrived];
        if (message) under[n++] = c;
    }
    for (int i = 0; i < n; i++) set_beside(p, under[i], end, end - 1);
}
