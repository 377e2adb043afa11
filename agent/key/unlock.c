/* See unlock.h. */
#include "unlock.h"

#include "seal_pin.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOM (LIMIT_PIN + 2) /* a newline, and one byte that shows that it is too long */
#define NEXT "dpop unlock asks for the PIN and passes it on"

void unlock_init(struct unlock *u)
{
    *u = (struct unlock){.fd = -1};
}

void unlock_free(struct unlock *u)
{
    if (u->fd >= 0)
        (void)close(u->fd);
    secret_free(u->text);
    unlock_init(u);
}

static enum status check_descriptor(int fd, struct error *err)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return error_set(err, STATUS_MALFORMED, NEXT, "no descriptor with the PIN came");
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return error_set(err, STATUS_INVALID_ARGUMENT, NEXT, "the PIN comes from neither a pipe nor a file");
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_WRONLY || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, NEXT, "the PIN's descriptor cannot be read");
    return STATUS_OK;
}

void unlock_begin(struct unlock *u, const struct pin_source *source, struct channel *channel, const struct frame *frame,
                  int64_t now)
{
    static const uint8_t room[ROOM];
    struct error err;
    int fd = channel_take_descriptor(channel);
    enum status status = check_descriptor(fd, &err);
    struct secret *text = NULL;
    if (status == STATUS_OK && u->fd >= 0)
        status = error_set(&err, STATUS_BUSY, "try again", "another PIN is being read");
    if (status == STATUS_OK && source->token_id[0] == '\0')
        status = error_set(&err, STATUS_INVALID_ARGUMENT, NULL, "the token of key \"%s\" needs no PIN",
                           source->key_name);
    if (status == STATUS_OK && (source->pin_key == NULL || (text = secret_new(span_of(room, sizeof(room)))) == NULL))
        status = error_set(&err, STATUS_INTERNAL, NULL, "a PIN cannot be kept");
    if (status != STATUS_OK) {
        messages_put_error(&channel->out, frame->request, &err);
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    *u = (struct unlock){.fd = fd, .request = frame->request, .text = text,
                         .deadline = now + UNLOCK_SECONDS * INT64_C(1000000000)};
}

/* 1: it has ended, 0: more is to come, -1: an error. */
static int read_some(struct unlock *u, struct error *err)
{
    for (;;) {
        ssize_t n = read(u->fd, u->text->data + u->len, ROOM - u->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0) {
            (void)error_set(err, STATUS_INVALID_ARGUMENT, NEXT, "the PIN cannot be read: %s", strerror(errno));
            return -1;
        }
        if (n == 0)
            return 1;
        u->len += (size_t)n;
        if (u->len == ROOM) {
            (void)error_set(err, STATUS_INVALID_ARGUMENT, NEXT, "the PIN is longer than %d bytes", LIMIT_PIN);
            return -1;
        }
    }
}

static enum status seal(const struct unlock *u, struct pin_source *source, struct channel *channel, struct error *err)
{
    uint8_t sealed[SEALED_PIN_MAX];
    size_t sealed_len, len = u->len > 0 && u->text->data[u->len - 1] == '\n' ? u->len - 1 : u->len;
    if (len == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, NEXT, "the PIN is empty");
    if (len > LIMIT_PIN)
        return error_set(err, STATUS_INVALID_ARGUMENT, NEXT, "the PIN is longer than %d bytes", LIMIT_PIN);
    struct secret *pin = secret_new(span_of(u->text->data, len));
    if (pin == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    enum status status = pin_forgive(source, channel, pin, err);
    if (status == STATUS_OK && seal_pin(source->pin_key, span_text(source->token_id), pin, sealed, &sealed_len) != 0)
        status = error_set(err, STATUS_INTERNAL, NULL, "the PIN cannot be sealed");
    secret_free(pin);
    if (status == STATUS_OK) {
        struct sealed_pin answer = {.sealed = span_of(sealed, sealed_len)};
        message_put_frame(&channel->out, INTERNAL_UNLOCK | OPERATION_ANSWER, u->request, &message_sealed_pin, &answer);
    }
    return status;
}

bool unlock_run(struct unlock *u, struct pin_source *source, struct channel *channel, int64_t now)
{
    struct error err;
    enum status status = STATUS_OK;
    if (u->fd < 0)
        return false;
    int r = read_some(u, &err);
    if (r == 0 && now < u->deadline)
        return false;
    if (r == 0)
        status = error_set(&err, STATUS_TIMEOUT, NEXT, "the PIN did not come within %d seconds", UNLOCK_SECONDS);
    else
        status = r < 0 ? err.status : seal(u, source, channel, &err);
    if (status != STATUS_OK)
        messages_put_error(&channel->out, u->request, &err);
    unlock_free(u);
    return status == STATUS_OK;
}
