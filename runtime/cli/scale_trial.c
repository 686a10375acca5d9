/* A layout: the plans of one rank of each pipeline position, as if this process were it, and a walk over its calls. */
#include "scale.h"
#include "comm/comm.h"
#include "plan/pipeline.h"
#include "train/train.h"

#include <stdlib.h>
#include <string.h>

/* Of the ranks at the pipeline position of `here`, the one whose buffers take the most. */
static int heaviest(const struct leaves *leaves, const struct place *here)
{
    double *bytes = xcalloc((size_t)mesh_ranks(&here->mesh), sizeof *bytes);
    unsigned beside = OVER_ALL & ~OVER_PIPELINE;
    int most = place_member(here, beside, 0);
    for (int i = 0; i < leaves->n; i++) {
        const struct leaf *l = leaves->leaf[i];
        if (l->kind != LEAF_BUFFER || !l->holder || !home_is_here(l->home, here)) continue;
        unsigned replicas = leaf_replicas(l), parts = OVER_ALL & ~(replicas | OVER_PP);
        for (int k = 0; k < place_group(here, parts); k++) {
            struct place at = { here->mesh, place_member(here, parts, k) };
            bytes[place_member(&at, replicas, l->holder - 1)] += (double)leaf_bytes(l);
        }
    }
    for (int k = 0; k < place_group(here, beside); k++) {
        int rank = place_member(here, beside, k);
        if (bytes[rank] > bytes[most]) most = rank;
    }
    free(bytes);
    return most;
}

static void refuse(struct trial *t, const char *why)
{
    t->fate = FATE_REFUSED;
    t->why = xstrdup(why);
}

static struct session *plan_rank(struct trial *t, const json_t *config, const struct cluster *c, int rank)
{
    struct session *s = NULL;
    struct err e;
    comm_suppose(rank, mesh_ranks(&t->layout.mesh));
    if (session_plan(&s, config, &c->backend, 0, &e)) refuse(t, e.text);
    return s;
}

/* At position q, which is planned as rank 0 of it first, for who holds what is known then. */
static struct walked *walk_position(struct trial *t, const json_t *config, const struct cluster *c, int q,
                                    struct session *zero)
{
    struct place here = zero->leaves->here;
    here.rank = place_at(&here, q);
    here.rank = heaviest(zero->leaves, &here);
    struct session *own = here.rank == 0 ? NULL : plan_rank(t, config, c, here.rank), *s = own ? own : zero;
    if (t->fate == FATE_REFUSED) return NULL;
    t->bytes[q] = session_bytes(s);
    if (t->bytes[q] > t->most) t->most = t->bytes[q];
    struct walked *w = simulate_rank(s->plan, &here, &c->machine, s->train.micro);
    session_free(own);
    return w;
}

static void walk_all(struct trial *t, const json_t *config, const struct cluster *c, bool drawn)
{
    struct session *zero = plan_rank(t, config, c, 0);
    struct err e;
    if (!zero) return;
    t->positions = place_group(&zero->leaves->here, OVER_PIPELINE);
    t->bytes = xcalloc((size_t)t->positions, sizeof *t->bytes);
    struct walked **w = xcalloc((size_t)t->positions, sizeof(struct walked *));
    for (int q = 0; q < t->positions && t->fate != FATE_REFUSED; q++) w[q] = walk_position(t, config, c, q, zero);
    if (t->fate != FATE_REFUSED && simulate_step(&t->step, w, t->positions, &c->machine, drawn, &e))
        refuse(t, e.text);
    for (int q = 0; q < t->positions; q++) walked_free(w[q]);
    free(w);
    session_free(zero);
}

void trial_run(struct trial *t, const json_t *config, const struct cluster *c, bool drawn)
{
    json_t *own = layout_config(config, &t->layout);
    walk_all(t, own, c, drawn);
    comm_suppose(0, 1);
    if (t->fate == FATE_FITS && (double)t->most > c->memory) t->fate = FATE_TOO_LARGE;
    json_decref(own);
}

void trial_free(struct trial *t)
{
    simulated_free(&t->step, t->positions);
    free(t->bytes);
    free(t->why);
}
