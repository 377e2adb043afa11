/* See key_workers_world.h. */
#include "key_workers_world.h"

#include "pin_turns.h"

#include <string.h>

uint64_t now;
const struct child *killed, *waits_for_its_turn;
unsigned int recovering, refused;

uint64_t front_now(const struct front *f)
{
    (void)f;
    return now;
}

void front_wait(struct front *f)
{
    (void)f;
}

void stream_send(struct stream *s)
{
    (void)s;
}

int stream_put_descriptors(struct stream *s, const int *descriptors, size_t count)
{
    if (s->out_descriptors.count > 0)
        return -1;
    memcpy(s->out_descriptors.fds, descriptors, count * sizeof(int));
    s->out_descriptors.count = count;
    return 0;
}

void children_kill(struct children *c, struct child *child, const char *reason)
{
    (void)c;
    (void)reason;
    killed = child;
}

bool pin_turns_waits(const struct pin_turns *turns, const struct child *child)
{
    (void)turns;
    return child == waits_for_its_turn;
}

bool keys_any_ready(const struct key *key)
{
    return key->workers[0].ready || key->workers[1].ready;
}

void keys_recovering(struct key *key, const struct error *why)
{
    recovering++;
    key->state = KEY_RECOVERING;
    key->reason = *why;
}

void keys_refuse(struct key *key, const struct error *why)
{
    refused++;
    key->state = KEY_REFUSED;
    key->reason = *why;
}
