/* XXH3 of 128 bits as it goes. */
#include "hashing.h"

#include <stdlib.h>
#include <xxhash.h>

struct hashing { XXH3_state_t *state; };

struct hashing *hashing_begin(void)
{
    struct hashing *h = xmalloc(sizeof *h);
    h->state = XXH3_createState();
    INVARIANT(h->state && XXH3_128bits_reset(h->state) == XXH_OK, "no memory for a hash");
    return h;
}

void hashing_add(struct hashing *h, const void *data, size_t bytes)
{
    if (bytes) XXH3_128bits_update(h->state, data, bytes);
}

struct hash hashing_end(struct hashing *h)
{
    XXH128_hash_t all = XXH3_128bits_digest(h->state);
    XXH3_freeState(h->state);
    free(h);
    return (struct hash){ all.low64, all.high64 };
}
