/* The tables of messages.h. A field's tag never changes its meaning; new fields take new tags. */
#include "messages.h"

#define F(tag, type, flags, max, structure, member) \
    {tag, FIELD_##type, flags, max, offsetof(struct structure, member), #member}
#define MESSAGE(structure, ...)                                             \
    static const struct field structure##_fields[] = {__VA_ARGS__};         \
    const struct message message_##structure = {                            \
        #structure, structure##_fields, sizeof(structure##_fields) / sizeof(structure##_fields[0])}
#define R FIELD_REQUIRED

const struct message message_empty = {"empty", NULL, 0};

MESSAGE(hello_request,
        F(1, U16, R, 0, hello_request, version_min),
        F(2, U16, R, 0, hello_request, version_max),
        F(3, TEXT, 0, LIMIT_NAME, hello_request, client));

MESSAGE(hello_answer,
        F(1, U16, R, 0, hello_answer, version),
        F(2, U32, R, 0, hello_answer, max_frame),
        F(3, TEXT, 0, LIMIT_NAME, hello_answer, agent));

MESSAGE(status_answer,
        F(1, TEXT, 0, LIMIT_NAME, status_answer, agent),
        F(2, U32, 0, 0, status_answer, pid),
        F(3, U64, 0, 0, status_answer, uptime),
        F(4, TEXT, 0, LIMIT_TEXT, status_answer, configuration),
        F(5, U32, 0, 0, status_answer, connections),
        F(6, U32, 0, 0, status_answer, requests_waiting),
        F(7, U32, 0, 0, status_answer, tokens_cached),
        F(8, LIST, 0, LIMIT_NESTED, status_answer, processes),
        F(9, LIST, 0, LIMIT_NESTED, status_answer, keys),
        F(10, LIST, 0, LIMIT_NESTED, status_answer, profiles));

MESSAGE(process_info,
        F(1, TEXT, R, LIMIT_TEXT, process_info, name),
        F(2, TEXT, R, LIMIT_NAME, process_info, state),
        F(3, U32, 0, 0, process_info, pid),
        F(4, U32, 0, 0, process_info, starts));

MESSAGE(key_info,
        F(1, TEXT, R, LIMIT_NAME, key_info, name),
        F(2, TEXT, 0, LIMIT_URL, key_info, uri),
        F(3, TEXT, R, LIMIT_NAME, key_info, state),
        F(4, TEXT, 0, LIMIT_TEXT, key_info, reason),
        F(5, TEXT, 0, LIMIT_TEXT, key_info, next),
        F(6, TEXT, 0, LIMIT_NAME, key_info, jkt),
        F(7, BYTES, 0, 32, key_info, x),
        F(8, BYTES, 0, 32, key_info, y),
        F(9, U32, 0, 0, key_info, attributes),
        F(10, BOOL, 0, 0, key_info, imported),
        F(11, TEXT, 0, LIMIT_NAME, key_info, token),
        F(12, TEXT, 0, LIMIT_NAME, key_info, model),
        F(13, U16, 0, 0, key_info, workers),
        F(14, U32, 0, 0, key_info, waiting),
        F(15, U64, 0, 0, key_info, signatures),
        F(16, U32, 0, 0, key_info, sign_time),
        F(17, U32, 0, 0, key_info, stalled),
        F(18, U32, 0, 0, key_info, recoveries),
        F(19, TEXT, 0, LIMIT_TEXT, key_info, warning));

MESSAGE(keys_answer,
        F(1, LIST, 0, LIMIT_NESTED, keys_answer, keys));

MESSAGE(profile_info,
        F(1, TEXT, R, LIMIT_NAME, profile_info, name),
        F(2, TEXT, 0, LIMIT_NAME, profile_info, key),
        F(3, TEXT, 0, LIMIT_URL, profile_info, issuer),
        F(4, TEXT, 0, LIMIT_URL, profile_info, token_endpoint),
        F(5, TEXT, 0, LIMIT_TEXT, profile_info, client_id),
        F(6, TEXT, 0, LIMIT_NAME, profile_info, client_authentication),
        F(7, TEXT, 0, LIMIT_NAME, profile_info, grant),
        F(8, TEXT, 0, LIMIT_SCOPE, profile_info, scope),
        F(9, TEXTS, 0, LIMIT_URL, profile_info, resources),
        F(10, TEXTS, 0, LIMIT_URL, profile_info, origins),
        F(11, TEXT, 0, LIMIT_NAME, profile_info, state),
        F(12, TEXT, 0, LIMIT_TEXT, profile_info, reason),
        F(13, U32, 0, 0, profile_info, expires_in),
        F(14, TEXT, 0, LIMIT_NAME, profile_info, login),
        F(15, TEXT, 0, LIMIT_TEXT, profile_info, login_reason),
        F(16, TEXT, 0, LIMIT_TEXT, profile_info, subject),
        F(17, BOOL, 0, 0, profile_info, persisted),
        F(18, TEXT, 0, LIMIT_NAME, profile_info, dpop));

MESSAGE(profiles_answer,
        F(1, LIST, 0, LIMIT_NESTED, profiles_answer, profiles));

MESSAGE(proof_request,
        F(1, TEXT, 0, LIMIT_NAME, proof_request, key),
        F(2, TEXT, 0, LIMIT_NAME, proof_request, profile),
        F(3, TEXT, R, LIMIT_NAME, proof_request, htm),
        F(4, BYTES, R, LIMIT_URL, proof_request, htu),
        F(5, BYTES, 0, LIMIT_NONCE, proof_request, nonce),
        F(6, BYTES, 0, LIMIT_ACCESS_TOKEN, proof_request, access_token),
        F(7, BYTES, 0, LIMIT_NAME, proof_request, ath),
        F(8, U32, 0, 0, proof_request, timeout));

MESSAGE(proof_answer,
        F(1, TEXT, R, LIMIT_PROOF, proof_answer, proof),
        F(2, TEXT, R, LIMIT_URL, proof_answer, htu),
        F(3, TEXT, R, LIMIT_NAME, proof_answer, jkt));

MESSAGE(token_request,
        F(1, TEXT, R, LIMIT_NAME, token_request, profile),
        F(2, TEXT, 0, LIMIT_SCOPE, token_request, scope),
        F(3, TEXTS, 0, LIMIT_URL, token_request, resources),
        F(4, U32, 0, 0, token_request, min_valid),
        F(5, BOOL, 0, 0, token_request, force),
        F(6, U32, 0, 0, token_request, timeout),
        F(7, BOOL, 0, 0, token_request, raw),
        F(8, BYTES, 0, LIMIT_ASSERTION, token_request, subject_token),
        F(9, TEXT, 0, LIMIT_TEXT, token_request, subject_token_type),
        F(10, BYTES, 0, LIMIT_ASSERTION, token_request, actor_token),
        F(11, TEXT, 0, LIMIT_TEXT, token_request, actor_token_type),
        F(12, BYTES, 0, LIMIT_ASSERTION, token_request, assertion));

MESSAGE(token_answer,
        F(1, BYTES, R, LIMIT_ACCESS_TOKEN, token_answer, access_token),
        F(2, TEXT, R, LIMIT_NAME, token_answer, token_type),
        F(3, U32, R, 0, token_answer, expires_in),
        F(4, U64, R, 0, token_answer, expires_at),
        F(5, TEXT, 0, LIMIT_SCOPE, token_answer, scope),
        F(6, TEXT, R, LIMIT_NAME, token_answer, jkt),
        F(7, TEXT, 0, LIMIT_NESTED, token_answer, raw));

MESSAGE(authorize_request,
        F(1, TEXT, R, LIMIT_NAME, authorize_request, profile),
        F(2, TEXT, R, LIMIT_NAME, authorize_request, htm),
        F(3, BYTES, R, LIMIT_URL, authorize_request, url),
        F(4, BYTES, 0, LIMIT_ATTEMPT, authorize_request, attempt),
        F(5, TEXT, 0, LIMIT_SCOPE, authorize_request, scope),
        F(6, TEXTS, 0, LIMIT_URL, authorize_request, resources),
        F(7, U32, 0, 0, authorize_request, timeout));

MESSAGE(authorize_answer,
        F(1, TEXT, R, LIMIT_URL, authorize_answer, url),
        F(2, TEXT, R, LIMIT_ACCESS_TOKEN + 16, authorize_answer, authorization),
        F(3, TEXT, 0, LIMIT_PROOF, authorize_answer, dpop),
        F(4, BYTES, R, LIMIT_ATTEMPT, authorize_answer, attempt));

MESSAGE(outcome_request,
        F(1, BYTES, R, LIMIT_ATTEMPT, outcome_request, attempt),
        F(2, U16, R, 0, outcome_request, http_status),
        F(3, BYTES, 0, LIMIT_NAME, outcome_request, date),
        F(4, LIST, 0, LIMIT_HEADER_VALUE, outcome_request, nonces),
        F(5, LIST, 0, LIMIT_HEADER_VALUE, outcome_request, challenges));

MESSAGE(outcome_answer,
        F(1, U16, R, 0, outcome_answer, verdict),
        F(2, TEXT, 0, LIMIT_TEXT, outcome_answer, reason));

MESSAGE(init_request,
        F(1, TEXT, 0, LIMIT_NAME, init_request, name),
        F(2, TEXT, 0, LIMIT_TEXT, init_request, module),
        F(3, TEXT, 0, LIMIT_NAME, init_request, kind),
        F(4, TEXT, 0, LIMIT_URL, init_request, token),
        F(5, TEXTS, 0, LIMIT_URL, init_request, environment),
        F(6, BOOL, 0, 0, init_request, pin),
        F(7, BOOL, 0, 0, init_request, keep_pin));

MESSAGE(init_answer,
        F(1, TEXT, R, LIMIT_URL, init_answer, uri),
        F(2, TEXT, R, LIMIT_NAME, init_answer, jkt),
        F(3, TEXT, R, LIMIT_TEXT, init_answer, configuration),
        F(4, TEXT, R, LIMIT_TEXT, init_answer, token_folder),
        F(5, TEXT, 0, LIMIT_TEXT, init_answer, pin_file),
        F(6, TEXT, 0, LIMIT_TEXT, init_answer, reason),
        F(7, TEXT, 0, LIMIT_NAME, init_answer, model));

MESSAGE(login_begin_request,
        F(1, TEXT, R, LIMIT_NAME, login_begin_request, profile),
        F(2, BOOL, 0, 0, login_begin_request, device),
        F(3, U32, 0, 0, login_begin_request, timeout));

MESSAGE(login_begin_answer,
        F(1, BYTES, R, LIMIT_LOGIN, login_begin_answer, login),
        F(2, TEXT, 0, LIMIT_NESTED, login_begin_answer, url),
        F(3, TEXT, 0, LIMIT_URL, login_begin_answer, redirect_uri),
        F(4, TEXT, 0, LIMIT_TEXT, login_begin_answer, user_code),
        F(5, TEXT, 0, LIMIT_URL, login_begin_answer, verification_uri),
        F(6, TEXT, 0, LIMIT_URL, login_begin_answer, verification_uri_complete),
        F(7, U32, 0, 0, login_begin_answer, expires_in));

MESSAGE(login_wait_request,
        F(1, BYTES, R, LIMIT_LOGIN, login_wait_request, login),
        F(2, U32, 0, 0, login_wait_request, timeout));

MESSAGE(login_wait_answer,
        F(1, TEXT, R, LIMIT_NAME, login_wait_answer, profile),
        F(2, TEXT, 0, LIMIT_TEXT, login_wait_answer, subject),
        F(3, TEXT, 0, LIMIT_SCOPE, login_wait_answer, scope),
        F(4, TEXT, 0, LIMIT_NAME, login_wait_answer, jkt),
        F(5, TEXT, 0, LIMIT_NAME, login_wait_answer, token_type),
        F(6, U32, 0, 0, login_wait_answer, expires_in),
        F(7, BOOL, 0, 0, login_wait_answer, refresh),
        F(8, BOOL, 0, 0, login_wait_answer, persisted),
        F(9, TEXT, 0, LIMIT_TEXT, login_wait_answer, note));

MESSAGE(login_redirect_request,
        F(1, BYTES, R, LIMIT_LOGIN, login_redirect_request, login),
        F(2, BYTES, R, LIMIT_NESTED, login_redirect_request, url));

MESSAGE(login_cancel_request,
        F(1, BYTES, R, LIMIT_LOGIN, login_cancel_request, login));

MESSAGE(logout_request,
        F(1, TEXT, R, LIMIT_NAME, logout_request, profile),
        F(2, U32, 0, 0, logout_request, timeout));

MESSAGE(logout_answer,
        F(1, BOOL, 0, 0, logout_answer, logged_in),
        F(2, BOOL, 0, 0, logout_answer, revoked),
        F(3, TEXT, 0, LIMIT_TEXT, logout_answer, note));

MESSAGE(introspect_request,
        F(1, TEXT, R, LIMIT_NAME, introspect_request, profile),
        F(2, TEXT, 0, LIMIT_SCOPE, introspect_request, scope),
        F(3, TEXTS, 0, LIMIT_URL, introspect_request, resources),
        F(4, U32, 0, 0, introspect_request, timeout));

MESSAGE(introspect_answer,
        F(1, BOOL, 0, 0, introspect_answer, active),
        F(2, TEXT, R, LIMIT_NESTED, introspect_answer, claims));

MESSAGE(profile_test_request,
        F(1, TEXT, R, LIMIT_NAME, profile_test_request, profile),
        F(2, U32, 0, 0, profile_test_request, timeout));

MESSAGE(profile_test_answer,
        F(1, LIST, 0, LIMIT_NESTED, profile_test_answer, checks));

MESSAGE(check_info,
        F(1, TEXT, R, LIMIT_NAME, check_info, name),
        F(2, U16, R, 0, check_info, result),
        F(3, TEXT, 0, LIMIT_TEXT, check_info, detail),
        F(4, TEXT, 0, LIMIT_TEXT, check_info, next));

MESSAGE(trace_request,
        F(1, TEXT, R, LIMIT_NAME, trace_request, profile),
        F(2, U64, 0, 0, trace_request, after),
        F(3, U32, 0, 0, trace_request, timeout));

MESSAGE(trace_answer,
        F(1, LIST, 0, LIMIT_NESTED, trace_answer, entries));

MESSAGE(trace_entry,
        F(1, U64, R, 0, trace_entry, sequence),
        F(2, U64, R, 0, trace_entry, time),
        F(3, BYTES, R, LIMIT_NESTED, trace_entry, text));

MESSAGE(register_request,
        F(1, TEXT, R, LIMIT_NAME, register_request, name),
        F(2, TEXT, 0, LIMIT_NAME, register_request, key),
        F(3, TEXT, 0, LIMIT_URL, register_request, issuer),
        F(4, TEXT, 0, LIMIT_URL, register_request, resource),
        F(5, TEXT, 0, LIMIT_NAME, register_request, client_authentication),
        F(6, TEXT, 0, LIMIT_NAME, register_request, grant),
        F(7, TEXT, 0, LIMIT_SCOPE, register_request, scope),
        F(8, TEXTS, 0, LIMIT_URL, register_request, origins),
        F(9, TEXT, 0, LIMIT_TEXT, register_request, client_name),
        F(10, BYTES, 0, LIMIT_ASSERTION, register_request, initial_access_token),
        F(11, TEXT, 0, LIMIT_TEXT, register_request, ca_file),
        F(12, BOOL, 0, 0, register_request, allow_http_loopback),
        F(13, U32, 0, 0, register_request, timeout));

MESSAGE(register_answer,
        F(1, TEXT, R, LIMIT_NAME, register_answer, profile),
        F(2, TEXT, R, LIMIT_URL, register_answer, issuer),
        F(3, TEXT, R, LIMIT_TEXT, register_answer, client_id),
        F(4, TEXT, R, LIMIT_NAME, register_answer, client_authentication),
        F(5, TEXT, R, LIMIT_TEXT, register_answer, configuration),
        F(6, TEXT, 0, LIMIT_TEXT, register_answer, secret_file));

MESSAGE(key_csr_request,
        F(1, TEXT, 0, LIMIT_NAME, key_csr_request, key),
        F(2, TEXT, R, LIMIT_TEXT, key_csr_request, subject),
        F(3, U32, 0, 0, key_csr_request, timeout));

MESSAGE(key_cert_request,
        F(1, TEXT, 0, LIMIT_NAME, key_cert_request, key),
        F(2, TEXT, R, LIMIT_TEXT, key_cert_request, subject),
        F(3, U32, 0, 0, key_cert_request, days),
        F(4, U32, 0, 0, key_cert_request, timeout));

MESSAGE(pem_answer,
        F(1, BYTES, R, LIMIT_NESTED, pem_answer, pem));

MESSAGE(key_generate_request,
        F(1, TEXT, R, LIMIT_NAME, key_generate_request, name),
        F(2, TEXT, 0, LIMIT_NAME, key_generate_request, like),
        F(3, U32, 0, 0, key_generate_request, timeout));

MESSAGE(key_import_request,
        F(1, TEXT, R, LIMIT_NAME, key_import_request, name),
        F(2, TEXT, 0, LIMIT_NAME, key_import_request, like),
        F(3, BOOL, 0, 0, key_import_request, password),
        F(4, U32, 0, 0, key_import_request, timeout));

MESSAGE(key_made_answer,
        F(1, TEXT, R, LIMIT_NAME, key_made_answer, name),
        F(2, TEXT, R, LIMIT_URL, key_made_answer, uri),
        F(3, TEXT, R, LIMIT_NAME, key_made_answer, jkt),
        F(4, BYTES, R, 32, key_made_answer, x),
        F(5, BYTES, R, 32, key_made_answer, y),
        F(6, BOOL, 0, 0, key_made_answer, imported),
        F(7, TEXT, R, LIMIT_TEXT, key_made_answer, configuration),
        F(8, TEXTS, 0, LIMIT_NAME, key_made_answer, authenticates));

MESSAGE(key_delete_request,
        F(1, TEXT, R, LIMIT_NAME, key_delete_request, key),
        F(2, U32, 0, 0, key_delete_request, timeout));

MESSAGE(key_delete_answer,
        F(1, LIST, 0, LIMIT_NESTED, key_delete_answer, bound),
        F(2, TEXT, R, LIMIT_TEXT, key_delete_answer, configuration));

MESSAGE(bound_info,
        F(1, TEXT, R, LIMIT_NAME, bound_info, profile),
        F(2, BOOL, 0, 0, bound_info, revoked),
        F(3, BOOL, 0, 0, bound_info, login_due),
        F(4, TEXT, 0, LIMIT_TEXT, bound_info, note));

MESSAGE(key_prepare_request,
        F(1, TEXT, 0, LIMIT_NAME, key_prepare_request, key),
        F(2, U32, 0, 0, key_prepare_request, timeout));

MESSAGE(key_commit_request,
        F(1, TEXT, 0, LIMIT_NAME, key_commit_request, key),
        F(2, U32, 0, 0, key_commit_request, timeout));

MESSAGE(key_commit_answer,
        F(1, TEXT, R, LIMIT_NAME, key_commit_answer, jkt),
        F(2, TEXT, R, LIMIT_NAME, key_commit_answer, old_jkt),
        F(3, LIST, 0, LIMIT_NESTED, key_commit_answer, bound),
        F(4, TEXT, R, LIMIT_TEXT, key_commit_answer, configuration),
        F(5, TEXT, 0, LIMIT_TEXT, key_commit_answer, note));

MESSAGE(unlock_request,
        F(1, TEXT, 0, LIMIT_NAME, unlock_request, key),
        F(2, U32, 0, 0, unlock_request, timeout));

MESSAGE(lock_request,
        F(1, TEXT, 0, LIMIT_NAME, lock_request, key));

MESSAGE(unlock_answer,
        F(1, TEXT, 0, LIMIT_NAME, unlock_answer, token),
        F(2, TEXTS, 0, LIMIT_NAME, unlock_answer, keys));

static const struct field error_fields[] = {
    F(1, U16, R, 0, error_message, status),
    F(2, BOOL, 0, 0, error_message, retryable),
    F(3, U16, 0, 0, error_message, http_status),
    F(4, U32, 0, 0, error_message, retry_after),
    F(5, TEXT, 0, LIMIT_TEXT, error_message, message),
    F(6, TEXT, 0, LIMIT_TEXT, error_message, next),
    F(7, TEXT, 0, LIMIT_TEXT, error_message, oauth_error),
    F(8, TEXT, 0, LIMIT_TEXT, error_message, oauth_description),
    F(9, TEXT, 0, LIMIT_TEXT, error_message, oauth_uri),
    F(10, TEXT, 0, LIMIT_NAME, error_message, stage),
};
const struct message message_error = {"error", error_fields, sizeof(error_fields) / sizeof(error_fields[0])};

void messages_put_error(struct buffer *b, uint32_t request, const struct error *e)
{
    struct error_message m = {
        .status = (uint16_t)e->status,
        .retryable = status_retryable(e->status),
        .http_status = e->http_status,
        .retry_after = e->retry_after,
        .message = span_text_or_absent(e->message),
        .next = span_text_or_absent(e->next),
        .oauth_error = span_text_or_absent(e->oauth_error),
        .oauth_description = span_text_or_absent(e->oauth_description),
        .oauth_uri = span_text_or_absent(e->oauth_uri),
        .stage = span_text_or_absent(e->stage),
    };
    message_put_frame(b, OPERATION_ERROR, request, &message_error, &m);
}

enum status messages_take_error(struct span fields, struct error *out)
{
    struct error_message m;
    struct error err;
    enum status status = message_take(fields, &message_error, &m, sizeof(m), &err);
    if (status != STATUS_OK)
        return status;
    (void)error_set(out, (enum status)m.status, NULL, "%s", "");
    out->http_status = m.http_status;
    out->retry_after = m.retry_after;
    error_put_text(out->message, sizeof(out->message), m.message);
    error_put_text(out->next, sizeof(out->next), m.next);
    error_put_text(out->oauth_error, sizeof(out->oauth_error), m.oauth_error);
    error_put_text(out->oauth_description, sizeof(out->oauth_description), m.oauth_description);
    error_put_text(out->oauth_uri, sizeof(out->oauth_uri), m.oauth_uri);
    error_put_text(out->stage, sizeof(out->stage), m.stage);
    return STATUS_OK;
}
