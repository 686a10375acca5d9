/* Checkpoints come back bit for bit, whole or not at all, and only into the model that they came from. */
#define _GNU_SOURCE
#include "train/checkpoint.h"
#include "train/safetensors.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], path[4096];
static struct err err;

static int times(int few, int many) { return getenv("SLUICE_FULL") ? many : few; }
static void ok(int status) { if (status < 0) fail_msg("%s", err.text); }
static void says(const char *words)
{
    if (!strstr(err.text, words)) fail_msg("'%s' does not say '%s'", err.text, words);
}

/* In place of the C library's: the process is killed before its rename number `last_rename`. */
static int renames, last_rename;
int rename(const char *from, const char *to)
{
    if (++renames == last_rename) raise(SIGKILL);
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int remove_one(const char *name, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(name);
}
static void clear(void) { nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS); }

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/sluice-checkpoint-XXXXXX");
    signal(SIGXFSZ, SIG_IGN);
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state) { (void)state; clear(); return 0; }

/* A set of leaves with memory; `size` is the extent of one of them, `name` the path of another. */
struct model { struct graph *graph; struct leaves *leaves; struct state *state; };

static struct model model_new(int64_t size, const char *name, uint64_t seed)
{
    struct model m = { .leaves = leaves_new() };
    struct init normal = { INIT_NORMAL, 0, 1, 0, 0 };
    m.graph = graph_new(m.leaves);
    graph_weight(m.graph, "embed.weight", ROLE_EMBED, SHAPE(31, size), normal);
    graph_weight(m.graph, name, ROLE_Q, SHAPE(5, 7), normal);
    graph_weight(m.graph, "layers.0.ffn.up.weight", ROLE_FFN_UP, SHAPE(4, 3, 9), normal);
    graph_buffer(m.graph, "layers.0.ffn.router.bias", DTYPE_REAL, SHAPE(4), 0.5);
    graph_buffer(m.graph, "optim.count", DTYPE_I32, SHAPE(2), 7);
    graph_buffer(m.graph, "cache", DTYPE_REAL, SHAPE(64), 0);
    leaves_find(m.leaves, "cache")->transient = true;
    graph_input(m.graph, "ids", DTYPE_I32, SHAPE(8));
    m.state = state_new(m.leaves, &backend_cpu, 1);
    state_fill(m.state, seed);
    return m;
}

static void model_free(struct model m) { state_free(m.state); graph_free(m.graph); leaves_free(m.leaves); }

static const char *const query = "layers.0.attention.q.weight";

static struct hash model_hash(const struct model *m, bool transient)
{
    struct hash h = { 0, 0 };
    for (int i = 0; i < m->leaves->n; i++) {
        const struct leaf *l = m->leaves->leaf[i];
        if ((l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) || (l->transient && !transient)) continue;
        void *data = xmalloc(leaf_bytes(l));
        state_get(m->state, l, data);
        h = hash_more(h, data, leaf_bytes(l));
        free(data);
    }
    return h;
}

static int save(const struct model *m, int64_t step, int keep)
{
    struct checkpoint c;
    json_t *trainer_state = json_pack("{s:f, s:s}", "seconds", 0.1, "words", "\xc3\xa9 and \"quotes\"");
    int status = checkpoint_save(folder, step, m->leaves, m->state, trainer_state, keep, NULL, &c, &err);
    memcpy(path, c.path, sizeof path);
    json_decref(trainer_state);
    return status;
}

static void put_special(const struct model *m)
{
    float special[4] = { NAN, -INFINITY, -0.0f, 1e-45f };
    int32_t whole[2] = { INT32_MIN, 42 };
    state_put(m->state, leaves_find(m->leaves, "layers.0.ffn.router.bias"), special);
    state_put(m->state, leaves_find(m->leaves, "optim.count"), whole);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct model a = model_new(16, query, 1), b = model_new(16, query, 2);
    struct checkpoint c;
    json_t *trainer_state;
    clear();
    put_special(&a);
    ok(save(&a, 100, 2));
    assert_non_null(strstr(path, "/step-00000100"));
    assert_false(hash_equal(model_hash(&a, false), model_hash(&b, false)));
    struct hash before = model_hash(&b, true);
    ok(checkpoint_load(path, b.leaves, b.state, &c, &trainer_state, &err));
    assert_int_equal(c.step, 100);
    assert_string_equal(c.path, path);
    assert_true(json_number_value(json_object_get(trainer_state, "seconds")) == 0.1);
    assert_string_equal(json_string_value(json_object_get(trainer_state, "words")), "\xc3\xa9 and \"quotes\"");
    assert_true(hash_equal(model_hash(&a, false), model_hash(&b, false)));
    assert_false(hash_equal(before, model_hash(&b, true)));
    json_decref(trainer_state);
    assert_int_equal(checkpoint_newest(folder, INT64_MAX, path, sizeof path, &err), 1);
    model_free(a); model_free(b);
}

/* Loading into another model says which path or shape differs, and changes nothing. */
static void refused(struct model other, const char *words)
{
    struct checkpoint c;
    json_t *trainer_state;
    struct hash before = model_hash(&other, true);
    assert_int_equal(checkpoint_load(path, other.leaves, other.state, &c, &trainer_state, &err), -1);
    says(words);
    assert_true(hash_equal(before, model_hash(&other, true)));
    model_free(other);
}

static void test_other_model(void **state)
{
    (void)state;
    struct model a = model_new(16, query, 1);
    clear();
    ok(save(&a, 1, 2));
    refused(model_new(17, query, 2), "'embed.weight' is F32 [31,16], the model's is F32 [31,17]");
    refused(model_new(16, "layers.0.attention.k.weight", 2),
            "has no 'layers.0.attention.k.weight' (nearest: 'layers.0.attention.q.weight')");
    struct model fewer = model_new(16, query, 2);
    leaves_find(fewer.leaves, "optim.count")->transient = true;
    refused(fewer, "holds 'optim.count', which the model does not have");
    model_free(a);
}

static int checkpoints_of(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *f; (f = readdir(d)); ) n += f->d_name[0] != '.';
    closedir(d);
    return n;
}

static void test_keep(void **state)
{
    (void)state;
    struct model a = model_new(16, query, 1);
    clear();
    assert_int_equal(checkpoint_newest(folder, INT64_MAX, path, sizeof path, &err), 0);
    for (int64_t step = 10; step <= 50; step += 10) ok(save(&a, step, 3));
    assert_int_equal(checkpoints_of(folder), 3);
    ok(save(&a, 40, 1));                                        /* a replay writes its steps again; later ones stay */
    ok(checkpoint_newest(folder, 49, path, sizeof path, &err));
    assert_non_null(strstr(path, "step-00000040"));
    ok(checkpoint_newest(folder, INT64_MAX, path, sizeof path, &err));
    assert_non_null(strstr(path, "step-00000050"));
    char name[8192];
    snprintf(name, sizeof name, "%s/manifest.json", path);
    assert_int_equal(truncate(name, 30), 0);
    assert_int_equal(checkpoint_newest(folder, INT64_MAX, path, sizeof path, &err), 1);
    assert_non_null(strstr(path, "step-00000040"));
    snprintf(name, sizeof name, "%s/step-00000020.tmp", folder);      /* a kill amid a removal leaves it */
    assert_int_equal(mkdir(name, 0700), 0);
    checkpoint_prune(folder, INT64_MAX, 1, NULL);                     /* by number, whether good or not */
    assert_int_equal(access(name, F_OK), -1);
    assert_int_equal(checkpoint_newest(folder, INT64_MAX, path, sizeof path, &err), 0);
    ok(save(&a, 60, 3));
    checkpoint_prune(folder, INT64_MAX, 0, NULL);
    assert_int_equal(access(folder, F_OK), -1);
    assert_int_equal(mkdir(folder, 0700), 0);
    model_free(a);
}

static int64_t confirmed_after_kill(const struct model *a, long microseconds)
{
    int ends[2];
    int64_t last = 0, step;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0)
        for (step = 1;; step++) {
            if (save(a, step % 7, 2) < 0) _exit(1);             /* steps repeat: replacing is killed too */
            if (write(ends[1], &step, sizeof step) != sizeof step) _exit(1);
        }
    close(ends[1]);
    usleep((useconds_t)microseconds);
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    while (read(ends[0], &step, sizeof step) == sizeof step) last = step;
    close(ends[0]);
    return last;
}

/* Kill -9 at any moment of a save: whatever bears a checkpoint's name is whole, and once there was one there is one. */
static void test_kill(void **state)
{
    (void)state;
    struct model a = model_new(4096, query, 1);
    int64_t saves = 0;
    struct key key = { 13, PURPOSE_TEST, 0, 0 };
    for (int k = 0; k < times(30, 200); k++) {
        if (k % 5 == 0) clear();
        int64_t confirmed = confirmed_after_kill(&a, 2000 + (long)key_below(key, (uint64_t)k, 80000));
        saves += confirmed;
        DIR *d = opendir(folder);
        int whole = 0;
        for (struct dirent *f; d && (f = readdir(d)); ) {
            if (strncmp(f->d_name, "step-", 5) || strstr(f->d_name, ".tmp")) continue;
            snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
            ok(checkpoint_verify(path, &err));
            whole++;
        }
        if (d) closedir(d);
        assert_true(whole > 0 || confirmed == 0);
    }
    print_message("    %d kills amid %lld saves\n", times(30, 200), (long long)saves);
    assert_true(saves > 0);
    model_free(a);
}

/* Replacing goes by plain renames, because folders that change places at once are more than many file systems can do.
   Killed between any two of them, a save leaves the old checkpoint or the new one; who goes on puts it back under its
   name. */
static void test_kill_amid_replacing(void **state)
{
    (void)state;
    struct model a = model_new(16, query, 1), b = model_new(16, query, 2), c = model_new(16, query, 3);
    struct hash old = model_hash(&a, false), new = model_hash(&b, false);
    struct checkpoint from;
    json_t *trainer_state;
    int status = 0, olds = 0, news = 0;
    for (last_rename = 1; last_rename == 1 || WIFSIGNALED(status); last_rename++) {
        clear();
        renames = -100;
        ok(save(&a, 7, 1));
        pid_t child = fork();
        renames = 0;
        if (child == 0) _exit(save(&b, 7, 1) == 0 ? 0 : 1);
        waitpid(child, &status, 0);
        for (int tidied = 0; tidied < 2; tidied++) {        /* a reader finds it, then who goes on */
            if (tidied) assert_int_equal(checkpoint_tidy(folder), 0);
            assert_int_equal(checkpoint_newest(folder, INT64_MAX, path, sizeof path, &err), 1);
            ok(checkpoint_load(path, c.leaves, c.state, &from, &trainer_state, &err));
            json_decref(trainer_state);
            struct hash got = model_hash(&c, false);
            assert_true(hash_equal(got, old) || hash_equal(got, new));
            olds += hash_equal(got, old);
            news += hash_equal(got, new);
        }
        assert_string_equal(strrchr(path, '/'), "/step-00000007");
        renames = -100;
        ok(save(&b, 7, 1));
        assert_int_equal(checkpoints_of(folder), 1);
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    print_message("    killed before each of %d renames: %d times the old one, %d times the new one\n", last_rename - 2,
                  olds, news);
    assert_true(olds > 0 && news > 0);
    last_rename = 0;
    model_free(a); model_free(b); model_free(c);
}

/* One bit anywhere in either file: found. */
static void test_bit_flips(void **state)
{
    (void)state;
    static const char *const files[] = { "state.safetensors", "manifest.json" };
    struct model a = model_new(16, query, 1);
    struct key key = { 14, PURPOSE_TEST, 0, 0 };
    clear();
    ok(save(&a, 1, 2));
    for (int f = 0; f < COUNT(files); f++) {
        char name[8192];
        struct stat st;
        snprintf(name, sizeof name, "%s/%s", path, files[f]);
        int fd = open(name, O_RDWR);
        fstat(fd, &st);
        for (off_t at = 0; at < st.st_size; at += f == 0 && at > 700 ? times(37, 1) : 1) {
            unsigned char was, is;
            assert_int_equal(pread(fd, &was, 1, at), 1);
            is = was ^ (unsigned char)(1 << key_below(key, (uint64_t)at, 8));
            assert_int_equal(pwrite(fd, &is, 1, at), 1);
            if (checkpoint_verify(path, &err) == 0)
                fail_msg("%s: byte %lld changed, and it was accepted", files[f], (long long)at);
            assert_int_equal(pwrite(fd, &was, 1, at), 1);
        }
        for (off_t size = 0; size < st.st_size; size += 101) {
            char other[8300];
            snprintf(other, sizeof other, "%s.whole", name);
            assert_int_equal(rename(name, other), 0);
            int cut = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
            char *part = xmalloc((size_t)size + 1);
            assert_int_equal(pread(fd, part, (size_t)size, 0), size);
            assert_int_equal(write(cut, part, (size_t)size), size);
            close(cut);
            free(part);
            assert_int_equal(checkpoint_verify(path, &err), -1);
            assert_int_equal(rename(other, name), 0);
        }
        close(fd);
        ok(checkpoint_verify(path, &err));
    }
    model_free(a);
}

/* A full disk leaves the checkpoints that were there. */
static void test_full_disk(void **state)
{
    (void)state;
    struct model a = model_new(4096, query, 1);
    clear();
    ok(save(&a, 1, 1));
    for (rlim_t bytes = 0; bytes < 500000; bytes += 49999) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){ bytes, bytes });
            _exit(save(&a, 2, 1) == 0 ? 0 : errno == EFBIG && strstr(err.text, "File too large") ? 6 : 1);
        }
        waitpid(child, &status, 0);
        assert_int_equal(WEXITSTATUS(status), 6);
        assert_int_equal(checkpoint_newest(folder, INT64_MAX, path, sizeof path, &err), 1);
        assert_non_null(strstr(path, "step-00000001"));
    }
    model_free(a);
}

/* Files that break one rule each. */
static void test_safetensors(void **state)
{
    (void)state;
#define T(dtype, shape, begin, end) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"
    static const struct { const char *header; size_t data; const char *words; } bad[] = {
        { "{\"a\":" T("F32", "[2]", "0", "8") "}", 8, NULL },
        { "{\"__metadata__\":{\"x\":\"y\"},\"a\":" T("F32", "[]", "0", "4") ",\"b\":" T("U8", "[0]", "4", "4") "}  ", 4,
          NULL },
        { "{\"a\":" T("F32", "[2]", "0", "8") "}", 7, "ends at 8 of 7 bytes" },
        { "{\"a\":" T("F32", "[2]", "0", "8") "}", 9, "1 bytes follow the last tensor" },
        { "{\"a\":" T("F32", "[2]", "0", "4") "}", 4, "span 4 bytes, shape and dtype need 8" },
        { "{\"a\":" T("F32", "[2]", "4", "12") "}", 12, "begins at 4, the data before it ends at 0" },
        { "{\"a\":" T("F32", "[2]", "0", "8") ",\"b\":" T("F32", "[2]", "4", "12") "}", 12, "begins at 4" },
        { "{\"a\":" T("F32", "[2]", "0", "8") ",\"a\":" T("F32", "[2]", "8", "16") "}", 16, "duplicate" },
        { "{\"a\":" T("F31", "[2]", "0", "8") "}", 8, "dtype 'F31' is not known" },
        { "{\"a\":" T("F32", "[-2]", "0", "8") "}", 8, "size 0 of the shape is out of range" },
        { "{\"a\":" T("F32", "[2.0]", "0", "8") "}", 8, "size 0 of the shape" },
        { "{\"a\":" T("F32", "[4611686018427387904,4]", "0", "8") "}", 8, "out of range" },
        { "{\"a\":" T("F32", "[2]", "8", "0") "}", 8, "not [begin, end]" },
        { "{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "at most 8 sizes" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "keys are missing" },
        { "{\"a\":3}", 8, "keys are missing" },
        { "[]", 0, "not an object" },
        { "{\"a\":", 0, "near end of file" },
        { "", 0, "near end of file" },
    };
    char name[128];
    clear();
    mkdir(folder, 0755);
    snprintf(name, sizeof name, "%s/x.safetensors", folder);
    for (int i = 0; i < COUNT(bad); i++)
        for (int lie = 0; lie < 3; lie++) {                     /* the header's length: true, too long, absurd */
            uint64_t length = htole64(strlen(bad[i].header) + (lie == 1 ? 1000 : 0)), zero[4] = { 0 };
            struct safetensors *s;
            if (lie == 2) length = htole64(UINT64_MAX - 3);
            FILE *f = fopen(name, "wb");
            fwrite(&length, 1, 8, f);
            fputs(bad[i].header, f);
            fwrite(zero, 1, bad[i].data, f);
            fclose(f);
            int status = safetensors_open(&s, name, &err);
            const char *words = lie == 0 ? bad[i].words : lie == 1 ? "in a file of" : "at most 100000000";
            if (words) {
                assert_int_equal(status, -1);
                says(words);
            } else {
                ok(status);
                assert_int_equal(safetensors_tensor(s, 0)->bytes, bad[i].data);
                safetensors_close(s);
            }
        }
}

/* ---- files of pieces ---- */

enum { ROWS = 6, LINES = 5, COLUMNS = 7, VALUES = ROWS * LINES * COLUMNS };
static float stack[VALUES];
static const float pair[2] = { 3, 4 };

static struct box box(int64_t row, int64_t rows, int64_t line, int64_t lines)
{
    return (struct box){ 3, { row, line, 0 }, { rows, lines, COLUMNS } };
}

/* A file of a piece of the stack, and of the pair where `both`; said: where it is said to begin. */
static struct safetensors *part(int number, struct box b, struct box said, bool both)
{
    char name[128];
    struct safetensors *s;
    struct stored whole[2] = { stored_new("stack", "F32", SHAPE(ROWS, LINES, COLUMNS)),
                               stored_new("pair", "F32", SHAPE(2)) },
                  piece[2] = { stored_new("stack", "F32", SHAPE(b.extent[0], b.extent[1], COLUMNS)), whole[1] };
    const struct box all = { 3, { 0 }, { ROWS, LINES, COLUMNS } }, boxes[2] = { said, { 1, { 0 }, { 2 } } };
    size_t header;
    free(safetensors_header(2, whole, NULL, &header));      /* offsets */
    json_t *about = safetensors_about_pieces(1 + both, whole, boxes);
    char *text = safetensors_header(1 + both, piece, about, &header);
    float values[VALUES];
    box_copy(&all, stack, &b, values, sizeof *values);
    snprintf(name, sizeof name, "%s/part-%d", folder, number);
    FILE *f = fopen(name, "wb");
    fwrite(text, 1, header, f);
    fwrite(values, sizeof *values, (size_t)box_count(&b), f);
    if (both) fwrite(pair, sizeof pair, 1, f);
    fclose(f);
    free(text);
    json_decref(about);
    ok(safetensors_open(&s, name, &err));
    assert_true(safetensors_is_part(s));
    return s;
}

static struct hash one_file(void)
{
    struct stored whole[2] = { stored_new("stack", "F32", SHAPE(ROWS, LINES, COLUMNS)),
                               stored_new("pair", "F32", SHAPE(2)) };
    size_t header;
    char *text = safetensors_header(2, whole, NULL, &header), *file = xmalloc(header + sizeof stack + sizeof pair);
    memcpy(file, text, header);
    memcpy(file + header, stack, sizeof stack);
    memcpy(file + header + sizeof stack, pair, sizeof pair);
    struct hash h = hash_bytes(file, header + sizeof stack + sizeof pair);
    free(text);
    free(file);
    return h;
}

/* Every box of what lies in four files, cut along two dimensions, is that of the whole; so is the hash. */
static void test_parts(void **state)
{
    (void)state;
    struct safetensors *file[4], *all;
    clear();
    mkdir(folder, 0755);
    for (int i = 0; i < VALUES; i++) stack[i] = (float)i;
    for (int i = 0; i < 4; i++) {
        struct box b = box(i / 2 * 2, i / 2 ? 4 : 2, i % 2 * 3, i % 2 ? 2 : 3);
        file[3 - i] = part(i, b, b, i == 1);
    }
    ok(safetensors_join(&all, 4, file, &err));
    assert_int_equal(safetensors_count(all), 2);
    assert_false(safetensors_is_part(all));
    assert_true(hash_equal(safetensors_hash(all), one_file()));
    const struct stored *t = safetensors_find(all, "stack");
    const struct box whole = stored_box(t);
    assert_int_equal(safetensors_tensor(all, 0) - t, 0);
    for (int64_t row = 0; row < ROWS; row++)
        for (int64_t rows = 0; row + rows <= ROWS; rows++)
            for (int64_t line = 0; line < LINES; line++) {
                float got[VALUES], want[VALUES];
                struct box b = box(row, rows, line, LINES - line);
                b.begin[2] = row % 3;
                b.extent[2] = COLUMNS - b.begin[2] - line % 2;
                safetensors_read(all, t, &b, got);
                box_copy(&whole, stack, &b, want, sizeof *want);
                assert_memory_equal(got, want, (size_t)box_count(&b) * sizeof *got);
                for (int64_t i = 0; i < box_count(&b); i++) {
                    int64_t column = i % b.extent[2] + b.begin[2], at = i / b.extent[2];
                    int64_t its = at % b.extent[1] + line, of = at / b.extent[1] + row;
                    assert_true(got[i] == (float)((of * LINES + its) * COLUMNS + column));
                }
            }
    safetensors_close(all);
}

static void test_bad_parts(void **state)
{
    (void)state;
    const struct box top = box(0, 2, 0, LINES), rest = box(2, 4, 0, LINES);
    const struct { struct box of[2], said[2]; const char *words; } bad[] = {
        { { top, box(2, 3, 0, LINES) }, { top, box(2, 3, 0, LINES) }, "35 of its values are in no piece" },
        { { top, rest }, { top, box(1, 4, 0, LINES) }, "two pieces hold the same place" },
        { { top, rest }, { top, box(3, 4, 0, LINES) }, "does not lie within it" },
        { { top, rest }, { top, box(-1, 4, 0, LINES) }, "does not lie within it" },
        { { top, rest }, { top, { .rank = 2, .begin = { 2, 0 } } }, "is no piece of what it is said to be of" },
    };
    struct safetensors *file[2], *all;
    clear();
    mkdir(folder, 0755);
    for (int i = 0; i < COUNT(bad); i++) {
        for (int k = 0; k < 2; k++) file[k] = part(k, bad[i].of[k], bad[i].said[k], k == 0);
        assert_int_equal(safetensors_join(&all, 2, file, &err), -1);
        says(bad[i].words);
        assert_null(all);
    }
    file[0] = part(0, top, top, true);
    assert_int_equal(safetensors_join(&all, 1, file, &err), -1);
    says("are in no piece");
    for (int k = 0; k < 2; k++) file[k] = part(k, k ? rest : top, k ? rest : top, true);
    assert_int_equal(safetensors_join(&all, 2, file, &err), -1);
    says("'pair': two pieces hold the same place");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_other_model),
        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_kill_amid_replacing),
        cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_safetensors),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_bad_parts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
