/* Token choice: each token goes to the top_k experts with its largest keys; ties to the lower number. Shazeer 2017.
   With G groups of neighbouring experts a token goes to the M groups with the largest scores alone: keys of all others
   are -infinity. The score of a group is
       max   its largest key, DeepSeek-V2 (limited by devices)
       sum   that of its ceil(K / M) largest keys, DeepSeek-V3 (limited by nodes)
   Experts with a score of 0 (relu) are not used, so that a token may have up to `most` and K in the mean, which balance
   l1 sees to; of more than `most` the largest are kept, and memory is planned for all of these. Wang 2024 (ReMoE). */
#include "model/module.h"
#include <math.h>

enum rule { MAX, SUM };
struct conf { int groups, limit, rule, most; };
static const struct param params[] = {
    INT(struct conf, groups, 1, 1, 4096, "", "of neighbouring experts, all of one size"),
    INT(struct conf, limit, 1, 1, 4096, "", "groups that a token goes to; as many as there are: any"),
    CHOICE(struct conf, rule, MAX, "max sum",
           "score of a group: its largest key, or the sum of its top_k / limit largest"),
    INT(struct conf, most, 0, 0, 4096, "",
        "experts that a token may have where scores may be 0: of these top_k is the aim in the mean; 0: top_k"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->limit > c->groups)
        module_problem(problems, path, "limit", "%d: there are only %d groups", c->limit, c->groups);
    if (c->most > 0 && c->limit < c->groups)
        module_problem(problems, path, "most", "%d: only where a token may go to all of the %d groups", c->most,
                       c->groups);
}

/* The keys of the groups that a token goes to, -infinity elsewhere. */
static struct node *limited(struct build *b, const struct conf *c, const struct routing *r)
{
    struct graph *g = b->graph;
    int64_t tokens = r->key->shape.dim[0], each = r->experts / c->groups, best = (r->k + c->limit - 1) / c->limit;
    if (c->rule == MAX) best = 1;
    if (best > each) best = each;
    struct node *key = view(g, r->key, SHAPE(tokens * c->groups, each)),                        /* [TG,E/G] */
                *sum = build_row_sum(b, pick(g, key, topk(g, key, (int)best))),
                *group = topk(g, view(g, sum, SHAPE(tokens, c->groups)), c->limit),             /* [T,M] */
                *open = scatter(g, build_ones(b, group->shape), group, c->groups);         /* [T,G] */
    return view(g, mask_rows(g, key, view(g, open, SHAPE(tokens * c->groups)), -INFINITY), r->key->shape);
}

/* [T]: how many values of a row are above 0. */
static struct node *count_above(struct build *b, struct node *x)
{
    struct node *above = build_above(b, detach(b->graph, x));
    return view(b->graph, build_row_sum(b, above), SHAPE(x->shape.dim[0]));
}

/* [T,most] */
static struct node *above_zero(struct build *b, const struct conf *c, const struct routing *r)
{
    struct graph *g = b->graph;
    struct node *index = topk(g, r->key, c->most < r->experts ? c->most : r->experts);
    if (c->most >= r->experts) return index;
    struct node *cut = subtract(g, count_above(b, r->score), count_above(b, pick(g, r->score, index)));
    build_row_metric(b, "router_token_cut", mean_rows(g, build_present(b, cut, 0)), "", BETTER_LOWER,
                     "mean over tokens of the experts with a score above 0 that it does not go to");
    return index;
}

static void build(struct build *b, struct pick self, struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    if (c->most > 0) r->index = above_zero(b, c, r);
    else r->index = topk(g, c->limit < c->groups ? limited(b, c, r) : r->key, r->k);            /* [T,K] */
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->groups = c->groups;
    t->group_limit = c->limit;
    t->largest_keys = c->limit == c->groups;
    t->most = c->most;
    t->uneven |= c->most > 0;
}

const struct module select_top_k = {
    .slot = SLOT_SELECT, .name = "top_k", .about = "each token its best experts",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .select = build,
};
