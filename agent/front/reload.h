/*
 * A new configuration, all or nothing, in two steps: the supervisor reads and checks it whole and says what it found; if it
 * is good, `done` answers whoever asked, and then the supervisor replaces all processes with new ones, this one too. What
 * it then uses is what it has checked. Where it is not good nothing changes.
 *
 * For the operations that change the configuration (init, register) and for `reload` itself.
 */
#ifndef FRONT_RELOAD_H
#define FRONT_RELOAD_H

#include "front.h"

/* Called once. `err` NULL: the configuration is good, and this process ends a moment after the return: now is the time to
   answer. Otherwise what is wrong with it, and everything stays as it is. */
typedef void (*reload_done)(void *context, const struct error *err);

void reload_start(struct front *f, reload_done done, void *context);

#endif
