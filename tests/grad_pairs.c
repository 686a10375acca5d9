/* Switches two and three together, as many as are drawn: what is legal builds, has the right gradient and takes a step
   that leaves finite weights; what is not is refused with a reason. SLUICE_FULL=1: all of them. */
#include "tiny_gradient.h"
#include "toggle.h"

/* A module that its owner has anyhow brings only the owner. Branches that are normalised are not scaled by depth, a
   head that is not tied leaves embeddings as wide as usual; attention may turn nothing of a head by positions, and
   where nothing turns, a norm behind it is one before it. */
static bool is_silent(const struct toggle *t, const struct toggle *other, const struct tiny *both)
{
    struct site at = site_of(t->module->slot);
    if (!t->param && at.owner && at.owner == other->module && strcmp(at.param->module, t->module->name) == 0)
        return true;
    if (t->module->slot == SLOT_POSITION) return module_traits(both->model.attention.pick[0]).rotated == 0;
    if (t->module->slot == SLOT_QK_NORM && t->param && strcmp(t->param->name, "behind") == 0)
        return !both->model.position.pick[0].module->position_back;
    if (t->module->slot != SLOT_INIT) return false;
    if (t->param && strcmp(t->param->name, "embed") == 0 && !module_traits(both->model.head).tied) return true;
    return module_traits(both->model.residual.pick[0]).branch_bounded;
}

/* A switch that another makes silent would read as "no effect": it must be refused. Not so where it lacks what must be
   beside it, or where what is beside the other makes it silent. */
static void check_active(const struct toggle *const *t, const struct together *s, const char *name,
                         const struct tiny *both)
{
    struct hash with = graph_fingerprint(both->graph), without;
    for (int i = 0; i < 2; i++) {
        bool lacks = t[i]->beside && s->n == 2;
        if (lacks || t[1 - i]->beside || is_silent(t[i], t[1 - i], both)) continue;
        if (!together_fingerprint(s, t[i], MODE_TRAIN, &without)) continue;
        if (hash_equal(with, without)) fail_msg("%s: '%s' changes nothing", name, t[i]->name);
    }
}

struct tally { int legal, refused; double worst; };

static void check_finite(struct tiny *t, const char *name)
{
    plan_update(t->plan);
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        if ((l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) || l->decl.dtype != DTYPE_REAL) continue;
        const real *w = state_data(t->state, l);
        for (int64_t k = 0; k < shape_count(l->decl.shape); k++)
            if (!isfinite(w[k])) fail_msg("%s: after a step %s holds %g", name, l->path, (double)w[k]);
    }
}

static void check_together(const struct toggle *const *t, int n, struct tally *tally)
{
    struct tiny tiny;
    char why[256] = "", name[600] = "";
    for (int i = 0; i < n; i++)
        snprintf(name + strlen(name), sizeof name - strlen(name), "%s%s", i ? " + " : "", t[i]->name);
    struct together s = together_new(t, n, true);
    bool legal = together_load(&s, NULL, &tiny, why);
    if (!legal) {                                           /* what is beside one may be in the way of another */
        s = together_new(t, n, false);
        legal = together_load(&s, NULL, &tiny, why);
    }
    if (!legal) {
        if (strlen(why) < 8) fail_msg("%s: refused without a reason: '%s'", name, why);
        if (getenv("SLUICE_FULL") && n == 2) print_message("%s: %s\n", name, why);
        tally->refused++;
        return;
    }
    tiny_build(&tiny, MODE_TRAIN, 2, 6);
    if (n == 2) check_active(t, &s, name, &tiny);
    tally->worst = fmax(tally->worst, check_gradient(&tiny, name));
    check_finite(&tiny, name);
    tally->legal++;
    tiny_free(&tiny);
}

static bool one_slot(const struct toggle *a, const struct toggle *b)
{
    return a->module->slot == b->module->slot && (a->module != b->module || a->param == b->param) &&
           !site_of(a->module->slot).list;
}

static bool meet(const struct toggle *a, const struct toggle *b)
{
    bool part = a->module == b->module && (!a->param || !b->param);    /* a module's own parameter has it on already */
    return !one_slot(a, b) && !part && !(a->module == b->module && a->param == b->param);
}

/* So many are drawn of all, the same ones each time. */
enum { PAIRS = 1500, THREES = 700 };

static bool is_drawn(double wanted, double all, uint64_t kind, uint64_t *number)
{
    double share = getenv("SLUICE_FULL") ? 1 : wanted / all;
    return key_uniform((struct key){ 1, PURPOSE_TEST, kind, 0 }, (*number)++) < share;
}

static void test_pairs(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    uint64_t number = 0;
    double n = toggles.n;
    for (int i = 0; i < toggles.n; i++)
        for (int j = i + 1; j < toggles.n; j++) {
            const struct toggle *t[] = { toggles.toggle[i], toggles.toggle[j] };
            if (is_drawn(PAIRS, n * (n - 1) / 2, 2, &number) && meet(t[0], t[1])) check_together(t, 2, &tally);
        }
    print_message("%d switches; of the pairs that were drawn %d are legal, %d refused; worst error %.2g\n", toggles.n,
                  tally.legal, tally.refused, tally.worst);
    assert_true(tally.legal > 2 * tally.refused);
}

static void test_threes(void **state)
{
    (void)state;
    struct tally tally = { 0 };
    uint64_t number = 0;
    double n = toggles.n;
    for (int i = 0; i < toggles.n; i++)
        for (int j = i + 1; j < toggles.n; j++)
            for (int k = j + 1; k < toggles.n; k++) {
                const struct toggle *t[] = { toggles.toggle[i], toggles.toggle[j], toggles.toggle[k] };
                if (!is_drawn(THREES, n * (n - 1) * (n - 2) / 6, 3, &number)) continue;
                if (meet(t[0], t[1]) && meet(t[0], t[2]) && meet(t[1], t[2])) check_together(t, 3, &tally);
            }
    print_message("of the threes that were drawn %d are legal, %d refused; worst error %.2g\n", tally.legal,
                  tally.refused, tally.worst);
    assert_true(tally.legal > 2 * tally.refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_pairs), cmocka_unit_test(test_threes) };
    return cmocka_run_group_tests(tests, toggles_begin, toggles_end);
}
