/* The frame of the command line. A command is one file in runtime/cli/ that ends in one constant struct, and one
   line in list.h. Data goes to stdout, everything else to stderr. */
#ifndef SLUICE_CLI_H
#define SLUICE_CLI_H

#include "base/base.h"
#include <jansson.h>
#include <stdio.h>

/* What the program says when it leaves. */
enum code {
    CODE_OK = 0,
    CODE_FAILURE = 1,
    CODE_USAGE = 2,
    CODE_SCRIPT = 3,            /* mistakes in a script or a configuration */
    CODE_INPUT = 4,             /* data, checkpoint, run file or study rejected */
    CODE_DIVERGED = 5,          /* every run did: a number was not finite, or a rule stopped it */
    CODE_DISK = 6,              /* disk full */
    CODE_DEVICE = 7,            /* device, memory or communication */
    CODE_MISMATCH = 8,          /* a verification found different values */
    CODE_INTERRUPTED = 75       /* stopped by a signal; can be resumed */
};

/* One option. argument: what follows it in the help ("N", "FILE"), NULL for a flag. Ends with { 0 }. */
struct option { const char *name; char letter; const char *argument, *help; };

struct call;
struct command {
    const char *name, *about;
    const char *usage;          /* the words after the name: "STUDY [NAME]" */
    const char *example;        /* whole command lines, one a line */
    const struct option *options;
    int least, most;            /* number of words; most -1: any number */
    const char *more;           /* paragraphs at the end of the help, or NULL */
    enum code (*run)(const struct call *c);
};

/* A command line taken apart. */
struct given { const struct option *option; const char *value; };
struct call {
    const struct command *command;
    const struct command *const *commands;                  /* all that there are; ends in NULL */
    int n_words; const char **word;
    int n_given; struct given *given;
};

extern const struct option cli_common[];                    /* of every command */
extern const char *const cli_codes[];                       /* exit codes: "0 success", ..., NULL */

/* Finds the command and runs it. Returns the exit code. */
enum code commands_run(int argc, char **argv);

/* Parses the command line behind the command's name, and runs it. */
enum code cli_call(const struct command *command, const struct command *const *commands, int argc, char **argv);
const char *const *cli_line(void);                          /* the command line as it was given; ends in NULL */

bool cli_flag(const struct call *c, const char *name);
const char *cli_value(const struct call *c, const char *name, const char *otherwise);     /* the last one given */
/* All given, malloc'd list; returns how many */
int cli_values(const struct call *c, const char *name, const char ***values);
/* Runs the verb that the first word names, of n; a usage error lists them. */
struct verb { const char *name; enum code (*run)(const struct call *c); };
enum code cli_verb(const struct call *c, const struct verb *verb, int n);
/* A number within low..high; *value keeps its default when the option was not given. Prints the mistake and returns
   -1. */
int cli_integer(const struct call *c, const char *name, int64_t low, int64_t high, int64_t *value);
int cli_real(const struct call *c, const char *name, double low, double high, double *value);
/* The same of one of some words, which end in NULL: *which is its number. */
int cli_word(const struct call *c, const char *name, const char *const *words, int *which);
/* Of two options that were both given: prints the mistake and returns -1. */
int cli_exclude(const struct call *c, const char *name, const char *other);
const char *cli_output(const struct call *c);               /* of --output; NULL, having said so, where it is missing */

/* "sluice NAME: text" on stderr; returns the code. */
enum code cli_fail(enum code code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with where to find help; returns CODE_USAGE. */
enum code cli_usage(const struct call *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What was printed so far goes out; a failure becomes the exit code in the end. */
void cli_flush(void);
enum code cli_finish(enum code code);
/* Of an errno: CODE_DISK when there is no room, else CODE_FAILURE; of 0, which is not the system's fault: otherwise. */
enum code cli_system_code(int cause, enum code otherwise);

void cli_json(json_t *json);                                /* on stdout; takes the reference */
void cli_heading(FILE *to, const char *text);               /* an empty line, then a bold one */

/* Colour of what stands between two calls, "" when colours are off for that stream. */
enum paint { PAINT_OFF, PAINT_BOLD, PAINT_DIM, PAINT_GOOD, PAINT_BAD, PAINT_WARN };
const char *cli_paint(FILE *to, enum paint paint);

/* Numbers for people, the same in every locale. Return `out`. */
enum { FORMAT_SIZE = 32 };
char *format_count(double x, char out[FORMAT_SIZE]);        /* 1.23M */
char *format_bytes(double x, char out[FORMAT_SIZE]);        /* 4.5 GiB */
char *format_seconds(double x, char out[FORMAT_SIZE]);      /* 2 h 05 min */
char *format_real(double x, int digits, char out[FORMAT_SIZE]);     /* fixed digits; "-" for NaN */
char *format_figures(double x, int figures, char out[FORMAT_SIZE]); /* so many significant figures, without an exponent;
                                                                       "-" for NaN */

/* Text in UTF-8 by the columns that a terminal shows it in. */
int text_width(const char *utf8);
int text_word(const char *utf8);                            /* of its longest word */
size_t text_fit(const char *utf8, int width);               /* bytes of the words that fit, at least one word; ends at a
                                                               line's end */
int text_room(FILE *to);    /* columns of a line: COLUMNS, else the terminal's; 0: as many as one likes */
/* Breaks lines between words to fit the room; the first begins at `column`, those that it makes after `indent`
   spaces. */
void text_print(FILE *to, int column, int indent, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* A table of two columns or more, as wide as their widest cells; those named with '>' in front are aligned to the
   right, and whole. */
struct table;
struct table *table_new(const char *const *columns, int n);
void table_cell(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_paint(struct table *t, enum paint paint);       /* of the last cell */
void table_print(struct table *t, FILE *to);                /* NULL prints nothing; frees */

#endif
