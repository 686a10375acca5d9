/* Work that crashes, never ends or wants all memory ends with its child process, which has nothing of the parent's. */
#define _GNU_SOURCE
#include "store/private.h"
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void crash(int end, void *state) { (void)end; (void)state; abort(); }
static void leave(int end, void *state) { (void)end; (void)state; _exit(3); }
static void circle(int end, void *state) { (void)end; for (volatile unsigned *i = state; ; ) ++*i; }

static void want_all(int end, void *state)
{
    (void)state;
    char *all = xmalloc((size_t)1 << 40);
    child_write(end, all, 1);
}

static void test_endings(void **state)
{
    (void)state;
    static unsigned count;
    const struct { void (*work)(int end, void *state); const char *why; } cases[] = {
        { crash, "HDF5 crashed on it (signal 6, Aborted)" }, { leave, "reading it ended with code 3" },
        { circle, "HDF5 comes to no end with it" }, { want_all, "reading it ended with code 1" },
    };
    for (int i = 0; i < COUNT(cases); i++) {
        struct child c;
        struct err e;
        char byte, why[96];
        assert_int_equal(guard_begin(&c, cases[i].work, &count, &e), 0);
        assert_int_equal(child_receive(&c, &byte, 1), -1);
        guard_end(&c, why);
        assert_string_equal(why, cases[i].why);
    }
    assert_int_equal(count, 0);
}

/* Numbers of its open descriptors, and what its standard output is. */
static void tell_descriptors(int end, void *state)
{
    int n = 0;
    char out[32] = "";
    (void)state;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d)) n++;
    closedir(d);
    if (readlink("/proc/self/fd/1", out, sizeof out - 1) < 0) n = -1;
    child_write(end, &n, sizeof n);
    child_write(end, out, sizeof out);
}

static void test_inherits_nothing(void **state)
{
    (void)state;
    int file[20], n;
    struct child c;
    struct err e;
    char out[32];
    for (int i = 0; i < COUNT(file); i++) file[i] = open("/dev/null", O_RDONLY);
    assert_int_equal(guard_begin(&c, tell_descriptors, NULL, &e), 0);
    assert_int_equal(child_receive(&c, &n, sizeof n), 0);
    assert_int_equal(child_receive(&c, out, sizeof out), 0);
    guard_end(&c, NULL);
    assert_int_equal(n, 2 + 3 + 1 + 1);    /* . and .., the standard ones, the socket, the folder itself */
    assert_string_equal(out, "/dev/null");
    for (int i = 0; i < COUNT(file); i++) close(file[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_endings), cmocka_unit_test(test_inherits_nothing) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
