/* Balance loss: alpha * sum over i of load_i P_i, load_i = E n_i / (K T) a constant and P_i the mean probability of
   expert i: 1 when both are uniform. By what n is counted over:
       micro      the micro-batch. Fedus 2021 (Switch)
       sequence   each sequence, of which the mean is taken. DeepSeek-V2, V3 (with counts = "unbiased"), Moonlight
       global     all micro-batches and ranks of a step: of the step before, so that gradients do not depend on how the
                  batch is cut. Qiu 2025 and Qwen3 count those micro-batches of the step that were there already
   Devices, groups of E / D neighbours, are balanced likewise, DeepSeek-V2: `device`, of what they compute, with the
   mean load of their experts and the sum of their P; `communication`, of what they are sent, with
   D / (M T) * tokens that have an expert there. GShard's loss is counts = "first". */
#include "model/module.h"
#include <math.h>

enum scope { MICRO, SEQUENCE, GLOBAL };
enum counts { CHOSEN, FIRST, UNBIASED };
struct conf { double alpha, device, communication; int scope, counts, groups, per_token; };
static const struct param params[] = {
    REAL(struct conf, alpha, 0.01, 0, 10, "",
         "weight of the loss of experts, in the convention of Switch, DeepSeek and Megatron: 1 at even load in each of "
         "L layers, and their sum; of a coefficient for transformers (K at even load, a mean over layers) take K / L"),
    REAL(struct conf, device, 0, 0, 10, "", "weight of the loss of devices, likewise"),
    REAL(struct conf, communication, 0, 0, 10, "", "weight of the loss of what devices are sent, likewise"),
    CHOICE(struct conf, scope, MICRO, "micro sequence global", "what is to be even: each micro-batch, each sequence, "
           "the batch of a whole step"),
    CHOICE(struct conf, counts, CHOSEN, "chosen first unbiased",
           "which choices count: all; the largest key's alone; those that a key without bias would make"),
    INT(struct conf, groups, 1, 1, 4096, "", "devices, which hold experts in equal numbers"),
    INT(struct conf, per_token, 1, 1, 4096, "", "devices that a token may use (M)"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->per_token > c->groups)
        module_problem(problems, path, "per_token", "%d: there are only %d devices", c->per_token, c->groups);
}

/* A loss of experts or of devices; per: M where tokens are counted, once for a device. */
struct even { const char *name; double weight; int64_t parts, per; bool once; };
struct state { struct even term; struct node *counts, *all; const char *path; };

/* counts, all [G,P] and [G] -> P counts / (per all) */
static struct node *load_of(struct graph *g, const struct even *t, struct node *counts, struct node *all)
{
    struct node *by = repeat(g, clamp(g, all, 1, HUGE_VAL), t->parts);
    return scale(g, divide(g, counts, by), (double)t->parts / (double)t->per);
}

static struct node *held(struct build *b, const char *path, int64_t parts)
{
    return graph_buffer(b->graph, path, DTYPE_REAL, SHAPE(1, parts), 1);
}

static void update(struct build *b, void *state, struct update u)
{
    const struct state *s = state;
    average(b->graph, held(b, s->path, s->term.parts), load_of(b->graph, &s->term, s->counts, s->all), u.clip,
            build_constant(b, 1));
}

/* The load of the step before; in the first it is even. */
static struct node *load_before(struct build *b, const struct even *t, struct node *counts, struct node *all)
{
    struct state s = { *t, NULL, NULL, arena_text(b->arena, "%s.router.load.%s", b->path, t->name) };
    if (b->mode == MODE_TRAIN) {
        s.counts = carry(b->graph, counts, CARRY_SUM);
        s.all = carry(b->graph, all, CARRY_SUM);
        build_update(b, update, arena_copy(b->arena, &s, sizeof s));
    }
    return held(b, s.path, t->parts);
}

/* I32 [T,..]: what counts. */
static struct node *choices(struct build *b, const struct conf *c, const struct routing *r)
{
    if (c->counts == CHOSEN) return r->chosen;
    struct node *largest = c->counts == FIRST ? topk(b->graph, r->key, 1) : topk(b->graph, r->score, r->k);
    return build_present(b, largest, -1);
}

/* [G,P]: of each sequence, or one for all. */
static struct node *loads(struct build *b, const struct conf *c, const struct routing *r, const struct even *t)
{
    struct graph *g = b->graph;
    if (c->scope == MICRO && c->counts == CHOSEN && t->parts == r->experts)
        return view(g, load(g, build_counts(b, r)), SHAPE(1, t->parts));
    struct node *counts = count_chosen(g, choices(b, c, r), r->experts, t->parts,
                                       c->scope == SEQUENCE ? b->batch : 1, t->once),
                *all = graph_result(g, counts, 1);
    if (c->scope == SEQUENCE) counts = build_sequences_sum(b, counts), all = build_sequences_sum(b, all);
    return c->scope == GLOBAL ? load_before(b, t, counts, all) : load_of(g, t, counts, all);
}

static void add_loss(struct build *b, const struct conf *c, const struct routing *r, struct even t)
{
    struct graph *g = b->graph;
    if (t.weight == 0) return;
    struct node *share = build_present(b, r->share, 0), *of = loads(b, c, r, &t);
    int64_t groups = of->shape.dim[0], each = r->experts / t.parts;
    if (each > 1) of = repeat(g, view(g, of, SHAPE(groups * t.parts)), each);
    of = view(g, of, SHAPE(groups, r->experts));
    struct node *loss = c->scope == SEQUENCE
        ? scale(g, dot(g, view(g, repeat(g, of, b->seq), share->shape), share), 1 / (double)b->tokens)
        : dot(g, view(g, of, SHAPE(r->experts)), mean_rows(g, share));
    build_loss(b, t.name, loss, t.weight);
}

static void build(struct build *b, struct pick self, const struct routing *r)
{
    const struct conf *c = self.conf;
    add_loss(b, c, r, (struct even){ "aux", c->alpha, r->experts, 1, false });
    add_loss(b, c, r, (struct even){ "device", c->device, c->groups, 1, false });
    add_loss(b, c, r, (struct even){ "communication", c->communication, c->groups, c->per_token, true });
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->expert_groups = c->groups;
    t->of_scores = true;
    t->trains = c->alpha + c->device + c->communication > 0;
}

const struct module balance_switch_aux = {
    .slot = SLOT_BALANCE, .name = "switch_aux", .about = "loss on load times probability",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .balance = build,
};
