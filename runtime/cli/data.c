/* sluice data: token files. */
#include "data.h"
#include "cli.h"
#include "status.h"
#include <math.h>
#include <string.h>

static const struct option options[] = {
    { "output", 'o', "FILE", "of pack: the token file to write" },
    { "held-out", 0, "SHARE", "of pack: share of the documents kept for evaluation (default 0.1)" },
    { "blank-lines", 0, NULL, "of pack: blank lines separate documents" },
    { "verify", 0, NULL, "of inspect: read the whole file and hold it against its hash" },
    { "json", 0, NULL, "machine-readable" },
    { 0 }
};

static json_t *info_json(const struct corpus_info *i)
{
    char hash[33];
    hash_print(i->hash, hash);
    return json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:f, s:s}", "path", i->path, "format", i->format, "tokenizer", i->tokenizer, "vocab", i->vocab,
                     "tokens", (json_int_t)i->tokens, "documents", (json_int_t)i->documents, "train_tokens", (json_int_t)i->train_tokens,
                     "held_out_tokens", (json_int_t)i->held_out_tokens, "bytes_per_token", i->bytes_per_token, "hash", hash);
}

static void print_info(const struct corpus_info *i, const struct packed *made)
{
    char hash[33], text[FORMAT_SIZE];
    hash_print(i->hash, hash);
    printf("file       %s\nformat     %s\ntokenizer  %s, vocabulary %d\n", i->path, i->format, i->tokenizer, i->vocab);
    printf("tokens     %s", format_count((double)i->tokens, text));
    printf(" in %s documents\n", format_count((double)i->documents, text));
    if (made) printf("duplicates %llu, and %llu that differ in white space alone; each lies on one side with its like\n", (unsigned long long)made->repeated, (unsigned long long)made->alike);
    printf("training   %s\n", format_count((double)i->train_tokens, text));
    printf("held out   %s\n", format_count((double)i->held_out_tokens, text));
    if (i->bytes_per_token > 0) printf("text       %.3f bytes a token\n", i->bytes_per_token);
    printf("hash       %s\n", hash);
}

static enum code pack(const struct call *c)
{
    struct pack_options o = { .held_out = 0.1, .split_blank_lines = cli_flag(c, "blank-lines") };
    const char *out = cli_value(c, "output", NULL);
    struct packed made;
    struct corpus *corpus;
    struct err e;
    if (c->n_words < 2) return cli_usage(c, "pack what? give text files, folders or .jsonl files");
    if (!out) return cli_usage(c, "where to? give -o FILE");
    if (cli_real(c, "held-out", 0, 0.9, &o.held_out)) return CODE_USAGE;
    if (corpus_pack(c->word + 1, c->n_words - 1, out, &o, &made, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (corpus_open(&corpus, out, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (cli_flag(c, "json")) {
        json_t *j = info_json(corpus_info(corpus));
        json_object_update_new(j, json_pack("{s:I, s:I}", "duplicates", (json_int_t)made.repeated, "duplicates_but_for_white_space", (json_int_t)made.alike));
        print_json(j);
    } else print_info(corpus_info(corpus), &made);
    corpus_close(corpus);
    return CODE_OK;
}

/* What any model must beat. Not every format has both splits to measure it on. */
static void add_baselines(const struct corpus *corpus, json_t *j)
{
    double unigram, bigram;
    struct eval_set all = corpus_eval_set(corpus, 0);
    struct err e;
    if (corpus_baselines(corpus, NULL, &all, &unigram, &bigram, &e)) {
        fprintf(stderr, "no baselines: %s\n", e.text);
        return;
    }
    if (j) {
        json_object_set_new(j, "unigram_nats_per_byte", json_real(unigram));
        json_object_set_new(j, "bigram_nats_per_byte", json_real(bigram));
    }
    else printf("to beat    %.4f nats a byte by counting bytes, %.4f by counting pairs of bytes\n", unigram, bigram);
}

static enum code inspect(const struct call *c)
{
    struct corpus *corpus;
    struct err e;
    enum code code = CODE_OK;
    if (c->n_words != 2) return cli_usage(c, "inspect one token file");
    if (corpus_open(&corpus, c->word[1], &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (cli_flag(c, "verify") && corpus_verify(corpus, &e)) code = cli_fail(CODE_MISMATCH, "%s", e.text);
    json_t *j = cli_flag(c, "json") ? info_json(corpus_info(corpus)) : NULL;
    if (!j) print_info(corpus_info(corpus), NULL);
    if (code == CODE_OK) add_baselines(corpus, j);
    if (j) print_json(j);
    corpus_close(corpus);
    return code;
}

static enum code run(const struct call *c)
{
    static const char *const verbs[] = { "pack", "inspect", NULL };
    if (!strcmp(c->word[0], "pack")) return pack(c);
    if (!strcmp(c->word[0], "inspect")) return inspect(c);
    const char *near = nearest_name(c->word[0], verbs);
    return near ? cli_usage(c, "no verb '%s' (did you mean '%s'?)", c->word[0], near) : cli_usage(c, "no verb '%s': pack or inspect", c->word[0]);
}

const struct command command_data = {
    .name = "data", .about = "pack text into a token file, or look into one", .usage = "pack INPUT... -o FILE | inspect FILE",
    .example = "sluice data pack books/ notes.txt -o corpus.tok\n"
               "zcat old.txt.gz | sluice data pack - -o old.tok\nsluice data inspect corpus.tok", .options = options, .least = 1, .most = -1, .run = run,
    .more = "INPUT is a text file, a folder, a .jsonl file with a \"text\" field, or - for what comes from standard input; \"synthetic\" can be inspected too.",
};
