/*
 * The one token that a URI names, among those that the module shows now. Slots are looked at afresh every time: their
 * numbers mean nothing from one run to the next.
 */
#ifndef KEY_TOKEN_H
#define KEY_TOKEN_H

#include "module.h"

struct token {
    CK_SLOT_ID slot;
    CK_FLAGS flags;
    char label[33], model[17], serial[17]; /* without the padding, as plain text */
};

/* None: STATUS_KEY_ABSENT, several: STATUS_KEY_UNFIT; the error lists the tokens that are there. */
enum status token_find(const struct module *m, const struct uri *uri, struct token *out, struct error *err) MUST_CHECK;

/* The first token that has not been initialised, and the initialised one of a label. None: STATUS_KEY_ABSENT. */
enum status token_find_blank(const struct module *m, struct token *out, struct error *err) MUST_CHECK;
enum status token_find_label(const struct module *m, const char *label, struct token *out,
                             struct error *err) MUST_CHECK;

/* Reads the flags again: the ones about the PIN change. */
enum status token_refresh(const struct module *m, struct token *t, struct error *err) MUST_CHECK;
/* Is it still this token that is in its slot? Reads its flags, too. */
enum status token_check(const struct module *m, struct token *t, struct error *err) MUST_CHECK;
const char *token_pin_warning(const struct token *t); /* what its flags say about the PIN; NULL: nothing */

#endif
