/* What sluice eval found, for programs. */
#include "eval.h"
#include "export.h"

#include <stdlib.h>

static json_t *estimate_json(struct estimate s)
{
    return json_pack("{s:i, s:o, s:o}", "n", s.n, "mean", export_number(s.mean), "error", export_number(s.error));
}

/* ---- questions ---- */

static json_t *measure_json(const struct sitting *s, const struct measure *m, bool two)
{
    json_t *j = estimate_json(eval_estimate(&s->here, m));
    struct paired d;
    json_object_set_new(j, "measure", json_string(m->name));
    json_object_set_new(j, "unit", json_string(m->unit));
    json_object_set_new(j, "better", json_string(better_name[m->better]));
    for (int b = 0; m->share && b < judge_baseline_count(); b++)
        json_object_set_new(j, judge_baselines[b].name,
                            export_number(eval_baseline(&s->here, m, &judge_baselines[b])));
    if (!two) return j;
    json_object_set_new(j, "against", estimate_json(eval_estimate(&s->there, m)));
    double p = eval_p(m, &s->here, &s->there, &d);
    json_object_set_new(j, "difference", export_number(d.difference));
    json_object_set_new(j, "difference_error", export_number(d.error));
    json_object_set_new(j, "larger", json_integer(d.here));
    json_object_set_new(j, "smaller", json_integer(d.there));
    json_object_set_new(j, "p", export_number(p));
    return j;
}

static json_t *groups_json(const struct sitting *s, const struct measure *m)
{
    struct group *group;
    struct estimate macro;
    int n;
    struct estimate all = eval_grouped(s, m, &group, &n, &macro);
    json_t *list = json_array();
    for (int g = 0; g < n; g++) {
        json_t *one = estimate_json(group[g].estimate);
        json_object_set_new(one, "group", json_string(group[g].name));
        json_array_append_new(list, one);
    }
    free(group);
    return json_pack("{s:s, s:o, s:o, s:o}", "measure", m->name, "groups", list, "all", estimate_json(all), "macro",
                     estimate_json(macro));
}

static json_t *sitting_json(const struct evaluated *v, const struct sitting *s)
{
    json_t *measures = json_array();
    for (int k = 0; k < judge_measure_count(); k++)
        if (eval_estimate(&s->here, &judge_measures[k]).n)
            json_array_append_new(measures, measure_json(s, &judge_measures[k], v->against));
    json_t *j = json_pack("{s:s, s:s, s:i, s:i, s:i, s:o}", "file", s->questions.path, "task", s->questions.form,
                          "questions", s->here.n, "cut", s->here.cut, "shortened", s->here.shortened, "measures",
                          measures);
    if (v->groups) json_object_set_new(j, "by_group", groups_json(s, v->groups));
    return j;
}

/* ---- text ---- */

static json_t *domain_json(const struct domain *d, bool two)
{
    json_t *j = estimate_json(eval_bits_here(d));
    json_object_set_new(j, "text", json_string(d->name));
    if (two) json_object_set_new(j, "against", estimate_json(eval_bits_there(d)));
    if (two) json_object_set_new(j, "difference", estimate_json(eval_bits_difference(d)));
    return j;
}

void eval_json(const struct evaluated *v)
{
    json_t *tasks = json_array(), *texts = json_array();
    for (int i = 0; i < v->sittings; i++) json_array_append_new(tasks, sitting_json(v, &v->sitting[i]));
    for (int i = 0; i < v->domains; i++) json_array_append_new(texts, domain_json(&v->domain[i], v->against));
    json_t *j = json_pack("{s:s, s:s*, s:o, s:o}", "model", v->path, "against", v->against, "tasks", tasks,
                          "bits_per_byte", texts);
    if (v->domains) json_object_set_new(j, "bits_per_byte_mean", estimate_json(eval_macro(v, eval_bits_here)));
    cli_json(j);
}

/* ---- questions one by one ---- */

static void write_line(const struct sitting *s, const char *model, const struct answered *a, FILE *to)
{
    json_t *ll = json_array(), *alone = json_array(), *bytes = json_array(), *tokens = json_array(),
           *greedy = json_array();
    for (int i = 0; i < a->question->n; i++) {
        const struct answer *of = &a->answer[i];
        json_array_append_new(ll, export_number(of->score.ll));
        json_array_append_new(bytes, json_integer(of->bytes));
        json_array_append_new(tokens, json_integer(of->score.tokens));
        json_array_append_new(greedy, json_boolean(of->score.greedy));
        if (of->alone.tokens) json_array_append_new(alone, export_number(of->alone.ll));
    }
    json_t *j = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:b}", "model", model, "task",
                          s->questions.form, "id", a->question->id, "ll", ll, "alone", alone, "bytes", bytes, "tokens",
                          tokens, "greedy", greedy, "gold", a->question->gold, "shots", a->shots, "cut", a->cut);
    json_dumpf(j, to, JSON_COMPACT | JSON_REAL_PRECISION(17));
    fputc('\n', to);
    json_decref(j);
}

void eval_lines(const struct evaluated *v, FILE *to)
{
    for (int i = 0; i < v->sittings; i++) {
        const struct sitting *s = &v->sitting[i];
        for (int k = 0; k < s->here.n; k++) {
            write_line(s, v->path, &s->here.of[k], to);
            if (v->against) write_line(s, v->against, &s->there.of[k], to);
        }
    }
}
