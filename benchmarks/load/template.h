/* Texts with blanks: {i} connection, {o} organization, {f} filter, {n} number of the event, {t} its stamp, {pad}.
 *
 * Rule: who is connection i belongs to organization i mod O and filter (i / O) mod F, and so to group i mod (O * F);
 * event n is of group n mod (O * F), and so reaches exactly the connections of that group.
 */
#ifndef TEMPLATE_H
#define TEMPLATE_H

#include <stddef.h>
#include <stdint.h>

struct blanks {
    long connection, organization, filter, number;
    uint64_t stamp;
};

/* Write `text` with its blanks filled to `to` and return its length. {pad} makes the result `size` bytes long if that is
 * more than it would be. Ends the program if it does not fit into `room`. */
size_t fill(char *to, size_t room, const char *text, const struct blanks *blanks, size_t size);

#endif
