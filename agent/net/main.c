/*
 * The net process: HTTP transfers with authorization servers for the front, many at once, on one libcurl multi handle.
 *
 * The loop waits for the servers' sockets and the channel together. Each INTERNAL_FETCH becomes a transfer; when
 * libcurl is done with it, its answer or error goes back under the request's number, in whatever order they come. A
 * server that never answers costs its own transfer its own time-out and nobody anything else. Reading the channel
 * never waits, since it is only read when something is there; writing may, and the front always reads. When the
 * channel ends nobody waits for anything any more: the process ends at once.
 */
#include "transfer.h"
#include "role.h"
#include "wiping_heap.h"

#include <fcntl.h>
#include <sodium.h>
#include <time.h>
#include <unistd.h>

#define TRANSFERS_MAX 256
#define KEPT_CONNECTIONS_MAX 16L
#define POLL_MILLISECONDS 60000

struct net {
    const struct config *config;
    struct channel *channel;
    CURLM *multi;
    unsigned int running; /* transfers */
};

static int refuse(struct net *n, uint32_t request, const struct error *err)
{
    messages_put_error(&n->channel->out, request, err);
    return channel_flush(n->channel);
}

static enum status start(struct net *n, const struct frame *frame, struct error *err)
{
    struct fetch_request fetch;
    struct transfer *x;

    if (frame->operation != INTERNAL_FETCH)
        return error_set(err, STATUS_UNKNOWN_OPERATION, NULL, "the net process does not know operation %u",
                         frame->operation);
    enum status status = message_take(frame->fields, &message_fetch_request, &fetch, sizeof(fetch), err);
    if (status != STATUS_OK)
        return status;
    if (n->running >= TRANSFERS_MAX)
        return error_set(err, STATUS_BUSY, "try again in a moment", "%d transfers with servers are under way already",
                         TRANSFERS_MAX);
    status = transfer_new(n->config, frame->request, &fetch, &x, err);
    if (status != STATUS_OK)
        return status;
    if (curl_multi_add_handle(n->multi, x->easy) != CURLM_OK) {
        transfer_free(x);
        return error_set(err, STATUS_NO_MEMORY, NULL, "libcurl does not take another transfer");
    }
    n->running++;
    return STATUS_OK;
}

/* Starts what the front has sent. 1: go on, 0: the front is gone, -1: an error. */
static int read_requests(struct net *n)
{
    struct frame frame;
    struct error err;
    int r = channel_fill(n->channel);
    if (r <= 0)
        return r;
    while ((r = channel_take(n->channel, &frame)) > 0)
        if (start(n, &frame, &err) != STATUS_OK && refuse(n, frame.request, &err) != 0)
            return -1;
    return r == 0 ? 1 : -1;
}

static int answer_finished(struct net *n)
{
    const CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(n->multi, &left)) != NULL) {
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result; /* the message does not outlive the handle */
        struct transfer *x = NULL;
        (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&x);
        transfer_answer(x, code, time(NULL), &n->channel->out);
        (void)curl_multi_remove_handle(n->multi, easy);
        transfer_free(x);
        n->running--;
        if (channel_flush(n->channel) != 0)
            return -1;
    }
    return 1;
}

static int step(struct net *n)
{
    struct curl_waitfd channel = {.fd = n->channel->fd, .events = CURL_WAIT_POLLIN};
    int running;
    if (curl_multi_perform(n->multi, &running) != CURLM_OK)
        return -1;
    int r = answer_finished(n);
    if (r <= 0)
        return r;
    if (curl_multi_poll(n->multi, &channel, 1, POLL_MILLISECONDS, NULL) != CURLM_OK)
        return -1;
    return channel.revents != 0 ? read_requests(n) : 1;
}

int net_main(const struct config *config, struct channel *channel)
{
    struct net n = {.config = config, .channel = channel};
    int flags = fcntl(channel->fd, F_GETFL);
    int r = 1;

    if (sodium_init() < 0 || wiping_heap_install() != 0 || (n.multi = curl_multi_init()) == NULL ||
        curl_multi_setopt(n.multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS_MAX) != CURLM_OK ||
        fcntl(channel->fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        log_error("libcurl, OpenSSL and jansson cannot be set up");
        return 1;
    }
    while (r > 0)
        r = step(&n);
    if (n.running > 0)
        _exit(r == 0 ? 0 : 1); /* their resolver threads may hang */
    (void)curl_multi_cleanup(n.multi);
    curl_global_cleanup();
    return r == 0 ? 0 : 1;
}
