/* See fake_http.h. */
#include "fake_http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* Is the request whole: its head, and as much of a body as that says? */
static bool whole(const char *request, size_t len)
{
    const char *head_end = strstr(request, "\r\n\r\n");
    if (head_end == NULL)
        return false;
    const char *length = strcasestr(request, "\r\nContent-Length:");
    size_t body = len - (size_t)(head_end + 4 - request);
    if (length != NULL && length < head_end)
        return body >= strtoul(length + 17, NULL, 10);
    if (strcasestr(request, "Transfer-Encoding: chunked") != NULL)
        return strstr(head_end, "\r\n0\r\n\r\n") != NULL || strstr(head_end, "\r\n\r\n0\r\n\r\n") != NULL;
    return true;
}

static void *serve(void *arg)
{
    struct fake_http *http = arg;
    for (int fd; (fd = accept4(http->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; (void)close(fd)) {
        char *request = calloc(1, FAKE_HTTP_SIZE);
        size_t len = 0;
        bool continued = false;
        for (ssize_t n; request != NULL && !whole(request, len) && len < FAKE_HTTP_SIZE - 1;) {
            if ((n = recv(fd, request + len, FAKE_HTTP_SIZE - 1 - len, 0)) <= 0)
                break;
            len += (size_t)n;
            if (!continued && strcasestr(request, "Expect: 100-continue") != NULL &&
                strstr(request, "\r\n\r\n") != NULL) {
                continued = true;
                (void)send(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
            }
        }
        int i = http->count < FAKE_HTTP_MOST ? http->count : FAKE_HTTP_MOST - 1;
        const char *answer = http->answers[0];
        for (int k = 1; k <= i && http->answers[k] != NULL; k++)
            answer = http->answers[k];
        free(http->requests[i]);
        http->requests[i] = request;
        http->count = i + 1;
        (void)send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    }
    return NULL;
}

void fake_http_start(struct fake_http *http, const char *const *answers)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    *http = (struct fake_http){.answers = answers};
    http->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(http->listener, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(http->listener, 16) != 0 || getsockname(http->listener, (struct sockaddr *)&address, &len) != 0 ||
        pthread_create(&http->thread, NULL, serve, http) != 0) {
        perror("fake_http");
        abort();
    }
    (void)snprintf(http->origin, sizeof(http->origin), "http://127.0.0.1:%u", ntohs(address.sin_port));
}

void fake_http_stop(struct fake_http *http)
{
    (void)shutdown(http->listener, SHUT_RDWR);
    (void)pthread_join(http->thread, NULL);
    (void)close(http->listener);
    for (int i = 0; i < FAKE_HTTP_MOST; i++)
        free(http->requests[i]);
}
