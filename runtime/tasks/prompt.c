/* A prompt: opening, examples, what stands before a choice; then delimiter and choice, which count. Spaces in front of
   the delimiter go with it. Where nothing stands before, a newline does: a first byte must be predicted from
   something. */
#include "prompt.h"
#include "data/bytes.h"

#include <stdio.h>
#include <stdlib.h>

static const char nothing[] = "\n", between[] = "\n\n";

/* Bytes of what stands before, without the spaces at its end. */
static size_t trimmed(const char *text)
{
    size_t n = strlen(text);
    while (n && text[n - 1] == ' ') n--;
    return n;
}

static void append(struct buffer *b, const char *text) { buffer_append(b, text, strlen(text)); }

static void put_bytes(struct item *it, const char *bytes, size_t n, bool counts)
{
    for (size_t i = 0; i < n; i++) item_put(it, (unsigned char)bytes[i], counts);
}

/* What counts of choice i. */
static void put_choice(struct item *it, const struct question *q, int i)
{
    const struct choice *c = &q->choice[i];
    const char *part[] = { c->before + trimmed(c->before), q->delimiter, c->text };
    struct item_row *r = &it->row[it->rows - 1];
    for (int k = 0; k < COUNT(part); k++) {
        put_bytes(it, part[k], strlen(part[k]), true);
        r->bytes += (int)strlen(part[k]);
        r->characters += utf8_count(part[k]);
    }
}

static size_t choice_bytes(const struct question *q, int i)
{
    const struct choice *c = &q->choice[i];
    return strlen(c->before) + strlen(q->delimiter) + strlen(c->text);
}

/* ---- examples ---- */

static bool asks_itself(const struct prompts *p) { return p->pool == p->of; }

int prompts_check(const struct prompts *p, struct err *e)
{
    if (!p->shots) return 0;
    if (p->of->question[0].tokens || p->pool->question[0].tokens)
        return err_set(e, "%s: is in tokens: examples are of words", p->of->question[0].tokens ? p->of->path
                                                                                              : p->pool->path);
    if (question_is_pair(&p->of->question[0]))
        return err_set(e, "%s: nothing stands before what is asked: no examples can be put there", p->of->path);
    if (p->pool->n >= p->shots + asks_itself(p)) return 0;
    return err_set(e, "%s: has %d questions: %d examples are more than there are", p->pool->path, p->pool->n, p->shots);
}

/* The first of question i's group. */
static int first_ones(const struct prompts *p, int i, int *shot)
{
    int n = 0;
    for (int k = 0; k < p->pool->n && n < p->shots; k++)
        if (!strcmp(p->pool->question[k].group, p->of->question[i].group) && !(asks_itself(p) && k == i)) shot[n++] = k;
    return n;
}

/* Distinct ones, in the order of their drawing. One more is drawn where the question may be among them. */
static int drawn_ones(const struct prompts *p, int i, int *shot)
{
    char name[64];
    snprintf(name, sizeof name, "eval.fewshot.%s", p->of->form);
    struct key key = { 1, PURPOSE_EVAL, hash_name(name), (uint64_t)i };
    int *all = xmalloc((size_t)p->pool->n * sizeof *all), draws = p->shots + asks_itself(p), n = 0;
    for (int k = 0; k < p->pool->n; k++) all[k] = k;
    for (int k = 0; k < draws; k++) {
        int j = k + (int)key_below(key, (uint64_t)k, (uint64_t)(p->pool->n - k)), drawn = all[j];
        all[j] = all[k];
        if (!(asks_itself(p) && drawn == i) && n < p->shots) shot[n++] = drawn;
    }
    free(all);
    return n;
}

static void append_example(struct buffer *b, const struct question *q)
{
    append(b, q->choice[q->gold].before);
    append(b, q->delimiter);
    append(b, q->choice[q->gold].text);
    append(b, between);
}

/* Opening and examples. Of these the first ones go while the longest choice would not fit. */
static int front(const struct prompts *p, int i, struct buffer *b)
{
    const struct question *q = &p->of->question[i];
    int *shot = xcalloc((size_t)p->shots + 1, sizeof *shot), first = 0;
    int n = !p->shots ? 0 : p->of->first_shots ? first_ones(p, i, shot) : drawn_ones(p, i, shot);
    size_t most = 0;
    for (int c = 0; c < q->n; c++) if (choice_bytes(q, c) > most) most = choice_bytes(q, c);
    for (; first <= n; first++) {
        b->used = 0;
        append(b, q->opening);
        for (int k = first; k < n; k++) append_example(b, &p->pool->question[shot[k]]);
        if (first == n || b->used + most <= (size_t)p->longest) break;
    }
    free(shot);
    return n - first;
}

/* ---- rows ---- */

/* A row that is too long loses its beginning. */
static int fit(const struct prompts *p, int i, struct item *it, bool *cut, struct err *e)
{
    for (int k = 0; k < it->rows; k++) {
        struct item_row *r = &it->row[k];
        int more = r->n - p->longest;
        if (more <= 0) continue;
        if (r->counts[more]) {
            int counted = 0;
            for (int t = 0; t < r->n; t++) counted += r->counts[t];
            return err_set(e, "%s:%d: choice %d has %d tokens, the model's sequence %d", p->of->path,
                           p->of->question[i].line, k, counted, p->longest - 1);
        }
        r->n = p->longest;
        memmove(r->id, r->id + more, (size_t)r->n * sizeof *r->id);
        memmove(r->counts, r->counts + more, (size_t)r->n);
        *cut = true;
    }
    return 0;
}

static void put_tokens(struct item *to, const struct item *from)
{
    for (int k = 0; k < from->rows; k++) {
        item_begin(to);
        for (int t = 0; t < from->row[k].n; t++) item_put(to, from->row[k].id[t], from->row[k].counts[t]);
    }
}

static void put_words(const struct question *q, const struct buffer *front, struct prompt *to)
{
    for (int c = 0; c < q->n; c++) {
        const char *before = q->choice[c].before;
        item_begin(&to->item);
        if (front->used + trimmed(before) == 0) put_bytes(&to->item, nothing, 1, false);
        put_bytes(&to->item, front->bytes, front->used, false);
        put_bytes(&to->item, before, trimmed(before), false);
        put_choice(&to->item, q, c);
        if (q->n == 1 || question_is_pair(q)) continue;
        item_begin(&to->alone);
        put_bytes(&to->alone, nothing, 1, false);
        put_choice(&to->alone, q, c);
    }
}

int prompt_make(const struct prompts *p, int i, struct prompt *to, struct err *e)
{
    const struct question *q = &p->of->question[i];
    struct buffer b = { 0 };
    item_clear(&to->item);
    item_clear(&to->alone);
    to->cut = false;
    to->shots = 0;
    if (q->tokens) put_tokens(&to->item, q->tokens);
    else {
        to->shots = front(p, i, &b);
        put_words(q, &b, to);
    }
    free(b.bytes);
    to->item.gold = to->alone.gold = q->gold;
    bool ignored;
    return fit(p, i, &to->item, &to->cut, e) || fit(p, i, &to->alone, &ignored, e) ? -1 : 0;
}

void prompt_free(struct prompt *p)
{
    item_free(&p->item);
    item_free(&p->alone);
}
