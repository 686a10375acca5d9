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

const char *mesh_text(const struct mesh *m, char out[64])
{
    int n = snprintf(out, 64, mesh_ranks(m) == 1 ? "1" : "");
    for (int a = AXES - 1; a >= 0; a--)
        if (size_of(m, a) > 1) n += snprintf(out + n, 64 - (size_t)n, "%s%s%d", n ? "." : "", axis_name[a], m->size[a]);
    return out;
}
