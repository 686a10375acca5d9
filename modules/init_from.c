/* A model that begins with another's weights: those of a variant of the study, which is trained first, of a run or
   variant of another study ("runs/NAME/VARIANT"), or of a checkpoint or .safetensors file. `map` says what becomes of
   each tensor; what is neither mapped nor named by `fresh` is a mistake, and so is a tensor of the other that finds no
   place and is not named by `left`. Counters of the optimizer, its moments and averages begin anew: the run is one of
   its own, with a schedule of its own. Biases of loss-free balancing come along, as weights do. */
#include "model/module.h"

static const struct param params[] = {
    TEXT_OF(struct start, run, "", "whose weights: a variant of the study, \"runs/NAME/VARIANT\", or a file"),
    INT(struct start, step, 0, 0, INT32_MAX, "step", "of its checkpoint; 0: the last"),
    INT(struct start, replicate, -1, -1, 999, "", "of its runs; -1: the one of the same number"),
    BOOL(struct start, average, false, "the averages of its weights, as it is evaluated"),
    SLOT(struct start, map, SLOT_MAP, "same", "what becomes of each tensor"),
    TEXT_OF(struct start, fresh, "", "patterns of weights that begin as `rest` says, with spaces between"),
    TEXT_OF(struct start, left, "", "patterns of the other model's tensors that have no place in this one"),
    SLOT(struct start, rest, SLOT_INIT, "normal", "how what is not taken over begins"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct start *c = self.conf;
    if (!*c->run) module_problem(problems, path, "run", "is missing: whose weights does the model begin with?");
    if (module_traits(c->rest).start)
        module_problem(problems, path, "rest", "from: a model begins with one other; name a rule of draws");
}

static struct init init(struct build *b, struct pick self, enum role role, struct shape shape)
{
    const struct start *c = self.conf;
    return c->rest.module->init(b, c->rest, role, shape);
}

static void traits(struct pick self, struct traits *t) { t->start = self.conf; }

const struct module init_from = {
    .slot = SLOT_INIT, .name = "from", .about = "the weights of another run, taken over or mapped",
    .conf_size = sizeof(struct start), .params = params, .check = check, .traits = traits, .init = init,
};
