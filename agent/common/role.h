/*
 * The roles of the one binary: each process is a fresh exec with `--role ROLE [NAME]`, runs one of these functions with
 * its slice of the configuration and its channel, and returns the exit status. Children end when their channel does.
 */
#ifndef AGENT_ROLE_H
#define AGENT_ROLE_H

#include "channel.h"
#include "config.h"

int key_main(const struct key_config *key, struct channel *channel);
int net_main(const struct config *config, struct channel *channel);
int store_main(const struct config *config, struct channel *channel);
int init_main(const struct config *config, const char *configuration_path, struct channel *channel);
/* `configuration_path` NULL: not configured. CHANNEL_FD is the control channel to the supervisor, LISTEN_FD listens. */
int front_main(const struct config *config, const char *configuration_path);

#endif
