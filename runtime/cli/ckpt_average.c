/* sluice ckpt average: the mean of checkpoints as a checkpoint, and its loss beside that of the last of them. */
#include "ckpt.h"
#include "cpu/pool.h"
#include "train/averaged.h"
#include "train/trained.h"
#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 256 };

struct averaging { int n; struct averaged of[MOST]; char run[4096]; };

static int add(struct averaging *m, const char *path, struct err *e)
{
    if (m->n == MOST) return err_set(e, "%s: more than %d checkpoints", path, MOST);
    struct averaged *to = &m->of[m->n++];
    *to = (struct averaged){ .weight = 1 };
    snprintf(to->path, sizeof to->path, "%s", path);
    return 0;
}

static int add_newest(struct averaging *m, const char *run, int64_t last, struct err *e)
{
    struct checkpoint *list;
    char *dir = checkpoint_folder(run);
    int n = checkpoint_list(dir, &list, e), failure = n < 0 ? -1 : 0;
    if (!failure && n < last)
        failure = err_set(e, "%s: holds %d checkpoints, not %lld; train.keep says how many stay", dir, n,
                          (long long)last);
    for (int i = n - (int)last; i < n && !failure; i++) failure = add(m, list[i].path, e);
    if (n >= 0) free(list);
    free(dir);
    return failure;
}

static int collect(const struct call *c, int64_t last, struct averaging *m, struct err *e)
{
    for (int i = 1; i < c->n_words; i++) {
        const char *path = c->word[i];
        char run[sizeof m->run];
        if (trained_run(path, run, sizeof run, e)) return -1;
        if (trained_is_run(path) ? add_newest(m, path, last, e) : add(m, path, e)) return -1;
        if (i == 1) snprintf(m->run, sizeof m->run, "%s", run);
    }
    return 0;
}

static int weigh(const struct call *c, struct averaging *m)
{
    const char **given;
    double total = 0;
    int n = cli_values(c, "weight", &given);
    for (int i = 0; i < n && i < m->n; i++) {
        char *end;
        m->of[i].weight = strtod(given[i], &end);
        if (end == given[i] || *end || !(m->of[i].weight >= 0) || !isfinite(m->of[i].weight)) {
            cli_usage(c, "--weight %s: must be a number from 0 on", given[i]);
            free(given);
            return -1;
        }
    }
    for (int i = 0; i < m->n; i++) total += m->of[i].weight;
    free(given);
    if (n && n != m->n) return cli_usage(c, "--weight: %d are given for %d checkpoints", n, m->n), -1;
    return total > 0 ? 0 : (cli_usage(c, "--weight: all are 0"), -1);
}

/* The data that the run was trained on. */
static int open_data(const struct call *c, const char *run, struct corpus **out, struct err *e)
{
    struct reader *r;
    char *file, wanted[33];
    file = text_new("%s/run.h5", run);
    int failure = reader_open(&r, file, e);
    free(file);
    if (failure) return -1;
    char *path = corpus_find(cli_value(c, "data", reader_text(r, "/data", "path")), NULL);
    snprintf(wanted, sizeof wanted, "%s", reader_text(r, "/data", "hash"));
    reader_close(r);
    failure = trained_data(path, wanted, out, e);
    free(path);
    return failure;
}

static bool is_of_run(const char *dir)
{
    char *run = text_new("%s/..", dir);
    bool yes = trained_is_run(run);
    free(run);
    return yes;
}

static enum code average(const struct call *c, struct averaging *m, struct session *s, const json_t *config,
                         const struct corpus *data, struct err *e)
{
    struct checkpoint out;
    struct averaged last = m->of[m->n - 1];
    double before, after;
    last.weight = 1;
    if (average_checkpoints(s, &last, 1, e) || average_loss(s, data, last.step, &before, e)) return CODE_INPUT;
    if (average_checkpoints(s, m->of, m->n, e) || average_loss(s, data, last.step, &after, e)) return CODE_INPUT;
    if (average_save(s, config, m->of, m->n, cli_value(c, "output", NULL), &out, e))
        return cli_system_code(errno, CODE_FAILURE);
    for (int i = 0; i < m->n; i++)
        printf("%-9s %s, weight %g\n", i ? "" : "averaged", m->of[i].path, m->of[i].weight);
    printf("%-9s %s\n%-9s %.6f nat/token, held out; the last of them has %.6f\n", "written", out.path, "loss", after,
           before);
    return CODE_OK;
}

enum code ckpt_average(const struct call *c)
{
    static struct averaging m;
    int64_t last = 1;
    struct session *s = NULL;
    struct corpus *data = NULL;
    struct err e;
    const char *to = cli_output(c);
    if (!to || cli_integer(c, "last", 1, MOST, &last)) return CODE_USAGE;
    if (is_of_run(to)) return cli_usage(c, "--output %s: is the folder of a run's own checkpoints", to);
    if (collect(c, last, &m, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (weigh(c, &m)) return CODE_USAGE;
    json_t *config = trained_config(m.run, &e);
    if (config && json_object_get(config, "choices")) {
        json_decref(config);
        return cli_fail(CODE_INPUT, "%s: replays the choices of another run, and a mean of its weights cannot", m.run);
    }
    enum code code = CODE_INPUT;
    if (config && !session_new(&s, config, pool_cores(), &e) && !open_data(c, m.run, &data, &e))
        code = average(c, &m, s, config, data, &e);
    if (data) corpus_close(data);
    session_free(s);
    json_decref(config);
    return code ? cli_fail(code, "%s", e.text) : CODE_OK;
}
