/* Loss-free balancing: a bias moves the selection key and nothing else; after each step
       bias_i += gamma * sign(mean n - n_i)
   with counts of the whole optimizer batch. Wang 2024 (arXiv 2408.15664); DeepSeek-V3; WeLM. gamma is in units of the
   score: the default is for sigmoid. Taking the mean off the step (Moonlight) would move no choice: top-k
   ignores what all share. */
#include "model/module.h"
#include <math.h>

struct conf { double gamma; };
static const struct param params[] = {
    REAL(struct conf, gamma, 0.001, 0, 1, "score", "step of the bias"),
    { 0 }
};

struct state { const struct conf *conf; struct node *counts; const char *path; int64_t experts; };

static struct node *biased(struct build *b, struct pick self, struct node *key)
{
    (void)self;
    struct node *bias = build_buffer(b, "router.bias", DTYPE_REAL, SHAPE(shape_last(key->shape)), 0);    /* [E] */
    build_metric(b, "router_bias", bias, "", BETTER_NONE,
                 "balancing bias that the step's choice was made with, of each expert");
    return add_row(b->graph, key, bias);
}

static void update(struct build *b, void *state, struct update u)
{
    const struct state *s = state;
    struct node *bias = graph_buffer(b->graph, s->path, DTYPE_REAL, SHAPE(s->experts), 0);
    struct node *range = bias_step(b->graph, bias, s->counts, u.clip, NULL,
                                   (struct bias_step_attr){ s->conf->gamma, -HUGE_VAL, HUGE_VAL, BIAS_SIGN, false });
    build_metric(b, "router_bias_range", range, "", BETTER_NONE, "largest less smallest of them");
}

static void build(struct build *b, struct pick self, const struct routing *r)
{
    if (b->mode != MODE_TRAIN) return;
    struct state *s = arena_alloc(b->arena, sizeof *s);
    *s = (struct state){ self.conf, carry(b->graph, r->counts, CARRY_SUM),
                         arena_text(b->arena, "%s.router.bias", b->path), r->experts };
    build_update(b, update, s);
}

const struct module balance_bias = {
    .slot = SLOT_BALANCE, .name = "bias", .about = "bias on the selection, moved by counts (loss-free)",
    .conf_size = sizeof(struct conf), .params = params, .balance_key = biased, .balance = build,
};
