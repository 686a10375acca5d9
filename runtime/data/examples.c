/* Examples: turns of a JSON object as one text by a template, and which of its bytes are answers. Of a turn that
   answers, what the answer itself says counts, and what closes it: up to {end}, or all behind it. */
#include "examples.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

static const struct form {
    const char *fields, *before, *answer, *template;
} forms[] = {
    [ANSWERS_CHAT] = { "messages", "role", "content", "<|im_start|>{role}\\n{content}<|im_end|>{end}\\n" },
    [ANSWERS_PROMPT] = { "prompt,completion", "prompt", "completion",
                         "<|im_start|>user\\n{prompt}<|im_end|>\\n"
                         "<|im_start|>assistant\\n{completion}<|im_end|>{end}\\n" },
};

/* ---- the template ---- */

static int wrong(const char *text, const char *at, struct err *e, const char *why)
{
    int line = 1;
    const char *begin = text;
    for (const char *c = text; c < at; c++) if (*c == '\n') { line++; begin = c + 1; }
    return err_set(e, "--template: line %d: column %d: %s", line, (int)(at - begin) + 1, why);
}

static bool has(const struct examples *a, enum part_kind kind)
{
    for (int i = 0; i < a->n; i++) if (a->part[i].kind == kind) return true;
    return false;
}

static int add_part(struct examples *a, enum part_kind kind, const char *text, const char *at, struct err *e)
{
    if (a->n == PARTS_MOST) return wrong(text, at, e, "too many parts");
    a->part[a->n++] = (struct part){ kind, a->literal.used, 0 };
    return 0;
}

static int add_text(struct examples *a, char c, const char *text, const char *at, struct err *e)
{
    bool more = a->n && a->part[a->n - 1].kind == PART_TEXT;
    if (!more && add_part(a, PART_TEXT, text, at, e)) return -1;
    buffer_append(&a->literal, &c, 1);
    a->part[a->n - 1].length++;
    return 0;
}

/* From its brace on; *next: behind it. */
static int placeholder(struct examples *a, const char *text, const char *at, const char **next, struct err *e)
{
    const struct form *f = &forms[a->how];
    const char *const known[] = { f->before, f->answer, "end", NULL };
    char name[32], why[200];
    const char *close = strchr(at, '}');
    if (!close) return wrong(text, at, e, "'{' is not closed; '{{' is a brace itself");
    snprintf(name, sizeof name, "%.*s", (int)(close - at - 1), at + 1);
    *next = close + 1;
    for (int i = 0; known[i]; i++) {
        enum part_kind kind = (enum part_kind)(PART_BEFORE + i);
        if (strcmp(name, known[i])) continue;
        if (has(a, kind)) snprintf(why, sizeof why, "'{%s}' comes again", name);
        else if (kind == PART_BEFORE && has(a, PART_ANSWER))
            snprintf(why, sizeof why, "'{%s}' must come before '{%s}'", name, f->answer);
        else if (kind == PART_END && !has(a, PART_ANSWER))
            snprintf(why, sizeof why, "'{end}' must come behind '{%s}'", f->answer);
        else return add_part(a, kind, text, at, e);
        return wrong(text, at, e, why);
    }
    const char *near = nearest_name(name, known);
    snprintf(why, sizeof why, "no placeholder '{%s}'%s%s%s; known are {%s}, {%s} and {end}", name,
             near ? " (did you mean '{" : "", near ? near : "", near ? "}'?)" : "", f->before, f->answer);
    return wrong(text, at, e, why);
}

static int read_parts(struct examples *a, const char *text, struct err *e)
{
    static const char names[] = "nt\\", means[] = "\n\t\\";
    for (const char *at = text, *next; *at; at = next) {
        const char *named = *at == '\\' && at[1] ? strchr(names, at[1]) : NULL;
        bool twice = (*at == '{' || *at == '}') && at[1] == *at;
        next = at + 1 + (named || twice);
        if (*at == '\\' && !named) return wrong(text, at, e, "no such escape: known are \\n, \\t and \\\\");
        if (*at == '}' && !twice) return wrong(text, at, e, "'}' closes nothing; '}}' is a brace itself");
        if (*at == '{' && !twice ? placeholder(a, text, at, &next, e)
                                 : add_text(a, named ? means[named - names] : *at, text, at, e)) return -1;
    }
    return 0;
}

static int check_parts(const struct examples *a, const char *text, struct err *e)
{
    const struct form *f = &forms[a->how];
    const char *end = text + strlen(text);
    char why[100];
    bool closed = false;
    for (int i = 1; i < a->n; i++) closed |= a->part[i - 1].kind == PART_ANSWER && a->part[i].kind == PART_TEXT;
    if (!has(a, PART_ANSWER)) snprintf(why, sizeof why, "'{%s}' is missing: there is no answer in it", f->answer);
    else if (!has(a, PART_BEFORE)) snprintf(why, sizeof why, "'{%s}' is missing", f->before);
    else if (!closed) snprintf(why, sizeof why, "nothing closes the answer: text must follow '{%s}'", f->answer);
    else return 0;
    return wrong(text, end, e, why);
}

int examples_read(struct examples *a, const struct pack_options *o, struct err *e)
{
    const struct form *f = &forms[o->answers];
    const char *names = o->key ? o->key : f->fields, *comma = strchr(names, ','), *text = o->template;
    bool two = o->answers == ANSWERS_PROMPT;
    a->how = o->answers;
    if (two != (comma != NULL) || (comma && (strchr(comma + 1, ',') || comma == names || !comma[1])))
        return err_set(e, "--key '%s': must be %s, as %s", names, two ? "two names with a comma" : "one name",
                       f->fields);
    buffer_append(&a->fields, names, strlen(names) + 1);
    if (comma) a->fields.bytes[comma - names] = 0;
    if (!text) text = f->template;
    return read_parts(a, text, e) || check_parts(a, text, e) ? -1 : 0;
}

/* ---- one example ---- */

static void append(struct examples *a, const char *bytes, size_t n, bool counts)
{
    buffer_append(&a->text, bytes, n);
    for (size_t i = 0; i < n; i++) buffer_append(&a->counts, &(char){ counts }, 1);
}

static void put_turn(struct examples *a, bool answers)
{
    bool counts = false;
    for (int i = 0; i < a->n; i++) {
        const struct part *p = &a->part[i];
        if (p->kind == PART_ANSWER) counts = answers;
        if (p->kind == PART_END) counts = false;
        if (p->kind == PART_TEXT) append(a, a->literal.bytes + p->at, p->length, counts);
        else if (p->kind != PART_END) {
            const struct buffer *v = &a->value[p->kind - PART_BEFORE];
            append(a, v->bytes, v->used, counts);
        }
    }
}

/* Always false. */
static bool refuse(struct examples *a, struct jsontext *j, const char *at)
{
    if (j->why) return false;
    j->why = a->why;
    j->where = at;
    return false;
}

static bool expect_kind(struct examples *a, struct jsontext *j, const char *what, const char *name, char opens,
                        const char *must)
{
    const char *is = jsontext_kind(j);
    if (j->at < j->end && *j->at == opens) return true;
    const char *quote = *name ? "'" : "";
    snprintf(a->why, sizeof a->why, "%s%s%s%s is %s: must be %s", what, quote, *name ? name : "the value", quote, is,
             must);
    return refuse(a, j, j->at);
}

/* A member of this name; `found`: names of those that are there, each ended by 0. */
static bool lacks(struct examples *a, struct jsontext *j, const char *at, const char *what, const char *name,
                  const struct buffer *found)
{
    enum { MOST = 32 };
    const char *all[MOST + 1], *next = found->bytes;
    int n = 0, size = sizeof a->why;
    for (; n < MOST && found->used && next < found->bytes + found->used; next += strlen(next) + 1) all[n++] = next;
    all[n] = NULL;
    const char *near = nearest_name(name, all);
    int used = snprintf(a->why, sizeof a->why, "%sno field '%s'%s%s%s", what, name, near ? " (is it '" : "",
                        near ? near : "", near ? "'?)" : "");
    for (int k = 0; k < n && used < size; k++)
        used += snprintf(a->why + used, (size_t)(size - used), "%s%s", k ? ", " : "; there is ", all[k]);
    return refuse(a, j, at);
}

/* Reads the members of an object that have these n names, each ended by 0; all must be there. */
typedef bool reader(struct examples *a, struct jsontext *j, const char *what, const char *name, int i);
static bool read_object(struct examples *a, struct jsontext *j, const char *what, const char *names, int n,
                        reader *member)
{
    struct buffer found = { 0 };
    const char *name;
    int seen = 0, i;
    if (!expect_kind(a, j, what, "", '{', "an object")) return false;
    const char *begin = j->at;
    bool goes_on = !jsontext_opens_empty(j, '{', '}');
    while (goes_on && jsontext_string(j, &a->names, "expected a name in quotes") && jsontext_expects(j, ':')) {
        buffer_append(&a->names, "", 1);
        buffer_append(&found, a->names.bytes, a->names.used);
        for (i = 0, name = names; i < n && strcmp(name, a->names.bytes); i++) name += strlen(name) + 1;
        if (i == n) jsontext_skip(j);
        else if (member(a, j, what, name, i)) seen |= 1 << i;
        goes_on = jsontext_goes_on(j, '}');
    }
    for (i = 0, name = names; i < n && !j->why; i++, name += strlen(name) + 1)
        if (!(seen & 1 << i)) lacks(a, j, begin, what, name, &found);
    free(found.bytes);
    return !j->why;
}

/* A string, into value i. */
static bool read_string(struct examples *a, struct jsontext *j, const char *what, const char *name, int i)
{
    return expect_kind(a, j, what, name, '"', "a string") && jsontext_string(j, &a->value[i], "");
}

static bool read_turn(struct examples *a, struct jsontext *j, int number, bool *answered)
{
    static const char *const roles[] = { "system", "user", "assistant", NULL };
    char what[32];
    const char *begin = j->at;
    snprintf(what, sizeof what, "message %d: ", number);
    if (!read_object(a, j, what, "role\0content", 2, read_string)) return false;
    for (int r = 0; roles[r]; r++)
        if (a->value[0].used == strlen(roles[r]) && !memcmp(a->value[0].bytes, roles[r], a->value[0].used)) {
            put_turn(a, r == 2);
            *answered |= r == 2;
            return true;
        }
    buffer_append(&a->value[0], "", 1);
    char hint[HINT];
    snprintf(a->why, sizeof a->why, "%s'role' is '%.40s'%s: must be system, user or assistant", what,
             a->value[0].bytes, did_you_mean(nearest_name(a->value[0].bytes, roles), hint));
    return refuse(a, j, begin);
}

static bool read_messages(struct examples *a, struct jsontext *j, const char *what, const char *name, int i)
{
    bool answered = false;
    int number = 0;
    (void)i;
    if (!expect_kind(a, j, what, name, '[', "a list of messages")) return false;
    const char *begin = j->at;
    a->text.used = a->counts.used = 0;
    if (!jsontext_opens_empty(j, '[', ']'))
        while (read_turn(a, j, ++number, &answered) && jsontext_goes_on(j, ']')) { }
    if (j->why || answered) return !j->why;
    snprintf(a->why, sizeof a->why, number ? "'%s' has no message of the assistant: there is no answer"
                                           : "'%s' is an empty list", name);
    return refuse(a, j, begin);
}

enum jsontext_found examples_value(struct examples *a, struct jsontext *j)
{
    bool chat = a->how == ANSWERS_CHAT;
    j->why = NULL;
    a->text.used = a->counts.used = 0;
    if (read_object(a, j, "", a->fields.bytes, chat ? 1 : 2, chat ? read_messages : read_string) && !chat)
        put_turn(a, true);
    return j->why ? JSONTEXT_BROKEN : JSONTEXT_TEXT;
}

void examples_free(struct examples *a)
{
    struct buffer *const all[] = { &a->fields, &a->literal, &a->text, &a->counts, a->value, a->value + 1, &a->names };
    for (int i = 0; i < COUNT(all); i++) free(all[i]->bytes);
}
