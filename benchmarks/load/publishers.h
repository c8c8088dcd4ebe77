/* The connections that publish: HTTP/1.1 POST with keep-alive, or NATS's protocol, one request in flight on each.
 *
 * Rule: a request that is not answered 2xx ends the run: what was accepted would be unknown.
 */
#ifndef PUBLISHERS_H
#define PUBLISHERS_H

#include <stdbool.h>
#include <stdint.h>

#include "measure.h"

extern uint64_t published;           /* events sent so far */
extern struct distribution answers;  /* request sent → answered */

void publishers_connect(void);
void publisher_ready(int index, uint32_t events);
/* Send the next `count` events in one request. Each gets a stamp of its own, not before `due_ns` (0: now).
 * False if no publisher is free. */
bool publish(int count, uint64_t due_ns);
bool publishers_idle(void);

#endif
