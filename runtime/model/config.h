/* Schemas and typed configurations. A parameter is one row of a table; the loader, the help, the docs, the run
   file, the editor stubs and the tests read that row.

   In JSON (what Lua hands over and what the run file keeps) a slot's value is {"module": "gqa", "heads": 8, ...},
   every key of the schema present after config_resolve, keys sorted; a per-layer slot may be
   {"layers": [value, ...]} with one value a layer. */
#ifndef SLUICE_CONFIG_H
#define SLUICE_CONFIG_H

#include "base/base.h"
#include "base/param.h"
#include <jansson.h>

/* Every slot: its constant and its name in scripts, in the order of documentation. */
#define SLOT_LIST(X) \
    X(INIT, "init") X(MAP, "map") X(PARAMETRIZATION, "parametrization") X(EMBED, "embed") X(POSITION, "position") \
    X(NORM, "norm") X(RESIDUAL, "residual") X(MEMORY, "memory") X(BLOCK, "block") X(PLE, "ple") X(CONV, "conv") \
    X(ATTENTION, "attention") X(MASK, "mask") X(KEYS, "keys") X(KV, "kv") \
    X(VALUE, "value") X(QK_NORM, "qk_norm") X(TEMPERATURE, "temperature") X(GATE, "gate") X(DECAY, "decay") \
    X(EXPERTS, "experts") X(FFN, "ffn") X(ACTIVATION, "activation") \
    X(ROUTER, "router") X(LOGITS, "logits") X(ANNEAL, "anneal") X(NOISE, "noise") X(SELECT, "select") \
    X(REVISE, "revise") X(BALANCE, "balance") X(DISPATCH, "dispatch") X(LATENT, "latent") X(SHARED, "shared") \
    X(HEAD, "head") X(MTP, "mtp") X(ADAPTER, "adapter") X(BASE, "base") \
    X(RANKS, "ranks") X(FP8, "fp8") X(OPTIM, "optim") X(RATES, "rates") X(CONSTRAINT, "constraint") \
    X(SCHEDULE, "schedule") X(GUARD, "guard") X(AVERAGE, "average") X(MONITORS, "monitors") \
    X(TASK, "task")

#define SLOT_ENUM(upper, name) SLOT_##upper,
enum slot { SLOT_LIST(SLOT_ENUM) SLOT_COUNT };
extern const char *const slot_name[SLOT_COUNT];

struct module;
struct pick { const struct module *module; void *conf; };             /* what fills a slot */
struct picks { int n; struct pick *pick; };                           /* a list, or one for each layer */
struct ints { int n; int *value; };

struct schema { const char *name, *about; size_t size; const struct param *params; };

/* All mistakes of a configuration, not only the first. path is the key's path in the script's words
   ("ffn.router.top_k"); text gives value, rule and nearest legal name, without the path. */
struct problem { char *path, *text, *variant; };                      /* variant: of a study, or NULL */
enum { PROBLEMS_KEPT = 100 };                               /* of n: who reads them mends the first ones first */
/* found: with those that had been said already; variant: for the next problems */
struct problems { int n, found, room; struct problem *problem; const char *variant; };
int problems_kept(const struct problems *p);
void problem_add(struct problems *p, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
void problems_free(struct problems *p);

/* Fills conf (schema->size bytes, from `arena`) from JSON; missing keys get their defaults; every mistake is
   added to problems. `layers` is the number of layers for PARAM_LAYERS (0 when the schema has none; the
   schema's own "layers" key is used when it has one). Positional "module" words choose modules; a string is
   short for {"module": string}; a table without "module" means the slot's default module. */
void config_load(const struct schema *schema, const json_t *json, const char *path, struct arena *arena, void *conf,
                 struct problems *problems);

/* The same configuration written out in full: all keys, canonical (sorted) order. New reference. */
json_t *config_write(const struct schema *schema, const void *conf);

/* Text of a JSON value as it enters hashes: sorted keys, %.17g reals, no spaces. malloc'd. */
char *config_canonical(const json_t *json);

/* Sets a copy of value by dotted path of keys and slot names ("attention.gate", "ffn.router.top_k"; in lists the name
   of the module: "ffn.balance.bias.gamma"). A string at a slot chooses the module with its defaults; a table that names
   no module changes keys of the module that is there. Per-layer lists get it in every layer that has such a key. Values
   are not checked: config_load does that. The error's text, as in problems, does not repeat the path. */
int config_set(const struct schema *schema, json_t *json, const char *path, json_t *value, struct err *e);

/* Reads a value by dotted path (first layer of per-layer lists); NULL when there is none. Borrowed. */
json_t *config_get(const json_t *json, const char *path);
int64_t config_integer(const json_t *json, const char *path);               /* 0 where there is no such number */

#endif
