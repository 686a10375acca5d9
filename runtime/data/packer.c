/* A token file while it is written. */
#include "packer.h"

void packer_emit(struct packer *p, const void *bytes, size_t n)
{
    fwrite(bytes, 1, n, p->file);           /* file_commit hears of what fails */
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
