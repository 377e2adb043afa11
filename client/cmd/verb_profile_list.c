/* dpop profile list: every profile of the configuration, a line each. */
#include "listing.h"
#include "messages.h"
#include "show.h"

#include <stdio.h>

static void print_head(void)
{
    (void)printf("%-16s %-12s %-9s %-15s %-13s %-20s %s\n", "PROFILE", "KEY", "STATE", "LOGIN", "DPOP",
                 "AUTHENTICATION", "ISSUER");
}

static int print_item(struct json *j, struct span item, struct dpop_error *err)
{
    struct profile_info p;
    int status = command_item(item, &message_profile_info, &p, sizeof(p), err);
    if (status != DPOP_OK)
        return status;
    if (j != NULL)
        show_profile_json(j, &p);
    else
        (void)printf("%-16.*s %-12.*s %-9.*s %-15.*s %-13.*s %-20.*s %.*s\n", SHOW(p.name), SHOW(p.key), SHOW(p.state),
                     SHOW(p.login), SHOW(p.dpop), SHOW(p.client_authentication),
                     SHOW(p.issuer.len > 0 ? p.issuer : p.token_endpoint));
    return DPOP_OK;
}

static int run(struct command *cmd, char **operands, int count)
{
    (void)operands;
    (void)count;
    return listing_run(cmd, &(struct listing){.operation = OPERATION_PROFILES,
                                              .answer = &message_profiles_answer,
                                              .head = print_head,
                                              .item = print_item});
}

const struct verb verb_profile_list = {
    .name = "profile list",
    .arguments = "",
    .summary = "List the profiles",
    .help = "",
    .short_options = "",
    .run = run,
};
