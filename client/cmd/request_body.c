/* See request_body.h. */
#include "request_body.h"

#include "failure.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int request_body_open(struct request_body *b, const char *data, struct dpop_error *err)
{
    struct stat st;
    *b = (struct request_body){.fd = -1, .rewindable = true};
    if (data == NULL || data[0] != '@') {
        b->text = data;
        return DPOP_OK;
    }
    const char *path = data + 1;
    int fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
        const char *why = fd >= 0 && S_ISDIR(st.st_mode) ? "is a folder" : strerror(errno);
        if (fd >= 0)
            (void)close(fd);
        return failure_set(err, STATUS_INVALID_ARGUMENT, "name a file that exists and that you may read: -d @FILE",
                           "the body %s cannot be read: %s", path, why);
    }
    b->fd = fd;
    b->start = S_ISREG(st.st_mode) ? lseek(fd, 0, SEEK_CUR) : -1;
    b->rewindable = b->start >= 0;
    b->size = b->rewindable && st.st_size > b->start ? st.st_size - b->start : 0;
    return DPOP_OK;
}

void request_body_close(struct request_body *b)
{
    if (b->fd >= 0)
        (void)close(b->fd);
    b->fd = -1;
}

bool request_body_present(const struct request_body *b)
{
    return b->text != NULL || b->fd >= 0;
}

int request_body_rewind(void *body)
{
    const struct request_body *b = body;
    if (b->fd < 0)
        return 0;
    return b->rewindable && lseek(b->fd, b->start, SEEK_SET) == b->start ? 0 : -1;
}

static size_t on_read(char *out, size_t one, size_t len, void *user)
{
    const struct request_body *b = user;
    ssize_t n;
    do
        n = read(b->fd, out, one * len);
    while (n < 0 && errno == EINTR);
    return n >= 0 ? (size_t)n : CURL_READFUNC_ABORT;
}

/* libcurl rewinds by itself when a kept connection turns out to be dead before the request was taken. */
static int on_seek(void *user, curl_off_t offset, int origin)
{
    const struct request_body *b = user;
    if (!b->rewindable || origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    return lseek(b->fd, b->start + offset, SEEK_SET) >= 0 ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

CURLcode request_body_apply(struct request_body *b, CURL *easy)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_off_t size = b->fd < 0 ? (curl_off_t)strlen(b->text != NULL ? b->text : "") : b->rewindable ? b->size : -1;
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, size);
    if (b->fd < 0)
        return code == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_POSTFIELDS, b->text != NULL ? b->text : "") : code;
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_READDATA, b);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SEEKDATA, b);
    return code;
}
