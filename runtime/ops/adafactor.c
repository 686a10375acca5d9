/* Adafactor (Shazeer and Stern 2018): Adam's second moment of a matrix [N,K] from that of its rows and of its columns.
       R = b R + (1-b) mean over columns of g^2 + tiny,  C likewise over rows,  b = 1 - t^-power
       u = g / sqrt(R C / mean(R)),  u = u / max(1, rms(u) / most);  w -= lr s (u + ..),  s = max(least, rms(w)) or 1
   A vector has a v of its own. With m, u is a mean of those so far: m = b1 m + (1-b1) u. Decay: lr decay w.
   The leading dimensions of a weight are a stack of independent matrices. */
#define VERBS "graph/ops/update.h"
#include "step.h"

enum { W, GRAD, LR, STEP, CLIP, ROW, COL, V, M };

VERB struct node *adafactor(struct graph *g, struct node *w, struct node *grad, struct node *lr, struct node *step,
                            struct node *clip, struct node *row, struct node *col, struct node *v, struct node *m,
                            struct adafactor_attr a)
{
    return graph_emit(g, &op_adafactor, &a, w, grad, lr, step, clip, row, col, v, m);
}

static int infer(struct node *n, struct err *e)
{
    struct stack s = shape_stack(n->in[W]->shape);
    const struct node *row = n->in[ROW], *col = n->in[COL];
    if (step_check_pace(n, LR, e)) return -1;
    if (!row != !col || !row == !n->in[V]) return err_set(e, "adafactor: row and col are needed, or v");
    if (row && (shape_count(row->shape) != s.matrices * s.rows || shape_count(col->shape) != s.matrices * s.columns))
        return err_set(e, "adafactor: a value for each row and one for each column are needed, %lld and %lld",
                       (long long)(s.matrices * s.rows), (long long)(s.matrices * s.columns));
    node_value(n, DTYPE_REAL, SHAPE(SUMS));
    step_work(n, s.matrices);
    node_work(n, DTYPE_REAL, SHAPE(s.matrices, s.rows * s.columns));
    node_work(n, DTYPE_U8, SHAPE(s.matrices, s.columns * (int64_t)sizeof(double)));
    return 0;
}

/* What one matrix is read from and written to; u: its gradient, and then what it moves along. */
struct one { real *u, *row, *col, *v, *m; double *sum; };

/* Takes the gradient in, and divides it by its size. */
static void divide(const struct stack *s, double beta, double tiny, const struct one *x)
{
    double mean = 0;
    for (int64_t c = 0; c < s->columns; c++) x->sum[c] = 0;
    for (int64_t r = 0; r < s->rows; r++) {
        const real *g = x->u + r * s->columns;
        double squares = step_squares(g, s->columns) / (double)s->columns + tiny;
        x->row[r] = (real)(beta * (double)x->row[r] + (1 - beta) * squares);
        mean += (double)x->row[r] / (double)s->rows;
        for (int64_t c = 0; c < s->columns; c++) x->sum[c] += (double)g[c] * (double)g[c];
    }
    for (int64_t c = 0; c < s->columns; c++)
        x->col[c] = (real)(beta * (double)x->col[c] + (1 - beta) * (x->sum[c] / (double)s->rows + tiny));
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t c = 0; c < s->columns; c++)
            x->u[r * s->columns + c] /= (real)sqrt((double)x->row[r] / mean * (double)x->col[c]);
}

static void divide_values(int64_t n, double beta, double tiny, const struct one *x)
{
    for (int64_t i = 0; i < n; i++) {
        double square = (double)x->u[i] * (double)x->u[i] + tiny;
        x->v[i] = (real)(beta * (double)x->v[i] + (1 - beta) * square);
        x->u[i] /= (real)sqrt((double)x->v[i]);
    }
}

static double rms(const real *x, int64_t n) { return sqrt(step_squares(x, n) / (double)n); }

static real *part(const struct args *a, int input, int64_t at)
{
    return a->in[input].data ? reals(&a->in[input]) + at : NULL;
}

static void matrices(const struct args *a, int64_t from, int64_t to)
{
    const struct adafactor_attr *at = a->attr;
    struct stack s = shape_stack(a->in[W].shape);
    int64_t n = s.rows * s.columns;
    const struct step_pace pace = step_pace(a, LR);
    double beta = 1 - pow((double)reals(&a->in[STEP])[0], -at->power), of_m = at->beta1 * (double)pace.momentum;
    real keep1 = (real)(1 - of_m), beta1 = (real)of_m, decay = (real)(at->decay * (double)pace.decay),
         clip = reals(&a->in[CLIP])[0];
    for (int64_t e = from; e < to; e++) {
        real *w = reals(&a->in[W]) + e * n;
        struct one x = { reals(&a->work[1]) + e * n, part(a, ROW, e * s.rows), part(a, COL, e * s.columns),
                         part(a, V, e * n), part(a, M, e * n), (double *)a->work[2].data + e * s.columns };
        for (int64_t i = 0; i < n; i++) x.u[i] = clip * reals(&a->in[GRAD])[e * n + i];
        if (x.v) divide_values(n, beta, at->tiny, &x);
        else divide(&s, beta, at->tiny, &x);
        real by = (real)(1 / fmax(1, rms(x.u, n) / at->most));
        for (int64_t i = 0; i < n; i++) x.u[i] *= by;
        for (int64_t i = 0; x.m && i < n; i++) x.u[i] = x.m[i] = beta1 * x.m[i] + keep1 * x.u[i];
        double scale = at->relative ? fmax(at->least, rms(w, n)) : 1, lr = at->rate * (double)pace.rate;
        struct step_move move = { (real)lr, (real)scale, decay, false };
        step_move(&move, n, w, x.u, step_part(a, e));
    }
}

static void forward(const struct args *a)
{
    int64_t stack = shape_stack(a->in[W].shape).matrices;
    step_run(a, reals(&a->in[CLIP])[1] != 0, stack, 1, stack, matrices);
}

KERNELS(adafactor) = { forward, NULL, NULL };

ATTRIBUTES(adafactor, struct adafactor_attr,
    REAL(struct adafactor_attr, power, NEEDED, 0, HUGE_VAL, "", "of a step's number, which moments decay by"),
    REAL(struct adafactor_attr, tiny, NEEDED, 0, HUGE_VAL, "", "added to squares"),
    REAL(struct adafactor_attr, most, NEEDED, ABOVE_0, HUGE_VAL, "", "the largest root mean square of u"),
    REAL(struct adafactor_attr, least, NEEDED, 0, HUGE_VAL, "", "the smallest size of a weight"),
    REAL(struct adafactor_attr, beta1, NEEDED, 0, 1, "", "decay of m"),
    REAL(struct adafactor_attr, decay, NEEDED, 0, HUGE_VAL, "", "of w, times lr"),
    REAL(struct adafactor_attr, rate, NEEDED, 0, HUGE_VAL, "", "factor on lr"),
    BOOL(struct adafactor_attr, relative, NEEDED, "steps are in proportion to the size of the weight"));
OP(adafactor, .inputs = "w*:REAL[..] grad:REAL[..] lr:REAL[P] step:REAL[1] clip:REAL[2] row?*:REAL col?*:REAL "
                        "v?*:REAL[..] m?*:REAL[..]",
   .outputs = "change:REAL[3]",
   .about = "Adafactor, each matrix of a stack by itself, with row and col; with v, each value by itself. lr and "
            "sums as of adamw",
   ATTR(adafactor), .infer = infer);
