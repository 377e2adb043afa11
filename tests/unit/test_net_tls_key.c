/*
 * The net process of a profile whose TLS client key is in a token, against TLS servers that say which certificate they
 * saw. The token is SoftHSM's, behind the shim, which counts the calls (tests/fault/shim.c).
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tls_world.h"

#define BLOCK 1048576
#define MAX_TEXT 64
#define LARGEST_MAPPING (1UL << 30) /* a sanitizer's own are larger */

static void assert_shown(struct key_child *c, unsigned int port, bool authenticate, const char *certificate,
                         const char *protocol)
{
    struct tls_outcome o = tls_world_fetch(c, port, authenticate);
    if (o.failure.status != STATUS_OK)
        fail_msg("%s", o.failure.message);
    assert_string_equal(o.certificate, certificate);
    assert_string_equal(o.protocol, protocol);
}

static void assert_failed(const struct tls_outcome *o, enum status status, bool sent, const char *message)
{
    if (o->failure.status != status || o->sent != sent || strstr(o->failure.message, message) == NULL)
        fail_msg("status %d, %ssent: %s", (int)o->failure.status, o->sent ? "" : "not ", o->failure.message);
}

/* --- tests --- */

static void the_server_sees_the_certificate_in_tls_1_2_and_1_3(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    tls_world_start(w, &c);
    for (int i = 0; i < 3; i++) {
        assert_shown(&c, w->v12.port, true, hex, "TLSv1.2");
        assert_shown(&c, w->v13.port, true, hex, "TLSv1.3");
    }
    assert_int_equal(key_child_end(&c, true), 0);
    assert_int_equal(key_world_calls(w->key, "C_Login"), 1);
    assert_string_equal(w->key->memory.verdicts, "12");
}

static void two_profiles_at_one_host_show_a_certificate_each(void **state)
{
    struct tls_world *w = *state;
    const struct softhsm_key other = {.label = "other", .id = "2"};
    struct key_child a, b;
    char first[TLS_WORLD_HEX], second[TLS_WORLD_HEX], path[SOFTHSM_PATH_MAX];
    softhsm_make_key(&w->key->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, &other);
    tls_world_make_certificate(w, "work", 1, "own.crt", first);
    tls_world_make_certificate(w, "other", 2, "other.crt", second);
    softhsm_path(&w->key->hsm, "other.crt", path);
    tls_world_start(w, &a);
    tls_world_start_with(w, &b, "pkcs11:token=" KEY_WORLD_TOKEN ";object=other?module-path=" TEST_SHIM, path);
    for (int i = 0; i < 3; i++) {
        assert_shown(&a, w->v13.port, true, first, "TLSv1.3");
        assert_shown(&b, w->v13.port, true, second, "TLSv1.3");
        assert_shown(&b, w->v12.port, true, second, "TLSv1.2");
        assert_shown(&a, w->v12.port, true, first, "TLSv1.2");
    }
    assert_int_equal(key_child_end(&a, true), 0);
    assert_int_equal(key_child_end(&b, true), 0);
}

static void what_does_not_authenticate_shows_no_certificate_and_opens_no_token(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    tls_world_start(w, &c);
    assert_shown(&c, w->v13.port, false, "none", "TLSv1.3");
    assert_int_equal(key_world_calls(w->key, "C_Login"), 0);
    for (int i = 0; i < 3; i++) { /* and no connection is shared between the two kinds */
        assert_shown(&c, w->v13.port, true, hex, "TLSv1.3");
        assert_shown(&c, w->v13.port, false, "none", "TLSv1.3");
    }
    assert_int_equal(key_child_end(&c, true), 0);
}

static void a_changed_certificate_file_counts_at_once(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char before[TLS_WORLD_HEX], after[TLS_WORLD_HEX];
    tls_world_make_certificate(w, "work", 1, "own.crt", before);
    tls_world_start(w, &c);
    assert_shown(&c, w->v13.port, true, before, "TLSv1.3");
    tls_world_make_certificate(w, "work", 2, "own.crt", after);
    assert_string_not_equal(before, after);
    assert_shown(&c, w->v13.port, true, after, "TLSv1.3");
    assert_int_equal(key_child_end(&c, true), 0);
}

static void the_chain_in_the_file_is_sent_too(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX], both[16384];
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    char *own = softhsm_read(&w->key->hsm, "own.crt"), *ca = softhsm_read(&w->key->hsm, "ca.pem");
    (void)snprintf(both, sizeof(both), "a comment\n%s%s", own, ca);
    softhsm_write(&w->key->hsm, "own.crt", both, 0644, NULL);
    free(own);
    free(ca);
    tls_world_start(w, &c);
    struct tls_outcome o = tls_world_fetch(&c, w->v12.port, true);
    assert_string_equal(o.certificate, hex);
    assert_int_equal(o.chain, 2);
    assert_int_equal(key_child_end(&c, true), 0);
}

static void a_certificate_of_another_key_is_told_before_anything_is_sent(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    tls_world_start_with(w, &c, w->key->uri, w->ca); /* the server's own */
    struct tls_outcome o = tls_world_fetch(&c, w->v13.port, true);
    assert_failed(&o, STATUS_CONFIGURATION, false, "it is for another key than the token's, [key work]");
    assert_non_null(strstr(o.failure.next, "dpop key cert work"));
    assert_int_equal(key_child_end(&c, true), 0);
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    tls_world_start(w, &c);
    assert_shown(&c, w->v13.port, true, hex, "TLSv1.3");
    assert_int_equal(key_child_end(&c, true), 0);
}

static void a_certificate_file_that_is_none_is_told_and_opens_no_token(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    tls_world_start(w, &c);
    struct tls_outcome o = tls_world_fetch(&c, w->v13.port, true);
    assert_failed(&o, STATUS_CONFIGURATION, false, "No such file");
    softhsm_write(&w->key->hsm, "own.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0644,
                  NULL);
    o = tls_world_fetch(&c, w->v13.port, true);
    assert_failed(&o, STATUS_CONFIGURATION, false, "no certificate in PEM");
    assert_int_equal(key_world_calls(w->key, "C_Login"), 0);
    tls_world_make_certificate(w, "work", 1, "own.crt", hex); /* the process is none the worse for it */
    assert_shown(&c, w->v12.port, true, hex, "TLSv1.2");
    assert_int_equal(key_child_end(&c, true), 0);
}

static void a_wrong_pin_is_sent_once_by_all_processes_together(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    softhsm_write(&w->key->hsm, "pin", KEY_WORLD_WRONG_PIN, 0600, NULL);
    for (int i = 0; i < 3; i++) {
        tls_world_start(w, &c);
        struct tls_outcome o = tls_world_fetch(&c, w->v13.port, true);
        assert_failed(&o, STATUS_KEY_LOCKED, false, i == 0 ? "refused the PIN" : "was refused before");
        tls_world_see_end(&c);
    }
    assert_int_equal(key_world_calls(w->key, "C_Login"), 1);
    assert_string_equal(w->key->memory.verdicts, "13");
    softhsm_write(&w->key->hsm, "pin", KEY_WORLD_PIN, 0600, NULL);
    tls_world_start(w, &c);
    assert_shown(&c, w->v13.port, true, hex, "TLSv1.3");
    assert_int_equal(key_child_end(&c, true), 0);
    char *log = softhsm_read(&w->key->hsm, "log");
    assert_null(strstr(log, "horse"));
    free(log);
}

static void move_tokens(const struct tls_world *w, const char *from, const char *to)
{
    char a[SOFTHSM_PATH_MAX], b[SOFTHSM_PATH_MAX];
    softhsm_path(&w->key->hsm, from, a);
    softhsm_path(&w->key->hsm, to, b);
    assert_int_equal(rename(a, b), 0);
}

/* Does `text` stand in memory of the process that it can write to? */
static bool memory_holds(pid_t pid, const char *text)
{
    char path[64], line[512], rights[8], name[256];
    unsigned long from, to;
    size_t len = strlen(text);
    bool found = false;
    (void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
    int mem = open(path, O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    char *block = malloc(BLOCK + MAX_TEXT);
    assert_true(mem >= 0 && maps != NULL && block != NULL);
    while (!found && fgets(line, sizeof(line), maps) != NULL) {
        name[0] = '\0';
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &from, &to, rights, name) < 3 || rights[1] != 'w' ||
            to - from > LARGEST_MAPPING)
            continue;
        for (; from < to && !found; from += BLOCK) {
            ssize_t n = pread(mem, block, BLOCK + MAX_TEXT, (off_t)from);
            found = n > 0 && memmem(block, (size_t)n, text, len) != NULL;
        }
    }
    free(block);
    (void)fclose(maps);
    (void)close(mem);
    return found;
}

static void the_pin_does_not_stay_in_the_process(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    tls_world_start(w, &c);
    assert_shown(&c, w->v13.port, true, hex, "TLSv1.3");
    assert_true(memory_holds(c.pid, "client-certificate-file")); /* the search finds what is there */
    assert_false(memory_holds(c.pid, KEY_WORLD_PIN));
    assert_int_equal(key_child_end(&c, true), 0);
}

static void a_token_that_goes_away_ends_the_process_and_the_next_one_heals(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    tls_world_start(w, &c);
    assert_shown(&c, w->v13.port, true, hex, "TLSv1.3");
    move_tokens(w, "tokens", "away");
    struct tls_outcome o = tls_world_fetch(&c, w->v13.port, true);
    if (o.failure.status != STATUS_KEY_ABSENT)
        assert_failed(&o, STATUS_KEY_FAILED, false, "key \"work\" for TLS: C_Sign");
    assert_false(o.sent);
    tls_world_see_end(&c);
    tls_world_start(w, &c);
    o = tls_world_fetch(&c, w->v13.port, true);
    assert_failed(&o, STATUS_KEY_FAILED, false, "the module does not initialise"); /* as SoftHSM has it */
    tls_world_see_end(&c);
    move_tokens(w, "away", "tokens");
    tls_world_start(w, &c);
    assert_shown(&c, w->v12.port, true, hex, "TLSv1.2");
    assert_int_equal(key_child_end(&c, true), 0);
}

static void a_bad_signature_is_the_keys_fault_and_a_refused_certificate_is_not(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    tls_world_start(w, &c);
    assert_shown(&c, w->v12.port, true, hex, "TLSv1.2");
    struct tls_outcome o = tls_world_fetch(&c, w->refusing12.port, true);
    assert_failed(&o, STATUS_SERVER_UNREACHABLE, false, "cannot agree on TLS");
    o = tls_world_fetch(&c, w->refusing13.port, true); /* there the request is on its way before the server judges */
    assert_int_equal(o.failure.status, STATUS_SERVER_UNREACHABLE);
    assert_true(o.sent);
    assert_shown(&c, w->v13.port, true, hex, "TLSv1.3"); /* the process goes on */
    key_world_control(w->key, "C_Sign flip\n");
    o = tls_world_fetch(&c, w->v12.port, true);
    assert_failed(&o, STATUS_KEY_FAILED, false, "does not verify");
    o = tls_world_fetch(&c, w->v12.port, true); /* sent before the front knew */
    assert_failed(&o, STATUS_KEY_FAILED, false, "does not verify");
    tls_world_see_end(&c);
}

static void requests_that_come_while_the_token_is_opened_are_served(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    uint32_t request, seen = 0;
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    tls_world_start(w, &c);
    for (uint32_t i = 0; i < 8; i++)
        tls_world_send(&c, i, "https", w->v13.port, i % 4 != 3);
    for (uint32_t i = 0; i < 8; i++) {
        struct tls_outcome o = tls_world_next(&c, &request);
        assert_string_equal(o.certificate, request % 4 != 3 ? hex : "none");
        seen |= 1U << request;
    }
    assert_int_equal(seen, 0xff);
    assert_int_equal(key_child_end(&c, true), 0);
    assert_int_equal(key_world_calls(w->key, "C_Login"), 1);
}

static void requests_that_come_while_the_token_cannot_be_opened_are_all_told(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    uint32_t request, seen = 0;
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    softhsm_write(&w->key->hsm, "pin", KEY_WORLD_WRONG_PIN, 0600, NULL);
    tls_world_start(w, &c);
    for (uint32_t i = 0; i < 8; i++)
        tls_world_send(&c, i, "https", w->v13.port, true);
    for (uint32_t i = 0; i < 8; i++) {
        struct tls_outcome o = tls_world_next(&c, &request);
        assert_failed(&o, STATUS_KEY_LOCKED, false, "key \"work\" for TLS");
        seen |= 1U << request;
    }
    assert_int_equal(seen, 0xff);
    tls_world_see_end(&c);
    assert_int_equal(key_world_calls(w->key, "C_Login"), 1);
}

static void a_module_with_several_tokens_and_keys_gives_the_one_of_the_uri(void **state)
{
    struct tls_world *w = *state;
    const struct softhsm_key same = {.label = "work", .id = "1"}, more = {.label = "more", .id = "3"};
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    softhsm_make_token(&w->key->hsm, "another", KEY_WORLD_PIN);
    softhsm_make_key(&w->key->hsm, "another", KEY_WORLD_PIN, &same);
    softhsm_make_key(&w->key->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, &more);
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    tls_world_start(w, &c);
    assert_shown(&c, w->v13.port, true, hex, "TLSv1.3");
    assert_int_equal(key_child_end(&c, true), 0);
}

static void a_session_that_the_module_refuses_is_told(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    char hex[TLS_WORLD_HEX];
    tls_world_make_certificate(w, "work", 1, "own.crt", hex);
    key_world_control(w->key, "C_OpenSession fail 0xe0\n");
    tls_world_start(w, &c);
    struct tls_outcome o = tls_world_fetch(&c, w->v13.port, true);
    assert_failed(&o, STATUS_KEY_ABSENT, false, "C_OpenSession");
    tls_world_see_end(&c);
}

static void plain_http_is_refused_for_what_authenticates(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    uint32_t request;
    tls_world_start(w, &c);
    tls_world_send(&c, 1, "http", w->v13.port, true);
    struct tls_outcome o = tls_world_next(&c, &request);
    assert_failed(&o, STATUS_INSECURE_URL, false, "plain http");
    assert_int_equal(key_child_end(&c, true), 0);
}

static void the_ordinary_net_process_shows_no_certificate_and_sends_nothing(void **state)
{
    struct tls_world *w = *state;
    struct key_child c;
    static const char text[] = "[profile mtls]\nclient-id = app\nclient-authentication = tls_client_auth\n";
    tls_world_start_process(w, &c, "net", text);
    struct tls_outcome o = tls_world_fetch(&c, w->v13.port, true);
    assert_failed(&o, STATUS_INTERNAL, false, "no client certificate");
    assert_int_equal(key_child_end(&c, true), 0);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, tls_world_open, tls_world_close)

int main(int argc, char **argv)
{
    if (argc == 3)
        return tls_world_run_process(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        WITH_WORLD(the_server_sees_the_certificate_in_tls_1_2_and_1_3),
        WITH_WORLD(two_profiles_at_one_host_show_a_certificate_each),
        WITH_WORLD(what_does_not_authenticate_shows_no_certificate_and_opens_no_token),
        WITH_WORLD(a_changed_certificate_file_counts_at_once),
        WITH_WORLD(the_chain_in_the_file_is_sent_too),
        WITH_WORLD(a_certificate_of_another_key_is_told_before_anything_is_sent),
        WITH_WORLD(a_certificate_file_that_is_none_is_told_and_opens_no_token),
        WITH_WORLD(a_wrong_pin_is_sent_once_by_all_processes_together),
        WITH_WORLD(the_pin_does_not_stay_in_the_process),
        WITH_WORLD(a_token_that_goes_away_ends_the_process_and_the_next_one_heals),
        WITH_WORLD(a_bad_signature_is_the_keys_fault_and_a_refused_certificate_is_not),
        WITH_WORLD(requests_that_come_while_the_token_is_opened_are_served),
        WITH_WORLD(requests_that_come_while_the_token_cannot_be_opened_are_all_told),
        WITH_WORLD(a_module_with_several_tokens_and_keys_gives_the_one_of_the_uri),
        WITH_WORLD(a_session_that_the_module_refuses_is_told),
        WITH_WORLD(plain_http_is_refused_for_what_authenticates),
        WITH_WORLD(the_ordinary_net_process_shows_no_certificate_and_sends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
