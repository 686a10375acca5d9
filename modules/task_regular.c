/* Regular languages: each sample has strings of an automaton of its own; all that it says of the automaton is in them.
   Akyurek 2024 (RegBench). */
#include "data/task.h"

enum { LEAST_STATES = 4, LEAST_SYMBOLS = 4, MOST_STATES = 64, MOST_EDGES = 16, MOST_SYMBOLS = 1 << 10 };
struct conf { struct task task; int length, symbols, states, edges, longest; };
static const struct param params[] = {
    LENGTH(struct conf, 256),
    INT(struct conf, symbols, 18, LEAST_SYMBOLS, MOST_SYMBOLS, "", "most of an automaton; at least 4"),
    INT(struct conf, states, 12, LEAST_STATES, MOST_STATES, "", "most of an automaton; at least 4"),
    INT(struct conf, edges, 3, 1, MOST_EDGES, "", "most out of a state, all of different symbols to different states"),
    INT(struct conf, longest, 49, 1, 1 << 16, "token", "most of a string"),
    TASK(struct conf),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    int edges = ((const struct conf *)self.conf)->edges;
    (void)model;
    if (edges >= LEAST_STATES)
        module_problem(problems, path, "edges", "%d: an automaton of %d states has at most %d out of one", edges,
                       LEAST_STATES, LEAST_STATES - 1);
}

struct state { int edges, symbol[MOST_EDGES], to[MOST_EDGES]; };

/* No edge leads back to where it begins. */
static struct state draw_state(struct draws *d, const struct conf *c, int self, int states, const int *alphabet, int n)
{
    struct state s = { .edges = draws_from(d, 1, c->edges) };
    draws_choose(d, n, s.edges, s.symbol);
    draws_choose(d, states - 1, s.edges, s.to);
    for (int i = 0; i < s.edges; i++) {
        s.symbol[i] = alphabet[s.symbol[i]];
        s.to[i] += s.to[i] >= self;
    }
    return s;
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.regular");
    struct state state[MOST_STATES] = { 0 };
    int alphabet[MOST_SYMBOLS], states = draws_from(&d, LEAST_STATES, c->states),
        n = draws_from(&d, LEAST_SYMBOLS, c->symbols), left = c->length;
    draws_choose(&d, c->symbols, n, alphabet);
    for (int q = 0; q < states; q++) state[q] = draw_state(&d, c, q, states, alphabet, n);
    give(to, TOKEN_BOS);
    while (left > 0) {
        int q = 0, string = draws_from(&d, 1, c->longest);
        for (; string > 0 && left > 0; string--, left--) {
            int edge = draws_below(&d, state[q].edges);
            ask(to, symbol(state[q].symbol[edge]));
            q = state[q].to[edge];
        }
        if (left-- > 0) give(to, TOKEN_SEP);
    }
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = c->symbols;
    t->length = c->length;
}

const struct module task_regular = {
    .slot = SLOT_TASK, .name = "regular", .about = "strings of an automaton that each sample has of its own",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
