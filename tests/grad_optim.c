/* Optimizers against the same arithmetic written out once more: five steps, one of which is skipped, and all that they
   leave behind; then what their formulas promise, and numbers that were computed elsewhere. In double. */
#include "run_graph.h"
#include <math.h>

enum { MOST = 512, MEMORIES = 7, STEPS = 5, SKIPPED = 2 };

/* A weight as a stack of matrices, and what an optimizer keeps of it. */
struct weight { int stack, rows, cols; double w[MOST], memory[MEMORIES][MOST]; };
static int count(const struct weight *x) { return x->stack * x->rows * x->cols; }

/* What a step is told. made: what the op left in its memories. */
struct told { double lr, clip; int step; const double *grad; const real *made[MEMORIES]; };

/* An op with its inputs, and the same by hand. size: of each memory, 0: there is none. */
struct way {
    const char *name;
    int size[MEMORIES];
    struct node *(*build)(const struct way *way, struct graph *g, struct node *w, struct node *grad,
                          struct node *const *memory, struct node *lr, struct node *step, struct node *clip);
    void (*by_hand)(const struct way *way, struct weight *x, const struct told *t);
    union { struct adamw_attr adamw; struct lion_attr lion; struct sgd_attr sgd; struct muon_attr muon;
            struct schedule_free_attr schedule_free; struct adafactor_attr adafactor; struct dion_attr dion;
            struct soap_attr soap; };
    bool sphere;
};

/* ---- by hand ---- */

static double squares(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

/* w of one matrix along u */
static void move(double *w, double *u, int n, double lr, double scale, double decay, bool cautious, double *radius)
{
    if (!radius) {
        for (int i = 0; i < n; i++) w[i] -= lr * (scale * u[i] + (cautious && u[i] * w[i] < 0 ? 0 : decay) * w[i]);
        return;
    }
    if (*radius == 0) *radius = sqrt(squares(w, n));
    double length = sqrt(squares(u, n));
    for (int i = 0; i < n; i++) w[i] -= lr * scale * *radius * u[i] / length;
    length = sqrt(squares(w, n));
    for (int i = 0; i < n; i++) w[i] *= *radius / length;
}

static void adamw_by_hand(const struct way *way, struct weight *x, const struct told *t)
{
    const struct adamw_attr *a = &way->adamw;
    int size = x->rows * x->cols;
    for (int e = 0; e < x->stack; e++) {
        double *w = x->w + e * size, *m = x->memory[0] + e * size, *v = x->memory[1] + e * size, u[MOST], going = 0;
        for (int i = 0; i < size; i++) {
            double g = t->clip * t->grad[e * size + i], old = w[i], *top = x->memory[3] + e * size + i;
            if (a->lazy && g == 0) continue;
            m[i] = a->beta1 * m[i] + (1 - a->beta1) * g;
            v[i] = a->beta2 * v[i] + (1 - a->beta2) * g * g;
            *top = way->size[3] ? fmax(*top, v[i]) : v[i];
            double mean = m[i] / (1 - pow(a->beta1, t->step)), square = *top / (1 - pow(a->beta2, t->step));
            if (a->nesterov)
                mean = a->beta1 * m[i] / (1 - pow(a->beta1, t->step + 1)) +
                       (1 - a->beta1) * g / (1 - pow(a->beta1, t->step));
            u[i] = a->inside ? mean / sqrt(square + a->eps) : mean / (sqrt(square) + a->eps);
            if (!way->sphere && !a->masked) {
                double lr = t->lr * a->rate;
                w[i] = old - lr * u[i] - (a->cautious && u[i] * old < 0 ? 0 : lr * a->decay * old);
            }
            going += u[i] * g > 0;
        }
        for (int i = 0; a->masked && i < size; i++)
            u[i] *= u[i] * t->grad[e * size + i] > 0 ? 1 / fmax(going / size, 1e-3) : 0;
        if (way->sphere) move(w, u, size, t->lr, a->rate, 0, false, x->memory[2] + e);
        else if (a->masked) move(w, u, size, t->lr * a->rate, 1, a->decay, a->cautious, NULL);
    }
}

static void lion_by_hand(const struct way *way, struct weight *x, const struct told *t)
{
    const struct lion_attr *a = &way->lion;
    double *m = x->memory[0], lr = t->lr * a->rate;
    for (int i = 0; i < count(x); i++) {
        double g = t->clip * t->grad[i], c = a->beta1 * m[i] + (1 - a->beta1) * g;
        x->w[i] -= lr * ((c > 0 ? 1 : c < 0 ? -1 : 0) + a->decay * x->w[i]);
        m[i] = a->beta2 * m[i] + (1 - a->beta2) * g;
    }
}

static void sgd_by_hand(const struct way *way, struct weight *x, const struct told *t)
{
    const struct sgd_attr *a = &way->sgd;
    double *m = x->memory[0], lr = t->lr * a->rate;
    for (int i = 0; i < count(x); i++) {
        double g = t->clip * t->grad[i] + (a->coupled ? a->decay * x->w[i] : 0), u = g;
        if (way->size[0]) {
            m[i] = a->momentum * m[i] + g;
            u = a->nesterov ? g + a->momentum * m[i] : m[i];
        }
        x->w[i] -= lr * (u + (a->coupled ? 0 : a->decay * x->w[i]));
    }
}

/* x in memory 0, z - x in memory 1, v in 2; the sum of the shares, as it is here, over the last, in 3. */
static void schedule_free_by_hand(const struct way *way, struct weight *x, const struct told *t)
{
    const struct schedule_free_attr *a = &way->schedule_free;
    double lr = t->lr * a->rate * sqrt(1 - pow(a->beta2, t->step)), *mean = x->memory[3], largest = fmax(mean[2], lr),
           share = pow(t->step, a->power) * largest * largest, sum = mean[0] * mean[1] + share;
    for (int i = 0; i < count(x); i++) {
        double g = t->clip * t->grad[i], y = x->w[i], *v = x->memory[2] + i, old = x->memory[0][i],
               z = old + x->memory[1][i];
        *v = a->beta2 * *v + (1 - a->beta2) * g * g;
        z -= lr * (g / (sqrt(*v) + a->eps) + a->decay * y);
        double now = (1 - share / sum) * old + share / sum * z;
        x->memory[0][i] = now;
        x->memory[1][i] = z - now;
        x->w[i] = (1 - a->beta1) * z + a->beta1 * now;
    }
    memcpy(mean, (double[]){ sum / share, share, largest }, 3 * sizeof *mean);
}

/* Rows' moments in memory 0, columns' in 1, or values' in 2; m in 3. */
static void adafactor_by_hand(const struct way *way, struct weight *x, const struct told *t)
{
    const struct adafactor_attr *a = &way->adafactor;
    int rows = x->rows, cols = x->cols, size = rows * cols;
    double beta = 1 - pow(t->step, -a->power);
    for (int e = 0; e < x->stack; e++) {
        double *w = x->w + e * size, *row = x->memory[0] + e * rows, *col = x->memory[1] + e * cols, u[MOST], mean = 0;
        for (int i = 0; i < size; i++) u[i] = t->clip * t->grad[e * size + i];
        for (int r = 0; r < rows; r++) row[r] *= beta;
        for (int k = 0; k < cols; k++) col[k] *= beta;
        for (int i = 0; i < size; i++) {
            row[i / cols] += (1 - beta) * (u[i] * u[i] + a->tiny) / cols;
            col[i % cols] += (1 - beta) * (u[i] * u[i] + a->tiny) / rows;
        }
        for (int r = 0; r < rows; r++) mean += row[r] / rows;
        for (int i = 0; i < size; i++) {
            double *v = x->memory[2] + e * size + i;
            *v = way->size[2] ? beta * *v + (1 - beta) * (u[i] * u[i] + a->tiny) : row[i / cols] * col[i % cols] / mean;
            u[i] /= sqrt(*v);
        }
        double rms = sqrt(squares(u, size) / size), of_w = sqrt(squares(w, size) / size), lr = t->lr * a->rate;
        for (int i = 0; i < size; i++) {
            double *m = x->memory[3] + e * size + i;
            u[i] /= fmax(1, rms / a->most);
            if (way->size[3]) u[i] = *m = a->beta1 * *m + (1 - a->beta1) * u[i];
            w[i] -= lr * ((a->relative ? fmax(a->least, of_w) : 1) * u[i] + a->decay * w[i]);
        }
    }
}

/* The polynomials once more. */
static void polynomial(int kind, int step, int steps, double c[3])
{
    static const double jordan[3] = { 3.4445, -4.7750, 2.0315 }, cubic[3] = { 2, -1.5, .5 }, rows[2][5][3] = { {
        { 4.0848, -6.8946, 2.9270 }, { 3.9505, -6.3029, 2.6377 }, { 3.7418, -5.5913, 2.3037 },
        { 2.8769, -3.1427, 1.2046 }, { 2.8366, -3.0525, 1.2012 } }, {
        { 8.156554524902461, -22.48329292557795, 15.878769915207462 },
        { 4.042929935166739, -2.808917465908714, .5000178451051316 },
        { 3.8916678022926607, -2.772484153217685, .5060648178503393 },
        { 3.285753657755655, -2.3681294933425376, .46449024233003106 },
        { 2.3465413258596377, -1.7097828382687081, .42323551169305323 } } };
    bool has_row = kind == QUINTIC_TUNED || kind == QUINTIC_POLAR;
    const double *from = has_row ? rows[kind == QUINTIC_POLAR][step < 5 ? step : 4]
                         : kind == QUINTIC_EXACT && step >= steps - 2 ? cubic : jordan;
    memcpy(c, from, 3 * sizeof *c);
}

/* x := a x + b (x x^T) x + c (x x^T)^2 x, whatever its shape */
static void newton_schulz(double *x, int rows, int cols, const struct muon_attr *a)
{
    static double gram[MOST * 4], once[MOST], twice[MOST];
    double norm = sqrt(squares(x, rows * cols)), c[3];
    double by = a->quintics == QUINTIC_POLAR ? 1.02 * norm + 1e-6 : norm + 1e-7;
    for (int i = 0; i < rows * cols; i++) x[i] /= by;
    for (int step = 0; step < a->steps; step++) {
        polynomial((int)a->quintics, step, (int)a->steps, c);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < rows; j++) {
                double sum = 0;
                for (int k = 0; k < cols; k++) sum += x[i * cols + k] * x[j * cols + k];
                gram[i * rows + j] = sum;
            }
        for (int again = 0; again < 2; again++)
            for (int i = 0; i < rows; i++)
                for (int k = 0; k < cols; k++) {
                    double sum = 0;
                    for (int j = 0; j < rows; j++) sum += gram[i * rows + j] * (again ? once : x)[j * cols + k];
                    (again ? twice : once)[i * cols + k] = sum;
                }
        for (int i = 0; i < rows * cols; i++) x[i] = c[0] * x[i] + c[1] * once[i] + c[2] * twice[i];
    }
}

static void muon_by_hand(const struct way *way, struct weight *x, const struct told *t)
{
    const struct muon_attr *a = &way->muon;
    int heads = a->heads ? (int)a->heads : 1, rows = x->rows / heads, cols = x->cols, size = rows * cols;
    bool columns = a->neurons == NEURONS_SHORT && rows < cols;
    for (int e = 0; e < x->stack * heads; e++) {
        double *w = x->w + e * size, *m = x->memory[0] + e * size, u[MOST];
        for (int i = 0; i < size; i++) {
            double g = t->clip * t->grad[e * size + i];
            m[i] = a->momentum * m[i] + g;
            u[i] = a->nesterov ? g + a->momentum * m[i] : m[i];
        }
        double all = sqrt(squares(u, size));
        for (int r = 0; a->even && r < rows; r++) {
            double row = sqrt(squares(u + r * cols, cols));
            for (int k = 0; k < cols; k++) u[r * cols + k] *= all / sqrt(rows) / row;
        }
        newton_schulz(u, rows, cols, a);
        double before = sqrt(squares(u, size));
        int neurons = a->neurons == NEURONS_NONE ? 0 : columns ? cols : rows, width = columns ? rows : cols;
        for (int n = 0; n < neurons; n++) {
            double mean = 0, *v = x->memory[1] + e * neurons + n;
            for (int k = 0; k < width; k++) mean += pow(u[columns ? k * cols + n : n * cols + k], 2) / width;
            *v = a->beta2 * *v + (1 - a->beta2) * mean;
            for (int k = 0; k < width; k++) u[columns ? k * cols + n : n * cols + k] /= sqrt(fmax(*v, 1e-10));
        }
        double after = sqrt(squares(u, size)), length = a->snap ? sqrt(rows < cols ? rows : cols) : before;
        for (int i = 0; i < size; i++) u[i] *= length / after;
        move(w, u, size, t->lr, a->scale, a->decay, a->cautious, way->sphere ? x->memory[2] + e : NULL);
    }
}

/* c = a b, [m,n] = [m,k] [k,n]; a turned: it is [k,m], b: [n,k] */
static void multiply(double *c, const double *a, bool a_turned, const double *b, bool b_turned, int m, int n, int k)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int l = 0; l < k; l++)
                sum += a[a_turned ? l * m + i : i * k + l] * b[b_turned ? j * k + l : l * n + j];
            c[i * n + j] = sum;
        }
}

/* Gram and Schmidt, row by row, twice; a row with nothing new becomes 0. Which are alive. */
static unsigned gram_schmidt(double *x, int rows, int cols)
{
    unsigned alive = 0;
    for (int r = 0; r < rows; r++) {
        double *row = x + r * cols, before = sqrt(squares(row, cols)), length;
        for (int again = 0; again < 2; again++)
            for (int k = 0; k < r; k++) {
                double along = 0;
                for (int c = 0; c < cols; c++) along += row[c] * x[k * cols + c];
                for (int c = 0; c < cols; c++) row[c] -= along * x[k * cols + c];
            }
        length = sqrt(squares(row, cols));
        bool lives = length > 1e-12 * before;
        for (int c = 0; c < cols; c++) row[c] = lives ? row[c] / length : 0;
        alive |= (unsigned)lives << r;
    }
    return alive;
}

/* m in memory 0, q in 1. */
static void dion_by_hand(const struct way *way, struct weight *x, const struct told *t)
{
    const struct dion_attr *a = &way->dion;
    int rows = x->rows, cols = x->cols, size = rows * cols, rank = way->size[1] / x->stack / cols;
    for (int e = 0; e < x->stack; e++) {
        double *m = x->memory[0] + e * size, *q = x->memory[1] + e * rank * cols, p[MOST], next[MOST], taken[MOST],
               u[MOST];
        for (int i = 0; i < size; i++) m[i] += t->clip * t->grad[e * size + i];
        multiply(p, q, false, m, true, rank, rows, cols);
        unsigned alive = gram_schmidt(p, rank, rows);
        multiply(next, p, false, m, false, rank, cols, rows);
        multiply(taken, p, true, next, false, rows, cols, rank);
        for (int i = 0; i < size; i++) m[i] -= (1 - a->momentum) * taken[i];
        for (int r = 0; r < rank; r++) {
            double length = sqrt(squares(next + r * cols, cols));
            for (int c = 0; alive >> r & 1 && c < cols; c++) q[r * cols + c] = next[r * cols + c] / length;
        }
        multiply(u, p, true, q, false, rows, cols, rank);
        move(x->w + e * size, u, size, t->lr, a->scale, a->decay, false, NULL);
    }
}

enum { TAKEN = 2, LEFT, LEFT_BASIS, RIGHT, RIGHT_BASIS };   /* memories of soap, behind m and v */
static int soap_reordered;    /* power steps that changed an order */

/* Eigenvectors that the op found: orthonormal, and the factor along them is diagonal and goes down. */
static void check_basis(const double *basis, const double *factor, int n)
{
    double one[MOST], half[MOST], along[MOST];
    multiply(one, basis, false, basis, true, n, n, n);
    multiply(half, basis, false, factor, false, n, n, n);
    multiply(along, half, false, basis, true, n, n, n);
    for (int i = 0; i < n * n; i++) {
        assert_true(fabs(one[i] - (i / n == i % n)) < 1e-12);
        assert_true(i / n == i % n || fabs(along[i]) < 1e-12);
        assert_true(i == 0 || i / n != i % n || along[i] <= along[i - n - 1] + 1e-12);
    }
}

/* Of one side; v [rows,cols] follows. */
static void soap_side(const struct soap_attr *a, struct weight *x, const struct told *t, const double *g, double *v,
                      int e, bool left)
{
    int n = left ? x->rows : x->cols, order[MOST], taken = (int)x->memory[TAKEN][0];
    double *factor = x->memory[left ? LEFT : RIGHT] + e * n * n, outer[MOST], made[MOST], along[MOST], moved[MOST],
           *basis = x->memory[left ? LEFT_BASIS : RIGHT_BASIS] + e * n * n;
    multiply(outer, g, !left, g, left, n, n, left ? x->cols : x->rows);
    for (int i = 0; i < n * n; i++) factor[i] = a->factor_beta * factor[i] + (1 - a->factor_beta) * outer[i];
    if (taken == 0) {
        const real *found = t->made[left ? LEFT_BASIS : RIGHT_BASIS] + e * n * n;
        for (int i = 0; i < n * n; i++) basis[i] = (double)found[i];
        check_basis(basis, factor, n);
    }
    if (taken == 0 || taken % a->every != 0) return;
    multiply(made, basis, false, factor, false, n, n, n);
    for (int i = 0; i < n; i++) {
        along[i] = 0;
        for (int k = 0; k < n; k++) along[i] += basis[i * n + k] * made[i * n + k];
        order[i] = i;
    }
    for (int i = 0; i < n; i++)
        for (int k = 0; k + 1 < n; k++)
            if (along[order[k]] < along[order[k + 1]]) {
                int first = order[k];
                order[k] = order[k + 1];
                order[k + 1] = first;
                soap_reordered++;
            }
    for (int i = 0; i < n * n; i++) basis[i] = made[order[i / n] * n + i % n];
    gram_schmidt(basis, n, n);
    for (int i = 0; i < x->rows * x->cols; i++) {
        int r = i / x->cols, c = i % x->cols;
        moved[i] = v[left ? order[r] * x->cols + c : r * x->cols + order[c]];
    }
    memcpy(v, moved, (size_t)(x->rows * x->cols) * sizeof *v);
}

/* to = B from C^T, or back B^T from C */
static void soap_rotate(const struct way *way, struct weight *x, int e, bool back, const double *from, double *to)
{
    int rows = x->rows, cols = x->cols;
    double half[MOST];
    if (!way->size[LEFT]) memcpy(half, from, sizeof half);
    else multiply(half, x->memory[LEFT_BASIS] + e * rows * rows, back, from, false, rows, cols, rows);
    if (!way->size[RIGHT]) memcpy(to, half, sizeof half);
    else multiply(to, half, false, x->memory[RIGHT_BASIS] + e * cols * cols, !back, rows, cols, cols);
}

static void soap_by_hand(const struct way *way, struct weight *x, const struct told *t)
{
    const struct soap_attr *a = &way->soap;
    int size = x->rows * x->cols;
    double taken = x->memory[TAKEN][0];
    for (int e = 0; e < x->stack; e++) {
        double *m = x->memory[0] + e * size, *v = x->memory[1] + e * size, g[MOST] = { 0 }, u[MOST], mean[MOST] = { 0 };
        for (int i = 0; i < size; i++) g[i] = t->clip * t->grad[e * size + i];
        if (taken > 0) {
            soap_rotate(way, x, e, false, g, u);
            for (int i = 0; i < size; i++) {
                mean[i] = m[i] = a->beta1 * m[i] + (1 - a->beta1) * g[i];
                v[i] = a->beta2 * v[i] + (1 - a->beta2) * u[i] * u[i];
            }
            soap_rotate(way, x, e, false, mean, u);
            for (int i = 0; i < size; i++)
                u[i] = u[i] / (1 - pow(a->beta1, taken)) / (sqrt(v[i] / (1 - pow(a->beta2, taken))) + a->eps);
            soap_rotate(way, x, e, true, u, mean);
            move(x->w + e * size, mean, size, t->lr * a->rate, 1, a->decay, false, NULL);
        }
        if (way->size[LEFT]) soap_side(a, x, t, g, v, e, true);
        if (way->size[RIGHT]) soap_side(a, x, t, g, v, e, false);
    }
    x->memory[TAKEN][0]++;
}

/* ---- as ops ---- */

static struct node *adamw_build(const struct way *way, struct graph *g, struct node *w, struct node *grad,
                                struct node *const *memory, struct node *lr, struct node *step, struct node *clip)
{
    return adamw(g, w, grad, memory[0], memory[1], lr, step, clip, memory[2], memory[3],
                 way->adamw);
}

static struct node *lion_build(const struct way *way, struct graph *g, struct node *w, struct node *grad,
                               struct node *const *memory, struct node *lr, struct node *step, struct node *clip)
{
    (void)step;
    return lion(g, w, grad, memory[0], lr, clip, way->lion);
}

static struct node *sgd_build(const struct way *way, struct graph *g, struct node *w, struct node *grad,
                              struct node *const *memory, struct node *lr, struct node *step, struct node *clip)
{
    (void)step;
    return sgd(g, w, grad, lr, clip, memory[0], way->sgd);
}

static struct node *schedule_free_build(const struct way *way, struct graph *g, struct node *w, struct node *grad,
                                        struct node *const *memory, struct node *lr, struct node *step,
                                        struct node *clip)
{
    return schedule_free(g, w, grad, memory[0], memory[1], memory[2], memory[3], lr, step, clip, way->schedule_free);
}

static struct node *adafactor_build(const struct way *way, struct graph *g, struct node *w, struct node *grad,
                                    struct node *const *memory, struct node *lr, struct node *step, struct node *clip)
{
    return adafactor(g, w, grad, lr, step, clip, memory[0], memory[1], memory[2], memory[3], way->adafactor);
}

static struct node *muon_build(const struct way *way, struct graph *g, struct node *w, struct node *grad,
                               struct node *const *memory, struct node *lr, struct node *step, struct node *clip)
{
    (void)step;
    return muon(g, w, grad, memory[0], lr, clip, memory[1], memory[2], way->muon);
}

static struct node *dion_build(const struct way *way, struct graph *g, struct node *w, struct node *grad,
                               struct node *const *memory, struct node *lr, struct node *step, struct node *clip)
{
    (void)step;
    return dion(g, w, grad, memory[0], memory[1], lr, clip, way->dion);
}

static struct node *soap_build(const struct way *way, struct graph *g, struct node *w, struct node *grad,
                               struct node *const *memory, struct node *lr, struct node *step, struct node *clip)
{
    (void)step;
    struct soap x = { w, grad, memory[0], memory[1], lr, clip, memory[TAKEN], memory[LEFT], memory[LEFT_BASIS],
                      memory[RIGHT], memory[RIGHT_BASIS] };
    return soap(g, x, way->soap);
}

/* ---- both ---- */

static double draw(uint64_t stream, int i)
{
    return key_normal((struct key){ 3, PURPOSE_TEST, stream, 0 }, (uint64_t)i);
}

static void check(const char *name, const char *what, const struct run *r, const struct node *got, const double *want,
                  int step)
{
    const real *x = run_reals(r, got);
    for (int64_t i = 0; i < shape_count(got->shape); i++)
        if (!(fabs((double)x[i] - want[i]) <= 1e-9 * fmax(1, fabs(want[i]))))
            fail_msg("%s, step %d: %s %lld is %.12g, expected %.12g", name, step, what, (long long)i, (double)x[i],
                     want[i]);
}

struct both {
    struct run r;
    struct node *w, *grad, *memory[MEMORIES], *lr, *step, *clip, *change;
    struct weight by_hand;
};

static struct both both_new(const struct way *way, int stack, int rows, int cols)
{
    struct both b = { .r = run_new(), .by_hand = { .stack = stack, .rows = rows, .cols = cols } };
    struct graph *g = b.r.graph;
    struct shape shape = stack > 1 ? SHAPE(stack, rows, cols) : rows > 1 ? SHAPE(rows, cols) : SHAPE(cols);
    b.w = graph_input(g, "w", DTYPE_REAL, shape);
    b.grad = graph_input(g, "grad", DTYPE_REAL, shape);
    b.lr = graph_input(g, "lr", DTYPE_REAL, SHAPE(1));
    b.step = graph_input(g, "step", DTYPE_REAL, SHAPE(1));
    b.clip = graph_input(g, "clip", DTYPE_REAL, SHAPE(2));
    for (int k = 0; k < MEMORIES; k++) {
        char name[] = { 'm', (char)('0' + k), 0 };
        struct shape of = way->size[k] == stack * rows * cols ? shape : SHAPE(way->size[k]);
        if (way->size[k]) b.memory[k] = graph_input(g, name, DTYPE_REAL, of);
    }
    b.change = way->build(way, g, b.w, b.grad, b.memory, b.lr, b.step, b.clip);
    run_start(&b.r, 1);
    for (int i = 0; i < count(&b.by_hand); i++) run_reals(&b.r, b.w)[i] = (real)(b.by_hand.w[i] = draw(1, i));
    for (int k = 0; k < MEMORIES; k++)
        for (int i = 0; i < way->size[k]; i++) run_reals(&b.r, b.memory[k])[i] = 0;
    for (int i = 0; way->by_hand == schedule_free_by_hand && i < count(&b.by_hand); i++)
        run_reals(&b.r, b.memory[0])[i] = (real)(b.by_hand.memory[0][i] = b.by_hand.w[i]);
    for (int i = 0; way->by_hand == dion_by_hand && i < way->size[1]; i++)
        run_reals(&b.r, b.memory[1])[i] = (real)(b.by_hand.memory[1][i] = draw(2, i));
    return b;
}

/* A skipped step has gradients that are no numbers. */
static void both_step(struct both *b, const struct way *way, int step)
{
    double grad[MOST], before[MOST], changed = 0, along = 0;
    struct told told = { .lr = 0.02 * (step + 1), .clip = 0.7, .step = step + 1, .grad = grad };
    int n = count(&b->by_hand);
    memcpy(before, b->by_hand.w, sizeof before);
    for (int i = 0; i < n; i++) {
        grad[i] = i % 7 == step ? 0 : draw(10 + (uint64_t)step, i);
        run_reals(&b->r, b->grad)[i] = step == SKIPPED ? (real)NAN : (real)grad[i];
    }
    run_fill(&b->r, b->lr, told.lr);
    run_fill(&b->r, b->step, told.step);
    run_fill(&b->r, b->clip, told.clip, step != SKIPPED);
    run_forward(&b->r);
    for (int k = 0; k < MEMORIES; k++) if (b->memory[k]) told.made[k] = run_reals(&b->r, b->memory[k]);
    if (step != SKIPPED) way->by_hand(way, &b->by_hand, &told);
    for (int i = 0; i < n; i++) changed += pow(b->by_hand.w[i] - before[i], 2);
    bool asked = way->by_hand != adamw_by_hand || way->adamw.along;
    for (int i = 0; asked && i < n; i++) along += (b->by_hand.w[i] - before[i]) * before[i];
    check(way->name, "weight", &b->r, b->w, b->by_hand.w, step);
    for (int k = 0; k < MEMORIES; k++)
        if (b->memory[k]) check(way->name, "memory", &b->r, b->memory[k], b->by_hand.memory[k], step);
    double sums[] = { changed, step == SKIPPED ? 0 : squares(before, n), along };
    check(way->name, "sum", &b->r, b->change, sums, step);
}

static void compare(const struct way *way, int stack, int rows, int cols)
{
    struct both b = both_new(way, stack, rows, cols);
    for (int step = 0; step < STEPS; step++) both_step(&b, way, step);
    run_free(&b.r);
}

static void test_values_by_themselves(void **state)
{
    (void)state;
    enum { N = 45 };
#define ADAM .beta1 = .9, .beta2 = .95, .eps = 1e-3, .decay = .1, .rate = 1.5, .along = 1
    static const struct way way[] = {
        { "adamw", { N, N }, adamw_build, adamw_by_hand, { { ADAM } }, false },
        { "nesterov", { N, N }, adamw_build, adamw_by_hand, { { ADAM, .nesterov = 1 } }, false },
        { "eps inside", { N, N }, adamw_build, adamw_by_hand, { { ADAM, .inside = 1 } }, false },
        { "cautious", { N, N }, adamw_build, adamw_by_hand, { { ADAM, .cautious = 1 } }, false },
        { "lazy", { N, N }, adamw_build, adamw_by_hand, { { ADAM, .lazy = 1 } }, false },
        { "amsgrad", { N, N, 0, N }, adamw_build, adamw_by_hand, { { ADAM } }, false },
        { "lazy amsgrad", { N, N, 0, N }, adamw_build, adamw_by_hand, { { ADAM, .lazy = 1, .inside = 1 } }, false },
        { "masked", { N, N }, adamw_build, adamw_by_hand, { { ADAM, .masked = 1 } }, false },
        { "masked, ahead", { N, N, 0, N }, adamw_build, adamw_by_hand,
          { { ADAM, .masked = 1, .nesterov = 1, .cautious = 1 } }, false },
        { "lion", { N }, lion_build, lion_by_hand, { .lion = { .9, .99, .1, 1.5 } }, false },
        { "schedule-free", { N, N, N, 3 }, schedule_free_build, schedule_free_by_hand,
          { .schedule_free = { .9, .99, 1e-3, .1, 1.5, 0 } }, false },
        { "schedule-free, power", { N, N, N, 3 }, schedule_free_build, schedule_free_by_hand,
          { .schedule_free = { .9, .99, 1e-3, .1, 1.5, 2 } }, false },
        { "sgd", { 0 }, sgd_build, sgd_by_hand, { .sgd = { 0, .1, 1.5, 0, 0 } }, false },
        { "sgd, coupled", { 0 }, sgd_build, sgd_by_hand, { .sgd = { 0, .1, 1.5, 0, 1 } }, false },
        { "momentum", { N }, sgd_build, sgd_by_hand, { .sgd = { .9, .1, 1.5, 0, 0 } }, false },
        { "momentum, coupled", { N }, sgd_build, sgd_by_hand, { .sgd = { .9, .1, 1.5, 0, 1 } }, false },
        { "nesterov's", { N }, sgd_build, sgd_by_hand, { .sgd = { .9, .1, 1.5, 1, 0 } }, false },
    };
    for (int i = 0; i < COUNT(way); i++) {
        struct way less = way[i];
        compare(&way[i], 1, 5, 9);
        if (way[i].by_hand != adamw_by_hand) continue;
        less.adamw.along = 0;
        compare(&less, 1, 5, 9);
    }
}

static void test_adam_on_spheres(void **state)
{
    (void)state;
    const struct way way = { "sphere", { 72, 72, 2 }, adamw_build, adamw_by_hand, { { ADAM, .nesterov = 1 } }, true };
    compare(&way, 2, 4, 9);
    const struct way masked = { "masked on a sphere", { 72, 72, 2, 72 }, adamw_build, adamw_by_hand,
                                { { ADAM, .masked = 1 } }, true };
    compare(&masked, 2, 4, 9);
}

/* Each matrix of a stack by its own mask. */
static void test_masks_of_a_stack(void **state)
{
    (void)state;
    const struct way way = { "masked stack", { 60, 60 }, adamw_build, adamw_by_hand, { { ADAM, .masked = 1 } }, false };
    compare(&way, 3, 4, 5);
}

/* Ranks of a stack, and one as large as can be; the rows of which three have nothing new. */
static void test_dion(void **state)
{
    (void)state;
    static const int shape[][4] = { { 1, 7, 4, 2 }, { 1, 4, 7, 4 }, { 3, 5, 5, 3 }, { 2, 3, 6, 1 }, { 1, 1, 9, 1 } };
    for (int k = 0; k < COUNT(shape); k++) {
        int stack = shape[k][0], rows = shape[k][1], cols = shape[k][2];
        struct way way = { .name = "dion", .size = { stack * rows * cols, stack * shape[k][3] * cols },
                           .build = dion_build, .by_hand = dion_by_hand, .dion = { .9, .1, .3 } };
        compare(&way, stack, rows, cols);
    }
}

static struct way soap_way(int stack, int rows, int cols, bool left, bool right)
{
    int n = stack * rows * cols, l = left ? stack * rows * rows : 0, r = right ? stack * cols * cols : 0;
    return (struct way){ .name = "soap", .size = { n, n, 1, l, l, r, r }, .build = soap_build, .by_hand = soap_by_hand,
                         .soap = { .9, .95, .8, 1e-3, .1, 1.5, 2 } };
}

/* Sides that are rotated: both, one, none. */
static void test_soap(void **state)
{
    (void)state;
    static const int shape[][3] = { { 1, 4, 7 }, { 1, 7, 4 }, { 2, 5, 3 }, { 1, 5, 5 }, { 3, 1, 4 } };
    for (int k = 0; k < COUNT(shape); k++)
        for (int sides = 0; sides < 4; sides++) {
            if (shape[k][1] == 1 && sides > 1) continue;    /* three gradients do not fill the other side */
            struct way way = soap_way(shape[k][0], shape[k][1], shape[k][2], sides & 1, sides & 2);
            compare(&way, shape[k][0], shape[k][1], shape[k][2]);
        }
    assert_true(soap_reordered > 0);
}

/* ---- what is remembered in fewer bits, in a table of its own ---- */

static double to_bf16(double x)
{
    int exponent;
    double digits = frexp(x, &exponent);
    return ldexp(nearbyint(ldexp(digits, 8)), exponent - 8);
}

/* The bins of the dynamic code, from below: where each begins, and what it stands for. */
static int code_bins(bool positive, double begins[256], double stands[256])
{
    int n = 0;
    for (int decade = 0; decade < 7; decade++) {
        int bins = (positive ? 2 : 1) << decade;
        for (int i = 0; i < bins; i++) {
            begins[n] = pow(10, decade - 6) * (.1 + .9 * i / bins);
            stands[n++] = pow(10, decade - 6) * (.1 + .9 * (i + .5) / bins);
        }
    }
    stands[n - 1] = 1;
    begins[0] = positive ? 0 : .275e-6;
    return n;
}

static void to_codes(double *x, int n, bool positive)
{
    double begins[256], stands[256];
    int bins = code_bins(positive, begins, stands);
    for (int at = 0; at < n; at += 256) {
        int some = n - at < 256 ? n - at : 256;
        double largest = 0;
        for (int i = 0; i < some; i++) largest = fmax(largest, fabs(x[at + i]));
        largest = (float)largest;
        for (int i = 0; i < some; i++) {
            double share = largest > 0 ? fabs(x[at + i]) / largest : 0, value = 0;
            for (int k = 0; k < bins; k++) if (share > begins[k]) value = stands[k] * largest;
            x[at + i] = copysign(value, x[at + i]);
        }
    }
}

/* A double rounded twice is not one rounded once, to bf16: what is remembered is a float first. */
static void narrow(double *x, int n, int as, bool positive)
{
    if (as == MOMENT_INT8) to_codes(x, n, positive);
    for (int i = 0; as == MOMENT_BF16 && i < n; i++) x[i] = to_bf16((double)(float)x[i]);
}

enum { CODED = 500 };    /* two blocks, of which one is not full */

static struct node *coded_in(struct graph *g, const char *name, int as, int stack)
{
    int blocks = stack * ((CODED / stack + 255) / 256);
    return graph_input(g, name, DTYPE_U8, as == MOMENT_BF16 ? SHAPE(CODED, 2) : SHAPE(blocks, MOMENT_BYTES));
}

/* Memories that the way has; those behind the first have no sign. */
static void narrow_steps(int as, const struct way *way)
{
    struct both b = { .r = run_new(), .by_hand = { .stack = 1, .rows = 20, .cols = 25 } };
    struct graph *g = b.r.graph;
    if (way->by_hand == muon_by_hand) b.by_hand.stack = 5, b.by_hand.rows = 4;
    int stack = b.by_hand.stack;
    b.w = graph_input(g, "w", DTYPE_REAL, SHAPE(stack, b.by_hand.rows, b.by_hand.cols));
    b.grad = graph_input(g, "grad", DTYPE_REAL, b.w->shape);
    b.lr = graph_input(g, "lr", DTYPE_REAL, SHAPE(1));
    b.step = graph_input(g, "step", DTYPE_REAL, SHAPE(1));
    b.clip = graph_input(g, "clip", DTYPE_REAL, SHAPE(2));
    struct node *memory[MEMORIES] = { 0 };
    for (int k = 0; k < MEMORIES; k++)
        if (way->size[k]) memory[k] = coded_in(g, (char[]){ 'm', (char)('0' + k), 0 }, as, stack);
    b.change = way->build(way, g, b.w, b.grad, memory, b.lr, b.step, b.clip);
    run_start(&b.r, 1);
    for (int i = 0; i < CODED; i++) run_reals(&b.r, b.w)[i] = (real)(b.by_hand.w[i] = draw(1, i));
    for (int k = 0; k < MEMORIES; k++)
        if (memory[k]) memset(run_value(&b.r, memory[k]).data, 0, (size_t)shape_count(memory[k]->shape));
    for (int step = 0; step < STEPS; step++) {
        both_step(&b, way, step);
        for (int k = 0; k < MEMORIES && step != SKIPPED; k++)
            for (int e = 0; way->size[k] && e < stack; e++)
                narrow(b.by_hand.memory[k] + e * CODED / stack, CODED / stack, as, k > 0);
    }
    run_free(&b.r);
}

static void test_fewer_bits(void **state)
{
    (void)state;
    static const struct way way[] = {
        { "adamw of fewer bits", { CODED, CODED }, adamw_build, adamw_by_hand, { { ADAM } }, false },
        { "amsgrad of fewer bits", { CODED, CODED, 0, CODED }, adamw_build, adamw_by_hand,
          { { ADAM, .nesterov = 1 } }, false },
        { "masked of fewer bits", { CODED, CODED, 0, CODED }, adamw_build, adamw_by_hand,
          { { ADAM, .nesterov = 1, .masked = 1 } }, false },
        { "lion of fewer bits", { CODED }, lion_build, lion_by_hand, { .lion = { .9, .99, .1, 1.5 } }, false },
        { "momentum of fewer bits", { CODED }, sgd_build, sgd_by_hand, { .sgd = { .9, .1, 1.5, 0, 1 } }, false },
        { "nesterov's of fewer bits", { CODED }, sgd_build, sgd_by_hand, { .sgd = { .9, .1, 1.5, 1, 0 } }, false },
        { "muon of fewer bits", { CODED }, muon_build, muon_by_hand,
          { .muon = { .momentum = .9, .decay = .1, .scale = .3, .nesterov = 1, .steps = 5 } }, false },
        { "a length of fewer bits", { CODED }, muon_build, muon_by_hand,
          { .muon = { .momentum = .9, .decay = .1, .scale = .3 } }, false },
    };
    for (int as = MOMENT_BF16; as <= MOMENT_INT8; as++)
        for (int i = 0; i < COUNT(way); i++) narrow_steps(as, &way[i]);
}

static void test_adafactor(void **state)
{
    (void)state;
    static const int shape[][3] = { { 1, 5, 7 }, { 3, 4, 3 }, { 1, 1, 9 } };
    for (int k = 0; k < COUNT(shape); k++)
        for (int i = 0; i < 8; i++) {
            int stack = shape[k][0], rows = shape[k][1], cols = shape[k][2], n = stack * rows * cols;
            struct way way = { .name = "adafactor", .build = adafactor_build, .by_hand = adafactor_by_hand,
                               .adafactor = { .power = .8, .tiny = 1e-30, .most = i & 1 ? .1 : 1, .least = 1e-3,
                                              .beta1 = .9, .decay = .1, .rate = 1.5, .relative = i >> 1 & 1 } };
            if (k < 2) way.size[0] = stack * rows, way.size[1] = stack * cols;
            else way.size[2] = n;
            if (i & 4) way.size[3] = n;
            compare(&way, stack, rows, cols);
        }
}

/* Every polynomial, with and without each of what surrounds it, on tall, wide, stacked matrices and a vector. */
static void test_matrices(void **state)
{
    (void)state;
    static const int shape[][3] = { { 1, 7, 4 }, { 1, 4, 7 }, { 3, 5, 5 }, { 2, 3, 6 }, { 1, 1, 6 } };
    for (int k = 0; k < COUNT(shape); k++)
        for (int i = 0; i < 4 * 2 * 3 * 2 * 2; i++) {
            int stack = shape[k][0], rows = shape[k][1], cols = shape[k][2], kind = i % 4, rest = i / 4;
            struct way way = { .name = "muon", .build = muon_build, .by_hand = muon_by_hand, .muon = {
                .momentum = .9, .decay = .1, .scale = .3, .beta2 = .8, .quintics = kind, .steps = kind % 2 ? 5 : 7,
                .nesterov = k % 2, .even = rest % 2, .neurons = rest / 2 % 3, .snap = rest / 6 % 2,
                .cautious = k % 2 } };
            int lines = way.muon.neurons == NEURONS_SHORT && rows < cols ? cols : rows;
            way.sphere = rest / 12;
            if (k == 0 && kind == 0) way.muon.steps = 0;
            way.size[0] = stack * rows * cols;
            if (way.muon.neurons) way.size[1] = stack * lines;
            if (way.sphere) way.size[2] = stack;
            compare(&way, stack, rows, cols);
        }
}

/* Heads are matrices of a stack: of 3 x 2 heads, with what each remembers. */
static void test_heads(void **state)
{
    (void)state;
    for (int i = 0; i < 3 * 2; i++) {
        struct way way = { .name = "heads", .build = muon_build, .by_hand = muon_by_hand, .muon = {
            .momentum = .9, .decay = .1, .scale = .3, .beta2 = .8, .steps = 5, .nesterov = 1, .neurons = i % 3,
            .heads = 2 }, .sphere = i / 3 };
        way.size[0] = 3 * 4 * 5;
        if (i % 3) way.size[1] = i % 3 == NEURONS_SHORT ? 6 * 5 : 6 * 2;
        if (way.sphere) way.size[2] = 6;
        compare(&way, 3, 4, 5);
    }
}

/* ---- numbers from elsewhere ---- */

/* One step from w with momentum and memory of zero. */
static void once(const struct way *way, int rows, int cols, const double *w, const double *grad, double lr,
                 double *made)
{
    struct both b = both_new(way, 1, rows, cols);
    for (int i = 0; i < rows * cols; i++) {
        run_reals(&b.r, b.w)[i] = w ? (real)w[i] : 0;
        run_reals(&b.r, b.grad)[i] = (real)grad[i];
    }
    run_fill(&b.r, b.lr, lr);
    run_fill(&b.r, b.step, 1);
    run_fill(&b.r, b.clip, 1, 1);
    run_forward(&b.r);
    for (int i = 0; i < rows * cols; i++) made[i] = (double)run_reals(&b.r, b.w)[i];
    run_free(&b.r);
}

static void golden(const char *name, const double *got, int n, const double *want, double tolerance)
{
    for (int i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance))
            fail_msg("%s: value %d is %.9g, not %.9g", name, i, got[i], want[i]);
}

static void wave(double *x, int n, double a, double b) { for (int i = 0; i < n; i++) x[i] = sin(a * i + b); }

/* Muon's direction: from 0 with lr 1 and scale -1. */
static struct way direction(struct muon_attr a, int size, int neurons)
{
    a.momentum = .95;
    a.scale = -1;
    return (struct way){ .name = "direction", .size = { size, neurons }, .build = muon_build, .by_hand = muon_by_hand,
                         .muon = a };
}

static void test_polar_express(void **state)
{
    (void)state;
    static const double want[] = { .354206, .596137, .557695, .256961, .12452, -.2016, -.432904, -.460607, -.588858,
                                   -.216234, .258089, .611028 };
    struct muon_attr polar = { .quintics = QUINTIC_POLAR, .steps = 5 };
    struct way way = direction(polar, 12, 0);
    double grad[12], made[12], rank_one[12], length, c[3];
    wave(grad, 12, .7, .1);
    once(&way, 3, 4, NULL, grad, 1, made);
    golden("polar", made, 12, want, 2e-6);
    for (int i = 0; i < 12; i++) grad[i] = (i / 4 + 1) * (i % 4 - 1.5);
    length = sqrt(squares(grad, 12));
    double s = length / (1.02 * length + 1e-6);             /* the only singular value */
    for (int step = 0; step < 5; step++) {
        polynomial(QUINTIC_POLAR, step, 5, c);
        s = c[0] * s + c[1] * pow(s, 3) + c[2] * pow(s, 5);
    }
    assert_true(fabs(s - .903566) < 2e-5);                  /* which goes by the norm, a little */
    for (int i = 0; i < 12; i++) rank_one[i] = s * grad[i] / length;
    once(&way, 3, 4, NULL, grad, 1, made);
    golden("polar of rank 1", made, 12, rank_one, 1e-9);
}

/* Singular values .., and one that makes the norm 1. */
static void test_polynomials_of_numbers(void **state)
{
    (void)state;
    static const struct { int kind, steps; double tolerance, of[4][2]; } set[] = {
        { QUINTIC_TUNED, 5, 1e-5, { { 1, .97835 }, { .1, 1.01905 }, { .003, 1.07514 }, { .001, .47498 } } },
        { QUINTIC_EXACT, 10, 1e-6, { { 1, 1.000014 }, { .5, 1.000163 }, { .003, 1.000362 }, { 1, 1.000014 } } },
    };
    for (int s = 0; s < COUNT(set); s++)
        for (int i = 0; i < 4; i++) {
            double a = set[s].of[i][0], grad[4] = { a, 0, 0, sqrt(1 - a * a) }, made[4];
            struct way way = direction((struct muon_attr){ .quintics = set[s].kind, .steps = set[s].steps }, 4, 0);
            once(&way, 2, 2, NULL, grad, 1, made);
            golden("a number", made, 1, &set[s].of[i][1], set[s].tolerance);
        }
}

static void test_neurons(void **state)
{
    (void)state;
    static const double want[][12] = {
        { .323522, .544494, .509382, .2347, .156048, -.252644, -.542513, -.57723, -.545667, -.200374, .239159,
          .566211 },
        { .371591, .656368, .543565, .233233, .130632, -.221968, -.421936, -.418074, -.617759, -.238081, .25155,
          .554605 },
    };
    double grad[12], made[12];
    wave(grad, 12, .7, .1);
    for (int short_axis = 0; short_axis < 2; short_axis++) {
        struct muon_attr a = { .quintics = QUINTIC_POLAR, .steps = 5, .beta2 = .95,
                               .neurons = short_axis ? NEURONS_SHORT : NEURONS_ROW };
        struct way way = direction(a, 12, short_axis ? 4 : 3);
        once(&way, 3, 4, NULL, grad, 1, made);
        golden(short_axis ? "short axis" : "rows", made, 12, want[short_axis], 2e-6);
    }
}

static void test_sphere(void **state)
{
    (void)state;
    static const double want[] = { .188255, .629499, .921256, .991794, .811533, .438208, -.043973, -.518755, -.85917,
                                   -1.001532, -.900366, -.576752 };
    struct way way = direction((struct muon_attr){ .quintics = QUINTIC_POLAR, .steps = 5 }, 12, 0);
    double grad[12], w[12], made[12], louder[12], along = 0, radius;
    wave(grad, 12, .7, .1);
    wave(w, 12, .5, .2);
    way.size[2] = 1;
    way.sphere = true;
    way.muon.scale = 1;
    once(&way, 3, 4, w, grad, .02, made);
    golden("MuonH", made, 12, want, 2e-6);
    radius = sqrt(squares(w, 12));
    assert_true(fabs(radius - 2.504051) < 2e-6 && fabs(sqrt(squares(made, 12)) - radius) < 1e-12);
    once(&way, 3, 4, w, grad, 0, made);
    golden("a rate of 0", made, 12, w, 1e-15);
    /* A direction across w turns it by atan(lr), whatever its size. */
    way.muon.steps = way.muon.quintics = 0;
    for (int i = 0; i < 12; i++) along += grad[i] * w[i];
    for (int i = 0; i < 12; i++) grad[i] -= along / squares(w, 12) * w[i];
    once(&way, 3, 4, w, grad, .02, made);
    along = 0;
    for (int i = 0; i < 12; i++) along += made[i] * w[i] / (radius * radius);
    assert_true(fabs(acos(along) - atan(.02)) < 1e-7);
    for (int i = 0; i < 12; i++) grad[i] *= 1000;
    once(&way, 3, 4, w, grad, .02, louder);
    golden("a larger gradient", louder, 12, made, 1e-9);
}

static void test_signs_and_caution(void **state)
{
    (void)state;
    struct both b;
    struct way way = { "lion", { 3 }, lion_build, lion_by_hand, { .lion = { .9, .99, 0, 1 } }, false };
    b = both_new(&way, 1, 1, 3);
    run_fill(&b.r, b.w, 0, 0, 0);
    run_fill(&b.r, b.memory[0], .1, -.2, 0);
    run_fill(&b.r, b.grad, -.3, .1, .5);
    run_fill(&b.r, b.lr, 1);
    run_fill(&b.r, b.clip, 1, 1);
    run_forward(&b.r);
    assert_reals(run_reals(&b.r, b.w), 0, -1, 1, -1);
    assert_reals(run_reals(&b.r, b.memory[0]), 1e-12, .096, -.197, .005);
    run_free(&b.r);
    /* u is (.5, -.2, 0, .3) / its norm, and scale that norm. */
    double norm = sqrt(.25 + .04 + .09), made[4];
    way = direction((struct muon_attr){ .cautious = 1, .decay = .1 }, 4, 0);
    way.muon.scale = norm + 1e-7;
    once(&way, 1, 4, (double[]){ 1, 1, -2, -1 }, (double[]){ .5, -.2, 0, .3 }, .1, made);
    golden("cautious", made, 4, (double[]){ .94, 1.02, -1.98, -1.03 }, 1e-12);
}

/* z, x and y of a number whose gradient is itself; without beta1, y is z. */
static void test_schedule_free(void **state)
{
    (void)state;
    static const double want[][3] = { { .9, .9, .9 }, { .805392, .836938, .833784 }, { .714144, .775562, .76942 } };
    for (int bare = 0; bare < 2; bare++) {
        struct way way = { "schedule-free", { 1, 1, 1, 3 }, schedule_free_build, schedule_free_by_hand,
                           { .schedule_free = { bare ? 0 : .9, .999, 1e-8, 0, 1, 0 } }, false };
        struct both b = both_new(&way, 1, 1, 1);
        real *x = run_reals(&b.r, b.memory[0]), *lead = run_reals(&b.r, b.memory[1]), *y = run_reals(&b.r, b.w);
        *x = *y = 1;
        run_fill(&b.r, b.lr, .1);
        run_fill(&b.r, b.clip, 1, 1);
        for (int i = 0; i < 3; i++) {
            run_fill(&b.r, b.grad, (double)*y);
            run_fill(&b.r, b.step, i + 1);
            run_forward(&b.r);
            if (bare) assert_true(*y == *x + *lead);
            else golden("z, x, y", (double[]){ (double)(*x + *lead), (double)*x, (double)*y }, 3, want[i], 2e-6);
        }
        run_free(&b.r);
    }
}

/* Momentum's length is all that counts: a step is lr long; on rank 1 it is what exact orthogonalisation makes. */
static void test_normalised_momentum(void **state)
{
    (void)state;
    struct way bare = direction((struct muon_attr){ .steps = 0 }, 12, 0),
               exact = direction((struct muon_attr){ .steps = 10, .quintics = QUINTIC_EXACT }, 12, 0);
    double grad[12], made[12], orthogonal[12];
    wave(grad, 12, 1.7, .4);
    once(&bare, 3, 4, NULL, grad, .3, made);
    assert_true(fabs(sqrt(squares(made, 12)) - .3) < 1e-7);
    for (int i = 0; i < 12; i++) grad[i] = (i / 4 - 1.2) * (i % 4 + 1);
    once(&bare, 3, 4, NULL, grad, 1, made);
    once(&exact, 3, 4, NULL, grad, 1, orthogonal);
    golden("rank 1", made, 12, orthogonal, 1e-3);
}

/* From no momentum; and what rank 1 gives is exact, whatever the rank that is allowed. */
static void test_dion_golden(void **state)
{
    (void)state;
    static const double want[] = { .378102, .533221, .437557, .136103, .13572, -.164114, -.386763, -.427511, -.63386,
                                   -.223957, .291276, .669517 };
    struct way way = { .name = "dion", .size = { 12, 8 }, .build = dion_build, .by_hand = dion_by_hand,
                       .dion = { .95, 0, -1 } };
    for (int rank_one = 0; rank_one < 2; rank_one++) {
        struct both b = both_new(&way, 1, 3, 4);
        double columns[8], q[8], grad[12], made[12], length;
        wave(columns, 8, .3, .1);
        for (int i = 0; i < 8; i++) q[i] = columns[i % 4 * 2 + i / 4];
        gram_schmidt(q, 2, 4);
        wave(grad, 12, .7, .1);
        for (int i = 0; i < 12 && rank_one; i++) grad[i] = (i / 4 + 1) * (i % 4 - 1.5);
        run_values(&b.r, b.w, 12, (double[12]){ 0 });
        run_values(&b.r, b.memory[1], 8, q);
        run_values(&b.r, b.grad, 12, grad);
        run_fill(&b.r, b.lr, 1);
        run_fill(&b.r, b.clip, 1, 1);
        run_forward(&b.r);
        for (int i = 0; i < 12; i++) made[i] = (double)run_reals(&b.r, b.w)[i];
        length = sqrt(squares(grad, 12));
        for (int i = 0; i < 12; i++) grad[i] /= length;
        if (rank_one) golden("dion of rank 1", made, 12, grad, 1e-12);
        else golden("dion", made, 12, want, 2e-6);
        run_free(&b.r);
    }
}

/* A step of dion from 0 after so many without a gradient. */
static void dion_after(int rests, double *made)
{
    struct way way = { .name = "dion", .size = { 12, 8 }, .build = dion_build, .by_hand = dion_by_hand,
                       .dion = { .95, 0, -1 } };
    struct both b = both_new(&way, 1, 3, 4);
    double grad[12] = { 0 };
    run_fill(&b.r, b.lr, 1);
    run_fill(&b.r, b.clip, 1, 1);
    run_values(&b.r, b.w, 12, grad);
    for (int step = 0; step <= rests; step++) {
        if (step == rests) wave(grad, 12, .7, .1);
        run_values(&b.r, b.grad, 12, grad);
        run_forward(&b.r);
        for (int i = 0; i < 12; i++) made[i] = (double)run_reals(&b.r, b.w)[i];
        assert_true((squares(made, 12) == 0) == (step < rests));
    }
    run_free(&b.r);
}

/* Nothing is moved or forgotten by what has no gradient, as an expert without tokens. */
static void test_dion_at_rest(void **state)
{
    (void)state;
    double first[12], late[12];
    dion_after(0, first);
    dion_after(3, late);
    assert_memory_equal(first, late, sizeof first);
}

/* Steps of soap over gradients of [n,n], each P g Q^T; w from 0. steps of the first, which moves nothing, included. */
static void soap_steps(int n, int steps, const double *p, const double *q, double *w)
{
    struct way way = soap_way(1, n, n, true, true);
    way.soap = (struct soap_attr){ .9, .95, .9, 1e-8, 0, 1, 2 };
    struct both b = both_new(&way, 1, n, n);
    run_values(&b.r, b.w, n * n, (double[MOST]){ 0 });
    run_fill(&b.r, b.lr, .1);
    run_fill(&b.r, b.clip, 1, 1);
    for (int step = 0; step < steps; step++) {
        double grad[MOST], half[MOST];
        for (int i = 0; i < n * n; i++) grad[i] = draw(30 + (uint64_t)step, i);
        multiply(half, p, false, grad, false, n, n, n);
        multiply(grad, half, false, q, true, n, n, n);
        run_values(&b.r, b.grad, n * n, grad);
        run_forward(&b.r);
    }
    for (int i = 0; i < n * n; i++) w[i] = (double)run_reals(&b.r, b.w)[i];
    run_free(&b.r);
}

/* Rotated gradients give rotated steps: no basis but the gradients' own is anywhere in it. */
static void test_soap_and_rotations(void **state)
{
    (void)state;
    enum { N = 5 };
    double one[MOST] = { 0 }, p[MOST], q[MOST], plain[MOST], rotated[MOST], half[MOST], want[MOST];
    for (int i = 0; i < N * N; i++) {
        one[i] = i / N == i % N;
        p[i] = draw(40, i);
        q[i] = draw(41, i);
    }
    gram_schmidt(p, N, N);
    gram_schmidt(q, N, N);
    soap_steps(N, 6, one, one, plain);
    soap_steps(N, 6, p, q, rotated);
    multiply(half, p, false, plain, false, N, N, N);
    multiply(want, half, false, q, true, N, N, N);
    golden("rotated", rotated, N * N, want, 1e-9);
    assert_true(sqrt(squares(plain, N * N)) > .1);
}

/* Of a number, Adam, a step late. */
static void test_soap_of_a_number(void **state)
{
    (void)state;
    double one = 1, late;
    struct way way = { "adam", { 1, 1 }, adamw_build, adamw_by_hand,
                       { { .beta1 = .9, .beta2 = .95, .eps = 1e-8, .rate = 1 } }, false };
    soap_steps(1, 1, &one, &one, &late);
    assert_true(late == 0);
    soap_steps(1, 6, &one, &one, &late);
    struct both b = both_new(&way, 1, 1, 1);
    run_fill(&b.r, b.w, 0);
    run_fill(&b.r, b.lr, .1);
    run_fill(&b.r, b.clip, 1, 1);
    for (int step = 1; step < 6; step++) {
        run_fill(&b.r, b.grad, draw(30 + (uint64_t)step, 0));
        run_fill(&b.r, b.step, step);
        run_forward(&b.r);
    }
    assert_true(fabs((double)run_reals(&b.r, b.w)[0] - late) < 1e-14);
    run_free(&b.r);
}

/* In its own basis a gradient is diagonal, and so is the second moment of that gradient once more. */
static void test_soap_of_one_gradient(void **state)
{
    (void)state;
    enum { N = 5 };
    struct way way = soap_way(1, N, N, true, true);
    struct both b = both_new(&way, 1, N, N);
    double grad[N * N];
    for (int i = 0; i < N * N; i++) grad[i] = draw(30, i);
    run_values(&b.r, b.grad, N * N, grad);
    run_fill(&b.r, b.lr, .1);
    run_fill(&b.r, b.clip, 1, 1);
    for (int i = 0; i < 2; i++) run_forward(&b.r);
    for (int i = 0; i < N * N; i++)
        assert_true((fabs((double)run_reals(&b.r, b.memory[1])[i]) < 1e-24) == (i / N != i % N));
    run_free(&b.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_by_themselves), cmocka_unit_test(test_adam_on_spheres),
        cmocka_unit_test(test_adafactor), cmocka_unit_test(test_matrices), cmocka_unit_test(test_polar_express),
        cmocka_unit_test(test_polynomials_of_numbers), cmocka_unit_test(test_neurons), cmocka_unit_test(test_sphere),
        cmocka_unit_test(test_signs_and_caution), cmocka_unit_test(test_schedule_free),
        cmocka_unit_test(test_normalised_momentum), cmocka_unit_test(test_masks_of_a_stack),
        cmocka_unit_test(test_heads), cmocka_unit_test(test_fewer_bits), cmocka_unit_test(test_dion),
        cmocka_unit_test(test_dion_golden), cmocka_unit_test(test_dion_at_rest), cmocka_unit_test(test_soap),
        cmocka_unit_test(test_soap_and_rotations), cmocka_unit_test(test_soap_of_a_number),
        cmocka_unit_test(test_soap_of_one_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
