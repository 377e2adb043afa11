/*
 * The operations `key csr` and `key cert`: what a server wants to register for client certificates (RFC 8705), a
 * certificate request or a self-signed certificate for a key, signed by that key. Only the agent's own user and root
 * may ask: a certificate lives longer than a proof, and says what the caller wants it to say.
 */
#include "operations.h"

#include "keys.h"
#include "x509.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAYS_DEFAULT 365
#define DAYS_MAX 36500
#define DAY 86400
#define BACKDATED 300 /* seconds: another clock may be behind ours */

struct x509_work {
    struct request *request;
    char subject[X509_SUBJECT_MAX + 1];
    uint32_t days; /* 0: a certificate request */
    struct buffer tbs;
};

static void fail(struct x509_work *w, const struct error *err)
{
    request_fail(w->request, err);
    buffer_free(&w->tbs);
    free(w);
}

static enum status build(void *context, const struct key_public *key, uint8_t digest[JWK_DIGEST_SIZE],
                         struct error *err)
{
    struct x509_work *w = context;
    uint8_t serial[X509_SERIAL_SIZE];
    int64_t now = (int64_t)time(NULL);
    enum status status;
    if (w->request->client == NULL)
        return error_set(err, STATUS_RESTARTED, NULL, "the client has gone");
    buffer_clear(&w->tbs);
    if (w->days == 0) {
        status = x509_request_tbs(&key->jwk, w->subject, &w->tbs, err);
    } else {
        randombytes_buf(serial, sizeof(serial));
        status = x509_certificate_tbs(&key->jwk, w->subject, now - BACKDATED, now + (int64_t)w->days * DAY, serial,
                                      &w->tbs, err);
    }
    if (status == STATUS_OK && x509_digest(&w->tbs, digest) != 0)
        status = error_set(err, STATUS_INTERNAL, NULL, "a certificate cannot be hashed");
    return status;
}

static void on_signed(void *context, const struct error *err, const struct key_public *key, const uint8_t *signature)
{
    struct x509_work *w = context;
    struct error no_memory;
    char *pem = NULL;
    (void)key;
    if (err != NULL) {
        fail(w, err);
        return;
    }
    if (x509_pem(&w->tbs, signature, w->days != 0, &pem) != 0) {
        (void)error_set(&no_memory, STATUS_NO_MEMORY, NULL, "out of memory");
        fail(w, &no_memory);
        return;
    }
    struct pem_answer answer = {.pem = span_text(pem)};
    request_answer(w->request, &message_pem_answer, &answer);
    free(pem);
    buffer_free(&w->tbs);
    free(w);
}

static void start(struct request *r, struct span key_name, struct span subject, uint32_t days, uint32_t timeout)
{
    struct error err;
    struct key *key;
    if (!operations_owner(r, "make certificates") || (key = operations_key(r, key_name)) == NULL)
        return;
    struct x509_work *w = calloc(1, sizeof(*w));
    if (w == NULL || span_copy(subject, w->subject, sizeof(w->subject)) != 0 || strlen(w->subject) != subject.len) {
        (void)(w == NULL ? error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory")
                         : error_set(&err, STATUS_INVALID_ARGUMENT, "write it as CN=app,O=Example",
                                     "the subject is too long"));
        free(w);
        request_fail(r, &err);
        return;
    }
    w->request = r;
    w->days = days;
    buffer_init(&w->tbs, X509_TBS_MAX);
    struct sign_job job = {.build = build, .done = on_signed, .context = w,
                           .deadline = front_deadline(r->front, timeout), .owner = (uint32_t)r->pid};
    keys_sign(key, &job);
}

void op_key_csr(struct request *r, const void *message)
{
    const struct key_csr_request *in = message;
    start(r, in->key, in->subject, 0, in->timeout);
}

void op_key_cert(struct request *r, const void *message)
{
    const struct key_cert_request *in = message;
    struct error err;
    if (in->days > DAYS_MAX) {
        (void)error_set(&err, STATUS_INVALID_ARGUMENT, "give 1 to 36500",
                        "a certificate is good for %u days at the most", DAYS_MAX);
        request_fail(r, &err);
        return;
    }
    start(r, in->key, in->subject, in->days == 0 ? DAYS_DEFAULT : in->days, in->timeout);
}
