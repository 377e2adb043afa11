/* See status.h. */
#include "status.h"

#include <stddef.h>

struct row {
    enum status status;
    enum status_class class;
    bool retryable;
    const char *name;
    const char *text;
};

static const struct row rows[] = {
    {STATUS_OK, STATUS_CLASS_OK, false, "ok", "success"},

    {STATUS_MALFORMED, STATUS_CLASS_PROTOCOL, false, "malformed", "the frame or a field in it is malformed"},
    {STATUS_UNKNOWN_OPERATION, STATUS_CLASS_PROTOCOL, false, "unknown-operation", "the agent does not know the operation"},
    {STATUS_UNSUPPORTED_FIELD, STATUS_CLASS_PROTOCOL, false, "unsupported-field",
     "the request has a critical field that the agent does not know"},
    {STATUS_TOO_LARGE, STATUS_CLASS_PROTOCOL, false, "too-large", "the frame is larger than the limit"},
    {STATUS_VERSION, STATUS_CLASS_PROTOCOL, false, "version", "agent and client have no protocol version in common"},
    {STATUS_HELLO_REQUIRED, STATUS_CLASS_PROTOCOL, false, "hello-required", "the first frame of a connection must be hello"},

    {STATUS_INVALID_ARGUMENT, STATUS_CLASS_USAGE, false, "invalid-argument", "a value in the request is not valid"},
    {STATUS_UNKNOWN_KEY, STATUS_CLASS_USAGE, false, "unknown-key", "no key of that name is configured"},
    {STATUS_UNKNOWN_PROFILE, STATUS_CLASS_USAGE, false, "unknown-profile", "no profile of that name is configured"},
    {STATUS_EXISTS, STATUS_CLASS_USAGE, false, "exists", "it exists already and is not overwritten"},
    {STATUS_CONFIGURATION, STATUS_CLASS_USAGE, false, "configuration", "the configuration has an error"},

    {STATUS_PEER_REFUSED, STATUS_CLASS_REFUSED, false, "peer-refused", "this user may not use the agent"},
    {STATUS_ORIGIN_REFUSED, STATUS_CLASS_REFUSED, false, "origin-refused", "the profile does not name this origin"},
    {STATUS_INSECURE_URL, STATUS_CLASS_REFUSED, false, "insecure-url", "plain http is refused"},
    {STATUS_SERVER_REFUSED, STATUS_CLASS_REFUSED, false, "server-refused", "the authorization server refused the request"},
    {STATUS_TOKEN_NOT_DPOP, STATUS_CLASS_REFUSED, false, "token-not-dpop",
     "the server's access token is not DPoP-bound and was discarded"},
    {STATUS_TOKEN_OTHER_KEY, STATUS_CLASS_REFUSED, false, "token-other-key",
     "the server's access token is bound to another key and was discarded"},
    {STATUS_TOKEN_TOO_SHORT, STATUS_CLASS_REFUSED, false, "token-too-short",
     "the server's access token lives shorter than was asked for"},

    {STATUS_BUSY, STATUS_CLASS_UNAVAILABLE, true, "busy", "the agent has too much to do"},
    {STATUS_TIMEOUT, STATUS_CLASS_UNAVAILABLE, true, "timeout", "the deadline passed"},
    {STATUS_KEY_ABSENT, STATUS_CLASS_UNAVAILABLE, true, "key-absent", "the key or its token is not there"},
    {STATUS_KEY_LOCKED, STATUS_CLASS_UNAVAILABLE, false, "key-locked", "the key's token is locked"},
    {STATUS_KEY_WRONG, STATUS_CLASS_UNAVAILABLE, false, "key-wrong", "the token holds another key than before"},
    {STATUS_KEY_UNFIT, STATUS_CLASS_UNAVAILABLE, false, "key-unfit", "the key does not meet the requirements"},
    {STATUS_KEY_FAILED, STATUS_CLASS_UNAVAILABLE, true, "key-failed", "the key's token or module failed"},
    {STATUS_NOT_CONFIGURED, STATUS_CLASS_UNAVAILABLE, false, "not-configured", "the agent has no configuration for this"},
    {STATUS_SERVER_UNREACHABLE, STATUS_CLASS_UNAVAILABLE, true, "server-unreachable", "the server could not be reached"},
    {STATUS_SERVER_UNAVAILABLE, STATUS_CLASS_UNAVAILABLE, true, "server-unavailable", "the server says that it is unavailable"},
    {STATUS_RESTARTED, STATUS_CLASS_UNAVAILABLE, true, "restarted", "the part of the agent that did the work was restarted"},
    {STATUS_STORE_FAILED, STATUS_CLASS_UNAVAILABLE, true, "store-failed", "the agent could not write its state folder"},
    {STATUS_SECRET_UNREADABLE, STATUS_CLASS_UNAVAILABLE, false, "secret-unreadable", "a secret could not be read"},
    {STATUS_AGENT_UNREACHABLE, STATUS_CLASS_UNAVAILABLE, true, "agent-unreachable", "the agent could not be reached"},

    {STATUS_LOGIN_REQUIRED, STATUS_CLASS_LOGIN, false, "login-required", "the user has to log in again"},

    {STATUS_SERVER_MISBEHAVED, STATUS_CLASS_PROTOCOL, false, "server-misbehaved", "the server's answer breaks the standard"},
    {STATUS_AGENT_MISBEHAVED, STATUS_CLASS_PROTOCOL, false, "agent-misbehaved", "the agent's answer breaks the protocol"},

    {STATUS_INTERNAL, STATUS_CLASS_INTERNAL, false, "internal", "an internal error"},
    {STATUS_NO_MEMORY, STATUS_CLASS_INTERNAL, true, "no-memory", "out of memory"},
};

static const struct row *find(unsigned int status)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if ((unsigned int)rows[i].status == status)
            return &rows[i];
    return NULL;
}

bool status_listed(unsigned int status)
{
    return find(status) != NULL;
}

const char *status_name(unsigned int status)
{
    const struct row *row = find(status);
    return row != NULL ? row->name : "unknown";
}

const char *status_text(unsigned int status)
{
    const struct row *row = find(status);
    return row != NULL ? row->text : "a status that this version does not know";
}

enum status_class status_class(unsigned int status)
{
    const struct row *row = find(status);
    return row != NULL ? row->class : STATUS_CLASS_PROTOCOL;
}

bool status_retryable(unsigned int status)
{
    const struct row *row = find(status);
    return row != NULL && row->retryable;
}
