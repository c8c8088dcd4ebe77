#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options options = {
    .organizations = 1,
    .filters = 1,
    .sources = 8,
    .concurrency = 64,
    .path = "/ws",
    .marker = "stamp=",
    .publish_path = "/publish",
    .event = "{\"stamp\":\"stamp={t}\",\"pad\":\"{pad}\"}",
    .size = 200,
    .burst = 1,
    .window = 1,
    .warm_s = 0.5,
    .duration_s = 2,
    .timeout_s = 60,
    .checks = 1,
};

static const char usage_text[] =
    "load --port P --pids PID,… --connections N [options]: one JSON line on stdout; exit 0, 1 no result, 2 usage\n"
    "  --path T  --sse                     where to subscribe; as an event stream instead of WebSocket\n"
    "  --nats                              NATS's protocol in the frames; publishes by it too: --publish-path is the subject\n"
    "  --await S  --say T                  after opening, in this order and up to 8 times: wait for a message with S, send T\n"
    "  --pong PING=PONG                    answer the text message PING by PONG\n"
    "  --organizations O  --filters F      spread the connections; templates: {i} {o} {f}, events also {n} {t} {pad}\n"
    "  --sources K  --concurrency K        client addresses 127.0.0.2 …; connecting at a time\n"
    "  --publish-path T  --publish-port P  --event T  --size B  --marker S  --array\n"
    "  --window W --burst K                closed loop: W events on their way, K in one request\n"
    "  --rate R                            open loop: R events per second\n"
    "  --publishers P                      default: as many as the window has bursts, at most 64\n"
    "  --warm S --duration S --timeout S   seconds\n"
    "  --hold S --warm-connections N --checks K   memory and cost of connecting; then K events to see them alive\n";

static void refuse(const char *why, const char *what)
{
    fprintf(stderr, "load: %s%s\n%s", why, what, usage_text);
    exit(2);
}

static double number(const char *name, const char *text, double least)
{
    char *end;
    double value = strtod(text, &end);

    if (*end || end == text || value < least)
        refuse(name, ": not a number that makes sense");
    return value;
}

static void add_await(const char *text)
{
    if (options.step_count == MOST_STEPS)
        refuse("too many steps", "");
    options.steps[options.step_count++] = (struct step){.await = text};
}

static void add_say(const char *text)
{
    if (!options.step_count || options.steps[options.step_count - 1].say)
        add_await(NULL);
    options.steps[options.step_count - 1].say = text;
}

static void set_pong(char *text)
{
    char *equals = strchr(text, '=');

    if (!equals)
        refuse("--pong wants PING=PONG, not ", text);
    *equals = 0;
    options.ping = text;
    options.pong = equals + 1;
}

enum {
    PORT = 256, PIDS, CONNECTIONS, PATH, SSE, NATS, AWAIT, SAY, PONG, ORGANIZATIONS, FILTERS, SOURCES, CONCURRENCY,
    PUBLISH_PATH, PUBLISH_PORT, EVENT, SIZE, MARKER, ARRAY, WINDOW, BURST, RATE, PUBLISHERS, WARM, DURATION, TIMEOUT, HOLD,
    WARM_CONNECTIONS, CHECKS,
};

static const struct option known[] = {
    {"port", 1, 0, PORT}, {"pids", 1, 0, PIDS}, {"connections", 1, 0, CONNECTIONS}, {"path", 1, 0, PATH},
    {"sse", 0, 0, SSE}, {"nats", 0, 0, NATS}, {"await", 1, 0, AWAIT}, {"say", 1, 0, SAY}, {"pong", 1, 0, PONG},
    {"organizations", 1, 0, ORGANIZATIONS}, {"filters", 1, 0, FILTERS}, {"sources", 1, 0, SOURCES},
    {"concurrency", 1, 0, CONCURRENCY}, {"publish-path", 1, 0, PUBLISH_PATH},
    {"publish-port", 1, 0, PUBLISH_PORT}, {"event", 1, 0, EVENT},
    {"size", 1, 0, SIZE}, {"marker", 1, 0, MARKER}, {"array", 0, 0, ARRAY}, {"window", 1, 0, WINDOW},
    {"burst", 1, 0, BURST}, {"rate", 1, 0, RATE}, {"publishers", 1, 0, PUBLISHERS}, {"warm", 1, 0, WARM},
    {"duration", 1, 0, DURATION}, {"timeout", 1, 0, TIMEOUT}, {"hold", 1, 0, HOLD},
    {"warm-connections", 1, 0, WARM_CONNECTIONS}, {"checks", 1, 0, CHECKS}, {0, 0, 0, 0},
};

static void set(int option, char *text)
{
    switch (option) {
    case PORT: options.port = (int)number("--port", text, 1); break;
    case PIDS: options.pids = text; break;
    case CONNECTIONS: options.connections = (long)number("--connections", text, 1); break;
    case PATH: options.path = text; break;
    case SSE: options.event_stream = true; break;
    case NATS: options.nats = true; break;
    case AWAIT: add_await(text); break;
    case SAY: add_say(text); break;
    case PONG: set_pong(text); break;
    case ORGANIZATIONS: options.organizations = (long)number("--organizations", text, 1); break;
    case FILTERS: options.filters = (long)number("--filters", text, 1); break;
    case SOURCES: options.sources = (int)number("--sources", text, 1); break;
    case CONCURRENCY: options.concurrency = (int)number("--concurrency", text, 1); break;
    case PUBLISH_PATH: options.publish_path = text; break;
    case PUBLISH_PORT: options.publish_port = (int)number("--publish-port", text, 1); break;
    case EVENT: options.event = text; break;
    case SIZE: options.size = (size_t)number("--size", text, 0); break;
    case MARKER: options.marker = text; break;
    case ARRAY: options.array = true; break;
    case WINDOW: options.window = (int)number("--window", text, 1); break;
    case BURST: options.burst = (int)number("--burst", text, 1); break;
    case RATE: options.rate = number("--rate", text, 0.001); break;
    case PUBLISHERS: options.publishers = (int)number("--publishers", text, 1); break;
    case WARM: options.warm_s = number("--warm", text, 0); break;
    case DURATION: options.duration_s = number("--duration", text, 0.001); break;
    case TIMEOUT: options.timeout_s = number("--timeout", text, 1); break;
    case HOLD: options.hold_s = number("--hold", text, 0.001); break;
    case WARM_CONNECTIONS: options.warm_connections = (long)number("--warm-connections", text, 0); break;
    case CHECKS: options.checks = (long)number("--checks", text, 0); break;
    default: refuse("unknown option", "");
    }
}

void parse_options(int argc, char **argv)
{
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
        set(option, optarg);
    if (optind < argc)
        refuse("what is this: ", argv[optind]);
    if (!options.port || !options.pids || !options.connections)
        refuse("--port, --pids and --connections are needed", "");
    if (!options.publish_port)
        options.publish_port = options.port;
    if (options.sources > 250)
        refuse("at most 250 sources", "");
    if (options.event_stream)
        for (int i = 0; i < options.step_count; i++)
            if (options.steps[i].say)
                refuse("an event stream has nothing to --say", "");
    if (options.burst > options.window)
        options.window = options.burst;
    if (options.burst > 1 && options.organizations * options.filters > 1)
        refuse("a burst belongs to one group: not together with several organizations or filters", "");
    if (options.warm_connections >= options.connections)
        refuse("--warm-connections must be fewer than --connections", "");
    if (!options.publishers) {
        int bursts = options.window / options.burst;

        options.publishers = options.rate > 0 ? 16 : bursts < 64 ? bursts : 64;
    }
}
