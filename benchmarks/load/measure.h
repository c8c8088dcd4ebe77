/* Clocks, what the servers cost, and distributions of times.
 *
 * Owns: reading the machine.   Not: when to read it, what the figures mean (load.c).
 */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdint.h>

/* Times in nanoseconds, counted in buckets whose width is 1/64 of their octave: no value is off by more than 1.6 %. */
struct distribution {
    uint64_t counts[64 * 64];
    uint64_t total;
    uint64_t largest;
};

uint64_t now_ns(void);
double own_cpu_s(void);

/* Name the processes that are the server: "123" or "123,124". Ends the program if one does not exist. */
void set_servers(const char *pids);
/* User and system time of all threads of all servers so far, those of ended threads included. */
double server_cpu_s(void);
long server_rss_kb(void);

void distribution_add(struct distribution *d, uint64_t ns);
/* The time in microseconds that `share` (0 to 1) of what was added does not exceed; 0 if nothing was added. */
double distribution_us(const struct distribution *d, double share);
void distribution_clear(struct distribution *d);

#endif
