/*
 * Performs an easy handle with DPoP (dpop-agent-curl.h, the contract).
 *
 * One send is: authorize → transfer → at the end of the answer's header lines, outcome. The verdict decides before
 * the body comes whether this answer is passed on or dropped:
 *
 *     HEAD ──verdict: stands──▶ PASS   held header lines are replayed, body and trailers stream to the application
 *       └────verdict: again───▶ DROP   body is thrown away, the next send follows
 */
#include "dpop-agent-curl.h"

#include "buffer.h"
#include "header_name.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MOST_SENDS 3
#define MOST_HEAD 65536    /* bytes of header lines held */
#define MOST_DROPPED 65536 /* bytes of a dropped body that are read to keep the connection; then it is cut */
#define MOST_VALUES 32     /* headers of one name that the agent is told of */

enum phase { PHASE_HEAD, PHASE_PASS, PHASE_DROP };

struct exchange {
    struct dpop_agent *agent;
    const struct dpop_curl_request *request;
    struct dpop_curl_result *result;
    struct dpop_error *err;
    struct dpop_authorization authorization;
    struct buffer head;
    enum phase phase;
    size_t dropped;
    int verdict; /* the function's result, once an answer is passed on */
};

/* What the agent wants to know of an answer; the strings point into `text`. */
struct answer {
    char *text;
    const char *date;
    const char *nonces[MOST_VALUES + 1];
    const char *challenges[MOST_VALUES + 1];
};

static int fail(struct dpop_error *err, int status, const char *next, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int fail(struct dpop_error *err, int status, const char *next, const char *format, ...)
{
    struct dpop_error e = {.status = status};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(e.message, sizeof(e.message), format, args);
    va_end(args);
    (void)snprintf(e.next, sizeof(e.next), "%s", next != NULL ? next : "");
    *err = e;
    return status;
}

/* The value of the header line if it has this name, without blanks around it; else NULL. */
static char *value_of(char *line, const char *name)
{
    size_t len = strlen(name);
    if (strncasecmp(line, name, len) != 0 || line[len] != ':')
        return NULL;
    char *value = line + len + 1;
    value += strspn(value, " \t");
    for (size_t end = strlen(value); end > 0 && (value[end - 1] == ' ' || value[end - 1] == '\t'); end--)
        value[end - 1] = '\0';
    return value;
}

static void add_value(const char **values, const char *value)
{
    size_t n = 0;
    while (values[n] != NULL)
        n++;
    if (n < MOST_VALUES)
        values[n] = value;
}

static int answer_read(struct answer *a, struct span head)
{
    char *next = NULL;
    *a = (struct answer){.text = span_dup(head)};
    if (a->text == NULL)
        return -1;
    for (char *line = strtok_r(a->text, "\r\n", &next); line != NULL; line = strtok_r(NULL, "\r\n", &next)) {
        char *value;
        if ((value = value_of(line, "Date")) != NULL && strlen(value) < 64)
            a->date = value;
        else if ((value = value_of(line, "DPoP-Nonce")) != NULL)
            add_value(a->nonces, value);
        else if ((value = value_of(line, "WWW-Authenticate")) != NULL)
            add_value(a->challenges, value);
    }
    return 0;
}

/* An answer that another send would follow stands if that send is not possible. The function's result, or 0: send
 * again. */
static int may_send_again(struct exchange *x)
{
    if (!x->request->rewindable)
        return fail(x->err, DPOP_CURL_NOT_REWINDABLE, "run it again: the agent has learnt what the server asked for",
                    "the server wants the request once more, but its body cannot be sent twice");
    if (x->result->sends >= MOST_SENDS)
        return fail(x->err, DPOP_CURL_REFUSED, NULL, "the server still refuses the request after %d sends", MOST_SENDS);
    return 0;
}

/* Asks the agent about the answer, and decides between PASS and DROP. */
static void judge(struct exchange *x)
{
    struct answer a;
    enum dpop_verdict verdict = DPOP_DONE;
    x->phase = PHASE_PASS;
    if (answer_read(&a, buffer_span(&x->head)) != 0) {
        x->verdict = fail(x->err, DPOP_NO_MEMORY, NULL, "out of memory for the answer's headers");
        return;
    }
    x->verdict = dpop_agent_outcome(x->agent,
                                    &(struct dpop_outcome){.attempt = &x->authorization,
                                                           .http_status = (int)x->result->http_status,
                                                           .date = a.date,
                                                           .nonces = a.nonces,
                                                           .challenges = a.challenges,
                                                           .timeout_ms = x->request->timeout_ms},
                                    &verdict, x->err);
    free(a.text);
    if (x->verdict != DPOP_OK)
        return;
    const struct dpop_error why = *x->err;
    if (verdict == DPOP_LOGIN)
        x->verdict = fail(x->err, DPOP_LOGIN_REQUIRED, "log in again: dpop login",
                          "profile \"%s\": %s", x->request->profile, why.message);
    else if (verdict == DPOP_FAIL)
        x->verdict = fail(x->err, DPOP_CURL_REFUSED, NULL, "the server refuses the request: %s", why.message);
    else if (verdict != DPOP_DONE && (x->verdict = may_send_again(x)) == 0)
        x->phase = PHASE_DROP;
}

/* Passes the held header lines on, one by one as libcurl does. */
static int replay_head(struct exchange *x)
{
    struct span rest = buffer_span(&x->head);
    while (rest.len > 0 && x->request->header != NULL) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        size_t len = end != NULL ? (size_t)(end - rest.data) + 1 : rest.len;
        struct span line;
        if (span_take(&rest, len, &line) != 0 ||
            x->request->header((char *)(uintptr_t)line.data, 1, line.len, x->request->header_data) != line.len)
            return -1;
    }
    buffer_clear(&x->head);
    return 0;
}

static void begin_answer(struct exchange *x, struct span line)
{
    char text[32] = "";
    const char *space;
    buffer_clear(&x->head);
    x->phase = PHASE_HEAD;
    x->result->http_status = 0;
    (void)snprintf(text, sizeof(text), "%.*s", (int)(line.len < sizeof(text) ? line.len : sizeof(text) - 1),
                   (const char *)line.data);
    if ((space = strchr(text, ' ')) != NULL)
        x->result->http_status = strtol(space, NULL, 10);
}

static size_t on_header(char *data, size_t one, size_t len, void *user)
{
    struct exchange *x = user;
    struct span line = span_of(data, one * len);
    if (line.len >= 5 && memcmp(data, "HTTP/", 5) == 0)
        begin_answer(x, line);
    if (x->phase == PHASE_DROP)
        return line.len;
    if (x->phase == PHASE_PASS) /* a trailer */
        return x->request->header != NULL ? x->request->header(data, one, len, x->request->header_data) : line.len;
    buffer_put(&x->head, line.data, line.len);
    if (x->head.failed) {
        (void)fail(x->err, DPOP_CURL_TRANSFER_FAILED, NULL, "the answer's header lines exceed %d bytes", MOST_HEAD);
        return 0;
    }
    if (data[0] != '\r' && data[0] != '\n')
        return line.len;
    if (x->result->http_status < 200) { /* an interim answer: the final one follows */
        buffer_clear(&x->head);
        return line.len;
    }
    judge(x);
    if (x->phase == PHASE_PASS && replay_head(x) != 0)
        return 0;
    return line.len;
}

static size_t on_body(char *data, size_t one, size_t len, void *user)
{
    struct exchange *x = user;
    const struct dpop_curl_request *r = x->request;
    if (x->phase == PHASE_DROP) {
        x->dropped += one * len;
        return x->dropped <= MOST_DROPPED ? one * len : 0;
    }
    if (r->write != NULL)
        return r->write(data, one, len, r->write_data);
    return fwrite(data, 1, one * len, r->write_data != NULL ? (FILE *)r->write_data : stdout);
}

/* The application's headers may name neither of ours, and no line may hide a second one. */
static int check_headers(const struct curl_slist *headers, struct dpop_error *err)
{
    for (; headers != NULL; headers = headers->next) {
        size_t name = strspn(headers->data, HEADER_NAME);
        if (strpbrk(headers->data, "\r\n") != NULL)
            return fail(err, DPOP_INVALID_ARGUMENT, NULL, "a header contains a line break");
        if (name == 0 || (headers->data[name] != ':' && headers->data[name] != ';'))
            return fail(err, DPOP_INVALID_ARGUMENT, "write it as Name: value", "a header line has no name, or a blank behind it");
        if ((name == 13 && strncasecmp(headers->data, "Authorization", 13) == 0) ||
            (name == 4 && strncasecmp(headers->data, "DPoP", 4) == 0))
            return fail(err, DPOP_INVALID_ARGUMENT, "leave it out", "the header %.*s is the agent's to make", (int)name,
                        headers->data);
    }
    return DPOP_OK;
}

static void free_headers(struct curl_slist *headers)
{
    for (const struct curl_slist *h = headers; h != NULL; h = h->next)
        wipe(h->data, strlen(h->data));
    curl_slist_free_all(headers);
}

static int append(struct curl_slist **list, const char *name, const char *value)
{
    size_t size = strlen(name) + strlen(value) + 1;
    char *line = malloc(size);
    struct curl_slist *longer = NULL;
    if (line != NULL) {
        (void)snprintf(line, size, "%s%s", name, value);
        longer = curl_slist_append(*list, line);
        wipe(line, size);
        free(line);
    }
    if (longer == NULL)
        return -1;
    *list = longer;
    return 0;
}

/* The application's headers and ours, as a list of its own; NULL when out of memory. */
static struct curl_slist *make_headers(const struct exchange *x)
{
    struct curl_slist *list = NULL;
    const struct curl_slist *h = x->request->headers;
    while (h != NULL && append(&list, h->data, "") == 0)
        h = h->next;
    if (h == NULL && append(&list, "Authorization: ", x->authorization.authorization) == 0 &&
        (x->authorization.dpop == NULL || append(&list, "DPoP: ", x->authorization.dpop) == 0))
        return list;
    free_headers(list);
    return NULL;
}

static CURLcode set_options(CURL *easy, struct exchange *x, struct curl_slist *headers)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, x->authorization.url);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_FAILONERROR, 0L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_HEADERDATA, x);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_WRITEDATA, x);
    return code;
}

static void reset_options(CURL *easy)
{
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, NULL);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, NULL);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, NULL);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, stdout);
}

static int authorize(struct exchange *x)
{
    struct dpop_authorization next = {0};
    const struct dpop_curl_request *r = x->request;
    const struct dpop_authorize in = {
        .profile = r->profile,
        .method = r->method,
        .url = r->url,
        .earlier = x->result->sends > 0 ? &x->authorization : NULL,
        .scope = r->scope,
        .resources = r->resources,
        .timeout_ms = r->timeout_ms,
    };
    int status = dpop_agent_authorize(x->agent, &in, &next, x->err);
    if (status == DPOP_OK) {
        dpop_authorization_clear(&x->authorization);
        x->authorization = next;
    }
    return status;
}

static const char *next_step(CURLcode code)
{
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return "name the CA that signed the server's certificate (dpop: --ca-file; libcurl: CURLOPT_CAINFO)";
    case CURLE_COULDNT_RESOLVE_HOST:
        return "check the host's name and this machine's name servers";
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
        return "check that the server is up and can be reached from here";
    default:
        return NULL;
    }
}

/* One send; x->phase says whether the answer was passed on or dropped. DPOP_OK also when it was dropped. */
static int send_once(struct exchange *x, CURL *easy)
{
    struct curl_slist *headers = make_headers(x);
    if (headers == NULL)
        return fail(x->err, DPOP_NO_MEMORY, NULL, "out of memory for the request's headers");
    x->phase = PHASE_HEAD;
    x->dropped = 0;
    x->err->message[0] = '\0';
    CURLcode code = set_options(easy, x, headers);
    if (code == CURLE_OK) {
        x->result->sends++;
        code = curl_easy_perform(easy);
    }
    reset_options(easy);
    free_headers(headers);
    if (x->phase == PHASE_DROP)
        return DPOP_OK;
    x->result->curl_code = code;
    if (code == CURLE_OK && x->phase == PHASE_PASS)
        return x->verdict;
    if (x->phase == PHASE_HEAD && x->err->message[0] != '\0')
        return DPOP_CURL_TRANSFER_FAILED;
    return fail(x->err, DPOP_CURL_TRANSFER_FAILED, next_step(code), "%s: %s", x->authorization.url,
                code != CURLE_OK ? curl_easy_strerror(code) : "the answer is not HTTP");
}

int dpop_curl_perform(struct dpop_agent *agent, CURL *easy, const struct dpop_curl_request *request,
                      struct dpop_curl_result *result, struct dpop_error *err)
{
    struct dpop_curl_result unused_result;
    struct dpop_error unused_error;
    struct exchange x = {.agent = agent, .request = request, .result = result != NULL ? result : &unused_result,
                         .err = err != NULL ? err : &unused_error};

    *x.result = (struct dpop_curl_result){.curl_code = CURLE_OK};
    *x.err = (struct dpop_error){.status = DPOP_OK};
    buffer_init(&x.head, MOST_HEAD);
    int status = check_headers(request->headers, x.err);
    while (status == DPOP_OK && x.phase != PHASE_PASS) {
        if (x.phase == PHASE_DROP && request->rewind != NULL && request->rewind(request->rewind_data) != 0) {
            status = fail(x.err, DPOP_CURL_NOT_REWINDABLE, NULL, "the body could not be rewound for another send");
            break;
        }
        status = authorize(&x);
        if (status == DPOP_OK)
            status = send_once(&x, easy);
    }
    if (status != DPOP_OK)
        (void)snprintf(x.result->reason, sizeof(x.result->reason), "%.255s", x.err->message);
    dpop_authorization_clear(&x.authorization);
    buffer_free(&x.head);
    return status;
}
