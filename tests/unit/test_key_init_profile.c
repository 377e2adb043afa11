/* A new profile in the configuration: the old text stays, the new one is there whole or not at all, secrets are beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config_check.h"
#include "key_child.h"
#include "role.h"
#include "softhsm.h"

#define OLD                                                                                                                \
    "; a comment, and no newline at the end\r\n[agent]\n  log-level=debug\n[key k]\nuri = pkcs11:object=k?module-path=/m.so"
#define NEW_PROFILE                                                                                                        \
    "\n\n[profile api]\nkey = k\nissuer = https://as.example\nclient-id = c 1\nclient-authentication = client_secret_post\n" \
    "origins = https://api.example\nclient-secret-file = "
#define SECRET "s3cret/+ with a blank"
#define REGISTRATION "{\"registration_access_token\":\"r\"}"
#define KILLS 100

/* The init under test has the folder's "state" as state folder and "etc/agent.conf" as configuration. */
struct world {
    struct softhsm hsm;
    char state[SOFTHSM_PATH_MAX], configuration[SOFTHSM_PATH_MAX], log[SOFTHSM_PATH_MAX], secret[SOFTHSM_PATH_MAX];
    struct config config;
    struct error error;
    rlim_t file_size; /* 0: no limit */
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char folder[SOFTHSM_PATH_MAX];
    assert_non_null(w);
    softhsm_open(&w->hsm);
    softhsm_path(&w->hsm, "state", w->state);
    softhsm_path(&w->hsm, "etc", folder);
    softhsm_path(&w->hsm, "etc/api.secret", w->secret);
    softhsm_path(&w->hsm, "log", w->log);
    w->config.agent.state_folder = w->state;
    assert_int_equal(mkdir(w->state, 0700), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    softhsm_write(&w->hsm, "etc/agent.conf", OLD, 0640, w->configuration);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    softhsm_close(&w->hsm);
    free(w);
    return 0;
}

static const char *const good[] = {"key = k", "issuer = https://as.example", "client-id = c 1",
                                   "client-authentication = client_secret_post", "origins = https://api.example"};
#define GOOD (sizeof(good) / sizeof(good[0]))

static void start(const struct world *w, struct key_child *c, const char *name, const char *const *options, size_t count)
{
    struct span lines[16];
    for (size_t i = 0; i < count; i++)
        lines[i] = span_text(options[i]);
    struct add_profile request = {.name = span_text(name),
                                  .options = {.items = lines, .count = count},
                                  .client_secret = span_text(SECRET),
                                  .registration = span_text(REGISTRATION)};
    if (key_child_fork(c, NULL, w->log)) {
        struct rlimit limit = {w->file_size, w->file_size};
        (void)signal(SIGXFSZ, SIG_IGN); /* write fails instead, as on a full disk */
        if (w->file_size > 0)
            (void)setrlimit(RLIMIT_FSIZE, &limit);
        _exit(init_main(&w->config, w->configuration, config_check, &c->channel));
    }
    message_put_frame(&c->channel.out, INTERNAL_ADD_PROFILE, 5, &message_add_profile, &request);
    assert_int_equal(channel_flush(&c->channel), 0);
}

static enum status add_named(struct world *w, const char *name, const char *const *options, size_t count)
{
    struct profile_added added;
    struct key_child c;
    struct frame frame;
    enum status status;
    start(w, &c, name, options, count);
    assert_int_equal(channel_read(&c.channel, &frame), 1);
    assert_int_equal(frame.request, 5);
    if (frame.operation == OPERATION_ERROR) {
        assert_int_equal(messages_take_error(frame.fields, &w->error), STATUS_OK);
        status = w->error.status;
    } else {
        assert_int_equal(frame.operation, INTERNAL_ADD_PROFILE | OPERATION_ANSWER);
        status = message_take(frame.fields, &message_profile_added, &added, sizeof(added), &w->error);
        assert_int_equal(status, STATUS_OK);
        assert_true(span_is(added.configuration, w->configuration));
        assert_true(span_is(added.secret_file, w->secret));
    }
    assert_int_equal(key_child_end(&c, false), status == STATUS_OK ? 0 : 1);
    return status;
}

static enum status add(struct world *w)
{
    return add_named(w, "api", good, GOOD);
}

static void assert_file(const struct world *w, const char *name, const char *content, unsigned int mode)
{
    char path[SOFTHSM_PATH_MAX];
    struct stat st;
    char *text = softhsm_read(&w->hsm, name);
    assert_string_equal(text, content);
    free(text);
    softhsm_path(&w->hsm, name, path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

static char *new_text(const struct world *w)
{
    char *text;
    assert_true(asprintf(&text, "%s%s%s\n", OLD, NEW_PROFILE, w->secret) > 0);
    return text;
}

static void assert_nothing_changed(const struct world *w)
{
    assert_file(w, "etc/agent.conf", OLD, 0640);
    assert_false(softhsm_exists(&w->hsm, "etc/api.secret"));
    assert_false(softhsm_exists(&w->hsm, "etc/api.registration"));
    char command[2 * SOFTHSM_PATH_MAX];
    (void)snprintf(command, sizeof(command), "test -z \"$(find '%s/etc' -type f ! -name agent.conf)\"", w->hsm.folder);
    assert_int_equal(system(command), 0);
}

static void a_profile_is_put_behind_the_old_text_and_its_secrets_beside_it(void **state)
{
    struct world *w = *state;
    struct config *config;
    struct error err;
    char *text = new_text(w);
    assert_int_equal(add(w), STATUS_OK);
    assert_file(w, "etc/agent.conf", text, 0640);
    assert_file(w, "etc/api.secret", SECRET, 0600);
    assert_file(w, "etc/api.registration", REGISTRATION, 0600);
    if (config_read_file(w->configuration, &config, &err) != STATUS_OK || config_check(config, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_string_equal(config->profiles[0].name, "api");
    assert_string_equal(config->profiles[0].client_secret_file, w->secret);
    config_free(config);
    free(text);
}

static void a_second_profile_of_that_name_is_refused(void **state)
{
    struct world *w = *state;
    char *text = new_text(w);
    assert_int_equal(add(w), STATUS_OK);
    assert_int_equal(add(w), STATUS_EXISTS);
    assert_non_null(strstr(w->error.message, "[profile api]"));
    assert_string_equal(w->error.next, "choose another name");
    assert_file(w, "etc/agent.conf", text, 0640);
    assert_file(w, "etc/api.secret", SECRET, 0600);
    free(text);
}

static void a_secret_or_registration_that_is_there_is_kept(void **state)
{
    struct world *w = *state;
    char path[SOFTHSM_PATH_MAX];
    softhsm_write(&w->hsm, "etc/api.secret", "another's", 0600, path);
    assert_int_equal(add(w), STATUS_EXISTS);
    assert_non_null(strstr(w->error.message, "api.secret"));
    assert_file(w, "etc/api.secret", "another's", 0600);
    assert_int_equal(unlink(path), 0);
    softhsm_write(&w->hsm, "etc/api.registration", "another's", 0600, path);
    assert_int_equal(add(w), STATUS_EXISTS);
    assert_false(softhsm_exists(&w->hsm, "etc/api.secret"));
    assert_file(w, "etc/api.registration", "another's", 0600);
    assert_file(w, "etc/agent.conf", OLD, 0640);
}

static void a_link_in_the_secrets_place_is_not_followed(void **state)
{
    struct world *w = *state;
    assert_int_equal(symlink("elsewhere", w->secret), 0);
    assert_int_equal(add(w), STATUS_EXISTS);
    assert_false(softhsm_exists(&w->hsm, "etc/elsewhere"));
    assert_file(w, "etc/agent.conf", OLD, 0640);
}

static void a_configuration_behind_a_link_is_changed_where_it_is(void **state)
{
    struct world *w = *state;
    char real[SOFTHSM_PATH_MAX];
    struct stat st;
    char *text = new_text(w);
    softhsm_path(&w->hsm, "real.conf", real);
    assert_int_equal(rename(w->configuration, real), 0);
    assert_int_equal(symlink("../real.conf", w->configuration), 0);
    assert_int_equal(add(w), STATUS_OK);
    assert_int_equal(lstat(w->configuration, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_file(w, "real.conf", text, 0640);
    assert_file(w, "etc/api.secret", SECRET, 0600);
    free(text);
}

static void the_owner_of_the_configuration_stays(void **state)
{
    struct world *w = *state;
    struct stat st;
    if (geteuid() != 0)
        return; /* only root can give a file away */
    assert_int_equal(chown(w->configuration, 0, 12345), 0);
    assert_int_equal(add(w), STATUS_OK);
    assert_int_equal(stat(w->configuration, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_gid, 12345);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void what_would_not_be_a_good_configuration_is_not_put_in_place(void **state)
{
    static const struct {
        const char *option, *message;
    } bad[] = {{"colour = red", "is no option"},
               {"issuer = http://as.example", "plain http"},
               {"key = other", "no [key other]"},
               {"grant = password", "must be one of"},
               {"redirect-uri = http://127.0.0.1/", "belongs to the grant"}};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *options[GOOD + 1];
        size_t n = 0;
        for (size_t j = 0; j < GOOD; j++)
            if (strncmp(good[j], bad[i].option, strcspn(bad[i].option, " ")) != 0)
                options[n++] = good[j];
        options[n++] = bad[i].option;
        assert_int_not_equal(add_named(w, "api", options, n), STATUS_OK);
        if (strstr(w->error.message, bad[i].message) == NULL)
            fail_msg("\"%s\" is not about \"%s\"", w->error.message, bad[i].message);
        assert_nothing_changed(w);
    }
}

static void a_line_that_is_no_option_of_a_profile_cannot_come_in(void **state)
{
    static const char *const lines[] = {"[key evil]", "# a comment", "", "no option", "uri = pkcs11:object=k",
                                        "client-secret-file = /etc/shadow", "client-secret-credential = x",
                                        "subject-token-file = /etc/shadow", "assertion-file = /etc/shadow",
                                        "trace-file = /etc/passwd"};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        const char *options[GOOD + 1];
        memcpy(options, good, sizeof(good));
        options[GOOD] = lines[i];
        assert_int_equal(add_named(w, "api", options, GOOD + 1), STATUS_INVALID_ARGUMENT);
        assert_nothing_changed(w);
    }
}

static void a_bad_name_is_refused(void **state)
{
    static const char *const names[] = {"", ".", "..", "../x", "a/b", "a b", "a]", ".hidden",
                                        "a-name-of-sixty-four-letters-which-is-one-more-than-a-name-can-h"};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(add_named(w, names[i], good, GOOD), STATUS_INVALID_ARGUMENT);
        assert_nothing_changed(w);
    }
}

static void a_configuration_that_others_may_write_or_that_is_not_there_is_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(chmod(w->configuration, 0662), 0);
    assert_int_equal(add(w), STATUS_CONFIGURATION);
    assert_non_null(strstr(w->error.message, "others may write it"));
    assert_int_equal(chmod(w->configuration, 0640), 0);
    assert_nothing_changed(w);
    assert_int_equal(unlink(w->configuration), 0);
    assert_int_equal(add(w), STATUS_NOT_CONFIGURED);
    assert_non_null(strstr(w->error.next, "dpop init"));
    assert_false(softhsm_exists(&w->hsm, "etc/agent.conf"));
}

static void one_process_at_a_time_works_in_a_state_folder(void **state)
{
    struct world *w = *state;
    int fd = open(w->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(add(w), STATUS_BUSY);
    assert_nothing_changed(w);
    assert_int_equal(close(fd), 0);
    assert_int_equal(add(w), STATUS_OK);
}

static void a_full_disk_leaves_the_old_configuration_and_no_secret(void **state)
{
    static const rlim_t limits[] = {1, sizeof(SECRET) - 2, sizeof(SECRET), sizeof(REGISTRATION), 64, sizeof(OLD) - 1, sizeof(OLD) + 100};
    struct world *w = *state;
    softhsm_write(&w->hsm, "log", "", 0600, NULL);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        w->file_size = limits[i];
        assert_int_equal(add(w), STATUS_STORE_FAILED);
        assert_nothing_changed(w);
    }
    w->file_size = 0;
    assert_int_equal(add(w), STATUS_OK);
}

/* Removes what is beside the configuration, as the error of the next attempt says. */
static void clean(const struct world *w)
{
    char command[3 * SOFTHSM_PATH_MAX];
    (void)snprintf(command, sizeof(command), "find '%s/etc' -type f ! -name agent.conf -delete", w->hsm.folder);
    assert_int_equal(system(command), 0);
    softhsm_write(&w->hsm, "etc/agent.conf", OLD, 0640, NULL);
}

static void a_kill_at_any_moment_leaves_the_old_or_the_new_configuration(void **state)
{
    struct world *w = *state;
    char *text = new_text(w);
    unsigned int old = 0, new = 0, seed = 1;
    for (unsigned int i = 0; i < KILLS; i++) {
        struct key_child c;
        start(w, &c, "api", good, GOOD);
        (void)usleep((useconds_t)(rand_r(&seed) % 12000));
        (void)kill(c.pid, SIGKILL);
        (void)key_child_end(&c, false);
        char *found = softhsm_read(&w->hsm, "etc/agent.conf");
        if (strcmp(found, OLD) == 0) {
            old++;
        } else {
            assert_string_equal(found, text);
            assert_file(w, "etc/api.secret", SECRET, 0600);
            assert_file(w, "etc/api.registration", REGISTRATION, 0600);
            new++;
        }
        free(found);
        clean(w);
    }
    print_message("%u kills: %u times the old configuration, %u times the new one\n", KILLS, old, new);
    free(text);
}

static void the_secret_stands_in_its_file_alone(void **state)
{
    struct world *w = *state;
    assert_int_equal(add(w), STATUS_OK);
    char *log = softhsm_read(&w->hsm, "log"), *configuration = softhsm_read(&w->hsm, "etc/agent.conf");
    assert_null(strstr(log, SECRET));
    assert_null(strstr(configuration, SECRET));
    free(log), free(configuration);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_profile_is_put_behind_the_old_text_and_its_secrets_beside_it),
        TEST(a_second_profile_of_that_name_is_refused),
        TEST(a_secret_or_registration_that_is_there_is_kept),
        TEST(a_link_in_the_secrets_place_is_not_followed),
        TEST(a_configuration_behind_a_link_is_changed_where_it_is),
        TEST(the_owner_of_the_configuration_stays),
        TEST(what_would_not_be_a_good_configuration_is_not_put_in_place),
        TEST(a_line_that_is_no_option_of_a_profile_cannot_come_in),
        TEST(a_bad_name_is_refused),
        TEST(a_configuration_that_others_may_write_or_that_is_not_there_is_refused),
        TEST(one_process_at_a_time_works_in_a_state_folder),
        TEST(a_full_disk_leaves_the_old_configuration_and_no_secret),
        TEST(a_kill_at_any_moment_leaves_the_old_or_the_new_configuration),
        TEST(the_secret_stands_in_its_file_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
