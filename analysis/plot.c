/* Frames a figure and hands it to gnuplot. */
#include "figure.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static const struct figure *const figures[] = { &figure_loss, &figure_final, &figure_pairs, &figure_load };
const char *const plot_kinds[] = { "loss", "final", "pairs", "load", NULL };

/* ---- what figures use ---- */

void figure_quote(FILE *gp, const char *text)
{
    fputc('\'', gp);
    for (; *text; text++)
        if (*text == '\'') fputs("''", gp);
        else fputc(*text == '\n' ? ' ' : *text, gp);
    fputc('\'', gp);
}

static void quote_list(FILE *gp, const char *format, va_list list)
{
    char text[512];
    vsnprintf(text, sizeof text, format, list);
    figure_quote(gp, text);
}

void figure_title(const struct canvas *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(c->gp, "set label 101 ");
    quote_list(c->gp, format, list);
    fprintf(c->gp, " at screen 0.5, screen 1 offset 0,-1.2 center font ',15'\n");
    va_end(list);
}

void figure_caption(const struct canvas *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(c->gp, "set label 102 ");
    quote_list(c->gp, format, list);
    fprintf(c->gp, " at screen 0, screen 0 offset 1.5,1 left font ',11' textcolor '#707070'\n");
    va_end(list);
}

void figure_axis(const struct canvas *c, const char *axis, const char *name, const char *unit)
{
    char text[160];
    snprintf(text, sizeof text, *unit ? "%s (%s)" : "%s%s", name, unit);
    fprintf(c->gp, "set %slabel ", axis);
    figure_quote(c->gp, text);
    fputc('\n', c->gp);
}

const char *figure_color(int i)
{
    static const char *const colors[] = { "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D" };
    return colors[i % COUNT(colors)];
}

int figure_dash(int i)
{
    return 1 + i / 7;
}

/* ---- gnuplot ---- */

static const char *ending(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && !strchr(dot, '/') ? dot + 1 : "";
}

static void frame(FILE *gp, const struct canvas *c, const char *type, const char *out)
{
    if (!strcmp(type, "svg"))
        fprintf(gp, "set terminal svg noenhanced size %d,%d font 'DejaVu Sans,13' background '#ffffff' rounded\n", c->width, c->height);
    else if (!strcmp(type, "pdf"))
        fprintf(gp, "set terminal pdfcairo noenhanced size %.2f,%.2f font 'DejaVu Sans,13' fontscale 0.72\n", c->width / 100.0, c->height / 100.0);
    else
        fprintf(gp, "set terminal pngcairo noenhanced size %d,%d font 'DejaVu Sans,13' fontscale 2 linewidth 2 pointscale 2\n", 2 * c->width, 2 * c->height);
    fputs("set encoding utf8\nset minussign\nset border 3 linecolor '#404040'\nset tics nomirror out scale 0.6\n"
          "set grid linecolor '#e4e4e4' linetype 1 linewidth 1\nset style fill noborder\nset datafile missing 'NaN'\n", gp);
    if (*out) {
        fputs("set output ", gp);
        figure_quote(gp, out);
        fputc('\n', gp);
    }
}

/* gnuplot reads the script from its standard input. */
static int run_gnuplot(FILE *script, struct err *e)
{
    static char *const words[] = { "gnuplot", "-", NULL };
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status;
    fflush(script);
    rewind(script);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(script), STDIN_FILENO);
    int bad = posix_spawnp(&child, words[0], &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (bad == ENOENT) return err_set(e, "gnuplot is not installed; figures need it (Debian: gnuplot-nox), or write the script with -o FIGURE.gp");
    if (bad) return err_set(e, "gnuplot cannot be started: %s", strerror(bad));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return err_set(e, "waiting for gnuplot: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status)) return err_set(e, "gnuplot failed; what it said stands above");
    return 0;
}

static int write_script(const char *body, const struct canvas *c, const char *out, struct err *e)
{
    FILE *file = fopen(out, "w");
    if (!file) return err_set(e, "%s: %s", out, strerror(errno));
    frame(file, c, "svg", "");
    fputs(body, file);
    if (fclose(file)) return err_set(e, "%s: %s", out, strerror(errno));
    return 0;
}

/* Drawn under another name first, so that a failure leaves no half figure. */
static int draw_file(const char *body, const struct canvas *c, const char *type, const char *out, struct err *e)
{
    char part[PATH_MAX];
    snprintf(part, sizeof part, "%s.part", out);
    FILE *script = tmpfile();
    if (!script) return err_set(e, "a temporary file: %s", strerror(errno));
    frame(script, c, type, part);
    fputs(body, script);
    fputs("\nunset output\n", script);
    int bad = run_gnuplot(script, e);
    fclose(script);
    if (!bad && rename(part, out)) bad = err_set(e, "%s: %s", out, strerror(errno));
    if (bad) unlink(part);
    return bad;
}

int plot_study(const struct runs *runs, const struct plot_options *o, struct err *e)
{
    const struct figure *figure = NULL;
    const char *type = ending(o->out);
    bool script = !strcmp(type, "gp");
    for (int i = 0; i < COUNT(figures); i++)
        if (!strcmp(figures[i]->name, o->kind)) figure = figures[i];
    INVARIANT(figure, "no figure '%s'", o->kind);
    if (!script && strcmp(type, "svg") && strcmp(type, "png") && strcmp(type, "pdf"))
        return err_set(e, "%s: the name must end in .svg, .png, .pdf or .gp (the script)", o->out);
    char *body = NULL;
    size_t bytes;
    struct canvas c = { .gp = open_memstream(&body, &bytes), .width = 900, .height = 560 };
    int bad = figure->draw(&c, runs, o, e);
    fclose(c.gp);
    if (!bad) bad = script ? write_script(body, &c, o->out, e) : draw_file(body, &c, type, o->out, e);
    free(body);
    return bad;
}
