/* The loop of a net process (main.c), for both kinds of them. */
#ifndef NET_NET_H
#define NET_NET_H

#include "tls_client.h"

/* Until the channel ends, or `tls` is broken, the front knows, and nothing is under way. `tls` NULL: none. The exit status. */
int net_serve(const struct config *config, struct channel *channel, struct tls_client *tls);

#endif
