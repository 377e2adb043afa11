/* See softhsm.h. */
#include "softhsm.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SO_PIN "officer-1234"
#define MAX_SLOTS 16

void softhsm_path(const struct softhsm *s, const char *name, char path[SOFTHSM_PATH_MAX])
{
    int n = snprintf(path, SOFTHSM_PATH_MAX, "%s/%s", s->folder, name);
    assert_in_range(n, 1, SOFTHSM_PATH_MAX - 1);
}

void softhsm_write(const struct softhsm *s, const char *name, const char *content, unsigned int mode,
                   char path[SOFTHSM_PATH_MAX])
{
    char own[SOFTHSM_PATH_MAX], temporary[SOFTHSM_PATH_MAX];
    softhsm_path(s, name, own);
    softhsm_path(s, "new", temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(rename(temporary, own), 0);
    if (path != NULL)
        memcpy(path, own, sizeof(own));
}

bool softhsm_exists(const struct softhsm *s, const char *name)
{
    char path[SOFTHSM_PATH_MAX];
    softhsm_path(s, name, path);
    return access(path, F_OK) == 0;
}

char *softhsm_read(const struct softhsm *s, const char *name)
{
    char path[SOFTHSM_PATH_MAX];
    char *content = calloc(1, 65536);
    assert_non_null(content);
    softhsm_path(s, name, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        assert_true(read(fd, content, 65535) >= 0);
        (void)close(fd);
    }
    return content;
}

void softhsm_open(struct softhsm *s)
{
    char tokens[SOFTHSM_PATH_MAX], conf[SOFTHSM_PATH_MAX + 128];
    memcpy(s->folder, "/tmp/dpop-test-XXXXXX", sizeof("/tmp/dpop-test-XXXXXX"));
    assert_non_null(mkdtemp(s->folder));
    softhsm_path(s, "tokens", tokens);
    assert_int_equal(mkdir(tokens, 0700), 0);
    (void)snprintf(conf, sizeof(conf), "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n",
                   tokens);
    softhsm_write(s, "softhsm2.conf", conf, 0600, s->conf);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void softhsm_close(struct softhsm *s)
{
    assert_int_equal(nftw(s->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static CK_FUNCTION_LIST *begin(const struct softhsm *s)
{
    CK_C_GetFunctionList get_list;
    CK_FUNCTION_LIST *f;
    void *module = dlopen(SOFTHSM_MODULE, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(module);
    void *symbol = dlsym(module, "C_GetFunctionList");
    assert_non_null(symbol);
    memcpy(&get_list, &symbol, sizeof(get_list));
    assert_int_equal(get_list(&f), CKR_OK);
    assert_int_equal(setenv("SOFTHSM2_CONF", s->conf, 1), 0);
    assert_int_equal(f->C_Initialize(NULL), CKR_OK);
    return f;
}

/* The token of a label, or a blank one for NULL. */
static CK_SLOT_ID find_slot(CK_FUNCTION_LIST *f, const char *label)
{
    CK_SLOT_ID slots[MAX_SLOTS];
    CK_ULONG count = MAX_SLOTS;
    assert_int_equal(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        assert_int_equal(f->C_GetTokenInfo(slots[i], &info), CKR_OK);
        bool blank = !(info.flags & CKF_TOKEN_INITIALIZED);
        size_t len = label != NULL ? strlen(label) : 0;
        if (label == NULL ? blank
                          : !blank && memcmp(info.label, label, len) == 0 && (len == 32 || info.label[len] == ' '))
            return slots[i];
    }
    fail_msg("no token \"%s\"", label != NULL ? label : "(blank)");
    return 0;
}

static CK_SESSION_HANDLE open_session(CK_FUNCTION_LIST *f, CK_SLOT_ID slot)
{
    CK_SESSION_HANDLE session;
    assert_int_equal(f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), CKR_OK);
    return session;
}

static CK_RV log_in(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, CK_USER_TYPE user, const char *pin)
{
    CK_BYTE copy[64];
    size_t len = strlen(pin);
    assert_in_range(len, 1, sizeof(copy));
    memcpy(copy, pin, len);
    return f->C_Login(session, user, copy, len);
}

void softhsm_make_token(const struct softhsm *s, const char *label, const char *pin)
{
    CK_FUNCTION_LIST *f = begin(s);
    CK_BYTE padded[32], officer[] = SO_PIN, user[64];
    memset(padded, ' ', sizeof(padded));
    memcpy(padded, label, strlen(label));
    memcpy(user, pin, strlen(pin));
    assert_int_equal(f->C_InitToken(find_slot(f, NULL), officer, strlen(SO_PIN), padded), CKR_OK);
    CK_SESSION_HANDLE session = open_session(f, find_slot(f, label));
    assert_int_equal(log_in(f, session, CKU_SO, SO_PIN), CKR_OK);
    assert_int_equal(f->C_InitPIN(session, user, strlen(pin)), CKR_OK);
    assert_int_equal(f->C_Finalize(NULL), CKR_OK);
}

void softhsm_with_session(const struct softhsm *s, const char *token, const char *pin, softhsm_use *use, void *data)
{
    CK_FUNCTION_LIST *f = begin(s);
    CK_SESSION_HANDLE session = open_session(f, find_slot(f, token));
    if (pin != NULL)
        assert_int_equal(log_in(f, session, CKU_USER, pin), CKR_OK);
    use(f, session, data);
    assert_int_equal(f->C_Finalize(NULL), CKR_OK);
}

void softhsm_log_in(const struct softhsm *s, const char *token, const char *pin, CK_RV expected)
{
    CK_FUNCTION_LIST *f = begin(s);
    assert_int_equal(log_in(f, open_session(f, find_slot(f, token)), CKU_USER, pin), expected);
    assert_int_equal(f->C_Finalize(NULL), CKR_OK);
}

static CK_BYTE p256_params[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static CK_BYTE p384_params[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
static CK_BYTE rfc6979_private[] = {0xc9, 0xaf, 0xa9, 0xd8, 0x45, 0xba, 0x75, 0x16, 0x6b, 0x5c, 0x21,
                                    0x57, 0x67, 0xb1, 0xd6, 0x93, 0x4e, 0x50, 0xc3, 0xdb, 0x36, 0xe8,
                                    0x9b, 0x12, 0x7b, 0x8a, 0x62, 0x2b, 0x12, 0x0f, 0x67, 0x21};
static CK_BYTE rfc6979_point[] = {
    0x04, 0x41, 0x04, /* OCTET STRING, uncompressed */
    0x60, 0xfe, 0xd4, 0xba, 0x25, 0x5a, 0x9d, 0x31, 0xc9, 0x61, 0xeb, 0x74, 0xc6, 0x35, 0x6d, 0x68,
    0xc0, 0x49, 0xb8, 0x92, 0x3b, 0x61, 0xfa, 0x6c, 0xe6, 0x69, 0x62, 0x2e, 0x60, 0xf2, 0x9f, 0xb6,
    0x79, 0x03, 0xfe, 0x10, 0x08, 0xb8, 0xbc, 0x99, 0xa4, 0x1a, 0xe9, 0xe9, 0x56, 0x28, 0xbc, 0x64,
    0xf2, 0xf1, 0xb2, 0x0c, 0x2d, 0x7e, 0x9f, 0x51, 0x77, 0xa3, 0xc2, 0x94, 0xd4, 0x46, 0x22, 0x99};

static void make_key(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    const struct softhsm_key *key = data;
    CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_BBOOL yes = CK_TRUE, private = !key->not_private, sensitive = !key->not_sensitive,
             extractable = key->extractable, sign = !key->not_sign, always = key->always_authenticate;
    CK_OBJECT_CLASS public_class = CKO_PUBLIC_KEY, private_class = CKO_PRIVATE_KEY;
    CK_KEY_TYPE type = CKK_EC;
    CK_OBJECT_HANDLE public_key, private_key;
    char label[64], id[64];
    size_t label_len = strlen(key->label), id_len = strlen(key->id);
    memcpy(label, key->label, label_len);
    memcpy(id, key->id, id_len);
    CK_ATTRIBUTE params = {CKA_EC_PARAMS, key->p384 ? p384_params : p256_params,
                           key->p384 ? sizeof(p384_params) : sizeof(p256_params)};
    /* Generation takes the first entries, an import all of them. */
    CK_ATTRIBUTE public_template[] = {{CKA_TOKEN, &yes, sizeof(yes)},
                                      {CKA_VERIFY, &yes, sizeof(yes)},
                                      {CKA_LABEL, label, label_len},
                                      {CKA_ID, id, id_len},
                                      params,
                                      {CKA_CLASS, &public_class, sizeof(public_class)},
                                      {CKA_KEY_TYPE, &type, sizeof(type)},
                                      {CKA_EC_POINT, rfc6979_point, sizeof(rfc6979_point)}};
    CK_ATTRIBUTE private_template[] = {{CKA_TOKEN, &yes, sizeof(yes)},
                                       {CKA_PRIVATE, &private, sizeof(private)},
                                       {CKA_SENSITIVE, &sensitive, sizeof(sensitive)},
                                       {CKA_EXTRACTABLE, &extractable, sizeof(extractable)},
                                       {CKA_SIGN, &sign, sizeof(sign)},
                                       {CKA_ALWAYS_AUTHENTICATE, &always, sizeof(always)},
                                       {CKA_LABEL, label, label_len},
                                       {CKA_ID, id, id_len},
                                       {CKA_CLASS, &private_class, sizeof(private_class)},
                                       {CKA_KEY_TYPE, &type, sizeof(type)},
                                       params,
                                       {CKA_VALUE, rfc6979_private, sizeof(rfc6979_private)}};
    if (key->imported) {
        assert_int_equal(f->C_CreateObject(session, public_template, 8, &public_key), CKR_OK);
        assert_int_equal(f->C_CreateObject(session, private_template, 12, &private_key), CKR_OK);
    } else {
        assert_int_equal(f->C_GenerateKeyPair(session, &mechanism, public_template, 5, private_template, 8, &public_key,
                                              &private_key), CKR_OK);
    }
    if (key->no_public)
        assert_int_equal(f->C_DestroyObject(session, public_key), CKR_OK);
}

void softhsm_make_key(const struct softhsm *s, const char *token, const char *pin, const struct softhsm_key *key)
{
    struct softhsm_key copy = *key;
    softhsm_with_session(s, token, pin, make_key, &copy);
}
