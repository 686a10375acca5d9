/* What ops know beside their inputs, as scripts of modules and kernels see it. No padding: attributes are hashed. */
#ifndef SLUICE_ATTRIBUTES_H
#define SLUICE_ATTRIBUTES_H

#include <stdint.h>

enum rope_where { ROPE_FIRST, ROPE_LAST, ROPE_PROPORTIONAL };
enum hash_kind { HASH_MUL32, HASH_MOD };
struct elementwise_attr { double p, q; };

/* What attention takes: k and v of the sequence or of caches; pos, sink and rel may be absent.
   window, chunk, softcap 0: none. */
struct node;
struct attention {
    struct node *q, *k, *v, *start, *pos, *sink, *rel;
    double scale;
    int64_t window, chunk;
    double softcap;
};
struct attention_attr { double scale, softcap; int64_t window, chunk; };

struct adamw_attr { double beta1, beta2, eps, decay, rate; };             /* rate multiplies lr */
struct muon_attr { double momentum, decay, scale; int nesterov, steps; }; /* scale: see optim_muon */

#endif
