// Addresses of the state spaces, accesses, atomic updates, asynchronous copies, calls of the system.
// A translation compiled with PH_CHECK tells the checker of each access.
#pragma once

#ifdef PH_CHECK
#define PH_CHECKED true
INLINE void check(u64 address, u32 bytes, ph_kind kind, const ph_site *site) { ph_access(address, bytes, kind, site); }
#else
#define PH_CHECKED false
INLINE void check(u64, u32, ph_kind, const ph_site *) {}
#endif

INLINE char *global(u64 address, u32 bytes, ph_kind kind, const ph_site *site) { check(address, bytes, kind, site); return ph_storage(address); }
INLINE char *shared(u32 offset, u32 bytes, ph_kind kind, const ph_site *site) { check(PH_SHARED + offset, bytes, kind, site); return ph_here.shared + offset; }
INLINE char *local(u64 address, u32, ph_kind, const ph_site *) { return (char *)(uintptr_t)address; }
INLINE char *generic(u64 address, u32 bytes, ph_kind kind, const ph_site *site)
{
    check(address, bytes, kind, site);
    return ph_is_device(address) ? ph_storage(address) : ph_is_shared(address) ? ph_here.shared + (address - PH_SHARED) : (char *)(uintptr_t)address;
}

template <class T> INLINE T get(const void *m, int i) { T x; memcpy(&x, (const char *)m + i * sizeof x, sizeof x); return x; }
template <class T> INLINE void put(void *m, T a) { memcpy(m, &a, sizeof a); }
template <class T> INLINE void put(void *m, T a, T b) { T v[] = { a, b }; memcpy(m, v, sizeof v); }
template <class T> INLINE void put(void *m, T a, T b, T c, T d) { T v[] = { a, b, c, d }; memcpy(m, v, sizeof v); }

// Returns what was there before.
template <class T, class F> INLINE T atomic(char *m, F update)
{
    T old = get<T>(m, 0);
    put<T>(m, update(old));
    return old;
}

// The asynchronous copies that a thread has started; each is written by the wait that covers it.
struct pending_copies {
    struct copy { u64 from; u32 to, bytes, read; u32 group; };
    enum { MOST = 256 };
    copy list[MOST];
    u32 count = 0, group = 0;

    void start(u32 to, u64 from, u32 bytes, u32 read, const ph_site *site)
    {
        ph_now->site = site;
        if ((to | from) % bytes != 0 || read > bytes || count == MOST) {
            ph_report(count == MOST ? "too many asynchronous copies under way" : "cp.async of %u of %u bytes from %#llx to shared address %u: misaligned, or too many bytes",
                      read, bytes, (unsigned long long)from, to);
            return;
        }
        check_source(from, bytes, read, site);
        check(PH_SHARED + to, bytes, PH_START, site);
        list[count++] = { from, to, bytes, read, group };
    }
    void commit() { group++; }
    // At most `left` of the committed groups stay under way.
    void wait(u32 left, const ph_site *site) { land(group < left ? 0 : group - left, site); }
    void wait_all(const ph_site *site) { group++; land(group, site); }

private:
    static void check_source(u64 from, u32 bytes, u32 read, const ph_site *site)
    {
        if (read == bytes) check(from, bytes, PH_READ, site);
        else for (u32 i = 0; i < read; i++) check(from + i, 1, PH_READ, site);
    }
    void land(u32 before, const ph_site *site)
    {
        u32 kept = 0;
        for (u32 i = 0; i < count; i++) {
            copy c = list[i];
            if (c.group >= before) { list[kept++] = c; continue; }
            char data[16] = {};
            check_source(c.from, c.bytes, c.read, site);
            memcpy(data, ph_storage(c.from), c.read);
            memcpy(shared(c.to, c.bytes, PH_WRITE, site), data, c.bytes);
        }
        count = kept;
    }
};

// ---- the system ----

static inline u64 clock_now() { static u64 ticks; return ticks += 16; }

static inline void assertion_failed(const unsigned char *message, const unsigned char *file, const unsigned char *line, const unsigned char *function, const unsigned char *)
{
    auto text = [](const unsigned char *argument) { return ph_storage(get<u64>(argument, 0)); };
    ph_report("%s:%u: %s: assertion '%s' failed", text(file), get<u32>(line, 0), text(function), text(message));
}

// printf in a kernel: the arguments lie behind each other, each at a multiple of its size.
static inline void vprintf_(unsigned char *result, const unsigned char *format, const unsigned char *arguments)
{
    const char *f = ph_storage(get<u64>(format, 0));
    const char *next = (const char *)(uintptr_t)get<u64>(arguments, 0);
    u32 printed = 0;
    while (*f) {
        size_t plain = strcspn(f, "%"), length = f[plain] ? 1 + strcspn(f + plain + 1, "%diouxXcsfFeEgGaAp") + 1 : 0;
        char one[64];
        fwrite(f, 1, plain, stdout);
        f += plain;
        if (length == 0 || length >= sizeof one) break;
        snprintf(one, sizeof one, "%.*s", (int)length, f);
        f += length;
        char kind = one[length - 1];
        bool real = strchr("fFeEgGaA", kind), wide = real || kind == 's' || kind == 'p' || strstr(one, "ll") || strchr(one, 'l');
        if (kind == '%') { putchar('%'); continue; }
        if (wide) next = (const char *)(((uintptr_t)next + 7) & ~(uintptr_t)7);
        if (real) printf(one, get<f64>(next, 0));
        else if (kind == 's') printf(one, ph_storage(get<u64>(next, 0)));
        else if (wide) printf(one, get<u64>(next, 0));
        else printf(one, get<u32>(next, 0));
        next += wide ? 8 : 4;
        printed++;
    }
    put<u32>(result, printed);
}
