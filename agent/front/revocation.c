/* See revocation.h. Everything is begun at once: as_request.c sees to it that no server gets too much. */
#include "revocation.h"

#include "as_request.h"
#include "form.h"
#include "logins.h"
#include "tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORM_MAX (4 * LIMIT_ACCESS_TOKEN)
#define NO_JWT "unsupported_token_type" /* RFC 7009 section 2.2.1 */

/* One profile. */
struct bound {
    struct revocation *revocation;
    const struct profile_config *profile;
    struct taken_token *tokens;
    unsigned int ended, kept; /* tokens that the server has taken back, and those that it has not */
    bool login_due, login_kept;
    char note[LIMIT_TEXT];
};

struct revocation {
    struct front *front;
    struct bound *bound;
    size_t count, pending;
    uint64_t deadline;
    struct list_builder *infos;
    revocation_done done;
    void *context;
};

static void put_info(const struct bound *b, struct list_builder *out)
{
    bool something = b->ended + b->kept > 0 || b->login_due;
    struct bound_info info = {.profile = span_text(b->profile->name),
                              .revoked = something && b->kept == 0 && !b->login_kept,
                              .login_due = b->login_due,
                              .note = span_text(b->note[0] != '\0' ? b->note : NULL)};
    list_builder_add(out, &message_bound_info, &info);
}

/* One of them has ended. */
static void finish_one(struct revocation *x)
{
    if (--x->pending > 0)
        return;
    for (size_t i = 0; i < x->count; i++)
        put_info(&x->bound[i], x->infos);
    x->done(x->context);
    for (size_t i = 0; i < x->count; i++)
        taken_tokens_free(x->bound[i].tokens);
    free(x->bound);
    free(x);
}

/* The first reason is told: the others are mostly the same. */
static void note(struct bound *b, const char *what, const char *why, const char *more)
{
    char text[2 * LIMIT_TEXT];
    (void)snprintf(text, sizeof(text), "%s: %s%s", what, why, more);
    if (b->note[0] == '\0')
        error_put_text(b->note, sizeof(b->note), span_text(text));
}

/* --- access tokens --- */

static void on_revoked(void *context, const struct error *err, const struct fetch_answer *answer,
                       const struct as_result *result)
{
    struct bound *b = context;
    struct error refused;
    (void)result;
    if (err == NULL && answer->http_status != 200)
        err = (as_request_refused(b->profile, "the revocation endpoint", "revocation", answer, &refused), &refused);
    if (err == NULL)
        b->ended++;
    else
        b->kept++;
    if (err != NULL)
        note(b, "an access token was not revoked", err->message,
             strcmp(err->oauth_error, NO_JWT) == 0 ? "; it ends by itself, and is of no use without its key" : "");
    finish_one(b->revocation);
}

static void take_back(struct bound *b, const struct taken_token *token, const struct server_metadata *server)
{
    struct revocation *x = b->revocation;
    struct buffer form;
    buffer_init(&form, FORM_MAX);
    form_put(&form, "token", secret_span(token->token.access_token));
    form_put(&form, "token_type_hint", span_text("access_token"));
    for (size_t i = 0; i < b->profile->revocation_form.count; i++)
        form_put_pair(&form, b->profile->revocation_form.items[i]);
    struct as_request request = {.profile = b->profile, .server = server, .endpoint = server->revocation_endpoint,
                                 .stage = "revocation", .form = buffer_span(&form), .deadline = x->deadline};
    x->pending++;
    as_request_send(x->front, &request, on_revoked, b);
    buffer_free(&form);
}

static void on_metadata(void *context, const struct error *err, const struct server_metadata *server)
{
    struct bound *b = context;
    bool endpoint = err == NULL && server->revocation_endpoint != NULL;
    for (const struct taken_token *t = b->tokens; t != NULL; t = t->next)
        if (endpoint)
            take_back(b, t, server);
        else
            b->kept++;
    if (!endpoint)
        note(b, "its access tokens were not revoked",
             err != NULL ? err->message : "the server has no revocation endpoint", "");
    finish_one(b->revocation);
}

/* --- a login --- */

static void on_login_ended(void *context, const struct error *err, bool was_in, bool revoked, const char *why)
{
    struct bound *b = context;
    b->login_due = was_in;
    b->login_kept = was_in && !revoked;
    if (err != NULL)
        note(b, "its login", err->message, "");
    else if (was_in && why != NULL)
        note(b, "its login was not revoked", why, "");
    finish_one(b->revocation);
}

/* To revoke an access token is to end the login at many servers (RFC 7009 section 2.1 lets them). */
static void keep_login(struct bound *b)
{
    for (const struct taken_token *t = b->tokens; t != NULL; t = t->next)
        b->kept++;
    if (b->kept > 0)
        note(b, "its login stays, so its access token was not revoked", "that might end the login",
             "; the token ends by itself, and is of no use without its key");
}

static void begin(struct bound *b, const struct revocation_request *request)
{
    struct revocation *x = b->revocation;
    struct taken_token **end = &b->tokens;
    while (*end != NULL)
        end = &(*end)->next;
    *end = tokens_take(x->front->tokens, b->profile, request->jkt);
    if (config_needs_login(b->profile) && request->keep_logins && !logins_bound(x->front, b->profile)) {
        keep_login(b);
        return;
    }
    if (config_needs_login(b->profile)) {
        x->pending++;
        logins_end_because(x->front, b->profile, request->why, on_login_ended, b);
    }
    if (b->tokens != NULL) {
        x->pending++;
        metadata_get(x->front->metadata, b->profile, x->deadline, on_metadata, b);
    }
}

static void hand_out(struct revocation *x, struct taken_token *taken)
{
    while (taken != NULL) {
        struct taken_token *t = taken;
        struct bound *b = x->bound;
        taken = t->next;
        while (b < x->bound + x->count && b->profile != t->profile)
            b++;
        t->next = b < x->bound + x->count ? b->tokens : NULL;
        if (b < x->bound + x->count)
            b->tokens = t;
        else
            taken_tokens_free(t);
    }
}

void revocation_start(struct front *f, const struct revocation_request *request, revocation_done done, void *context)
{
    struct revocation *x = calloc(1, sizeof(*x));
    struct bound *bound = calloc(request->count + 1, sizeof(*bound));
    if (x == NULL || bound == NULL) {
        free(x);
        free(bound);
        taken_tokens_free(request->taken);
        done(context);
        return;
    }
    *x = (struct revocation){.front = f, .bound = bound, .count = request->count, .pending = 1, .infos = request->bound,
                             .deadline = request->deadline, .done = done, .context = context};
    for (size_t i = 0; i < x->count; i++)
        bound[i] = (struct bound){.revocation = x, .profile = request->profiles[i]};
    hand_out(x, request->taken);
    for (size_t i = 0; i < x->count; i++)
        begin(&bound[i], request);
    finish_one(x);
}
