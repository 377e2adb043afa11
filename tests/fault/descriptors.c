/*
 * descriptors SOCKET KIND COUNT: a client that sends descriptors (SCM_RIGHTS) as no good client does, COUNT times.
 *
 *     operations  two pipes with a frame of every operation and of unknown ones; every answer is awaited
 *     many        253 pipes with one frame, the most that one message may carry
 *     bytes       two pipes with each byte of a frame
 *     half        two pipes with half a frame, and then the end of the connection
 *     unread      two pipes with each of many frames, and the end of the connection before any answer is read
 *     early       two pipes with a frame that comes before hello
 *
 * It ends with 0 when it has sent everything, whatever came back. What the agent does is for the test to see.
 */
#include "buffer.h"
#include "frame.h"
#include "messages.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MANY 253 /* SCM_MAX_FD */
#define OPERATIONS 40
#define PATIENCE 10000 /* milliseconds for an answer */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (strlen(path) >= sizeof(address.sun_path) || fd < 0)
        die("socket");
    (void)strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("connect");
    return fd;
}

/* The agent may have closed the connection: that is its right. */
static void send_with(int fd, const void *data, size_t len, const int *descriptors, size_t count)
{
    union {
        char bytes[CMSG_SPACE(MANY * sizeof(int))];
        struct cmsghdr align;
    } ancillary = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count > 0) {
        header.msg_control = ancillary.bytes;
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), descriptors, count * sizeof(int));
    }
    (void)sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Pipes that never bring anything: the writing ends stay here until close_all(). */
struct pipes {
    int reading[MANY], writing[MANY];
    size_t count;
};

static void make_pipes(struct pipes *p, size_t count)
{
    int ends[2];
    for (p->count = 0; p->count < count; p->count++) {
        if (pipe2(ends, O_CLOEXEC) != 0)
            die("pipe");
        p->reading[p->count] = ends[0];
        p->writing[p->count] = ends[1];
    }
}

static void close_all(struct pipes *p)
{
    while (p->count > 0) {
        p->count--;
        (void)close(p->reading[p->count]);
        (void)close(p->writing[p->count]);
    }
}

static void put_frame(struct buffer *b, uint16_t operation, struct span fields)
{
    buffer_init(b, FRAME_MAX);
    size_t start = frame_begin(b, operation, 7);
    buffer_put(b, fields.data, fields.len);
    frame_end(b, start);
}

static void say_hello(int fd)
{
    struct buffer b;
    buffer_init(&b, FRAME_MAX);
    struct hello_request hello = {.version_min = 1, .version_max = 1};
    message_put_frame(&b, OPERATION_HELLO, 1, &message_hello_request, &hello);
    send_with(fd, buffer_span(&b).data, buffer_span(&b).len, NULL, 0);
    buffer_free(&b);
}

static void await_answer(int fd)
{
    char room[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, PATIENCE) > 0)
        (void)recv(fd, room, sizeof(room), MSG_DONTWAIT);
}

/* --- the kinds --- */

static void put_fields(struct buffer *fields, uint16_t operation)
{
    struct unlock_request unlock = {.timeout = 300};
    struct key_import_request import = {.name = span_text("imported"), .password = true, .timeout = 300};
    buffer_init(fields, FRAME_MAX);
    if (operation == OPERATION_UNLOCK)
        message_put(fields, &message_unlock_request, &unlock);
    else if (operation == OPERATION_KEY_IMPORT)
        message_put(fields, &message_key_import_request, &import);
    else if (operation > OPERATION_PROFILES) /* of those with more in them no other does something with this */
        buffer_put(fields, "nonsense", strlen("nonsense"));
}

static void operations(const char *path, const struct pipes *p)
{
    struct buffer b, fields;
    int fd = connect_to(path);
    say_hello(fd);
    await_answer(fd);
    for (uint16_t operation = 0; operation < OPERATIONS; operation++) {
        put_fields(&fields, operation);
        put_frame(&b, operation, buffer_span(&fields));
        send_with(fd, buffer_span(&b).data, buffer_span(&b).len, p->reading, 2);
        buffer_free(&b);
        buffer_free(&fields);
        await_answer(fd);
    }
    (void)close(fd);
}

static void frames(const char *path, const struct pipes *p, size_t count, bool hello, unsigned int times)
{
    struct buffer b;
    int fd = connect_to(path);
    if (hello)
        say_hello(fd);
    put_frame(&b, OPERATION_STATUS, span_of("", 0));
    while (times-- > 0)
        send_with(fd, buffer_span(&b).data, buffer_span(&b).len, p->reading, count);
    buffer_free(&b);
    if (count == p->count || !hello)
        await_answer(fd);
    (void)close(fd);
}

static void parts(const char *path, const struct pipes *p, bool whole)
{
    struct buffer b;
    int fd = connect_to(path);
    say_hello(fd);
    await_answer(fd);
    put_frame(&b, OPERATION_STATUS, span_of("", 0));
    struct span bytes = buffer_span(&b);
    for (size_t i = 0; i < (whole ? bytes.len : bytes.len / 2); i++)
        send_with(fd, bytes.data + i, 1, p->reading, 2);
    if (whole)
        await_answer(fd);
    buffer_free(&b);
    (void)close(fd);
}

int main(int argc, char **argv)
{
    struct pipes p = {.count = 0};
    if (argc != 4)
        return 2;
    const char *path = argv[1], *kind = argv[2];
    for (long left = strtol(argv[3], NULL, 10); left > 0; left--) {
        make_pipes(&p, strcmp(kind, "many") == 0 ? MANY : 2);
        if (strcmp(kind, "operations") == 0)
            operations(path, &p);
        else if (strcmp(kind, "many") == 0)
            frames(path, &p, MANY, true, 1);
        else if (strcmp(kind, "bytes") == 0 || strcmp(kind, "half") == 0)
            parts(path, &p, kind[0] == 'b');
        else if (strcmp(kind, "unread") == 0)
            frames(path, &p, 1, true, 100);
        else if (strcmp(kind, "early") == 0)
            frames(path, &p, 2, false, 1);
        else
            return 2;
        close_all(&p);
    }
    return 0;
}
