/*
 * The status codes of the protocol: one enum, one table with each code's name, class and text (status.c).
 *
 * A code says what kind of failure a caller met; the words of an individual failure travel in `struct error`.
 * Codes are part of the wire (PROTOCOL.md): a number is never used again for something else.
 */
#ifndef PROTO_STATUS_H
#define PROTO_STATUS_H

#include <stdbool.h>

enum status {
    STATUS_OK = 0,

    STATUS_MALFORMED = 1,
    STATUS_UNKNOWN_OPERATION = 2,
    STATUS_UNSUPPORTED_FIELD = 3,
    STATUS_TOO_LARGE = 4,
    STATUS_VERSION = 5,
    STATUS_HELLO_REQUIRED = 6,

    STATUS_INVALID_ARGUMENT = 20,
    STATUS_UNKNOWN_KEY = 21,
    STATUS_UNKNOWN_PROFILE = 22,
    STATUS_EXISTS = 23,
    STATUS_CONFIGURATION = 24,

    STATUS_PEER_REFUSED = 40,
    STATUS_ORIGIN_REFUSED = 41,
    STATUS_INSECURE_URL = 42,
    STATUS_SERVER_REFUSED = 43,
    STATUS_TOKEN_NOT_DPOP = 44,
    STATUS_TOKEN_OTHER_KEY = 45,
    STATUS_TOKEN_TOO_SHORT = 46,

    STATUS_BUSY = 60,
    STATUS_TIMEOUT = 61,
    STATUS_KEY_ABSENT = 62,
    STATUS_KEY_LOCKED = 63,
    STATUS_KEY_WRONG = 64,
    STATUS_KEY_UNFIT = 65,
    STATUS_KEY_FAILED = 66,
    STATUS_NOT_CONFIGURED = 67,
    STATUS_SERVER_UNREACHABLE = 68,
    STATUS_SERVER_UNAVAILABLE = 69,
    STATUS_RESTARTED = 70,
    STATUS_STORE_FAILED = 71,
    STATUS_SECRET_UNREADABLE = 72,
    STATUS_AGENT_UNREACHABLE = 73,

    STATUS_LOGIN_REQUIRED = 80,

    STATUS_SERVER_MISBEHAVED = 100,
    STATUS_AGENT_MISBEHAVED = 101,

    STATUS_INTERNAL = 120,
    STATUS_NO_MEMORY = 121,
};

/* What a caller can do about a status; the `dpop` command's exit status is the number. */
enum status_class {
    STATUS_CLASS_OK = 0,
    STATUS_CLASS_INTERNAL = 1,
    STATUS_CLASS_USAGE = 2,
    STATUS_CLASS_REFUSED = 3,
    STATUS_CLASS_UNAVAILABLE = 4,
    STATUS_CLASS_LOGIN = 5,
    STATUS_CLASS_PROTOCOL = 6,
};

const char *status_name(unsigned int status); /* "key-absent"; "unknown" for a number that is not listed */
const char *status_text(unsigned int status); /* a sentence without a full stop */
enum status_class status_class(unsigned int status);
bool status_retryable(unsigned int status); /* the same call may succeed later without anybody doing anything */
bool status_listed(unsigned int status);

#endif
