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

#define MOST_VALUES 16 /* of one option that may be repeated */

struct command {
    const char *socket; /* NULL: wherever an agent is found */
    bool json;
    uint32_t timeout_ms; /* of each call of the agent; 0: the default */
    struct dpop_agent *agent;
    void *options; /* the verb's own struct, zeroed before the first option; freed by main */
};

/* An option whose value is kept as it is. A table ends with a row of zeros. */
struct text_option {
    int c;
    size_t offset; /* of a const char * in the verb's struct */
};

/* The values of an option that may be repeated, NULL-terminated. */
struct option_values {
    const char *items[MOST_VALUES + 1];
    size_t count;
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
    const struct text_option *texts; /* options that main stores; may be NULL */
    const char *(*option)(struct command *cmd, int c, char *value); /* the others: NULL, or what is wrong with it */
    int (*run)(struct command *cmd, char **operands, int count);
    void (*clear)(void *options); /* frees what the options hold; may be NULL */
};

extern const struct verb verb_init, verb_status, verb_login, verb_logout, verb_register, verb_reload, verb_key_list,
    verb_key_show, verb_key_csr, verb_key_cert, verb_key_generate, verb_key_import, verb_key_delete, verb_key_rotate,
    verb_unlock, verb_lock, verb_profile_list, verb_profile_test, verb_proof, verb_token, verb_introspect, verb_headers,
    verb_request, verb_trace;

/* Connects once. A status; `err` is filled. */
int command_connect(struct command *cmd, struct dpop_error *err);
/* One operation outside the public library; the answer's spans live until call_done(cmd->agent). */
int command_call(struct command *cmd, uint16_t operation, const struct message *request, const void *in,
                 const struct message *answer, void *out, size_t out_size, struct dpop_error *err);
/* The same with a deadline of its own. */
int command_call_within(struct command *cmd, uint32_t timeout_ms, uint16_t operation, const struct message *request,
                        const void *in, const struct message *answer, void *out, size_t out_size,
                        struct dpop_error *err);
uint32_t command_timeout(const struct command *cmd); /* the field `timeout` of a request that is made now */
/* After register and reload: waits until the agent has dropped the connection and serves again, at most 10 s. */
int command_await_restart(struct command *cmd, struct dpop_error *err);
/* One more value: NULL, or what is wrong with it. */
const char *command_add_value(struct option_values *values, const char *value);
/* A whole number of seconds from 1 to `max`; -1: it is none. */
int command_seconds(const char *text, uint32_t max, uint32_t *out);
/* Decodes one item of a list that holds messages. */
int command_item(struct span item, const struct message *m, void *out, size_t out_size, struct dpop_error *err);

#endif
