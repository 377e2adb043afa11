/*
 * latency SOCKET KIND NAME COUNT: sends COUNT requests one after another on one open connection to the agent and prints
 * how long their answers took, in microseconds, as one line of JSON:
 *
 *     {"count": 5000, "errors": 0, "p50": 31.2, "p99": 80.9, "max": 412.0}
 *
 * KIND is "status", "token" or "proof"; NAME is the token's profile or the proof's key, and is not looked at for a
 * status. An error answer is counted and timed like any other. In C because the pauses of a collecting runtime would
 * be most of a p99.
 */
#include "messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define COUNT_MAX 1000000
#define READ_SIZE 65536

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || span_copy(span_text(path), address.sun_path, sizeof(address.sun_path)) != 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        return -1;
    return fd;
}

/* Sends what `out` holds and waits for one frame: its operation, or -1. */
static int ask(int fd, struct buffer *out, struct buffer *in)
{
    struct frame frame;
    size_t size;
    while (out->len > 0) {
        struct span rest = buffer_span(out);
        ssize_t n = send(fd, rest.data, rest.len, MSG_NOSIGNAL);
        if (n <= 0)
            return -1;
        buffer_consume(out, (size_t)n);
    }
    for (;;) {
        enum frame_result r = frame_take(buffer_span(in), FRAME_MAX, &frame, &size);
        if (r == FRAME_COMPLETE) {
            buffer_consume(in, size);
            return frame.operation;
        }
        uint8_t *room = r == FRAME_INCOMPLETE ? buffer_room(in, READ_SIZE) : NULL;
        ssize_t n = room != NULL ? recv(fd, room, READ_SIZE, 0) : -1;
        if (n <= 0)
            return -1;
        buffer_added(in, (size_t)n);
    }
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void put_request(struct buffer *out, const char *kind, const char *name, uint32_t id)
{
    const struct token_request token = {.profile = span_text(name)};
    const struct proof_request proof = {
        .key = span_text(name), .htm = span_text("GET"), .htu = span_text("https://api.invalid/")};
    if (strcmp(kind, "token") == 0)
        message_put_frame(out, OPERATION_TOKEN, id, &message_token_request, &token);
    else if (strcmp(kind, "proof") == 0)
        message_put_frame(out, OPERATION_PROOF, id, &message_proof_request, &proof);
    else
        message_put_frame(out, OPERATION_STATUS, id, &message_empty, &(struct empty_message){false});
}

static int measure(int fd, const char *kind, const char *name, size_t count, double *times, size_t *errors)
{
    struct buffer out, in;
    struct hello_request hello = {.version_min = PROTOCOL_VERSION_MIN, .version_max = PROTOCOL_VERSION_MAX};
    int result = -1;
    buffer_init(&out, FRAME_MAX);
    buffer_init(&in, FRAME_MAX + READ_SIZE);
    message_put_frame(&out, OPERATION_HELLO, 0, &message_hello_request, &hello);
    if (ask(fd, &out, &in) != (OPERATION_HELLO | OPERATION_ANSWER))
        goto out;
    for (size_t i = 0; i < count; i++) {
        double begun = now();
        put_request(&out, kind, name, (uint32_t)i);
        int operation = ask(fd, &out, &in);
        if (operation < 0)
            goto out;
        times[i] = now() - begun;
        *errors += operation == OPERATION_ERROR;
    }
    result = 0;
out:
    buffer_free(&out);
    buffer_free(&in);
    return result;
}

int main(int argc, char **argv)
{
    size_t count = argc == 5 ? strtoul(argv[4], NULL, 10) : 0, errors = 0;
    double *times = count > 0 && count <= COUNT_MAX ? calloc(count, sizeof(*times)) : NULL;
    if (times == NULL ||
        (strcmp(argv[2], "token") != 0 && strcmp(argv[2], "proof") != 0 && strcmp(argv[2], "status") != 0)) {
        (void)fputs("usage: latency SOCKET status|token|proof NAME COUNT\n", stderr);
        free(times);
        return 2;
    }
    int fd = connect_to(argv[1]);
    int result = fd < 0 ? -1 : measure(fd, argv[2], argv[3], count, times, &errors);
    if (result == 0) {
        qsort(times, count, sizeof(*times), compare);
        (void)printf("{\"count\": %zu, \"errors\": %zu, \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}\n", count, errors,
                     times[count / 2], times[count - 1 - count / 100], times[count - 1]);
    } else {
        perror(argv[1]);
    }
    free(times);
    return result == 0 ? 0 : 1;
}
