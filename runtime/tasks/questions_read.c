/* Files of questions: JSON lines in a form that forms.c knows, or llm.c's. */
#include "questions.h"
#include "evalfile.h"
#include "forms.h"
#include "base/regular.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_MIB = 4096 };

/* ---- labels that lie beside: NAME.jsonl has NAME-labels.lst, a number a line ---- */

struct labels { char *path, *text, *next; };

static int labels_open(struct labels *l, const char *path, struct err *e)
{
    size_t size, n = strlen(path), cut = n > 6 && !strcmp(path + n - 6, ".jsonl") ? n - 6 : n;
    struct err why;
    l->path = text_new("%.*s-labels.lst", (int)cut, path);
    l->next = l->text = regular_text(l->path, (size_t)MOST_MIB << 20, &size, &why);
    return l->text ? 0 : err_set(e, "no field 'label', and beside the file no %s: %s", l->path, why.text);
}

static int labels_next(struct labels *l, const char *path, json_t *object, struct err *e)
{
    char *end;
    if (!l->path && labels_open(l, path, e)) return -1;
    long label = strtol(l->next, &end, 10);
    if (end == l->next) return err_set(e, "no label is left in %s", l->path);
    l->next = end;
    json_object_set_new(object, "label", json_integer(label));
    return 0;
}

/* ---- JSON lines ---- */

/* form: NULL: of the first line. */
struct lines { struct questions *to; const char *name; const struct form *form; struct labels labels; };

static int check(const struct question *q, struct err *e)
{
    if (q->n == 0) return err_set(e, "there is nothing to choose from");
    if (q->gold < 0 || q->gold >= q->n) return err_set(e, "choice %d is right, of %d", q->gold, q->n);
    for (int i = 0; i < q->n; i++) if (!*q->choice[i].text) return err_set(e, "choice %d is empty", i);
    return 0;
}

static int read_object(struct lines *l, json_t *object, int line, struct err *e)
{
    if (!json_is_object(object)) return err_set(e, "must be an object");
    if (!l->form) l->form = forms_choose(l->name, object, e);
    if (!l->form) return -1;
    l->to->form = l->form->name;
    l->to->first_shots = l->form->first_shots;
    if (l->form->labels_beside && !json_object_get(object, "label") && labels_next(&l->labels, l->to->path, object, e))
        return -1;
    struct question *q = questions_add(l->to);
    struct fields fields = { l->to->arena, object, false, e };
    q->line = line;
    l->form->read(&fields, q);
    if (!*q->id) q->id = arena_text(l->to->arena, "%d", l->to->n - 1);
    return fields.failed ? -1 : check(q, e);
}

static int read_line(struct lines *l, const char *text, size_t length, int line, struct err *e)
{
    json_error_t why;
    if (strspn(text, " \t\r\n") >= length) return 0;
    json_t *object = json_loadb(text, length, JSON_DECODE_ANY, &why);
    if (!object) return err_set(e, "%s:%d: column %d: %s", l->to->path, line, why.column, why.text);
    int failure = read_object(l, object, line, e);
    json_decref(object);
    return failure ? err_prefix(e, "%s:%d: ", l->to->path, line) : 0;
}

static int read_lines(struct questions *to, const char *form, struct err *e)
{
    struct lines l = { .to = to, .name = form };
    size_t size = 0;
    int failure = 0;
    char *text = regular_text(to->path, (size_t)MOST_MIB << 20, &size, e);
    if (!text) failure = err_prefix(e, "%s: ", to->path);
    const char *at = text, *end = text + size;
    for (int line = 1; !failure && at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        failure = read_line(&l, at, (size_t)(stop - at), line, e);
        at = stop + 1;
    }
    if (!failure && to->n == 0) failure = err_set(e, "%s: there is no question in it", to->path);
    free(text);
    free(l.labels.text);
    free(l.labels.path);
    return failure;
}

int questions_read(struct questions *to, const char *path, const char *form, struct err *e)
{
    *to = (struct questions){ .arena = arena_new() };
    to->path = arena_text(to->arena, "%s", path);
    if (form && !forms_known(form, e)) { questions_free(to); return -1; }
    if (evalfile_is(path) ? evalfile_read(to, e) : read_lines(to, form, e)) { questions_free(to); return -1; }
    return 0;
}
