/* PKCS#11 URIs: what is accepted, and that everything doubtful is refused with its reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "uri.h"

#define M "?module-path=/usr/lib/softhsm/libsofthsm2.so"

static void a_uri_with_a_module_is_accepted(void **state)
{
    static const char *const good[] = {
        "pkcs11:token=dpop-agent;object=work" M,
        "pkcs11:token=a;object=b;type=private;id=%00%01%ff" M,
        "pkcs11:manufacturer=SoftHSM%20project;model=SoftHSM%20v2;serial=0123456789abcdef" M,
        "pkcs11:slot-description=x;slot-manufacturer=y;slot-id=3;library-manufacturer=z;library-description=w;library-"
        "version=2.6" M,
        "pkcs11:token=a&b:[]@!$'()*+,=c" M,
        "pkcs11:" M,
        "pkcs11:token=a?module-name=softhsm2",
        "pkcs11:token=%C3%BC?module-path=/a?b|c",
        "pkcs11:token=a?pin-source=file:/etc/pin&module-path=/a",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct error err = {0};
        enum status status = uri_check(good[i], &err);
        if (status != STATUS_OK)
            fail_msg("%s: %s", good[i], err.message);
    }
}

static void a_doubtful_uri_is_refused_with_its_reason(void **state)
{
    static const struct {
        const char *uri, *reason;
    } bad[] = {
        {"", "pkcs11:"},
        {"PKCS11:token=a" M, "pkcs11:"},
        {"http://token=a", "pkcs11:"},
        {"pkcs11:token=a", "names no module"},
        {"pkcs11:token=a?module-path=lib.so", "not absolute"},
        {"pkcs11:token=a" M "&module-name=x", "both"},
        {"pkcs11:token=a;token=a" M, "given twice"},
        {"pkcs11:token=a" M "&module-path=/b", "given twice"},
        {"pkcs11:token=;object=b" M, "\"token\" is empty"},
        {"pkcs11:token=a?module-path=", "is empty"},
        {"pkcs11:token=a;colour=red" M, "unknown attribute \"colour\""},
        {"pkcs11:x-vendor=1" M, "unknown attribute"},
        {"pkcs11:token=a" M "&foo=bar", "unknown attribute \"foo\""},
        {"pkcs11:object-type=private" M, "unknown attribute"},
        {"pkcs11:Token=a" M, "unknown attribute"},
        {"pkcs11:t%6fken=a" M, "unknown attribute"},
        {"pkcs11:module-path=/a", "wrong side"},
        {"pkcs11:?token=a&module-path=/a", "wrong side"},
        {"pkcs11:token=a;" M, "not NAME=VALUE"},
        {"pkcs11:;token=a" M, "not NAME=VALUE"},
        {"pkcs11:token" M, "not NAME=VALUE"},
        {"pkcs11:token=a?", "not NAME=VALUE"},
        {"pkcs11:token=a b" M, "0x20"},
        {"pkcs11: token=a" M, "unknown attribute"},
        {"pkcs11:token=a\n" M, "0x0a"},
        {"pkcs11:token=a%2" M, "0x25"},
        {"pkcs11:token=a%zz" M, "0x25"},
        {"pkcs11:token=a#b" M, "0x23"},
        {"pkcs11:token=a/b" M, "0x2f"},
        {"pkcs11:token=a%00" M, "%00"},
        {"pkcs11:token=a?module-path=/a%00b", "%00"},
        {"pkcs11:token=123456789012345678901234567890123" M, "no token can have"},
        {"pkcs11:type=data" M, "not that of a private key"},
        {"pkcs11:type=public" M, "not that of a private key"},
        {"pkcs11:type=nonsense" M, "no token can have"},
        {"pkcs11:token=a" M "&pin-value=1234", "puts a PIN"},
        {"pkcs11:token=a" M "&pin-source=pin.txt", "not the absolute path"},
        {"pkcs11:token=a" M "&pin-source=|cat", "not the absolute path"},
        {"pkcs11:token=a" M "&pin-source=file://host/pin", "not the absolute path"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {0};
        if (uri_check(bad[i].uri, &err) != STATUS_CONFIGURATION || strstr(err.message, bad[i].reason) == NULL)
            fail_msg("%s: \"%s\", not \"%s\"", bad[i].uri, err.message, bad[i].reason);
        assert_null(strstr(err.message, "1234\""));
    }
}

static void a_pin_value_is_never_repeated_in_an_error(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(uri_check("pkcs11:token=a" M "&pin-value=canary", &err), STATUS_CONFIGURATION);
    assert_null(strstr(err.message, "canary"));
    assert_null(strstr(err.next, "canary"));
}

static void a_uri_over_the_limit_is_refused(void **state)
{
    struct error err;
    char *uri = calloc(1, URI_MAX + 64);
    (void)state;
    assert_non_null(uri);
    (void)snprintf(uri, URI_MAX, "pkcs11:token=a?module-path=/");
    memset(uri + strlen(uri), 'a', URI_MAX);
    assert_int_equal(uri_check(uri, &err), STATUS_CONFIGURATION);
    uri[URI_MAX] = '\0';
    assert_int_equal(uri_check(uri, &err), STATUS_OK);
    free(uri);
}

static void a_pin_source_is_an_absolute_path(void **state)
{
    static const char *const sources[] = {"file:/etc/a%20b", "file:///etc/a%20b", "/etc/a%20b"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char text[256];
        struct uri uri;
        struct error err;
        (void)snprintf(text, sizeof(text), "pkcs11:token=a" M "&pin-source=%s", sources[i]);
        assert_int_equal(uri_parse(text, &uri, &err), STATUS_OK);
        assert_string_equal(uri.pin_file, "/etc/a b");
        assert_string_equal(uri.module_path, "/usr/lib/softhsm/libsofthsm2.so");
        uri_free(&uri);
    }
}

static void an_encoded_value_is_read_back_the_same(void **state)
{
    const char *value = "A-z_0.~ /;?&=%\"\xc3\xbc";
    struct buffer b;
    struct uri uri;
    struct error err;
    (void)state;
    buffer_init(&b, URI_MAX);
    buffer_put_text(&b, "pkcs11:token=a?module-path=/");
    uri_put_value(&b, value, true);
    char *text = span_dup(buffer_span(&b));
    assert_int_equal(uri_parse(text, &uri, &err), STATUS_OK);
    assert_string_equal(uri.module_path + 1, value);
    uri_free(&uri);
    free(text);
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_uri_with_a_module_is_accepted),
        cmocka_unit_test(a_doubtful_uri_is_refused_with_its_reason),
        cmocka_unit_test(a_pin_value_is_never_repeated_in_an_error),
        cmocka_unit_test(a_uri_over_the_limit_is_refused),
        cmocka_unit_test(a_pin_source_is_an_absolute_path),
        cmocka_unit_test(an_encoded_value_is_read_back_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
