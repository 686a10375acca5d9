/* What sluice eval found, for people. */
#include "eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void cell_real(struct table *t, double x)
{
    char text[FORMAT_SIZE];
    table_cell(t, "%s", isnan(x) ? "" : format_real(x, 4, text));
}

static void cell_estimate(struct table *t, struct estimate s)
{
    char mean[FORMAT_SIZE], error[FORMAT_SIZE];
    table_cell(t, isnan(s.error) ? "%s" : "%s ± %s", format_real(s.mean, 4, mean), format_real(s.error, 4, error));
}

static void cell_p(struct table *t, double p)
{
    char text[FORMAT_SIZE];
    table_cell(t, "%s", p < 0.001 ? "<0.001" : format_real(p, 3, text));
}

/* "texts/arc.jsonl": arc */
static void cell_name(struct table *t, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    table_cell(t, "%.*s", (int)(dot && dot > name ? dot - name : (long)strlen(name)), name);
}

/* ---- questions ---- */

/* Of the one choice: e to minus its log-likelihood. */
static struct estimate perplexity(struct estimate s)
{
    double x = exp(-s.mean);
    return (struct estimate){ s.n, x, x * s.error };
}

static void row(struct table *t, const struct sitting *s, const char *name, struct estimate of, const struct measure *m)
{
    cell_name(t, s->questions.path);
    table_cell(t, "%d", of.n);
    table_cell(t, "%s", name);
    cell_estimate(t, of);
    for (int b = 0; b < judge_baseline_count(); b++)
        cell_real(t, m->share ? eval_baseline(&s->here, m, &judge_baselines[b]) : NAN);
}

static void print_measures(const struct evaluated *v)
{
    static const char *const columns[] = { "task", ">questions", "measure", ">value", ">chance", ">longest",
                                           ">shortest", ">alone" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < v->sittings; i++)
        for (int k = 0; k < judge_measure_count(); k++) {
            const struct measure *m = &judge_measures[k];
            struct estimate of = eval_estimate(&v->sitting[i].here, m);
            if (of.n == 0) continue;
            row(t, &v->sitting[i], m->name, of, m);
            if (!strcmp(m->name, "ll")) row(t, &v->sitting[i], "ppl", perplexity(of), m);
        }
    table_print(t, v->sittings ? stdout : NULL);
}

static void print_pairs(const struct evaluated *v)
{
    static const char *const columns[] = { "task", ">questions", "measure", ">value", ">against", ">difference",
                                           ">larger", ">smaller", ">p" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < v->sittings; i++)
        for (int k = 0; k < judge_measure_count(); k++) {
            const struct sitting *s = &v->sitting[i];
            const struct measure *m = &judge_measures[k];
            struct paired d;
            double p = eval_p(m, &s->here, &s->there, &d);
            if (d.n == 0) continue;
            cell_name(t, s->questions.path);
            table_cell(t, "%d", d.n);
            table_cell(t, "%s", m->name);
            cell_real(t, eval_estimate(&s->here, m).mean);
            cell_real(t, eval_estimate(&s->there, m).mean);
            cell_estimate(t, (struct estimate){ d.n, d.difference, d.error });
            table_cell(t, "%d", d.here);
            table_cell(t, "%d", d.there);
            cell_p(t, p);
        }
    table_print(t, v->sittings ? stdout : NULL);
}

static void print_groups(const struct sitting *s, const struct measure *m)
{
    static const char *const columns[] = { "group", ">questions", ">value" };
    struct table *t = table_new(columns, COUNT(columns));
    struct group *group;
    struct estimate macro;
    char title[256];
    int n;
    struct estimate all = eval_grouped(s, m, &group, &n, &macro);
    for (int g = 0; g < n; g++) {
        table_cell(t, "%s", *group[g].name ? group[g].name : "-");
        table_cell(t, "%d", group[g].estimate.n);
        cell_estimate(t, group[g].estimate);
    }
    table_cell(t, "all questions");
    table_cell(t, "%d", all.n);
    cell_estimate(t, all);
    table_cell(t, "mean of groups");
    table_cell(t, "%d", macro.n);
    cell_estimate(t, macro);
    snprintf(title, sizeof title, "%s of %s by group", m->name, s->questions.path);
    cli_heading(stdout, title);
    table_print(t, stdout);
    free(group);
}

static void print_notes(const struct sitting *s, const struct exam *x, const char *path)
{
    if (x->shortened)
        printf("%s, %s: %d of %d questions have fewer examples: no more fit, or there are no more\n", path,
               s->questions.path, x->shortened, x->n);
    if (x->cut)
        printf("%s, %s: %d of %d questions lost the left of what stands before the choice: it is longer than a "
               "sequence\n", path, s->questions.path, x->cut, x->n);
}

/* ---- text ---- */

static void domain_row(struct table *t, const char *name, int documents, struct estimate here, struct estimate there,
                       struct estimate more, bool two)
{
    table_cell(t, "%s", name);
    table_cell(t, "%d", documents);
    cell_estimate(t, here);
    if (!two) return;
    cell_estimate(t, there);
    cell_estimate(t, more);
}

static void print_domains(const struct evaluated *v)
{
    static const char *const columns[] = { "text", ">documents", ">bits per byte", ">against", ">difference" };
    bool two = v->against;
    struct table *t = table_new(columns, two ? 5 : 3);
    struct estimate none = { 0, NAN, NAN };
    int documents = 0;
    for (int i = 0; i < v->domains; i++) {
        const struct domain *d = &v->domain[i];
        documents += d->here.n;
        domain_row(t, d->name, d->here.n, eval_bits_here(d), two ? eval_bits_there(d) : none,
                   two ? eval_bits_difference(d) : none, two);
    }
    if (v->domains > 1)
        domain_row(t, "mean of texts", documents, eval_macro(v, eval_bits_here),
                   two ? eval_macro(v, eval_bits_there) : none, two ? eval_macro(v, eval_bits_difference) : none, two);
    if (v->domains && v->sittings) printf("\n");
    table_print(t, v->domains ? stdout : NULL);
}

void eval_print(const struct evaluated *v)
{
    if (v->against) print_pairs(v);
    else print_measures(v);
    for (int i = 0; i < v->sittings; i++) {
        print_notes(&v->sitting[i], &v->sitting[i].here, v->path);
        if (v->against) print_notes(&v->sitting[i], &v->sitting[i].there, v->against);
        if (v->groups) print_groups(&v->sitting[i], v->groups);
    }
    print_domains(v);
}
