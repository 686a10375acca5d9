/* Ops by family. */
#include "bench.h"

#include <stdlib.h>

/* A family begins with this op of the list in ops.h and ends where the next begins. */
static const struct { const char *name; int first; } family[] = {
    { "products", OP_matmul }, { "attention", OP_attention }, { "loss", OP_cross_entropy }, { "elementwise", OP_add }, { "rows", OP_rmsnorm },
    { "tables", OP_embed }, { "routing", OP_topk }, { "metrics", OP_mean_rows }, { "update", OP_global_norm },
};

static int family_of(const char *name)
{
#define NAME(op, signature) #op,
    static const char *const names[] = { OPS(NAME) };
    int op = 0, f = COUNT(family) - 1;
    while (strcmp(names[op], name) != 0) op++;
    while (family[f].first > op) f--;
    return f;
}

static double seconds_of(const struct op_time *t) { return t->forward_seconds + t->backward_seconds; }

static int by_time(const void *a, const void *b)
{
    double x = seconds_of(a), y = seconds_of(b);
    return (x < y) - (x > y);
}

static double rate(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }

static json_t *line(const struct op_time *t, int64_t steps, double whole)
{
    double per = 1 / (double)steps, seconds = seconds_of(t);
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "name", t->name, "seconds", seconds * per, "forward_seconds", t->forward_seconds * per,
        "backward_seconds", t->backward_seconds * per, "share", seconds / whole, "calls", (double)t->calls * per,
        "flops_per_second", rate(t->flops, seconds), "bytes_per_second", rate(t->bytes, seconds));
}

static void add_times(struct op_time *sum, const struct op_time *t)
{
    sum->forward_seconds += t->forward_seconds;
    sum->backward_seconds += t->backward_seconds;
    sum->flops += t->flops;
    sum->bytes += t->bytes;
    sum->calls += t->calls;
}

json_t *bench_families(struct op_time *op, int n, int64_t steps, double whole)
{
    struct op_time sum[COUNT(family)] = { { 0 } };
    double outside = whole;
    json_t *list = json_array();
    for (int i = 0; i < COUNT(family); i++) sum[i].name = family[i].name;
    for (int i = 0; i < n; i++) add_times(&sum[family_of(op[i].name)], &op[i]);
    qsort(op, (size_t)n, sizeof *op, by_time);
    qsort(sum, COUNT(sum), sizeof *sum, by_time);
    for (int f = 0; f < COUNT(sum) && sum[f].calls; f++) {
        json_t *ops = json_array(), *j = line(&sum[f], steps, whole);
        for (int i = 0; i < n; i++)
            if (!strcmp(family[family_of(op[i].name)].name, sum[f].name)) json_array_append_new(ops, line(&op[i], steps, whole));
        json_object_set_new(j, "ops", ops);
        json_array_append_new(list, j);
        outside -= seconds_of(&sum[f]);
    }
    struct op_time rest = { .name = "outside ops", .forward_seconds = outside };
    json_t *j = line(&rest, steps, whole);
    json_object_set_new(j, "ops", json_array());
    json_array_append_new(list, j);
    return list;
}
