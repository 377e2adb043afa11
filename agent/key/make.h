/*
 * Work on the objects of the key's token, for the front: a key made in it, a key from a file put into it, a key
 * destroyed.
 *
 * Each request works in a session that may write, opened for it and closed again; it shares the log-in of the one
 * that signs. A new key counts as made when the token finds it by the URI that is answered, with the attributes that
 * a key must have, and a signature of it verifies; else what was made is destroyed again.
 */
#ifndef KEY_MAKE_H
#define KEY_MAKE_H

#include "channel.h"
#include "internal.h"
#include "key_pair.h"
#include "object.h"
#include "token.h"

/*
 * Puts the answer to an INTERNAL_KEY_MAKE, INTERNAL_KEY_IMPORT or INTERNAL_KEY_DESTROY into channel->out, an error
 * too; takes the descriptors that came with it. `session` is logged in, `uri` is the process's own; `pin` is for keys
 * that want it for each signature (NULL: there is none). What it returns says whether the process may go on: a
 * failure leaves the session as it was, unless the module says that the session, the log-in or the token is gone.
 */
enum status make_serve(const struct module *m, const struct token *t, CK_SESSION_HANDLE session, const struct uri *uri,
                       const struct secret *pin, const struct frame *frame, struct channel *channel,
                       struct error *err) MUST_CHECK;

/* Where the work is done. */
struct make_place {
    const struct module *m;
    const struct token *token;
    CK_SESSION_HANDLE session; /* may write */
    const struct uri *uri;     /* of the process's own key */
    const struct secret *pin;
};

/* A new key of this label, for init. `uri`: the place's own with the new key's object and id, for a buffer of URI_MAX
   bytes. */
enum status make_new_key(const struct make_place *p, struct span label, struct buffer *uri, struct key_pair *out,
                         struct error *err) MUST_CHECK;

/* A signature of the key that verifies: the public key that the token shows is not to be believed without it. */
enum status make_check_signature(const struct make_place *p, const struct object *o, struct error *err) MUST_CHECK;

#endif
