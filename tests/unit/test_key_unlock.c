/*
 * dpop unlock and dpop lock as the key process sees them: a PIN through a pipe or a file, sealed for the front to
 * keep, and what the next process does with it. SoftHSM behind the shim, which counts the log-ins; the test is the
 * front.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "key_world.h"
#include "seal_pin.h"

static void send_unlock(struct key_child *c, uint32_t request, int fd)
{
    struct buffer frame;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } ancillary = {0};
    buffer_init(&frame, 4096);
    message_put_frame(&frame, INTERNAL_UNLOCK, request, &message_empty, &(struct empty_message){false});
    struct span bytes = buffer_span(&frame);
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.len};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        header.msg_control = ancillary.bytes;
        header.msg_controllen = sizeof(ancillary.bytes);
        struct cmsghdr *m = CMSG_FIRSTHDR(&header);
        m->cmsg_level = SOL_SOCKET;
        m->cmsg_type = SCM_RIGHTS;
        m->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(m), &fd, sizeof(int));
        assert_int_equal(sendmsg(c->channel.fd, &header, 0), (ssize_t)bytes.len);
        (void)close(fd);
    } else {
        assert_int_equal(sendmsg(c->channel.fd, &header, 0), (ssize_t)bytes.len);
    }
    buffer_free(&frame);
}

/* A pipe with this in it, and its end. */
static int pipe_with(const char *text)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
    (void)close(ends[1]);
    return ends[0];
}

/* The answer: sealed, into the memory of what the front keeps; or the error's status. */
static enum status take_sealed(struct key_world *w, struct key_child *c, uint32_t request)
{
    struct frame frame;
    struct sealed_pin answer;
    assert_true(key_child_answer(c, &frame));
    assert_int_equal(frame.request, request);
    if (frame.operation == OPERATION_ERROR) {
        assert_int_equal(messages_take_error(frame.fields, &c->error), STATUS_OK);
        return c->error.status;
    }
    assert_int_equal(frame.operation, INTERNAL_UNLOCK | OPERATION_ANSWER);
    assert_int_equal(message_take(frame.fields, &message_sealed_pin, &answer, sizeof(answer), &c->error), STATUS_OK);
    memcpy(w->memory.kept, answer.sealed.data, answer.sealed.len);
    w->memory.kept_len = answer.sealed.len;
    return STATUS_OK;
}

static void start_waiting(struct key_world *w, struct key_child *c)
{
    key_child_start(c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_serve(c), STATUS_KEY_LOCKED);
}

static void a_pin_given_to_a_waiting_process_makes_the_next_one_ready(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    w->key.pin_file = NULL;
    start_waiting(w, &c);
    key_world_assert_says(&c, "none is configured");
    assert_non_null(strstr(c.error.next, "dpop unlock work"));
    send_unlock(&c, 5, pipe_with(KEY_WORLD_PIN "\n"));
    assert_int_equal(take_sealed(w, &c, 5), STATUS_OK);
    assert_null(memmem(w->memory.kept, w->memory.kept_len, "horse", 5));
    assert_int_equal(key_child_end(&c, false), 0);
    for (int i = 0; i < 3; i++)
        (void)key_world_run(w, STATUS_OK, 0);
    assert_int_equal(key_world_calls(w, "C_Login"), 3);
}

static void the_users_pin_goes_before_the_file_and_the_file_after_one_that_was_refused(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    softhsm_write(&w->hsm, "pin", KEY_WORLD_WRONG_PIN, 0600, NULL);
    start_waiting(w, &c);
    send_unlock(&c, 5, pipe_with(KEY_WORLD_PIN));
    assert_int_equal(take_sealed(w, &c, 5), STATUS_OK);
    assert_int_equal(key_child_end(&c, false), 0);
    (void)key_world_run(w, STATUS_OK, 0);
    memset(w->memory.verdicts, 0, sizeof(w->memory.verdicts));
    w->memory.count = 0;
    softhsm_write(&w->hsm, "pin", KEY_WORLD_PIN, 0600, NULL);
    key_world_control(w, "C_Login fail 0xa0 once\n");
    c = key_world_run(w, STATUS_KEY_LOCKED, 0);
    assert_string_equal(w->memory.verdicts, "13");
    softhsm_write(&w->hsm, "pin", "another-pin", 0600, NULL);
    c = key_world_run(w, STATUS_KEY_LOCKED, 0); /* which the token refuses */
    assert_string_equal(w->memory.verdicts, "1313");
}

static void a_pin_that_was_refused_is_not_taken_again(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    softhsm_write(&w->hsm, "pin", KEY_WORLD_WRONG_PIN, 0600, NULL);
    start_waiting(w, &c);
    send_unlock(&c, 5, pipe_with(KEY_WORLD_WRONG_PIN));
    assert_int_equal(take_sealed(w, &c, 5), STATUS_KEY_LOCKED);
    key_world_assert_says(&c, "refused this PIN before");
    send_unlock(&c, 6, pipe_with(KEY_WORLD_PIN)); /* it waits on */
    assert_int_equal(take_sealed(w, &c, 6), STATUS_OK);
    assert_int_equal(key_child_end(&c, false), 0);
    assert_int_equal(key_world_calls(w, "C_Login"), 1);
}

static void a_file_does_as_a_pipe_and_what_is_neither_is_refused(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    char longest[LIMIT_PIN + 2];
    int pair[2];
    memset(longest, 'x', sizeof(longest));
    longest[LIMIT_PIN + 1] = '\0';
    w->key.pin_file = NULL;
    start_waiting(w, &c);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    send_unlock(&c, 1, pair[0]);
    assert_int_equal(take_sealed(w, &c, 1), STATUS_INVALID_ARGUMENT);
    (void)close(pair[1]);
    send_unlock(&c, 2, -1);
    assert_int_equal(take_sealed(w, &c, 2), STATUS_MALFORMED);
    send_unlock(&c, 3, pipe_with(""));
    assert_int_equal(take_sealed(w, &c, 3), STATUS_INVALID_ARGUMENT);
    send_unlock(&c, 4, pipe_with("\n"));
    assert_int_equal(take_sealed(w, &c, 4), STATUS_INVALID_ARGUMENT);
    send_unlock(&c, 5, pipe_with(longest));
    assert_int_equal(take_sealed(w, &c, 5), STATUS_INVALID_ARGUMENT);
    key_world_assert_says(&c, "longer than 256 bytes");
    send_unlock(&c, 6, open(w->pin_file, O_RDONLY | O_CLOEXEC));
    assert_int_equal(take_sealed(w, &c, 6), STATUS_OK);
    assert_int_equal(key_child_end(&c, false), 0);
    (void)key_world_run(w, STATUS_OK, 0);
}

static void a_ready_process_signs_on_while_nobody_writes_the_pin(void **state)
{
    static const uint8_t digest[JWK_DIGEST_SIZE] = {3};
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    int ends[2];
    key_child_start(&c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_serve(&c), STATUS_OK);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    send_unlock(&c, 1, ends[0]);
    for (uint32_t i = 10; i < 20; i++) {
        key_child_send_sign(&c, i, digest);
        assert_int_equal(channel_flush(&c.channel), 0);
        assert_true(key_child_answer(&c, &frame));
        assert_int_equal(frame.request, i);
        assert_int_equal(frame.operation, INTERNAL_SIGN | OPERATION_ANSWER);
    }
    send_unlock(&c, 2, pipe_with(KEY_WORLD_PIN));
    assert_int_equal(take_sealed(w, &c, 2), STATUS_BUSY);
    assert_int_equal(take_sealed(w, &c, 1), STATUS_TIMEOUT);
    (void)close(ends[1]);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    send_unlock(&c, 3, ends[0]);
    assert_int_equal(write(ends[1], KEY_WORLD_PIN, 4), 4);
    key_child_send_sign(&c, 20, digest);
    assert_int_equal(channel_flush(&c.channel), 0);
    assert_true(key_child_answer(&c, &frame));
    assert_int_equal(write(ends[1], &KEY_WORLD_PIN[4], sizeof(KEY_WORLD_PIN) - 5), sizeof(KEY_WORLD_PIN) - 5);
    (void)close(ends[1]);
    assert_int_equal(take_sealed(w, &c, 3), STATUS_OK);
    assert_int_equal(key_child_end(&c, true), 0);
    w->key.pin_file = NULL;
    (void)key_world_run(w, STATUS_OK, 0);
}

static void a_locked_token_spends_no_pin_until_it_is_unlocked(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    w->memory.locked = true;
    start_waiting(w, &c);
    key_world_assert_says(&c, "is locked by dpop lock");
    assert_non_null(strstr(c.error.next, "dpop unlock work"));
    assert_int_equal(key_world_calls(w, "C_Login"), 0);
    send_unlock(&c, 1, pipe_with(KEY_WORLD_PIN));
    assert_int_equal(take_sealed(w, &c, 1), STATUS_OK);
    w->memory.locked = false;
    assert_int_equal(key_child_end(&c, false), 0);
    (void)key_world_run(w, STATUS_OK, 0);
}

static void a_pin_that_was_cut_off_is_free_again_when_the_user_gives_it(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    key_world_control(w, "C_Login crash once\n");
    (void)key_world_run(w, STATUS_AGENT_UNREACHABLE, 1000 + 11);
    start_waiting(w, &c);
    key_world_assert_says(&c, "was cut off");
    send_unlock(&c, 1, pipe_with(KEY_WORLD_PIN));
    assert_int_equal(take_sealed(w, &c, 1), STATUS_OK);
    assert_int_equal(key_child_end(&c, false), 0);
    (void)key_world_run(w, STATUS_OK, 0);
    assert_string_equal(w->memory.verdicts, "1412");
    /* One cut off with the same word of the user, which the token has accepted, may be repeated. */
    w->memory.pins[0].verdict = PIN_TRYING;
    (void)key_world_run(w, STATUS_OK, 0);
    /* And so may one that comes from the same file, but not when the file was written since. */
    w->memory.kept_len = 0;
    (void)key_world_run(w, STATUS_OK, 0);
    w->memory.pins[0].verdict = PIN_TRYING;
    (void)key_world_run(w, STATUS_OK, 0);
    softhsm_write(&w->hsm, "pin", KEY_WORLD_PIN, 0600, NULL);
    w->memory.pins[0].verdict = PIN_TRYING;
    (void)key_world_run(w, STATUS_KEY_LOCKED, 0);
}

static void a_sealed_pin_opens_for_its_token_and_under_its_key_alone(void **state)
{
    uint8_t sealed[SEALED_PIN_MAX], other[PIN_KEY_SIZE] = {1};
    size_t len;
    (void)state;
    struct secret *pin = secret_new(span_text("1234")), *opened;
    assert_int_equal(seal_pin(key_child_pin_key, span_text("a\nb"), pin, sealed, &len), 0);
    opened = seal_pin_open(key_child_pin_key, span_text("a\nb"), span_of(sealed, len));
    assert_non_null(opened);
    assert_true(span_equal(secret_span(opened), span_text("1234")));
    secret_free(opened);
    assert_null(seal_pin_open(key_child_pin_key, span_text("a\nc"), span_of(sealed, len)));
    assert_null(seal_pin_open(other, span_text("a\nb"), span_of(sealed, len)));
    for (size_t i = 0; i < len; i++) {
        sealed[i] ^= 1;
        assert_null(seal_pin_open(key_child_pin_key, span_text("a\nb"), span_of(sealed, len)));
        assert_null(seal_pin_open(key_child_pin_key, span_text("a\nb"), span_of(sealed, i)));
        sealed[i] ^= 1;
    }
    secret_free(pin);
}

#define WITH_KEY(test) cmocka_unit_test_setup_teardown(test, key_world_open, key_world_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_KEY(a_pin_given_to_a_waiting_process_makes_the_next_one_ready),
        WITH_KEY(the_users_pin_goes_before_the_file_and_the_file_after_one_that_was_refused),
        WITH_KEY(a_pin_that_was_refused_is_not_taken_again),
        WITH_KEY(a_file_does_as_a_pipe_and_what_is_neither_is_refused),
        WITH_KEY(a_ready_process_signs_on_while_nobody_writes_the_pin),
        WITH_KEY(a_locked_token_spends_no_pin_until_it_is_unlocked),
        WITH_KEY(a_pin_that_was_cut_off_is_free_again_when_the_user_gives_it),
        cmocka_unit_test(a_sealed_pin_opens_for_its_token_and_under_its_key_alone),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
