/* Forced routing, for benchmarks and as a baseline: a token's experts do not depend on what it is; the router's scores
   are gates alone. Constant is a dense feed-forward of K experts; uniform, round robin, is the even load that balance
   aims at, exactly where K times the length of documents is a multiple of E; random is what no router should be worse
   than, and with a skew a load as uneven as wanted, shares by Zipf's law. Random loads have a max_vio of about
       sqrt(E (1 - K / E) / (K T)) sqrt(2 ln E)
   (a tenth less in fact): below, balance cannot be told from chance. Megatron, MegaBlocks, torchtitan. */
#include "model/module.h"

struct conf { int pattern; double skew; };
static const struct param params[] = {
    CHOICE(struct conf, pattern, FORCED_RANDOM, "random uniform constant",
           "any experts; one after the other; the first ones always"),
    REAL(struct conf, skew, 0, 0, 10, "", "of random: expert e is drawn as (e + 1)^-skew; 0: all alike"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->pattern != FORCED_RANDOM && c->skew > 0)
        module_problem(problems, path, "skew", "%g: only a random choice can be skewed", c->skew);
}

static void build(struct build *b, struct pick self, struct routing *r)
{
    const struct conf *c = self.conf;
    struct forced_key_attr a = { r->experts, r->k, c->pattern, b->layer + 1, c->skew };
    r->index = topk(b->graph, forced_key(b->graph, build_ids(b), b->start, b->pos, a), r->k);   /* [T,K] */
}

static void traits(struct pick self, struct traits *t) { (void)self; t->keyless = true; }

const struct module select_forced = {
    .slot = SLOT_SELECT, .name = "forced", .about = "experts at random, in turn or always the same; for benchmarks",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .select = build,
};
