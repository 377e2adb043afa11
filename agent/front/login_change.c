/* See login_jobs.h: a new login takes the place of the old one; a login ends. */
#include "login_jobs.h"

#include "form.h"
#include "tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- a new login --- */

static void on_old_removed(void *context, const struct error *err, bool unsealable, const struct login_record *record)
{
    struct job *job = context;
    (void)unsealable;
    (void)record;
    job->kept(job->context, err, false, job->note);
    logins_end_job(job);
}

/* The new login is in memory alone: the one before must not come back from the disk. */
static void keep_in_memory(struct job *job, const char *why)
{
    struct holder *h = job->holder;
    (void)snprintf(job->note, sizeof(job->note), "%s", why);
    login_store_remove(h->front, h->profile, front_now(h->front) + LOGINS_STORE_TIMEOUT, on_old_removed, job);
}

static void on_kept(void *context, const struct error *err, bool unsealable, const struct login_record *record)
{
    struct job *job = context;
    struct holder *h = job->holder;
    (void)record;
    if (unsealable) {
        h->in_memory = true;
        h->persisted = false;
        h->unsaved = false;
        h->reason = *err;
        keep_in_memory(job, err->message);
        return;
    }
    logins_note_saved(h, err);
    job->kept(job->context, err, err == NULL, NULL);
    logins_end_job(job);
}

/* What the job brings becomes the login. */
void login_change_keep(struct job *job)
{
    struct holder *h = job->holder;
    logins_forget(h, NULL);
    tokens_forget(h->front->tokens, h->profile);
    h->login = job->answer;
    job->answer = (struct login){0};
    h->in_memory = !h->profile->persist; /* a token that could seal nothing may be able to now */
    if (h->in_memory)
        keep_in_memory(job, "persist = no");
    else
        logins_write(h, on_kept, job);
}

/* --- another key --- */

static void on_rekeyed(void *context, const struct error *err, bool unsealable, const struct login_record *record)
{
    struct job *job = context;
    (void)unsealable;
    (void)record;
    logins_note_saved(job->holder, err);
    logins_end_job(job);
}

void login_change_rekey(struct job *job)
{
    struct holder *h = job->holder;
    if (h->login.access_token != NULL) {
        struct granted granted = login_granted(&h->login, front_now(h->front));
        tokens_put_stray(h->front->tokens, h->profile, &granted);
        login_drop_access(&h->login);
    }
    if (h->login.refresh_token == NULL || h->in_memory)
        logins_end_job(job);
    else
        logins_write(h, on_rekeyed, job);
}

/* --- the end of a login: gone from memory and disk first, then the server is asked --- */

/* What a job brings to tell stands where others have their scope and result. */
static void tell_ended(struct job *job, const struct error *err)
{
    const char *note = job->note[0] != '\0' ? job->note : NULL; /* absent on the wire where all went well */
    job->ended(job->context, err, job->answer.refresh_token != NULL || job->answer.access_token != NULL, job->revoked,
               note);
    logins_end_job(job);
}

static void on_revoked(void *context, const struct error *err, const struct fetch_answer *answer,
                       const struct as_result *result)
{
    struct job *job = context;
    struct error refused;
    (void)result;
    if (err == NULL && answer->http_status != 200)
        err = (as_request_refused(job->holder->profile, "the revocation endpoint", "revocation", answer, &refused),
               &refused);
    job->revoked = err == NULL;
    (void)snprintf(job->note, sizeof(job->note), "%s", err != NULL ? err->message : "");
    tell_ended(job, NULL);
}

static void on_revocation_metadata(void *context, const struct error *err, const struct server_metadata *server)
{
    struct job *job = context;
    struct holder *h = job->holder;
    struct buffer form;
    bool refresh = job->answer.refresh_token != NULL;
    if (err != NULL || server->revocation_endpoint == NULL) {
        (void)snprintf(job->note, sizeof(job->note), "%s",
                       err != NULL ? err->message : "the server has no revocation endpoint");
        tell_ended(job, NULL);
        return;
    }
    buffer_init(&form, LOGINS_FORM_MAX);
    form_put(&form, "token", secret_span(refresh ? job->answer.refresh_token : job->answer.access_token));
    form_put(&form, "token_type_hint", span_text(refresh ? "refresh_token" : "access_token"));
    for (size_t i = 0; i < h->profile->revocation_form.count; i++)
        form_put_pair(&form, h->profile->revocation_form.items[i]);
    struct as_request request = {.profile = h->profile, .server = server, .endpoint = server->revocation_endpoint,
                                 .stage = "revocation", .form = buffer_span(&form),
                                 .deadline = front_now(h->front) + h->profile->timeout * SECOND};
    as_request_send(h->front, &request, on_revoked, job);
    buffer_free(&form);
}

static void on_ended(void *context, const struct error *err, bool unsealable, const struct login_record *record)
{
    struct job *job = context;
    struct holder *h = job->holder;
    (void)unsealable;
    (void)record;
    if (err != NULL || (job->answer.refresh_token == NULL && job->answer.access_token == NULL))
        tell_ended(job, err);
    else
        metadata_get(h->front->metadata, h->profile, front_now(h->front) + h->profile->timeout * SECOND,
                     on_revocation_metadata, job);
}

void login_change_end(struct job *job)
{
    struct holder *h = job->holder;
    struct error why;
    job->answer = h->login;
    h->login = (struct login){0};
    if (job->why != NULL)
        (void)error_set(&why, STATUS_LOGIN_REQUIRED, NULL, "%s", job->why);
    logins_forget(h, job->why != NULL ? &why : NULL);
    tokens_forget(h->front->tokens, h->profile);
    login_store_remove(h->front, h->profile, front_now(h->front) + LOGINS_STORE_TIMEOUT, on_ended, job);
}
