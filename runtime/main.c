/* The program: a table of commands. */
#include "cli/cli.h"

#define COMMAND(name) extern const struct command command_##name;
#include "cli/list.h"
#undef COMMAND

#define COMMAND(name) &command_##name,
static const struct command *const commands[] = {
#include "cli/list.h"
    NULL
};

int main(int argc, char **argv)
{
    return cli_run(commands, argc, argv);
}
