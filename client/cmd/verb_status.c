/* dpop status: the agent, its configuration, its processes, and how every key and profile is. */
#include "command.h"
#include "messages.h"
#include "report.h"
#include "show.h"

#include <inttypes.h>

/* Where the items of the answer's lists are shown. */
struct walk {
    struct json *json; /* NULL: text */
    struct dpop_error *err;
};

static void print_uptime(uint64_t s)
{
    if (s >= 86400)
        (void)printf("%" PRIu64 " d ", s / 86400);
    if (s >= 3600)
        (void)printf("%" PRIu64 " h ", s / 3600 % 24);
    (void)printf("%" PRIu64 " min %" PRIu64 " s", s / 60 % 60, s % 60);
}

static int show_key(const struct walk *w, struct span item)
{
    struct key_info key;
    int status = command_item(item, &message_key_info, &key, sizeof(key), w->err);
    if (status != DPOP_OK)
        return status;
    if (w->json != NULL) {
        show_key_json(w->json, &key);
        return DPOP_OK;
    }
    (void)printf("key            %.*s: %.*s%s\n", SHOW(key.name), SHOW(key.state), key.imported ? " (imported)" : "");
    if (key.reason.len > 0)
        (void)printf("                 reason: %.*s\n", SHOW(key.reason));
    if (key.next.len > 0)
        (void)printf("                 next: %.*s\n", SHOW(key.next));
    show_pace(&key, "                 ");
    return DPOP_OK;
}

/* Who is logged in, and what is not as one might expect. */
static void print_login(const struct profile_info *p)
{
    bool logged_in = span_is(p->login, "logged in");
    if (p->login.len > 0) {
        (void)printf("                 login: %.*s", SHOW(p->login));
        if (p->subject.len > 0)
            (void)printf(" as %.*s", SHOW(p->subject));
        (void)printf("%s\n", logged_in ? (p->persisted ? ", kept on disk" : ", in memory only") : "");
    }
    if (p->login_reason.len > 0)
        (void)printf("                 reason: %.*s\n", SHOW(p->login_reason));
    if (span_is(p->login, "login required"))
        (void)printf("                 next: dpop login %.*s\n", SHOW(p->name));
    if (p->dpop.len > 0 && !span_is(p->dpop, "required"))
        (void)printf("                 dpop: %.*s: Bearer access tokens are accepted\n", SHOW(p->dpop));
}

static int show_profile(const struct walk *w, struct span item)
{
    struct profile_info p;
    int status = command_item(item, &message_profile_info, &p, sizeof(p), w->err);
    if (status != DPOP_OK)
        return status;
    if (w->json != NULL) {
        show_profile_json(w->json, &p);
        return DPOP_OK;
    }
    (void)printf("profile        %.*s: %.*s", SHOW(p.name), SHOW(p.state));
    if (p.expires_in > 0)
        (void)printf(", %u s left", p.expires_in);
    (void)printf(" (key %.*s)\n", SHOW(p.key));
    if (p.reason.len > 0)
        (void)printf("                 reason: %.*s\n", SHOW(p.reason));
    print_login(&p);
    return DPOP_OK;
}

static int show_process(const struct walk *w, struct span item)
{
    struct process_info p;
    int status = command_item(item, &message_process_info, &p, sizeof(p), w->err);
    if (status != DPOP_OK)
        return status;
    if (w->json == NULL) {
        (void)printf("process        %.*s: %.*s, pid %u, started %u time%s\n", SHOW(p.name), SHOW(p.state), p.pid,
                     p.starts, p.starts == 1 ? "" : "s");
        return DPOP_OK;
    }
    json_open(w->json, NULL, '{');
    json_span(w->json, "name", p.name);
    json_span(w->json, "state", p.state);
    json_number(w->json, "pid", p.pid);
    json_number(w->json, "starts", p.starts);
    json_close(w->json, '}');
    return DPOP_OK;
}

static int show_list(const struct walk *w, const char *name, const struct list *list,
                     int (*each)(const struct walk *, struct span))
{
    struct span item;
    size_t cursor = 0;
    int status = DPOP_OK;
    if (w->json != NULL)
        json_open(w->json, name, '[');
    while (status == DPOP_OK && list_next(list, &cursor, &item))
        status = each(w, item);
    if (w->json != NULL)
        json_close(w->json, ']');
    return status;
}

static int show_lists(const struct walk *w, const struct status_answer *a)
{
    int status = show_list(w, "keys", &a->keys, show_key);
    if (status == DPOP_OK)
        status = show_list(w, "profiles", &a->profiles, show_profile);
    if (status == DPOP_OK)
        status = show_list(w, "processes", &a->processes, show_process);
    return status;
}

static int print_text(const struct command *cmd, const struct status_answer *a, struct dpop_error *err)
{
    (void)printf("agent          %.*s, pid %u, up ", SHOW(a->agent), a->pid);
    print_uptime(a->uptime);
    (void)printf("\nconfiguration  %.*s\n",
                 SHOW(a->configuration.len > 0 ? a->configuration : span_text("none: dpop init makes one")));
    (void)printf("work           %u connections, %u requests waiting, %u tokens cached\n", a->connections,
                 a->requests_waiting, a->tokens_cached);
    if (show_lists(&(struct walk){.err = err}, a) != DPOP_OK)
        return report_error(cmd, err);
    return report_printed();
}

static int print_json(const struct command *cmd, const struct status_answer *a, struct dpop_error *err)
{
    struct json j;
    json_init(&j);
    json_open(&j, NULL, '{');
    json_span(&j, "agent", a->agent);
    json_number(&j, "pid", a->pid);
    json_number(&j, "uptime", a->uptime);
    json_span(&j, "configuration", a->configuration);
    json_number(&j, "connections", a->connections);
    json_number(&j, "requests_waiting", a->requests_waiting);
    json_number(&j, "tokens_cached", a->tokens_cached);
    int status = show_lists(&(struct walk){.json = &j, .err = err}, a);
    json_close(&j, '}');
    if (status == DPOP_OK)
        return report_json(&j);
    json_free(&j);
    return report_error(cmd, err);
}

static int run(struct command *cmd, char **operands, int count)
{
    struct status_answer answer;
    struct dpop_error err;
    (void)operands;
    (void)count;
    if (command_call(cmd, OPERATION_STATUS, &message_empty, &(struct empty_message){false}, &message_status_answer,
                     &answer, sizeof(answer), &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = cmd->json ? print_json(cmd, &answer, &err) : print_text(cmd, &answer, &err);
    call_done(cmd->agent);
    return status;
}

const struct verb verb_status = {
    .name = "status",
    .arguments = "",
    .summary = "Show how the agent, its keys and its profiles are",
    .help = "",
    .short_options = "",
    .run = run,
};
