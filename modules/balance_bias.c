/* Loss-free balancing: a bias moves the selection key and nothing else; after each step
       bias_i += gamma * sign(mean n - n_i)         rule = "proportional": gamma * (mean n - n_i) / mean n
   with counts of the whole optimizer batch, before any are dropped, or their average over steps. Wang 2024
   (arXiv 2408.15664); DeepSeek-V3; WeLM. gamma is in units of the score: the default is for sigmoid. Centred
   (Moonlight), steps sum to 0; this moves no choice, for top-k ignores what all share, but biases do not drift. */
#include "model/module.h"
#include <math.h>

struct conf { double gamma; int rule, centred; double ema, clip; };
static const struct param params[] = {
    REAL(struct conf, gamma, 0.001, 0, 1, "score", "step of the bias"),
    CHOICE(struct conf, rule, BIAS_SIGN, "sign proportional", "every step is gamma; or as large as what is lacking"),
    BOOL(struct conf, centred, false, "steps of all experts sum to 0"),
    REAL(struct conf, ema, 0, 0, 0.9999, "", "what a step keeps of the average of counts; 0: its own counts alone"),
    REAL(struct conf, clip, 0, 0, 100, "score", "largest size of a bias; 0: any"),
    { 0 }
};

struct state { const struct conf *conf; struct node *counts; const char *path; int64_t experts; };

static struct node *biased(struct build *b, struct pick self, const struct routing *r)
{
    (void)self;
    struct node *bias = build_buffer(b, "router.bias", DTYPE_REAL, SHAPE(r->experts), 0);       /* [E] */
    build_metric(b, "router_bias", bias, "", BETTER_NONE,
                 "balancing bias that the step's choice was made with, of each expert");
    return add_row(b->graph, r->key, bias);
}

static struct node *buffer(struct build *b, const struct state *s, const char *name)
{
    const char *path = arena_text(b->arena, "%s.router.%s", s->path, name);
    return graph_buffer(b->graph, path, DTYPE_REAL, SHAPE(s->experts), 0);
}

static void update(struct build *b, void *state, struct update u)
{
    const struct state *s = state;
    const struct conf *c = s->conf;
    struct node *bias = buffer(b, s, "bias"), *counts = s->counts;
    if (c->ema > 0) {
        counts = buffer(b, s, "counts");
        average(b->graph, counts, s->counts, u.clip, build_constant(b, 1 - c->ema));
    }
    double most = c->clip > 0 ? c->clip : HUGE_VAL;
    struct node *range = bias_step(b->graph, bias, counts, u.clip, NULL,
                                   (struct bias_step_attr){ c->gamma, -most, most, c->rule, c->centred });
    build_metric(b, "router_bias_range", range, "", BETTER_NONE, "largest less smallest of them");
}

static void build(struct build *b, struct pick self, const struct routing *r)
{
    if (b->mode != MODE_TRAIN) return;
    struct state *s = arena_alloc(b->arena, sizeof *s);
    *s = (struct state){ self.conf, carry(b->graph, build_counts(b, r), CARRY_SUM), arena_text(b->arena, "%s", b->path),
                         r->experts };
    build_update(b, update, s);
}

const struct module balance_bias = {
    .slot = SLOT_BALANCE, .name = "bias", .about = "bias on the selection, moved by counts (loss-free)",
    .conf_size = sizeof(struct conf), .params = params, .balance_key = biased, .balance = build,
};
