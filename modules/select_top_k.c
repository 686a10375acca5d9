/* Token choice: each token goes to the top_k experts with its largest keys; ties to the lower number. Shazeer 2017.
   With G groups of neighbouring experts a token goes to the M groups with the largest scores alone: keys of all others
   are -infinity. The score of a group is
       max   its largest key, DeepSeek-V2 (limited by devices)
       sum   that of its ceil(K / M) largest keys, DeepSeek-V3 (limited by nodes)
   In training a choice after the first may be taken at random, with probability min(1, chance * gate), the gate as it
   is before `scale`; gates stay what they are. Lepikhin 2020 (GShard): K = 2, gates that sum to 1, chance = 2.
   Experts with a score of 0 (relu) are not used, so that a token may have up to `most` and K in the mean, which balance
   l1 sees to; of more than `most` the largest are kept, and memory is planned for all of these. Wang 2024 (ReMoE).
   In training the tokens of each expert, of a micro-batch, may also be made a multiple of `tile`: those with the
   smallest gates are left out, or those with the largest scores among the others are added, with these as gates, before
   any sum. Tensor cores compute whole tiles in any case. Guo 2025 (SonicMoE, arXiv 2512.14080). */
#include "model/module.h"
#include <math.h>

enum rule { MAX, SUM };
enum round { NONE, DOWN, UP, NEAREST };
struct conf { int groups, limit, rule, most; double chance; int round, tile; };
static const struct param params[] = {
    INT(struct conf, groups, 1, 1, 4096, "", "of neighbouring experts, all of one size"),
    INT(struct conf, limit, 1, 1, 4096, "", "groups that a token goes to; as many as there are: any"),
    CHOICE(struct conf, rule, MAX, "max sum",
           "score of a group: its largest key, or the sum of its top_k / limit largest"),
    INT(struct conf, most, 0, 0, 4096, "",
        "experts that a token may have where scores may be 0: of these top_k is the aim in the mean; 0: top_k"),
    OPTIONAL(struct conf, chance, 0, 1000, "",
             "in training a choice after the first is taken with this times its gate as probability; 0: always"),
    CHOICE(struct conf, round, NONE, "none down up nearest",
           "in training the tokens of an expert become a multiple of tile; of two that are as near an even one"),
    INT(struct conf, tile, 128, 2, 65536, "token", "of what an expert computes at once"),
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
    if (c->round > DOWN && c->limit < c->groups)
        module_problem(problems, path, "round",
                       "adds tokens to experts beyond the %d groups that each may go to: \"down\"", c->limit);
}

/* REAL [T,E]: 1 where the index names the expert or group. */
static struct node *named(struct build *b, struct node *index, int experts)
{
    return scatter(b->graph, build_ones(b, index->shape), index, experts);
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
                *open = named(b, group, c->groups);                                             /* [T,G] */
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

static void drop_by_chance(struct build *b, const struct conf *c, struct routing *r)
{
    struct graph *g = b->graph;
    if (c->chance == 0 || shape_last(r->gate->shape) == 1) return;
    struct node *later = columns(g, r->gate, 1, shape_last(r->gate->shape) - 1),                /* [T,K-1] */
                *drawn = build_noise(b, "router.chance", later, NOISE_UNIFORM);
    if (!drawn) return;
    r->index = build_drop_later(b, r->index, relu(g, subtract(g, scale(g, later, c->chance), drawn)));
}

/* Choice, index and gates become [T,E], each expert in its column. Index: of its tokens by their gates, and after them
   all others by their scores, for -1 / score is below every gate and grows with the score, the first `want` [E]. */
static void fill(struct build *b, const struct conf *c, struct routing *r, struct node *want)
{
    struct graph *g = b->graph;
    int64_t tokens = r->index->shape.dim[0], pairs = shape_count(r->index->shape);
    bool whole = r->index == r->chosen;                     /* none was dropped by chance */
    struct node *goes = named(b, r->index, r->experts), *gates = scatter(g, r->gate, r->index, r->experts),
                *chose = whole ? goes : named(b, r->chosen, r->experts),
                *of_choice = whole ? gates : scatter(g, r->gate, r->chosen, r->experts),
                *after = mul(g, offset(g, goes, -1), reciprocal(g, offset(g, r->score, 1e-30))),
                *key = add(g, gates, after), *all = topk_columns(g, key, 1, tokens);
    r->chosen = drop_zero(g, all, chose);
    r->index = drop_over_capacity(g, all, key, want, r->experts, 1, tokens, PRIORITY_GATE);
    r->gate = subtract(g, of_choice, mul(g, offset(g, chose, -1), r->score));
    r->rows = pairs + (int64_t)r->experts * (c->round == UP ? c->tile - 1 : c->tile / 2);
}

static void round_to_tiles(struct build *b, const struct conf *c, struct routing *r)
{
    struct graph *g = b->graph;
    if (c->round == NONE || b->mode != MODE_TRAIN) return;
    struct node *count = view(g, count_chosen(g, r->index, r->experts, r->experts, 1, false), SHAPE(r->experts)),
                *want = round_counts(g, count, c->tile, (enum rounding)(c->round - DOWN));      /* [E] */
    int64_t tokens = r->index->shape.dim[0];
    if (c->round > DOWN) fill(b, c, r, want);
    else r->index = drop_over_capacity(g, r->index, r->gate, want, r->experts, 1, tokens, PRIORITY_GATE);
}

static void thin(struct build *b, struct pick self, struct routing *r)
{
    drop_by_chance(b, self.conf, r);
    round_to_tiles(b, self.conf, r);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->groups = c->groups;
    t->group_limit = c->limit;
    t->largest_keys = c->limit == c->groups;
    t->most = c->most;
    t->uneven |= c->chance > 0 || c->most > 0 || c->round != NONE;
    if (c->round == NONE) return;
    t->tiled = t->of_batch = true;
    looks_ahead(t, AHEAD_TRAINING);
}

const struct module select_top_k = {
    .slot = SLOT_SELECT, .name = "top_k", .about = "each token its best experts",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .select = build,
    .thin = thin,
};
