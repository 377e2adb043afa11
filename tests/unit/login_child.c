/* See login_child.h. */
#include "login_child.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

int login_child_save(struct store_child *p, const struct login_name *whose, const char *token, struct error *err)
{
    const struct login_record record = {.refresh_state = REFRESH_FRESH, .refresh_token = span_text(token)};
    struct buffer bytes;
    struct frame frame;
    buffer_init(&bytes, INTERNAL_FRAME_MAX);
    message_put(&bytes, &message_login_record, &record);
    const struct login_save m = {.profile = whose->profile, .key = whose->key, .issuer = whose->issuer,
                                 .client_id = whose->client_id, .jkt = whose->jkt, .record = buffer_span(&bytes)};
    int status = store_child_ask(p, INTERNAL_LOGIN_SAVE, &message_login_save, &m, &frame, err);
    buffer_free(&bytes);
    return status;
}

int login_child_load(struct store_child *p, const struct login_name *whose, const char **token, struct error *err)
{
    static char text[LIMIT_ACCESS_TOKEN + 1];
    struct frame frame;
    struct login_loaded loaded;
    struct login_record record = {0};
    int status = store_child_ask(p, INTERNAL_LOGIN_LOAD, &message_login_name, whose, &frame, err);
    if (status != STATUS_OK)
        return status;
    assert_int_equal(message_take(frame.fields, &message_login_loaded, &loaded, sizeof(loaded), err), STATUS_OK);
    if (loaded.found)
        assert_int_equal(message_take(loaded.record, &message_login_record, &record, sizeof(record), err), STATUS_OK);
    assert_int_equal(span_copy(record.refresh_token, text, sizeof(text)), 0);
    *token = text;
    return STATUS_OK;
}

void login_child_saved(struct store_child *p, const struct login_name *whose, const char *token)
{
    struct error err;
    int status = login_child_save(p, whose, token, &err);
    if (status != STATUS_OK)
        fail_msg("save: %d: %s", status, status > 0 ? err.message : "the process ended");
}

const char *login_child_loaded(struct store_child *p, const struct login_name *whose)
{
    struct error err;
    const char *token = NULL;
    int status = login_child_load(p, whose, &token, &err);
    if (status != STATUS_OK)
        fail_msg("load: %d: %s", status, status > 0 ? err.message : "the process ended");
    return token;
}

void login_child_assert_failed(int status, const struct error *err, const char *message)
{
    assert_int_equal(status, STATUS_STORE_FAILED);
    if (strstr(err->message, message) == NULL)
        fail_msg("%s", err->message);
    assert_int_not_equal(err->next[0], '\0');
}
