/* What figures are drawn with: text, axes, colours, a legend, as gnuplot commands. */
#include "figure.h"
#include <math.h>
#include <stdarg.h>
#include <string.h>

void figure_quote(FILE *gp, const char *text)
{
    fputc('\'', gp);
    for (; *text; text++)
        if (*text == '\'') fputs("''", gp);
        else fputc(*text == '\n' ? ' ' : *text, gp);
    fputc('\'', gp);
}

void figure_title(const struct canvas *c, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    fprintf(c->gp, "set label 101 ");
    figure_quote(c->gp, text);
    fprintf(c->gp, " at screen 0.5, screen 1 offset 0,-1.3 center font ',15'\n");
}

void figure_caption(const struct canvas *c, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    char *second = strchr(text, '\n');
    if (second) *second++ = 0;
    for (int i = 0; i < 2; i++) {
        const char *line = i ? second : text;
        if (!line) break;
        fprintf(c->gp, "set label %d ", 102 + i);
        figure_quote(c->gp, line);
        fprintf(c->gp, " at screen 0, screen 0 offset 1.5,%g left font ',11' textcolor '#707070'\n",
                second && !i ? 1.9 : 0.9);
    }
}

void figure_axis(const struct canvas *c, const char *axis, const char *name, const char *unit)
{
    char text[160];
    snprintf(text, sizeof text, *unit ? "%s (%s)" : "%s%s", name, unit);
    fprintf(c->gp, "set %slabel ", axis);
    figure_quote(c->gp, text);
    fputc('\n', c->gp);
}

void figure_tics(const struct canvas *c, const char *axis, double low, double high)
{
    double step = (high - low) / 5, power = pow(10, floor(log10(step))), digit = step / power;
    if (step > 0)
        fprintf(c->gp, "set %stics %.6g\n", axis, power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10));
}

void figure_range(const struct canvas *c, const char *axis, double low, double high)
{
    double margin = low < high ? 0.05 * (high - low) : fmax(0.05 * fabs(low), 0.001);
    if (!(low <= high)) return;
    fprintf(c->gp, "set %srange [%.9g:%.9g]\n", axis, low - margin, high + margin);
    figure_tics(c, axis, low, high);
}

static const char *const colors[] = { "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9" };

const char *figure_color(int variant, int baseline)
{
    return variant == baseline ? "#404040" : colors[(variant - (variant > baseline)) % COUNT(colors)];
}

const char *figure_dash(int variant, int baseline)
{
    static const char *const dashes[] = { "1", "2", "3", "4", "5", "(18,4)", "(2,2)" };
    return dashes[variant == baseline ? 0 : (variant - (variant > baseline)) / COUNT(colors) % COUNT(dashes)];
}

/* Viridis by 7 points. */
void figure_shade(double at, char out[8])
{
    static const int point[][3] = { { 68, 1, 84 }, { 68, 57, 130 }, { 49, 104, 142 }, { 33, 145, 140 },
                                    { 53, 183, 121 }, { 144, 215, 67 }, { 253, 231, 37 } };
    int i = (int)fmin(at * (COUNT(point) - 1), COUNT(point) - 2), c[3];
    for (int k = 0; k < 3; k++)
        c[k] = (int)(point[i][k] + (at * (COUNT(point) - 1) - i) * (point[i + 1][k] - point[i][k]));
    snprintf(out, 8, "#%02X%02X%02X", c[0] & 255, c[1] & 255, c[2] & 255);
}

int figure_width(const char *text)
{
    return (int)(8.3 * (double)strlen(text));
}

void figure_grid(struct canvas *c, struct grid *g)
{
    g->columns = g->n == 1 ? 1 : g->n <= 4 ? 2 : 3;
    g->rows = (g->n + g->columns - 1) / g->columns;
    c->width = g->columns == 1 ? 760 : 960;
    c->height = GRID_TOP + GRID_BOTTOM + g->panel * g->rows;
}

void figure_panel(const struct canvas *c, const struct grid *g, int at)
{
    int row = at / g->columns;
    double tall = c->height, left = 0.075, width = (g->right - left) / g->columns, x = left + width * (at % g->columns),
           top = 1 - (GRID_TOP + row * g->panel) / tall;
    fprintf(c->gp, "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset tmargin at screen %.4f\n"
                   "set bmargin at screen %.4f\n",
            x, x + width - (g->apart > 0 ? g->apart : 0.035), top - 22 / tall, top - (g->panel - g->below) / tall);
}

bool figure_lowest(const struct grid *g, int at) { return at + g->columns >= g->n; }

int figure_some(int n, int most, int *chosen)
{
    int some = n < most ? n : most;
    for (int i = 0; i < some; i++) chosen[i] = some > 1 ? i * (n - 1) / (some - 1) : 0;
    return some;
}

void figure_legend(struct canvas *c, int right, const struct entry *entry, int n)
{
    enum { TOP = 56, ROW = 22, LINE = 30 };
    int widest = 0;
    for (int i = 0; i < n; i++) widest = figure_width(entry[i].text) > widest ? figure_width(entry[i].text) : widest;
    if (c->width < right + LINE + widest + 40) c->width = right + LINE + widest + 40;
    if (c->height < TOP + ROW * n + 40) c->height = TOP + ROW * n + 40;
    fputs("set key off\n", c->gp);
    for (int i = 0; i < n; i++) {
        double y = 1 - (double)(TOP + ROW * i) / c->height, x = (right + 16.0) / c->width;
        fprintf(c->gp, "set label %d ", 200 + i);
        figure_quote(c->gp, entry[i].text);
        fprintf(c->gp, " at screen %.5f, screen %.5f left%s\n", x + (LINE + 8.0) / c->width, y,
                entry[i].color ? "" : " textcolor '#909090'");
        if (entry[i].color)
            fprintf(c->gp, "set arrow %d from screen %.5f, screen %.5f to screen %.5f, screen %.5f nohead linewidth 2 "
                           "linecolor rgb '%s' dashtype %s\n", 200 + i,
                    x, y, x + (double)LINE / c->width, y, entry[i].color, entry[i].dash);
    }
}
