/* The operations login_begin, login_wait, login_redirect, login_cancel and logout. A login is everybody's who may use the profile: only
   the agent's own user and root begin or end it. */
#include "operations.h"

#include "login_flow.h"
#include "logins.h"

static void on_begun(void *context, const struct error *err, const struct login_begin_answer *answer)
{
    struct request *r = context;
    if (err != NULL)
        request_fail(r, err);
    else
        request_answer(r, &message_login_begin_answer, answer);
}

void op_login_begin(struct request *r, const void *message)
{
    const struct login_begin_request *in = message;
    const struct profile_config *profile;
    if (operations_owner(r, "log in") && (profile = operations_profile(r, in->profile)) != NULL)
        login_flow_begin(r->front, profile, in->device, on_begun, r);
}

static void on_finished(void *context, const struct error *err, const struct login_wait_answer *answer)
{
    struct request *r = context;
    if (err != NULL)
        request_fail(r, err);
    else
        request_answer(r, &message_login_wait_answer, answer);
}

void op_login_wait(struct request *r, const void *message)
{
    const struct login_wait_request *in = message;
    login_flow_wait(r->front, in->login, front_deadline(r->front, in->timeout), on_finished, r);
}

static void answer_nothing(struct request *r, enum status status, const struct error *err)
{
    struct empty_message nothing = {0};
    if (status == STATUS_OK)
        request_answer(r, &message_empty, &nothing);
    else
        request_fail(r, err);
}

void op_login_redirect(struct request *r, const void *message)
{
    const struct login_redirect_request *in = message;
    struct error err;
    if (operations_owner(r, "log in"))
        answer_nothing(r, login_flow_redirect(r->front, in->login, in->url, &err), &err);
}

void op_login_cancel(struct request *r, const void *message)
{
    const struct login_cancel_request *in = message;
    struct error err;
    if (operations_owner(r, "end a login"))
        answer_nothing(r, login_flow_cancel(r->front, in->login, &err), &err);
}

static void on_ended(void *context, const struct error *err, bool was_in, bool revoked, const char *note)
{
    struct request *r = context;
    struct logout_answer answer = {.logged_in = was_in, .revoked = revoked, .note = span_text(note)};
    if (err != NULL)
        request_fail(r, err);
    else
        request_answer(r, &message_logout_answer, &answer);
}

void op_logout(struct request *r, const void *message)
{
    const struct logout_request *in = message;
    const struct profile_config *profile;
    struct error err;
    if (!operations_owner(r, "log out") || (profile = operations_profile(r, in->profile)) == NULL)
        return;
    if (config_needs_login(profile)) {
        logins_end(r->front, profile, on_ended, r);
        return;
    }
    (void)error_set(&err, STATUS_INVALID_ARGUMENT, "its tokens end by themselves", "profile \"%s\": its grant (%s) knows no login",
                    profile->name, config_grant_name(profile->grant));
    request_fail(r, &err);
}
