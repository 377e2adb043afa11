/* The configuration: every option reaches its member, every mistake is told with file and line, slices hold what a role may see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"

#define THUMBPRINT "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

/* Every option once, with values that a careless parser would cut. */
static const char whole[] =
    "[agent]\n"
    "state-folder = /var/lib/dpop-agent\n"
    "log-level = debug\n"
    "allow-users = alice\t1001  bob\n"
    "[key work]\n"
    "uri = pkcs11:token=a%20b;object=work;id=%01%ff;serial=x.y_z~?module-path=/usr/lib/m.so&module-name=m\n"
    "pin-file = /etc/dpop-agent/work;1.pin\n"
    "environment = SOFTHSM2_CONF=/a b/c#d\n"
    "environment = X=\n"
    "workers = 64\n"
    "sign-timeout = 7\n"
    "thumbprint = " THUMBPRINT "\n"
    "allow-imported = yes\n"
    "origins = https://one.example https://two.example:8443\n"
    "[key spare]\n"
    "uri = pkcs11:object=spare\n"
    "pin-credential = spare-pin\n"
    "[profile work]\n"
    "key = work\n"
    "issuer = https://as.example/tenant\n"
    "token-endpoint = https://as.example/token?x=1;y=2\n"
    "client-id = app # 1 ; 2\n"
    "client-authentication = private_key_jwt\n"
    "client-key = spare\n"
    "grant = client_credentials\n"
    "scope = b a\n"
    "resource = https://api.example/1\n"
    "resource = urn:x:2\n"
    "form = audience=a=b&c\n"
    "form = empty=\n"
    "origins = https://api.example\n"
    "ca-file = /etc/ssl/own.pem\n"
    "allow-http-loopback = yes\n"
    "timeout = 600\n"
    "[profile basic]\n"
    "key = work\n"
    "issuer = https://as.example\n"
    "client-id = app\n"
    "client-secret-file = /etc/dpop-agent/secret\n"
    "origins = https://api.example\n"
    "[profile post]\n"
    "key = spare\n"
    "token-endpoint = https://as.example/token\n"
    "client-id = app\n"
    "client-authentication = client_secret_post\n"
    "client-secret-credential = post-secret\n"
    "origins = https://api.example\n";

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
    struct config *c = parse_as(whole, ROLE_SUPERVISOR);
    const struct key_config *k = config_key(c, span_text("work"));
    (void)state;
    assert_string_equal(c->path, "agent.conf");
    assert_string_equal(c->agent.state_folder, "/var/lib/dpop-agent");
    assert_int_equal(c->agent.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(c->agent.allow_users.count, 3);
    assert_string_equal(c->agent.allow_users.items[0], "alice");
    assert_string_equal(c->agent.allow_users.items[1], "1001");
    assert_string_equal(c->agent.allow_users.items[2], "bob");
    assert_int_equal(c->key_count, 2);
    assert_non_null(k);
    assert_string_equal(k->name, "work");
    assert_int_equal(k->line, 5);
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
    struct config *c = parse_as(whole, ROLE_SUPERVISOR);
    const struct profile_config *p = config_profile(c, span_text("work"));
    (void)state;
    assert_int_equal(c->profile_count, 3);
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
    struct config *c = parse_as(whole, ROLE_SUPERVISOR);
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

static void test_a_key_is_checked_as_a_whole(void **state)
{
    (void)state;
    assert_refused("[agent]\n[key k]\nworkers = 1\n", "agent.conf:2: [key k] lacks the option \"uri\"");
    assert_refused("[key k]\nuri = pkcs11:object=k\npin-file = /p\npin-credential = p\n",
                   "agent.conf:1: [key k] has both pin-file and pin-credential");
    assert_refused("[key k]\nuri = pkcs11:object=k\nthumbprint = abc\n", "agent.conf:1: [key k]: thumbprint");
    assert_refused("[key k]\nuri = pkcs11:object=k\nenvironment = ABC\n", "agent.conf:1: [key k]: environment wants NAME=value");
    assert_refused("[key k]\nuri = pkcs11:object=k\nenvironment = =x\n", "agent.conf:1: [key k]: environment wants NAME=value");
}

#define KEY "[key k]\nuri = pkcs11:object=k\n"
#define PROFILE KEY "[profile p]\n" /* on line 3 */

static void test_a_profile_that_lacks_something_is_an_error(void **state)
{
    (void)state;
    assert_refused(PROFILE "client-id = c\n", "agent.conf:3: [profile p] lacks the option \"key\"");
    assert_refused(PROFILE "key = k\n", "agent.conf:3: [profile p] lacks the option \"client-id\"");
    assert_refused(PROFILE "key = k\nclient-id = c\nissuer = https://a\n", "agent.conf:3: [profile p] lacks the option \"origins\"");
    assert_refused(PROFILE "key = k\nclient-id = c\norigins = https://a\nclient-secret-file = /s\n",
                   "agent.conf:3: [profile p] lacks the option \"issuer\"");
    assert_refused(PROFILE "key = k\nclient-id = c\norigins = https://a\ntoken-endpoint = https://a/t\n"
                           "client-authentication = private_key_jwt\n",
                   "agent.conf:3: [profile p] lacks the option \"issuer\"");
    assert_refused(PROFILE "key = other\nclient-id = c\norigins = https://a\nissuer = https://a\nclient-secret-file = /s\n",
                   "agent.conf:3: [profile p] names key \"other\", but there is no [key other]");
}

#define GOOD PROFILE "key = k\nclient-id = c\norigins = https://a\nissuer = https://a\n"

static void test_a_profiles_client_authentication_fits_its_secrets(void **state)
{
    (void)state;
    assert_refused(GOOD, "agent.conf:3: [profile p] wants one of client-secret-file and client-secret-credential for "
                         "client_secret_basic");
    assert_refused(GOOD "client-secret-file = /s\nclient-secret-credential = s\n", "agent.conf:3: [profile p] wants one of");
    assert_refused(GOOD "client-authentication = private_key_jwt\nclient-secret-file = /s\n",
                   "agent.conf:3: [profile p] has a client secret, which private_key_jwt does not use");
    assert_refused(GOOD "client-secret-file = /s\nclient-key = k\n",
                   "agent.conf:3: [profile p] has client-key, which only private_key_jwt uses");
    assert_refused(GOOD "client-authentication = private_key_jwt\nclient-key = z\n",
                   "agent.conf:3: [profile p] names client-key \"z\", but there is no [key z]");
    assert_refused(GOOD "client-authentication = none\n", "client_credentials needs a client authentication other than none");
    assert_refused(GOOD "client-secret-file = /s\nform = abc\n", "agent.conf:3: [profile p]: form wants name=value");
    assert_refused(GOOD "client-secret-file = /s\nform = =abc\n", "agent.conf:3: [profile p]: form wants name=value");
}

/* --- slices --- */

static struct config *slice(enum role role, const char *name, struct buffer *text)
{
    struct config *all = parse_as(whole, ROLE_SUPERVISOR), *c;
    buffer_init(text, CONFIG_MAX_FILE);
    config_put_slice(all, role, name, text);
    assert_false(text->failed);
    config_free(all);
    buffer_put(text, "", 1); /* so that the tests can search it */
    c = parse_as((const char *)buffer_span(text).data, role);
    return c;
}

static bool has(const struct buffer *text, const char *what)
{
    return strstr((const char *)buffer_span(text).data, what) != NULL;
}

static void test_the_supervisors_table_says_of_every_option_who_sees_it(void **state)
{
    struct config *all = parse_as(whole, ROLE_SUPERVISOR);
    (void)state;
    for (size_t i = 0; i < all->entry_count; i++)
        assert_true((all->entries[i].roles & (ROLE_FRONT | ROLE_KEY | ROLE_NET | ROLE_STORE | ROLE_INIT)) != 0);
    config_free(all);
}

static void test_the_fronts_slice_has_no_path_of_a_secret(void **state)
{
    struct buffer text;
    struct config *c = slice(ROLE_FRONT, NULL, &text);
    (void)state;
    static const char *const hidden[] = {"pin-file", "pin-credential", "client-secret", "environment", "allow-imported",
                                         "ca-file",  "state-folder",   "post-secret",   "work;1.pin"};
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        assert_false(has(&text, hidden[i]));
    assert_int_equal(c->agent.allow_users.count, 3);
    assert_int_equal(c->key_count, 2);
    assert_int_equal(c->keys[0].workers, 64);
    assert_int_equal(c->keys[0].sign_timeout, 7);
    assert_string_equal(c->keys[0].thumbprint, THUMBPRINT);
    assert_int_equal(c->profile_count, 3);
    const struct profile_config *p = config_profile(c, span_text("work"));
    assert_string_equal(p->client_id, "app # 1 ; 2");
    assert_string_equal(p->client_key, "spare");
    assert_string_equal(p->resources.items[1], "urn:x:2");
    assert_string_equal(p->form.items[0], "audience=a=b&c");
    assert_string_equal(p->scope, "b a");
    assert_true(p->allow_http_loopback);
    assert_int_equal(p->timeout, 600);
    config_free(c);
    buffer_free(&text);
}

static void test_a_key_processs_slice_has_its_own_key_only(void **state)
{
    struct buffer text;
    struct config *c = slice(ROLE_KEY, "work", &text);
    (void)state;
    static const char *const hidden[] = {"spare", "profile", "client", "secret", "origins", "workers", "state-folder", "issuer"};
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        assert_false(has(&text, hidden[i]));
    assert_int_equal(c->key_count, 1);
    assert_int_equal(c->profile_count, 0);
    assert_string_equal(c->keys[0].name, "work");
    assert_string_equal(c->keys[0].pin_file, "/etc/dpop-agent/work;1.pin");
    assert_int_equal(c->keys[0].environment.count, 2);
    assert_string_equal(c->keys[0].environment.items[0], "SOFTHSM2_CONF=/a b/c#d");
    assert_true(c->keys[0].allow_imported);
    assert_string_equal(c->keys[0].thumbprint, THUMBPRINT);
    assert_int_equal(c->agent.log_level, LOG_LEVEL_DEBUG);
    config_free(c);
    buffer_free(&text);
}

static void test_the_net_processs_slice_has_client_secrets_and_nothing_of_keys(void **state)
{
    struct buffer text;
    struct config *c = slice(ROLE_NET, NULL, &text);
    (void)state;
    static const char *const hidden[] = {"pin", "uri", "pkcs11", "[key", "environment", "origins", "state-folder", "form", "scope"};
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        assert_false(has(&text, hidden[i]));
    assert_int_equal(c->profile_count, 3);
    assert_string_equal(config_profile(c, span_text("basic"))->client_secret_file, "/etc/dpop-agent/secret");
    assert_string_equal(config_profile(c, span_text("post"))->client_secret_credential, "post-secret");
    assert_int_equal(config_profile(c, span_text("post"))->client_authentication, CLIENT_SECRET_POST);
    assert_string_equal(config_profile(c, span_text("work"))->ca_file, "/etc/ssl/own.pem");
    config_free(c);
    buffer_free(&text);
}

static void test_the_stores_and_inits_slices_have_the_agents_own_options_only(void **state)
{
    static const enum role roles[] = {ROLE_STORE, ROLE_INIT};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct buffer text;
        struct config *c = slice(roles[i], NULL, &text);
        assert_false(has(&text, "[key"));
        assert_false(has(&text, "[profile"));
        assert_false(has(&text, "allow-users"));
        assert_string_equal(c->agent.state_folder, "/var/lib/dpop-agent");
        assert_int_equal(c->agent.log_level, LOG_LEVEL_DEBUG);
        config_free(c);
        buffer_free(&text);
    }
}

static void test_a_slice_may_be_completed_with_a_second_agent_section(void **state)
{
    (void)state;
    struct config *c = parse_as("[agent]\nlog-level = error\n[agent]\nstate-folder = /s\n", ROLE_STORE);
    assert_string_equal(c->agent.state_folder, "/s");
    config_free(c);
}

static void test_a_slice_of_a_slice_is_the_same_slice(void **state)
{
    static const enum role roles[] = {ROLE_FRONT, ROLE_KEY, ROLE_NET, ROLE_STORE, ROLE_INIT};
    (void)state;
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        struct buffer first, second;
        struct config *c = slice(roles[i], roles[i] == ROLE_KEY ? "work" : NULL, &first);
        buffer_init(&second, CONFIG_MAX_FILE);
        config_put_slice(c, roles[i], roles[i] == ROLE_KEY ? "work" : NULL, &second);
        buffer_put(&second, "", 1);
        assert_true(span_equal(buffer_span(&first), buffer_span(&second)));
        config_free(c);
        buffer_free(&first);
        buffer_free(&second);
    }
}

/* --- the file --- */

struct file_world {
    char folder[32], path[64];
};

static int make_world(void **state)
{
    struct file_world *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return -1;
    strcpy(w->folder, "/tmp/test-config-XXXXXX");
    if (mkdtemp(w->folder) == NULL)
        return -1;
    (void)snprintf(w->path, sizeof(w->path), "%s/agent.conf", w->folder);
    FILE *f = fopen(w->path, "w");
    if (f == NULL || fputs("[agent]\nlog-level = debug\n", f) < 0 || fclose(f) != 0)
        return -1;
    *state = w;
    return chmod(w->path, 0644);
}

static int remove_world(void **state)
{
    struct file_world *w = *state;
    (void)unlink(w->path);
    (void)rmdir(w->path);
    int r = rmdir(w->folder);
    free(w);
    return r;
}

static enum status read_file(const struct file_world *w, struct error *err)
{
    struct config *c = NULL;
    enum status status = config_read_file(w->path, &c, err);
    assert_true((status == STATUS_OK) == (c != NULL));
    config_free(c);
    return status;
}

static void test_a_file_that_others_may_read_but_not_write_is_read(void **state)
{
    struct file_world *w = *state;
    struct error err;
    assert_int_equal(read_file(w, &err), STATUS_OK);
    assert_int_equal(chmod(w->path, 0400), 0);
    assert_int_equal(read_file(w, &err), STATUS_OK);
}

static void test_a_file_that_others_may_write_is_refused(void **state)
{
    static const mode_t modes[] = {0666, 0664, 0646, 0622};
    struct file_world *w = *state;
    struct error err;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        assert_int_equal(chmod(w->path, modes[i]), 0);
        assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
        assert_non_null(strstr(err.message, w->path));
        assert_non_null(strstr(err.next, "chmod"));
    }
}

/* Only root can give files away; another user sees the same rule with a file of root's, which is allowed. */
static void test_a_file_of_another_user_is_refused_and_one_of_roots_is_read(void **state)
{
    struct file_world *w = *state;
    struct config *c = NULL;
    struct error err;
    if (geteuid() == 0) {
        assert_int_equal(chown(w->path, 65534, 65534), 0);
        assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
        assert_non_null(strstr(err.message, "uid 65534"));
    } else {
        assert_int_not_equal(config_read_file("/etc/passwd", &c, &err), STATUS_OK);
        assert_null(strstr(err.message, "belongs to"));
    }
}

static void test_a_missing_file_means_not_configured(void **state)
{
    struct file_world *w = *state;
    struct error err;
    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(read_file(w, &err), STATUS_NOT_CONFIGURED);
    assert_non_null(strstr(err.message, w->path));
    assert_non_null(strstr(err.next, "dpop init"));
}

static void test_a_folder_or_a_fifo_is_no_configuration_and_blocks_nobody(void **state)
{
    struct file_world *w = *state;
    struct error err;
    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(mkdir(w->path, 0700), 0);
    assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
    assert_int_equal(rmdir(w->path), 0);
    assert_int_equal(mkfifo(w->path, 0600), 0);
    assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
    assert_non_null(strstr(err.message, "regular file"));
}

static void test_a_file_over_4_mib_is_refused_and_one_of_4_mib_is_read(void **state)
{
    struct file_world *w = *state;
    struct error err;
    FILE *f = fopen(w->path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < CONFIG_MAX_FILE; i += 64)
        assert_true(fprintf(f, "#%62s\n", "") == 64);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(read_file(w, &err), STATUS_OK);
    assert_int_equal(truncate(w->path, CONFIG_MAX_FILE + 1), 0);
    assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
}

static void test_an_error_in_a_file_names_the_file_and_the_line(void **state)
{
    struct file_world *w = *state;
    struct error err;
    char expected[96];
    FILE *f = fopen(w->path, "a");
    assert_non_null(f);
    assert_true(fputs("colour = red\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
    (void)snprintf(expected, sizeof(expected), "%s:3: ", w->path);
    assert_memory_equal(err.message, expected, strlen(expected));
}

int main(void)
{
#define FILE_TEST(test) cmocka_unit_test_setup_teardown(test, make_world, remove_world)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_option_of_agent_and_key_reaches_its_member),
        cmocka_unit_test(test_every_option_of_a_profile_reaches_its_member),
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
        cmocka_unit_test(test_a_key_is_checked_as_a_whole),
        cmocka_unit_test(test_a_profile_that_lacks_something_is_an_error),
        cmocka_unit_test(test_a_profiles_client_authentication_fits_its_secrets),
        cmocka_unit_test(test_the_supervisors_table_says_of_every_option_who_sees_it),
        cmocka_unit_test(test_the_fronts_slice_has_no_path_of_a_secret),
        cmocka_unit_test(test_a_key_processs_slice_has_its_own_key_only),
        cmocka_unit_test(test_the_net_processs_slice_has_client_secrets_and_nothing_of_keys),
        cmocka_unit_test(test_the_stores_and_inits_slices_have_the_agents_own_options_only),
        cmocka_unit_test(test_a_slice_may_be_completed_with_a_second_agent_section),
        cmocka_unit_test(test_a_slice_of_a_slice_is_the_same_slice),
        FILE_TEST(test_a_file_that_others_may_read_but_not_write_is_read),
        FILE_TEST(test_a_file_that_others_may_write_is_refused),
        FILE_TEST(test_a_file_of_another_user_is_refused_and_one_of_roots_is_read),
        FILE_TEST(test_a_missing_file_means_not_configured),
        FILE_TEST(test_a_folder_or_a_fifo_is_no_configuration_and_blocks_nobody),
        FILE_TEST(test_a_file_over_4_mib_is_refused_and_one_of_4_mib_is_read),
        FILE_TEST(test_an_error_in_a_file_names_the_file_and_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
