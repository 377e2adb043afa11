/*
 * A scripted HTTP/1.1 server on 127.0.0.1 for the tests of libdpop-agent-curl and of `dpop request`: each request
 * gets the next answer of the script (the last one for ever), and is kept for the test to look at.
 */
#ifndef TEST_FAKE_HTTP_H
#define TEST_FAKE_HTTP_H

#include <pthread.h>
#include <stddef.h>

#define FAKE_HTTP_MOST 8
#define FAKE_HTTP_SIZE 200000

struct fake_http {
    const char *const *answers; /* whole answers, NULL-terminated */
    int listener;
    char origin[64]; /* http://127.0.0.1:PORT */
    pthread_t thread;
    char *requests[FAKE_HTTP_MOST]; /* as they came, body included (chunked ones still so) */
    int count;
};

void fake_http_start(struct fake_http *http, const char *const *answers);
void fake_http_stop(struct fake_http *http);

#endif
