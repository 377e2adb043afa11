/* See init_profile.h. */
#include "init_profile.h"

#include "config_option.h"
#include "ini.h"
#include "init_folder.h"
#include "init_rewrite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct work {
    const struct add_profile *request;
    char *name, *secret_file, *registration_file;
    struct init_rewrite rewrite;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

/* NAME.secret beside the configuration. */
static char *beside(const char *configuration, const char *name, const char *suffix)
{
    const char *slash = strrchr(configuration, '/');
    char *path;
    int folder = slash != NULL ? (int)(slash - configuration) + 1 : 0;
    return asprintf(&path, "%.*s%s%s", folder, configuration, name, suffix) < 0 ? NULL : path;
}

static enum status make_names(struct work *w, const char *configuration, struct error *err)
{
    if (!init_rewrite_valid_name(w->request->name))
        return error_set(
            err, STATUS_INVALID_ARGUMENT, "use up to 63 letters, digits, '.', '_' and '-', no '.' in front",
            "\"%.*s\" is no name for a profile here", (int)w->request->name.len, (const char *)w->request->name.data);
    w->name = span_dup(w->request->name);
    if (w->name == NULL)
        return no_memory(err);
    w->secret_file = beside(configuration, w->name, ".secret");
    w->registration_file = beside(configuration, w->name, ".registration");
    return w->secret_file != NULL && w->registration_file != NULL ? STATUS_OK : no_memory(err);
}

/* One line, one option, and none that would have the agent read or write a file of somebody's choice. */
static enum status check_option(struct span line, struct error *err)
{
    static const char *const paths[] = {"ca-file", "client-certificate-file"};
    char name[LIMIT_CONFIG_NAME];
    struct ini_reader reader = {.rest = line};
    struct ini_line parsed, second;
    const struct config_option *option = NULL;
    if (memchr(line.data, '\n', line.len) == NULL && ini_next(&reader, &parsed) && parsed.wrong == NULL &&
        parsed.option.data != NULL && !ini_next(&reader, &second) && span_copy(parsed.option, name, sizeof(name)) == 0)
        option = config_option_find("profile", name);
    bool taken = option != NULL && option->kind != KIND_PATH && strcmp(option->name, "client-secret-credential") != 0;
    for (size_t i = 0; option != NULL && i < sizeof(paths) / sizeof(paths[0]); i++)
        taken = taken || strcmp(option->name, paths[i]) == 0;
    if (taken)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, NULL, "\"%.100s\" is no option that a new profile may have",
                     option != NULL ? option->name : "a line");
}

static void put_line(struct buffer *b, struct span line)
{
    buffer_put(b, line.data, line.len);
    buffer_put_text(b, "\n");
}

static enum status put_profile(struct work *w, struct error *err)
{
    struct span old = buffer_span(&w->rewrite.old), line;
    struct buffer *text = &w->rewrite.text;
    size_t cursor = 0;
    enum status status = STATUS_OK;
    buffer_put(text, old.data, old.len);
    buffer_put_text(text, old.len > 0 && old.data[old.len - 1] != '\n' ? "\n\n[profile " : "\n[profile ");
    buffer_put_text(text, w->name);
    buffer_put_text(text, "]\n");
    while (status == STATUS_OK && list_next(&w->request->options, &cursor, &line)) {
        status = check_option(line, err);
        if (status == STATUS_OK)
            put_line(text, line);
    }
    if (w->request->client_secret.data != NULL) {
        buffer_put_text(text, "client-secret-file = ");
        put_line(text, span_text(w->secret_file));
    }
    return status;
}

static enum status check_text(const struct work *w, config_checker check, struct error *err)
{
    const struct config *before = w->rewrite.parsed;
    struct config *after = NULL;
    if (config_profile(before, span_text(w->name)) != NULL)
        return error_set(err, STATUS_EXISTS, "choose another name", "there is a [profile %s] already in %s", w->name,
                         w->rewrite.configuration);
    enum status status = init_rewrite_check(&w->rewrite, check, &after, err);
    if (status == STATUS_OK &&
        (after->profile_count != before->profile_count + 1 || after->key_count != before->key_count))
        status = error_set(err, STATUS_INTERNAL, NULL, "the new text has more than one new profile");
    config_free(after);
    return status;
}

static enum status write_secrets(const struct work *w, struct init_folder *f, struct error *err)
{
    enum status status = STATUS_OK;
    if (w->request->client_secret.data != NULL)
        status = init_folder_write(f, w->secret_file, w->request->client_secret, "client secret file", err);
    if (status == STATUS_OK && w->request->registration.data != NULL)
        status = init_folder_write(f, w->registration_file, w->request->registration, "registration file", err);
    return status;
}

static enum status add(struct work *w, const char *configuration, const char *state_folder, config_checker check,
                       struct init_folder *f, struct error *err)
{
    enum status status = make_names(w, configuration, err);
    if (status == STATUS_OK && state_folder != NULL)
        status = init_folder_lock(f, state_folder, err);
    if (status == STATUS_OK)
        status = init_rewrite_open(&w->rewrite, configuration, err);
    if (status == STATUS_OK)
        status = put_profile(w, err);
    if (status == STATUS_OK)
        status = check_text(w, check, err);
    if (status == STATUS_OK)
        status = write_secrets(w, f, err);
    return status == STATUS_OK ? init_rewrite_replace(&w->rewrite, err) : status;
}

enum status init_profile_add(const struct add_profile *request, const char *configuration, const char *state_folder,
                             config_checker check, struct init_profile *out, struct error *err)
{
    struct work w = {.request = request};
    struct init_folder folder;
    init_folder_open(&folder);
    enum status status = add(&w, configuration, state_folder, check, &folder, err);
    init_folder_close(&folder, status != STATUS_OK);
    init_rewrite_close(&w.rewrite);
    free(w.name);
    free(w.registration_file);
    if (status == STATUS_OK && request->client_secret.data != NULL)
        out->secret_file = w.secret_file;
    else
        free(w.secret_file);
    return status;
}

void init_profile_free(struct init_profile *p)
{
    free(p->secret_file);
    *p = (struct init_profile){NULL};
}
