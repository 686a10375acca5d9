/* Singular values of matrices, in evaluations: of a weight "layers.3.attention.q.weight" in layer 3 of
       spectral_norm.attention.q    the largest singular value s, by power iteration; of stacked experts of each
       stable_rank.attention.q      |W|_F^2 / s^2: how many directions a matrix acts in
   What grows without bound here ends as growing logits and loss spikes (Zhai 2023, Kimi K2 2025). */
#include "model/module.h"

struct conf { const char *match; int iterations; };
static const struct param params[] = {
    TEXT_OF(struct conf, match, "*",
            "which, by their names within a layer: * any text, ? any letter, [abc] one of these"),
    INT(struct conf, iterations, 20, 1, 10000, "", "of power; s comes from below"),
    { 0 }
};

static void weight(struct build *b, struct pick self, const char *name, struct node *w)
{
    const struct conf *c = self.conf;
    if (w->shape.rank < 2) return;
    const char *of = w->shape.rank == 3 ? "expert_" : "";
    struct node *s = spectral(b->graph, w, c->iterations);
    build_metric(b, arena_text(b->arena, "%sspectral_norm.%s", of, name), s, "", BETTER_NONE, "largest singular value");
    build_metric(b, arena_text(b->arena, "%sstable_rank.%s", of, name), graph_result(b->graph, s, 1), "", BETTER_NONE,
                 "square of the Frobenius norm over that of the largest singular value");
}

static void traits(struct pick self, struct traits *t) { t->watched = ((const struct conf *)self.conf)->match; }

const struct module monitors_spectral = {
    .slot = SLOT_MONITORS, .name = "spectral", .about = "largest singular value and stable rank of each matrix",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .watch_weight = weight,
};
