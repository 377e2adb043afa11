/*
 * The client certificate of one profile whose key is in a PKCS#11 token: what is behind tls_client.h in the net process
 * that the profile has for itself (role.h: net-tls).
 *
 * Two parts of this process use the module. The agent's own (key/) finds token and key by the URI and logs in, as a key
 * process does, with the same record of refused PINs; libp11 makes an EVP_PKEY of the key for OpenSSL, and never sees
 * the PIN: the log-in counts for all sessions of a process. libp11 initialises the module and finalises it, and the own
 * part only calls it, so neither takes it away under the other.
 *
 * The token is opened by the first transfer that shows the certificate, not before: the front sends one only when a key
 * process has logged in to the key. A token that failed is not opened again here: C_Finalize and a fresh process are
 * the cure. libp11 0.4.12 waits for ever where a module refuses it a session, and slots are listed once, since it
 * crashes when it lists two of them again; the front kills a process that hangs.
 */
#include "internal.h"
#include "log.h"
#include "net.h"
#include "object.h"
#include "pin.h"
#include "role.h"
#include "tls_client.h"
#include "token.h"

#include <errno.h>
#include <fcntl.h>
#include <libp11.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CERTIFICATE_FILE_MAX 65536
#define CHAIN_MAX 10
#define SPKI_SIZE 91 /* DER of a P-256 public key: 26 bytes that are always the same, 0x04, x, y */
#define SPKI_HEAD 27

struct tls_identity {
    STACK_OF(X509) *chain; /* the client's own certificate first */
};

struct tls_key {
    struct tls_client client; /* first: calls get a pointer to it */
    const struct profile_config *profile;
    const struct key_config *key;
    const uint8_t *pin_key;
    struct channel *channel;
    struct uri uri;
    struct module module;
    struct token token;
    CK_SESSION_HANDLE session; /* that is logged in; libp11 has its own */
    struct object object;
    PKCS11_CTX *p11;
    bool p11_loaded;
    PKCS11_SLOT *slots; /* libp11's keys live in them */
    unsigned int slot_count;
    EVP_PKEY *private; /* NULL: not open */
};

/* --- the certificate --- */

static enum status file_failed(const struct tls_key *k, const char *what, struct error *err)
{
    char next[256];
    (void)snprintf(next, sizeof(next),
                   "dpop key cert %.60s makes a certificate; or correct client-certificate-file in [profile %.60s]",
                   k->key->name, k->profile->name);
    return error_set(err, STATUS_CONFIGURATION, next, "profile \"%s\": client certificate %s: %s", k->profile->name,
                     k->profile->client_certificate_file, what);
}

static int no_passphrase(char *out, int size, int writing, void *user)
{
    (void)out, (void)size, (void)writing, (void)user;
    return -1;
}

static FILE *open_file(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > CERTIFICATE_FILE_MAX)) {
        (void)close(fd);
        errno = S_ISREG(st.st_mode) ? EFBIG : EINVAL;
        return NULL;
    }
    FILE *file = fdopen(fd, "r");
    if (file == NULL)
        (void)close(fd);
    return file;
}

static void release(struct tls_identity *identity)
{
    if (identity == NULL)
        return;
    sk_X509_pop_free(identity->chain, X509_free);
    free(identity);
}

static enum status read_certificates(const struct tls_key *k, struct tls_identity **out, struct error *err)
{
    struct tls_identity *identity = calloc(1, sizeof(*identity));
    if (identity == NULL || (identity->chain = sk_X509_new_null()) == NULL) {
        free(identity);
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    }
    FILE *file = open_file(k->profile->client_certificate_file);
    if (file == NULL) {
        release(identity);
        return file_failed(k, strerror(errno), err);
    }
    X509 *certificate;
    while (sk_X509_num(identity->chain) < CHAIN_MAX &&
           (certificate = PEM_read_X509(file, NULL, no_passphrase, NULL)) != NULL)
        if (sk_X509_push(identity->chain, certificate) == 0)
            X509_free(certificate);
    (void)fclose(file);
    if (sk_X509_num(identity->chain) == 0) {
        release(identity);
        return file_failed(k, "it holds no certificate in PEM", err);
    }
    *out = identity;
    return STATUS_OK;
}

/* The server would only say that it does not like the certificate. */
static enum status check_certificate(const struct tls_key *k, const struct tls_identity *identity, struct error *err)
{
    X509 *own = sk_X509_value(identity->chain, 0);
    EVP_PKEY *public = X509_get0_pubkey(own);
    if (public == NULL || EVP_PKEY_eq(public, k->private) != 1) {
        char what[LIMIT_NAME + 64];
        (void)snprintf(what, sizeof(what), "it is for another key than the token's, [key %s]", k->key->name);
        return file_failed(k, what, err);
    }
    if (X509_cmp_current_time(X509_get0_notAfter(own)) < 0)
        log_warning("profile \"%s\": the client certificate %s has expired", k->profile->name,
                    k->profile->client_certificate_file);
    return STATUS_OK;
}

/* --- the key --- */

static enum status libp11_failed(const struct tls_key *k, const char *what, struct error *err)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return error_set(err, STATUS_KEY_FAILED, "look at the token; the agent tries again by itself",
                     "libp11 with %s: %s: %s", k->module.path, what, reason != NULL ? reason : "no reason is given");
}

static bool is_key_of(EVP_PKEY *candidate, const struct jwk *jwk)
{
    uint8_t *der = NULL;
    int len = candidate != NULL ? i2d_PUBKEY(candidate, &der) : 0;
    bool same = len == SPKI_SIZE && memcmp(der + SPKI_HEAD, jwk->x, sizeof(jwk->x)) == 0 &&
                memcmp(der + SPKI_HEAD + sizeof(jwk->x), jwk->y, sizeof(jwk->y)) == 0;
    OPENSSL_free(der);
    return same;
}

/* libp11's handle of the key that was found by the URI, known by its public key. */
static enum status find_private(struct tls_key *k, struct error *err)
{
    PKCS11_KEY *keys = NULL;
    unsigned int key_count = 0, i = 0;
    if (PKCS11_enumerate_slots(k->p11, &k->slots, &k->slot_count) != 0)
        return libp11_failed(k, "its slots cannot be listed", err);
    while (i < k->slot_count &&
           (k->slots[i].token == NULL || PKCS11_get_slotid_from_slot(&k->slots[i]) != k->token.slot))
        i++;
    if (i == k->slot_count)
        return error_set(err, STATUS_KEY_ABSENT, "plug it in", "token \"%s\" went away", k->token.label);
    if (PKCS11_enumerate_keys(k->slots[i].token, &keys, &key_count) != 0)
        return libp11_failed(k, "the token's keys cannot be listed", err);
    for (i = 0; i < key_count && k->private == NULL; i++) {
        EVP_PKEY *candidate = PKCS11_get_private_key(&keys[i]);
        if (is_key_of(candidate, &k->object.jwk))
            k->private = candidate;
        else
            EVP_PKEY_free(candidate);
    }
    return k->private != NULL ? STATUS_OK : libp11_failed(k, "the key cannot be used for TLS", err);
}

static enum status load_module(struct tls_key *k, struct error *err)
{
    enum status status = module_set_environment(&k->key->environment, err);
    if (status == STATUS_OK)
        status = module_load_uri(&k->uri, &k->module, err);
    if (status != STATUS_OK)
        return status;
    k->p11 = PKCS11_CTX_new();
    k->p11_loaded = k->p11 != NULL && PKCS11_CTX_load(k->p11, k->module.path) == 0;
    return k->p11_loaded ? STATUS_OK : libp11_failed(k, "the module does not initialise", err);
}

/* The health check, as of a key process: what the token says about itself proves nothing. */
static enum status check_signature(const struct tls_key *k, struct error *err)
{
    uint8_t digest[JWK_DIGEST_SIZE], signature[JWK_SIGNATURE_SIZE];
    randombytes_buf(digest, sizeof(digest));
    enum status status = object_sign(&k->module, k->session, &k->object, digest, signature, err);
    if (status == STATUS_OK && jwk_verify(&k->object.jwk, digest, signature) != 0)
        status = error_set(err, STATUS_KEY_FAILED, "look at the token; the agent tries again by itself",
                           "a signature of %s does not verify with the public key", k->module.path);
    return status;
}

static enum status open_key(struct tls_key *k, struct pin_source *pin, struct error *err)
{
    enum status status = load_module(k, err);
    if (status == STATUS_OK)
        status = token_find(&k->module, &k->uri, &k->token, err);
    if (status != STATUS_OK)
        return status;
    CK_RV rv = k->module.f->C_OpenSession(k->token.slot, CKF_SERIAL_SESSION, NULL, NULL, &k->session);
    if (rv != CKR_OK)
        return module_failed(&k->module, "C_OpenSession", rv, err);
    status = pin_log_in(pin, k->channel, &k->module, &k->token, k->session, err);
    if (status == STATUS_OK)
        status = object_find(&k->module, k->session, &k->uri, k->key->allow_imported, pin->pin, &k->object, err);
    if (status == STATUS_OK && k->object.pin != NULL) /* OpenSSL could not give it */
        status = error_set(err, STATUS_KEY_UNFIT, "use a key without CKA_ALWAYS_AUTHENTICATE as client-key",
                           "the key wants its PIN for every signature (CKA_ALWAYS_AUTHENTICATE), not possible in TLS");
    pin_drop(pin);
    k->object.pin = NULL;
    if (status == STATUS_OK)
        status = check_signature(k, err);
    return status == STATUS_OK ? find_private(k, err) : status;
}

static void set_broken(struct tls_key *k, struct error *err)
{
    struct error named;
    (void)error_set(&named, err->status, err->next, "key \"%s\" for TLS: %s", k->key->name, err->message);
    log_warning("%s", named.message);
    *err = k->client.why = named;
    k->client.broken = true;
}

static enum status open_once(struct tls_key *k, tls_client_meanwhile *meanwhile, void *context, struct error *err)
{
    struct pin_source pin;
    if (k->private != NULL)
        return STATUS_OK;
    enum status status = uri_parse(k->key->uri, &k->uri, err);
    if (status == STATUS_OK)
        status = pin_source_init(k->key, k->pin_key, &k->uri, &pin, err);
    if (status == STATUS_OK) {
        pin.meanwhile = meanwhile;
        pin.context = context;
        status = open_key(k, &pin, err);
    }
    if (status != STATUS_OK)
        set_broken(k, err);
    else
        log_info("profile \"%s\": TLS client key \"%s\" is open: token \"%s\"", k->profile->name, k->key->name,
                 k->token.label);
    return status;
}

/* --- what transfers call --- */

static enum status prepare(struct tls_client *c, tls_client_meanwhile *meanwhile, void *context,
                           struct tls_identity **out, struct error *err)
{
    struct tls_key *k = (struct tls_key *)c;
    struct tls_identity *identity;
    enum status status = read_certificates(k, &identity, err);
    if (status == STATUS_OK) {
        status = open_once(k, meanwhile, context, err);
        if (status == STATUS_OK)
            status = check_certificate(k, identity, err);
        if (status == STATUS_OK)
            *out = identity;
        else
            release(identity);
    }
    ERR_clear_error(); /* or a TLS connection takes what is left there for its own */
    return status;
}

/* The token signs digests of 32 bytes: no other signature is offered. */
static int give(struct tls_client *c, const struct tls_identity *identity, SSL_CTX *ctx)
{
    const struct tls_key *k = (const struct tls_key *)c;
    int ok = SSL_CTX_set1_client_sigalgs_list(ctx, "ECDSA+SHA256") &&
             SSL_CTX_use_certificate(ctx, sk_X509_value(identity->chain, 0)) && SSL_CTX_clear_chain_certs(ctx);
    for (int i = 1; ok && i < sk_X509_num(identity->chain); i++)
        ok = SSL_CTX_add1_chain_cert(ctx, sk_X509_value(identity->chain, i)) != 0;
    return ok && SSL_CTX_use_PrivateKey(ctx, k->private) == 1 ? 0 : -1;
}

static enum status check(struct tls_client *c, struct error *err)
{
    struct tls_key *k = (struct tls_key *)c;
    enum status status = check_signature(k, err);
    if (status != STATUS_OK)
        set_broken(k, err);
    return status;
}

/* As module_close: what hangs here ends by SIGALRM. */
static void close_key(struct tls_client *c)
{
    struct tls_key *k = (struct tls_key *)c;
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(MODULE_CLOSE_SECONDS);
    EVP_PKEY_free(k->private);
    k->private = NULL;
    if (k->slots != NULL)
        PKCS11_release_all_slots(k->p11, k->slots, k->slot_count);
    if (k->p11_loaded)
        PKCS11_CTX_unload(k->p11);
    if (k->p11 != NULL)
        PKCS11_CTX_free(k->p11);
    module_close(&k->module);
    uri_free(&k->uri);
}

int net_tls_main(const struct config *config, struct channel *channel)
{
    const struct profile_config *profile = config->profile_count == 1 ? &config->profiles[0] : NULL;
    const struct key_config *key = config->key_count == 1 ? &config->keys[0] : NULL; /* the slice has no other */
    if (profile == NULL || key == NULL || profile->client_certificate_file == NULL) {
        log_error("the configuration names no TLS client key");
        return 1;
    }
    struct tls_key k = {
        .client = {.prepare = prepare, .give = give, .release = release, .check = check, .close = close_key},
        .profile = profile,
        .key = key,
        .pin_key = config->agent.pin_key,
        .channel = channel,
    };
    return net_serve(config, channel, &k.client);
}
