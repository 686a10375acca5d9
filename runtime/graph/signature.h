/* What an op takes, gives and knows, read from the text in which it says so. Checks, messages, the reference page,
   bindings and tests go by it. A text is values separated by spaces, a value is its name and

       ?  *  ..    it may be absent; it is changed in place; any number of such ("s?*" is both)
       :I32        its dtype, "I32|REAL" where it may be either; ANY: ACT, REAL or I32; nothing: ACT or REAL
       [T,E]       its extents, nothing: any. A letter is the same extent wherever the op names it, T is B S; E+1; a
                   number; _ is any extent; .. any number of them, the same wherever it stands; | parts shapes of
                   different rank: "sink?:REAL[H|T,H]" */
#ifndef SLUICE_SIGNATURE_H
#define SLUICE_SIGNATURE_H

#include "graph.h"
#include "base/param.h"

/* number: which it is of any number. */
struct op_value { char name[16], dtype[16], shape[32]; bool optional, changed, many; int number; };
bool op_input(const struct op *op, int i, struct op_value *out);             /* false: the op has no input i */
bool op_output(const struct op *op, int i, struct op_value *out);

/* Extents by letter, 0: not named yet, and the values that named them; `rest` is what ".." stands for. */
struct extents { int64_t letter[128]; struct shape rest; bool has_rest; char of[128][24]; };
/* Whether decl is what `value` says; learns the letters that are new. 0, or -1 with what is wrong. */
int op_fits(struct extents *x, const struct op_value *value, struct decl decl, struct err *e);

/* Whether every attribute is within its row's bounds: 0, or -1 with what is wrong. */
int op_knows(const struct op *op, const void *attr, struct err *e);

/* A node by names, as scripts make them. Inputs and attributes have their names; `nodes` are an input of any number. */
struct named {
    const char *name; enum { GIVEN_NODE, GIVEN_INT, GIVEN_REAL, GIVEN_WORD, GIVEN_BOOL } kind;
    int n; struct node *const *nodes;
    int64_t integer; double real; const char *word;
};
struct node *graph_call(struct graph *g, const char *op, int n, const struct named *given);

extern const char *const dtype_name[];                      /* "ACT" */
extern const struct op *const op_all[];                     /* by index, in the order of ops.h; ends with NULL */

#endif
