#define _GNU_SOURCE
#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "options.h"
#include "publishers.h"
#include "subscribers.h"

static int poll_fd = -1;

void give_up(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void loop_open(void)
{
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poll_fd < 0)
        give_up("epoll_create1: %s", strerror(errno));
}

static void control(int operation, int fd, uint32_t events, uint32_t who)
{
    struct epoll_event event = {.events = events, .data.u32 = who};

    if (epoll_ctl(poll_fd, operation, fd, &event) != 0)
        give_up("epoll_ctl: %s", strerror(errno));
}

void watch(int fd, uint32_t events, uint32_t who) { control(EPOLL_CTL_ADD, fd, events, who); }
void watch_changed(int fd, uint32_t events, uint32_t who) { control(EPOLL_CTL_MOD, fd, events, who); }

void loop_until(const struct timespec *timeout)
{
    struct epoll_event ready[256];
    int count = epoll_pwait2(poll_fd, ready, 256, timeout, NULL);

    if (count < 0 && errno != EINTR)
        give_up("epoll_pwait2: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        uint32_t who = ready[i].data.u32;

        if (who & FROM_PUBLISHER)
            publisher_ready((int)(who & ~(uint32_t)FROM_PUBLISHER), ready[i].events);
        else
            subscriber_ready((long)who, ready[i].events);
    }
}

void loop_once(int timeout_ms)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};

    loop_until(&timeout);
}

int start_connecting(int source, int port)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)source)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

    if (fd < 0)
        give_up("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* Without this, bind takes a port that no other connection from that address may have, and they run out. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0)
        give_up("bind: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        give_up("connect: %s", strerror(errno));
    return fd;
}
