/* The configuration: every option reaches its member, every mistake of syntax is told with file and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "whole_config.h"

static struct config *parse_as(const char *text, enum role role)
{
    struct config *c = NULL;
    struct error err;
    if (config_parse(span_text(text), "agent.conf", role, &c, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_non_null(c);
    return c;
}

static void assert_refused(const char *text, const char *message)
{
    struct config *c = NULL;
    struct error err;
    assert_int_equal(config_parse(span_text(text), "agent.conf", ROLE_SUPERVISOR, &c, &err), STATUS_CONFIGURATION);
    assert_null(c);
    if (strstr(err.message, message) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", message, err.message);
    assert_string_not_equal(err.next, "");
}

static void test_every_option_of_agent_and_key_reaches_its_member(void **state)
{
    struct config *c = parse_as(whole_config, ROLE_SUPERVISOR);
    const struct key_config *k = config_key(c, span_text("work"));
    (void)state;
    assert_string_equal(c->path, "agent.conf");
    assert_string_equal(c->agent.state_folder, "/var/lib/dpop-agent");
    assert_int_equal(c->agent.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(c->agent.allow_users.count, 3);
    assert_string_equal(c->agent.allow_users.items[0], "alice");
    assert_string_equal(c->agent.allow_users.items[1], "1001");
    assert_string_equal(c->agent.allow_users.items[2], "bob");
    assert_int_equal(c->agent.max_clock_skew, 60);
    assert_int_equal(c->key_count, 2);
    assert_non_null(k);
    assert_string_equal(k->name, "work");
    assert_int_equal(k->line, 6);
    assert_string_equal(
        k->uri, "pkcs11:token=a%20b;object=work;id=%01%ff;serial=x.y_z~?module-path=/usr/lib/m.so&module-name=m");
    assert_string_equal(k->pin_file, "/etc/dpop-agent/work;1.pin");
    assert_null(k->pin_credential);
    assert_int_equal(k->environment.count, 2);
    assert_string_equal(k->environment.items[0], "SOFTHSM2_CONF=/a b/c#d");
    assert_string_equal(k->environment.items[1], "X=");
    assert_int_equal(k->workers, 64);
    assert_int_equal(k->sign_timeout, 7);
    assert_string_equal(k->thumbprint, THUMBPRINT);
    assert_true(k->allow_imported);
    assert_int_equal(k->origins.count, 2);
    assert_string_equal(k->origins.items[1], "https://two.example:8443");
    assert_string_equal(config_key(c, span_text("spare"))->pin_credential, "spare-pin");
    config_free(c);
}

static void test_every_option_of_a_profile_reaches_its_member(void **state)
{
    struct config *c = parse_as(whole_config, ROLE_SUPERVISOR);
    const struct profile_config *p = config_profile(c, span_text("work"));
    (void)state;
    assert_int_equal(c->profile_count, 5);
    assert_non_null(p);
    assert_string_equal(p->key, "work");
    assert_string_equal(p->issuer, "https://as.example/tenant");
    assert_string_equal(p->token_endpoint, "https://as.example/token?x=1;y=2");
    assert_string_equal(p->client_id, "app # 1 ; 2");
    assert_int_equal(p->client_authentication, PRIVATE_KEY_JWT);
    assert_null(p->client_secret_file);
    assert_null(p->client_secret_credential);
    assert_string_equal(p->client_key, "spare");
    assert_int_equal(p->grant, GRANT_CLIENT_CREDENTIALS);
    assert_string_equal(p->scope, "b a");
    assert_int_equal(p->resources.count, 2);
    assert_string_equal(p->resources.items[1], "urn:x:2");
    assert_int_equal(p->form.count, 2);
    assert_string_equal(p->form.items[0], "audience=a=b&c");
    assert_int_equal(p->origins.count, 1);
    assert_string_equal(p->ca_file, "/etc/ssl/own.pem");
    assert_true(p->allow_http_loopback);
    assert_int_equal(p->timeout, 600);
    assert_string_equal(config_profile(c, span_text("basic"))->client_secret_file, "/etc/dpop-agent/secret");
    assert_string_equal(config_profile(c, span_text("post"))->client_secret_credential, "post-secret");
    assert_int_equal(config_profile(c, span_text("post"))->client_authentication, CLIENT_SECRET_POST);
    config_free(c);
}

static void test_every_option_of_a_login_reaches_its_member(void **state)
{
    struct config *c = parse_as(whole_config, ROLE_SUPERVISOR);
    const struct profile_config *p = config_profile(c, span_text("login"));
    (void)state;
    assert_non_null(p);
    assert_string_equal(p->authorization_endpoint, "https://as.example/authorize");
    assert_string_equal(p->pushed_authorization_request_endpoint, "https://as.example/par");
    assert_string_equal(p->device_authorization_endpoint, "https://as.example/device");
    assert_string_equal(p->revocation_endpoint, "https://as.example/revoke");
    assert_string_equal(p->introspection_endpoint, "https://as.example/introspect");
    assert_int_equal(p->client_authentication, SELF_SIGNED_TLS_CLIENT_AUTH);
    assert_true(config_has_tls_client(p));
    assert_string_equal(p->client_certificate_file, "/etc/dpop-agent/client.pem");
    assert_int_equal(p->grant, GRANT_AUTHORIZATION_CODE);
    assert_true(config_needs_login(p));
    assert_int_equal(p->dpop, DPOP_REFRESH_ONLY);
    assert_true(p->fapi2);
    assert_false(p->persist);
    assert_int_equal(p->par, PAR_YES);
    assert_string_equal(p->redirect_uri, "http://[::1]:8080/cb");
    assert_int_equal(p->login_timeout, 3600);
    assert_int_equal(p->audiences.count, 2);
    assert_string_equal(p->audiences.items[1], "two words");
    assert_string_equal(p->authorization_details, "[{\"type\": \"x\"}]");
    assert_string_equal(p->authorization_form.items[0], "prompt=consent");
    assert_string_equal(p->device_form.items[0], "d=1");
    assert_string_equal(p->revocation_form.items[0], "r=1");
    assert_string_equal(p->introspection_form.items[0], "i=1");
    assert_string_equal(p->trace_file, "/var/log/dpop-agent/login");
    config_free(c);
}

static void test_every_option_of_the_other_grants_reaches_its_member(void **state)
{
    struct config *c = parse_as(whole_config, ROLE_SUPERVISOR);
    const struct profile_config *p = config_profile(c, span_text("exchange"));
    (void)state;
    assert_non_null(p);
    assert_int_equal(p->client_authentication, CLIENT_NONE);
    assert_int_equal(p->grant, GRANT_TOKEN_EXCHANGE);
    assert_string_equal(config_grant_type(p->grant), "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_string_equal(p->subject_token_profile, "login");
    assert_string_equal(p->subject_token_file, "/run/subject");
    assert_string_equal(p->subject_token_type, "urn:s");
    assert_string_equal(p->actor_token_file, "/run/actor");
    assert_string_equal(p->actor_token_type, "urn:a");
    assert_string_equal(p->requested_token_type, "urn:r");
    assert_string_equal(p->assertion_file, "/run/assertion");
    assert_string_equal(p->assertion_key, "spare");
    assert_string_equal(p->assertion_issuer, "iss");
    assert_string_equal(p->assertion_subject, "sub");
    assert_string_equal(p->assertion_audience, "aud");
    config_free(c);
}

/* The table is the list: {"section", "option", KIND_… */
static void test_the_text_above_has_every_option_of_the_table(void **state)
{
    FILE *f = fopen(TEST_SOURCE "/agent/common/config_option.c", "r");
    char line[512], section[16], option[64], wanted[80];
    unsigned int count = 0;
    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, " {\"%15[a-z]\", \"%63[a-z0-9-]\", KIND_", section, option) != 2)
            continue;
        (void)snprintf(wanted, sizeof(wanted), "\n%s = ", option);
        if (strstr(whole_config, wanted) == NULL)
            fail_msg("no test reads the option %s", option);
        count++;
    }
    assert_int_equal(fclose(f), 0);
    assert_true(count > 50);
}

static void test_options_that_are_not_there_have_their_defaults(void **state)
{
    struct config *c = parse_as("[key k]\nuri = pkcs11:object=k\n[profile p]\nkey = k\nissuer = https://as.example\nclient-id = c\n"
                                "client-secret-file = /s\norigins = https://api.example\n",
                                ROLE_SUPERVISOR);
    const struct key_config *k = &c->keys[0];
    const struct profile_config *p = &c->profiles[0];
    (void)state;
    assert_null(c->agent.state_folder);
    assert_int_equal(c->agent.log_level, LOG_LEVEL_INFO);
    assert_int_equal(c->agent.allow_users.count, 0);
    assert_int_equal(k->workers, 1);
    assert_int_equal(k->sign_timeout, 5);
    assert_null(k->thumbprint);
    assert_false(k->allow_imported);
    assert_int_equal(p->client_authentication, CLIENT_SECRET_BASIC);
    assert_int_equal(p->grant, GRANT_CLIENT_CREDENTIALS);
    assert_null(p->scope);
    assert_false(p->allow_http_loopback);
    assert_int_equal(p->timeout, 30);
    assert_int_equal(c->agent.max_clock_skew, 3600);
    assert_int_equal(p->dpop, DPOP_REQUIRED);
    assert_int_equal(p->par, PAR_AUTO);
    assert_false(p->fapi2);
    assert_true(p->persist);
    assert_int_equal(p->login_timeout, 300);
    assert_null(p->redirect_uri);
    assert_null(p->trace_file);
    config_free(c);
}

static void test_private_key_jwt_signs_with_the_profiles_key_unless_another_is_named(void **state)
{
    struct config *c = parse_as("[key k]\nuri = pkcs11:object=k\n[profile p]\nkey = k\nissuer = https://as.example\nclient-id = c\n"
                                "client-authentication = private_key_jwt\norigins = https://api.example\n",
                                ROLE_SUPERVISOR);
    (void)state;
    assert_string_equal(c->profiles[0].client_key, "k");
    config_free(c);
}

static void test_an_empty_configuration_is_one_without_keys(void **state)
{
    struct config *c = parse_as("", ROLE_SUPERVISOR);
    (void)state;
    assert_int_equal(c->key_count, 0);
    assert_int_equal(c->profile_count, 0);
    config_free(c);
}

static void test_names_that_are_not_there_are_not_found(void **state)
{
    struct config *c = parse_as(whole_config, ROLE_SUPERVISOR);
    (void)state;
    assert_null(config_key(c, span_text("wor")));
    assert_null(config_key(c, span_text("works")));
    assert_null(config_key(c, span_text(NULL)));
    assert_null(config_profile(c, span_text("spare")));
    config_free(c);
}

static void test_unknown_options_and_sections_are_errors_with_their_line(void **state)
{
    (void)state;
    assert_refused("[agent]\n\ncolour = red\n", "agent.conf:3: unknown option \"colour\" in section [agent]");
    assert_refused("[agent]\nuri = pkcs11:object=x\n", "agent.conf:2: unknown option \"uri\"");
    assert_refused("[key k]\nURI = pkcs11:object=x\n", "agent.conf:2: unknown option \"URI\"");
    assert_refused("[agent]\n[agents]\n", "agent.conf:2: no section of this kind");
    assert_refused("[Agent]\n", "agent.conf:1: no section of this kind");
    assert_refused("a = b\n", "agent.conf:1: an option stands before the first section");
    assert_refused("[agent]\nword\n", "agent.conf:2: neither");
    assert_refused("[agent]\n"
                   "an-option-whose-name-is-longer-than-any-option-that-there-could-ever-be = 1\n",
                   "agent.conf:2: the option's name is too long");
}

static void test_section_names_are_checked_and_never_cut(void **state)
{
    char text[300], name[201];
    (void)state;
    memset(name, 'n', 200);
    name[200] = '\0';
    (void)snprintf(text, sizeof(text), "# comment\n[key %s]\n", name);
    assert_refused(text, "agent.conf:2: [key NAME] wants a name of up to 63");
    (void)snprintf(text, sizeof(text), "[%s]\n", name);
    assert_refused(text, "agent.conf:1: no section");
    (void)snprintf(text, sizeof(text), "[profile %.64s]\n", name);
    assert_refused(text, "agent.conf:1: [profile NAME] wants a name");
    (void)snprintf(text, sizeof(text), "[key %.63s]\nuri = pkcs11:object=a\n", name);
    config_free(parse_as(text, ROLE_SUPERVISOR));
    assert_refused("[key]\n", "agent.conf:1: [key NAME] wants a name");
    assert_refused("[key a/b]\n", "agent.conf:1: [key NAME] wants a name");
    assert_refused("[key a b]\n", "agent.conf:1: [key NAME] wants a name");
    assert_refused("[key \xc3\xa4]\n", "agent.conf:1: [key NAME] wants a name");
    assert_refused("[agent x]\n", "agent.conf:1: [agent] takes no name");
}

static void test_duplicates_are_errors_with_their_line(void **state)
{
    (void)state;
    assert_refused("[key a]\nuri = pkcs11:object=a\n[key a]\n", "agent.conf:3: section [key a] stands twice");
    assert_refused("[profile a]\n[profile b]\n[profile a]\n", "agent.conf:3: section [profile a] stands twice");
    assert_refused("[agent]\n[key a]\nuri = pkcs11:object=a\n[agent]\n", "agent.conf:4: section [agent] stands twice");
    assert_refused("[key a]\nuri = pkcs11:object=a\nworkers = 1\nuri = pkcs11:object=a\n",
                   "agent.conf:4: option \"uri\" stands twice");
    assert_refused("[agent]\nallow-users = a\nallow-users = b\n", "agent.conf:3: option \"allow-users\" stands twice");
}

static void test_two_sections_may_have_the_same_option_and_a_key_and_a_profile_the_same_name(void **state)
{
    (void)state;
    config_free(parse_as("[key a]\nuri = pkcs11:object=a\norigins = https://x.example\n[key b]\nuri = pkcs11:object=b\n"
                         "[profile a]\nkey = b\nissuer = https://as.example\nclient-id = c\nclient-secret-file = /s\n"
                         "origins = https://x.example\n",
                         ROLE_SUPERVISOR));
}

static void test_values_are_checked_by_their_kind(void **state)
{
    (void)state;
    assert_refused("[key k]\nuri =\n", "agent.conf:2: option \"uri\" has no value");
    assert_refused("[key k]\npin-file = pin\n", "agent.conf:2: pin-file must be an absolute path");
    assert_refused("[agent]\nlog-level = loud\n", "agent.conf:2: log-level must be one of: error warning info debug");
    assert_refused("[agent]\nlog-level = Info\n", "agent.conf:2: log-level must be one of");
    assert_refused("[key k]\nallow-imported = true\n", "agent.conf:2: allow-imported must be yes or no");
    assert_refused("[profile p]\ngrant = password\n", "agent.conf:2: grant must be one of: client_credentials");
    static const char *const numbers[] = {"0", "65", "-1", "+1", "1.5", "1 2", "0x1", "one", "4294967297", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "[key k]\nworkers = %s\n", numbers[i]);
        assert_refused(text, "agent.conf:2: workers must be a whole number from 1 to 64");
    }
}

static void test_values_of_4_kib_come_whole_and_too_long_ones_are_errors(void **state)
{
    char *text = malloc(70000);
    (void)state;
    assert_non_null(text);
    for (size_t size = 4096; size <= 8192; size += 4096) {
        int n = sprintf(text, "[key k]\nuri = ");
        memset(text + n, 'u', size);
        strcpy(text + n + size, "\nworkers = 2\n");
        struct config *c = parse_as(text, ROLE_SUPERVISOR);
        assert_int_equal(strlen(c->keys[0].uri), size);
        assert_int_equal(c->keys[0].workers, 2);
        config_free(c);
    }
    strcpy(text, "[key k]\nuri = ");
    memset(text + strlen(text), 'u', 8193);
    strcpy(text + strlen("[key k]\nuri = ") + 8193, "\n");
    assert_refused(text, "agent.conf:2: uri is longer than 8192 bytes");
    strcpy(text, "[profile p]\nclient-id = ");
    memset(text + strlen("[profile p]\nclient-id = "), 'c', 1025);
    text[strlen("[profile p]\nclient-id = ") + 1025] = '\0';
    assert_refused(text, "agent.conf:2: client-id is longer than 1024 bytes");
    free(text);
}

static void test_nul_invalid_utf_8_and_control_characters_are_errors_with_their_line(void **state)
{
    static const char nul[] = "[agent]\nlog-level = debug\0x\n";
    struct config *c = NULL;
    struct error err;
    (void)state;
    assert_int_equal(config_parse(span_of(nul, sizeof(nul) - 1), "agent.conf", ROLE_SUPERVISOR, &c, &err), STATUS_CONFIGURATION);
    assert_non_null(strstr(err.message, "agent.conf:2: "));
    assert_refused("[agent]\n\nallow-users = \xff\n", "agent.conf:3: the line is not UTF-8");
    assert_refused("[agent]\nallow-users = \x1b[0m\n", "agent.conf:2: the line is not UTF-8");
}

static void test_cr_lf_and_a_missing_last_newline_change_nothing(void **state)
{
    struct config *c = parse_as("[agent]\r\nlog-level = error\r\n[key k]\r\nuri = pkcs11:object=k", ROLE_SUPERVISOR);
    (void)state;
    assert_int_equal(c->agent.log_level, LOG_LEVEL_ERROR);
    assert_string_equal(c->keys[0].uri, "pkcs11:object=k");
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_option_of_agent_and_key_reaches_its_member),
        cmocka_unit_test(test_every_option_of_a_profile_reaches_its_member),
        cmocka_unit_test(test_every_option_of_a_login_reaches_its_member),
        cmocka_unit_test(test_every_option_of_the_other_grants_reaches_its_member),
        cmocka_unit_test(test_the_text_above_has_every_option_of_the_table),
        cmocka_unit_test(test_options_that_are_not_there_have_their_defaults),
        cmocka_unit_test(test_private_key_jwt_signs_with_the_profiles_key_unless_another_is_named),
        cmocka_unit_test(test_an_empty_configuration_is_one_without_keys),
        cmocka_unit_test(test_names_that_are_not_there_are_not_found),
        cmocka_unit_test(test_unknown_options_and_sections_are_errors_with_their_line),
        cmocka_unit_test(test_section_names_are_checked_and_never_cut),
        cmocka_unit_test(test_duplicates_are_errors_with_their_line),
        cmocka_unit_test(test_two_sections_may_have_the_same_option_and_a_key_and_a_profile_the_same_name),
        cmocka_unit_test(test_values_are_checked_by_their_kind),
        cmocka_unit_test(test_values_of_4_kib_come_whole_and_too_long_ones_are_errors),
        cmocka_unit_test(test_nul_invalid_utf_8_and_control_characters_are_errors_with_their_line),
        cmocka_unit_test(test_cr_lf_and_a_missing_last_newline_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
