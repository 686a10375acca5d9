/* Associative recall of many pairs (MQAR): pairs of a key and its value, then each key once more, at places that are
   the likelier the earlier they are, and its value as the answer. Arora 2023 (zoology). */
#include "data/task.h"

#include <stdlib.h>

enum { FILL_PAD, FILL_RANDOM };
struct conf { struct task task; int length, pairs, symbols, fill; };
static const struct param params[] = {
    LENGTH(struct conf, 64),
    INT(struct conf, pairs, 8, 1, 1 << 16, "", "keys, each with its value"),
    INT(struct conf, symbols, 512, 2, 1 << 19, "", "different ones, half of them keys, half values"),
    CHOICE(struct conf, fill, FILL_PAD, "pad random", "what stands between the questions"),
    TASK(struct conf),
    { 0 }
};

static int slots(const struct conf *c) { return c->length / 2 - c->pairs; }

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (c->length % 2) module_problem(problems, path, "length", "%d: must be even", c->length);
    if (slots(c) < c->pairs)
        module_problem(problems, path, "pairs", "%d: pairs and questions do not fit in a length of %d: at most %d",
                       c->pairs, c->length, c->length / 4);
    if (c->symbols % 2 || c->symbols / 2 < c->pairs)
        module_problem(problems, path, "symbols", "%d: must be even, and half of them at least the %d pairs",
                       c->symbols, c->pairs);
}

/* Which key is asked at each place, -1: none. */
static void place(struct draws *d, const struct conf *c, int *asked)
{
    int n = slots(c);
    double *weight = xmalloc((size_t)n * sizeof *weight);
    for (int i = 0; i < n; i++) {
        weight[i] = 1. / (i + 1);
        asked[i] = -1;
    }
    for (int pair = 0; pair < c->pairs; pair++) {
        int i = draws_weighted(d, weight, n);
        weight[i] = 0;
        asked[i] = pair;
    }
    free(weight);
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.mqar");
    int half = c->symbols / 2, n = slots(c), *key = xmalloc((size_t)(2 * c->pairs + n) * sizeof *key),
        *value = key + c->pairs, *asked = value + c->pairs;
    draws_choose(&d, half, c->pairs, key);
    draws_choose(&d, half, c->pairs, value);
    give(to, TOKEN_BOS);
    for (int i = 0; i < c->pairs; i++) {
        give(to, symbol(key[i]));
        give(to, symbol(half + value[i]));
    }
    place(&d, c, asked);
    for (int i = 0; i < n; i++) {
        bool asks = asked[i] >= 0;
        for (int k = 0; k < 2 && !asks; k++)
            give(to, c->fill == FILL_PAD ? TOKEN_PAD : symbol(draws_below(&d, c->symbols)));
        if (!asks) continue;
        give(to, symbol(key[asked[i]]));
        ask(to, symbol(half + value[asked[i]]));
    }
    free(key);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->symbols;
    t->length = c->length;
}

const struct module task_mqar = {
    .slot = SLOT_TASK, .name = "mqar", .about = "recall of many pairs, asked at many places",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
