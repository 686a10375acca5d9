/* sluice merge: the mean of checkpoints as a checkpoint, and its loss beside that of the last of them. */
#define _GNU_SOURCE
#include "cli.h"
#include "cpu/pool.h"
#include "train/merge.h"
#include "train/trained.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 256 };

static const struct option options[] = {
    { "output", 'o', "DIR", "the folder that the checkpoint is written into, as step-N (required)" },
    { "last", 'n', "N", "of each run its newest N checkpoints (1)" },
    { "weight", 'w', "X", "of a checkpoint, in the order in which they are merged; given for each or for none" },
    { "data", 'd', "FILE", "where the data lies now" },
    { 0 }
};

struct merging { int n; struct merged of[MOST]; char run[4096]; };

static bool holds(const char *folder, const char *name)
{
    char *path;
    INVARIANT(asprintf(&path, "%s/%s", folder, name) >= 0, "no memory for a path");
    bool yes = access(path, F_OK) == 0;
    free(path);
    return yes;
}

static int add(struct merging *m, const char *path, struct err *e)
{
    if (m->n == MOST) return err_set(e, "%s: more than %d checkpoints", path, MOST);
    struct merged *to = &m->of[m->n++];
    *to = (struct merged){ .weight = 1 };
    snprintf(to->path, sizeof to->path, "%s", path);
    return 0;
}

static int add_newest(struct merging *m, const char *run, int64_t last, struct err *e)
{
    char *dir;
    struct checkpoint *list;
    INVARIANT(asprintf(&dir, "%s/checkpoints", run) >= 0, "no memory for a path");
    int n = checkpoint_list(dir, &list, e), failure = n < 0 ? -1 : 0;
    if (!failure && n < last)
        failure = err_set(e, "%s: holds %d checkpoints, not %lld; train.keep says how many stay", dir, n,
                          (long long)last);
    for (int i = n - (int)last; i < n && !failure; i++) failure = add(m, list[i].path, e);
    if (n >= 0) free(list);
    free(dir);
    return failure;
}

/* The run of a checkpoint RUN/checkpoints/step-N. */
static int run_of(const char *checkpoint, char *run, size_t room, struct err *e)
{
    char *folder = xstrdup(checkpoint), *slash;
    while ((slash = strrchr(folder, '/')) && !slash[1]) *slash = 0;
    for (int up = 0; up < 2 && slash; up++) {
        *slash = 0;
        if (up == 0) slash = strrchr(folder, '/');
    }
    bool found = slash && holds(folder, "run.h5");
    snprintf(run, room, "%s", folder);
    free(folder);
    return found ? 0 : err_set(e, "%s: is no run, and no checkpoint in a run's folder", checkpoint);
}

static int collect(const struct call *c, int64_t last, struct merging *m, struct err *e)
{
    for (int i = 0; i < c->n_words; i++) {
        const char *path = c->word[i];
        char run[sizeof m->run];
        bool is_run = holds(path, "run.h5");
        snprintf(run, sizeof run, "%s", path);
        if (!is_run && run_of(path, run, sizeof run, e)) return -1;
        if (is_run ? add_newest(m, path, last, e) : add(m, path, e)) return -1;
        if (i == 0) snprintf(m->run, sizeof m->run, "%s", run);
    }
    return 0;
}

static int weigh(const struct call *c, struct merging *m)
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
    char *file, wanted[33], has[33];
    INVARIANT(asprintf(&file, "%s/run.h5", run) >= 0, "no memory for a path");
    int failure = reader_open(&r, file, e);
    free(file);
    if (failure) return -1;
    char *path = corpus_find(cli_value(c, "data", reader_text(r, "/data", "path")), NULL);
    snprintf(wanted, sizeof wanted, "%s", reader_text(r, "/data", "hash"));
    reader_close(r);
    failure = corpus_open(out, path, e);
    free(path);
    if (failure) {
        struct err why = *e;
        return err_set(e, "%s\n  --data FILE says where the run's data lies now", why.text);
    }
    hash_print(corpus_info(*out)->hash, has);
    if (strcmp(has, wanted) == 0) return 0;
    err_set(e, "%s: has hash %s, the run was made with data of hash %s", corpus_info(*out)->path, has, wanted);
    corpus_close(*out);
    *out = NULL;
    return -1;
}

static int merge(const struct call *c, struct merging *m, struct session *s, const struct corpus *data, struct err *e)
{
    struct checkpoint out;
    struct merged last = m->of[m->n - 1];
    double before, after;
    last.weight = 1;
    if (merge_checkpoints(s, &last, 1, e) || merge_loss(s, data, last.step, &before, e)) return -1;
    if (merge_checkpoints(s, m->of, m->n, e) || merge_loss(s, data, last.step, &after, e)) return -1;
    if (merge_save(s, m->of, m->n, cli_value(c, "output", NULL), &out, e)) return -1;
    for (int i = 0; i < m->n; i++)
        printf("%-9s %s, weight %g\n", i ? "" : "merged", m->of[i].path, m->of[i].weight);
    printf("%-9s %s\n%-9s %.6f nat/token, held out; the last of them has %.6f\n", "written", out.path, "loss", after,
           before);
    return 0;
}

static enum code run(const struct call *c)
{
    static struct merging m;
    int64_t last = 1;
    struct session *s = NULL;
    struct corpus *data = NULL;
    struct err e;
    if (!cli_value(c, "output", NULL)) return cli_usage(c, "--output DIR: where is it to be written?");
    if (cli_integer(c, "last", 1, MOST, &last)) return CODE_USAGE;
    if (holds(cli_value(c, "output", NULL), "../run.h5"))
        return cli_usage(c, "--output %s: is the folder of a run's own checkpoints", cli_value(c, "output", NULL));
    if (collect(c, last, &m, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (weigh(c, &m)) return CODE_USAGE;
    json_t *config = trained_config(m.run, &e);
    if (config && json_object_get(config, "choices")) {
        json_decref(config);
        return cli_fail(CODE_INPUT, "%s: replays the choices of another run, and a mean of its weights cannot", m.run);
    }
    int failure = !config || session_new(&s, config, pool_cores(), &e) || open_data(c, m.run, &data, &e) ||
                  merge(c, &m, s, data, &e);
    if (data) corpus_close(data);
    session_free(s);
    json_decref(config);
    return failure ? cli_fail(CODE_INPUT, "%s", e.text) : CODE_OK;
}

const struct command command_merge = {
    .name = "merge", .about = "the mean of checkpoints as a checkpoint, and its loss", .usage = "PATH... -o DIR",
    .example = "sluice merge runs/quickstart/base-3f9a12cd/0 --last 4 -o merged\n"
               "sluice sample runs/quickstart/base-3f9a12cd/0 --checkpoint merged/step-00000500",
    .options = options, .least = 1, .most = MOST, .run = run,
    .more = "PATH is a run's folder, of which the newest are taken, or a checkpoint in one. All must have the tensors "
            "of the first run:\nthe same paths, types and shapes. Of a run that averages its weights, these averages "
            "are merged and measured too.\nNothing goes on from a merged checkpoint, and no run is changed. In the "
            "stable phase of a schedule it comes near to what\na decay would give.",
};
