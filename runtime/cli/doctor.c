/* sluice doctor: what this machine and this build can do. */
#include "cli.h"
#include "cpu/isa.h"
#include "cpu/pool.h"
#include "train/train.h"
#include "base/process.h"
#include "version.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct option options[] = {
    { "json", 0, NULL, "machine-readable" },
    { 0 }
};

/* note: empty when all is well; otherwise what does not work, or is slow. */
struct finding { const char *what; char value[256], note[400]; };
struct findings { int n; struct finding finding[32]; };

static struct finding *note_on(struct findings *f, const char *what)
{
    f->finding[f->n] = (struct finding){ .what = what };
    return &f->finding[f->n++];
}

/* A line of a file in /proc that starts with `key`: what follows its colon. */
static void proc_line(const char *path, const char *key, char *out, size_t size)
{
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen(path, "r");
    out[0] = 0;
    while (file && !out[0] && getline(&line, &room, file) > 0) {
        char *colon = strncmp(line, key, strlen(key)) ? NULL : strchr(line, ':');
        if (colon)
            snprintf(out, size, "%.*s", (int)strcspn(colon + 1 + strspn(colon + 1, " \t"), "\n"),
                     colon + 1 + strspn(colon + 1, " \t"));
    }
    free(line);
    if (file) fclose(file);
}

/* Goes on with a finding's value. */
static void add_word(struct finding *x, const char *before, const char *word)
{
    size_t used = strlen(x->value);
    snprintf(x->value + used, sizeof x->value - used, "%s%s", before, word);
}

static void find_cpu(struct findings *f)
{
    static const char *const wanted[] = { "avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16" };
    char flags[8192], padded[8200];
    struct finding *cpu = note_on(f, "processor"), *isa_used = note_on(f, "instructions"),
                   *threads = note_on(f, "cores");
    bool amx = false;
    proc_line("/proc/cpuinfo", "model name", cpu->value, sizeof cpu->value);
    proc_line("/proc/cpuinfo", "flags", flags, sizeof flags);
    snprintf(padded, sizeof padded, " %s ", flags);
    snprintf(isa_used->value, sizeof isa_used->value, "kernels for %s", isa()->name);
    for (int i = 0; isa_level(i); i++) {
        add_word(isa_used, i ? " " : ", of ", isa_level(i)->name);
        amx |= strcmp(isa_level(i)->name, "amx") == 0;
    }
    add_word(isa_used, "; ", "the processor has");
    for (int i = 0; i < COUNT(wanted); i++) {
        char word[32];
        snprintf(word, sizeof word, " %s ", wanted[i]);
        if (strstr(padded, word)) add_word(isa_used, " ", wanted[i]);
    }
    if (strstr(padded, " amx_bf16 ") && !amx)
        snprintf(isa_used->note, sizeof isa_used->note, "the system does not grant AMX to this process");
    snprintf(threads->value, sizeof threads->value, "%d for this process, %ld online", pool_cores(),
             sysconf(_SC_NPROCESSORS_ONLN));
}

static void find_memory(struct findings *f)
{
    char text[256], total[FORMAT_SIZE], available[FORMAT_SIZE];
    struct finding *memory = note_on(f, "memory");
    proc_line("/proc/meminfo", "MemTotal", text, sizeof text);
    format_bytes(strtod(text, NULL) * 1024, total);
    proc_line("/proc/meminfo", "MemAvailable", text, sizeof text);
    snprintf(memory->value, sizeof memory->value, "%s available of %s",
             format_bytes(strtod(text, NULL) * 1024, available), total);
}

static void find_disk(struct findings *f)
{
    struct finding *disk = note_on(f, "disk");
    struct statvfs s;
    char text[FORMAT_SIZE];
    if (statvfs(".", &s)) {
        snprintf(disk->note, sizeof disk->note, "cannot be asked: %s", strerror(errno));
        return;
    }
    double free_bytes = (double)s.f_bavail * (double)s.f_frsize;
    snprintf(disk->value, sizeof disk->value, "%s free in this folder", format_bytes(free_bytes, text));
    if (free_bytes < 1073741824.0)
        snprintf(disk->note, sizeof disk->note, "less than 1 GiB: a study with checkpoints may not fit");
}

/* First line of a program's output; false when it fails. command begins with exec: the program itself is the child. */
static bool ask(const char *command, char *out, size_t size)
{
    int ends[2], status = -1;
    out[0] = 0;
    if (pipe(ends)) return false;
    pid_t child = process_fork(SIGKILL);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(EXIT_FAILURE);
    }
    close(ends[1]);
    FILE *answer = fdopen(ends[0], "r");
    if (answer && fgets(out, (int)size, answer)) out[strcspn(out, "\n")] = 0;
    if (answer) fclose(answer); else close(ends[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) { }
    return status == 0 && out[0];
}

static void find_programs(struct findings *f)
{
    struct finding *gnuplot = note_on(f, "gnuplot"), *h5py = note_on(f, "h5py");
    if (!ask("exec gnuplot --version 2>/dev/null", gnuplot->value, sizeof gnuplot->value))
        snprintf(gnuplot->note, sizeof gnuplot->note, "missing: 'sluice plot' draws nothing (Debian: gnuplot-nox)");
    if (!ask("exec python3 -c 'import h5py; print(h5py.__version__)' 2>/dev/null", h5py->value, sizeof h5py->value) &&
        !ask("exec /usr/bin/python3 -c 'import h5py; print(h5py.__version__)' 2>/dev/null", h5py->value,
             sizeof h5py->value))
        snprintf(h5py->note, sizeof h5py->note,
                 "missing: run files cannot be read from Python (Debian: python3-h5py); nothing else needs it");
}

static void find_build(struct findings *f)
{
    struct utsname u;
    struct version v = version_here();
    struct finding *program = note_on(f, "sluice"), *build = note_on(f, "build"), *libraries = note_on(f, "libraries"),
                   *system = note_on(f, "system");
    snprintf(program->value, sizeof program->value, "%s, revision %s", version_number, v.revision);
    snprintf(build->value, sizeof build->value, "%s", v.build);
    snprintf(libraries->value, sizeof libraries->value, "%s", v.libraries);
    if (uname(&u) == 0)
        snprintf(system->value, sizeof system->value, "%.60s %.80s %.40s", u.sysname, u.release, u.machine);
}

static void find_cuda(struct findings *f)
{
    static const char *const names[] = { "CUDA", "GPU 0", "GPU 1", "GPU 2", "GPU 3", "GPU 4", "GPU 5", "GPU 6",
                                         "GPU 7" };
    struct err e;
    char text[256];
    const struct backend *cuda = backend_find(BACKEND_CUDA, &e);
    if (!cuda) {
        struct finding *missing = note_on(f, names[0]);
        snprintf(missing->value, sizeof missing->value, "cannot be used");
        snprintf(missing->note, sizeof missing->note, "%.*s", (int)sizeof missing->note - 1, e.text);
        return;
    }
    int line = 0;
    for (; line < COUNT(names) && cuda->describe(line, text); line++) {
        struct finding *found = note_on(f, names[line]);
        snprintf(found->value, sizeof found->value, "%.*s", (int)sizeof found->value - 1, text);
        if (line == 0 && !cuda->describe(1, text))
            snprintf(found->note, sizeof found->note, "no GPU: train.backend = \"cuda\" cannot run here");
    }
}

static enum code run(const struct call *c)
{
    struct findings f = { .n = 0 };
    static const char *const columns[] = { "", "", "" };
    find_build(&f);
    find_cuda(&f);
    find_cpu(&f);
    find_memory(&f);
    find_disk(&f);
    find_programs(&f);
    struct table *t = table_new(columns, COUNT(columns));
    json_t *list = json_object();
    for (int i = 0; i < f.n; i++) {
        const struct finding *x = &f.finding[i];
        json_object_set_new(list, x->what, json_pack("{s:s, s:s}", "value", x->value, "note", x->note));
        table_cell(t, "%s", x->what);
        table_cell(t, "%s", x->value);
        table_cell(t, "%s", x->note);
        table_paint(t, PAINT_WARN);
    }
    table_print(t, cli_flag(c, "json") ? NULL : stdout);
    if (cli_flag(c, "json")) cli_json(list); else json_decref(list);
    return CODE_OK;
}

const struct command command_doctor = {
    .name = "doctor", .about = "what this machine and this build can do", .usage = "", .example = "sluice doctor",
    .options = options, .least = 0, .most = 0, .run = run,
};
