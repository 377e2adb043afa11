/* See session_jwt.h. */
#include "session_jwt.h"

#include "session_names.h"

#define DEPTH 1 /* `jwk` */

/* A copy; NULL: out of memory. */
static json_t *listed_members(json_t *object, unsigned int depth)
{
    const char *name;
    json_t *value, *copy = json_object();
    json_object_foreach(object, name, value) {
        bool nested = json_is_object(value), listed = session_names_has(SESSION_JWT_NAMES, span_text(name));
        json_t *shown = !listed || (nested && depth == 0) || json_is_array(value) ? json_string("(masked)")
                        : nested ? listed_members(value, depth - 1)
                                 : json_incref(value);
        if (json_object_set_new(copy, name, shown) != 0) { /* NULL, too */
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

static int append_json(const char *text, size_t size, void *buffer)
{
    buffer_put(buffer, text, size);
    return ((struct buffer *)buffer)->failed ? -1 : 0;
}

void session_jwt_put(json_t *object, struct buffer *out)
{
    json_t *shown = listed_members(object, DEPTH);
    if (shown != NULL)
        (void)json_dump_callback(shown, append_json, out, JSON_COMPACT);
    json_decref(shown);
}
