/* What ops know beside their inputs, as scripts of modules and kernels see it. No padding: attributes are hashed. */
#ifndef SLUICE_ATTRIBUTES_H
#define SLUICE_ATTRIBUTES_H

#include <stdint.h>

enum rope_where { ROPE_FIRST, ROPE_LAST, ROPE_PROPORTIONAL };
enum hash_kind { HASH_MUL32, HASH_MOD };
struct elementwise_attr { double p, q; };
struct noise_attr { uint64_t name; int64_t kind, rank, dim[4]; };         /* enum noise_kind; the shape */
struct adamw_attr { double beta1, beta2, eps, decay, rate; };             /* rate multiplies lr */
struct muon_attr { double momentum, decay, scale; int nesterov, steps; }; /* scale: see optim_muon */

#endif
