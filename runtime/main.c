/* The program. */
#include "cli/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* No file that is opened later may take the number of a standard stream that was closed: messages would go into it.
   What is put there can neither be read nor written, as a closed one. */
static void hold_standard_streams(void)
{
    static const int refusing[] = { O_WRONLY, O_RDONLY, O_RDONLY };
    for (int fd = 0; fd < COUNT(refusing); fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", refusing[fd]) != fd) _exit(CODE_FAILURE);
}

int main(int argc, char **argv)
{
    hold_standard_streams();
    signal(SIGXFSZ, SIG_IGN);                               /* a file that may not grow is a full disk: write says so */
    return commands_run(argc, argv);
}
