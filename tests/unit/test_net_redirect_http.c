/* The redirect listener's HTTP: redirect URIs, requests of browsers and of others, pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redirect_http.h"

static struct span query;

static enum redirect_http_verdict read_text(const char *request)
{
    query = span_of(NULL, 0);
    return redirect_http_read(span_text(request), span_text("/callback"), 4711, &query);
}

static void test_a_redirect_uri_is_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *uri, *host, *path, *before, *behind;
        uint16_t port;
        bool ipv6, name;
    } uris[] = {
        {"http://127.0.0.1/callback", "127.0.0.1", "/callback", "http://127.0.0.1", "/callback", 0, false, false},
        {"http://127.0.0.1:0/callback", "127.0.0.1", "/callback", "http://127.0.0.1", "/callback", 0, false, false},
        {"http://127.0.0.1:80/callback", "127.0.0.1", "/callback", "http://127.0.0.1", "/callback", 80, false, false},
        {"http://[::1]:4711/a/b?c=d", "::1", "/a/b", "http://[::1]", "/a/b?c=d", 4711, true, false},
        {"http://[::1]", "::1", "/", "http://[::1]", "", 0, true, false},
        {"http://localhost?x", "localhost", "/", "http://localhost", "?x", 0, false, true},
        {"http://127.1.2.3:9/", "127.1.2.3", "/", "http://127.1.2.3", "/", 9, false, false},
    };
    struct redirect_http_uri u;
    struct error err;
    for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
        assert_int_equal(redirect_http_read_uri(span_text(uris[i].uri), &u, &err), STATUS_OK);
        assert_true(span_is(u.host, uris[i].host) && span_is(u.path, uris[i].path));
        assert_true(span_is(u.before, uris[i].before) && span_is(u.behind, uris[i].behind));
        assert_int_equal(u.port, uris[i].port);
        assert_true(u.ipv6 == uris[i].ipv6 && u.name == uris[i].name);
    }
}

static void test_other_redirect_uris_are_refused(void **state)
{
    (void)state;
    static const char *const uris[] = {
        "https://127.0.0.1/", "http://10.0.0.1/", "http://localhost.example/", "http://a@127.0.0.1/", "http://127.0.0.1/#f",
        "http://127.0.0.1:70000/", "http://127.0.0.1:x/", "http://127.0.0.1:00x/", "com.example:/cb", "http://", "", "http://[::2]/",
        "http://127.0.0.1 /", "http://0.0.0.0/", "http://[::]/",
    };
    struct redirect_http_uri u;
    struct error err;
    for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++)
        if (redirect_http_read_uri(span_text(uris[i]), &u, &err) != STATUS_INVALID_ARGUMENT)
            fail_msg("%s", uris[i]);
}

static void test_the_query_of_the_one_get_is_handed_over_as_it_is(void **state)
{
    (void)state;
    assert_int_equal(read_text("GET /callback?code=a%20b&state=%zz HTTP/1.1\r\nHost: 127.0.0.1:4711\r\nAccept: */*\r\n\r\n"),
                     REDIRECT_HTTP_CAME);
    assert_true(span_is(query, "code=a%20b&state=%zz"));
    assert_int_equal(read_text("GET /callback HTTP/1.0\r\nhost:localhost:4711 \r\n\r\n"), REDIRECT_HTTP_CAME);
    assert_true(query.data != NULL && query.len == 0);
    assert_int_equal(read_text("GET /callback?a?b HTTP/1.1\r\nHost: [::1]:4711\r\n\r\n"), REDIRECT_HTTP_CAME);
    assert_true(span_is(query, "a?b"));
    assert_int_equal(read_text("GET /callback? HTTP/1.1\r\nHost: 127.9.9.9:4711\r\n\r\n"), REDIRECT_HTTP_CAME);
    assert_int_equal(redirect_http_read(span_text("GET / HTTP/1.1\r\nHost: LOCALHOST\r\n\r\n"), span_text("/"), 80, &query),
                     REDIRECT_HTTP_CAME);
}

static void test_every_prefix_of_a_request_is_incomplete(void **state)
{
    (void)state;
    const char *request = "GET /callback?code=1 HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n\r\n";
    for (size_t n = 0; n < strlen(request); n++)
        assert_int_equal(redirect_http_read(span_of(request, n), span_text("/callback"), 4711, &query),
                         REDIRECT_HTTP_INCOMPLETE);
}

static void test_other_paths_and_methods_and_hosts_are_refused_and_hand_nothing_over(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        enum redirect_http_verdict verdict;
    } requests[] = {
        {"GET /favicon.ico HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_OTHER_PATH},
        {"GET /callback/?code=1 HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_OTHER_PATH},
        {"GET /%63allback?code=1 HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_OTHER_PATH},
        {"HEAD /callback?code=1 HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_OTHER_METHOD},
        {"POST /callback?code=1 HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_OTHER_METHOD},
        {"get /callback?code=1 HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_OTHER_METHOD},
        {"GET /callback HTTP/1.1\r\nHost: evil.example:4711\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET /callback HTTP/1.1\r\nHost: 127.0.0.1.evil.example:4711\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET /callback HTTP/1.1\r\nHost: 127.0.0.1:4712\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET /callback HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET /callback HTTP/1.1\r\nHost: 127.0.0.1:4711\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET /callback HTTP/1.1\r\nA: b\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET /callback HTTP/1.1\r\nHost : 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET /callback HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n folded\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET http://127.0.0.1:4711/callback HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET /callback HTTP/2.0\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET /callback?a b HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET /callback?\xc3\xa4 HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET  HTTP/1.1\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"GET /callback\r\nHost: 127.0.0.1:4711\r\n\r\n", REDIRECT_HTTP_MALFORMED},
        {"\r\n\r\n", REDIRECT_HTTP_MALFORMED},
    };
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        if (read_text(requests[i].request) != requests[i].verdict)
            fail_msg("%s", requests[i].request);
        assert_null(query.data);
    }
}

static enum redirect_http_verdict read_long(size_t query_len, size_t header_len)
{
    char *text = malloc(query_len + header_len + 200), *end = text;
    assert_non_null(text);
    end += sprintf(end, "GET /callback?");
    memset(end, 'q', query_len);
    end += query_len;
    end += sprintf(end, " HTTP/1.1\r\nHost: 127.0.0.1:4711\r\nX: ");
    memset(end, 'h', header_len);
    end += header_len;
    (void)strcpy(end, "\r\n\r\n");
    enum redirect_http_verdict verdict = read_text(text);
    free(text);
    return verdict;
}

static void test_queries_of_16_kib_and_headers_of_24_kib_fit_and_longer_ones_are_refused(void **state)
{
    (void)state;
    assert_int_equal(read_long(16384, 0), REDIRECT_HTTP_CAME);
    assert_int_equal(read_long(16385, 0), REDIRECT_HTTP_QUERY_TOO_LONG);
    assert_int_equal(read_long(0, 24000), REDIRECT_HTTP_CAME);
    assert_int_equal(read_long(0, 24576), REDIRECT_HTTP_HEADER_TOO_LARGE);
    char *endless = malloc(30000);
    assert_non_null(endless);
    memset(endless, 'x', 30000);
    assert_int_equal(redirect_http_read(span_of(endless, 24575), span_text("/"), 1, &query), REDIRECT_HTTP_INCOMPLETE);
    assert_int_equal(redirect_http_read(span_of(endless, 24576), span_text("/"), 1, &query), REDIRECT_HTTP_HEADER_TOO_LARGE);
    free(endless);
}

static void test_a_page_loads_nothing_and_escapes_its_text(void **state)
{
    (void)state;
    struct buffer page;
    buffer_init(&page, 65536);
    redirect_http_put_page(&page, "Done", span_text("<script>alert(\"1\" & '2')</script>"));
    buffer_put(&page, "", 1);
    const char *text = (const char *)buffer_span(&page).data;
    static const char *const wanted[] = {
        "HTTP/1.1 200 OK\r\n", "\r\nContent-Type: text/html; charset=utf-8\r\n", "\r\nReferrer-Policy: no-referrer\r\n",
        "\r\nCache-Control: no-store\r\n", "\r\nX-Content-Type-Options: nosniff\r\n", "\r\nConnection: close\r\n",
        "\r\nContent-Security-Policy: default-src 'none'", "<h1>Done</h1>",
        "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;",
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        assert_non_null(strstr(text, wanted[i]));
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "src="));
    assert_null(strstr(text, "href"));
    const char *length = strstr(text, "Content-Length: "), *body = strstr(text, "\r\n\r\n");
    assert_int_equal(strtoul(length + 16, NULL, 10), strlen(body + 4));
    buffer_free(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_redirect_uri_is_taken_apart),
        cmocka_unit_test(test_other_redirect_uris_are_refused),
        cmocka_unit_test(test_the_query_of_the_one_get_is_handed_over_as_it_is),
        cmocka_unit_test(test_every_prefix_of_a_request_is_incomplete),
        cmocka_unit_test(test_other_paths_and_methods_and_hosts_are_refused_and_hand_nothing_over),
        cmocka_unit_test(test_queries_of_16_kib_and_headers_of_24_kib_fit_and_longer_ones_are_refused),
        cmocka_unit_test(test_a_page_loads_nothing_and_escapes_its_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
