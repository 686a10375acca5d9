/* Ops by family, and how far each is from what bounds it. */
#include "bench.h"
#include "graph/ops.h"
#include "graph/signature.h"

#include <math.h>
#include <stdlib.h>

/* A family begins with this op of the list in ops.h and ends where the next begins. */
static const struct { const char *name; int first; } family[BENCH_FAMILIES] = {
    { "products", OP_matmul }, { "attention", OP_attention }, { "loss", OP_cross_entropy }, { "elementwise", OP_add },
    { "rows", OP_rmsnorm },
    { "tables", OP_embed }, { "routing", OP_topk }, { "metrics", OP_mean_rows }, { "update", OP_global_norm },
};

int bench_family(const char *name)
{
    int op = 0, f = BENCH_FAMILIES - 1;
    while (strcmp(op_all[op]->name, name) != 0) op++;
    while (family[f].first > op) f--;
    return f;
}

const char *bench_family_name(int f) { return family[f].name; }

/* An op, or a family of them: seconds taken, and the least that would do; of that, where arithmetic is the bound. */
struct line { struct op_time time; double seconds, least, arithmetic; };

static int by_gain(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    double more = (x->seconds - x->least) - (y->seconds - y->least);
    return (more < 0) - (more > 0);
}

/* A call mostly touches what was touched just before it; but the update goes over all parameters, once a step. */
static struct line line_of(const struct op_time *t, const struct bench_ceiling *c)
{
    bool update = family[bench_family(t->name)].first == OP_global_norm;
    double touched = update ? t->bytes : t->bytes / (double)t->calls;
    double arithmetic = t->flops / c->products, traffic = t->bytes / bench_stream(c, touched);
    return (struct line){ *t, t->forward_seconds + t->backward_seconds, fmax(arithmetic, traffic),
                          arithmetic > traffic ? arithmetic : 0 };
}

static void add_line(struct line *sum, const struct line *l)
{
    sum->time.forward_seconds += l->time.forward_seconds;
    sum->time.backward_seconds += l->time.backward_seconds;
    sum->time.flops += l->time.flops;
    sum->time.bytes += l->time.bytes;
    sum->time.calls += l->time.calls;
    sum->seconds += l->seconds;
    sum->least += l->least;
    sum->arithmetic += l->arithmetic;
}

static double rate(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }

static json_t *line_json(const struct line *l, double whole)
{
    const struct op_time *t = &l->time;
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s, s:f, s:f, s:f}", "name", t->name,
                     "seconds", l->seconds, "forward_seconds", t->forward_seconds,
                     "backward_seconds", t->backward_seconds, "share", l->seconds / whole, "calls", (double)t->calls,
                     "flops_per_second", rate(t->flops, l->seconds), "bytes_per_second", rate(t->bytes, l->seconds),
                     "bound", 2 * l->arithmetic > l->least ? "products" : "memory", "least_seconds", l->least,
                     "ceiling_share", rate(l->least, l->seconds), "gain_seconds", l->seconds - l->least);
}

static json_t *family_json(const struct line *sum, const struct line *op, int n, double whole)
{
    json_t *ops = json_array(), *j = line_json(sum, whole);
    for (int i = 0; i < n; i++)
        if (!strcmp(family[bench_family(op[i].time.name)].name, sum->time.name))
            json_array_append_new(ops, line_json(&op[i], whole));
    json_object_set_new(j, "ops", ops);
    return j;
}

json_t *bench_families(const struct op_time *times, int n, double outside, const struct bench_ceiling *c)
{
    struct line op[OP_COUNT], sum[BENCH_FAMILIES] = { 0 },
    rest = { .time = { .name = "outside ops", .forward_seconds = outside }, .seconds = outside };
    double whole = outside;
    json_t *list = json_array();
    for (int f = 0; f < BENCH_FAMILIES; f++) sum[f].time.name = family[f].name;
    for (int i = 0; i < n; i++) {
        op[i] = line_of(&times[i], c);
        add_line(&sum[bench_family(times[i].name)], &op[i]);
        whole += op[i].seconds;
    }
    qsort(op, (size_t)n, sizeof *op, by_gain);
    qsort(sum, COUNT(sum), sizeof *sum, by_gain);
    for (int f = 0; f < COUNT(sum); f++)
        if (sum[f].time.calls) json_array_append_new(list, family_json(&sum[f], op, n, whole));
    json_array_append_new(list, family_json(&rest, op, 0, whole));
    return list;
}
