/* XXH128 of bytes that come in pieces: that of all of them, one after the other (hash_bytes). */
#ifndef SLUICE_HASHING_H
#define SLUICE_HASHING_H

#include "base.h"

struct hashing;
struct hashing *hashing_begin(void);
void hashing_add(struct hashing *h, const void *data, size_t bytes);
struct hash hashing_end(struct hashing *h);                  /* frees it */

#endif
