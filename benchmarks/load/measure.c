#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_SERVERS = 16, SUB_BITS = 6 };

static struct {
    pid_t pid;
    clockid_t clock;
} servers[MOST_SERVERS];
static int server_count;

static double clock_s(clockid_t id)
{
    struct timespec t;

    if (clock_gettime(id, &t) != 0)
        return 0;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double own_cpu_s(void) { return clock_s(CLOCK_PROCESS_CPUTIME_ID); }

void set_servers(const char *pids)
{
    while (*pids) {
        char *end;
        long pid = strtol(pids, &end, 10);

        if (end == pids || server_count == MOST_SERVERS ||
            clock_getcpuclockid((pid_t)pid, &servers[server_count].clock) != 0) {
            fprintf(stderr, "load: no process '%s' to measure\n", pids);
            exit(2);
        }
        servers[server_count++].pid = (pid_t)pid;
        pids = *end == ',' ? end + 1 : end;
    }
}

/* Why not /proc/<pid>/stat: its unit is 10 ms, a third of what connecting a thousand clients costs. A process's CPU
 * clock is the same account (user and system, every thread) in nanoseconds; schedstat knows one thread only. */
double server_cpu_s(void)
{
    double sum = 0;

    for (int i = 0; i < server_count; i++)
        sum += clock_s(servers[i].clock);
    return sum;
}

long server_rss_kb(void)
{
    long sum = 0, page_kb = sysconf(_SC_PAGESIZE) / 1024;

    for (int i = 0; i < server_count; i++) {
        char path[64];
        long pages = 0;
        FILE *file;

        snprintf(path, sizeof path, "/proc/%d/statm", (int)servers[i].pid);
        file = fopen(path, "r");
        if (!file)
            continue;
        if (fscanf(file, "%*d %ld", &pages) == 1)
            sum += pages * page_kb;
        fclose(file);
    }
    return sum;
}

static unsigned bucket_of(uint64_t ns)
{
    unsigned octave;

    if (ns < (1u << SUB_BITS))
        return (unsigned)ns;
    octave = 63u - (unsigned)__builtin_clzll(ns) - SUB_BITS;
    return ((octave + 1) << SUB_BITS) + (unsigned)((ns >> octave) & ((1u << SUB_BITS) - 1));
}

static double middle_of(unsigned bucket)
{
    unsigned octave;
    uint64_t low;

    if (bucket < (1u << SUB_BITS))
        return bucket;
    octave = (bucket >> SUB_BITS) - 1;
    low = ((uint64_t)(1u << SUB_BITS) + (bucket & ((1u << SUB_BITS) - 1))) << octave;
    return (double)low + (double)(1ull << octave) / 2;
}

void distribution_add(struct distribution *d, uint64_t ns)
{
    d->counts[bucket_of(ns)]++;
    d->total++;
    if (ns > d->largest)
        d->largest = ns;
}

double distribution_us(const struct distribution *d, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)d->total), seen = 0;

    if (!d->total)
        return 0;
    if (wanted >= d->total)
        return (double)d->largest / 1e3;
    for (unsigned i = 0; i < sizeof d->counts / sizeof *d->counts; i++) {
        seen += d->counts[i];
        if (seen > wanted)
            return (middle_of(i) < (double)d->largest ? middle_of(i) : (double)d->largest) / 1e3;
    }
    return (double)d->largest / 1e3;
}

void distribution_clear(struct distribution *d) { memset(d, 0, sizeof *d); }
