/*
 * `dpop init`: the first key and the first configuration (role.h). One INTERNAL_INIT frame in, one answer out. The same
 * process adds a profile to a configuration (INTERNAL_ADD_PROFILE, init_profile.h): it alone may write there.
 *
 * By default the key lives in a SoftHSM token of our own, in the state folder; another module may be named, whose first
 * blank token is then initialised. The configuration comes last, so that it never names what does not exist. Nothing
 * that exists is overwritten, and a failure takes back what this run has made (init_folder.h). What cannot be taken
 * back is a token of another module: the error says so.
 */
#include "init_folder.h"
#include "init_profile.h"
#include "init_token.h"
#include "internal.h"
#include "role.h"
#include "text.h"
#include "token.h"

#include <ctype.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_NAME "default"
#define DEFAULT_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define LABEL_PREFIX "dpop-agent-"
#define NAME_MAX_LENGTH (32 - sizeof(LABEL_PREFIX) + 1) /* a token label has 32 bytes */
#define CONFIGURATION_MAX 65536
#define PATH_LIMIT (LIMIT_TEXT - 64) /* so that the paths made of it fit into the answer */

/* What this run is about: names and paths; all texts are our own. */
struct plan {
    char *name, *module, *label, *uri;
    char *state, *tokens, *softhsm_conf; /* the last two: NULL with another module */
    char *pin_file;
    const char *configuration;
    char jkt[JWK_THUMBPRINT_SIZE];
};

static void plan_free(struct plan *p)
{
    char *texts[] = {p->name, p->module, p->label, p->uri, p->state, p->tokens, p->softhsm_conf, p->pin_file};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(texts[i]);
}

static bool valid_name(struct span name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!isalnum(name.data[i]) && strchr("._-", name.data[i]) == NULL)
            return false;
    return name.len > 0 && name.len <= NAME_MAX_LENGTH && name.data[0] != '.' && memchr(name.data, 0, name.len) == NULL;
}

static char *make_uri(const struct plan *p)
{
    struct buffer b;
    buffer_init(&b, URI_MAX);
    buffer_put_text(&b, "pkcs11:token=");
    uri_put_value(&b, p->label, false);
    buffer_put_text(&b, ";object=");
    uri_put_value(&b, p->name, false);
    buffer_put_text(&b, ";type=private?module-path=");
    uri_put_value(&b, p->module, true);
    char *uri = b.failed ? NULL : span_dup(buffer_span(&b));
    buffer_free(&b);
    return uri;
}

static char *join(const char *a, const char *b, const char *c)
{
    char *out;
    return asprintf(&out, "%s%s%s", a, b, c) < 0 ? NULL : out;
}

static enum status make_plan(const struct init_request *request, const char *state, const char *configuration,
                             struct plan *p, struct error *err)
{
    struct span name = request->name.data != NULL ? request->name : span_text(DEFAULT_NAME);
    bool softhsm = request->module.data == NULL;
    p->configuration = configuration;
    if (!valid_name(name))
        return error_set(err, STATUS_INVALID_ARGUMENT, "use letters, digits, '.', '_' and '-'",
                         "\"%.*s\" is no name for a key (at most %zu characters here)", (int)name.len,
                         (const char *)name.data, NAME_MAX_LENGTH);
    if (state == NULL || state[0] != '/' || !text_valid(span_text(state)))
        return error_set(err, STATUS_CONFIGURATION, "set state-folder", "the state folder has no absolute path");
    if (strlen(state) > PATH_LIMIT || strlen(configuration) > PATH_LIMIT)
        return error_set(err, STATUS_CONFIGURATION, NULL,
                         "the path of the state folder or the configuration is longer than %d bytes", PATH_LIMIT);
    p->name = span_dup(name);
    p->module = softhsm ? strdup(DEFAULT_MODULE) : span_dup(request->module);
    p->state = strdup(state);
    p->label = p->name != NULL ? join(LABEL_PREFIX, p->name, "") : NULL;
    p->pin_file = p->name != NULL ? join(state, "/", p->name) : NULL;
    if (p->pin_file != NULL) {
        char *stem = p->pin_file;
        p->pin_file = join(stem, ".pin", "");
        free(stem);
    }
    if (softhsm) {
        p->tokens = join(state, "/tokens", "");
        p->softhsm_conf = join(state, "/softhsm2.conf", "");
    }
    p->uri = p->module != NULL && p->label != NULL ? make_uri(p) : NULL;
    if (p->state == NULL || p->pin_file == NULL || p->uri == NULL ||
        (softhsm && (p->tokens == NULL || p->softhsm_conf == NULL)))
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    return uri_check(p->uri, err); /* a module that is no absolute path, for example */
}

static enum status check_nothing_exists(const struct plan *p, struct error *err)
{
    enum status status = init_folder_check_absent(p->configuration, "configuration", err);
    return status == STATUS_OK ? init_folder_check_absent(p->pin_file, "PIN file", err) : status;
}

/* SoftHSM reads its configuration from $SOFTHSM2_CONF, in C_Initialize. */
static enum status prepare_softhsm(const struct plan *p, struct init_folder *f, struct error *err)
{
    struct buffer b;
    buffer_init(&b, CONFIGURATION_MAX);
    buffer_put_text(&b, "directories.tokendir = ");
    buffer_put_text(&b, p->tokens);
    buffer_put_text(&b, "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n");
    enum status status = init_folder_make(f, p->tokens, err);
    if (status == STATUS_OK)
        status = b.failed ? error_set(err, STATUS_NO_MEMORY, NULL, "out of memory")
                          : init_folder_write_same(f, p->softhsm_conf, buffer_span(&b), "SoftHSM configuration", err);
    if (status == STATUS_OK)
        status = init_folder_watch_tokens(f, p->tokens, err);
    if (status == STATUS_OK && setenv("SOFTHSM2_CONF", p->softhsm_conf, 1) != 0)
        status = error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    buffer_free(&b);
    return status;
}

static enum status make_key(struct plan *p, struct init_folder *f, struct error *err)
{
    struct module m = {0};
    struct token there;
    struct jwk jwk;
    struct secret *pin = NULL;
    enum status status = module_open(p->module, &m, err);
    if (status != STATUS_OK)
        return status;
    status = token_find_label(&m, p->label, &there, err);
    if (status == STATUS_OK)
        status =
            error_set(err, STATUS_EXISTS, "nothing was changed; choose another name",
                      "there is a token \"%s\" already in %s", p->label, p->tokens != NULL ? p->tokens : p->module);
    else if (status == STATUS_KEY_ABSENT)
        status = STATUS_OK;
    if (status == STATUS_OK && (pin = init_token_random_pin()) == NULL)
        status = error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    if (status == STATUS_OK)
        status = init_folder_write(f, p->pin_file, secret_span(pin), "PIN file", err);
    if (status == STATUS_OK)
        status = init_token_make(&m, p->label, p->name, pin, &jwk, err);
    secret_free(pin);
    module_close(&m); /* before anything is taken back: it has files open */
    if (status == STATUS_OK && jwk_thumbprint(&jwk, p->jkt) != 0)
        status = error_set(err, STATUS_INTERNAL, NULL, "the thumbprint could not be computed");
    return status;
}

static void put_option(struct buffer *b, const char *name, const char *value)
{
    buffer_put_text(b, name);
    buffer_put_text(b, " = ");
    buffer_put_text(b, value);
    buffer_put_text(b, "\n");
}

static enum status write_configuration(const struct plan *p, struct init_folder *f, struct error *err)
{
    struct buffer b;
    buffer_init(&b, CONFIGURATION_MAX);
    buffer_put_text(
        &b, "# The configuration of dpop-agent, made by \"dpop init\". A line that begins with # or ; is a comment.\n\n"
            "[agent]\n# state-folder = ");
    buffer_put_text(&b, p->state);
    buffer_put_text(
        &b, "\n# log-level = info\n\n# The key lives in this token and never leaves it; the thumbprint pins it, so "
            "that no other key is taken for it.\n[key ");
    buffer_put_text(&b, p->name);
    buffer_put_text(&b, "]\n");
    put_option(&b, "uri", p->uri);
    put_option(&b, "pin-file", p->pin_file);
    if (p->softhsm_conf != NULL) {
        buffer_put_text(&b, "environment = SOFTHSM2_CONF=");
        buffer_put_text(&b, p->softhsm_conf);
        buffer_put_text(&b,
                        "\n# A SoftHSM key is as safe as its token folder and its PIN file: keep both to yourself.\n");
    }
    put_option(&b, "thumbprint", p->jkt);
    buffer_put_text(&b, "\n# A profile says where tokens come from and where they may go.\n# [profile work]\n# key = ");
    buffer_put_text(&b, p->name);
    buffer_put_text(
        &b, "\n# issuer = https://as.example\n# client-id = app\n# client-authentication = client_secret_basic\n"
            "# client-secret-file = /path/of/a/file/of/mode/0600\n# grant = client_credentials\n# scope = read write\n"
            "# resource = https://api.example\n# origins = https://api.example\n");
    enum status status = init_folder_make_parent(f, p->configuration, err);
    if (status == STATUS_OK)
        status = b.failed ? error_set(err, STATUS_NO_MEMORY, NULL, "out of memory")
                          : init_folder_write(f, p->configuration, buffer_span(&b), "configuration", err);
    buffer_free(&b);
    return status;
}

static enum status run(struct plan *p, struct init_folder *f, struct error *err)
{
    enum status status = check_nothing_exists(p, err);
    if (status == STATUS_OK)
        status = init_folder_make(f, p->state, err);
    if (status == STATUS_OK)
        status = init_folder_lock(f, p->state, err);
    if (status == STATUS_OK && p->tokens != NULL)
        status = prepare_softhsm(p, f, err);
    if (status == STATUS_OK)
        status = make_key(p, f, err);
    if (status == STATUS_OK)
        status = write_configuration(p, f, err);
    if (status != STATUS_OK && status != STATUS_EXISTS && p->tokens == NULL && err->next[0] == '\0')
        (void)snprintf(err->next, sizeof(err->next), "look whether the module has a token \"%s\" now, and erase it",
                       p->label);
    return status;
}

static enum status serve_init(const struct config *config, const char *configuration, const struct frame *frame,
                              struct buffer *out, struct error *err)
{
    struct init_request request;
    struct init_folder folder;
    struct plan plan = {0};
    init_folder_open(&folder);
    enum status status = message_take(frame->fields, &message_init_request, &request, sizeof(request), err);
    if (status == STATUS_OK)
        status = make_plan(&request, config->agent.state_folder, configuration, &plan, err);
    if (status == STATUS_OK)
        status = run(&plan, &folder, err);
    init_folder_close(&folder, status != STATUS_OK);
    if (status == STATUS_OK) {
        struct init_answer answer = {span_text(plan.uri), span_text(plan.jkt), span_text(configuration),
                                     span_text(plan.tokens != NULL ? plan.tokens : ""), span_text(plan.pin_file)};
        message_put_frame(out, INTERNAL_INIT | OPERATION_ANSWER, frame->request, &message_init_answer, &answer);
        log_info("init: made key \"%s\" in token \"%s\" and %s", plan.name, plan.label, configuration);
    }
    plan_free(&plan);
    return status;
}

static enum status serve_add_profile(const struct config *config, const char *configuration, config_checker check,
                                     const struct frame *frame, struct buffer *out, struct error *err)
{
    struct add_profile request;
    struct init_profile made = {NULL};
    enum status status = message_take(frame->fields, &message_add_profile, &request, sizeof(request), err);
    if (status == STATUS_OK)
        status = init_profile_add(&request, configuration, config->agent.state_folder, check, &made, err);
    if (status == STATUS_OK) {
        struct profile_added answer = {span_text(configuration), span_text(made.secret_file)};
        message_put_frame(out, INTERNAL_ADD_PROFILE | OPERATION_ANSWER, frame->request, &message_profile_added, &answer);
        log_info("init: added [profile %.*s] to %s", (int)request.name.len, (const char *)request.name.data, configuration);
    }
    init_profile_free(&made);
    return status;
}

static enum status serve(const struct config *config, const char *configuration, config_checker check,
                         const struct frame *frame, struct buffer *out, struct error *err)
{
    if (frame->operation == INTERNAL_INIT)
        return serve_init(config, configuration, frame, out, err);
    if (frame->operation == INTERNAL_ADD_PROFILE)
        return serve_add_profile(config, configuration, check, frame, out, err);
    return error_set(err, STATUS_UNKNOWN_OPERATION, NULL, "init does not know operation %u", frame->operation);
}

int init_main(const struct config *config, const char *configuration_path, config_checker check, struct channel *channel)
{
    struct frame frame;
    struct error err = {0};
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(077);
    if (channel_read(channel, &frame) != 1)
        return EXIT_SUCCESS;
    enum status status = sodium_init() < 0 ? error_set(&err, STATUS_INTERNAL, NULL, "libsodium does not start")
                                           : serve(config, configuration_path, check, &frame, &channel->out, &err);
    if (status != STATUS_OK) {
        log_warning("init: %s", err.message);
        messages_put_error(&channel->out, frame.request, &err);
    }
    return channel_flush(channel) == 0 && status == STATUS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
