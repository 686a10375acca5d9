/* Reports of mistakes in the program under test. The process ends with exit code 86 when there was one. A memory fault is named by
   its cause. PTXHOST_ABORT=1 stops at the first report. */
#include "ptxhost.h"

#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN = 20, EXIT_CODE = 86 };

static int reports;

int ph_reports(void) { return __atomic_load_n(&reports, __ATOMIC_RELAXED); }

/* libstdc++ has it when a translation is loaded, as translations are C++. */
char *__cxa_demangle(const char *mangled, char *text, size_t *room, int *status) __attribute__((weak));

/* The kernel's name without its parameters: forward_rows<float>. */
static void kernel_name(const char *mangled, char *text, size_t room)
{
    char *all = __cxa_demangle ? __cxa_demangle(mangled, NULL, NULL, NULL) : NULL;
    snprintf(text, room, "%s", !all ? mangled : strncmp(all, "void ", 5) == 0 ? all + 5 : all);
    free(all);
    for (char *p; (p = strstr(text, "(anonymous namespace)::")); ) memmove(p, p + 23, strlen(p + 23) + 1);
    int depth = 0;
    for (char *p = text; *p; p++) {
        depth += (*p == '<') - (*p == '>');
        if (*p == '(' && depth == 0) { *p = '\0'; break; }
    }
}

const char *ph_where(const struct ph_site *site)
{
    static char text[PATH_MAX + 16], folder[PATH_MAX];
    if (!*folder && !getcwd(folder, sizeof folder)) *folder = '?';
    const char *file = site ? site->file : "?";
    size_t n = strlen(folder);
    if (strncmp(file, folder, n) == 0 && file[n] == '/') file += n + 1;
    snprintf(text, sizeof text, "%s:%d", file, site ? site->line : 0);
    return text;
}

static void place(char *text, size_t room)
{
    char name[128];
    kernel_name(ph_here.kernel->name, name, sizeof name);
    const struct ph_dim b = ph_here.id, t = ph_now->tid;
    snprintf(text, room, " [%s, kernel %s, block (%u,%u,%u), thread (%u,%u,%u)]", ph_where(ph_now->site), name, b.x, b.y, b.z, t.x, t.y, t.z);
}

void ph_report(const char *format, ...)
{
    char text[1024] = "ptxhost: ";
    size_t room = sizeof text - 2, n = strlen(text);
    if (__atomic_add_fetch(&reports, 1, __ATOMIC_RELAXED) <= SHOWN) {
        va_list list;
        va_start(list, format);
        n += (size_t)vsnprintf(text + n, room - n, format, list);
        va_end(list);
        if (n > room) n = room;
        if (ph_now) place(text + n, room - n);
        n = strlen(text);
        text[n++] = '\n';
        if (write(STDERR_FILENO, text, n) < 0) abort();
    }
    const char *stop = getenv("PTXHOST_ABORT");
    if (stop && strcmp(stop, "1") == 0) abort();
}

void ph_finish(void)
{
    if (!ph_reports()) return;
    fflush(NULL);
    fprintf(stderr, "ptxhost: %d reports%s\n", ph_reports(), ph_reports() > SHOWN ? ", the first 20 are above" : "");
    _exit(EXIT_CODE);
}

/* ---- memory faults ---- */

static struct sigaction before[NSIG];

static bool report_fault(uint64_t address)
{
    uint64_t far = address - PH_FAR, shared = address - (uintptr_t)ph_here.shared;
    if (ph_is_device(address)) ph_report("host code follows the device address %#llx", (unsigned long long)address);
    else if (ph_is_device(far)) ph_report("the device address %#llx lies in no allocation", (unsigned long long)far);
    else if (!ph_now) return false;
    else if (shared <= UINT32_MAX) ph_report("shared address %u, past the block's %u bytes of shared memory", (uint32_t)shared, ph_here.shared_bytes);
    else if ((uintptr_t)ph_now->stack - address <= PH_GUARD) ph_report("the thread's local memory is larger than its stack");
    else ph_report("the kernel follows an address that is not on the device: %#llx", (unsigned long long)(address ? far : 0));
    return true;
}

/* A fault that is none of ours goes to the handler before: the instruction runs again. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (report_fault((uintptr_t)info->si_addr)) ph_finish();
    sigaction(number, &before[number], NULL);
}

void ph_watch(void)
{
    static _Thread_local char stack[64 << 10];              /* the CUDA thread's may be what overflowed */
    stack_t aside = { .ss_sp = stack, .ss_size = sizeof stack };
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK }, old;
    sigaltstack(&aside, NULL);
    for (const int *number = (const int[]){ SIGSEGV, SIGBUS, 0 }; *number; number++) {
        sigaction(*number, &action, &old);
        if (old.sa_sigaction != on_fault) before[*number] = old;
    }
}

__attribute__((constructor)) static void begin(void)
{
    ph_watch();
    atexit(ph_finish);
}
