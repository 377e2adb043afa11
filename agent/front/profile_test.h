/*
 * What `profile test` finds: a list of checks in a fixed order, each with its result, what was seen and what to do next. Pure:
 * the operation (op_profile_test.c) asks key, server and clock, and what comes of it is judged here.
 */
#ifndef FRONT_PROFILE_TEST_H
#define FRONT_PROFILE_TEST_H

#include "internal.h"
#include "metadata.h"

enum profile_check {
    TEST_CONFIGURATION,
    TEST_KEY,
    TEST_CLIENT_KEY,
    TEST_SERVER,
    TEST_TLS,
    TEST_RESOURCE,
    TEST_DISCOVERY,
    TEST_DPOP,
    TEST_METHOD,
    TEST_GRANT,
    TEST_PAR,
    TEST_PKCE,
    TEST_ISS,
    TEST_CLOCK,
    TEST_CLIENT,
    TEST_TOKEN,
    TEST_COUNT,
};

struct profile_test {
    const struct profile_config *profile;
    struct check {
        bool wanted; /* else it does not concern this profile, and is not shown */
        enum check_result result;
        char detail[LIMIT_TEXT], next[256];
    } checks[TEST_COUNT];
};

void profile_test_init(struct profile_test *t, const struct profile_config *profile);
void profile_test_set(struct profile_test *t, enum profile_check check, enum check_result result, const char *next,
                      const char *format, ...) __attribute__((format(printf, 5, 6)));
bool profile_test_failed(const struct profile_test *t, enum profile_check check);

void profile_test_key(struct profile_test *t, enum profile_check check, const struct error *err, const char *jkt);
/* The server's metadata, or why there are none. `now`: our clock when they came. */
void profile_test_metadata(struct profile_test *t, const struct error *err, const struct server_metadata *server, int64_t now);
void profile_test_clock(struct profile_test *t, struct span date, int64_t now);
/* A request to the token endpoint failed with this. */
void profile_test_request_failed(struct profile_test *t, const struct error *err);
void profile_test_granted(struct profile_test *t, bool is_dpop, const char *jkt, uint32_t lifetime);
/* The answer to a refresh token that cannot be one. */
void profile_test_probe(struct profile_test *t, const struct fetch_answer *a);
/* After invalid_client: the authorization endpoint's answer to this client id tells whether it is known. */
void profile_test_client_known(struct profile_test *t, const struct fetch_answer *a);
void profile_test_put(const struct profile_test *t, struct list_builder *out); /* check_info each */

#endif
