/* Element gating: x * (least + (mult - least) f(u W)), one gate for each dimension of each head, f the sigmoid. Qiu
   2025 (arXiv 2505.06708), whose positions are heads' outputs (G1; Qwen3-Next), values (G2), keys (G3), queries (G4)
   and what attention writes (G5), and whose other gates are settings: the same for all heads (the mean of what as many
   matrices make is what one makes), SiLU, SiLU that is added, within [0.5, 1], independent of the input. zero and
   mult = 2 begin as no gate. With a W of two factors and a bias: Kimi Delta Attention. */
#include "model/module.h"

struct conf { double mult, least; int on, silu, adds, shared, blind, zero, rank, bias; };
static const struct param params[] = {
    REAL(struct conf, mult, 1, 0.5, 2, "", "factor on f, the most that a sigmoid lets through"),
    OPTIONAL(struct conf, least, 0, 1, "", "the least that it lets through"),
    CHOICE(struct conf, on, GATED_HEADS, "heads values keys queries output", "what is gated"),
    BOOL(struct conf, silu, false, "f(z) = z sigmoid(z)"),
    BOOL(struct conf, adds, false, "the gate is added, rather than a factor"),
    BOOL(struct conf, shared, false, "heads share the gates of their dimensions"),
    BOOL(struct conf, blind, false, "f of learned numbers in place of u W"),
    BOOL(struct conf, zero, false, "W is 0 at first"),
    INT(struct conf, rank, 0, 0, 4096, "", "of W as a product of two; 0: one matrix"),
    BOOL(struct conf, bias, false, "b, added to u W"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->least >= c->mult)
        module_problem(problems, path, "least", "%g: must be below mult = %g, the most", c->least, c->mult);
    if (c->least > 0 && c->silu) module_problem(problems, path, "least", "%g: SiLU has bounds of its own", c->least);
    if (c->blind && (c->rank > 0 || c->bias || c->zero))
        module_problem(problems, path, c->rank > 0 ? "rank" : c->bias ? "bias" : "zero", "blind has no u W");
    if (c->least > 0 && c->adds)
        module_problem(problems, path, "least", "%g: where a gate is added all passes", c->least);
}

/* f [T,width], or of all tokens [width]. */
static struct node *open_of(struct build *b, const struct conf *c, struct node *u, int64_t width)
{
    struct graph *g = b->graph;
    struct node *z;
    if (c->blind) z = build_weight(b, "gate", ROLE_SCALAR, SHAPE(width), init_constant(0));
    else if (c->rank == 0) z = linear_from(b, "gate", ROLE_GATE, u, width, c->zero);
    else z = linear_same(b, "gate", ROLE_GATE, linear(b, "gate_down", ROLE_GATE, u, c->rank), width, c->zero);
    if (c->bias) z = add_row(g, z, build_bias(b, "gate", SHAPE(width)));
    if (c->silu) return silu(g, z);
    struct node *open = sigmoid(g, z);
    if (!c->blind)
        build_row_metric(b, "head_gate_sat", outside(g, build_present(b, open, 0.5), 0.05, 0.95), "", BETTER_NONE,
                         "share of sigmoids below 0.05 or above 0.95");
    return open;
}

static struct node *build(struct build *b, struct pick self, enum gated at, struct node *u, struct node *x,
                          struct node *v)
{
    (void)v;
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t heads = x->shape.rank == 3 ? x->shape.dim[1] : 1, width = shape_last(x->shape);
    int64_t rows = c->blind ? 1 : b->tokens;
    if (at != (enum gated)c->on) return x;
    struct node *open = open_of(b, c, u, c->shared ? width : heads * width), *gate = scale(g, open, c->mult - c->least);
    if (c->least > 0) gate = offset(g, gate, c->least);
    if (c->shared) gate = repeat(g, view(g, gate, SHAPE(rows, width)), heads);                  /* [T,H,W] */
    if (!c->blind) return (c->adds ? add : mul)(g, x, view(g, gate, x->shape));
    struct node *row = view(g, gate, SHAPE(heads * width)), *flat = view(g, x, SHAPE(b->tokens, heads * width));
    return view(g, (c->adds ? add_row : mul_row)(g, flat, row), x->shape);
}

static void traits(struct pick self, struct traits *t) { t->gated_at = ((const struct conf *)self.conf)->on; }

const struct module gate_element = {
    .slot = SLOT_GATE, .name = "element", .about = "one gate per dimension",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .gate = build,
};
