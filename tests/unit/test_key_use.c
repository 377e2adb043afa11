/* Where a key stands in a profile: what a server has to know of it, and which profiles can prove it without a user. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "key_use.h"

static struct config *config;

static const char text[] = "[key k]\nuri = pkcs11:object=k\n[key other]\nuri = pkcs11:object=other\n"
#define PROFILE(name) "[profile " name "]\nissuer = https://as\nclient-id = c\norigins = https://a\n"
    PROFILE("secret") "key = k\nclient-authentication = client_secret_basic\nclient-secret-file = /s\n"
    PROFILE("jwt") "key = k\nclient-authentication = private_key_jwt\n"
    PROFILE("client") "key = other\nclient-authentication = private_key_jwt\nclient-key = k\n"
    PROFILE("tls")
        "key = other\nclient-authentication = tls_client_auth\nclient-key = k\nclient-certificate-file = /c\n"
    PROFILE("user") "key = k\nclient-authentication = private_key_jwt\ngrant = authorization_code\n"
    PROFILE("signed") "key = k\nclient-authentication = none\ngrant = jwt-bearer\nassertion-subject = s\n"
    PROFILE("asserted")
        "key = other\nclient-authentication = none\ngrant = jwt-bearer\nassertion-subject = s\nassertion-key = k\n"
    PROFILE("file") "key = k\nclient-authentication = none\ngrant = jwt-bearer\nassertion-file = /a\n"
    PROFILE("caller") "key = k\nclient-authentication = none\ngrant = jwt-bearer\n"
    PROFILE("exchange")
        "key = k\nclient-authentication = none\ngrant = token-exchange\nsubject-token-profile = secret\n"
    PROFILE("chain") "key = k\nclient-authentication = none\ngrant = token-exchange\nsubject-token-profile = exchange\n"
    PROFILE("of-user") "key = k\nclient-authentication = none\ngrant = token-exchange\nsubject-token-profile = user\n"
    PROFILE("of-file") "key = k\nclient-authentication = none\ngrant = token-exchange\nsubject-token-file = /t\n"
    PROFILE("of-caller") "key = k\nclient-authentication = none\ngrant = token-exchange\n"
    PROFILE("foreign") "key = other\nclient-authentication = none\ngrant = device_code\n";

static const struct row {
    const char *name;
    bool authenticates, any, provable;
} rows[] = {
    {"secret", false, true, true},  {"jwt", true, true, true},        {"client", true, true, true},
    {"tls", true, true, true},      {"user", true, true, false},      {"signed", true, true, true},
    {"asserted", true, true, true}, {"file", false, true, true},      {"caller", false, true, false},
    {"exchange", false, true, true}, {"chain", false, true, true},    {"of-user", false, true, false},
    {"of-file", false, true, true}, {"of-caller", false, true, false}, {"foreign", false, false, false},
};

static void test_every_place_of_a_key_is_known(void **state)
{
    (void)state;
    assert_int_equal(config->profile_count, sizeof(rows) / sizeof(rows[0]));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct profile_config *p = config_profile(config, span_text(rows[i].name));
        assert_non_null(p);
        print_message("%s\n", rows[i].name);
        assert_int_equal(key_use_authenticates(p, "k"), rows[i].authenticates);
        assert_int_equal(key_use_any(p, "k"), rows[i].any);
        assert_int_equal(key_use_provable(config, p), rows[i].provable);
        assert_false(key_use_any(p, "nobody"));
    }
}

static int set_up(void **state)
{
    struct error err;
    (void)state;
    if (config_parse(span_text(text), "agent.conf", ROLE_SUPERVISOR, &config, &err) == STATUS_OK)
        return 0;
    print_error("%s\n", err.message);
    return -1;
}

static int tear_down(void **state)
{
    (void)state;
    config_free(config);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_place_of_a_key_is_known)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
