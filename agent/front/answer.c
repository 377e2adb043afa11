/* See answer.h. */
#include "answer.h"

bool answer_member(const struct fetch_answer *a, const char *name, struct json_member *out)
{
    struct json_member member;
    struct error err;
    struct span item;
    size_t cursor = 0;
    while (list_next(&a->members, &cursor, &item))
        if (message_take(item, &message_json_member, &member, sizeof(member), &err) == STATUS_OK && span_is(member.name, name)) {
            *out = member;
            return true;
        }
    return false;
}

struct span answer_text(const struct fetch_answer *a, const char *name)
{
    struct json_member member;
    if (!answer_member(a, name, &member) || member.kind != JSON_KIND_TEXT)
        return span_text(NULL);
    return member.text.data != NULL ? member.text : span_of("", 0);
}
