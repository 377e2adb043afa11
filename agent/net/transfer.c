/* See transfer.h. */
#include "transfer.h"

#include "connection.h"
#include "failure.h"
#include "json_answer.h"
#include "reply.h"
#include "session_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_CONNECTION_SECONDS 2L
#define HEADER_LINES_MAX 8 /* that we send */

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
    (void)local, (void)local_port;
    x->sends++;
    connection_note(x->easy, remote, remote_port, &x->connection);
    return request_is_post(&x->what) && x->sends > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

#define SET(option, value) \
    if (code == CURLE_OK)  \
        code = curl_easy_setopt(x->easy, (option), (value))

static CURLcode set_transport(struct transfer *x, uint32_t timeout)
{
    CURLcode code = CURLE_OK;
    long total = timeout < TRANSFER_TIMEOUT_MAX ? (long)timeout : TRANSFER_TIMEOUT_MAX;

    SET(CURLOPT_URL, x->what.url);
    SET(CURLOPT_PATH_AS_IS, 1L); /* what the proof was signed for */
    SET(CURLOPT_PROTOCOLS_STR, x->what.https ? "https" : "http");
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
    if (x->what.ca_file != NULL) {
        SET(CURLOPT_CAINFO, x->what.ca_file);
        SET(CURLOPT_CAPATH, (char *)NULL);
        SET(CURLOPT_CA_CACHE_TIMEOUT, 0L); /* a changed file counts at once */
    }
    return code;
}

static CURLcode set_request(struct transfer *x)
{
    struct span body = buffer_span(&x->what.body);
    CURLcode code = CURLE_OK;

    SET(CURLOPT_USERAGENT, "dpop-agent/" DPOP_VERSION);
    SET(CURLOPT_HTTPHEADER, x->what.lines);
    if (request_is_post(&x->what)) {
        SET(CURLOPT_POSTFIELDS, (const char *)body.data); /* not copied: it stays as it is until the end */
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
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

static enum status set_up(struct transfer *x, uint32_t timeout, struct error *err)
{
    x->easy = curl_easy_init();
    if (x->easy == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "%s: out of memory", x->what.label);
    CURLcode code = set_transport(x, timeout);
    if (code == CURLE_OK)
        code = set_request(x);
    if (code != CURLE_OK)
        return error_set(err, STATUS_INTERNAL, NULL, "%s: libcurl lacks something: %s", x->what.label,
                         curl_easy_strerror(code));
    return STATUS_OK;
}

enum status transfer_new(const struct config *config, uint32_t request, const struct fetch_request *fetch,
                         struct transfer **out, struct error *err)
{
    struct transfer *x = calloc(1, sizeof(*x));
    if (x == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    x->request = request;
    buffer_init(&x->body, TRANSFER_BODY_MAX);
    headers_init(&x->headers);
    enum status status = request_make(config, fetch, &x->what, err);
    if (status == STATUS_OK)
        status = set_up(x, fetch->timeout, err);
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
    tls_client_release(x);
    request_free(&x->what);
    buffer_free(&x->body);
    headers_free(&x->headers);
    wipe(x, sizeof(*x));
    free(x);
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
        .milliseconds = x->connection.total,
        .headers_too_large = x->headers_too_large,
        .body_too_large = x->body_too_large,
        .answer_began = x->headers.bytes > 0,
        .sent_before = request_is_post(&x->what) && x->sends > 1,
        .request = x->what.label,
        .host = x->what.host,
        .profile = x->what.profile_name,
    };
    (void)curl_easy_getinfo(x->easy, CURLINFO_SSL_VERIFYRESULT, &f.verify_result);
    (void)curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &f.os_errno);
    return failure_describe(&f, err);
}

/* As every code of the standards is written: not whatever text a server sends. */
static bool is_code(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] != '_' && (s.data[i] < 'a' || s.data[i] > 'z'))
            return false;
    return s.len > 0;
}

/* The known members' names and an OAuth error's code: all of the body that the log ever sees. */
static void log_answer(const struct transfer *x, unsigned int status, const struct json_answer *json)
{
    char names[512] = "", code[64] = "";
    unsigned int others = 0;
    struct json_member m;
    struct error err;

    for (size_t i = 0; i < json->count; i++) {
        size_t used = strlen(names);
        if (message_take(json->members[i], &message_json_member, &m, sizeof(m), &err) != STATUS_OK ||
            json_answer_is_nested(m.name))
            continue;
        if (session_names_has(SESSION_SECRET_MEMBER_NAMES, m.name) ||
            (session_names_has(SESSION_MEMBER_NAMES, m.name) && is_code(m.name)))
            (void)snprintf(names + used, sizeof(names) - used, " %.*s", (int)m.name.len, (const char *)m.name.data);
        else
            others++;
        if (span_is(m.name, "error") && m.kind == JSON_KIND_TEXT && is_code(m.text))
            error_put_text(code, sizeof(code), m.text);
    }
    log_debug("%s: %u in %llu ms, %s%s and %u others%s%s", x->what.label, status, (unsigned long long)x->connection.total,
              json->error[0] != '\0' ? json->error : "members:", names, others, code[0] != '\0' ? "; error " : "", code);
}

/* `lines` is where the header lines are listed. */
static struct session_request session_of(const struct transfer *x, struct span lines[HEADER_LINES_MAX])
{
    struct session_request request = {
        .method = request_is_post(&x->what) ? "POST" : "GET",
        .url = x->what.url,
        .host = span_text(x->what.host_header),
        .lines = lines,
        .body_kind = x->what.body_kind,
        .body = buffer_span(&x->what.body),
        .client_secret = x->what.client_secret != NULL ? secret_span(x->what.client_secret) : span_of(NULL, 0),
    };
    for (const struct curl_slist *l = x->what.lines; l != NULL && request.line_count < HEADER_LINES_MAX; l = l->next)
        lines[request.line_count++] = span_text(l->data);
    return request;
}

static void put_trace(const struct transfer *x, const struct json_answer *json, const struct error *failure,
                      struct buffer *out)
{
    struct span lines[HEADER_LINES_MAX];
    struct session_request request = session_of(x, lines);
    struct session_answer answer = {
        .header = buffer_span(&x->headers.block_text),
        .json = json,
        .failure = failure,
        .sent = x->sends > 0,
    };
    session_log_put(&request, &x->connection, &answer, out);
}

/* What the server repeats of the request's secrets goes no further. */
static void mask_answer(struct transfer *x, uint16_t status, struct json_answer *json)
{
    struct span lines[HEADER_LINES_MAX];
    struct session_request request = session_of(x, lines);
    struct masking masking;

    session_log_collect(&request, &masking);
    json_answer_mask(json, &masking, status);
    headers_mask(&x->headers, &masking);
    masking_free(&masking);
}

static void put_failure(struct transfer *x, const struct error *err, struct buffer *out)
{
    struct buffer trace;
    buffer_init(&trace, LIMIT_TRACE);
    put_trace(x, NULL, err, &trace);
    log_debug("%s", err->message);
    reply_put_failure(out, x->request, err, x->sends > 0, buffer_span(&trace));
    buffer_free(&trace);
}

static void put_answer(struct transfer *x, uint16_t status, time_t now, struct buffer *out)
{
    struct json_answer json;
    struct buffer trace;
    struct error err;

    buffer_init(&trace, LIMIT_TRACE);
    json_answer_read(buffer_span(&x->body), headers_span(&x->headers, &x->headers.content_type), &json);
    put_trace(x, &json, NULL, &trace); /* first: it tells how long each value was */
    mask_answer(x, status, &json);
    log_answer(x, status, &json);
    reply_put(out, x->request, status, &x->headers, &json, buffer_span(&trace), now);
    json_answer_free(&json);
    wipe(&json, sizeof(json));
    buffer_free(&trace);
    if (out->failed || out->len > INTERNAL_FRAME_MAX) {
        buffer_clear(out);
        (void)error_set(&err, STATUS_SERVER_MISBEHAVED, NULL, "%s: cannot use the answer: it is too large",
                        x->what.label);
        err.http_status = status;
        put_failure(x, &err, out);
    }
}

void transfer_answer(struct transfer *x, CURLcode code, time_t now, struct buffer *out)
{
    struct error err;
    long status = 0;

    connection_note_times(x->easy, &x->connection);
    if (code != CURLE_OK) {
        if (phase_of(x) != FAILURE_TLS || !tls_client_is_reason(x, &err))
            (void)describe(x, code, &err);
        put_failure(x, &err, out);
        return;
    }
    (void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    put_answer(x, (uint16_t)status, now, out);
}
