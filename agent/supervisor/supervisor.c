/* See supervisor.h. */
#include "supervisor.h"

#include "config_check.h"
#include "family.h"
#include "listen.h"
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000)
#define LOCK_TRIES 40
#define LOCK_PAUSE 50000 /* microseconds */

struct configuration {
    struct config *config;
    bool present; /* there is a file; else it is the one of an agent that waits for dpop init */
};

/* A configuration goes from `checked` (good, not used yet) to `next` (the old family is ending) to `current`. */
struct supervisor {
    sd_event *event;
    sd_event_source *restart_source;
    char configuration_path[PATHS_MAX];
    char state_folder[PATHS_MAX];
    struct listener listener;
    struct configuration current, checked, next;
    bool reload_again; /* asked for while a reload was under way: the file may have changed since it was read */
    uint64_t started;  /* microseconds of CLOCK_BOOTTIME */
    struct kept_pins *pins;
    struct family *family;
    bool stopping;
};

static int start_family(struct supervisor *s);
static enum status try_family(struct supervisor *s, struct error *err);
static void reload(struct supervisor *s);

static void drop(struct configuration *c)
{
    config_free(c->config);
    *c = (struct configuration){NULL, false};
}

static bool shared(const struct config *c)
{
    return c->agent.allow_users.count > 0;
}

/* Written out again for each role, a file of nearly the greatest size may have become too large. */
static enum status check_slices(const struct config *c, struct error *err)
{
    static const enum role roles[] = {ROLE_FRONT, ROLE_NET, ROLE_STORE, ROLE_INIT};
    bool failed = false;
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]) && !failed; i++) {
        struct buffer slice;
        buffer_init(&slice, CONFIG_MAX_FILE - PATHS_MAX - 64); /* room for the state folder, which the family adds */
        config_put_slice(c, roles[i], NULL, &slice);
        failed = slice.failed;
        buffer_free(&slice);
    }
    if (failed)
        return error_set(err, STATUS_CONFIGURATION, "make it smaller", "%s is too large to be passed on", c->path);
    return STATUS_OK;
}

/* A file that is not there is an agent without configuration, which can still make a first key (dpop init). */
static enum status read_configuration(const struct supervisor *s, struct configuration *out, struct error *err)
{
    struct configuration c = {NULL, true};
    enum status status = config_read_file(s->configuration_path, &c.config, err);
    if (status == STATUS_NOT_CONFIGURED) {
        c.present = false;
        status = config_parse(span_text(""), s->configuration_path, ROLE_SUPERVISOR, &c.config, err);
    }
    if (status == STATUS_OK)
        status = config_check(c.config, err);
    if (status == STATUS_OK)
        status = check_slices(c.config, err);
    if (status == STATUS_OK)
        *out = c;
    else
        drop(&c);
    return status;
}

static const char *state_folder(const struct supervisor *s, const struct config *c)
{
    return c->agent.state_folder != NULL ? c->agent.state_folder : s->state_folder;
}

/* The store's lock tells whether another agent works in a state folder. One that was just killed may still be
   ending. */
static enum status check_state_folder(const char *folder, int tries, struct error *err)
{
    char path[PATHS_MAX + 8];
    (void)snprintf(path, sizeof(path), "%s/lock", folder);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int r = fd < 0 ? 0 : -1;
    for (int i = 0; i < tries && r != 0; i++) {
        if (i > 0)
            (void)usleep(LOCK_PAUSE);
        r = flock(fd, LOCK_EX | LOCK_NB);
        if (r != 0 && errno != EWOULDBLOCK)
            break;
    }
    bool taken = r != 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        (void)close(fd);
    return taken ? error_set(err, STATUS_EXISTS, "stop it first, or give this one a state-folder of its own",
                             "another dpop-agent uses the state folder %s", folder)
                 : STATUS_OK;
}

/* Whether the socket could be given to other users, or be taken from them; it is as before afterwards. */
static enum status check_share(const struct supervisor *s, const struct config *c, struct error *err)
{
    struct error ignored;
    if (shared(c) == shared(s->current.config))
        return STATUS_OK;
    enum status status = listen_share(&s->listener, shared(c), err);
    if (listen_share(&s->listener, shared(s->current.config), &ignored) != STATUS_OK)
        log_error("%s", ignored.message);
    return status;
}

/* Everything that a start would refuse. What is good is kept: it is this that reload_go uses. */
static enum status reload_check(void *context, struct error *err)
{
    struct supervisor *s = context;
    struct configuration found = {NULL, false};
    if (s->stopping || s->next.config != NULL)
        return error_set(err, STATUS_RESTARTED, "try again", "the agent is ending or reloading its configuration");
    enum status status = read_configuration(s, &found, err);
    if (status == STATUS_OK && s->current.present && !found.present)
        status = error_set(err, STATUS_CONFIGURATION, "put it back", "%s is gone", s->configuration_path);
    if (status == STATUS_OK && strcmp(state_folder(s, found.config), state_folder(s, s->current.config)) != 0)
        status = check_state_folder(state_folder(s, found.config), 1, err);
    if (status == STATUS_OK)
        status = check_share(s, found.config, err);
    if (status != STATUS_OK) {
        log_error("%s%s%s; the configuration in use stays", err->message, err->next[0] != '\0' ? "; " : "", err->next);
        drop(&found);
        return status;
    }
    drop(&s->checked);
    s->checked = found;
    return STATUS_OK;
}

/* The old family is gone. If the new one cannot be started, the old configuration can. */
static void use_next(struct supervisor *s)
{
    struct configuration before = s->current;
    struct error err;
    s->current = s->next;
    s->next = (struct configuration){NULL, false};
    log_open("supervisor", s->current.config->agent.log_level);
    if (try_family(s, &err) == STATUS_OK) {
        drop(&before);
        return;
    }
    drop(&s->current);
    s->current = before;
    log_open("supervisor", s->current.config->agent.log_level);
    log_error("%s; back to the configuration before", err.message);
    if (listen_share(&s->listener, shared(s->current.config), &err) != STATUS_OK)
        log_error("%s", err.message);
    (void)start_family(s);
}

static void on_ended(void *context)
{
    struct supervisor *s = context;
    family_free(s->family);
    s->family = NULL;
    if (s->stopping) {
        (void)sd_event_exit(s->event, 0);
        return;
    }
    use_next(s);
    if (s->reload_again) {
        s->reload_again = false;
        reload(s);
    }
}

/* What was checked is what is used next. */
static bool take_checked(struct supervisor *s)
{
    struct error err;
    if (listen_share(&s->listener, shared(s->checked.config), &err) != STATUS_OK) {
        log_error("%s; the configuration in use stays", err.message);
        drop(&s->checked);
        return false;
    }
    s->next = s->checked;
    s->checked = (struct configuration){NULL, false};
    return true;
}

static void reload_go(void *context)
{
    struct supervisor *s = context;
    if (s->stopping || s->checked.config == NULL || s->next.config != NULL || !take_checked(s))
        return;
    log_info("reloading %s", s->configuration_path);
    if (s->family != NULL)
        family_stop(s->family);
    else
        on_ended(s);
}

/* SIGHUP: both steps at once. */
static void reload(struct supervisor *s)
{
    struct error err;
    s->reload_again = s->next.config != NULL;
    if (!s->stopping && !s->reload_again && reload_check(s, &err) == STATUS_OK)
        reload_go(s);
}

static int on_restart(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *s = userdata;
    struct error err;
    (void)source;
    (void)usec;
    s->restart_source = sd_event_source_unref(s->restart_source);
    if (s->family != NULL)
        return 0; /* a reload was quicker than the timer */
    /* The front may have ended in the middle of a change of the file (a key's rotation, say) that it was to take up
       then. */
    if (!s->stopping && reload_check(s, &err) == STATUS_OK && take_checked(s))
        use_next(s);
    else
        (void)start_family(s);
    return 0;
}

static void start_family_later(struct supervisor *s, uint64_t delay)
{
    if (s->restart_source == NULL &&
        sd_event_add_time_relative(s->event, &s->restart_source, CLOCK_MONOTONIC, delay, 0, on_restart, s) < 0)
        (void)sd_event_exit(s->event, 1);
}

static void on_failed(void *context)
{
    struct supervisor *s = context;
    log_warning("the front ended: all processes are started anew");
    drop(&s->checked); /* who had asked for it is not there to say so */
    family_free(s->family);
    s->family = NULL;
    start_family_later(s, SECOND / 10);
}

static enum status try_family(struct supervisor *s, struct error *err)
{
    struct family_options options = {.config = s->current.config,
                                     .configuration_path = s->configuration_path,
                                     .configured = s->current.present,
                                     .state_folder = s->state_folder,
                                     .listen_fd = s->listener.fd,
                                     .pins = s->pins,
                                     .started = s->started};
    struct family_events events = {
        .ended = on_ended, .failed = on_failed, .reload_check = reload_check, .reload_go = reload_go, .context = s};
    return family_start(s->event, &options, &events, &s->family, err);
}

static int start_family(struct supervisor *s)
{
    struct error err;
    if (s->family != NULL)
        return 0; /* a reload was quicker than the timer */
    if (s->stopping || try_family(s, &err) == STATUS_OK)
        return 0;
    log_error("%s", err.message);
    start_family_later(s, SECOND);
    return 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    struct supervisor *s = userdata;
    (void)source;
    if (info->ssi_signo == SIGHUP) {
        reload(s);
        return 0;
    }
    log_info("ending: signal %u from process %u", info->ssi_signo, info->ssi_pid);
    (void)sd_notify(0, "STOPPING=1");
    s->stopping = true;
    if (s->family == NULL)
        return sd_event_exit(s->event, 0);
    family_stop(s->family);
    return 0;
}

static enum status make_event_loop(struct supervisor *s, struct error *err)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    sigset_t blocked;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGCHLD);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaddset(&blocked, signals[i]);
    int r = sigprocmask(SIG_BLOCK, &blocked, NULL);
    if (r == 0)
        r = sd_event_new(&s->event);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]) && r >= 0; i++)
        r = sd_event_add_signal(s->event, NULL, signals[i], on_signal, s);
    if (r >= 0)
        r = sd_event_set_watchdog(s->event, 1);
    return r >= 0 ? STATUS_OK : error_set(err, STATUS_INTERNAL, NULL, "cannot make an event loop: %s", strerror(-r));
}

static enum status choose_paths(struct supervisor *s, const struct supervisor_options *options, struct error *err)
{
    if (options->configuration == NULL) {
        enum status status = paths_configuration(s->configuration_path, err);
        if (status != STATUS_OK)
            return status;
    } else {
        char absolute[PATHS_MAX];
        if (options->configuration[0] != '/' && getcwd(absolute, sizeof(absolute)) == NULL)
            return error_set(err, STATUS_CONFIGURATION, "name an absolute path", "the working folder cannot be read");
        if (snprintf(s->configuration_path, PATHS_MAX, "%s%s%s", options->configuration[0] == '/' ? "" : absolute,
                     options->configuration[0] == '/' ? "" : "/", options->configuration) >= PATHS_MAX)
            return error_set(err, STATUS_CONFIGURATION, NULL, "the configuration's path is too long");
    }
    return paths_state_folder(s->state_folder, err);
}

static enum status open_listener(struct supervisor *s, const struct supervisor_options *options, struct error *err)
{
    char path[PATHS_MAX];
    bool taken;
    enum status status = listen_take(&s->listener, &taken, err);
    if (status != STATUS_OK || taken)
        return status;
    if (options->socket != NULL)
        return listen_open(options->socket, shared(s->current.config), &s->listener, err);
    status = paths_socket(path, err);
    return status == STATUS_OK ? listen_open(path, shared(s->current.config), &s->listener, err) : status;
}

static enum status set_up(struct supervisor *s, const struct supervisor_options *options, struct error *err)
{
    enum status status = choose_paths(s, options, err);
    if (status == STATUS_OK && (s->pins = kept_pins_new()) == NULL)
        status = error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    if (status == STATUS_OK)
        status = read_configuration(s, &s->current, err);
    if (status != STATUS_OK)
        return status;
    log_open("supervisor", s->current.config->agent.log_level);
    status = open_listener(s, options, err);
    if (status == STATUS_OK)
        status = check_state_folder(state_folder(s, s->current.config), LOCK_TRIES, err);
    return status == STATUS_OK ? make_event_loop(s, err) : status;
}

int supervisor_main(const struct supervisor_options *options)
{
    struct supervisor s = {.listener = {.fd = -1, .lock_fd = -1}};
    struct error err;
    struct timespec now;
    int result = 1;

    log_open("supervisor", LOG_LEVEL_INFO);
    if (clock_gettime(CLOCK_BOOTTIME, &now) == 0)
        s.started = (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec / 1000;
    if (set_up(&s, options, &err) != STATUS_OK) {
        log_error("%s%s%s", err.message, err.next[0] != '\0' ? "; " : "", err.next);
        goto out;
    }
    log_info("version " DPOP_VERSION ", configuration %s%s, socket %s", s.configuration_path,
             s.current.present ? "" : " (none yet: dpop init makes one)",
             s.listener.path != NULL ? s.listener.path : "from systemd");
    (void)start_family(&s);
    (void)sd_notify(0, "READY=1");
    result = sd_event_loop(s.event) == 0 ? 0 : 1;
out:
    family_free(s.family);
    (void)sd_event_source_disable_unref(s.restart_source);
    sd_event_unref(s.event);
    listen_close(&s.listener);
    drop(&s.current);
    drop(&s.checked);
    drop(&s.next);
    kept_pins_free(s.pins);
    return result;
}
