/* Layouts as a table and as JSON. */
#include "scale.h"
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static void print_fitting(const struct scale *s, int top)
{
    static const char *const columns[] = { "model, not measured", ">step", ">tokens/s", ">idle", ">exposed", ">hidden",
                                           ">memory" };
    struct table *t = table_new(columns, COUNT(columns));
    char layout[128], text[FORMAT_SIZE];
    for (int i = 0; i < s->count[FATE_FITS] && i < top; i++) {
        const struct trial *of = &s->trial[i];
        table_cell(t, "%s", layout_text(&of->layout, layout));
        table_cell(t, "%s ms", format_figures(1e3 * of->step.seconds, 4, text));
        table_cell(t, "%s", format_count(s->tokens / of->step.seconds, text));
        table_cell(t, "%.1f %%", 100 * of->step.idle);
        table_cell(t, "%.1f %%", 100 * of->step.exposed / of->step.seconds);
        table_cell(t, "%.1f %%", 100 * of->step.hidden / of->step.seconds);
        table_cell(t, "%s", format_bytes((double)of->most, text));
    }
    table_print(t, s->count[FATE_FITS] ? stdout : NULL);
    if (s->count[FATE_FITS] > top) printf("and %d slower ones (--top)\n", s->count[FATE_FITS] - top);
}

/* Where the most is, and how much. */
static void print_large(const struct scale *s, int top)
{
    static const char *const columns[] = { "left out for memory", ">needs", ">at stage's rank", ">step" };
    struct table *t = table_new(columns, COUNT(columns));
    const struct trial *first = &s->trial[s->count[FATE_FITS]];
    char layout[128], text[FORMAT_SIZE], room[FORMAT_SIZE];
    int n = s->count[FATE_TOO_LARGE], shown = n < top ? n : top;
    for (int i = 0; i < shown; i++) {
        int at = 0;
        while (first[i].bytes[at] < first[i].most) at++;
        table_cell(t, "%s", layout_text(&first[i].layout, layout));
        table_cell(t, "%s", format_bytes((double)first[i].most, text));
        table_cell(t, "%d of %d", at, first[i].positions);
        table_cell(t, "%s ms", format_figures(1e3 * first[i].step.seconds, 4, text));
    }
    if (n) printf("\n%d need more memory than the %s of a device\n", n, format_bytes(s->cluster->memory, room));
    table_print(t, n ? stdout : NULL);
}

static void print_refused(const struct scale *s, bool all)
{
    const struct trial *first = &s->trial[s->count[FATE_FITS] + s->count[FATE_TOO_LARGE]];
    char layout[128];
    int n = s->count[FATE_REFUSED];
    if (n) printf("\n%d cannot be had%s\n", n, all ? ":" : " (--refused says why)");
    for (int i = 0; i < n && all; i++)
        text_print(stdout, 0, 4, "  %s: %s\n", layout_text(&first[i].layout, layout), first[i].why);
}

void scale_print(const struct scale *s, int top, bool refused)
{
    char text[FORMAT_SIZE];
    text_print(stdout, 0, 2, "A step of %s, %s tokens, on %d devices of %s: a model, not measured.\n", s->variant,
               format_count(s->tokens, text), s->devices, s->cluster->name);
    print_fitting(s, top);
    print_large(s, top < 5 ? top : 5);
    print_refused(s, refused);
    text_print(stdout, 0, 2, "\nidle: waiting for another stage; exposed: for what ranks tell each other within a "
                             "step, hidden: beside calls; shares of the step of the mean rank. memory: of the rank "
                             "that needs the most.\n");
    text_print(stdout, 0, 2, "%s.\n", s->cluster->about);
}

/* ---- JSON ---- */

static json_t *mesh_json(const struct mesh *m)
{
    json_t *j = json_object();
    for (int a = 0; a < AXES; a++) json_object_set_new(j, axis_name[a], json_integer(m->size[a]));
    return j;
}

static json_t *trial_json(const struct trial *t)
{
    static const char *const fate[] = { "fits", "memory", "refused" };
    char text[128];
    json_t *bytes = json_array(),
           *j = json_pack("{s:s, s:s, s:o, s:i, s:i}", "layout", layout_text(&t->layout, text), "fate", fate[t->fate],
                          "ranks", mesh_json(&t->layout.mesh), "micro", t->layout.micro, "zero", t->layout.zero);
    for (int q = 0; q < t->positions; q++) json_array_append_new(bytes, json_integer((json_int_t)t->bytes[q]));
    if (t->fate == FATE_REFUSED) {
        json_object_set_new(j, "why", json_string(t->why));
        json_decref(bytes);
        return j;
    }
    json_object_set_new(j, "step_seconds", json_real(t->step.seconds));
    json_object_set_new(j, "idle_share", json_real(t->step.idle));
    json_object_set_new(j, "exposed_seconds", json_real(t->step.exposed));
    json_object_set_new(j, "hidden_seconds", json_real(t->step.hidden));
    json_object_set_new(j, "memory_bytes", bytes);          /* by pipeline position */
    return j;
}

json_t *scale_json(const struct scale *s)
{
    json_t *list = json_array();
    for (int i = 0; i < s->n; i++) json_array_append_new(list, trial_json(&s->trial[i]));
    return json_pack("{s:s, s:i, s:s, s:s, s:f, s:f, s:o}", "variant", s->variant, "devices", s->devices,
                     "cluster", s->cluster->name, "costs", s->cluster->about, "device_memory_bytes",
                     s->cluster->memory, "tokens_per_step", s->tokens, "layouts", list);
}
