/* sluice bench: how fast this machine trains. */
#include "bench.h"
#include "bind.h"
#include "cpu/pool.h"
#include "base/process.h"
#include "base/text.h"
#include "script.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct option options[] = {
    { "script", 0, "SCRIPT", "a variant of this experiment's in place of presets" },
    { "variant", 0, "NAME", "which variant of the script (its baseline)" },
    { "each", 0, NULL, "every variant of the script beside its baseline: their steps in turns, 8 times" },
    { "threads", 't', "N", "threads (as many as cores)" },
    { "steps", 'n', "N", "timed steps, after 2 that warm up (10)" },
    { "batch", 'b', "N", "sequences in a step (16, or the script's)" },
    { "backend", 0, "cpu|cuda", "what computes (cpu, or the script's)" },
    { "precision", 0, "fp32|bf16", "of activations (fp32, or the script's)" },
    { "ops", 0, NULL, "time of each op" },
    { "ceilings", 0, NULL, "what the machine reaches at best: copies by size, products of the model's own shapes" },
    { "logging", 0, NULL, "what metrics and the run file add: the same steps with and without them, 8 times" },
    { "json", 0, NULL, "machine-readable" },
    { 0 }
};
static const char *const defaults[] = { "baseline-nano", "welm-nano", "baseline-micro" };

/* ---- what is measured ---- */

/* Resolved as sluice plan does, but for the data. NULL: *code says why. */
static struct study *study_of_script(const struct call *c, enum code *code)
{
    static const struct option of_scripts[] = { SCRIPT_OPTIONS, { 0 } }, data = { .name = "data" };
    static const struct command command = { .name = "bench", .options = of_scripts };
    const char *path = cli_value(c, "script", NULL);
    struct given given[] = { { &data, "synthetic" } };
    struct call call = { .command = &command, .n_words = 1, .word = &path, .n_given = 1, .given = given };
    return script_study(&call, false, code);
}

static json_t *config_of_variant(const struct study *s, int i)
{
    json_t *config = json_deep_copy(s->variant[i].config);
    json_object_set_new(config, "name", json_string(s->variant[i].name));
    return config;
}

static enum code config_of_preset(const char *name, json_t **config)
{
    struct err e;
    json_t *model;
    if (script_preset(name, &model, &e)) return cli_fail(CODE_USAGE, "%s", e.text);
    *config = json_pack("{s:s, s:o, s:{}}", "name", name, "model", model, "train");
    return CODE_OK;
}

static int set_train(const struct call *c, json_t *config)
{
    static const struct { const char *key, *of[3]; } words[] = { { "precision", { "fp32", "bf16", NULL } },
                                                                 { "backend", { "cpu", "cuda", NULL } } };
    json_t *train = json_object_get(config, "train");
    int64_t batch = 0;
    if (cli_integer(c, "batch", 1, 1000000, &batch)) return -1;
    if (batch) json_object_set_new(train, "batch", json_integer(batch));
    for (int i = 0; i < COUNT(words); i++) {
        int which = -1;
        if (cli_word(c, words[i].key, words[i].of, &which)) return -1;
        if (which >= 0) json_object_set_new(train, words[i].key, json_string(words[i].of[which]));
    }
    return 0;
}

/* ---- measuring ---- */

/* baseline: NULL: the configuration is measured by itself. */
static enum code measure_into(int fd, const json_t *config, const json_t *baseline, const struct bench_options *o)
{
    struct err e;
    json_t *result;
    int failure = baseline ? bench_beside(config, baseline, o, &result, &e) : bench_measure(config, o, &result, &e);
    if (failure) return cli_fail(CODE_FAILURE, "%s", e.text);
    failure = json_dumpfd(result, fd, JSON_REAL_PRECISION(17));
    json_decref(result);
    return failure ? cli_fail(CODE_FAILURE, "the result cannot be handed on: %s", strerror(errno)) : CODE_OK;
}

/* In a process of its own: start-up and peak memory are then those of one model. */
static enum code measure_in_child(const char *name, const json_t *config, const json_t *baseline,
                                  const struct bench_options *o, json_t *list)
{
    int end[2], status;
    if (pipe(end)) return cli_fail(CODE_FAILURE, "pipe: %s", strerror(errno));
    pid_t child = process_fork(SIGKILL);
    if (child < 0) return cli_fail(CODE_FAILURE, "fork: %s", strerror(errno));
    if (child == 0) {
        close(end[0]);
        _exit(measure_into(end[1], config, baseline, o));
    }
    close(end[1]);
    json_t *result = json_loadfd(end[0], 0, NULL);
    close(end[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) { }
    char signal[16];
    if (WIFSIGNALED(status))
        cli_fail(CODE_FAILURE, "%s: was killed by %s", name, process_signal(WTERMSIG(status), signal));
    enum code code = WIFEXITED(status) ? (enum code)WEXITSTATUS(status) : CODE_FAILURE;
    if (code) json_decref(result);
    INVARIANT(code || result, "%s: a measurement without a result", name);
    if (code) return code;
    json_object_set_new(result, "name", json_string(name));
    json_array_append_new(list, result);
    return CODE_OK;
}

static enum code measure_config(const struct call *c, json_t *config, json_t *baseline,
                                const struct bench_options *o, json_t *list)
{
    const char *name = json_string_value(json_object_get(config, "name"));
    enum code code = set_train(c, config) || (baseline && set_train(c, baseline)) ? CODE_USAGE : CODE_OK;
    if (!code) fprintf(stderr, "measuring %s\n", name);
    if (!code) code = measure_in_child(name, config, baseline, o, list);
    json_decref(config);
    json_decref(baseline);
    return code;
}

/* How old this process is, in the kernel's hundredths of a second. */
static double process_seconds(void)
{
    struct timespec now;
    unsigned long long born = 0;
    FILE *f = fopen("/proc/self/stat", "r");
    int read = f ? fscanf(f, "%*d (%*[^)]) %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                             "%llu", &born) : 0;
    INVARIANT(read == 1, "/proc/self/stat does not say when the process was started");
    fclose(f);
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - (double)born / (double)sysconf(_SC_CLK_TCK);
}

static enum code measure_variants(const struct call *c, const struct study *s, const struct bench_options *o,
                                  json_t *list)
{
    enum code code = CODE_OK;
    for (int i = 0; i < s->n_variants && !code; i++)
        if (i != s->baseline)
            code = measure_config(c, config_of_variant(s, i), config_of_variant(s, s->baseline), o, list);
    return code;
}

static enum code measure_script(const struct call *c, const struct bench_options *o, json_t *list)
{
    enum code code;
    struct study *s = study_of_script(c, &code);
    if (!s) return code;
    int variant = o->each ? s->baseline : script_variant(c, "variant", s);
    if (o->each) code = measure_variants(c, s, o, list);
    else code = variant < 0 ? CODE_USAGE : measure_config(c, config_of_variant(s, variant), NULL, o, list);
    study_free(s);
    return code;
}

static enum code measure_all(const struct call *c, struct bench_options *o, json_t *list)
{
    const char *script = cli_value(c, "script", NULL);
    bool usual = !script && !c->n_words;
    double loading = process_seconds();
    json_t *config;
    enum code code = CODE_OK;
    o->began = clock_seconds() - loading;
    if (script) code = measure_script(c, o, list);
    for (int i = 0; i < (usual ? COUNT(defaults) : c->n_words) && !code; i++) {
        o->began = clock_seconds() - loading;
        code = config_of_preset(usual ? defaults[i] : c->word[i], &config);
        if (!code) code = measure_config(c, config, NULL, o, list);
    }
    return code;
}

/* ---- the command ---- */

static enum code run(const struct call *c)
{
    int64_t threads = pool_cores(), steps = 10;
    if (cli_integer(c, "threads", 1, 1024, &threads) || cli_integer(c, "steps", 1, 100000, &steps)) return CODE_USAGE;
    if (cli_value(c, "variant", NULL) && !cli_value(c, "script", NULL))
        return cli_usage(c, "--variant names a variant of a --script");
    struct bench_options o = { (int)threads, steps, cli_flag(c, "ops"), cli_flag(c, "ceilings"), cli_flag(c, "logging"),
                               cli_flag(c, "each"), 0 };
    if (o.each && !cli_value(c, "script", NULL)) return cli_usage(c, "--each compares the variants of a --script");
    if (o.each && (o.ops || o.ceilings || o.logging || c->n_words || cli_value(c, "variant", NULL)))
        return cli_usage(c, "--each compares whole steps: it takes no preset and no --variant, --ops, --ceilings or "
                            "--logging");
    json_t *list = json_array();
    enum code code = measure_all(c, &o, list);
    if (!code && cli_flag(c, "json")) cli_json(json_incref(list));
    else if (!code && o.each) bench_print_beside(list);
    else if (!code) {
        bench_print_steps(list);
        if (o.ops) bench_print_ops(list);
        if (o.ceilings) bench_print_ceilings(list);
        if (o.logging) bench_print_logging(list);
    }
    json_decref(list);
    return code;
}

const struct command command_bench = {
    .name = "bench", .about = "how fast this machine trains: whole steps, and each op", .usage = "[PRESET...]",
    .example = "sluice bench\nsluice bench baseline-micro --ops --threads 1\n"
               "sluice bench --script experiments/quickstart.lua --variant mirror --logging\n"
               "sluice bench --script experiments/quickstart.lua --each --threads 1",
    .options = options, .least = 0, .most = -1, .run = run,
    .more = "Presets: baseline-nano, welm-nano and baseline-micro when none is named. The data is the built-in "
            "language. Each model is\nmeasured in a process of its own. The best GEMM is the fastest of a few large "
            "products, measured after the steps. On a GPU --ops gives\nthe calls one by one, which takes longer than "
            "the recorded step, and times them by events of the GPU.",
};
