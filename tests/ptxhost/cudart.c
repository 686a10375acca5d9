/* The emulated libcudart, what every call shares: the lock, errors, the environment, and work as streams and graphs hold it. */
#define _GNU_SOURCE
#include "cudart.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static int depth;
static const char *outer_call;
static const struct work *running;
static _Thread_local cudaError_t last_error;

const char *cudart_enter(const char *call)
{
    pthread_mutex_lock(&lock);
    if (depth++ == 0) outer_call = call;
    if (running && running->kind == WORK_HOST) cudart_fail(cudaErrorNotPermitted, "the host function calls %s, which CUDA forbids", call);
    return call;
}

void cudart_leave(const char **call)
{
    (void)call;
    depth--;
    pthread_mutex_unlock(&lock);
}

cudaError_t cudart_refuse(cudaError_t error)
{
    if (error) last_error = error;
    return error;
}

cudaError_t cudart_fail(cudaError_t error, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ph_report("%s: %s", running ? running->what : depth ? outer_call : "libcudart", text);
    return cudart_refuse(error);
}

int64_t cudart_setting(const char *name, int64_t usual)
{
    const char *text = getenv(name);
    if (!text || !*text) return usual;
    char *end;
    errno = 0;
    int64_t value = strtoll(text, &end, 0);
    if (errno || *end) ph_report("%s=%s is not an integer", name, text);
    return value;
}

static bool tracing(void)
{
    static int on = -1;
    if (on < 0) on = cudart_setting("PTXHOST_TRACE", 0) != 0;
    return on;
}

void cudart_trace(const char *format, ...)
{
    if (!tracing()) return;
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "ptxhost: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
}

void *cudart_allocate(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    if (p) return p;
    fprintf(stderr, "ptxhost: no memory for %zu bytes of the emulator's own\n", bytes);
    abort();
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

static const struct { cudaError_t error; const char *name, *text; } errors[] = {
#define ERROR(name, text) { name, #name, text }
    ERROR(cudaSuccess, "no error"),
    ERROR(cudaErrorInvalidValue, "invalid argument"),
    ERROR(cudaErrorMemoryAllocation, "out of memory"),
    ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    ERROR(cudaErrorInvalidSymbol, "invalid device symbol"),
    ERROR(cudaErrorInvalidDevicePointer, "invalid device pointer"),
    ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    ERROR(cudaErrorNotReady, "device not ready"),
    ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    ERROR(cudaErrorNotPermitted, "operation not permitted"),
    ERROR(cudaErrorNotSupported, "operation not supported"),
    ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    ERROR(cudaErrorStreamCaptureUnmatched, "capture was not initiated in this stream"),
    ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    ERROR(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    ERROR(cudaErrorStreamCaptureImplicit, "operation would make the legacy stream depend on a capturing blocking stream"),
    ERROR(cudaErrorStreamCaptureWrongThread, "attempt to terminate a thread-local capture sequence from another thread"),
    ERROR(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    ERROR(cudaErrorUnknown, "unknown error"),
#undef ERROR
};

const char *cudaGetErrorName(cudaError_t error)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].error == error) return errors[i].name;
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].error == error) return errors[i].text;
    return "unrecognized error code";
}

uint32_t ph_seed(void)
{
    static int64_t seed = -1;
    if (seed < 0) seed = (uint32_t)cudart_setting("PTXHOST_SEED", 0);
    return (uint32_t)seed;
}

/* The n-th call's value is a function of the seed and n: Steele's SplitMix64. */
uint32_t ph_random(uint32_t below)
{
    static uint64_t calls;
    uint64_t z = ((uint64_t)ph_seed() << 32) + ++calls * 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (uint32_t)((z ^ z >> 31) % below);
}

uint32_t ph_jitter(void)
{
    static int64_t jitter = -1;
    if (jitter < 0) jitter = (uint32_t)cudart_setting("PTXHOST_JITTER", 0);
    return (uint32_t)jitter;
}

static const char *const kind_names[WORK_KINDS] = { "kernel", "copy", "set", "host", "library" };

/* PTXHOST_COUNT=FILE: how often each kernel, copy, ... ran. */
static struct tally { enum work_kind kind; const char *what; uint64_t runs; } *tallies;
static int tally_count;

static void count(const struct work *w)
{
    static const char *file;
    if (!file && !(file = getenv("PTXHOST_COUNT"))) file = "";
    if (!*file) return;
    int i = 0;
    while (i < tally_count && (tallies[i].kind != w->kind || strcmp(tallies[i].what, w->what) != 0)) i++;
    if (i == tally_count) {
        tallies = realloc(tallies, (size_t)++tally_count * sizeof *tallies);
        if (!tallies) abort();
        tallies[i] = (struct tally){ w->kind, w->what, 0 };
    }
    tallies[i].runs++;
}

static int by_kind_and_name(const void *left, const void *right)
{
    const struct tally *a = left, *b = right;
    return a->kind != b->kind ? (int)a->kind - (int)b->kind : strcmp(a->what, b->what);
}

/* Lines of KIND RUNS NAME, in one write: several processes append to one file. */
static void write_tallies(void)
{
    const char *path = getenv("PTXHOST_COUNT");
    if (!path || !*path || !tally_count) return;
    qsort(tallies, (size_t)tally_count, sizeof *tallies, by_kind_and_name);
    char *text = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes), *file = fopen(path, "a");
    if (!memory || !file) {
        fprintf(stderr, "ptxhost: PTXHOST_COUNT=%s: %s\n", path, strerror(errno));
        return;
    }
    for (int i = 0; i < tally_count; i++)
        fprintf(memory, "%s %llu %s\n", kind_names[tallies[i].kind], (unsigned long long)tallies[i].runs, tallies[i].what);
    fclose(memory);
    fwrite(text, 1, bytes, file);
    fclose(file);
    free(text);
    tally_count = 0;
}

void cudart_settle(void)
{
    write_tallies();
    ph_finish();
}

static __attribute__((destructor)) void finish(void)
{
    if (cudart_setting("PTXHOST_LEAKS", 0)) memory_print_leaks();
    write_tallies();
}

static int64_t kernels_run;

cudaError_t cudart_lost(void)
{
    static int64_t kernels = -1;
    if (kernels < 0) kernels = cudart_setting("PTXHOST_LOST", 0);
    return kernels && kernels_run >= kernels ? cudart_refuse(cudaErrorUnknown) : cudaSuccess;
}

static void tell_run(const struct work *w)
{
    cudart_trace("run %s %s", kind_names[w->kind], w->what);
    count(w);
    kernels_run += w->kind == WORK_KERNEL;
}

enum ph_progress work_run(const struct work *w)
{
    const struct work *outer = running;
    enum ph_progress progress = PH_DONE;
    if (w->run) tell_run(w);
    running = w;
    if (w->run) w->run(w->data);
    else progress = w->step(w->data);
    running = outer;
    if (!w->run && progress == PH_DONE) tell_run(w);
    return progress;
}

struct work work_copy(const struct work *w)
{
    struct work copy = *w;
    void *data = cudart_allocate(w->bytes);
    if (w->bytes) memcpy(data, w->data, w->bytes);
    copy.data = data;
    return copy;
}

void work_free(struct work *w)
{
    free((void *)(uintptr_t)w->data);
}
