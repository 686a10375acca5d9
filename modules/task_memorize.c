/* Facts: keys whose values are the same in all samples, so that weights alone can know them. No key comes twice in a
   sample. Poli 2024 (MAD). */
#include "data/task.h"

#include <stdlib.h>

struct conf { struct task task; int length, symbols; };
static const struct param params[] = {
    LENGTH(struct conf, 32),
    INT(struct conf, symbols, 255, 2, 1 << 19, "", "half of them keys, the others values"),
    TASK(struct conf),
    { 0 }
};

static int keys_of(const struct conf *c) { return c->symbols / 2; }

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (c->length % 2) module_problem(problems, path, "length", "%d: must be even", c->length);
    if (keys_of(c) < c->length / 2)
        module_problem(problems, path, "symbols", "%d: a sample of length %d has %d keys; at least %d", c->symbols,
                       c->length, c->length / 2, c->length);
}

static const void *table(struct pick self, struct arena *a, uint64_t seed)
{
    const struct conf *c = self.conf;
    struct draws d = table_draws(seed, "probe.memorize.table");
    int keys = keys_of(c), *value = arena_alloc(a, (size_t)keys * sizeof *value);
    draws_choose(&d, c->symbols - keys, keys, value);
    return value;
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.memorize");
    const int *value = of->table;
    int keys = keys_of(c), n = c->length / 2, *key = xmalloc((size_t)n * sizeof *key);
    draws_choose(&d, keys, n, key);
    give(to, TOKEN_BOS);
    for (int i = 0; i < n; i++) {
        give(to, symbol(key[i]));
        ask(to, symbol(keys + value[key[i]]));
    }
    free(key);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->symbols;
    t->length = c->length;
}

const struct module task_memorize = {
    .slot = SLOT_TASK, .name = "memorize", .about = "facts that weights alone can know",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .table = table,
    .sample = sample,
};
