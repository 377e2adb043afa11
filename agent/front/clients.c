/* See clients.h. */
#include "clients.h"

#include "channel.h"
#include "log.h"
#include "operations.h"
#include "stream.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENDING "the agent is ending or reloading its configuration"
#define CONNECTIONS_MAX 16384
#define DESCRIPTORS_KEPT 64            /* for channels and the loop */
#define REQUESTS_MAX 256               /* at work at once for one connection */
#define OUT_MAX (4 * FRAME_MAX)        /* unsent bytes of one connection */
#define PATIENCE (30 * UINT64_C(1000000)) /* microseconds for a hello, the rest of a frame, or the taking of an
                                             answer */
#define WARN_EVERY UINT64_C(1000000)       /* microseconds between warnings that connections are short */
#define ACCEPT_BATCH 16

struct client {
    struct client *next, *previous;
    struct clients *clients;
    struct stream stream;
    uid_t uid;
    pid_t pid;
    bool greeted;
    struct request *requests;
    unsigned int at_work;
    uint64_t connected, last_frame;
};

struct clients {
    struct front *front;
    sd_event_source *accept;
    bool paused; /* accepting, until the next tick */
    uid_t *allowed;
    size_t allowed_count;
    struct client *first;
    uint32_t count, max;
    uint64_t warned;
    bool draining; /* nothing is read any more */
    bool ending;   /* every frame is answered with `restarted` */
};

static bool may_connect(const struct clients *clients, uid_t uid)
{
    if (uid == geteuid() || uid == 0)
        return true;
    for (size_t i = 0; i < clients->allowed_count; i++)
        if (clients->allowed[i] == uid)
            return true;
    return false;
}

/* --- requests --- */

static void unlink_request(struct request *r)
{
    struct request **p = &r->client->requests;
    while (*p != r)
        p = &(*p)->next;
    *p = r->next;
    r->client->at_work--;
    if (r->client->clients->draining && r->client->at_work == 0)
        stream_end(&r->client->stream);
}

void request_answer(struct request *r, const struct message *m, const void *in)
{
    if (r->client != NULL) {
        struct stream *s = &r->client->stream;
        message_put_frame(&s->out, r->operation | OPERATION_ANSWER, r->id, m, in);
        stream_send(s);
        unlink_request(r);
    }
    free(r);
}

void request_fail(struct request *r, const struct error *err)
{
    if (r->client != NULL) {
        messages_put_error(&r->client->stream.out, r->id, err);
        stream_send(&r->client->stream);
        unlink_request(r);
    }
    log_debug("request %s of uid %u: %s: %s", operations_name(r->operation), (unsigned int)r->uid,
              status_name(err->status), err->message);
    free(r);
}

int request_take_descriptor(struct request *r)
{
    return r->client != NULL ? stream_take_descriptor(&r->client->stream) : -1;
}

/* --- frames --- */

static void say(struct client *c, uint32_t id, const struct error *err)
{
    messages_put_error(&c->stream.out, id, err);
    stream_send(&c->stream);
}

static void greet(struct client *c, const struct frame *frame)
{
    struct hello_request hello;
    struct error err;
    if (message_take(frame->fields, &message_hello_request, &hello, sizeof(hello), &err) != STATUS_OK) {
        say(c, frame->request, &err);
        stream_end(&c->stream);
        return;
    }
    if (hello.version_min > PROTOCOL_VERSION_MAX || hello.version_max < PROTOCOL_VERSION_MIN) {
        (void)error_set(&err, STATUS_VERSION, "update the older of agent and client",
                        "the agent speaks protocol versions %d to %d, the client %u to %u", PROTOCOL_VERSION_MIN,
                        PROTOCOL_VERSION_MAX, hello.version_min, hello.version_max);
        say(c, frame->request, &err);
        stream_end(&c->stream);
        return;
    }
    struct hello_answer answer = {.version = hello.version_max < PROTOCOL_VERSION_MAX ? hello.version_max
                                  : PROTOCOL_VERSION_MAX, .max_frame = FRAME_MAX,
                                  .agent = span_text("dpop-agent " DPOP_VERSION)};
    c->greeted = true;
    c->stream.max_frame = FRAME_MAX;
    message_put_frame(&c->stream.out, OPERATION_HELLO | OPERATION_ANSWER, frame->request, &message_hello_answer,
                      &answer);
    stream_send(&c->stream);
}

static bool on_frame(struct stream *s, const struct frame *frame)
{
    struct client *c = s->context;
    struct error err;
    c->last_frame = front_now(c->clients->front);
    if (c->clients->ending) {
        (void)error_set(&err, STATUS_RESTARTED, "try again", ENDING);
        say(c, frame->request, &err);
        return true;
    }
    if (frame->operation == OPERATION_HELLO) {
        greet(c, frame);
        return true;
    }
    if (!c->greeted) {
        (void)error_set(&err, STATUS_HELLO_REQUIRED, NULL, "the first frame must be hello");
        say(c, frame->request, &err);
        stream_end(s);
        return true;
    }
    struct request *r = c->at_work < REQUESTS_MAX ? malloc(sizeof(*r)) : NULL;
    if (r == NULL) {
        (void)error_set(&err, STATUS_BUSY, "wait for answers before asking more",
                        "%u requests of this connection are at work", c->at_work);
        say(c, frame->request, &err);
        return true;
    }
    *r = (struct request){.front = c->clients->front, .client = c, .id = frame->request, .operation = frame->operation,
                          .uid = c->uid, .pid = c->pid, .next = c->requests};
    c->requests = r;
    c->at_work++;
    operations_run(r, frame->fields);
    return true;
}

/* A frame over the limit cannot be skipped safely: it is answered, and the connection ends. */
static void on_broken(struct stream *s, enum frame_result why)
{
    struct client *c = s->context;
    struct error err;
    if (why == FRAME_TOO_LARGE)
        (void)error_set(&err, STATUS_TOO_LARGE, NULL, "a frame may have %zu bytes%s", s->max_frame,
                        c->greeted ? "" : " before the hello");
    else
        (void)error_set(&err, STATUS_MALFORMED, NULL, "the frame's length is too small for its header");
    say(c, 0, &err);
}

/* --- connections --- */

static void free_client(struct client *c)
{
    struct clients *clients = c->clients;
    for (struct request *r = c->requests; r != NULL; r = r->next)
        r->client = NULL;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        clients->first = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    clients->count--;
    stream_close(&c->stream);
    free(c);
}

static void on_closed(struct stream *s)
{
    free_client(s->context);
}

static void warn_short(struct clients *clients, const char *what)
{
    uint64_t now = front_now(clients->front);
    if (clients->warned != 0 && now < clients->warned + WARN_EVERY)
        return;
    clients->warned = now;
    log_warning("%s: of %u connections, those that are idle for longest are closed", what, clients->count);
}

/* At the limit, the connection that has been idle for longest makes room. False: none is idle. */
static bool make_room(struct clients *clients)
{
    struct client *idlest = NULL;
    for (struct client *c = clients->first; c != NULL; c = c->next)
        if (c->at_work == 0 && (idlest == NULL || c->last_frame < idlest->last_frame))
            idlest = c;
    if (idlest != NULL)
        free_client(idlest);
    return idlest != NULL;
}

static void welcome(struct clients *clients, int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    struct error err;
    struct client *c;
    if (clients->count >= clients->max) {
        warn_short(clients, "too many connections");
        (void)make_room(clients);
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || (c = calloc(1, sizeof(*c))) == NULL) {
        (void)close(fd);
        return;
    }
    *c = (struct client){.clients = clients, .uid = peer.uid, .pid = peer.pid, .connected = front_now(clients->front),
                         .last_frame = front_now(clients->front), .next = clients->first};
    c->stream.on_frame = on_frame;
    c->stream.on_broken = on_broken;
    c->stream.on_closed = on_closed;
    c->stream.context = c;
    if (stream_open(&c->stream, clients->front, fd, FRAME_MAX_BEFORE_HELLO, OUT_MAX) != 0) {
        free(c);
        return;
    }
    if (clients->first != NULL)
        clients->first->previous = c;
    clients->first = c;
    clients->count++;
    if (!may_connect(clients, peer.uid)) {
        log_warning("uid %u (process %d) may not use this agent", (unsigned int)peer.uid, (int)peer.pid);
        (void)error_set(&err, STATUS_PEER_REFUSED, "ask the operator to name the user in allow-users",
                        "uid %u may not use this agent", (unsigned int)peer.uid);
        say(c, 0, &err);
        stream_end(&c->stream);
    }
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct clients *clients = userdata;
    (void)revents;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (connection >= 0) {
            welcome(clients, connection);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            warn_short(clients, strerror(errno));
            if (make_room(clients))
                continue;
            clients->paused = true;
            (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
            break;
        }
    }
    front_wait(clients->front);
    return 0;
}

static void allow(struct clients *clients, const char *user)
{
    bool numeric = user[strspn(user, "0123456789")] == '\0';
    unsigned long long number = numeric ? strtoull(user, NULL, 10) : 0;
    const struct passwd *entry = numeric ? NULL : getpwnam(user);
    if (numeric && number < (uid_t)-1)
        clients->allowed[clients->allowed_count++] = (uid_t)number;
    else if (entry != NULL)
        clients->allowed[clients->allowed_count++] = entry->pw_uid;
    else
        log_warning("allow-users: there is no user \"%s\"", user);
}

int clients_open(struct front *f)
{
    struct clients *clients = calloc(1, sizeof(*clients));
    const struct strings *users = &f->config->agent.allow_users;
    struct rlimit limit;
    if (clients == NULL)
        return -1;
    f->clients = clients;
    clients->front = f;
    clients->max = CONNECTIONS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < CONNECTIONS_MAX + DESCRIPTORS_KEPT)
        clients->max = limit.rlim_cur > 2 * DESCRIPTORS_KEPT ? (uint32_t)limit.rlim_cur - DESCRIPTORS_KEPT
            : DESCRIPTORS_KEPT;
    clients->allowed = calloc(users->count + 1, sizeof(uid_t));
    if (clients->allowed == NULL)
        return -1;
    for (size_t i = 0; i < users->count; i++)
        allow(clients, users->items[i]);
    return sd_event_add_io(f->event, &clients->accept, LISTEN_FD, EPOLLIN, on_accept, clients) < 0 ? -1 : 0;
}

void clients_free(struct clients *clients)
{
    if (clients == NULL)
        return;
    while (clients->first != NULL)
        free_client(clients->first);
    (void)sd_event_source_disable_unref(clients->accept);
    free(clients->allowed);
    free(clients);
}

static bool over(uint64_t since, uint64_t now)
{
    return since != 0 && now > since + PATIENCE;
}

void clients_tick(struct clients *clients, uint64_t now)
{
    struct client *next;
    if (clients->paused && !clients->draining) {
        clients->paused = false;
        (void)sd_event_source_set_enabled(clients->accept, SD_EVENT_ON);
    }
    for (struct client *c = clients->first; c != NULL; c = next) {
        next = c->next;
        if (over(c->greeted ? 0 : c->connected, now) || over(c->stream.partial_since, now) ||
            over(c->stream.unread_since, now))
            free_client(c);
    }
}

bool clients_waiting(const struct clients *clients)
{
    bool waiting = clients->paused;
    for (const struct client *c = clients->first; c != NULL && !waiting; c = c->next)
        waiting = !c->greeted || c->stream.partial_since != 0 || c->stream.unread_since != 0;
    return waiting;
}

uint32_t clients_count(const struct clients *clients)
{
    return clients->count;
}

/* A request that nobody has read is known to its client as not begun: so none is read that might not be finished. */
void clients_drain(struct clients *clients)
{
    (void)sd_event_source_set_enabled(clients->accept, SD_EVENT_OFF);
    for (struct client *c = clients->first; c != NULL; c = c->next)
        stream_stop_reading(&c->stream);
    clients->draining = true;
    for (struct client *c = clients->first; c != NULL; c = c->next)
        if (c->at_work == 0)
            stream_end(&c->stream);
}

/* Users and traces are waited for longer than anybody waits for the end of a process. */
static bool waits_long(const struct request *r)
{
    return r->operation == OPERATION_LOGIN_WAIT || r->operation == OPERATION_TRACE;
}

bool clients_at_work(const struct clients *clients)
{
    for (const struct client *c = clients->first; c != NULL; c = c->next)
        for (const struct request *r = c->requests; r != NULL; r = r->next)
            if (!waits_long(r))
                return true;
    return false;
}

void clients_end(struct clients *clients)
{
    struct error err;
    (void)error_set(&err, STATUS_RESTARTED, "try again", ENDING);
    clients->ending = true;
    for (struct client *c = clients->first; c != NULL; c = c->next) {
        for (struct request *r = c->requests; r != NULL; r = r->next) {
            say(c, r->id, &err);
            r->client = NULL;
        }
        c->requests = NULL;
        c->at_work = 0;
        stream_end(&c->stream);
    }
}
