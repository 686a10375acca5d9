/* The least of what the machine, the process's cgroup and its own limits still give. */
#define _GNU_SOURCE
#include "memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void lower(size_t *room, double bytes)
{
    if (bytes < 0) bytes = 0;
    if (bytes < (double)*room) *room = (size_t)bytes;
}

/* The number after a key at the start of a line; with an empty key, the file's first number. -1: there is none. */
static double number_in(const char *path, const char *key)
{
    char line[256];
    double value = -1;
    FILE *f = fopen(path, "r");
    while (f && value < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%lf", &value) != 1) value = -1;
    if (f) fclose(f);
    return value;
}

/* Files in memory are given up when memory runs short: they are not in the way. */
static void lower_by_group(size_t *room, const char *folder, const char *most_name, const char *used_name,
                           const char *files_key)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, most_name);
    double most = number_in(path, "");
    if (most < 0) return;                                   /* "max", or no such group here */
    snprintf(path, sizeof path, "%s/%s", folder, used_name);
    double used = number_in(path, "");
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    double files = number_in(path, files_key);
    lower(room, most - used + (files > 0 ? files : 0));
}

/* Each line of /proc/self/cgroup is ID:CONTROLLERS:PATH; version 2 has no controllers. A group is limited by all above
   it, too; in a container its own folder may be mounted as the root. */
static void lower_by_groups(size_t *room)
{
    char line[2048], folder[3072];
    FILE *f = fopen("/proc/self/cgroup", "r");
    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        bool second = strncmp(line, "0::", 3) == 0, first = strstr(line, ":memory:") != NULL;
        if (!path || (!first && !second)) continue;
        path[strcspn(path, "\n")] = 0;
        for (char *end = path + strlen(path); end; end = strrchr(path, '/')) {
            *end = 0;
            snprintf(folder, sizeof folder, "/sys/fs/cgroup%s%s", first ? "/memory" : "", path + 1);
            if (first)
                lower_by_group(room, folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ");
            else lower_by_group(room, folder, "memory.max", "memory.current", "inactive_file ");
        }
    }
    if (f) fclose(f);
}

/* /proc/self/statm: pages of address space, resident, shared, text, 0, data. */
static void lower_by_limits(size_t *room)
{
    struct rlimit space, data;
    double pages = 0, data_pages = 0, page = (double)sysconf(_SC_PAGE_SIZE);
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%lf %*s %*s %*s %*s %lf", &pages, &data_pages) == 2) {
        if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
            lower(room, (double)space.rlim_cur - pages * page);
        if (getrlimit(RLIMIT_DATA, &data) == 0 && data.rlim_cur != RLIM_INFINITY)
            lower(room, (double)data.rlim_cur - data_pages * page);
    }
    if (f) fclose(f);
}

size_t memory_room(void)
{
    size_t room = SIZE_MAX;
    double free_kib = number_in("/proc/meminfo", "MemAvailable:");
    if (free_kib >= 0) lower(&room, free_kib * 1024);
    else lower(&room, (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGE_SIZE));
    lower_by_groups(&room);
    lower_by_limits(&room);
    return room;
}
