/*
 * dpop login PROFILE|URL: a user logs in, in a browser here or elsewhere (--device, --no-browser); the agent keeps what
 * comes of it. What the user has to do is told on standard error, the result on standard output; with --json each is a
 * line of JSON with a member "event". An API's URL stands for the profile whose origins contain it; if there is none
 * the agent registers a client for it first.
 */
#include "api_profile.h"
#include "browser.h"
#include "interrupt.h"
#include "login_session.h"
#include "qr.h"
#include "registration.h"
#include "report.h"
#include "show.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BEGIN_TIMEOUT_MS 60000 /* discovery, a pushed request, a nonce */
#define SECONDS 600            /* that the user has if the agent does not say */
#define LONGEST_QR (1U << 16)

struct options {
    bool device, no_browser, qr;
    struct registration registration;
};

enum { OPTION_DEVICE = 1, OPTION_NO_BROWSER, OPTION_QR };

static const struct option long_options[] = {
    {"device", no_argument, NULL, OPTION_DEVICE},
    {"no-browser", no_argument, NULL, OPTION_NO_BROWSER},
    {"qr", no_argument, NULL, OPTION_QR},
    REGISTRATION_LONG_OPTIONS,
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    REGISTRATION_TEXT_OPTIONS(offsetof(struct options, registration)),
    {0, 0},
};

static const char *take_option(struct command *cmd, int c, char *value)
{
    struct options *o = cmd->options;
    switch (c) {
    case OPTION_DEVICE:
        o->device = true;
        return NULL;
    case OPTION_NO_BROWSER:
        o->no_browser = true;
        return NULL;
    case OPTION_QR:
        o->qr = true;
        return NULL;
    default:
        return registration_option(&o->registration, c, value);
    }
}

/* --- what the user has to do --- */

static int show_begun_json(const char *profile, const struct login_begin_answer *a)
{
    struct json j;
    json_init(&j);
    json_open(&j, NULL, '{');
    json_text(&j, "event", "begun");
    json_text(&j, "profile", profile);
    json_span(&j, "url", a->url);
    json_span(&j, "redirect_uri", a->redirect_uri);
    json_span(&j, "user_code", a->user_code);
    json_span(&j, "verification_uri", a->verification_uri);
    json_span(&j, "verification_uri_complete", a->verification_uri_complete);
    json_number(&j, "expires_in", a->expires_in);
    json_close(&j, '}');
    return report_json(&j);
}

static void print_qr(struct span url)
{
    struct buffer code;
    char *text = span_dup(url);
    buffer_init(&code, LONGEST_QR);
    if (text != NULL && qr_put(&code, text) == 0)
        (void)fwrite(buffer_span(&code).data, 1, code.len, stderr);
    buffer_free(&code);
    free(text);
}

static void print_device(const struct options *o, const struct login_begin_answer *a)
{
    struct span complete = a->verification_uri_complete;
    (void)fprintf(stderr, "Open this address, on any device:\n\n    %.*s\n\nand type this code there:\n\n    %.*s\n\n",
                  SHOW(a->verification_uri), SHOW(a->user_code));
    if (complete.len > 0)
        (void)fprintf(stderr, "Or open it with the code in it:\n\n    %.*s\n\n", SHOW(complete));
    if (o->qr || isatty(STDERR_FILENO))
        print_qr(complete.len > 0 ? complete : a->verification_uri);
}

static void open_browser(struct span url)
{
    char *text = span_dup(url);
    const char *why = text != NULL ? browser_open(text) : "out of memory";
    if (why != NULL)
        report_note("no browser could be started (%s): open the address yourself", why);
    free(text);
}

static int show_begun(const struct command *cmd, const char *profile, const struct login_begin_answer *a, bool paste)
{
    const struct options *o = cmd->options;
    bool browser = a->url.len > 0 && !o->no_browser && browser_likely();
    int status = cmd->json ? show_begun_json(profile, a) : 0;
    if (!cmd->json && a->url.len > 0)
        (void)fprintf(stderr, "%s\n\n    %.*s\n\n",
                      browser ? "The browser opens this address to log in:"
                              : "Open this address in a browser to log in:",
                      SHOW(a->url));
    else if (!cmd->json)
        print_device(o, a);
    if (paste && !cmd->json)
        (void)fprintf(stderr, "If the browser is on another machine: paste the address at which it ends here.\n");
    if (browser)
        open_browser(a->url);
    return status;
}

/* --- the result --- */

static int show_result_json(const struct login_wait_answer *a)
{
    struct json j;
    json_init(&j);
    json_open(&j, NULL, '{');
    json_text(&j, "event", "logged in");
    json_span(&j, "profile", a->profile);
    json_span(&j, "subject", a->subject);
    json_span(&j, "scope", a->scope);
    json_span(&j, "jkt", a->jkt);
    json_span(&j, "token_type", a->token_type);
    json_number(&j, "expires_in", a->expires_in);
    json_bool(&j, "refresh", a->refresh);
    json_bool(&j, "persisted", a->persisted);
    json_span(&j, "note", a->note);
    json_close(&j, '}');
    return report_json(&j);
}

static int show_result(const struct command *cmd, const struct login_wait_answer *a)
{
    char until[32] = "-";
    struct tm tm;
    time_t end = time(NULL) + (time_t)a->expires_in;
    const char *kept = a->persisted ? "on disk, sealed"
                       : a->refresh ? "in memory only"
                                    : "no refresh token: until the token expires";
    if (cmd->json)
        return show_result_json(a);
    if (localtime_r(&end, &tm) != NULL)
        (void)strftime(until, sizeof(until), "%Y-%m-%d %H:%M:%S", &tm);
    (void)printf("logged in  %.*s\nsubject    %.*s\nscope      %.*s\ntoken      %.*s, until %s (%u s)\nkept       %s\n",
                 SHOW(a->profile), SHOW(a->subject), SHOW(a->scope), SHOW(a->token_type), until, a->expires_in, kept);
    if (a->note.len > 0)
        (void)printf("note       %.*s\n", SHOW(a->note));
    return report_printed();
}

/* --- the login --- */

static int begin(struct command *cmd, const char *profile, struct login_begin_answer *answer, struct dpop_error *err)
{
    const struct options *o = cmd->options;
    const struct login_begin_request in = {
        .profile = span_text(profile),
        .device = o->device,
        .timeout = BEGIN_TIMEOUT_MS,
    };
    return command_call_within(cmd, BEGIN_TIMEOUT_MS + BEGIN_TIMEOUT_MS / 10, OPERATION_LOGIN_BEGIN,
                               &message_login_begin_request, &in, &message_login_begin_answer, answer, sizeof(*answer),
                               err);
}

static int log_in(struct command *cmd, const char *profile)
{
    const struct options *o = cmd->options;
    struct login_begin_answer begun;
    struct login_wait_answer answer;
    struct login_session session = {.handle_len = 0};
    struct dpop_error err;
    if (begin(cmd, profile, &begun, &err) != DPOP_OK)
        return report_error(cmd, &err);
    interrupt_catch();
    memcpy(session.handle, begun.login.data, begun.login.len);
    session.handle_len = begun.login.len;
    session.seconds = cmd->timeout_ms != 0    ? cmd->timeout_ms / 1000
                      : begun.expires_in != 0 ? begun.expires_in
                                              : SECONDS;
    session.paste = o->no_browser && begun.url.len > 0 && isatty(STDIN_FILENO);
    buffer_init(&session.line, LIMIT_NESTED);
    int exit_status = show_begun(cmd, profile, &begun, session.paste);
    call_done(cmd->agent);
    if (login_session_wait(cmd, &session, &answer, &err) == DPOP_OK) {
        int shown = show_result(cmd, &answer);
        exit_status = exit_status != 0 ? exit_status : shown;
        call_done(cmd->agent);
    } else {
        exit_status = report_error(cmd, &err);
    }
    buffer_free(&session.line);
    return exit_status;
}

static int show_registered(const struct command *cmd, const struct register_answer *answer)
{
    struct json j;
    if (!cmd->json) {
        (void)fprintf(stderr, "Registered a client for it:\n");
        registration_print(stderr, answer);
        (void)fputc('\n', stderr);
        return 0;
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    json_text(&j, "event", "registered");
    registration_put_json(&j, answer);
    json_close(&j, '}');
    return report_json(&j);
}

/* The profile for an API's URL, made if there is none. */
static int profile_for(struct command *cmd, const char *url, char name[LIMIT_NAME + 1], struct dpop_error *err)
{
    const struct options *o = cmd->options;
    struct registration r = o->registration;
    bool found = false;
    int status = api_profile_find(cmd, url, name, &found, err);
    if (status != DPOP_OK || found)
        return status;
    api_profile_name(url, name);
    if (r.name != NULL)
        (void)snprintf(name, LIMIT_NAME + 1, "%s", r.name);
    r.name = name;
    r.resource = url;
    r.grant = o->device ? "device_code" : NULL;
    return registration_run(cmd, &r, show_registered, err);
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    char name[LIMIT_NAME + 1];
    struct dpop_error err;
    (void)count;
    if (o->registration.name != NULL && strlen(o->registration.name) > LIMIT_NAME)
        return report_usage(cmd, "--name is longer than %d bytes", LIMIT_NAME);
    if (!api_profile_is_url(operands[0]))
        return log_in(cmd, operands[0]);
    if (profile_for(cmd, operands[0], name, &err) != DPOP_OK)
        return report_error(cmd, &err);
    return log_in(cmd, name);
}

const struct verb verb_login = {
    .name = "login",
    .arguments = "PROFILE|URL",
    .summary = "Log a user in, with a profile or at an API's URL",
    .help = "  --device                   with a code, on any device (RFC 8628)\n"
            "  --no-browser               start none; the address at which it ends may be pasted\n"
            "  --qr                       with --device: a QR code even if standard error is no terminal\n"
            "  --timeout SECONDS          that the user has (default: as long as agent and server allow)\n\n"
            "For an API's URL that no profile is for, a client is registered first:\n"
            "  --name NAME                of the new profile (default the API's host)\n" REGISTRATION_HELP,
    .short_options = "",
    .long_options = long_options,
    .min_operands = 1,
    .max_operands = 1,
    .options_size = sizeof(struct options),
    .texts = texts,
    .option = take_option,
    .run = run,
};
