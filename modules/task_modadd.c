/* Addition modulo p, of all pairs in a drawn order: a share of them is trained on, the others are held out. Power 2022
   (grokking). */
#include "data/task.h"

struct conf { struct task task; int modulus; double share; };
static const struct param params[] = {
    INT(struct conf, modulus, 97, 2, 1 << 12, "", "p"),
    REAL(struct conf, share, 0.5, 0.01, 0.99, "", "of the pairs that are trained on"),
    TASK(struct conf),
    { 0 }
};

static int pairs_of(const struct conf *c) { return c->modulus * c->modulus; }

/* Pairs, those to train on first. */
static const void *table(struct pick self, struct arena *a, uint64_t seed)
{
    struct draws d = table_draws(seed, "probe.modadd.table");
    int n = pairs_of(self.conf), *pair = arena_alloc(a, (size_t)n * sizeof *pair);
    for (int i = 0; i < n; i++) pair[i] = i;
    draws_shuffle(&d, pair, n);
    return pair;
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    const int *pair = of->table;
    int p = c->modulus, number = (int)of->number,
        x = pair[of->purpose == PURPOSE_EVAL ? pairs_of(c) - 1 - number : number];
    give(to, TOKEN_BOS);
    give(to, symbol(x / p));
    give(to, symbol(x % p));
    give(to, TOKEN_ANS);
    ask(to, symbol((x / p + x % p) % p));
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->modulus;
    t->length = 4;
    t->samples = (int)share_down(c->share * pairs_of(c));
    t->held_out = pairs_of(c) - t->samples;
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (share_down(c->share * pairs_of(c)) < 1)
        module_problem(problems, path, "share", "%g: of %d pairs none to train on", c->share, pairs_of(c));
}

const struct module task_modadd = {
    .slot = SLOT_TASK, .name = "modadd", .about = "addition modulo p, of pairs not seen before",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .table = table,
    .sample = sample,
};
