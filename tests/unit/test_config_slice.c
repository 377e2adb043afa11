/* Slices of the configuration: each role sees what it needs and nothing else. */
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

static struct config *slice(enum role role, const char *name, struct buffer *text)
{
    struct config *all = parse_as(whole_config, ROLE_SUPERVISOR), *c;
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
    struct config *all = parse_as(whole_config, ROLE_SUPERVISOR);
    (void)state;
    for (size_t i = 0; i < all->entry_count; i++)
        assert_true((all->entries[i].roles & (ROLE_FRONT | ROLE_KEY | ROLE_NET | ROLE_STORE | ROLE_INIT | ROLE_NET_TLS)) != 0);
    config_free(all);
}

static void test_the_fronts_slice_has_no_path_of_a_secret(void **state)
{
    struct buffer text;
    struct config *c = slice(ROLE_FRONT, NULL, &text);
    (void)state;
    static const char *const hidden[] = {"pin-file", "pin-credential", "client-secret", "environment", "allow-imported",
                                         "state-folder", "post-secret", "work;1.pin", "client-certificate-file"};
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        assert_false(has(&text, hidden[i]));
    assert_int_equal(c->agent.allow_users.count, 3);
    assert_int_equal(c->key_count, 2);
    assert_int_equal(c->keys[0].workers, 64);
    assert_int_equal(c->keys[0].sign_timeout, 7);
    assert_string_equal(c->keys[0].thumbprint, THUMBPRINT);
    assert_int_equal(c->profile_count, 5);
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
    assert_int_equal(c->profile_count, 5);
    assert_string_equal(config_profile(c, span_text("basic"))->client_secret_file, "/etc/dpop-agent/secret");
    assert_string_equal(config_profile(c, span_text("post"))->client_secret_credential, "post-secret");
    assert_int_equal(config_profile(c, span_text("post"))->client_authentication, CLIENT_SECRET_POST);
    assert_string_equal(config_profile(c, span_text("work"))->ca_file, "/etc/ssl/own.pem");
    config_free(c);
    buffer_free(&text);
}

static void test_the_stores_slice_has_of_a_profile_what_is_kept_and_how(void **state)
{
    struct buffer text;
    struct config *c = slice(ROLE_STORE, NULL, &text);
    static const char *const hidden[] = {"[key", "uri", "pin", "client", "secret", "issuer", "origins", "token", "allow-users"};
    (void)state;
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        assert_false(has(&text, hidden[i]));
    assert_string_equal(c->agent.state_folder, "/var/lib/dpop-agent");
    const struct profile_config *p = config_profile(c, span_text("login"));
    assert_string_equal(p->key, "work");
    assert_false(p->persist);
    assert_string_equal(p->trace_file, "/var/log/dpop-agent/login");
    config_free(c);
    buffer_free(&text);
}

static void test_inits_slice_has_the_agents_own_options_only(void **state)
{
    struct buffer text;
    struct config *c = slice(ROLE_INIT, NULL, &text);
    (void)state;
    assert_false(has(&text, "[key"));
    assert_false(has(&text, "[profile"));
    assert_false(has(&text, "allow-users"));
    assert_string_equal(c->agent.state_folder, "/var/lib/dpop-agent");
    assert_int_equal(c->agent.log_level, LOG_LEVEL_DEBUG);
    config_free(c);
    buffer_free(&text);
}

static void test_the_slice_of_a_profiles_own_net_process_has_that_profile_and_its_client_key(void **state)
{
    struct buffer text;
    struct config *c = slice(ROLE_NET_TLS, "login", &text);
    static const char *const hidden[] = {"/etc/dpop-agent/secret", "post-secret", "work;1.pin", "[profile work", "[key work", "origins",
                                         "issuer"};
    (void)state;
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        assert_false(has(&text, hidden[i]));
    assert_int_equal(c->profile_count, 1);
    assert_int_equal(c->key_count, 1);
    assert_string_equal(c->keys[0].name, "spare");
    assert_string_equal(c->keys[0].pin_credential, "spare-pin");
    assert_string_equal(c->profiles[0].client_key, "spare");
    assert_string_equal(c->profiles[0].client_certificate_file, "/etc/dpop-agent/client.pem");
    config_free(c);
    buffer_free(&text);
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
    static const enum role roles[] = {ROLE_FRONT, ROLE_KEY, ROLE_NET, ROLE_STORE, ROLE_INIT, ROLE_NET_TLS};
    (void)state;
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        struct buffer first, second;
        const char *name = roles[i] == ROLE_KEY ? "work" : roles[i] == ROLE_NET_TLS ? "login" : NULL;
        struct config *c = slice(roles[i], name, &first);
        buffer_init(&second, CONFIG_MAX_FILE);
        config_put_slice(c, roles[i], name, &second);
        buffer_put(&second, "", 1);
        assert_true(span_equal(buffer_span(&first), buffer_span(&second)));
        config_free(c);
        buffer_free(&first);
        buffer_free(&second);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_supervisors_table_says_of_every_option_who_sees_it),
        cmocka_unit_test(test_the_fronts_slice_has_no_path_of_a_secret),
        cmocka_unit_test(test_a_key_processs_slice_has_its_own_key_only),
        cmocka_unit_test(test_the_net_processs_slice_has_client_secrets_and_nothing_of_keys),
        cmocka_unit_test(test_the_stores_slice_has_of_a_profile_what_is_kept_and_how),
        cmocka_unit_test(test_inits_slice_has_the_agents_own_options_only),
        cmocka_unit_test(test_the_slice_of_a_profiles_own_net_process_has_that_profile_and_its_client_key),
        cmocka_unit_test(test_a_slice_may_be_completed_with_a_second_agent_section),
        cmocka_unit_test(test_a_slice_of_a_slice_is_the_same_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
