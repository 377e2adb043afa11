/*
 * The net process: HTTP transfers with authorization servers for the front, many at once, on one libcurl multi handle,
 * and the listeners for users' browsers (redirect_listener.h).
 *
 * The loop waits for the servers' sockets, the browsers' and the channel together. Each INTERNAL_FETCH becomes a
 * transfer; when libcurl is done with it, its answer or error goes back under the request's number, in whatever order
 * they come. A server that never answers costs its own transfer its own time-out and nobody anything else. Reading the
 * channel never waits, since it is only read when something is there; writing may, and the front always reads. When the
 * channel ends nobody waits for anything any more: the process ends at once.
 */
#include "net.h"
#include "redirect_listener.h"
#include "reply.h"
#include "role.h"
#include "transfer.h"
#include "wiping_heap.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
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
    struct tls_client *tls; /* NULL: none */
    struct buffer waiting;  /* frames that came while `tls` waited for something else */
    bool ending, released;  /* `tls` is broken: the front knows; and sends nothing more */
    struct redirect_listeners *redirects;
};

/* Milliseconds, suspend included. */
static uint64_t now_of_boot(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void keep_frame(void *context, const struct frame *frame)
{
    struct net *n = context;
    size_t begin = frame_begin(&n->waiting, frame->operation, frame->request);
    buffer_put(&n->waiting, frame->fields.data, frame->fields.len);
    frame_end(&n->waiting, begin);
}

/* A client certificate goes with what authenticates. Nothing of `fetch` is used after this: the channel may be read. */
static enum status add_certificate(struct net *n, struct transfer *x, bool authenticate, struct error *err)
{
    if (!authenticate || x->what.profile == NULL || !config_has_tls_client(x->what.profile))
        return STATUS_OK;
    if (n->tls == NULL)
        return error_set(err, STATUS_INTERNAL, NULL, "%s: this process has no client certificate", x->what.label);
    return tls_client_use(n->tls, x, keep_frame, n, err);
}

static enum status start_transfer(struct net *n, uint32_t request, const struct fetch_request *fetch, struct error *err)
{
    struct transfer *x;

    if (n->running >= TRANSFERS_MAX)
        return error_set(err, STATUS_BUSY, "try again in a moment", "%d transfers with servers are under way already",
                         TRANSFERS_MAX);
    if (n->tls != NULL && n->tls->broken) {
        *err = n->tls->why;
        return err->status;
    }
    enum status status = transfer_new(n->config, request, fetch, &x, err);
    if (status != STATUS_OK)
        return status;
    status = add_certificate(n, x, fetch->authenticate, err);
    if (status != STATUS_OK) {
        transfer_free(x);
        return status;
    }
    if (curl_multi_add_handle(n->multi, x->easy) != CURLM_OK) {
        transfer_free(x);
        return error_set(err, STATUS_NO_MEMORY, NULL, "libcurl does not take another transfer");
    }
    n->running++;
    return STATUS_OK;
}

/* Before anything was sent. */
static void refuse(struct net *n, uint32_t request, const struct error *err)
{
    char trace[sizeof(err->message) + 32];
    int len = snprintf(trace, sizeof(trace), "not sent: %s\n", err->message);
    reply_put_failure(&n->channel->out, request, err, false, span_of(trace, len > 0 ? (size_t)len : 0));
}

/* A failure of the transfer is an answer; OPERATION_ERROR is for what cannot be read. */
static void start(struct net *n, const struct frame *frame)
{
    struct fetch_request fetch;
    struct error err;

    if (redirect_listener_knows(frame->operation)) {
        redirect_listener_serve(n->redirects, frame, now_of_boot(), &n->channel->out);
        return;
    }
    if (frame->operation == (INTERNAL_ENDING | OPERATION_ANSWER)) {
        n->released = true;
        return;
    }
    if (frame->operation != INTERNAL_FETCH)
        (void)error_set(&err, STATUS_UNKNOWN_OPERATION, NULL, "the net process does not know operation %u",
                        frame->operation);
    else if (message_take(frame->fields, &message_fetch_request, &fetch, sizeof(fetch), &err) == STATUS_OK) {
        if (start_transfer(n, frame->request, &fetch, &err) != STATUS_OK)
            refuse(n, frame->request, &err);
        return;
    }
    messages_put_error(&n->channel->out, frame->request, &err);
}

/* What came while the token was being opened: it is open now, or broken, so nothing more comes. */
static int start_waiting(struct net *n)
{
    struct frame frame;
    size_t size;
    while (n->waiting.len > 0) {
        if (frame_take(buffer_span(&n->waiting), INTERNAL_FRAME_MAX, &frame, &size) != FRAME_COMPLETE)
            return -1;
        start(n, &frame);
        buffer_consume(&n->waiting, size);
        if (channel_flush(n->channel) != 0)
            return -1;
    }
    return n->waiting.failed ? -1 : 0;
}

/* Starts what the front has sent. 1: go on, 0: the front is gone, -1: an error. */
static int read_requests(struct net *n)
{
    struct frame frame;
    int r = channel_fill(n->channel);
    if (r <= 0)
        return r;
    while ((r = channel_take(n->channel, &frame)) > 0) {
        start(n, &frame);
        if (channel_flush(n->channel) != 0 || start_waiting(n) != 0)
            return -1;
    }
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

/* The token failed. What the front sent before it knew is refused (start_transfer), and nothing comes after its answer.
 * 1: not yet, 0: end, -1: an error. */
static int end_when_released(struct net *n)
{
    if (!n->ending)
        message_put_frame(&n->channel->out, INTERNAL_ENDING, 0, &message_empty, &(struct empty_message){false});
    n->ending = true;
    if (channel_flush(n->channel) != 0)
        return -1;
    return n->released && n->running == 0 ? 0 : 1;
}

static int step(struct net *n)
{
    struct curl_waitfd fds[1 + REDIRECT_WATCH_MAX] = {{.fd = n->channel->fd, .events = CURL_WAIT_POLLIN}};
    int running, timeout = POLL_MILLISECONDS;
    if (curl_multi_perform(n->multi, &running) != CURLM_OK)
        return -1;
    int r = answer_finished(n);
    if (r <= 0)
        return r;
    if (n->tls != NULL && n->tls->broken && (r = end_when_released(n)) <= 0)
        return r;
    size_t watched = redirect_listener_watch(n->redirects, fds + 1, now_of_boot(), &timeout);
    if (curl_multi_poll(n->multi, fds, (unsigned int)(1 + watched), timeout, NULL) != CURLM_OK)
        return -1;
    redirect_listener_step(n->redirects, now_of_boot(), &n->channel->out);
    if (channel_flush(n->channel) != 0)
        return -1;
    return fds[0].revents != 0 ? read_requests(n) : 1;
}

/* Memory that passes through the libraries is wiped when it is freed. */
static int install_heap(void)
{
    return wiping_heap_install() == 0 && curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiping_heap_malloc, wiping_heap_free,
                                                              wiping_heap_realloc, wiping_heap_strdup,
                                                              wiping_heap_calloc) == CURLE_OK
               ? 0
               : -1;
}

static int open_all(struct net *n)
{
    int flags = fcntl(n->channel->fd, F_GETFL);
    buffer_init(&n->waiting, 4 * (size_t)INTERNAL_FRAME_MAX);
    return sodium_init() < 0 || install_heap() != 0 || (n->multi = curl_multi_init()) == NULL ||
                   (n->redirects = redirect_listener_new()) == NULL ||
                   curl_multi_setopt(n->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS_MAX) != CURLM_OK ||
                   fcntl(n->channel->fd, F_SETFL, flags | O_NONBLOCK) != 0
               ? -1
               : 0;
}

int net_serve(const struct config *config, struct channel *channel, struct tls_client *tls)
{
    struct net n = {.config = config, .channel = channel, .tls = tls};
    int r = 1;

    if (open_all(&n) != 0) {
        log_error("libcurl, OpenSSL and jansson cannot be set up");
        return 1;
    }
    while (r > 0)
        r = step(&n);
    if (n.running > 0) {
        if (tls != NULL)
            tls->close(tls);
        _exit(r == 0 ? 0 : 1); /* their resolver threads may hang */
    }
    redirect_listener_free(n.redirects);
    (void)curl_multi_cleanup(n.multi);
    if (tls != NULL)
        tls->close(tls);
    curl_global_cleanup();
    buffer_free(&n.waiting);
    return r == 0 ? 0 : 1;
}

int net_main(const struct config *config, struct channel *channel)
{
    return net_serve(config, channel, NULL);
}
