/*
 * The roles of the one binary: each process is a fresh exec with `--role ROLE [NAME]`, runs one of these functions with
 * its slice of the configuration and its channel, and returns the exit status. Children end when their channel does.
 */
#ifndef AGENT_ROLE_H
#define AGENT_ROLE_H

#include "channel.h"
#include "config.h"

int key_main(const struct config *config, struct channel *channel); /* one key, and no other */
int net_main(const struct config *config, struct channel *channel);
int net_tls_main(const struct config *config, struct channel *channel); /* one profile with its client key, and no
                                                                           other */
int store_main(const struct config *config, struct channel *channel);
/* `check`: what a whole configuration must mean, before one is put in place (the supervisor's config_check). */
typedef enum status (*config_checker)(const struct config *config, struct error *err);
int init_main(const struct config *config, const char *configuration_path, config_checker check,
              struct channel *channel);
/* `configuration_path` NULL: not configured. CHANNEL_FD is the control channel to the supervisor, LISTEN_FD listens. */
int front_main(const struct config *config, const char *configuration_path);

/* The front's environment says when the agent was started, in microseconds of CLOCK_BOOTTIME: a reload replaces the
   front. */
#define STARTED_VARIABLE "DPOP_AGENT_STARTED"

#endif
