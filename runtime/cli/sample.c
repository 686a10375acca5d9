/* sluice sample: lets a trained run go on with a prompt. */
#include "cli.h"
#include "model/registry.h"
#include "train/decoder.h"
#include "train/trained.h"
#include "cpu/pool.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST = 64 };                                      /* chunk of a prompt */

static const struct option options[] = {
    { "prompt", 'p', "TEXT", "what to go on from (The )" },
    { "tokens", 'n', "N", "tokens to produce (200)" },
    { "temperature", 't', "X", "0: the likeliest token each time; else how freely to draw (0.8)" },
    { "seed", 's', "N", "of the drawing (0)" },
    { 0 }
};

static int load_weights(const char *path, struct session *s, struct err *e)
{
    struct checkpoint c;
    if (trained_load(path, s, &c, e)) return -1;
    fprintf(stderr, "%s", c.path);
    if (c.step) fprintf(stderr, ", step %lld", (long long)c.step);
    fprintf(stderr, "%s\n", train_averages(&s->train) ? ", averages of its weights" : "");
    return 0;
}

/* A byte as it is, but control characters would speak to the terminal. */
static void show(int byte)
{
    if (byte == '\n' || byte == '\t' || (byte >= 32 && byte != 127)) fputc(byte, stdout);
    else printf("\\x%02x", (unsigned)byte);
}

/* All of the prompt but its last byte, which needs logits: as far as chunks go. Gives where the rest begins. */
static int64_t read_prompt(struct decoder *d, const struct session *s, const char *prompt, int64_t chunk)
{
    int64_t n = (int64_t)strlen(prompt), pos = 0;
    int32_t *ids = xmalloc((size_t)(n + 1) * sizeof *ids);
    for (int64_t i = 0; i < n; i++) ids[i] = (unsigned char)prompt[i];
    for (; chunk && pos + chunk < n; pos += chunk) decoder_read(d, pos, ids + pos);
    free(ids);
    if (!chunk) return 0;
    struct prompt_saving saving = decoder_saving(d);
    fprintf(stderr, "%lld of the prompt's %lld tokens are read in chunks, without %d of %d layers: %.1f %% fewer FLOPs"
                    "\n", (long long)pos, (long long)n, saving.layers, model_passes(&s->model), 100 * saving.flops);
    return pos;
}

static void produce(struct decoder *d, const struct session *s, const char *prompt, int64_t chunk, int64_t tokens,
                   double temperature, uint64_t seed)
{
    int64_t context = s->model.seq, n = (int64_t)strlen(prompt), read = read_prompt(d, s, prompt, chunk);
    real *logits = xmalloc((size_t)s->model.vocab * sizeof *logits);
    int32_t token = 0;
    for (int64_t pos = 0; pos < read; pos++) show((unsigned char)prompt[pos]);
    for (int64_t pos = read; pos < n + tokens && pos < context; pos++) {
        if (pos < n) token = (unsigned char)prompt[pos];
        show(token);
        decoder_feed(d, pos, &token, logits);
        token = decoder_choose(logits, s->model.vocab, temperature, seed, pos);
    }
    fputc('\n', stdout);
    free(logits);
}

static enum code run(const struct call *c)
{
    const char *prompt = cli_value(c, "prompt", "The ");
    int64_t tokens = 200, seed = 0;
    double temperature = 0.8;
    struct err e;
    struct session *s;
    struct decoder *d = NULL;
    if (cli_integer(c, "tokens", 1, 1 << 20, &tokens) || cli_integer(c, "seed", 0, INT64_MAX, &seed) ||
        cli_real(c, "temperature", 0, 100, &temperature))
        return CODE_USAGE;
    if (!*prompt) return cli_usage(c, "--prompt: needs at least one character");
    json_t *config = trained_config(c->word[0], &e);
    if (!config || session_new(&s, config, pool_cores(), &e)) {
        json_decref(config);
        return cli_fail(CODE_INPUT, "%s", e.text);
    }
    json_decref(config);
    enum code code = CODE_OK;
    struct plan_how how = { s->backend, (enum precision)s->train.precision, RECOMPUTE_NONE };
    int64_t before = (int64_t)strlen(prompt) - 1, chunk = before < LONGEST ? before : LONGEST;
    struct model_size size = { .batch = 1, .seq = 1, .context = s->model.seq, .most = chunk };
    if (s->model.vocab != 256)
        code = cli_fail(CODE_INPUT, "%s: was not trained on bytes; only byte models can be sampled", c->word[0]);
    else if ((int64_t)strlen(prompt) + tokens > s->model.seq && (int64_t)strlen(prompt) >= s->model.seq)
        code = cli_fail(CODE_USAGE, "--prompt: has %zu bytes, the model's sequence is %d", strlen(prompt),
                        s->model.seq);
    else if (load_weights(c->word[0], s, &e) ||
             decoder_new(&d, &s->model, how, s->leaves, s->state, size, 1, &e))
        code = cli_fail(CODE_INPUT, "%s", e.text);
    else produce(d, s, prompt, chunk, tokens, temperature, (uint64_t)seed);
    decoder_free(d);
    session_free(s);
    return code;
}

const struct command command_sample = {
    "sample", "let a trained run go on with a prompt", "PATH",
    "sluice sample runs/quickstart/base-1a2b3c4d/0 --prompt 'The house ' --temperature 0.7\n"
    "sluice sample averaged/step-00000500", options, 1, 1,
    "PATH is a run's folder, which stands for its newest good checkpoint, a checkpoint, or a model file of sluice "
    "ckpt. Decodes byte by byte with a cache of keys and values, up to the length of the model's training sequences. "
    "The prompt is read in chunks, of which upper layers compute no more than caches need.", run,
};
