/* Frames a figure and hands it to gnuplot. */
#define _GNU_SOURCE
#include "figure.h"
#include "base/file.h"
#include "base/process.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct figure *const figures[] = { &figure_loss, &figure_position, &figure_final, &figure_pairs,
                                                &figure_health, &figure_load, &figure_collapse, &figure_margin,
                                                &figure_coactivation, &figure_saturation };
const char *const plot_kinds[] = { "loss", "position", "final", "pairs", "health", "load", "collapse", "margin",
                                   "coactivation", "saturation", NULL };
const char *const plot_formats[] = { "svg", "png", "pdf", "gp", NULL };

static const struct figure *figure_of(const char *kind)
{
    for (int i = 0; i < COUNT(figures); i++) if (!strcmp(figures[i]->name, kind)) return figures[i];
    INVARIANT(false, "no figure '%s'", kind);
}

bool plot_asks(const char *kind) { return figure_of(kind)->asks; }

static const char *ending(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && !strchr(dot, '/') ? dot + 1 : "";
}

static void frame(FILE *gp, const struct canvas *c, const char *type)
{
    if (!strcmp(type, "svg"))
        fprintf(gp, "set terminal svg noenhanced size %d,%d font 'DejaVu Sans,13' background '#ffffff' rounded\n",
                c->width, c->height);
    else if (!strcmp(type, "pdf"))
        fprintf(gp, "set terminal pdfcairo noenhanced size %.2f,%.2f font 'DejaVu Sans,13' fontscale 0.72\n",
                c->width / 100.0, c->height / 100.0);
    else
        fprintf(gp, "set terminal pngcairo noenhanced size %d,%d font 'DejaVu Sans,13' fontscale 1.5 linewidth 2 "
                    "pointscale 2\n", 2 * c->width, 2 * c->height);
    fputs("set encoding utf8\nset minussign\nset border 3 linecolor '#404040'\nset tics nomirror out scale 0.6\n"
          "set grid linecolor '#e4e4e4' linetype 1 linewidth 1\nset style fill noborder\nset datafile missing 'NaN'\n",
          gp);
}

enum { MISSING = 127 };                                     /* of a child that found no gnuplot, as a shell says it */

/* Reads the script from its standard input, writes the figure to `to`. */
static int start_gnuplot(int script, int to, pid_t *child, struct err *e)
{
    static char *const words[] = { "gnuplot", "-d", "-", NULL };       /* -d: nobody's ~/.gnuplot */
    setenv("LC_ALL", "C.UTF-8", 1);                         /* gnuplot converts its own symbols to the locale's bytes */
    *child = process_fork(SIGKILL);
    if (*child < 0) return err_set(e, "gnuplot cannot be started: %s", strerror(errno));
    if (*child > 0) return 0;
    if (dup2(script, STDIN_FILENO) >= 0 && dup2(to, STDOUT_FILENO) >= 0) execvp(words[0], words);
    if (errno == ENOENT) _exit(MISSING);
    fprintf(stderr, "gnuplot cannot be started: %s\n", strerror(errno));
    _exit(EXIT_FAILURE);
}

/* Stops when it cannot be written: gnuplot then ends by a signal, of which nobody hears. */
static int copy_figure(int from, FILE *to, struct err *e)
{
    char block[1 << 16];
    ssize_t n = 1;
    while (n && !ferror(to)) {
        n = read(from, block, sizeof block);
        if (n > 0) fwrite(block, 1, (size_t)n, to);
        else if (n < 0 && errno != EINTR) return err_set(e, "reading what gnuplot drew: %s", strerror(errno));
    }
    return 0;
}

static int wait_for_gnuplot(pid_t child, bool cut_off, struct err *e)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return err_set(e, "waiting for gnuplot: %s", strerror(errno));
    if (cut_off || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == MISSING)
        return err_set(e, "gnuplot is not installed; figures need it (Debian: gnuplot-nox), or write the script with "
                          "-o FIGURE.gp");
    if (!WIFSIGNALED(status)) return err_set(e, "gnuplot failed; what it said stands above");
    return err_set(e, "gnuplot was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
}

static int run_gnuplot(int script, FILE *to, struct err *e)
{
    int ends[2];
    pid_t child;
    if (pipe2(ends, O_CLOEXEC)) return err_set(e, "no pipe to gnuplot: %s", strerror(errno));
    int bad = start_gnuplot(script, ends[1], &child, e);
    bool begun = !bad;
    close(ends[1]);
    if (begun) bad = copy_figure(ends[0], to, e);
    close(ends[0]);
    if (begun && wait_for_gnuplot(child, bad || ferror(to), e)) bad = -1;
    return bad;
}

/* gnuplot's script in memory, ready to be read: a figure needs no disk but its own. NULL: errno. */
static FILE *script_of(const char *body, const struct canvas *c, const char *type)
{
    int fd = memfd_create("figure.gp", MFD_CLOEXEC);
    FILE *gp = fd < 0 ? NULL : fdopen(fd, "w");
    if (!gp) return NULL;
    frame(gp, c, type);
    fputs(body, gp);
    if (fflush(gp) == 0 && lseek(fd, 0, SEEK_SET) == 0) return gp;
    int cause = errno;
    fclose(gp);
    errno = cause;
    return NULL;
}

static int draw(const char *body, const struct canvas *c, const char *type, FILE *to, struct err *e)
{
    FILE *script = script_of(body, c, type);
    if (!script) return err_set(e, "gnuplot's script: %s", strerror(errno));
    int bad = run_gnuplot(fileno(script), to, e);
    fclose(script);
    errno = 0;
    return bad;
}

static int write_figure(const char *body, const struct canvas *c, const char *type, const char *out, struct err *e)
{
    struct file *file = file_begin(out, FILE_ANY, e);
    int bad = 0;
    if (!file) return -1;
    if (!strcmp(type, "gp")) {
        frame(file_stream(file), c, "svg");
        fputs(body, file_stream(file));
    } else bad = draw(body, c, type, file_stream(file), e);
    if (!bad) return file_commit(file, e);
    int cause = errno;
    file_abandon(file);
    errno = cause;
    return bad;
}

int plot_study(const struct runs *runs, const struct plot_options *o, struct err *e)
{
    const struct figure *figure = figure_of(o->kind);
    const char *type = o->format ? o->format : ending(o->out);
    errno = 0;
    bool known = false;
    for (int i = 0; plot_formats[i]; i++) known |= !strcmp(plot_formats[i], type);
    if (!known)
        return err_set(e, "%s: the name must end in .svg, .png, .pdf or .gp (the script), or --format say which it is",
                       o->out);
    char *body = NULL;
    size_t bytes;
    struct canvas c = { .gp = open_memstream(&body, &bytes), .width = 900, .height = 560 };
    int bad = figure->draw(&c, runs, o, e);
    if (fclose(c.gp) && !bad) bad = err_set(e, "no memory for the figure");
    errno = 0;
    if (!bad) bad = write_figure(body, &c, type, o->out, e);
    free(body);
    return bad;
}
