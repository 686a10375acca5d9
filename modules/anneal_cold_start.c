/* Cold start: hot and narrow first. Over the first S = length * steps steps logits are divided by
       tau(s) = 1 + (temperature - 1) (1 + cos(pi s / S)) / 2
   and of a token's choices, best first, k(s) count: a share of top_k up to S / 2, then more, at S all. Heat alone
   flattens gates and changes no choice; with noise above it, which is as wide as ever, it is exploration. Gates that
   are not normalised after the choice sum to less while fewer count. Evaluations are of the router as it will be.
   Surveys attribute it to DeepSeek, whose reports do not have it. */
#include "model/module.h"

#include <stdio.h>

struct conf { double temperature, experts, length; int beneath_noise; };
static const struct param params[] = {
    REAL(struct conf, temperature, 2, 0.01, 100, "", "tau at first"),
    REAL(struct conf, experts, 0.5, 0, 1, "", "share of the top_k experts that is used at first, and at least one"),
    REAL(struct conf, length, 0.05, 0, 1, "", "share of the run, after which the router is as without"),
    BOOL(struct conf, beneath_noise, true, "noise is added after the division: beside logits it is wider by tau"),
    { 0 }
};

struct span { struct conf conf; int from, to; };

static double sharpness(const void *conf, double scale, int64_t step, int64_t steps)
{
    const struct conf *c = conf;
    return scale / (1 + (c->temperature - 1) * 0.5 * (1 + cos(acos(-1) * build_progress(c->length, step, steps))));
}

/* 1 where choice number `choice` counts, else 0. */
static double open_at(const void *start, double choice, int64_t step, int64_t steps)
{
    const struct span *s = start;
    double x = fmax(0, 2 * build_progress(s->conf.length, step, steps) - 1);
    return choice < s->from + floor(x * (s->to - s->from));
}

static struct anneal build(struct build *b, struct pick self, int k)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct anneal a = { .beneath_noise = c->beneath_noise };
    struct span s = { *c, (int)fmax(1, share_down(c->experts * k)), k };
    if (b->mode != MODE_TRAIN || c->length == 0) return a;
    if (c->temperature != 1)
        a.sharpness = graph_control(g, arena_text(b->arena, "%s.router.heat", b->path),
                                    (struct control){ sharpness, c, sizeof *c, 1 });
    if (s.from == k) return a;
    struct node **open = arena_alloc(b->arena, (size_t)k * sizeof(struct node *));
    for (int i = 0; i < k; i++)
        open[i] = graph_control(g, arena_text(b->arena, "%s.router.open.%d", b->path, i),
                                (struct control){ open_at, &s, sizeof s, i });
    a.open = concat(g, k, open);                                                                /* [K] */
    return a;
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->uneven = c->length > 0 && c->experts < 1;
}

const struct module anneal_cold_start = {
    .slot = SLOT_ANNEAL, .name = "cold_start", .about = "high temperature and few experts first",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .anneal = build,
};
