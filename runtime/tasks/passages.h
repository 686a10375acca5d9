/* Held-out text by document: bits per byte of whole documents, each with as much context as windows have room for. */
#ifndef SLUICE_PASSAGES_H
#define SLUICE_PASSAGES_H

#include "data/data.h"
#include "score.h"

/* Of each document: nats of all its bytes, and how many these are. */
struct passages { int n, room; double *nats, *bytes; struct arena *arena; };

/* Windows of a document overlap: each but the first predicts its last `stride` bytes; 0: half a window. tokens: the
   first of the held-out split, 0: all. -1: bytes are not what the text or the model is made of. */
struct passages_how { int64_t tokens; int stride, longest; };
int passages_read(struct passages *to, const struct corpus *c, const struct passages_how *how, struct scorer *s,
                  struct err *e);
void passages_free(struct passages *p);

#endif
