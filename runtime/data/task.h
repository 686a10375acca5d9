/* What a module of the slot `task` is written in. A sample is an item of one row: a function of the task's settings, a
   seed, a purpose and a number. */
#ifndef SLUICE_TASK_H
#define SLUICE_TASK_H

#include "model/registry.h"
#include "draws.h"
#include "item.h"

/* Ids that all tasks share; theirs follow. */
enum token { TOKEN_PAD, TOKEN_BOS, TOKEN_SEP, TOKEN_ANS, TOKEN_EOS, TOKEN_BLANK, TOKEN_MARK, TOKEN_FIRST = 8 };
static inline int32_t symbol(int x) { return TOKEN_FIRST + x; }

/* What a conf begins with: keys of all tasks. */
enum { FORM_STREAM, FORM_BLIND };
enum { LOSS_ANSWERS, LOSS_ALL };
struct task { int seed, samples, held_out, form, loss; };
#define TASK(type) \
    { "seed", PARAM_INT, FIELD(type, task.seed), 1, 0, 1 << 30, NULL, "", "of all samples", 0, NULL, false }, \
    { "samples", PARAM_INT, FIELD(type, task.samples), 0, 0, 1 << 30, NULL, "", \
      "different ones to train on, which then come again; 0: as many as there are", 0, NULL, false }, \
    { "held_out", PARAM_INT, FIELD(type, task.held_out), 512, 1, 1 << 20, NULL, "", "other ones to measure on", 0, \
      NULL, false }, \
    { "form", PARAM_CHOICE, FIELD(type, task.form), FORM_STREAM, 0, 0, "stream blind", "", \
      "whether a model reads answers as it goes, as those of text, or blanks in their place", 0, NULL, false }, \
    { "loss", PARAM_CHOICE, FIELD(type, task.loss), LOSS_ANSWERS, 0, 0, "answers all", "", \
      "what counts in training: answers, or every token", 0, NULL, false }
#define LENGTH(type, def) INT(type, length, def, 1, 1 << 20, "token", "of a sample, behind the token that begins it")

/* Which sample is wanted; table: what the module drew for all, if it does. */
struct sampled { uint64_t seed; enum purpose purpose; uint64_t number; const void *table; };

static inline struct draws sampled_draws(const struct sampled *of, const char *name)
{
    return (struct draws){ { of->seed, of->purpose, hash_name(name), of->number }, 0 };
}

static inline struct draws table_draws(uint64_t seed, const char *name)
{
    return (struct draws){ { seed, PURPOSE_DATA, hash_name(name), 0 }, 0 };
}

static inline void give(struct item *to, int32_t id) { item_put(to, id, false); }
static inline void ask(struct item *to, int32_t id) { item_put(to, id, true); }

#endif
