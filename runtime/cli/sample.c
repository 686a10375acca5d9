/* sluice sample: lets a trained run go on with a prompt, or with many. */
#include "sample.h"
#include "model/registry.h"
#include "train/speculate.h"
#include "train/trained.h"
#include "cpu/pool.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST = 64 };                                      /* chunk of a prompt */

static const struct option options[] = {
    { "prompt", 'p', "TEXT", "what to go on from (The )" },
    { "prompts", 0, "FILE", "prompts, a JSON object with \"prompt\" a line; -: standard input. Answers are JSON, too" },
    { "jsonl", 0, NULL, "answer in JSON: id, prompt, text, tokens, what ended it" },
    { "tokens", 'n', "N", "tokens to produce (200)" },
    { "stop", 0, "TEXT", "end before this text; may be given again" },
    { "temperature", 't', "X", "0: the likeliest token each time; else how freely to draw (0.8)" },
    { "top-k", 0, "N", "draw from the N likeliest tokens (0: all)" },
    { "top-p", 0, "X", "of these from as few of the likeliest as have the share X (1)" },
    { "min-p", 0, "X", "of these from those with X times the likeliest one's chance (0)" },
    { "repetition-penalty", 0, "X", "divide logits of what the text already has by X (1)" },
    { "seed", 's', "N", "of the drawing (0)" },
    { "samples", 0, "N", "answers to each prompt, with seeds from --seed on (1)" },
    { "batch", 0, "N", "texts written at once (16)" },
    { "draft", 0, "N", "draft N tokens and read them at once, one text at a time (0): the same distribution, sooner" },
    { "drafter", 0, "WHICH", "mtp: the model's blocks of multi-token prediction; suffix: what the text said before" },
    { 0 }
};

static const char *const drafters[] = { "mtp", "suffix", NULL };
enum { BY_BLOCKS, BY_SUFFIX };

struct asked {
    struct filter filter; struct limits limits; int64_t seed, samples, batch;
    int64_t draft; int drafter; struct gain gain;
    const char **stop;
};

static enum code ask(const struct call *c, struct asked *a)
{
    *a = (struct asked){ .filter = generate_plain, .limits = { 200, 0, -1, NULL }, .samples = 1, .batch = 16 };
    struct filter *f = &a->filter;
    f->temperature = 0.8;
    if (cli_integer(c, "tokens", 1, 1 << 20, &a->limits.tokens) || cli_integer(c, "seed", 0, INT64_MAX, &a->seed) ||
        cli_integer(c, "samples", 1, 1 << 20, &a->samples) || cli_integer(c, "batch", 1, 4096, &a->batch) ||
        cli_real(c, "temperature", 0, 100, &f->temperature) || cli_integer(c, "top-k", 0, INT32_MAX, &f->top_k) ||
        cli_real(c, "top-p", 0, 1, &f->top_p) || cli_real(c, "min-p", 0, 1, &f->min_p) ||
        cli_real(c, "repetition-penalty", 0.01, 100, &f->repetition) || cli_exclude(c, "prompt", "prompts") ||
        cli_integer(c, "draft", 0, SPECULATE_MOST, &a->draft) || cli_word(c, "drafter", drafters, &a->drafter) ||
        cli_exclude(c, "draft", "batch"))
        return CODE_USAGE;
    if (!*cli_value(c, "prompt", "The ")) return cli_usage(c, "--prompt: needs at least one character");
    int n = cli_values(c, "stop", &a->stop);
    for (int i = 0; i < n; i++) if (!*a->stop[i]) return cli_usage(c, "--stop: needs at least one character");
    a->limits.stop = a->stop;
    if (a->draft) a->batch = 1;
    return CODE_OK;
}

static int load_weights(const char *path, struct session *s, struct err *e)
{
    struct checkpoint c;
    if (trained_load(path, s, &c, e)) return -1;
    fprintf(stderr, "%s", c.path);
    if (c.step) fprintf(stderr, ", step %lld", (long long)c.step);
    fprintf(stderr, "%s\n", train_averages(&s->train) ? ", averages of its weights" : "");
    return 0;
}

/* ---- drafts ---- */

static void write_some(struct decoder *d, struct asked *a, const struct writing *w, struct text *text, int n)
{
    int64_t vocab = decoder_vocab(d);
    struct speculate_blocks blocks = { d, &a->filter };
    struct drafter by = { (int)a->draft, speculate_by_blocks, &blocks };
    if (a->drafter == BY_SUFFIX) by = (struct drafter){ (int)a->draft, speculate_by_suffix, &vocab };
    if (a->draft) speculate_write(d, w, &by, text, &a->gain);
    else texts_write(d, w, text, n);
}

static void tell_gain(const struct gain *g, int64_t ahead)
{
    fprintf(stderr, "%lld tokens by %lld forward passes", (long long)g->tokens, (long long)g->forwards);
    if (g->rounds) fprintf(stderr, "; %.2f a pass behind prompts; accepted of drafts", speculate_tau(g));
    for (int j = 0; g->rounds && j < ahead; j++) {
        fprintf(stderr, "%s %d ahead ", j ? "," : "", j + 1);
        if (g->tried[j]) fprintf(stderr, "%.1f %%", 100 * (double)g->accepted[j] / (double)g->tried[j]);
        else fprintf(stderr, "none");
    }
    fputc('\n', stderr);
}

/* ---- one text, as it is written ---- */

/* A byte as it is, but control characters would speak to the terminal. */
static void show(int byte)
{
    if (byte == '\n' || byte == '\t' || (byte >= 32 && byte != 127)) fputc(byte, stdout);
    else printf("\\x%02x", (unsigned)byte);
}

struct shown { const struct limits *limits; int64_t n; };

static void show_more(void *context, const struct text *t)
{
    struct shown *shown = context;
    for (int64_t end = t->n - generate_held(t, shown->limits); shown->n < end; shown->n++) show(t->ids[shown->n]);
}

static void tell_saving(const struct decoder *d, const struct session *s, int64_t prompt)
{
    if (!decoder_prompt(d)) return;
    struct prompt_saving saving = decoder_saving(d);
    fprintf(stderr, "%lld of the prompt's %lld tokens are read in chunks, without %d of %d layers: %.1f %% fewer FLOPs"
                    "\n", (long long)decoder_prompt(d), (long long)prompt, saving.layers,
            model_passes(&s->model), 100 * saving.flops);
}

static void write_one(struct decoder *d, const struct session *s, struct asked *a, const struct prompt *p)
{
    struct text t = texts_new(p->ids, p->n, &a->limits, (uint64_t)a->seed, 0);
    struct shown shown = { &a->limits, 0 };
    for (; shown.n < t.n; shown.n++) show(t.ids[shown.n]);
    write_some(d, a, &(struct writing){ &a->filter, &a->limits, show_more, &shown }, &t, 1);
    fputc('\n', stdout);
    tell_saving(d, s, p->n);
    free(t.ids);
}

/* ---- many ---- */

static void write_all(struct decoder *d, struct asked *a, const struct prompts *p)
{
    int64_t batch = decoder_size(d)->batch, all = p->n * a->samples;
    struct text *t = xmalloc((size_t)batch * sizeof *t);
    for (int64_t from = 0; from < all; from += batch) {
        int n = (int)(all - from < batch ? all - from : batch);
        for (int i = 0; i < n; i++) {
            int64_t number = (from + i) / a->samples, sample = (from + i) % a->samples;
            const struct prompt *one = &p->prompt[number];
            t[i] = texts_new(one->ids, one->n, &a->limits, (uint64_t)(a->seed + sample), (uint64_t)number);
        }
        write_some(d, a, &(struct writing){ &a->filter, &a->limits, NULL, NULL }, t, n);
        for (int i = 0; i < n; i++) {
            prompts_answer(&p->prompt[(from + i) / a->samples], &t[i],
                           a->samples > 1 ? (int)((from + i) % a->samples) : -1);
            free(t[i].ids);
        }
        cli_flush();
    }
    free(t);
}

/* ---- the command ---- */

/* Texts begin where their prompts end together: the longest prompt and the most tokens are behind each other. */
static int decoder_for(struct decoder **d, const struct session *s, const struct asked *a, const struct prompts *p,
                       struct err *e)
{
    struct plan_how how = { s->backend, (enum precision)s->train.precision, RECOMPUTE_NONE };
    int64_t longest = prompts_longest(p), all = p->n * a->samples, before = longest - 1,
            most = a->limits.tokens < s->model.seq ? a->limits.tokens : s->model.seq;
    bool blocks = a->draft && a->drafter == BY_BLOCKS;
    struct model_size size = { .batch = all < a->batch ? all : a->batch, .seq = 1 + a->draft, .rewind = 1 + a->draft,
                               .context = longest + most + a->draft, .most = before < LONGEST ? before : LONGEST,
                               .drafts = blocks };
    int64_t there = model_blocks(&s->model) - model_passes(&s->model);
    if (blocks && a->draft > there)
        return err_set(e, "--draft: the model predicts %lld tokens beyond the next (head.mtp), not %lld",
                       (long long)there, (long long)a->draft);
    return decoder_new(d, &s->model, how, s->leaves, s->state, size, 1, e);
}

static enum code write_texts(const struct call *c, struct session *s, struct asked *a, struct prompts *p)
{
    struct err e;
    struct decoder *d = NULL;
    const char *file = cli_value(c, "prompts", NULL);
    a->limits.context = s->model.seq;
    if (s->model.vocab != 256)
        return cli_fail(CODE_INPUT, "%s: was not trained on bytes; only byte models can be sampled", c->word[0]);
    if (!file) *p = prompts_one(cli_value(c, "prompt", "The "));
    else if (prompts_read(file, s->model.seq, p, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (prompts_longest(p) >= s->model.seq)
        return cli_fail(CODE_USAGE, "--prompt: has %lld bytes, the model's sequence is %d",
                        (long long)prompts_longest(p), s->model.seq);
    if (load_weights(c->word[0], s, &e) || decoder_for(&d, s, a, p, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (file || a->samples > 1 || cli_flag(c, "jsonl")) write_all(d, a, p);
    else write_one(d, s, a, &p->prompt[0]);
    if (a->draft) tell_gain(&a->gain, a->draft);
    decoder_free(d);
    return CODE_OK;
}

static enum code run(const struct call *c)
{
    struct asked a;
    struct err e;
    struct session *s;
    struct prompts prompts = { 0 };
    enum code code = ask(c, &a);
    json_t *config = code == CODE_OK ? trained_config(c->word[0], &e) : NULL;
    if (code == CODE_OK && (!config || session_new(&s, config, pool_cores(), &e)))
        code = cli_fail(CODE_INPUT, "%s", e.text);
    else if (code == CODE_OK) {
        code = write_texts(c, s, &a, &prompts);
        session_free(s);
    }
    json_decref(config);
    prompts_free(&prompts);
    free(a.stop);
    return code;
}

const struct command command_sample = {
    "sample", "let a trained run go on with a prompt", "PATH",
    "sluice sample runs/quickstart/base-1a2b3c4d/0 --prompt 'The house ' --temperature 0.7\n"
    "sluice sample averaged/step-00000500 --prompts questions.jsonl --stop '.' --temperature 0 >answers.jsonl\n"
    "sluice sample runs/mtp/deep-1a2b3c4d/0 --draft 2 --temperature 0",
    options, 1, 1,
    "PATH is a run's folder, which stands for its newest good checkpoint, a checkpoint, or a model file of sluice "
    "ckpt. Decodes byte by byte with a cache of keys and values, up to the length of the model's training sequences. "
    "The prompt is read in chunks, of which upper layers compute no more than caches need.\n"
    "Logits go through --repetition-penalty, --temperature, --top-k, --top-p and --min-p in this order; of equal ones "
    "the lowest byte comes first. A text depends on the seed and on the number of its prompt in the file, not on the "
    "others.", run,
};
