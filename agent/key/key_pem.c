/* See key_pem.h. */
#include "key_pem.h"

#include "key_der.h"
#include "key_password.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#define BEGIN "-----BEGIN "

enum kind { SEC1, PKCS8, ENCRYPTED, OPENSSH, RSA_KEY, DSA_KEY, SKIPPED, CERTIFICATE, PUBLIC, FOREIGN };

static const struct {
    const char *name;
    enum kind kind;
} kinds[] = {
    {"EC PRIVATE KEY", SEC1},
    {"PRIVATE KEY", PKCS8},
    {"ENCRYPTED PRIVATE KEY", ENCRYPTED},
    {"OPENSSH PRIVATE KEY", OPENSSH},
    {"RSA PRIVATE KEY", RSA_KEY},
    {"DSA PRIVATE KEY", DSA_KEY},
    {"EC PARAMETERS", SKIPPED},
    {"CERTIFICATE", CERTIFICATE},
    {"X509 CERTIFICATE", CERTIFICATE},
    {"TRUSTED CERTIFICATE", CERTIFICATE},
    {"PUBLIC KEY", PUBLIC},
    {"RSA PUBLIC KEY", PUBLIC},
    {"SSH2 PUBLIC KEY", PUBLIC},
};

/* One block: allocated by OpenSSL. */
struct block {
    char *name, *header;
    uint8_t *data;
    long len;
};

struct reading {
    const struct secret *password;
    struct private_key key;
    bool certificate, public;
    char foreign[64]; /* the first block of a kind that is not known */
};

static enum kind kind_of(const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return kinds[i].kind;
    return FOREIGN;
}

bool key_pem_recognise(struct span file)
{
    return memmem(file.data, file.len, BEGIN, strlen(BEGIN)) != NULL;
}

static void free_block(struct block *b)
{
    OPENSSL_free(b->name);
    if (b->header != NULL)
        OPENSSL_clear_free(b->header, strlen(b->header));
    OPENSSL_clear_free(b->data, b->len > 0 ? (size_t)b->len : 0);
    *b = (struct block){0};
}

/* OpenSSL would ask on the terminal without this. */
static int give_password(char *buf, int size, int writing, void *password)
{
    const struct secret *p = password;
    (void)writing;
    if (p == NULL || p->len > (size_t)size)
        return -1;
    memcpy(buf, p->data, p->len);
    return (int)p->len;
}

/* The old way of encrypting PEM: DEK-Info in the block's header, an MD5 of the password as the key. */
static enum status decrypt(struct block *b, const struct secret *password, struct error *err)
{
    EVP_CIPHER_INFO cipher;
    union {
        const struct secret *in;
        void *out;
    } argument = {.in = password};
    if (b->header[0] == '\0')
        return STATUS_OK;
    if (PEM_get_EVP_CIPHER_INFO(b->header, &cipher) != 1)
        return key_password_failed(password, err);
    if (cipher.cipher == NULL)
        return STATUS_OK;
    if (password == NULL)
        return key_password_needed(err);
    if (PEM_do_header(&cipher, b->data, &b->len, give_password, argument.out) != 1)
        return key_password_failed(password, err);
    return STATUS_OK;
}

static enum status read_sec1(struct block *b, const struct secret *password, struct private_key *out, struct error *err)
{
    bool encrypted = strstr(b->header, "ENCRYPTED") != NULL;
    enum status status = decrypt(b, password, err);
    if (status != STATUS_OK)
        return status;
    struct span der = span_of(b->data, (size_t)b->len);
    if (encrypted && key_der_recognise(der) != KEY_DER_SEC1) /* the padding shows it 255 times of 256 */
        return key_password_failed(password, err);
    return key_der_sec1(der, out, err);
}

static enum status read_key(enum kind kind, struct block *b, struct reading *r, struct private_key *out,
                            struct error *err)
{
    switch (kind) {
    case SEC1:
        return read_sec1(b, r->password, out, err);
    case PKCS8:
        return key_der_pkcs8(span_of(b->data, (size_t)b->len), out, err);
    case ENCRYPTED:
        return key_der_encrypted(span_of(b->data, (size_t)b->len), r->password, out, err);
    case OPENSSH:
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "convert a copy of it: ssh-keygen -p -m PKCS8 -f COPY (it asks for passphrases)",
                         "the key is in OpenSSH's own format");
    default:
        return private_key_other("of the type", kind == RSA_KEY ? "RSA" : "DSA", err);
    }
}

static enum status take_block(struct block *b, struct reading *r, struct error *err)
{
    enum kind kind = kind_of(b->name);
    struct private_key key = {0};
    enum status status = STATUS_OK;
    r->certificate = r->certificate || kind == CERTIFICATE;
    r->public = r->public || kind == PUBLIC;
    if (kind == FOREIGN && r->foreign[0] == '\0')
        error_put_text(r->foreign, sizeof(r->foreign), span_text(b->name));
    if (kind >= SKIPPED)
        return STATUS_OK;
    if (r->key.d != NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "put one key into a file of its own",
                         "the file holds more than one private key");
    status = read_key(kind, b, r, &key, err);
    if (status == STATUS_OK)
        r->key = key;
    return status;
}

static enum status nothing_found(const struct reading *r, struct error *err)
{
    if (r->certificate)
        return key_der_certificate_only(err);
    if (r->public)
        return key_der_public_only(err);
    return error_set(err, STATUS_INVALID_ARGUMENT, "give a PEM file with a private key",
                     r->foreign[0] != '\0' ? "the PEM file holds no private key, but \"%s\""
                                           : "the PEM file holds nothing%s",
                     r->foreign);
}

/* Every block is read to the end: a key behind damaged text is not what somebody meant to import. */
static enum status read_blocks(BIO *bio, struct reading *r, struct error *err)
{
    for (;;) {
        struct block b = {0};
        if (PEM_read_bio(bio, &b.name, &b.header, &b.data, &b.len) != 1) {
            int reason = ERR_GET_REASON(ERR_peek_last_error());
            ERR_clear_error();
            if (reason != PEM_R_NO_START_LINE)
                return key_der_damaged("PEM text", err);
            return r->key.d != NULL ? STATUS_OK : nothing_found(r, err);
        }
        enum status status = take_block(&b, r, err);
        free_block(&b);
        if (status != STATUS_OK)
            return status;
    }
}

enum status key_pem_read(struct span file, const struct secret *password, struct private_key *out, struct error *err)
{
    struct reading r = {.password = password};
    BIO *bio = BIO_new_mem_buf(file.data, (int)file.len); /* reads where the bytes are */
    if (bio == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    enum status status = read_blocks(bio, &r, err);
    BIO_free(bio);
    if (status == STATUS_OK)
        *out = r.key;
    else
        private_key_free(&r.key);
    return status;
}
