/*
 * dpop profile test PROFILE: the agent tries what the profile needs, step by step; a line for each check. Exit status 3
 * if one failed.
 */
#include "command.h"
#include "messages.h"
#include "report.h"
#include "show.h"

#define TIMEOUT_MS 120000 /* several exchanges with the server, each with a limit of its own */

static const char *const results[] = {"unknown", "passed", "failed", "not tried", "warning"};

static const char *result_name(uint16_t result)
{
    return results[result < sizeof(results) / sizeof(results[0]) ? result : 0];
}

static void print_check(struct json *j, const struct check_info *c)
{
    if (j == NULL) {
        (void)printf("%-10s %.*s: %.*s\n", result_name(c->result), SHOW(c->name), SHOW(c->detail));
        if (c->next.len > 0)
            (void)printf("           next: %.*s\n", SHOW(c->next));
        return;
    }
    json_open(j, NULL, '{');
    json_span(j, "name", c->name);
    json_text(j, "result", result_name(c->result));
    json_span(j, "detail", c->detail);
    json_span(j, "next", c->next);
    json_close(j, '}');
}

/* All checks; *failed when one did, or when there is none. */
static int print_checks(struct json *j, const struct list *checks, bool *failed, struct dpop_error *err)
{
    struct span item;
    size_t cursor = 0;
    int status = DPOP_OK;
    *failed = true;
    for (bool first = true; list_next(checks, &cursor, &item); first = false) {
        struct check_info check;
        if ((status = command_item(item, &message_check_info, &check, sizeof(check), err)) != DPOP_OK)
            return status;
        *failed = (*failed && !first) || check.result < CHECK_PASSED || check.result == CHECK_FAILED ||
                  check.result > CHECK_WARNING;
        print_check(j, &check);
    }
    return DPOP_OK;
}

static int print(const struct command *cmd, const char *profile, const struct list *checks, struct dpop_error *err)
{
    struct json j;
    bool failed;
    json_init(&j);
    json_open(&j, NULL, '{');
    json_text(&j, "profile", profile);
    json_open(&j, "checks", '[');
    if (print_checks(cmd->json ? &j : NULL, checks, &failed, err) != DPOP_OK) {
        json_free(&j);
        return report_error(cmd, err);
    }
    json_close(&j, ']');
    json_bool(&j, "passed", !failed);
    json_close(&j, '}');
    int exit_status = 0;
    if (cmd->json)
        exit_status = report_json(&j);
    else
        exit_status = report_printed();
    json_free(&j);
    return exit_status == 0 && failed ? DPOP_CLASS_REFUSED : exit_status;
}

static int run(struct command *cmd, char **operands, int count)
{
    struct profile_test_answer answer;
    struct dpop_error err;
    (void)count;
    if (cmd->timeout_ms == 0)
        cmd->timeout_ms = TIMEOUT_MS;
    const struct profile_test_request in = {.profile = span_text(operands[0]), .timeout = command_timeout(cmd)};
    if (command_call(cmd, OPERATION_PROFILE_TEST, &message_profile_test_request, &in, &message_profile_test_answer,
                     &answer, sizeof(answer), &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = print(cmd, operands[0], &answer.checks, &err);
    call_done(cmd->agent);
    return status;
}

const struct verb verb_profile_test = {
    .name = "profile test",
    .arguments = "PROFILE",
    .summary = "Try what a profile needs, and explain what is wrong",
    .help = "",
    .short_options = "",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
