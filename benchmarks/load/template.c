#include "template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t put(char *to, size_t at, size_t room, const char *bytes, size_t count)
{
    if (at + count >= room) {
        fprintf(stderr, "load: a filled template is longer than %zu bytes\n", room);
        exit(2);
    }
    memcpy(to + at, bytes, count);
    return at + count;
}

static const char *value_of(char name, const struct blanks *b, char *scratch, size_t room)
{
    switch (name) {
    case 'i': snprintf(scratch, room, "%ld", b->connection); return scratch;
    case 'o': snprintf(scratch, room, "%ld", b->organization); return scratch;
    case 'f': snprintf(scratch, room, "%ld", b->filter); return scratch;
    case 'n': snprintf(scratch, room, "%ld", b->number); return scratch;
    case 't': snprintf(scratch, room, "%llu", (unsigned long long)b->stamp); return scratch;
    default: return NULL;
    }
}

size_t fill(char *to, size_t room, const char *text, const struct blanks *blanks, size_t size)
{
    size_t at = 0, pad_at = 0;
    int padded = 0;
    char scratch[32];

    while (*text) {
        const char *value = NULL;

        if (text[0] == '{' && text[1] && text[2] == '}')
            value = value_of(text[1], blanks, scratch, sizeof scratch);
        if (value) {
            at = put(to, at, room, value, strlen(value));
            text += 3;
        } else if (strncmp(text, "{pad}", 5) == 0) {
            padded = 1;
            pad_at = at;
            text += 5;
        } else {
            at = put(to, at, room, text++, 1);
        }
    }
    if (padded && at < size) {
        size_t extra = size - at;

        if (size >= room) {
            fprintf(stderr, "load: %zu bytes are more than the %zu that fit\n", size, room);
            exit(2);
        }
        memmove(to + pad_at + extra, to + pad_at, at - pad_at);
        memset(to + pad_at, 'x', extra);
        at = size;
    }
    to[at] = 0;
    return at;
}
