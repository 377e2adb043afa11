/* The htu claim: the lists of vectors/htu.json, each refusal of a URL, and a property of random URLs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "htu.h"

static json_t *vectors;

static int load(void **state)
{
    (void)state;
    vectors = json_load_file(TEST_VECTORS "/htu.json", JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    return vectors != NULL ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

static struct span span_json(const json_t *string)
{
    return span_of(json_string_value(string), json_string_length(string));
}

static void assert_claim(const char *url, const char *htu)
{
    char out[URL_SIZE];
    struct error e = {0};
    enum status status = htu_claim(span_text(url), out, sizeof(out), &e);
    if (status != STATUS_OK)
        fail_msg("%s: %s", url, e.message);
    assert_string_equal(out, htu);
}

static void assert_sent(const char *url, const char *sent, const char *htu)
{
    char out_url[URL_SIZE], out_htu[URL_SIZE];
    struct error e = {0};
    enum status status = htu_sent(span_text(url), out_url, sizeof(out_url), out_htu, sizeof(out_htu), &e);
    if (status != STATUS_OK)
        fail_msg("%s: %s", url, e.message);
    assert_string_equal(out_url, sent);
    assert_string_equal(out_htu, htu);
}

static void assert_well_refused(enum status status, const struct error *e, const char *out)
{
    assert_int_equal(status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(e->status, STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(e->message, "the URL is refused at position "));
    assert_true(e->next[0] != '\0');
    assert_string_equal(out, "untouched");
}

static struct error claim_refused(struct span url)
{
    char out[URL_SIZE] = "untouched";
    struct error e = {0};
    enum status status = htu_claim(url, out, sizeof(out), &e);
    if (status == STATUS_OK)
        fail_msg("%.*s: not refused, but %s", (int)url.len, (const char *)url.data, out);
    assert_well_refused(status, &e, out);
    return e;
}

static struct error sent_refused(struct span url)
{
    char out[URL_SIZE] = "untouched", htu[URL_SIZE] = "untouched";
    struct error e = {0};
    enum status status = htu_sent(url, out, sizeof(out), htu, sizeof(htu), &e);
    if (status == STATUS_OK)
        fail_msg("%.*s: not refused, but %s", (int)url.len, (const char *)url.data, out);
    assert_well_refused(status, &e, out);
    assert_string_equal(htu, "untouched");
    return e;
}

/* Refused in every form, at this position (counted from 1). */
static void assert_refused_at(const char *url, size_t position, const char *why)
{
    char expected[80];
    (void)snprintf(expected, sizeof(expected), "the URL is refused at position %zu: ", position);
    struct error e = claim_refused(span_text(url));
    if (strncmp(e.message, expected, strlen(expected)) != 0 || strstr(e.message, why) == NULL)
        fail_msg("%s: %s", url, e.message);
    e = sent_refused(span_text(url));
    assert_non_null(strstr(e.message, expected));
    char origin[URL_ORIGIN_SIZE] = "untouched";
    assert_well_refused(url_origin(span_text(url), origin, sizeof(origin), &e), &e, origin);
    assert_false(url_is_loopback(span_text(url)));
}

static void test_the_htu_of_a_url_that_an_application_sends_is_its_wire_form(void **state)
{
    (void)state;
    json_t *cases = json_object_get(vectors, "cases"), *pair;
    size_t i;
    assert_true(json_array_size(cases) >= 17);
    json_array_foreach(cases, i, pair)
        assert_claim(json_string_value(json_array_get(pair, 0)), json_string_value(json_array_get(pair, 1)));
}

static void test_the_htu_of_a_url_that_we_send_is_fully_normalised(void **state)
{
    (void)state;
    json_t *cases = json_object_get(vectors, "sent"), *pair;
    size_t i;
    assert_true(json_array_size(cases) >= 5);
    json_array_foreach(cases, i, pair) {
        char url[URL_SIZE], htu[URL_SIZE];
        struct error e;
        struct span from = span_json(json_array_get(pair, 0));
        assert_int_equal(htu_sent(from, url, sizeof(url), htu, sizeof(htu), &e), STATUS_OK);
        assert_string_equal(htu, json_string_value(json_array_get(pair, 1)));
    }
}

static void test_every_url_that_two_parsers_could_read_in_two_ways_is_refused(void **state)
{
    (void)state;
    json_t *refused = json_object_get(vectors, "refused"), *url;
    size_t i, only_in_claims = 0;
    assert_true(json_array_size(refused) >= 29);
    json_array_foreach(refused, i, url) {
        (void)claim_refused(span_json(url));
        bool hidden_dots = strcasestr(json_string_value(url), "/%2e") != NULL; /* normalised away where we send */
        only_in_claims += hidden_dots;
        if (!hidden_dots)
            (void)sent_refused(span_json(url));
    }
    assert_int_equal(only_in_claims, 2);
}

static void test_what_we_send_keeps_its_query_byte_for_byte_and_loses_fragment_and_userinfo(void **state)
{
    (void)state;
    assert_sent("https://u:p@example.com?a=%7e%2f/../b&c=/./#f",
                "https://example.com/?a=%7e%2f/../b&c=/./", "https://example.com/");
    assert_sent("HTTPS://Example.COM:443/x?y#z", "https://example.com/x?y", "https://example.com/x");
    assert_sent("https://example.com/a?", "https://example.com/a?", "https://example.com/a");
    assert_sent("https://example.com/a#", "https://example.com/a", "https://example.com/a");
    assert_sent("https://example.com#a?b", "https://example.com/", "https://example.com/");
}

static void test_escapes_are_decoded_before_dot_segments_are_removed_where_we_send(void **state)
{
    (void)state;
    assert_sent("https://example.com/a/%2e/b/.%2E/%2e%2e/c", "https://example.com/c", "https://example.com/c");
    assert_sent("https://example.com/%2e", "https://example.com/", "https://example.com/");
    assert_sent("https://example.com/%2e%2e%2e", "https://example.com/...", "https://example.com/...");
    assert_sent("https://example.com/a%2f..%2fb", "https://example.com/a%2F..%2Fb", "https://example.com/a%2F..%2Fb");
    assert_sent("https://example.com/%252e", "https://example.com/%252e", "https://example.com/%252e");
    assert_sent("https://example.com/%c3%a9%5b", "https://example.com/%C3%A9%5B", "https://example.com/%C3%A9%5B");
}

static void test_dot_segments_are_removed_as_rfc_3986_removes_them(void **state)
{
    (void)state;
    assert_claim("https://example.com/.", "https://example.com/");
    assert_claim("https://example.com/..", "https://example.com/");
    assert_claim("https://example.com/a/.", "https://example.com/a/");
    assert_claim("https://example.com/a/./", "https://example.com/a/");
    assert_claim("https://example.com/a//../b", "https://example.com/a/b");
    assert_claim("https://example.com/a/..//b", "https://example.com//b");
    assert_claim("https://example.com/a/b/c/./../../g", "https://example.com/a/g");
    assert_claim("https://example.com/.../..a/b..", "https://example.com/.../..a/b..");
    assert_claim("https://example.com/../../../", "https://example.com/");
}

static void test_a_percent_encoded_dot_segment_is_refused_in_the_htu(void **state)
{
    (void)state;
    static const char *const bad[] = {"https://example.com/%2e", "https://example.com/a/%2E%2e/b",
                                      "https://example.com/.%2e/b", "https://example.com/%2e./b?q",
                                      "https://example.com/a/%2e/#f"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error e = claim_refused(span_text(bad[i]));
        assert_non_null(strstr(e.message, "dot segment"));
    }
    assert_claim("https://example.com/%2ea/%2e%2e%2e/x%2e", "https://example.com/%2ea/%2e%2e%2e/x%2e");
}

static void test_an_ipv6_address_is_canonical_where_we_send_and_must_be_so_in_a_claim(void **state)
{
    (void)state;
    assert_sent("https://[2001:DB8:0:0:0:0:0:A]:8443/x",
                "https://[2001:db8::a]:8443/x", "https://[2001:db8::a]:8443/x");
    assert_sent("https://[1::3:4:5:6:7:8]", "https://[1:0:3:4:5:6:7:8]/", "https://[1:0:3:4:5:6:7:8]/");
    struct error e = claim_refused(span_text("https://[2001:db8:0:0:0:0:0:a]/"));
    assert_non_null(strstr(e.message, "position 10: the IPv6 address is not in its shortest form"));
    (void)claim_refused(span_text("https://[::01]/"));
    (void)claim_refused(span_text("https://[1::3:4:5:6:7:8]/"));
    assert_claim("https://[2001:DB8::A]/", "https://[2001:db8::a]/");
}

static void test_a_refusal_says_what_is_wrong_and_where(void **state)
{
    (void)state;
    assert_refused_at("", 1, "begin with https://");
    assert_refused_at("https:/a", 1, "begin with https://");
    assert_refused_at("https:\\\\example.com", 1, "begin with https://");
    assert_refused_at(" https://example.com", 1, "begin with https://");
    assert_refused_at("wss://example.com/", 1, "begin with https://");
    assert_refused_at("https://", 9, "host is empty");
    assert_refused_at("https://?x", 9, "host is empty");
    assert_refused_at("https://:443/", 9, "host is empty");
    assert_refused_at("https://user@/a", 14, "host is empty");
    assert_refused_at("https://example.com:99999/a", 21, "1 to 65535");
    assert_refused_at("https://example.com:65536/a", 21, "1 to 65535");
    assert_refused_at("https://example.com:4294967739/a", 21, "1 to 65535");
    assert_refused_at("https://example.com:0/a", 21, "1 to 65535");
    assert_refused_at("https://example.com:0443/a", 21, "leading zeros");
    assert_refused_at("https://example.com:8a/", 22, "not a number");
    assert_refused_at("https://example.com:-1/", 21, "not a number");
    assert_refused_at("https://example.com:80:80/", 23, "not a number");
    assert_refused_at("https://a%40b@c@example.com/", 15, "second @");
    assert_refused_at("https://a[b@example.com/", 10, "userinfo");
    assert_refused_at("https://example.com\\@evil.example/", 20, "userinfo");
    assert_refused_at("https://example.com\\.evil.example/", 20, "host has a character");
    assert_refused_at("https://exam%70le.com/", 13, "host has a character");
    assert_refused_at("https://example.com/a b", 22, "path has a character");
    assert_refused_at("https://example.com/a[b]", 22, "path has a character");
    assert_refused_at("https://example.com/%", 21, "path has a character");
    assert_refused_at("https://example.com/%2", 21, "path has a character");
    assert_refused_at("https://example.com/%2?", 21, "path has a character");
    assert_refused_at("https://example.com/?a=%zz", 24, "query has a character");
    assert_refused_at("https://example.com/?a=b c", 25, "query has a character");
    assert_refused_at("https://example.com/?a=b\x7f", 25, "query has a character");
    assert_refused_at("https://example.com/?\xc3\xa9", 22, "query has a character");
    assert_refused_at("https://example.com/#a#b", 23, "fragment has a character");
    assert_refused_at("https://example.com/?a#b\r\nX: y", 25, "fragment has a character");
}

static void test_a_nul_is_refused_wherever_it_stands(void **state)
{
    (void)state;
    static const char url[] = "https://u@example.com:443/a?b#c";
    for (size_t i = 0; i < sizeof(url) - 1; i++) {
        char with_nul[sizeof(url)];
        memcpy(with_nul, url, sizeof(url));
        with_nul[i] = '\0';
        (void)claim_refused(span_of(with_nul, sizeof(url) - 1));
        (void)sent_refused(span_of(with_nul, sizeof(url) - 1));
    }
    (void)claim_refused(span_of("https://example.com\0.evil", 25));
}

static void test_a_host_that_ends_in_a_number_is_an_ipv4_address_or_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "https://127.1/",       "https://1/",          "https://2130706433/",    "https://0x7f.1/",
        "https://0x7f000001/",  "https://0177.0.0.1/", "https://127.0.0.01/",    "https://127.0.0.256/",
        "https://127.0.0.1.1/", "https://1.2.3/",      "https://1.2.3.0x4/",     "https://a.1/",
        "https://a.0x/",        "https://1.2.3.1000/", "https://a.0XfF/",        "https://00.0.0.0/",
        "https://1.2.3.4.5/",   "https://-1.2.3.4/",   "https://127.0.0.1.0x7f/", "https://1..2.3/"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        (void)claim_refused(span_text(bad[i]));
    assert_claim("https://127.0.0.1/", "https://127.0.0.1/");
    assert_claim("https://0.0.0.0:8443/", "https://0.0.0.0:8443/");
    assert_claim("https://255.255.255.255/", "https://255.255.255.255/");
    assert_claim("https://1.2.3.4.example/", "https://1.2.3.4.example/");
    assert_claim("https://1a/", "https://1a/");
    assert_claim("https://0xg/", "https://0xg/");
}

static void test_ipv6_addresses_that_are_malformed_zoned_or_embed_ipv4_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "https://[::1/",
        "https://[]/",
        "https://[:]/",
        "https://[::1]a/",
        "https://[::1].example/",
        "https://[fe80::1%eth0]/",
        "https://[1:2:3]/",
        "https://[::1::]/",
        "https://[12345::]/",
        "https://[::ffff:1.2.3.4]/",
        "https://[::ffff:102:304]/",
        "https://[::102:304]/",
        "https://[v1.a]/",
        "https://::1/",
        "https://[1:2:3:4:5:6:7:8:9]/",
        "https://[0000:0000:0000:0000:0000:0000:0000:00000000000000001]/",
        "https://[::1]]/",
        "https://[[::1]]/",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)claim_refused(span_text(bad[i]));
        (void)sent_refused(span_text(bad[i]));
    }
}

static void test_hosts_are_labels_of_letters_digits_hyphens_and_underscores(void **state)
{
    (void)state;
    assert_claim("https://xn--exmple-cua.com/", "https://xn--exmple-cua.com/");
    assert_claim("https://My_Service.internal:8443", "https://my_service.internal:8443/");
    assert_claim("https://localhost", "https://localhost/");
    assert_refused_at("https://example.com./", 21, "ends in a dot");
    assert_refused_at("https://a..b/", 11, "empty label");
    assert_refused_at("https://.a/", 9, "empty label");
    assert_refused_at("https://./", 9, "empty label");
    assert_refused_at("https://-a.b/", 9, "hyphen");
    assert_refused_at("https://b.a-/", 11, "hyphen");
    assert_refused_at("https://a,b/", 10, "host has a character");
    assert_refused_at("https://a*b/", 10, "host has a character");
}

static void test_labels_of_63_characters_and_hosts_of_253_are_the_longest(void **state)
{
    (void)state;
    char label[65], url[400], expected[402];
    memset(label, 'a', sizeof(label) - 1);
    label[64] = '\0';
    (void)snprintf(url, sizeof(url), "https://%s/", label);
    assert_refused_at(url, 9, "more than 63");
    (void)snprintf(url, sizeof(url), "https://%s/", label + 1);
    assert_claim(url, url);
    (void)snprintf(url, sizeof(url), "https://%s.%s.%s.%s", label + 1, label + 1, label + 1, label + 3); /* 253 */
    (void)snprintf(expected, sizeof(expected), "%s/", url);
    assert_claim(url, expected);
    (void)snprintf(url, sizeof(url), "https://%s.%s.%s.%s", label + 1, label + 1, label + 1, label + 2);
    assert_refused_at(url, 262, "longer than 253");
}

static void test_a_url_of_8_kib_is_the_longest_and_fits(void **state)
{
    (void)state;
    char url[URL_MAX + 2], out[URL_SIZE], htu[URL_SIZE];
    struct error e;
    memset(url, 'a', sizeof(url));
    memcpy(url, "https://example.com/", 20);
    assert_int_equal(htu_claim(span_of(url, URL_MAX), out, sizeof(out), &e), STATUS_OK);
    assert_int_equal(strlen(out), URL_MAX);
    (void)claim_refused(span_of(url, URL_MAX + 1));
    memcpy(url, "https://[1::3:4:5:6:7:8]?", 25);
    assert_int_equal(htu_sent(span_of(url, URL_MAX), out, sizeof(out), htu, sizeof(htu), &e), STATUS_OK);
    assert_int_equal(strlen(out), URL_MAX + 2);
}

static void test_an_array_that_is_too_small_is_left_alone(void **state)
{
    (void)state;
    char out[32] = "untouched", other[32] = "untouched";
    struct error e;
    struct span url = span_text("https://example.com/a?b"); /* htu: 21 characters */
    assert_int_equal(htu_claim(url, out, 21, &e), STATUS_INTERNAL);
    assert_int_equal(htu_sent(url, out, 23, other, 32, &e), STATUS_INTERNAL);
    assert_int_equal(htu_sent(url, out, 32, other, 21, &e), STATUS_INTERNAL);
    assert_int_equal(url_origin(url, out, 19, &e), STATUS_INTERNAL);
    assert_string_equal(out, "untouched");
    assert_string_equal(other, "untouched");
    assert_int_equal(htu_claim(url, out, 22, &e), STATUS_OK);
    assert_int_equal(htu_sent(url, out, 24, other, 22, &e), STATUS_OK);
    assert_int_equal(url_origin(url, out, 20, &e), STATUS_OK);
}

static void test_no_message_quotes_userinfo_query_or_fragment(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "https://CANARY:CANARY@exa mple.com/?CANARY#CANARY", "https://CANARY@CANARY@example.com/?CANARY",
        "https://CAN<ARY@example.com/?CANARY",               "https://CANARY@example.com/?CANARY=<CANARY>#CANARY",
        "https://CANARY@example.com/?CANARY#CANARY<",        "https://CANARY@127.1/?CANARY",
        "https://CANARY@[::1/?CANARY",                       "https://CANARY@example.com/%2e?CANARY",
        "https://CANARY@example.com:CANARY/?CANARY",         "CANARY:CANARY"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error e = claim_refused(span_text(bad[i]));
        assert_null(strstr(e.message, "CAN"));
        assert_null(strstr(e.next, "CAN"));
    }
}

/* A fixed sequence, so that a failure can be looked at again. */
static unsigned int random_below(uint64_t *seed, unsigned int limit)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned int)(*seed >> 33) % limit;
}

static void test_what_was_normalised_once_stays_as_it_is_for_random_urls(void **state)
{
    (void)state;
    static const char *const parts[] = {"https://", "HTTP://", "example.com", "a.b", "1.2.3.4", "[::1]", "[1:0::2]",
                                        "/", "/", "/", ".", "..", "%2e", "%2E%2e", "%7E", "%41", "%2f", "a", "B",
                                        "@", ":", ":443", ":80", ":8", "?", "#", "%", "\\", " ", "[", "]", "~", "0x1",
                                        "-", "%c3%a9", "\xff"};
    uint64_t seed = 1;
    size_t accepted = 0;
    for (int round = 0; round < 100000; round++) {
        char url[256] = "", sent[URL_SIZE], htu[URL_SIZE], again[URL_SIZE], again_htu[URL_SIZE];
        struct error e;
        if (random_below(&seed, 4) > 0)
            strcpy(url, "https://a.b/");
        for (unsigned int n = random_below(&seed, 12); n > 0; n--)
            strcat(url, parts[random_below(&seed, sizeof(parts) / sizeof(parts[0]))]);
        if (htu_sent(span_text(url), sent, sizeof(sent), htu, sizeof(htu), &e) != STATUS_OK) {
            assert_int_not_equal(htu_claim(span_text(url), htu, sizeof(htu), &e), STATUS_OK);
            continue;
        }
        accepted++;
        assert_int_equal(htu_sent(span_text(sent), again, sizeof(again), again_htu, sizeof(again_htu), &e), STATUS_OK);
        assert_string_equal(again, sent);
        assert_string_equal(again_htu, htu);
        assert_int_equal(htu_claim(span_text(sent), again_htu, sizeof(again_htu), &e), STATUS_OK);
        assert_string_equal(again_htu, htu);
        assert_true(strncmp(sent, htu, strlen(htu)) == 0);
    }
    assert_true(accepted > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_htu_of_a_url_that_an_application_sends_is_its_wire_form),
        cmocka_unit_test(test_the_htu_of_a_url_that_we_send_is_fully_normalised),
        cmocka_unit_test(test_every_url_that_two_parsers_could_read_in_two_ways_is_refused),
        cmocka_unit_test(test_what_we_send_keeps_its_query_byte_for_byte_and_loses_fragment_and_userinfo),
        cmocka_unit_test(test_escapes_are_decoded_before_dot_segments_are_removed_where_we_send),
        cmocka_unit_test(test_dot_segments_are_removed_as_rfc_3986_removes_them),
        cmocka_unit_test(test_a_percent_encoded_dot_segment_is_refused_in_the_htu),
        cmocka_unit_test(test_an_ipv6_address_is_canonical_where_we_send_and_must_be_so_in_a_claim),
        cmocka_unit_test(test_a_refusal_says_what_is_wrong_and_where),
        cmocka_unit_test(test_a_nul_is_refused_wherever_it_stands),
        cmocka_unit_test(test_a_host_that_ends_in_a_number_is_an_ipv4_address_or_refused),
        cmocka_unit_test(test_ipv6_addresses_that_are_malformed_zoned_or_embed_ipv4_are_refused),
        cmocka_unit_test(test_hosts_are_labels_of_letters_digits_hyphens_and_underscores),
        cmocka_unit_test(test_labels_of_63_characters_and_hosts_of_253_are_the_longest),
        cmocka_unit_test(test_a_url_of_8_kib_is_the_longest_and_fits),
        cmocka_unit_test(test_an_array_that_is_too_small_is_left_alone),
        cmocka_unit_test(test_no_message_quotes_userinfo_query_or_fragment),
        cmocka_unit_test(test_what_was_normalised_once_stays_as_it_is_for_random_urls),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
