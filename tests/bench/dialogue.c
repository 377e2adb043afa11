/* See dialogue.h. */
#include "dialogue.h"

#include "messages.h"
#include "samples.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_SIZE 16384
#define PROFILE "bench"
#define ATH "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"                /* RFC 9449 section 7.1 */
#define NONCE "eyJ7S_zG.eyJH0-Z.HX4w-7v-eyJ7S_zG.eyJH0-Z.HX4w-7v"       /* RFC 9449 section 8, twice: a usual length */
#define URL "https://api.example/v1/accounts/4711/transactions?page=2"
#define SSH_AGENTC_REQUEST_IDENTITIES 11 /* draft-ietf-sshm-ssh-agent, section "Message numbers" */
#define SSH_AGENT_IDENTITIES_ANSWER 12
#define SSH_AGENTC_SIGN_REQUEST 13
#define SSH_AGENT_SIGN_RESPONSE 14
#define SSH_DATA_SIZE 64

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (strlen(path) >= sizeof(address.sun_path))
        die("%s: the path is too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path));
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        die("cannot connect to %s: %s", path, strerror(errno));
    return fd;
}

static void say(int fd, struct span bytes)
{
    if (send(fd, bytes.data, bytes.len, MSG_NOSIGNAL) != (ssize_t)bytes.len)
        die("cannot send: %s", strerror(errno));
}

/* Reads until `in` begins with a whole frame, and gives the frame's size. */
static size_t hear(int fd, struct buffer *in)
{
    for (;;) {
        struct span bytes = buffer_span(in);
        uint32_t length;
        if (span_take_u32(&bytes, &length) == 0 && bytes.len >= length)
            return 4 + (size_t)length;
        uint8_t *room = buffer_room(in, READ_SIZE);
        ssize_t n = room != NULL ? recv(fd, room, READ_SIZE, 0) : -1;
        if (n <= 0)
            die("the connection ended");
        buffer_added(in, (size_t)n);
    }
}

static void expect_operation(struct dialogue *d, enum operation operation)
{
    d->expected[0] = (uint8_t)((operation | OPERATION_ANSWER) >> 8);
    d->expected[1] = (uint8_t)operation;
    d->expected_len = 2;
}

static void open_agent(struct dialogue *d, enum operation operation, const struct message *m, const void *in)
{
    const struct hello_request hello = {PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_MAX, span_text("bench")};
    message_put_frame(&d->greeting, OPERATION_HELLO, 1, &message_hello_request, &hello);
    message_put_frame(&d->request, (uint16_t)operation, 2, m, in);
    expect_operation(d, operation);
}

static void put_string(struct buffer *b, struct span s)
{
    buffer_put_u32(b, (uint32_t)s.len);
    buffer_put(b, s.data, s.len);
}

static int take_string(struct span *in, struct span *out)
{
    struct span rest = *in;
    uint32_t length;
    if (span_take_u32(&rest, &length) != 0 || span_take(&rest, length, out) != 0)
        return -1;
    *in = rest;
    return 0;
}

/* The first ECDSA key of the agent's list: uint32 length, byte 12, uint32 count, (string key, string comment) each. */
static struct span find_ssh_key(struct span answer)
{
    struct span head, key, comment, type;
    uint32_t count;
    if (span_take(&answer, 5, &head) != 0 || head.data[4] != SSH_AGENT_IDENTITIES_ANSWER ||
        span_take_u32(&answer, &count) != 0)
        die("the ssh-agent does not list its keys");
    while (count-- > 0 && take_string(&answer, &key) == 0 && take_string(&answer, &comment) == 0) {
        struct span inside = key;
        if (take_string(&inside, &type) == 0 && span_is(type, "ecdsa-sha2-nistp256"))
            return key;
    }
    die("the ssh-agent has no ecdsa-sha2-nistp256 key");
}

static void open_ssh(struct dialogue *d, const char *socket_path)
{
    static const uint8_t data[SSH_DATA_SIZE] = "what a client wants to have signed";
    const uint8_t list[] = {0, 0, 0, 1, SSH_AGENTC_REQUEST_IDENTITIES};
    const uint8_t operation = SSH_AGENTC_SIGN_REQUEST;
    struct buffer in;
    buffer_init(&in, ANSWER_MAX);
    int fd = connect_to(socket_path);
    say(fd, span_of(list, sizeof(list)));
    struct span key = find_ssh_key(span_of(in.data, hear(fd, &in)));
    buffer_put_u32(&d->request, (uint32_t)(1 + 4 + key.len + 4 + sizeof(data) + 4));
    buffer_put(&d->request, &operation, 1);
    put_string(&d->request, key);
    put_string(&d->request, span_of(data, sizeof(data)));
    buffer_put_u32(&d->request, 0); /* flags */
    d->expected[0] = SSH_AGENT_SIGN_RESPONSE;
    d->expected_len = 1;
    (void)close(fd);
    buffer_free(&in);
}

/* See echo.c: the body begins with the size of the whole answer. */
static void open_echo(struct dialogue *d, const size_t sizes[2])
{
    if (sizes[0] < 8 || sizes[0] > READ_SIZE || sizes[1] < 4)
        die("echo: sizes of at least 8 and 4 bytes");
    buffer_put_u32(&d->request, (uint32_t)(sizes[0] - 4));
    buffer_put_u32(&d->request, (uint32_t)sizes[1]);
    uint8_t *rest = buffer_room(&d->request, sizes[0] - 8);
    if (rest == NULL)
        die("out of memory");
    memset(rest, 'e', sizes[0] - 8);
    buffer_added(&d->request, sizes[0] - 8);
}

void dialogue_open(struct dialogue *d, const char *kind, const char *socket_path, const size_t sizes[2])
{
    *d = (struct dialogue){0};
    buffer_init(&d->greeting, READ_SIZE);
    buffer_init(&d->request, READ_SIZE);
    if (strcmp(kind, "proof") == 0)
        open_agent(d, OPERATION_PROOF, &message_proof_request,
                   &(struct proof_request){.profile = span_text(PROFILE),
                                           .htm = span_text("POST"),
                                           .htu = span_text(URL),
                                           .nonce = span_text(NONCE),
                                           .ath = span_text(ATH)});
    else if (strcmp(kind, "token") == 0)
        open_agent(d, OPERATION_TOKEN, &message_token_request, &(struct token_request){.profile = span_text(PROFILE)});
    else if (strcmp(kind, "ssh") == 0)
        open_ssh(d, socket_path);
    else if (strcmp(kind, "echo") == 0)
        open_echo(d, sizes);
    else
        die("there is no dialogue \"%s\"", kind);
    if (d->greeting.failed || d->request.failed)
        die("out of memory");
}

void dialogue_close(struct dialogue *d)
{
    buffer_free(&d->greeting);
    buffer_free(&d->request);
}

int dialogue_connect(const struct dialogue *d, const char *socket_path)
{
    int fd = connect_to(socket_path);
    struct buffer in;
    if (d->greeting.len == 0)
        return fd;
    buffer_init(&in, ANSWER_MAX);
    say(fd, buffer_span(&d->greeting));
    (void)hear(fd, &in);
    buffer_free(&in);
    return fd;
}

/* Of an agent's error frame the message is worth showing. */
static void wrong_answer(struct span frame)
{
    struct frame f;
    struct error err;
    size_t size;
    if (frame_take(frame, ANSWER_MAX, &f, &size) == FRAME_COMPLETE && f.operation == OPERATION_ERROR &&
        messages_take_error(f.fields, &err) == STATUS_OK)
        die("the agent answers: %s; %s", err.message, err.next);
    die("not the answer that was expected (its body begins with byte %u)", frame.len > 4 ? frame.data[4] : 0U);
}

size_t dialogue_answer(const struct dialogue *d, struct span in)
{
    struct span rest = in;
    uint32_t length;
    if (span_take_u32(&rest, &length) != 0 || rest.len < length)
        return 0;
    if (length < d->expected_len || memcmp(rest.data, d->expected, d->expected_len) != 0)
        wrong_answer(span_of(in.data, 4 + (size_t)length));
    return 4 + (size_t)length;
}

size_t dialogue_ask(const struct dialogue *d, int fd, struct buffer *in)
{
    say(fd, buffer_span(&d->request));
    size_t size = hear(fd, in);
    (void)dialogue_answer(d, span_of(in->data, size));
    return size;
}
