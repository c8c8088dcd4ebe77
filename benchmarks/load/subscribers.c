#define _GNU_SOURCE
#include "subscribers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "nats.h"
#include "options.h"
#include "template.h"

struct receipts receipts;
struct distribution latencies;
bool latencies_wanted;

enum state { ABSENT, CONNECTING, OPENING, TALKING, READY, DEAD };
enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, LONGEST_SAY = 8192, LARGEST_REST = 1 << 18, LARGEST_READ = 1 << 18 };

struct subscriber {
    int fd;
    uint8_t state, step;
    uint32_t got, rest_length;
    uint64_t stamps;
    char *rest; /* the beginning of a message whose end has not come yet */
};

struct group {
    uint64_t events, stamps;
    long members;
};

static struct subscriber *subscribers;
static struct group *groups;
static long group_count, started, opening;
static char buffer[LARGEST_REST + LARGEST_READ];
static char last_message[256]; /* for the report, should the dialogue never end */
static size_t marker_length;

static void die(long index, const char *why)
{
    struct subscriber *s = &subscribers[index];

    if (s->state != READY)
        give_up("connection %ld: %s; last message: %s", index, why, last_message);
    fprintf(stderr, "load: connection %ld died: %s\n", index, why);
    s->state = DEAD;
    close(s->fd);
    receipts.ready--;
    receipts.dead++;
}

static void send_all(long index, const void *bytes, size_t count)
{
    if (send(subscribers[index].fd, bytes, count, MSG_NOSIGNAL) != (ssize_t)count)
        die(index, "could not send");
}

/* RFC 6455 §5.3: a client masks. The mask is zero, which leaves the bytes as they are. */
static void send_frame(long index, int opcode, const char *bytes, size_t count)
{
    uint8_t frame[LONGEST_SAY + 16];
    size_t at = 0;

    if (count > LONGEST_SAY)
        give_up("a message of %zu bytes is too long to say", count);
    frame[at++] = (uint8_t)(0x80 | opcode);
    if (count < 126) {
        frame[at++] = (uint8_t)(0x80 | count);
    } else {
        frame[at++] = 0x80 | 126;
        frame[at++] = (uint8_t)(count >> 8);
        frame[at++] = (uint8_t)count;
    }
    memset(frame + at, 0, 4);
    memcpy(frame + at + 4, bytes, count);
    send_all(index, frame, at + 4 + count);
}

static struct blanks blanks_of(long index)
{
    return (struct blanks){.connection = index, .organization = index % options.organizations,
                           .filter = index / options.organizations % options.filters};
}

/* Say what is to be said before the next message that is waited for, or be ready. */
static void advance(long index)
{
    struct subscriber *s = &subscribers[index];

    while (s->step < options.step_count && !options.steps[s->step].await) {
        struct blanks blanks = blanks_of(index);
        char text[LONGEST_SAY];

        send_frame(index, TEXT, text, fill(text, sizeof text, options.steps[s->step++].say, &blanks, 0));
    }
    if (s->step == options.step_count) {
        s->state = READY;
        opening--;
        receipts.ready++;
    }
}

static void on_dialogue(long index, const char *message, size_t length)
{
    struct subscriber *s = &subscribers[index];
    const struct step *step = &options.steps[s->step];

    snprintf(last_message, sizeof last_message, "%.*s", (int)(length < 200 ? length : 200), message);
    if (!memmem(message, length, step->await, strlen(step->await)))
        return;
    s->step++;
    if (step->say) {
        struct blanks blanks = blanks_of(index);
        char text[LONGEST_SAY];

        send_frame(index, TEXT, text, fill(text, sizeof text, step->say, &blanks, 0));
    }
    advance(index);
}

/* One whole message, or block of an event stream. */
static void on_message(struct subscriber *s, const char *message, size_t length)
{
    static size_t usual_place; /* events of one run look alike: the marker is mostly where it was */
    const char *found;
    uint64_t stamp = 0;

    if (usual_place + marker_length <= length && memcmp(message + usual_place, options.marker, marker_length) == 0)
        found = message + usual_place;
    else
        found = memmem(message, length, options.marker, marker_length);
    if (!found)
        return;
    usual_place = (size_t)(found - message);
    for (const char *digit = found + marker_length; digit < message + length && *digit >= '0' && *digit <= '9'; digit++)
        stamp = stamp * 10 + (uint64_t)(*digit - '0');
    s->got++;
    s->stamps += stamp;
    receipts.delivered++;
    receipts.delivered_bytes += length;
    if (latencies_wanted) {
        uint64_t now = now_ns();

        distribution_add(&latencies, now > stamp ? now - stamp : 0);
    }
}

static void on_text(long index, const char *message, size_t length)
{
    if (options.ping && length == strlen(options.ping) && memcmp(message, options.ping, length) == 0)
        send_frame(index, TEXT, options.pong, strlen(options.pong));
    else if (subscribers[index].state == TALKING)
        on_dialogue(index, message, length);
    else
        on_message(&subscribers[index], message, length);
}

static bool alive(long index) { return subscribers[index].state != DEAD; }

/* A frame holds as many operations as the server had at hand; each event is counted by itself. */
static void on_operations(long index, const char *bytes, size_t count)
{
    enum nats_kind kind;

    while (count && alive(index)) {
        size_t length = nats_operation(bytes, count, &kind);

        if (!length)
            give_up("connection %ld: an operation in two frames", index);
        if (kind == NATS_MESSAGE)
            on_message(&subscribers[index], bytes, length);
        else if (kind == NATS_PING)
            send_frame(index, TEXT, "PONG\r\n", 6);
        else if (kind == NATS_ERROR)
            give_up("connection %ld: %.*s", index, (int)length, bytes);
        else if (subscribers[index].state == TALKING)
            on_dialogue(index, bytes, length);
        bytes += length;
        count -= length;
    }
}

/* Handle the whole frames at the beginning of `bytes`; return how many bytes they were. */
static size_t take_frames(long index, const char *bytes, size_t count)
{
    size_t at = 0;

    while (alive(index)) {
        const uint8_t *head = (const uint8_t *)bytes + at;
        size_t left = count - at, head_length = 2, length;

        if (left < 2)
            break;
        length = head[1] & 0x7f;
        if (length >= 126) {
            size_t width = length == 126 ? 2 : 8;

            head_length += width;
            if (left < head_length)
                break;
            length = 0;
            for (size_t i = 0; i < width; i++)
                length = length << 8 | head[2 + i];
        }
        if (length > LARGEST_REST - 16)
            give_up("a frame of %zu bytes", length);
        if (left < head_length + length)
            break;
        switch (head[0] & 0x0f) {
        case TEXT:
        case BINARY: (options.nats ? on_operations : on_text)(index, bytes + at + head_length, length); break;
        case PING: send_frame(index, PONG, bytes + at + head_length, length); break;
        case CLOSE: die(index, "the server closed"); break;
        default: break;
        }
        at += head_length + length;
    }
    return at;
}

/* Chunk heads of the transfer coding stand between blocks and are read as part of the next: they disturb nothing. */
static size_t take_blocks(long index, const char *bytes, size_t count)
{
    size_t at = 0;
    const char *end;

    while (alive(index) && (end = memmem(bytes + at, count - at, "\n\n", 2))) {
        on_text(index, bytes + at, (size_t)(end - bytes) - at);
        at = (size_t)(end - bytes) + 2;
    }
    return at;
}

static size_t take_head(long index, const char *bytes, size_t count)
{
    struct subscriber *s = &subscribers[index];
    const char *end = memmem(bytes, count, "\r\n\r\n", 4);
    const char *wanted = options.event_stream ? "HTTP/1.1 200" : "HTTP/1.1 101";

    if (!end)
        return 0;
    if (strncmp(bytes, wanted, strlen(wanted)) != 0) {
        snprintf(last_message, sizeof last_message, "%.*s", (int)(count < 200 ? count : 200), bytes);
        die(index, "refused");
    }
    s->state = TALKING;
    advance(index);
    return (size_t)(end - bytes) + 4;
}

static void keep_rest(struct subscriber *s, const char *bytes, size_t count)
{
    if (count > LARGEST_REST)
        give_up("a message of more than %d bytes", LARGEST_REST);
    s->rest = realloc(s->rest, count);
    if (!s->rest)
        give_up("out of memory");
    memcpy(s->rest, bytes, count);
    s->rest_length = (uint32_t)count;
}

static void on_bytes(long index, size_t count)
{
    struct subscriber *s = &subscribers[index];
    size_t at = 0;

    if (s->state == OPENING)
        at = take_head(index, buffer, count);
    if (s->state == TALKING || s->state == READY)
        at += (options.event_stream ? take_blocks : take_frames)(index, buffer + at, count - at);
    if (alive(index) && at < count)
        keep_rest(s, buffer + at, count - at);
}

static void open_transport(long index)
{
    struct subscriber *s = &subscribers[index];
    struct blanks blanks = blanks_of(index);
    char path[LONGEST_SAY / 2], request[LONGEST_SAY];
    static const char upgrade[] = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fill(path, sizeof path, options.path, &blanks, 0);
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", path, options.port,
             options.event_stream ? "Accept: text/event-stream\r\n" : upgrade);
    s->state = OPENING;
    watch_changed(s->fd, EPOLLIN, (uint32_t)index);
    send_all(index, request, strlen(request));
}

void subscriber_ready(long index, uint32_t events)
{
    struct subscriber *s = &subscribers[index];
    size_t rest = s->rest_length;
    ssize_t count;

    if (s->state == DEAD)
        return;
    if (s->state == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP))
            die(index, "could not connect");
        open_transport(index);
        return;
    }
    if (rest)
        memcpy(buffer, s->rest, rest);
    count = recv(s->fd, buffer + rest, LARGEST_READ, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        die(index, count ? strerror(errno) : "the server ended the connection");
        return;
    }
    s->rest_length = 0;
    on_bytes(index, rest + (size_t)count);
    if (!s->rest_length && s->rest) {
        free(s->rest);
        s->rest = NULL;
    }
}

void subscribers_allocate(void)
{
    group_count = options.organizations * options.filters;
    subscribers = calloc((size_t)options.connections, sizeof *subscribers);
    groups = calloc((size_t)group_count, sizeof *groups);
    if (!subscribers || !groups)
        give_up("out of memory");
    marker_length = strlen(options.marker);
}

void subscribers_connect(long count)
{
    uint64_t deadline = now_ns() + (uint64_t)(options.timeout_s * 1e9);

    while (receipts.ready + receipts.dead < count) {
        while (started < count && opening < options.concurrency) {
            struct subscriber *s = &subscribers[started];

            s->fd = start_connecting((int)(started % options.sources), options.port);
            s->state = CONNECTING;
            watch(s->fd, EPOLLOUT, (uint32_t)started);
            groups[started % group_count].members++;
            started++;
            opening++;
        }
        loop_once(100);
        if (now_ns() > deadline)
            give_up("%ld of %ld connections ready in time; last message: %s", receipts.ready, count, last_message);
    }
}

void subscribers_expect(long number, uint64_t stamp)
{
    struct group *group = &groups[number % group_count];

    group->events++;
    group->stamps += stamp;
    receipts.expected += (uint64_t)group->members;
}

struct verdict subscribers_verdict(void)
{
    struct verdict verdict = {0};

    for (long i = 0; i < started; i++) {
        const struct subscriber *s = &subscribers[i];
        const struct group *group = &groups[i % group_count];

        if (s->got < group->events)
            verdict.missing += group->events - s->got;
        else if (s->got > group->events)
            verdict.extra += s->got - group->events;
        else if (s->stamps != group->stamps)
            verdict.garbled++;
    }
    return verdict;
}
