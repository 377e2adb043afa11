/* See redirect_listener.h. */
#include "redirect_listener.h"

#include "internal.h"
#include "log.h"
#include "redirect_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FAMILIES 2
#define BACKLOG 16
#define PORT_TRIES 8
#define DRAIN_WAIT 1000 /* for the browser to close its end, so that nothing of the page is lost */

enum state {
    UNUSED,
    READING, /* the request */
    HELD,    /* it was the redirect: the page is not known yet */
    WRITING,
    DRAINING,
};
struct connection {
    enum state state;
    int fd;
    uint64_t deadline;
    struct buffer in, out;
};
struct listener {
    uint32_t number; /* 0: unused */
    int fds[FAMILIES]; /* -1: none */
    uint16_t port;
    char *path;
    uint64_t deadline;
    bool waiting;
    uint32_t request; /* that waits */
    bool came;
    struct buffer query;
    bool closing; /* the front is done with it; connections may still be written to */
    struct connection connections[REDIRECT_CONNECTIONS];
};
struct redirect_listeners {
    uint32_t last_number;
    struct listener items[REDIRECT_LISTENERS];
};

static void connection_close(struct connection *c)
{
    if (c->state == UNUSED)
        return;
    (void)close(c->fd);
    buffer_free(&c->in);
    buffer_free(&c->out);
    c->state = UNUSED;
}

static void stop_listening(struct listener *l)
{
    for (int i = 0; i < FAMILIES; i++) {
        if (l->fds[i] >= 0)
            (void)close(l->fds[i]);
        l->fds[i] = -1;
    }
    for (size_t i = 0; i < REDIRECT_CONNECTIONS; i++)
        if (l->connections[i].state == READING)
            connection_close(&l->connections[i]);
}

static void listener_free(struct listener *l)
{
    stop_listening(l);
    for (size_t i = 0; i < REDIRECT_CONNECTIONS; i++)
        connection_close(&l->connections[i]);
    buffer_free(&l->query);
    free(l->path);
    *l = (struct listener){.fds = {-1, -1}};
}

struct redirect_listeners *redirect_listener_new(void)
{
    struct redirect_listeners *all = calloc(1, sizeof(*all));
    for (size_t i = 0; all != NULL && i < REDIRECT_LISTENERS; i++)
        all->items[i] = (struct listener){.fds = {-1, -1}};
    return all;
}

void redirect_listener_free(struct redirect_listeners *all)
{
    for (size_t i = 0; all != NULL && i < REDIRECT_LISTENERS; i++)
        listener_free(&all->items[i]);
    free(all);
}

/* Listens, or -1 with errno. `*port` 0: an ephemeral one, which it then says. */
static int listen_at(int family, const char *host, uint16_t *port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
    } address = {.any.sa_family = (sa_family_t)family};
    socklen_t size = family == AF_INET6 ? sizeof(address.ipv6) : sizeof(address.ipv4);
    int one = 1;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    void *where = family == AF_INET6 ? (void *)&address.ipv6.sin6_addr : (void *)&address.ipv4.sin_addr;
    *(family == AF_INET6 ? &address.ipv6.sin6_port : &address.ipv4.sin_port) = htons(*port);
    errno = EADDRNOTAVAIL;
    if (inet_pton(family, host, where) == 1 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
        (family == AF_INET || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == 0) &&
        bind(fd, &address.any, size) == 0 && listen(fd, BACKLOG) == 0 &&
        getsockname(fd, &address.any, &size) == 0) {
        *port = ntohs(family == AF_INET6 ? address.ipv6.sin6_port : address.ipv4.sin_port);
        return fd;
    }
    int reason = errno;
    (void)close(fd);
    errno = reason;
    return -1;
}

/*
 * A browser may take `localhost` for either address, so both have to be ours: where another program has one of them it
 * would get the user's code. A machine without IPv6 is well with one.
 */
static int listen_at_both(struct listener *l, uint16_t wanted)
{
    for (int tries = 0; tries < PORT_TRIES; tries++) {
        l->port = wanted;
        l->fds[0] = listen_at(AF_INET, "127.0.0.1", &l->port);
        if (l->fds[0] < 0)
            return -1;
        l->fds[1] = listen_at(AF_INET6, "::1", &l->port);
        if (l->fds[1] >= 0 || errno != EADDRINUSE)
            return 0;
        (void)close(l->fds[0]);
        l->fds[0] = -1;
        errno = EADDRINUSE;
        if (wanted != 0)
            return -1;
    }
    return -1;
}

static int start_listening(struct listener *l, const struct redirect_http_uri *uri)
{
    char host[64];
    if (uri->name)
        return listen_at_both(l, uri->port);
    l->port = uri->port;
    if (span_copy(uri->host, host, sizeof(host)) != 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    l->fds[0] = listen_at(uri->ipv6 ? AF_INET6 : AF_INET, host, &l->port);
    return l->fds[0] >= 0 ? 0 : -1;
}

static struct listener *unused_listener(struct redirect_listeners *all)
{
    for (size_t i = 0; i < REDIRECT_LISTENERS; i++)
        if (all->items[i].number == 0)
            return &all->items[i];
    return NULL;
}

static enum status open_listener(struct redirect_listeners *all, const struct frame *frame, uint64_t now, struct buffer *out,
                                 struct error *err)
{
    struct redirect_open m;
    struct redirect_http_uri uri;
    char actual[LIMIT_URL + 8];
    struct listener *l = unused_listener(all);

    enum status status = message_take(frame->fields, &message_redirect_open, &m, sizeof(m), err);
    if (status == STATUS_OK)
        status = redirect_http_read_uri(m.redirect_uri, &uri, err);
    if (status != STATUS_OK)
        return status;
    if (l == NULL)
        return error_set(err, STATUS_BUSY, "finish or cancel one of them", "%d logins wait for their browsers already",
                         REDIRECT_LISTENERS);
    if (start_listening(l, &uri) != 0)
        return error_set(err, STATUS_CONFIGURATION,
                         uri.port != 0 ? "end the program that uses the port, or give redirect-uri another one"
                                       : "give redirect-uri another loopback address",
                         "profile %.*s: cannot listen for the redirect URI %.*s: %s", (int)m.profile.len,
                         (const char *)m.profile.data, (int)m.redirect_uri.len, (const char *)m.redirect_uri.data,
                         strerror(errno));
    l->path = span_dup(uri.path);
    if (l->path == NULL) {
        listener_free(l);
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    }
    l->number = ++all->last_number;
    l->deadline = now + m.timeout;
    buffer_init(&l->query, REDIRECT_HTTP_QUERY_MAX);
    int n = snprintf(actual, sizeof(actual), "%.*s:%u%.*s", (int)uri.before.len, (const char *)uri.before.data, l->port,
                     (int)uri.behind.len, (const char *)uri.behind.data);
    struct redirect_opened opened = {
        .listener = l->number,
        .redirect_uri = uri.port != 0 ? m.redirect_uri : span_of(actual, n > 0 ? (size_t)n : 0),
    };
    message_put_frame(out, INTERNAL_REDIRECT_OPEN | OPERATION_ANSWER, frame->request, &message_redirect_opened, &opened);
    log_debug("profile %.*s: listening for a browser on port %u", (int)m.profile.len, (const char *)m.profile.data, l->port);
    return STATUS_OK;
}

/* One that the front has not closed; NULL: there is none of that number. */
static struct listener *find(struct redirect_listeners *all, uint32_t number)
{
    for (size_t i = 0; i < REDIRECT_LISTENERS; i++)
        if (number != 0 && all->items[i].number == number && !all->items[i].closing)
            return &all->items[i];
    return NULL;
}

static void answer_came(struct listener *l, struct buffer *out)
{
    struct redirect_came came = {.query = buffer_span(&l->query)};
    if (!l->waiting || !l->came)
        return;
    message_put_frame(out, INTERNAL_REDIRECT_WAIT | OPERATION_ANSWER, l->request, &message_redirect_came, &came);
    l->waiting = false;
    buffer_free(&l->query);
}

static void answer_ended(struct listener *l, const char *why, struct buffer *out)
{
    struct error err;
    if (!l->waiting)
        return;
    (void)error_set(&err, STATUS_TIMEOUT, "log in again", "%s", why);
    messages_put_error(out, l->request, &err);
    l->waiting = false;
}

static enum status wait_for_redirect(struct redirect_listeners *all, const struct frame *frame, struct buffer *out,
                                     struct error *err)
{
    struct redirect_wait m;
    enum status status = message_take(frame->fields, &message_redirect_wait, &m, sizeof(m), err);
    if (status != STATUS_OK)
        return status;
    struct listener *l = find(all, m.listener);
    if (l == NULL)
        return error_set(err, STATUS_TIMEOUT, "log in again", "the browser did not come back in time");
    if (l->waiting)
        return error_set(err, STATUS_INTERNAL, NULL, "somebody waits for this redirect already");
    l->waiting = true;
    l->request = frame->request;
    answer_came(l, out);
    return STATUS_OK;
}

static void send_page(struct connection *c, uint64_t now)
{
    c->state = WRITING;
    c->deadline = now + REDIRECT_REQUEST_WAIT;
    if (c->out.failed)
        connection_close(c);
}

static void give_page(struct listener *l, const char *title, struct span text, uint64_t now)
{
    for (size_t i = 0; i < REDIRECT_CONNECTIONS; i++) {
        struct connection *c = &l->connections[i];
        if (c->state != HELD)
            continue;
        redirect_http_put_page(&c->out, title, text);
        send_page(c, now);
    }
}

static enum status close_listener(struct redirect_listeners *all, const struct frame *frame, uint64_t now, struct buffer *out,
                                  struct error *err)
{
    struct redirect_close m;
    enum status status = message_take(frame->fields, &message_redirect_close, &m, sizeof(m), err);
    if (status != STATUS_OK)
        return status;
    struct listener *l = find(all, m.listener);
    if (l != NULL) {
        stop_listening(l);
        answer_ended(l, "the login was ended", out);
        give_page(l, m.success ? "You are logged in" : "You are not logged in", m.text, now);
        l->closing = true;
    }
    message_put_frame(out, INTERNAL_REDIRECT_CLOSE | OPERATION_ANSWER, frame->request, &message_empty,
                      &(struct empty_message){0});
    return STATUS_OK;
}

bool redirect_listener_knows(uint16_t operation)
{
    return operation == INTERNAL_REDIRECT_OPEN || operation == INTERNAL_REDIRECT_WAIT ||
           operation == INTERNAL_REDIRECT_CLOSE;
}

void redirect_listener_serve(struct redirect_listeners *all, const struct frame *frame, uint64_t now, struct buffer *out)
{
    struct error err;
    enum status status = frame->operation == INTERNAL_REDIRECT_OPEN   ? open_listener(all, frame, now, out, &err)
                         : frame->operation == INTERNAL_REDIRECT_WAIT ? wait_for_redirect(all, frame, out, &err)
                                                                      : close_listener(all, frame, now, out, &err);
    if (status != STATUS_OK)
        messages_put_error(out, frame->request, &err);
}

static void put_fd(struct curl_waitfd *fds, size_t *count, int fd, short events)
{
    fds[(*count)++] = (struct curl_waitfd){.fd = fd, .events = events};
}

static void sooner(uint64_t deadline, uint64_t now, int *timeout)
{
    uint64_t left = deadline > now ? deadline - now : 0;
    if (left < (uint64_t)*timeout)
        *timeout = (int)left;
}

size_t redirect_listener_watch(struct redirect_listeners *all, struct curl_waitfd fds[REDIRECT_WATCH_MAX], uint64_t now,
                               int *timeout)
{
    size_t count = 0;
    for (size_t i = 0; i < REDIRECT_LISTENERS; i++) {
        const struct listener *l = &all->items[i];
        bool busy = false;
        if (l->number == 0)
            continue;
        for (int f = 0; f < FAMILIES; f++)
            if (l->fds[f] >= 0)
                put_fd(fds, &count, l->fds[f], CURL_WAIT_POLLIN);
        for (size_t k = 0; k < REDIRECT_CONNECTIONS; k++) {
            const struct connection *c = &l->connections[k];
            if (c->state == UNUSED)
                continue;
            sooner(c->deadline, now, timeout);
            if (c->state != HELD)
                put_fd(fds, &count, c->fd, c->state == WRITING ? CURL_WAIT_POLLOUT : CURL_WAIT_POLLIN);
            busy = true;
        }
        if (!l->closing && !(l->came && busy)) /* as in step_listener */
            sooner(l->deadline, now, timeout);
    }
    return count;
}

/* A place for one more connection: the one that has been silent for longest has to go if all are taken. */
static struct connection *place_for_one(struct listener *l)
{
    struct connection *oldest = NULL;
    for (size_t i = 0; i < REDIRECT_CONNECTIONS; i++) {
        struct connection *c = &l->connections[i];
        if (c->state == UNUSED)
            return c;
        if (c->state != HELD && (oldest == NULL || c->deadline < oldest->deadline))
            oldest = c;
    }
    if (oldest != NULL)
        connection_close(oldest);
    return oldest;
}

static void accept_all(struct listener *l, uint64_t now)
{
    for (int f = 0; f < FAMILIES; f++)
        for (int n = 0; n < BACKLOG && l->fds[f] >= 0; n++) {
            int fd = accept4(l->fds[f], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
            struct connection *c = fd >= 0 ? place_for_one(l) : NULL;
            if (c == NULL) {
                if (fd >= 0)
                    (void)close(fd);
                break;
            }
            *c = (struct connection){.state = READING, .fd = fd, .deadline = now + REDIRECT_REQUEST_WAIT};
            buffer_init(&c->in, REDIRECT_HTTP_HEADER_MAX);
            buffer_init(&c->out, 2 * REDIRECT_HTTP_HEADER_MAX);
        }
}

/* Reads what is there. False: the connection has ended, or is full. */
static bool receive(struct connection *c)
{
    size_t left = c->in.max - c->in.len;
    uint8_t *room = left > 0 ? buffer_room(&c->in, left) : NULL;
    ssize_t n = room != NULL ? recv(c->fd, room, left, 0) : 0;
    if (n > 0)
        buffer_added(&c->in, (size_t)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void take_redirect(struct listener *l, struct connection *c, struct span query, uint64_t now)
{
    buffer_put(&l->query, query.data, query.len);
    l->came = true;
    c->state = HELD;
    c->deadline = now + REDIRECT_PAGE_WAIT;
    buffer_free(&c->in);
    stop_listening(l);
}

static void read_request(struct listener *l, struct connection *c, uint64_t now)
{
    struct span query;
    bool open = receive(c);
    enum redirect_http_verdict verdict = redirect_http_read(buffer_span(&c->in), span_text(l->path), l->port, &query);

    if (verdict == REDIRECT_HTTP_CAME) {
        take_redirect(l, c, query, now);
    } else if (verdict != REDIRECT_HTTP_INCOMPLETE) {
        redirect_http_put_refusal(&c->out, verdict);
        buffer_free(&c->in);
        send_page(c, now);
    } else if (!open) {
        connection_close(c);
    }
}

static void write_page(struct connection *c, uint64_t now)
{
    struct span rest = buffer_span(&c->out);
    ssize_t n = send(c->fd, rest.data, rest.len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        connection_close(c);
        return;
    }
    if (n > 0)
        buffer_consume(&c->out, (size_t)n);
    if (c->out.len > 0)
        return;
    (void)shutdown(c->fd, SHUT_WR);
    c->state = DRAINING;
    c->deadline = now + DRAIN_WAIT;
}

static void drain(struct connection *c)
{
    char rest[4096];
    ssize_t n = recv(c->fd, rest, sizeof(rest), 0);
    wipe(rest, sizeof(rest));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        connection_close(c);
}

static void step_connection(struct listener *l, struct connection *c, uint64_t now)
{
    if (c->state == READING)
        read_request(l, c, now);
    if (c->state == HELD && now >= c->deadline) {
        redirect_http_put_page(&c->out, "dpop-agent", span_text("The agent has not said yet how the login ended: see there."));
        send_page(c, now);
    }
    if (c->state == WRITING)
        write_page(c, now);
    if (c->state == DRAINING)
        drain(c);
    if (c->state != UNUSED && now >= c->deadline)
        connection_close(c);
}

static void step_listener(struct listener *l, uint64_t now, struct buffer *out)
{
    bool busy = false;
    accept_all(l, now);
    for (size_t i = 0; i < REDIRECT_CONNECTIONS; i++) {
        step_connection(l, &l->connections[i], now);
        busy |= l->connections[i].state != UNUSED;
    }
    answer_came(l, out);
    if (!l->closing && now >= l->deadline && !(l->came && busy)) {
        answer_ended(l, "the browser did not come back in time", out);
        l->closing = true;
        stop_listening(l);
    } else if (l->closing && !busy) {
        listener_free(l);
    }
}

void redirect_listener_step(struct redirect_listeners *all, uint64_t now, struct buffer *out)
{
    for (size_t i = 0; i < REDIRECT_LISTENERS; i++)
        if (all->items[i].number != 0)
            step_listener(&all->items[i], now, out);
}
