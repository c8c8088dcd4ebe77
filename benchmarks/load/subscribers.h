/* The connections that receive.
 *
 * Owns: opening them, their subscribe dialogue, recognizing events in what they read, the account of what each should
 * have got.   Not: publishing, when to stop.
 * Rule 1: an event is counted where it lies in the receive buffer; nothing is copied or allocated per delivery but the
 * piece of a message that a read cut off.
 * Rule 2: each connection keeps the number and the sum of the stamps it saw, so that one lost and one repeated event do
 * not cancel out.
 */
#ifndef SUBSCRIBERS_H
#define SUBSCRIBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "measure.h"

struct receipts {
    uint64_t delivered, delivered_bytes; /* events, and the bytes of the messages that carried them */
    uint64_t expected;                   /* events times the connections that should get them */
    long ready, dead;
};

struct verdict {
    uint64_t missing, extra;
    long garbled; /* connections with the right number of events, but not the right ones */
};

extern struct receipts receipts;
extern struct distribution latencies; /* stamp → read */
extern bool latencies_wanted;

void subscribers_allocate(void);
/* Connect until `count` of all are there, wait until each is subscribed; ends the program if one fails. */
void subscribers_connect(long count);
void subscriber_ready(long index, uint32_t events);
/* Note that event `number` is on its way to its group. */
void subscribers_expect(long number, uint64_t stamp);
struct verdict subscribers_verdict(void);

#endif
