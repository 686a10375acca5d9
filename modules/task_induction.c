/* Induction: a mark among random symbols; when it comes again, the answer is what followed it. */
#include "data/task.h"

#include <stdlib.h>

struct conf { struct task task; int length, symbols; };
static const struct param params[] = {
    LENGTH(struct conf, 64),
    INT(struct conf, symbols, 14, 1, 1 << 19, "", "different ones"),
    TASK(struct conf),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    int length = ((const struct conf *)self.conf)->length;
    (void)model;
    if (length < 4) module_problem(problems, path, "length", "%d: at least 4", length);
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.induction");
    int n = c->length - 2, *body = xmalloc((size_t)n * sizeof *body);
    for (int i = 0; i < n; i++) body[i] = draws_below(&d, c->symbols);
    int mark = draws_below(&d, n - 1);
    give(to, TOKEN_BOS);
    for (int i = 0; i < n; i++) give(to, i == mark ? TOKEN_MARK : symbol(body[i]));
    give(to, TOKEN_MARK);
    ask(to, symbol(body[mark + 1]));
    free(body);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->symbols;
    t->length = c->length;
}

const struct module task_induction = {
    .slot = SLOT_TASK, .name = "induction", .about = "what followed a mark",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
