/* Whose choices a study replays: a variant of a study that was run, and whether its runs had the tokens that these
   will have, in the same order and the same batches. */
#define _GNU_SOURCE
#include "study.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The variant that a folder is called by: its name, with or without the beginning of its hash behind it. */
static int variant_named(const struct study *s, const char *name)
{
    int found = study_variant(s, name);
    for (int p = 0; p < s->n_points && found < 0; p++) {
        size_t length = strcspn(s->point[p].dir, "/");
        if (strlen(name) == length && strncmp(s->point[p].dir, name, length) == 0) found = s->point[p].variant;
    }
    return found;
}

static int lacks(const struct study *s, const char *dir, const char *name, struct err *e)
{
    char hint[HINT];
    return err_set(e, "the study in %s has no variant '%s'%s", dir, name, did_you_mean(study_nearest(s, name), hint));
}

int study_variant_at(const char *path, struct study **out, int *variant, struct err *e)
{
    const char *slash = strrchr(path, '/');
    *out = NULL;
    if (!slash || !slash[1]) return err_set(e, "'%s': must be the folder of a variant, \"runs/NAME/VARIANT\"", path);
    char *dir = xstrdup(path);
    dir[slash - path] = 0;
    int failure = study_open(dir, out, e);
    if (!failure && (*variant = variant_named(*out, slash + 1)) < 0) failure = lacks(*out, dir, slash + 1, e);
    free(dir);
    if (!failure) return 0;
    study_free(*out);
    *out = NULL;
    return -1;
}

int study_point(const struct study *s, int variant, int replicate)
{
    for (int p = 0; p < s->n_points; p++)
        if (s->point[p].variant == variant && s->point[p].replicate == replicate) return p;
    return -1;
}

/* ---- whether runs are alike ---- */

/* Every step at which one is measured has an evaluation of the other. */
static bool evaluates_with(const json_t *its, const json_t *own)
{
    int64_t its_every = config_integer(its, "train.eval_every"), its_steps = config_integer(its, "train.steps"),
            every = config_integer(own, "train.eval_every"), steps = config_integer(own, "train.steps");
    bool within = every > steps || every % its_every == 0, last = steps % its_every == 0 || steps == its_steps;
    return within && last;
}

static void check_tokens(const json_t *its, const json_t *own, const char *path, struct problems *problems)
{
    static const char *const same[] = { "model.seq", "train.batch", "train.eval_tokens", "train.eval_seq" };
    for (int i = 0; i < COUNT(same); i++) {
        int64_t there = config_integer(its, same[i]), here = config_integer(own, same[i]);
        if (there != here)
            problem_add(problems, "choices", "%s was run with %s = %lld, and this has %lld: choices are those of the "
                                             "same tokens in the same batches", path, strchr(same[i], '.') + 1,
                        (long long)there, (long long)here);
    }
}

static void check_steps(const json_t *its, const json_t *own, const char *path, struct problems *problems)
{
    int64_t there = config_integer(its, "train.steps"), here = config_integer(own, "train.steps");
    if (!json_is_true(json_object_get(json_object_get(its, "train"), "record")))
        problem_add(problems, "choices", "%s kept none: train.record = true keeps them", path);
    else if (there < here)
        problem_add(problems, "choices", "%s has %lld steps, and this has %lld", path, (long long)there,
                    (long long)here);
    else if (!evaluates_with(its, own))
        problem_add(problems, "choices", "%s was evaluated every %lld of %lld steps, this is every %lld of %lld: an "
                                         "evaluation replays one of the same step", path,
                    (long long)config_integer(its, "train.eval_every"), (long long)there,
                    (long long)config_integer(own, "train.eval_every"), (long long)here);
}

/* That of replicate 0, from any */
static uint64_t first_seed(const struct study *s)
{
    return s->n_points ? s->point[0].seed - (uint64_t)s->point[0].replicate : 0;
}

static void check_like(const struct study *s, const struct study *from, const struct variant *its,
                       const struct corpus_info *data, uint64_t seed, struct problems *problems)
{
    const char *path = s->choices;
    if (first_seed(from) != seed)
        problem_add(problems, "choices", "%s was run with seed = %llu, and this has %llu: replicates are imposed on "
                                         "those of the same seed", path, (unsigned long long)first_seed(from),
                    (unsigned long long)seed);
    else if (*data->path && !hash_equal(study_identity(its->config, data, seed), its->hash))
        problem_add(problems, "choices", "%s was run on other data than %s: choices are of its tokens", path,
                    data->path);
    if (from->replicates < s->replicates)
        problem_add(problems, "choices", "%s has %d replicates, and this has %d", path, from->replicates,
                    s->replicates);
}

static void impose(const struct study *s, struct variant *v, const struct variant *its, struct problems *problems)
{
    char hash[33];
    hash_print(its->hash, hash);
    problems->variant = v->name;
    check_tokens(its->config, v->config, s->choices, problems);
    check_steps(its->config, v->config, s->choices, problems);
    problems->variant = NULL;
    json_object_set_new(v->config, "choices", json_string(hash));
    if (its->looks_ahead > v->looks_ahead) v->looks_ahead = its->looks_ahead;     /* by whom it was chosen */
}

void study_impose(struct study *s, const struct corpus_info *data, uint64_t seed, struct problems *problems)
{
    struct study *from = NULL;
    struct err e;
    int replays = -1, variant;
    for (int i = 0; i < s->n_variants; i++) if (s->variant[i].replays) replays = i;
    if (replays < 0 && s->choices)
        problem_add(problems, "choices", "no variant replays them: ffn.router.select = \"replayed\" does");
    else if (replays >= 0 && !s->choices)
        problem_add(problems, "choices", "is missing: whose choices does '%s' replay? choices = \"runs/NAME/VARIANT\"",
                    s->variant[replays].name);
    if (replays < 0 || !s->choices) return;
    if (study_variant_at(s->choices, &from, &variant, &e)) {
        problem_add(problems, "choices", "%s", e.text);
        return;
    }
    check_like(s, from, &from->variant[variant], data, seed, problems);
    for (int i = 0; i < s->n_variants; i++)
        if (s->variant[i].replays) impose(s, &s->variant[i], &from->variant[variant], problems);
    study_free(from);
}
