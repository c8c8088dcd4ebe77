#define _GNU_SOURCE
#include "nats.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool begins(const char *bytes, size_t count, const char *with)
{
    size_t length = strlen(with);

    return count >= length && memcmp(bytes, with, length) == 0;
}

size_t nats_operation(const char *bytes, size_t count, enum nats_kind *kind)
{
    const char *end = memmem(bytes, count, "\r\n", 2), *space;
    size_t line, length;

    if (!end)
        return 0;
    line = (size_t)(end - bytes) + 2;
    *kind = NATS_OTHER;
    if (begins(bytes, line, "PING"))
        *kind = NATS_PING;
    else if (begins(bytes, line, "PONG"))
        *kind = NATS_PONG;
    else if (begins(bytes, line, "-ERR"))
        *kind = NATS_ERROR;
    if (!begins(bytes, line, "MSG "))
        return line;
    *kind = NATS_MESSAGE;
    space = memrchr(bytes, ' ', line); /* MSG <subject> <sid> [reply] <bytes of payload> */
    length = line + strtoul(space + 1, NULL, 10) + 2;
    return length <= count ? length : 0;
}
