/* Associative recall: pairs of a key and a value drawn anew; where a key comes again its value is the answer. Noise
   puts pairs of other symbols between them. Poli 2024 (MAD). */
#include "data/task.h"

#include <stdlib.h>

struct conf { struct task task; int length, keys, values; double noise; int noise_values; };
static const struct param params[] = {
    LENGTH(struct conf, 128),
    INT(struct conf, keys, 8, 1, 1 << 18, "", "different ones"),
    INT(struct conf, values, 8, 1, 1 << 18, "", "different ones"),
    REAL(struct conf, noise, 0, 0, 1, "", "share of the pairs that are of noise"),
    INT(struct conf, noise_values, 16, 1, 1 << 18, "", "different symbols of noise"),
    TASK(struct conf),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    int length = ((const struct conf *)self.conf)->length;
    (void)model;
    if (length % 2 || length < 4)
        module_problem(problems, path, "length", "%d: must be even, and at least 4", length);
}

/* value: that of each key, -1: not yet shown */
struct told { int n, *shown, *value; };

static void pair(struct draws *d, const struct conf *c, struct told *t, struct item *to)
{
    int key = draws_below(d, c->keys);
    bool known = t->value[key] >= 0;
    if (!known) {
        t->value[key] = draws_below(d, c->values);
        t->shown[t->n++] = key;
    }
    give(to, symbol(key));
    item_put(to, symbol(c->keys + t->value[key]), known);
}

static void noise(struct draws *d, const struct conf *c, struct item *to)
{
    for (int k = 0; k < 2; k++) give(to, symbol(c->keys + c->values + draws_below(d, c->noise_values)));
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, c->noise > 0 ? "probe.noisy" : "probe.recall");
    int pairs = c->length / 2, kept = draws_below(&d, pairs - 1),          /* which pair is no noise */
        *of_keys = xmalloc(2 * (size_t)c->keys * sizeof *of_keys);
    struct told t = { 0, of_keys, of_keys + c->keys };
    for (int key = 0; key < c->keys; key++) t.value[key] = -1;
    give(to, TOKEN_BOS);
    for (int i = 0; i < pairs - 1; i++) {
        if (c->noise > 0 && i != kept && draws_chance(&d, c->noise)) noise(&d, c, to);
        else pair(&d, c, &t, to);
    }
    int key = t.shown[draws_below(&d, t.n)];
    give(to, symbol(key));
    ask(to, symbol(c->keys + t.value[key]));
    free(of_keys);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->keys + c->values + (c->noise > 0 ? c->noise_values : 0);
    t->length = c->length;
}

const struct module task_recall = {
    .slot = SLOT_TASK, .name = "recall", .about = "recall of a key's value each time that the key comes again",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
