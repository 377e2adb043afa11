/* See test_net_world.h. */
#include "test_net_world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE 2097152
#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

/* Shared with the server's process: a test process with threads could not fork net processes safely. */
static struct server {
    pthread_mutex_t lock;
    char last[65536];     /* the last request, whole */
    atomic_uint requests; /* answered or not */
    atomic_uint connections;
} *server;
static int listener;
static pid_t server_pid;

static void say(int fd, const char *text)
{
    (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void say_many(int fd, const char *text, int times)
{
    for (int i = 0; i < times; i++)
        say(fd, text);
}

static void say_json(int fd, const char *json)
{
    char head[256];
    (void)snprintf(head, sizeof(head), OK_HEAD "Content-Length: %zu\r\n\r\n", strlen(json));
    say(fd, head);
    say(fd, json);
}

/* The last request's body and credentials, in what people get to read; and, if the request was well, in what is wanted as it is. */
static void say_echo(int fd, bool refused)
{
    static const char *const heads[] = {"\r\nAuthorization: ", "\r\nDPoP: ", "\r\n\r\n"};
    char parts[3][1024] = {"", "", ""}, text[8192];
    for (int i = 0; i < 3; i++) {
        const char *at = strstr(server->last, heads[i]);
        size_t n = at != NULL ? strcspn(at + strlen(heads[i]), "\r\n") : 0;
        if (at != NULL && n < sizeof(parts[i]))
            memcpy(parts[i], at + strlen(heads[i]), n);
    }
    int n = !refused ? snprintf(text, sizeof(text),
                                "{\"access_token\":\"%s\",\"refresh_token\":\"%s\",\"token_type\":\"DPoP\",\"scope\":\"read %s\","
                                "\"told\":[\"%s\",\"and %s\"],\"nested\":{\"%s\":1,\"deep\":[[\"%s\"]]},\"cnf\":{\"jkt\":\"%s\"}}",
                                parts[2], parts[2], parts[2], parts[1], parts[0], parts[2], parts[2], parts[2])
                     : snprintf(text, sizeof(text),
                     "{\"error\":\"invalid_request\",\"error_description\":\"%s, %s, %s\",\"error_uri\":\"https://as.example/?%s\","
                     "\"%s\":1,\"access_token\":\"CANARY-ACCESS-TOKEN\",\"scope\":\"read CANARY-ACCESS-TOKEN\","
                     "\"nested\":{\"deep\":[\"CANARY-DEEP-SECRET\"]},\"iss\":\"CANARY-DEEP-SECRET\"}",
                     parts[0], parts[1], parts[2], parts[2], parts[2]);
    char head[4096];
    (void)snprintf(head, sizeof(head),
                   "HTTP/1.1 %s %.200s\r\nContent-Type: application/json\r\nWWW-Authenticate: DPoP error=\"%s\", "
                   "CANARYNAME=\"CANARYVALUE\", algs=\"ES256\", Negotiate CANARYTOKEN68==\r\nSet-Cookie: s=CANARYCOOKIE\r\n"
                   "X-%.64s: a\r\nContent-Length: %d\r\n\r\n",
                   refused ? "400" : "200", parts[0], parts[1], parts[0] + 6, n);
    say(fd, head);
    say(fd, text);
}

static void reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* Answers one request. False: close the connection. */
static bool answer(int fd, const char *path, unsigned int number)
{
    if (strcmp(path, "/json") == 0)
        say(fd,
            OK_HEAD "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\ndpop-nonce:  n1 \r\nDPoP-Nonce: n2\r\nRetry-After: 7\r\n"
                        "Content-Length: 27\r\n\r\n{\"a\":\"b\",\"access_token\":\"\"}");
    else if (strcmp(path, "/jwt") == 0) /* {"cnf":{"jkt":"abc"},"iat":1,"exp":61} */
        say_json(fd,
                 "{\"access_token\":\"e30.eyJjbmYiOnsiamt0IjoiYWJjIn0sImlhdCI6MSwiZXhwIjo2MX0.c2ln\",\"error\":\"e\"}");
    else if (strcmp(path, "/echo") == 0) /* says what it was told, everywhere it can */
        say_echo(fd, true);
    else if (strcmp(path, "/echo-well") == 0)
        say_echo(fd, false);
    else if (strcmp(path, "/redirect") == 0)
        say(fd, "HTTP/1.1 302 Found\r\nLocation: /json\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n");
    else if (strcmp(path, "/html") == 0)
        say(fd, "HTTP/1.1 502 Bad\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>");
    else if (strcmp(path, "/large") == 0) {
        say(fd, OK_HEAD "Content-Length: 2097152\r\n\r\n");
        say_many(fd, "                                                                ", LARGE / 64);
    } else if (strcmp(path, "/early") == 0) {
        say(fd, "HTTP/1.1 100 Continue\r\nDPoP-Nonce: no\r\n\r\nHTTP/1.1 103 Early Hints\r\nDPoP-Nonce: no\r\n\r\n");
        say(fd, OK_HEAD "DPoP-Nonce: yes\r\nTransfer-Encoding: chunked\r\nTrailer: DPoP-Nonce\r\n\r\n"
                        "2\r\n{}\r\n0\r\nDPoP-Nonce: no\r\n\r\n");
    } else if (strcmp(path, "/lines") == 0) {
        say(fd, OK_HEAD);
        say_many(fd, "X: y\r\n", 200);
        say(fd, "Content-Length: 2\r\n\r\n{}");
    } else if (strcmp(path, "/line") == 0) {
        say(fd, OK_HEAD "X: ");
        say_many(fd, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", 3000);
        say(fd, "\r\nContent-Length: 2\r\n\r\n{}");
    } else if (strcmp(path, "/partial") == 0) {
        say(fd, OK_HEAD "Content-Length: 100\r\n\r\n{\"a\":");
        return false;
    } else if (strcmp(path, "/reset") == 0) {
        say(fd, OK_HEAD "Content-Length: 100\r\n\r\n{\"a\":");
        reset(fd);
        return false;
    } else if (strcmp(path, "/nothing") == 0) {
        return false;
    } else if (strcmp(path, "/once") == 0 && number > 1) { /* a kept connection that is closed under the next request */
        return false;
    } else if (strcmp(path, "/once") == 0) {
        say_json(fd, "{}");
    } else if (strcmp(path, "/old") == 0) {
        say(fd, "just a line\n");
        return false;
    } else if (strcmp(path, "/hang") == 0) {
        char rest[64];
        while (recv(fd, rest, sizeof(rest), 0) > 0)
            continue;
        return false;
    } else {
        say(fd, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    }
    return true;
}

/* Reads one request with its body. False: the client is gone. */
static bool read_request(int fd, char text[65536])
{
    size_t len = 0;
    for (;;) {
        ssize_t n = recv(fd, text + len, 65535 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = '\0';
        const char *end = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
        if (text[0] == 0x16) /* a TLS ClientHello */
            return true;
        if (end != NULL && strlen(end + 4) >= (length != NULL ? strtoul(length + 16, NULL, 10) : 0))
            return true;
    }
}

static void *serve(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char *text = malloc(65536);
    char path[256];
    bool go_on = text != NULL;
    for (unsigned int number = 1; go_on && read_request(fd, text); number++) {
        (void)pthread_mutex_lock(&server->lock);
        memcpy(server->last, text, sizeof(server->last));
        (void)pthread_mutex_unlock(&server->lock);
        (void)atomic_fetch_add(&server->requests, 1);
        if (sscanf(text, "%*s %255[^? ]", path) != 1)
            (void)strcpy(path, "?");
        go_on = answer(fd, path, number);
    }
    (void)close(fd);
    free(text);
    return NULL;
}

_Noreturn static void accept_all(void)
{
    pthread_attr_t attributes;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, 256 * 1024);
    for (;;) {
        pthread_t thread;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        (void)atomic_fetch_add(&server->connections, 1);
        if (fd >= 0 && pthread_create(&thread, &attributes, serve, (void *)(intptr_t)fd) != 0)
            (void)close(fd);
    }
}

unsigned int world_listen(int *fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(*fd, 512), 0);
    return ntohs(address.sin_port);
}

unsigned int world_requests(void)
{
    return atomic_load(&server->requests);
}

unsigned int world_connections(void)
{
    return atomic_load(&server->connections);
}

struct world world;

void world_write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static void become_net(int fd)
{
    char text[2048];
    struct config *config;
    struct channel channel;
    struct error err;

    (void)snprintf(text, sizeof(text),
                   "[profile basic]\nclient-id = a:b\nclient-secret-file = %s\nallow-http-loopback = yes\n"
                   "[profile post]\nclient-id = a:b\nclient-authentication = client_secret_post\nclient-secret-file = %s\n"
                   "allow-http-loopback = yes\n"
                   "[profile jwt]\nclient-id = a:b\nclient-authentication = private_key_jwt\nallow-http-loopback = yes\n"
                   "[profile strict]\nclient-id = a:b\nclient-authentication = private_key_jwt\n"
                   "[profile badca]\nclient-id = a:b\nclient-authentication = private_key_jwt\nca-file = /nonexistent.pem\n"
                   "[profile files]\nclient-id = a:b\nclient-authentication = private_key_jwt\nallow-http-loopback = yes\n"
                   "subject-token-file = %s\nactor-token-file = %s\nassertion-file = %s\n",
                   world.secret_path, world.secret_path, world.token_path, world.token_path, world.token_path);
    int log = open(world.log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (log < 0 || dup2(log, STDERR_FILENO) < 0 ||
        config_parse(span_text(text), "test", ROLE_NET, &config, &err) != STATUS_OK)
        _exit(99);
    (void)setenv("http_proxy", "http://127.0.0.1:1", 1);
    (void)setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    log_open("net", LOG_LEVEL_DEBUG);
    channel_init(&channel, fd);
    int status = net_main(config, &channel);
    channel_free(&channel);
    config_free(config);
    exit(status); /* not _exit: leaks count */
}

int world_start_net(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    (void)fflush(NULL); /* the child ends with exit */
    world.pid = fork();
    if (world.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)alarm(60); /* a process that hangs fails the test */
        (void)close(ends[0]);
        (void)munmap(server, sizeof(*server)); /* the requests are none of its business */
        become_net(ends[1]);
    }
    assert_true(world.pid > 0);
    (void)close(ends[1]);
    channel_init(&world.channel, ends[0]);
    return 0;
}

/* Closes the channel and returns the exit status. */
int world_end_net(void)
{
    int status = -1;
    (void)close(world.channel.fd);
    channel_free(&world.channel);
    assert_int_equal(waitpid(world.pid, &status, 0), world.pid);
    world.pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int world_stop_net(void **state)
{
    (void)state;
    return world.pid == 0 ? 0 : world_end_net();
}

uint32_t world_send(struct fetch f)
{
    char url[256];
    (void)snprintf(url, sizeof(url), "%s://127.0.0.1:%u%s", f.https ? "https" : "http",
                   f.port != 0 ? f.port : world.port, f.path);
    struct fetch_request m = {
        .profile = span_text(f.no_profile ? NULL : f.profile != NULL ? f.profile : "jwt"),
        .url = span_text(url),
        .form = span_text(f.form),
        .dpop = span_text(f.dpop != NULL ? f.dpop : "proof"),
        .json = span_text(f.json),
        .bearer = span_text(f.bearer),
        .ca_file = span_text(f.ca_file),
        .token_files = f.token_files,
        .allow_http_loopback = f.no_profile && !f.http_forbidden,
        .authenticate = f.authenticate,
        .timeout = f.timeout > 0 ? f.timeout : 10000,
    };
    message_put_frame(&world.channel.out, INTERNAL_FETCH, ++world.request, &message_fetch_request, &m);
    assert_int_equal(channel_flush(&world.channel), 0);
    return world.request;
}

struct frame world_next_frame(void)
{
    struct frame frame;
    assert_int_equal(channel_read(&world.channel, &frame), 1);
    return frame;
}

struct fetch_answer world_answered(struct fetch f)
{
    struct fetch_answer a;
    struct error err;
    uint32_t request = world_send(f);
    struct frame frame = world_next_frame();
    assert_int_equal(frame.request, request);
    if (frame.operation == OPERATION_ERROR && messages_take_error(frame.fields, &err) == STATUS_OK)
        fail_msg("%s: %s", f.path, err.message);
    assert_int_equal(frame.operation, INTERNAL_FETCH | OPERATION_ANSWER);
    assert_int_equal(message_take(frame.fields, &message_fetch_answer, &a, sizeof(a), &err), STATUS_OK);
    if (a.failure.data != NULL && messages_take_error(a.failure, &err) == STATUS_OK)
        fail_msg("%s: %s", f.path, err.message);
    assert_true(a.sent);
    return a;
}

struct error world_next_failure(uint32_t request, bool *sent)
{
    struct fetch_answer a;
    struct error err;
    struct frame frame = world_next_frame();
    assert_int_equal(frame.request, request);
    assert_int_equal(frame.operation, INTERNAL_FETCH | OPERATION_ANSWER);
    assert_int_equal(message_take(frame.fields, &message_fetch_answer, &a, sizeof(a), &err), STATUS_OK);
    assert_non_null(a.failure.data);
    assert_int_equal(messages_take_error(a.failure, &err), STATUS_OK);
    *sent = a.sent;
    return err;
}

static void assert_failed(struct fetch f, enum status status, const char *message, bool expected)
{
    bool sent;
    struct error err = world_next_failure(world_send(f), &sent);
    if (err.status != status || strstr(err.message, message) == NULL || sent != expected)
        fail_msg("%s: status %d, %ssent: %s", f.path, (int)err.status, sent ? "" : "not ", err.message);
}

void world_refused(struct fetch f, enum status status, const char *message)
{
    assert_failed(f, status, message, false);
}

void world_broken(struct fetch f, enum status status, const char *message)
{
    assert_failed(f, status, message, true);
}

bool world_last_request_has(const char *text)
{
    (void)pthread_mutex_lock(&server->lock);
    bool found = strstr(server->last, text) != NULL;
    (void)pthread_mutex_unlock(&server->lock);
    return found;
}

static int start_server(void)
{
    pthread_mutexattr_t shared;
    server = mmap(NULL, sizeof(*server), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (server == MAP_FAILED || pthread_mutexattr_init(&shared) != 0 ||
        pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED) != 0 || pthread_mutex_init(&server->lock,
                                                                                                 &shared) != 0)
        return -1;
    world.port = world_listen(&listener);
    server_pid = fork();
    if (server_pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        accept_all();
    }
    (void)close(listener);
    return server_pid > 0 ? 0 : -1;
}

int world_set_up(void **state)
{
    (void)state;
    (void)strcpy(world.folder, "/tmp/test_net_XXXXXX");
    if (mkdtemp(world.folder) == NULL)
        return -1;
    (void)snprintf(world.secret_path, sizeof(world.secret_path), "%s/secret", world.folder);
    (void)snprintf(world.log_path, sizeof(world.log_path), "%s/log", world.folder);
    (void)snprintf(world.token_path, sizeof(world.token_path), "%s/token", world.folder);
    return start_server();
}

int world_tear_down(void **state)
{
    (void)state;
    (void)kill(server_pid, SIGKILL);
    (void)waitpid(server_pid, NULL, 0);
    (void)munmap(server, sizeof(*server));
    (void)unlink(world.secret_path);
    (void)unlink(world.log_path);
    (void)unlink(world.token_path);
    return rmdir(world.folder);
}
