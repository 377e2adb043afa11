/* See init_world.h. */
#include "init_world.h"

#include "messages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

int init_world_set_up(void **state)
{
    struct init_world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    softhsm_open(&w->hsm);
    softhsm_path(&w->hsm, "state", w->state);
    softhsm_path(&w->hsm, "etc/agent.conf", w->configuration);
    softhsm_path(&w->hsm, "log", w->log);
    w->config.agent.state_folder = w->state;
    *state = w;
    return 0;
}

int init_world_tear_down(void **state)
{
    struct init_world *w = *state;
    softhsm_close(&w->hsm);
    free(w);
    return 0;
}

/* The frame, and with it the reading end of a pipe that holds the PIN. */
static void send_with_pin(int fd, struct span frame, const char *pin)
{
    int ends[2];
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } ancillary = {.bytes = {0}};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)frame.data, .iov_len = frame.len};
    struct msghdr header = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof(ancillary.bytes)};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], pin, strlen(pin)), strlen(pin));
    assert_int_equal(close(ends[1]), 0);
    struct cmsghdr *m = CMSG_FIRSTHDR(&header);
    m->cmsg_level = SOL_SOCKET;
    m->cmsg_type = SCM_RIGHTS;
    m->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(m), &ends[0], sizeof(int));
    assert_int_equal(sendmsg(fd, &header, 0), frame.len);
    assert_int_equal(close(ends[0]), 0);
}

static void copy(struct span text, char *out, size_t size)
{
    assert_int_equal(span_copy(text.data != NULL ? text : span_text(""), out, size), 0);
}

enum status init_world_run(struct init_world *w, const struct init_request *request, const char *pin)
{
    struct init_answer answer;
    struct key_child c;
    struct frame frame;
    enum status status;
    init_child_start(&c, &w->config, w->configuration, w->log);
    message_put_frame(&c.channel.out, INTERNAL_INIT, 5, &message_init_request, request);
    if (pin != NULL)
        send_with_pin(c.channel.fd, buffer_span(&c.channel.out), pin);
    else
        assert_int_equal(channel_flush(&c.channel), 0);
    assert_int_equal(channel_read(&c.channel, &frame), 1);
    assert_int_equal(frame.request, 5);
    if (frame.operation == OPERATION_ERROR) {
        assert_int_equal(messages_take_error(frame.fields, &w->error), STATUS_OK);
        status = w->error.status;
    } else {
        assert_int_equal(frame.operation, INTERNAL_INIT | OPERATION_ANSWER);
        status = message_take(frame.fields, &message_init_answer, &answer, sizeof(answer), &w->error);
        assert_int_equal(status, STATUS_OK);
        copy(answer.uri, w->uri, sizeof(w->uri));
        copy(answer.jkt, w->jkt, sizeof(w->jkt));
        copy(answer.pin_file, w->pin_file, sizeof(w->pin_file));
        copy(answer.reason, w->reason, sizeof(w->reason));
        copy(answer.model, w->model, sizeof(w->model));
        assert_true(span_is(answer.configuration, w->configuration));
    }
    assert_int_equal(key_child_end(&c, false), status == STATUS_OK ? 0 : 1);
    return status;
}
