/* Ranks as points of a grid, the first axis running fastest. */
#include "mesh.h"

#include <stdio.h>

#define AXIS_NAME(upper, name) name,
const char *const axis_name[AXES] = { AXIS_LIST(AXIS_NAME) };

static int size_of(const struct mesh *m, int axis) { return m->size[axis] > 0 ? m->size[axis] : 1; }

int mesh_ranks(const struct mesh *m)
{
    int ranks = 1;
    for (int a = 0; a < AXES; a++) ranks *= size_of(m, a);
    return ranks;
}

int place_group(const struct place *p, unsigned over)
{
    int n = 1;
    for (int a = 0; a < AXES; a++) if (over >> a & 1) n *= size_of(&p->mesh, a);
    return n;
}

int place_index(const struct place *p, unsigned over)
{
    int index = 0, step = 1, rank = p->rank;
    for (int a = 0; a < AXES; a++) {
        int size = size_of(&p->mesh, a);
        if (over >> a & 1) { index += rank % size * step; step *= size; }
        rank /= size;
    }
    return index;
}

int place_member(const struct place *p, unsigned over, int i)
{
    int member = 0, step = 1, rank = p->rank;
    for (int a = 0; a < AXES; a++) {
        int size = size_of(&p->mesh, a);
        member += (over >> a & 1 ? i % size : rank % size) * step;
        if (over >> a & 1) i /= size;
        rank /= size;
        step *= size;
    }
    return member;
}

static int from_end(const struct place *p, int along) { return place_group(p, OVER_PIPELINE) - 1 - along; }

int place_along(const struct place *p)
{
    int near = place_index(p, OVER_PP);
    return place_index(p, OVER_SIDE) ? from_end(p, near) : near;
}

int place_at(const struct place *p, int along)
{
    bool far = along >= place_group(p, OVER_PP);
    struct place side = { p->mesh, place_member(p, OVER_SIDE, far) };
    return place_member(&side, OVER_PP, far ? from_end(p, along) : along);
}

const char *mesh_text(const struct mesh *m, char out[64])
{
    int n = snprintf(out, 64, mesh_ranks(m) == 1 ? "1" : "");
    for (int a = AXES - 1; a >= 0; a--)
        if (size_of(m, a) > 1) n += snprintf(out + n, 64 - (size_t)n, "%s%s%d", n ? "." : "", axis_name[a], m->size[a]);
    return out;
}
