/* Chunks: a token sees those before it in its own chunk of the document. Llama 4. Unlike windows, chunked layers never
   connect two chunks; another layer, that sees all, has to. */
#include "model/module.h"

struct conf { int size; };
static const struct param params[] = {
    INT(struct conf, size, 64, 1, 1 << 20, "token", "length of a chunk, counted from where the document begins"),
    { 0 }
};

static struct mask build(struct build *b, struct pick self)
{
    (void)b;
    return (struct mask){ .chunk = ((const struct conf *)self.conf)->size };
}

static void traits(struct pick self, struct traits *t) { t->chunk = ((const struct conf *)self.conf)->size; }

const struct module mask_chunk = {
    .slot = SLOT_MASK, .name = "chunk", .about = "the chunk of the document",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .mask = build,
};
