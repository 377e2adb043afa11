/* See login_flow_world.h. */
#include "login_flow_world.h"

#include "as_request.h"

static const char configuration[] =
    "[key k]\nuri = pkcs11:object=k\n[key other]\nuri = pkcs11:object=other\n"
    "[profile plain]\nkey = k\nissuer = https://as.example/tenant\nclient-id = app\nclient-authentication = none\n"
    "grant = authorization_code\norigins = https://a\nlogin-timeout = 100\n"
    "[profile full]\nkey = k\nissuer = https://as.example/tenant\nclient-id = app\nclient-authentication = none\n"
    "grant = authorization_code\norigins = https://a\nscope = openid offline_access a\nresource = urn:x\nresource = urn:y\n"
    "audience = b\naudience = c\nauthorization-details = [1]\nauthorization-form = acr_values=2\nauthorization-form = ui=x&y\n"
    "[profile pushed]\nkey = k\nissuer = https://as.example/tenant\nclient-id = app\nclient-secret-file = /s\n"
    "grant = authorization_code\norigins = https://a\npushed-authorization-requests = yes\n"
    "[profile never]\nkey = k\nissuer = https://as.example/tenant\nclient-id = app\nclient-secret-file = /s\n"
    "grant = authorization_code\norigins = https://a\npushed-authorization-requests = no\n"
    "[profile device]\nkey = k\nissuer = https://as.example/tenant\nclient-id = app\nclient-authentication = none\n"
    "grant = device_code\norigins = https://a\nscope = a\ndevice-form = x=y\nlogin-timeout = 3600\n"
    "[profile machine]\nkey = k\nissuer = https://as.example/tenant\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n";

struct flow_result flow;
bool keep_slowly, known_to_ask;
enum status keep_fails;

static login_kept keep_done;
static void *keep_context;

void finish_keeping(void)
{
    login_kept done = keep_done;
    struct error err;
    assert_non_null(done);
    keep_done = NULL;
    if (keep_fails != STATUS_OK)
        (void)error_set(&err, keep_fails, NULL, "the store says no");
    done(keep_context, keep_fails != STATUS_OK ? &err : NULL, keep_fails == STATUS_OK, NULL);
}

void logins_keep(struct front *f, const struct profile_config *p, const struct granted *g, bool nonces, login_kept done, void *context)
{
    (void)f;
    assert_non_null(p);
    flow.kept++;
    flow.kept_nonces = nonces;
    copy_text(g->refresh_token.data != NULL ? g->refresh_token : span_text("(absent)"), flow.kept_token, sizeof(flow.kept_token));
    keep_done = done;
    keep_context = context;
    if (!keep_slowly)
        finish_keeping();
}

bool logins_nonces(const struct front *f, const struct profile_config *p)
{
    (void)f;
    assert_non_null(p);
    return known_to_ask;
}

static void put(char *out, size_t size, struct span given)
{
    copy_text(given.data != NULL ? given : span_text("(absent)"), out, size);
}

static void on_begun(void *context, const struct error *err, const struct login_begin_answer *a)
{
    assert_ptr_equal(context, &flow);
    flow.begun++;
    flow.begin_err = err != NULL ? *err : (struct error){.status = STATUS_OK};
    if (err != NULL)
        return;
    assert_int_equal(a->login.len, LOGIN_HANDLE_SIZE);
    memcpy(flow.handle, a->login.data, LOGIN_HANDLE_SIZE);
    put(flow.url, sizeof(flow.url), a->url);
    put(flow.redirect_uri, sizeof(flow.redirect_uri), a->redirect_uri);
    put(flow.user_code, sizeof(flow.user_code), a->user_code);
    put(flow.verification_uri, sizeof(flow.verification_uri), a->verification_uri);
    put(flow.complete, sizeof(flow.complete), a->verification_uri_complete);
    flow.expires_in = a->expires_in;
}

static void on_finished(void *context, const struct error *err, const struct login_wait_answer *a)
{
    assert_ptr_equal(context, &flow);
    flow.finished++;
    flow.err = err != NULL ? *err : (struct error){.status = STATUS_OK};
    if (err != NULL)
        return;
    put(flow.subject, sizeof(flow.subject), a->subject);
    put(flow.scope, sizeof(flow.scope), a->scope);
    put(flow.jkt, sizeof(flow.jkt), a->jkt);
    put(flow.note, sizeof(flow.note), a->note);
    flow.refresh = a->refresh;
    flow.persisted = a->persisted;
}

void begin_login(const char *name, bool device)
{
    flow = (struct flow_result){0};
    login_flow_begin(&front, profile(name), device, on_begun, &flow);
}

struct span handle(void)
{
    return span_of(flow.handle, sizeof(flow.handle));
}

void await_end(uint64_t deadline)
{
    login_flow_wait(&front, handle(), deadline, on_finished, &flow);
}

size_t last(uint16_t operation)
{
    size_t i = call_count;
    while (i > 0 && calls[i - 1].operation != operation)
        i--;
    assert_true(i > 0);
    return i - 1;
}

void open_listener(void)
{
    struct redirect_opened m = {.listener = LISTENER, .redirect_uri = span_text(REDIRECT)};
    give_message(last(INTERNAL_REDIRECT_OPEN), &message_redirect_opened, &m);
}

void come_back(const char *query)
{
    struct redirect_came m = {.query = span_text(query)};
    assert_int_equal(calls[last(INTERNAL_REDIRECT_WAIT)].listener, LISTENER);
    give_message(last(INTERNAL_REDIRECT_WAIT), &message_redirect_came, &m);
}

const char *parameter(const char *name)
{
    static struct call shown[4];
    static unsigned int turn;
    struct call *c = &shown[turn++ % 4];
    c->form = strchr(flow.url, '?');
    assert_non_null(c->form);
    c->form++;
    return form_value(c, name);
}

void come_back_with(const char *extra)
{
    char query[512];
    (void)snprintf(query, sizeof(query), "state=%s&code=c%%2F1%s", parameter("state"), extra);
    come_back(query);
}

bool page_says(bool success, const char *text)
{
    const struct call *c = &calls[last(INTERNAL_REDIRECT_CLOSE)];
    assert_int_equal(c->listener, LISTENER);
    return c->success == success && strstr(c->page, text) != NULL;
}

void tick(uint64_t later)
{
    now += later;
    login_flows_tick(front.login_flows, now);
    as_requests_tick(front.as_requests, now);
}

int open_flows(void **state)
{
    (void)state;
    keep_slowly = known_to_ask = false;
    keep_fails = STATUS_OK;
    keep_done = NULL;
    if (open_front(configuration) != 0)
        return -1;
    server.authorization_endpoint = (char *)(uintptr_t)AUTHORIZE;
    server.device_authorization_endpoint = (char *)(uintptr_t)"https://as.example/device";
    return login_flows_open(&front);
}

int close_flows(void **state)
{
    (void)state;
    if (keep_done != NULL)
        finish_keeping();
    as_requests_end(front.as_requests);
    login_flows_end(front.login_flows);
    for (size_t i = 0; i < call_count; i++)
        if (calls[i].done != NULL)
            give_trouble(i, STATUS_RESTARTED);
    login_flows_free(front.login_flows);
    close_front();
    return 0;
}
