/*
 * dpop key rotate KEY --prepare, then --commit. Between the two the new public key is registered where the old one is
 * known: prepare says where, and prints the JWK or a certificate signing request.
 */
#include "key_change.h"
#include "report.h"
#include "show.h"

#include <stdlib.h>
#include <string.h>

#define COMMIT_MS 120000 /* a commit asks every profile's server for a token */
#define FINISH_MS 60000  /* what it has begun to switch and to revoke it brings to an end behind its time-out */

struct options {
    bool prepare, commit;
    const char *subject;
};

static const struct option long_options[] = {
    {"prepare", no_argument, NULL, 'p'},
    {"commit", no_argument, NULL, 'c'},
    {"csr", required_argument, NULL, 's'},
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    {'s', offsetof(struct options, subject)},
    {0, 0},
};

static const char *take_option(struct command *cmd, int c, char *value)
{
    struct options *o = cmd->options;
    (void)value;
    if (c == 'p')
        o->prepare = true;
    else
        o->commit = true;
    return NULL;
}

/* A prepared key, with copies of what must outlive the connection. */
struct prepared {
    char key[LIMIT_NAME + 1], name[LIMIT_NAME + 1];
    struct buffer users;       /* profiles whose client authenticates with the key: names, each between line breaks */
    char *pem;                 /* the request for a certificate; NULL: none was asked for */
};

static bool is_user(const struct prepared *p, struct span name)
{
    char line[LIMIT_NAME + 3];
    int len = snprintf(line, sizeof(line), "\n%.*s\n", SHOW(name));
    return len < (int)sizeof(line) && memmem(buffer_span(&p->users).data, p->users.len, line, (size_t)len) != NULL;
}

static void print_user(const struct prepared *p, const struct profile_info *profile)
{
    struct span how = profile->client_authentication;
    (void)printf("profile        %.*s: ", SHOW(profile->name));
    if (span_is(how, "private_key_jwt"))
        (void)printf("add the JWK to the client's keys (jwks) at %.*s; leave the old one there\n",
                     SHOW(profile->issuer));
    else if (span_is(how, "tls_client_auth"))
        (void)printf("get a certificate for \"%s\" (%s), and name it in client-certificate-file\n", p->name,
                     p->pem != NULL ? "the request is below" : "dpop key csr");
    else
        (void)printf("make a certificate (dpop key cert %s), register it at %.*s,\n"
                     "               and name it in client-certificate-file\n",
                     p->name, SHOW(profile->issuer));
}

static void put_user(struct json *j, const struct profile_info *profile)
{
    json_open(j, NULL, '{');
    json_span(j, "profile", profile->name);
    json_span(j, "client_authentication", profile->client_authentication);
    json_span(j, "issuer", profile->issuer);
    json_close(j, '}');
}

/* Where the new key has to be registered: as text, or as the member "authenticates". A status. */
static int show_users(struct command *cmd, const struct prepared *p, struct json *j, struct dpop_error *err)
{
    struct profiles_answer answer;
    struct profile_info profile;
    struct span item;
    size_t cursor = 0, count = 0;
    int status = command_call(cmd, OPERATION_PROFILES, &message_empty, &(struct empty_message){false},
                              &message_profiles_answer, &answer, sizeof(answer), err);
    if (status != DPOP_OK)
        return status;
    if (j != NULL)
        json_open(j, "authenticates", '[');
    while (list_next(&answer.profiles, &cursor, &item) &&
           (status = command_item(item, &message_profile_info, &profile, sizeof(profile), err)) == DPOP_OK) {
        if (!is_user(p, profile.name))
            continue;
        if (j == NULL && count++ == 0)
            (void)printf("\nRegister it before the second half of the rotation:\n");
        if (j != NULL)
            put_user(j, &profile);
        else
            print_user(p, &profile);
    }
    if (j != NULL)
        json_close(j, ']');
    else if (count == 0)
        (void)printf("\nNothing has to be registered: no client authenticates with this key.\n");
    call_done(cmd->agent);
    return status;
}

/* The agent has reloaded; the new key is opened while the request waits. */
static int make_csr(struct command *cmd, struct prepared *p, const char *subject, struct dpop_error *err)
{
    const struct key_csr_request in = {
        .key = span_text(p->name), .subject = span_text(subject), .timeout = command_timeout(cmd)};
    struct pem_answer answer;
    int status = command_call(cmd, OPERATION_KEY_CSR, &message_key_csr_request, &in, &message_pem_answer, &answer,
                              sizeof(answer), err);
    if (status != DPOP_OK)
        return status;
    p->pem = span_dup(answer.pem);
    call_done(cmd->agent);
    return DPOP_OK;
}

static int finish_prepare(struct command *cmd, struct prepared *p, struct json *j, struct dpop_error *err)
{
    const struct options *o = cmd->options;
    int status = command_await_restart(cmd, err);
    if (status == DPOP_OK && o->subject != NULL)
        status = make_csr(cmd, p, o->subject, err);
    if (status == DPOP_OK)
        status = show_users(cmd, p, cmd->json ? j : NULL, err);
    if (status != DPOP_OK)
        return status;
    if (cmd->json)
        json_text(j, "csr", p->pem);
    else
        (void)printf("\n%s%sThen: dpop key rotate %s --commit\n", p->pem != NULL ? p->pem : "",
                     p->pem != NULL ? "\n" : "", p->key);
    return DPOP_OK;
}

static int prepare(struct command *cmd, const char *key)
{
    const struct key_prepare_request in = {.key = span_text(key), .timeout = command_timeout(cmd)};
    struct key_made_answer answer;
    struct prepared p = {.pem = NULL};
    struct dpop_error err;
    struct span user;
    struct json j;
    size_t cursor = 0;
    int status = command_call(cmd, OPERATION_KEY_PREPARE, &message_key_prepare_request, &in, &message_key_made_answer,
                              &answer, sizeof(answer), &err);
    if (status != DPOP_OK)
        return report_error(cmd, &err);
    (void)snprintf(p.key, sizeof(p.key), "%s", key);
    (void)snprintf(p.name, sizeof(p.name), "%.*s", SHOW(answer.name));
    buffer_init(&p.users, LIMIT_NESTED);
    while (list_next(&answer.authenticates, &cursor, &user)) {
        buffer_put(&p.users, "\n", 1);
        buffer_put(&p.users, user.data, user.len);
        buffer_put(&p.users, "\n", 1);
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    if (cmd->json)
        key_change_put_made(&j, &answer);
    else
        key_change_print_made(&answer);
    call_done(cmd->agent);
    status = finish_prepare(cmd, &p, &j, &err);
    json_close(&j, '}');
    buffer_free(&p.users);
    free(p.pem);
    if (status == DPOP_OK && cmd->json)
        return report_json(&j);
    json_free(&j);
    return status == DPOP_OK ? report_printed() : report_error(cmd, &err);
}

static int print_commit(const struct command *cmd, const char *key, const struct key_commit_answer *a,
                        struct dpop_error *err)
{
    struct json j;
    int status;
    if (!cmd->json) {
        (void)printf("key            %s\nthumbprint     %.*s\nwas            %.*s: %s\nconfiguration  %.*s\n", key,
                     SHOW(a->jkt), SHOW(a->old_jkt), a->note.len > 0 ? "not gone" : "destroyed",
                     SHOW(a->configuration));
        if (a->note.len > 0)
            (void)printf("note           %.*s\n", SHOW(a->note));
        status = key_change_print_bound(&a->bound, err);
        return status == DPOP_OK ? report_printed() : report_error(cmd, err);
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    json_text(&j, "key", key);
    json_span(&j, "thumbprint", a->jkt);
    json_span(&j, "old_thumbprint", a->old_jkt);
    json_bool(&j, "old_destroyed", a->note.len == 0);
    json_span(&j, "note", a->note);
    status = key_change_put_bound(&j, &a->bound, err);
    json_span(&j, "configuration", a->configuration);
    json_close(&j, '}');
    if (status == DPOP_OK)
        return report_json(&j);
    json_free(&j);
    return report_error(cmd, err);
}

static int commit(struct command *cmd, const char *key)
{
    struct key_commit_answer answer;
    struct dpop_error err;
    uint32_t timeout = cmd->timeout_ms != 0 ? cmd->timeout_ms : COMMIT_MS;
    const struct key_commit_request in = {.key = span_text(key), .timeout = timeout};
    if (command_call_within(cmd, timeout + FINISH_MS, OPERATION_KEY_COMMIT, &message_key_commit_request, &in,
                            &message_key_commit_answer, &answer, sizeof(answer), &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = print_commit(cmd, key, &answer, &err);
    call_done(cmd->agent);
    if (status == 0 && command_await_restart(cmd, &err) != DPOP_OK)
        report_note("the key is switched, but the agent has not come back: %s", err.message);
    return status;
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    (void)count;
    if (o->prepare == o->commit)
        return report_usage(cmd, "say --prepare (make the new key) or --commit (switch to it)");
    if (o->subject != NULL && !o->prepare)
        return report_usage(cmd, "--csr goes with --prepare");
    return o->prepare ? prepare(cmd, operands[0]) : commit(cmd, operands[0]);
}

const struct verb verb_key_rotate = {
    .name = "key rotate",
    .arguments = "KEY",
    .summary = "Replace a key in two steps: --prepare, then --commit",
    .help = "  --prepare            make the new key, and say where to register it\n"
            "  --csr NAME           with --prepare: also a certificate signing request (CN=app,O=Example)\n"
            "  --commit             prove the new key, switch to it, revoke and destroy the old one\n",
    .short_options = "",
    .long_options = long_options,
    .min_operands = 1,
    .max_operands = 1,
    .options_size = sizeof(struct options),
    .texts = texts,
    .option = take_option,
    .run = run,
};
