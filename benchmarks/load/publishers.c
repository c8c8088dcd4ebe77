#define _GNU_SOURCE
#include "publishers.h"

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
#include "subscribers.h"
#include "template.h"

enum { MOST_PUBLISHERS = 256, LARGEST_EVENT = 1 << 16, LARGEST_ANSWER = 1 << 18, HEAD_ROOM = 512 };

struct publisher {
    int fd;
    bool open, busy;
    uint64_t sent_at;
    char *request, *answer;
    size_t request_length, request_sent, answer_length;
};

uint64_t published;
struct distribution answers;

static struct publisher publishers[MOST_PUBLISHERS];
static int open_count, busy_count;
static size_t request_room;
static uint64_t last_stamp;

bool publishers_idle(void) { return busy_count == 0; }

static void flush(int index)
{
    struct publisher *p = &publishers[index];
    uint32_t who = (uint32_t)index | FROM_PUBLISHER;

    while (p->request_sent < p->request_length) {
        ssize_t n = send(p->fd, p->request + p->request_sent, p->request_length - p->request_sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            watch_changed(p->fd, EPOLLIN | EPOLLOUT, who);
            return;
        }
        if (n < 0)
            give_up("publishing: %s", strerror(errno));
        p->request_sent += (size_t)n;
    }
}

/* The length of the answer at the beginning of `bytes` if all of it is there, else 0. */
static size_t whole_answer(const char *bytes, size_t count)
{
    const char *end = memmem(bytes, count, "\r\n\r\n", 4);
    size_t head, body = 0;
    const char *field;

    if (!end)
        return 0;
    head = (size_t)(end - bytes) + 4;
    field = strcasestr(bytes, "\r\ncontent-length:");
    if (!field || field >= end)
        give_up("an answer without Content-Length: %.*s", (int)(head < 400 ? head : 400), bytes);
    body = strtoul(field + strlen("\r\ncontent-length:"), NULL, 10);
    return head + body <= count ? head + body : 0;
}

static void on_answer(struct publisher *p)
{
    distribution_add(&answers, now_ns() - p->sent_at);
    p->busy = false;
    busy_count--;
}

static void take_response(struct publisher *p)
{
    if (!p->busy || !whole_answer(p->answer, p->answer_length))
        return;
    if (strncmp(p->answer, "HTTP/1.1 2", 10) != 0)
        give_up("a publication was refused: %.*s", 600, p->answer);
    p->answer_length = 0;
    on_answer(p);
}

static void say(struct publisher *p, const char *text)
{
    if (send(p->fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
        give_up("publishing: %s", strerror(errno));
}

/* NATS answers no publication: a PING behind it is answered when the server has taken it. */
static void take_operations(struct publisher *p)
{
    size_t at = 0, length;
    enum nats_kind kind;

    while ((length = nats_operation(p->answer + at, p->answer_length - at, &kind))) {
        if (kind == NATS_ERROR)
            give_up("a publication was refused: %.*s", (int)length, p->answer + at);
        if (kind == NATS_PING)
            say(p, "PONG\r\n");
        if (kind == NATS_PONG && p->busy)
            on_answer(p);
        at += length;
    }
    p->answer_length -= at;
    memmove(p->answer, p->answer + at, p->answer_length);
}

void publisher_ready(int index, uint32_t events)
{
    struct publisher *p = &publishers[index];
    ssize_t n;

    if (!p->open) {
        if (events & (EPOLLERR | EPOLLHUP))
            give_up("a publisher could not connect");
        p->open = true;
        open_count++;
        watch_changed(p->fd, EPOLLIN, (uint32_t)index | FROM_PUBLISHER);
        if (options.nats)
            say(p, NATS_CONNECT);
        return;
    }
    if (events & EPOLLOUT) {
        watch_changed(p->fd, EPOLLIN, (uint32_t)index | FROM_PUBLISHER);
        flush(index);
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    n = recv(p->fd, p->answer + p->answer_length, LARGEST_ANSWER - 1 - p->answer_length, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        if (p->busy)
            give_up("the server closed a publisher's connection");
        /* Servers end connections on which nothing is asked for a while; those of an open loop may wait that long. */
        close(p->fd);
        p->open = false;
        p->answer_length = 0;
        open_count--;
        p->fd = start_connecting(0, options.publish_port);
        watch(p->fd, EPOLLOUT, (uint32_t)index | FROM_PUBLISHER);
        return;
    }
    p->answer_length += (size_t)n;
    p->answer[p->answer_length] = 0;
    (options.nats ? take_operations : take_response)(p);
}

void publishers_connect(void)
{
    uint64_t deadline = now_ns() + (uint64_t)(options.timeout_s * 1e9);

    if (options.publishers > MOST_PUBLISHERS)
        give_up("at most %d publishers", MOST_PUBLISHERS);
    request_room = HEAD_ROOM + (size_t)options.burst * (LARGEST_EVENT / 8 + options.size);
    for (int i = 0; i < options.publishers; i++) {
        publishers[i].request = malloc(request_room);
        publishers[i].answer = malloc(LARGEST_ANSWER);
        if (!publishers[i].request || !publishers[i].answer)
            give_up("out of memory");
        publishers[i].fd = start_connecting(0, options.publish_port);
        watch(publishers[i].fd, EPOLLOUT, (uint32_t)i | FROM_PUBLISHER);
    }
    while (open_count < options.publishers) {
        loop_once(100);
        if (now_ns() > deadline)
            give_up("the publishers could not connect in time");
    }
}

static uint64_t next_stamp(uint64_t due_ns)
{
    uint64_t stamp = due_ns ? due_ns : now_ns();

    if (stamp <= last_stamp)
        stamp = last_stamp + 1;
    return last_stamp = stamp;
}

/* Between events, before the first and after the last. */
static size_t separator(char *to, int before, int count)
{
    if (options.nats || count == 1 || (!options.array && (!before || before == count)))
        return 0;
    *to = !options.array ? '\n' : !before ? '[' : before == count ? ']' : ',';
    return 1;
}

static size_t write_event(char *to, size_t room, const struct blanks *blanks)
{
    char head[HEAD_ROOM], subject[HEAD_ROOM / 2];
    size_t head_length, length;

    if (!options.nats)
        return fill(to, room, options.event, blanks, options.size);
    fill(subject, sizeof subject, options.publish_path, blanks, 0);
    length = fill(to + HEAD_ROOM, room - HEAD_ROOM - 2, options.event, blanks, options.size);
    head_length = (size_t)snprintf(head, sizeof head, "PUB %s %zu\r\n", subject, length);
    memcpy(to, head, head_length);
    memmove(to + head_length, to + HEAD_ROOM, length);
    memcpy(to + head_length + length, "\r\n", 2);
    return head_length + length + 2;
}

static size_t write_events(char *to, size_t room, int count, uint64_t due_ns)
{
    size_t at = 0;

    for (int i = 0; i < count; i++) {
        long number = (long)published++;
        long group = number % (options.organizations * options.filters);
        struct blanks blanks = {.number = number, .organization = group % options.organizations,
                                .filter = group / options.organizations, .stamp = next_stamp(due_ns)};

        at += separator(to + at, i, count);
        at += write_event(to + at, room - at, &blanks);
        subscribers_expect(number, blanks.stamp);
    }
    return at + separator(to + at, count, count);
}

static void write_post(struct publisher *p, int count, uint64_t due_ns)
{
    char head[HEAD_ROOM];
    size_t body_length = write_events(p->request + HEAD_ROOM, request_room - HEAD_ROOM - 2, count, due_ns);
    size_t head_length = (size_t)snprintf(head, sizeof head,
                                          "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                                          "Content-Length: %zu\r\n\r\n",
                                          options.publish_path, options.publish_port, body_length);

    if (head_length >= sizeof head)
        give_up("the path to publish to is too long");
    memcpy(p->request, head, head_length);
    memmove(p->request + head_length, p->request + HEAD_ROOM, body_length);
    p->request_length = head_length + body_length;
}

static void write_operations(struct publisher *p, int count, uint64_t due_ns)
{
    static const char ping[] = "PING\r\n";

    p->request_length = write_events(p->request, request_room - sizeof ping, count, due_ns);
    memcpy(p->request + p->request_length, ping, strlen(ping));
    p->request_length += strlen(ping);
}

bool publish(int count, uint64_t due_ns)
{
    struct publisher *p = NULL;
    int index;

    for (index = 0; index < options.publishers && !p; index++)
        if (publishers[index].open && !publishers[index].busy)
            p = &publishers[index];
    if (!p)
        return false;
    (options.nats ? write_operations : write_post)(p, count, due_ns);
    p->request_sent = 0;
    p->sent_at = now_ns();
    p->busy = true;
    busy_count++;
    flush((int)(p - publishers));
    return true;
}
