/* The options of a profile together: what must be there, what belongs to another grant or client authentication, and what the
   FAPI 2.0 Security Profile forbids. The profile begins on line 5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_check.h"

#define KEYS "[key k]\nuri = pkcs11:object=k?module-path=/m.so\n[key l]\nuri = pkcs11:object=l?module-path=/m.so\n"
#define BASE "[profile p]\nkey = k\nclient-id = c\norigins = https://api.example\n" /* lines 5 to 8 */
#define ISSUER "issuer = https://as.example\n"                                  /* line 9 */
#define SECRET "client-secret-file = /s\n"
#define JWT "client-authentication = private_key_jwt\n"
#define TLS "client-authentication = tls_client_auth\nclient-certificate-file = /c\n"
#define NONE "client-authentication = none\n"
#define CODE "grant = authorization_code\n"
#define DEVICE "grant = device_code\n"
#define EXCHANGE "grant = token-exchange\n"
#define BEARER "grant = jwt-bearer\n"

static enum status check(const char *options, struct error *err)
{
    struct config *c = NULL;
    char *text;
    if (asprintf(&text, KEYS "%s", options) < 0)
        return STATUS_NO_MEMORY;
    enum status status = config_parse(span_text(text), "agent.conf", ROLE_SUPERVISOR, &c, err);
    if (status != STATUS_OK)
        fail_msg("%s", err->message);
    status = config_check(c, err);
    config_free(c);
    free(text);
    return status;
}

static void assert_taken(const char *options)
{
    struct error err;
    if (check(options, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static void assert_refused(const char *options, const char *where, const char *why)
{
    struct error err;
    char begin[96];
    assert_int_equal(check(options, &err), STATUS_CONFIGURATION);
    (void)snprintf(begin, sizeof(begin), "agent.conf:%s", where);
    if (strncmp(err.message, begin, strlen(begin)) != 0 || strstr(err.message, why) == NULL)
        fail_msg("\"%s\" is not about %s and \"%s\"", err.message, where, why);
    assert_string_not_equal(err.next, "");
}

static void every_grant_with_every_client_authentication_that_it_takes_is_good(void **state)
{
    static const char *const grants[] = {"client_credentials", "authorization_code", "device_code", "token-exchange", "jwt-bearer"};
    static const char *const authentications[] = {
        "none\n", "client_secret_basic\nclient-secret-file = /s\n", "client_secret_post\nclient-secret-credential = s\n",
        "private_key_jwt\nclient-key = l\n", "tls_client_auth\nclient-certificate-file = /c\n",
        "self_signed_tls_client_auth\nclient-certificate-file = /c\nclient-key = l\n"};
    (void)state;
    for (size_t g = 0; g < 5; g++)
        for (size_t a = 0; a < 6; a++) {
            char text[512];
            (void)snprintf(text, sizeof(text), BASE ISSUER "grant = %s\nclient-authentication = %s", grants[g], authentications[a]);
            if (g == 0 && a == 0)
                assert_refused(text, "11: client-authentication: ", "other than none");
            else
                assert_taken(text);
        }
}

static void what_a_profile_lacks_is_told_with_the_line_of_its_section(void **state)
{
    (void)state;
    assert_refused("[profile p]\nclient-id = c\n", "5: [profile p] ", "lacks the option \"key\"");
    assert_refused("[profile p]\nkey = k\n", "5: [profile p] ", "lacks the option \"client-id\"");
    assert_refused("[profile p]\nkey = k\nclient-id = c\n", "5: [profile p] ", "lacks the option \"origins\"");
    assert_refused(BASE SECRET, "5: [profile p] ", "lacks the option \"issuer\"");
    assert_refused(BASE ISSUER, "5: [profile p] ", "wants one of client-secret-file and client-secret-credential for client_secret_basic");
    assert_refused(BASE ISSUER "client-authentication = tls_client_auth\n", "5: [profile p] ", "client-certificate-file");
}

static void keys_that_are_named_exist(void **state)
{
    (void)state;
    assert_refused("[profile p]\nkey = z\nclient-id = c\norigins = https://a.example\n" ISSUER SECRET, "6: key: ", "no [key z]");
    assert_refused(BASE ISSUER JWT "client-key = z\n", "11: client-key: ", "no [key z]");
    assert_refused(BASE ISSUER JWT BEARER "assertion-subject = s\nassertion-key = z\n", "13: assertion-key: ", "no [key z]");
}

static void the_server_is_named_or_found_through_a_resource(void **state)
{
    (void)state;
    assert_taken(BASE JWT "resource = https://api.example\n");
    assert_taken(BASE NONE CODE "resource = https://api.example\nresource = urn:x\n");
    assert_taken(BASE TLS "resource = https://api.example\n");
    assert_taken(BASE NONE CODE "resource = http://127.0.0.1:1\nallow-http-loopback = yes\n");
    assert_taken(BASE SECRET "token-endpoint = https://as.example/t\n");
    assert_taken(BASE NONE CODE "token-endpoint = https://as.example/t\nauthorization-endpoint = https://as.example/a\n");
    assert_refused(BASE SECRET "resource = https://api.example\n", "5: [profile p] ", "a client secret is shown only to");
    assert_refused(BASE "client-authentication = client_secret_post\n" SECRET "resource = https://api.example\n",
                   "9: client-authentication: ", "only to a server that the configuration names");
    assert_refused(BASE JWT "resource = urn:x\n", "10: resource: ", "");
    assert_refused(BASE JWT "resource = http://api.example\n", "10: resource: ", "plain http");
    assert_refused(BASE JWT "token-endpoint = https://as.example/t\n", "5: [profile p] ", "lacks the option \"issuer\"");
    assert_refused(BASE NONE CODE "token-endpoint = https://as.example/t\n", "10: grant: ", "authorization endpoint");
    assert_refused(BASE NONE DEVICE "token-endpoint = https://as.example/t\n", "10: grant: ", "device authorization endpoint");
    assert_refused(BASE NONE BEARER "token-endpoint = https://as.example/t\nassertion-subject = s\n", "12: assertion-subject: ", "audience");
}

static void secrets_keys_and_certificates_fit_the_client_authentication(void **state)
{
    (void)state;
    assert_refused(BASE ISSUER SECRET "client-secret-credential = s\n", "5: [profile p] ", "wants one of");
    assert_refused(BASE ISSUER JWT SECRET, "11: client-secret-file: ", "which private_key_jwt does not use");
    assert_refused(BASE ISSUER NONE CODE "client-secret-credential = s\n", "12: client-secret-credential: ", "which none does not use");
    assert_refused(BASE ISSUER SECRET "client-key = k\n", "11: client-key: ", "only private_key_jwt");
    assert_refused(BASE ISSUER JWT "client-certificate-file = /c\n", "11: client-certificate-file: ", "only tls_client_auth");
    assert_refused(BASE "issuer = http://127.0.0.1:1\n" TLS "allow-http-loopback = yes\n", "9: issuer: ", "needs https");
    assert_refused(BASE ISSUER TLS "revocation-endpoint = HTTP://127.0.0.1:1/\nallow-http-loopback = yes\n", "12: revocation-endpoint: ",
                   "needs https");
}

static void options_of_another_grant_are_told_with_the_grant_that_they_belong_to(void **state)
{
    static const char *const code[] = {"redirect-uri = http://127.0.0.1/", "login-timeout = 1", "authorization-form = a=b",
                                       "pushed-authorization-requests = auto", "authorization-endpoint = https://as.example/a",
                                       "pushed-authorization-request-endpoint = https://as.example/p"};
    static const char *const either[] = {"device-form = a=b", "device-authorization-endpoint = https://as.example/d"};
    static const char *const exchange[] = {"subject-token-profile = p", "subject-token-file = /t", "subject-token-type = urn:x",
                                           "actor-token-file = /a", "actor-token-type = urn:x", "requested-token-type = urn:x"};
    static const char *const bearer[] = {"assertion-file = /a", "assertion-key = k", "assertion-issuer = i", "assertion-subject = s",
                                         "assertion-audience = a"};
    static const struct {
        const char *const *options;
        size_t count;
        const char *belongs;
    } groups[] = {{code, 6, "the grant authorization_code;"},
                  {either, 2, "the grant authorization_code or device_code;"},
                  {exchange, 6, "the grant token-exchange;"},
                  {bearer, 5, "the grant jwt-bearer;"}};
    char text[512];
    (void)state;
    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
        for (size_t i = 0; i < groups[g].count; i++) {
            (void)snprintf(text, sizeof(text), BASE ISSUER SECRET "%s\n", groups[g].options[i]);
            assert_refused(text, "11: ", groups[g].belongs);
            (void)snprintf(text, sizeof(text), BASE ISSUER SECRET "%s%s\n", g == 0 ? DEVICE : CODE, groups[g].options[i]);
            if (g == 1)
                assert_taken(text);
            else
                assert_refused(text, "12: ", groups[g].belongs);
        }
    for (size_t i = 0; i < 6; i++) {
        (void)snprintf(text, sizeof(text), BASE ISSUER SECRET CODE "%s\n", code[i]);
        assert_taken(text);
    }
    assert_refused(BASE ISSUER SECRET "dpop = refresh-only\n", "11: dpop: ", "refresh tokens");
    assert_taken(BASE ISSUER SECRET CODE "dpop = refresh-only\n");
    assert_taken(BASE ISSUER SECRET "dpop = optional\n");
}

#define OTHER(name, from) "[profile " name "]\nkey = k\nclient-id = c\norigins = https://api.example\n" ISSUER SECRET EXCHANGE \
                          "subject-token-profile = " from "\n"

static void a_subject_token_comes_from_one_place_and_never_from_itself(void **state)
{
    (void)state;
    assert_taken(BASE ISSUER SECRET EXCHANGE "subject-token-file = /t\nsubject-token-type = urn:x\nactor-token-type = urn:y\n");
    assert_taken(BASE ISSUER SECRET EXCHANGE "subject-token-profile = q\n" OTHER("q", "r")
                 "[profile r]\nkey = k\nclient-id = c\norigins = https://api.example\n" ISSUER SECRET);
    assert_refused(BASE ISSUER SECRET EXCHANGE "subject-token-profile = q\nsubject-token-file = /t\n", "13: subject-token-file: ",
                   "one subject token");
    assert_refused(BASE ISSUER SECRET EXCHANGE "subject-token-profile = q\n", "12: subject-token-profile: ", "no [profile q]");
    assert_refused(BASE ISSUER SECRET EXCHANGE "subject-token-profile = p\n", "12: subject-token-profile: ", "of its own");
    assert_refused(BASE ISSUER SECRET EXCHANGE "subject-token-profile = q\n" OTHER("q", "p"), "12: subject-token-profile: ", "of its own");
    assert_refused(BASE ISSUER SECRET EXCHANGE "subject-token-profile = q\n" OTHER("q", "r") OTHER("r", "q"), "20: subject-token-profile: ",
                   "of its own");
}

static void an_assertion_is_a_file_or_signed_for_a_subject(void **state)
{
    (void)state;
    assert_taken(BASE ISSUER SECRET BEARER);
    assert_taken(BASE ISSUER SECRET BEARER "assertion-file = /a\n");
    assert_taken(BASE ISSUER SECRET BEARER "assertion-subject = s\n");
    assert_taken(BASE ISSUER SECRET BEARER
                 "assertion-subject = s\nassertion-issuer = i\nassertion-audience = a\nassertion-key = l\n");
    assert_refused(BASE ISSUER SECRET BEARER "assertion-file = /a\nassertion-subject = s\n", "12: assertion-file: ", "assertion-subject");
    assert_refused(BASE ISSUER SECRET BEARER "assertion-file = /a\nassertion-key = k\n", "12: assertion-file: ", "assertion-key");
    assert_refused(BASE ISSUER SECRET BEARER "assertion-key = k\n", "12: assertion-key: ", "assertion-subject");
    assert_refused(BASE ISSUER SECRET BEARER "assertion-issuer = i\n", "12: assertion-issuer: ", "assertion-subject");
    assert_refused(BASE ISSUER SECRET BEARER "assertion-audience = a\n", "12: assertion-audience: ", "assertion-subject");
}

#define FAPI BASE ISSUER "fapi2 = yes\n"

static void fapi2_refuses_whatever_is_weaker(void **state)
{
    (void)state;
    assert_taken(FAPI JWT CODE "redirect-uri = http://127.0.0.1/cb\npushed-authorization-requests = yes\n");
    assert_taken(FAPI TLS CODE);
    assert_taken(FAPI JWT);
    assert_refused(FAPI SECRET CODE, "5: [profile p] ", "not client_secret_basic");
    assert_refused(FAPI NONE CODE, "11: client-authentication: ", "not none");
    assert_refused(FAPI JWT CODE "dpop = optional\n", "13: dpop: ", "dpop = required");
    assert_refused(FAPI JWT CODE "dpop = refresh-only\n", "13: dpop: ", "dpop = required");
    assert_refused(FAPI JWT CODE "pushed-authorization-requests = no\n", "13: pushed-authorization-requests: ", "wants pushed");
    assert_refused(FAPI JWT CODE "allow-http-loopback = yes\n", "13: allow-http-loopback: ", "https");
    assert_refused(FAPI JWT CODE "resource = http://api.example\n", "13: resource: ", "https");
    assert_refused(FAPI JWT DEVICE, "12: grant: ", "authorization_code");
    assert_refused(FAPI JWT CODE "authorization-endpoint = https://as.example/a\n", "13: authorization-endpoint: ", "metadata");
    assert_refused(BASE "fapi2 = yes\n" JWT CODE "resource = https://api.example\n", "5: [profile p] ", "lacks the option \"issuer\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_grant_with_every_client_authentication_that_it_takes_is_good),
        cmocka_unit_test(what_a_profile_lacks_is_told_with_the_line_of_its_section),
        cmocka_unit_test(keys_that_are_named_exist),
        cmocka_unit_test(the_server_is_named_or_found_through_a_resource),
        cmocka_unit_test(secrets_keys_and_certificates_fit_the_client_authentication),
        cmocka_unit_test(options_of_another_grant_are_told_with_the_grant_that_they_belong_to),
        cmocka_unit_test(a_subject_token_comes_from_one_place_and_never_from_itself),
        cmocka_unit_test(an_assertion_is_a_file_or_signed_for_a_subject),
        cmocka_unit_test(fapi2_refuses_whatever_is_weaker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
