/* See init_plan.h. */
#include "init_plan.h"

#include "init_rewrite.h"
#include "text.h"
#include "uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_NAME "default"
#define LABEL_PREFIX "dpop-agent-"
#define LABEL_NAME_MAX (32 - sizeof(LABEL_PREFIX) + 1) /* a token label has 32 bytes */
#define CONFIGURATION_MAX 262144
#define PATH_LIMIT (LIMIT_TEXT - 64) /* so that the paths made of it fit into the answer */

static enum status no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

static char *join(const char *a, const char *b, const char *c)
{
    char *out;
    return asprintf(&out, "%s%s%s", a, b, c) < 0 ? NULL : out;
}

enum status init_plan_name(const struct init_request *request, const char *state, const char *configuration,
                           struct init_plan *p, struct error *err)
{
    struct span name = request->name.data != NULL ? request->name : span_text(DEFAULT_NAME);
    p->configuration = configuration;
    if (!init_rewrite_valid_name(name))
        return error_set(err, STATUS_INVALID_ARGUMENT, "use letters, digits, '.', '_' and '-'",
                         "\"%.*s\" is no name for a key", (int)name.len, (const char *)name.data);
    if (state == NULL || state[0] != '/' || !text_valid(span_text(state)))
        return error_set(err, STATUS_CONFIGURATION, "set state-folder", "the state folder has no absolute path");
    if (strlen(state) > PATH_LIMIT || strlen(configuration) > PATH_LIMIT)
        return error_set(err, STATUS_CONFIGURATION, NULL,
                         "the path of the state folder or the configuration is longer than %d bytes", PATH_LIMIT);
    p->name = span_dup(name);
    p->state = strdup(state);
    if (p->name == NULL || p->state == NULL || asprintf(&p->pin_file, "%s/%s.pin", state, p->name) < 0) {
        p->pin_file = NULL;
        return no_memory(err);
    }
    return STATUS_OK;
}

static int add_variable(struct init_plan *p, struct span name_value)
{
    char **more = realloc(p->environment.items, (p->environment.count + 1) * sizeof(*more));
    if (more == NULL)
        return -1;
    p->environment.items = more;
    more[p->environment.count] = span_dup(name_value);
    return more[p->environment.count] != NULL ? (p->environment.count++, 0) : -1;
}

static int set_variable(struct init_plan *p, const char *name, const char *value)
{
    char *text = join(name, "=", value);
    int r = text != NULL ? add_variable(p, span_text(text)) : -1;
    free(text);
    return r;
}

/* SoftHSM's folder and configuration are ours, in the state folder. */
static enum status plan_softhsm(const struct init_request *request, struct init_plan *p, struct error *err)
{
    if (init_choice_variable(&request->environment, "SOFTHSM2_CONF").data != NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "name the module, for a SoftHSM token elsewhere",
                         "SOFTHSM2_CONF is init's own to set");
    p->store = join(p->state, "/", "tokens");
    p->softhsm_conf = join(p->state, "/", "softhsm2.conf");
    if (p->store == NULL || p->softhsm_conf == NULL || set_variable(p, "SOFTHSM2_CONF", p->softhsm_conf) != 0)
        return no_memory(err);
    return STATUS_OK;
}

/* The TPM's store is in the state folder unless the environment says otherwise; so is the way to the TPM the device. */
static enum status plan_tpm(const struct init_request *request, const struct init_machine *machine, struct init_plan *p,
                            struct error *err)
{
    struct span store = init_choice_variable(&request->environment, "TPM2_PKCS11_STORE");
    char *device = join("device:", machine->tpm_device, "");
    int r = device != NULL ? 0 : -1;
    if (r == 0 && init_choice_variable(&request->environment, "TPM2_PKCS11_TCTI").data == NULL)
        r = set_variable(p, "TPM2_PKCS11_TCTI", device);
    free(device);
    p->store = store.data != NULL ? span_dup(store) : join(p->state, "/", "tpm2");
    if (r == 0 && p->store != NULL && store.data == NULL)
        r = set_variable(p, "TPM2_PKCS11_STORE", p->store);
    if (r != 0 || p->store == NULL)
        return no_memory(err);
    if (p->store[0] != '/' || strlen(p->store) > PATH_LIMIT)
        return error_set(err, STATUS_INVALID_ARGUMENT, NULL,
                         "TPM2_PKCS11_STORE is no absolute path of at most %d bytes", PATH_LIMIT);
    return STATUS_OK;
}

static enum status plan_new_token(struct init_plan *p, struct error *err)
{
    struct buffer b;
    if (strlen(p->name) > LABEL_NAME_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "choose a shorter name",
                         "\"%s\" has more than %zu characters: the token's label has no room for it", p->name,
                         LABEL_NAME_MAX);
    p->label = join(LABEL_PREFIX, p->name, "");
    if (p->label == NULL)
        return no_memory(err);
    buffer_init(&b, URI_MAX);
    buffer_put_text(&b, "pkcs11:token=");
    uri_put_value(&b, p->label, false);
    buffer_put_text(&b, ";object=");
    uri_put_value(&b, p->name, false);
    buffer_put_text(&b, ";type=private?module-path=");
    uri_put_value(&b, p->module, true);
    p->uri = b.failed ? NULL : span_dup(buffer_span(&b));
    p->pin_kept = true;
    buffer_free(&b);
    return p->uri != NULL ? uri_check(p->uri, err)
                          : no_memory(err); /* a module that is no absolute path, for example */
}

static void put_option(struct buffer *b, const char *name, const char *value)
{
    buffer_put_text(b, name);
    buffer_put_text(b, " = ");
    buffer_put_text(b, value);
    buffer_put_text(b, "\n");
}

static void put_key(const struct init_plan *p, struct buffer *b)
{
    buffer_put_text(b, "[key ");
    buffer_put_text(b, p->name);
    buffer_put_text(b, "]\n");
    put_option(b, "uri", p->uri);
    if (p->pin_kept)
        put_option(b, "pin-file", p->pin_file);
    if (p->pin_asked) {
        buffer_put_text(b, "# The PIN is not kept: \"dpop unlock ");
        buffer_put_text(b, p->name);
        buffer_put_text(b, "\" gives it to the agent, after each start.\n");
    }
    for (size_t i = 0; i < p->environment.count; i++)
        put_option(b, "environment", p->environment.items[i]);
    if (p->kind == INIT_SOFTHSM)
        buffer_put_text(b, "# A SoftHSM key is as safe as its token folder and its PIN file: keep both to yourself.\n");
    if (p->kind == INIT_TPM) {
        buffer_put_text(b, "# A TPM does one thing at a time: one process signs.\n");
        put_option(b, "workers", "1");
    }
    put_option(b, "thumbprint", p->jkt);
}

static void put_text(const struct init_plan *p, struct buffer *b)
{
    buffer_put_text(
        b, "# The configuration of dpop-agent, made by \"dpop init\". A line that begins with # or ; is a comment.\n\n"
           "[agent]\n# state-folder = ");
    buffer_put_text(b, p->state);
    buffer_put_text(
        b, "\n# log-level = info\n\n# The key lives in this token and never leaves it; the thumbprint pins it, so "
           "that no other key is taken for it.\n");
    put_key(p, b);
    buffer_put_text(b, "\n# A profile says where tokens come from and where they may go.\n# [profile work]\n# key = ");
    buffer_put_text(b, p->name);
    buffer_put_text(
        b, "\n# issuer = https://as.example\n# client-id = app\n# client-authentication = client_secret_basic\n"
           "# client-secret-file = /path/of/a/file/of/mode/0600\n# grant = client_credentials\n# scope = read write\n"
           "# resource = https://api.example\n# origins = https://api.example\n");
}

/* Would it be read as it is meant? Of what a client chose, something may not survive a line. */
static enum status check_text(const struct init_plan *p, struct span text, struct error *err)
{
    struct config *c = NULL;
    enum status status = config_parse(text, p->configuration, ROLE_SUPERVISOR, &c, err);
    if (status != STATUS_OK)
        return status;
    const struct key_config *key = c->key_count == 1 ? &c->keys[0] : NULL;
    bool same = key != NULL && strcmp(key->uri, p->uri) == 0 && key->environment.count == p->environment.count;
    for (size_t i = 0; same && i < p->environment.count; i++)
        same = strcmp(key->environment.items[i], p->environment.items[i]) == 0;
    config_free(c);
    return same ? STATUS_OK
                : error_set(err, STATUS_INVALID_ARGUMENT, "leave blanks at its ends out",
                            "an environment variable cannot stand in a line of the configuration");
}

static enum status plan_token(const struct init_request *request, const struct init_choice *choice,
                              const struct init_machine *machine, struct init_plan *p, struct error *err)
{
    struct span item;
    size_t cursor = 0;
    enum status status = STATUS_OK;
    p->kind = choice->kind;
    p->module = choice->module != NULL ? strdup(choice->module) : NULL;
    if (choice->module != NULL && p->module == NULL)
        return no_memory(err);
    while (list_next(&request->environment, &cursor, &item))
        if (add_variable(p, item) != 0)
            return no_memory(err);
    if (p->kind == INIT_TOKEN) {
        p->uri = strdup(choice->token);
        return p->uri != NULL ? STATUS_OK : no_memory(err);
    }
    if (p->kind == INIT_SOFTHSM)
        status = plan_softhsm(request, p, err);
    if (p->kind == INIT_TPM)
        status = plan_tpm(request, machine, p, err);
    return status == STATUS_OK ? plan_new_token(p, err) : status;
}

/* Before anything is made: the configuration that is to come is read once, with a thumbprint of the same form. */
static enum status try_text(struct init_plan *p, struct error *err)
{
    struct buffer b;
    buffer_init(&b, CONFIGURATION_MAX);
    memset(p->jkt, 'A', sizeof(p->jkt) - 1);
    put_text(p, &b);
    enum status status = b.failed ? no_memory(err) : check_text(p, buffer_span(&b), err);
    memset(p->jkt, 0, sizeof(p->jkt));
    buffer_free(&b);
    return status;
}

enum status init_plan_complete(const struct init_request *request, const struct init_choice *choice,
                               const struct init_machine *machine, struct init_plan *p, struct error *err)
{
    enum status status = plan_token(request, choice, machine, p, err);
    return status == STATUS_OK ? try_text(p, err) : status;
}

enum status init_plan_write(const struct init_plan *p, struct init_folder *f, struct error *err)
{
    struct buffer b;
    buffer_init(&b, CONFIGURATION_MAX);
    put_text(p, &b);
    enum status status = b.failed ? no_memory(err) : check_text(p, buffer_span(&b), err);
    if (status == STATUS_OK)
        status = init_folder_make_parent(f, p->configuration, err);
    if (status == STATUS_OK)
        status = init_folder_write(f, p->configuration, buffer_span(&b), "configuration", err);
    buffer_free(&b);
    return status;
}

void init_plan_free(struct init_plan *p)
{
    char *texts[] = {p->name, p->state, p->pin_file, p->module, p->label, p->uri, p->store, p->softhsm_conf};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(texts[i]);
    for (size_t i = 0; i < p->environment.count; i++)
        free(p->environment.items[i]);
    free(p->environment.items);
    *p = (struct init_plan){.configuration = NULL};
}
