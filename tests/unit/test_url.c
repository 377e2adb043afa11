/* The parts of a URL, origins, and what loopback is. What is refused is in test_htu.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "url.h"

static void assert_origin(const char *url, const char *origin)
{
    char out[URL_ORIGIN_SIZE];
    struct error e = {0};
    assert_int_equal(url_origin(span_text(url), out, sizeof(out), &e), STATUS_OK);
    assert_string_equal(out, origin);
}

static void test_an_origin_is_scheme_host_and_the_port_that_is_not_the_default(void **state)
{
    (void)state;
    assert_origin("HTTPS://user:pw@Example.COM:443/a/../b?c#d", "https://example.com");
    assert_origin("https://example.com:8443", "https://example.com:8443");
    assert_origin("https://example.com:80/", "https://example.com:80");
    assert_origin("http://example.com:80/", "http://example.com");
    assert_origin("http://example.com:443/", "http://example.com:443");
    assert_origin("https://example.com:/", "https://example.com");
    assert_origin("https://[2001:DB8:0::A]:8443/x", "https://[2001:db8::a]:8443");
    assert_origin("http://[::]:65535", "http://[::]:65535");
}

static void test_the_longest_origin_fits_its_array(void **state)
{
    (void)state;
    char url[300] = "https://", out[URL_ORIGIN_SIZE];
    struct error e;
    for (size_t i = 0; i < 253; i++)
        url[8 + i] = i % 2 == 0 ? 'a' : '.';
    memcpy(url + 8 + 253, ":65535", 7);
    assert_int_equal(url_origin(span_text(url), out, sizeof(out), &e), STATUS_OK);
    assert_string_equal(out, url);
}

static void test_loopback_is_127_in_decimal_ipv6_loopback_and_localhost(void **state)
{
    (void)state;
    static const char *const loopback[] = {"http://127.0.0.1", "https://127.255.0.3:8443", "http://[::1]:80/",
                                           "http://localhost", "http://LOCALHOST:1", "http://[0:0:0:0:0:0:0:1]"};
    static const char *const other[] = {"http://128.0.0.1",      "http://localhost.example", "http://127.example",
                                        "http://127.0.0.1.example", "http://[::2]",          "http://[::]",
                                        "http://0.0.0.0",        "http://127.1",             "http://a.localhost",
                                        "http://localhost.",     "http://[::ffff:127.0.0.1]", "http://[::ffff:7f00:1]",
                                        "ftp://127.0.0.1",       "127.0.0.1",                ""};
    for (size_t i = 0; i < sizeof(loopback) / sizeof(loopback[0]); i++)
        assert_true(url_is_loopback(span_text(loopback[i])));
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        assert_false(url_is_loopback(span_text(other[i])));
    assert_false(url_is_loopback(span_text(NULL)));
}

static void test_a_parsed_url_names_its_parts(void **state)
{
    (void)state;
    struct url url;
    struct error e;
    assert_int_equal(url_parse(span_text("http://u@Example.com/a/../b?c=d#e"), &url, &e), STATUS_OK);
    assert_false(url.https);
    assert_string_equal(url.host, "example.com");
    assert_int_equal(url.port, 80);
    assert_true(span_is(url.host_text, "Example.com"));
    assert_true(span_is(url.path, "/a/../b"));
    assert_true(span_is(url.query, "c=d"));
    assert_int_equal(url_parse(span_text("https://[::1]"), &url, &e), STATUS_OK);
    assert_true(url.https);
    assert_int_equal(url.host_kind, URL_HOST_IPV6);
    assert_int_equal(url.port, 443);
    assert_int_equal(url.path.len, 0);
    assert_null(url.query.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_origin_is_scheme_host_and_the_port_that_is_not_the_default),
        cmocka_unit_test(test_the_longest_origin_fits_its_array),
        cmocka_unit_test(test_loopback_is_127_in_decimal_ipv6_loopback_and_localhost),
        cmocka_unit_test(test_a_parsed_url_names_its_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
