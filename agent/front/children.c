/* See children.h. */
#include "children.h"

#include "channel.h"
#include "keys.h"
#include "log.h"
#include "pin_turns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONTROL_MAX 4096
#define CHANNEL_OUT_MAX (16 * 1024 * 1024)
#define KILL_AFTER 5000000 /* microseconds past a call's deadline */

struct call {
    struct call *next;
    enum role role;
    const char *name; /* of the profile whose own net process it is for; NULL: the role has one process */
    uint32_t request;
    uint64_t deadline;
    struct child *child; /* NULL: not sent yet */
    struct buffer frame; /* until it is sent, and so are: */
    struct descriptors descriptors;
    call_done done;      /* NULL: it has been told already */
    void *context;
};

struct children {
    struct front *front;
    sd_event_source *control;
    struct child *first;
    struct call *calls; /* oldest first */
    uint32_t last_request;
};

static const char *process_name(enum role role)
{
    bool net = role == ROLE_NET || role == ROLE_NET_TLS;
    return net ? "net" : role == ROLE_STORE ? "store" : role == ROLE_KEY ? "key" : "init";
}

static void finish(struct call *call, const struct error *err, struct span fields)
{
    call_done done = call->done;
    call->done = NULL;
    if (done != NULL)
        done(call->context, err, fields);
}

static void remove_call(struct children *c, struct call *call)
{
    struct call **p = &c->calls;
    while (*p != call)
        p = &(*p)->next;
    *p = call->next;
    descriptors_close(&call->descriptors);
    buffer_free(&call->frame);
    free(call);
}

static bool is_for(const struct call *call, const struct child *child)
{
    return call->role == child->role && (call->name == NULL || strcmp(call->name, child->name) == 0);
}

/* An init process answers once and then ends: the next call is for the next one. */
static struct child *running(const struct children *c, const struct call *call)
{
    for (struct child *child = c->first; child != NULL; child = child->next)
        if (is_for(call, child) && child->id != 0 && !child->ending && !(child->role == ROLE_INIT && child->ready))
            return child;
    return NULL;
}

static void send_call(struct call *call, struct child *child)
{
    struct span bytes = buffer_span(&call->frame);
    if (call->descriptors.count > 0 &&
        stream_put_descriptors(&child->stream, call->descriptors.fds, call->descriptors.count) == 0)
        call->descriptors.count = 0;
    buffer_put(&child->stream.out, bytes.data, bytes.len);
    buffer_free(&call->frame);
    call->child = child;
    stream_send(&child->stream);
}

/* Sends the call, or keeps it until there is a process for it. `values` says what it is, but for its frame and
   number. */
static void add_call(struct children *c, const struct call *values, uint16_t operation, const struct message *m,
                     const void *in)
{
    struct call *call = calloc(1, sizeof(*call));
    struct call **end = &c->calls;
    struct error err;

    if (call == NULL) {
        struct descriptors unsent = values->descriptors;
        descriptors_close(&unsent);
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        values->done(values->context, &err, span_of("", 0));
        return;
    }
    *call = *values;
    call->request = ++c->last_request;
    buffer_init(&call->frame, INTERNAL_FRAME_MAX);
    message_put_frame(&call->frame, operation, call->request, m, in);
    while (*end != NULL)
        end = &(*end)->next;
    *end = call;
    if (call->frame.failed) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "a request to the %s process is too large",
                        process_name(call->role));
        finish(call, &err, span_of("", 0));
        remove_call(c, call);
        return;
    }
    struct child *child = running(c, call);
    if (child != NULL)
        send_call(call, child);
    front_wait(c->front);
}

void children_call_named(struct children *c, enum role role, const char *name, uint16_t operation,
                         const struct message *m, const void *in, uint64_t deadline, call_done done, void *context)
{
    add_call(c, &(struct call){.role = role, .name = name, .deadline = deadline, .done = done, .context = context},
             operation, m, in);
}

void children_call_descriptors(struct children *c, enum role role, uint16_t operation, const struct message *m,
                               const void *in,
                               const int *descriptors, size_t count, uint64_t deadline, call_done done, void *context)
{
    struct call values = {.role = role, .deadline = deadline, .done = done, .context = context};
    for (size_t i = 0; i < count && i < DESCRIPTORS_MAX; i++)
        values.descriptors.fds[values.descriptors.count++] = descriptors[i];
    add_call(c, &values, operation, m, in);
}

void children_call(struct children *c, enum role role, uint16_t operation, const struct message *m, const void *in,
                   uint64_t deadline, call_done done, void *context)
{
    children_call_named(c, role, NULL, operation, m, in, deadline, done, context);
}

void children_fetch(struct children *c, const struct profile_config *profile, const struct fetch_request *m,
                    uint64_t deadline, call_done done, void *context)
{
    bool own = profile != NULL && config_has_tls_client(profile);
    children_call_named(c, own ? ROLE_NET_TLS : ROLE_NET, own ? profile->name : NULL, INTERNAL_FETCH,
                        &message_fetch_request, m, deadline, done, context);
}

/* An answer from a net process, store or init. */
static bool take_answer(struct stream *s, const struct frame *frame)
{
    struct child *child = s->context;
    struct children *c = child->children;
    struct error err;
    struct call *call = c->calls;
    while (call != NULL && (call->child != child || call->request != frame->request))
        call = call->next;
    child->ready = true;
    if (call == NULL)
        return false;
    if (frame->operation != OPERATION_ERROR)
        finish(call, NULL, frame->fields);
    else if (messages_take_error(frame->fields, &err) == STATUS_OK)
        finish(call, &err, frame->fields);
    else
        return false; /* a child that writes nonsense has crashed; its calls end when it does */
    remove_call(c, call);
    return true;
}

/* It logs in like a key process, and does nothing else meanwhile: an answer says that its turn is over. */
static bool take_from_net_tls(struct stream *s, const struct frame *frame)
{
    struct child *child = s->context;
    struct pin_turns *turns = keys_pin_turns(child->children->front->keys);
    if (frame->operation == INTERNAL_PIN_LOAD || frame->operation == INTERNAL_PIN_RECORD)
        return pin_turns_frame(turns, child, frame);
    pin_turns_over(turns, child);
    if (frame->operation != INTERNAL_ENDING)
        return take_answer(s, frame);
    child->ending = true;
    message_put_frame(&s->out, INTERNAL_ENDING | OPERATION_ANSWER, frame->request, &message_empty,
                      &(struct empty_message){false});
    stream_send(s);
    return true;
}

static bool on_answer(struct stream *s, const struct frame *frame)
{
    struct child *child = s->context;
    if (child->role == ROLE_NET_TLS ? take_from_net_tls(s, frame) : take_answer(s, frame))
        return true;
    children_kill(child->children, child, "it wrote nonsense");
    return false;
}

/* The calls that a dead child was at: what it did is not known, so they fail. */
static void fail_calls(struct children *c, struct child *child)
{
    struct error err;
    (void)error_set(&err, STATUS_RESTARTED, "try again",
                    "the %s process ended during the request and is being restarted", process_name(child->role));
    for (bool again = true; again;) {
        again = false;
        for (struct call *call = c->calls; call != NULL; call = call->next)
            if (call->child == child) {
                finish(call, &err, span_of("", 0));
                remove_call(c, call);
                again = true; /* `done` may have changed the list */
                break;
            }
    }
}

static void child_ended(struct child *child)
{
    if (child->id == 0)
        return;
    child->id = 0;
    child->ready = false;
    stream_close(&child->stream);
    if (child->role == ROLE_NET_TLS)
        pin_turns_over(keys_pin_turns(child->children->front->keys), child);
    if (child->role == ROLE_KEY)
        keys_ended(child->children->front->keys, child);
    else
        fail_calls(child->children, child);
}

static void on_child_closed(struct stream *s)
{
    child_ended(s->context);
}

static bool on_key_frame(struct stream *s, const struct frame *frame)
{
    struct child *child = s->context;
    if (keys_frame(child->children->front->keys, child, frame))
        return true;
    children_kill(child->children, child, "it wrote nonsense");
    return false;
}

static struct child *find_or_add(struct children *c, const struct child_message *m)
{
    struct child **end = &c->first;
    for (; *end != NULL; end = &(*end)->next)
        if ((uint16_t)(*end)->role == m->role && (*end)->worker == m->worker && span_is(m->name, (*end)->name))
            return *end;
    struct child *child = calloc(1, sizeof(*child));
    if (child == NULL || (m->name.data != NULL && span_copy(m->name, child->name, sizeof(child->name)) != 0)) {
        free(child);
        return NULL;
    }
    child->role = (enum role)m->role;
    child->worker = m->worker;
    child->children = c;
    child->stream.fd = -1;
    *end = child;
    return child;
}

static void attach(struct children *c, const struct child_message *m, int fd)
{
    struct child_message key = *m;
    if (m->role == ROLE_INIT)
        key.name = span_text(NULL); /* a path, and there is only one */
    struct child *child = find_or_add(c, &key);
    if (child == NULL) {
        (void)close(fd);
        return;
    }
    child_ended(child); /* its end may not have been noticed yet */
    *child = (struct child){.id = m->id, .role = child->role, .worker = child->worker, .pid = m->pid,
                            .starts = m->starts, .children = c, .next = child->next, .stream = child->stream};
    if (key.name.data != NULL)
        (void)!span_copy(key.name, child->name, sizeof(child->name));
    child->stream.on_frame = child->role == ROLE_KEY ? on_key_frame : on_answer;
    child->stream.on_closed = on_child_closed;
    child->stream.context = child;
    child->stream.child = true;
    if (stream_open(&child->stream, c->front, fd, INTERNAL_FRAME_MAX, CHANNEL_OUT_MAX) != 0) {
        child->id = 0;
        return;
    }
    if (child->role == ROLE_KEY)
        keys_attached(c->front->keys, child);
    for (struct call *call = c->calls; call != NULL; call = call->next)
        if (is_for(call, child) && call->child == NULL)
            send_call(call, child);
}

/* The supervisor's answer to children_ask. */
static void take_supervisors_answer(struct children *c, const struct frame *frame)
{
    struct call *call = c->calls;
    while (call != NULL && (call->role != ROLE_SUPERVISOR || call->request != frame->request))
        call = call->next;
    if (call == NULL)
        return; /* it came too late */
    finish(call, NULL, frame->fields);
    remove_call(c, call);
}

static int on_control(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct children *c = userdata;
    uint8_t packet[CONTROL_MAX];
    struct child_message m;
    struct error err;
    struct frame frame;
    size_t size;
    struct descriptors passed = {.count = 0};
    ssize_t n = descriptors_receive(fd, packet, sizeof(packet), MSG_DONTWAIT, &passed);
    (void)source;
    (void)revents;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return sd_event_exit(c->front->event, 1); /* the supervisor is gone */
    bool whole = frame_take(span_of(packet, (size_t)n), sizeof(packet), &frame, &size) == FRAME_COMPLETE;
    if (whole && (frame.operation & OPERATION_ANSWER) != 0) {
        take_supervisors_answer(c, &frame);
    } else if (whole && frame.operation == INTERNAL_KEEP_PIN) {
        struct kept_pin kept;
        if (message_take(frame.fields, &message_kept_pin, &kept, sizeof(kept), &err) == STATUS_OK)
            pin_turns_restore(keys_pin_turns(c->front->keys), &kept);
    } else if (whole && message_take(frame.fields, &message_child_message, &m, sizeof(m), &err) == STATUS_OK) {
        if (frame.operation == INTERNAL_CHILD && passed.count > 0)
            attach(c, &m, descriptors_take(&passed));
        for (struct child *child = c->first; child != NULL && frame.operation == INTERNAL_CHILD_ENDED;
             child = child->next)
            if (child->id == m.id)
                child_ended(child);
    }
    descriptors_close(&passed);
    return 0;
}

int children_open(struct front *f)
{
    struct children *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return -1;
    f->children = c;
    c->front = f;
    return sd_event_add_io(f->event, &c->control, CHANNEL_FD, EPOLLIN, on_control, c) < 0 ? -1 : 0;
}

/* Whoever waits for an answer is told, since what it holds is freed by that: its part has to be there still. */
void children_end(struct children *c)
{
    struct error err;
    (void)error_set(&err, STATUS_RESTARTED, "try again", "the agent is ending or reloading its configuration");
    while (c != NULL && c->calls != NULL) {
        struct call *call = c->calls;
        finish(call, &err, span_of("", 0));
        remove_call(c, call);
    }
}

void children_free(struct children *c)
{
    if (c == NULL)
        return;
    (void)sd_event_source_disable_unref(c->control);
    while (c->first != NULL) {
        struct child *child = c->first;
        c->first = child->next;
        stream_close(&child->stream);
        free(child);
    }
    free(c);
}

static int send_control(uint16_t operation, uint32_t request, const struct message *m, const void *in)
{
    struct buffer packet;
    buffer_init(&packet, CONTROL_MAX);
    message_put_frame(&packet, operation, request, m, in);
    struct span bytes = buffer_span(&packet);
    ssize_t n = send(CHANNEL_FD, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        log_error("cannot write to the supervisor: %s", strerror(errno));
    buffer_free(&packet);
    return n < 0 ? -1 : 0;
}

void children_kill(struct children *c, struct child *child, const char *reason)
{
    struct kill_message m = {.id = child->id, .reason = span_text(reason)};
    if (child->id == 0 || child->killed)
        return;
    child->killed = true;
    (void)!send_control(INTERNAL_KILL, 0, &message_kill_message, &m);
    (void)c;
}

void children_dismiss(struct child *child)
{
    if (child->id == 0 || child->dismissed)
        return;
    child->dismissed = true;
    streams_flush(child->children->front->streams);
    if (child->stream.fd >= 0)
        (void)shutdown(child->stream.fd, SHUT_WR);
}

void children_tell(struct children *c, uint16_t operation, const struct message *m, const void *in)
{
    (void)!send_control(operation, 0, m, in);
    (void)c;
}

void children_command(struct children *c, uint16_t operation)
{
    children_tell(c, operation, &message_empty, &(struct empty_message){false});
}

void children_ask(struct children *c, uint16_t operation, uint64_t deadline, call_done done, void *context)
{
    struct call *call = calloc(1, sizeof(*call));
    struct error err;
    if (call == NULL ||
        send_control(operation, c->last_request + 1, &message_empty, &(struct empty_message){false}) != 0) {
        free(call);
        (void)error_set(&err, STATUS_BUSY, "try again", "the supervisor cannot be asked");
        done(context, &err, span_of("", 0));
        return;
    }
    *call = (struct call){.role = ROLE_SUPERVISOR, .request = ++c->last_request, .deadline = deadline, .done = done,
                          .context = context, .next = c->calls};
    c->calls = call; /* the supervisor is no child: the order of the others' calls is no matter here */
    front_wait(c->front);
}

void children_tick(struct children *c, uint64_t now)
{
    struct error err;
    for (struct call *call = c->calls, *next; call != NULL; call = next) {
        next = call->next;
        if (now < call->deadline)
            continue;
        if (call->child != NULL && now > call->deadline + KILL_AFTER)
            children_kill(c, call->child, "it did not answer in time");
        if (call->done != NULL) {
            (void)error_set(&err, STATUS_TIMEOUT, "try again", "the %s process did not answer in time",
                            process_name(call->role));
            finish(call, &err, span_of("", 0));
            next = c->calls; /* `done` may have changed the list */
        } else if (call->child == NULL) {
            next = call->next;
            remove_call(c, call);
        }
    }
}

bool children_waiting(const struct children *c)
{
    return c->calls != NULL;
}

const struct child *children_first(const struct children *c)
{
    return c->first;
}
