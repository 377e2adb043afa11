/* See tls_world.h. */
#include "tls_world.h"

#include "role.h"
#include "x509.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define CONFIG_SIZE 4096

struct made {
    const char *label; /* of the key */
    uint8_t serial;
    char *pem;
};

static CK_OBJECT_HANDLE find(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, CK_OBJECT_CLASS class, const char *label)
{
    char text[64];
    CK_OBJECT_HANDLE handle = 0;
    CK_ULONG count = 0;
    (void)snprintf(text, sizeof(text), "%s", label);
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_LABEL, text, strlen(text)}};
    assert_int_equal(f->C_FindObjectsInit(session, attributes, 2), CKR_OK);
    assert_int_equal(f->C_FindObjects(session, &handle, 1, &count), CKR_OK);
    assert_int_equal(f->C_FindObjectsFinal(session), CKR_OK);
    assert_int_equal(count, 1);
    return handle;
}

static void make_pem(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    struct made *made = data;
    uint8_t point[128], digest[JWK_DIGEST_SIZE], signature[JWK_SIGNATURE_SIZE];
    uint8_t serial[X509_SERIAL_SIZE] = {made->serial};
    CK_ATTRIBUTE attribute = {CKA_EC_POINT, point, sizeof(point)};
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    CK_ULONG len = sizeof(signature);
    struct buffer tbs;
    struct error err;
    struct jwk jwk;
    int64_t now = (int64_t)time(NULL);
    buffer_init(&tbs, X509_TBS_MAX);
    CK_OBJECT_HANDLE public = find(f, session, CKO_PUBLIC_KEY, made->label);
    assert_int_equal(f->C_GetAttributeValue(session, public, &attribute, 1), CKR_OK);
    assert_int_equal(jwk_from_point(span_of(point, attribute.ulValueLen), &jwk), 0);
    assert_int_equal(x509_certificate_tbs(&jwk, "CN=test", now - 3600, now + 3600, serial, &tbs, &err), STATUS_OK);
    assert_int_equal(x509_digest(&tbs, digest), 0);
    assert_int_equal(f->C_SignInit(session, &mechanism, find(f, session, CKO_PRIVATE_KEY, made->label)), CKR_OK);
    assert_int_equal(f->C_Sign(session, digest, sizeof(digest), signature, &len), CKR_OK);
    assert_int_equal(x509_pem(&tbs, signature, true, &made->pem), 0);
    buffer_free(&tbs);
}

void tls_world_make_certificate(struct tls_world *w, const char *label, uint8_t serial, const char *name,
                                char hex[TLS_WORLD_HEX])
{
    struct made made = {.label = label, .serial = serial};
    unsigned char digest[32];
    unsigned int len = 0;
    softhsm_with_session(&w->key->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, make_pem, &made);
    softhsm_write(&w->key->hsm, name, made.pem, 0644, NULL);
    BIO *bio = BIO_new_mem_buf(made.pem, -1);
    X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_non_null(x);
    assert_int_equal(X509_digest(x, EVP_sha256(), digest, &len), 1);
    for (unsigned int i = 0; i < len; i++)
        (void)snprintf(hex + (size_t)2 * i, 3, "%02x", digest[i]);
    X509_free(x);
    (void)BIO_free(bio);
    free(made.pem);
}

int tls_world_open(void **state)
{
    struct tls_world *w = calloc(1, sizeof(*w));
    void *key;
    assert_non_null(w);
    (void)key_world_open(&key);
    w->key = key;
    softhsm_path(&w->key->hsm, "ca.pem", w->ca);
    softhsm_path(&w->key->hsm, "ca.key", w->ca_key);
    softhsm_path(&w->key->hsm, "own.crt", w->certificate);
    tls_server_make_certificate(w->ca, w->ca_key);
    tls_server_start(&w->v12, w->ca, w->ca_key, TLS1_2_VERSION, false);
    tls_server_start(&w->v13, w->ca, w->ca_key, TLS1_3_VERSION, false);
    tls_server_start(&w->refusing12, w->ca, w->ca_key, TLS1_2_VERSION, true);
    tls_server_start(&w->refusing13, w->ca, w->ca_key, TLS1_3_VERSION, true);
    *state = w;
    return 0;
}

int tls_world_close(void **state)
{
    struct tls_world *w = *state;
    void *key = w->key;
    tls_server_stop(&w->v12);
    tls_server_stop(&w->v13);
    tls_server_stop(&w->refusing12);
    tls_server_stop(&w->refusing13);
    (void)key_world_close(&key);
    free(w);
    return 0;
}

/* A fresh exec of this program, as of the agent: a process that has used OpenSSL before cannot install its heap. */
void tls_world_start_process(struct tls_world *w, struct key_child *c, const char *role, const char *configuration)
{
    static unsigned int number;
    char name[32], path[SOFTHSM_PATH_MAX];
    (void)snprintf(name, sizeof(name), "slice-%u", ++number);
    softhsm_write(&w->key->hsm, name, configuration, 0600, path);
    if (!key_child_fork(c, &w->key->memory, w->key->log))
        return;
    if (dup2(c->channel.fd, CHANNEL_FD) == CHANNEL_FD && fcntl(CHANNEL_FD, F_SETFD, 0) == 0)
        (void)execl("/proc/self/exe", "test_net_tls_key", role, path, (char *)NULL);
    _exit(97);
}

int tls_world_run_process(const char *role, const char *path)
{
    bool tls = strcmp(role, "net-tls") == 0;
    struct config *config;
    struct channel channel;
    struct error err;
    char text[CONFIG_SIZE];
    FILE *file = fopen(path, "re");
    size_t len = file != NULL ? fread(text, 1, sizeof(text), file) : 0;
    if (len == 0 || fclose(file) != 0 ||
        config_parse(span_of(text, len), "test", tls ? ROLE_NET_TLS : ROLE_NET, &config, &err) != STATUS_OK)
        return 98;
    log_open(role, LOG_LEVEL_DEBUG);
    channel_init(&channel, CHANNEL_FD);
    int status = tls ? net_tls_main(config, &channel) : net_main(config, &channel);
    config_free(config);
    channel_free(&channel);
    return status;
}

void tls_world_start_with(struct tls_world *w, struct key_child *c, const char *uri, const char *certificate)
{
    char text[CONFIG_SIZE];
    int n = snprintf(text, sizeof(text),
                     "[key work]\nuri = %s\npin-file = %s\nenvironment = %s\nenvironment = %s\nenvironment = %s\n"
                     "environment = %s\n[profile mtls]\nclient-id = app\nclient-authentication = tls_client_auth\n"
                     "client-certificate-file = %s\nca-file = %s\nallow-http-loopback = yes\n",
                     uri, w->key->pin_file, w->key->items[0], w->key->items[1], w->key->items[2], w->key->items[3],
                     certificate, w->ca);
    assert_in_range(n, 1, CONFIG_SIZE - 1);
    tls_world_start_process(w, c, "net-tls", text);
}

void tls_world_start(struct tls_world *w, struct key_child *c)
{
    tls_world_start_with(w, c, w->key->uri, w->certificate);
}

void tls_world_send(struct key_child *c, uint32_t request, const char *scheme, unsigned int port, bool authenticate)
{
    char url[64];
    (void)snprintf(url, sizeof(url), "%s://127.0.0.1:%u/token", scheme, port);
    struct fetch_request m = {.profile = span_text("mtls"), .url = span_text(url), .form = span_text("a=b"),
                              .authenticate = authenticate, .timeout = 20000};
    message_put_frame(&c->channel.out, INTERNAL_FETCH, request, &message_fetch_request, &m);
    assert_int_equal(channel_flush(&c->channel), 0);
}

static void take_member(struct tls_outcome *o, struct span encoded)
{
    struct json_member m;
    struct error err;
    assert_int_equal(message_take(encoded, &message_json_member, &m, sizeof(m), &err), STATUS_OK);
    if (span_is(m.name, "certificate"))
        assert_int_equal(span_copy(m.text, o->certificate, sizeof(o->certificate)), 0);
    if (span_is(m.name, "protocol"))
        assert_int_equal(span_copy(m.text, o->protocol, sizeof(o->protocol)), 0);
    if (span_is(m.name, "chain"))
        o->chain = m.integer;
}

static bool answer_ending(struct key_child *c, const struct frame *frame)
{
    struct empty_message empty = {false};
    if (frame->operation != INTERNAL_ENDING)
        return false;
    message_put_frame(&c->channel.out, INTERNAL_ENDING | OPERATION_ANSWER, frame->request, &message_empty, &empty);
    assert_int_equal(channel_flush(&c->channel), 0);
    return true;
}

void tls_world_see_end(struct key_child *c)
{
    struct frame frame;
    int r;
    while ((r = channel_read(&c->channel, &frame)) == 1)
        assert_true(answer_ending(c, &frame));
    assert_int_equal(r, 0);
    assert_int_equal(key_child_end(c, false), 0);
}

struct tls_outcome tls_world_next(struct key_child *c, uint32_t *request)
{
    struct tls_outcome o = {.failure.status = STATUS_OK};
    struct frame frame;
    struct fetch_answer a;
    struct error err;
    struct span item;
    size_t cursor = 0;
    do
        assert_int_equal(channel_read(&c->channel, &frame), 1);
    while (key_child_answer_pin(c, &frame) || answer_ending(c, &frame));
    assert_int_equal(frame.operation, INTERNAL_FETCH | OPERATION_ANSWER);
    *request = frame.request;
    assert_int_equal(message_take(frame.fields, &message_fetch_answer, &a, sizeof(a), &err), STATUS_OK);
    o.sent = a.sent;
    if (a.failure.data != NULL)
        assert_int_equal(messages_take_error(a.failure, &o.failure), STATUS_OK);
    while (list_next(&a.members, &cursor, &item))
        take_member(&o, item);
    return o;
}

struct tls_outcome tls_world_fetch(struct key_child *c, unsigned int port, bool authenticate)
{
    uint32_t request;
    tls_world_send(c, 7, "https", port, authenticate);
    struct tls_outcome o = tls_world_next(c, &request);
    assert_int_equal(request, 7);
    return o;
}

