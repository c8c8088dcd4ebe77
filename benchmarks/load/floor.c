/* floor PORT send|joined: the least a server on one thread can do to give every message to every subscriber.
 *
 * Owns: nothing but sockets; it knows no accounts, filters, cursors or storage, and checks nothing.
 * GET of anything subscribes (with Upgrade: a WebSocket, otherwise an event stream); POST publishes the lines of its
 * body, each as one message; the answer follows the messages.
 *   send    one send(2) per message and subscriber: the floor for servers that do not join
 *   joined  what one turn of the loop read goes to each subscriber by one send(2): the floor for those that do
 * Rule: nothing is queued here. A subscriber whose socket takes less than all is cut; the generator reports it dead.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_FILES = 1 << 16, LARGEST_REQUEST = 1 << 20, TURN_ROOM = 1 << 24, MOST_EVENTS = 256 };

/* RFC 6455 §1.3: the answer to that section's sample key, the one our generator sends. */
static const char upgraded[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
static const char streaming[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
static const char answered[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/* All subscribers of one transport, and the bytes that this turn has for them. */
struct audience {
    int members[MOST_FILES], count;
    char *turn;
    size_t length;
};

/* A request whose end has not come yet; only publishers have one for longer than a moment. */
struct request {
    char *bytes;
    size_t length;
};

static struct audience sockets, streams;
static struct audience *audience_of[MOST_FILES]; /* NULL: speaks HTTP */
static int place_in[MOST_FILES];
static struct request requests[MOST_FILES];
static int to_answer[MOST_EVENTS], answer_count; /* published in this turn; answered once it was sent */
static int poll_fd, listener;
static bool joined;
static char incoming[LARGEST_REQUEST + 1]; /* what is read lands here; a piece of a request is kept aside until the rest comes */

static void cut(int fd)
{
    struct audience *audience = audience_of[fd];

    if (audience) {
        int last = audience->members[--audience->count];

        audience->members[place_in[fd]] = last;
        place_in[last] = place_in[fd];
        audience_of[fd] = NULL;
    }
    free(requests[fd].bytes);
    requests[fd] = (struct request){0};
    close(fd);
}

static void send_turn(struct audience *audience)
{
    for (int i = audience->count - 1; i >= 0 && audience->length; i--) {
        int fd = audience->members[i];

        if (send(fd, audience->turn, audience->length, MSG_NOSIGNAL) != (ssize_t)audience->length)
            cut(fd);
    }
    audience->length = 0;
}

static void send_turns(void)
{
    send_turn(&sockets);
    send_turn(&streams);
}

static void append(struct audience *audience, const void *bytes, size_t count)
{
    if (audience->length + count > TURN_ROOM) {
        fprintf(stderr, "floor: more than %d bytes in one turn\n", TURN_ROOM);
        exit(1);
    }
    memcpy(audience->turn + audience->length, bytes, count);
    audience->length += count;
}

static void on_published(const char *message, size_t length)
{
    uint8_t head[4] = {0x81, (uint8_t)length};

    if (length < 126) {
        append(&sockets, head, 2);
    } else {
        head[1] = 126;
        head[2] = (uint8_t)(length >> 8);
        head[3] = (uint8_t)length;
        append(&sockets, head, 4);
    }
    append(&sockets, message, length);
    append(&streams, "data: ", 6);
    append(&streams, message, length);
    append(&streams, "\n\n", 2);
    if (!joined)
        send_turns();
}

static void on_post(int fd, const char *body, size_t length)
{
    const char *end = body + length;

    while (body < end) {
        const char *newline = memchr(body, '\n', (size_t)(end - body));
        const char *stop = newline ? newline : end;

        if (stop - body > 65535) {
            cut(fd);
            return;
        }
        on_published(body, (size_t)(stop - body));
        body = stop + 1;
    }
    to_answer[answer_count++] = fd;
}

static void subscribe(int fd, struct audience *audience, const char *answer, size_t length)
{
    audience_of[fd] = audience;
    place_in[fd] = audience->count;
    audience->members[audience->count++] = fd;
    if (send(fd, answer, length, MSG_NOSIGNAL) != (ssize_t)length)
        cut(fd);
}

/* Take the request at the beginning of `incoming`. False if its end has not come yet. */
static bool on_request(int fd, size_t length)
{
    const char *end = memmem(incoming, length, "\r\n\r\n", 4);
    const char *field;
    size_t head, body = 0;

    if (!end)
        return false;
    head = (size_t)(end - incoming) + 4;
    if (strncmp(incoming, "GET ", 4) == 0) {
        if (memmem(incoming, head, "Upgrade: websocket", 18))
            subscribe(fd, &sockets, upgraded, sizeof upgraded - 1);
        else
            subscribe(fd, &streams, streaming, sizeof streaming - 1);
        return true;
    }
    field = memmem(incoming, head, "\r\nContent-Length:", 17);
    if (field)
        body = strtoul(field + 17, NULL, 10);
    if (length < head + body)
        return false;
    on_post(fd, incoming + head, body);
    return true;
}

static void keep(int fd, size_t length)
{
    requests[fd].bytes = realloc(requests[fd].bytes, length);
    if (!requests[fd].bytes)
        exit(1);
    memcpy(requests[fd].bytes, incoming, length);
    requests[fd].length = length;
}

static void on_readable(int fd)
{
    size_t kept = requests[fd].length;
    ssize_t n;

    if (kept)
        memcpy(incoming, requests[fd].bytes, kept);
    n = recv(fd, incoming + kept, LARGEST_REQUEST - kept, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        cut(fd);
        return;
    }
    if (audience_of[fd])
        return; /* a subscriber has nothing to say that the floor needs to hear */
    incoming[kept + (size_t)n] = 0;
    requests[fd].length = 0;
    if (!on_request(fd, kept + (size_t)n))
        keep(fd, kept + (size_t)n);
}

static void accept_all(void)
{
    int fd, on = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

        if (fd >= MOST_FILES) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void open_listener(int port)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((uint16_t)port)};
    struct epoll_event event = {.events = EPOLLIN};
    int on = 1;

    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) != 0 || listen(listener, 4096) != 0) {
        fprintf(stderr, "floor: port %d: %s\n", port, strerror(errno));
        exit(1);
    }
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    event.data.fd = listener;
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event);
}

static void one_turn(void)
{
    struct epoll_event ready[MOST_EVENTS];
    int count = epoll_wait(poll_fd, ready, MOST_EVENTS, -1);

    for (int i = 0; i < count; i++) {
        if (ready[i].data.fd == listener)
            accept_all();
        else
            on_readable(ready[i].data.fd);
    }
    send_turns();
    for (int i = 0; i < answer_count; i++)
        if (send(to_answer[i], answered, sizeof answered - 1, MSG_NOSIGNAL) < 0)
            cut(to_answer[i]);
    answer_count = 0;
}

int main(int argc, char **argv)
{
    struct rlimit limit;

    if (argc != 3 || (strcmp(argv[2], "send") != 0 && strcmp(argv[2], "joined") != 0)) {
        fprintf(stderr, "floor PORT send|joined\n");
        return 2;
    }
    joined = strcmp(argv[2], "joined") == 0;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
    sockets.turn = malloc(TURN_ROOM);
    streams.turn = malloc(TURN_ROOM);
    if (!sockets.turn || !streams.turn)
        return 1;
    open_listener(atoi(argv[1]));
    for (;;)
        one_turn();
}
