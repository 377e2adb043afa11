/* libdpop-agent: what its calls bring, whom it trusts, where it looks, and what it refuses to send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "client_calls.h"
#include "endpoint.h"
#include "internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void proof_token_authorize_and_outcome_bring_their_answers(void **state)
{
    struct fake_agent fake;
    struct dpop_proof proof = {0};
    struct dpop_token token = {0};
    struct dpop_authorization a = {0};
    struct dpop_error err;
    enum dpop_verdict verdict;
    (void)state;
    fake_start(&fake, fake_polite, NULL);
    struct dpop_agent *agent = connect_to(&fake);
    assert_int_equal(ask(agent, "n", 0, &proof, &err), DPOP_OK);
    assert_string_equal(proof.proof, "n");
    assert_string_equal(proof.htu, URL);
    assert_int_equal(strlen(proof.jkt), 43);
    assert_int_equal(dpop_agent_token(agent, &(struct dpop_token_request){.profile = "work"}, &token, &err), DPOP_OK);
    assert_string_equal(token.access_token, "the-token");
    assert_string_equal(token.token_type, "DPoP");
    assert_null(token.scope);
    assert_int_equal(token.expires_in, 300);
    assert_int_equal(token.expires_at, 1795000000);
    assert_int_equal(
        dpop_agent_authorize(agent, &(struct dpop_authorize){.profile = "work", .method = "GET", .url = URL}, &a, &err),
        DPOP_OK);
    assert_string_equal(a.authorization, "DPoP first-token");
    const char *challenges[] = {"DPoP error=\"use_dpop_nonce\"", NULL};
    assert_int_equal(
        dpop_agent_outcome(agent, &(struct dpop_outcome){.attempt = &a, .http_status = 401, .challenges = challenges},
                           &verdict, &err),
        DPOP_OK);
    assert_int_equal(verdict, DPOP_RETRY);
    assert_string_equal(err.message, "because");
    dpop_proof_clear(&proof);
    dpop_token_clear(&token);
    dpop_authorization_clear(&a);
    assert_null(a.attempt);
    dpop_agent_close(&agent);
    assert_null(agent);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

static void send_full_error(int fd, const struct frame *frame)
{
    struct buffer out;
    buffer_init(&out, FRAME_MAX);
    message_put_frame(&out, OPERATION_ERROR, frame->request, &message_error,
                      &(struct error_message){.status = 7777,
                                              .retryable = true,
                                              .http_status = 503,
                                              .retry_after = 9,
                                              .message = span_text("m"),
                                              .next = span_text("n"),
                                              .oauth_error = span_text("e"),
                                              .oauth_description = span_text("d"),
                                              .oauth_uri = span_text("u"),
                                              .stage = span_text("refresh")});
    fake_send(fd, buffer_span(&out).data, out.len);
    buffer_free(&out);
    fake_hang(fd);
}

static void an_error_of_the_agent_arrives_whole_even_with_an_unknown_status(void **state)
{
    struct fake_agent fake;
    struct dpop_proof proof = {.proof = (char *)0x1};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, fake_once, (void *)(uintptr_t)send_full_error);
    struct dpop_agent *agent = connect_to(&fake);
    assert_int_equal(ask(agent, NULL, 2000, &proof, &err), 7777);
    assert_ptr_equal(proof.proof, (char *)0x1); /* outputs are untouched on failure */
    assert_int_equal(err.status, 7777);
    assert_true(err.retryable);
    assert_int_equal(err.http_status, 503);
    assert_int_equal(err.retry_after, 9);
    assert_string_equal(err.message, "m");
    assert_string_equal(err.next, "n");
    assert_string_equal(err.oauth_error, "e");
    assert_string_equal(err.oauth_description, "d");
    assert_string_equal(err.oauth_uri, "u");
    assert_string_equal(err.stage, "refresh");
    assert_int_equal(dpop_status_class(err.status), DPOP_CLASS_PROTOCOL);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

static void serve_refusal(struct fake_agent *fake, int fd, int number)
{
    (void)fake;
    (void)number;
    fake_error(fd, 0, STATUS_PEER_REFUSED, "uid 1000 may not use this agent");
}

static void an_agent_that_refuses_the_user_is_not_called_unreachable(void **state)
{
    struct fake_agent fake;
    struct dpop_agent *agent = NULL;
    struct dpop_error err;
    (void)state;
    fake_start(&fake, serve_refusal, NULL);
    assert_int_equal(dpop_agent_connect(&agent, fake.path, 1000, &err), DPOP_PEER_REFUSED);
    assert_string_equal(err.message, "uid 1000 may not use this agent");
    fake_stop(&fake);
}

static void only_ourselves_root_and_the_system_sockets_owner_are_trusted(void **state)
{
    (void)state;
    assert_true(endpoint_trusted(1000, 1000, (uid_t)-1));
    assert_true(endpoint_trusted(0, 1000, (uid_t)-1));
    assert_false(endpoint_trusted(1001, 1000, (uid_t)-1));
    assert_true(endpoint_trusted(64, 1000, 64));
    assert_false(endpoint_trusted(65, 1000, 64));
    assert_false(endpoint_trusted((uid_t)-1, 1000, (uid_t)-1));
}

/* Another user listens at the path; without root nobody can be another user, and the rule above is all there is to
 * test. */
static void a_squatted_socket_is_refused(void **state)
{
    char folder[] = "/tmp/dpop-test-XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct dpop_agent *agent = NULL;
    struct dpop_error err;
    int ready[2];
    char byte;
    (void)state;
    if (geteuid() != 0)
        return;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0777), 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", folder);
    assert_int_equal(pipe(ready), 0);
    pid_t squatter = fork();
    if (squatter == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (setgid(65534) != 0 || setuid(65534) != 0 ||
            bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 5) != 0 ||
            write(ready[1], "r", 1) != 1)
            _exit(1);
        (void)pause();
        _exit(0);
    }
    (void)close(ready[1]); /* so that a squatter that fails ends the wait */
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(dpop_agent_connect(&agent, address.sun_path, 1000, &err), DPOP_PEER_REFUSED);
    assert_non_null(strstr(err.message, "user 65534 listens there"));
    assert_null(agent);
    (void)kill(squatter, SIGKILL);
    (void)waitpid(squatter, NULL, 0);
    (void)close(ready[0]);
    (void)unlink(address.sun_path);
    (void)rmdir(folder);
}

static void the_socket_is_searched_in_the_documented_order(void **state)
{
    struct fake_agent fake;
    struct dpop_agent *agent = NULL;
    struct dpop_error err;
    char folder[128], socket_path[160];
    (void)state;
    fake_start(&fake, fake_polite, NULL);
    (void)snprintf(folder, sizeof(folder), "%s/dpop-agent", fake.folder);
    (void)snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
    assert_int_equal(setenv("XDG_RUNTIME_DIR", fake.folder, 1), 0);
    assert_int_equal(setenv("DPOP_AGENT_SOCKET", fake.path, 1), 0);
    assert_int_equal(dpop_agent_connect(&agent, NULL, 1000, &err), DPOP_OK);
    dpop_agent_close(&agent);
    assert_int_equal(dpop_agent_connect(&agent, "/nowhere/socket", 1000, &err), DPOP_AGENT_UNREACHABLE);
    assert_non_null(strstr(err.message, "/nowhere/socket"));
    assert_int_equal(setenv("DPOP_AGENT_SOCKET", "/nowhere/else", 1), 0);
    assert_int_equal(dpop_agent_connect(&agent, NULL, 1000, &err), DPOP_AGENT_UNREACHABLE);
    assert_non_null(strstr(err.message, "/nowhere/else"));
    assert_int_equal(unsetenv("DPOP_AGENT_SOCKET"), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(symlink(fake.path, socket_path), 0);
    assert_int_equal(dpop_agent_connect(&agent, NULL, 1000, &err), DPOP_OK);
    dpop_agent_close(&agent);
    assert_int_equal(unlink(socket_path), 0);
    assert_int_equal(rmdir(folder), 0);
    if (access(ENDPOINT_SYSTEM_SOCKET, F_OK) != 0) {
        assert_int_equal(dpop_agent_connect(&agent, NULL, 1000, &err), DPOP_AGENT_UNREACHABLE);
        assert_non_null(strstr(err.message, socket_path));
        assert_non_null(strstr(err.message, ENDPOINT_SYSTEM_SOCKET));
    }
    assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
    fake_stop(&fake);
}

static void arguments_over_their_limits_are_refused_before_anything_is_sent(void **state)
{
    static char url[8194];
    char path[200];
    struct fake_agent fake;
    struct dpop_agent *agent = NULL;
    struct dpop_proof proof = {0};
    struct dpop_token token = {0};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, fake_polite, NULL);
    agent = connect_to(&fake);
    memset(url, 'u', sizeof(url) - 1);
    assert_int_equal(dpop_agent_proof(agent, &(struct dpop_proof_request){.method = "GET", .url = url}, &proof, &err),
                     DPOP_INVALID_ARGUMENT);
    assert_string_equal(err.message, "htu is longer than 8192 bytes");
    assert_int_equal(dpop_agent_token(agent, &(struct dpop_token_request){.scope = "a"}, &token, &err),
                     DPOP_INVALID_ARGUMENT);
    assert_string_equal(err.message, "profile is missing");
    assert_int_equal(dpop_agent_token(agent, &(struct dpop_token_request){.profile = "a\nb"}, &token, &err),
                     DPOP_INVALID_ARGUMENT);
    dpop_agent_close(&agent);
    fake_stop(&fake);
    memset(path, '/', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(dpop_agent_connect(&agent, path, 100, &err), DPOP_INVALID_ARGUMENT);
    assert_int_equal(dpop_agent_connect(&agent, "", 100, &err), DPOP_INVALID_ARGUMENT);
    assert_string_equal(err.message, "the socket's path is empty");
}

static void send_bad_token(int fd, const struct frame *frame)
{
    fake_answer(fd, frame, &message_token_answer,
                &(struct token_answer){.access_token = span_text("a\r\nX-Evil: 1"),
                                       .token_type = span_text("DPoP"),
                                       .jkt = span_text("j")});
    fake_hang(fd);
}

static void a_token_that_could_break_out_of_its_header_is_refused(void **state)
{
    struct fake_agent fake;
    struct dpop_token token = {0};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, fake_once, (void *)(uintptr_t)send_bad_token);
    struct dpop_agent *agent = connect_to(&fake);
    assert_int_equal(dpop_agent_token(agent, &(struct dpop_token_request){.profile = "work"}, &token, &err),
                     DPOP_AGENT_MISBEHAVED);
    assert_null(token.access_token);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

static void a_token_request_carries_its_inputs_and_brings_the_other_members(void **state)
{
    struct fake_agent fake;
    struct dpop_token token = {0};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, fake_polite, NULL);
    struct dpop_agent *agent = connect_to(&fake);
    assert_int_equal(dpop_agent_token(agent,
                                      &(struct dpop_token_request){.profile = "work",
                                                                   .raw = 1,
                                                                   .subject_token = "subject",
                                                                   .subject_token_type = "urn:t",
                                                                   .actor_token = "actor",
                                                                   .actor_token_type = "urn:t"},
                                      &token, &err),
                     DPOP_OK);
    assert_string_equal(token.access_token, "subject");
    assert_string_equal(token.scope, "urn:t");
    assert_string_equal(token.raw, "{\"actor\":\"actor\"}");
    dpop_token_clear(&token);
    assert_null(token.raw);
    assert_int_equal(dpop_agent_token(agent, &(struct dpop_token_request){.profile = "work", .assertion = "assertion"},
                                      &token, &err),
                     DPOP_OK);
    assert_string_equal(token.access_token, "assertion");
    assert_null(token.raw);
    dpop_token_clear(&token);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

static int authorize(struct dpop_agent *agent, const char *profile, struct dpop_authorization *a,
                     struct dpop_error *err)
{
    return dpop_agent_authorize(agent, &(struct dpop_authorize){.profile = profile, .method = "GET", .url = URL}, a,
                                err);
}

static void a_bearer_token_comes_without_a_proof_and_no_other_token_does(void **state)
{
    struct fake_agent fake;
    struct dpop_authorization a = {0};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, fake_polite, NULL);
    struct dpop_agent *agent = connect_to(&fake);
    assert_int_equal(authorize(agent, "bearer", &a, &err), DPOP_OK);
    assert_string_equal(a.authorization, "Bearer plain-token");
    assert_null(a.dpop);
    dpop_authorization_clear(&a);
    assert_int_equal(authorize(agent, "unbound", &a, &err), DPOP_AGENT_MISBEHAVED);
    assert_null(a.url);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

static void an_introspection_brings_what_the_server_said(void **state)
{
    struct fake_agent fake;
    struct dpop_introspection answer = {0};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, fake_polite, NULL);
    struct dpop_agent *agent = connect_to(&fake);
    assert_int_equal(
        dpop_agent_introspect(agent, &(struct dpop_introspection_request){.profile = "work"}, &answer, &err), DPOP_OK);
    assert_int_equal(answer.active, 1);
    assert_string_equal(answer.claims, "{\"active\":true,\"sub\":\"alice\"}");
    dpop_introspection_clear(&answer);
    assert_null(answer.claims);
    assert_int_equal(dpop_agent_introspect(agent, &(struct dpop_introspection_request){.scope = "a"}, &answer, NULL),
                     DPOP_INVALID_ARGUMENT);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

static void *use_a_handle(void *arg)
{
    const struct fake_agent *fake = arg;
    struct dpop_agent *agent = NULL;
    struct dpop_error err;
    char nonce[32];
    intptr_t wrong = dpop_agent_connect(&agent, fake->path, 5000, &err) != DPOP_OK;
    for (int i = 0; i < 200 && wrong == 0; i++) {
        struct dpop_proof proof = {0};
        (void)snprintf(nonce, sizeof(nonce), "%lx-%d", (unsigned long)pthread_self(), i);
        wrong = ask(agent, nonce, 5000, &proof, &err) != DPOP_OK || strcmp(proof.proof, nonce) != 0;
        dpop_proof_clear(&proof);
    }
    dpop_agent_close(&agent);
    return (void *)wrong;
}

static void threads_with_a_handle_each_do_not_meet(void **state)
{
    struct fake_agent fake;
    pthread_t threads[4];
    void *wrong;
    (void)state;
    fake_start(&fake, fake_polite, NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_a_handle, &fake), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    fake_stop(&fake);
}

static void the_descriptor_is_not_inherited_and_the_answer_is_wiped(void **state)
{
    struct fake_agent fake;
    struct dpop_token token = {0};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, fake_polite, NULL);
    struct dpop_agent *agent = connect_to(&fake);
    assert_true(fcntl(agent->connection.fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(dpop_agent_token(agent, &(struct dpop_token_request){.profile = "work"}, &token, &err), DPOP_OK);
    const struct buffer *in = &agent->connection.in;
    assert_int_equal(in->len, 0);
    assert_null(memmem(in->data, in->capacity, "the-token", 9));
    dpop_token_clear(&token);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proof_token_authorize_and_outcome_bring_their_answers),
        cmocka_unit_test(an_error_of_the_agent_arrives_whole_even_with_an_unknown_status),
        cmocka_unit_test(an_agent_that_refuses_the_user_is_not_called_unreachable),
        cmocka_unit_test(only_ourselves_root_and_the_system_sockets_owner_are_trusted),
        cmocka_unit_test(a_squatted_socket_is_refused),
        cmocka_unit_test(the_socket_is_searched_in_the_documented_order),
        cmocka_unit_test(arguments_over_their_limits_are_refused_before_anything_is_sent),
        cmocka_unit_test(a_token_that_could_break_out_of_its_header_is_refused),
        cmocka_unit_test(a_token_request_carries_its_inputs_and_brings_the_other_members),
        cmocka_unit_test(a_bearer_token_comes_without_a_proof_and_no_other_token_does),
        cmocka_unit_test(an_introspection_brings_what_the_server_said),
        cmocka_unit_test(threads_with_a_handle_each_do_not_meet),
        cmocka_unit_test(the_descriptor_is_not_inherited_and_the_answer_is_wiped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
