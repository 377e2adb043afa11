/* See login_jobs.h: a token by the refresh token, or the one that is kept with it (logins.h has the rules). */
#include "login_jobs.h"

#include "form.h"
#include "log.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tell_fetched(struct job *job, const struct error *err, const struct granted *granted)
{
    job->fetched(job->context, err, granted, &job->result);
    logins_end_job(job);
}

static enum status login_required(const struct holder *h, struct error *err)
{
    char next[256];
    (void)snprintf(next, sizeof(next), "log in: dpop login %s", h->profile->name);
    (void)error_set(err, STATUS_LOGIN_REQUIRED, next, "profile \"%s\": a user has to log in%s%s", h->profile->name,
                    h->reason.message[0] != '\0' ? ": " : "", h->reason.message);
    memcpy(err->oauth_error, h->reason.oauth_error, sizeof(err->oauth_error));
    memcpy(err->oauth_description, h->reason.oauth_description, sizeof(err->oauth_description));
    err->http_status = h->reason.http_status;
    error_put_text(err->stage, sizeof(err->stage), span_text("refresh"));
    return err->status;
}

/* The end of a fetch that ends the login: that it is over is written before it is told. */
static void on_removed(void *context, const struct error *err, bool unsealable, const struct login_record *record)
{
    struct job *job = context;
    struct error required;
    (void)unsealable;
    (void)record;
    if (err != NULL)
        log_error("profile %s: its record cannot be removed: %s", job->holder->profile->name, err->message);
    (void)login_required(job->holder, &required);
    tell_fetched(job, &required, NULL);
}

static void end_login(struct job *job, const struct error *why)
{
    struct holder *h = job->holder;
    log_warning("profile %s: a user has to log in: %s", h->profile->name, why->message);
    trace_note(h->front, h->profile, "A user has to log in: %s", why->message);
    logins_forget(h, why); /* what is in the token cache and still good goes on to serve */
    login_store_remove(h->front, h->profile, front_now(h->front) + LOGINS_STORE_TIMEOUT, on_removed, job);
}

static void answer_is_safe(struct job *job)
{
    if (job->clearing) { /* now for what was asked for */
        job->clearing = false;
        login_refresh_run(job);
        return;
    }
    struct granted granted = login_granted(&job->answer, front_now(job->holder->front));
    tell_fetched(job, NULL, &granted);
}

static void on_answer_saved(void *context, const struct error *err, bool unsealable, const struct login_record *record)
{
    struct job *job = context;
    (void)unsealable;
    (void)record;
    logins_note_saved(job->holder, err);
    if (err != NULL)
        tell_fetched(job, err, NULL); /* the token is not given out before its refresh token is safe; the next fetch tries again */
    else
        answer_is_safe(job);
}

static void on_failure_saved(void *context, const struct error *err, bool unsealable, const struct login_record *record)
{
    struct job *job = context;
    struct error failure = job->holder->reason;
    (void)unsealable;
    (void)record;
    logins_note_saved(job->holder, err);
    tell_fetched(job, &failure, NULL);
}

/* The server gave a token, or no more than a refresh token. */
static void take_answer(struct job *job, const struct error *err, const struct granted *granted)
{
    struct holder *h = job->holder;
    struct error no_memory;
    struct list none = {0};
    struct token_kind kind = job->kind;
    if (job->clearing)
        token_kind_of(h->profile, span_text(NULL), &none, &kind);
    h->login.nonces = h->login.nonces || job->result.nonces;
    if (login_take(&h->login, granted, &kind, job->fetch.own || job->clearing) != 0 ||
        (err == NULL && login_take(&job->answer, granted, &kind, true) != 0)) {
        (void)error_set(&no_memory, STATUS_NO_MEMORY, NULL, "out of memory");
        err = &no_memory;
    }
    if (err != NULL) {
        h->reason = *err;
        if (h->in_memory)
            tell_fetched(job, err, NULL);
        else
            logins_write(h, on_failure_saved, job);
        return;
    }
    h->reason = (struct error){0};
    if (h->in_memory)
        answer_is_safe(job);
    else
        logins_write(h, on_answer_saved, job);
}

/* What the refresh token is now is written, then the failure is told. */
static void fail_fetch_as(struct job *job, enum refresh_state state, const struct error *err)
{
    struct holder *h = job->holder;
    h->login.refresh_state = state;
    h->reason = *err;
    if (h->in_memory)
        tell_fetched(job, err, NULL);
    else
        logins_write(h, on_failure_saved, job);
}

/* How the doubt goes on, in words; seconds until then. */
static uint32_t describe_doubt(const struct holder *h, char *next, size_t size)
{
    uint64_t now = front_now(h->front);
    uint32_t left = h->login.latest_expiry > now ? (uint32_t)((h->login.latest_expiry - now) / SECOND) + 1 : 0;
    if (left > 0)
        (void)snprintf(next, size, "use the present token: the refresh token is sent once more when that has ended, in %u s", left);
    else
        (void)snprintf(next, size, "try again: the refresh token is sent once more");
    return left;
}

/* Behind a status of this kind there may be a server that has taken the token: a gateway's time-out, a crash on the way. */
static bool may_be_taken(const struct error *err)
{
    return err->http_status >= 500 && err->http_status != 503;
}

/* No token. What is to become of the refresh token that was sent? */
static void take_failure(struct job *job, const struct error *err)
{
    struct holder *h = job->holder;
    struct error why = *err;
    if (strcmp(err->oauth_error, "invalid_grant") == 0 && err->status == STATUS_SERVER_REFUSED) {
        end_login(job, err);
    } else if (job->before == REFRESH_SENT && (job->result.in_doubt || job->result.answered)) {
        (void)error_set(&why, err->status, NULL, "the refresh token was in doubt, and was sent once more in vain: %s", err->message);
        end_login(job, &why);
    } else if (job->result.in_doubt) {
        trace_note(h->front, h->profile, "The refresh token was sent, and its answer is not known: in doubt");
        why.retry_after = describe_doubt(h, why.next, sizeof(why.next));
        fail_fetch_as(job, REFRESH_SENT, &why);
    } else { /* it was not sent, or the server answered without a word of having taken it */
        h->login.held = job->result.answered && may_be_taken(err);
        fail_fetch_as(job, job->before, err);
    }
}

static void on_exchanged(void *context, const struct error *err, const struct granted *granted, const struct exchange_result *result)
{
    struct job *job = context;
    job->result = *result;
    if (granted != NULL)
        take_answer(job, err, granted);
    else
        take_failure(job, err);
}

static void send_refresh_token(struct job *job)
{
    struct holder *h = job->holder;
    struct front *f = h->front;
    struct buffer form;
    buffer_init(&form, LOGINS_FORM_MAX);
    form_put(&form, "refresh_token", secret_span(h->login.refresh_token));
    struct exchange_request request = {.profile = h->profile,
                                       .stage = "refresh",
                                       .grant_type = "refresh_token",
                                       .grant_form = buffer_span(&form),
                                       .scope = span_text(job->clearing ? NULL : job->scope),
                                       .resources = job->clearing ? &h->profile->resources : job->fetch.resources,
                                       .precious = true,
                                       .nonces = h->login.nonces,
                                       .user = true,
                                       .subject = span_text(h->login.subject),
                                       .deadline = front_now(f) + h->profile->timeout * SECOND};
    exchange_start(f, &request, on_exchanged, job);
    buffer_free(&form);
}

static void on_intent_saved(void *context, const struct error *err, bool unsealable, const struct login_record *record)
{
    struct job *job = context;
    struct holder *h = job->holder;
    (void)unsealable;
    (void)record;
    logins_note_saved(h, err);
    if (err == NULL) {
        send_refresh_token(job);
        return;
    }
    h->login.refresh_state = job->before; /* not sent */
    tell_fetched(job, err, NULL);
}

static void run_refresh(struct job *job)
{
    struct holder *h = job->holder;
    struct error err;
    if (h->front->ending) {
        (void)error_set(&err, STATUS_RESTARTED, "try again", "the agent is ending or reloading its configuration");
        tell_fetched(job, &err, NULL);
        return;
    }
    job->before = h->login.refresh_state;
    job->clearing = job->before == REFRESH_SENT && !job->fetch.own;
    if (job->before == REFRESH_SENT)
        h->login.resends++;
    h->login.refresh_state = job->before == REFRESH_SENT ? REFRESH_RESENT : REFRESH_SENT;
    if (h->in_memory)
        send_refresh_token(job);
    else
        logins_write(h, on_intent_saved, job);
}

static void wait_in_doubt(struct job *job)
{
    struct holder *h = job->holder;
    struct error err;
    char next[256];
    uint32_t left = describe_doubt(h, next, sizeof(next));
    (void)error_set(&err, STATUS_SERVER_UNAVAILABLE, next, "profile \"%s\": the server may have taken the refresh token without an answer",
                    h->profile->name);
    err.retry_after = left;
    error_put_text(err.stage, sizeof(err.stage), span_text("refresh"));
    tell_fetched(job, &err, NULL);
}

static void on_saved_at_last(void *context, const struct error *err, bool unsealable, const struct login_record *record)
{
    struct job *job = context;
    (void)unsealable;
    (void)record;
    logins_note_saved(job->holder, err);
    if (err != NULL)
        tell_fetched(job, err, NULL);
    else
        login_refresh_run(job);
}

/* A resource that the login has not (RFC 8707 section 2.2). Servers are known to spend the refresh token before they look. */
static bool asks_for_more(const struct job *job, struct error *err)
{
    const struct profile_config *p = job->holder->profile;
    for (size_t i = 0; job->fetch.resources != NULL && i < job->fetch.resources->count; i++) {
        const char *resource = job->fetch.resources->items[i];
        bool found = false;
        for (size_t j = 0; j < p->resources.count && !found; j++)
            found = strcmp(p->resources.items[j], resource) == 0;
        if (found)
            continue;
        (void)error_set(err, STATUS_INVALID_ARGUMENT, "add it to the profile as a resource, then log in again",
                        "profile \"%s\": the login has not asked for the resource %s", p->name, resource);
        return true;
    }
    return false;
}

void login_refresh_run(struct job *job)
{
    struct holder *h = job->holder;
    uint64_t now = front_now(h->front);
    struct error err;
    if (asks_for_more(job, &err)) {
        tell_fetched(job, &err, NULL);
        return;
    }
    if (now >= job->fetch.deadline) {
        (void)error_set(&err, STATUS_TIMEOUT, "try again", "profile \"%s\": other refreshes were before this one", h->profile->name);
        tell_fetched(job, &err, NULL);
        return;
    }
    if (h->unsaved) { /* first of all what is known must be on disk */
        logins_write(h, on_saved_at_last, job);
        return;
    }
    if (!job->fetch.force && login_serves(&h->login, &job->kind, job->fetch.min_valid, now)) {
        struct granted granted = login_granted(&h->login, now);
        tell_fetched(job, NULL, &granted);
        return;
    }
    switch (login_next(&h->login, now)) {
    case LOGIN_NEXT_SEND:
        run_refresh(job);
        break;
    case LOGIN_NEXT_WAIT:
        wait_in_doubt(job);
        break;
    case LOGIN_NEXT_USER:
        (void)login_required(h, &err);
        tell_fetched(job, &err, NULL);
        break;
    }
}
