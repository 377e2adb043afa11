/* dpop key show KEY: one key with its JWK, thumbprint, URI, attributes and state. */
#include "command.h"
#include "key_find.h"
#include "report.h"
#include "show.h"

static void print_text(const struct key_info *key)
{
    char attributes[256];
    show_attributes(key, attributes, sizeof(attributes));
    (void)printf("key         %.*s\nstate       %.*s\n", SHOW(key->name), SHOW(key->state));
    if (key->reason.len > 0)
        (void)printf("reason      %.*s\n", SHOW(key->reason));
    if (key->next.len > 0)
        (void)printf("next        %.*s\n", SHOW(key->next));
    show_pace(key, "");
    (void)printf(
        "URI         %.*s\ntoken       %.*s\nmodel       %.*s\nthumbprint  %.*s\nattributes  %s\nimported    %s\n"
        "JWK         ",
        SHOW(key->uri), SHOW(key->token), SHOW(key->model), SHOW(key->jkt), attributes[0] != '\0' ? attributes : "-",
        key->imported ? "yes: the key was not made in the token" : "no");
}

static int print(const struct command *cmd, const struct key_info *key)
{
    struct json j;
    json_init(&j);
    if (cmd->json) {
        show_key_json(&j, key);
        return report_json(&j);
    }
    print_text(key);
    if (show_has_jwk(key)) {
        show_jwk_json(&j, NULL, key);
        return report_json(&j);
    }
    json_free(&j);
    (void)printf("-\n");
    return report_printed();
}

static int run(struct command *cmd, char **operands, int count)
{
    struct key_info key;
    struct dpop_error err;
    (void)count;
    if (key_find_opened(cmd, operands[0], &key, &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = print(cmd, &key);
    call_done(cmd->agent);
    return status;
}

const struct verb verb_key_show = {
    .name = "key show",
    .arguments = "KEY",
    .summary = "Show a key: JWK, thumbprint, URI, attributes, state",
    .help = "",
    .short_options = "",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
