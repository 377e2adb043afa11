/* See registration.h. */
#include "registration.h"

#include "deadline.h"
#include "failure.h"
#include "secret_file.h"
#include "show.h"

#include <stdlib.h>

#define TIMEOUT_MS 60000 /* metadata of API and server, the registration, a file written */

const char *registration_option(struct registration *r, int c, const char *value)
{
    if (c == REGISTRATION_ORIGIN)
        return command_add_value(&r->origins, value);
    r->allow_http_loopback = true;
    return NULL;
}

static int ask(struct command *cmd, const struct registration *r, const char *ca_file, const struct buffer *token,
               struct register_answer *answer, struct dpop_error *err)
{
    struct span origins[MOST_VALUES];
    for (size_t i = 0; i < r->origins.count; i++)
        origins[i] = span_text(r->origins.items[i]);
    uint32_t timeout_ms = cmd->timeout_ms != 0 ? cmd->timeout_ms : TIMEOUT_MS;
    const struct register_request in = {
        .name = span_text(r->name),
        .key = span_text(r->key),
        .issuer = span_text(r->issuer),
        .resource = span_text(r->resource),
        .client_authentication = span_text(r->client_authentication),
        .grant = span_text(r->grant),
        .scope = span_text(r->scope),
        .origins = {.items = origins, .count = r->origins.count},
        .client_name = span_text(r->client_name),
        .initial_access_token = span_text((const char *)token->data),
        .ca_file = span_text(ca_file),
        .allow_http_loopback = r->allow_http_loopback,
        .timeout = deadline_for_agent(deadline_after(timeout_ms)),
    };
    return command_call_within(cmd, timeout_ms, OPERATION_REGISTER, &message_register_request, &in,
                               &message_register_answer, answer, sizeof(*answer), err);
}

int registration_run(struct command *cmd, const struct registration *r,
                     int (*show)(const struct command *cmd, const struct register_answer *answer),
                     struct dpop_error *err)
{
    struct register_answer answer;
    struct buffer token;
    char *ca_file = NULL;
    int status = DPOP_OK;
    buffer_init(&token, 0);
    if (r->token_file != NULL)
        status = secret_file_read(&token, r->token_file, err);
    /* The agent has another working folder. */
    if (status == DPOP_OK && r->ca_file != NULL && (ca_file = realpath(r->ca_file, NULL)) == NULL)
        status = failure_set(err, STATUS_INVALID_ARGUMENT, "name a PEM file that exists", "%s cannot be opened: %m",
                             r->ca_file);
    if (status == DPOP_OK)
        status = ask(cmd, r, ca_file, &token, &answer, err);
    buffer_free(&token);
    free(ca_file);
    if (status != DPOP_OK)
        return status;
    if (show(cmd, &answer) != 0)
        status = failure_set(err, STATUS_INTERNAL, NULL, "standard output cannot be written");
    call_done(cmd->agent);
    return status == DPOP_OK ? command_await_restart(cmd, err) : status;
}

void registration_put_json(struct json *j, const struct register_answer *answer)
{
    json_span(j, "profile", answer->profile);
    json_span(j, "issuer", answer->issuer);
    json_span(j, "client_id", answer->client_id);
    json_span(j, "client_authentication", answer->client_authentication);
    json_span(j, "configuration", answer->configuration);
    json_span(j, "secret_file", answer->secret_file);
}

void registration_print(FILE *file, const struct register_answer *a)
{
    (void)fprintf(file, "profile         %.*s\nissuer          %.*s\nclient id       %.*s\n", SHOW(a->profile),
                  SHOW(a->issuer), SHOW(a->client_id));
    (void)fprintf(file, "authentication  %.*s\nconfiguration   %.*s\n", SHOW(a->client_authentication),
                  SHOW(a->configuration));
    if (a->secret_file.len > 0)
        (void)fprintf(file, "secret file     %.*s\n", SHOW(a->secret_file));
}
