/* What is no file is refused at once, and a mapped file that becomes shorter is never taken for one of zeros. */
#define _GNU_SOURCE
#include "base/regular.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/sluice-regular-XXXXXX";

/* The last few are kept. */
static const char *in(const char *name)
{
    static char path[4][96];
    static int last;
    last = (last + 1) % COUNT(path);
    snprintf(path[last], sizeof path[last], "%s/%s", folder, name);
    return path[last];
}

static void write_bytes(const char *path, size_t n)
{
    FILE *f = fopen(path, "wb");
    for (size_t i = 0; i < n; i++) fputc('a' + (int)(i % 26), f);
    assert_int_equal(fclose(f), 0);
}

static void test_kinds(void **state)
{
    (void)state;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", in("socket"));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(mkfifo(in("pipe"), 0644), 0);
    const struct { const char *path, *word; } no[] = {
        { folder, "is a folder, not a file" }, { in("pipe"), "is a named pipe, not a file" },
        { in("socket"), "is a socket, not a file" },
        { "/dev/null", "is a device, not a file" }, { "/nowhere", "No such file or directory" },
    };
    for (int i = 0; i < COUNT(no); i++) {
        struct map m;
        struct err e;
        size_t size;
        assert_int_equal(regular_open(no[i].path, &e), -1);
        assert_string_equal(e.text, no[i].word);
        assert_null(regular_text(no[i].path, 1 << 20, &size, &e));
        assert_int_equal(regular_map(&m, no[i].path, &e), -1);
    }
    close(s);
}

static void test_text(void **state)
{
    (void)state;
    struct err e;
    size_t size = 1;
    write_bytes(in("text"), 1000);
    char *text = regular_text(in("text"), 1 << 20, &size, &e);
    assert_int_equal(size, 1000);
    assert_int_equal(strlen(text), 1000);
    free(text);
    write_bytes(in("text"), 0);
    text = regular_text(in("text"), 1 << 20, &size, &e);
    assert_int_equal(size, 0);
    assert_string_equal(text, "");
    free(text);
    write_bytes(in("text"), (1 << 20) + 1);
    assert_null(regular_text(in("text"), 1 << 20, &size, &e));
    assert_string_equal(e.text, "is larger than 1 MiB");
}

/* Cut within its last page, which reads as zeros, at a page, and to nothing. */
static void test_shrinking(void **state)
{
    (void)state;
    static const long cut[] = { 9000, 8192, 100, 0 };
    for (int i = 0; i < COUNT(cut); i++) {
        struct map m;
        struct err e;
        unsigned sum = 0;
        write_bytes(in("map"), 10000);
        assert_int_equal(regular_map(&m, in("map"), &e), 0);
        assert_int_equal(regular_whole(&m, &e), 0);
        assert_int_equal(truncate(in("map"), cut[i]), 0);
        pid_t child = fork();
        if (child == 0) { regular_unmap(&m); _exit(0); }    /* without having asked */
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 4);
        for (size_t k = 0; k < m.size; k++) sum += m.bytes[k];
        assert_true(sum >= (unsigned)cut[i] * 'a');
        if (cut[i] < 8192) assert_int_equal(truncate(in("map"), 10000), 0);      /* what was read stays what it was */
        assert_int_equal(regular_whole(&m, &e), -1);
        assert_non_null(strstr(e.text, "/map: became shorter while it was read"));
        regular_unmap(&m);
        assert_null(m.bytes);
    }
}

/* Another file's bus error is still one. */
static void test_others(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct map m;
        struct err e;
        write_bytes(in("map"), 100);
        regular_map(&m, in("map"), &e);
        raise(SIGBUS);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static int begin(void **state) { (void)state; return mkdtemp(folder) ? 0 : -1; }

static int end(void **state)
{
    static const char *const names[] = { "socket", "pipe", "text", "map" };
    (void)state;
    for (int i = 0; i < COUNT(names); i++) unlink(in(names[i]));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_kinds), cmocka_unit_test(test_text),
                                        cmocka_unit_test(test_shrinking), cmocka_unit_test(test_others) };
    return cmocka_run_group_tests(tests, begin, end);
}
