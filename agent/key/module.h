/*
 * One PKCS#11 module, loaded and initialised; one session to one token of it. A process opens one of each, once.
 *
 * Closing is where vendor modules hang and crash. module_close arms SIGALRM for it, whose default action ends the
 * process: a hung C_Finalize then costs MODULE_CLOSE_SECONDS, and nobody waits for it any longer.
 */
#ifndef KEY_MODULE_H
#define KEY_MODULE_H

#include "config.h"
#include "uri.h"

#define MODULE_CLOSE_SECONDS 3

struct module {
    CK_FUNCTION_LIST *f; /* NULL: not loaded */
    char *path;          /* of the shared object */
    CK_RV *failed;       /* what module_failed was told last: where the cure begins (heal.h) */
    bool initialized;
};

/* Sets the key's environment for the module, which reads it when it is loaded or initialised. */
enum status module_set_environment(const struct strings *environment, struct error *err) MUST_CHECK;
enum status module_open(const char *path, struct module *out, struct error *err) MUST_CHECK;
enum status module_open_uri(const struct uri *uri, struct module *out, struct error *err) MUST_CHECK;
/* Loads and does not initialise: that, and finalising, is then another library's part in this process
   (net/tls_key.c). */
enum status module_load_uri(const struct uri *uri, struct module *out, struct error *err) MUST_CHECK;
void module_close(struct module *m);

bool module_is_tpm(const struct module *m); /* tpm2-pkcs11, whose failures have causes of their own */
/* Asks for something that a TPM itself must do: with one that is out of reach this fails, too. */
bool module_answers(const struct module *m, CK_SESSION_HANDLE session);

/* Fills an error for a call of the module that failed: status from `rv`, "C_Sign in /x.so: CKR_…". */
enum status module_failed(const struct module *m, const char *call, CK_RV rv, struct error *err);
/* Makes of such an error one that says that the TPM is away. */
enum status module_tpm_away(struct error *err);

#endif
