/* Replaying: a run file that keeps router_choices is read row by row, as the run comes to its steps. What could be
   missing is looked for before the first. */
#define _GNU_SOURCE
#include "choices.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whose choices: as before the names of a router's metrics. */
enum { OF_FFN, OF_ATTENTION, ROUTERS };
static const char *const router_name[ROUTERS] = { "", "attention_" };

/* What a record has of a group: a dataset for each kind of router, NULL: it has none; the row that was read last. */
struct kept {
    const struct reader_series *series[ROUTERS], *loads[ROUTERS];
    int64_t n, *step, at;
    double *row[ROUTERS];
};

struct choices {
    struct study *study; int variant;                       /* whose they are */
    const struct session *session;
    char *path;
    struct reader *reader;
    struct kept kept[STORE_GROUPS];
    int32_t *value;                                         /* of a layer's tokens, [T,K] */
    char hash[33];
};

int64_t choices_measured(const struct session *s)
{
    int64_t seq = session_eval_size(s).seq;
    return (s->train.eval_tokens + seq - 1) / seq;
}

/* ---- what there must be ---- */

static int find_point(struct choices *c, const struct point *p, struct err *e)
{
    const struct study *s = c->study;
    int its = study_point(s, c->variant, p->replicate);
    if (its < 0)
        return err_set(e, "%s has no replicate %d of '%s', whose choices this replays", s->dir, p->replicate,
                       s->variant[c->variant].name);
    c->path = study_point_path(s, its, "run.h5");
    if (s->point[its].seed == p->seed) return 0;
    return err_set(e, "%s: has seed %llu, and this run %llu: choices are imposed on a run of the same seed", c->path,
                   (unsigned long long)s->point[its].seed, (unsigned long long)p->seed);
}

/* A study may have been made anew since this one was planned, with another program or data. */
static int check_owner(struct choices *c, const struct corpus_info *data, const struct eval_set *eval, struct err *e)
{
    char data_hash[33], eval_hash[33];
    hash_print(data->hash, data_hash);
    hash_print(eval->hash, eval_hash);
    const char *owner = reader_text(c->reader, "/", "config_hash"), *of = reader_text(c->reader, "/data", "hash"),
               *measured = reader_text(c->reader, "/data", "eval_hash");
    if (reader_result(c->reader, e)) return -1;
    if (strcmp(owner, c->hash) != 0)
        return err_set(e, "%s: is the file of another run (configuration %s) than that whose choices this replays (%s)",
                       c->path, owner, c->hash);
    if (strcmp(of, data_hash) != 0 || strcmp(measured, eval_hash) != 0)
        return err_set(e, "%s: has choices for other data (hash %s, held out %s) than this is trained on (%s, %s)",
                       c->path, of, measured, data_hash, eval_hash);
    return 0;
}

static const struct reader_series *series_of(const struct choices *c, enum store_group group, int router,
                                             const char *what, int rank)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", router_name[router], what);
    const struct reader_series *s = reader_find(c->reader, group, name);
    return s && s->rank == rank ? s : NULL;
}

static int open_rows(struct choices *c, enum store_group group, struct err *e)
{
    struct kept *k = &c->kept[group];
    bool any = false;
    for (int r = 0; r < ROUTERS; r++) {
        k->series[r] = series_of(c, group, r, "router_choices", 3);
        k->loads[r] = series_of(c, group, r, "expert_tokens", 2);
        any |= k->series[r] != NULL;
    }
    k->n = reader_rows(c->reader, group);
    k->at = -1;
    if (!any) return err_set(e, "%s: has no router_choices: train.record = true keeps them", c->path);
    return reader_steps(c->reader, group, &k->step, e);
}

static int64_t row_of(const struct kept *k, int64_t step) { return store_row_of(k->step, k->n, step); }

static int lacks(const struct choices *c, enum store_group group, int64_t step, struct err *e)
{
    return err_set(e, "%s: has no choices of %sstep %lld (it is %s), and this run replays them", c->path,
                   group == STORE_EVAL ? "the evaluation after " : "", (long long)step,
                   status_name[reader_status(c->reader)]);
}

static int check_steps(const struct choices *c, struct err *e)
{
    const struct train_conf *t = &c->session->train;
    for (int64_t step = 1; step <= t->steps; step++) {
        bool measured = step % t->eval_every == 0 || step == t->steps;
        if (row_of(&c->kept[STORE_TRAIN], step) < 0) return lacks(c, STORE_TRAIN, step, e);
        if (measured && row_of(&c->kept[STORE_EVAL], step) < 0) return lacks(c, STORE_EVAL, step, e);
    }
    return 0;
}

/* How many there are before the first that is missing, every `stride`. */
static int64_t count(const double *value, int64_t most, int64_t stride)
{
    int64_t n = 0;
    while (n < most && !isnan(value[n * stride])) n++;
    return n;
}

static int router_of(const struct leaf *l)
{
    return strncmp(l->path, router_name[OF_ATTENTION], strlen(router_name[OF_ATTENTION])) == 0 ? OF_ATTENTION : OF_FFN;
}

static int64_t experts_of(const struct graph *g, const struct leaf *l)
{
    char name[64];
    snprintf(name, sizeof name, "%sexpert_tokens", router_name[router_of(l)]);
    for (int i = 0; i < g->n_probes; i++)
        if (g->probe[i].layer == inputs_choices_layer(l) && strcmp(g->probe[i].name, name) == 0)
            return probe_count(&g->probe[i]);
    return 0;
}

/* Of one group, whose first row and whose first loads are given. */
static int check_layer(const struct choices *c, const struct leaf *l, const int64_t dim[3], const double *row,
                       int64_t loads, const double *load, int64_t sequences, struct err *e)
{
    int layer = inputs_choices_layer(l);
    const int64_t tokens = sequences * (l->decl.shape.dim[0] / c->session->batch),
                  experts = experts_of(c->session->graph, l);
    row += layer * dim[1] * dim[2];
    int64_t its_k = count(row, dim[2], 1), its_tokens = count(row, dim[1], dim[2]),
            its_experts = count(load + layer * loads, loads, 1);
    if (its_k == 0) return err_set(e, "%s: layer %d chose no experts, and this run replays it", c->path, layer);
    if (its_k != l->decl.shape.dim[1])
        return err_set(e, "%s: has %lld choices of a token in layer %d, and this run's router.top_k is %lld", c->path,
                       (long long)its_k, layer, (long long)l->decl.shape.dim[1]);
    if (its_tokens != tokens)
        return err_set(e, "%s: has choices of %lld tokens in layer %d, and this run of %lld", c->path,
                       (long long)its_tokens, layer, (long long)tokens);
    if (its_experts > experts)
        return err_set(e, "%s: chose among %lld experts in layer %d, and this run has %lld", c->path,
                       (long long)its_experts, layer, (long long)experts);
    return 0;
}

/* Of the leaves of one kind of router. */
static int check_router(const struct choices *c, enum store_group group, int router, int64_t sequences, struct err *e)
{
    const struct kept *k = &c->kept[group];
    const struct reader_series *s = k->series[router], *loads = k->loads[router];
    int64_t blocks = model_blocks(&c->session->model);
    double *row = NULL, *load = NULL;
    if (!s || !loads)
        return err_set(e, "%s: has no %srouter_choices, and this run replays them", c->path, router_name[router]);
    if (s->dim[0] != blocks || loads->dim[0] != blocks)
        return err_set(e, "%s: has %lld layers, blocks of multi-token prediction included, and this run %lld", c->path,
                       (long long)s->dim[0], (long long)blocks);
    int failure = reader_read_rows(c->reader, s, 0, 1, &row, e) || reader_read_rows(c->reader, loads, 0, 1, &load, e);
    for (int i = 0; i < c->session->leaves->n && !failure; i++) {
        const struct leaf *l = c->session->leaves->leaf[i];
        if (inputs_choices_layer(l) >= 0 && router_of(l) == router)
            failure = check_layer(c, l, s->dim, row, loads->dim[1], load, sequences, e);
    }
    free(row);
    free(load);
    return failure;
}

static int check_layers(const struct choices *c, enum store_group group, int64_t sequences, struct err *e)
{
    for (int r = 0; r < ROUTERS; r++) {
        bool replayed = false;
        for (int i = 0; i < c->session->leaves->n; i++) {
            const struct leaf *l = c->session->leaves->leaf[i];
            replayed |= inputs_choices_layer(l) >= 0 && router_of(l) == r;
        }
        if (replayed && check_router(c, group, r, sequences, e)) return -1;
    }
    return 0;
}

static int open_record(struct choices *c, const struct point *p, const struct corpus *corpus,
                       const struct eval_set *eval, struct err *e)
{
    if (find_point(c, p, e) || reader_open(&c->reader, c->path, e)) return -1;
    if (check_owner(c, corpus_info(corpus), eval, e)) return -1;
    if (open_rows(c, STORE_TRAIN, e) || open_rows(c, STORE_EVAL, e) || check_steps(c, e)) return -1;
    return check_layers(c, STORE_TRAIN, c->session->train.batch, e) ||
           check_layers(c, STORE_EVAL, eval_windows(corpus, eval, (int)session_eval_size(c->session).seq), e);
}

/* ---- one run ---- */

int choices_open(struct choices **out, const struct study *study, int point, const struct session *s,
                 const struct corpus *corpus, const struct eval_set *eval, struct err *e)
{
    const struct point *p = &study->point[point];
    const char *hash = json_string_value(json_object_get(study->variant[p->variant].config, "choices"));
    int64_t most = 0;
    *out = NULL;
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        if (inputs_choices_layer(l) >= 0 && shape_count(l->decl.shape) > most) most = shape_count(l->decl.shape);
    }
    if (most == 0) return 0;
    if (!hash || !study->choices) return err_set(e, "study.json does not say whose choices this run replays");
    struct choices *c = xcalloc(1, sizeof *c);
    *c = (struct choices){ .session = s, .value = xcalloc((size_t)most, sizeof *c->value) };
    memcpy(c->hash, hash, strnlen(hash, sizeof c->hash - 1));
    int failure = study_variant_at(study->choices, &c->study, &c->variant, e);
    if (failure) err_prefix(e, "choices: ");
    else failure = open_record(c, p, corpus, eval, e);
    if (failure) choices_close(c);
    else *out = c;
    return failure ? -1 : 0;
}

void choices_close(struct choices *c)
{
    if (!c) return;
    for (int g = 0; g < STORE_GROUPS; g++) {
        free(c->kept[g].step);
        for (int r = 0; r < ROUTERS; r++) free(c->kept[g].row[r]);
    }
    reader_close(c->reader);
    study_free(c->study);
    free(c->path);
    free(c->value);
    free(c);
}

static int read_step(struct choices *c, struct kept *k, int64_t step, struct err *e)
{
    if (k->at == step) return 0;
    k->at = -1;
    for (int r = 0; r < ROUTERS; r++) {
        free(k->row[r]);
        k->row[r] = NULL;
        if (k->series[r] && reader_read_rows(c->reader, k->series[r], row_of(k, step), 1, &k->row[r], e)) return -1;
    }
    k->at = step;
    return 0;
}

/* Sequences behind the last, with which an evaluation fills up its batch, go to no expert. */
static int take(struct choices *c, const struct leaf *l, enum store_group group, int64_t first, struct err *e)
{
    const struct kept *k = &c->kept[group];
    int layer = inputs_choices_layer(l), router = router_of(l);
    const int64_t *dim = k->series[router]->dim;
    int64_t n = shape_count(l->decl.shape), width = l->decl.shape.dim[1], tokens = dim[1],
            from = first * (l->decl.shape.dim[0] / c->session->batch), experts = experts_of(c->session->graph, l);
    const double *row = k->row[router] + layer * tokens * dim[2];
    for (int64_t i = 0; i < n; i++) {
        int64_t token = from + i / width;
        double v = token < tokens ? row[token * dim[2] + i % width] : -1;
        if (isnan(v) && group == STORE_EVAL) v = -1;
        if (!(v >= -1 && v < (double)experts))
            return err_set(e, "%s: step %lld, layer %d, token %lld went to expert %g, and there are %lld", c->path,
                           (long long)k->at, layer, (long long)token, v, (long long)experts);
        c->value[i] = (int32_t)v;
    }
    return 0;
}

int choices_stage(struct choices *c, enum store_group group, int64_t step, int64_t first, int micro, struct err *e)
{
    struct kept *k = &c->kept[group];
    int micros = group == STORE_TRAIN ? c->session->train.micro : 1;
    if (read_step(c, k, step, e)) return -1;
    for (int i = 0; i < c->session->leaves->n; i++) {
        const struct leaf *l = c->session->leaves->leaf[i];
        if (inputs_choices_layer(l) < 0) continue;
        if (take(c, l, group, first, e)) return -1;
        state_stage(c->session->state, l, micro, micros, c->value);
    }
    return 0;
}

struct attributes choices_attributes(struct choices *c, struct arena *a)
{
    const struct attribute all[] = {
        { "path", ATTRIBUTE_TEXT, arena_text(a, "%s", c->path), 0, 0 },
        { "config_hash", ATTRIBUTE_TEXT, arena_text(a, "%s", c->hash), 0, 0 },
        { "revision", ATTRIBUTE_TEXT, arena_text(a, "%s", reader_text(c->reader, "/environment", "revision")), 0, 0 },
        { "isa", ATTRIBUTE_TEXT, arena_text(a, "%s", reader_text(c->reader, "/environment", "isa")), 0, 0 },
    };
    return (struct attributes){ "/choices", COUNT(all), arena_copy(a, all, sizeof all) };
}
