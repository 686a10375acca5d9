/* What commands are run by and use: parsing, help, messages. */
#include "cli.h"
#include "base/file.h"
#include "base/terminal.h"
#include "base/text.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct option cli_common[] = {
    { "help", 'h', NULL, "show this and leave" },
    { "color", 0, "WHEN", "auto, always or never (auto: on a terminal, unless NO_COLOR is set or TERM is dumb)" },
    { 0 }
};
const char *const cli_codes[] = {
    "0 success", "1 failure", "2 usage", "3 script or configuration", "4 input rejected", "5 every run diverged",
    "6 disk full", "7 device",
    "8 verification mismatch", "75 interrupted, can be resumed", NULL
};
enum { NAMES = 64 };

static const char *current = "";                            /* name of the running command, for messages */
static const char *const *line = (const char *const[]){ NULL };
static enum { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } color;

static void say(const char *format, va_list list)
{
    fprintf(stderr, "%ssluice%s%s:%s ", cli_paint(stderr, PAINT_BAD), *current ? " " : "", current,
            cli_paint(stderr, PAINT_OFF));
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
}

enum code cli_fail(enum code code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say(format, list);
    va_end(list);
    return code;
}

enum code cli_usage(const struct call *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say(format, list);
    va_end(list);
    if (c)
        fprintf(stderr, "usage: sluice %s %s\nhelp:  sluice %s --help\n", c->command->name, c->command->usage,
                c->command->name);
    else fprintf(stderr, "help: sluice --help\n");
    return CODE_USAGE;
}

enum code cli_system_code(int cause, enum code otherwise)
{
    return file_is_full(cause) ? CODE_DISK : cause ? CODE_FAILURE : otherwise;
}

const char *cli_paint(FILE *to, enum paint paint)
{
    static const char *const escape[] = { "\033[0m", "\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[33m" };
    const char *no = getenv("NO_COLOR"), *force = getenv("CLICOLOR_FORCE");
    bool on = color == COLOR_ALWAYS;
    if (color == COLOR_AUTO) on = !(no && *no) && ((force && strcmp(force, "0")) || terminal_obeys(fileno(to)));
    return on ? escape[paint] : "";
}

/* ---- options ---- */

static const struct option *find_in(const struct option *o, const char *name, size_t length, char letter)
{
    for (; o && o->name; o++) {
        if (name && strlen(o->name) == length && !strncmp(o->name, name, length)) return o;
        if (!name && o->letter && o->letter == letter) return o;
    }
    return NULL;
}

static const struct option *find_option(const struct command *c, const char *name, size_t length, char letter)
{
    const struct option *o = find_in(c->options, name, length, letter);
    return o ? o : find_in(cli_common, name, length, letter);
}

static const char *nearest_option(const struct command *c, const char *given)
{
    const char *names[NAMES];
    int n = 0;
    for (const struct option *o = c->options; o && o->name && n < NAMES - COUNT(cli_common); o++) names[n++] = o->name;
    for (const struct option *o = cli_common; o->name; o++) names[n++] = o->name;
    names[n] = NULL;
    return nearest_name(given, names);
}

static int unknown_option(const struct call *c, const char *text, size_t length)
{
    char given[128];
    snprintf(given, sizeof given, "%.*s", (int)length, text);
    const char *near = strncmp(given, "--", 2) ? NULL : nearest_option(c->command, given + 2);
    if (near) cli_usage(c, "unknown option '%s' (did you mean '--%s'?)", given, near);
    else cli_usage(c, "unknown option '%s'", given);
    return -1;
}

/* One option at argv[i], as "--name", "--name=value", "--name value", "-n", "-n value" or "-nvalue". Returns the index
   of the last word used, or -1. */
static int parse_option(struct call *c, int argc, char **argv, int i)
{
    const char *text = argv[i], *value = NULL;
    bool is_long = text[1] == '-';
    size_t length = is_long ? strcspn(text, "=") : 2;
    const struct option *o = is_long ? find_option(c->command, text + 2, length - 2, 0)
                                     : find_option(c->command, NULL, 0, text[1]);
    if (!o) return unknown_option(c, text, length);
    if (text[length]) value = text + length + is_long;
    if (!o->argument && value) {
        cli_usage(c, "option '--%s' takes no value, '%s' was given", o->name, value);
        return -1;
    }
    if (o->argument && !value) {
        if (i + 1 >= argc) {
            cli_usage(c, "option '--%s' needs a value: --%s %s", o->name, o->name, o->argument);
            return -1;
        }
        value = argv[++i];
    }
    c->given[c->n_given++] = (struct given){ o, value ? value : "" };
    return i;
}

static int parse(struct call *c, int argc, char **argv)
{
    bool words_only = false;
    for (int i = 0; i < argc; i++) {
        if (words_only || argv[i][0] != '-' || !argv[i][1]) c->word[c->n_words++] = argv[i];
        else if (!strcmp(argv[i], "--")) words_only = true;
        else if ((i = parse_option(c, argc, argv, i)) < 0) return -1;
    }
    return 0;
}

static int check_words(const struct call *c)
{
    const struct command *k = c->command;
    if (c->n_words < k->least)
        cli_usage(c, "%d word%s missing", k->least - c->n_words, k->least - c->n_words == 1 ? " is" : "s are");
    else if (k->most >= 0 && c->n_words > k->most) cli_usage(c, "one word too many: '%s'", c->word[k->most]);
    else return 0;
    return -1;
}

/* ---- what a command asks ---- */

static const struct given *last_given(const struct call *c, const char *name)
{
    INVARIANT(find_option(c->command, name, strlen(name), 0), "command %s has no option '%s'", c->command->name, name);
    const struct given *found = NULL;
    for (int i = 0; i < c->n_given; i++)
        if (!strcmp(c->given[i].option->name, name)) found = &c->given[i];
    return found;
}

bool cli_flag(const struct call *c, const char *name)
{
    return last_given(c, name) != NULL;
}

const char *cli_value(const struct call *c, const char *name, const char *otherwise)
{
    const struct given *g = last_given(c, name);
    return g ? g->value : otherwise;
}

int cli_values(const struct call *c, const char *name, const char ***values)
{
    int n = 0;
    *values = xcalloc((size_t)c->n_given + 1, sizeof **values);
    for (int i = 0; i < c->n_given; i++)
        if (!strcmp(c->given[i].option->name, name)) (*values)[n++] = c->given[i].value;
    return n;
}

/* "a, b or c" */
static void list_words(const char *const *words, char *out, size_t size)
{
    size_t used = 0;
    for (int i = 0; words[i] && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
}

static int find_word(const char *const *words, const char *word)
{
    int i = 0;
    while (words[i] && strcmp(words[i], word)) i++;
    return words[i] ? i : -1;
}

enum code cli_verb(const struct call *c, const struct verb *verb, int n)
{
    const char **names = xcalloc((size_t)n + 1, sizeof *names), *near;
    char known[256];
    for (int i = 0; i < n; i++) names[i] = verb[i].name;
    int which = find_word(names, c->word[0]);
    list_words(names, known, sizeof known);
    near = nearest_name(c->word[0], names);
    free(names);
    return which >= 0 ? verb[which].run(c)
         : near       ? cli_usage(c, "no verb '%s' (did you mean '%s'?)", c->word[0], near)
                      : cli_usage(c, "no verb '%s': %s", c->word[0], known);
}

int cli_integer(const struct call *c, const char *name, int64_t low, int64_t high, int64_t *value)
{
    const struct given *g = last_given(c, name);
    if (!g) return 0;
    char *end;
    errno = 0;
    long long x = strtoll(g->value, &end, 10);
    if (errno || end == g->value || *end || x < low || x > high) {
        cli_usage(c, "--%s %s: must be a whole number from %lld to %lld", name, g->value, (long long)low,
                  (long long)high);
        return -1;
    }
    *value = x;
    return 0;
}

int cli_real(const struct call *c, const char *name, double low, double high, double *value)
{
    const struct given *g = last_given(c, name);
    if (!g) return 0;
    char *end;
    double x = strtod(g->value, &end);
    if (end == g->value || *end || !(x >= low && x <= high)) {
        cli_usage(c, "--%s %s: must be a number from %g to %g", name, g->value, low, high);
        return -1;
    }
    *value = x;
    return 0;
}

int cli_word(const struct call *c, const char *name, const char *const *words, int *which)
{
    const struct given *g = last_given(c, name);
    if (!g) return 0;
    char known[256], hint[HINT];
    int found = find_word(words, g->value);
    list_words(words, known, sizeof known);
    if (found < 0)
        cli_usage(c, "--%s %s: must be %s%s", name, g->value, known,
                  did_you_mean(nearest_name(g->value, words), hint));
    else *which = found;
    return found < 0 ? -1 : 0;
}

int cli_exclude(const struct call *c, const char *name, const char *other)
{
    if (!cli_flag(c, name) || !cli_flag(c, other)) return 0;
    cli_usage(c, "--%s and --%s exclude each other", name, other);
    return -1;
}

const char *cli_output(const struct call *c)
{
    const struct given *g = last_given(c, "output");
    if (!g) cli_usage(c, "where to? give --output %s", find_in(c->command->options, "output", 6, 0)->argument);
    return g ? g->value : NULL;
}

static int set_color(const struct call *c)
{
    static const char *const words[] = { [COLOR_AUTO] = "auto", [COLOR_ALWAYS] = "always", [COLOR_NEVER] = "never",
                                         NULL };
    int which = COLOR_AUTO;
    if (cli_word(c, "color", words, &which)) return -1;
    color = which;
    return 0;
}

/* ---- output ---- */

void cli_json(json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    putchar('\n');
    json_decref(json);
}

void cli_heading(FILE *to, const char *text)
{
    fprintf(to, "\n%s%s%s\n", cli_paint(to, PAINT_BOLD), text, cli_paint(to, PAINT_OFF));
}

/* ---- help ---- */

static void print_lines(const char *text)
{
    for (size_t n; *text; text += n + (text[n] == '\n')) {
        n = strcspn(text, "\n");
        printf("  %.*s\n", (int)n, text);
    }
}

static void print_options(const struct option *o)
{
    for (; o && o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                 o->letter ? "," : " ", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
        int column = printf("  %-26s ", left);
        text_print(stdout, column, 29, "%s\n", o->help);
    }
}

static void print_help(const struct command *c)
{
    const char *bold = cli_paint(stdout, PAINT_BOLD), *off = cli_paint(stdout, PAINT_OFF);
    printf("%sexample%s\n", bold, off);
    print_lines(c->example);
    printf("\n%susage%s\n  sluice %s %s\n", bold, off, c->name, c->usage);
    text_print(stdout, 0, 0, "  %s\n", c->about);
    printf("\n%soptions%s\n", bold, off);
    print_options(c->options);
    print_options(cli_common);
    if (c->more) text_print(stdout, 0, 0, "\n%s\n", c->more);
}

/* ---- the way of a call ---- */

enum code cli_call(const struct command *command, const struct command *const *commands, int argc, char **argv)
{
    struct call c = { .command = command, .commands = commands };
    enum code code = CODE_USAGE;
    c.word = xcalloc((size_t)argc, sizeof *c.word);
    c.given = xcalloc((size_t)argc, sizeof *c.given);
    current = command->name;
    line = (const char *const *)argv;
    if (parse(&c, argc - 2, argv + 2) == 0 && set_color(&c) == 0) {
        if (cli_flag(&c, "help")) { print_help(command); code = CODE_OK; }
        else if (check_words(&c) == 0) code = command->run(&c);
    }
    free(c.word);
    free(c.given);
    return code;
}

static int output_cause;    /* errno of the first failure to write stdout that was seen */

/* An earlier failure has lost its errno: one more byte meets the same. */
static int earlier_cause(void) { return write(STDOUT_FILENO, "\n", 1) < 0 ? errno : EIO; }

void cli_flush(void)
{
    int cause = fflush(stdout) ? errno : ferror(stdout) ? earlier_cause() : 0;
    if (!output_cause) output_cause = cause;
}

/* Output that could not be written (a full disk behind a redirection) must not look like success. */
enum code cli_finish(enum code code)
{
    cli_flush();
    if (!output_cause || code != CODE_OK) return code;
    return cli_fail(cli_system_code(output_cause, CODE_FAILURE), "standard output: cannot be written: %s",
                    strerror(output_cause));
}

const char *const *cli_line(void) { return line; }
