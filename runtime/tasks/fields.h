/* Fields of a JSON object. The first that is missing or wrong is the error; what was asked for is then "" or 0. */
#ifndef SLUICE_FIELDS_H
#define SLUICE_FIELDS_H

#include "base/base.h"
#include <jansson.h>

struct fields { struct arena *arena; const json_t *object; bool failed; struct err *e; };

/* "a.b" is b of the object a. NULL: it is not there. */
const json_t *fields_find(const json_t *object, const char *path);

const char *fields_text(struct fields *f, const char *path);
const char *fields_text_or(struct fields *f, const char *path, const char *otherwise);
const json_t *fields_list(struct fields *f, const char *path);              /* not empty */
const char *fields_item(struct fields *f, const char *path, int i);        /* text i of a list */
/* A number, a text of digits, or false and true as 0 and 1: which of n, counted from `first`. */
int fields_index(struct fields *f, const char *path, int first, int n);
void fields_fail(struct fields *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
