/* See init_keys.h. */
#include "init_keys.h"

#include "init_folder.h"
#include "init_lines.h"
#include "init_rewrite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One edit: the old file as lines, the new text, and the lock. */
struct edit {
    const struct init_keys_place *place;
    struct init_rewrite rewrite;
    struct init_lines lines;
    struct init_folder folder;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

static enum status edit_open(struct edit *e, const struct init_keys_place *place, struct error *err)
{
    enum status status = STATUS_OK;
    *e = (struct edit){.place = place};
    init_folder_open(&e->folder);
    if (place->state_folder != NULL)
        status = init_folder_lock(&e->folder, place->state_folder, err);
    if (status == STATUS_OK)
        status = init_rewrite_open(&e->rewrite, place->configuration, err);
    if (status == STATUS_OK && init_lines_split(buffer_span(&e->rewrite.old), &e->lines) != 0)
        status = no_memory(err);
    return status;
}

static void edit_close(struct edit *e)
{
    init_lines_free(&e->lines);
    init_rewrite_close(&e->rewrite);
    init_folder_close(&e->folder, false);
}

static enum status find_key(const struct edit *e, struct span name, const struct init_section **out, struct error *err)
{
    const struct init_section *found = init_lines_find(&e->lines, "key", name);
    if (found == NULL)
        return error_set(err, STATUS_UNKNOWN_KEY, NULL, "there is no [key %.*s] in %s", (int)name.len,
                         (const char *)name.data, e->place->configuration);
    *out = found;
    return STATUS_OK;
}

/* The new text is parsed and checked, with this many keys and profiles. The caller frees *after. */
static enum status check_text(struct edit *e, size_t keys, size_t profiles, struct config **after, struct error *err)
{
    struct span old = buffer_span(&e->rewrite.old);
    if (old.len > 0 && old.data[old.len - 1] != '\n' && e->rewrite.text.len > 0)
        e->rewrite.text.len--; /* the last line had no end before */
    enum status status = init_rewrite_check(&e->rewrite, e->place->check, after, err);
    if (status == STATUS_OK && ((*after)->key_count != keys || (*after)->profile_count != profiles)) {
        config_free(*after);
        *after = NULL;
        status = error_set(err, STATUS_INTERNAL, "change the configuration by hand",
                           "the new text of %s is not what it should be", e->place->configuration);
    }
    return status;
}

static bool has(const struct config *c, struct span name, struct span uri, struct span jkt)
{
    const struct key_config *key = config_key(c, name);
    return key != NULL && span_equal(span_text(key->uri), uri) && key->thumbprint != NULL &&
           span_equal(span_text(key->thumbprint), jkt);
}

static void put_option(struct buffer *out, const char *name, struct span value)
{
    buffer_put_text(out, name);
    buffer_put_text(out, " = ");
    init_lines_put(out, value);
}

static void put_new_section(struct edit *e, const struct add_key *request, const struct init_section *like)
{
    static const char *const copied[] = {"pin-file", "pin-credential", "environment",
                                         "workers",  "sign-timeout",   "origins"};
    struct buffer *out = &e->rewrite.text;
    buffer_put_text(out, "\n[key ");
    buffer_put(out, request->name.data, request->name.len);
    buffer_put_text(out, "]\n");
    put_option(out, "uri", request->uri);
    put_option(out, "thumbprint", request->jkt);
    if (request->imported)
        put_option(out, "allow-imported", span_text("yes"));
    for (size_t i = like->first; i <= like->last; i++)
        for (size_t j = 0; j < sizeof(copied) / sizeof(copied[0]); j++)
            if (e->lines.lines[i].option.data != NULL && span_is(e->lines.lines[i].option, copied[j]))
                init_lines_put(out, e->lines.lines[i].text);
}

static bool is_blank(struct span line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r')
            return false;
    return true;
}

static void put_added(struct edit *e, const struct add_key *request, const struct init_section *like)
{
    size_t place = 0;
    for (size_t i = 0; i < e->lines.section_count; i++)
        if (span_is(e->lines.sections[i].kind, "key"))
            place = e->lines.sections[i].last;
    for (size_t i = 0; i < e->lines.count; i++) {
        init_lines_put(&e->rewrite.text, e->lines.lines[i].text);
        if (i != place)
            continue;
        put_new_section(e, request, like);
        if (i + 1 < e->lines.count && !is_blank(e->lines.lines[i + 1].text))
            buffer_put_text(&e->rewrite.text, "\n");
    }
}

static enum status add(struct edit *e, const struct add_key *request, struct error *err)
{
    const struct init_section *like = NULL;
    struct config *after = NULL;
    enum status status = find_key(e, request->like, &like, err);
    if (status == STATUS_OK && init_lines_find(&e->lines, "key", request->name) != NULL)
        status = error_set(err, STATUS_EXISTS, "choose another name", "there is a [key %.*s] already in %s",
                           (int)request->name.len, (const char *)request->name.data, e->place->configuration);
    if (status != STATUS_OK)
        return status;
    put_added(e, request, like);
    status = check_text(e, e->rewrite.parsed->key_count + 1, e->rewrite.parsed->profile_count, &after, err);
    if (status == STATUS_OK && !has(after, request->name, request->uri, request->jkt))
        status =
            error_set(err, STATUS_INVALID_ARGUMENT, NULL, "the new key's uri or thumbprint cannot stand in a line");
    config_free(after);
    return status == STATUS_OK ? init_rewrite_replace(&e->rewrite, err) : status;
}

enum status init_keys_add(const struct add_key *request, const struct init_keys_place *place, struct error *err)
{
    struct edit e;
    if (!init_rewrite_valid_name(request->name))
        return error_set(
            err, STATUS_INVALID_ARGUMENT, "use up to 63 letters, digits, '.', '_' and '-', no '.' in front",
            "\"%.*s\" is no name for a key here", (int)request->name.len, (const char *)request->name.data);
    enum status status = edit_open(&e, place, err);
    if (status == STATUS_OK)
        status = add(&e, request, err);
    edit_close(&e);
    return status;
}

/* Why a profile goes with a key: it names it, or it takes its subject tokens from a profile that goes. */
struct reason {
    const char *option; /* of the profile; NULL: it stays */
    const char *value;
};

static struct reason reason_to_go(const struct config *c, const struct reason *reasons, const struct profile_config *p,
                                  struct span key)
{
    const struct reason named[] = {{"key", p->key}, {"client-key", p->client_key}, {"assertion-key", p->assertion_key}};
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
        if (named[i].value != NULL && span_equal(span_text(named[i].value), key))
            return named[i];
    for (size_t i = 0; i < c->profile_count && p->subject_token_profile != NULL; i++)
        if (reasons[i].option != NULL && strcmp(c->profiles[i].name, p->subject_token_profile) == 0)
            return (struct reason){"subject-token-profile", p->subject_token_profile};
    return (struct reason){NULL, NULL};
}

/* Until nothing changes any more: a chain of exchanges may stand in any order. */
static void choose_profiles(const struct config *c, struct span key, struct reason *reasons)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < c->profile_count; i++) {
            if (reasons[i].option != NULL)
                continue;
            reasons[i] = reason_to_go(c, reasons, &c->profiles[i], key);
            changed = changed || reasons[i].option != NULL;
        }
    }
}

static const struct reason *removal_of(const struct edit *e, const struct init_section *s, struct span key,
                                       const struct reason *reasons)
{
    static const struct reason itself = {"", ""};
    const struct config *c = e->rewrite.parsed;
    if (span_is(s->kind, "key") && span_equal(s->name, key))
        return &itself;
    for (size_t i = 0; i < c->profile_count; i++)
        if (reasons[i].option != NULL && span_is(s->kind, "profile") && span_is(s->name, c->profiles[i].name))
            return &reasons[i];
    return NULL;
}

static void put_removed(struct edit *e, const struct init_section *s, const struct reason *why)
{
    char date[16] = "";
    struct tm now;
    struct buffer *out = &e->rewrite.text;
    if (localtime_r(&e->place->now, &now) != NULL)
        (void)strftime(date, sizeof(date), "%Y-%m-%d", &now);
    buffer_put_text(out, "# removed by dpop key delete, ");
    buffer_put_text(out, date);
    if (why->option[0] != '\0') {
        buffer_put_text(out, ": it had ");
        buffer_put_text(out, why->option);
        buffer_put_text(out, " = ");
        buffer_put_text(out, why->value);
    }
    buffer_put_text(out, "\n");
    for (size_t i = s->first; i <= s->last; i++) {
        const struct init_line *line = &e->lines.lines[i];
        if (line->header || line->option.data != NULL)
            buffer_put_text(out, "# ");
        init_lines_put(out, line->text);
    }
}

static void put_without(struct edit *e, struct span key, const struct reason *reasons)
{
    size_t section = 0;
    for (size_t i = 0; i < e->lines.count; i++) {
        while (section < e->lines.section_count && e->lines.sections[section].first < i)
            section++;
        const struct init_section *s = section < e->lines.section_count ? &e->lines.sections[section] : NULL;
        const struct reason *why = s != NULL && s->first == i ? removal_of(e, s, key, reasons) : NULL;
        if (why == NULL) {
            init_lines_put(&e->rewrite.text, e->lines.lines[i].text);
            continue;
        }
        put_removed(e, s, why);
        i = s->last;
    }
}

static enum status list_profiles(const struct config *c, const struct reason *reasons, struct strings *out,
                                 struct error *err)
{
    struct strings names = {calloc(c->profile_count + 1, sizeof(*names.items)), 0};
    bool failed = names.items == NULL;
    for (size_t i = 0; i < c->profile_count && !failed; i++) {
        if (reasons[i].option == NULL)
            continue;
        names.items[names.count] = strdup(c->profiles[i].name);
        failed = names.items[names.count] == NULL;
        names.count += failed ? 0 : 1;
    }
    if (failed) {
        init_keys_free(&names);
        return no_memory(err);
    }
    *out = names;
    return STATUS_OK;
}

static enum status remove_from(struct edit *e, const struct remove_key *request, struct strings *profiles,
                               struct error *err)
{
    const struct init_section *section;
    const struct config *before = e->rewrite.parsed;
    struct config *after = NULL;
    enum status status = find_key(e, request->name, &section, err);
    if (status != STATUS_OK)
        return status;
    struct reason *reasons = calloc(before->profile_count + 1, sizeof(*reasons));
    if (reasons == NULL)
        return no_memory(err);
    choose_profiles(before, request->name, reasons);
    status = list_profiles(before, reasons, profiles, err);
    if (status == STATUS_OK) {
        put_without(e, request->name, reasons);
        status = check_text(e, before->key_count - 1, before->profile_count - profiles->count, &after, err);
    }
    if (status == STATUS_OK && !request->check)
        status = init_rewrite_replace(&e->rewrite, err);
    config_free(after);
    free(reasons);
    return status;
}

enum status init_keys_remove(const struct remove_key *request, const struct init_keys_place *place,
                             struct strings *profiles, struct error *err)
{
    struct edit e;
    struct strings names = {NULL, 0};
    enum status status = edit_open(&e, place, err);
    if (status == STATUS_OK)
        status = remove_from(&e, request, &names, err);
    edit_close(&e);
    if (status == STATUS_OK)
        *profiles = names;
    else
        init_keys_free(&names);
    return status;
}

/* What tells one key from another: these go from one section to the other. */
static const char *const identity[] = {"uri", "thumbprint", "allow-imported"};

static bool is_identity(const struct init_line *line)
{
    for (size_t i = 0; i < sizeof(identity) / sizeof(identity[0]); i++)
        if (line->option.data != NULL && span_is(line->option, identity[i]))
            return true;
    return false;
}

/* The key's section with what makes the next one. */
static void put_switched_line(struct edit *e, const struct init_line *line, const struct init_section *next)
{
    struct buffer *out = &e->rewrite.text;
    if (!is_identity(line)) {
        init_lines_put(out, line->text);
        return;
    }
    for (size_t j = 0; span_is(line->option, "uri") && j < sizeof(identity) / sizeof(identity[0]); j++) {
        const struct init_line *other = init_lines_option(&e->lines, next, identity[j]);
        if (other != NULL)
            init_lines_put(out, other->text);
    }
}

/* A profile that has the next key already (its certificate is that key's) has it by the other name from now on. */
static void put_other_line(struct edit *e, const struct init_line *line, bool profile, const struct switch_key *request)
{
    struct buffer *out = &e->rewrite.text;
    bool names = line->option.data != NULL && (span_is(line->option, "key") || span_is(line->option, "client-key") ||
                                               span_is(line->option, "assertion-key"));
    if (!profile || !names || !span_equal(line->value, request->next)) {
        init_lines_put(out, line->text);
        return;
    }
    const uint8_t *behind = line->value.data + line->value.len, *end = line->text.data + line->text.len;
    buffer_put(out, line->text.data, (size_t)(line->value.data - line->text.data));
    buffer_put(out, request->name.data, request->name.len);
    init_lines_put(out, span_of(behind, (size_t)(end - behind)));
}

static void put_switched(struct edit *e, const struct init_section *name, const struct init_section *next,
                         const struct switch_key *request)
{
    size_t gone = next->first, section = 0;
    if (gone > 0 && is_blank(e->lines.lines[gone - 1].text))
        gone--; /* the blank line that set it apart */
    for (size_t i = 0; i < e->lines.count; i++) {
        const struct init_line *line = &e->lines.lines[i];
        while (section + 1 < e->lines.section_count && e->lines.sections[section + 1].first <= i)
            section++;
        if (i >= gone && i <= next->last)
            continue;
        if (i >= name->first && i <= name->last)
            put_switched_line(e, line, next);
        else
            put_other_line(e, line, span_is(e->lines.sections[section].kind, "profile"), request);
    }
}

static enum status switch_to(struct edit *e, const struct switch_key *request, struct error *err)
{
    const struct init_section *name = NULL, *next = NULL;
    const struct config *before = e->rewrite.parsed;
    struct config *after = NULL;
    enum status status = find_key(e, request->name, &name, err);
    if (status == STATUS_OK)
        status = find_key(e, request->next, &next, err);
    if (status == STATUS_OK && name == next)
        status = error_set(err, STATUS_INVALID_ARGUMENT, NULL, "a key cannot be switched to itself");
    if (status != STATUS_OK)
        return status;
    put_switched(e, name, next, request);
    status = check_text(e, before->key_count - 1, before->profile_count, &after, err);
    if (status != STATUS_OK)
        return status;
    const struct key_config *old = config_key(before, request->next), *new = config_key(after, request->name);
    if (new == NULL || strcmp(new->uri, old->uri) != 0 || new->allow_imported != old->allow_imported)
        status = error_set(err, STATUS_INTERNAL, "change the configuration by hand",
                           "the new text of %s is not what it should be", e->place->configuration);
    config_free(after);
    return status == STATUS_OK ? init_rewrite_replace(&e->rewrite, err) : status;
}

enum status init_keys_switch(const struct switch_key *request, const struct init_keys_place *place, struct error *err)
{
    struct edit e;
    enum status status = edit_open(&e, place, err);
    if (status == STATUS_OK)
        status = switch_to(&e, request, err);
    edit_close(&e);
    return status;
}

void init_keys_free(struct strings *profiles)
{
    for (size_t i = 0; i < profiles->count; i++)
        free(profiles->items[i]);
    free(profiles->items);
    *profiles = (struct strings){NULL, 0};
}
