/* The tables of sluice bench. */
#include "bench.h"
#include "cli.h"

#include <math.h>
#include <stdlib.h>

static double number(const json_t *j, const char *key) { return json_number_value(json_object_get(j, key)); }

enum form { WHOLE, RATE, MILLI, PERCENT, BYTES, SECONDS };
static const struct { const char *label, *key; enum form form; } rows[] = {
    { "parameters", "params_total", RATE }, { "  active", "params_active", RATE },
    { "  with embedding", "params_active_embedded", RATE },
    { "tokens a step", "tokens_per_step", WHOLE }, { "step, ms (median)", "step_seconds", MILLI },
    { "  least", "step_seconds_min", MILLI },
    { "  most", "step_seconds_max", MILLI }, { "tokens/s", "tokens_per_second", RATE },
    { "FLOP a step", "flops_per_step", RATE },
    { "FLOP/s", "flops_per_second", RATE }, { "best GEMM, FLOP/s", "best_gemm", RATE },
    { "  share reached", "best_gemm_share", PERCENT },
    { "  in the fastest step", "best_gemm_share_max", PERCENT }, { "processors had", "processor_share", PERCENT },
    { "loading data", "data_share", PERCENT }, { "gathering metrics", "gather_share", PERCENT },
    { "start-up, s", "start_seconds", SECONDS },
    { "  start to first step", "first_step_seconds", SECONDS }, { "memory, predicted", "memory_predicted", BYTES },
    { "  measured", "memory_measured", BYTES }, { "  whole process", "memory_peak", BYTES },
};

static char *form_text(enum form form, double x, char out[FORMAT_SIZE])
{
    switch (form) {
    case WHOLE: return format_real(x, 0, out);
    case RATE: return format_count(x, out);
    case MILLI: return format_real(x * 1e3, 2, out);
    case PERCENT: snprintf(out, FORMAT_SIZE, "%.1f %%", 100 * x); return out;
    case BYTES: return format_bytes(x, out);
    case SECONDS: return format_real(x, 3, out);
    }
    INVARIANT(false, "form %d", (int)form);
}

void bench_print_steps(json_t *list)
{
    const char **columns = xcalloc(json_array_size(list) + 1, sizeof *columns);
    char text[FORMAT_SIZE], (*name)[96] = xcalloc(json_array_size(list), sizeof *name);
    size_t i;
    json_t *j;
    columns[0] = "";
    json_array_foreach(list, i, j) {
        snprintf(name[i], sizeof *name, ">%s", json_string_value(json_object_get(j, "name")));
        columns[i + 1] = name[i];
    }
    struct table *t = table_new(columns, (int)json_array_size(list) + 1);
    for (int r = 0; r < COUNT(rows); r++) {
        table_cell(t, "%s", rows[r].label);
        json_array_foreach(list, i, j) {
            bool known = json_object_get(j, rows[r].key);
            table_cell(t, "%s", known ? form_text(rows[r].form, number(j, rows[r].key), text) : "-");
        }
    }
    table_print(t, stdout);
    j = json_array_get(list, 0);
    text_print(stdout, 0, 2,
               "%s, %s activations, %d threads, %d timed steps; FLOPs: 1 MAC = 2, attention counts the "
               "causal half, backward is twice the forward.\n",
               json_string_value(json_object_get(j, "isa")), json_string_value(json_object_get(j, "precision")),
               (int)number(j, "threads"), (int)number(j, "steps"));
    free(columns);
    free(name);
}

/* In what bounds the op. */
static void rate_cell(struct table *t, const json_t *j)
{
    bool products = !strcmp(json_string_value(json_object_get(j, "bound")), "products");
    double rate = number(j, products ? "flops_per_second" : "bytes_per_second") * 1e-9;
    if (rate > 0) table_cell(t, "%.1f %s", rate, products ? "GFLOP/s" : "GB/s   ");
    else table_cell(t, "-");
}

static void op_cells(struct table *t, const json_t *j, const char *indent, enum paint paint)
{
    static const struct { const char *key; enum form form; } columns[] = {
        { "seconds", MILLI }, { "forward_seconds", MILLI }, { "backward_seconds", MILLI }, { "share", PERCENT } };
    char text[FORMAT_SIZE];
    double least = number(j, "least_seconds");
    table_cell(t, "%s%s", indent, json_string_value(json_object_get(j, "name")));
    table_paint(t, paint);
    for (int i = 0; i < COUNT(columns); i++)
        table_cell(t, "%s", form_text(columns[i].form, number(j, columns[i].key), text));
    table_cell(t, "%.0f", number(j, "calls"));
    rate_cell(t, j);
    table_cell(t, "%s", least > 0 ? form_text(PERCENT, number(j, "ceiling_share"), text) : "-");
    table_cell(t, "%s", form_text(MILLI, number(j, "gain_seconds"), text));
}

void bench_print_ops(json_t *list)
{
    static const char *const columns[] = { "", ">ms a step", ">forward", ">backward", ">share", ">calls", ">rate",
                                           ">of ceiling", ">to gain" };
    json_t *j, *family, *op;
    size_t i, f, k;
    json_array_foreach(list, i, j) {
        struct table *t = table_new(columns, COUNT(columns));
        json_array_foreach(json_object_get(j, "families"), f, family) {
            op_cells(t, family, "", PAINT_BOLD);
            json_array_foreach(json_object_get(family, "ops"), k, op) op_cells(t, op, "  ", PAINT_OFF);
        }
        printf("\n%s\n", json_string_value(json_object_get(j, "name")));
        table_print(t, stdout);
        text_print(stdout, 0, 2, "Ceilings: %.1f GFLOP/s in the best GEMM; %.1f GB/s through memory, up to %.1f in "
               "caches. To gain: ms above what they allow.\nEach op's least time in any of the steps.\n",
               number(j, "best_gemm") * 1e-9, number(j, "best_stream") * 1e-9, number(j, "best_stream_cached") * 1e-9);
    }
}

void bench_print_ceilings(json_t *list)
{
    static const char *const of_streams[] = { ">touched", ">GB/s" },
                      *const of_products[] = { ">m", ">n", ">k", ">GFLOP/s", ">of best" };
    static const char *const size[] = { "m", "n", "k" };
    char text[FORMAT_SIZE];
    json_t *j, *line;
    size_t i, k;
    json_array_foreach(list, i, j) {
        struct table *streams = table_new(of_streams, COUNT(of_streams)),
                     *products = table_new(of_products, COUNT(of_products));
        json_array_foreach(json_object_get(json_object_get(j, "ceilings"), "streams"), k, line) {
            table_cell(streams, "%s", format_bytes(number(line, "bytes"), text));
            table_cell(streams, "%.1f", number(line, "bytes_per_second") * 1e-9);
        }
        json_array_foreach(json_object_get(json_object_get(j, "ceilings"), "products"), k, line) {
            for (int of = 0; of < COUNT(size); of++) table_cell(products, "%.0f", number(line, size[of]));
            table_cell(products, "%.1f", number(line, "flops_per_second") * 1e-9);
            table_cell(products, "%s",
                       form_text(PERCENT, number(line, "flops_per_second") / number(j, "best_gemm"), text));
        }
        printf("\n%s: bytes read and written\n", json_string_value(json_object_get(j, "name")));
        table_print(streams, stdout);
        text_print(stdout, 0, 2, "\n%s: products x [m,k] w [n,k], the best one, then those of a step and of its "
                                 "gradients; experts as one of as many rows\n",
               json_string_value(json_object_get(j, "name")));
        table_print(products, stdout);
    }
}

void bench_print_logging(json_t *list)
{
    static const char *const columns[] = { "with metrics and run file", ">median", ">least", ">most" };
    static const struct { const char *label, *key; } lines[] = {
        { "time, of that without", "wall_ratio" }, { "processor time, of that without", "processor_ratio" },
        { "spent inside them, of a step", "inside_share" } };
    static const char *const ends[] = { "", "_min", "_max" };
    size_t i;
    json_t *j;
    json_array_foreach(list, i, j) {
        struct table *t = table_new(columns, COUNT(columns));
        const json_t *l = json_object_get(j, "logging");
        for (int r = 0; r < COUNT(lines); r++) {
            table_cell(t, "%s", lines[r].label);
            for (int k = 0; k < COUNT(ends); k++) {
                char key[64];
                snprintf(key, sizeof key, "%s%s", lines[r].key, ends[k]);
                table_cell(t, "%.2f %%", 100 * number(l, key));
            }
        }
        text_print(stdout, 0, 2, "\n%s: %d pairs of %d steps, %d series, run file in %s\n",
                   json_string_value(json_object_get(j, "name")), (int)number(l, "pairs"), (int)number(l, "steps"),
                   (int)number(l, "series"), json_string_value(json_object_get(l, "folder")));
        table_print(t, stdout);
    }
}

void bench_print_beside(json_t *list)
{
    static const char *const columns[] = { "variant", ">step, ms", ">time, of the baseline's", ">least", ">most",
                                           ">processor time" };
    struct table *t = table_new(columns, COUNT(columns));
    size_t i;
    json_t *j;
    json_array_foreach(list, i, j) {
        table_cell(t, "%s", json_string_value(json_object_get(j, "name")));
        table_cell(t, "%.2f", 1e3 * number(j, "step_seconds"));
        table_cell(t, "%.3f", number(j, "wall_ratio"));
        table_cell(t, "%.3f", number(j, "wall_ratio_min"));
        table_cell(t, "%.3f", number(j, "wall_ratio_max"));
        table_cell(t, "%.3f", number(j, "processor_ratio"));
    }
    table_print(t, stdout);
    j = json_array_get(list, 0);
    if (j) text_print(stdout, 0, 0, "Medians of %d pairs of %d steps.\n", (int)number(j, "pairs"),
                      (int)number(j, "steps"));
}
