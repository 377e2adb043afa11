/* See logins.h and login_jobs.h: login.c decides, login_store.c writes. */
#include "login_jobs.h"

#include "keys.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAVE_AGAIN (2 * SECOND) /* after a save that failed: a full disk, say */
#define JOBS_MAX 4096

struct logins {
    struct front *front;
    struct holder *holders; /* one for each profile of the configuration */
};

static void run_next(struct holder *h);

static struct holder *holder_of(struct front *f, const struct profile_config *profile)
{
    return &f->logins->holders[profile - f->config->profiles];
}

int logins_open(struct front *f)
{
    struct logins *logins = calloc(1, sizeof(*logins));
    if (logins == NULL)
        return -1;
    f->logins = logins;
    logins->front = f;
    logins->holders = calloc(f->config->profile_count + 1, sizeof(*logins->holders));
    if (logins->holders == NULL)
        return -1;
    for (size_t i = 0; i < f->config->profile_count; i++) {
        struct holder *h = &logins->holders[i];
        *h = (struct holder){.front = f, .profile = &f->config->profiles[i], .end = &h->first};
        h->in_memory = !h->profile->persist;
        h->loaded = h->in_memory ? LOADED : NOT_LOADED;
    }
    return 0;
}

static void free_job(struct job *job)
{
    login_clear(&job->answer);
    free(job->scope);
    free(job);
}

void logins_free(struct logins *logins)
{
    if (logins == NULL)
        return;
    for (size_t i = 0; logins->holders != NULL && i < logins->front->config->profile_count; i++) {
        struct holder *h = &logins->holders[i];
        while (h->first != NULL) {
            struct job *job = h->first;
            h->first = job->next;
            free_job(job);
        }
        login_clear(&h->login);
    }
    free(logins->holders);
    free(logins);
}

/* --- jobs in turn --- */

/* Its caller has been told. */
void logins_end_job(struct job *job)
{
    struct holder *h = job->holder;
    h->first = job->next;
    if (h->first == NULL)
        h->end = &h->first;
    h->count--;
    h->at_work = false;
    free_job(job);
    run_next(h);
}

static struct job *new_job(struct holder *h, struct error *err)
{
    struct job *job = h->count < JOBS_MAX ? calloc(1, sizeof(*job)) : NULL;
    if (job == NULL) {
        (void)error_set(err, STATUS_BUSY, "try again later",
                        "profile \"%s\": too many requests wait for its refresh token", h->profile->name);
        return NULL;
    }
    job->holder = h;
    return job;
}

/* A new login, or a login's end, comes before what waits for tokens, which then gets them from what is there
   afterwards. */
static void add_job(struct job *job)
{
    struct holder *h = job->holder;
    struct job **at = h->end;
    if (job->fetched == NULL && h->first != NULL) {
        at = h->at_work ? &h->first->next : &h->first;
        while (*at != NULL && (*at)->fetched == NULL)
            at = &(*at)->next;
    }
    job->next = *at;
    *at = job;
    if (job->next == NULL)
        h->end = &job->next;
    h->count++;
    front_wait(h->front);
    run_next(h);
}

static void on_loaded(void *context, const struct error *err, bool unsealable, const struct login_record *record)
{
    struct holder *h = context;
    struct front *f = h->front;
    const struct key_public *key = keys_public(keys_find(f->keys, span_text(h->profile->key)));
    struct error wrong;
    if (err == NULL && record != NULL &&
        login_from_record(&h->login, record, key != NULL ? key->jkt : "", front_now(f), (int64_t)time(NULL)) != 0)
        err = (error_set(&wrong, STATUS_NO_MEMORY, NULL, "out of memory"), &wrong);
    if (err != NULL)
        h->reason = *err;
    else
        h->reason = (struct error){0}; /* of a load that failed before */
    /* A record that cannot be opened needs a user, who is told why. */
    if (err == NULL || unsealable || err->status == STATUS_LOGIN_REQUIRED) {
        h->loaded = LOADED;
        h->persisted = record != NULL;
        if (record != NULL)
            log_info("profile %s: logged in%s%s", h->profile->name, h->login.subject != NULL ? " as " : "",
                     h->login.subject != NULL ? h->login.subject : "");
        run_next(h);
        return;
    }
    log_warning("profile %s: its login cannot be read: %s", h->profile->name, err->message);
    /* Still LOADING: nothing begins in between. A new login, and the end of one, need nothing of the old one. */
    for (size_t left = h->count; left > 0 && h->first->kept == NULL && h->first->ended == NULL; left--) {
        struct job *job = h->first;
        h->at_work = true; /* what its caller asks for in return comes after it */
        job->failed(job, err);
        logins_end_job(job);
    }
    h->loaded = h->first != NULL && (h->first->kept != NULL || h->first->ended != NULL) ? LOADED : NOT_LOADED;
    run_next(h);
}

static void load(struct holder *h)
{
    h->loaded = LOADING;
    login_store_load(h->front, h->profile, front_now(h->front) + LOGINS_STORE_TIMEOUT, on_loaded, h);
}

/* A job may end at once and come back here: then the loop that is at work already goes on. */
static void run_next(struct holder *h)
{
    if (h->beginning)
        return;
    h->beginning = true;
    while (!h->at_work && h->first != NULL && h->loaded != LOADING) {
        if (h->loaded == NOT_LOADED) {
            load(h);
        } else {
            h->at_work = true;
            h->first->run(h->first);
        }
    }
    h->beginning = false;
}

void logins_key_ready(struct logins *logins, const char *key)
{
    for (size_t i = 0; i < logins->front->config->profile_count; i++) {
        struct holder *h = &logins->holders[i];
        if (config_needs_login(h->profile) && h->loaded == NOT_LOADED && strcmp(h->profile->key, key) == 0)
            load(h);
    }
}

/* --- writing --- */

void logins_write(struct holder *h, login_store_done done, void *context)
{
    struct login_record record;
    login_record(&h->login, front_now(h->front), (int64_t)time(NULL), &record);
    login_store_save(h->front, h->profile, &record, front_now(h->front) + LOGINS_STORE_TIMEOUT, done, context);
}

void logins_note_saved(struct holder *h, const struct error *err)
{
    h->unsaved = err != NULL;
    h->persisted = err == NULL;
    if (err == NULL) {
        h->reason = (struct error){0};
        return;
    }
    h->reason = *err;
    h->save_at = front_now(h->front) + SAVE_AGAIN;
    log_error("profile %s: its refresh token cannot be written: %s", h->profile->name, err->message);
    front_wait(h->front);
}

void logins_forget(struct holder *h, const struct error *why)
{
    login_clear(&h->login);
    h->persisted = false;
    h->unsaved = false;
    if (why != NULL)
        h->reason = *why;
    else
        h->reason = (struct error){0};
}

/* --- what is asked for --- */

static void fail_fetch(struct job *job, const struct error *err)
{
    job->fetched(job->context, err, NULL, &job->result);
}

void logins_fetch(struct front *f, const struct login_fetch *fetch, exchange_done done, void *context)
{
    struct exchange_result nothing = {0};
    struct error err;
    struct job *job = new_job(holder_of(f, fetch->profile), &err);
    if (job != NULL && !fetch->own && fetch->scope.data != NULL && (job->scope = span_dup(fetch->scope)) == NULL) {
        free_job(job);
        job = NULL;
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
    }
    if (job == NULL) {
        done(context, &err, NULL, &nothing);
        return;
    }
    job->fetch = *fetch;
    job->kind = *fetch->kind;
    job->fetched = done;
    job->context = context;
    job->run = login_refresh_run;
    job->failed = fail_fetch;
    add_job(job);
}

static void fail_keep(struct job *job, const struct error *err)
{
    job->kept(job->context, err, false, NULL);
}

void logins_keep(struct front *f, const struct profile_config *profile, const struct granted *granted, bool nonces,
                 login_kept done, void *context)
{
    struct error err;
    struct job *job = new_job(holder_of(f, profile), &err);
    struct list none = {0};
    if (job == NULL) {
        done(context, &err, false, NULL);
        return;
    }
    token_kind_of(profile, span_text(NULL), &none, &job->kind);
    job->answer.nonces = nonces;
    char *scope = span_dup(granted->scope.data != NULL ? granted->scope
                           : span_text(profile->scope != NULL ? profile->scope : ""));
    if (scope == NULL || login_take(&job->answer, granted, &job->kind, true) != 0) {
        free(scope);
        free_job(job);
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, false, NULL);
        return;
    }
    job->answer.scope = scope;
    job->kept = done;
    job->context = context;
    job->run = login_change_keep;
    job->failed = fail_keep;
    holder_of(f, profile)->loaded = holder_of(f, profile)->loaded == NOT_LOADED ? LOADED
        : holder_of(f, profile)->loaded;
    add_job(job);
}

static void fail_end(struct job *job, const struct error *err)
{
    job->ended(job->context, err, false, false, NULL);
}

void logins_end(struct front *f, const struct profile_config *profile, login_ended done, void *context)
{
    logins_end_because(f, profile, NULL, done, context);
}

void logins_end_because(struct front *f, const struct profile_config *profile, const char *why, login_ended done,
                        void *context)
{
    struct error err;
    struct job *job = new_job(holder_of(f, profile), &err);
    if (job == NULL) {
        done(context, &err, false, false, NULL);
        return;
    }
    job->ended = done;
    job->context = context;
    job->why = why;
    job->run = login_change_end;
    job->failed = fail_end;
    add_job(job);
}

bool logins_bound(const struct front *f, const struct profile_config *profile)
{
    const struct login *login = &f->logins->holders[profile - f->config->profiles].login;
    return config_needs_login(profile) &&
           (profile->client_authentication == CLIENT_NONE || login->refresh_token == NULL);
}

static void fail_rekey(struct job *job, const struct error *err)
{
    (void)job;
    (void)err;
}

/* One that is not loaded yet has a record that another key has sealed: it will say so. */
void logins_rekey(struct front *f, const struct profile_config *profile)
{
    struct error err;
    struct job *job = new_job(holder_of(f, profile), &err);
    if (job == NULL)
        return;
    job->run = login_change_rekey;
    job->failed = fail_rekey;
    add_job(job);
}

/* --- the tick --- */

static void on_background_saved(void *context, const struct error *err, bool unsealable,
                                const struct login_record *record)
{
    struct job *job = context;
    (void)unsealable;
    (void)record;
    logins_note_saved(job->holder, err);
    logins_end_job(job);
}

static void run_save(struct job *job)
{
    if (job->holder->unsaved)
        logins_write(job->holder, on_background_saved, job);
    else
        logins_end_job(job);
}

static void fail_save(struct job *job, const struct error *err)
{
    (void)job;
    (void)err;
}

void logins_tick(struct logins *logins, uint64_t now)
{
    for (size_t i = 0; i < logins->front->config->profile_count; i++) {
        struct holder *h = &logins->holders[i];
        struct error err;
        struct job *job;
        if (!h->unsaved || now < h->save_at || h->first != NULL || (job = new_job(h, &err)) == NULL)
            continue;
        job->run = run_save;
        job->failed = fail_save;
        add_job(job);
    }
}

bool logins_busy(const struct logins *logins)
{
    for (size_t i = 0; i < logins->front->config->profile_count; i++)
        if (logins->holders[i].at_work)
            return true;
    return false;
}

bool logins_waiting(const struct logins *logins)
{
    for (size_t i = 0; i < logins->front->config->profile_count; i++)
        if (logins->holders[i].unsaved)
            return true;
    return false;
}

void logins_refused(struct front *f, const struct profile_config *profile, uint64_t latest)
{
    struct login *login = &f->logins->holders[profile - f->config->profiles].login;
    if (login->latest_expiry > latest)
        login->latest_expiry = latest;
}

bool logins_nonces(const struct front *f, const struct profile_config *profile)
{
    return f->logins->holders[profile - f->config->profiles].login.nonces;
}

bool logins_peek(const struct front *f, const struct profile_config *profile, const struct token_kind *kind,
                 struct granted *out)
{
    const struct login *login = &f->logins->holders[profile - f->config->profiles].login;
    uint64_t now = front_now(f);
    if (!login_serves(login, kind, 0, now))
        return false;
    *out = login_granted(login, now);
    return true;
}

struct login_state logins_state(const struct logins *logins, const struct profile_config *profile)
{
    const struct holder *h = &logins->holders[profile - logins->front->config->profiles];
    struct login_state s = {.reason = h->reason.message[0] != '\0' ? h->reason.message : NULL,
                            .subject = h->login.subject,
                            .persisted = h->persisted};
    bool access = h->login.access_token != NULL && h->login.expires > front_now(logins->front);
    if (h->loaded != LOADED)
        s.state = "loading";
    else if (h->login.refresh_token == NULL && !access)
        s.state = "login required";
    else if (h->login.refresh_token != NULL && h->login.refresh_state != REFRESH_FRESH)
        s.state = h->at_work ? "logged in" : "in doubt";
    else
        s.state = "logged in";
    if (h->in_memory && s.reason == NULL && h->profile->persist == false)
        s.reason = "persist = no: in memory only";
    return s;
}
