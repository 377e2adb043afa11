/*
 * The logins as their parts see them: logins.c keeps them and runs their jobs, login_refresh.c fetches tokens,
 * login_change.c has a new login and a login's end. A job runs when the one before it has ended; each of its steps
 * starts the next one from its callback, and the last one ends in logins_end_job.
 */
#ifndef FRONT_LOGIN_JOBS_H
#define FRONT_LOGIN_JOBS_H

#include "login.h"
#include "login_store.h"
#include "logins.h"

#define SECOND UINT64_C(1000000)
#define LOGINS_STORE_TIMEOUT (30 * SECOND)
#define LOGINS_FORM_MAX (4 * LIMIT_ACCESS_TOKEN) /* a refresh token, encoded */

enum loaded { NOT_LOADED, LOADING, LOADED };

struct job {
    struct job *next;
    struct holder *holder;
    void (*run)(struct job *job);
    void (*failed)(struct job *job, const struct error *err); /* before `run`: the login could not be loaded */
    /* a fetch */
    struct login_fetch fetch;
    struct token_kind kind;
    char *scope;
    exchange_done fetched;
    struct exchange_result result;
    struct login answer; /* what it brings, where the login does not keep it */
    enum refresh_state before;
    bool clearing; /* the doubt is cleared first, by a refresh for the profile's own token: nothing of it can be
                      refused */
    /* a new login, its end */
    login_kept kept;
    login_ended ended;
    const char *why; /* a literal; NULL: because the user wants it */
    bool revoked;
    char note[512];
    void *context;
};

/* A profile's login, and what is being done with it. */
struct holder {
    struct front *front;
    const struct profile_config *profile;
    struct login login;
    enum loaded loaded;
    bool in_memory;        /* nothing is written: persist = no, or nothing can be sealed */
    bool persisted;
    bool unsaved;          /* what is on disk is older than what we know */
    uint64_t save_at;
    struct error reason;   /* why a user has to log in, or why nothing is on disk; message empty: none */
    struct job *first, **end;
    size_t count;
    bool at_work;
    bool beginning; /* run_next is at work */
};

/* logins.c */
void logins_end_job(struct job *job); /* its caller has been told */
void logins_write(struct holder *h, login_store_done done, void *context);
void logins_note_saved(struct holder *h, const struct error *err);
void logins_forget(struct holder *h, const struct error *why); /* NULL: there is no reason to tell */

/* What jobs do. */
void login_refresh_run(struct job *job);
void login_change_keep(struct job *job);
void login_change_end(struct job *job);
void login_change_rekey(struct job *job);

#endif
