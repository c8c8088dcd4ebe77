/* load: thousands of subscribers and some publishers in one process, against one server on this machine.
 *
 * Owns: the order of a run and its figures.   Not: sockets (loop.c), what arrives (subscribers.c), what is sent
 * (publishers.c).
 * Rule 1: a measured interval begins and ends with nothing on its way, so CPU and deliveries belong together.
 * Rule 2: every loop has a deadline. Rule 3: a run with missing, extra, garbled or dead is no result (exit 1).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "loop.h"
#include "measure.h"
#include "options.h"
#include "publishers.h"
#include "subscribers.h"

struct reading {
    uint64_t at, delivered, delivered_bytes, published;
    double server_s, own_s;
    long rss_kb;
};

static const uint64_t settle_ns = 200000000; /* how long what is too much may take to arrive */

static uint64_t ns(double seconds) { return (uint64_t)(seconds * 1e9); }

static struct reading read_all(void)
{
    return (struct reading){.at = now_ns(), .delivered = receipts.delivered, .delivered_bytes = receipts.delivered_bytes,
                            .published = published, .server_s = server_cpu_s(), .own_s = own_cpu_s(),
                            .rss_kb = server_rss_kb()};
}

static void stay(uint64_t duration_ns)
{
    uint64_t end = now_ns() + duration_ns, now;

    while ((now = now_ns()) < end)
        loop_once((int)((end - now) / 1000000) + 1);
}

/* Wait until all that was published is there. What never comes is counted by the verdict. */
static void drain(void)
{
    uint64_t deadline = now_ns() + ns(options.timeout_s);

    while ((receipts.delivered < receipts.expected || !publishers_idle()) && now_ns() < deadline && !receipts.dead)
        loop_once(100);
}

/* Closed loop: as soon as there is room in the window, the next burst. */
static void keep_window_full(double seconds)
{
    uint64_t end = now_ns() + ns(seconds);
    long groups = options.organizations * options.filters;
    uint64_t each = (uint64_t)((options.connections + groups - 1) / groups);

    while (now_ns() < end && !receipts.dead) {
        while (receipts.expected - receipts.delivered + (uint64_t)options.burst * each <= (uint64_t)options.window * each &&
               publish(options.burst, 0))
            ;
        loop_once(1);
    }
}

/* Open loop: an event that must wait for a free publisher keeps the stamp of the time at which it was due. */
static void keep_rate(double seconds)
{
    uint64_t period = ns(options.burst / options.rate), now = now_ns(), end = now + ns(seconds), due = now + period;

    while (due < end && !receipts.dead) {
        now = now_ns();
        while (due <= now && due < end && publish(options.burst, due))
            due += period;
        now = now_ns();
        if (due > now) {
            uint64_t wait = due - now;

            loop_until(&(struct timespec){.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)});
        } else {
            loop_once(1);
        }
    }
}

static void run_for(double seconds)
{
    if (seconds <= 0)
        return;
    if (options.rate > 0)
        keep_rate(seconds);
    else
        keep_window_full(seconds);
    drain();
}

static double per(double amount, double unit) { return unit > 0 ? amount / unit : 0; }

static void print_figure(const char *name, double value) { printf("\"%s\":%.6g,", name, value); }

static void print_count(const char *name, unsigned long long value) { printf("\"%s\":%llu,", name, value); }

static void print_times(const char *name, const struct distribution *d)
{
    printf("\"%s\":{\"count\":%llu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f},", name,
           (unsigned long long)d->total, distribution_us(d, 0.5), distribution_us(d, 0.9), distribution_us(d, 0.99),
           distribution_us(d, 1));
}

static int print_end(struct verdict verdict)
{
    bool sound = !verdict.missing && !verdict.extra && !verdict.garbled && !receipts.dead;

    print_count("connections", (unsigned long long)options.connections);
    print_count("missing", verdict.missing);
    print_count("extra", verdict.extra);
    print_count("garbled", (unsigned long long)verdict.garbled);
    print_count("dead", (unsigned long long)receipts.dead);
    printf("\"sound\":%s}\n", sound ? "true" : "false");
    return sound ? 0 : 1;
}

static int run_hold(void)
{
    struct reading before, connected, held;
    double measured = (double)(options.connections - options.warm_connections);

    if (options.warm_connections)
        subscribers_connect(options.warm_connections);
    stay(ns(options.hold_s));
    before = read_all();
    subscribers_connect(options.connections);
    connected = read_all();
    stay(ns(options.hold_s));
    held = read_all();
    publishers_connect();
    for (long i = 0; i < options.checks; i++) {
        publish(1, 0);
        drain();
    }
    stay(settle_ns);
    putchar('{');
    print_figure("rss_kb_per_connection", (double)(held.rss_kb - before.rss_kb) / measured);
    print_figure("connect_cpu_us", (connected.server_s - before.server_s) * 1e6 / measured);
    print_figure("connects_per_s", measured / ((double)(connected.at - before.at) / 1e9));
    print_figure("rss_before_kb", (double)before.rss_kb);
    print_figure("rss_after_kb", (double)held.rss_kb);
    print_figure("generator_busy", (connected.own_s - before.own_s) / ((double)(connected.at - before.at) / 1e9));
    print_count("checks", receipts.delivered);
    return print_end(subscribers_verdict());
}

static int run_load(void)
{
    struct reading before, after;
    double wall_s, server_s, delivered;

    subscribers_connect(options.connections);
    publishers_connect();
    run_for(options.warm_s);
    distribution_clear(&answers);
    latencies_wanted = options.rate > 0;
    before = read_all();
    run_for(options.duration_s);
    after = read_all();
    stay(settle_ns);
    wall_s = (double)(after.at - before.at) / 1e9;
    server_s = after.server_s - before.server_s;
    delivered = (double)(after.delivered - before.delivered);
    putchar('{');
    print_figure("deliveries_per_cpu_s", per(delivered, server_s));
    print_figure("deliveries_per_s", per(delivered, wall_s));
    print_figure("cpu_us_per_event", per(server_s * 1e6, (double)(after.published - before.published)));
    print_count("events", after.published - before.published);
    print_count("deliveries", (unsigned long long)delivered);
    print_figure("message_bytes", per((double)(after.delivered_bytes - before.delivered_bytes), delivered));
    print_figure("server_busy", per(server_s, wall_s));
    print_figure("generator_busy", per(after.own_s - before.own_s, wall_s));
    print_figure("wall_s", wall_s);
    print_figure("server_cpu_s", server_s);
    print_times("latency_us", &latencies);
    print_times("answer_us", &answers);
    return print_end(subscribers_verdict());
}

static void allow_open_files(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if ((long)limit.rlim_cur < options.connections + options.publishers + 16)
        give_up("%ld open files are allowed; %ld connections need more", (long)limit.rlim_cur, options.connections);
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    set_servers(options.pids);
    allow_open_files();
    loop_open();
    subscribers_allocate();
    return options.hold_s > 0 ? run_hold() : run_load();
}
