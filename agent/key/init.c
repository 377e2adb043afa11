/*
 * `dpop init`: the first key and the first configuration (role.h). One INTERNAL_INIT frame in, one answer out. The same
 * process changes a configuration later: a new profile (init_profile.h), keys that come and go (init_keys.h): it alone
 * may write there.
 *
 * Which token it is, is chosen first (init_choice.h); then the token is made, or opened, and the key in it, and the
 * configuration comes last, so that it never names what does not exist. Nothing that exists is overwritten, and a
 * failure takes back what this run has made (init_folder.h). What cannot be taken back is a token of another module:
 * the error says so.
 */
#include "init_choice.h"
#include "init_folder.h"
#include "init_given.h"
#include "init_keys.h"
#include "init_plan.h"
#include "init_profile.h"
#include "init_token.h"
#include "internal.h"
#include "role.h"
#include "text.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SOFTHSM_CONF_MAX 8192

/* What init serves requests with. */
struct server {
    const struct config *config;
    const char *configuration;
    config_checker check;
    struct channel *channel;
    const struct frame *frame;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

static enum status check_nothing_exists(const struct init_plan *p, struct error *err)
{
    enum status status = init_folder_check_absent(p->configuration, "configuration", err);
    return status == STATUS_OK ? init_folder_check_absent(p->pin_file, "PIN file", err) : status;
}

/* Our own folder for tokens; SoftHSM reads its configuration from $SOFTHSM2_CONF, in C_Initialize. */
static enum status prepare_store(const struct init_plan *p, struct init_folder *f, struct error *err)
{
    struct buffer b;
    if (p->store == NULL)
        return STATUS_OK;
    buffer_init(&b, SOFTHSM_CONF_MAX);
    buffer_put_text(&b, "directories.tokendir = ");
    buffer_put_text(&b, p->store);
    buffer_put_text(&b, "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n");
    enum status status = init_folder_make(f, p->store, err);
    if (status == STATUS_OK && p->softhsm_conf != NULL)
        status = b.failed ? no_memory(err)
                          : init_folder_write_same(f, p->softhsm_conf, buffer_span(&b), "SoftHSM configuration", err);
    if (status == STATUS_OK)
        status = init_folder_watch_tokens(f, p->store, err);
    buffer_free(&b);
    return status;
}

/* A token and a key in the module, with a PIN in its file. */
static enum status make_in(const struct module *m, struct init_plan *p, struct init_folder *f, struct error *err)
{
    struct token there;
    struct jwk jwk;
    enum status status = token_find_label(m, p->label, &there, err);
    if (status == STATUS_OK)
        return error_set(err, STATUS_EXISTS, "nothing was changed; choose another name",
                         "there is a token \"%s\" already in %s", p->label, p->store != NULL ? p->store : p->module);
    if (status != STATUS_KEY_ABSENT)
        return status;
    struct secret *pin = init_token_random_pin();
    if (pin == NULL)
        return no_memory(err);
    status = init_folder_write(f, p->pin_file, secret_span(pin), "PIN file", err);
    p->begun = status == STATUS_OK;
    if (status == STATUS_OK)
        status = init_token_make(m, p->label, p->name, pin, &jwk, err);
    secret_free(pin);
    if (status == STATUS_OK)
        status = token_find_label(m, p->label, &there, err);
    if (status == STATUS_OK && jwk_thumbprint(&jwk, p->jkt) != 0)
        status = error_set(err, STATUS_INTERNAL, NULL, "the thumbprint could not be computed");
    if (status == STATUS_OK)
        memcpy(p->model, there.model, sizeof(p->model));
    return status;
}

static enum status make_token(struct init_plan *p, struct init_folder *f, struct error *err)
{
    struct module m = {0};
    enum status status = prepare_store(p, f, err);
    if (status == STATUS_OK)
        status = module_set_environment(&p->environment, err);
    if (status == STATUS_OK)
        status = module_open(p->module, &m, err);
    if (status != STATUS_OK)
        return status;
    status = make_in(&m, p, f, err);
    module_close(&m); /* before anything is taken back: it has files open */
    return status;
}

/* A token cannot be taken back where it is not in a folder of its own: the error says what may be left. And a TPM that
   nobody asked for need not be taken. */
static void say_what_is_left(const struct init_request *request, const struct init_plan *p, const struct init_folder *f,
                             struct error *err)
{
    size_t len = strlen(err->next);
    if (p->kind == INIT_MODULE && p->begun)
        (void)snprintf(err->next, sizeof(err->next), "look whether the module has a token \"%s\" now, and erase it",
                       p->label);
    if (p->kind == INIT_TPM && p->begun && init_folder_had_tokens(f))
        (void)snprintf(err->next, sizeof(err->next),
                       "look whether %.140s has a token \"%s\" now (tpm2_ptool), and erase it", p->store, p->label);
    else if (p->kind == INIT_TPM && request->kind.data == NULL)
        (void)snprintf(err->next + len, sizeof(err->next) - len, "%schoose --softhsm", len > 0 ? "; or " : "");
    text_clean(err->next); /* it may have been cut within a character */
}

static enum status run(const struct init_request *request, struct init_plan *p, const struct secret *pin,
                       struct init_folder *f, struct error *err)
{
    struct init_given given = {.open = false};
    enum status status = init_folder_make(f, p->state, err);
    if (status == STATUS_OK)
        status = init_folder_lock(f, p->state, err);
    if (status == STATUS_OK && p->kind == INIT_TOKEN)
        status = init_given_open(&given, p, pin, request->keep_pin, f, err);
    else if (status == STATUS_OK)
        status = make_token(p, f, err);
    if (status == STATUS_OK)
        status = init_plan_write(p, f, err);
    init_given_close(&given, status != STATUS_OK);
    if (status != STATUS_OK && status != STATUS_EXISTS)
        say_what_is_left(request, p, f, err);
    return status;
}

/* The PIN comes as a descriptor, never in a message. An empty one would be counted by the token as a wrong one. */
static enum status read_pin(struct channel *channel, struct secret **out, struct error *err)
{
    int fd = channel_take_descriptor(channel);
    if (fd < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, NULL, "the PIN's descriptor did not come");
    enum status status = secret_read_descriptor(fd, "PIN", LIMIT_PIN, true, out, err);
    (void)close(fd);
    if (status == STATUS_OK && (*out)->len == 0) {
        secret_free(*out);
        *out = NULL;
        status = error_set(err, STATUS_INVALID_ARGUMENT, NULL, "the PIN is empty");
    }
    return status;
}

static void answer_init(const struct server *s, const struct init_plan *p, const struct init_choice *choice)
{
    struct init_answer answer = {
        .uri = span_text(p->uri),
        .jkt = span_text(p->jkt),
        .configuration = span_text(p->configuration),
        .token_folder = span_text(p->store != NULL ? p->store : ""),
        .pin_file = p->pin_kept ? span_text(p->pin_file) : (struct span){0},
        .reason = span_text(choice->reason),
        .model = p->model[0] != '\0' ? span_text(p->model) : (struct span){0},
    };
    message_put_frame(&s->channel->out, INTERNAL_INIT | OPERATION_ANSWER, s->frame->request, &message_init_answer,
                      &answer);
    log_info("init: key \"%s\" and %s: %s", p->name, p->configuration, choice->reason);
}

static enum status serve_init(const struct server *s, struct error *err)
{
    struct init_request request;
    struct init_folder folder;
    struct init_plan plan = {.configuration = NULL};
    struct init_choice choice = {.module = NULL};
    struct secret *pin = NULL;
    init_folder_open(&folder);
    enum status status = message_take(s->frame->fields, &message_init_request, &request, sizeof(request), err);
    if (status == STATUS_OK && request.pin)
        status = read_pin(s->channel, &pin, err);
    if (status == STATUS_OK)
        status = init_plan_name(&request, s->config->agent.state_folder, s->configuration, &plan, err);
    if (status == STATUS_OK)
        status = check_nothing_exists(&plan, err);
    if (status == STATUS_OK)
        status = init_choice_make(&request, &init_choice_machine, &choice, err);
    if (status == STATUS_OK)
        status = init_plan_complete(&request, &choice, &init_choice_machine, &plan, err);
    if (status == STATUS_OK)
        status = run(&request, &plan, pin, &folder, err);
    secret_free(pin);
    init_folder_close(&folder, status != STATUS_OK);
    if (status == STATUS_OK)
        answer_init(s, &plan, &choice);
    init_plan_free(&plan);
    init_choice_free(&choice);
    return status;
}

static enum status serve_add_profile(const struct server *s, struct error *err)
{
    struct add_profile request;
    struct init_profile made = {NULL};
    enum status status = message_take(s->frame->fields, &message_add_profile, &request, sizeof(request), err);
    if (status == STATUS_OK)
        status = init_profile_add(&request, s->configuration, s->config->agent.state_folder, s->check, &made, err);
    if (status == STATUS_OK) {
        struct profile_added answer = {span_text(s->configuration), span_text(made.secret_file)};
        message_put_frame(&s->channel->out, INTERNAL_ADD_PROFILE | OPERATION_ANSWER, s->frame->request,
                          &message_profile_added, &answer);
        log_info("init: added [profile %.*s] to %s", (int)request.name.len, (const char *)request.name.data,
                 s->configuration);
    }
    init_profile_free(&made);
    return status;
}

static enum status answer_keys(const struct server *s, const struct strings *profiles, const char *what,
                               struct span name, struct error *err)
{
    struct span *names = calloc(profiles->count + 1, sizeof(*names));
    if (names == NULL)
        return no_memory(err);
    for (size_t i = 0; i < profiles->count; i++)
        names[i] = span_text(profiles->items[i]);
    struct keys_changed answer = {.configuration = span_text(s->configuration),
                                  .profiles = {.items = names, .count = profiles->count}};
    message_put_frame(&s->channel->out, s->frame->operation | OPERATION_ANSWER, s->frame->request,
                      &message_keys_changed, &answer);
    log_info("init: %s [key %.*s] in %s", what, (int)name.len, (const char *)name.data, s->configuration);
    free(names);
    return STATUS_OK;
}

static enum status serve_keys(const struct server *s, struct error *err)
{
    struct init_keys_place place = {s->configuration, s->config->agent.state_folder, s->check, time(NULL)};
    union {
        struct add_key add;
        struct remove_key remove;
        struct switch_key change;
    } request;
    struct strings profiles = {NULL, 0};
    struct span fields = s->frame->fields;
    enum status status;
    if (s->frame->operation == INTERNAL_ADD_KEY) {
        status = message_take(fields, &message_add_key, &request.add, sizeof(request.add), err);
        if (status == STATUS_OK)
            status = init_keys_add(&request.add, &place, err);
        return status == STATUS_OK ? answer_keys(s, &profiles, "added", request.add.name, err) : status;
    }
    if (s->frame->operation == INTERNAL_SWITCH_KEY) {
        status = message_take(fields, &message_switch_key, &request.change, sizeof(request.change), err);
        if (status == STATUS_OK)
            status = init_keys_switch(&request.change, &place, err);
        return status == STATUS_OK ? answer_keys(s, &profiles, "switched", request.change.name, err) : status;
    }
    status = message_take(fields, &message_remove_key, &request.remove, sizeof(request.remove), err);
    if (status == STATUS_OK)
        status = init_keys_remove(&request.remove, &place, &profiles, err);
    if (status == STATUS_OK)
        status = answer_keys(s, &profiles, request.remove.check ? "looked at" : "removed", request.remove.name, err);
    init_keys_free(&profiles);
    return status;
}

static enum status serve(const struct server *s, struct error *err)
{
    switch (s->frame->operation) {
    case INTERNAL_INIT:
        return serve_init(s, err);
    case INTERNAL_ADD_PROFILE:
        return serve_add_profile(s, err);
    case INTERNAL_ADD_KEY:
    case INTERNAL_REMOVE_KEY:
    case INTERNAL_SWITCH_KEY:
        return serve_keys(s, err);
    default:
        return error_set(err, STATUS_UNKNOWN_OPERATION, NULL, "init does not know operation %u", s->frame->operation);
    }
}

int init_main(const struct config *config, const char *configuration_path, config_checker check,
              struct channel *channel)
{
    struct frame frame;
    struct error err = {0};
    struct server server = {config, configuration_path, check, channel, &frame};
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(077);
    if (channel_read(channel, &frame) != 1)
        return EXIT_SUCCESS;
    enum status status =
        sodium_init() < 0 ? error_set(&err, STATUS_INTERNAL, NULL, "libsodium does not start") : serve(&server, &err);
    if (status != STATUS_OK) {
        log_warning("init: %s", err.message);
        messages_put_error(&channel->out, frame.request, &err);
    }
    return channel_flush(channel) == 0 && status == STATUS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
