/* Examples: turns of a JSON object as one text by a template, and which of its bytes are answers. */
#ifndef SLUICE_DATA_EXAMPLES_H
#define SLUICE_DATA_EXAMPLES_H

#include "data.h"
#include "jsontext.h"

/* What a template is made of. END: from here on nothing of an answer's turn counts. */
enum part_kind { PART_TEXT, PART_BEFORE, PART_ANSWER, PART_END };
enum { PARTS_MOST = 16 };
struct part { enum part_kind kind; size_t at, length; };    /* of PART_TEXT */

struct examples {
    enum answers how;
    struct buffer fields;                   /* the names of the object's members, each ended by 0 */
    struct part part[PARTS_MOST];
    int n;
    struct buffer literal;                  /* texts of the parts */
    struct buffer text, counts;             /* of the last example: its bytes, and 1 for each that counts, else 0 */
    struct buffer value[2], names;
    char why[400];
};

/* From { 0 }: the template and the names that the options say. */
int examples_read(struct examples *a, const struct pack_options *o, struct err *e);

/* Reads one value into text and counts. What is wrong with an example is said as what is broken in JSON. */
enum jsontext_found examples_value(struct examples *a, struct jsontext *j);

void examples_free(struct examples *a);

#endif
