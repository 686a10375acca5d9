/* Markov chains: each sample has its own, drawn evenly from all; the next symbol is to be predicted from what followed
   the same context before. Edelman 2024. */
#include "data/task.h"

#include <stdlib.h>

enum { CONTEXTS = 1 << 16 };
struct conf { struct task task; int length, symbols, order; };
static const struct param params[] = {
    LENGTH(struct conf, 128),
    INT(struct conf, symbols, 8, 2, 1 << 10, "", "different ones"),
    INT(struct conf, order, 1, 1, 8, "token", "of context that the next symbol depends on"),
    TASK(struct conf),
    { 0 }
};

/* How many contexts there are; more than CONTEXTS: too many. */
static int contexts_of(const struct conf *c)
{
    int64_t n = 1;
    for (int i = 0; i < c->order && n <= CONTEXTS; i++) n *= c->symbols;
    return n > CONTEXTS ? CONTEXTS + 1 : (int)n;
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (contexts_of(c) > CONTEXTS)
        module_problem(problems, path, "order", "%d: more than %d contexts of so many of %d symbols", c->order,
                       CONTEXTS, c->symbols);
    if (c->length <= c->order)
        module_problem(problems, path, "length", "%d: must be more than the order, %d", c->length, c->order);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The gaps between sorted cuts are probabilities. */
static uint32_t *draw_cuts(struct draws *d, int n)
{
    uint32_t *cut = xmalloc((size_t)n * sizeof *cut);
    for (int i = 0; i < n; i++) cut[i] = draws_word(d);
    qsort(cut, (size_t)n, sizeof *cut, by_size);
    return cut;
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.markov");
    int contexts = contexts_of(c), context = 0;
    uint32_t **cuts = xcalloc((size_t)contexts, sizeof *cuts);
    give(to, TOKEN_BOS);
    for (int i = 0; i < c->length; i++) {
        int next = 0;
        if (i < c->order) next = draws_below(&d, c->symbols);
        else {
            if (!cuts[context]) cuts[context] = draw_cuts(&d, c->symbols - 1);
            uint32_t x = draws_word(&d);
            for (int k = 0; k < c->symbols - 1; k++) next += cuts[context][k] <= x;
        }
        item_put(to, symbol(next), i >= c->order);
        context = (context * c->symbols + next) % contexts;
    }
    for (int i = 0; i < contexts; i++) free(cuts[i]);
    free(cuts);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->symbols;
    t->length = c->length;
}

const struct module task_markov = {
    .slot = SLOT_TASK, .name = "markov", .about = "a chain that each sample has of its own",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
