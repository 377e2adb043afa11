/* See key_proof.h. */
#include "key_proof.h"

#include "base64url.h"
#include "form.h"
#include "grants.h"
#include "key_use.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_BYTES 24
#define FORM_MAX 1024

struct key_proof {
    struct front *front;
    struct key_swap swap;
    uint64_t deadline;
    size_t pending;
    bool failed;
    struct error failure; /* the first */
    struct taken_token *tokens;
    key_proof_done done;
    void *context;
};

/* One profile's. */
struct fetch {
    struct key_proof *proof;
    const struct profile_config *profile;
};

static void finish_one(struct key_proof *x)
{
    if (--x->pending > 0)
        return;
    if (x->failed) {
        taken_tokens_free(x->tokens);
        x->tokens = NULL;
    }
    x->done(x->context, x->failed ? &x->failure : NULL, x->tokens);
    free(x);
}

static void fail(struct key_proof *x, const struct error *why)
{
    char text[2 * LIMIT_TEXT];
    if (x->failed)
        return;
    x->failed = true;
    x->failure = *why;
    (void)snprintf(text, sizeof(text), "key \"%s\" is not proved, and nothing is changed: %s", keys_name(x->swap.use),
                   why->message);
    error_put_text(x->failure.message, sizeof(x->failure.message), span_text(text));
    if (why->status != STATUS_SERVER_REFUSED)
        return;
    (void)snprintf(text, sizeof(text), "register the new key there first (dpop key show %s), then commit again",
                   keys_name(x->swap.use));
    error_put_text(x->failure.next, sizeof(x->failure.next), span_text(text));
}

static void on_fetched(void *context, const struct error *err, const struct granted *granted,
                       const struct exchange_result *result)
{
    struct fetch *w = context;
    struct key_proof *x = w->proof;
    struct taken_token *t = err == NULL ? calloc(1, sizeof(*t)) : NULL;
    struct error no_memory;
    (void)result;
    if (err == NULL && (t == NULL || held_token_take(&t->token, granted, front_now(x->front)) != 0))
        err = (error_set(&no_memory, STATUS_NO_MEMORY, NULL, "out of memory"), &no_memory);
    if (err != NULL) {
        free(t);
        fail(x, err);
    } else {
        t->profile = w->profile;
        t->next = x->tokens;
        x->tokens = t;
    }
    free(w);
    finish_one(x);
}

/* A refresh token that nobody has given: a client that authenticates well hears of that (invalid_grant), any other of
   itself. */
static void on_probed(void *context, const struct error *err, const struct granted *granted,
                      const struct exchange_result *result)
{
    struct fetch *w = context;
    struct key_proof *x = w->proof;
    (void)granted;
    if (err != NULL &&
        (!result->answered || strcmp(err->oauth_error, "invalid_client") == 0 || err->status != STATUS_SERVER_REFUSED))
        fail(x, err);
    free(w);
    finish_one(x);
}

static void probe(struct fetch *w)
{
    struct key_proof *x = w->proof;
    uint8_t random[PROBE_BYTES];
    char text[BASE64URL_LENGTH(PROBE_BYTES) + 1];
    struct buffer form;
    randombytes_buf(random, sizeof(random));
    base64url_encode(random, sizeof(random), text);
    buffer_init(&form, FORM_MAX);
    form_put(&form, "refresh_token", span_text(text));
    struct exchange_request request = {.profile = w->profile,
                                       .swap = x->swap,
                                       .stage = "token request",
                                       .grant_type = "refresh_token",
                                       .grant_form = buffer_span(&form),
                                       .deadline = x->deadline};
    exchange_start(x->front, &request, on_probed, w);
    buffer_free(&form);
}

static void fetch(struct key_proof *x, const struct profile_config *p)
{
    static const struct grant_inputs no_inputs;
    struct list none = {0};
    struct token_kind kind;
    struct error err;
    struct fetch *w = malloc(sizeof(*w));
    if (w == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        fail(x, &err);
        return;
    }
    *w = (struct fetch){.proof = x, .profile = p};
    x->pending++;
    if (!key_use_provable(x->front->config, p)) {
        probe(w);
        return;
    }
    token_kind_of(p, span_text(NULL), &none, &kind);
    struct grant_request request = {.profile = p,
                                    .swap = x->swap,
                                    .kind = &kind,
                                    .own = true,
                                    .scope = span_text(p->scope),
                                    .resources = &p->resources,
                                    .inputs = &no_inputs,
                                    .force = true,
                                    .deadline = x->deadline};
    grants_fetch(x->front, &request, on_fetched, w);
}

/* Where tokens come from users, the key has nothing to show but its client's authentication. */
static bool has_to_prove(const struct key_proof *x, const struct profile_config *p)
{
    const char *name = keys_name(x->swap.instead_of);
    return key_use_provable(x->front->config, p) ? key_use_any(p, name) : key_use_authenticates(p, name);
}

/* It signs. Now what it is for. */
static void on_signed(void *context, const struct error *err, const struct key_public *key, const uint8_t *signature)
{
    struct key_proof *x = context;
    const struct config *config = x->front->config;
    (void)key;
    (void)signature;
    if (err != NULL)
        fail(x, err);
    for (size_t i = 0; i < config->profile_count && !x->failed; i++)
        if (has_to_prove(x, &config->profiles[i]))
            fetch(x, &config->profiles[i]);
    finish_one(x);
}

void key_proof_start(struct front *f, const struct key_swap *swap, uint64_t deadline, key_proof_done done,
                     void *context)
{
    struct key_proof *x = calloc(1, sizeof(*x));
    struct error err;
    if (x == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, NULL);
        return;
    }
    *x = (struct key_proof){
        .front = f, .swap = *swap, .deadline = deadline, .pending = 1, .done = done, .context = context};
    keys_sign(swap->use, &(struct sign_job){.done = on_signed, .context = x, .deadline = deadline});
}
