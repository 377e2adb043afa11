/* See key_front.h. */
#include "key_front.h"

#include "role.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define EXIT_LEAK 78
#define EXIT_SANITIZER 77

#ifdef __SANITIZE_ADDRESS__
int __lsan_do_recoverable_leak_check(void);
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "exitcode=77";
}
static bool leaks(void)
{
    return __lsan_do_recoverable_leak_check() != 0;
}
#else
static bool leaks(void)
{
    return false;
}
#endif

/* Instead of libsodium's: a verifier is only compared here, and a thousand processes derive it. */
int crypto_pwhash(unsigned char *out, unsigned long long out_len, const char *password,
                  unsigned long long password_len, const unsigned char *salt, unsigned long long ops, size_t memory,
                  int algorithm)
{
    (void)ops, (void)memory, (void)algorithm;
    return crypto_generichash(out, out_len, (const unsigned char *)password, password_len, salt, PIN_SALT_SIZE);
}

void key_front_wrong(struct key_front *f, const char *what, ...)
{
    va_list arguments;
    f->wrong++;
    (void)fprintf(stderr, "WRONG %s: ", f->name);
    va_start(arguments, what);
    (void)vfprintf(stderr, what, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "\n");
}

static void overdue(int signal_number)
{
    static const char text[] = "the fault matrix itself hangs\n";
    (void)signal_number;
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(1);
}

void key_front_open(struct key_front *f, void **state)
{
    assert_int_equal(key_world_open(state), 0);
    *f = (struct key_front){.w = *state};
    (void)snprintf(f->w->environment[3], sizeof(f->w->environment[3]), "SHIM_LOG_CALLS=C_Login");
    assert_true(sodium_init() >= 0);
    assert_int_equal(crypto_box_keypair(f->public_key, f->secret_key), 0);
    (void)signal(SIGALRM, overdue);
    (void)signal(SIGPIPE, SIG_IGN);
}

void key_front_close(struct key_front *f)
{
    void *state = f->w;
    key_front_stop(f);
    assert_int_equal(key_world_close(&state), 0);
}

static void empty(const struct key_front *f, const char *name)
{
    char path[SOFTHSM_PATH_MAX];
    softhsm_path(&f->w->hsm, name, path);
    if (truncate(path, 0) != 0)
        assert_int_equal(errno, ENOENT);
}

void key_front_command(struct key_front *f, const char *command)
{
    char path[SOFTHSM_PATH_MAX], name[64], text[512];
    char *rest = NULL;
    assert_in_range(snprintf(text, sizeof(text), "%s", command), 0, sizeof(text) - 1);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        (void)snprintf(name, sizeof(name), "control.%.*s.once", (int)strcspn(line, " "), line);
        softhsm_path(&f->w->hsm, name, path);
        (void)unlink(path);
    }
    key_world_control(f->w, command);
}

void key_front_begin(struct key_front *f, const char *command, const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    (void)vsnprintf(f->name, sizeof(f->name), name, arguments);
    va_end(arguments);
    f->cases++;
    f->starts = 0;
    if (f->alive) /* its PIN was accepted, and that is remembered */
        memset(f->w->memory.verdicts, 0, sizeof(f->w->memory.verdicts));
    else
        memset(&f->w->memory, 0, sizeof(f->w->memory));
    empty(f, "calls");
    empty(f, "log");
    key_front_command(f, command);
}

/* ---- processes ---- */

static void check_log(struct key_front *f)
{
    char *log = softhsm_read(&f->w->hsm, "log");
    const char *report = strstr(log, "Sanitizer");
    if (report == NULL)
        report = strstr(log, "runtime error:");
    if (report != NULL)
        key_front_wrong(f, "a sanitizer's report: %s", report);
    free(log);
}

/* Waits for the end of the process, which should come at once. */
static void bury(struct key_front *f, bool hang_up)
{
    int status = 0;
    pid_t ended = 0;
    if (hang_up)
        (void)close(f->c.channel.fd);
    for (int i = 0; i < KEY_FRONT_PATIENCE && (ended = waitpid(f->c.pid, &status, WNOHANG)) == 0; i++)
        (void)poll(NULL, 0, 1);
    if (ended == 0) {
        key_front_wrong(f, "the process does not end");
        (void)kill(f->c.pid, SIGKILL);
        (void)waitpid(f->c.pid, &status, 0);
    }
    if (!hang_up)
        (void)close(f->c.channel.fd);
    channel_free(&f->c.channel);
    (void)alarm(0);
    f->alive = f->ready = false;
    if (ended != 0 && WIFSIGNALED(status))
        key_front_wrong(f, "the process died of signal %d", WTERMSIG(status));
    else if (ended != 0 && WEXITSTATUS(status) == EXIT_LEAK)
        key_front_wrong(f, "the process leaks");
    else if (ended != 0 && WEXITSTATUS(status) > 1)
        key_front_wrong(f, "the process ended with status %d", WEXITSTATUS(status));
    check_log(f);
}

static void start(struct key_front *f)
{
    f->starts++;
    f->alive = true;
    if (!key_child_fork(&f->c, &f->w->memory, f->w->log))
        return;
    struct config config = {.keys = &f->w->key, .key_count = 1, .agent.pin_key = sodium_malloc(PIN_KEY_SIZE)};
    memcpy(config.agent.pin_key, key_child_pin_key, PIN_KEY_SIZE);
    int status = key_main(&config, &f->c.channel);
    sodium_free(config.agent.pin_key);
    channel_free(&f->c.channel);
    _exit(leaks() ? EXIT_LEAK : status);
}

void key_front_stop(struct key_front *f)
{
    if (f->alive)
        bury(f, true);
}

/* ---- what a process sends ---- */

/* As channel_read, within KEY_FRONT_PATIENCE; -1: nothing came. */
static int read_frame(struct key_front *f, struct frame *out)
{
    for (;;) {
        int r = channel_take(&f->c.channel, out);
        struct pollfd p = {.fd = f->c.channel.fd, .events = POLLIN};
        if (r != 0)
            return r;
        if (poll(&p, 1, KEY_FRONT_PATIENCE) <= 0) {
            key_front_wrong(f, "the process does not answer");
            (void)kill(f->c.pid, SIGKILL);
            bury(f, false);
            return -1;
        }
        if (channel_fill(&f->c.channel) != 1)
            return 0;
    }
}

static void take_ready(struct key_front *f, const struct frame *frame)
{
    struct key_ready ready;
    struct jwk jwk;
    struct error err;
    assert_int_equal(message_take(frame->fields, &message_key_ready, &ready, sizeof(ready), &err), STATUS_OK);
    assert_int_equal(ready.x.len, JWK_COORDINATE_SIZE);
    assert_int_equal(ready.y.len, JWK_COORDINATE_SIZE);
    memcpy(jwk.x, ready.x.data, sizeof(jwk.x));
    memcpy(jwk.y, ready.y.data, sizeof(jwk.y));
    if (f->known && (memcmp(jwk.x, f->jwk.x, sizeof(jwk.x)) != 0 || memcmp(jwk.y, f->jwk.y, sizeof(jwk.y)) != 0))
        key_front_wrong(f, "another key is ready");
    f->jwk = jwk;
    f->known = f->ready = true;
}

/* An error must have its reason, and say what to do. */
static enum status take_error(struct key_front *f, const struct frame *frame, const char *where)
{
    assert_int_equal(messages_take_error(frame->fields, &f->error), STATUS_OK);
    if (f->error.message[0] == '\0')
        key_front_wrong(f, "%s without a reason", where);
    if (f->error.next[0] == '\0')
        key_front_wrong(f, "%s without a next step: %s", where, f->error.message);
    return f->error.status;
}

/* The frames that answer nothing. `*status` is changed by a state alone; false: it is another frame. */
static bool take_state(struct key_front *f, const struct frame *frame, enum status *status)
{
    if (frame->operation == INTERNAL_KEY_READY) {
        take_ready(f, frame);
        *status = STATUS_OK;
        return true;
    }
    if (frame->operation == INTERNAL_KEY_FAILED) {
        *status = take_error(f, frame, "KEY_FAILED");
        f->ready = false;
        return true;
    }
    return key_child_answer_pin(&f->c, frame);
}

static bool waits_for_pin(enum status status)
{
    return status == STATUS_KEY_LOCKED || status == STATUS_SECRET_UNREADABLE;
}

enum status key_front_ready(struct key_front *f)
{
    enum status status = STATUS_AGENT_UNREACHABLE;
    struct frame frame;
    int r;
    if (!f->alive)
        start(f);
    while (!f->ready && (r = read_frame(f, &frame)) > 0) {
        if (!take_state(f, &frame, &status))
            key_front_wrong(f, "operation %u", frame.operation);
        if (status != STATUS_AGENT_UNREACHABLE && waits_for_pin(status))
            return status;
    }
    if (f->ready)
        return STATUS_OK;
    if (status == STATUS_AGENT_UNREACHABLE)
        key_front_wrong(f, "the process ended without a reason");
    if (f->alive)
        bury(f, false);
    return status;
}

static void put_request(struct key_front *f, bool data_key, const uint8_t digest[JWK_DIGEST_SIZE])
{
    const struct data_key_request request = {.public_key = span_of(f->public_key, STORE_PUBLIC_SIZE), .make = true};
    f->request++;
    if (data_key)
        message_put_frame(&f->c.channel.out, INTERNAL_DATA_KEY, f->request, &message_data_key_request, &request);
    else
        key_child_send_sign(&f->c, f->request, digest);
}

static void check_answer(struct key_front *f, bool data_key, const struct frame *frame,
                         const uint8_t digest[JWK_DIGEST_SIZE])
{
    struct sign_answer answer;
    struct data_key_answer sealed;
    uint8_t key[DATA_KEY_SIZE];
    struct error err;
    if (data_key) {
        assert_int_equal(message_take(frame->fields, &message_data_key_answer, &sealed, sizeof(sealed), &err), 0);
        if (sealed.sealed.len != DATA_KEY_SEALED_SIZE ||
            crypto_box_seal_open(key, sealed.sealed.data, sealed.sealed.len, f->public_key, f->secret_key) != 0)
            key_front_wrong(f, "no data key in the answer");
        return;
    }
    assert_int_equal(message_take(frame->fields, &message_sign_answer, &answer, sizeof(answer), &err), 0);
    if (answer.signature.len != JWK_SIGNATURE_SIZE || jwk_verify(&f->jwk, digest, answer.signature.data) != 0)
        key_front_wrong(f, "a signature does not verify");
}

enum status key_front_ask(struct key_front *f, bool data_key)
{
    uint8_t digest[JWK_DIGEST_SIZE];
    uint16_t operation = data_key ? INTERNAL_DATA_KEY : INTERNAL_SIGN;
    enum status status, state = STATUS_OK;
    struct frame frame;
    int r;
    randombytes_buf(digest, sizeof(digest));
    put_request(f, data_key, digest);
    if (channel_flush(&f->c.channel) != 0)
        r = 0;
    else
        while ((r = read_frame(f, &frame)) > 0 && take_state(f, &frame, &state))
            ;
    if (r <= 0) { /* it ended: the request is the front's to answer, but the reason must have come */
        if (r == 0 && state == STATUS_OK)
            key_front_wrong(f, "the process ended without a reason");
        if (f->alive)
            bury(f, false);
        return STATUS_RESTARTED;
    }
    if (frame.request != f->request)
        key_front_wrong(f, "operation %u answers request %u", frame.operation, frame.request);
    if (frame.operation == OPERATION_ERROR) {
        status = take_error(f, &frame, "an error");
        return status;
    }
    if (frame.operation != (operation | OPERATION_ANSWER))
        key_front_wrong(f, "operation %u is an answer", frame.operation);
    else
        check_answer(f, data_key, &frame, digest);
    return STATUS_OK;
}

void key_front_heals(struct key_front *f, unsigned int most)
{
    struct error first = f->error;
    for (unsigned int i = 0; i < most; i++) {
        if (!f->ready && waits_for_pin(key_front_ready(f)))
            break;
        if (f->ready && key_front_ask(f, false) == STATUS_OK)
            return;
    }
    key_front_wrong(f, "it does not come back: %s (at first %s)", f->error.message, first.message);
    key_front_stop(f);
}
