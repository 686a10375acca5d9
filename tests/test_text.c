/* Text for people: numbers without exponents or signs of nothing, lines broken between words, tables that lose
   nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "cli/cli.h"

static void numbers_are_plain(void **state)
{
    (void)state;
    static const struct { double x; int figures; const char *text; } figures[] = {
        { 183.4, 2, "183" }, { 0, 6, "0" }, { 1e-5, 6, "0.00001" }, { -2.5e-7, 3, "-0.00000025" },
        { 1234567, 6, "1234567" }, { 0.5, 6, "0.5" }, { 9.9999999, 3, "10" },
        { 100, 6, "100" }, { 3e20, 6, "300E" }, { NAN, 6, "-" }, { 0.1 + 0.2, 6, "0.3" },
    };
    static const struct { double x; int digits; const char *text; } reals[] = {
        { -0.001, 2, "0.00" }, { -0.0, 0, "0" }, { -0.01, 2, "-0.01" }, { NAN, 2, "-" }, { -INFINITY, 2, "-inf" },
    };
    char text[FORMAT_SIZE];
    for (int i = 0; i < COUNT(figures); i++)
        assert_string_equal(format_figures(figures[i].x, figures[i].figures, text), figures[i].text);
    for (int i = 0; i < COUNT(reals); i++)
        assert_string_equal(format_real(reals[i].x, reals[i].digits, text), reals[i].text);
}

static void lines_break_between_words(void **state)
{
    (void)state;
    static const struct { const char *text; int width; const char *line; } fits[] = {
        { "one two three", 7, "one two" }, { "one two three", 6, "one" }, { "one two", 1, "one" },
        { "one two", 7, "one two" }, { "", 5, "" }, { "one\ntwo", 9, "one" },
        { "  one two", 5, "  one" }, { "power 80 % of it", 8, "power" }, { "grüße über", 5, "grüße" },
        { "日本 語", 4, "日本" },
    };
    for (int i = 0; i < COUNT(fits); i++) {
        size_t n = text_fit(fits[i].text, fits[i].width);
        if (n != strlen(fits[i].line) || strncmp(fits[i].text, fits[i].line, n))
            fail_msg("'%s' in %d columns: '%.*s'", fits[i].text, fits[i].width, (int)n, fits[i].text);
    }
    assert_int_equal(text_word("a long-word b"), 9);
    assert_int_equal(text_width("日本 é"), 6);
}

/* What a table prints into so many columns; "": as many as it likes. */
static char *printed(const char *columns, char out[1024])
{
    static const char *const head[] = { "name", ">number", "words", ">last" };
    struct table *t = table_new(head, COUNT(head));
    static const char *const cell[] = { "first", "-1.5 … +2.5", "some words to fold", "12", "second", "3", "", "" };
    for (int i = 0; i < COUNT(cell); i++) table_cell(t, "%s", cell[i]);
    FILE *to = tmpfile();
    assert_non_null(to);
    setenv("COLUMNS", columns, 1);
    table_print(t, to);
    unsetenv("COLUMNS");
    rewind(to);
    out[fread(out, 1, 1023, to)] = 0;
    fclose(to);
    return out;
}

static void tables_fit_their_room(void **state)
{
    (void)state;
    char out[1024];
    assert_string_equal(printed("", out), "name         number  words               last\n"
                                          "first   -1.5 … +2.5  some words to fold    12\nsecond            3\n");
    assert_string_equal(printed("36", out), "name         number  words      last\n"
                                            "first   -1.5 … +2.5  some         12\n                     words to\n"
                                            "                     fold\nsecond            3\n");
    assert_string_equal(printed("20", out), "name         number\nfirst   -1.5 … +2.5\nsecond            3\n\n"
                                            "name    words   last\nfirst   some      12\n        words\n        to\n"
                                            "        fold\n");
    assert_string_equal(printed("1", out), "name         number\nfirst   -1.5 … +2.5\nsecond            3\n\n"
                                           "name    words\nfirst   some\n        words\n        to\n        fold\n\n"
                                           "name    last\nfirst     12\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(numbers_are_plain),
                                        cmocka_unit_test(lines_break_between_words),
                                        cmocka_unit_test(tables_fit_their_room) };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
