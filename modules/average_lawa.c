/* The mean of the weights after the last `latest` of each `every` steps, as of the last checkpoints of a run; before
   the first of them averages are the weights. Keeps latest - 1 copies of the weights. Kaddour 2022 (LAWA). */
#include "model/module.h"

struct conf { int every, latest; };
static const struct param params[] = {
    INT(struct conf, every, 5, 1, 1e9, "step", "steps from one to the next that is averaged"),
    INT(struct conf, latest, 5, 2, 64, "", "how many are"),
    { 0 }
};

/* Copies are a ring: copy i has the weights of every latest - 1 th time. */
struct turn { struct conf conf; int copy; };

/* The how many-th time it is after this step, from 1 on; 0: it is none. */
static int64_t time_of(const struct conf *c, int64_t step) { return (step + 1) % c->every ? 0 : (step + 1) / c->every; }

static double begins(const void *turn, double scale, int64_t step, int64_t steps)
{
    const struct conf *c = &((const struct turn *)turn)->conf;
    (void)scale; (void)steps;
    return time_of(c, step) > 0 || step + 1 < c->every;
}

static double adds(const void *turn, double scale, int64_t step, int64_t steps)
{
    const struct turn *t = turn;
    (void)scale; (void)steps;
    return t->copy < time_of(&t->conf, step) - 1;           /* there is such a copy already */
}

static double keeps(const void *turn, double scale, int64_t step, int64_t steps)
{
    const struct turn *t = turn;
    int64_t time = time_of(&t->conf, step);
    (void)scale; (void)steps;
    return time > 0 && (time - 1) % (t->conf.latest - 1) == t->copy;
}

/* As op average's clip: 0 in steps in which it leaves things as they are. */
static struct node *gate(struct build *b, const char *name, double (*at)(const void *, double, int64_t, int64_t),
                         const struct conf *c, int copy)
{
    struct turn turn = { *c, copy };
    const struct control control = { at, &turn, sizeof turn, 0 };
    struct node *open = graph_control(b->graph, arena_text(b->arena, "average.%s.%d", name, copy), control);
    return view(b->graph, repeat(b->graph, open, 2), SHAPE(2));
}

static void follow(struct build *b, struct pick self, const struct followed *of, int n, struct update u)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *go = gate(b, "begins", begins, c, 0), *one = build_constant(b, 1);
    (void)u;
    for (int i = 0; i < n; i++) average(g, of[i].average, of[i].w, go, one);
    for (int copy = 0; copy < c->latest - 1; copy++) {
        struct node *share = build_constant(b, 1.0 / (copy + 2));
        go = gate(b, "adds", adds, c, copy);
        for (int i = 0; i < n; i++) average(g, of[i].average, build_copy(b, copy, of[i].w), go, share);
    }
    for (int copy = 0; copy < c->latest - 1; copy++) {
        go = gate(b, "keeps", keeps, c, copy);
        for (int i = 0; i < n; i++) average(g, build_copy(b, copy, of[i].w), of[i].w, go, one);
    }
}

static void traits(struct pick self, struct traits *t)
{
    t->averages_from = ((const struct conf *)self.conf)->every;
    t->averages_by = "every";
}

const struct module average_lawa = {
    .slot = SLOT_AVERAGE, .name = "lawa", .about = "mean of the weights of several times, which evaluation reads",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .average = follow,
};
