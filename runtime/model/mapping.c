/* From a donor's tensors to a model's: every tensor of the model is made of something, every one of the donor has a
   place, or what is missing is said. */
#include "mapping.h"
#include "registry.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct start *model_start(const struct model_conf *conf) { return module_traits(conf->init).start; }

struct ints start_layers(const struct start *s, int n, struct arena *a, struct err *e)
{
    struct ints of = { n, arena_alloc(a, (size_t)(n + 1) * sizeof(int)) }, none = { 0 };
    for (int i = 0; i < n; i++) of.value[i] = i;
    if (s->map.module->layers) of = s->map.module->layers(a, s->map, n);
    if (of.n == 0) err_set(e, "init.map = \"%s\": leaves none of the %d layers of %s", s->map.module->name, n, s->run);
    for (int i = 0; i < of.n; i++) {
        if (of.value[i] < n) continue;
        err_set(e, "init.map: layer %d is to be a copy of layer %d, and %s has %d, counted from 0", i, of.value[i],
                s->run, n);
        return none;
    }
    return of;
}

/* ---- for modules ---- */

struct stack stack_of_experts(struct shape s)
{
    return (struct stack){ s.dim[0], s.rank > 2 ? s.dim[1] : 1, s.rank > 1 ? shape_last(s) : 1 };
}

const struct donated *donor_find(const struct donor *d, const char *path)
{
    for (int i = 0; i < d->n; i++) if (strcmp(d->tensor[i].path, path) == 0) return &d->tensor[i];
    return NULL;
}

struct made mapping_fail(struct mapping *m, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (!m->failed) err_set(&m->err, "%s", text);
    m->failed = true;
    return (struct made){ .drawn = true };
}

int path_layer(const char *path, const char **rest)
{
    char *end;
    if (strncmp(path, "layers.", 7) != 0) return -1;
    long layer = strtol(path + 7, &end, 10);
    if (end == path + 7 || *end != '.') return -1;
    *rest = end + 1;
    return (int)layer;
}

const char *path_in_layer(struct mapping *m, const char *path, int layer)
{
    const char *rest;
    return path_layer(path, &rest) < 0 ? path : arena_text(m->arena, "layers.%d.%s", layer, rest);
}

int32_t *mapping_places(struct mapping *m, int64_t n) { return arena_alloc(m->arena, (size_t)n * sizeof(int32_t)); }

struct made mapping_of(struct mapping *m, const char *how, int n, const struct donation *part)
{
    return (struct made){ .n = n, .part = arena_copy(m->arena, part, (size_t)n * sizeof *part), .how = how };
}

struct made mapping_as(struct mapping *m, const struct leaf *l, const char *path, const char *how)
{
    const struct donated *from = donor_find(m->donor, path);
    char here[64], there[64];
    if (!from && (l->kind == LEAF_BUFFER || leaf_is_factor(l))) return (struct made){ .drawn = true };
    if (!from) {
        const char **known = arena_alloc(m->arena, (size_t)(m->donor->n + 1) * sizeof *known), *near;
        for (int i = 0; i < m->donor->n; i++) known[i] = m->donor->tensor[i].path;
        near = nearest_name(path, known);
        return mapping_fail(m, "%s has no %s%s%s%s; init.fresh = \"%s\" begins with draws", m->start->run, path,
                            near ? " (the nearest is " : "", near ? near : "", near ? ")" : "", l->path);
    }
    if (!shape_equal(from->shape, l->values))
        return mapping_fail(m, "%s is %s here and %s in %s: init.map = \"%s\" takes tensors of one shape", l->path,
                            shape_text(l->values, here), shape_text(from->shape, there), m->start->run,
                            m->start->map.module->name);
    return mapping_of(m, how, 1, &(struct donation){ .from = from, .by = 1 });
}

/* The matrix whose bias it is; NULL: it is none. */
static const struct leaf *matrix_of(const struct mapping *m, const struct leaf *l)
{
    size_t length = strlen(l->path);
    if (length < 5 || strcmp(l->path + length - 5, ".bias") != 0) return NULL;
    return leaves_find(m->leaves, arena_text(m->arena, "%.*s.weight", (int)length - 5, l->path));
}

/* Whether a branch writes to the stream by it, a bias as the matrix whose it is. */
static bool is_written_by(const struct mapping *m, const struct leaf *l)
{
    const struct leaf *matrix = matrix_of(m, l);
    return role_writes(matrix ? matrix->role : l->role);
}

struct made mapping_layer(struct mapping *m, const struct leaf *l, bool identity)
{
    const char *rest;
    int layer = path_layer(l->path, &rest);
    bool again = false;
    for (int i = 0; i < layer; i++) again |= m->of.value[i] == m->of.value[layer];
    if (again && identity && is_written_by(m, l)) return mapping_of(m, "zeros where a layer is repeated", 0, NULL);
    return mapping_as(m, l, layer < 0 ? l->path : path_in_layer(m, l->path, m->of.value[layer]), NULL);
}

/* ---- experts ---- */

bool mapping_expert_stacks(const struct mapping *m, const struct leaf *l, struct expert_stacks *out)
{
    const char *rest, *up;
    int layer = path_layer(l->path, &rest);
    if (layer < 0 || strncmp(rest, "ffn.", 4) != 0 || strncmp(rest, "ffn.shared.", 11) == 0) return false;
    up = arena_text(m->arena, "layers.%d.ffn.experts.up.weight", layer);
    const struct leaf *own = leaves_find(m->leaves, up);
    const struct donated *its = donor_find(m->donor, up), *from = donor_find(m->donor, l->path);
    if (!own || !its || !from || own->values.rank != 3 || its->shape.rank != 3 || from->shape.rank != l->values.rank)
        return false;
    *out = (struct expert_stacks){ from, layer, own->values.dim[0], its->shape.dim[0], own->values.dim[1],
                                its->shape.dim[1], l->values.dim[0] };
    int64_t idle = out->places - out->own;
    bool fits = out->own != out->its && idle >= 0 && from->shape.dim[0] == out->its + idle;
    for (int i = 1; i < l->values.rank; i++) {
        int64_t here = l->values.dim[i], there = from->shape.dim[i];
        fits &= here == there || (here == out->own_width && there == out->its_width);
    }
    return fits;
}

/* What loss-free balancing adds to scores. */
static bool is_summand(const struct leaf *l)
{
    const char *rest;
    return l->kind == LEAF_BUFFER && path_layer(l->path, &rest) >= 0 && strcmp(rest, "ffn.router.bias") == 0 &&
           l->init.value == 0;
}

double mapping_parted(const struct mapping *m, const struct leaf *l, int layer, int64_t parts)
{
    struct traits router = module_traits(module_part(m->model->ffn.pick[layer], SLOT_ROUTER));
    const struct leaf *matrix = matrix_of(m, l);
    double down = router.gate_over == GATE_ALONE ? 1 : (double)parts;
    if (l->role == ROLE_FFN_DOWN) return down;
    if (matrix && matrix->role == ROLE_FFN_DOWN) return down / (double)parts;               /* each part adds its own */
    return router.competing && is_summand(l) ? 1 / (double)parts : 1;
}

/* ---- all of them ---- */

/* Patterns with spaces between. */
static bool matches(struct arena *a, const char *patterns, const char *path)
{
    char *copy = arena_copy(a, patterns, strlen(patterns) + 1), *rest;
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        if (fnmatch(word, path, 0) == 0) return true;
    return false;
}

static bool is_used(const struct mapping *m, const struct donated *t)
{
    for (int i = 0; i < m->n; i++)
        for (int k = 0; k < m->made[i].n; k++) if (m->made[i].part[k].from == t) return true;
    return false;
}

/* A layer of which nothing at all is used is left out by the map. */
static bool layer_is_used(const struct mapping *m, int layer)
{
    const char *rest;
    bool used = layer < 0;
    for (int i = 0; i < m->donor->n && !used; i++)
        used = path_layer(m->donor->tensor[i].path, &rest) == layer && is_used(m, &m->donor->tensor[i]);
    return used;
}

static void check_left(struct mapping *m)
{
    for (int i = 0; i < m->donor->n && !m->failed; i++) {
        const struct donated *t = &m->donor->tensor[i];
        const char *rest;
        if (is_used(m, t) || matches(m->arena, m->start->left, t->path)) continue;
        if (layer_is_used(m, path_layer(t->path, &rest)))
            mapping_fail(m, "%s has %s, which has no place in this model: init.left = \"%s\" leaves it out",
                         m->start->run, t->path, t->path);
    }
}

/* A map of other depth says which layers become which; to others model and donor have as many. */
static void find_layers(struct mapping *m)
{
    struct err why;
    const struct pick map = m->start->map;
    int n = m->model->layers, its = m->donor->layers;
    m->of = start_layers(m->start, its, m->arena, &why);
    if (m->of.n == 0) mapping_fail(m, "%s", why.text);
    else if (m->of.n != n && map.module->layers)
        mapping_fail(m, "%s has %d layers, of which init.map = \"%s\" makes %d, and this model has %d", m->start->run,
                     its, map.module->name, m->of.n, n);
    else if (m->of.n != n)
        mapping_fail(m, "%s has %d layers and this model %d: init.map = \"layers\", \"cycle\" or \"overlap\" says "
                        "which become which", m->start->run, its, n);
}

int mapping_make(struct mapping *m, const struct leaves *leaves)
{
    m->leaves = leaves;
    find_layers(m);
    const struct pick map = m->start->map;
    m->leaf = arena_alloc(m->arena, (size_t)(leaves->n + 1) * sizeof *m->leaf);
    m->made = arena_alloc(m->arena, (size_t)(leaves->n + 1) * sizeof *m->made);
    for (int i = 0; i < leaves->n && !m->failed; i++) {
        const struct leaf *l = leaves->leaf[i];
        if (!leaf_is_own(l)) continue;
        m->leaf[m->n] = l;
        m->made[m->n++] = matches(m->arena, m->start->fresh, l->path) ? (struct made){ .drawn = true }
                                                                        : map.module->map(m, map, l);
    }
    if (!m->failed) check_left(m);
    return m->failed ? -1 : 0;
}

/* ---- to be read ---- */

/* "layers.*.REST" */
static const char *name_of(struct mapping *m, const char *path)
{
    const char *rest;
    return path_layer(path, &rest) < 0 ? path : arena_text(m->arena, "layers.*.%s", rest);
}

static struct mapping_line line_of(struct mapping *m, int i)
{
    const struct made *o = &m->made[i];
    const struct donated *from = o->n ? o->part[0].from : NULL;
    return (struct mapping_line){
        .name = name_of(m, m->leaf[i]->path), .from = from ? name_of(m, from->path) : "", .layers = 1,
        .how = o->how ? o->how : o->drawn ? "drawn" : o->n ? "" : "zeros", .shape = m->leaf[i]->values, .of = ""
    };
}

/* One more layer of a line. */
static void add_layer(struct mapping *m, struct mapping_line *line, int i)
{
    const char *rest, *from = m->made[i].n && m->made[i].part[0].from ? m->made[i].part[0].from->path : NULL;
    int own = path_layer(m->leaf[i]->path, &rest), its = from ? path_layer(from, &rest) : -1;
    if (its < 0) return;
    line->moved |= its != own;
    line->of = arena_text(m->arena, "%s %d", line->of, its);
}

static bool is_alike(const struct mapping_line *a, const struct mapping_line *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->from, b->from) == 0 && strcmp(a->how, b->how) == 0 &&
           shape_equal(a->shape, b->shape);
}

int mapping_lines(const struct mapping *mapping, struct mapping_line **lines)
{
    struct mapping m = *mapping;
    int n = 0;
    *lines = arena_alloc(m.arena, (size_t)(m.n + 1) * sizeof **lines);
    for (int i = 0; i < m.n; i++) {
        struct mapping_line line = line_of(&m, i);
        int k = 0;
        while (k < n && !is_alike(&(*lines)[k], &line)) k++;
        if (k < n) (*lines)[k].layers++;
        else (*lines)[n++] = line;
        add_layer(&m, &(*lines)[k], i);
    }
    return n;
}
