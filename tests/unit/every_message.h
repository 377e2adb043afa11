/* All tables of messages.h with the sizes of their structs, for tests and fuzz targets that go through every one. */
#ifndef TEST_EVERY_MESSAGE_H
#define TEST_EVERY_MESSAGE_H

#include "messages.h"

#include <string.h>

#define EVERY_MESSAGE_LARGEST 1024

struct every_message {
    const struct message *table;
    size_t size;
};

#define EVERY(name) {&message_##name, sizeof(struct name)}
static const struct every_message every_message[] = {
    EVERY(hello_request),    EVERY(hello_answer),    EVERY(status_answer),  EVERY(process_info),
    EVERY(key_info),         EVERY(keys_answer),     EVERY(profile_info),   EVERY(profiles_answer),
    EVERY(proof_request),    EVERY(proof_answer),    EVERY(token_request),  EVERY(token_answer),
    EVERY(authorize_request), EVERY(authorize_answer), EVERY(outcome_request), EVERY(outcome_answer),
    EVERY(init_request),     EVERY(init_answer),
    EVERY(login_begin_request), EVERY(login_begin_answer), EVERY(login_wait_request), EVERY(login_wait_answer),
    EVERY(login_redirect_request), EVERY(login_cancel_request), EVERY(logout_request), EVERY(logout_answer),
    EVERY(introspect_request), EVERY(introspect_answer), EVERY(profile_test_request), EVERY(profile_test_answer),
    EVERY(check_info),       EVERY(trace_request),   EVERY(trace_answer),   EVERY(trace_entry),
    EVERY(register_request), EVERY(register_answer), EVERY(key_csr_request), EVERY(key_cert_request),
    EVERY(pem_answer),       EVERY(key_generate_request), EVERY(key_import_request), EVERY(key_made_answer),
    EVERY(key_delete_request), EVERY(key_delete_answer), EVERY(bound_info), EVERY(key_prepare_request),
    EVERY(key_commit_request), EVERY(key_commit_answer), EVERY(unlock_request), EVERY(lock_request),
    EVERY(unlock_answer),
    {&message_error, sizeof(struct error_message)},
    {&message_empty, sizeof(struct empty_message)},
};
#undef EVERY
#define EVERY_MESSAGE_COUNT (sizeof(every_message) / sizeof(every_message[0]))

static inline const struct every_message *every_message_find(const char *name)
{
    for (size_t i = 0; i < EVERY_MESSAGE_COUNT; i++)
        if (strcmp(every_message[i].table->name, name) == 0)
            return &every_message[i];
    return NULL;
}

#endif
