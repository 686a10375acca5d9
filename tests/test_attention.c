/* Attention and its gradients against the definition in double, at shapes that do not fit the blocks, on every
   instruction set that this processor has, with the same bits for any number of threads; what no query sees is not
   read. */
#include "op_check.h"
#include "base/float_log.h"
#include "cpu/isa.h"

enum { MOST_KEYS = 600 };

/* capacity 0: keys are those of the sequence; else they lie in a cache, and the queries are at pos. */
static struct form {
    int64_t batch, seq, heads, groups, width, value_width, window, capacity, pos;
    int32_t (*start)(int64_t i);
} form;

/* What a form may have beside that. extent: distances that have a bias; sinks: 1 of heads, 2 of tokens and heads;
   chosen: keys that an index names for each token. */
static struct extra { int64_t chunk, extent; double softcap; int sinks; int64_t chosen; } extra;

/* What this processor has, and after it a dot product of bf16 in plain C, with which blocks multiply as where there are
   instructions for it. */
static float wide(uint16_t half) { return float_of_bits((uint32_t)half << 16); }
static void plain_dot(int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t a_row, const uint16_t *b,
                      int64_t panel, float *c, int64_t c_row, bool add)
{
    assert_true(k % DOT_DEPTH == 0);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            const uint16_t *col = b + j / DOT_COLS * panel + j % DOT_COLS * 2;
            float sum = add ? c[i * c_row + j] : 0;
            for (int64_t p = 0; p < k; p++) sum += wide(a[i * a_row + p]) * wide(col[p / 2 * 2 * DOT_COLS + p % 2]);
            c[i * c_row + j] = sum;
        }
}

static const struct isa *set_of(int i)
{
    static struct isa plain = { .name = "plain dot", .dot = plain_dot };
    if (isa_level(i)) return isa_level(i);
    plain.level = isa_level(0)->level;
    return i > 0 && isa_level(i - 1) ? &plain : NULL;
}

static int32_t none(int64_t i) { (void)i; return 0; }
/* Documents of 1, 2, 3, .. tokens: the last place of a sequence where one starts. */
static int32_t growing(int64_t i)
{
    int64_t s = i % form.seq, start = 0;
    for (int64_t length = 1; start + length <= s; length++) start += length;
    return (int32_t)start;
}
static int32_t halves(int64_t i) { return i % form.seq < form.seq / 2 ? 0 : (int32_t)(form.seq / 2); }
static int32_t late(int64_t i) { (void)i; return 7; }

/* Near and far keys, some of them twice, later ones, and none. */
static int32_t named(int64_t i)
{
    int64_t t = i / extra.chosen, e = i % extra.chosen, here = form.pos + t % form.seq;
    return (int32_t)(e % 3 ? here - (e * e + t) % 40 : (t * 7 + e * (e + 13)) % (form.pos + form.seq + 9) - 1);
}

static const struct form forms[] = {
    { 2, 1, 1, 1, 1, 1, 0, 0, 0, none },        { 2, 31, 1, 1, 3, 5, 0, 0, 0, none },
    { 1, 33, 2, 2, 16, 16, 0, 0, 0, none },     { 2, 130, 3, 1, 17, 9, 0, 0, 0, none },
    { 1, 300, 4, 2, 32, 32, 0, 0, 0, growing }, { 1, 290, 6, 2, 24, 40, 50, 0, 0, halves },
    { 3, 150, 2, 1, 64, 16, 129, 0, 0, none },  { 1, 520, 2, 2, 80, 100, 0, 0, 0, halves },
    { 9, 40, 2, 1, 8, 8, 1, 0, 0, growing },    { 1, 70, 35, 1, 4, 4, 20, 0, 0, none },
    { 1, 40, 2, 1, 1024, 1000, 0, 0, 0, none }, { 1, 40, 2, 1, 1000, 1024, 13, 0, 0, halves },
    { 2, 1, 4, 2, 24, 20, 0, 300, 299, late },  { 1, 1, 8, 1, 64, 64, 40, 500, 350, none },
    { 2, 2, 3, 1, 7, 7, 0, 140, 100, late },    { 1, 9, 2, 2, 33, 16, 0, 200, 150, late },
    { 2, 60, 3, 1, 16, 32, 25, 90, 30, late },  { 1, 1, 12, 1, 16, 16, 0, 40, 12, none },
    { 2, 256, 4, 2, 32, 64, 0, 0, 0, halves },  { 1, 128, 3, 1, 96, 32, 50, 0, 0, growing },
    { 1, 512, 2, 2, 64, 64, 200, 0, 0, none },  { 3, 64, 5, 1, 32, 32, 0, 0, 0, growing },
    { 2, 60, 3, 1, 32, 64, 0, 256, 130, late }, { 1, 40, 4, 2, 64, 32, 33, 128, 70, none },
};

static const struct { struct form form; struct extra extra; } more[] = {
    { { 1, 290, 6, 2, 24, 40, 0, 0, 0, halves }, { .sinks = 1 } },
    { { 2, 130, 3, 1, 17, 9, 0, 0, 0, growing }, { .sinks = 2 } },
    { { 1, 300, 4, 2, 32, 32, 50, 0, 0, none }, { .softcap = 0.7 } },
    { { 2, 130, 3, 1, 17, 9, 0, 0, 0, halves }, { .extent = 1 } },
    { { 1, 300, 4, 2, 32, 32, 0, 0, 0, none }, { .extent = 150 } },
    { { 1, 520, 2, 2, 80, 100, 0, 0, 0, halves }, { .chunk = 100 } },
    { { 1, 300, 4, 2, 32, 32, 90, 0, 0, growing }, { 70, 40, 1.5, 2, 0 } },
    { { 1, 70, 35, 1, 4, 4, 20, 0, 0, none }, { 30, 70, 1.5, 1, 0 } },
    { { 2, 1, 4, 2, 24, 20, 0, 300, 299, late }, { 100, 60, 1.5, 1, 0 } },
    { { 1, 2, 3, 1, 7, 7, 0, 400, 350, late }, { 0, 140, 1.5, 2, 0 } },
    { { 2, 60, 3, 1, 16, 32, 25, 90, 30, late }, { 40, 12, 1.5, 2, 0 } },
    { { 2, 128, 4, 2, 32, 64, 0, 0, 0, halves }, { .sinks = 2 } },
    { { 1, 256, 4, 2, 64, 32, 90, 0, 0, growing }, { 70, 40, 1.5, 2, 0 } },
    { { 1, 256, 2, 1, 32, 32, 0, 0, 0, none }, { 0, 300, 0.7, 1, 0 } },
    { { 2, 60, 3, 1, 32, 32, 25, 96, 30, late }, { 40, 12, 1.5, 2, 0 } },
    { { 1, 290, 6, 2, 24, 40, 0, 0, 0, halves }, { .chosen = 30 } },
    { { 2, 130, 3, 1, 17, 9, 0, 0, 0, growing }, { .sinks = 2, .chosen = 50 } },
    { { 1, 300, 4, 2, 32, 32, 90, 0, 0, growing }, { 70, 40, 1.5, 2, 64 } },
    { { 1, 70, 35, 1, 4, 4, 20, 0, 0, none }, { 30, 70, 1.5, 1, 9 } },
    { { 1, 40, 2, 1, 1024, 1000, 0, 0, 0, none }, { .chosen = 17 } },
    { { 2, 1, 4, 2, 24, 20, 0, 300, 299, late }, { 100, 60, 1.5, 1, 333 } },
    { { 2, 60, 3, 1, 16, 32, 25, 90, 30, late }, { 40, 12, 1.5, 2, 20 } },
};

enum { FORMS = COUNT(forms) + COUNT(more) };
static void choose(int number)
{
    form = number < COUNT(forms) ? forms[number] : more[number - COUNT(forms)].form;
    extra = number < COUNT(forms) ? (struct extra){ 0 } : more[number - COUNT(forms)].extra;
}

static struct node *build(struct graph *g)
{
    int64_t tokens = form.batch * form.seq, rows = form.capacity ? form.capacity : form.seq;
    struct node *q = act_in(g, tokens, form.heads, form.width);
    struct shape k = form.capacity ? SHAPE(form.batch, rows, form.groups, form.width)
                                   : SHAPE(tokens, form.groups, form.width),
                 v = k;
    v.dim[v.rank - 1] = form.value_width;
    struct node *keys = bench_in(g, DTYPE_ACT, k, FILL_NORMAL), *values = bench_in(g, DTYPE_ACT, v, FILL_NORMAL);
    struct node *start = count_in(g, SHAPE(form.batch, form.seq), form.start);
    return ATTEND(.q = q, .k = keys, .v = values, .start = start,
                  .pos = form.capacity ? int_in(g, SHAPE(1), (int)form.pos) : NULL,
                  .scale = 1 / sqrt((double)form.width), .window = form.window,
                  .chunk = extra.chunk, .softcap = extra.softcap,
                  .rel = extra.extent ? act_in(g, tokens, form.heads, extra.extent) : NULL,
                  .sink = extra.sinks == 1 ? real_in(g, form.heads)
                        : extra.sinks ? real_in(g, tokens, form.heads) : NULL,
                  .index = extra.chosen ? count_in(g, SHAPE(tokens, extra.chosen), named) : NULL);
}

/* Rows of the cache that no query may look at must not be read. */
static void open_form(struct bench *b, bool bf16, int threads)
{
    bench_open(b, &(struct op_case){ OP_attention, "attention", build }, bf16, threads);
    for (int64_t batch = 0; form.capacity && batch < form.batch; batch++)
        for (int input = 1; input <= 2; input++) {
            int64_t row = form.groups * (input == 1 ? form.width : form.value_width), seen = form.pos + form.seq;
            for (int64_t i = seen * row; i < form.capacity * row; i++)
                tensor_set(&b->in[input], batch * form.capacity * row + i, NAN);
        }
}

enum { SINK = 5, REL, GRADS, INDEX = GRADS };
struct want { double *out, *grad[GRADS], most[64], sunk[64], *mass; };

static struct want want_new(const struct bench *b)
{
    struct want w = { .out = xcalloc((size_t)shape_count(b->out[0].shape), sizeof *w.out),
                      .mass = xcalloc((size_t)(form.batch * form.seq * extra.chosen + 1), sizeof *w.mass) };
    for (int i = 0; i < GRADS; i++)
        w.grad[i] = b->din[i].data ? xcalloc((size_t)shape_count(b->in[i].shape), sizeof *w.grad[i]) : NULL;
    for (int h = 0; h < 64; h++) w.most[h] = -INFINITY;
    return w;
}

static void want_free(struct want *w)
{
    free(w->out);
    free(w->mass);
    for (int i = 0; i < GRADS; i++) free(w->grad[i]);
}

static double inner(const struct tensor *x, int64_t i, const struct tensor *y, int64_t j, int64_t n)
{
    double sum = 0;
    for (int64_t w = 0; w < n; w++) sum += tensor_get(x, i * n + w) * tensor_get(y, j * n + w);
    return sum;
}

/* How often a token sees key j, of those that the mask lets it see. */
static double times_named(const struct bench *b, int64_t t, int64_t j)
{
    double times = !extra.chosen;
    for (int64_t e = 0; e < extra.chosen; e++) times += ints(&b->in[INDEX])[t * extra.chosen + e] == j;
    return times;
}

/* One query: row t of head h, whose place is `here` in keys that start with row `first_key` of [rows, G]. */
static void query(const struct bench *b, struct want *w, int64_t t, int64_t h, int64_t here, int64_t first_key)
{
    double p[MOST_KEYS], sum = 0, top = -INFINITY, mean = 0, scale = 1 / sqrt((double)form.width);
    int64_t from = ints(&b->in[3])[t], at = t * form.heads + h, g = h * form.groups / form.heads;
    int64_t wide = form.width, value_wide = form.value_width;
    int64_t tokens = form.batch * form.seq, each = extra.sinks == 1 ? h : at;
    if (form.window && here - form.window + 1 > from) from = here - form.window + 1;
    while (extra.chunk && (from - ints(&b->in[3])[t]) / extra.chunk < (here - ints(&b->in[3])[t]) / extra.chunk) from++;
    double sink = extra.sinks ? tensor_get(&b->in[SINK], each) : -INFINITY, steep[MOST_KEYS], times[MOST_KEYS];
    for (int64_t j = from; j <= here; j++) {
        if ((times[j] = times_named(b, t, j)) == 0) continue;
        p[j] = scale * inner(&b->in[0], at, &b->in[1], (first_key + j) * form.groups + g, wide);
        if (here - j < extra.extent) p[j] += tensor_get(&b->in[REL], at * extra.extent + here - j);
        top = fmax(top, p[j]);
        double bent = extra.softcap ? tanh(p[j] / extra.softcap) : 0;
        steep[j] = 1 - bent * bent;
        if (extra.softcap) p[j] = extra.softcap * bent;
    }
    if (top == -INFINITY && sink == -INFINITY) return;
    double base = fmax(top, sink);
    for (int64_t j = from; j <= here; j++) sum += p[j] = times[j] ? times[j] * exp(p[j] - base) : 0;
    double share = exp(sink - base) / (sum + exp(sink - base));
    sum += exp(sink - base);
    for (int64_t j = from; j <= here; j++) {
        if (times[j] == 0) continue;
        p[j] /= sum;
        for (int64_t e = 0; e < extra.chosen; e++)
            if (ints(&b->in[INDEX])[t * extra.chosen + e] == j) w->mass[t * extra.chosen + e] += p[j] / times[j];
        mean += p[j] * inner(&b->dout[0], at, &b->in[2], (first_key + j) * form.groups + g, value_wide);
    }
    w->most[h] = fmax(w->most[h], top);
    w->sunk[h] += share / (double)tokens;
    if (extra.sinks) w->grad[SINK][each] -= share * mean;
    for (int64_t j = from; j <= here; j++) {
        if (times[j] == 0) continue;
        int64_t key = (first_key + j) * form.groups + g;
        double bend = steep[j] * p[j] * (inner(&b->dout[0], at, &b->in[2], key, value_wide) - mean),
               slope = scale * bend;
        if (here - j < extra.extent) w->grad[REL][at * extra.extent + here - j] = bend;
        for (int64_t i = 0; i < value_wide; i++) {
            w->out[at * value_wide + i] += p[j] * tensor_get(&b->in[2], key * value_wide + i);
            w->grad[2][key * value_wide + i] += p[j] * tensor_get(&b->dout[0], at * value_wide + i);
        }
        for (int64_t i = 0; i < wide; i++) {
            w->grad[0][at * wide + i] += slope * tensor_get(&b->in[1], key * wide + i);
            w->grad[1][key * wide + i] += slope * tensor_get(&b->in[0], at * wide + i);
        }
    }
}

/* The error allowed is a share of the largest value. */
static void agree(const char *level, int number, const char *what, const struct tensor *got, const double *want,
                  double share)
{
    double most = 0;
    int64_t n = shape_count(got->shape);
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(tensor_get(got, i) - want[i]) <= share * most))
            fail_msg("%s: form %d: %s: value %lld: %.9g, expected %.9g", level, number, what, (long long)i,
                     tensor_get(got, i), want[i]);
}

static void check_values(const char *level, int number, struct bench *b, const struct want *w, double share)
{
    static const char *const names[] = { "dq", "dk", "dv", "", "", "dsink", "drel" };
    bench_forward(b);
    bench_backward(b);
    agree(level, number, "out", &b->out[0], w->out, share);
    agree(level, number, "logit_max", &b->out[1], w->most, share);
    if (extra.sinks || extra.chosen) agree(level, number, "sink_mass", &b->out[2], w->sunk, share);
    if (extra.chosen) agree(level, number, "mass", &b->out[3], w->mass, share);
    for (int i = 0; i < GRADS; i++) if (w->grad[i]) agree(level, number, names[i], &b->din[i], w->grad[i], share);
}

/* bf16 starts from the same values and rounds its results: by 1/256, and o once more before it gives the mean in
   backward. */
static void test_definition(void **state)
{
    (void)state;
    for (int number = 0; number < FORMS; number++) {
        struct bench b;
        choose(number);
        open_form(&b, false, 1);
        struct want w = want_new(&b);
        for (int64_t t = 0; t < form.batch * form.seq; t++)
            for (int64_t h = 0; h < form.heads; h++)
                query(&b, &w, t, h, form.pos + t % form.seq, t / form.seq * (form.capacity ? form.capacity : form.seq));
        bench_close(&b);
        for (int i = 0; set_of(i); i++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                isa_use(set_of(i));
                open_form(&b, bf16, 1);
                check_values(set_of(i)->name, number, &b, &w, bf16 ? 1.0 / 128 : 4e-6);
                bench_close(&b);
            }
        want_free(&w);
    }
    isa_use(NULL);
}

static void test_threads(void **state)
{
    (void)state;
    for (int number = 0; number < FORMS; number++)
        for (int i = 0; set_of(i); i++) {
            struct bench b[2];
            choose(number);
            isa_use(set_of(i));
            for (int k = 0; k < 2; k++) {
                open_form(&b[k], false, 1 + 2 * k);
                bench_forward(&b[k]);
                bench_backward(&b[k]);
            }
            for (int k = 0; k < b[0].node->n_out; k++) same(&b[0].out[k], &b[1].out[k]);
            for (int k = 0; k < GRADS; k++) if (b[0].din[k].data) same(&b[0].din[k], &b[1].din[k]);
            for (int k = 0; k < 2; k++) bench_close(&b[k]);
        }
    isa_use(NULL);
}

/* A score that is no number shows in its own row of o and in logit_max of its head, and in no other;
   also through a cap. */
static void test_no_number(void **state)
{
    (void)state;
    for (int i = 0; set_of(i); i++)
        for (int kind = 0; kind < 4; kind++) {
            bool few = kind & 1;
            extra = (struct extra){ .softcap = kind >> 1 };
            struct bench b;
            form = few ? (struct form){ 2, 2, 4, 2, 16, 16, 0, 50, 40, none }
                       : (struct form){ 2, 50, 4, 2, 16, 16, 0, 0, 0, none };
            isa_use(set_of(i));
            open_form(&b, false, 1);
            int64_t bad = form.heads * 1 + 2;               /* head 2 of token 1 */
            tensor_set(&b.in[0], bad * 16 + 3, NAN);
            bench_forward(&b);
            for (int64_t row = 0; row < form.batch * form.seq * form.heads; row++)
                assert_int_equal(isnan(tensor_get(&b.out[0], row * 16)) != 0, row == bad);
            for (int64_t h = 0; h < form.heads; h++) assert_int_equal(isnan(tensor_get(&b.out[1], h)) != 0, h == 2);
            bench_close(&b);
        }
    isa_use(NULL);
    extra = (struct extra){ 0 };
}

/* Scores far apart and far from zero: the largest one takes all. */
static void test_extreme_scores(void **state)
{
    (void)state;
    for (int i = 0; set_of(i); i++)
        for (int few = 0; few < 2; few++) {
            struct bench b;
            form = few ? (struct form){ 1, 1, 2, 1, 1, 1, 0, 200, 199, none }
                       : (struct form){ 1, 200, 2, 1, 1, 1, 0, 0, 0, none };
            isa_use(set_of(i));
            open_form(&b, false, 1);
            for (int64_t t = 0; t < form.seq * 2; t++) tensor_set(&b.in[0], t, 1000);
            for (int64_t j = 0; j < 200; j++) tensor_set(&b.in[1], j, (double)(j % 100) - 120);
            bench_forward(&b);
            for (int64_t t = 0; t < form.seq; t++) {
                int64_t here = form.pos + t, best = here < 100 ? here : 99;
                double want = tensor_get(&b.in[2], best);
                if (here == 199) want = (want + tensor_get(&b.in[2], 199)) / 2;
                assert_true(fabs(tensor_get(&b.out[0], t * 2) - want) < 1e-6);
            }
            assert_true(fabs(tensor_get(&b.out[1], 0) + 21000) < 0.01);
            bench_close(&b);
        }
    isa_use(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition), cmocka_unit_test(test_threads), cmocka_unit_test(test_no_number),
        cmocka_unit_test(test_extreme_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
