/* NATS's client protocol, as far as a benchmark speaks it: lines, and MSG with a payload behind its line.
 * https://docs.nats.io/reference/reference-protocols/nats-protocol */
#ifndef NATS_H
#define NATS_H

#include <stddef.h>

#define NATS_CONNECT "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n"

enum nats_kind { NATS_MESSAGE, NATS_PING, NATS_PONG, NATS_ERROR, NATS_OTHER };

/* The length of the operation at the beginning of `bytes`, with its line ends; 0 if not all of it is there. */
size_t nats_operation(const char *bytes, size_t count, enum nats_kind *kind);

#endif
