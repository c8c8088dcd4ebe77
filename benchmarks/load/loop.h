/* One thread, one epoll: who is ready is told to subscribers.c or publishers.c. */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { FROM_PUBLISHER = 1u << 30 }; /* marks the index of a publisher; without it, it is a subscriber's */

void loop_open(void);
void watch(int fd, uint32_t events, uint32_t who);
void watch_changed(int fd, uint32_t events, uint32_t who);
/* Handle what is ready, waiting for at most `timeout_ms`. */
void loop_once(int timeout_ms);
/* The same with a timeout in nanoseconds. */
void loop_until(const struct timespec *timeout);
/* A nonblocking socket without Nagle's delay that is connecting to the server's port from 127.0.0.x, x = 2 + source. */
int start_connecting(int source, int port);
/* End the program: there is no result. */
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
