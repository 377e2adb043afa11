/* Sections of keys added, commented out and switched: what changes, what stays as it was to the byte, and what is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "config_check.h"
#include "init_world.h"
#include "role.h"

#define JKT_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define JKT_B "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"
#define URI_NEW "pkcs11:token=t;object=new?module-path=/m.so"

#define KEY_WORK                                                                                                       \
    "[key work]\n  uri = pkcs11:token=t;object=work?module-path=/m.so\n; ours\npin-file=/p # not a comment\r\n"        \
    "environment = A=1\nenvironment = B=2\n\nworkers = 3\nsign-timeout = 9\nthumbprint = " JKT_A                       \
    "\nallow-imported = yes\norigins = https://a.example\n"
#define KEY_OTHER "[key other]\nuri = pkcs11:token=t;object=other?module-path=/m.so\n"
#define PROFILE(name, key, more)                                                                                       \
    "[profile " name "]\nkey = " key "\nissuer = https://as.example\nclient-id = c\n"                                  \
    "client-authentication = private_key_jwt\norigins = https://api.example\n" more
#define HEAD "# top\n\n[agent]\nlog-level = debug\n\n"
#define REST "\n# about p\n" PROFILE("p", "work", "") "\n" PROFILE("q", "other", "") "# end, and no newline"

static struct init_world *world_of(void **state, const char *configuration)
{
    struct init_world *w = *state;
    char folder[SOFTHSM_PATH_MAX];
    softhsm_path(&w->hsm, "etc", folder);
    assert_int_equal(mkdir(w->state, 0700), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    softhsm_write(&w->hsm, "etc/agent.conf", configuration, 0640, NULL);
    return w;
}

/* One request; the profiles of its answer, "a b ". */
static enum status call(struct init_world *w, uint16_t operation, const struct message *m, const void *in,
                        char profiles[256])
{
    struct keys_changed answer;
    struct key_child c;
    struct frame frame;
    struct span item;
    size_t cursor = 0;
    enum status status;
    profiles[0] = '\0';
    if (key_child_fork(&c, NULL, w->log))
        _exit(init_main(&w->config, w->configuration, config_check, &c.channel));
    message_put_frame(&c.channel.out, operation, 5, m, in);
    assert_int_equal(channel_flush(&c.channel), 0);
    assert_int_equal(channel_read(&c.channel, &frame), 1);
    if (frame.operation == OPERATION_ERROR) {
        assert_int_equal(messages_take_error(frame.fields, &w->error), STATUS_OK);
        status = w->error.status;
    } else {
        assert_int_equal(frame.operation, operation | OPERATION_ANSWER);
        status = message_take(frame.fields, &message_keys_changed, &answer, sizeof(answer), &w->error);
        assert_int_equal(status, STATUS_OK);
        assert_true(span_is(answer.configuration, w->configuration));
        while (list_next(&answer.profiles, &cursor, &item))
            (void)snprintf(profiles + strlen(profiles), 256 - strlen(profiles), "%.*s ", (int)item.len,
                           (const char *)item.data);
    }
    assert_int_equal(key_child_end(&c, false), status == STATUS_OK ? 0 : 1);
    return status;
}

static enum status add(struct init_world *w, const char *name, const char *like, const char *uri, bool imported)
{
    char profiles[256];
    struct add_key request = {span_text(name), span_text(like), span_text(uri), span_text(JKT_B), imported};
    return call(w, INTERNAL_ADD_KEY, &message_add_key, &request, profiles);
}

static enum status remove_key(struct init_world *w, const char *name, bool check, char profiles[256])
{
    struct remove_key request = {span_text(name), check};
    return call(w, INTERNAL_REMOVE_KEY, &message_remove_key, &request, profiles);
}

static enum status switch_key(struct init_world *w, const char *name, const char *next)
{
    char profiles[256];
    struct switch_key request = {span_text(name), span_text(next)};
    return call(w, INTERNAL_SWITCH_KEY, &message_switch_key, &request, profiles);
}

static void assert_text(const struct init_world *w, const char *expected)
{
    char *text = softhsm_read(&w->hsm, "etc/agent.conf");
    struct stat st;
    assert_string_equal(text, expected);
    assert_int_equal(stat(w->configuration, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    free(text);
}

static void a_new_key_stands_behind_the_others_with_the_options_of_its_like(void **state)
{
    struct init_world *w = world_of(state, HEAD KEY_WORK "\n" KEY_OTHER REST);
    assert_int_equal(add(w, "work.next", "work", URI_NEW, true), STATUS_OK);
    assert_text(
        w, HEAD KEY_WORK
        "\n" KEY_OTHER "\n[key work.next]\nuri = " URI_NEW "\nthumbprint = " JKT_B
        "\nallow-imported = yes\npin-file=/p # not a comment\r\nenvironment = A=1\nenvironment = B=2\nworkers = 3\n"
        "sign-timeout = 9\norigins = https://a.example\n" REST);
}

static void a_key_at_the_end_without_a_newline_gets_one(void **state)
{
    struct init_world *w = world_of(state, "[key k]\nuri = pkcs11:token=t;object=k?module-path=/m.so");
    assert_int_equal(add(w, "n", "k", URI_NEW, false), STATUS_OK);
    assert_text(w, "[key k]\nuri = pkcs11:token=t;object=k?module-path=/m.so\n\n[key n]\nuri = " URI_NEW
                   "\nthumbprint = " JKT_B);
}

static void what_cannot_be_added_is_refused_and_nothing_changes(void **state)
{
    static const char old[] = HEAD KEY_WORK "\n" KEY_OTHER REST;
    struct init_world *w = world_of(state, old);
    assert_int_equal(add(w, "other", "work", URI_NEW, false), STATUS_EXISTS);
    assert_int_equal(add(w, "new", "none", URI_NEW, false), STATUS_UNKNOWN_KEY);
    assert_int_equal(add(w, "n]x", "work", URI_NEW, false), STATUS_INVALID_ARGUMENT);
    assert_int_equal(add(w, "", "work", URI_NEW, false), STATUS_INVALID_ARGUMENT);
    assert_int_equal(add(w, "new", "work", "pkcs11:object=new?module-path=/m.so ", false), STATUS_INVALID_ARGUMENT);
    assert_text(w, old);
}

static void today(char date[16])
{
    time_t now = time(NULL);
    struct tm tm;
    assert_non_null(localtime_r(&now, &tm));
    assert_int_not_equal(strftime(date, 16, "%Y-%m-%d", &tm), 0);
}

static void a_removed_key_and_its_profiles_stay_as_comments_that_say_why(void **state)
{
    char profiles[256], date[16], expected[4096];
    struct init_world *w = world_of(state, HEAD KEY_WORK "\n" KEY_OTHER REST);
    assert_int_equal(remove_key(w, "work", false, profiles), STATUS_OK);
    assert_string_equal(profiles, "p ");
    today(date);
    (void)snprintf(expected, sizeof(expected),
                   HEAD
                   "# removed by dpop key delete, %s\n# [key work]\n#   uri = "
                   "pkcs11:token=t;object=work?module-path=/m.so\n; ours\n"
                   "# pin-file=/p # not a comment\r\n# environment = A=1\n# environment = B=2\n\n# workers = 3\n# "
                   "sign-timeout = 9\n"
                   "# thumbprint = " JKT_A "\n# allow-imported = yes\n# origins = https://a.example\n\n" KEY_OTHER
                   "\n# about p\n# removed by dpop key delete, %s: it had key = work\n# [profile p]\n# key = work\n"
                   "# issuer = https://as.example\n# client-id = c\n# client-authentication = private_key_jwt\n# "
                   "origins = https://api.example\n\n" PROFILE("q", "other", "") "# end, and no newline",
                   date, date);
    assert_text(w, expected);
}

static void every_way_to_need_the_key_is_found(void **state)
{
    static const char exchange[] = "grant = token-exchange\n";
    char profiles[256], old[8192];
    (void)snprintf(old, sizeof(old), "%s%s%s%ssubject-token-profile = b\n%s%ssubject-token-profile = a\n%s%s%s",
                   KEY_WORK, KEY_OTHER, PROFILE("c", "other", ""), exchange, PROFILE("b", "other", ""), exchange,
                   PROFILE("a", "other", "client-key = work\n"),
                   PROFILE("j", "other",
                           "grant = jwt-bearer\nassertion-key = work\nassertion-issuer = i\nassertion-subject = s\n"),
                   PROFILE("free", "other", ""));
    struct init_world *w = world_of(state, old);
    assert_int_equal(remove_key(w, "work", true, profiles), STATUS_OK);
    assert_string_equal(profiles, "c b a j ");
    assert_text(w, old); /* it was only asked */
    assert_int_equal(remove_key(w, "work", false, profiles), STATUS_OK);
    assert_string_equal(profiles, "c b a j ");
    char *text = softhsm_read(&w->hsm, "etc/agent.conf");
    assert_non_null(strstr(text, ": it had subject-token-profile = b\n# [profile c]"));
    assert_non_null(strstr(text, ": it had subject-token-profile = a\n# [profile b]"));
    assert_non_null(strstr(text, ": it had client-key = work\n# [profile a]"));
    assert_non_null(strstr(text, ": it had assertion-key = work\n# [profile j]"));
    assert_non_null(strstr(text, "\n[profile free]"));
    free(text);
    assert_int_equal(remove_key(w, "work", false, profiles), STATUS_UNKNOWN_KEY);
    assert_int_equal(remove_key(w, "other", false, profiles), STATUS_OK); /* the last one, too */
    assert_string_equal(profiles, "free ");
}

static void a_switch_changes_what_makes_the_key_and_nothing_else(void **state)
{
    struct init_world *w = world_of(state, HEAD KEY_WORK "\n" KEY_OTHER REST);
    assert_int_equal(add(w, "work.next", "work", URI_NEW, false), STATUS_OK);
    assert_int_equal(switch_key(w, "work", "work.next"), STATUS_OK);
    assert_text(w, HEAD "[key work]\nuri = " URI_NEW "\nthumbprint = " JKT_B "\n; ours\npin-file=/p # not a comment\r\n"
                        "environment = A=1\nenvironment = B=2\n\nworkers = 3\nsign-timeout = 9\norigins = "
                        "https://a.example\n\n" KEY_OTHER REST);
}

static void a_switch_brings_what_the_next_key_has(void **state)
{
    static const char next[] = "[key work.next]\nuri = " URI_NEW "\nallow-imported = yes\nthumbprint=" JKT_B;
    char old[4096];
    (void)snprintf(old, sizeof(old), "%s\n%s", KEY_OTHER, next);
    struct init_world *w = world_of(state, old);
    assert_int_equal(switch_key(w, "other", "work.next"), STATUS_OK);
    assert_text(w, "[key other]\nuri = " URI_NEW "\nthumbprint=" JKT_B "\nallow-imported = yes");
}

static void a_profile_that_has_the_next_key_already_has_it_by_its_new_name(void **state)
{
    static const char old[] = KEY_OTHER "\n[key n]\nuri = " URI_NEW "\n\n" PROFILE(
        "p", "n",
        "") "\n[profile q]\nkey = other\n"
            "client-key =n\r\nclient-id = n\nissuer = https://as.example\nclient-authentication = private_key_jwt\n"
            "origins = https://api.example\n";
    struct init_world *w = world_of(state, old);
    assert_int_equal(switch_key(w, "other", "n"), STATUS_OK);
    assert_text(w, "[key other]\nuri = " URI_NEW
                   "\n\n" PROFILE("p", "other", "") "\n[profile q]\nkey = other\n"
                                                    "client-key =other\r\nclient-id = n\nissuer = "
                                                    "https://as.example\nclient-authentication = private_key_jwt\n"
                                                    "origins = https://api.example\n");
}

static void a_switch_that_cannot_be_is_refused_and_nothing_changes(void **state)
{
    static const char old[] = HEAD KEY_WORK "\n" KEY_OTHER REST;
    struct init_world *w = world_of(state, old);
    assert_int_equal(switch_key(w, "work", "none"), STATUS_UNKNOWN_KEY);
    assert_int_equal(switch_key(w, "none", "other"), STATUS_UNKNOWN_KEY);
    assert_int_equal(switch_key(w, "work", "work"), STATUS_INVALID_ARGUMENT);
    assert_text(w, old);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, init_world_set_up, init_world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_key_stands_behind_the_others_with_the_options_of_its_like),
        TEST(a_key_at_the_end_without_a_newline_gets_one),
        TEST(what_cannot_be_added_is_refused_and_nothing_changes),
        TEST(a_removed_key_and_its_profiles_stay_as_comments_that_say_why),
        TEST(every_way_to_need_the_key_is_found),
        TEST(a_switch_changes_what_makes_the_key_and_nothing_else),
        TEST(a_switch_brings_what_the_next_key_has),
        TEST(a_profile_that_has_the_next_key_already_has_it_by_its_new_name),
        TEST(a_switch_that_cannot_be_is_refused_and_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
