/* Tracking of a state: after each element of a group comes the product of all so far. With form = "blind" it must be
   kept; else each step is a table. Parity; permutations of three, four or five. Liu 2022; Merrill 2024. */
#include "data/task.h"

#include <string.h>

enum { PARITY, MOST = 5 };
struct conf { struct task task; int length, group; };
static const struct param params[] = {
    LENGTH(struct conf, 64),
    CHOICE(struct conf, group, PARITY, "parity s3 s4 s5", "whose elements are multiplied"),
    TASK(struct conf),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    int length = ((const struct conf *)self.conf)->length;
    (void)model;
    if (length % 2) module_problem(problems, path, "length", "%d: must be even", length);
}

/* What is permuted; parity is the permutations of two. */
static int degree(const struct conf *c) { return c->group == PARITY ? 2 : c->group + 2; }
static int elements(int n) { return n > 1 ? n * elements(n - 1) : 1; }

/* Permutations are numbered in the order of their entries. */
static void permutation(int number, int n, int *out)
{
    int left[MOST], remaining = n;
    for (int i = 0; i < n; i++) left[i] = i;
    for (int i = 0; i < n; i++, remaining--) {
        int block = elements(remaining - 1), at = number / block;
        number %= block;
        out[i] = left[at];
        memmove(left + at, left + at + 1, (size_t)(remaining - at - 1) * sizeof *left);
    }
}

static int number_of(const int *p, int n)
{
    int number = 0;
    for (int i = 0; i < n; i++) {
        int smaller = 0;
        for (int j = i + 1; j < n; j++) smaller += p[j] < p[i];
        number += smaller * elements(n - 1 - i);
    }
    return number;
}

static void sample(struct pick self, const struct sampled *of, struct item *to)
{
    const struct conf *c = self.conf;
    struct draws d = sampled_draws(of, "probe.track");
    int n = degree(c), state[MOST] = { 0, 1, 2, 3, 4 }, by[MOST], next[MOST];
    give(to, TOKEN_BOS);
    for (int i = 0; i < c->length / 2; i++) {
        int x = draws_below(&d, elements(n));
        permutation(x, n, by);
        for (int j = 0; j < n; j++) next[j] = state[by[j]];
        memcpy(state, next, (size_t)n * sizeof *next);
        give(to, symbol(x));
        ask(to, symbol(elements(n) + number_of(state, n)));
    }
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->symbols = 2 * elements(degree(c));
    t->length = c->length;
}

const struct module task_track = {
    .slot = SLOT_TASK, .name = "track", .about = "the product of all elements of a group so far",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .sample = sample,
};
