/* The commands, and which of them a command line calls. */
#include "cli.h"
#include "version.h"
#include "base/text.h"
#include <jansson.h>
#include <string.h>

enum { NAMES = 64 };

#define COMMAND(name) extern const struct command command_##name;
#include "list.h"
#undef COMMAND
#define COMMAND(name) &command_##name,
static const struct command *const commands[] = {
#include "list.h"
    NULL
};
#undef COMMAND

static void print_overview(FILE *to)
{
    const char *bold = cli_paint(to, PAINT_BOLD), *off = cli_paint(to, PAINT_OFF);
    text_print(to, 0, 0, "Sluice trains the variants of a sparse-MoE language model that a Lua script describes, and "
                         "compares them.\n");
    fprintf(to, "\n%susage%s\n  sluice COMMAND ...            sluice COMMAND --help\n\n%scommands%s\n", bold, off, bold,
            off);
    for (const struct command *const *c = commands; *c; c++) {
        int column = fprintf(to, "  %-10s ", (*c)->name);
        text_print(to, column, column, "%s\n", (*c)->about);
    }
    fprintf(to, "\n%sexit codes%s\n", bold, off);
    for (int i = 0, column = 0; cli_codes[i]; i++) {
        int width = 2 + text_width(cli_codes[i]);
        bool more = column + width <= (text_room(to) ? text_room(to) : 80);
        column = (more ? column : 0) + fprintf(to, "%s  %s", more ? "" : "\n", cli_codes[i]) - !more;
    }
    fputc('\n', to);
}

enum code commands_run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "", *names[NAMES];
    int n = 0;
    json_set_alloc_funcs(xmalloc, free);                    /* a table that lost a key for want of memory would lie */
    if (argc < 2) {
        print_overview(stderr);
        return CODE_USAGE;
    }
    if (!strcmp(name, "help") && argc == 3) {               /* help COMMAND is COMMAND --help */
        char help[] = "--help", *swapped[] = { argv[0], argv[2], help, NULL };
        return commands_run(3, swapped);
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        print_overview(stdout);
        return cli_finish(CODE_OK);
    }
    if (!strcmp(name, "--version")) {
        version_print();
        return cli_finish(CODE_OK);
    }
    for (const struct command *const *c = commands; *c && n < NAMES - 1; c++) {
        if (!strcmp((*c)->name, name)) return cli_finish(cli_call(*c, commands, argc, argv));
        names[n++] = (*c)->name;
    }
    names[n] = NULL;
    char hint[HINT];
    return cli_usage(NULL, "no command '%s'%s", name, did_you_mean(nearest_name(name, names), hint));
}
