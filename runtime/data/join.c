/* Joining token files, of any format, into one: shards, or a set to train on and one to measure on. */
#include "packer.h"

#include <stdlib.h>
#include <string.h>

static int check_output(const char *path, const struct walk *w, struct err *e)
{
    struct stat s;
    char *file = xstrdup(path);
    file[corpus_path_length(path)] = 0;
    bool same = w->replaces && !stat(file, &s) && s.st_dev == w->output.st_dev && s.st_ino == w->output.st_ino;
    free(file);
    return same ? packed_over(path, e) : 0;
}

static int check_alike(const struct corpus_info *first, const struct corpus_info *i, struct err *e)
{
    if (i->vocab != first->vocab)
        return err_set(e, "%s: a vocabulary of %d, and %s has %d: they cannot be joined", i->path, i->vocab,
                       first->path, first->vocab);
    if (strcmp(i->tokenizer, first->tokenizer))
        return err_set(e, "%s: tokenizer '%s', and %s has '%s': they cannot be joined", i->path, i->tokenizer,
                       first->path, first->tokenizer);
    return 0;
}

enum { BLOCK = 1 << 12 };

/* Little-endian: the low bytes come first. */
static void put_tokens(struct packer *p, const int32_t *ids, int n)
{
    unsigned char bytes[4 * BLOCK], *to = bytes;
    size_t width = p->header.token_bytes;
    for (int i = 0; i < n; i++, to += width) memcpy(to, &ids[i], width);
    packer_emit(p, bytes, (size_t)n * width);
}

static void put_document(struct packer *p, const struct corpus *c, uint64_t begin, uint64_t end)
{
    int32_t ids[BLOCK];
    char counts[BLOCK];
    struct hash hash = { 0, 0 };
    for (uint64_t at = begin; at < end;) {
        int n = end - at < BLOCK ? (int)(end - at) : BLOCK;
        c->read(c, at, n, ids);
        hash = hash_more(hash, ids, (size_t)n * sizeof *ids);
        put_tokens(p, ids, n);
        for (int i = 0; i < n; i++) counts[i] = corpus_counts(c, at + (uint64_t)i);
        packer_mark(p, counts, at - begin, (size_t)n);
        at += (uint64_t)n;
    }
    struct seen seen = { hash.low, hash.high, hash.low, p->holding };
    buffer_append(&p->seen, &seen, sizeof seen);
    packer_end_document(p, end - begin);
}

/* Documents first .. last-1. Other programs' files have none: what one gives is one. */
static void put_documents(struct packer *p, const struct corpus *c, struct packed_file *file, uint64_t first,
                          uint64_t last)
{
    bool whole = strcmp(c->info.format, "sluice-tokens") != 0;
    if (first == last) return;
    file->documents += whole ? 1 : last - first;
    file->bytes += (c->bound[last] - c->bound[first]) * p->header.token_bytes;
    if (whole) put_document(p, c, c->bound[first], c->bound[last]);
    else for (uint64_t d = first; d < last; d++) put_document(p, c, c->bound[d], c->bound[d + 1]);
}

static void put_all(struct packer *p, struct corpus **corpus, int n, int held)
{
    for (int i = 0; i < n + held; i++) {
        const struct corpus *c = corpus[i];
        if (i == n) packer_end_training(p);
        put_documents(p, c, &p->made->file[i], 0, held ? c->info.documents : c->train_documents);
    }
    if (held) return;
    packer_end_training(p);
    for (int i = 0; i < n; i++) {
        const struct corpus *c = corpus[i];
        put_documents(p, c, &p->made->file[i], c->train_documents, c->info.documents);
    }
}

int join_inputs(struct packer *p, const struct walk *w, const char *const *inputs, int n, struct err *e)
{
    int held = p->options->n_held_out_from, opened = 0, failed = 0;
    struct corpus **corpus = xcalloc((size_t)(n + held), sizeof *corpus);
    for (; opened < n + held && !failed; opened++) {
        const char *path = opened < n ? inputs[opened] : p->options->held_out_from[opened - n];
        failed = corpus_open(&corpus[opened], path, e);
        if (!failed) failed = check_alike(&corpus[0]->info, &corpus[opened]->info, e);
        if (!failed) failed = check_output(path, w, e);
        packed_add(p->made, path);
    }
    p->made->n_train = n;
    if (!failed) {
        const struct corpus_info *i = &corpus[0]->info;
        p->header.token_bytes = i->vocab <= 256 ? 1 : i->vocab <= 65536 ? 2 : 4;
        p->header.vocab = (uint32_t)i->vocab;
        strcpy(p->header.tokenizer, i->tokenizer);
        for (int k = 0; k < opened; k++) if (corpus[k]->answer) p->header.version = TOKENS_ANSWERS;
        bool answers = p->header.version == TOKENS_ANSWERS;
        for (int k = 0; k < opened; k++) p->made->file[k].all_count = answers && !corpus[k]->answer;
        put_all(p, corpus, n, held);
    }
    for (int i = 0; i < opened; i++) corpus_close(corpus[i]);
    free(corpus);
    return failed;
}
