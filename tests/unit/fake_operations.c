/*
 * The polite fake agent's answers to the operations around logins, registrations and certificates. What a login does
 * hangs on its profile, which is also its handle: "work" ends well at the second wait, "refused" badly, "paste" when a
 * redirect with a code came, every other never.
 */
#include "fake_agent.h"

#include <stdio.h>
#include <sys/socket.h>

static struct {
    pthread_mutex_t lock;
    int waits, cancels;
    bool redirected;
} logins = {.lock = PTHREAD_MUTEX_INITIALIZER};

int fake_cancelled_logins(void)
{
    (void)pthread_mutex_lock(&logins.lock);
    int count = logins.cancels;
    logins.cancels = logins.waits = 0;
    logins.redirected = false;
    (void)pthread_mutex_unlock(&logins.lock);
    return count;
}

static bool take(int fd, const struct frame *frame, const struct message *m, void *out, size_t size)
{
    struct error err;
    if (message_take(frame->fields, m, out, size, &err) == STATUS_OK)
        return true;
    fake_error(fd, frame->request, err.status, err.message);
    return false;
}

static void answer_begin(int fd, const struct frame *frame)
{
    struct login_begin_request in;
    if (!take(fd, frame, &message_login_begin_request, &in, sizeof(in)))
        return;
    struct login_begin_answer out = {.login = in.profile, .expires_in = 300};
    if (in.device) {
        out.user_code = span_text("WDJB-MJHT");
        out.verification_uri = span_text("https://as.example/device");
        out.verification_uri_complete = span_text("https://as.example/device?user_code=WDJB-MJHT");
    } else {
        out.url = span_text("https://as.example/authorize?client_id=app&x='$(id)'");
        out.redirect_uri = span_text("http://127.0.0.1:49152/");
    }
    fake_answer(fd, frame, &message_login_begin_answer, &out);
}

/* How the login stands after one more wait. */
static bool has_ended(struct span login)
{
    (void)pthread_mutex_lock(&logins.lock);
    bool ended = (span_is(login, "paste") && logins.redirected) ||
                 (!span_is(login, "slow") && !span_is(login, "paste") && ++logins.waits > 1);
    (void)pthread_mutex_unlock(&logins.lock);
    return ended;
}

static void refuse_login(int fd, const struct frame *frame)
{
    struct error err;
    struct buffer b;
    buffer_init(&b, FRAME_MAX);
    (void)error_set(&err, STATUS_SERVER_REFUSED, "log in again", "the server refused the login");
    error_put_text(err.stage, sizeof(err.stage), span_text("authorization"));
    error_put_text(err.oauth_error, sizeof(err.oauth_error), span_text("access_denied"));
    error_put_text(err.oauth_description, sizeof(err.oauth_description), span_text("the user said no"));
    err.http_status = 400;
    messages_put_error(&b, frame->request, &err);
    fake_send(fd, buffer_span(&b).data, b.len);
    buffer_free(&b);
}

static void answer_wait(int fd, const struct frame *frame)
{
    struct login_wait_request in;
    if (!take(fd, frame, &message_login_wait_request, &in, sizeof(in)))
        return;
    if (!has_ended(in.login))
        fake_error(fd, frame->request, STATUS_TIMEOUT, "the login goes on");
    else if (span_is(in.login, "refused"))
        refuse_login(fd, frame);
    else
        fake_answer(fd, frame, &message_login_wait_answer,
                    &(struct login_wait_answer){.profile = in.login,
                                                .subject = span_text("alice"),
                                                .scope = span_text("a b"),
                                                .jkt = span_text("j"),
                                                .token_type = span_text("DPoP"),
                                                .expires_in = 300,
                                                .refresh = true,
                                                .note = span_text("persist = no")});
}

static void answer_redirect(int fd, const struct frame *frame)
{
    struct login_redirect_request in;
    if (!take(fd, frame, &message_login_redirect_request, &in, sizeof(in)))
        return;
    if (!span_is(in.url, "http://127.0.0.1:49152/?code=c&state=s")) {
        fake_error(fd, frame->request, STATUS_INVALID_ARGUMENT, "that is not where this login ends");
        return;
    }
    (void)pthread_mutex_lock(&logins.lock);
    logins.redirected = true;
    (void)pthread_mutex_unlock(&logins.lock);
    fake_answer(fd, frame, &message_empty, &(struct empty_message){false});
}

static void answer_cancel(int fd, const struct frame *frame)
{
    (void)pthread_mutex_lock(&logins.lock);
    logins.cancels++;
    (void)pthread_mutex_unlock(&logins.lock);
    fake_answer(fd, frame, &message_empty, &(struct empty_message){false});
}

static void answer_test(int fd, const struct frame *frame)
{
    struct profile_test_request in;
    struct list_builder checks;
    if (!take(fd, frame, &message_profile_test_request, &in, sizeof(in)))
        return;
    list_builder_init(&checks, 65536);
    list_builder_add(
        &checks, &message_check_info,
        &(struct check_info){.name = span_text("key"), .result = CHECK_PASSED, .detail = span_text("ready")});
    list_builder_add(&checks, &message_check_info,
                     &(struct check_info){.name = span_text("clock"),
                                          .result = span_is(in.profile, "broken") ? CHECK_FAILED : CHECK_WARNING,
                                          .detail = span_text("600 s apart"),
                                          .next = span_text("set this machine's clock")});
    list_builder_add(&checks, &message_check_info,
                     &(struct check_info){.name = span_text("token"), .result = CHECK_NOT_TRIED});
    fake_answer(fd, frame, &message_profile_test_answer,
                &(struct profile_test_answer){.checks = list_builder_list(&checks)});
    list_builder_free(&checks);
}

/* Two entries; the second is longer in coming. */
static void answer_trace(int fd, const struct frame *frame)
{
    struct trace_request in;
    struct list_builder entries;
    if (!take(fd, frame, &message_trace_request, &in, sizeof(in)))
        return;
    list_builder_init(&entries, 65536);
    for (uint64_t i = in.after + 1; i <= 2; i++)
        list_builder_add(
            &entries, &message_trace_entry,
            &(struct trace_entry){
                .sequence = i,
                .time = 1795255200,
                .text = span_text(i == 1 ? "POST https://as.example/token\n  code=<masked>\n" : "\x1b[31mred")});
    fake_answer(fd, frame, &message_trace_answer, &(struct trace_answer){.entries = list_builder_list(&entries)});
    list_builder_free(&entries);
}

/* The words that came go back, so that a test can see that they did. Then the connection ends, as after a reload. */
static void answer_register(int fd, const struct frame *frame)
{
    struct register_request in;
    struct span origin;
    size_t cursor = 0, origins = 0;
    char id[256];
    if (!take(fd, frame, &message_register_request, &in, sizeof(in)))
        return;
    while (list_next(&in.origins, &cursor, &origin))
        origins++;
    (void)snprintf(id, sizeof(id), "%.*s/%.*s/%.*s/%zu/%d", (int)in.scope.len, (const char *)in.scope.data,
                   (int)in.initial_access_token.len, (const char *)in.initial_access_token.data, (int)in.grant.len,
                   (const char *)in.grant.data, origins, in.allow_http_loopback);
    fake_answer(fd, frame, &message_register_answer,
                &(struct register_answer){.profile = in.name,
                                          .client_id = span_text(id),
                                          .issuer = in.issuer.data != NULL ? in.issuer : in.resource,
                                          .client_authentication = span_text("client_secret_basic"),
                                          .configuration = span_text("/c/agent.conf"),
                                          .secret_file = span_text("/c/s")});
    (void)shutdown(fd, SHUT_RDWR);
}

static void answer_pem(int fd, const struct frame *frame)
{
    struct key_cert_request in;
    char pem[256];
    const struct message *m =
        frame->operation == OPERATION_KEY_CERT ? &message_key_cert_request : &message_key_csr_request;
    in.days = 0;
    if (!take(fd, frame, m, &in, frame->operation == OPERATION_KEY_CERT ? sizeof(in) : sizeof(struct key_csr_request)))
        return;
    (void)snprintf(pem, sizeof(pem), "-----BEGIN %s-----\n%.*s\n-----END-----\n",
                   frame->operation == OPERATION_KEY_CERT ? "CERTIFICATE" : "CERTIFICATE REQUEST", (int)in.subject.len,
                   (const char *)in.subject.data);
    fake_answer(fd, frame, &message_pem_answer, &(struct pem_answer){.pem = span_text(pem)});
}

static void answer_introspect(int fd, const struct frame *frame)
{
    fake_answer(
        fd, frame, &message_introspect_answer,
        &(struct introspect_answer){.active = true, .claims = span_text("{\"active\":true,\"sub\":\"alice\"}")});
}

static void answer_logout(int fd, const struct frame *frame)
{
    struct logout_request in;
    if (!take(fd, frame, &message_logout_request, &in, sizeof(in)))
        return;
    bool revoked = span_is(in.profile, "work");
    fake_answer(fd, frame, &message_logout_answer,
                &(struct logout_answer){.logged_in = true,
                                        .revoked = revoked,
                                        .note = revoked ? span_text(NULL) : span_text("no revocation endpoint")});
}

static void answer_reload(int fd, const struct frame *frame)
{
    fake_answer(fd, frame, &message_empty, &(struct empty_message){false});
    (void)shutdown(fd, SHUT_RDWR);
}

bool fake_more_answer(int fd, const struct frame *frame)
{
    static const struct {
        uint16_t operation;
        void (*answer)(int fd, const struct frame *frame);
    } rows[] = {
        {OPERATION_LOGIN_BEGIN, answer_begin},
        {OPERATION_LOGIN_WAIT, answer_wait},
        {OPERATION_LOGIN_REDIRECT, answer_redirect},
        {OPERATION_LOGIN_CANCEL, answer_cancel},
        {OPERATION_LOGOUT, answer_logout},
        {OPERATION_INTROSPECT, answer_introspect},
        {OPERATION_PROFILE_TEST, answer_test},
        {OPERATION_TRACE, answer_trace},
        {OPERATION_REGISTER, answer_register},
        {OPERATION_KEY_CSR, answer_pem},
        {OPERATION_KEY_CERT, answer_pem},
        {OPERATION_RELOAD, answer_reload},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].operation == frame->operation) {
            rows[i].answer(fd, frame);
            return true;
        }
    return false;
}
