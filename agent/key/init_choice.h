/*
 * Which token init takes, and why: the one that was asked for, or else the best there is.
 *
 *   a TPM            its module is installed, and the agent may open the device
 *   a PKCS#11 token  that p11-kit's configuration knows, if it is the only one that fits; with several, a person
 * chooses SoftHSM          which is always there, and as safe as its folder
 *
 * What is better and cannot be used is named in the reason with its cause, so that a software key is never taken
 * unnoticed.
 */
#ifndef KEY_INIT_CHOICE_H
#define KEY_INIT_CHOICE_H

#include "messages.h"

enum init_kind {
    INIT_SOFTHSM, /* a new token in the state folder */
    INIT_TPM,     /* a new token in a store in the state folder */
    INIT_MODULE,  /* the first blank token of a module */
    INIT_TOKEN,   /* one that is initialised already */
};

/* Where things are on this machine; a test says otherwise. Lists end with NULL. */
struct init_machine {
    const char *tpm_device;
    const char *const *tpm_modules, *const *softhsm_modules;
};
extern const struct init_machine init_choice_machine;

struct init_choice {
    enum init_kind kind;
    char *module; /* path; INIT_TOKEN: NULL */
    char *token;  /* INIT_TOKEN: its URI, which names its module */
    char reason[LIMIT_TEXT];
};

enum status init_choice_make(const struct init_request *request, const struct init_machine *machine,
                             struct init_choice *out, struct error *err) MUST_CHECK;
void init_choice_free(struct init_choice *c);

/* Does the list NAME=VALUE set this variable? Its value, absent: no. */
struct span init_choice_variable(const struct list *environment, const char *name);

#endif
