/* The tables of internal.h. */
#include "internal.h"

#define F(tag, type, flags, max, structure, member) \
    {tag, FIELD_##type, flags, max, offsetof(struct structure, member), #member}
#define MESSAGE(structure, ...)                                             \
    static const struct field structure##_fields[] = {__VA_ARGS__};         \
    const struct message message_##structure = {                            \
        #structure, structure##_fields, sizeof(structure##_fields) / sizeof(structure##_fields[0])}
#define R FIELD_REQUIRED

MESSAGE(key_ready,
        F(1, BYTES, R, 32, key_ready, x),
        F(2, BYTES, R, 32, key_ready, y),
        F(3, U32, 0, 0, key_ready, attributes),
        F(4, BOOL, 0, 0, key_ready, imported),
        F(5, TEXT, 0, LIMIT_NAME, key_ready, token),
        F(6, TEXT, 0, LIMIT_NAME, key_ready, model),
        F(7, TEXT, 0, LIMIT_TEXT, key_ready, warning));

MESSAGE(pin_load,
        F(1, BYTES, R, LIMIT_URL, pin_load, token_id));

MESSAGE(pin_records,
        F(1, BYTES, R, PIN_SALT_SIZE, pin_records, salt),
        F(2, LIST, 0, PIN_VERIFIER_SIZE, pin_records, refused),
        F(3, LIST, 0, PIN_VERIFIER_SIZE, pin_records, trying),
        F(4, LIST, 0, PIN_SOURCE_SIZE, pin_records, accepted),
        F(5, BYTES, 0, SEALED_PIN_MAX, pin_records, kept),
        F(6, BOOL, 0, 0, pin_records, locked),
        F(7, BOOL, 0, 0, pin_records, worked));

MESSAGE(pin_record,
        F(1, BYTES, R, LIMIT_URL, pin_record, token_id),
        F(2, BYTES, R, PIN_VERIFIER_SIZE, pin_record, verifier),
        F(3, U16, R, 0, pin_record, verdict),
        F(4, BYTES, 0, PIN_SOURCE_SIZE, pin_record, source));

MESSAGE(sign_request,
        F(1, BYTES, R, 32, sign_request, digest));

MESSAGE(sign_answer,
        F(1, BYTES, R, 64, sign_answer, signature));

MESSAGE(fetch_request,
        F(1, TEXT, 0, LIMIT_NAME, fetch_request, profile),
        F(2, TEXT, R, LIMIT_URL, fetch_request, url),
        F(3, BYTES, 0, INTERNAL_FRAME_MAX, fetch_request, form),
        F(4, TEXT, 0, LIMIT_PROOF, fetch_request, dpop),
        F(5, BOOL, 0, 0, fetch_request, authenticate),
        F(6, U32, R, 0, fetch_request, timeout),
        F(7, BOOL, 0, 0, fetch_request, token_files),
        F(8, BYTES, 0, LIMIT_NESTED, fetch_request, json),
        F(9, BYTES, 0, LIMIT_ASSERTION, fetch_request, bearer),
        F(10, TEXT, 0, LIMIT_TEXT, fetch_request, ca_file),
        F(11, BOOL, 0, 0, fetch_request, allow_http_loopback));

MESSAGE(fetch_answer,
        F(1, U16, 0, 0, fetch_answer, http_status),
        F(2, BYTES, 0, LIMIT_HEADER_VALUE, fetch_answer, date),
        F(3, LIST, 0, LIMIT_HEADER_VALUE, fetch_answer, nonces),
        F(4, U32, 0, 0, fetch_answer, retry_after),
        F(5, LIST, 0, INTERNAL_FRAME_MAX, fetch_answer, members),
        F(6, TEXT, 0, LIMIT_TEXT, fetch_answer, json_error),
        F(7, BOOL, 0, 0, fetch_answer, jwt),
        F(8, TEXT, 0, LIMIT_TEXT, fetch_answer, cnf_jkt),
        F(9, U32, 0, 0, fetch_answer, lifetime),
        F(10, LIST, 0, LIMIT_HEADER_VALUE, fetch_answer, challenges),
        F(11, BYTES, 0, LIMIT_NESTED, fetch_answer, failure),
        F(12, BOOL, 0, 0, fetch_answer, sent),
        F(13, BYTES, 0, LIMIT_TRACE, fetch_answer, trace),
        F(14, BYTES, 0, LIMIT_NESTED, fetch_answer, id_token),
        F(15, BOOL, 0, 0, fetch_answer, id_token_unreadable),
        F(16, TEXT, 0, LIMIT_TEXT, fetch_answer, subject));

MESSAGE(json_member,
        F(1, BYTES, R, LIMIT_TEXT, json_member, name),
        F(2, U16, R, 0, json_member, kind),
        F(3, BYTES, 0, INTERNAL_FRAME_MAX, json_member, text),
        F(4, U64, 0, 0, json_member, integer),
        F(5, LIST, 0, INTERNAL_FRAME_MAX, json_member, texts));

MESSAGE(child_message,
        F(1, U32, R, 0, child_message, id),
        F(2, U16, 0, 0, child_message, role),
        F(3, TEXT, 0, LIMIT_NAME, child_message, name),
        F(4, U16, 0, 0, child_message, worker),
        F(5, U32, 0, 0, child_message, pid),
        F(6, U32, 0, 0, child_message, starts),
        F(7, TEXT, 0, LIMIT_TEXT, child_message, reason));

MESSAGE(kill_message,
        F(1, U32, R, 0, kill_message, id),
        F(2, TEXT, 0, LIMIT_TEXT, kill_message, reason));

MESSAGE(data_key_request,
        F(1, BYTES, R, STORE_PUBLIC_SIZE, data_key_request, public_key),
        F(2, BOOL, 0, 0, data_key_request, make));

MESSAGE(data_key_answer,
        F(1, BYTES, 0, DATA_KEY_SEALED_SIZE, data_key_answer, sealed),
        F(2, BOOL, 0, 0, data_key_answer, made));

MESSAGE(store_public,
        F(1, BYTES, R, STORE_PUBLIC_SIZE, store_public, public_key));

MESSAGE(store_key,
        F(1, TEXT, R, LIMIT_NAME, store_key, key),
        F(2, BYTES, R, DATA_KEY_SEALED_SIZE, store_key, sealed));

MESSAGE(login_record,
        F(1, U16, R, 0, login_record, refresh_state),
        F(2, BYTES, 0, LIMIT_ACCESS_TOKEN, login_record, refresh_token),
        F(3, TEXT, 0, LIMIT_SCOPE, login_record, scope),
        F(4, TEXT, 0, LIMIT_TEXT, login_record, subject),
        F(5, BOOL, 0, 0, login_record, nonces),
        F(6, BYTES, 0, LIMIT_ACCESS_TOKEN, login_record, access_token),
        F(7, TEXT, 0, LIMIT_NAME, login_record, token_type),
        F(8, TEXT, 0, LIMIT_SCOPE, login_record, access_scope),
        F(9, TEXT, 0, LIMIT_NESTED, login_record, raw),
        F(10, U64, 0, 0, login_record, access_expires),
        F(11, U64, 0, 0, login_record, latest_expiry),
        F(12, U64, 0, 0, login_record, written),
        F(13, BYTES, 0, LIMIT_NAME, login_record, token_kind),
        F(14, U16, 0, 0, login_record, resends),
        F(15, BOOL, 0, 0, login_record, held));

MESSAGE(login_name,
        F(1, TEXT, R, LIMIT_NAME, login_name, profile),
        F(2, TEXT, R, LIMIT_NAME, login_name, key),
        F(3, TEXT, 0, LIMIT_URL, login_name, issuer),
        F(4, TEXT, R, LIMIT_TEXT, login_name, client_id),
        F(5, TEXT, R, LIMIT_NAME, login_name, jkt));

MESSAGE(login_loaded,
        F(1, BOOL, 0, 0, login_loaded, found),
        F(2, BYTES, 0, INTERNAL_FRAME_MAX, login_loaded, record));

MESSAGE(login_save,
        F(1, TEXT, R, LIMIT_NAME, login_save, profile),
        F(2, TEXT, R, LIMIT_NAME, login_save, key),
        F(3, TEXT, 0, LIMIT_URL, login_save, issuer),
        F(4, TEXT, R, LIMIT_TEXT, login_save, client_id),
        F(5, TEXT, R, LIMIT_NAME, login_save, jkt),
        F(6, BYTES, R, INTERNAL_FRAME_MAX, login_save, record));

MESSAGE(trace_write,
        F(1, TEXT, R, LIMIT_NAME, trace_write, profile),
        F(2, BYTES, R, LIMIT_TRACE, trace_write, text));

MESSAGE(id_token_message,
        F(1, TEXT, 0, LIMIT_URL, id_token_message, iss),
        F(2, TEXT, 0, LIMIT_TEXT, id_token_message, sub),
        F(3, TEXT, 0, LIMIT_TEXT, id_token_message, nonce),
        F(4, TEXT, 0, LIMIT_TEXT, id_token_message, azp),
        F(5, TEXTS, 0, LIMIT_TEXT, id_token_message, aud),
        F(6, U64, 0, 0, id_token_message, exp),
        F(7, U64, 0, 0, id_token_message, iat));

MESSAGE(redirect_open,
        F(1, TEXT, R, LIMIT_NAME, redirect_open, profile),
        F(2, TEXT, R, LIMIT_URL, redirect_open, redirect_uri),
        F(3, U32, R, 0, redirect_open, timeout));

MESSAGE(redirect_opened,
        F(1, U32, R, 0, redirect_opened, listener),
        F(2, TEXT, R, LIMIT_URL, redirect_opened, redirect_uri));

MESSAGE(redirect_wait,
        F(1, U32, R, 0, redirect_wait, listener));

MESSAGE(redirect_came,
        F(1, BYTES, 0, LIMIT_NESTED, redirect_came, query));

MESSAGE(redirect_close,
        F(1, U32, R, 0, redirect_close, listener),
        F(2, BOOL, 0, 0, redirect_close, success),
        F(3, TEXT, 0, LIMIT_TEXT, redirect_close, text));

MESSAGE(add_profile,
        F(1, TEXT, R, LIMIT_NAME, add_profile, name),
        F(2, TEXTS, 0, LIMIT_NESTED, add_profile, options),
        F(3, BYTES, 0, LIMIT_HEADER_VALUE, add_profile, client_secret),
        F(4, BYTES, 0, LIMIT_NESTED, add_profile, registration));

MESSAGE(profile_added,
        F(1, TEXT, R, LIMIT_TEXT, profile_added, configuration),
        F(2, TEXT, 0, LIMIT_TEXT, profile_added, secret_file));

MESSAGE(reload_checked,
        F(1, BYTES, 0, LIMIT_NESTED, reload_checked, error));

MESSAGE(sealed_pin,
        F(1, BYTES, R, SEALED_PIN_MAX, sealed_pin, sealed));

MESSAGE(kept_pin,
        F(1, BYTES, R, LIMIT_URL, kept_pin, token_id),
        F(2, BYTES, 0, SEALED_PIN_MAX, kept_pin, sealed),
        F(3, BOOL, 0, 0, kept_pin, locked));

MESSAGE(make_key,
        F(1, TEXT, R, LIMIT_NAME, make_key, label));

MESSAGE(import_key,
        F(1, TEXT, R, LIMIT_NAME, import_key, label),
        F(2, BOOL, 0, 0, import_key, password));

MESSAGE(made_key,
        F(1, TEXT, R, LIMIT_URL, made_key, uri),
        F(2, BYTES, R, 32, made_key, x),
        F(3, BYTES, R, 32, made_key, y));

MESSAGE(destroy_key,
        F(1, TEXT, R, LIMIT_URL, destroy_key, uri),
        F(2, TEXT, R, LIMIT_NAME, destroy_key, jkt));

MESSAGE(add_key,
        F(1, TEXT, R, LIMIT_NAME, add_key, name),
        F(2, TEXT, R, LIMIT_NAME, add_key, like),
        F(3, TEXT, R, LIMIT_URL, add_key, uri),
        F(4, TEXT, R, LIMIT_NAME, add_key, jkt),
        F(5, BOOL, 0, 0, add_key, imported));

MESSAGE(remove_key,
        F(1, TEXT, R, LIMIT_NAME, remove_key, name),
        F(2, BOOL, 0, 0, remove_key, check));

MESSAGE(switch_key,
        F(1, TEXT, R, LIMIT_NAME, switch_key, name),
        F(2, TEXT, R, LIMIT_NAME, switch_key, next));

MESSAGE(keys_changed,
        F(1, TEXT, R, LIMIT_TEXT, keys_changed, configuration),
        F(2, TEXTS, 0, LIMIT_NAME, keys_changed, profiles));
