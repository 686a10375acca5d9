/* The roofline of a training step on a GPU: every call takes a launch and the longer of its arithmetic and its traffic,
   both at the peaks of the data sheet. Williams 2009 (Roofline). */
#include "roofline.h"
#include "bench.h"
#include "gpu.h"
#include "graph/ops.h"
#include "model/training_graph.h"

#include <math.h>
#include <stdlib.h>

static const double LAUNCH = 3e-6;    /* seconds from one kernel to the next, assumed: no data sheet says it */

enum { LAUNCHES, TRAFFIC, ARITHMETIC, BOUNDS };
static const char *const bound_name[BOUNDS] = { "launch", "memory", "compute" };

/* Of an op, a family, or the step. bound: seconds by what bounds the calls; each has its launch, and one of the
   others. */
struct line { int64_t calls; double flops, bytes, seconds, bound[BOUNDS]; };
struct roofline {
    const struct gpu *gpu; const char *variant;
    enum precision precision; double tokens;                /* of a step */
    const char *name[OP_COUNT]; struct line op[OP_COUNT], family[BENCH_FAMILIES], step;
};

static void add_line(struct line *to, const struct line *l)
{
    to->calls += l->calls;
    to->flops += l->flops;
    to->bytes += l->bytes;
    to->seconds += l->seconds;
    for (int b = 0; b < BOUNDS; b++) to->bound[b] += l->bound[b];
}

static void add_call(void *to, const struct call_cost *c)
{
    struct roofline *r = to;
    double arithmetic = c->flops / (c->format == FORMAT_BF16 ? r->gpu->bf16 : r->gpu->fp32),
           traffic = c->bytes / r->gpu->bandwidth;
    struct line l = { 1, c->flops, c->bytes, LAUNCH + fmax(arithmetic, traffic), { LAUNCH } };
    l.bound[arithmetic > traffic ? ARITHMETIC : TRAFFIC] = fmax(arithmetic, traffic);
    r->name[op_index(c->node->op)] = c->node->op->name;
    add_line(&r->op[op_index(c->node->op)], &l);
    add_line(&r->family[bench_family(c->node->op->name)], &l);
    add_line(&r->step, &l);
}

static const char *bound_of(const struct line *l)
{
    int most = 0;
    for (int b = 1; b < BOUNDS; b++) if (l->bound[b] > l->bound[most]) most = b;
    return bound_name[most];
}

static void cells(struct table *t, const char *indent, const char *name, const struct line *l, double whole)
{
    char text[FORMAT_SIZE];
    table_cell(t, "%s%s", indent, name);
    table_paint(t, *indent ? PAINT_OFF : PAINT_BOLD);
    table_cell(t, "%lld", (long long)l->calls);
    table_cell(t, "%s", format_count(l->flops, text));
    table_cell(t, "%s", format_bytes(l->bytes, text));
    table_cell(t, "%s", bound_of(l));
    table_cell(t, "%s", format_real(l->seconds * 1e6, 1, text));
    table_cell(t, "%.1f %%", 100 * l->seconds / whole);
}

void roofline_print(const struct roofline *r)
{
    static const char *const columns[] = { "model, not measured", ">calls", ">FLOP", ">bytes", "bound", ">us",
                                           ">share" };
    struct table *t = table_new(columns, COUNT(columns));
    char text[FORMAT_SIZE];
    for (int f = 0; f < BENCH_FAMILIES; f++) {
        if (r->family[f].calls) cells(t, "", bench_family_name(f), &r->family[f], r->step.seconds);
        for (int op = 0; op < OP_COUNT; op++)
            if (r->op[op].calls && bench_family(r->name[op]) == f)
                cells(t, "  ", r->name[op], &r->op[op], r->step.seconds);
    }
    cells(t, "", "step", &r->step, r->step.seconds);
    text_print(stdout, 0, 2, "\nA step of %s in %s on one %s: a model, not measured.\n", r->variant,
               r->precision == PRECISION_BF16 ? "bf16" : "fp32", r->gpu->name);
    table_print(t, stdout);
    text_print(stdout, 0, 2, "By this model at most %s tokens/s. Data sheet: %.3g TB/s; %.0f TFLOP/s in bf16, %.3g in "
               "fp32. Assumed: a call is one kernel, %.0f us to launch.\n"
               "Bytes: those that no call can avoid to move.\n",
               format_count(r->tokens / r->step.seconds, text), 1e-12 * r->gpu->bandwidth, 1e-12 * r->gpu->bf16,
               1e-12 * r->gpu->fp32, 1e6 * LAUNCH);
}

static json_t *line_json(const char *name, const struct line *l)
{
    return json_pack("{s:s, s:I, s:f, s:f, s:s, s:f}", "name", name, "calls", (json_int_t)l->calls, "flops", l->flops,
                     "bytes", l->bytes, "bound", bound_of(l), "seconds", l->seconds);
}

json_t *roofline_json(const struct roofline *r)
{
    json_t *families = json_array();
    for (int f = 0; f < BENCH_FAMILIES; f++) {
        json_t *ops = json_array();
        for (int op = 0; op < OP_COUNT; op++)
            if (r->op[op].calls && bench_family(r->name[op]) == f)
                json_array_append_new(ops, line_json(r->name[op], &r->op[op]));
        json_t *family = line_json(bench_family_name(f), &r->family[f]);
        json_object_set_new(family, "ops", ops);
        if (r->family[f].calls) json_array_append(families, family);
        json_decref(family);
    }
    return json_pack("{s:s, s:s, s:s, s:f, s:o, s:o}", "gpu", r->gpu->name, "variant", r->variant,
                     "precision", r->precision == PRECISION_BF16 ? "bf16" : "fp32",
                     "tokens_per_second", r->tokens / r->step.seconds, "step", line_json("step", &r->step),
                     "families", families);
}

static enum code model_step(const json_t *config, struct roofline *r)
{
    struct backend like_gpu = gpu_backend();
    struct training_graph of;
    struct err e;
    struct plan *plan = NULL;
    INVARIANT(training_graph_build(&of, config, &e) == 0, "a variant of a resolved study does not build: %s", e.text);
    struct plan_how how = { &like_gpu, (enum precision)of.train.precision, (enum recompute)of.train.recompute };
    enum code code = CODE_OK;
    if (plan_new(&plan, of.graph, how, &e)) code = cli_fail(CODE_SCRIPT, "%s", e.text);
    else {
        plan_costs(plan, of.train.micro, add_call, r);
        r->precision = how.precision;
        r->tokens = (double)of.train.batch * (double)of.model.seq;
    }
    plan_free(plan);
    training_graph_free(&of);
    return code;
}

enum code roofline_new(struct roofline **out, const struct study *s, const char *gpu)
{
    const struct variant *v = &s->variant[s->baseline];
    struct roofline *r = *out = xcalloc(1, sizeof *r);
    r->gpu = gpu_find(gpu);
    r->variant = v->name;
    enum code code = r->gpu ? model_step(v->config, r)
                            : cli_fail(CODE_USAGE, "--roofline %s: no data sheet of it is known; take a100, h100, h200 "
                                                   "or h800", gpu);
    if (code) { roofline_free(r); *out = NULL; }
    return code;
}

void roofline_free(struct roofline *r) { free(r); }
