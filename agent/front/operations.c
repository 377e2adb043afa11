/* See operations.h. */
#include "operations.h"

#include "keys.h"
#include "oauth_value.h"

#include <unistd.h>

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
    {OPERATION_LOGIN_BEGIN, "login begin", &message_login_begin_request, sizeof(struct login_begin_request),
     op_login_begin},
    {OPERATION_LOGIN_WAIT, "login wait", &message_login_wait_request, sizeof(struct login_wait_request), op_login_wait},
    {OPERATION_LOGIN_REDIRECT, "login redirect", &message_login_redirect_request, sizeof(struct login_redirect_request),
     op_login_redirect},
    {OPERATION_LOGIN_CANCEL, "login cancel", &message_login_cancel_request, sizeof(struct login_cancel_request),
     op_login_cancel},
    {OPERATION_LOGOUT, "logout", &message_logout_request, sizeof(struct logout_request), op_logout},
    {OPERATION_TRACE, "trace", &message_trace_request, sizeof(struct trace_request), op_trace},
    {OPERATION_INTROSPECT, "introspect", &message_introspect_request, sizeof(struct introspect_request), op_introspect},
    {OPERATION_PROFILE_TEST, "profile test", &message_profile_test_request, sizeof(struct profile_test_request),
     op_profile_test},
    {OPERATION_REGISTER, "register", &message_register_request, sizeof(struct register_request), op_register},
    {OPERATION_KEY_CSR, "key csr", &message_key_csr_request, sizeof(struct key_csr_request), op_key_csr},
    {OPERATION_KEY_CERT, "key cert", &message_key_cert_request, sizeof(struct key_cert_request), op_key_cert},
    {OPERATION_RELOAD, "reload", &message_empty, sizeof(struct empty_message), op_reload},
    {OPERATION_UNLOCK, "unlock", &message_unlock_request, sizeof(struct unlock_request), op_unlock},
    {OPERATION_LOCK, "lock", &message_lock_request, sizeof(struct lock_request), op_lock},
    {OPERATION_KEY_GENERATE, "key generate", &message_key_generate_request, sizeof(struct key_generate_request),
     op_key_generate},
    {OPERATION_KEY_IMPORT, "key import", &message_key_import_request, sizeof(struct key_import_request), op_key_import},
    {OPERATION_KEY_DELETE, "key delete", &message_key_delete_request, sizeof(struct key_delete_request), op_key_delete},
    {OPERATION_KEY_PREPARE, "key prepare", &message_key_prepare_request, sizeof(struct key_prepare_request),
     op_key_prepare},
    {OPERATION_KEY_COMMIT, "key commit", &message_key_commit_request, sizeof(struct key_commit_request), op_key_commit},
};

/* Room for any of the messages above. */
union any_request {
    struct empty_message empty;
    struct proof_request proof;
    struct token_request token;
    struct authorize_request authorize;
    struct outcome_request outcome;
    struct init_request init;
    struct login_begin_request login_begin;
    struct login_wait_request login_wait;
    struct login_redirect_request login_redirect;
    struct login_cancel_request login_cancel;
    struct logout_request logout;
    struct introspect_request introspect;
    struct profile_test_request profile_test;
    struct trace_request trace;
    struct register_request registration;
    struct key_csr_request key_csr;
    struct key_cert_request key_cert;
    struct key_generate_request key_generate;
    struct key_import_request key_import;
    struct key_delete_request key_delete;
    struct key_prepare_request key_prepare;
    struct key_commit_request key_commit;
    struct unlock_request unlock;
    struct lock_request lock;
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
        (void)error_set(&err, STATUS_UNKNOWN_OPERATION, "update the older of agent and client",
                        "operation %u is not known here", r->operation);
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
        (void)error_set(&err, STATUS_NOT_CONFIGURED, "dpop init makes a first key and configuration",
                        "the agent is not configured");
    else
        (void)error_set(&err, STATUS_UNKNOWN_PROFILE, "dpop profile list shows the profiles",
                        "there is no profile \"%.*s\"", (int)name.len, (const char *)name.data);
    request_fail(r, &err);
    return NULL;
}

struct key *operations_key(struct request *r, struct span name)
{
    struct front *f = r->front;
    struct error err;
    struct key *key = name.data != NULL ? keys_find(f->keys, name) : keys_only(f->keys);
    if (key != NULL)
        return key;
    if (f->configuration_path == NULL)
        (void)error_set(&err, STATUS_NOT_CONFIGURED, "dpop init makes a first key and configuration",
                        "the agent is not configured");
    else if (f->config->key_count == 0)
        (void)error_set(&err, STATUS_NOT_CONFIGURED,
                        "move the configuration away, run dpop init --name NAME, "
                        "and put your profiles into the new one",
                        "the configuration has no key");
    else if (name.data == NULL)
        (void)error_set(&err, STATUS_INVALID_ARGUMENT, "name it: dpop key list shows the keys",
                        "which key? there is not exactly one");
    else
        (void)error_set(&err, STATUS_UNKNOWN_KEY, "dpop key list shows the keys", "there is no key \"%.*s\"",
                        (int)name.len, (const char *)name.data);
    request_fail(r, &err);
    return NULL;
}

bool operations_owner(struct request *r, const char *what)
{
    struct error err;
    if (r->uid == geteuid() || r->uid == 0)
        return true;
    (void)error_set(&err, STATUS_PEER_REFUSED, "run it as the agent's user or as root", "uid %u may not %s",
                    (unsigned int)r->uid, what);
    request_fail(r, &err);
    return false;
}

bool operations_may_begin(struct request *r)
{
    struct error err;
    if (!r->front->init_at_work)
        return true;
    (void)error_set(&err, STATUS_BUSY, "wait for its end, then look at dpop key list",
                    "an init, a registration or another change of keys is at work");
    request_fail(r, &err);
    return false;
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
