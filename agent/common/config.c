/* See config.h. ini.c splits the text into lines of section, option and value; config_option.c knows the options. */
#include "config.h"

#include "config_option.h"
#include "ini.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEXT_MANUAL "dpop-agent.conf(5) lists the options"

const char *config_client_authentication_name(enum client_authentication a)
{
    return config_option_client_authentications[a];
}

const char *config_grant_name(enum grant g)
{
    return config_option_grants[g];
}

const char *config_grant_type(enum grant g)
{
    switch (g) {
    case GRANT_DEVICE_CODE:
        return "urn:ietf:params:oauth:grant-type:device_code";
    case GRANT_TOKEN_EXCHANGE:
        return "urn:ietf:params:oauth:grant-type:token-exchange";
    case GRANT_JWT_BEARER:
        return "urn:ietf:params:oauth:grant-type:jwt-bearer";
    case GRANT_CLIENT_CREDENTIALS:
    case GRANT_AUTHORIZATION_CODE:
        break;
    }
    return config_option_grants[g];
}

const char *config_dpop_name(enum dpop_policy p)
{
    return config_option_dpop_policies[p];
}

bool config_lists(const struct strings *s, const char *text)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i], text) == 0)
            return true;
    return false;
}

bool config_needs_login(const struct profile_config *p)
{
    return p->grant == GRANT_AUTHORIZATION_CODE || p->grant == GRANT_DEVICE_CODE;
}

bool config_has_tls_client(const struct profile_config *p)
{
    return p->client_authentication == TLS_CLIENT_AUTH || p->client_authentication == SELF_SIGNED_TLS_CLIENT_AUTH;
}

static void free_strings(struct strings *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->items[i]);
    free(s->items);
}

struct parser {
    struct config *config;
    const char *section; /* of the table; NULL before the first */
    void *current;       /* struct agent_config, key_config or profile_config */
    char name[LIMIT_CONFIG_NAME];
    enum role role;
    bool agent_seen;
    struct error *err;
};

static const char *const known_sections[] = {"agent", "key", "profile"};

static enum status line_error(const struct parser *p, unsigned int line, const char *format, const char *a,
                              const char *b, const char *c)
{
    char text[384];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(text, sizeof(text), format, a, b, c);
#pragma GCC diagnostic pop
    return error_set(p->err, STATUS_CONFIGURATION, NEXT_MANUAL, "%s:%u: %s", p->config->path, line, text);
}

static enum status no_memory(const struct parser *p)
{
    return error_set(p->err, STATUS_NO_MEMORY, NULL, "out of memory");
}

/* Room for one more; arrays double, so that a file of thousands of lines is read in no time. */
static void *make_room(void *array, size_t count, size_t size)
{
    bool full = (count & (count - 1)) == 0; /* 0, 1, 2, 4, 8 … */
    return full ? realloc(array, (count > 0 ? 2 * count : 1) * size) : array;
}

static enum status begin_key(struct parser *p, unsigned int line)
{
    struct config *c = p->config;
    if (config_key(c, span_text(p->name)) != NULL)
        return line_error(p, line, "section [key %s] stands twice", p->name, "", "");
    struct key_config *keys = make_room(c->keys, c->key_count, sizeof(*keys));
    if (keys == NULL)
        return no_memory(p);
    c->keys = keys;
    keys[c->key_count] = (struct key_config){.name = strdup(p->name), .line = line, .workers = 1, .sign_timeout = 5};
    p->current = &keys[c->key_count++];
    return keys[c->key_count - 1].name != NULL ? STATUS_OK : no_memory(p);
}

static enum status begin_profile(struct parser *p, unsigned int line)
{
    struct config *c = p->config;
    if (config_profile(c, span_text(p->name)) != NULL)
        return line_error(p, line, "section [profile %s] stands twice", p->name, "", "");
    struct profile_config *profiles = make_room(c->profiles, c->profile_count, sizeof(*profiles));
    if (profiles == NULL)
        return no_memory(p);
    c->profiles = profiles;
    profiles[c->profile_count] = (struct profile_config){
        .name = strdup(p->name), .line = line, .client_authentication = CLIENT_SECRET_BASIC, .timeout = 30,
            .persist = true, .login_timeout = 300};
    p->current = &profiles[c->profile_count++];
    return profiles[c->profile_count - 1].name != NULL ? STATUS_OK : no_memory(p);
}

static bool name_valid(struct span name)
{
    for (size_t i = 0; i < name.len; i++)
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", name.data[i]) == NULL)
            return false;
    return name.len > 0 && name.len < LIMIT_CONFIG_NAME;
}

static enum status begin_section(struct parser *p, const struct ini_line *line)
{
    p->section = NULL;
    for (size_t i = 0; i < sizeof(known_sections) / sizeof(known_sections[0]); i++)
        if (span_is(line->section, known_sections[i]))
            p->section = known_sections[i];
    if (p->section == NULL)
        return line_error(p, line->number, "no section of this kind exists: use [agent], [key NAME] or [profile NAME]",
                          "", "", "");
    bool named = strcmp(p->section, "agent") != 0;
    if (named ? !name_valid(line->name) : line->name.len > 0)
        return line_error(p, line->number,
                          named ? "[%s NAME] wants a name of up to 63 letters, digits, '.', '_' and '-'"
                                                 : "[%s] takes no name", p->section, "", "");
    if (span_copy(line->name, p->name, sizeof(p->name)) != 0)
        return STATUS_INTERNAL;
    p->current = &p->config->agent;
    if (!named && p->agent_seen && p->role == ROLE_SUPERVISOR) /* a slice may be made of two pieces */
        return line_error(p, line->number, "section [%s] stands twice", p->section, "", "");
    p->agent_seen = p->agent_seen || !named;
    if (!named)
        return STATUS_OK;
    return strcmp(p->section, "key") == 0 ? begin_key(p, line->number) : begin_profile(p, line->number);
}

static enum status add_entry(struct parser *p, const struct config_option *o, const struct ini_line *line)
{
    struct config *c = p->config;
    for (size_t i = c->entry_count; i > 0 && o->kind != KIND_LINES; i--) { /* this section's are the last */
        const struct config_entry *e = &c->entries[i - 1];
        if (e->section != o->section || strcmp(e->name, p->name) != 0)
            break;
        if (e->option == o->name)
            return line_error(p, line->number, "option \"%s\" stands twice in this section", o->name, "", "");
    }
    struct config_entry *entries = make_room(c->entries, c->entry_count, sizeof(*entries));
    if (entries == NULL)
        return no_memory(p);
    c->entries = entries;
    entries[c->entry_count++] = (struct config_entry){.section = o->section, .name = strdup(p->name), .option = o->name,
                                                      .value = span_dup(line->value), .line = line->number,
                                                      .roles = o->roles};
    return entries[c->entry_count - 1].name != NULL &&
           entries[c->entry_count - 1].value != NULL ? STATUS_OK : no_memory(p);
}

static enum status take_option(struct parser *p, const struct ini_line *line)
{
    char option[LIMIT_CONFIG_NAME];
    char wrong_text[256];
    const struct config_option *o;

    if (p->section == NULL)
        return line_error(p, line->number, "an option stands before the first section", "", "", "");
    if (span_copy(line->option, option, sizeof(option)) != 0)
        return line_error(p, line->number, "the option's name is too long", "", "", "");
    o = config_option_find(p->section, option);
    if (o == NULL || (o->kind == KIND_PIN_KEY && p->role == ROLE_SUPERVISOR))
        return line_error(p, line->number, "unknown option \"%s\" in section [%s]", option, p->section, "");
    if (line->value.len == 0)
        return line_error(p, line->number, "option \"%s\" has no value", option, "", "");
    enum status status = o->kind == KIND_PIN_KEY ? STATUS_OK : add_entry(p, o, line);
    if (status != STATUS_OK)
        return status;
    const char *wrong = config_option_set(o, line->value, p->current, wrong_text, sizeof(wrong_text));
    if (wrong != NULL)
        return line_error(p, line->number, "%s %s", option, wrong, "");
    return STATUS_OK;
}

/* Client authentication uses the profile's own key unless another is named. */
static int fill_client_keys(struct config *c)
{
    for (size_t i = 0; i < c->profile_count; i++) {
        struct profile_config *p = &c->profiles[i];
        if ((p->client_authentication == PRIVATE_KEY_JWT || config_has_tls_client(p)) && p->client_key == NULL &&
            p->key != NULL && (p->client_key = strdup(p->key)) == NULL)
            return -1;
    }
    return 0;
}

enum status config_parse(struct span text, const char *path, enum role role, struct config **out, struct error *err)
{
    struct parser p = {.config = calloc(1, sizeof(struct config)), .role = role, .err = err};
    struct ini_reader reader = {.rest = text};
    struct ini_line line;
    enum status status = STATUS_OK;

    if (p.config == NULL || (p.config->path = strdup(path)) == NULL) {
        config_free(p.config);
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    }
    p.config->agent.log_level = LOG_LEVEL_INFO;
    p.config->agent.max_clock_skew = 3600;
    while (status == STATUS_OK && ini_next(&reader, &line)) {
        if (line.wrong != NULL)
            status = line_error(&p, line.number, "%s", line.wrong, "", "");
        else
            status = line.option.data == NULL ? begin_section(&p, &line) : take_option(&p, &line);
    }
    if (status == STATUS_OK && fill_client_keys(p.config) != 0)
        status = error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    if (status != STATUS_OK) {
        config_free(p.config);
        return status;
    }
    *out = p.config;
    return STATUS_OK;
}

static enum status check_file(int fd, const char *path, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return error_set(err, STATUS_CONFIGURATION, NULL, "%s is not a regular file", path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return error_set(err, STATUS_CONFIGURATION, "chown it to root or to the agent's user",
                         "%s belongs to uid %u, who could change what the agent does", path, (unsigned int)st.st_uid);
    if (st.st_mode & 022)
        return error_set(err, STATUS_CONFIGURATION, "chmod go-w it", "%s: others may write it (mode %04o)", path,
                         (unsigned int)(st.st_mode & 07777));
    if (st.st_size > CONFIG_MAX_FILE)
        return error_set(err, STATUS_CONFIGURATION, NULL, "%s is larger than %d bytes", path, CONFIG_MAX_FILE);
    return STATUS_OK;
}

enum status config_read_file(const char *path, struct config **out, struct error *err)
{
    struct buffer text;
    enum status status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(err, errno == ENOENT ? STATUS_NOT_CONFIGURED : STATUS_CONFIGURATION,
                         errno == ENOENT ? "dpop init makes a first key and configuration" : NULL, "cannot open %s: %s",
                         path, strerror(errno));
    buffer_init(&text, CONFIG_MAX_FILE + 4096);
    status = check_file(fd, path, err);
    while (status == STATUS_OK) {
        uint8_t *room = buffer_room(&text, 4096);
        ssize_t n = room != NULL ? read(fd, room, 4096) : -1;
        if (room == NULL)
            status = error_set(err, STATUS_NO_MEMORY, NULL, "%s does not fit into memory", path);
        else if (n > 0)
            buffer_added(&text, (size_t)n);
        else if (n == 0)
            break;
        else if (errno != EINTR)
            status = error_set(err, STATUS_CONFIGURATION, NULL, "cannot read %s: %s", path, strerror(errno));
    }
    if (status == STATUS_OK)
        status = config_parse(buffer_span(&text), path, ROLE_SUPERVISOR, out, err);
    buffer_free(&text);
    (void)close(fd);
    return status;
}

/* A key process serves one key, a ROLE_NET_TLS process one profile with its client-key; the others serve all. */
static bool is_in_slice(const struct config *c, const struct config_entry *e, enum role role, const char *name)
{
    if (name == NULL || e->name[0] == '\0')
        return true;
    if (role != ROLE_NET_TLS || strcmp(e->section, "key") != 0)
        return strcmp(e->name, name) == 0;
    const struct profile_config *profile = config_profile(c, span_text(name));
    return profile != NULL && profile->client_key != NULL && strcmp(e->name, profile->client_key) == 0;
}

void config_put_slice(const struct config *c, enum role role, const char *name, struct buffer *out)
{
    const struct config_entry *last = NULL;
    for (size_t i = 0; i < c->entry_count; i++) {
        const struct config_entry *e = &c->entries[i];
        if (!(e->roles & (unsigned int)role) || !is_in_slice(c, e, role, name))
            continue;
        if (last == NULL || last->section != e->section || strcmp(last->name, e->name) != 0) {
            buffer_put_text(out, "[");
            buffer_put_text(out, e->section);
            buffer_put_text(out, e->name[0] != '\0' ? " " : "");
            buffer_put_text(out, e->name);
            buffer_put_text(out, "]\n");
        }
        buffer_put_text(out, e->option);
        buffer_put_text(out, " = ");
        buffer_put_text(out, e->value);
        buffer_put_text(out, "\n");
        last = e;
    }
}

static void free_key(struct key_config *k)
{
    free(k->name);
    free(k->uri);
    free(k->pin_file);
    free(k->pin_credential);
    free_strings(&k->environment);
    free(k->thumbprint);
    free_strings(&k->origins);
}

static void free_profile(struct profile_config *p)
{
    free(p->name);
    free(p->key);
    free(p->issuer);
    free(p->token_endpoint);
    free(p->client_id);
    free(p->client_secret_file);
    free(p->client_secret_credential);
    free(p->client_key);
    char *texts[] = {p->authorization_endpoint, p->pushed_authorization_request_endpoint,
                     p->device_authorization_endpoint,
                     p->revocation_endpoint, p->introspection_endpoint, p->client_certificate_file, p->redirect_uri,
                     p->authorization_details, p->subject_token_profile, p->subject_token_file, p->subject_token_type,
                     p->actor_token_file, p->actor_token_type, p->requested_token_type, p->assertion_file,
                     p->assertion_key, p->assertion_issuer, p->assertion_subject, p->assertion_audience, p->trace_file};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(texts[i]);
    free(p->scope);
    free_strings(&p->resources);
    free_strings(&p->audiences);
    free_strings(&p->form);
    free_strings(&p->authorization_form);
    free_strings(&p->device_form);
    free_strings(&p->revocation_form);
    free_strings(&p->introspection_form);
    free_strings(&p->origins);
    free(p->ca_file);
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->entry_count; i++) {
        free(c->entries[i].name);
        free(c->entries[i].value);
    }
    for (size_t i = 0; i < c->key_count; i++)
        free_key(&c->keys[i]);
    for (size_t i = 0; i < c->profile_count; i++)
        free_profile(&c->profiles[i]);
    free(c->entries);
    free(c->keys);
    free(c->profiles);
    free(c->agent.state_folder);
    sodium_free(c->agent.pin_key);
    free_strings(&c->agent.allow_users);
    free(c->path);
    free(c);
}

const struct key_config *config_key(const struct config *c, struct span name)
{
    for (size_t i = 0; i < c->key_count; i++)
        if (span_is(name, c->keys[i].name))
            return &c->keys[i];
    return NULL;
}

const struct profile_config *config_profile(const struct config *c, struct span name)
{
    for (size_t i = 0; i < c->profile_count; i++)
        if (span_is(name, c->profiles[i].name))
            return &c->profiles[i];
    return NULL;
}
