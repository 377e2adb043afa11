/* See transfer.h. */
#include "transfer.h"

#include "credentials.h"
#include "failure.h"
#include "json_answer.h"
#include "secret.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_CONNECTION_SECONDS 2L
#define HEADER_LINE_MAX (4 * CREDENTIALS_SECRET_MAX + 8 * LIMIT_URL + LIMIT_PROOF) /* every line we send fits */

static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    struct transfer *x = user;
    if (headers_add(&x->headers, span_of(data, size * count)) == 0)
        return size * count;
    x->headers_too_large = true;
    return 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct transfer *x = user;
    if (size * count > TRANSFER_BODY_MAX - x->body.len) {
        x->body_too_large = true;
        return 0;
    }
    buffer_put(&x->body, data, size * count);
    return x->body.failed ? 0 : size * count;
}

static int before_send(void *user, char *remote, char *local, int remote_port, int local_port)
{
    struct transfer *x = user;
    (void)remote, (void)local, (void)remote_port, (void)local_port;
    x->sends++;
    return x->is_post && x->sends > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* The URL is built anew from what was checked: userinfo and fragment are not in it. */
static enum status take_url(struct transfer *x, struct span text, struct error *err)
{
    char origin[URL_ORIGIN_SIZE];
    struct url url;

    enum status status = url_parse(text, &url, err);
    if (status != STATUS_OK)
        return status;
    if (!url.https && !(x->profile->allow_http_loopback && url_is_loopback(text)))
        return error_set(err, STATUS_INSECURE_URL,
                         "use https; for tests, allow-http-loopback = yes allows http to 127.0.0.1, ::1 and localhost",
                         "plain http to %s is refused", url.host);
    (void)url_write_origin(&url, origin);
    bool has_query = url.query.data != NULL;
    int n = snprintf(x->url, sizeof(x->url), "%s%.*s%s%.*s", origin, (int)url.path.len,
                     url.path.data != NULL ? (const char *)url.path.data : "", has_query ? "?" : "", (int)url.query.len,
                     has_query ? (const char *)url.query.data : "");
    if (n < 0 || (size_t)n >= sizeof(x->url))
        return error_set(err, STATUS_INVALID_ARGUMENT, NULL, "the URL is too long");
    x->https = url.https;
    (void)snprintf(x->host, sizeof(x->host), "%s", url.host);
    size_t shown = strcspn(x->url, "?");
    (void)snprintf(x->label, sizeof(x->label), "%s %.*s", x->is_post ? "POST" : "GET",
                   shown < TRANSFER_URL_SHOWN ? (int)shown : TRANSFER_URL_SHOWN, x->url);
    return STATUS_OK;
}

/* libcurl copies the line. */
static int add_line(struct transfer *x, const char *name, struct span value)
{
    struct buffer line;
    buffer_init(&line, HEADER_LINE_MAX);
    buffer_put_text(&line, name);
    buffer_put(&line, value.data, value.len);
    buffer_put(&line, "", 1);
    struct curl_slist *lines = line.failed ? NULL : curl_slist_append(x->lines, (const char *)buffer_span(&line).data);
    buffer_free(&line);
    if (lines == NULL)
        return -1;
    x->lines = lines;
    return 0;
}

static int add_basic(struct transfer *x, struct span id, struct span secret)
{
    struct buffer value;
    buffer_init(&value, HEADER_LINE_MAX);
    credentials_put_basic(&value, id, secret);
    int result = value.failed ? -1 : add_line(x, "Authorization: ", buffer_span(&value));
    buffer_free(&value);
    return result;
}

/* The secret is read for each transfer, so that a changed file counts at once. */
static enum status authenticate(struct transfer *x, struct error *err)
{
    const struct profile_config *p = x->profile;
    bool basic = p->client_authentication == CLIENT_SECRET_BASIC;
    struct secret *secret = NULL;
    char what[LIMIT_NAME + 32];
    int result = 0;

    if (!basic && p->client_authentication != CLIENT_SECRET_POST)
        return STATUS_OK;
    if (!x->is_post || p->client_id == NULL)
        return error_set(err, STATUS_INTERNAL, NULL, "%s: a client secret goes with a form and a client-id only",
                         x->label);
    (void)snprintf(what, sizeof(what), "client secret of profile %s", p->name);
    enum status status =
        secret_read(p->client_secret_file, p->client_secret_credential, what, CREDENTIALS_SECRET_MAX, &secret, err);
    if (status != STATUS_OK)
        return status;
    if (basic)
        result = add_basic(x, span_text(p->client_id), secret_span(secret));
    else
        credentials_put_post(&x->form, span_text(p->client_id), secret_span(secret));
    secret_free(secret);
    if (result != 0 || x->form.failed)
        return error_set(err, STATUS_NO_MEMORY, NULL, "%s: out of memory", x->label);
    return STATUS_OK;
}

#define SET(option, value) \
    if (code == CURLE_OK)  \
        code = curl_easy_setopt(x->easy, (option), (value))

static CURLcode set_transport(struct transfer *x, uint32_t timeout)
{
    CURLcode code = CURLE_OK;
    long total = timeout < TRANSFER_TIMEOUT_MAX ? (long)timeout : TRANSFER_TIMEOUT_MAX;

    SET(CURLOPT_URL, x->url);
    SET(CURLOPT_PATH_AS_IS, 1L); /* what the proof was signed for */
    SET(CURLOPT_PROTOCOLS_STR, x->https ? "https" : "http");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* or a name server that never answers would block us at the end of the transfer */
    SET(CURLOPT_TIMEOUT_MS, total);
    SET(CURLOPT_CONNECTTIMEOUT_MS, total < TRANSFER_CONNECT_TIMEOUT ? total : (long)TRANSFER_CONNECT_TIMEOUT);
    SET(CURLOPT_MAXAGE_CONN, KEPT_CONNECTION_SECONDS);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_SESSIONID_CACHE, 0L); /* a resumed session is not verified again */
    if (x->profile->ca_file != NULL) {
        SET(CURLOPT_CAINFO, x->profile->ca_file);
        SET(CURLOPT_CAPATH, (char *)NULL);
        SET(CURLOPT_CA_CACHE_TIMEOUT, 0L); /* a changed file counts at once */
    }
    return code;
}

static CURLcode set_request(struct transfer *x)
{
    struct span form = buffer_span(&x->form);
    CURLcode code = CURLE_OK;

    SET(CURLOPT_USERAGENT, "dpop-agent/" DPOP_VERSION);
    SET(CURLOPT_HTTPHEADER, x->lines);
    if (x->is_post) {
        SET(CURLOPT_POSTFIELDS, (const char *)form.data); /* not copied: `form` stays as it is until the end */
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)form.len);
    }
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, x);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, x);
    SET(CURLOPT_PREREQFUNCTION, before_send);
    SET(CURLOPT_PREREQDATA, x);
    SET(CURLOPT_ERRORBUFFER, x->detail);
    SET(CURLOPT_PRIVATE, x);
    return code;
}

static int add_lines(struct transfer *x, struct span dpop)
{
    int failed = add_line(x, "Accept: ", span_text("application/json")) | add_line(x, "Expect:", span_text(""));
    if (x->is_post)
        failed |= add_line(x, "Content-Type: ", span_text("application/x-www-form-urlencoded"));
    if (dpop.data != NULL)
        failed |= add_line(x, "DPoP: ", dpop);
    return failed;
}

static enum status set_up(struct transfer *x, const struct fetch_request *fetch, struct error *err)
{
    enum status status = take_url(x, fetch->url, err);
    if (status != STATUS_OK)
        return status;
    if (fetch->timeout == 0)
        return error_set(err, STATUS_INTERNAL, NULL, "%s: a fetch without a timeout", x->label);
    buffer_put(&x->form, fetch->form.data, fetch->form.len);
    if (fetch->authenticate)
        status = authenticate(x, err);
    if (status != STATUS_OK)
        return status;
    x->easy = curl_easy_init();
    if (x->easy == NULL || x->form.failed || add_lines(x, fetch->dpop) != 0)
        return error_set(err, STATUS_NO_MEMORY, NULL, "%s: out of memory", x->label);
    CURLcode code = set_transport(x, fetch->timeout);
    if (code == CURLE_OK)
        code = set_request(x);
    if (code != CURLE_OK)
        return error_set(err, STATUS_INTERNAL, NULL, "%s: libcurl lacks something: %s", x->label,
                         curl_easy_strerror(code));
    return STATUS_OK;
}

enum status transfer_new(const struct config *config, uint32_t request, const struct fetch_request *fetch,
                         struct transfer **out, struct error *err)
{
    const struct profile_config *profile = config_profile(config, fetch->profile);
    if (profile == NULL)
        return error_set(err, STATUS_UNKNOWN_PROFILE, NULL, "no profile of that name is configured");
    struct transfer *x = calloc(1, sizeof(*x));
    if (x == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    x->request = request;
    x->profile = profile;
    x->is_post = fetch->form.data != NULL;
    buffer_init(&x->form, INTERNAL_FRAME_MAX + HEADER_LINE_MAX);
    buffer_init(&x->body, TRANSFER_BODY_MAX);
    headers_init(&x->headers);
    enum status status = set_up(x, fetch, err);
    if (status != STATUS_OK) {
        transfer_free(x);
        return status;
    }
    *out = x;
    return STATUS_OK;
}

void transfer_free(struct transfer *x)
{
    if (x == NULL)
        return;
    curl_easy_cleanup(x->easy);
    curl_slist_free_all(x->lines);
    buffer_free(&x->form);
    buffer_free(&x->body);
    headers_free(&x->headers);
    wipe(x, sizeof(*x)); /* the URL's query */
    free(x);
}

static uint64_t milliseconds_of(const struct transfer *x)
{
    curl_off_t microseconds = 0;
    (void)curl_easy_getinfo(x->easy, CURLINFO_TOTAL_TIME_T, &microseconds);
    return microseconds > 0 ? (uint64_t)microseconds / 1000 : 0;
}

/* libcurl notes when it has a name's addresses and, of connection and TLS together, when both are done; between the two
 * there is a local port once TCP is connected. */
static enum failure_phase phase_of(const struct transfer *x)
{
    curl_off_t resolved = 0;
    long port = 0;
    (void)curl_easy_getinfo(x->easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
    (void)curl_easy_getinfo(x->easy, CURLINFO_LOCAL_PORT, &port);
    if (x->sends > 0)
        return FAILURE_WAITING;
    return port > 0 ? FAILURE_TLS : resolved > 0 ? FAILURE_CONNECTING : FAILURE_RESOLVING;
}

static enum status describe(const struct transfer *x, CURLcode code, struct error *err)
{
    struct failure f = {
        .code = code,
        .detail = x->detail,
        .phase = phase_of(x),
        .milliseconds = milliseconds_of(x),
        .headers_too_large = x->headers_too_large,
        .body_too_large = x->body_too_large,
        .sent_before = x->is_post && x->sends > 1,
        .request = x->label,
        .host = x->host,
        .profile = x->profile->name,
    };
    (void)curl_easy_getinfo(x->easy, CURLINFO_SSL_VERIFYRESULT, &f.verify_result);
    (void)curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &f.os_errno);
    return failure_describe(&f, err);
}

/* The members' names and an OAuth error's code: all of the body that the log ever sees. */
static void log_answer(const struct transfer *x, long status, const struct json_answer *json)
{
    char names[512] = "", code[64] = "";
    struct json_member m;
    struct error err;

    for (size_t i = 0; i < json->count; i++) {
        size_t used = strlen(names);
        if (message_take(json->members[i], &message_json_member, &m, sizeof(m), &err) != STATUS_OK)
            continue;
        (void)snprintf(names + used, sizeof(names) - used, "%s%.*s", used > 0 ? " " : "", (int)m.name.len,
                       (const char *)m.name.data);
        if (span_is(m.name, "error") && m.kind == JSON_KIND_TEXT)
            error_put_text(code, sizeof(code), m.text);
    }
    log_debug("%s: %ld in %llu ms, %s%s%s%s", x->label, status, (unsigned long long)milliseconds_of(x),
              json->error[0] != '\0' ? json->error : "members: ", names, code[0] != '\0' ? "; error " : "", code);
}

static void put_answer(struct transfer *x, const struct json_answer *json, long status, time_t now, struct buffer *out)
{
    struct span nonces[HEADERS_LINES_MAX], challenges[HEADERS_LINES_MAX];
    struct fetch_answer answer = {
        .http_status = (uint16_t)status,
        .date = headers_span(&x->headers, &x->headers.date),
        .nonces = {.items = nonces, .count = x->headers.nonce_count},
        .challenges = {.items = challenges, .count = x->headers.challenge_count},
        .retry_after = headers_retry_after(&x->headers, now),
        .members = {.items = json->members, .count = json->count},
        .json_error = span_text(json->error[0] != '\0' ? json->error : NULL),
        .jwt = json->is_jwt,
        .cnf_jkt = span_text(json->is_jwt && json->jwt.bound ? json->jwt.cnf_jkt : NULL),
        .lifetime = json->is_jwt ? json->jwt.lifetime : 0,
    };
    for (size_t i = 0; i < x->headers.nonce_count; i++)
        nonces[i] = headers_span(&x->headers, &x->headers.nonces[i]);
    for (size_t i = 0; i < x->headers.challenge_count; i++)
        challenges[i] = headers_span(&x->headers, &x->headers.challenges[i]);
    message_put_frame(out, INTERNAL_FETCH | OPERATION_ANSWER, x->request, &message_fetch_answer, &answer);
}

void transfer_answer(struct transfer *x, CURLcode code, time_t now, struct buffer *out)
{
    struct json_answer json;
    struct error err;
    long status = 0;

    if (code != CURLE_OK) {
        (void)describe(x, code, &err);
        log_debug("%s", err.message);
        messages_put_error(out, x->request, &err);
        return;
    }
    (void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    json_answer_read(buffer_span(&x->body), headers_span(&x->headers, &x->headers.content_type), &json);
    log_answer(x, status, &json);
    put_answer(x, &json, status, now, out);
    if (out->failed || out->len > INTERNAL_FRAME_MAX) {
        buffer_clear(out);
        (void)error_set(&err, STATUS_SERVER_MISBEHAVED, NULL, "%s: cannot use the answer: it is too large", x->label);
        err.http_status = (uint16_t)status;
        messages_put_error(out, x->request, &err);
    }
    json_answer_free(&json);
    wipe(&json, sizeof(json));
}
