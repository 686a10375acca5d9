/* Muon: the momentum of a matrix, orthogonalised by Newton-Schulz steps, sets the step; every expert of a stack is its
   own matrix. Jordan 2024; Moonlight (arXiv 2502.16982). Embeddings, tables, the head and gains take AdamW.
       w -= lr (scale * orthogonal(momentum) + decay w)
   scale: rms     `rms` sqrt(max(rows, columns))   0.2 is the size of an AdamW step, so that its rate can be kept
          spectral sqrt(rows / columns)            jordan  sqrt(max(1, rows / columns))
   Momentum is a sum; as a mean it would be smaller by a factor that the steps take out. neurons: NorMuon (Li 2025,
   arXiv 2510.05491), short as in modded-nanogpt and nanochat. sphere: as of adamw (MuonH). heads: Muon Split (GLM-5),
   each head of a projection to queries, keys or values by itself. */
#include "model/module.h"
#include <math.h>

enum scale { RMS, SPECTRAL, JORDAN };
enum router { MUON, ADAMW };
struct conf {
    struct pace pace;
    double momentum;
    int nesterov, scale;
    double rms;
    int steps, quintics, even_rows, neurons;
    double neurons_beta;
    int snap, heads, cautious, sphere, router;
    struct adam adam;
};
static const struct param params[] = {
    PACE(struct conf, pace, 1e-3, 0.1),
    REAL(struct conf, momentum, 0.95, 0, 0.9999, "", "decay of the momentum"),
    BOOL(struct conf, nesterov, true, "look one step ahead"),
    CHOICE(struct conf, scale, RMS, "rms spectral jordan", "length of the step by the matrix's shape"),
    REAL(struct conf, rms, 0.2, 1e-3, 10, "", "of rms: how large the values of an orthogonal step are"),
    INT(struct conf, steps, 5, 1, 20, "", "Newton-Schulz steps"),
    CHOICE(struct conf, quintics, QUINTIC_JORDAN, QUINTICS,
           "their polynomials: one; five in a row; Polar Express; jordan's, the last two of which go to 1"),
    BOOL(struct conf, even_rows, false, "rows of the momentum become equally long before the steps (MuonEq)"),
    CHOICE(struct conf, neurons, NEURONS_NONE, "none row short",
           "whose size is kept, and evened out: nobody's; each row's; each row's or column's, whichever is shorter"),
    REAL(struct conf, neurons_beta, 0.95, 0, 0.99999, "", "decay of these sizes"),
    BOOL(struct conf, snap, false, "the step gets the Frobenius norm of an orthogonal matrix (Muon+)"),
    BOOL(struct conf, heads, false, "each head of queries, keys and values is a matrix by itself"),
    BOOL(struct conf, cautious, false, "weights decay only where that goes the way of the step"),
    BOOL(struct conf, sphere, false,
         "hidden matrices keep their norm, and do not decay, but for those that begin at zero"),
    CHOICE(struct conf, router, MUON, "muon adamw", "what moves the weights of routers"),
    ADAM(struct conf, adam, "AdamW: "),
    STATE(struct conf, adam.state, "momentum and AdamW: "),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    build_check_adam(&c->adam, path, problems);
    build_check_state(c->adam.state, "momentum", c->momentum, path, problems);
}

/* The matrices that are made orthogonal: those of w, or of them the rows of each head. */
static struct stack matrices_of(const struct conf *c, const struct node *w)
{
    struct stack s = shape_stack(w->shape);
    int64_t heads = c->heads ? w->leaf->heads : 1;
    return (struct stack){ s.matrices * heads, s.rows / heads, s.columns };
}

static double step_scale(const struct conf *c, struct stack x)
{
    double rows = (double)x.rows, columns = (double)x.columns;
    if (c->scale == RMS) return c->rms * sqrt(fmax(rows, columns));
    return sqrt(c->scale == SPECTRAL ? rows / columns : fmax(1, rows / columns));
}

/* What level_neurons keeps of each. */
static struct shape neurons_of(const struct conf *c, struct stack x)
{
    return SHAPE(x.matrices, c->neurons == NEURONS_SHORT && x.rows < x.columns ? x.columns : x.rows);
}

static struct node *build(struct build *b, struct pick self, struct node *w, struct node *grad, struct update u)
{
    const struct conf *c = self.conf;
    if (!build_is_hidden(w) || (c->router == ADAMW && w->leaf->role == ROLE_ROUTER))
        return build_adamw(b, &c->pace, &c->adam, w, grad, u);
    struct stack x = matrices_of(c, w);
    struct node *radius = c->sphere ? build_radius(b, w, x.matrices) : NULL;
    struct muon_attr attr = {
        .momentum = c->momentum, .decay = radius ? 0 : u.rate * build_decay(&c->pace, w, u),
        .scale = u.rate * (radius ? 1 : step_scale(c, x)), .nesterov = c->nesterov, .steps = c->steps,
        .quintics = c->quintics, .even = c->even_rows, .neurons = c->neurons, .snap = c->snap, .cautious = c->cautious,
        .beta2 = c->neurons_beta, .heads = c->heads ? w->leaf->heads : 0
    };
    struct node *v = c->neurons ? build_memory_of(b, "v", w, neurons_of(c, x)) : NULL;
    return muon(b->graph, w, grad, build_moment_as(b, "m", w, c->adam.state, x.matrices), u.lr, u.clip, v, radius,
                attr);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->paced = true;
    if (c->scale == SPECTRAL && c->router == ADAMW && !c->sphere) t->stepping = STEPPING_SPECTRAL;
    else t->steps_if = "muon with scale = \"spectral\", router = \"adamw\" and without sphere";
}

const struct module optim_muon = {
    .slot = SLOT_OPTIM, .name = "muon", .about = "orthogonalised momentum for hidden matrices",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .optim = build,
};
