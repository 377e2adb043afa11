/* See error.h. */
#include "error.h"

#include "text.h"

#include <stdarg.h>
#include <stdio.h>

enum status error_set(struct error *e, enum status status, const char *next, const char *format, ...)
{
    va_list args;
    *e = (struct error){.status = status};
    va_start(args, format);
    (void)vsnprintf(e->message, sizeof(e->message), format, args);
    va_end(args);
    text_clean(e->message);
    if (next != NULL) {
        (void)snprintf(e->next, sizeof(e->next), "%s", next);
        text_clean(e->next);
    }
    return status;
}

void error_put_text(char *out, size_t size, struct span text)
{
    (void)snprintf(out, size, "%.*s", text.len > size ? (int)size : (int)text.len,
                   text.data != NULL ? (const char *)text.data : "");
    text_clean(out);
}
