/* A token file while it is written. */
#include "packer.h"

void packer_emit(struct packer *p, const void *bytes, size_t n)
{
    fwrite(bytes, 1, n, p->file);           /* file_commit hears of what fails */
}

/* The first of a document never counts. */
void packer_mark(struct packer *p, const char *counts, uint64_t at, size_t n)
{
    if (p->header.version != TOKENS_ANSWERS) return;
    while (8 * p->answers.used < p->end + at + n) buffer_append(&p->answers, "", 1);
    for (size_t i = 0; i < n; i++) {
        uint64_t token = p->end + at + i;
        if (at + i > 0 && (!counts || counts[i])) p->answers.bytes[token / 8] |= (char)(1 << token % 8);
    }
}

void packer_end_document(struct packer *p, uint64_t tokens)
{
    p->end += tokens;
    buffer_append(&p->bounds, &p->end, sizeof p->end);
}

void packer_end_training(struct packer *p)
{
    p->holding = true;
    p->header.train_tokens = p->end;
    p->header.train_documents = p->bounds.used / sizeof(uint64_t) - 1;
}
