/* See token.h. */
#include "token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTING_SIZE 320 /* of a list of tokens in an error */

/* Every token that the module shows. */
struct tokens {
    CK_SLOT_ID *slots;
    CK_ULONG count;
};

/* PKCS#11 texts are padded with blanks and not terminated. */
static void unpad(const CK_UTF8CHAR *field, size_t size, char *out, size_t out_size)
{
    while (size > 0 && (field[size - 1] == ' ' || field[size - 1] == '\0'))
        size--;
    error_put_text(out, out_size, span_of(field, size));
}

static void fill(CK_SLOT_ID slot, const CK_TOKEN_INFO *info, struct token *t)
{
    t->slot = slot;
    t->flags = info->flags;
    unpad(info->label, sizeof(info->label), t->label, sizeof(t->label));
    unpad(info->model, sizeof(info->model), t->model, sizeof(t->model));
    unpad(info->serialNumber, sizeof(info->serialNumber), t->serial, sizeof(t->serial));
}

static enum status list_slots(const struct module *m, struct tokens *out, struct error *err)
{
    CK_ULONG count = 0;
    for (;;) { /* a token may come between the two calls */
        CK_RV rv = m->f->C_GetSlotList(CK_TRUE, NULL, &count);
        if (rv != CKR_OK)
            return module_failed(m, "C_GetSlotList", rv, err);
        CK_SLOT_ID *slots = calloc(count + 1, sizeof(*slots));
        if (slots == NULL)
            return error_set(err, STATUS_NO_MEMORY, NULL, "module %s: out of memory", m->path);
        rv = m->f->C_GetSlotList(CK_TRUE, slots, &count);
        if (rv == CKR_OK) {
            *out = (struct tokens){slots, count};
            return STATUS_OK;
        }
        free(slots);
        if (rv != CKR_BUFFER_TOO_SMALL)
            return module_failed(m, "C_GetSlotList", rv, err);
    }
}

/* Is this token meant by the choice (a URI, a label, or neither: a blank token)? A token that went away is not. */
struct choice {
    const struct uri *uri;
    const char *label;
};

static bool matches(const struct module *m, const struct choice *choice, CK_SLOT_ID slot, const CK_TOKEN_INFO *info,
                    const struct token *t)
{
    CK_SLOT_INFO slot_info;
    CK_INFO module_info;
    bool blank = !(info->flags & CKF_TOKEN_INITIALIZED);
    if (choice->uri == NULL)
        return choice->label == NULL ? blank : !blank && strcmp(t->label, choice->label) == 0;
    CK_SLOT_ID wanted = p11_kit_uri_get_slot_id(choice->uri->parsed);
    return !blank && (wanted == (CK_SLOT_ID)-1 || wanted == slot) &&
           p11_kit_uri_match_token_info(choice->uri->parsed, info) == 1 &&
           m->f->C_GetSlotInfo(slot, &slot_info) == CKR_OK &&
           p11_kit_uri_match_slot_info(choice->uri->parsed, &slot_info) == 1 &&
           m->f->C_GetInfo(&module_info) == CKR_OK &&
           p11_kit_uri_match_module_info(choice->uri->parsed, &module_info) == 1;
}

static void add_to_listing(char listing[LISTING_SIZE], const struct token *t)
{
    size_t len = strlen(listing);
    (void)snprintf(listing + len, LISTING_SIZE - len, "%s\"%s\" (serial %s)", len > 0 ? ", " : "", t->label, t->serial);
}

/* Counts the tokens that the choice means, fills the first of them, and lists these and the others. */
static enum status choose(const struct module *m, const struct choice *choice, struct token *out, size_t *count,
                          char matching[LISTING_SIZE], char others[LISTING_SIZE], struct error *err)
{
    struct tokens tokens = {0};
    struct token first = {0};
    enum status status = list_slots(m, &tokens, err);
    if (status != STATUS_OK)
        return status;
    *count = 0;
    matching[0] = others[0] = '\0';
    for (CK_ULONG i = 0; i < tokens.count; i++) {
        CK_TOKEN_INFO info;
        struct token t;
        if (m->f->C_GetTokenInfo(tokens.slots[i], &info) != CKR_OK)
            continue;
        fill(tokens.slots[i], &info, &t);
        if (!matches(m, choice, tokens.slots[i], &info, &t)) {
            if (info.flags & CKF_TOKEN_INITIALIZED)
                add_to_listing(others, &t);
            continue;
        }
        if ((*count)++ == 0)
            first = t;
        add_to_listing(matching, &t);
    }
    free(tokens.slots);
    *out = first;
    return STATUS_OK;
}

enum status token_find(const struct module *m, const struct uri *uri, struct token *out, struct error *err)
{
    struct choice choice = {.uri = uri};
    struct token t;
    size_t count;
    char matching[LISTING_SIZE], others[LISTING_SIZE], wanted[33];
    enum status status = choose(m, &choice, &t, &count, matching, others, err);
    if (status != STATUS_OK)
        return status;
    if (count > 1)
        return error_set(err, STATUS_KEY_UNFIT, "add serial=… to the uri", "the uri fits %zu tokens in %s: %s", count,
                         m->path, matching);
    if (count == 0) {
        const CK_TOKEN_INFO *asked = p11_kit_uri_get_token_info(uri->parsed);
        bool named = asked->label[0] != 0 && asked->label[0] != 0xff; /* p11-kit's way to say "any" */
        unpad(asked->label, named ? sizeof(asked->label) : 0, wanted, sizeof(wanted));
        return error_set(err, STATUS_KEY_ABSENT, "plug it in, or correct the uri",
                         "no token \"%s\" in %s; there %s: %s", named ? wanted : "*", m->path,
                         others[0] != '\0' ? "are" : "is", others[0] != '\0' ? others : "none");
    }
    *out = t;
    return STATUS_OK;
}

static enum status find_first(const struct module *m, const struct choice *choice, struct token *out, struct error *err)
{
    struct token t;
    size_t count;
    char matching[LISTING_SIZE], others[LISTING_SIZE];
    enum status status = choose(m, choice, &t, &count, matching, others, err);
    if (status != STATUS_OK)
        return status;
    if (count == 0)
        return error_set(err, STATUS_KEY_ABSENT, NULL, "no %s in %s; tokens there: %s",
                         choice->label != NULL ? choice->label : "token that is not initialised", m->path,
                         others[0] != '\0' ? others : "none");
    *out = t;
    return STATUS_OK;
}

enum status token_find_blank(const struct module *m, struct token *out, struct error *err)
{
    struct choice choice = {0};
    return find_first(m, &choice, out, err);
}

enum status token_find_label(const struct module *m, const char *label, struct token *out, struct error *err)
{
    struct choice choice = {.label = label};
    return find_first(m, &choice, out, err);
}

enum status token_refresh(const struct module *m, struct token *t, struct error *err)
{
    CK_TOKEN_INFO info;
    CK_RV rv = m->f->C_GetTokenInfo(t->slot, &info);
    if (rv != CKR_OK)
        return module_failed(m, "C_GetTokenInfo", rv, err);
    t->flags = info.flags;
    return STATUS_OK;
}

enum status token_check(const struct module *m, struct token *t, struct error *err)
{
    CK_TOKEN_INFO info;
    struct token now;
    CK_RV rv = m->f->C_GetTokenInfo(t->slot, &info);
    if (rv != CKR_OK)
        return module_failed(m, "C_GetTokenInfo", rv, err);
    fill(t->slot, &info, &now);
    if (strcmp(now.label, t->label) == 0 && strcmp(now.serial, t->serial) == 0) {
        t->flags = now.flags;
        return STATUS_OK;
    }
    *m->failed = CKR_TOKEN_NOT_PRESENT;
    return error_set(err, STATUS_KEY_ABSENT, "plug it in", "token \"%s\" has gone; in its place is \"%s\"", t->label,
                     now.label);
}

const char *token_pin_warning(const struct token *t)
{
    if (t->flags & CKF_USER_PIN_LOCKED)
        return "its PIN is locked";
    if (t->flags & CKF_USER_PIN_FINAL_TRY)
        return "one try is left for its PIN";
    return t->flags & CKF_USER_PIN_COUNT_LOW ? "a wrong PIN was entered since the last good one" : NULL;
}
