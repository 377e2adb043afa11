/*
 * dpop request PROFILE URL: one HTTP request with token and proof, and its answer; the retries that DPoP needs are
 * libdpop-agent-curl's. Exit status 22 when the final answer's status is 400 or more, its body printed all the same.
 */
#include "command.h"
#include "dpop-agent-curl.h"
#include "failure.h"
#include "report.h"
#include "request_body.h"
#include "request_sink.h"
#include "trace.h"
#include "header_name.h"

#include <string.h>
#include <strings.h>

#define CONNECT_TIMEOUT 30
#define LONGEST 86400

struct options {
    const char *method, *data, *path, *ca_file;
    struct curl_slist *headers;
    bool include, verbose;
    uint32_t connect_timeout, max_time;
};

enum { OPTION_CA_FILE = 1, OPTION_CONNECT_TIMEOUT, OPTION_MAX_TIME };

static const struct option long_options[] = {
    {"method", required_argument, NULL, 'X'},
    {"header", required_argument, NULL, 'H'},
    {"data", required_argument, NULL, 'd'},
    {"include", no_argument, NULL, 'i'},
    {"output", required_argument, NULL, 'o'},
    {"verbose", no_argument, NULL, 'v'},
    {"ca-file", required_argument, NULL, OPTION_CA_FILE},
    {"connect-timeout", required_argument, NULL, OPTION_CONNECT_TIMEOUT},
    {"max-time", required_argument, NULL, OPTION_MAX_TIME},
    {NULL, 0, NULL, 0},
};

static const char *add_header(struct options *o, const char *line)
{
    size_t name = strspn(line, HEADER_NAME);
    if (name == 0 || (line[name] != ':' && line[name] != ';') || strpbrk(line, "\r\n") != NULL)
        return "-H takes one header line, Name: value";
    if ((name == 13 && strncasecmp(line, "Authorization", 13) == 0) || (name == 4 && strncasecmp(line, "DPoP", 4) == 0))
        return "the headers Authorization and DPoP are the agent's to make; leave them out";
    struct curl_slist *longer = curl_slist_append(o->headers, line);
    if (longer == NULL)
        return "out of memory";
    o->headers = longer;
    return NULL;
}

static const struct text_option texts[] = {
    {'X', offsetof(struct options, method)},
    {'o', offsetof(struct options, path)},
    {OPTION_CA_FILE, offsetof(struct options, ca_file)},
    {0, 0},
};

static const char *take_option(struct command *cmd, int c, char *value)
{
    struct options *o = cmd->options;
    switch (c) {
    case 'H':
        return add_header(o, value);
    case 'd':
        if (o->data != NULL)
            return "-d may be given once";
        o->data = value;
        break;
    case 'i':
        o->include = true;
        break;
    case 'v':
        o->verbose = true;
        break;
    case OPTION_CONNECT_TIMEOUT:
        return command_seconds(value, LONGEST, &o->connect_timeout) == 0
                   ? NULL
                   : "--connect-timeout takes 1 to 86400 seconds";
    default:
        return command_seconds(value, LONGEST, &o->max_time) == 0 ? NULL : "--max-time takes 1 to 86400 seconds";
    }
    return NULL;
}

static void clear_options(void *options)
{
    struct options *o = options;
    curl_slist_free_all(o->headers);
}

/* What the request is, apart from URL and headers. */
static CURLcode set_method(CURL *easy, const char *method, struct request_body *body)
{
    CURLcode code;
    if (request_body_present(body) || strcmp(method, "POST") == 0)
        code = request_body_apply(body, easy);
    else if (strcmp(method, "HEAD") == 0)
        return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else
        code = curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    return code == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) : code;
}

static CURLcode set_up(CURL *easy, const struct options *o, const char *method, struct request_body *body,
                       struct trace *trace)
{
    CURLcode code = set_method(easy, method, body);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_USERAGENT, "dpop/" DPOP_VERSION);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT,
                                (long)(o->connect_timeout != 0 ? o->connect_timeout : CONNECT_TIMEOUT));
    if (code == CURLE_OK && o->max_time != 0)
        code = curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)o->max_time);
    if (code == CURLE_OK && o->ca_file != NULL)
        code = curl_easy_setopt(easy, CURLOPT_CAINFO, o->ca_file);
    if (code == CURLE_OK && o->verbose)
        code = trace_apply(trace, easy);
    return code;
}

static int print_json(const struct request_sink *sink, const struct dpop_curl_result *result, const char *url,
                      int status, const struct dpop_error *err)
{
    struct json j;
    json_init(&j);
    json_open(&j, NULL, '{');
    json_number(&j, "http_status", (uint64_t)result->http_status);
    json_text(&j, "url", url);
    json_number(&j, "sends", (uint64_t)result->sends);
    request_sink_json(sink, &j);
    if (status != DPOP_OK)
        report_put_error(&j, err);
    json_close(&j, '}');
    return report_json(&j);
}

/* Reports what came of it; an answer that was passed on comes first, the error that speaks about it second. */
static int conclude(const struct command *cmd, struct request_sink *sink, const struct dpop_curl_result *result,
                    const char *url, int status, struct dpop_error *err)
{
    bool answered = result->http_status != 0 && status != DPOP_CURL_TRANSFER_FAILED;
    if (request_sink_finish(sink) != 0)
        return report_local(cmd, sink->next, "%s", sink->failure);
    int exit_status = report_exit_status(status);
    if (status == DPOP_OK && result->http_status >= 400)
        exit_status = EXIT_HTTP_ERROR;
    if (cmd->json && answered) {
        int printed = print_json(sink, result, url, status, err);
        return printed != 0 ? printed : exit_status;
    }
    if (status != DPOP_OK) {
        if (result->http_status != 0)
            err->http_status = (int)result->http_status;
        return report_error(cmd, err);
    }
    return exit_status;
}

static int perform(struct command *cmd, CURL *easy, char **operands, struct request_body *body)
{
    const struct options *o = cmd->options;
    const char *method = o->method != NULL ? o->method : request_body_present(body) ? "POST" : "GET";
    char *url = NULL;
    struct trace trace;
    struct request_sink sink;
    struct dpop_curl_result result = {.curl_code = CURLE_OK};
    struct dpop_error err = {.status = DPOP_OK};

    trace_init(&trace);
    request_sink_init(&sink, o->path, cmd->json, o->include);
    const struct dpop_curl_request request = {
        .profile = operands[0],
        .method = method,
        .url = operands[1],
        .headers = o->headers,
        .rewindable = body->rewindable,
        .rewind = request_body_rewind,
        .rewind_data = body,
        .write = request_sink_body,
        .write_data = &sink,
        .header = request_sink_header,
        .header_data = &sink,
        .timeout_ms = cmd->timeout_ms,
    };
    int status;
    CURLcode code = set_up(easy, o, method, body, &trace);
    if (code == CURLE_OK)
        status = dpop_curl_perform(cmd->agent, easy, &request, &result, &err);
    else
        status = failure_set(&err, STATUS_INVALID_ARGUMENT, NULL, "%s", curl_easy_strerror(code));
    (void)curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &url);
    if (status == DPOP_OK && strcmp(url, operands[1]) != 0 && o->verbose)
        report_note("the URL was normalised to %s", url);
    status = conclude(cmd, &sink, &result, url, status, &err);
    request_sink_free(&sink);
    trace_free(&trace);
    return status;
}

/* A streamed body has no length: curl sends it in chunks if the header says so. */
static int announce_chunks(struct options *o, const struct request_body *body, struct dpop_error *err)
{
    if (body->rewindable || add_header(o, "Transfer-Encoding: chunked") == NULL)
        return DPOP_OK;
    return failure_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

static int run(struct command *cmd, char **operands, int count)
{
    struct options *o = cmd->options;
    struct request_body body = {.fd = -1};
    struct dpop_error err;
    CURL *easy = NULL;
    (void)count;
    int status = request_body_open(&body, o->data, &err);
    if (status == DPOP_OK)
        status = announce_chunks(o, &body, &err);
    if (status == DPOP_OK)
        status = command_connect(cmd, &err);
    if (status == DPOP_OK && (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (easy = curl_easy_init()) == NULL))
        status = failure_set(&err, STATUS_INTERNAL, NULL, "libcurl cannot be initialised");
    status = status == DPOP_OK ? perform(cmd, easy, operands, &body) : report_error(cmd, &err);
    curl_easy_cleanup(easy);
    request_body_close(&body);
    return status;
}

const struct verb verb_request = {
    .name = "request",
    .arguments = "PROFILE URL",
    .summary = "Send a request with token and proof",
    .help = "  -X, --method METHOD        default GET, or POST with -d\n"
            "  -H, --header 'NAME: VALUE' may be repeated; not Authorization and DPoP\n"
            "  -d, --data DATA            the body; @FILE: a file, @-: standard input (a pipe is sent only once)\n"
            "  -i, --include              the answer's header lines, too\n"
            "  -o, --output FILE          the answer into a file\n"
            "  -v, --verbose              the exchange on standard error, tokens and signatures masked\n"
            "  --ca-file FILE             trust the certificates in this PEM file\n"
            "  --connect-timeout SECONDS  default 30\n"
            "  --max-time SECONDS         for each send; default none\n",
    .short_options = "X:H:d:io:v",
    .long_options = long_options,
    .min_operands = 2,
    .max_operands = 2,
    .options_size = sizeof(struct options),
    .texts = texts,
    .option = take_option,
    .run = run,
    .clear = clear_options,
};
