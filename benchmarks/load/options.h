/* What the command line asks for. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum { MOST_STEPS = 8 };

/* One exchange after the transport is open: wait for a message that contains `await`, then send `say`.
 * Either may be NULL. */
struct step {
    const char *await, *say;
};

struct options {
    int port, publish_port; /* the latter where publications go elsewhere; by default the same */
    const char *pids;
    long connections, warm_connections, organizations, filters;
    int sources, concurrency;
    bool event_stream;
    bool nats; /* NATS's protocol in the frames, and towards the port to publish to */
    const char *path;
    struct step steps[MOST_STEPS];
    int step_count;
    const char *ping, *pong; /* a text message that is answered, for protocols that ping inside of messages */
    const char *marker;      /* what stands before an event's stamp; a message without it is none */

    const char *publish_path, *event; /* with NATS the path is the subject, a template too */
    size_t size;
    bool array; /* a burst is a JSON array; otherwise one event a line */
    int burst, window, publishers;
    double rate; /* events per second; 0 is the closed loop */

    double warm_s, duration_s, timeout_s;
    double hold_s; /* above 0: measure connecting and holding, not publishing */
    long checks;   /* events published after holding, to prove that the connections live */
};

extern struct options options;

void parse_options(int argc, char **argv);

#endif
