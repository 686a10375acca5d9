/* The study's data, opened once more and counted. */
#include "counting.h"

static const struct point *first_of(const struct study *s, int variant)
{
    for (int i = 0; i < s->n_points; i++) if (s->point[i].variant == variant) return &s->point[i];
    return s->point;
}

static int count(const struct study *s, const struct corpus *c, int64_t steps, struct counting *out, struct err *e)
{
    const struct variant *v = &s->variant[s->baseline];
    const struct point *p = first_of(s, s->baseline);
    if (!study_is_of(s, p, corpus_info(c)))
        return err_set(e, "%s: is not the data that the study was made with: it has changed since", s->data_path);
    struct eval_set on = corpus_eval_set(c, config_integer(v->config, "train.eval_tokens"));
    struct samples fit = { p->seed, steps * config_integer(v->config, "train.batch"),
                           (int)config_integer(v->config, "model.seq") };
    out->tokens = (int64_t)on.targets;
    return corpus_baselines(c, &fit, &on, &out->unigram, &out->bigram, e);
}

int counting_of(const struct study *s, int64_t steps, struct counting *out, struct err *e)
{
    struct corpus *c;
    if (corpus_open(&c, s->data_path, e)) return -1;
    int failure = count(s, c, steps, out, e);
    corpus_close(c);
    return failure;
}
