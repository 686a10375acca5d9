/* Expert choice: of each sequence each expert takes the C = ceil(capacity S top_k / E) tokens with its largest keys,
   so that the load is even by construction and a token has any number of experts. Zhou 2022 (arXiv 2202.09368). One
   expert of a capacity below 1 is a feed-forward that passes tokens by: Mixture-of-Depths (Raposo 2024). Whether a
   token is taken depends on later ones: this is no causal model, and there is nothing to sample.
   With a cap they take the largest of the plan A that maximizes <key, A> + temperature H(A) where every expert has
   C, a token at most `cap`, and no expert more than 1 of a token. What of A is neither 0 nor 1, or is not there yet
   when its iterations end, may put a token above its cap: then it stays with the `cap` experts that have most of
   it, and others have less than C. Gates know of no plan. */
#include "model/module.h"
#include <math.h>

static const double tolerance = 1e-4;

struct conf { double capacity; int cap, iterations; double temperature; };
static const struct param params[] = {
    REAL(struct conf, capacity, 1, 1e-3, 1e3, "", "tokens of an expert, in those of an even share"),
    INT(struct conf, cap, 0, 0, 4096, "", "experts that a token has at most, top_k or more; 0: any number"),
    REAL(struct conf, temperature, 1e-3, 1e-4, 1, "", "of the plan that keeps the cap"),
    INT(struct conf, iterations, 100, 1, 10000, "", "over the plan's constraints at most"),
    { 0 }
};

/* Log of the plan, [T,E]. An expert has less than C where that were more, of all experts, than tokens have room for. */
static struct node *plan(struct build *b, const struct conf *c, struct node *key, int experts, int64_t each)
{
    struct transport_attr a = { .groups = b->batch, .iterations = c->iterations, .capped = true, .row = c->cap,
                                .column = fmin((double)each, (double)b->seq * c->cap / experts), .most = 1,
                                .temperature = c->temperature, .tolerance = tolerance };
    return transport(b->graph, key, a);
}

/* Of the experts that took a token those with the most of it in the plan. [T,cap] */
static struct node *at_most(struct build *b, int cap, struct node *plan, struct node *index)
{
    struct graph *g = b->graph;
    int64_t values = shape_count(plan->shape);
    struct node *took = scatter(g, build_ones(b, index->shape), index, (int)shape_last(plan->shape)),       /* [T,E] */
                *of_these = mask_rows(g, view(g, plan, SHAPE(values, 1)), view(g, took, SHAPE(values)), -INFINITY),
                *best = topk(g, view(g, of_these, plan->shape), cap);
    return drop_zero(g, best, pick(g, took, best));
}

static void build(struct build *b, struct pick self, struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    build_undivided(b, "select = 'expert_choice', whose experts choose among the tokens of each");
    double share = c->capacity * (double)(b->seq * r->k) / r->experts;
    int64_t each = (int64_t)fmin(share_up(share), (double)b->seq);
    struct node *key = build_present(b, r->key, -INFINITY);                                     /* [T,E] */
    bool capped = c->cap > 0 && c->cap < r->experts;
    if (capped) key = plan(b, c, key, r->experts, each);
    r->index = topk_columns(g, key, b->batch, each);                                            /* [T,E] */
    if (capped) r->index = at_most(b, c->cap, key, r->index);
    r->rows = b->batch * r->experts * each;
    if (r->rows > shape_count(r->index->shape)) r->rows = 0;
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    looks_ahead(t, AHEAD_ALWAYS);
    t->uneven = t->balanced = true;
    t->cap = c->cap;
}

const struct module select_expert_choice = {
    .slot = SLOT_SELECT, .name = "expert_choice", .about = "each expert its best tokens; not causal",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .select = build,
};
