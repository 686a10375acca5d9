/* Layouts: all products, and of what else there is to choose what makes sense. */
#include "layout.h"
#include "base/text.h"
#include "model/config.h"
#include "plan/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

static int schedule_of(const char *word)
{
    for (int i = 0; pipeline_name[i]; i++) if (!strcmp(pipeline_name[i], word)) return i;
    return LAYOUT_FREE;
}

static int *number_of(struct layout *l, const char *key)
{
    for (int a = 0; a < AXES; a++) if (!strcmp(axis_name[a], key)) return &l->mesh.size[a];
    return !strcmp(key, "chunks") ? &l->chunks
           : !strcmp(key, "zero") ? &l->zero
           : !strcmp(key, "micro") ? &l->micro : NULL;
}

static int read_word(struct layout *l, const char *word, struct err *e)
{
    static const char *const keys[] = { "dp", "ep", "nodes", "tp", "cp", "pp", "schedule", "chunks", "zero",
                                        "micro", "room", NULL };
    char key[16] = "", value[16] = "", hint[HINT];
    bool whole = sscanf(word, "%15[a-z]=%15s", key, value) == 2;
    int *number = number_of(l, key), n = atoi(value);
    if (whole && !strcmp(key, "schedule")) {
        l->schedule = schedule_of(value);
        return l->schedule != LAYOUT_FREE ? 0
               : err_set(e, "schedule=%s: no such schedule%s; known: " PIPELINES, value,
                         did_you_mean(nearest_name(value, pipeline_name), hint));
    }
    if (whole && !strcmp(key, "room") && atof(value) >= 0) { l->room = atof(value); return 0; }
    if (!number)
        return err_set(e, "'%s': must be a key and its value, as ep=4%s; keys are dp, ep, nodes, tp, cp, pp, "
                          "schedule, chunks, zero, micro, room", word, did_you_mean(nearest_name(key, keys), hint));
    if (!whole || n < 1) return err_set(e, "%s: must be at least 1", word);
    *number = n;
    return 0;
}

int layout_read(struct layout *out, const char *text, struct err *e)
{
    char *all = xstrdup(text), *rest = all, *word;
    int failure = 0;
    *out = (struct layout){ .schedule = LAYOUT_FREE, .chunks = LAYOUT_FREE, .zero = LAYOUT_FREE, .micro = LAYOUT_FREE,
                            .room = LAYOUT_FREE };
    for (int a = 0; a < AXES; a++) out->mesh.size[a] = LAYOUT_FREE;
    while (!failure && (word = strsep(&rest, " ,")) != NULL) if (*word) failure = read_word(out, word, e);
    free(all);
    return failure;
}

/* ---- all ---- */

struct search {
    struct layouts all;
    const struct layout *said;
    int batch, micro, chunks;                               /* of the configuration */
    bool has[AXES];
};

static bool is_same(const struct layout *a, const struct layout *b)
{
    return !memcmp(&a->mesh, &b->mesh, sizeof a->mesh) && a->schedule == b->schedule && a->zero == b->zero &&
           a->micro == b->micro;
}

static void add(struct search *s, const struct layout *l)
{
    for (int i = 0; i < s->all.n; i++) if (is_same(&s->all.layout[i], l)) return;
    if (s->all.n == s->all.room) {
        s->all.room = 2 * s->all.room + 64;
        s->all.layout = xrealloc(s->all.layout, (size_t)s->all.room * sizeof *l);
    }
    s->all.layout[s->all.n++] = *l;
}

/* The least divisor of n that is not below `from`; n where there is none. */
static int divisor_from(int n, int from)
{
    while (from < n && n % from != 0) from++;
    return from < n ? from : n;
}

/* As many as the configuration says, if that is legal; and from one, or one a stage, on, twice as many each time. */
static void add_micros(struct search *s, struct layout l)
{
    struct place any = { l.mesh, 0 };
    int most = s->batch / place_group(&any, OVER_SEQUENCES), stages = place_group(&any, OVER_PP),
        times = stages > 1 ? 4 : 1;
    if (s->said->micro != LAYOUT_FREE) { l.micro = s->said->micro; add(s, &l); return; }
    if (most < 1 || s->batch % place_group(&any, OVER_SEQUENCES)) { l.micro = s->micro; add(s, &l); return; }
    if (most % s->micro == 0 && s->micro >= stages) { l.micro = s->micro; add(s, &l); }
    for (int k = 0, from = stages; k < times; k++, from *= 2) { l.micro = divisor_from(most, from); add(s, &l); }
    l.micro = most;
    add(s, &l);
}

static void add_schedules(struct search *s, struct layout l)
{
    if (l.mesh.size[AXIS_PP] == 1) { add_micros(s, l); return; }
    for (int kind = 0; kind < PIPELINE_KINDS; kind++) {
        if (s->said->schedule != LAYOUT_FREE && s->said->schedule != kind) continue;
        l.schedule = kind;
        l.chunks = kind != PIPELINE_INTERLEAVED ? LAYOUT_FREE
                   : s->said->chunks != LAYOUT_FREE ? s->said->chunks : s->chunks;
        add_micros(s, l);
    }
}

static void add_levels(struct search *s, struct layout l)
{
    struct place any = { l.mesh, 0 };
    int levels = place_group(&any, OVER_SEQUENCES) > 1 ? 3 : 1;
    for (l.zero = 1; l.zero <= levels; l.zero++)
        if (s->said->zero == LAYOUT_FREE || s->said->zero == l.zero) add_schedules(s, l);
    if (s->said->zero > levels) { l.zero = s->said->zero; add_schedules(s, l); }
}

static void add_axes(struct search *s, struct layout l, int axis, int left)
{
    if (axis == AXES) {
        if (left == 1) add_levels(s, l);
        return;
    }
    for (int n = 1; n <= left; n++) {
        int said = s->said->mesh.size[axis];
        if (left % n || (said != LAYOUT_FREE && said != n) || (!s->has[axis] && n > 1)) continue;
        l.mesh.size[axis] = n;
        add_axes(s, l, axis + 1, left / n);
    }
}

/* A mesh has the ranks of ep on a node, what is said has all. Nodes are as the configuration says, where nothing is. */
static struct layout with_nodes(struct layout said, int nodes)
{
    int *size = said.mesh.size;
    if (size[AXIS_NODES] == LAYOUT_FREE) size[AXIS_NODES] = nodes;
    if (size[AXIS_EP] != LAYOUT_FREE && size[AXIS_EP] % size[AXIS_NODES] == 0) size[AXIS_EP] /= size[AXIS_NODES];
    return said;
}

static struct mesh with_all_experts(struct mesh m)
{
    m.size[AXIS_EP] *= m.size[AXIS_NODES];
    return m;
}

struct layouts layouts_all(const json_t *config, int devices, const struct layout *said)
{
    const json_t *train = json_object_get(config, "train"), *ranks = json_object_get(train, "ranks");
    struct layout fixed = with_nodes(*said, (int)config_integer(config, "train.ranks.nodes"));
    struct search s = { .said = &fixed, .batch = (int)config_integer(config, "train.batch"),
                        .micro = (int)config_integer(config, "train.micro"),
                        .chunks = (int)config_integer(config, "train.ranks.chunks") };
    struct layout l = { .schedule = LAYOUT_FREE, .chunks = LAYOUT_FREE, .zero = LAYOUT_FREE, .micro = LAYOUT_FREE,
                        .room = said->room };
    for (int a = 0; a < AXES; a++) s.has[a] = json_object_get(ranks, axis_name[a]) != NULL;
    add_axes(&s, l, 0, devices);
    return s.all;
}

json_t *layout_config(const json_t *config, const struct layout *l)
{
    json_t *own = json_deep_copy(config), *train = json_object_get(own, "train"),
           *ranks = json_object_get(train, "ranks");
    struct mesh mesh = with_all_experts(l->mesh);
    for (int a = 0; a < AXES; a++)
        if (json_object_get(ranks, axis_name[a]))
            json_object_set_new(ranks, axis_name[a], json_integer(mesh.size[a]));
    if (l->schedule != LAYOUT_FREE) json_object_set_new(ranks, "schedule", json_string(pipeline_name[l->schedule]));
    if (l->chunks != LAYOUT_FREE) json_object_set_new(ranks, "chunks", json_integer(l->chunks));
    if (l->zero != LAYOUT_FREE) json_object_set_new(ranks, "zero", json_integer(l->zero));
    if (l->room >= 0) json_object_set_new(ranks, "room", json_real(l->room));
    json_object_set_new(train, "micro", json_integer(l->micro));
    return own;
}

const char *layout_text(const struct layout *l, char out[128])
{
    char text[64];
    struct mesh mesh = with_all_experts(l->mesh);
    int n = snprintf(out, 128, "%s", mesh_text(&mesh, text));
    if (l->schedule != LAYOUT_FREE) n += snprintf(out + n, 128 - (size_t)n, " %s", pipeline_name[l->schedule]);
    if (l->chunks != LAYOUT_FREE) n += snprintf(out + n, 128 - (size_t)n, " chunks %d", l->chunks);
    snprintf(out + n, 128 - (size_t)n, " micro %d zero %d", l->micro, l->zero);
    return out;
}
