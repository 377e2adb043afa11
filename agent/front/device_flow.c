/* The device authorization grant of a login (login_flow.h, RFC 8628). */
#include "login_steps.h"

#include "answer.h"
#include "form.h"
#include "text.h"
#include "url.h"

#include <stdlib.h>
#include <string.h>

#define INTERVAL 5      /* seconds between polls, where the server names none (section 3.2) */
#define SLOW_DOWN 5     /* seconds more, when it asks for it (section 3.5) */
#define INTERVAL_BACKED_OFF 60 /* no more because of time-outs; what the server asked for is never undercut */
#define INTERVAL_MAX 3600
#define EXPIRES_IN 600      /* seconds, where the server forgets to say (it must) */
#define EXPIRES_IN_MAX 3600
#define FORM_MAX 65536

static void poll_later(struct login_flow *x)
{
    x->poll_at = front_now(x->front) + x->interval * SECOND;
}

/* True: the user may still come, so the polls go on (section 3.5: more seldom after time-outs). */
static bool goes_on(struct login_flow *x, const struct error *err)
{
    if (strcmp(err->oauth_error, "authorization_pending") == 0)
        return true;
    if (strcmp(err->oauth_error, "slow_down") == 0) {
        x->interval += SLOW_DOWN;
        return true;
    }
    if (err->status != STATUS_TIMEOUT && err->status != STATUS_SERVER_UNREACHABLE && err->status != STATUS_SERVER_UNAVAILABLE &&
        err->status != STATUS_RESTARTED)
        return false;
    if (x->interval < INTERVAL_BACKED_OFF)
        x->interval = 2 * x->interval < INTERVAL_BACKED_OFF ? 2 * x->interval : INTERVAL_BACKED_OFF;
    return true;
}

static void on_polled(void *context, const struct error *err, const struct granted *granted, const struct exchange_result *result)
{
    struct login_flow *x = context;
    struct error ended;
    if (err == NULL) {
        login_flow_granted(x, granted, result->nonces);
        return;
    }
    x->busy = false;
    if (x->over)
        return;
    if (goes_on(x, err)) {
        poll_later(x);
        return;
    }
    ended = *err;
    if (strcmp(err->oauth_error, "expired_token") == 0)
        (void)error_set(&ended, STATUS_LOGIN_REQUIRED, "begin a new one: dpop login",
                        "profile \"%s\": the user has not confirmed the code in time", x->profile->name);
    login_flow_end(x, &ended);
}

void device_flow_poll(struct login_flow *x)
{
    struct buffer form;
    buffer_init(&form, FORM_MAX);
    form_put(&form, "device_code", span_text(x->device_code));
    struct exchange_request request = {.profile = x->profile,
                                       .stage = "token request",
                                       .grant_type = config_grant_type(GRANT_DEVICE_CODE),
                                       .grant_form = buffer_span(&form),
                                       .resources = &x->profile->resources,
                                       .user = true,
                                       .deadline = login_flow_step_deadline(x)};
    x->busy = true;
    exchange_start(x->front, &request, on_polled, x);
    buffer_free(&form);
}

static uint32_t seconds(const struct fetch_answer *a, const char *name, uint32_t otherwise, uint32_t max)
{
    struct json_member m;
    if (!answer_member(a, name, &m) || m.kind != JSON_KIND_INTEGER || (int64_t)m.integer <= 0)
        return otherwise;
    return m.integer < max ? (uint32_t)m.integer : max;
}

/* It is shown to the user, and opened in a browser: no script, no file, and what metadata must be (metadata_document.c). */
static bool usable_uri(const struct login_flow *x, struct span uri)
{
    struct url url;
    struct error err;
    return uri.len > 0 && uri.len <= LIMIT_URL && text_valid(uri) && url_parse(uri, &url, &err) == STATUS_OK &&
           (url.https || (x->profile->allow_http_loopback && url_is_loopback(uri)));
}

static void on_authorized(void *context, const struct error *err, const struct fetch_answer *a, const struct as_result *result)
{
    struct login_flow *x = context;
    struct error wrong;
    (void)result;
    x->busy = false;
    if (x->over)
        return;
    if (err == NULL && a->http_status != 200)
        err = (as_request_refused(x->profile, "the device authorization endpoint", "device authorization", a, &wrong), &wrong);
    if (err != NULL) {
        login_flow_end(x, err);
        return;
    }
    struct span device_code = answer_text(a, "device_code"), user_code = answer_text(a, "user_code");
    struct span uri = answer_text(a, "verification_uri");
    if (uri.data == NULL)
        uri = answer_text(a, "verification_url"); /* a draft's name, which Google still has */
    struct span complete = answer_text(a, "verification_uri_complete");
    if (device_code.len == 0 || device_code.len > FORM_MAX / 4 || user_code.len == 0 || user_code.len > LIMIT_TEXT ||
        !text_valid(user_code) || !usable_uri(x, uri) || (complete.len > 0 && !usable_uri(x, complete)) || (x->device_code = span_dup(device_code)) == NULL) {
        (void)error_set(&wrong, STATUS_SERVER_MISBEHAVED, "tell the authorization server's operator",
                        "profile \"%s\": the device authorization has no usable device_code, user_code or verification_uri "
                        "(RFC 8628 section 3.2)",
                        x->profile->name);
        error_put_text(wrong.stage, sizeof(wrong.stage), span_text("device authorization"));
        login_flow_end(x, &wrong);
        return;
    }
    x->began = front_now(x->front);
    x->deadline = x->began + seconds(a, "expires_in", EXPIRES_IN, EXPIRES_IN_MAX) * SECOND; /* the server's to say */
    x->interval = seconds(a, "interval", INTERVAL, INTERVAL_MAX);
    poll_later(x);
    struct login_begin_answer answer = {.user_code = user_code, .verification_uri = uri,
                                        .verification_uri_complete = complete.len > 0 ? complete : span_text(NULL)};
    login_flow_tell_begun(x, &answer);
}

void device_flow_begin(struct login_flow *x, const struct server_metadata *server)
{
    const struct profile_config *p = x->profile;
    struct buffer form;
    struct error err;
    if (server->device_authorization_endpoint == NULL) {
        (void)error_set(&err, STATUS_SERVER_MISBEHAVED, "name it with device-authorization-endpoint, or log in with a browser",
                        "profile \"%s\": the server has no device_authorization_endpoint (RFC 8628)", p->name);
        error_put_text(err.stage, sizeof(err.stage), span_text("discovery"));
        login_flow_end(x, &err);
        return;
    }
    buffer_init(&form, FORM_MAX);
    if (p->client_authentication == CLIENT_SECRET_BASIC)
        form_put(&form, "client_id", span_text(p->client_id));
    if (p->scope != NULL)
        form_put(&form, "scope", span_text(p->scope));
    for (size_t i = 0; i < p->resources.count; i++)
        form_put(&form, "resource", span_text(p->resources.items[i]));
    for (size_t i = 0; i < p->audiences.count; i++)
        form_put(&form, "audience", span_text(p->audiences.items[i]));
    if (p->authorization_details != NULL)
        form_put(&form, "authorization_details", span_text(p->authorization_details));
    for (size_t i = 0; i < p->device_form.count; i++)
        form_put_pair(&form, p->device_form.items[i]);
    struct as_request request = {.profile = p, .server = server, .endpoint = server->device_authorization_endpoint,
                                 .stage = "device authorization", .form = buffer_span(&form),
                                 .deadline = login_flow_step_deadline(x)};
    as_request_send(x->front, &request, on_authorized, x);
    buffer_free(&form);
}
