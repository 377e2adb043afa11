/* See fake_agent.h. */
#include "fake_agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define JKT "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

static void check(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

struct connection_start {
    struct fake_agent *fake;
    int fd, number;
};

static void *serve_connection(void *arg)
{
    struct connection_start start = *(struct connection_start *)arg;
    free(arg);
    start.fake->serve(start.fake, start.fd, start.number);
    (void)close(start.fd);
    return NULL;
}

static void *accept_connections(void *arg)
{
    struct fake_agent *fake = arg;
    for (int fd; (fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        struct connection_start *start = malloc(sizeof(*start));
        check(start != NULL && fake->count < FAKE_MOST_CONNECTIONS, "a connection of the fake agent");
        *start = (struct connection_start){fake, fd, fake->count};
        check(pthread_create(&fake->connections[fake->count++], NULL, serve_connection, start) == 0, "pthread_create");
    }
    return NULL;
}

void fake_start(struct fake_agent *fake, void (*serve)(struct fake_agent *, int, int), void *context)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *fake = (struct fake_agent){.serve = serve, .context = context};
    (void)snprintf(fake->folder, sizeof(fake->folder), "/tmp/dpop-test-XXXXXX");
    check(mkdtemp(fake->folder) != NULL, "mkdtemp");
    (void)snprintf(fake->path, sizeof(fake->path), "%s/socket", fake->folder);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", fake->path);
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(bind(fake->listener, (const struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    check(listen(fake->listener, 16) == 0, "listen");
    check(pthread_create(&fake->thread, NULL, accept_connections, fake) == 0, "pthread_create");
}

void fake_stop(struct fake_agent *fake)
{
    (void)shutdown(fake->listener, SHUT_RDWR);
    (void)pthread_join(fake->thread, NULL);
    for (int i = 0; i < fake->count; i++)
        (void)pthread_join(fake->connections[i], NULL);
    (void)close(fake->listener);
    (void)unlink(fake->path);
    (void)rmdir(fake->folder);
}

static _Thread_local struct {
    int fds[LIMIT_DESCRIPTORS];
    size_t count;
} came;

int fake_take_descriptor(void)
{
    if (came.count == 0)
        return -1;
    int fd = came.fds[0];
    came.fds[0] = came.fds[1];
    came.count--;
    return fd;
}

static ssize_t receive(int fd, uint8_t *room, size_t size)
{
    union {
        char bytes[CMSG_SPACE(LIMIT_DESCRIPTORS * sizeof(int))];
        struct cmsghdr align;
    } ancillary;
    struct iovec iov = {.iov_base = room, .iov_len = size};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes,
                            .msg_controllen = sizeof(ancillary.bytes)};
    ssize_t n = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
    struct cmsghdr *m = n > 0 ? CMSG_FIRSTHDR(&header) : NULL;
    if (m != NULL) {
        check(came.count == 0, "descriptors that nobody took");
        came.count = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(came.fds, CMSG_DATA(m), came.count * sizeof(int));
    }
    return n;
}

bool fake_read(int fd, struct buffer *b, struct frame *frame)
{
    static _Thread_local size_t taken;
    size_t size;
    if (b->len == 0 && b->start == 0)
        taken = 0;
    if (taken > 0)
        buffer_consume(b, taken);
    taken = 0;
    for (int left; b->len == 0 && (left = fake_take_descriptor()) >= 0;)
        (void)close(left);
    for (;;) {
        if (frame_take(buffer_span(b), FRAME_MAX, frame, &size) == FRAME_COMPLETE) {
            taken = size;
            return true;
        }
        uint8_t *room = buffer_room(b, 4096);
        check(room != NULL, "a buffer of the fake agent");
        ssize_t n = receive(fd, room, 4096);
        if (n <= 0)
            return false;
        buffer_added(b, (size_t)n);
    }
}

void fake_send(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        p += n;
        len -= (size_t)n;
    }
}

void fake_answer(int fd, const struct frame *request, const struct message *m, const void *in)
{
    struct buffer b;
    buffer_init(&b, FRAME_MAX);
    message_put_frame(&b, request->operation | OPERATION_ANSWER, request->request, m, in);
    fake_send(fd, buffer_span(&b).data, b.len);
    buffer_free(&b);
}

void fake_error(int fd, uint32_t request, enum status status, const char *message)
{
    struct error err;
    struct buffer b;
    buffer_init(&b, FRAME_MAX);
    (void)error_set(&err, status, "do something", "%s", message);
    messages_put_error(&b, request, &err);
    fake_send(fd, buffer_span(&b).data, b.len);
    buffer_free(&b);
}

void fake_hang(int fd)
{
    char bytes[4096];
    while (recv(fd, bytes, sizeof(bytes), 0) > 0)
        ;
}

bool fake_hello(int fd, struct buffer *b)
{
    struct frame frame;
    buffer_init(b, 4 * FRAME_MAX);
    if (!fake_read(fd, b, &frame) || frame.operation != OPERATION_HELLO)
        return false;
    fake_polite_answer(fd, &frame);
    return true;
}

/* Its own words come back, so that a test can see that they arrived. */
static void answer_proof(int fd, const struct frame *frame)
{
    struct proof_request in;
    struct error err;
    if (message_take(frame->fields, &message_proof_request, &in, sizeof(in), &err) != STATUS_OK)
        fake_error(fd, frame->request, err.status, err.message);
    else
        fake_answer(fd, frame, &message_proof_answer,
                    &(struct proof_answer){.proof = in.nonce.data != NULL ? in.nonce : span_text("a.b.c"),
                                           .htu = in.htu, .jkt = span_text(JKT)});
}

/* The subject token or the assertion comes back as the access token, the actor token in raw. */
static void answer_token(int fd, const struct frame *frame)
{
    struct token_request in;
    struct error err;
    char raw[256];
    if (message_take(frame->fields, &message_token_request, &in, sizeof(in), &err) != STATUS_OK) {
        fake_error(fd, frame->request, err.status, err.message);
        return;
    }
    struct span given = in.subject_token.data != NULL ? in.subject_token : in.assertion;
    (void)snprintf(raw, sizeof(raw), "{\"actor\":\"%.*s\"}", (int)in.actor_token.len,
                   (const char *)in.actor_token.data);
    fake_answer(fd, frame, &message_token_answer,
                &(struct token_answer){.access_token = given.data != NULL ? given : span_text("the-token"),
                                       .token_type = span_text("DPoP"), .expires_in = 300, .expires_at = 1795000000,
                                       .scope = in.subject_token_type, .jkt = span_text(JKT),
                                       .raw = span_text(in.raw ? raw : NULL)});
}

/* A retry gets another attempt and another proof; the profile "bearer" gets a Bearer token, and "unbound" a bound one
 * without a proof. The proof's parts are {"typ":"dpop+jwt"}, {"jti":"x"} and a signature. */
static void answer_authorize(int fd, const struct frame *frame)
{
    struct authorize_request in;
    struct error err;
    if (message_take(frame->fields, &message_authorize_request, &in, sizeof(in), &err) != STATUS_OK) {
        fake_error(fd, frame->request, err.status, err.message);
        return;
    }
    const char *token = in.attempt.data != NULL ? "DPoP second-token" : "DPoP first-token";
    bool bearer = span_is(in.profile, "bearer"), proof = !bearer && !span_is(in.profile, "unbound");
    fake_answer(fd, frame, &message_authorize_answer,
                &(struct authorize_answer){
                    .url = in.url,
                    .authorization = span_text(bearer ? "Bearer plain-token" : token),
                    .dpop = span_text(proof ? "eyJ0eXAiOiJkcG9wK2p3dCJ9.eyJqdGkiOiJ4In0.c2lnbmF0dXJl" : NULL),
                    .attempt = span_text(in.attempt.data != NULL ? "attempt 2" : "attempt 1")});
}

static bool names_error(const struct list *challenges, const char *error)
{
    struct span item;
    size_t cursor = 0;
    while (list_next(challenges, &cursor, &item))
        if (memmem(item.data, item.len, error, strlen(error)) != NULL)
            return true;
    return false;
}

static void answer_outcome(int fd, const struct frame *frame)
{
    struct outcome_request in;
    struct error err;
    enum verdict verdict = VERDICT_DONE;
    if (message_take(frame->fields, &message_outcome_request, &in, sizeof(in), &err) != STATUS_OK) {
        fake_error(fd, frame->request, err.status, err.message);
        return;
    }
    if (names_error(&in.challenges, "use_dpop_nonce"))
        verdict = VERDICT_RETRY;
    else if (names_error(&in.challenges, "invalid_token"))
        verdict = VERDICT_REFRESH;
    else if (names_error(&in.challenges, "login"))
        verdict = VERDICT_LOGIN;
    else if (in.http_status == 401)
        verdict = VERDICT_FAIL;
    fake_answer(fd, frame, &message_outcome_answer,
                &(struct outcome_answer){.verdict = (uint16_t)verdict, .reason = span_text("because")});
}

static void add_keys(struct list_builder *out)
{
    uint8_t x[32] = {1}, y[32] = {2};
    list_builder_add(out, &message_key_info,
                     &(struct key_info){.name = span_text("work"),
                                        .state = span_text("ready"),
                                        .jkt = span_text(JKT),
                                        .uri = span_text("pkcs11:object=work"),
                                        .x = span_of(x, 32),
                                        .y = span_of(y, 32),
                                        .attributes = KEY_SENSITIVE | KEY_LOCAL,
                                        .token = span_text("tok \"en\""),
                                        .model = span_text("SoftHSM v2"),
                                        .workers = 2,
                                        .imported = true,
                                        .waiting = 3,
                                        .signatures = 9,
                                        .sign_time = 4200,
                                        .stalled = 1500,
                                        .recoveries = 2,
                                        .warning = span_text("one try is left")});
    list_builder_add(out, &message_key_info,
                     &(struct key_info){.name = span_text("spare"),
                                        .state = span_text("locked"),
                                        .reason = span_text("the PIN was refused"),
                                        .next = span_text("correct the PIN")});
}

static void add_profiles(struct list_builder *out)
{
    const struct span origins[] = {span_text("https://API.example:443"), span_text("https://b.example:8443")};
    list_builder_add(out, &message_profile_info,
                     &(struct profile_info){.name = span_text("work"),
                                            .key = span_text("work"),
                                            .state = span_text("token"),
                                            .issuer = span_text("https://as.example"),
                                            .expires_in = 60,
                                            .client_authentication = span_text("private_key_jwt"),
                                            .origins = {.items = origins, .count = 2},
                                            .login = span_text("logged in"),
                                            .subject = span_text("alice"),
                                            .persisted = true,
                                            .dpop = span_text("required")});
    list_builder_add(out, &message_profile_info,
                     &(struct profile_info){.name = span_text("other"),
                                            .key = span_text("work"),
                                            .state = span_text("no token"),
                                            .client_authentication = span_text("tls_client_auth"),
                                            .origins = {.items = origins, .count = 1},
                                            .dpop = span_text("optional")});
    const struct list twin = {.items = (const struct span[]){span_text("https://twin.example")}, .count = 1};
    for (int i = 0; i < 2; i++)
        list_builder_add(out, &message_profile_info,
                         &(struct profile_info){.name = span_text(i == 0 ? "twin1" : "twin2"),
                                                .key = span_text("work"),
                                                .state = span_text("no token"),
                                                .origins = twin,
                                                .login = span_text("login required"),
                                                .login_reason = span_text("nobody has logged in")});
}

static void answer_lists(int fd, const struct frame *frame)
{
    struct list_builder keys, profiles, processes;
    list_builder_init(&keys, 65536);
    list_builder_init(&profiles, 65536);
    list_builder_init(&processes, 65536);
    add_keys(&keys);
    add_profiles(&profiles);
    list_builder_add(
        &processes, &message_process_info,
        &(struct process_info){.name = span_text("net"), .state = span_text("ready"), .pid = 7, .starts = 1});
    if (frame->operation == OPERATION_STATUS)
        fake_answer(fd, frame, &message_status_answer,
                    &(struct status_answer){.agent = span_text("fake 1"),
                                            .pid = 42,
                                            .uptime = 90061,
                                            .processes = list_builder_list(&processes),
                                            .keys = list_builder_list(&keys),
                                            .profiles = list_builder_list(&profiles)});
    else if (frame->operation == OPERATION_KEYS)
        fake_answer(fd, frame, &message_keys_answer, &(struct keys_answer){.keys = list_builder_list(&keys)});
    else
        fake_answer(fd, frame, &message_profiles_answer,
                    &(struct profiles_answer){.profiles = list_builder_list(&profiles)});
    list_builder_free(&keys);
    list_builder_free(&profiles);
    list_builder_free(&processes);
}

void fake_polite_answer(int fd, const struct frame *frame)
{
    switch (frame->operation) {
    case OPERATION_HELLO:
        fake_answer(fd, frame, &message_hello_answer,
                    &(struct hello_answer){.version = 1, .max_frame = FRAME_MAX, .agent = span_text("fake 1")});
        break;
    case OPERATION_STATUS:
    case OPERATION_KEYS:
    case OPERATION_PROFILES:
        answer_lists(fd, frame);
        break;
    case OPERATION_PROOF:
        answer_proof(fd, frame);
        break;
    case OPERATION_TOKEN:
        answer_token(fd, frame);
        break;
    case OPERATION_AUTHORIZE:
        answer_authorize(fd, frame);
        break;
    case OPERATION_OUTCOME:
        answer_outcome(fd, frame);
        break;
    default:
        if (!fake_more_answer(fd, frame) && !fake_key_answer(fd, frame))
            fake_error(fd, frame->request, STATUS_UNKNOWN_OPERATION, "what?");
    }
}

void fake_polite(struct fake_agent *fake, int fd, int number)
{
    struct buffer b;
    struct frame frame;
    (void)fake;
    (void)number;
    buffer_init(&b, 4 * FRAME_MAX);
    while (fake_read(fd, &b, &frame))
        fake_polite_answer(fd, &frame);
    buffer_free(&b);
}

void fake_once(struct fake_agent *fake, int fd, int number)
{
    struct buffer b;
    struct frame frame;
    if (number > 0) {
        fake_polite(fake, fd, number);
        return;
    }
    if (fake_hello(fd, &b) && fake_read(fd, &b, &frame))
        ((fake_first)(uintptr_t)fake->context)(fd, &frame);
    buffer_free(&b);
}
