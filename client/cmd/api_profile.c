/* See api_profile.h. */
#include "api_profile.h"

#include "failure.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LONGEST_NAME 32 /* of a name that is made of a host */

struct origin {
    char *scheme, *host, *port;
};

static void origin_free(struct origin *o)
{
    curl_free(o->scheme);
    curl_free(o->host);
    curl_free(o->port);
    *o = (struct origin){.host = NULL};
}

static int origin_of(const char *url, struct origin *o)
{
    CURLU *u = curl_url();
    *o = (struct origin){.host = NULL};
    if (u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &o->scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &o->host, 0) == CURLUE_OK)
        (void)curl_url_get(u, CURLUPART_PORT, &o->port, CURLU_DEFAULT_PORT);
    curl_url_cleanup(u);
    if (o->port != NULL && (strcmp(o->scheme, "https") == 0 || strcmp(o->scheme, "http") == 0))
        return 0;
    origin_free(o);
    return -1;
}

static bool same_origin(const struct origin *a, struct span text)
{
    char url[LIMIT_URL + 1];
    struct origin b;
    (void)snprintf(url, sizeof(url), "%.*s", (int)text.len, (const char *)text.data);
    if (text.len > LIMIT_URL || origin_of(url, &b) != 0)
        return false;
    bool same = strcmp(a->scheme, b.scheme) == 0 && strcasecmp(a->host, b.host) == 0 && strcmp(a->port, b.port) == 0;
    origin_free(&b);
    return same;
}

bool api_profile_is_url(const char *operand)
{
    return strstr(operand, "://") != NULL;
}

static bool has_origin(const struct profile_info *p, const struct origin *origin)
{
    struct span item;
    size_t cursor = 0;
    while (list_next(&p->origins, &cursor, &item))
        if (same_origin(origin, item))
            return true;
    return false;
}

/* What was found so far: profiles for logins come before others. */
struct match {
    char name[LIMIT_NAME + 1], other[LIMIT_NAME + 1];
    bool login;
    unsigned int count; /* of those like `name` */
};

static void add_match(struct match *m, const struct profile_info *p)
{
    bool login = p->login.data != NULL;
    if (m->count > 0 && m->login && !login)
        return;
    m->count = m->count > 0 && m->login == login ? m->count + 1 : 1;
    m->login = login;
    char *out = m->count == 1 ? m->name : m->other;
    (void)snprintf(out, LIMIT_NAME + 1, "%.*s", (int)p->name.len, (const char *)p->name.data);
}

static int match_profiles(const struct profiles_answer *answer, const struct origin *origin, struct match *m,
                          struct dpop_error *err)
{
    struct span item;
    size_t cursor = 0;
    while (list_next(&answer->profiles, &cursor, &item)) {
        struct profile_info p;
        int status = command_item(item, &message_profile_info, &p, sizeof(p), err);
        if (status != DPOP_OK)
            return status;
        if (has_origin(&p, origin))
            add_match(m, &p);
    }
    return DPOP_OK;
}

int api_profile_find(struct command *cmd, const char *url, char name[LIMIT_NAME + 1], bool *found,
                     struct dpop_error *err)
{
    struct profiles_answer answer;
    struct origin origin;
    struct match match = {.count = 0};
    if (origin_of(url, &origin) != 0)
        return failure_set(err, STATUS_INVALID_ARGUMENT, "give a profile's name, or an API's URL: https://…",
                           "\"%s\" is no https URL", url);
    int status = command_call(cmd, OPERATION_PROFILES, &message_empty, &(struct empty_message){false},
                              &message_profiles_answer, &answer, sizeof(answer), err);
    if (status == DPOP_OK) {
        status = match_profiles(&answer, &origin, &match, err);
        call_done(cmd->agent);
    }
    origin_free(&origin);
    if (status == DPOP_OK && match.count > 1)
        status = failure_set(err, STATUS_INVALID_ARGUMENT, "log in with the name of the one that is meant",
                             "more than one profile is for %s: \"%s\", \"%s\"", url, match.name, match.other);
    if (status != DPOP_OK)
        return status;
    *found = match.count == 1;
    if (*found)
        (void)snprintf(name, LIMIT_NAME + 1, "%s", match.name);
    return DPOP_OK;
}

void api_profile_name(const char *url, char name[LIMIT_NAME + 1])
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    struct origin origin;
    (void)snprintf(name, LIMIT_NAME + 1, "api");
    if (origin_of(url, &origin) != 0)
        return;
    const char *host = origin.host + strspn(origin.host, "[:.-");
    (void)snprintf(name, LIMIT_NAME + 1, "%.*s", LONGEST_NAME, host[0] != '\0' ? host : "api");
    for (size_t i = strspn(name, plain); name[i] != '\0'; i += strspn(name + i, plain))
        name[i] = name[i] == ']' && name[i + 1] == '\0' ? '\0' : '-';
    for (size_t i = 0; name[i] != '\0'; i++)
        name[i] = (char)tolower((unsigned char)name[i]);
    origin_free(&origin);
}
