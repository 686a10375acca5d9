/* Experts: who goes where, rows by expert, what they compute of them, and what is seen of it. */
#include "building.h"

#include <math.h>
#include <string.h>

/* ---- feed-forwards, of all rows or of each expert's ---- */

struct node *expert_affine(struct build *b, bool bias, const char *name, enum role role, const struct routing *r,
                           const struct dispatched *d, struct node *rows, int64_t out)
{
    int computed = r->experts - r->idle;
    double active = r->k < r->experts ? (double)r->k / r->experts : 1;
    struct node *y = expert_linear(b, name, role, d, rows, out, computed, active);
    if (!bias) return y;
    struct node *added = build_expert_bias(b, name, SHAPE(computed, out), d);
    added->leaf->active = active * b->share;
    return grouped_add_row(b->graph, y, build_copied(b, added, d), d->offsets);
}

/* Of all rows, each rank over tp a part of the hidden values; or of expert rows with a matrix and a bias each (d, else
   NULL). */
static struct node *projection(struct build *b, struct hidden h, const struct routing *r, const struct dispatched *d,
                               const char *name, enum role role, struct node *x, int64_t out)
{
    enum side side = role == ROLE_FFN_DOWN ? SIDE_INPUTS : SIDE_OUTPUTS;
    return d ? expert_affine(b, h.bias, name, role, r, d, x, out)
             : affine_part(b, side, h.bias, name, role, x, out, false);
}

/* Whoever looks at a router sees what experts write before gates. */
static bool gates_hidden(const struct build *b, const struct routing *r)
{
    return r->gate_on == GATE_HIDDEN && !build_is_observed(b);
}

struct node *expert_gates(struct build *b, const struct routing *r, const struct dispatched *d)
{
    struct graph *g = b->graph;
    if (!gates_hidden(b, r)) return NULL;
    struct shape pairs = SHAPE(shape_count(r->gate->shape), 1);
    struct node *gates = gather(g, view(g, r->gate, pairs), d->order, view(g, d->inverse, pairs));
    return d->counts ? to_experts(g, gates, d->counts) : gates;
}

static struct node *layers_of(struct build *b, struct hidden h, const struct routing *r, const struct dispatched *d,
                              struct node *u)
{
    struct pick act = h.activation;
    struct node *gate = module_traits(act).gated ? projection(b, h, r, d, "gate", ROLE_FFN_GATE, u, h.width) : NULL,
                *up = projection(b, h, r, d, "up", ROLE_FFN_UP, u, h.width);                  /* [T,F] or [R,F] */
    if (!d && gate) gate = build_convolved(b, CONV_HIDDEN, "gate", gate);
    if (!d) up = build_convolved(b, CONV_HIDDEN, "up", up);
    struct node *gates = d ? expert_gates(b, r, d) : NULL, *hidden = act.module->activation(b, act, up, gate);
    if (gates) hidden = build_gated(b, hidden, gates);
    return projection(b, h, r, d, "down", ROLE_FFN_DOWN, hidden, shape_last(u->shape));
}

struct node *feed_forward(struct build *b, struct hidden h, struct node *u) { return layers_of(b, h, NULL, NULL, u); }

/* ---- experts of other ranks ---- */

static int ranks_over(const struct build *b, unsigned over) { return place_group(&b->graph->leaves->here, over); }

/* Token rows sorted by who of so many has them; rows: as op dispatch has it. */
static struct dispatched sorted_by(struct build *b, struct node *tokens, struct node *index, int64_t n, int64_t rows)
{
    struct graph *g = b->graph;
    struct node *sorted = dispatch(g, index, (int)n, rows);
    struct dispatched d = { .tokens = tokens, .index = index, .offsets = sorted, .order = graph_result(g, sorted, 1),
                            .inverse = graph_result(g, sorted, 2) };
    d.rows = gather(g, tokens, d.order, d.inverse);
    return d;
}

/* Rows that may come to this rank, as many from each: all that it can send, or a part of so many times what it has to
   send. */
static int64_t room_for(const struct build *b, const struct dispatched *d, unsigned over)
{
    int64_t ranks = ranks_over(b, over), tokens = d->inverse->shape.dim[0], k = d->inverse->shape.dim[1],
            rows = d->rows->shape.dim[0], mine = (d->offsets->shape.dim[0] - 1) / ranks,
            each = tokens * (k < mine ? k : mine), most = ranks * (each < rows ? each : rows);
    double room = b->own->division.room * (double)rows;
    return room > 0 && room < (double)most ? ((int64_t)room + ranks - 1) / ranks * ranks : most;
}

/* Rows at the ranks of their experts. */
static struct dispatched sent(struct build *b, const struct dispatched *d, unsigned over)
{
    struct graph *g = b->graph;
    struct dispatched here = *d;
    here.over = ranks_over(b, OVER_EP) > 1 ? OVER_EP : 0;
    if (ranks_over(b, over) == 1) return here;
    here.counts = exchange_counts(g, d->offsets, room_for(b, d, over), over);
    here.offsets = graph_result(g, here.counts, 1);
    here.rows = to_experts(g, d->rows, here.counts);
    return here;
}

/* What experts of the ranks over these axes make of their rows, back where these were. [R,W] */
static struct node *at_experts(struct build *b, const char *name, struct hidden h, const struct routing *r,
                               const struct dispatched *d, unsigned over)
{
    build_enter(b, "%s", name);
    struct dispatched here = sent(b, d, over);
    struct node *rows = layers_of(b, h, r, &here, here.rows);
    if (here.counts) rows = from_experts(b->graph, rows, here.counts, d->rows->shape.dim[0]);
    build_leave(b);
    return rows;
}

static struct node *summed(struct build *b, const struct routing *r, const struct dispatched *d, struct node *rows)
{
    if (r->gate_on == GATE_INPUT || gates_hidden(b, r)) return unpermute(b->graph, rows, d->order, d->inverse);
    return combine(b->graph, rows, d->order, d->inverse, r->gate);
}

/* ---- copies of busy experts ---- */

/* The load that copies go by: [E] of the step's rows of each expert, all `every` steps. */
struct load { const char *path; struct node *counts; int every; };

static double is_time(const void *every, double scale, int64_t step, int64_t steps)
{
    (void)steps;
    return (step + 1) % *(const int *)every == 0 ? scale : 0;
}

static struct node *load_buffer(struct build *b, const char *path, int64_t experts)
{
    struct node *load = graph_buffer(b->graph, path, DTYPE_REAL, SHAPE(experts), 0);
    if (load->leaf) load->leaf->of_training = true;
    return load;
}

static void update_load(struct build *b, void *state, struct update u)
{
    struct load *l = state;
    const char *name = arena_text(b->arena, "ranks.spare_every.%d", l->every);
    struct node *rate = graph_control(b->graph, name, (struct control){ is_time, &l->every, sizeof l->every, 1 });
    average(b->graph, load_buffer(b, l->path, shape_count(l->counts->shape)), l->counts, u.clip, rate);
}

/* A load is kept whatever the mesh, so that every mesh can go on with a checkpoint. */
static struct node *load_of(struct build *b, const struct routing *r)
{
    struct load *l = arena_alloc(b->arena, sizeof *l);
    *l = (struct load){ arena_text(b->arena, "%s.router.load", b->path), carry(b->graph, r->counts, CARRY_SUM),
                        b->own->division.spare_every };
    build_update(b, update_load, l);
    return load_buffer(b, l->path, r->experts);
}

/* Rows by where their experts are computed: these have homes, and where ranks have room for more, copies. Groups of a
   router's experts have neither score nor copies. */
static struct dispatched placed(struct build *b, const struct routing *r, const struct dispatched *d)
{
    struct graph *g = b->graph;
    int spare = b->own->division.spare, near = ranks_over(b, OVER_NEAR), nodes = ranks_over(b, OVER_NODES),
        experts = r->experts - r->idle;
    if (!spare || b->mode != MODE_TRAIN || !r->logits) return *d;
    struct node *load = load_of(b, r);
    if (near == 1) return *d;
    if (spare > experts / nodes / near * (near - 1))
        graph_fail(g, "train.ranks.spare: %s: %d: the other ranks of a node have only %d experts", b->path, spare,
                   experts / nodes / near * (near - 1));
    struct node *copies = place_copies(g, load, (struct place_copies_attr){ experts, nodes, near, spare }),
                *index = spread(g, r->index, d->offsets, d->inverse, graph_result(g, copies, 1), OVER_EP);
    struct dispatched there = sorted_by(b, d->tokens, index, experts + (int64_t)nodes * near * spare, r->rows);
    there.copies = copies;
    return there;
}

/* ---- who computes what ---- */

/* Nodes that a token with k experts goes to at most: as many as those groups reach whose experts lie on the most. */
static int64_t most_nodes(const struct build *b, const struct routing *r, int64_t k)
{
    int nodes = ranks_over(b, OVER_NODES), computed = r->experts - r->idle, each = computed / nodes, most = 0,
        size = r->groups ? r->experts / r->groups : 0, reach[nodes + 1];
    memset(reach, 0, sizeof reach);
    for (int first = 0; size && first < computed; first += size) {
        int last = (first + size < computed ? first + size : computed) - 1;
        reach[last / each - first / each + 1]++;
    }
    for (int n = nodes, left = r->group_limit; n > 0 && left > 0; n--) {
        int taken = reach[n] < left ? reach[n] : left;
        most += n * taken;
        left -= taken;
    }
    if (!size || most > nodes) most = nodes;
    return most < k ? most : k;
}

static struct node *nodes_of(struct build *b, const struct routing *r, const struct dispatched *d)
{
    int64_t most = most_nodes(b, r, d->index->shape.dim[1]);
    return choose_nodes(b->graph, d->index, (struct choose_nodes_attr){ d->offsets->shape.dim[0] - 1,
                                                                        ranks_over(b, OVER_NODES), most });
}

static void watch(struct build *b, const struct routing *r, const struct dispatched *d)
{
    struct graph *g = b->graph;
    int nodes = ranks_over(b, OVER_NODES);
    for (int i = 0; b->mode == MODE_TRAIN && r->logits && i < b->own->monitors.n; i++) {
        struct pick p = b->own->monitors.pick[i];
        if (!p.module->watch_ranks || g->failed) continue;
        struct node *sent = nodes > 1 ? dispatch(g, nodes_of(b, r, d), nodes, 0) : d->offsets;
        struct ranked all = { r->index, d->index, rows_away(g, sent, OVER_NODES),
                              rows_away(g, d->offsets, OVER_NODES), r->experts - r->idle,
                              d->offsets->shape.dim[0] - 1, ranks_over(b, OVER_EP) };
        p.module->watch_ranks(b, p, &all);
    }
}

/* A token goes once to each node that has some of its experts, to the rank whose place there is that of the one here,
   with their numbers and gates; from there to experts as within one node. Their sum comes back. DeepSeek-V3. */
static struct node *over_nodes(struct build *b, const char *name, struct hidden h, const struct routing *r,
                               const struct dispatched *d)
{
    struct graph *g = b->graph;
    int64_t places = d->offsets->shape.dim[0] - 1;
    int nodes = ranks_over(b, OVER_NODES);
    struct node *chosen = nodes_of(b, r, d), *number = graph_result(g, chosen, 1);              /* [T,M], [T,M K] */
    if (g->failed) return g->poison;
    int64_t pairs = shape_count(chosen->shape), k = shape_count(number->shape) / pairs;
    struct node *gate = pick(g, r->gate, graph_result(g, chosen, 2)),
                *wants[] = { view(g, number, SHAPE(pairs, k)), view(g, gate, SHAPE(pairs, k)) };
    struct dispatched far = sorted_by(b, d->tokens, chosen, nodes, 0);
    struct node *wanted = gather(g, concat(g, 2, wants), far.order, view(g, far.inverse, SHAPE(pairs, 1)));
    far = sent(b, &far, OVER_NODES);
    wanted = to_experts(g, wanted, far.counts);                                                 /* [R,2K] */
    struct routing here = *r;
    here.index = read_index(g, columns(g, wanted, 0, k));
    here.gate = columns(g, wanted, k, k);
    struct dispatched near = sorted_by(b, far.rows, here.index, places / nodes, nodes * r->rows);
    near.copies = d->copies;
    struct node *sum = summed(b, &here, &near, at_experts(b, name, h, &here, &near, OVER_NEAR));
    return unpermute(g, from_experts(g, sum, far.counts, shape_count(far.order->shape)), far.order, far.inverse);
}

static struct node *of_ranks(struct build *b, const char *name, struct hidden h, const struct routing *r,
                             const struct dispatched *d)
{
    if (ranks_over(b, OVER_NODES) > 1) return over_nodes(b, name, h, r, d);
    struct node *rows = at_experts(b, name, h, r, d, OVER_EP);
    return r->logits ? build_combined(b, r, d, rows) : summed(b, r, d, rows);
}

/* ---- pieces, of which rows of one travel while experts compute those of another ---- */

/* Of x [T,K] the rows p, p + of, and so on. */
static struct node *every(struct graph *g, struct node *x, int p, int of)
{
    int64_t width = shape_last(x->shape);
    return columns(g, view(g, x, SHAPE(x->shape.dim[0] / of, of * width)), p * width, width);
}

static struct node *in_pieces(struct build *b, const char *name, struct hidden h, const struct routing *r,
                              const struct dispatched *d, int pieces)
{
    struct graph *g = b->graph;
    struct node *part[pieces];
    int64_t tokens = d->tokens->shape.dim[0];
    if (r->rows)
        return graph_fail(g, "train.ranks.pieces: %s: %d: its router chooses so many rows of all tokens; it must be 1",
                          b->path, pieces);
    if (tokens % pieces != 0)
        return graph_fail(g, "train.ranks.pieces: %s: %d: %lld tokens of a rank cannot be divided so", b->path, pieces,
                          (long long)tokens);
    for (int p = 0; p < pieces; p++) {
        struct routing some = *r;
        some.index = every(g, r->index, p, pieces);
        some.gate = every(g, r->gate, p, pieces);
        struct dispatched its = sorted_by(b, every(g, d->tokens, p, pieces), every(g, d->index, p, pieces),
                                          d->offsets->shape.dim[0] - 1, 0);
        its.copies = d->copies;
        part[p] = of_ranks(b, name, h, &some, &its);
        if (g->failed) return g->poison;
    }
    return view(g, concat(g, pieces, part), SHAPE(tokens, shape_last(part[0]->shape)));
}

struct node *expert_feed_forward(struct build *b, const char *name, struct hidden h, const struct routing *r,
                                 const struct dispatched *d)
{
    int pieces = b->own->division.pieces, ranks = ranks_over(b, OVER_EP), computed = r->experts - r->idle;
    if (computed % ranks != 0)
        return graph_fail(b->graph, "train.ranks.ep: %s: %d experts cannot be divided among %d ranks", b->path,
                          computed, ranks);
    struct dispatched there = placed(b, r, d);
    bool trunk = b->layer < b->conf->layers,
         whole = pieces < 2 || b->mode != MODE_TRAIN || !trunk || !r->logits || ranks == 1 || b->graph->failed;
    watch(b, r, &there);
    return whole ? of_ranks(b, name, h, r, &there) : in_pieces(b, name, h, r, &there, pieces);
}

/* ---- from tokens to experts ---- */

struct node *build_drop_later(struct build *b, struct node *index, struct node *later)
{
    struct graph *g = b->graph;
    struct node *first = build_ones(b, SHAPE(index->shape.dim[0], 1));
    return drop_zero(g, index, concat(g, 2, (struct node *[]){ first, later }));
}

static struct node *count(struct build *b, const struct routing *r, struct node *index)
{
    return view(b->graph, count_chosen(b->graph, index, r->experts, r->experts, 1, false), SHAPE(r->experts));
}

struct dispatched build_dispatched(struct build *b, struct node *u, struct routing *r)
{
    struct dispatched d = sorted_by(b, u, r->index, r->experts - r->idle, r->rows);
    r->counts = r->idle ? count(b, r, r->index) : graph_result(b->graph, d.offsets, 3);
    return d;
}

struct node *build_counts(struct build *b, const struct routing *r)
{
    return r->index == r->chosen ? r->counts : count(b, r, r->chosen);
}

/* ---- what is seen of it ---- */

/* REAL [T,E]: 1 where a token goes to an expert, else 0. */
static struct node *visits(struct build *b, const struct routing *r)
{
    return scatter(b->graph, build_ones(b, r->index->shape), r->index, r->experts);
}

/* Ones in x by its rows. */
static struct node *ones_of(struct graph *g, struct node *x, int64_t rows)
{
    return scale(g, dot(g, x, x), 1 / (double)rows);
}

static void observe_visits(struct build *b, const struct routing *r, const struct traits *router)
{
    struct graph *g = b->graph;
    int64_t tokens = r->index->shape.dim[0];
    if (r->uneven || r->idle) {
        struct node *all = visits(b, r), *computed = r->idle ? columns(g, all, 0, r->experts - r->idle) : all;
        build_row_metric(b, "router_token_experts", ones_of(g, computed, tokens), "", BETTER_NONE,
                         "mean over tokens of the experts that it goes to, without idle ones");
    }
    if (router->groups > 1) {
        struct node *group = view(g, visits(b, r), SHAPE(tokens * router->groups, r->experts / router->groups)),
                    *visited = pick(g, group, topk(g, group, 1));                               /* [TG,1] */
        build_row_metric(b, "router_token_groups", ones_of(g, visited, tokens), "", BETTER_NONE,
                         "mean over tokens of the groups of experts that it goes to");
    }
}

static void observe(struct build *b, const struct routing *r, const struct traits *router)
{
    struct graph *g = b->graph;
    build_metric_as(b, "expert_tokens", r->counts, "assignment", CARRY_SUM, BETTER_NONE,
                    "assignments to each expert in the step");
    build_row_metric(b, "router_prob_mean", mean_rows(g, build_present(b, r->share, 0)), "", BETTER_NONE,
                     "mean over tokens of the normalised score");    /* [E] */
    build_row_metric(b, "router_token_entropy", mean_rows(g, build_present(b, row_entropy(g, r->share), 0)), "nat",
                     BETTER_NONE, "mean over tokens of the entropy of the normalised score");
    build_metric_as(b, "router_logit_max", max_all(g, build_present(b, r->logits, -INFINITY)), "", CARRY_MAX,
                    BETTER_NONE, "largest router logit");
    build_row_metric(b, "router_lse2", mean_rows(g, square(g, build_present(b, logsumexp(g, r->logits), 0))), "",
                     BETTER_NONE, "mean squared logsumexp of the router logits");
    observe_visits(b, r, router);
}

/* ---- choices of one run for another ---- */

/* Whether a layer has no other router of this name; a record has the choices of one. */
static bool is_only(struct build *b, const char *what, struct node *x)
{
    const char *name = arena_text(b->arena, "%s%s", b->metric_prefix, what);
    bool only = !build_kept(b, b->layer, name);
    build_keep(b, b->layer, name, x);
    if (b->taken)
        graph_fail(b->graph, "%s: a block takes tokens out of their sequences, and a record has the choices of all",
                   b->path);
    if (!only) graph_fail(b->graph, "%s: layer %d has two routers, and a record has the choices of one", b->path,
                          b->layer);
    return only;
}

struct node *build_choices(struct build *b, int64_t k)
{
    if (b->mode == MODE_DECODE) return NULL;
    build_undivided(b, "choices that another run made");
    struct node *index = inputs_choices(b->graph, b->metric_prefix, b->layer, b->tokens, k);        /* [T,K] */
    return is_only(b, "router.replayed", index) ? index : b->graph->poison;
}

/* Pieces write where they stand, and what they wrote adds up. */
static void record(struct build *b, struct node *index)
{
    struct graph *g = b->graph;
    if (b->recorded) build_undivided(b, "train.record, which keeps the choices of whole ones");
    if (b->recorded == 0 || !is_only(b, "router.recorded", index)) return;
    if (!b->place) b->place = inputs_node(g, "", INPUT_place, b->batch, b->seq);
    build_metric_as(b, "router_choices", place_rows(g, index, b->place, b->recorded, b->seq), "expert", CARRY_SUM,
                    BETTER_NONE, "experts that each token goes to; -1: none");
}

/* ---- all of it ---- */

struct routing build_routing(struct build *b, const struct experts *e, struct node *u)
{
    struct routing r = e->router.module->router(b, e->router, u, e->choices, e->balance);
    struct traits router = module_traits(e->router);
    bool thinned = r.index != r.chosen;
    r.idle = e->idle;
    r.groups = router.adds ? 0 : router.groups;
    r.group_limit = router.group_limit;
    r.chosen = build_present(b, r.chosen, -1);
    r.index = thinned ? build_present(b, r.index, -1) : r.chosen;
    record(b, r.index);
    return r;
}

struct dispatched build_dispatch(struct build *b, const struct experts *e, struct node *u, struct routing *r)
{
    if (r->gate_on == GATE_INPUT) u = build_gated(b, u, r->gate);
    struct dispatched d = e->dispatch.module->dispatch(b, e->dispatch, u, r);
    for (int i = 0; i < e->balance.n; i++) e->balance.pick[i].module->balance(b, e->balance.pick[i], r);
    struct traits router = module_traits(e->router);
    observe(b, r, &router);
    return d;
}

struct node *build_combined(struct build *b, const struct routing *r, const struct dispatched *d, struct node *rows)
{
    build_observed(b, &(struct routed){ r, d, rows });
    return summed(b, r, d, rows);
}
