/* A cluster's file. A call takes a launch and the longer of its arithmetic and its traffic, at the shares of the peaks
   that are said to be reached. */
#include "cluster.h"
#include "cli.h"
#include "gpu.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NO_GPU };
struct conf {
    const char *name;
    int gpu, node, two_level;
    double fp32_gflops, bf16_gflops, fp8_gflops, memory_gb_s, memory_gib, reached_arithmetic, reached_memory, call_us,
           inside_gb_s, inside_us, between_gb_s, between_us, reached_links;
};
static const struct param params[] = {
    TEXT_OF(struct conf, name, "cluster", "what it is called"),
    CHOICE(struct conf, gpu, NO_GPU, "none " GPU_WORDS, "whose data sheet says what keys below leave at 0"),
    INT(struct conf, node, 8, 1, 1 << 20, "", "devices of a machine; ranks are numbered machine by machine"),
    REAL(struct conf, fp32_gflops, 0, 0, 1e9, "GFLOP/s", "of a device, its peak in fp32; 0: as the data sheet says"),
    REAL(struct conf, bf16_gflops, 0, 0, 1e9, "GFLOP/s", "the same in bf16"),
    REAL(struct conf, fp8_gflops, 0, 0, 1e9, "GFLOP/s", "the same in FP8; 0 without a data sheet: as in bf16"),
    REAL(struct conf, memory_gb_s, 0, 0, 1e9, "GB/s", "that a device reads and writes; 0: as the data sheet says"),
    REAL(struct conf, memory_gib, 80, 1e-3, 1e6, "GiB", "that a device has for a run"),
    REAL(struct conf, reached_arithmetic, 1, 1e-3, 1, "", "share of the peaks that products reach"),
    REAL(struct conf, reached_memory, 1, 1e-3, 1, "", "share of the memory's peak that other calls reach"),
    REAL(struct conf, call_us, 3, 0, 1e6, "us", "from one call to the next, beside its work"),
    REAL(struct conf, inside_gb_s, 100, 1e-6, 1e9, "GB/s", "a direction, of a device's link to others in its machine"),
    REAL(struct conf, inside_us, 10, 0, 1e9, "us", "that a message is on its way there"),
    REAL(struct conf, between_gb_s, 50, 1e-6, 1e9, "GB/s", "the same of its link to other machines"),
    REAL(struct conf, between_us, 20, 0, 1e9, "us", "that a message is on its way there"),
    REAL(struct conf, reached_links, 1, 1e-3, 1, "", "share of the links' peaks that messages reach"),
    BOOL(struct conf, two_level, 0, "sums and broadcasts go within machines, and between them once, as NCCL has it"),
    { 0 }
};
const struct schema cluster_schema = { "cluster", "devices and links, to simulate a step on", sizeof(struct conf),
                                       params };

/* ---- costs ---- */

static double peak_of(const struct conf *c, const struct call_cost *call)
{
    bool fp8 = !strncmp(call->node->op->name, "fp8_", 4);
    return 1e9 * (fp8 && c->fp8_gflops > 0 ? c->fp8_gflops
                  : fp8 || call->format == FORMAT_BF16 ? c->bf16_gflops : c->fp32_gflops);
}

static double seconds_of(const void *of, const struct call_cost *call)
{
    const struct conf *c = of;
    double arithmetic = call->flops / (peak_of(c, call) * c->reached_arithmetic),
           traffic = call->bytes / (1e9 * c->memory_gb_s * c->reached_memory);
    return 1e-6 * c->call_us + fmax(arithmetic, traffic);
}

/* ---- reading ---- */

static void fill_in(double *value, double sheet, double unit) { if (*value <= 0) *value = sheet / unit; }

static void use_sheet(struct conf *c)
{
    int length;
    const char *word = param_word("none " GPU_WORDS, c->gpu, &length);
    char name[16];
    snprintf(name, sizeof name, "%.*s", length, word);
    const struct gpu *gpu = gpu_find(name);
    if (!gpu) return;
    fill_in(&c->fp32_gflops, gpu->fp32, 1e9);
    fill_in(&c->bf16_gflops, gpu->bf16, 1e9);
    fill_in(&c->fp8_gflops, gpu->fp8, 1e9);
    fill_in(&c->memory_gb_s, gpu->bandwidth, 1e9);
}

static void check(const struct conf *c, struct problems *problems)
{
    const struct { const char *key; double value; } needed[] = {
        { "fp32_gflops", c->fp32_gflops }, { "bf16_gflops", c->bf16_gflops }, { "memory_gb_s", c->memory_gb_s } };
    for (int i = 0; i < COUNT(needed); i++)
        if (needed[i].value <= 0)
            problem_add(problems, needed[i].key, "0: must be above 0, or gpu one of whose data sheet is known: "
                        GPU_WORDS);
}

static struct link link_of(const struct conf *c, double gb_s, double us)
{
    return (struct link){ 1e-6 * us, 1e9 * gb_s * c->reached_links };
}

static void describe(struct cluster *to, const struct conf *c, const char *path)
{
    char bf16[FORMAT_SIZE], fp32[FORMAT_SIZE], memory[FORMAT_SIZE];
    snprintf(to->name, sizeof to->name, "%s", c->name);
    snprintf(to->about, sizeof to->about,
             "%s: %d devices in a machine, %s FLOP/s in bf16, %s in fp32, %s B/s; links of %.3g GB/s and %.3g us "
             "inside a machine, %.3g GB/s and %.3g us between two; reached: %.3g of arithmetic, %.3g of memory, "
             "%.3g of links", path, c->node, format_count(1e9 * c->bf16_gflops, bf16),
             format_count(1e9 * c->fp32_gflops, fp32), format_count(1e9 * c->memory_gb_s, memory), c->inside_gb_s,
             c->inside_us, c->between_gb_s, c->between_us, c->reached_arithmetic, c->reached_memory, c->reached_links);
}

int cluster_read(struct cluster **out, const char *path, struct problems *problems, struct err *e)
{
    json_error_t where;
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (!json)
        return where.line > 0 ? err_set(e, "%s:%d: %s", path, where.line, where.text)
                              : err_set(e, "%s: %s", path, where.text);
    struct arena *arena = arena_new();
    struct conf *c = arena_alloc(arena, sizeof *c);
    config_load(&cluster_schema, json, "", arena, c, problems);
    json_decref(json);
    use_sheet(c);
    if (problems->found == 0) check(c, problems);
    *out = arena_alloc(arena, sizeof **out);
    **out = (struct cluster){
        .arena = arena,
        .machine = { .seconds = seconds_of, .of = c, .node = c->node, .two_level = c->two_level,
                     .inside = link_of(c, c->inside_gb_s, c->inside_us),
                     .between = link_of(c, c->between_gb_s, c->between_us) },
        .memory = c->memory_gib * (1 << 30), .backend = c->gpu == NO_GPU ? backend_cpu : gpu_backend(),
    };
    describe(*out, c, path);
    return 0;
}

void cluster_free(struct cluster *c) { if (c) arena_free(c->arena); }
