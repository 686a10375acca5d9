/* What saving a study would change in its folder: whose it is, and what becomes of the runs that are there. */
#include "study.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_begun(const struct study *s, int point)
{
    char *path = study_point_path(s, point, "run.h5");
    bool begun = access(path, F_OK) == 0;
    free(path);
    return begun;
}

static bool has_point(const struct study *s, const char *dir)
{
    for (int p = 0; p < s->n_points; p++)
        if (strcmp(s->point[p].dir, dir) == 0) return true;
    return false;
}

static const char *whole_script(const struct study *s)
{
    const char *path = json_string_value(json_object_get(s->record, "script"));
    return path ? path : s->script_path;
}

/* A script that was moved is the same one, and so is one that was changed where it lies. */
static bool is_same_script(const struct study *a, const struct study *b)
{
    if (strcmp(whole_script(a), whole_script(b)) == 0) return true;
    if (!a->record && strcmp(a->script_path, b->script_path) == 0) return true;
    return strcmp(a->script_text, b->script_text) == 0;
}

int study_change(const struct study *s, struct study_change *out, struct err *e)
{
    struct study *old;
    char path[4096];
    *out = (struct study_change){ 0 };
    snprintf(path, sizeof path, "%s/study.json", s->dir);
    if (access(path, F_OK) != 0) return 0;
    if (study_open(s->dir, &old, e)) return -1;
    out->exists = true;
    out->other = !is_same_script(old, s);
    snprintf(out->script, sizeof out->script, "%s", whole_script(old));
    for (int p = 0; p < s->n_points; p++) {
        bool named = has_point(old, s->point[p].dir), begun = is_begun(s, p);
        out->kept += named;
        out->back += !named && begun;
        out->added += !named && !begun;
    }
    for (int p = 0; p < old->n_points; p++) {
        if (has_point(s, old->point[p].dir)) continue;
        if (is_begun(old, p)) out->earlier++; else out->dropped++;
    }
    study_free(old);
    return 0;
}
