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
#include <unistd.h>

#define SECOND UINT64_C(1000000)
#define LOCK_TRIES 40
#define LOCK_PAUSE 50000 /* microseconds */

struct supervisor {
    sd_event *event;
    sd_event_source *restart_source;
    char configuration_path[PATHS_MAX];
    char state_folder[PATHS_MAX];
    struct listener listener;
    struct config *config;
    struct config *next_config; /* good, and waiting for the old family to end */
    bool configured, next_configured;
    bool reload_again; /* asked for while a reload was under way: the file may have changed since it was read */
    struct family *family;
    bool stopping;
};

static int start_family(struct supervisor *s);
static void reload(void *context);

/* A file that is not there is an agent without configuration, which can still make a first key (dpop init). */
static enum status read_configuration(const struct supervisor *s, struct config **out, bool *configured, struct error *err)
{
    enum status status = config_read_file(s->configuration_path, out, err);
    *configured = status == STATUS_OK;
    if (status == STATUS_NOT_CONFIGURED)
        return config_parse(span_text(""), s->configuration_path, ROLE_SUPERVISOR, out, err);
    if (status == STATUS_OK && (status = config_check(*out, err)) != STATUS_OK) {
        config_free(*out);
        *out = NULL;
    }
    return status;
}

static bool shared(const struct config *c)
{
    return c->agent.allow_users.count > 0;
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
    config_free(s->config);
    s->config = s->next_config;
    s->configured = s->next_configured;
    s->next_config = NULL;
    log_open("supervisor", s->config->agent.log_level);
    (void)start_family(s);
    if (s->reload_again) {
        s->reload_again = false;
        reload(s);
    }
}

static int on_restart(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *s = userdata;
    (void)source;
    (void)usec;
    s->restart_source = sd_event_source_unref(s->restart_source);
    return start_family(s);
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
    family_free(s->family);
    s->family = NULL;
    start_family_later(s, SECOND / 10);
}

static void reload(void *context)
{
    struct supervisor *s = context;
    struct config *config = NULL;
    struct error err;
    bool configured;
    s->reload_again = s->next_config != NULL;
    if (s->stopping || s->reload_again)
        return;
    enum status status = read_configuration(s, &config, &configured, &err);
    if (status == STATUS_OK && s->configured && !configured)
        status = error_set(&err, STATUS_CONFIGURATION, NULL, "%s is gone", s->configuration_path);
    if (status != STATUS_OK || listen_share(&s->listener, shared(config), &err) != STATUS_OK) {
        log_error("%s; the configuration in use stays", err.message);
        config_free(config);
        return;
    }
    log_info("reloading %s", s->configuration_path);
    s->next_config = config;
    s->next_configured = configured;
    if (s->family != NULL)
        family_stop(s->family);
    else
        on_ended(s);
}

static int start_family(struct supervisor *s)
{
    struct error err;
    struct family_options options = {.config = s->config,
                                     .configuration_path = s->configuration_path,
                                     .configured = s->configured,
                                     .state_folder = s->state_folder,
                                     .listen_fd = s->listener.fd};
    struct family_events events = {.ended = on_ended, .failed = on_failed, .reload = reload, .context = s};
    if (s->family != NULL)
        return 0; /* a reload was quicker than the timer */
    if (s->stopping || family_start(s->event, &options, &events, &s->family, &err) == STATUS_OK)
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
        return listen_open(options->socket, shared(s->config), &s->listener, err);
    status = paths_socket(path, err);
    return status == STATUS_OK ? listen_open(path, shared(s->config), &s->listener, err) : status;
}

/* The store's lock tells whether another agent works in our state folder. One that was just killed may still be ending. */
static enum status check_state_folder(const struct supervisor *s, struct error *err)
{
    const char *folder = s->config->agent.state_folder != NULL ? s->config->agent.state_folder : s->state_folder;
    char path[PATHS_MAX + 8];
    (void)snprintf(path, sizeof(path), "%s/lock", folder);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int r = fd < 0 ? 0 : -1;
    for (int i = 0; i < LOCK_TRIES && r != 0 && (r = flock(fd, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK; i++)
        (void)usleep(LOCK_PAUSE);
    bool taken = r != 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        (void)close(fd);
    return taken ? error_set(err, STATUS_EXISTS, "stop it first, or give this one a state-folder of its own",
                             "another dpop-agent uses the state folder %s", folder)
                 : STATUS_OK;
}

static enum status set_up(struct supervisor *s, const struct supervisor_options *options, struct error *err)
{
    enum status status = choose_paths(s, options, err);
    if (status == STATUS_OK)
        status = read_configuration(s, &s->config, &s->configured, err);
    if (status != STATUS_OK)
        return status;
    log_open("supervisor", s->config->agent.log_level);
    status = open_listener(s, options, err);
    if (status == STATUS_OK)
        status = check_state_folder(s, err);
    return status == STATUS_OK ? make_event_loop(s, err) : status;
}

int supervisor_main(const struct supervisor_options *options)
{
    struct supervisor s = {.listener = {.fd = -1, .lock_fd = -1}};
    struct error err;
    int result = 1;

    log_open("supervisor", LOG_LEVEL_INFO);
    if (set_up(&s, options, &err) != STATUS_OK) {
        log_error("%s%s%s", err.message, err.next[0] != '\0' ? "; " : "", err.next);
        goto out;
    }
    log_info("version " DPOP_VERSION ", configuration %s%s, socket %s", s.configuration_path,
             s.configured ? "" : " (none yet: dpop init makes one)",
             s.listener.path != NULL ? s.listener.path : "from systemd");
    (void)start_family(&s);
    (void)sd_notify(0, "READY=1");
    result = sd_event_loop(s.event) == 0 ? 0 : 1;
out:
    family_free(s.family);
    (void)sd_event_source_disable_unref(s.restart_source);
    sd_event_unref(s.event);
    listen_close(&s.listener);
    config_free(s.config);
    config_free(s.next_config);
    return result;
}
