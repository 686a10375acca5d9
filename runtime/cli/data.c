/* sluice data: token files. */
#include "data/data.h"
#include "cli.h"
#include "data_print.h"
#include "base/text.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "output", 'o', "FILE", "of pack: the token file to write" },
    { "held-out", 0, "SHARE", "of pack: share of the documents kept for evaluation (default 0.1)" },
    { "held-out-from", 0, "INPUT", "of pack: hold out all of this input, and no share of the others; may be given "
                                   "again" },
    { "blank-lines", 0, NULL, "of pack: blank lines separate documents" },
    { "key", 0, "NAME", "of pack: the key of JSON objects that has the text; a.b is b of the object a (default text). "
                        "With --answers chat the list of messages (messages), with --answers prompt two keys "
                        "(prompt,completion)" },
    { "answers", 0, "FORM", "of pack: JSON objects are examples whose answers alone count as targets: chat, a list of "
                            "messages with role and content; or prompt, a prompt and a completion" },
    { "template", 0, "TEXT", "of pack, with --answers: how a message, or an example, is written: {role} and "
                             "{content}, or {prompt} and {completion}; answers count up to {end}" },
    { "seq", 0, "N", "with answers: say how windows of so many tokens are filled, and how many examples are longer" },
    { "strict", 0, NULL, "of pack: JSON that is broken or has no text is an error, not skipped; with --answers it "
                         "always is" },
    { "quiet", 'q', NULL, "of pack: do not list the inputs" },
    { "verify", 0, NULL, "of inspect: read the whole file and hold it against its hash" },
    { "json", 0, NULL, "machine-readable" },
    { 0 }
};

static json_t *info_json(const struct corpus_info *i)
{
    char hash[33];
    hash_print(i->hash, hash);
    return json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:f, s:s}", "path", i->path, "format", i->format,
                     "tokenizer", i->tokenizer, "vocab", i->vocab, "tokens", (json_int_t)i->tokens,
                     "documents", (json_int_t)i->documents, "train_tokens", (json_int_t)i->train_tokens,
                     "held_out_tokens", (json_int_t)i->held_out_tokens, "bytes_per_token", i->bytes_per_token,
                     "hash", hash);
}

static void print_split(const struct corpus_info *i, const struct packed *made)
{
    char text[FORMAT_SIZE];
    if (i->samples) printf("training   samples of at most %d tokens, made as they are read\n", i->sample_tokens);
    else printf("training   %s\n", format_count((double)i->train_tokens, text));
    printf("held out   %s\n", i->held_out_tokens ? format_count((double)i->held_out_tokens, text)
           : "nothing, so no study can run on it: pack with --held-out SHARE or --held-out-from INPUT");
    if (made && made->contaminated)
        printf("leaked     %llu held-out documents are trained on as well, but for white space: what is measured on "
               "them is memory\n",
               (unsigned long long)made->contaminated);
    if (made && made->prompts)
        printf("leaked     %llu held-out examples have a prompt that is trained on as well\n",
               (unsigned long long)made->prompts);
}

static void print_info(const struct corpus_info *i, const struct packed *made)
{
    char hash[33], text[FORMAT_SIZE];
    hash_print(i->hash, hash);
    printf("file       %s\nformat     %s\ntokenizer  %s, vocabulary %d\n", i->path, i->format, i->tokenizer, i->vocab);
    printf("tokens     %s", format_count((double)i->tokens, text));
    printf(" in %s documents\n", format_count((double)i->documents, text));
    if (made)
        printf("duplicates %llu, and %llu that differ in white space alone%s\n", (unsigned long long)made->repeated,
               (unsigned long long)made->alike, made->contaminated ? "" : "; each lies on one side with its like");
    print_split(i, made);
    if (i->bytes_per_token > 0) printf("text       %.3f bytes a token\n", i->bytes_per_token);
    printf("hash       %s\n", hash);
}

static void print_spread(const char *what, const uint64_t of[3])
{
    char shortest[FORMAT_SIZE], median[FORMAT_SIZE], longest[FORMAT_SIZE];
    printf("%-10s %s to %s tokens an example, median %s\n", what, format_count((double)of[0], shortest),
           format_count((double)of[2], longest), format_count((double)of[1], median));
}

/* Of data with answers: how much counts, and how long its parts are. */
static void add_answers(const struct corpus *corpus, int seq, json_t *j)
{
    const struct corpus_info *i = corpus_info(corpus);
    if (!i->answers) return;
    struct answers_facts f = corpus_answers_facts(corpus, seq);
    char text[FORMAT_SIZE];
    if (j) {
        json_object_set_new(j, "answers", json_pack(
            "{s:I, s:I, s:[I,I,I], s:[I,I,I]}", "tokens", (json_int_t)i->answers,
            "train_tokens", (json_int_t)i->train_answers, "prompt_lengths", (json_int_t)f.prompt[0],
            (json_int_t)f.prompt[1], (json_int_t)f.prompt[2], "lengths", (json_int_t)f.answer[0],
            (json_int_t)f.answer[1], (json_int_t)f.answer[2]));
        if (seq)
            json_object_set_new(j, "windows", json_pack("{s:i, s:I, s:f, s:I}", "seq", seq, "number",
                                                        (json_int_t)f.windows, "filled", f.filled, "longer",
                                                        (json_int_t)f.longer));
        return;
    }
    printf("targets    %s, %.1f %% of the tokens: those of answers\n", format_count((double)i->answers, text),
           100 * (double)i->answers / (double)i->tokens);
    print_spread("prompts", f.prompt);
    print_spread("answers", f.answer);
    if (seq)
        printf("windows    %s of %d tokens to train on, %.0f %% filled; %llu examples are longer and cut\n",
               format_count((double)f.windows, text), seq, 100 * f.filled, (unsigned long long)f.longer);
}

/* Of token files that say nothing of answers, joined with some that do. */
static void print_all_count(const struct packed *made)
{
    for (int i = 0; i < made->n_files; i++)
        if (made->file[i].all_count)
            printf("note       all tokens of %s count: it is text, without answers\n", made->file[i].path);
}

static enum code pack_to(const struct call *c, const char *out, const struct pack_options *o, int seq,
                         struct packed *made)
{
    struct corpus *corpus;
    struct err e;
    if (corpus_pack(c->word + 1, c->n_words - 1, out, o, made, &e))
        return cli_fail(cli_system_code(errno, CODE_INPUT), "%s", e.text);
    if (corpus_open(&corpus, out, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (cli_flag(c, "json")) {
        json_t *j = info_json(corpus_info(corpus));
        json_object_set_new(j, "duplicates", json_integer((json_int_t)made->repeated));
        json_object_set_new(j, "duplicates_but_for_white_space", json_integer((json_int_t)made->alike));
        json_object_set_new(j, "held_out_and_trained_on", json_integer((json_int_t)made->contaminated));
        json_object_set_new(j, "held_out_prompts_trained_on", json_integer((json_int_t)made->prompts));
        data_add_files(made, j);
        add_answers(corpus, seq, j);
        cli_json(j);
    } else {
        if (!cli_flag(c, "quiet")) data_print_files(made);
        print_info(corpus_info(corpus), made);
        add_answers(corpus, seq, NULL);
        print_all_count(made);
        data_print_skipped(made);
    }
    corpus_close(corpus);
    return CODE_OK;
}

static int seq_given(const struct call *c, int64_t *seq) { return cli_integer(c, "seq", 1, 1 << 20, seq); }

static enum code pack(const struct call *c)
{
    struct pack_options o = { .held_out = 0.1, .split_blank_lines = cli_flag(c, "blank-lines"),
                              .strict = cli_flag(c, "strict"), .key = cli_value(c, "key", NULL),
                              .template = cli_value(c, "template", NULL) };
    static const char *const forms[] = { "chat", "prompt", NULL };
    static const enum answers answers[] = { ANSWERS_CHAT, ANSWERS_PROMPT };
    const char *out, **held_out_from;
    struct err e;
    struct packed made = { 0 };
    int64_t seq = 0;
    if (c->n_words < 2) return cli_usage(c, "pack what? give text, folders, JSON or pages");
    int form = -1;
    if (!(out = cli_output(c)) || cli_word(c, "answers", forms, &form)) return CODE_USAGE;
    if (form >= 0) o.answers = answers[form];
    if (o.key && !*o.key) return cli_usage(c, "--key '': must be a name");
    if (cli_real(c, "held-out", 0, 0.9, &o.held_out) || seq_given(c, &seq)) return CODE_USAGE;
    if (pack_check(&o, &e)) return cli_usage(c, "%s", e.text);
    o.n_held_out_from = cli_values(c, "held-out-from", &held_out_from);
    o.held_out_from = held_out_from;
    bool joins = corpus_holds_tokens(c->word[1]), share = cli_value(c, "held-out", NULL) != NULL;
    enum code code;
    if (o.n_held_out_from && share)
        code = cli_usage(c, "--held-out and --held-out-from: either a share, or inputs of their own");
    else if (joins && o.answers)
        code = cli_usage(c, "--answers: token files say themselves what counts; give JSON");
    else if (joins && share)
        code = cli_usage(c,
                         "--held-out: token files keep their own split; --held-out-from holds out another one whole");
    else {
        if (o.n_held_out_from || joins) o.held_out = 0;
        code = pack_to(c, out, &o, (int)seq, &made);
    }
    packed_free(&made);
    free(held_out_from);
    return code;
}

static void add_facts(const struct corpus *corpus, json_t *j)
{
    struct corpus_facts f = corpus_facts(corpus);
    char shortest[FORMAT_SIZE], median[FORMAT_SIZE], longest[FORMAT_SIZE];
    if (j) {
        json_object_set_new(j, "shortest_document", json_integer((json_int_t)f.shortest));
        json_object_set_new(j, "median_document", json_integer((json_int_t)f.median));
        json_object_set_new(j, "longest_document", json_integer((json_int_t)f.longest));
        json_object_set_new(j, "ids", json_integer(f.ids));
        json_object_set_new(j, "largest_id", json_integer(f.largest_id));
        return;
    }
    printf("lengths    %s to %s tokens a document, median %s\n", format_count((double)f.shortest, shortest),
           format_count((double)f.longest, longest), format_count((double)f.median, median));
    printf("ids        %d of %d occur, up to %d\n", f.ids, corpus_info(corpus)->vocab, f.largest_id);
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
    } else
        text_print(stdout, 0, 11, "to beat    %.4f nats a byte by counting bytes, %.4f by counting pairs of bytes\n",
                   unigram, bigram);
}

static enum code inspect(const struct call *c)
{
    struct corpus *corpus;
    struct err e;
    enum code code = CODE_OK;
    int64_t seq = 0;
    if (c->n_words != 2) return cli_usage(c, "inspect one token file");
    if (seq_given(c, &seq)) return CODE_USAGE;
    if (corpus_open(&corpus, c->word[1], &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (cli_flag(c, "verify") && corpus_verify(corpus, &e)) code = cli_fail(CODE_MISMATCH, "%s", e.text);
    json_t *j = cli_flag(c, "json") ? info_json(corpus_info(corpus)) : NULL;
    if (!j) print_info(corpus_info(corpus), NULL);
    if (code == CODE_OK) {
        add_facts(corpus, j);
        add_answers(corpus, (int)seq, j);
        add_baselines(corpus, j);
    }
    if (j) cli_json(j);
    corpus_close(corpus);
    return code;
}

static enum code run(const struct call *c)
{
    static const struct verb verbs[] = { { "pack", pack }, { "inspect", inspect } };
    return cli_verb(c, verbs, COUNT(verbs));
}

const struct command command_data = {
    .name = "data", .about = "pack text into a token file, or look into one", .usage = "pack INPUT... -o FILE | "
                                                                                       "inspect FILE",
    .example = "sluice data pack books/ notes.jsonl.gz -o corpus.tok\n"
               "sluice data pack dialogues.jsonl --answers chat -o chat.tok --seq 512\n"
               "pdftotext book.pdf - | sluice data pack - -o book.tok --held-out 0\n"
               "sluice data inspect corpus.tok",
    .options = options, .least = 1, .most = -1, .run = run,
    .more = "INPUT is a folder, a file or - for text from standard input: text, .jsonl or .ndjson (a JSON value a "
             "line), .json, .html,\n.fortune, each also as .gz or .zst. What else a folder holds is named and left "
             "out, hidden files are passed over. JSON that is\nbroken or has no text is skipped and counted. "
             "\"synthetic\" and tasks, as \"task:mqar:pairs=16\", can be inspected too.",
};
