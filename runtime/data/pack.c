/* Packing text into a token file. Training documents stream to the file as they come; the held-out ones wait in memory
   and follow in the order of their hashes: each split is one range, and the first held-out tokens, which is all that a
   short evaluation reads, are a fair sample of all inputs. */
#include "base/file.h"
#include "packer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct held { struct seen seen; size_t at, length; };

static int by_hashes(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    return x->words != y->words ? (x->words > y->words) - (x->words < y->words)
                                : (x->text > y->text) - (x->text < y->text);
}

static void emit_document(struct packer *p, const char *text, const char *counts, size_t length)
{
    packer_emit(p, text, length);
    packer_mark(p, counts, 0, length);
    packer_end_document(p, length);
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Of the words alone, with one space after each: the encoding's mark, line ends and trailing blanks say nothing. */
static uint64_t hash_words(struct buffer *words, const char *text, size_t length)
{
    static const char mark[] = "\xef\xbb\xbf";
    size_t i = length >= 3 && !memcmp(text, mark, 3) ? 3 : 0;
    words->used = 0;
    for (;;) {
        while (i < length && is_space(text[i])) i++;
        size_t begin = i;
        while (i < length && !is_space(text[i])) i++;
        if (i == begin) break;
        buffer_append(words, text + begin, i - begin);
        buffer_append(words, " ", 1);
    }
    return hash_bytes(words->bytes, words->used).low;
}

/* Chosen by the words alone, of examples by those of the prompt: what is alike falls on one side, so none is trained on
   and measured on. */
static bool is_held_out(const struct packer *p, uint64_t words)
{
    return p->options->n_held_out_from ? p->holding : (double)(words >> 11) * 0x1p-53 < p->options->held_out;
}

static void take(struct sink *sink, const char *text, const char *counts, size_t length)
{
    struct packer *p = (struct packer *)sink;
    const char *answer = counts ? memchr(counts, 1, length) : NULL;
    uint64_t words = hash_words(&p->words, text, length),
             prompt = answer ? hash_words(&p->words, text, (size_t)(answer - counts)) : words;
    struct held held = { { words, hash_bytes(text, length).low, prompt, is_held_out(p, prompt) }, p->text.used,
                         length };
    buffer_append(&p->seen, &held.seen, sizeof held.seen);
    if (!held.seen.held) {
        emit_document(p, text, counts, length);
        return;
    }
    buffer_append(&p->held, &held, sizeof held);
    buffer_append(&p->text, text, length);
    if (counts) buffer_append(&p->counts, counts, length);
}

static int say_empty(const struct packed *made, struct err *e)
{
    const struct packed_file *f = made->file;
    while (f < made->file + made->n_files && !f->left) f++;
    if (f == made->file + made->n_files) return err_set(e, "the inputs hold no text");
    return err_set(e, "the inputs hold no text; left out, first of %d: %s: %s", made->n_files, f->path, f->left);
}

static int check_split(const struct token_header *h, const struct packed *made, const struct pack_options *o,
                       struct err *e)
{
    uint64_t train = h->train_documents, held = h->documents - train;
    if (!h->documents) return say_empty(made, e);
    if (o->n_held_out_from && (!train || !held))
        return err_set(e, "the inputs to %s hold no text", held ? "train on" : "hold out");
    if (o->held_out > 0 && (!train || !held))
        return err_set(e, "%llu documents, %llu of them held out: a share of %g needs more documents (split them at "
                          "blank lines?), or set it to 0",
                       (unsigned long long)h->documents, (unsigned long long)held, o->held_out);
    return 0;
}

static void emit_held_out(struct packer *p)
{
    struct held *held = (void *)p->held.bytes;
    size_t n = p->held.used / sizeof *held;
    if (n) qsort(held, n, sizeof *held, by_hashes);
    const char *counts = p->counts.bytes;
    for (size_t i = 0; i < n; i++)
        emit_document(p, p->text.bytes + held[i].at, counts ? counts + held[i].at : NULL, held[i].length);
}

static void count_alike(struct packer *p, struct packed *made)
{
    struct seen *seen = (void *)p->seen.bytes;
    size_t n = p->seen.used / sizeof *seen;
    if (n) qsort(seen, n, sizeof *seen, by_hashes);
    for (size_t begin = 0, i = 1; i <= n; i++) {            /* seen[begin..i-1] have the same words */
        if (i < n && seen[i].words == seen[begin].words) {
            bool same_text = seen[i].text == seen[i - 1].text;
            made->repeated += same_text;
            made->alike += !same_text;
            continue;
        }
        uint64_t held = 0;
        for (size_t k = begin; k < i; k++) held += seen[k].held;
        if (held < i - begin) made->contaminated += held;
        begin = i;
    }
}

static int by_prompt(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    return (x->prompt > y->prompt) - (x->prompt < y->prompt);
}

static void count_prompts(struct packer *p, struct packed *made)
{
    struct seen *seen = (void *)p->seen.bytes;
    size_t n = p->seen.used / sizeof *seen;
    if (n) qsort(seen, n, sizeof *seen, by_prompt);
    for (size_t begin = 0, i = 0, held = 0; i < n; i++) {   /* seen[begin..i] have the same prompt */
        held += seen[i].held;
        if (i + 1 < n && seen[i + 1].prompt == seen[begin].prompt) continue;
        if (held < i + 1 - begin) made->prompts += held;
        begin = i + 1;
        held = 0;
    }
}

/* Of what the file now holds behind its header. */
static int hash_content(int fd, struct token_header *h, struct err *e)
{
    struct stat now;
    if (fstat(fd, &now)) return err_set(e, "cannot be read again: %s", strerror(errno));
    size_t size = (size_t)now.st_size;
    unsigned char *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) return err_set(e, "cannot be read again: %s", strerror(errno));
    h->content = hash_bytes(bytes + sizeof *h, size - sizeof *h);
    munmap(bytes, size);
    return 0;
}

/* The rest of the file, then the header with the hashes. */
static int finish(struct packer *p, struct file *file, struct token_header *h, struct err *e)
{
    static const char zeros[8];
    *h = p->header;
    h->tokens = p->end;
    h->text_bytes = strcmp(h->tokenizer, "byte") ? 0 : p->end;
    h->documents = p->bounds.used / sizeof(uint64_t) - 1;
    if (h->version == TOKENS_ANSWERS) {
        while (p->answers.used < tokens_answers_words(h) * sizeof(uint64_t)) buffer_append(&p->answers, "", 1);
        buffer_append(&p->bounds, p->answers.bytes, p->answers.used);
    }
    h->tables = hash_bytes(p->bounds.bytes, p->bounds.used);
    if (check_split(h, p->made, p->options, e)) return -1;
    packer_emit(p, zeros, tokens_bounds_at(h) - sizeof *h - h->tokens * h->token_bytes);
    packer_emit(p, p->bounds.bytes, p->bounds.used);
    if (file_flush(file)) return 0;         /* file_commit says why */
    if (hash_content(file_descriptor(file), h, e)) return -1;
    h->self = hash_bytes(h, offsetof(struct token_header, self));
    rewind(p->file);
    packer_emit(p, h, sizeof *h);
    return 0;
}

static int walk_inputs(struct packer *p, const struct walk *w, const char *const *inputs, int n, struct err *e)
{
    const struct pack_options *o = p->options;
    int failed = 0;
    for (int i = 0; i < n && !failed; i++) failed = inputs_walk(w, inputs[i], e);
    p->holding = true;
    p->made->n_train = p->made->n_files;
    for (int i = 0; i < o->n_held_out_from && !failed; i++) failed = inputs_walk(w, o->held_out_from[i], e);
    if (failed) return -1;
    packer_end_training(p);
    emit_held_out(p);
    return 0;
}

static int write_file(const char *const *inputs, int n, const char *out_path, struct file *file,
                      const struct pack_options *o, struct token_header *h, struct packed *made, struct err *e)
{
    struct packer p = {
        .sink.document = take, .file = file_stream(file), .options = o, .made = made,
        .header = { .magic = TOKENS_MAGIC, .version = TOKENS_TEXT, .token_bytes = 1, .tokenizer = "byte",
                    .vocab = 256 },
    };
    struct examples examples = { 0 };
    if (o->answers && examples_read(&examples, o, e)) {
        examples_free(&examples);
        return -1;
    }
    if (o->answers) p.header.version = TOKENS_ANSWERS;
    const char *slash = strrchr(out_path, '/');
    struct walk w = { .options = o, .examples = o->answers ? &examples : NULL, .to = &p.sink, .made = made,
                      .folder = "." };
    if (slash) w.folder = arena_text(made->arena, "%.*s", (int)(slash - out_path + 1), out_path);
    *h = (struct token_header){ 0 };
    packer_emit(&p, h, sizeof *h);
    buffer_append(&p.bounds, &p.end, sizeof p.end);
    w.replaces = stat(out_path, &w.output) == 0;
    int failed = fstat(file_descriptor(file), &w.temporary);
    if (failed) err_set(e, "%s: cannot be examined: %s", out_path, strerror(errno));
    else failed = (corpus_holds_tokens(inputs[0]) ? join_inputs : walk_inputs)(&p, &w, inputs, n, e);
    if (!failed && finish(&p, file, h, e)) failed = err_prefix(e, "%s: ", out_path);
    count_alike(&p, made);
    if (o->answers) count_prompts(&p, made);
    examples_free(&examples);
    free(p.bounds.bytes);
    free(p.answers.bytes);
    free(p.counts.bytes);
    free(p.held.bytes);
    free(p.text.bytes);
    free(p.seen.bytes);
    free(p.words.bytes);
    return failed;
}

int pack_check(const struct pack_options *o, struct err *e)
{
    struct examples a = { 0 };
    int failed = o->answers ? examples_read(&a, o, e) : o->template ? err_set(e, "--template: is of --answers") : 0;
    examples_free(&a);
    return failed;
}

int corpus_pack(const char *const *inputs, int n, const char *out_path, const struct pack_options *o,
                struct packed *made, struct err *e)
{
    struct token_header h;
    struct pack_options strict = *o;
    *made = (struct packed){ .arena = arena_new() };
    errno = 0;
    strict.strict |= o->answers != ANSWERS_NONE;
    o = &strict;
    if (!(o->held_out >= 0 && o->held_out < 1))
        return err_set(e, "held_out = %g: must be 0 or more and below 1", o->held_out);
    struct file *file = file_begin(out_path, FILE_REGULAR, e);
    if (!file) return -1;
    if (write_file(inputs, n, out_path, file, o, &h, made, e)) {
        file_abandon(file);
        errno = made->cause;
        return -1;
    }
    if (file_commit(file, e)) return -1;
    made->info = (struct corpus_info){
        .path = out_path, .format = "sluice-tokens", .tokenizer = h.text_bytes ? "byte" : "unknown",
        .vocab = (int)h.vocab, .tokens = h.tokens, .documents = h.documents, .train_tokens = h.train_tokens,
        .held_out_tokens = h.tokens - h.train_tokens,
        .bytes_per_token = (double)h.text_bytes / (double)h.tokens, .hash = h.self,
    };
    return 0;
}
