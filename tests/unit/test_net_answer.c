/* What the net process makes of a body: members, or a reason that never quotes the body; and of JWT access tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64url.h"
#include "json_answer.h"

static struct json_answer answer;

static void read_bytes(const void *body, size_t len)
{
    json_answer_free(&answer);
    json_answer_read(span_of(body, len), span_text("application/json"), &answer);
}

static void read_text(const char *body)
{
    read_bytes(body, strlen(body));
}

static struct json_member member(const char *name)
{
    struct json_member m;
    struct error err;
    for (size_t i = 0; i < answer.count; i++) {
        assert_int_equal(message_take(answer.members[i], &message_json_member, &m, sizeof(m), &err), STATUS_OK);
        if (span_is(m.name, name))
            return m;
    }
    fail_msg("no member %s", name);
    return m;
}

static void assert_refused(const char *reason)
{
    assert_non_null(strstr(answer.error, reason));
    assert_int_equal(answer.count, 0);
    assert_false(answer.is_jwt);
}

static void test_each_kind_of_member_comes_out_decoded_and_in_its_order(void **state)
{
    (void)state;
    read_text("{\"t\":\"a\\u00e9\\n\",\"e\":\"\",\"i\":-5,\"b\":9223372036854775807,\"y\":true,\"n\":false,\"z\":null,"
              "\"l\":[\"x\",\"\"],\"m\":[\"x\",1],\"o\":{\"k\": [1, 2]},\"r\":1.5}");
    assert_string_equal(answer.error, "");
    assert_int_equal(answer.count, 11);
    assert_int_equal(member("t").kind, JSON_KIND_TEXT);
    assert_true(span_is(member("t").text, "a\xc3\xa9\n"));
    assert_int_equal(member("e").kind, JSON_KIND_TEXT);
    assert_non_null(member("e").text.data);
    assert_int_equal(member("i").kind, JSON_KIND_INTEGER);
    assert_true((int64_t)member("i").integer == -5);
    assert_true(member("b").integer == INT64_MAX);
    assert_int_equal(member("y").kind, JSON_KIND_TRUE);
    assert_int_equal(member("n").kind, JSON_KIND_FALSE);
    assert_int_equal(member("z").kind, JSON_KIND_NULL);
    assert_int_equal(member("m").kind, JSON_KIND_OTHER);
    assert_true(span_is(member("m").text, "[\"x\",1]"));
    assert_true(span_is(member("o").text, "{\"k\":[1,2]}"));
    assert_int_equal(member("r").kind, JSON_KIND_OTHER);
    assert_true(span_is(member("r").text, "1.5"));
    struct json_member l = member("l");
    struct span item;
    size_t cursor = 0;
    assert_int_equal(l.kind, JSON_KIND_TEXTS);
    assert_int_equal(l.texts.count, 2);
    assert_true(list_next(&l.texts, &cursor, &item) && span_is(item, "x"));
    assert_true(list_next(&l.texts, &cursor, &item) && item.len == 0);
    assert_false(list_next(&l.texts, &cursor, &item));
}

static void test_an_empty_object_has_no_members_and_no_error(void **state)
{
    (void)state;
    read_text(" {} \n");
    assert_string_equal(answer.error, "");
    assert_int_equal(answer.count, 0);
}

static void test_a_member_twice_is_refused_on_every_level(void **state)
{
    (void)state;
    read_text("{\"access_token\":\"a\",\"access_token\":\"b\"}");
    assert_refused("a member twice");
    read_text("{\"o\":{\"k\":1,\"\\u006b\":2}}");
    assert_refused("a member twice");
}

static void test_what_is_no_object_is_refused(void **state)
{
    (void)state;
    read_text("[]");
    assert_refused("an array");
    read_text("\"text\"");
    assert_refused("syntax");
    read_text("12");
    assert_refused("syntax");
    read_text("");
    assert_refused("empty");
    read_text("{\"a\":1");
    assert_refused("too early");
    read_text("{'a':1}");
    assert_refused("syntax");
}

static void test_bytes_behind_the_object_are_refused(void **state)
{
    (void)state;
    read_text("{} {}");
    assert_refused("behind it");
    read_bytes("{}\0", 3);
    assert_refused("behind it");
}

static void test_nul_and_invalid_utf_8_are_refused(void **state)
{
    (void)state;
    read_text("{\"a\":\"\\u0000\"}");
    assert_refused("NUL");
    read_text("{\"a\\u0000\":1}");
    assert_refused("NUL");
    read_bytes("{\"a\":\"\0\"}", 9);
    assert_refused("syntax");
    read_text("{\"a\":\"\xff\"}");
    assert_refused("UTF-8");
    read_text("{\"a\":\"\xed\xa0\x80\"}");
    assert_refused("UTF-8");
    read_text("{\"a\":\"\\ud800\"}");
    assert_refused("syntax");
}

static void test_an_integer_of_more_than_64_bits_is_refused(void **state)
{
    (void)state;
    read_text("{\"expires_in\":9223372036854775808}");
    assert_refused("too large");
    read_text("{\"expires_in\":1e999}");
    assert_refused("too large");
}

static char *repeat(const char *head, const char *unit, size_t times, const char *tail)
{
    size_t n = strlen(unit);
    char *text = malloc(strlen(head) + n * times + strlen(tail) + 1);
    assert_non_null(text);
    char *end = text + sprintf(text, "%s", head);
    for (size_t i = 0; i < times; i++, end += n)
        memcpy(end, unit, n);
    (void)strcpy(end, tail);
    return text;
}

static void test_deep_nesting_is_refused_and_2000_levels_are_not(void **state)
{
    (void)state;
    char *deep = repeat("{\"a\":", "[", 500000, "");
    read_text(deep);
    assert_refused("too deeply");
    free(deep);
    char *open = repeat("{\"a\":", "[", 2000, ""), *both = repeat(open, "]", 2000, "}");
    read_text(both);
    assert_string_equal(answer.error, "");
    assert_int_equal(member("a").kind, JSON_KIND_OTHER);
    free(open);
    free(both);
}

static void read_members(size_t count)
{
    char *text = malloc(32 * count + 3), *end = text;
    assert_non_null(text);
    *end++ = '{';
    for (size_t i = 0; i < count; i++)
        end += sprintf(end, "%s\"m%zu\":%zu", i > 0 ? "," : "", i, i);
    (void)strcpy(end, "}");
    read_text(text);
    free(text);
}

static void test_256_members_are_taken_and_one_more_is_refused(void **state)
{
    (void)state;
    read_members(256);
    assert_int_equal(answer.count, 256);
    assert_int_equal(member("m255").integer, 255);
    read_members(257);
    assert_refused("too many members");
    read_members(300);
    assert_refused("too many members");
}

static void test_a_name_of_1024_bytes_is_taken_and_a_longer_one_refused(void **state)
{
    (void)state;
    char *fits = repeat("{\"", "n", 1024, "\":1}"), *long_one = repeat("{\"", "n", 1025, "\":1}");
    read_text(fits);
    assert_int_equal(answer.count, 1);
    read_text(long_one);
    assert_refused("name is too long");
    free(fits);
    free(long_one);
}

static void test_members_that_would_not_fit_a_frame_are_refused(void **state)
{
    (void)state;
    char *reals = repeat("{\"a\":[0", ",1e300", 250000, "]}"); /* each is written as 23 characters */
    read_text(reals);
    assert_refused("too large");
    free(reals);
}

static void test_an_error_says_what_came_and_never_quotes_it(void **state)
{
    (void)state;
    const char *body = "<html>CANARY</html>";
    json_answer_free(&answer);
    json_answer_read(span_text(body), span_text("text/html; charset=utf-8"), &answer);
    assert_string_equal(answer.error, "text/html; charset=utf-8, 19 bytes, not a JSON object: the syntax is wrong");
    json_answer_free(&answer);
    json_answer_read(span_text("{\"CANARY\":\"CANARY\" \"CANARY\"}"), span_of(NULL, 0), &answer);
    assert_null(strstr(answer.error, "CANARY"));
    assert_non_null(strstr(answer.error, "no content type"));
    json_answer_free(&answer);
    json_answer_read(span_text("x"), span_text("a\x01\xff" "b"), &answer);
    assert_non_null(strstr(answer.error, "a??b, 1 bytes"));
}

/* A JWS of these texts, in an answer. */
static void read_token(const char *header, const char *payload, const char *signature)
{
    struct buffer b;
    buffer_init(&b, 200000);
    buffer_put_text(&b, "{\"access_token\":\"");
    base64url_put(&b, span_text(header));
    buffer_put_text(&b, ".");
    base64url_put(&b, span_text(payload));
    buffer_put_text(&b, signature);
    buffer_put_text(&b, "\"}");
    assert_false(b.failed);
    read_bytes(buffer_span(&b).data, b.len);
    assert_int_equal(answer.count, 1);
    buffer_free(&b);
}

static void test_a_jwt_tells_its_thumbprint_and_lifetime(void **state)
{
    (void)state;
    read_token("{\"alg\":\"ES256\"}", "{\"iat\":1000,\"exp\":1600,\"cnf\":{\"jkt\":\"abc\"}}", ".c2ln");
    assert_true(answer.is_jwt && answer.jwt.bound);
    assert_string_equal(answer.jwt.cnf_jkt, "abc");
    assert_int_equal(answer.jwt.lifetime, 600);
    read_token("{}", "{}", ".c2ln");
    assert_true(answer.is_jwt);
    assert_false(answer.jwt.bound);
    assert_int_equal(answer.jwt.lifetime, 0);
}

static void test_a_lifetime_that_cannot_be_is_not_known(void **state)
{
    (void)state;
    static const char *const payloads[] = {
        "{\"iat\":1600,\"exp\":1600}",     "{\"iat\":1600,\"exp\":1000}",   "{\"iat\":1.5,\"exp\":1000}",
        "{\"iat\":\"1\",\"exp\":1000}",    "{\"exp\":1000}",                "{\"iat\":1000}",
        "{\"iat\":-9223372036854775807,\"exp\":9223372036854775807}",
    };
    for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
        read_token("{}", payloads[i], ".c2ln");
        assert_true(answer.is_jwt);
        assert_int_equal(answer.jwt.lifetime, 0);
    }
    read_token("{}", "{\"iat\":0,\"exp\":9000000000000}", ".c2ln");
    assert_true(answer.jwt.lifetime == UINT32_MAX);
}

static void test_a_thumbprint_that_cannot_be_one_equals_no_key(void **state)
{
    (void)state;
    char *long_one = repeat("{\"cnf\":{\"jkt\":\"", "a", 1025, "\"}}");
    const char *const payloads[] = {"{\"cnf\":{\"jkt\":5}}", "{\"cnf\":{\"jkt\":null}}",
                                    "{\"cnf\":{\"jkt\":\"a\\u0001\"}}",
                                    long_one};
    for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
        read_token("{}", payloads[i], ".c2ln");
        assert_true(answer.is_jwt && answer.jwt.bound);
        assert_string_equal(answer.jwt.cnf_jkt, "");
    }
    free(long_one);
    read_token("{}", "{\"cnf\":\"jkt\"}", ".c2ln");
    assert_true(answer.is_jwt && !answer.jwt.bound);
    read_token("{}", "{\"cnf\":[{\"jkt\":\"a\"}]}", ".c2ln");
    assert_true(answer.is_jwt && !answer.jwt.bound);
}

static void test_what_is_not_a_compact_jws_of_json_objects_is_opaque(void **state)
{
    (void)state;
    static const char *const tokens[] = {
        "opaque", "", ".", "..", "...", "e30.e30", "e30..", ".e30.", "e30.e30.c2ln.e30", "e30.e30.c2ln.e30.e30",
        "e30=.e30.c2ln", "e31.e30.c2ln", "e30.W10.c2ln", "W10.e30.c2ln", "e30.eyJhIjoxLCJhIjoyfQ.c2ln", "e30.e3.c2ln",
        "e30 .e30.c2ln",
    };
    struct jwt jwt;
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        assert_false(jwt_read(span_text(tokens[i]), &jwt));
    assert_true(jwt_read(span_text("e30.e30.c2ln"), &jwt));
    read_text("{\"access_token\":17}");
    assert_false(answer.is_jwt);
}

static void test_a_token_over_64_kib_is_not_looked_into(void **state)
{
    (void)state;
    struct jwt jwt;
    char *fits = repeat("e30.e30.", "A", 65528, ""), *long_one = repeat("e30.e30.", "A", 65529, "");
    assert_true(jwt_read(span_text(fits), &jwt));
    assert_false(jwt_read(span_text(long_one), &jwt));
    free(fits);
    free(long_one);
}

static bool has_member(const char *name)
{
    struct json_member m;
    struct error err;
    for (size_t i = 0; i < answer.count; i++)
        if (message_take(answer.members[i], &message_json_member, &m, sizeof(m), &err) == STATUS_OK && span_is(m.name, name))
            return true;
    return false;
}

static void test_strings_in_cnf_and_the_aliases_follow_as_members_that_nobody_can_forge(void **state)
{
    (void)state;
    read_text("{\"cnf.jkt\":\"forged\",\"mtls_endpoint_aliases.token_endpoint\":\"forged\",\"cnf\":{\"jkt\":\"abc\",\"n\":1},"
              "\"mtls_endpoint_aliases\":{\"token_endpoint\":\"https://m/\",\"x.y\":\"z\"},\"other\":{\"jkt\":\"no\"},\"cnfx\":1}");
    assert_string_equal(answer.error, "");
    assert_int_equal(answer.count, 7);
    assert_true(span_is(member("cnf.jkt").text, "abc"));
    assert_true(span_is(member("mtls_endpoint_aliases.token_endpoint").text, "https://m/"));
    assert_true(span_is(member("mtls_endpoint_aliases.x.y").text, "z"));
    assert_false(has_member("cnf.n"));
    assert_false(has_member("other.jkt"));
    assert_int_equal(member("cnf").kind, JSON_KIND_OTHER);
    read_text("{\"cnf.jkt\":\"forged\",\"cnf\":\"text\",\"mtls_endpoint_aliases\":[\"a\"]}");
    assert_int_equal(answer.count, 2);
    assert_false(has_member("cnf.jkt"));
}

static void test_too_many_or_too_long_strings_in_them_are_refused(void **state)
{
    (void)state;
    char *long_name = repeat("{\"cnf\":{\"", "n", 1021, "\":\"\"}}"), *fits = repeat("{\"cnf\":{\"", "n", 1020, "\":\"\"}}");
    read_text(long_name);
    assert_refused("name is too long");
    read_text(fits);
    assert_int_equal(answer.count, 2);
    free(long_name);
    free(fits);
    char text[2048], *end = text;
    end += sprintf(end, "{\"cnf\":{");
    for (int i = 0; i < 33; i++)
        end += sprintf(end, "%s\"m%d\":\"\"", i > 0 ? "," : "", i);
    (void)strcpy(end, "}}");
    read_text(text);
    assert_refused("too many members");
}

static void test_an_introspection_s_thumbprint_counts_and_a_token_answer_s_does_not(void **state)
{
    (void)state;
    read_text("{\"active\":true,\"cnf\":{\"jkt\":\"abc\"}}");
    assert_true(!answer.is_jwt && answer.jwt.bound);
    assert_string_equal(answer.jwt.cnf_jkt, "abc");
    read_text("{\"active\":true,\"cnf\":{\"jkt\":5}}");
    assert_true(answer.jwt.bound);
    assert_string_equal(answer.jwt.cnf_jkt, "");
    read_text("{\"active\":true}");
    assert_false(answer.jwt.bound);
    read_text("{\"access_token\":\"opaque\",\"active\":true,\"cnf\":{\"jkt\":\"abc\"}}");
    assert_false(answer.jwt.bound);
}

static void test_a_jwt_tells_whose_it_is(void **state)
{
    (void)state;
    read_token("{}", "{\"sub\":\"me\"}", ".c2ln");
    assert_string_equal(answer.jwt.subject, "me");
    read_token("{}", "{\"sub\":7}", ".c2ln");
    assert_string_equal(answer.jwt.subject, "");
    read_token("{}", "{\"sub\":\"a\\u0001\"}", ".c2ln");
    assert_string_equal(answer.jwt.subject, "");
}

static struct id_token_message id_claims; /* points into `answer` */

/* Is it readable? Then `id_claims` has it. */
static bool read_id_token(const char *claims)
{
    struct buffer b;
    struct error err;
    buffer_init(&b, 200000);
    buffer_put_text(&b, "{\"access_token\":\"x\",\"id_token\":\"");
    base64url_put(&b, span_text("{\"alg\":\"none\"}"));
    buffer_put_text(&b, ".");
    base64url_put(&b, span_text(claims));
    buffer_put_text(&b, ".c2ln\"}");
    read_bytes(buffer_span(&b).data, b.len);
    buffer_free(&b);
    assert_true(answer.has_id_token != answer.id_token_unreadable);
    if (answer.has_id_token)
        assert_int_equal(message_take(buffer_span(&answer.id_token), &message_id_token_message, &id_claims,
                                      sizeof(id_claims), &err), STATUS_OK);
    return answer.has_id_token;
}

static void test_an_id_token_s_claims_come_out(void **state)
{
    (void)state;
    struct span item;
    size_t cursor = 0;
    assert_true(read_id_token("{\"iss\":\"https://as\",\"sub\":\"me\",\"nonce\":\"n\",\"azp\":\"app\",\"aud\":\"app\",\"exp\":1600,"
                              "\"iat\":1000.9,\"other\":[1]}"));
    assert_true(span_is(id_claims.iss, "https://as") && span_is(id_claims.sub, "me") && span_is(id_claims.nonce, "n") &&
                span_is(id_claims.azp, "app"));
    assert_true(id_claims.exp == 1600 && id_claims.iat == 1000);
    assert_true(list_next(&id_claims.aud, &cursor, &item) && span_is(item, "app") && id_claims.aud.count == 1);
    assert_true(read_id_token("{\"aud\":[\"a\",\"b\"]}"));
    cursor = 0;
    assert_true(list_next(&id_claims.aud, &cursor, &item) && span_is(item, "a"));
    assert_true(list_next(&id_claims.aud, &cursor, &item) && span_is(item, "b"));
    assert_null(id_claims.iss.data);
    assert_true(read_id_token("{}"));
    assert_true(id_claims.aud.count == 0 && id_claims.exp == 0);
}

static void test_an_id_token_with_claims_of_other_types_is_unreadable(void **state)
{
    (void)state;
    static const char *const claims[] = {
        "{\"iss\":5}", "{\"sub\":null}", "{\"nonce\":[\"n\"]}", "{\"azp\":true}", "{\"aud\":5}", "{\"aud\":[\"a\",5]}",
        "{\"aud\":{\"a\":\"b\"}}", "{\"exp\":\"1600\"}", "{\"exp\":-1}", "{\"iat\":1e300}", "{\"iat\":null}",
        "{\"sub\":\"a\\n\"}", "{\"sub\":\"a\",\"sub\":\"b\"}", "[]", "nothing",
    };
    for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++)
        if (read_id_token(claims[i]))
            fail_msg("%s", claims[i]);
    char *long_one = repeat("{\"sub\":\"", "s", 1025, "\"}");
    assert_false(read_id_token(long_one));
    free(long_one);
    char *many = repeat("{\"aud\":[\"a\"", ",\"\"", 15000, "]}");
    assert_false(read_id_token(many));
    free(many);
    read_text("{\"id_token\":\"a.b.c.d.e\"}");
    assert_true(answer.id_token_unreadable && !answer.has_id_token);
    read_text("{\"id_token\":17}");
    assert_true(answer.id_token_unreadable);
    read_text("{\"id_token\":null}");
    assert_false(answer.id_token_unreadable || answer.has_id_token);
    read_text("{}");
    assert_false(answer.id_token_unreadable || answer.has_id_token);
}

static int release(void **state)
{
    (void)state;
    json_answer_free(&answer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_of_member_comes_out_decoded_and_in_its_order),
        cmocka_unit_test(test_an_empty_object_has_no_members_and_no_error),
        cmocka_unit_test(test_a_member_twice_is_refused_on_every_level),
        cmocka_unit_test(test_what_is_no_object_is_refused),
        cmocka_unit_test(test_bytes_behind_the_object_are_refused),
        cmocka_unit_test(test_nul_and_invalid_utf_8_are_refused),
        cmocka_unit_test(test_an_integer_of_more_than_64_bits_is_refused),
        cmocka_unit_test(test_deep_nesting_is_refused_and_2000_levels_are_not),
        cmocka_unit_test(test_256_members_are_taken_and_one_more_is_refused),
        cmocka_unit_test(test_a_name_of_1024_bytes_is_taken_and_a_longer_one_refused),
        cmocka_unit_test(test_members_that_would_not_fit_a_frame_are_refused),
        cmocka_unit_test(test_an_error_says_what_came_and_never_quotes_it),
        cmocka_unit_test(test_a_jwt_tells_its_thumbprint_and_lifetime),
        cmocka_unit_test(test_a_lifetime_that_cannot_be_is_not_known),
        cmocka_unit_test(test_a_thumbprint_that_cannot_be_one_equals_no_key),
        cmocka_unit_test(test_strings_in_cnf_and_the_aliases_follow_as_members_that_nobody_can_forge),
        cmocka_unit_test(test_too_many_or_too_long_strings_in_them_are_refused),
        cmocka_unit_test(test_an_introspection_s_thumbprint_counts_and_a_token_answer_s_does_not),
        cmocka_unit_test(test_a_jwt_tells_whose_it_is),
        cmocka_unit_test(test_an_id_token_s_claims_come_out),
        cmocka_unit_test(test_an_id_token_with_claims_of_other_types_is_unreadable),
        cmocka_unit_test(test_what_is_not_a_compact_jws_of_json_objects_is_opaque),
        cmocka_unit_test(test_a_token_over_64_kib_is_not_looked_into),
    };
    return cmocka_run_group_tests(tests, NULL, release);
}
