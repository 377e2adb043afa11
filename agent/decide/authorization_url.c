/* See authorization_url.h. */
#include "authorization_url.h"

#include <string.h>

/* Cuts the next `name=value` off the front of a query. */
static struct span take_parameter(struct span *query)
{
    const uint8_t *ampersand = query->len > 0 ? memchr(query->data, '&', query->len) : NULL;
    size_t len = ampersand != NULL ? (size_t)(ampersand - query->data) : query->len;
    struct span parameter = span_of(query->data, len);
    if (ampersand != NULL)
        len++;
    *query = span_of(query->data + len, query->len - len);
    return parameter;
}

static struct span name_of(struct span parameter)
{
    const uint8_t *equals = parameter.len > 0 ? memchr(parameter.data, '=', parameter.len) : NULL;
    return span_of(parameter.data, equals != NULL ? (size_t)(equals - parameter.data) : parameter.len);
}

static bool has_parameter(struct span query, struct span name)
{
    while (query.len > 0)
        if (span_equal(name_of(take_parameter(&query)), name))
            return true;
    return false;
}

/* Which of two values a server takes is its own affair: no name may come from both. */
static bool share_a_name(struct span query, struct span form)
{
    while (form.len > 0) {
        struct span name = name_of(take_parameter(&form));
        if (name.len > 0 && has_parameter(query, name))
            return true;
    }
    return false;
}

int authorization_url(const char *endpoint, struct span form, char *out, size_t size)
{
    const char *query = strchr(endpoint, '?');
    size_t len = strlen(endpoint);
    const char *joint = query == NULL ? "?" : query[1] == '\0' || endpoint[len - 1] == '&' ? "" : "&";
    if (form.len == 0)
        joint = "";
    if (strchr(endpoint, '#') != NULL || (query != NULL && share_a_name(span_text(query + 1), form)))
        return -1;
    size_t joint_len = strlen(joint);
    if (len >= size || joint_len >= size - len || form.len >= size - len - joint_len)
        return -1;
    memcpy(out, endpoint, len);
    memcpy(out + len, joint, joint_len);
    if (form.len > 0)
        memcpy(out + len + joint_len, form.data, form.len);
    out[len + joint_len + form.len] = '\0';
    return 0;
}
