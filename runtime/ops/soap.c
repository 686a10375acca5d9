/* SOAP (Vyas 2024, arXiv 2409.11321): Adam in the eigenbasis of Shampoo's factors, of a matrix [N,K].
       G' = B G C^T;  M = b1 M + (1-b1) G;  V = b2 V + (1-b2) G'^2;  M' = B M C^T
       w -= lr (B^T (M'^ / (sqrt(V^) + eps)) C + decay w);  L = b L + (1-b) G G^T;  R = b R + (1-b) G^T G
   Rows of B are eigenvectors of L, those of C of R, the largest first. The first step finds them by Jacobi's rotations,
   and does nothing else, so that no gradient is seen in its own basis. Every so many steps after it they go one power
   step on: in the order of what L is along them, which V follows, B L is made orthonormal. A side without a factor is
   not rotated. The leading dimensions of a weight are a stack of independent matrices; a vector is one row. */
#define VERBS "graph/ops/update.h"
#include "step.h"
#include "orthonormal.h"
#include "backend/rounds.h"
#include "cpu/gemm.h"

enum { W, GRAD, M, V, LR, CLIP, TAKEN, LEFT, LEFT_BASIS, RIGHT, RIGHT_BASIS };      /* inputs */
enum { GOES_ALONG = 3 };    /* by eigenvectors: numbers, an order, signs */

VERB struct node *soap(struct graph *g, struct soap x, struct soap_attr a)
{
    return graph_emit(g, &op_soap, &a, x.w, x.grad, x.m, x.v, x.lr, x.clip, x.taken, x.left, x.left_basis, x.right,
                      x.right_basis);
}

/* side: the longest that is rotated */
struct sizes { int64_t stack, rows, cols, side; };

static struct sizes sizes_of(struct shape w, bool left, bool right)
{
    struct stack k = shape_stack(w);
    struct sizes s = { .stack = k.matrices, .rows = k.rows, .cols = k.columns };
    s.side = left ? s.rows : 0;
    if (right && s.cols > s.side) s.side = s.cols;
    return s;
}

static int check(const struct node *n, int input, const char *name, int64_t stack, int64_t side, struct err *e)
{
    if (!n->in[input] != !n->in[input + 1]) return err_set(e, "soap: '%s' has a basis, and nothing else", name);
    for (int k = input; k < input + 2 && n->in[k]; k++)
        if (shape_count(n->in[k]->shape) != stack * side * side)
            return err_set(e, "soap: '%s' and its basis are of %lld matrices [%lld,%lld]", name, (long long)stack,
                           (long long)side, (long long)side);
    return 0;
}

static int infer(struct node *n, struct err *e)
{
    struct shape w = n->in[W]->shape;
    struct sizes s = sizes_of(w, n->in[LEFT], n->in[RIGHT]);
    int64_t blocks = step_blocks(s.stack);
    if (step_check_pace(n, LR, e)) return -1;
    if (check(n, LEFT, "left", s.stack, s.rows, e) || check(n, RIGHT, "right", s.stack, s.cols, e)) return -1;
    node_value(n, DTYPE_REAL, SHAPE(SUMS));
    step_work(n, s.stack);
    node_work(n, DTYPE_REAL, SHAPE(blocks, 3 * s.rows * s.cols + 2 * s.side * s.side));
    node_work(n, DTYPE_U8, SHAPE(blocks, GOES_ALONG * (s.side + 1) * (int64_t)sizeof(double)));
    return 0;
}

/* Products of a step, and of a power step its share. */
static void cost(const struct node *n, struct cost *c)
{
    const struct soap_attr *at = n->attr;
    struct shape w = n->in[W]->shape;
    struct sizes s = sizes_of(w, n->in[LEFT], n->in[RIGHT]);
    double rows = n->in[LEFT] ? (double)s.rows : 0, cols = n->in[RIGHT] ? (double)s.cols : 0;
    c->flops = 8 * (double)shape_count(w) * (rows + cols) +
               14.0 / 3 * (double)s.stack * (rows * rows * rows + cols * cols * cols) / (double)at->every;
    c->bytes = (7 * (double)shape_count(w) + 3 * (double)s.stack * (rows * rows + cols * cols)) * sizeof(real);
}

/* One matrix, and its room: three of its size, two squares, and what goes by eigenvectors. */
struct one {
    real *w, *m, *v, *left, *left_basis, *right, *right_basis;
    real *x, *y, *z, *square, *other;                       /* x: the gradient */
    double *along;
    int64_t *order;
    int8_t *turn;
};

static real *part(const struct args *a, int input, int64_t at)
{
    return a->in[input].data ? reals(&a->in[input]) + at : NULL;
}

static struct one one_of(const struct args *a, const struct sizes *s, int64_t e)
{
    int64_t n = s->rows * s->cols, left = e * s->rows * s->rows, right = e * s->cols * s->cols,
            block = e / step_grain(s->stack);
    real *room = reals(&a->work[1]) + block * a->work[1].shape.dim[1];
    double *along = (double *)a->work[2].data + GOES_ALONG * block * (s->side + 1);
    return (struct one){
        part(a, W, e * n), part(a, M, e * n), part(a, V, e * n), part(a, LEFT, left), part(a, LEFT_BASIS, left),
        part(a, RIGHT, right), part(a, RIGHT_BASIS, right), room, room + n, room + 2 * n, room + 3 * n,
        room + 3 * n + s->side * s->side, along, (int64_t *)(along + s->side + 1), (int8_t *)(along + 2 * (s->side + 1))
    };
}

/* out := beta out + x y, [m,n] = [m,k] [k,n]. Many matrices share the threads, one has them all. */
static void product(const struct args *a, const struct sizes *s, int64_t m, int64_t n, int64_t k,
                    struct matrix x, struct matrix y, real *out, real beta)
{
    struct gemm g = { .m = m, .n = n, .k = k, .a = x, .b = y, .c = matrix_reals(out, n), .beta = beta, .groups = 1 };
    if (s->stack == 1) gemm(a, &g);
    else gemm_here(&g);
}

/* out := B x C^T, or back: B^T x C; out may be x. */
static void rotate(const struct args *a, const struct sizes *s, const struct one *o, bool back, real *x, real *out)
{
    struct matrix left = matrix_reals(o->left_basis, s->rows), right = matrix_reals(o->right_basis, s->cols);
    size_t bytes = (size_t)(s->rows * s->cols) * sizeof *x;
    if (!o->left) memcpy(o->y, x, bytes);
    else product(a, s, s->rows, s->cols, s->rows, back ? matrix_transposed(left) : left, matrix_reals(x, s->cols), o->y,
                 0);
    if (!o->right) memcpy(out, o->y, bytes);
    else product(a, s, s->rows, s->cols, s->cols, matrix_reals(o->y, s->cols), back ? right : matrix_transposed(right),
                 out, 0);
}

/* ---- eigenvectors ---- */

/* Rotates what x and y are, row against row. */
static void turn_rows(real *restrict x, real *restrict y, int64_t n, real cosine, real sine)
{
    for (int64_t i = 0; i < n; i++) {
        real first = x[i], second = y[i];
        x[i] = cosine * first - sine * second;
        y[i] = sine * first + cosine * second;
    }
}

/* One round of Jacobi's rotations, of pairs that share nothing; whether there was anything to rotate. pair: of each its
   cosine and sine. */
static bool jacobi_round(int n, int round, real *x, real *vectors, double *pair)
{
    int64_t side = n;
    bool turned = false;
    for (int k = 0; k < rounds_pairs(n); k++) {
        struct round_pair p = rounds_pair(n, round, k);
        pair[2 * k] = 1, pair[2 * k + 1] = 0;
        if (p.high >= n) continue;
        double across = (double)x[p.low * side + p.high];
        if (!(fabs(across) > ROUNDING / 8)) continue;
        double apart = ((double)x[p.high * side + p.high] - (double)x[p.low * side + p.low]) / (2 * across),
               tangent = (apart < 0 ? -1 : 1) / (fabs(apart) + sqrt(1 + apart * apart));
        pair[2 * k] = 1 / sqrt(1 + tangent * tangent);
        pair[2 * k + 1] = tangent * pair[2 * k];
        turned = true;
    }
    for (int k = 0; turned && k < rounds_pairs(n); k++) {
        struct round_pair p = rounds_pair(n, round, k);
        if (pair[2 * k + 1] == 0) continue;
        turn_rows(x + p.low * side, x + p.high * side, n, (real)pair[2 * k], (real)pair[2 * k + 1]);
        turn_rows(vectors + p.low * side, vectors + p.high * side, n, (real)pair[2 * k], (real)pair[2 * k + 1]);
    }
    for (int64_t r = 0; turned && r < n; r++)
        for (int k = 0; k < rounds_pairs(n); k++) {
            struct round_pair p = rounds_pair(n, round, k);
            if (pair[2 * k + 1] != 0)
                turn_rows(x + r * n + p.low, x + r * n + p.high, 1, (real)pair[2 * k], (real)pair[2 * k + 1]);
        }
    return turned;
}

/* order: of numbers from the largest on; equal ones as they stand */
static void sort_down(int64_t n, const double *number, int64_t *order)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        for (int64_t k = 0; k < n; k++) at += number[k] > number[i] || (number[k] == number[i] && k < i);
        order[at] = i;
    }
}

/* Rows of basis := eigenvectors of the factor, that of the largest eigenvalue first. */
static void find_basis(const struct one *o, int64_t n, const real *factor, real *basis)
{
    double most = 0;
    bool turned = true;
    for (int64_t i = 0; i < n; i++) most = fmax(most, (double)factor[i * n + i]);
    for (int64_t i = 0; i < n * n; i++) o->square[i] = most > 0 ? (real)((double)factor[i] / most) : 0;
    for (int64_t i = 0; i < n * n; i++) o->other[i] = i / n == i % n;
    for (int sweep = 0; sweep < ROUNDS_SWEEPS && turned; sweep++) {
        turned = false;
        for (int round = 0; round < rounds_of((int)n); round++)
            turned |= jacobi_round((int)n, round, o->square, o->other, o->along);
    }
    for (int64_t i = 0; i < n; i++) o->along[i] = (double)o->square[i * n + i];
    sort_down(n, o->along, o->order);
    for (int64_t i = 0; i < n; i++) memcpy(basis + i * n, o->other + o->order[i] * n, (size_t)n * sizeof *basis);
}

/* A power step of a basis. order: of its rows, which V follows. */
static void refine_basis(const struct args *a, const struct sizes *s, const struct one *o, int64_t n, real *factor,
                         real *basis)
{
    product(a, s, n, n, n, matrix_reals(basis, n), matrix_reals(factor, n), o->square, 0);
    for (int64_t i = 0; i < n; i++) o->along[i] = row_dot(basis + i * n, o->square + i * n, n);
    sort_down(n, o->along, o->order);
    for (int64_t i = 0; i < n; i++)
        memcpy(o->other + i * n, o->square + o->order[i] * n, (size_t)n * sizeof *basis);
    orthonormal_rows(n, n, o->other, basis, o->along, o->turn);
}

/* ---- a step ---- */

/* Of one side; g in x. */
static void update_factor(const struct args *a, const struct sizes *s, const struct one *o, int64_t n, bool left)
{
    const struct soap_attr *at = a->attr;
    real *factor = left ? o->left : o->right, keep = (real)at->factor_beta, gain = (real)(1 - at->factor_beta);
    struct matrix g = matrix_reals(o->x, s->cols), turned = matrix_transposed(g);
    product(a, s, n, n, left ? s->cols : s->rows, left ? g : turned, left ? turned : g, o->square, 0);
    for (int64_t i = 0; i < n * n; i++) factor[i] = keep * factor[i] + gain * o->square[i];
}

/* Rows, or columns, of V go the way of a basis. */
static void follow(const struct sizes *s, const struct one *o, bool left)
{
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t c = 0; c < s->cols; c++)
            o->y[r * s->cols + c] = o->v[left ? o->order[r] * s->cols + c : r * s->cols + o->order[c]];
    memcpy(o->v, o->y, (size_t)(s->rows * s->cols) * sizeof *o->v);
}

static void update_side(const struct args *a, const struct sizes *s, const struct one *o, int64_t taken, bool left)
{
    const struct soap_attr *at = a->attr;
    int64_t n = left ? s->rows : s->cols;
    real *factor = left ? o->left : o->right, *basis = left ? o->left_basis : o->right_basis;
    if (!factor) return;
    update_factor(a, s, o, n, left);
    if (taken == 0) find_basis(o, n, factor, basis);
    else if (taken % at->every == 0) {
        refine_basis(a, s, o, n, factor, basis);
        follow(s, o, left);
    }
}

/* z := Adam's direction, back from where it was taken. */
static void find_direction(const struct args *a, const struct sizes *s, const struct one *o, double taken)
{
    const struct soap_attr *at = a->attr;
    int64_t n = s->rows * s->cols;
    double beta1 = at->beta1 * (double)step_pace(a, LR).momentum;
    real b1 = (real)beta1, b2 = (real)at->beta2, keep1 = (real)(1 - beta1), keep2 = (real)(1 - at->beta2),
         unbias1 = (real)(1 / (1 - pow(beta1, taken))), unbias2 = (real)(1 / (1 - pow(at->beta2, taken))),
         eps = (real)at->eps;
    rotate(a, s, o, false, o->x, o->z);
    for (int64_t i = 0; i < n; i++) {
        o->m[i] = b1 * o->m[i] + keep1 * o->x[i];
        o->v[i] = b2 * o->v[i] + keep2 * o->z[i] * o->z[i];
    }
    rotate(a, s, o, false, o->m, o->z);
    for (int64_t i = 0; i < n; i++) o->z[i] = unbias1 * o->z[i] / ((real)sqrt(unbias2 * o->v[i]) + eps);
    rotate(a, s, o, true, o->z, o->z);
}

static void matrices(const struct args *a, int64_t from, int64_t to)
{
    const struct soap_attr *at = a->attr;
    const struct step_pace pace = step_pace(a, LR);
    const struct step_move move = { (real)at->rate * pace.rate, 1, (real)(at->decay * (double)pace.decay), false };
    struct sizes s = sizes_of(a->in[W].shape, a->in[LEFT].data, a->in[RIGHT].data);
    int64_t n = s.rows * s.cols, taken = (int64_t)reals(&a->in[TAKEN])[0];
    real clip = reals(&a->in[CLIP])[0];
    for (int64_t e = from; e < to; e++) {
        struct one o = one_of(a, &s, e);
        double *sums = step_part(a, e);
        const real *grad = reals(&a->in[GRAD]) + e * n;
        for (int64_t i = 0; i < n; i++) o.x[i] = clip * grad[i];
        if (taken > 0) {
            find_direction(a, &s, &o, (double)taken);
            step_move(&move, n, o.w, o.z, sums);
        } else sums[0] = sums[2] = 0, sums[1] = step_squares(o.w, n);
        update_side(a, &s, &o, taken, true);
        update_side(a, &s, &o, taken, false);
    }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a->in[W].shape, a->in[LEFT].data, a->in[RIGHT].data);
    bool go = reals(&a->in[CLIP])[1] != 0;
    step_matrices(a, go, s.stack, matrices);
    if (go) reals(&a->in[TAKEN])[0]++;
}

KERNELS(soap) = { forward, NULL, NULL };

ATTRIBUTES(soap, struct soap_attr,
    REAL(struct soap_attr, beta1, NEEDED, 0, 1, "", "decay of m"),
    REAL(struct soap_attr, beta2, NEEDED, 0, 1, "", "decay of v"),
    REAL(struct soap_attr, factor_beta, NEEDED, 0, 1, "", "decay of the factors"),
    REAL(struct soap_attr, eps, NEEDED, 0, HUGE_VAL, "", "beside the root of v"),
    REAL(struct soap_attr, decay, NEEDED, 0, HUGE_VAL, "", "of w, times lr"),
    REAL(struct soap_attr, rate, NEEDED, 0, HUGE_VAL, "", "factor on lr"),
    INT(struct soap_attr, every, NEEDED, 1, 1 << 30, "step", "between power steps of the bases"));
OP(soap, .inputs = "w*:REAL[..] grad:REAL[..] m*:REAL[..] v*:REAL[..] lr:REAL[P] clip:REAL[2] taken*:REAL[1] "
                   "left?*:REAL left_basis?*:REAL right?*:REAL right_basis?*:REAL",
   .outputs = "change:REAL[3]",
   .about = "SOAP, each matrix of a stack by itself; taken: steps so far; left, right, and bases: [..,N,N] and "
            "[..,K,K] of weights [..,N,K]. lr and sums as of adamw",
   ATTR(soap), .infer = infer, .cost = cost);
