/* The program. */
#include "cli/cli.h"

#include <signal.h>

int main(int argc, char **argv)
{
    signal(SIGXFSZ, SIG_IGN);                               /* a file that may not grow is a full disk: write says so */
    return cli_run(argc, argv);
}
