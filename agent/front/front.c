/* See front.h: the loop, the tick, and the order in which the parts are opened. */
#include "front.h"

#include "as_request.h"
#include "children.h"
#include "clients.h"
#include "keys.h"
#include "log.h"
#include "login_flow.h"
#include "login_store.h"
#include "logins.h"
#include "metadata.h"
#include "nonce.h"
#include "policy.h"
#include "role.h"
#include "rotation.h"
#include "skew.h"
#include "stream.h"
#include "tokens.h"
#include "trace.h"
#include "unlocks.h"

#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NONCES_MAX 4096
#define ORIGINS_MAX 1024 /* whose clocks are known */
#define DRAIN 2000000           /* microseconds for what is under way, */
#define DRAIN_PRECIOUS 10000000 /* and with a refresh token or a code */
#define LOOK 5000               /* microseconds from one look to the next whether it has ended */
#define LAST_ROUNDS 4           /* of telling those who wait: the longest chain of things that are asked for one after
                                   the other */
#define LAST_WORDS 500000 /* microseconds for answers to leave, when the front ends */

uint64_t front_now(const struct front *f)
{
    uint64_t now;
    return sd_event_now(f->event, CLOCK_BOOTTIME, &now) >= 0 ? now : f->started;
}

uint64_t front_deadline(const struct front *f, uint32_t timeout)
{
    uint32_t milliseconds = timeout == 0 ? DEFAULT_TIMEOUT : timeout < MAX_TIMEOUT ? timeout : MAX_TIMEOUT;
    return front_now(f) + milliseconds * UINT64_C(1000);
}

static bool waiting(const struct front *f)
{
    return children_waiting(f->children) || keys_waiting(f->keys) || tokens_waiting(f->tokens) ||
           clients_waiting(f->clients) ||
           as_requests_waiting(f->as_requests) || metadata_waiting(f->metadata) || logins_waiting(f->logins) ||
           login_flows_waiting(f->login_flows) || traces_waiting(f->traces) || unlocks_waiting(f->unlocks);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct front *f = userdata;
    uint64_t now = front_now(f);
    (void)source;
    (void)usec;
    clients_tick(f->clients, now);
    tokens_tick(f->tokens, now);
    login_flows_tick(f->login_flows, now);
    logins_tick(f->logins, now);
    metadata_tick(f->metadata, now);
    as_requests_tick(f->as_requests, now);
    traces_tick(f->traces, now);
    keys_tick(f->keys, now);
    unlocks_tick(f->unlocks, now);
    children_tick(f->children, now);
    if (waiting(f))
        front_wait(f);
    return 0;
}

void front_wait(struct front *f)
{
    int enabled;
    if (sd_event_source_get_enabled(f->tick, &enabled) >= 0 && enabled != SD_EVENT_OFF)
        return;
    (void)sd_event_source_set_time_relative(f->tick, FRONT_TICK);
    (void)sd_event_source_set_enabled(f->tick, SD_EVENT_ONESHOT);
}

static int on_last_words_said(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct front *f = userdata;
    (void)source;
    (void)usec;
    return sd_event_exit(f->event, 0);
}

/* Every request gets an answer, then the process ends. */
static int say_last_words(struct front *f)
{
    clients_end(f->clients);
    streams_flush(f->streams);
    if (clients_count(f->clients) == 0)
        return sd_event_exit(f->event, 0);
    return sd_event_add_time_relative(f->event, NULL, CLOCK_MONOTONIC, LAST_WORDS, 0, on_last_words_said, f);
}

static bool precious_under_way(const struct front *f)
{
    return logins_busy(f->logins) || login_flows_busy(f->login_flows) || rotation_busy(f);
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct front *f = userdata;
    uint64_t now = front_now(f);
    bool precious = precious_under_way(f) && now < f->ending_since + DRAIN_PRECIOUS;
    (void)usec;
    if (!precious && (!clients_at_work(f->clients) || now >= f->ending_since + DRAIN)) {
        (void)sd_event_source_unref(source); /* it is a oneshot */
        return say_last_words(f);
    }
    (void)sd_event_source_set_time_relative(source, LOOK);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* SIGTERM from the supervisor. What is under way gets some time to come to its answer; what has left with a refresh
   token or a code in it gets more: a token that the server has replaced meanwhile would be lost. */
static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    struct front *f = userdata;
    sd_event_source *look;
    (void)source;
    (void)info;
    if (f->ending)
        return 0;
    clients_drain(f->clients);
    f->ending = true;
    f->ending_since = front_now(f);
    rotation_hurry(f);
    streams_flush(f->streams);
    if (!precious_under_way(f) && !clients_at_work(f->clients))
        return say_last_words(f);
    return sd_event_add_time_relative(f->event, &look, CLOCK_BOOTTIME, LOOK, LOOK / 5, on_look, f);
}

static int open_loop(struct front *f)
{
    sigset_t blocked;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTERM);
    (void)sigaddset(&blocked, SIGINT); /* from a terminal it reaches the whole group: the supervisor decides */
    int r = sigprocmask(SIG_BLOCK, &blocked, NULL);
    if (r == 0)
        r = sd_event_new(&f->event);
    if (r >= 0)
        r = sd_event_add_signal(f->event, NULL, SIGTERM, on_signal, f);
    if (r >= 0)
        r = sd_event_add_time(f->event, &f->tick, CLOCK_BOOTTIME, 0, FRONT_TICK / 5, on_tick, f);
    if (r >= 0)
        r = sd_event_source_set_enabled(f->tick, SD_EVENT_OFF);
    return r;
}

static uint64_t agent_started(const struct front *f)
{
    const char *text = getenv(STARTED_VARIABLE);
    uint64_t started = text != NULL ? strtoull(text, NULL, 10) : 0;
    return started > 0 && started < f->started ? started : f->started;
}

static int open_parts(struct front *f, struct error *err)
{
    if (open_loop(f) < 0)
        return -1;
    f->started = front_now(f);
    f->agent_started = agent_started(f);
    randombytes_buf(f->attempt_key, sizeof(f->attempt_key));
    f->nonces = nonce_table_new(NONCES_MAX);
    f->skew = skew_table_new(ORIGINS_MAX, f->config->agent.max_clock_skew);
    f->streams = streams_new(f);
    if (f->nonces == NULL || f->skew == NULL || f->streams == NULL ||
        policy_new(f->config, &f->policy, err) != STATUS_OK)
        return -1;
    return keys_open(f) != 0 || traces_open(f) != 0 || as_requests_open(f) != 0 || metadata_open(f) != 0 ||
           login_store_open(f) != 0 ||
                   logins_open(f) != 0 || login_flows_open(f) != 0 || tokens_open(f) != 0 || unlocks_open(f) != 0 ||
                   children_open(f) != 0 || clients_open(f) != 0
               ? -1
               : 0;
}

int front_main(const struct config *config, const char *configuration_path)
{
    struct front f = {.config = config, .configuration_path = configuration_path};
    struct error err = {.message = "out of memory, or out of descriptors"};
    int result = 1;
    if (open_parts(&f, &err) == 0)
        result = sd_event_loop(f.event);
    else
        log_error("cannot start: %s", err.message);
    clients_free(f.clients);
    login_flows_end(f.login_flows);
    rotation_end(&f);
    for (int i = 0; i < LAST_ROUNDS; i++) { /* who still waits is told, and frees what it holds; it may ask for one
                                               thing more */
        as_requests_end(f.as_requests);
        children_end(f.children);
        keys_end(f.keys);
    }
    unlocks_end(f.unlocks);
    children_free(f.children);
    keys_free(f.keys);
    tokens_free(f.tokens);
    login_flows_free(f.login_flows);
    logins_free(f.logins);
    login_store_free(f.login_store);
    metadata_free(f.metadata);
    as_requests_free(f.as_requests);
    traces_free(f.traces);
    policy_free(f.policy);
    streams_free(f.streams);
    nonce_table_free(f.nonces);
    skew_table_free(f.skew);
    (void)sd_event_source_disable_unref(f.tick);
    sd_event_unref(f.event);
    return result;
}
