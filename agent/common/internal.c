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
        F(6, TEXT, 0, LIMIT_NAME, key_ready, model));

MESSAGE(pin_load,
        F(1, BYTES, R, LIMIT_URL, pin_load, token_id));

MESSAGE(pin_records,
        F(1, BYTES, R, PIN_SALT_SIZE, pin_records, salt),
        F(2, LIST, 0, PIN_VERIFIER_SIZE, pin_records, refused),
        F(3, LIST, 0, PIN_VERIFIER_SIZE, pin_records, trying));

MESSAGE(pin_record,
        F(1, BYTES, R, LIMIT_URL, pin_record, token_id),
        F(2, BYTES, R, PIN_VERIFIER_SIZE, pin_record, verifier),
        F(3, U16, R, 0, pin_record, verdict));

MESSAGE(sign_request,
        F(1, BYTES, R, 32, sign_request, digest));

MESSAGE(sign_answer,
        F(1, BYTES, R, 64, sign_answer, signature));

MESSAGE(fetch_request,
        F(1, TEXT, R, LIMIT_NAME, fetch_request, profile),
        F(2, TEXT, R, LIMIT_URL, fetch_request, url),
        F(3, BYTES, 0, INTERNAL_FRAME_MAX, fetch_request, form),
        F(4, TEXT, 0, LIMIT_PROOF, fetch_request, dpop),
        F(5, BOOL, 0, 0, fetch_request, authenticate),
        F(6, U32, R, 0, fetch_request, timeout));

MESSAGE(fetch_answer,
        F(1, U16, R, 0, fetch_answer, http_status),
        F(2, BYTES, 0, LIMIT_HEADER_VALUE, fetch_answer, date),
        F(3, LIST, 0, LIMIT_HEADER_VALUE, fetch_answer, nonces),
        F(4, U32, 0, 0, fetch_answer, retry_after),
        F(5, LIST, 0, INTERNAL_FRAME_MAX, fetch_answer, members),
        F(6, TEXT, 0, LIMIT_TEXT, fetch_answer, json_error),
        F(7, BOOL, 0, 0, fetch_answer, jwt),
        F(8, TEXT, 0, LIMIT_TEXT, fetch_answer, cnf_jkt),
        F(9, U32, 0, 0, fetch_answer, lifetime),
        F(10, LIST, 0, LIMIT_HEADER_VALUE, fetch_answer, challenges));

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
