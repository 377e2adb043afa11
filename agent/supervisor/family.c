/* See family.h. */
#include "family.h"

#include "internal.h"
#include "log.h"
#include "spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000) /* sd-event counts microseconds */
#define SETTLED (2 * SECOND)     /* a child that lived as long is started again at once */
#define BACKOFF_FIRST (SECOND / 20)
#define BACKOFF_MAX SECOND
#define BACKOFF_SHARE 4 /* of the time that nothing helps is waited between two starts */
#define FRONT_PATIENCE (13 * SECOND) /* the front may wait for an answer that must not be lost; then all are killed */
#define STOP_PATIENCE (3 * SECOND)   /* for the others, once the front has ended */
#define CONTROL_MAX 4096
#define CONTROL_QUEUE (1024 * 1024) /* bytes of packets that a busy front may leave unread */

struct child {
    struct family *family;
    enum role role;
    const char *name; /* of the key, or of the profile that has a net process of its own */
    uint16_t worker;
    uint32_t id; /* of this life; 0: not running */
    uint32_t starts;
    bool wanted; /* init: asked for while the one before was still ending */
    pid_t pid;
    uint64_t started;
    uint64_t troubled; /* since when no life was any good; 0: the last one was */
    bool good;         /* its life: it said that it is ready */
    sd_event_source *exit_source, *restart_source;
};

struct family {
    sd_event *event;
    struct family_options options;
    struct family_events events;
    int control_fd; /* our end of the front's control channel */
    sd_event_source *control_source, *stop_source;
    struct child *children; /* [0] is the front */
    size_t count;
    uint32_t last_id;
    bool stopping;
};

/* The key or the profile that it serves alone; NULL: none. (Front and init have a path in the place of a name.) */
static const char *served(const struct child *c)
{
    return c->role == ROLE_KEY || c->role == ROLE_NET_TLS ? c->name : NULL;
}

/* For the log: "front", "key work". */
static const char *label(const struct child *c, char out[LIMIT_TEXT])
{
    const char *name = served(c);
    (void)snprintf(out, LIMIT_TEXT, "%s%s%s", spawn_role_name(c->role), name != NULL ? " " : "",
                   name != NULL ? name : "");
    return out;
}

static enum status spawn_failure(struct error *err, const char *what)
{
    return error_set(err, STATUS_INTERNAL, NULL, "%s: %s", what, strerror(errno));
}

static void put_slice(const struct family *f, const struct child *c, struct buffer *out)
{
    config_put_slice(f->options.config, c->role, served(c), out);
    if (f->options.config->agent.state_folder == NULL && (c->role == ROLE_STORE || c->role == ROLE_INIT)) {
        buffer_put_text(out, "[agent]\nstate-folder = ");
        buffer_put_text(out, f->options.state_folder);
        buffer_put_text(out, "\n");
    }
    if (c->role == ROLE_KEY || c->role == ROLE_NET_TLS)
        kept_pins_put_slice(f->options.pins, out);
}

/* One packet to the front. A front that is gone or ending does not need it. */
static void tell_front(struct family *f, uint16_t operation, uint32_t request, const struct message *m, const void *in,
                       int fd)
{
    struct buffer packet;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } ancillary = {0};
    buffer_init(&packet, CONTROL_MAX);
    message_put_frame(&packet, operation, request, m, in);
    struct span bytes = buffer_span(&packet);
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.len};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        header.msg_control = ancillary.bytes;
        header.msg_controllen = sizeof(ancillary.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    if (sendmsg(f->control_fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EPIPE && errno != ECONNRESET) {
        log_error("the front does not read what its supervisor says (%s): it is replaced", strerror(errno));
        (void)kill(f->children[0].pid, SIGKILL);
    }
    buffer_free(&packet);
}

static void give_pin(void *context, const struct kept_pin *m)
{
    tell_front(context, INTERNAL_KEEP_PIN, 0, &message_kept_pin, m, -1);
}

static struct child_message describe(const struct child *c)
{
    return (struct child_message){.id = c->id, .role = (uint16_t)c->role, .name = span_text(c->name),
                                  .worker = c->worker, .pid = (uint32_t)c->pid, .starts = c->starts};
}

static int on_child_exit(sd_event_source *source, const siginfo_t *info, void *userdata);

/* Not as a oneshot, which it would be by itself: the kernel may say that a process has ended before it can be waited
   for, and the event loop looks no second time then. (The way to it leads over "off": only then is the change passed on
   to epoll.) */
static int watch(struct family *f, struct child *c)
{
    int r = sd_event_add_child(f->event, &c->exit_source, c->pid, WEXITED, on_child_exit, c);
    if (r >= 0)
        r = sd_event_source_set_enabled(c->exit_source, SD_EVENT_OFF);
    return r < 0 ? r : sd_event_source_set_enabled(c->exit_source, SD_EVENT_ON);
}

static enum status start_child(struct family *f, struct child *c, struct error *err)
{
    int ends[2];
    struct buffer slice;
    bool front = c->role == ROLE_FRONT;
    if (socketpair(AF_UNIX, (front ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0, ends) != 0)
        return spawn_failure(err, "cannot make a channel");
    buffer_init(&slice, CONFIG_MAX_FILE);
    put_slice(f, c, &slice);
    struct spawn spawn = {.role = c->role,
                          .name = c->name,
                          .channel_fd = ends[1],
                          .listen_fd = front ? f->options.listen_fd : -1,
                          .started = f->options.started,
                          .configuration = buffer_span(&slice)};
    enum status status = slice.failed
        ? error_set(err, STATUS_CONFIGURATION, NULL, "the configuration is too large to pass on")
                                      : spawn_child(&spawn, &c->pid, err);
    buffer_free(&slice);
    (void)close(ends[1]);
    if (status == STATUS_OK && watch(f, c) < 0) {
        status = spawn_failure(err, "cannot watch a process");
        (void)kill(c->pid, SIGKILL);
        (void)waitpid(c->pid, NULL, 0);
    }
    if (status != STATUS_OK) {
        (void)close(ends[0]);
        return status;
    }
    c->id = ++f->last_id;
    c->starts++;
    c->good = false;
    (void)sd_event_now(f->event, CLOCK_MONOTONIC, &c->started);
    log_debug("started %s as process %d", label(c, (char[LIMIT_TEXT]){0}), (int)c->pid);
    if (front) {
        (void)setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &(int){CONTROL_QUEUE}, sizeof(int));
        f->control_fd = ends[0];
        kept_pins_each(f->options.pins, give_pin, f); /* before any child: it may ask for its PIN at once */
        return STATUS_OK;
    }
    struct child_message m = describe(c);
    tell_front(f, INTERNAL_CHILD, 0, &message_child_message, &m, ends[0]);
    (void)close(ends[0]);
    return STATUS_OK;
}

static int on_restart(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct child *c = userdata;
    struct error err;
    (void)source;
    (void)usec;
    c->restart_source = sd_event_source_unref(c->restart_source);
    if (c->family->stopping || start_child(c->family, c, &err) == STATUS_OK)
        return 0;
    log_error("%s", err.message);
    return sd_event_add_time_relative(c->family->event, &c->restart_source, CLOCK_MONOTONIC, BACKOFF_MAX, 0, on_restart,
                                      c);
}

/* After a life that was long enough: at once; after one that was ready: nearly so. Else later and later, up to a
   second: a key that was away for a short time is found soon after, and one that stays away costs little. */
static void restart_later(struct child *c)
{
    uint64_t now, delay = 0;
    (void)sd_event_now(c->family->event, CLOCK_MONOTONIC, &now);
    bool settled = now - c->started >= SETTLED;
    if (settled || c->good || c->troubled == 0)
        c->troubled = now;
    if (!settled) {
        delay = (now - c->troubled) / BACKOFF_SHARE;
        delay = delay < BACKOFF_FIRST ? BACKOFF_FIRST : delay > BACKOFF_MAX ? BACKOFF_MAX : delay;
    }
    if (sd_event_add_time_relative(c->family->event, &c->restart_source, CLOCK_MONOTONIC, delay, 0, on_restart, c) < 0)
        log_error("out of memory: %s is not started again", spawn_role_name(c->role));
}

static bool all_gone(const struct family *f)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->children[i].id != 0)
            return false;
    return true;
}

static void describe_end(const siginfo_t *info, char *out, size_t size)
{
    if (info->si_code == CLD_EXITED)
        (void)snprintf(out, size, "ended with status %d", info->si_status);
    else
        (void)snprintf(out, size, "was ended by signal %d (%s)", info->si_status, strsignal(info->si_status));
}

/* The one init child has the last place, kept free for it. */
static void start_init(struct family *f)
{
    struct child *c = &f->children[f->count - 1];
    struct error err;
    c->wanted = c->id != 0;
    if (!c->wanted && start_child(f, c, &err) != STATUS_OK)
        log_error("%s", err.message);
}

static int on_child_exit(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    struct child *c = userdata;
    struct family *f = c->family;
    char reason[128];
    bool clean = info->si_code == CLD_EXITED && info->si_status == 0;
    (void)source;

    describe_end(info, reason, sizeof(reason));
    c->exit_source = sd_event_source_disable_unref(c->exit_source);
    struct child_message m = describe(c);
    m.reason = span_text(reason);
    c->id = 0;
    if (f->stopping) {
        if (c->role == ROLE_FRONT && f->stop_source != NULL)
            (void)sd_event_source_set_time_relative(f->stop_source, STOP_PATIENCE);
        if (all_gone(f))
            f->events.ended(f->events.context);
        return 0;
    }
    (clean ? log_debug : log_warning)("%s (process %d) %s", label(c, (char[LIMIT_TEXT]){0}), (int)info->si_pid, reason);
    if (c->role == ROLE_FRONT) {
        f->events.failed(f->events.context);
        return 0;
    }
    tell_front(f, INTERNAL_CHILD_ENDED, 0, &message_child_message, &m, -1);
    if (c->role != ROLE_INIT)
        restart_later(c);
    else if (c->wanted)
        start_init(f);
    return 0;
}

static void kill_child(struct family *f, const struct kill_message *m)
{
    for (size_t i = 1; i < f->count; i++)
        if (m->id != 0 && f->children[i].id == m->id) { /* 0: not running, and its process number may be another's by
                                                           now */
            log_warning("killing %s (process %d): %.*s", label(&f->children[i], (char[LIMIT_TEXT]){0}),
                        (int)f->children[i].pid, (int)m->reason.len,
                        m->reason.data != NULL ? (const char *)m->reason.data : "");
            (void)kill(f->children[i].pid, SIGKILL);
        }
}

static void note_good(struct family *f, uint32_t id)
{
    for (size_t i = 1; i < f->count; i++)
        if (id != 0 && f->children[i].id == id)
            f->children[i].good = true;
}

static void answer_reload(struct family *f, uint32_t request)
{
    struct reload_checked checked = {{0}};
    struct buffer text;
    struct error err;
    struct frame frame;
    size_t size;
    buffer_init(&text, CONTROL_MAX);
    if (f->events.reload_check(f->events.context, &err) != STATUS_OK) {
        messages_put_error(&text, request, &err);
        if (frame_take(buffer_span(&text), CONTROL_MAX, &frame, &size) == FRAME_COMPLETE)
            checked.error = frame.fields;
    }
    tell_front(f, INTERNAL_RELOAD | OPERATION_ANSWER, request, &message_reload_checked, &checked, -1);
    buffer_free(&text);
}

static int on_control(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct family *f = userdata;
    uint8_t packet[CONTROL_MAX];
    struct frame frame;
    struct kill_message kill_message;
    struct kept_pin kept_pin;
    struct error err;
    size_t size;
    ssize_t n = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);
    (void)revents;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF); /* the front's end is noticed by its exit */
        return 0;
    }
    if (frame_take(span_of(packet, (size_t)n), sizeof(packet), &frame, &size) != FRAME_COMPLETE)
        return 0;
    if (frame.operation == INTERNAL_KILL &&
        message_take(frame.fields, &message_kill_message, &kill_message, sizeof(kill_message), &err) == STATUS_OK)
        kill_child(f, &kill_message);
    else if (frame.operation == INTERNAL_KEEP_PIN &&
             message_take(frame.fields, &message_kept_pin, &kept_pin, sizeof(kept_pin), &err) == STATUS_OK)
        kept_pins_take(f->options.pins, &kept_pin);
    else if (frame.operation == INTERNAL_CHILD_READY &&
             message_take(frame.fields, &message_kill_message, &kill_message, sizeof(kill_message), &err) == STATUS_OK)
        note_good(f, kill_message.id);
    else if (frame.operation == INTERNAL_START_INIT)
        start_init(f);
    else if (frame.operation == INTERNAL_RELOAD && !f->stopping)
        answer_reload(f, frame.request);
    else if (frame.operation == INTERNAL_RELOAD_GO && !f->stopping)
        f->events.reload_go(f->events.context);
    return 0;
}

/* The children that a configuration asks for; the order is that of starting. */
static enum status list_children(struct family *f, struct error *err)
{
    const struct config *config = f->options.config;
    size_t count = 4;
    for (size_t i = 0; i < config->key_count; i++)
        count += config->keys[i].workers;
    for (size_t i = 0; i < config->profile_count; i++)
        count += config_has_tls_client(&config->profiles[i]) ? 1 : 0;
    f->children = calloc(count, sizeof(*f->children));
    if (f->children == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    f->children[f->count++] = (struct child){
        .family = f, .role = ROLE_FRONT, .name = f->options.configured ? f->options.configuration_path : NULL};
    f->children[f->count++] = (struct child){.family = f, .role = ROLE_STORE};
    f->children[f->count++] = (struct child){.family = f, .role = ROLE_NET};
    for (size_t i = 0; i < config->profile_count; i++)
        if (config_has_tls_client(&config->profiles[i]))
            f->children[f->count++] =
                (struct child){.family = f, .role = ROLE_NET_TLS, .name = config->profiles[i].name};
    for (size_t i = 0; i < config->key_count; i++)
        for (unsigned int w = 0; w < config->keys[i].workers; w++)
            f->children[f->count++] =
                (struct child){.family = f, .role = ROLE_KEY, .name = config->keys[i].name, .worker = (uint16_t)w};
    f->children[f->count++] = (struct child){.family = f, .role = ROLE_INIT, .name = f->options.configuration_path};
    return STATUS_OK;
}

enum status family_start(sd_event *event, const struct family_options *options, const struct family_events *events,
                         struct family **out, struct error *err)
{
    struct family *f = calloc(1, sizeof(*f));
    enum status status;
    if (f == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    *f = (struct family){.event = event, .options = *options, .events = *events, .control_fd = -1};
    status = list_children(f, err);
    for (size_t i = 0; i + 1 < f->count && status == STATUS_OK; i++) {
        status = start_child(f, &f->children[i], err);
        if (i == 0 && status == STATUS_OK &&
            sd_event_add_io(event, &f->control_source, f->control_fd, EPOLLIN, on_control, f) < 0)
            status = spawn_failure(err, "cannot watch the front");
    }
    if (status != STATUS_OK) {
        family_free(f);
        return status;
    }
    *out = f;
    return STATUS_OK;
}

/* Kills what is left. */
static int on_patience_over(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct family *f = userdata;
    (void)source;
    (void)usec;
    for (size_t i = 0; i < f->count; i++)
        if (f->children[i].id != 0)
            (void)kill(f->children[i].pid, SIGKILL);
    return 0;
}

void family_stop(struct family *f)
{
    if (f->stopping)
        return;
    f->stopping = true;
    if (f->children[0].id != 0)
        (void)kill(f->children[0].pid, SIGTERM);
    if (all_gone(f)) {
        f->events.ended(f->events.context);
        return;
    }
    if (sd_event_add_time_relative(f->event, &f->stop_source, CLOCK_MONOTONIC, FRONT_PATIENCE, 0, on_patience_over,
                                   f) < 0)
        for (size_t i = 0; i < f->count; i++) /* out of memory: no time to be patient */
            if (f->children[i].id != 0)
                (void)kill(f->children[i].pid, SIGKILL);
}

void family_free(struct family *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->count; i++) {
        struct child *c = &f->children[i];
        (void)sd_event_source_disable_unref(c->exit_source);
        (void)sd_event_source_disable_unref(c->restart_source);
        if (c->id != 0) {
            (void)kill(c->pid, SIGKILL);
            (void)waitpid(c->pid, NULL, 0);
        }
    }
    (void)sd_event_source_disable_unref(f->control_source);
    (void)sd_event_source_disable_unref(f->stop_source);
    if (f->control_fd >= 0)
        (void)close(f->control_fd);
    free(f->children);
    free(f);
}
