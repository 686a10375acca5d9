/* Recall of keys and values that are several tokens long, none twice in one of them. Poli 2024 (MAD), where keys that
   are measured have the greatest length. */
#include "data/task.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 16 };
struct conf { struct task task; int length, keys, values, key_tokens, value_tokens, whole; };
static const struct param params[] = {
    LENGTH(struct conf, 128),
    INT(struct conf, keys, 7, 1, 1 << 18, "", "symbols that keys are made of"),
    INT(struct conf, values, 8, 1, 1 << 18, "", "symbols that values are made of"),
    INT(struct conf, key_tokens, 3, 1, MOST, "token", "most of a key"),
    INT(struct conf, value_tokens, 3, 1, MOST, "token", "most of a value"),
    BOOL(struct conf, whole, false, "whether held-out keys have as many tokens as a key may have"),
    TASK(struct conf),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (c->keys < c->key_tokens)
        module_problem(problems, path, "keys", "%d: a key has %d different ones", c->keys, c->key_tokens);
    if (c->values < c->value_tokens)
        module_problem(problems, path, "values", "%d: a value has %d different ones", c->values, c->value_tokens);
    int least = 2 * (c->key_tokens + c->value_tokens);
    if (c->length < least)
        module_problem(problems, path, "length", "%d: must be at least two keys with their values, %d", c->length,
                       least);
}

struct motif { int n, at[MOST]; };
struct shown { struct motif key, value; };
struct body { int n, shown; struct shown *pair; int32_t *id; bool *counts; };

static struct motif draw(struct draws *d, int symbols, int most, bool whole)
{
    struct motif m = { whole ? most : 1 + draws_below(d, most), { 0 } };
    draws_choose(d, symbols, m.n, m.at);
    return m;
}

static void add(struct body *b, const struct motif *m, int base, bool counts)
{
    for (int i = 0; i < m->n; i++) {
        b->counts[b->n] = counts;
        b->id[b->n++] = symbol(base + m->at[i]);
    }
}

static void add_pair(struct draws *d, const struct conf *c, bool whole, struct body *b)
{
    struct motif key = draw(d, c->keys, c->key_tokens, whole);
    int i = 0;
    while (i < b->shown && (b->pair[i].key.n != key.n || memcmp(b->pair[i].key.at, key.at, sizeof key.at))) i++;
    bool known = i < b->shown;
    if (!known) b->pair[b->shown++] = (struct shown){ key, draw(d, c->values, c->value_tokens, false) };
    add(b, &key, 0, false);
    add(b, &b->pair[i].value, c->keys, known);
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.fuzzy");
    size_t n = (size_t)c->length;
    struct body b = { 0, 0, xmalloc(n * sizeof *b.pair), xmalloc(n * sizeof *b.id), xmalloc(n * sizeof *b.counts) };
    while (b.n <= c->length - 2 * (c->key_tokens + c->value_tokens))
        add_pair(&d, c, c->whole && of->purpose == PURPOSE_EVAL, &b);
    const struct shown *asked = &b.pair[draws_below(&d, b.shown)];
    add(&b, &asked->key, 0, false);
    add(&b, &asked->value, c->keys, true);
    give(to, TOKEN_BOS);
    for (int i = b.n; i < c->length; i++) give(to, TOKEN_PAD);
    for (int i = 0; i < b.n; i++) item_put(to, b.id[i], b.counts[i]);
    free(b.pair);
    free(b.id);
    free(b.counts);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->keys + c->values;
    t->length = c->length;
}

const struct module task_fuzzy = {
    .slot = SLOT_TASK, .name = "fuzzy", .about = "recall of keys and values of several tokens",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
