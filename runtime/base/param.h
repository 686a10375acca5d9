/* A row of a table of parameters: of a module, which scripts set, or of an op, its attributes. Loaders, help, docs, the
   run file, editor stubs, bindings and tests read the rows. */
#ifndef SLUICE_PARAM_H
#define SLUICE_PARAM_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>

enum param_type {
    PARAM_INT,          /* field int, or int64_t of an op */
    PARAM_REAL,         /* double */
    PARAM_BOOL,         /* as PARAM_INT, 0 or 1; JSON true/false */
    PARAM_CHOICE,       /* as PARAM_INT, index into the words of `choices` */
    PARAM_INTS,         /* struct ints: a list of integers, each within min..max */
    PARAM_TEXT,         /* const char * */
    PARAM_SLOT,         /* struct pick */
    PARAM_SLOTS,        /* struct picks: any number of modules */
    PARAM_LAYERS        /* struct picks: one for each layer */
};

struct param {
    const char *name; enum param_type type; size_t offset, size;
    double value, min, max;                                           /* default and inclusive range */
    const char *choices;                                    /* words separated by spaces; the first is no default */
    const char *unit, *help;
    /* of slots: enum slot, and the default module ("" for an empty list); of a text: its default */
    unsigned slot; const char *module;
    bool optional;                                          /* of a real: 0 is "off" */
};

/* The i-th of words separated by spaces, and its length; NULL: there are not so many. */
const char *param_word(const char *words, int i, int *length);

/* The default of an op's attribute that has none; the least of a real that may not be 0. */
#define NEEDED NAN
#define ABOVE_0 DBL_MIN

#define FIELD(type, field) offsetof(type, field), sizeof(((type *)0)->field)
#define INT(type, field, def, low, high, unit, help) \
    { #field, PARAM_INT, FIELD(type, field), def, low, high, NULL, unit, help, 0, NULL, false }
#define REAL(type, field, def, low, high, unit, help) REAL_AS(#field, type, field, def, low, high, unit, help)
#define REAL_AS(name, type, field, def, low, high, unit, help)    /* of a field within a field */ \
    { name, PARAM_REAL, FIELD(type, field), def, low, high, NULL, unit, help, 0, NULL, false }
#define OPTIONAL(type, field, def, high, unit, help) /* a real that is 0 where it is off */ \
    { #field, PARAM_REAL, FIELD(type, field), def, 0, high, NULL, unit, help, 0, NULL, true }
#define BOOL(type, field, def, help) BOOL_AS(#field, type, field, def, help)
#define BOOL_AS(name, type, field, def, help) \
    { name, PARAM_BOOL, FIELD(type, field), def, 0, 1, NULL, "", help, 0, NULL, false }
#define CHOICE(type, field, def, words, help) \
    { #field, PARAM_CHOICE, FIELD(type, field), def, 0, 0, words, "", help, 0, NULL, false }
#define INTS(type, field, low, high, help) \
    { #field, PARAM_INTS, FIELD(type, field), 0, low, high, NULL, "", help, 0, NULL, false }
#define TEXT_OF(type, field, def, help) \
    { #field, PARAM_TEXT, FIELD(type, field), 0, 0, 0, NULL, "", help, 0, def, false }
#define SLOT(type, field, which, def, help) \
    { #field, PARAM_SLOT, FIELD(type, field), 0, 0, 0, NULL, "", help, which, def, false }
#define SLOTS(type, field, which, help) \
    { #field, PARAM_SLOTS, FIELD(type, field), 0, 0, 0, NULL, "", help, which, "", false }
#define LAYERS(type, field, which, def, help) \
    { #field, PARAM_LAYERS, FIELD(type, field), 0, 0, 0, NULL, "", help, which, def, false }

#endif
