/* Packing text into a token file. Training documents stream to the file as they come; the held-out ones wait in memory
   and follow in the order of their hashes: each split is one range, and the first held-out tokens, which is all that a
   short evaluation reads, are a fair sample of all inputs. */
#include "corpus.h"
#include "base/file.h"
#include "tokens.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

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
    fwrite(bytes, 1, n, p->file);           /* file_commit hears of what fails */
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
    if (file_flush(file)) return 0;         /* file_commit says why */
    if (hash_content(file_descriptor(file), h, e)) return -1;
    h->self = hash_bytes(h, offsetof(struct token_header, self));
    rewind(p->file);
    emit(p, h, sizeof *h);
    return 0;
}

static int write_file(const char *const *inputs, int n, const char *out_path, struct file *file, const struct pack_options *o,
                      struct token_header *h, struct packed *made, struct err *e)
{
    struct packer p = { .sink.document = take, .file = file_stream(file), .held_out = o->held_out };
    int failed = 0;
    *h = (struct token_header){ 0 };
    emit(&p, h, sizeof *h);
    append(&p.bounds, &p.end, sizeof p.end);
    for (int i = 0; i < n && !failed; i++) failed = inputs_walk(inputs[i], o->split_blank_lines, &p.sink, e);
    if (!failed && finish(&p, file, h, e)) failed = err_prefix(e, "%s: ", out_path);
    count_alike(&p, made);
    free(p.bounds.bytes);
    free(p.held.bytes);
    free(p.text.bytes);
    free(p.seen.bytes);
    free(p.words.bytes);
    return failed;
}

/* What would be written over must not be read: told before anything is. */
static int check_apart(const char *const *inputs, int n, const char *out_path, struct err *e)
{
    struct stat own;
    struct sink look = { .document = NULL };
    int failed = 0;
    if (stat(out_path, &own)) return 0;
    look.own_device = own.st_dev;
    look.own_file = own.st_ino;
    for (int i = 0; i < n && !failed; i++) failed = inputs_walk(inputs[i], false, &look, e);
    errno = 0;
    return failed;
}

int corpus_pack(const char *const *inputs, int n, const char *out_path, const struct pack_options *o, struct packed *made, struct err *e)
{
    struct token_header h;
    *made = (struct packed){ 0 };
    errno = 0;
    if (!(o->held_out >= 0 && o->held_out < 1)) return err_set(e, "held_out = %g: must be 0 or more and below 1", o->held_out);
    if (check_apart(inputs, n, out_path, e)) return -1;
    struct file *file = file_begin(out_path, FILE_REGULAR, e);
    if (!file) return -1;
    if (write_file(inputs, n, out_path, file, o, &h, made, e)) {
        file_abandon(file);
        errno = 0;
        return -1;
    }
    if (file_commit(file, e)) return -1;
    made->info = (struct corpus_info){
        .path = out_path, .format = "sluice-tokens", .tokenizer = "byte", .vocab = 256, .tokens = h.tokens, .documents = h.documents,
        .train_tokens = h.train_tokens, .held_out_tokens = h.tokens - h.train_tokens, .bytes_per_token = 1, .hash = h.self,
    };
    return 0;
}
