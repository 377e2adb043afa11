/* The operations `status`, `keys` and `profiles`: what the agent has, and how it is. */
#include "operations.h"

#include "children.h"
#include "keys.h"
#include "logins.h"
#include "metadata.h"
#include "tokens.h"

#include <stdio.h>
#include <unistd.h>

#define LIST_MAX (FRAME_MAX - 1024)

static void put_processes(struct front *f, struct list_builder *out)
{
    char name[LIMIT_TEXT];
    struct process_info own = {.name = span_text("front"), .state = span_text("ready"), .pid = (uint32_t)getpid(), .starts = 1};
    list_builder_add(out, &message_process_info, &own);
    for (const struct child *c = children_first(f->children); c != NULL; c = c->next) {
        if (c->role == ROLE_KEY)
            (void)snprintf(name, sizeof(name), "key %s %u", c->name, c->worker);
        else if (c->role == ROLE_NET_TLS)
            (void)snprintf(name, sizeof(name), "net %s", c->name);
        else
            (void)snprintf(name, sizeof(name), "%s", c->role == ROLE_NET ? "net" : c->role == ROLE_STORE ? "store" : "init");
        bool serves = c->ready || c->role == ROLE_NET || c->role == ROLE_NET_TLS || c->role == ROLE_STORE;
        struct process_info info = {.name = span_text(name),
                                    .state = span_text(c->id == 0 ? "ended" : serves ? "ready" : "starting"),
                                    .pid = c->id != 0 ? c->pid : 0,
                                    .starts = c->starts};
        if (c->role != ROLE_INIT || c->id != 0)
            list_builder_add(out, &message_process_info, &info);
    }
}

static struct list texts(const struct strings *s, struct span *items, size_t max)
{
    size_t count = s->count < max ? s->count : max;
    for (size_t i = 0; i < count; i++)
        items[i] = span_text(s->items[i]);
    return (struct list){.items = items, .count = count};
}

static void put_profile(struct front *f, const struct profile_config *p, struct list_builder *out)
{
    struct span resources[64], origins[256];
    struct token_state state = tokens_state(f->tokens, p);
    struct login_state login = logins_state(f->logins, p);
    const struct server_metadata *known = metadata_known(f->metadata, p);
    struct profile_info info = {
        .name = span_text(p->name),
        .key = span_text(p->key),
        .issuer = span_text(known != NULL ? known->issuer : p->issuer),
        .token_endpoint = span_text(known != NULL ? known->token_endpoint : p->token_endpoint),
        .client_id = span_text(p->client_id),
        .client_authentication = span_text(config_client_authentication_name(p->client_authentication)),
        .grant = span_text(config_grant_name(p->grant)),
        .scope = span_text(p->scope),
        .resources = texts(&p->resources, resources, sizeof(resources) / sizeof(resources[0])),
        .origins = texts(&p->origins, origins, sizeof(origins) / sizeof(origins[0])),
        .state = span_text(state.state),
        .reason = span_text(state.reason),
        .expires_in = state.expires_in,
        .dpop = span_text(config_dpop_name(p->dpop)),
    };
    if (config_needs_login(p)) {
        info.login = span_text(login.state);
        info.login_reason = span_text(login.reason);
        info.subject = span_text(login.subject);
        info.persisted = login.persisted;
    }
    list_builder_add(out, &message_profile_info, &info);
}

static void put_profiles(struct front *f, struct list_builder *out)
{
    for (size_t i = 0; i < f->config->profile_count; i++)
        put_profile(f, &f->config->profiles[i], out);
}

void op_keys(struct request *r, const void *message)
{
    struct list_builder keys;
    (void)message;
    list_builder_init(&keys, LIST_MAX);
    keys_put_info(r->front->keys, &keys);
    struct keys_answer answer = {.keys = list_builder_list(&keys)};
    request_answer(r, &message_keys_answer, &answer);
    list_builder_free(&keys);
}

void op_profiles(struct request *r, const void *message)
{
    struct list_builder profiles;
    (void)message;
    list_builder_init(&profiles, LIST_MAX);
    put_profiles(r->front, &profiles);
    struct profiles_answer answer = {.profiles = list_builder_list(&profiles)};
    request_answer(r, &message_profiles_answer, &answer);
    list_builder_free(&profiles);
}

void op_status(struct request *r, const void *message)
{
    struct front *f = r->front;
    struct list_builder processes, keys, profiles;
    (void)message;
    list_builder_init(&processes, LIST_MAX / 4);
    list_builder_init(&keys, LIST_MAX / 4);
    list_builder_init(&profiles, LIST_MAX / 2);
    put_processes(f, &processes);
    keys_put_info(f->keys, &keys);
    put_profiles(f, &profiles);
    struct status_answer answer = {.agent = span_text("dpop-agent " DPOP_VERSION),
                                   .pid = (uint32_t)getppid(),
                                   .uptime = (front_now(f) - f->agent_started) / 1000000,
                                   .configuration = span_text(f->configuration_path),
                                   .connections = clients_count(f->clients),
                                   .requests_waiting = keys_jobs_waiting(f->keys),
                                   .tokens_cached = tokens_count(f->tokens),
                                   .processes = list_builder_list(&processes),
                                   .keys = list_builder_list(&keys),
                                   .profiles = list_builder_list(&profiles)};
    request_answer(r, &message_status_answer, &answer);
    list_builder_free(&processes);
    list_builder_free(&keys);
    list_builder_free(&profiles);
}
