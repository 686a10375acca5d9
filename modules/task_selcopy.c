/* Selective copying: symbols strewn among blanks are the answer, in their order. Gu 2023 (Mamba). */
#include "data/task.h"

#include <stdlib.h>

struct conf { struct task task; int length, tokens, symbols; };
static const struct param params[] = {
    LENGTH(struct conf, 256),
    INT(struct conf, tokens, 16, 1, 1 << 16, "token", "that are copied"),
    INT(struct conf, symbols, 14, 1, 1 << 19, "", "different ones"),
    TASK(struct conf),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (c->length < 2 * c->tokens + 1)
        module_problem(problems, path, "length", "%d: must be more than twice the %d tokens", c->length, c->tokens);
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.selcopy");
    int places = c->length - c->tokens - 1, n = 0,
        *at = xmalloc((size_t)(2 * c->tokens) * sizeof *at), *copied = at + c->tokens;
    bool *taken = xcalloc((size_t)places, sizeof *taken);
    draws_choose(&d, places, c->tokens, at);
    for (int i = 0; i < c->tokens; i++) {
        taken[at[i]] = true;
        copied[i] = draws_below(&d, c->symbols);
    }
    give(to, TOKEN_BOS);
    for (int i = 0; i < places; i++) give(to, taken[i] ? symbol(copied[n++]) : TOKEN_BLANK);
    give(to, TOKEN_ANS);
    for (int i = 0; i < c->tokens; i++) ask(to, symbol(copied[i]));
    free(taken);
    free(at);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->symbols;
    t->length = c->length;
}

const struct module task_selcopy = {
    .slot = SLOT_TASK, .name = "selcopy", .about = "copying of what stands among blanks",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
