/* The text in a JSON value. Starts as { 0 }. */
#ifndef SLUICE_DATA_JSONTEXT_H
#define SLUICE_DATA_JSONTEXT_H

#include "bytes.h"

struct jsontext {
    const char *at, *end;                   /* what is to be read */
    const char *why, *where;                /* it is broken, or NULL */
    bool found;
    struct buffer text;                     /* that was found */
    struct buffer names;                    /* of the object's members, the first of them, for messages */
    struct buffer name, unused;
};

/* NONE: well formed, but no string of that key. */
enum jsontext_found { JSONTEXT_TEXT, JSONTEXT_NONE, JSONTEXT_BROKEN };

/* Reads one value. key: of the member that is the text; "a.b" is b of the object a. A string is text itself. */
enum jsontext_found jsontext_value(struct jsontext *j, const char *key);

/* The same, and nothing but white space may follow. */
enum jsontext_found jsontext_whole(struct jsontext *j, const char *text, size_t length, const char *key);

/* Whether this character is next behind white space; it is passed then. */
bool jsontext_passes(struct jsontext *j, char c);

/* Parts of a value, for who reads more of it than one string. What the next is: "a string", "a number"... */
const char *jsontext_kind(struct jsontext *j);
void jsontext_skip(struct jsontext *j);                     /* the next value */
/* False: broken. */
bool jsontext_string(struct jsontext *j, struct buffer *to, const char *else_why);
bool jsontext_expects(struct jsontext *j, char c);
/* Passes the opening; true where the closing follows, which is passed as well. */
bool jsontext_opens_empty(struct jsontext *j, char opens, char closes);
/* Behind a member: true: another follows; false: it was the last, or broken. */
bool jsontext_goes_on(struct jsontext *j, char closes);

void jsontext_free(struct jsontext *j);

#endif
