/* Mappings, to be read. */
#include "mapping_print.h"
#include "train/start.h"

#include <string.h>

static void print_table(const struct mapping *m)
{
    static const char *const columns[] = { "tensor", "layers", "shape", "from", "how" };
    struct table *t = table_new(columns, COUNT(columns));
    struct mapping_line *line;
    int n = mapping_lines(m, &line);
    for (int i = 0; i < n; i++) {
        char shape[64];
        table_cell(t, "%s", line[i].name);
        table_cell(t, "%d", line[i].layers);
        table_cell(t, "%s", shape_text(line[i].shape, shape));
        table_cell(t, "%s%s%s", strcmp(line[i].from, line[i].name) == 0 ? "" : line[i].from,
                   line[i].moved ? "layers" : "", line[i].moved ? line[i].of : "");
        table_cell(t, "%s", *line[i].how ? line[i].how : "as it is");
    }
    table_print(t, stdout);
}

static json_t *table_json(const struct mapping *m)
{
    json_t *list = json_array();
    struct mapping_line *line;
    int n = mapping_lines(m, &line);
    for (int i = 0; i < n; i++) {
        char shape[64];
        json_array_append_new(list, json_pack("{s:s, s:i, s:s, s:s, s:s, s:s}", "tensor", line[i].name, "layers",
                                              line[i].layers, "shape", shape_text(line[i].shape, shape), "from",
                                              line[i].from, "of", line[i].of, "how", line[i].how));
    }
    return list;
}

enum code mapping_print(const struct study *s, int variant, bool json)
{
    struct arena *arena = arena_new();
    struct training_graph of = { 0 };
    struct mapping m;
    struct err e;
    int64_t step;
    enum code code = CODE_OK;
    if (!variant_start(&s->variant[variant], &step))
        code = cli_fail(CODE_SCRIPT, "%s begins with draws: init = { \"from\", run = .. } begins with another's "
                        "weights", s->variant[variant].name);
    else if (start_map(s, variant, &m, &of, arena, &e)) code = cli_fail(CODE_SCRIPT, "%s", e.text);
    else if (json) cli_json(table_json(&m));
    else print_table(&m);
    training_graph_free(&of);
    arena_free(arena);
    return code;
}
