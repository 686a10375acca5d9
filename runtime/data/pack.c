/* Packing text into a token file. Training documents stream to the file as they come; the held-out ones wait in memory
   and follow in the order of their hashes: each split is one range, and the first held-out tokens, which is all that a
   short evaluation reads, are a fair sample of all inputs. */
#include "corpus.h"
#include "tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct buffer { char *bytes; size_t used, room; };

static void append(struct buffer *b, const void *bytes, size_t n)
{
    if (b->used + n > b->room) b->bytes = xrealloc(b->bytes, b->room = 2 * (b->used + n));
    memcpy(b->bytes + b->used, bytes, n);
    b->used += n;
}

struct packer {
    struct sink sink;
    FILE *file;
    int error;                              /* of the first write that failed, or 0 */
    double held_out;
    uint64_t end;                           /* of the training documents so far */
    struct buffer bounds;                   /* uint64_t: 0, and the ends of the documents written */
    struct buffer held, text;               /* struct held, and what they point into */
    struct buffer seen, words;              /* struct seen, one for each document; the words of the last */
};

struct seen { uint64_t words, text; };      /* hashes */
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
    append(&p->bounds, &p->end, sizeof p->end);
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
        append(words, text + begin, i - begin);
        append(words, " ", 1);
    }
    return hash_bytes(words->bytes, words->used).low;
}

/* Chosen by the words alone: documents that are alike fall on one side, so none is trained on and measured on. */
static void take(struct sink *sink, const char *text, size_t length)
{
    struct packer *p = (struct packer *)sink;
    struct held held = { { hash_words(&p->words, text, length), hash_bytes(text, length).low }, p->text.used, length };
    append(&p->seen, &held.seen, sizeof held.seen);
    if ((double)(held.seen.words >> 11) * 0x1p-53 >= p->held_out) {
        emit_document(p, text, length);
        return;
    }
    append(&p->held, &held, sizeof held);
    append(&p->text, text, length);
}

static int check_split(const struct token_header *h, double held_out, struct err *e)
{
    uint64_t train = h->train_documents, held = h->documents - train;
    if (!h->documents) return err_set(e, "the inputs hold no text");
    if (held_out > 0 && (!train || !held))
        return err_set(e, "%llu documents, %llu of them held out: a share of %g needs more documents (split them at blank lines?), or set it to 0",
                       (unsigned long long)h->documents, (unsigned long long)held, held_out);
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
    for (size_t i = 1; i < n; i++) {
        bool same_words = seen[i].words == seen[i - 1].words, same_text = seen[i].text == seen[i - 1].text;
        made->repeated += same_words && same_text;
        made->alike += same_words && !same_text;
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
    if (check_split(h, p->held_out, e)) return -1;
    emit(p, zeros, tokens_bounds_at(h) - sizeof *h - h->tokens);
    emit(p, p->bounds.bytes, p->bounds.used);
    if (fflush(p->file) && !p->error) p->error = errno;
    struct map m;
    if (p->error) return err_set(e, "cannot be written: %s", strerror(p->error));
    if (regular_map(&m, temporary, e)) return -1;
    h->content = hash_bytes(m.bytes + sizeof *h, m.size - sizeof *h);
    h->self = hash_bytes(h, offsetof(struct token_header, self));
    regular_unmap(&m);
    rewind(p->file);
    emit(p, h, sizeof *h);
    if (!p->error && (fflush(p->file) || fsync(fileno(p->file)))) p->error = errno;
    return p->error ? err_set(e, "cannot be written: %s", strerror(p->error)) : 0;
}

static int write_file(const char *const *inputs, int n, const char *out_path, const char *temporary, const struct pack_options *o,
                      struct token_header *h, struct packed *made, struct err *e)
{
    struct packer p = { .sink.document = take, .file = fopen(temporary, "wbe"), .held_out = o->held_out };
    if (!p.file) return err_set(e, "%s: cannot be made: %s", out_path, strerror(errno));
    int failed = 0;
    *h = (struct token_header){ 0 };
    emit(&p, h, sizeof *h);
    append(&p.bounds, &p.end, sizeof p.end);
    for (int i = 0; i < n && !failed; i++) failed = inputs_walk(inputs[i], o->split_blank_lines, &p.sink, e);
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
    if (!(o->held_out >= 0 && o->held_out < 1)) return err_set(e, "held_out = %g: must be 0 or more and below 1", o->held_out);
    struct arena *arena = arena_new();
    const char *slash = strrchr(out_path, '/');
    char *folder = slash ? arena_text(arena, "%.*s", (int)(slash - out_path + 1), out_path) : "./";
    char *temporary = arena_text(arena, "%s.%s.%ld", folder, slash ? slash + 1 : out_path, (long)getpid());
    struct token_header h;
    *made = (struct packed){ 0 };
    int failed = write_file(inputs, n, out_path, temporary, o, &h, made, e) || publish(temporary, out_path, folder, e) ? -1 : 0;
    if (failed) unlink(temporary);
    else made->info = (struct corpus_info){
        .path = out_path, .format = "sluice-tokens", .tokenizer = "byte", .vocab = 256, .tokens = h.tokens, .documents = h.documents,
        .train_tokens = h.train_tokens, .held_out_tokens = h.tokens - h.train_tokens, .bytes_per_token = 1, .hash = h.self,
    };
    arena_free(arena);
    return failed;
}
