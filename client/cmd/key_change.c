/* See key_change.h. */
#include "key_change.h"

#include "report.h"
#include "show.h"

static struct key_info public_part(const struct key_made_answer *made)
{
    return (struct key_info){.jkt = made->jkt, .x = made->x, .y = made->y};
}

void key_change_put_made(struct json *j, const struct key_made_answer *made)
{
    const struct key_info key = public_part(made);
    json_span(j, "name", made->name);
    json_span(j, "uri", made->uri);
    json_span(j, "thumbprint", made->jkt);
    show_jwk_json(j, "jwk", &key);
    json_bool(j, "imported", made->imported);
    json_span(j, "configuration", made->configuration);
}

void key_change_print_made(const struct key_made_answer *made)
{
    struct json j;
    const struct key_info key = public_part(made);
    (void)printf("key            %.*s%s\nURI            %.*s\nthumbprint     %.*s\n", SHOW(made->name),
                 made->imported ? " (imported: it was not made in the token)" : "", SHOW(made->uri), SHOW(made->jkt));
    (void)printf("configuration  %.*s\nJWK            ", SHOW(made->configuration));
    json_init(&j);
    show_jwk_json(&j, NULL, &key);
    (void)report_json(&j);
}

int key_change_put_bound(struct json *j, const struct list *bound, struct dpop_error *err)
{
    struct bound_info b;
    struct span item;
    size_t cursor = 0;
    int status = DPOP_OK;
    json_open(j, "profiles", '[');
    while (list_next(bound, &cursor, &item) &&
           (status = command_item(item, &message_bound_info, &b, sizeof(b), err)) == DPOP_OK) {
        json_open(j, NULL, '{');
        json_span(j, "profile", b.profile);
        json_bool(j, "revoked", b.revoked);
        json_bool(j, "login_due", b.login_due);
        json_span(j, "note", b.note);
        json_close(j, '}');
    }
    json_close(j, ']');
    return status;
}

int key_change_print_bound(const struct list *bound, struct dpop_error *err)
{
    struct bound_info b;
    struct span item;
    size_t cursor = 0;
    int status = DPOP_OK;
    while (list_next(bound, &cursor, &item) &&
           (status = command_item(item, &message_bound_info, &b, sizeof(b), err)) == DPOP_OK) {
        (void)printf("profile        %.*s: %s\n", SHOW(b.profile),
                     b.revoked ? "its tokens are revoked" : "its tokens are not revoked at the server");
        if (b.note.len > 0)
            (void)printf("               note: %.*s\n", SHOW(b.note));
        if (b.login_due)
            (void)printf("               next: dpop login %.*s\n", SHOW(b.profile));
    }
    return status;
}

int key_change_finish_made(struct command *cmd, const struct key_made_answer *made)
{
    struct dpop_error err;
    struct json j;
    int status;
    if (cmd->json) {
        json_init(&j);
        json_open(&j, NULL, '{');
        key_change_put_made(&j, made);
        json_close(&j, '}');
        status = report_json(&j);
    } else {
        key_change_print_made(made);
        status = report_printed();
    }
    call_done(cmd->agent);
    if (status == 0 && command_await_restart(cmd, &err) != DPOP_OK)
        report_note("the key is made, but the agent has not come back: %s", err.message);
    return status;
}
