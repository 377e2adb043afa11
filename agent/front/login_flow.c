/* See login_flow.h: what both grants share. code_flow.c and device_flow.c have the way of each. */
#include "login_flow.h"

#include "children.h"
#include "login_steps.h"
#include "logins.h"
#include "trace.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOWS_MAX 64
#define KEPT_AFTER (60 * SECOND) /* how it ended can be asked for so long */

struct flow_waiter {
    struct flow_waiter *next;
    uint64_t deadline;
    login_finished done;
    void *context;
};

struct login_flows {
    struct front *front;
    struct login_flow *first;
    size_t count;
};

int login_flows_open(struct front *f)
{
    f->login_flows = calloc(1, sizeof(*f->login_flows));
    if (f->login_flows == NULL)
        return -1;
    f->login_flows->front = f;
    return 0;
}

static void free_flow(struct login_flow *x)
{
    char *secrets[] = {x->device_code, x->code, x->url};
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        if (secrets[i] != NULL)
            wipe(secrets[i], strlen(secrets[i]));
        free(secrets[i]);
    }
    while (x->waiters != NULL) {
        struct flow_waiter *w = x->waiters;
        x->waiters = w->next;
        free(w);
    }
    free(x->redirect_uri);
    free(x->issuer);
    free(x->subject);
    free(x->scope);
    wipe(x, sizeof(*x));
    free(x);
}

void login_flows_free(struct login_flows *flows)
{
    if (flows == NULL)
        return;
    while (flows->first != NULL) {
        struct login_flow *x = flows->first;
        flows->first = x->next;
        free_flow(x);
    }
    free(flows);
}

void login_flows_end(struct login_flows *flows)
{
    struct error err;
    for (struct login_flow *x = flows != NULL ? flows->first : NULL; x != NULL; x = x->next) {
        (void)error_set(&err, STATUS_RESTARTED, "begin a new one: dpop login", "the agent is ending or reloading its configuration");
        if (!x->over)
            login_flow_end(x, &err);
    }
}

static struct login_flow *find(const struct login_flows *flows, struct span handle)
{
    struct login_flow *x = flows->first;
    while (x != NULL && (handle.len != sizeof(x->handle) || sodium_memcmp(x->handle, handle.data, handle.len) != 0))
        x = x->next;
    return x;
}

static enum status not_known(struct error *err)
{
    return error_set(err, STATUS_INVALID_ARGUMENT, "begin a new one: dpop login", "no login of this handle is under way");
}

/* --- how it ends --- */

static void tell(struct login_flow *x, struct flow_waiter *w)
{
    struct login_wait_answer answer = {.profile = span_text(x->profile->name), .subject = span_text(x->subject),
                                       .scope = span_text(x->scope), .jkt = span_text(x->jkt), .token_type = span_text(x->token_type),
                                       .expires_in = x->expires_in, .refresh = x->refresh, .persisted = x->persisted,
                                       .note = span_text(x->note[0] != '\0' ? x->note : NULL)};
    if (x->failed)
        w->done(w->context, &x->failure, NULL);
    else
        w->done(w->context, NULL, &answer);
    free(w);
}

static void nothing(void *context, const struct error *err, struct span fields)
{
    (void)context;
    (void)err;
    (void)fields;
}

void login_flow_close(struct login_flow *x, bool success, const char *page)
{
    struct span text = span_of(page, strnlen(page, LIMIT_TEXT));
    struct redirect_close m = {.listener = x->listener, .success = success, .text = text};
    if (!x->listening)
        return;
    x->listening = false;
    children_call(x->front->children, ROLE_NET, INTERNAL_REDIRECT_CLOSE, &message_redirect_close, &m,
                  front_now(x->front) + 5 * SECOND, nothing, NULL);
}

void login_flow_end(struct login_flow *x, const struct error *failure)
{
    struct front *f = x->front;
    struct flow_waiter *waiters = x->waiters;
    char page[2 * LIMIT_TEXT];
    x->over = true;
    x->busy = false;
    x->forget_at = front_now(f) + KEPT_AFTER;
    x->waiters = NULL;
    if (failure != NULL) {
        x->failed = true;
        x->failure = *failure;
        if (x->failure.stage[0] == '\0')
            error_put_text(x->failure.stage, sizeof(x->failure.stage), span_text("authorization"));
    }
    if (failure != NULL)
        (void)snprintf(page, sizeof(page), "The login of profile %s has failed: %s%s%s", x->profile->name, failure->message,
                       failure->oauth_description[0] != '\0' ? ": " : "", failure->oauth_description);
    else
        (void)snprintf(page, sizeof(page), "Profile %s is logged in. You can close this page.", x->profile->name);
    trace_note(f, x->profile, "%s", page);
    login_flow_close(x, failure == NULL, page);
    if (x->begun != NULL) {
        login_begun begun = x->begun;
        x->begun = NULL;
        begun(x->begun_context, &x->failure, NULL);
    }
    while (waiters != NULL) {
        struct flow_waiter *w = waiters;
        waiters = w->next;
        tell(x, w);
    }
    front_wait(f);
}

static void on_kept(void *context, const struct error *err, bool persisted, const char *note)
{
    struct login_flow *x = context;
    x->persisted = persisted;
    (void)snprintf(x->note, sizeof(x->note), "%s", note != NULL ? note : "");
    if (!x->over)
        login_flow_end(x, err);
    x->busy = false;
}

void login_flow_granted(struct login_flow *x, const struct granted *granted, bool nonces)
{
    struct error err;
    struct span scope = granted->scope.data != NULL ? granted->scope : span_text(x->profile->scope);
    x->subject = granted->subject.data != NULL ? span_dup(granted->subject) : NULL;
    x->scope = scope.data != NULL ? span_dup(scope) : NULL;
    (void)!span_copy(span_text(granted->jkt), x->jkt, sizeof(x->jkt));
    error_put_text(x->token_type, sizeof(x->token_type), granted->token_type);
    x->expires_in = granted->lifetime;
    x->refresh = granted->refresh_token.data != NULL;
    if (x->over) { /* cancelled while the server answered */
        x->busy = false;
        return;
    }
    if (x->refresh && x->profile->dpop == DPOP_REFRESH_ONLY && granted->jkt[0] == '\0') {
        (void)error_set(&err, STATUS_INTERNAL, NULL, "profile \"%s\": a refresh token without a proof", x->profile->name);
        login_flow_end(x, &err);
        return;
    }
    logins_keep(x->front, x->profile, granted, nonces, on_kept, x);
}

/* --- begin, wait, redirect, cancel --- */

void login_flow_tell_begun(struct login_flow *x, const struct login_begin_answer *answer)
{
    struct login_begin_answer full = *answer;
    uint64_t now = front_now(x->front);
    login_begun begun = x->begun;
    x->begun = NULL;
    full.login = span_of(x->handle, sizeof(x->handle));
    full.expires_in = x->deadline > now ? (uint32_t)((x->deadline - now) / SECOND) : 0;
    if (begun != NULL)
        begun(x->begun_context, NULL, &full);
    front_wait(x->front);
}

static void on_metadata(void *context, const struct error *err, const struct server_metadata *server)
{
    struct login_flow *x = context;
    if (x->over) { /* a newer one has replaced it */
        x->busy = false;
        return;
    }
    if (err != NULL) {
        login_flow_end(x, err);
        return;
    }
    x->issuer = server->issuer != NULL ? strdup(server->issuer) : NULL;
    if (x->device)
        device_flow_begin(x, server);
    else
        code_flow_begin(x, server);
}

/* A user has one login per profile under way: who begins another has given the first up, perhaps with its terminal. */
static void replace_older(struct login_flows *flows, const struct profile_config *profile)
{
    struct error err;
    for (struct login_flow *x = flows->first; x != NULL; x = x->next) {
        if (x->profile != profile || x->over || x->code != NULL)
            continue;
        (void)error_set(&err, STATUS_LOGIN_REQUIRED, "go on with the newer one", "profile \"%s\": a newer login has replaced this one",
                        profile->name);
        bool busy = x->busy;
        login_flow_end(x, &err);
        x->busy = busy;
    }
}

/* Nobody waits for it, and nothing of it is under way. */
static bool is_past(const struct login_flow *x)
{
    return x->over && !x->busy && !x->waits_for_net;
}

static void forget(struct login_flows *flows, struct login_flow **p)
{
    struct login_flow *x = *p;
    *p = x->next;
    flows->count--;
    free_flow(x);
}

/* Those that have ended are kept for a while, but not at the cost of new ones: the oldest, which is the last, goes. Not one
   that ends right now: the callback of its end may be what brought us here. */
static void make_room(struct login_flows *flows)
{
    struct login_flow **oldest = NULL;
    uint64_t now = front_now(flows->front);
    if (flows->count < FLOWS_MAX)
        return;
    for (struct login_flow **p = &flows->first; *p != NULL; p = &(*p)->next)
        if (is_past(*p) && now + KEPT_AFTER >= (*p)->forget_at + SECOND)
            oldest = p;
    if (oldest != NULL)
        forget(flows, oldest);
}

void login_flow_begin(struct front *f, const struct profile_config *profile, bool device, login_begun done, void *context)
{
    struct login_flows *flows = f->login_flows;
    struct error err;
    struct login_flow *x;
    if (!config_needs_login(profile)) {
        (void)error_set(&err, STATUS_INVALID_ARGUMENT, "set grant = authorization_code or device_code in the profile",
                        "profile \"%s\": its grant (%s) needs no login", profile->name, config_grant_name(profile->grant));
        done(context, &err, NULL);
        return;
    }
    make_room(flows);
    if (flows->count >= FLOWS_MAX || (x = calloc(1, sizeof(*x))) == NULL) {
        (void)error_set(&err, STATUS_BUSY, "end one of them, or try again later", "%zu logins are under way", flows->count);
        done(context, &err, NULL);
        return;
    }
    replace_older(flows, profile);
    *x = (struct login_flow){.next = flows->first, .front = f, .profile = profile, .begun = done, .begun_context = context};
    randombytes_buf(x->handle, sizeof(x->handle));
    x->device = device || profile->grant == GRANT_DEVICE_CODE;
    x->began = front_now(f);
    x->deadline = x->began + profile->login_timeout * SECOND;
    x->busy = true;
    flows->first = x;
    flows->count++;
    front_wait(f);
    metadata_get(f->metadata, profile, login_flow_step_deadline(x), on_metadata, x);
}

uint64_t login_flow_step_deadline(const struct login_flow *x)
{
    return front_now(x->front) + x->profile->timeout * SECOND;
}

void login_flow_wait(struct front *f, struct span handle, uint64_t deadline, login_finished done, void *context)
{
    struct login_flow *x = find(f->login_flows, handle);
    struct error err;
    struct flow_waiter *w = x != NULL ? malloc(sizeof(*w)) : NULL;
    if (w == NULL) {
        (void)(x == NULL ? not_known(&err) : error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory"));
        done(context, &err, NULL);
        return;
    }
    *w = (struct flow_waiter){.next = x->waiters, .deadline = deadline, .done = done, .context = context};
    if (x->over) {
        tell(x, w);
        return;
    }
    x->waiters = w;
    front_wait(f);
}

enum status login_flow_redirect(struct front *f, struct span handle, struct span url, struct error *err)
{
    struct login_flow *x = find(f->login_flows, handle);
    if (x == NULL)
        return not_known(err);
    if (x->device || x->over || x->redirected)
        return error_set(err, STATUS_INVALID_ARGUMENT, NULL, "this login waits for no redirect");
    const uint8_t *fragment = memchr(url.data, '#', url.len); /* browsers show what some servers add */
    if (fragment != NULL)
        url.len = (size_t)(fragment - url.data);
    const uint8_t *mark = memchr(url.data, '?', url.len);
    size_t uri = strlen(x->redirect_uri);
    if (mark == NULL || (size_t)(mark - url.data) != uri || memcmp(url.data, x->redirect_uri, uri) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "copy all of the browser's address line",
                         "this is not the redirect URI %s with what the server added to it", x->redirect_uri);
    code_flow_redirected(x, span_of(mark + 1, url.len - uri - 1));
    return STATUS_OK;
}

enum status login_flow_cancel(struct front *f, struct span handle, struct error *err)
{
    struct login_flow *x = find(f->login_flows, handle);
    struct error cancelled;
    if (x == NULL)
        return not_known(err);
    if (x->over)
        return STATUS_OK;
    (void)error_set(&cancelled, STATUS_LOGIN_REQUIRED, "begin a new one: dpop login", "profile \"%s\": the login was cancelled",
                    x->profile->name);
    bool busy = x->busy;
    login_flow_end(x, &cancelled);
    x->busy = busy; /* an answer is still to come, and must find the flow */
    return STATUS_OK;
}

/* --- the tick --- */

static void expire_waiters(struct login_flow *x, uint64_t now)
{
    struct error err;
    struct flow_waiter *over = NULL; /* a list of their own, since a callback may change the flow's */
    for (struct flow_waiter **p = &x->waiters; *p != NULL;) {
        struct flow_waiter *w = *p;
        if (now < w->deadline) {
            p = &w->next;
            continue;
        }
        *p = w->next;
        w->next = over;
        over = w;
    }
    while (over != NULL) {
        struct flow_waiter *w = over;
        over = w->next;
        (void)error_set(&err, STATUS_TIMEOUT, "wait again", "profile \"%s\": the user has not logged in yet", x->profile->name);
        w->done(w->context, &err, NULL);
        free(w);
    }
}

static void tick_flow(struct login_flow *x, uint64_t now)
{
    struct error err;
    expire_waiters(x, now);
    if (x->over)
        return;
    if (now >= x->deadline && !x->busy) {
        (void)error_set(&err, STATUS_LOGIN_REQUIRED, "begin a new one: dpop login",
                        "profile \"%s\": the user has not logged in within %llu s", x->profile->name,
                        (unsigned long long)((x->deadline - x->began) / SECOND));
        login_flow_end(x, &err);
    } else if (x->device && !x->busy && x->begun == NULL && now >= x->poll_at && !x->front->ending) {
        device_flow_poll(x);
    }
}

void login_flows_tick(struct login_flows *flows, uint64_t now)
{
    for (struct login_flow *x = flows->first; x != NULL; x = x->next)
        tick_flow(x, now);
    for (struct login_flow **p = &flows->first; *p != NULL;) {
        if (is_past(*p) && now >= (*p)->forget_at)
            forget(flows, p);
        else
            p = &(*p)->next;
    }
}

bool login_flows_busy(const struct login_flows *flows)
{
    for (const struct login_flow *x = flows->first; x != NULL; x = x->next)
        if (x->busy && (x->code != NULL || x->device_code != NULL))
            return true;
    return false;
}

bool login_flows_waiting(const struct login_flows *flows)
{
    return flows->first != NULL;
}
