/* Mixture of block attention: keys in blocks of `size`, counted from where a document begins. Each head looks at its
   own block, up to itself, and of those before it at the blocks - 1 with the largest q.m, m the mean of a block's keys
   as attention reads them; one softmax over all of them. The choice learns nothing and adds no weight. Decoding makes
   means from the cache, so it reads all keys once, and of values those that were chosen alone. Lu 2025 (arXiv
   2502.13189): 512 and 3 at 1B parameters, 4096 and 12 for a context of 1M. */
#include "model/module.h"

struct conf { int size, blocks; };
static const struct param params[] = {
    INT(struct conf, size, 64, 1, INDEX_MOST, "token", "keys of a block"),
    INT(struct conf, blocks, 3, 1, INDEX_MOST, "", "blocks that a head looks at, its own among them; 1: chunks"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if ((int64_t)c->size * c->blocks > INDEX_MOST)
        module_problem(problems, path, "blocks", "%d of %d keys: an index names at most %d", c->blocks, c->size,
                       INDEX_MOST);
}

static struct node *build(struct build *b, struct pick self, const struct attending *a)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct attention at = a->attention, whole;
    build_undivided(b, "keys = 'moba', whose blocks are counted from where a document begins");
    int64_t all = ((b->mode == MODE_DECODE ? b->context : b->seq) + c->size - 1) / c->size;
    struct block_topk choice = { .q = at.q, .k = at.k, .start = at.start, .pos = at.pos, .block = c->size,
                                 .window = at.window, .chunk = at.chunk,
                                 .chosen = all < c->blocks ? all : c->blocks };
    at.block = c->size;
    at.index = block_topk(g, choice);                       /* [T,H,X] */
    struct node *heads = attention(g, at);
    if (b->mode != MODE_EVAL || all * c->size > INDEX_MOST) return heads;
    whole = at;
    choice.chosen = all;
    whole.index = block_topk(g, choice);
    build_keys_mass(b, whole, c->blocks);
    return heads;
}

static void traits(struct pick self, struct traits *t) { (void)self; t->names = true; }

const struct module keys_moba = {
    .slot = SLOT_KEYS, .name = "moba", .about = "blocks whose mean key suits a head's query best (MoBA)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .keys = build,
};
