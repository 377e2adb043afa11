/*
 * The polite fake agent's answers to the operations that need descriptors or change keys. The agent reloads after some
 * of them, so the connection ends. Secrets: a PIN or password is right if it says "1234"; init wants one
 * for the token "pkcs11:token=card", key import for a file that says "encrypted".
 */
#include "fake_agent.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define JKT "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
#define OLD_JKT "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"

static bool take(int fd, const struct frame *frame, const struct message *m, void *out, size_t size)
{
    struct error err;
    if (message_take(frame->fields, m, out, size, &err) == STATUS_OK)
        return true;
    fake_error(fd, frame->request, err.status, err.message);
    return false;
}

/* The text that the next descriptor gives, "" without one. */
static void take_text(char *text, size_t size)
{
    int fd = fake_take_descriptor();
    (void)lseek(fd, 0, SEEK_SET); /* a file is read from its beginning */
    size_t len = 0;
    for (ssize_t n = 1; fd >= 0 && n > 0 && len < size - 1; len += n > 0 ? (size_t)n : 0)
        n = read(fd, text + len, size - 1 - len);
    text[len] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    if (fd >= 0)
        (void)close(fd);
}

static bool secret_is_right(void)
{
    char text[600];
    take_text(text, sizeof(text));
    return strcmp(text, "1234") == 0;
}

static void answer_made(int fd, const struct frame *frame, struct span name, bool imported, bool next)
{
    static const uint8_t x[32] = {1}, y[32] = {2};
    const struct span users[] = {span_text("work"), span_text("other")};
    char full[80];
    (void)snprintf(full, sizeof(full), "%.*s%s", (int)name.len, (const char *)name.data, next ? ".next" : "");
    fake_answer(fd, frame, &message_key_made_answer,
                &(struct key_made_answer){.name = span_text(full),
                                          .uri = span_text("pkcs11:token=t;object=made"),
                                          .jkt = span_text(JKT),
                                          .x = span_of(x, 32),
                                          .y = span_of(y, 32),
                                          .imported = imported,
                                          .configuration = span_text("/c/agent.conf"),
                                          .authenticates = {.items = users, .count = next ? 2 : 0}});
    (void)shutdown(fd, SHUT_RDWR);
}

static void answer_generate(int fd, const struct frame *frame)
{
    struct key_generate_request in;
    if (take(fd, frame, &message_key_generate_request, &in, sizeof(in)))
        answer_made(fd, frame, in.like.data != NULL ? in.like : in.name, false, false);
}

static void answer_import(int fd, const struct frame *frame)
{
    struct key_import_request in;
    char file[64];
    if (!take(fd, frame, &message_key_import_request, &in, sizeof(in)))
        return;
    take_text(file, sizeof(file));
    if (strcmp(file, "encrypted") == 0 && !in.password)
        fake_error(fd, frame->request, STATUS_SECRET_UNREADABLE, "the file is encrypted");
    else if (in.password && !secret_is_right())
        fake_error(fd, frame->request, STATUS_INVALID_ARGUMENT, "the password is wrong");
    else if (strcmp(file, "encrypted") != 0 && strcmp(file, "plain") != 0)
        fake_error(fd, frame->request, STATUS_INVALID_ARGUMENT, "that is no key");
    else
        answer_made(fd, frame, in.name, true, false);
}

static void add_bound(struct list_builder *list)
{
    list_builder_init(list, 65536);
    list_builder_add(list, &message_bound_info, &(struct bound_info){.profile = span_text("work"), .revoked = true});
    list_builder_add(list, &message_bound_info,
                     &(struct bound_info){
                         .profile = span_text("other"), .login_due = true, .note = span_text("JWTs are not revoked")});
}

static void answer_delete(int fd, const struct frame *frame)
{
    struct key_delete_request in;
    struct list_builder bound;
    if (!take(fd, frame, &message_key_delete_request, &in, sizeof(in)))
        return;
    add_bound(&bound);
    fake_answer(fd, frame, &message_key_delete_answer,
                &(struct key_delete_answer){.bound = list_builder_list(&bound),
                                            .configuration = span_text("/c/agent.conf")});
    list_builder_free(&bound);
    (void)shutdown(fd, SHUT_RDWR);
}

static void answer_prepare(int fd, const struct frame *frame)
{
    struct key_prepare_request in;
    if (take(fd, frame, &message_key_prepare_request, &in, sizeof(in)))
        answer_made(fd, frame, in.key, false, true);
}

static void answer_commit(int fd, const struct frame *frame)
{
    struct key_commit_request in;
    struct list_builder bound;
    if (!take(fd, frame, &message_key_commit_request, &in, sizeof(in)))
        return;
    add_bound(&bound);
    fake_answer(fd, frame, &message_key_commit_answer,
                &(struct key_commit_answer){.jkt = span_text(JKT),
                                            .old_jkt = span_text(OLD_JKT),
                                            .bound = list_builder_list(&bound),
                                            .configuration = span_text("/c/agent.conf"),
                                            .note = span_text(span_is(in.key, "stuck") ? "it is read-only" : NULL)});
    list_builder_free(&bound);
    (void)shutdown(fd, SHUT_RDWR);
}

static void answer_unlocked(int fd, const struct frame *frame)
{
    const struct span keys[] = {span_text("work"), span_text("spare")};
    fake_answer(fd, frame, &message_unlock_answer,
                &(struct unlock_answer){.token = span_text("tok \"en\""), .keys = {.items = keys, .count = 2}});
}

static void answer_unlock(int fd, const struct frame *frame)
{
    struct unlock_request in;
    if (!take(fd, frame, &message_unlock_request, &in, sizeof(in)))
        return;
    if (secret_is_right())
        answer_unlocked(fd, frame);
    else
        fake_error(fd, frame->request, STATUS_KEY_LOCKED, "the token refuses the PIN");
}

static void answer_lock(int fd, const struct frame *frame)
{
    struct lock_request in;
    if (take(fd, frame, &message_lock_request, &in, sizeof(in)))
        answer_unlocked(fd, frame);
}

static void want_pin(int fd, const struct frame *frame)
{
    struct error err;
    struct buffer b;
    buffer_init(&b, FRAME_MAX);
    (void)error_set(&err, STATUS_KEY_LOCKED, "give it", "the token \"card\" needs its PIN");
    error_put_text(err.stage, sizeof(err.stage), span_text("PIN"));
    messages_put_error(&b, frame->request, &err);
    fake_send(fd, buffer_span(&b).data, b.len);
    buffer_free(&b);
}

static void answer_init(int fd, const struct frame *frame)
{
    struct init_request in;
    char reason[200];
    if (!take(fd, frame, &message_init_request, &in, sizeof(in)))
        return;
    if (span_is(in.token, "pkcs11:token=card") && !in.pin) {
        want_pin(fd, frame);
        return;
    }
    if (in.pin && !secret_is_right()) {
        fake_error(fd, frame->request, STATUS_KEY_LOCKED, "the token refuses the PIN");
        return;
    }
    (void)snprintf(reason, sizeof(reason), "%.*s, %zu values", (int)in.kind.len,
                   in.kind.data != NULL ? (const char *)in.kind.data : "", in.environment.count);
    fake_answer(fd, frame, &message_init_answer,
                &(struct init_answer){.uri = span_text("pkcs11:object=default"),
                                      .jkt = span_text(JKT),
                                      .configuration = span_text("/c"),
                                      .token_folder = span_text("/t"),
                                      .pin_file = span_text(in.keep_pin ? "/p" : NULL),
                                      .reason = span_text(reason),
                                      .model = span_text("SW   TPM")});
}

bool fake_key_answer(int fd, const struct frame *frame)
{
    static const struct {
        uint16_t operation;
        void (*answer)(int fd, const struct frame *frame);
    } rows[] = {
        {OPERATION_INIT, answer_init},
        {OPERATION_KEY_GENERATE, answer_generate},
        {OPERATION_KEY_IMPORT, answer_import},
        {OPERATION_KEY_DELETE, answer_delete},
        {OPERATION_KEY_PREPARE, answer_prepare},
        {OPERATION_KEY_COMMIT, answer_commit},
        {OPERATION_UNLOCK, answer_unlock},
        {OPERATION_LOCK, answer_lock},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].operation == frame->operation) {
            rows[i].answer(fd, frame);
            return true;
        }
    return false;
}
