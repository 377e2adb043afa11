/* See oauth_value.h. */
#include "oauth_value.h"

#include <string.h>

static bool scope_char(uint8_t c)
{
    return c >= 0x21 && c <= 0x7e && c != '"' && c != '\\';
}

bool oauth_scope_valid(struct span scope)
{
    for (size_t i = 0; i < scope.len; i++)
        if (scope.data[i] != ' ' && !scope_char(scope.data[i]))
            return false;
    return true;
}

bool oauth_resource_valid(struct span resource)
{
    const uint8_t *colon = memchr(resource.data, ':', resource.len);
    if (colon == NULL || colon == resource.data)
        return false;
    for (size_t i = 0; i < resource.len; i++)
        if (resource.data[i] <= 0x20 || resource.data[i] > 0x7e || resource.data[i] == '#')
            return false;
    return true;
}
