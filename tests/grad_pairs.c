/* Switches two and three together, as many as are drawn: what is legal builds, has the right gradient and takes a step
   that leaves finite weights; what is not is refused with a reason. SLUICE_FULL=1: all pairs, many threes. All that are
   wrong are named before the test fails.

       grad_pairs                         as many as are drawn
       grad_pairs "rope stretch" mirror   all pairs, by three words all threes, whose names hold each of these */
#include "tiny_gradient.h"
#include "toggle.h"

static char **words;
static int n_words;                                         /* none: as many as are drawn */

struct tally { int legal, refused, wrong; double worst; };

__attribute__((format(printf, 3, 4)))
static void wrong(struct tally *tally, const char *name, const char *text, ...)
{
    va_list values;
    va_start(values, text);
    print_error("%s: ", name);
    vprint_error(text, values);
    print_error("\n");
    va_end(values);
    tally->wrong++;
}

static bool one_slot(const struct toggle *a, const struct toggle *b)
{
    return a->module->slot == b->module->slot && (a->module != b->module || a->param == b->param) &&
           !site_of(a->module->slot).list;
}

/* That is trained. */
static bool has_weight(const struct tiny *t, enum role role)
{
    bool found = false;
    for (int i = 0; i < t->leaves->n; i++)
        found |= leaf_trains(t->leaves->leaf[i]) && t->leaves->leaf[i]->role == role;
    return found;
}

static bool has_codes(const struct tiny *t)
{
    bool found = false;
    for (int i = 0; i < t->leaves->n; i++) found |= t->leaves->leaf[i]->kept != KEPT_FLOAT;
    return found;
}

/* A real parameter as it is set. */
static double real_of(struct pick pick, const char *name)
{
    const struct param *p = pick.module->params;
    while (strcmp(p->name, name) != 0) p++;
    return *(const double *)((const char *)pick.conf + p->offset);
}

/* Whether an expert has room for as many at its first factor as at its last, in sequences of so few tokens. */
static bool is_one_room(const struct tiny *t)
{
    struct pick ffn = t->model.ffn.pick[0], dispatch = module_part(ffn, SLOT_DISPATCH);
    const struct leaf *router = leaves_find(t->leaves, "layers.0.ffn.router.weight");
    double takes = module_traits(t->model.block.pick[0]).takes, tokens = (takes > 0 ? takes : 1) * t->model.seq;
    if (!router || takes == 0) return false;
    double even = module_traits(module_part(ffn, SLOT_ROUTER)).top_k * tokens / (double)router->values.dim[0];
    return ceil(even * real_of(dispatch, "factor")) == ceil(even * real_of(dispatch, "start"));
}

/* Branches that are normalised are not scaled by depth, a head that is not tied leaves embeddings as wide as usual;
   attention may turn nothing of a head by positions, and where nothing turns, a norm behind it is one before it; a
   warm-up of one step is at its end; a router may have no weights. Nothing happens to weights that are frozen, and
   those in codes are multiplied by their own op: conf_agree refuses what would. A ramp of room may have one size. */
static bool is_silent(const struct toggle *t, const struct tiny *both)
{
    if (t->module->slot == SLOT_POSITION) return module_traits(both->model.attention.pick[0]).rotated == 0;
    if (t->module->slot == SLOT_QK_NORM && t->param && strcmp(t->param->name, "behind") == 0)
        return !both->model.position.pick[0].module->position_back;
    if (t->param && strcmp(t->param->name, "warmup_from") == 0)
        return schedule_warmup(both->train.schedule, &both->train, both->model.seq) <= 1;
    if (t->module->slot == SLOT_OPTIM && t->param && strcmp(t->param->name, "router") == 0)
        return !has_weight(both, ROLE_ROUTER);
    if (t->module->slot == SLOT_OPTIM && t->param && strcmp(t->param->name, "decay_gains") == 0)
        return !has_weight(both, ROLE_GAIN);
    if (t->module->slot == SLOT_OPTIM && t->param && strcmp(t->param->name, "decay_tables") == 0)
        return !has_weight(both, ROLE_EMBED);
    if (t->module->slot == SLOT_OPTIM && t->param && strcmp(t->param->name, "state") == 0)
        if (!has_weight(both, ROLE_EMBED)) return true;     /* of dion and soap it is that of their AdamW */
    if (t->module->slot == SLOT_DISPATCH && t->param && strcmp(t->param->name, "hold") == 0) return is_one_room(both);
    if (t->module->slot == SLOT_CONSTRAINT) return !has_weight(both, ROLE_EMBED);
    if (t->module->slot == SLOT_FP8) return has_codes(both);
    if (t->module->slot != SLOT_INIT) return false;
    if (t->param && strcmp(t->param->name, "embed") == 0 && !module_traits(both->model.head).tied) return true;
    return module_traits(both->model.residual.pick[0]).branch_bounded;
}

/* Whether a switch changes nothing beside what the other needs, without the other too. */
static bool is_silent_beside(const struct toggle *t, const struct toggle *beside)
{
    struct together s = together_new((const struct toggle *[]){ beside, t }, 2, true);
    struct hash with, without;
    return together_fingerprint(&s, NULL, MODE_TRAIN, &with) && together_fingerprint(&s, t, MODE_TRAIN, &without) &&
           hash_equal(with, without);
}

/* A switch that another makes silent would read as "no effect": it must be refused. Not so where it sets what the other
   brings, where it lacks what must be beside it, which is left out or replaced, or where what is beside the other makes
   it silent. */
static void check_active(const struct toggle *const *t, const struct together *s, const char *name,
                         const struct tiny *both, struct tally *tally)
{
    struct hash with = graph_fingerprint(both->graph, 1000), without;
    for (int i = 0; i < 2; i++) {
        const struct toggle *other = t[1 - i];
        bool lacks = t[i]->beside && (s->n == 2 || one_slot(t[i]->beside, other));
        if (lacks || is_silent(t[i], both)) continue;
        if (!together_fingerprint(s, t[i], MODE_TRAIN, &without) || !hash_equal(with, without)) continue;
        if (together_is_usual(s, t[i]) || (other->beside && is_silent_beside(t[i], other->beside))) continue;
        wrong(tally, name, "'%s' changes nothing", t[i]->name);
    }
}

static void check_finite(struct tiny *t, const char *name, struct tally *tally)
{
    plan_update(t->plan);
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        if ((l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) || l->decl.dtype != DTYPE_REAL) continue;
        const real *w = state_data(t->state, l);
        int64_t k = 0, n = shape_count(l->decl.shape);
        while (k < n && isfinite(w[k])) k++;
        if (k < n) wrong(tally, name, "after a step %s holds %g", l->path, (double)w[k]);
    }
}

static bool is_chosen(const char *name)
{
    bool holds = true;
    for (int i = 0; i < n_words; i++) holds &= strstr(name, words[i]) != NULL;
    return holds;
}

static void check_together(const struct toggle *const *t, int n, struct tally *tally)
{
    struct tiny tiny;
    char why[256] = "", name[600] = "";
    double error;
    for (int i = 0; i < n; i++)
        snprintf(name + strlen(name), sizeof name - strlen(name), "%s%s", i ? " + " : "", t[i]->name);
    if (!is_chosen(name)) return;
    struct together s = together_new(t, n, true);
    bool legal = together_load(&s, NULL, &tiny, why);
    if (!legal) {                                           /* what is beside one may be in the way of another */
        s = together_new(t, n, false);
        legal = together_load(&s, NULL, &tiny, why);
    }
    if (!legal) {
        if (strlen(why) < 8) wrong(tally, name, "refused without a reason: '%s'", why);
        if (n_words || (getenv("SLUICE_FULL") && n == 2)) print_message("%s: %s\n", name, why);
        tally->refused++;
        return;
    }
    tiny_build(&tiny, MODE_TRAIN, 2, 6);
    if (n == 2) check_active(t, &s, name, &tiny, tally);
    if (!gradient_holds(&tiny, &error, why)) wrong(tally, name, "%s", why);
    tally->worst = fmax(tally->worst, error);
    check_finite(&tiny, name, tally);
    tally->legal++;
    tiny_free(&tiny);
}

static bool meet(const struct toggle *a, const struct toggle *b)
{
    bool part = a->module == b->module && (!a->param || !b->param);    /* a module's own parameter has it on already */
    return !one_slot(a, b) && !part && !(a->module == b->module && a->param == b->param);
}

/* So many are drawn of all, the same ones each time. */
enum { PAIRS = 1500, THREES = 700, FULL_THREES = 30000 };

static bool is_drawn(double wanted, double all, uint64_t kind, uint64_t *number)
{
    double share = n_words ? 1 : wanted / all;
    return key_uniform((struct key){ 1, PURPOSE_TEST, kind, 0 }, (*number)++) < share;
}

static void check_tally(const char *what, const struct tally *tally)
{
    print_message("%d switches; of %s that were drawn %d are legal, %d refused, %d wrong; worst error %.2g\n",
                  toggles.n, what, tally->legal, tally->refused, tally->wrong, tally->worst);
    assert_true(n_words ? tally->legal + tally->refused > 0 : tally->legal > 2 * tally->refused);
    assert_int_equal(tally->wrong, 0);
}

static void test_pairs(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    uint64_t number = 0;
    double n = toggles.n, all = n * (n - 1) / 2, wanted = getenv("SLUICE_FULL") ? all : PAIRS;
    if (n_words > 2) skip();
    for (int i = 0; i < toggles.n; i++)
        for (int j = i + 1; j < toggles.n; j++) {
            const struct toggle *t[] = { toggles.toggle[i], toggles.toggle[j] };
            if (is_drawn(wanted, all, 2, &number) && meet(t[0], t[1])) check_together(t, 2, &tally);
        }
    check_tally("the pairs", &tally);
}

static void test_threes(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    uint64_t number = 0;
    double n = toggles.n, all = n * (n - 1) * (n - 2) / 6, wanted = getenv("SLUICE_FULL") ? FULL_THREES : THREES;
    if (n_words == 1 || n_words == 2) skip();
    for (int i = 0; i < toggles.n; i++)
        for (int j = i + 1; j < toggles.n; j++)
            for (int k = j + 1; k < toggles.n; k++) {
                const struct toggle *t[] = { toggles.toggle[i], toggles.toggle[j], toggles.toggle[k] };
                if (!is_drawn(wanted, all, 3, &number)) continue;
                if (meet(t[0], t[1]) && meet(t[0], t[2]) && meet(t[1], t[2])) check_together(t, 3, &tally);
            }
    check_tally("the threes", &tally);
}

int main(int n, char **name)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_pairs), cmocka_unit_test(test_threes) };
    words = name + (n > 0);
    n_words = n - (n > 0);
    return cmocka_run_group_tests(tests, toggles_begin, toggles_end);
}
