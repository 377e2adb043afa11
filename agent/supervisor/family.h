/*
 * The children that belong together: one front, and behind it net, store and the key processes (see supervisor.h).
 */
#ifndef SUPERVISOR_FAMILY_H
#define SUPERVISOR_FAMILY_H

#include "config.h"
#include "kept_pins.h"

#include <systemd/sd-event.h>

struct family;

/* What the family needs from its supervisor; called from the event loop. */
struct family_events {
    void (*ended)(void *context);         /* the front and every child are gone, after family_stop */
    void (*failed)(void *context);        /* the front ended by itself: start the family anew */
    enum status (*reload_check)(void *context, struct error *err); /* the front asks: could the configuration be used
                                                                      now? */
    void (*reload_go)(void *context);     /* the front says: use the one that was found good */
    void *context;
};

struct family_options {
    const struct config *config;
    const char *configuration_path;
    bool configured;          /* the file exists: its path is shown as the configuration */
    const char *state_folder; /* the default, when the configuration names none */
    int listen_fd;
    struct kept_pins *pins;
    uint64_t started;         /* when the agent was, microseconds of CLOCK_BOOTTIME */
};

enum status family_start(sd_event *event, const struct family_options *options, const struct family_events *events,
                         struct family **out, struct error *err) MUST_CHECK;
void family_stop(struct family *f); /* asks the front to end; `ended` is called when all are gone */
void family_free(struct family *f); /* kills what is left */

#endif
