/* Packing text into a token file. Training documents stream to the file as they come; the held-out ones wait in memory
   and follow in the order of their hashes: each split is one range, and the first held-out tokens, which is all that a
   short evaluation reads, are a fair sample of all inputs. */
#include "inputs.h"
#include "tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct packer {
    struct sink sink;
    FILE *file;
    int error;                              /* of the first write that failed, or 0 */
    const struct pack_options *options;
    bool holding;                           /* the inputs are those to hold out */
    uint64_t end;                           /* of the training documents so far */
    struct buffer bounds;                   /* uint64_t: 0, and the ends of the documents written */
    struct buffer held, text;               /* struct held, and what they point into */
    struct buffer seen, words;              /* struct seen, one for each document; the words of the last */
};

struct seen { uint64_t words, text, held; };                /* hashes; whether it is held out */
struct held { struct seen seen; size_t at, length; };

static int by_hashes(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    return x->words != y->words ? (x->words > y->words) - (x->words < y->words) : (x->text > y->text) - (x->text < y->text);
}

static void emit(struct packer *p, const void *bytes, size_t n)
{
    if (!p->error && fwrite(bytes, 1, n, p->file) != n) p->error = errno;
}

static void emit_document(struct packer *p, const char *text, size_t length)
{
    p->end += length;
    buffer_append(&p->bounds, &p->end, sizeof p->end);
    emit(p, text, length);
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

/* Chosen by the words alone: documents that are alike fall on one side, so none is trained on and measured on. */
static bool is_held_out(const struct packer *p, uint64_t words)
{
    return p->options->n_held_out_from ? p->holding : (double)(words >> 11) * 0x1p-53 < p->options->held_out;
}

static void take(struct sink *sink, const char *text, size_t length)
{
    struct packer *p = (struct packer *)sink;
    struct held held = { { hash_words(&p->words, text, length), hash_bytes(text, length).low, 0 }, p->text.used, length };
    held.seen.held = is_held_out(p, held.seen.words);
    buffer_append(&p->seen, &held.seen, sizeof held.seen);
    if (!held.seen.held) {
        emit_document(p, text, length);
        return;
    }
    buffer_append(&p->held, &held, sizeof held);
    buffer_append(&p->text, text, length);
}

static int check_split(const struct token_header *h, const struct pack_options *o, struct err *e)
{
    uint64_t train = h->train_documents, held = h->documents - train;
    if (!h->documents) return err_set(e, "the inputs hold no text");
    if (o->n_held_out_from && (!train || !held)) return err_set(e, "the inputs to %s hold no text", held ? "train on" : "hold out");
    if (o->held_out > 0 && (!train || !held))
        return err_set(e, "%llu documents, %llu of them held out: a share of %g needs more documents (split them at blank lines?), or set it to 0",
                       (unsigned long long)h->documents, (unsigned long long)held, o->held_out);
    return 0;
}

static void emit_held_out(struct packer *p)
{
    struct held *held = (void *)p->held.bytes;
    size_t n = p->held.used / sizeof *held;
    if (n) qsort(held, n, sizeof *held, by_hashes);
    for (size_t i = 0; i < n; i++) emit_document(p, p->text.bytes + held[i].at, held[i].length);
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

/* The rest of the file, then the header with the hashes of what the file now holds. */
static int finish(struct packer *p, const char *temporary, struct token_header *h, struct err *e)
{
    static const char zeros[8];
    *h = (struct token_header){
        .magic = TOKENS_MAGIC, .version = TOKENS_VERSION, .token_bytes = 1, .tokenizer = "byte", .vocab = 256,
        .train_tokens = p->end, .train_documents = p->bounds.used / sizeof(uint64_t) - 1,
    };
    emit_held_out(p);
    h->tokens = h->text_bytes = p->end;
    h->documents = p->bounds.used / sizeof(uint64_t) - 1;
    h->bounds = hash_bytes(p->bounds.bytes, p->bounds.used);
    if (check_split(h, p->options, e)) return -1;
    emit(p, zeros, tokens_bounds_at(h) - sizeof *h - h->tokens);
    emit(p, p->bounds.bytes, p->bounds.used);
    if (fflush(p->file) && !p->error) p->error = errno;
    struct map m;
    if (p->error) return err_set(e, "cannot be written: %s", strerror(p->error));
    if (corpus_map(&m, temporary, e)) return -1;
    h->content = hash_bytes(m.bytes + sizeof *h, m.size - sizeof *h);
    h->self = hash_bytes(h, offsetof(struct token_header, self));
    corpus_unmap(&m);
    rewind(p->file);
    emit(p, h, sizeof *h);
    if (!p->error && (fflush(p->file) || fsync(fileno(p->file)))) p->error = errno;
    return p->error ? err_set(e, "cannot be written: %s", strerror(p->error)) : 0;
}

static int walk_inputs(struct packer *p, const struct walk *w, const char *const *inputs, int n, struct err *e)
{
    const struct pack_options *o = p->options;
    int failed = 0;
    for (int i = 0; i < n && !failed; i++) failed = inputs_walk(w, inputs[i], e);
    p->holding = true;
    for (int i = 0; i < o->n_held_out_from && !failed; i++) failed = inputs_walk(w, o->held_out_from[i], e);
    return failed;
}

static int write_file(const char *const *inputs, int n, const char *out_path, const char *temporary, const char *folder,
                      const struct pack_options *o, struct token_header *h, struct packed *made, struct err *e)
{
    struct packer p = { .sink.document = take, .file = fopen(temporary, "wbe"), .options = o };
    struct stat own;
    if (!p.file || fstat(fileno(p.file), &own)) return err_set(e, "%s: cannot be made: %s", out_path, strerror(errno));
    *h = (struct token_header){ 0 };
    emit(&p, h, sizeof *h);
    buffer_append(&p.bounds, &p.end, sizeof p.end);
    int failed = walk_inputs(&p, &(struct walk){ o, &p.sink, made, folder, own.st_dev, own.st_ino }, inputs, n, e);
    if (!failed && finish(&p, temporary, h, e)) failed = err_prefix(e, "%s: ", out_path);
    fclose(p.file);                         /* all was flushed and synced, or has failed */
    count_alike(&p, made);
    free(p.bounds.bytes);
    free(p.held.bytes);
    free(p.text.bytes);
    free(p.seen.bytes);
    free(p.words.bytes);
    return failed;
}

/* Renames, and makes the new name last. */
static int publish(const char *temporary, const char *path, const char *folder, struct err *e)
{
    if (rename(temporary, path)) return err_set(e, "%s: cannot be put in place: %s", path, strerror(errno));
    int directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = directory < 0 || fsync(directory);
    if (failed) err_set(e, "%s: its folder cannot be synced: %s", path, strerror(errno));
    if (directory >= 0) close(directory);
    return failed ? -1 : 0;
}

int corpus_pack(const char *const *inputs, int n, const char *out_path, const struct pack_options *o, struct packed *made, struct err *e)
{
    *made = (struct packed){ 0 };
    if (!(o->held_out >= 0 && o->held_out < 1)) return err_set(e, "held_out = %g: must be 0 or more and below 1", o->held_out);
    struct arena *arena = arena_new();
    const char *slash = strrchr(out_path, '/');
    char *folder = slash ? arena_text(arena, "%.*s", (int)(slash - out_path + 1), out_path) : "./";
    char *temporary = arena_text(arena, "%s.%s.%ld", folder, slash ? slash + 1 : out_path, (long)getpid());
    struct token_header h;
    *made = (struct packed){ .arena = arena_new() };
    int failed = write_file(inputs, n, out_path, temporary, folder, o, &h, made, e) || publish(temporary, out_path, folder, e) ? -1 : 0;
    if (failed) unlink(temporary);
    else made->info = (struct corpus_info){
        .path = out_path, .format = "sluice-tokens", .tokenizer = "byte", .vocab = 256, .tokens = h.tokens, .documents = h.documents,
        .train_tokens = h.train_tokens, .held_out_tokens = h.tokens - h.train_tokens, .bytes_per_token = 1, .hash = h.self,
    };
    arena_free(arena);
    return failed;
}

void packed_free(struct packed *made)
{
    if (made->arena) arena_free(made->arena);
    free(made->file);
    *made = (struct packed){ 0 };
}
