/* See key_child.h. */
#include "key_child.h"

#include "log.h"
#include "role.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE 60 /* seconds; a test that waits longer is killed */

bool key_child_fork(struct key_child *c, struct pin_memory *memory, const char *log)
{
    int ends[2];
    (void)alarm(DEADLINE);
    *c = (struct key_child){.memory = memory};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    (void)fflush(NULL);
    c->pid = fork();
    assert_true(c->pid >= 0);
    int mine = c->pid == 0 ? 1 : 0;
    (void)close(ends[1 - mine]);
    channel_init(&c->channel, ends[mine]);
    if (c->pid != 0)
        return false;
    (void)alarm(0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)close_range(3, (unsigned int)ends[1] - 1, 0); /* other children must see the end of their channels */
    (void)close_range((unsigned int)ends[1] + 1, ~0U, 0);
    for (int s = 1; s < 32; s++)
        (void)signal(s, SIG_DFL); /* cmocka catches some */
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(99);
    log_open("key", LOG_LEVEL_DEBUG);
    return true;
}

const uint8_t key_child_pin_key[PIN_KEY_SIZE] = "the key of PINs in these tests.";

static int run_key(const struct key_config *key, struct channel *channel)
{
    struct key_config copy = *key;
    if (sodium_init() < 0)
        return 98;
    struct config config = {.keys = &copy, .key_count = 1, .agent.pin_key = sodium_malloc(PIN_KEY_SIZE)};
    memcpy(config.agent.pin_key, key_child_pin_key, PIN_KEY_SIZE);
    int status = key_main(&config, channel);
    sodium_free(config.agent.pin_key);
    return status;
}

void key_child_start(struct key_child *c, const struct key_config *key, struct pin_memory *memory, const char *log)
{
    if (key_child_fork(c, memory, log))
        _exit(run_key(key, &c->channel));
}

void init_child_start(struct key_child *c, const struct config *config, const char *configuration, const char *log)
{
    if (key_child_fork(c, NULL, log))
        _exit(init_main(config, configuration, NULL, &c->channel)); /* an operation that checks a configuration calls
                                                                       init_main itself */
}

static void answer_load(struct key_child *c, const struct frame *frame)
{
    static const uint8_t salt[PIN_SALT_SIZE] = "a token's salt";
    struct span refused[KEY_CHILD_MAX_PINS], trying[KEY_CHILD_MAX_PINS], accepted[KEY_CHILD_MAX_PINS];
    struct pin_records records = {.salt = span_of(salt, sizeof(salt)),
                                  .refused.items = refused,
                                  .trying.items = trying,
                                  .accepted.items = accepted,
                                  .locked = c->memory->locked};
    struct pin_load load;
    struct error err;
    assert_int_equal(message_take(frame->fields, &message_pin_load, &load, sizeof(load), &err), STATUS_OK);
    assert_non_null(memchr(load.token_id.data, '\n', load.token_id.len));
    for (size_t i = 0; i < c->memory->count; i++) {
        struct span verifier = span_of(c->memory->pins[i].verifier, PIN_VERIFIER_SIZE);
        if (c->memory->pins[i].verdict == PIN_REFUSED)
            refused[records.refused.count++] = verifier;
        if (c->memory->pins[i].verdict == PIN_TRYING)
            trying[records.trying.count++] = verifier;
    }
    for (size_t i = 0; i < c->memory->accepted_count; i++)
        accepted[records.accepted.count++] = span_of(c->memory->accepted[i], PIN_SOURCE_SIZE);
    if (c->memory->kept_len > 0)
        records.kept = span_of(c->memory->kept, c->memory->kept_len);
    message_put_frame(&c->channel.out, INTERNAL_PIN_LOAD | OPERATION_ANSWER, frame->request, &message_pin_records,
                      &records);
}

static void answer_record(struct key_child *c, const struct frame *frame)
{
    struct pin_memory *memory = c->memory;
    struct empty_message empty = {0};
    struct pin_record record;
    struct error err;
    size_t i = 0, len = strlen(memory->verdicts);
    assert_int_equal(message_take(frame->fields, &message_pin_record, &record, sizeof(record), &err), STATUS_OK);
    assert_int_equal(record.verifier.len, PIN_VERIFIER_SIZE);
    memory->verdicts[len] = (char)('0' + record.verdict);
    if (memory->broken) {
        (void)error_set(&err, STATUS_STORE_FAILED, NULL, "the disk is full");
        messages_put_error(&c->channel.out, frame->request, &err);
        return;
    }
    while (i < memory->count && memcmp(memory->pins[i].verifier, record.verifier.data, PIN_VERIFIER_SIZE) != 0)
        i++;
    assert_true(i < KEY_CHILD_MAX_PINS);
    memcpy(memory->pins[i].verifier, record.verifier.data, PIN_VERIFIER_SIZE);
    bool again = record.verdict == PIN_DOUBTED && memory->accepted_count > 0; /* else "trying" stays */
    if (record.verdict != PIN_DOUBTED || again)
        memory->pins[i].verdict = record.verdict == PIN_UNKNOWN || again ? 0 : (enum pin_verdict)record.verdict;
    memory->count = i == memory->count ? i + 1 : memory->count;
    assert_true(record.verdict == PIN_ACCEPTED || record.source.len == 0);
    if (record.verdict == PIN_DOUBTED)
        memory->accepted_count = 0;
    if (record.verdict == PIN_ACCEPTED)
        memcpy(memory->accepted[memory->accepted_count++ % KEY_CHILD_MAX_PINS], record.source.data, PIN_SOURCE_SIZE);
    if (memory->accepted_count > KEY_CHILD_MAX_PINS)
        memory->accepted_count = KEY_CHILD_MAX_PINS;
    message_put_frame(&c->channel.out, INTERNAL_PIN_RECORD | OPERATION_ANSWER, frame->request, &message_empty, &empty);
}

static void take_ready(struct key_child *c, const struct frame *frame)
{
    struct key_ready ready;
    struct error err;
    assert_int_equal(message_take(frame->fields, &message_key_ready, &ready, sizeof(ready), &err), STATUS_OK);
    assert_int_equal(ready.x.len, JWK_COORDINATE_SIZE);
    assert_int_equal(ready.y.len, JWK_COORDINATE_SIZE);
    memcpy(c->jwk.x, ready.x.data, ready.x.len);
    memcpy(c->jwk.y, ready.y.data, ready.y.len);
    c->attributes = ready.attributes;
    c->imported = ready.imported;
    assert_int_equal(span_copy(ready.token, c->token, sizeof(c->token)), 0);
    assert_int_equal(span_copy(ready.model, c->model, sizeof(c->model)), 0);
    c->warning[0] = '\0';
    if (ready.warning.data != NULL)
        assert_int_equal(span_copy(ready.warning, c->warning, sizeof(c->warning)), 0);
    c->readies++;
}

bool key_child_answer_pin(struct key_child *c, const struct frame *frame)
{
    if (frame->operation == INTERNAL_PIN_LOAD)
        answer_load(c, frame);
    else if (frame->operation == INTERNAL_PIN_RECORD)
        answer_record(c, frame);
    else
        return false;
    assert_int_equal(channel_flush(&c->channel), 0);
    return true;
}

enum status key_child_serve(struct key_child *c)
{
    struct frame frame;
    while (channel_read(&c->channel, &frame) == 1) {
        if (frame.operation == INTERNAL_KEY_READY) {
            take_ready(c, &frame);
            return STATUS_OK;
        }
        if (frame.operation == INTERNAL_KEY_FAILED) {
            assert_int_equal(messages_take_error(frame.fields, &c->error), STATUS_OK);
            return c->error.status;
        }
        if (!key_child_answer_pin(c, &frame))
            fail_msg("operation %u", frame.operation);
    }
    return STATUS_AGENT_UNREACHABLE;
}

bool key_child_answer(struct key_child *c, struct frame *frame)
{
    while (channel_read(&c->channel, frame) == 1) {
        if (frame->operation == INTERNAL_KEY_READY) {
            take_ready(c, frame);
        } else if (frame->operation == INTERNAL_KEY_FAILED) {
            assert_int_equal(messages_take_error(frame->fields, &c->error), STATUS_OK);
            return false;
        } else if (!key_child_answer_pin(c, frame)) {
            return true;
        }
    }
    return false;
}

void key_child_send_sign(struct key_child *c, uint32_t request, const uint8_t digest[JWK_DIGEST_SIZE])
{
    struct sign_request sign = {.digest = span_of(digest, JWK_DIGEST_SIZE)};
    message_put_frame(&c->channel.out, INTERNAL_SIGN, request, &message_sign_request, &sign);
}

int key_child_end(struct key_child *c, bool hang_up)
{
    struct frame frame;
    int status;
    if (hang_up)
        (void)close(c->channel.fd);
    while (!hang_up && channel_read(&c->channel, &frame) == 1) /* it may have to do with its PIN before it ends */
        (void)key_child_answer_pin(c, &frame);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    if (!hang_up)
        (void)close(c->channel.fd);
    channel_free(&c->channel);
    (void)alarm(0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}
