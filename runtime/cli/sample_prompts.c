/* Prompts that come as JSON lines, and answers that go as such. */
#include "sample.h"
#include "data/bytes.h"

#include <errno.h>
#include <stdlib.h>

static struct prompt prompt_new(json_t *id, const char *text, size_t length)
{
    struct prompt p = { .id = id, .n = (int64_t)length };
    p.text = xmalloc(length + 1);
    p.ids = xmalloc((length + 1) * sizeof *p.ids);
    memcpy(p.text, text, length);
    p.text[length] = 0;
    for (size_t i = 0; i < length; i++) p.ids[i] = (unsigned char)text[i];
    return p;
}

struct prompts prompts_one(const char *text)
{
    struct prompts p = { xmalloc(sizeof *p.prompt), 1 };
    *p.prompt = prompt_new(json_integer(0), text, strlen(text));
    return p;
}

int64_t prompts_longest(const struct prompts *p)
{
    int64_t longest = 0;
    for (int i = 0; i < p->n; i++) if (p->prompt[i].n > longest) longest = p->prompt[i].n;
    return longest;
}

void prompts_free(struct prompts *p)
{
    for (int i = 0; i < p->n; i++) {
        json_decref(p->prompt[i].id);
        free(p->prompt[i].text);
        free(p->prompt[i].ids);
    }
    free(p->prompt);
    *p = (struct prompts){ 0 };
}

/* What a line says; other members than these are the reader's own. */
static int read_line(struct prompts *p, const char *line, int64_t context, struct err *e)
{
    json_error_t wrong;
    json_t *json = json_loads(line, JSON_DECODE_ANY, &wrong), *text = json_object_get(json, "prompt"),
           *id = json_object_get(json, "id");
    size_t length = json_string_length(text);
    int bad = 0;
    if (!json) bad = err_set(e, "is no JSON: %s", wrong.text);
    else if (!json_is_object(json)) bad = err_set(e, "is no object, as {\"prompt\": \"The \"}");
    else if (!length) bad = err_set(e, "prompt: needs a text of at least one character");
    else if ((int64_t)length >= context)
        bad = err_set(e, "prompt: has %zu bytes, the model's sequence is %lld", length, (long long)context);
    else {
        p->prompt = xrealloc(p->prompt, (size_t)(p->n + 1) * sizeof *p->prompt);
        p->prompt[p->n] = prompt_new(id ? json_incref(id) : json_integer(p->n), json_string_value(text), length);
        p->n++;
    }
    json_decref(json);
    return bad;
}

int prompts_read(const char *path, int64_t context, struct prompts *out, struct err *e)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    int bad = 0;
    *out = (struct prompts){ 0 };
    if (!file) return err_set(e, "%s: %s", path, strerror(errno));
    for (int n = 1; !bad && getline(&line, &room, file) >= 0; n++) {
        if (line[strspn(line, " \t\r\n")] == 0) continue;
        if (read_line(out, line, context, e)) bad = err_prefix(e, "%s:%d: ", path, n);
    }
    if (!bad && !out->n) bad = err_set(e, "%s: has no prompts: one a line, as {\"prompt\": \"The \"}", path);
    free(line);
    if (file != stdin) fclose(file);
    if (bad) prompts_free(out);
    return bad;
}

/* Tokens as text in UTF-8. */
static json_t *text_of(const int32_t *ids, int64_t n)
{
    struct buffer bytes = { 0 }, text = { 0 };
    for (int64_t i = 0; i < n; i++) buffer_append(&bytes, &(char){ (char)ids[i] }, 1);
    for (size_t at = 0; at < bytes.used;) {
        int length = utf8_length(bytes.bytes + at, bytes.bytes + bytes.used);
        if (length) buffer_append(&text, bytes.bytes + at, (size_t)length);
        else utf8_append(&text, 0xfffd);
        at += length ? (size_t)length : 1;
    }
    json_t *json = json_stringn(text.used ? text.bytes : "", text.used);
    free(bytes.bytes);
    free(text.bytes);
    return json;
}

void prompts_answer(const struct prompt *p, const struct text *t, int sample)
{
    json_t *json = json_pack("{sO}", "id", p->id);
    if (sample >= 0) json_object_set_new(json, "sample", json_integer(sample));
    json_object_set_new(json, "prompt", text_of(p->ids, p->n));
    json_object_set_new(json, "text", text_of(t->ids + t->prompt, t->kept - t->prompt));
    json_object_set_new(json, "tokens", json_integer(t->n - t->prompt));
    json_object_set_new(json, "ended", json_string(ending_name[t->ending]));
    char *line = json_dumps(json, JSON_COMPACT);
    printf("%s\n", line);
    free(line);
    json_decref(json);
}
