/* The forms of published tasks, their prompts as in the lm-evaluation-harness, and one of our own. */
#include "forms.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- parts ---- */

static void make_room(struct fields *f, struct question *q, size_t n)
{
    q->choice = arena_alloc(f->arena, (n + 1) * sizeof *q->choice);
}

static void add(struct question *q, const char *before, const char *text)
{
    q->choice[q->n++] = (struct choice){ before, text };
}

/* Without white space around it. */
static const char *stripped(struct fields *f, const char *text)
{
    static const char white[] = " \t\r\n\v\f";
    text += strspn(text, white);
    size_t n = strlen(text);
    while (n && strchr(white, text[n - 1])) n--;
    return arena_text(f->arena, "%.*s", (int)n, text);
}

static void lower(char *text, bool first_upper)
{
    for (char *c = text; *c; c++) if (*c >= 'A' && *c <= 'Z') *c = (char)(*c + 32);
    if (first_upper && *text >= 'a' && *text <= 'z') *text = (char)(*text - 32);
}

/* With `to` in each place of `from`. */
static char *replaced(struct fields *f, const char *text, const char *from, const char *to)
{
    char *out = arena_alloc(f->arena, (strlen(text) + 1) * (strlen(to) + 1)), *end = out;
    while (*text) {
        if (strncmp(text, from, strlen(from)) != 0) { *end++ = *text++; continue; }
        memcpy(end, to, strlen(to));
        end += strlen(to);
        text += strlen(from);
    }
    return out;
}

/* What stands in brackets, within a line, goes. */
static char *unbracketed(struct fields *f, const char *text)
{
    char *out = arena_alloc(f->arena, strlen(text) + 1), *end = out;
    while (*text) {
        size_t inside = *text == '[' ? strcspn(text, "]\n") : 0;
        if (inside && text[inside] == ']') text += inside + 1;
        else *end++ = *text++;
    }
    return out;
}

static const char *cleaned(struct fields *f, const char *text)
{
    return replaced(f, unbracketed(f, replaced(f, stripped(f, text), " [title]", ". ")), "  ", " ");
}

static const char *asked(struct fields *f, const char *question)
{
    return arena_text(f->arena, "Question: %s\nAnswer:", question);
}

/* Which of n labels the key is. */
static int label_of(struct fields *f, const char *const *label, int n)
{
    const char *key = stripped(f, fields_text(f, "answerKey"));
    for (int i = 0; i < n; i++) if (!strcmp(key, label[i])) return i;
    fields_fail(f, "'answerKey' is '%s', which no choice is labelled", key);
    return 0;
}

/* ---- forms ---- */

static void hellaswag(struct fields *f, struct question *q)
{
    char *rest = arena_text(f->arena, "%s", fields_text(f, "ctx_b"));
    lower(rest, true);
    const char *before = cleaned(f, arena_text(f->arena, "%s: %s %s", fields_text(f, "activity_label"),
                                               fields_text(f, "ctx_a"), rest));
    int n = (int)json_array_size(fields_list(f, "endings"));
    make_room(f, q, (size_t)n);
    for (int i = 0; i < n; i++) add(q, before, cleaned(f, fields_item(f, "endings", i)));
    q->gold = fields_index(f, "label", 0, n);
}

static void piqa(struct fields *f, struct question *q)
{
    const char *before = asked(f, fields_text(f, "goal"));
    make_room(f, q, 2);
    add(q, before, fields_text(f, "sol1"));
    add(q, before, fields_text(f, "sol2"));
    q->gold = fields_index(f, "label", 0, 2);
}

/* Choices that are objects of a text and a label. */
static void labelled(struct fields *f, struct question *q, const char *before)
{
    const json_t *list = fields_list(f, "question.choices");
    size_t n = json_array_size(list);
    const char **label = arena_alloc(f->arena, (n + 1) * sizeof *label);
    make_room(f, q, n);
    for (size_t i = 0; i < n; i++) {
        struct fields one = { f->arena, json_array_get(list, i), f->failed, f->e };
        add(q, before, fields_text(&one, "text"));
        label[i] = fields_text(&one, "label");
        f->failed = one.failed;
    }
    q->gold = label_of(f, label, (int)n);
}

/* Choices that are a list of texts and one of labels. */
static void labelled_flat(struct fields *f, struct question *q, const char *before)
{
    size_t n = json_array_size(fields_list(f, "choices.text"));
    const char **label = arena_alloc(f->arena, (n + 1) * sizeof *label);
    make_room(f, q, n);
    for (size_t i = 0; i < n; i++) {
        add(q, before, fields_item(f, "choices.text", (int)i));
        label[i] = fields_item(f, "choices.label", (int)i);
    }
    q->gold = label_of(f, label, (int)n);
}

static void named(struct fields *f, struct question *q) { q->id = fields_text_or(f, "id", ""); }

static void arc(struct fields *f, struct question *q)
{
    named(f, q);
    labelled(f, q, asked(f, fields_text(f, "question.stem")));
}

static void arc_flat(struct fields *f, struct question *q)
{
    named(f, q);
    labelled_flat(f, q, asked(f, fields_text(f, "question")));
}

static void openbookqa(struct fields *f, struct question *q)
{
    named(f, q);
    labelled(f, q, fields_text(f, "question.stem"));
}

static void openbookqa_flat(struct fields *f, struct question *q)
{
    named(f, q);
    labelled_flat(f, q, fields_text(f, "question_stem"));
}

/* Each option takes the gap's place; what follows it is asked of both. */
static void winogrande(struct fields *f, struct question *q)
{
    const char *sentence = fields_text(f, "sentence"), *gap = strchr(sentence, '_');
    q->id = fields_text_or(f, "qID", "");
    if (!gap || strchr(gap + 1, '_')) { fields_fail(f, "'sentence' must have one '_'"); return; }
    const char *rest = stripped(f, gap + 1), *option[] = { fields_text(f, "option1"), fields_text(f, "option2") };
    make_room(f, q, 2);
    for (int i = 0; i < 2; i++)
        add(q, arena_text(f->arena, "%.*s%s", (int)(gap - sentence), sentence, option[i]), rest);
    q->gold = fields_index(f, "answer", 1, 2);
}

static void boolq(struct fields *f, struct question *q)
{
    const char *before = arena_text(f->arena, "%s\nQuestion: %s?\nAnswer:", fields_text(f, "passage"),
                                    fields_text(f, "question"));
    make_room(f, q, 2);
    add(q, before, "no");
    add(q, before, "yes");
    q->gold = fields_index(f, fields_find(f->object, "answer") ? "answer" : "label", 0, 2);
}

static void sciq(struct fields *f, struct question *q)
{
    static const char *const field[] = { "distractor1", "distractor2", "distractor3", "correct_answer" };
    const char *support = fields_text(f, "support");
    const char *before = arena_text(f->arena, "%s\n%s", support + strspn(support, " \t\r\n\v\f"),
                                    asked(f, fields_text(f, "question")));
    make_room(f, q, COUNT(field));
    for (int i = 0; i < COUNT(field); i++) add(q, before, fields_text(f, field[i]));
    q->gold = COUNT(field) - 1;
}

/* Choices by their letters. */
static void mmlu(struct fields *f, struct question *q)
{
    int n = (int)json_array_size(fields_list(f, "choices"));
    const char *before = fields_text(f, "question");
    if (n > 26) { fields_fail(f, "'choices' has %d items: there are 26 letters", n); return; }
    make_room(f, q, (size_t)n);
    for (int i = 0; i < n; i++)
        before = arena_text(f->arena, "%s\n%c. %s", before, 'A' + i, fields_item(f, "choices", i));
    before = arena_text(f->arena, "%s\nAnswer:", before);
    for (int i = 0; i < n; i++) add(q, before, arena_text(f->arena, "%c", 'A' + i));
    q->gold = fields_index(f, "answer", 0, n);
    q->group = fields_text_or(f, "subject", "");
    if (*q->group) q->opening = arena_text(f->arena, "The following are multiple choice questions (with answers) about "
                                           "%s.\n\n", replaced(f, q->group, "_", " "));
}

/* Choices by what they say. */
static void mmlu_cloze(struct fields *f, struct question *q)
{
    int n = (int)json_array_size(fields_list(f, "choices"));
    const char *before = asked(f, fields_text(f, "question"));
    make_room(f, q, (size_t)n);
    for (int i = 0; i < n; i++) add(q, before, fields_item(f, "choices", i));
    q->gold = fields_index(f, "answer", 0, n);
    q->group = fields_text_or(f, "subject", "");
}

static void blimp(struct fields *f, struct question *q)
{
    make_room(f, q, 2);
    add(q, "", fields_text(f, "sentence_good"));
    add(q, "", fields_text(f, "sentence_bad"));
    q->delimiter = "";
    q->group = fields_text_or(f, "UID", "");
}

static void lambada(struct fields *f, struct question *q)
{
    const char *text = fields_text(f, "text"), *space = strrchr(text, ' ');
    if (!space) { fields_fail(f, "'text' must be several words"); return; }
    make_room(f, q, 1);
    add(q, arena_text(f->arena, "%.*s", (int)(space - text), text), space + 1);
}

static void own(struct fields *f, struct question *q)
{
    const char *before = fields_text(f, "context");
    int n = (int)json_array_size(fields_list(f, "choices"));
    const json_t *id = fields_find(f->object, "id");
    make_room(f, q, (size_t)n);
    for (int i = 0; i < n; i++) add(q, before, fields_item(f, "choices", i));
    q->gold = fields_index(f, "gold", 0, n);
    q->id = json_is_integer(id) ? arena_text(f->arena, "%lld", json_integer_value(id)) : fields_text_or(f, "id", "");
    q->group = fields_text_or(f, "group", "");
    q->delimiter = fields_text_or(f, "delimiter", *before ? " " : "");
}

static const struct form forms[] = {
    { "hellaswag", "activity_label,ctx_a,ctx_b,endings", hellaswag, false, false },
    { "piqa", "goal,sol1,sol2", piqa, false, true },
    { "arc", "question.stem,question.choices,answerKey", arc, false, false },
    { "arc", "question,choices.text,answerKey", arc_flat, false, false },
    { "openbookqa", "question.stem,question.choices,answerKey", openbookqa, false, false },
    { "openbookqa", "question_stem,choices.text,answerKey", openbookqa_flat, false, false },
    { "winogrande", "sentence,option1,option2", winogrande, false, false },
    { "boolq", "passage,question", boolq, false, false },
    { "sciq", "question,correct_answer,distractor1", sciq, false, false },
    { "mmlu", "question,choices,answer", mmlu, true, false },
    { "mmlu_cloze", "question,choices,answer", mmlu_cloze, true, false },
    { "blimp", "sentence_good,sentence_bad", blimp, false, false },
    { "lambada", "text", lambada, false, false },
    { "own", "context,choices,gold", own, false, false },
};

/* ---- which ---- */

bool forms_known(const char *name, struct err *e)
{
    const char *all[COUNT(forms) + 1];
    char known[256] = "", hint[HINT];
    int n = 0, used = 0;
    for (int i = 0; i < COUNT(forms); i++) {
        if (!strcmp(forms[i].name, name)) return true;
        if (n && !strcmp(all[n - 1], forms[i].name)) continue;
        used += snprintf(known + used, sizeof known - (size_t)used, "%s%s", n ? ", " : "", forms[i].name);
        all[n++] = forms[i].name;
    }
    all[n] = NULL;
    err_set(e, "--task: no task '%s'%s\n  known: %s", name, did_you_mean(nearest_name(name, all), hint), known);
    return false;
}

static bool has_all(const json_t *object, const char *fields)
{
    char one[64];
    for (const char *at = fields; *at; at += strcspn(at, ","), at += *at == ',') {
        snprintf(one, sizeof one, "%.*s", (int)strcspn(at, ","), at);
        if (!fields_find(object, one)) return false;
    }
    return true;
}

const struct form *forms_choose(const char *name, const json_t *object, struct err *e)
{
    const struct form *found = NULL, *like = NULL;
    for (int i = 0; i < COUNT(forms); i++) {
        if (name && strcmp(forms[i].name, name)) continue;
        like = &forms[i];
        if (!has_all(object, forms[i].fields)) continue;
        if (found) {
            err_set(e, "the fields are those of %s and of %s: --task says which", found->name, forms[i].name);
            return NULL;
        }
        found = &forms[i];
    }
    if (!found && name) return like;                         /* what is missing says its reader */
    if (!found) err_set(e, "these fields are of no task that is known");
    return found;
}
