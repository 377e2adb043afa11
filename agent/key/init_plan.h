/*
 * What one init is about: the names and paths of all that it makes, and the first configuration that comes of them. All
 * texts are our own.
 */
#ifndef KEY_INIT_PLAN_H
#define KEY_INIT_PLAN_H

#include "config.h"
#include "init_choice.h"
#include "init_folder.h"
#include "jwk.h"

struct init_plan {
    const char *configuration; /* path */
    char *name, *state, *pin_file;
    enum init_kind kind;
    char *module;               /* path; INIT_TOKEN: NULL, the URI names it */
    char *label;                /* of the new token; INIT_TOKEN: NULL */
    char *uri;                  /* of the key; INIT_TOKEN: at first that of the token or key, as it was given */
    char *store;                /* our own folder with the token: SoftHSM's or the TPM's; NULL: it lives elsewhere */
    char *softhsm_conf;         /* NULL: another kind */
    struct strings environment; /* of the key */
    bool begun;                 /* the new token may be there, whole or in part */
    bool pin_kept;              /* in pin_file */
    bool pin_asked;             /* it is not kept, and the token wants one */
    char jkt[JWK_THUMBPRINT_SIZE];
    char model[17];
};

/* The names: what can be known before a token is chosen. */
enum status init_plan_name(const struct init_request *request, const char *state, const char *configuration,
                           struct init_plan *p, struct error *err) MUST_CHECK;
/* The rest, by the choice. */
enum status init_plan_complete(const struct init_request *request, const struct init_choice *choice,
                               const struct init_machine *machine, struct init_plan *p, struct error *err) MUST_CHECK;
/* The configuration, which comes last: it never names what does not exist. */
enum status init_plan_write(const struct init_plan *p, struct init_folder *f, struct error *err) MUST_CHECK;
void init_plan_free(struct init_plan *p);

#endif
