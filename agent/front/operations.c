/* See operations.h. */
#include "operations.h"

#include "oauth_value.h"

static const struct operation_row {
    uint16_t operation;
    const char *name;
    const struct message *message;
    size_t size;
    void (*run)(struct request *r, const void *in);
} table[] = {
    {OPERATION_STATUS, "status", &message_empty, sizeof(struct empty_message), op_status},
    {OPERATION_KEYS, "keys", &message_empty, sizeof(struct empty_message), op_keys},
    {OPERATION_PROFILES, "profiles", &message_empty, sizeof(struct empty_message), op_profiles},
    {OPERATION_PROOF, "proof", &message_proof_request, sizeof(struct proof_request), op_proof},
    {OPERATION_TOKEN, "token", &message_token_request, sizeof(struct token_request), op_token},
    {OPERATION_AUTHORIZE, "authorize", &message_authorize_request, sizeof(struct authorize_request), op_authorize},
    {OPERATION_OUTCOME, "outcome", &message_outcome_request, sizeof(struct outcome_request), op_outcome},
    {OPERATION_INIT, "init", &message_init_request, sizeof(struct init_request), op_init},
};

/* Room for any of the messages above. */
union any_request {
    struct empty_message empty;
    struct proof_request proof;
    struct token_request token;
    struct authorize_request authorize;
    struct outcome_request outcome;
    struct init_request init;
};

static const struct operation_row *find(uint16_t operation)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].operation == operation)
            return &table[i];
    return NULL;
}

const char *operations_name(uint16_t operation)
{
    const struct operation_row *row = find(operation);
    return row != NULL ? row->name : "unknown";
}

void operations_run(struct request *r, struct span fields)
{
    const struct operation_row *row = find(r->operation);
    union any_request in;
    struct error err;
    if (row == NULL) {
        (void)error_set(&err, STATUS_UNKNOWN_OPERATION, "update the older of agent and client", "operation %u is not known here",
                        r->operation);
        request_fail(r, &err);
    } else if (message_take(fields, row->message, &in, row->size, &err) != STATUS_OK) {
        request_fail(r, &err);
    } else {
        row->run(r, &in);
    }
}

const struct profile_config *operations_profile(struct request *r, struct span name)
{
    struct error err;
    const struct profile_config *profile = config_profile(r->front->config, name);
    if (profile != NULL)
        return profile;
    if (r->front->configuration_path == NULL)
        (void)error_set(&err, STATUS_NOT_CONFIGURED, "dpop init makes a first key and configuration", "the agent is not configured");
    else
        (void)error_set(&err, STATUS_UNKNOWN_PROFILE, "dpop profile list shows the profiles", "there is no profile \"%.*s\"",
                        (int)name.len, (const char *)name.data);
    request_fail(r, &err);
    return NULL;
}

enum status operations_check_query(struct span scope, const struct list *resources, struct error *err)
{
    struct span item;
    size_t cursor = 0;
    if (scope.data != NULL && !oauth_scope_valid(scope))
        return error_set(err, STATUS_INVALID_ARGUMENT, "give words with blanks between them, without quotes",
                         "the scope has characters that no scope has (RFC 6749 section 3.3)");
    while (list_next(resources, &cursor, &item))
        if (!oauth_resource_valid(item))
            return error_set(err, STATUS_INVALID_ARGUMENT, "give an absolute URI without a fragment",
                             "a resource is no absolute URI (RFC 8707 section 2)");
    return STATUS_OK;
}
