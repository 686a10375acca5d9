/* From questions to scores. */
#include "exam.h"
#include "prompt.h"
#include "data/bytes.h"

enum { BYTES = 256 };

static int check(const struct questions *q, const struct scorer *s, struct err *e)
{
    int vocab = score_vocab(s);
    for (int i = 0; i < q->n; i++) {
        const struct item *it = q->question[i].tokens;
        if (!it && vocab != BYTES)
            return err_set(e, "%s: is in words, and the model has %d tokens: only byte models can be asked", q->path,
                           vocab);
        for (int r = 0; it && r < it->rows; r++)
            for (int t = 0; t < it->row[r].n; t++)
                if (it->row[r].id[t] >= vocab)
                    return err_set(e, "%s:%d: token %d, the model has %d", q->path, q->question[i].line,
                                   it->row[r].id[t], vocab);
    }
    return 0;
}

static void ask(struct scorer *s, const struct prompt *p, const struct question *q, struct answered *to)
{
    for (int k = 0; k < p->item.rows; k++) {
        struct answer *a = &to->answer[k];
        const char *text = q->tokens ? "" : q->choice[k].text;
        *a = (struct answer){ .counted = p->item.row[k].bytes, .bytes = (int)strlen(text),
                              .characters = utf8_count(text) };
        score_put(s, &p->item.row[k], &a->score);
        if (p->alone.rows) score_put(s, &p->alone.row[k], &a->alone);
    }
}

int exam_take(struct exam *to, const struct questions *q, const struct exam_how *how, struct scorer *s, struct err *e)
{
    struct prompts prompts = { q, how->pool ? how->pool : q, how->shots,
                               how->longest ? how->longest : score_longest(s) };
    struct prompt p = { .cut = false };
    *to = (struct exam){ .n = how->limit && how->limit < q->n ? how->limit : q->n, .arena = arena_new() };
    to->of = arena_alloc(to->arena, (size_t)to->n * sizeof *to->of);
    int failure = check(q, s, e) || prompts_check(&prompts, e);
    for (int i = 0; !failure && i < to->n; i++) {
        struct answered *a = &to->of[i];
        a->question = &q->question[i];
        failure = prompt_make(&prompts, i, &p, e);
        if (failure) break;
        a->answer = arena_alloc(to->arena, (size_t)a->question->n * sizeof *a->answer);
        a->shots = p.shots;
        a->cut = p.cut;
        to->cut += p.cut;
        to->shortened += p.shots < how->shots;
        ask(s, &p, a->question, a);
    }
    score_flush(s);
    prompt_free(&p);
    if (failure) exam_free(to);
    return failure ? -1 : 0;
}

void exam_free(struct exam *x)
{
    if (x->arena) arena_free(x->arena);
    *x = (struct exam){ 0 };
}
