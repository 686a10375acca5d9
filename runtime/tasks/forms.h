/* Forms of questions: the fields that published tasks have, and what is asked of them. */
#ifndef SLUICE_FORMS_H
#define SLUICE_FORMS_H

#include "fields.h"
#include "questions.h"

struct form {
    const char *name, *fields;              /* what an object of it has, "a,b.c" */
    void (*read)(struct fields *f, struct question *q);
    bool first_shots;                       /* as struct questions has it */
    bool labels_beside;                     /* what is right may stand in a file beside */
};
bool forms_known(const char *name, struct err *e);
/* name: NULL: the one whose fields the object has. NULL: none, or one of several, which e names. */
const struct form *forms_choose(const char *name, const json_t *object, struct err *e);

#endif
