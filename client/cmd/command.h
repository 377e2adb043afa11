/*
 * The dpop command: a table of verbs (main.c), one file per verb (verb_*.c), and what a verb is given to work with.
 *
 * A verb parses its own options one at a time, talks to the agent through `command_*`, prints its result (text for
 * people, or one JSON value) and returns the command's exit status. Errors go through report.h, which knows both
 * forms.
 */
#ifndef CMD_COMMAND_H
#define CMD_COMMAND_H

#include "dpop-agent.h"
#include "internal.h"

#include <getopt.h>
#include <stdbool.h>

/* Exit statuses; 1 to 6 are enum dpop_class. */
#define EXIT_HTTP_ERROR 22 /* dpop request: the final answer's HTTP status is 400 or more; as curl --fail */

struct command {
    const char *socket; /* NULL: wherever an agent is found */
    bool json;
    uint32_t timeout_ms; /* of each call of the agent; 0: the default */
    struct dpop_agent *agent;
    void *options; /* the verb's own struct, zeroed before the first option; freed by main */
};

struct verb {
    const char *name;      /* "key show" */
    const char *arguments; /* "KEY" */
    const char *summary;
    const char *help; /* the verb's own options, a line each; may be "" */
    const char *short_options;
    const struct option *long_options; /* ends with a row of zeros; NULL: none */
    int min_operands, max_operands;
    size_t options_size;
    const char *(*option)(struct command *cmd, int c, char *value); /* NULL, or what is wrong with it */
    int (*run)(struct command *cmd, char **operands, int count);
    void (*clear)(void *options); /* frees what the options hold; may be NULL */
};

extern const struct verb verb_init, verb_status, verb_key_list, verb_key_show, verb_profile_list, verb_proof,
    verb_token, verb_headers, verb_request;

/* Connects once. A status; `err` is filled. */
int command_connect(struct command *cmd, struct dpop_error *err);
/* One operation outside the public library; the answer's spans live until call_done(cmd->agent). */
int command_call(struct command *cmd, uint16_t operation, const struct message *request, const void *in,
                 const struct message *answer, void *out, size_t out_size, struct dpop_error *err);
/* A whole number of seconds from 1 to `max`; -1: it is none. */
int command_seconds(const char *text, uint32_t max, uint32_t *out);
/* Decodes one item of a list that holds messages. */
int command_item(struct span item, const struct message *m, void *out, size_t out_size, struct dpop_error *err);

#endif
