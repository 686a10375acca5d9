/* Every two switches together, and threes at random: what is legal builds, has the right gradient and takes a step that
   leaves finite weights; what is not is refused with a reason. SLUICE_FULL=1: all threes. */
#include "tiny_gradient.h"
#include "toggle.h"

/* Silent beside another by what it means: branches that are normalised are not scaled by depth. */
static const struct { const char *silent, *beside; } by_design[] = {
    { "init normal depth_scale", "residual " },
};

static bool is_silent(const struct toggle *t, const struct toggle *beside)
{
    for (int i = 0; i < COUNT(by_design); i++) {
        const char *a = by_design[i].silent, *b = by_design[i].beside;
        if (strncmp(t->name, a, strlen(a)) == 0 && strncmp(beside->name, b, strlen(b)) == 0) return true;
    }
    return false;
}

/* A switch that another makes silent would read as "no effect": it must be refused. The company of the other may say
   the same. */
static void check_active(const struct toggle *const *t, const char *name, const struct tiny *both)
{
    struct hash with = graph_fingerprint(both->graph), without;
    for (int i = 0; i < 2; i++) {
        if (has_company(t[1 - i]->module) || is_silent(t[i], t[1 - i]) || !toggles_fingerprint(t, 2, i, &without))
            continue;
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
    char why[256] = "", name[320] = "";
    for (int i = 0; i < n; i++)
        snprintf(name + strlen(name), sizeof name - strlen(name), "%s%s", i ? " + " : "", t[i]->name);
    if (!toggles_load(t, n, &tiny, why)) {
        if (strlen(why) < 8) fail_msg("%s: refused without a reason: '%s'", name, why);
        if (getenv("SLUICE_FULL") && n == 2) print_message("%s: %s\n", name, why);
        tally->refused++;
        return;
    }
    tiny_build(&tiny, MODE_TRAIN, 2, 6);
    if (n == 2) check_active(t, name, &tiny);
    struct derivative d = { 0 };
    /* A nudge that flips a choice says nothing of the gradient */
    for (uint64_t seed = 1; seed <= 8 && !d.still; seed++) {
        plan_free(tiny.plan);
        state_free(tiny.state);
        tiny_start(&tiny, seed);
        d = derivative_of(&tiny);
    }
    if (!d.still) fail_msg("%s: the nudge flips a choice whatever the seed", name);
    if (!(d.error < 1e-6))
        fail_msg("%s: derivative %.12g, by differences %.12g, relative error %.2g", name, d.exact, d.numeric, d.error);
    check_finite(&tiny, name);
    tally->worst = fmax(tally->worst, d.error);
    tally->legal++;
    tiny_free(&tiny);
}

static bool one_slot(const struct toggle *a, const struct toggle *b)
{
    return a->module->slot == b->module->slot && (a->module != b->module || a->param == b->param) &&
           !place_of(a->module->slot).list;
}

static bool meet(const struct toggle *a, const struct toggle *b)
{
    bool part = a->module == b->module && (!a->param || !b->param);    /* a module's own parameter has it on already */
    return !one_slot(a, b) && !part && !(a->module == b->module && a->param == b->param);
}

static void test_pairs(void **state)
{
    (void)state;
    struct toggles all = toggles_new();
    struct tally tally = { 0 };
    for (int i = 0; i < all.n; i++)
        for (int j = i + 1; j < all.n; j++)
            if (meet(&all.toggle[i], &all.toggle[j]))
                check_together((const struct toggle *[]){ &all.toggle[i], &all.toggle[j] }, 2, &tally);
    print_message("%d switches; of their pairs %d are legal, %d refused; worst error %.2g\n", all.n, tally.legal,
                  tally.refused, tally.worst);
    assert_true(all.n > 30 && tally.legal > 4 * tally.refused);
    toggles_free(&all);
}

static void test_threes(void **state)
{
    (void)state;
    struct toggles all = toggles_new();
    struct tally tally = { 0 };
    double share = getenv("SLUICE_FULL") ? 1 : 0.05;
    uint64_t drawn = 0;
    for (int i = 0; i < all.n; i++)
        for (int j = i + 1; j < all.n; j++)
            for (int k = j + 1; k < all.n; k++) {
                const struct toggle *t[] = { &all.toggle[i], &all.toggle[j], &all.toggle[k] };
                if (key_uniform((struct key){ 1, PURPOSE_TEST, 3, 0 }, drawn++) >= share) continue;
                if (meet(t[0], t[1]) && meet(t[0], t[2]) && meet(t[1], t[2])) check_together(t, 3, &tally);
            }
    print_message("of the threes that were drawn %d are legal, %d refused; worst error %.2g\n", tally.legal,
                  tally.refused, tally.worst);
    assert_true(tally.legal > 100);
    toggles_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_pairs), cmocka_unit_test(test_threes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
