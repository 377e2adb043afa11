/* The net process as the front sees it: answers, refusals, limits, and the loop that serves many at once. */
#include "test_net_world.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t milliseconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void test_an_answer_brings_status_date_nonces_retry_after_and_members(void **state)
{
    (void)state;
    struct fetch_answer a = world_answered((struct fetch){.path = "/json?secret=1"});
    size_t cursor = 0;
    struct span item;
    assert_int_equal(a.http_status, 200);
    assert_true(span_is(a.date, "Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_int_equal(a.nonces.count, 2);
    assert_true(list_next(&a.nonces, &cursor, &item) && span_is(item, "n1"));
    assert_true(list_next(&a.nonces, &cursor, &item) && span_is(item, "n2"));
    assert_int_equal(a.retry_after, 7);
    assert_int_equal(a.members.count, 2);
    assert_null(a.json_error.data);
    assert_false(a.jwt);
    assert_true(world_last_request_has("GET /json?secret=1 HTTP/1.1\r\n"));
    assert_true(world_last_request_has("\r\nDPoP: proof\r\n"));
    assert_true(world_last_request_has("\r\nAccept: application/json\r\n"));
    assert_true(world_last_request_has("\r\nUser-Agent: dpop-agent/" DPOP_VERSION "\r\n"));
    assert_false(world_last_request_has("Authorization"));
}

static void test_a_form_is_posted_and_a_jwt_s_thumbprint_and_lifetime_come_back(void **state)
{
    (void)state;
    struct fetch_answer a = world_answered((struct fetch){.path = "/jwt", .form = "grant_type=x",
                                                          .authenticate = true});
    assert_true(a.jwt);
    assert_true(span_is(a.cnf_jkt, "abc"));
    assert_int_equal(a.lifetime, 60);
    assert_true(world_last_request_has("POST /jwt HTTP/1.1\r\n"));
    assert_true(world_last_request_has("\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
    assert_true(world_last_request_has("\r\n\r\ngrant_type=x"));
    assert_false(world_last_request_has("Authorization"));
    assert_false(world_last_request_has("client_secret"));
    assert_false(world_last_request_has("Expect"));
}

static void test_json_is_posted_and_a_bearer_token_shown_for_no_profile_at_all(void **state)
{
    (void)state;
    struct fetch_answer a = world_answered((struct fetch){.no_profile = true, .path = "/json", .json = "{\"a\":[1]}",
                                                          .bearer = "abc.DEF-_~+/="});
    assert_int_equal(a.http_status, 200);
    assert_true(world_last_request_has("POST /json HTTP/1.1\r\n"));
    assert_true(world_last_request_has("\r\nContent-Type: application/json\r\n"));
    assert_true(world_last_request_has("\r\nAuthorization: Bearer abc.DEF-_~+/=\r\n"));
    assert_true(world_last_request_has("\r\n\r\n{\"a\":[1]}"));
    (void)world_answered((struct fetch){.no_profile = true, .path = "/json"});
    assert_true(world_last_request_has("GET /json HTTP/1.1\r\n"));
    assert_false(world_last_request_has("Authorization"));

    unsigned int before = world_requests();
    world_refused((struct fetch){.no_profile = true, .http_forbidden = true, .path = "/json"}, STATUS_INSECURE_URL, "http");
    world_refused((struct fetch){.path = "/json", .bearer = "a b"}, STATUS_INVALID_ARGUMENT, "bearer token");
    world_refused((struct fetch){.path = "/json", .bearer = "a\r\nX: y"}, STATUS_INVALID_ARGUMENT, "bearer token");
    world_refused((struct fetch){.path = "/json", .bearer = ""}, STATUS_INVALID_ARGUMENT, "empty");
    world_refused((struct fetch){.path = "/json", .form = "a=b", .json = "{}"}, STATUS_INTERNAL, "two bodies");
    world_refused((struct fetch){.no_profile = true, .path = "/json", .form = "a=b", .authenticate = true}, STATUS_INTERNAL,
                  "client secret");
    world_refused((struct fetch){.path = "/json", .json = "{}", .token_files = true}, STATUS_INTERNAL, "form only");
    assert_int_equal(world_requests(), before);
}

static void test_a_redirect_is_an_answer_and_not_followed(void **state)
{
    (void)state;
    unsigned int before = world_requests();
    struct fetch_answer a = world_answered((struct fetch){.path = "/redirect", .form = "f=1"});
    assert_int_equal(a.http_status, 302);
    assert_non_null(a.json_error.data);
    assert_int_equal(world_requests(), before + 1);
    (void)world_answered((struct fetch){.path = "/json"});
    assert_false(world_last_request_has("Cookie"));
}

static void test_an_html_page_says_what_came(void **state)
{
    (void)state;
    struct fetch_answer a = world_answered((struct fetch){.path = "/html"});
    assert_int_equal(a.http_status, 502);
    assert_true(span_is(a.json_error, "text/html, 6 bytes, not a JSON object: the syntax is wrong"));
}

static void test_1xx_answers_and_trailers_bring_no_nonce(void **state)
{
    (void)state;
    struct fetch_answer a = world_answered((struct fetch){.path = "/early"});
    size_t cursor = 0;
    struct span item;
    assert_int_equal(a.http_status, 200);
    assert_int_equal(a.nonces.count, 1);
    assert_true(list_next(&a.nonces, &cursor, &item) && span_is(item, "yes"));
}

static void test_answers_over_the_limits_are_refused(void **state)
{
    (void)state;
    world_broken((struct fetch){.path = "/large"}, STATUS_SERVER_MISBEHAVED, "larger than 1 MiB");
    world_broken((struct fetch){.path = "/lines"}, STATUS_SERVER_MISBEHAVED, "100 lines");
    world_broken((struct fetch){.path = "/line"}, STATUS_SERVER_MISBEHAVED, "100 KiB");
    world_broken((struct fetch){.path = "/old"}, STATUS_SERVER_MISBEHAVED, "HTTP/0.9");
}

static void test_an_answer_that_ends_too_early_is_an_unreachable_server(void **state)
{
    (void)state;
    world_broken((struct fetch){.path = "/partial"}, STATUS_SERVER_UNREACHABLE, "closed before its end");
    world_broken((struct fetch){.path = "/reset"}, STATUS_SERVER_UNREACHABLE, "closed before its end");
    world_broken((struct fetch){.path = "/nothing", .form = "f=1"}, STATUS_SERVER_UNREACHABLE,
                 "closed before the answer came");
}

static void test_a_form_is_never_sent_twice_and_a_get_may_be(void **state)
{
    (void)state;
    (void)world_answered((struct fetch){.path = "/once", .form = "f=1"});
    unsigned int requests = world_requests(), connections = world_connections();
    world_broken((struct fetch){.path = "/once", .form = "f=1"}, STATUS_SERVER_UNREACHABLE,
                 "the connection was closed before the answer came");
    assert_int_equal(world_requests(), requests + 1);
    (void)world_answered((struct fetch){.path = "/once"});
    connections = world_connections();
    requests = world_requests();
    (void)world_answered((struct fetch){.path = "/once"});
    assert_int_equal(world_requests(), requests + 2);
    assert_int_equal(world_connections(), connections + 1);
}

static void test_a_connection_is_used_again_at_once_and_not_after_three_seconds(void **state)
{
    (void)state;
    (void)world_answered((struct fetch){.path = "/json"});
    unsigned int connections = world_connections();
    (void)world_answered((struct fetch){.path = "/json"});
    assert_int_equal(world_connections(), connections);
    (void)usleep(3200000);
    (void)world_answered((struct fetch){.path = "/json"});
    assert_int_equal(world_connections(), connections + 1);
}

static void test_a_server_that_hangs_costs_its_own_time_out_and_nobody_else_anything(void **state)
{
    (void)state;
    int64_t begin = milliseconds();
    uint32_t slow = world_send((struct fetch){.path = "/hang", .form = "f=1", .timeout = 1500});
    for (int i = 0; i < 20; i++)
        assert_int_equal(world_answered((struct fetch){.path = "/json"}).http_status, 200);
    assert_true(milliseconds() - begin < 1400);
    bool sent;
    struct error err = world_next_failure(slow, &sent);
    assert_true(sent);
    assert_int_equal(err.status, STATUS_SERVER_UNREACHABLE);
    assert_non_null(strstr(err.message, "waiting for the answer"));
    assert_true(milliseconds() - begin >= 1490);
}

static void test_plain_http_and_wrong_requests_are_refused(void **state)
{
    (void)state;
    unsigned int before = world_requests();
    world_refused((struct fetch){.profile = "strict", .path = "/json"}, STATUS_INSECURE_URL, "plain http");
    world_refused((struct fetch){.profile = "nobody", .path = "/json"}, STATUS_UNKNOWN_PROFILE, "profile");
    world_refused((struct fetch){.path = "/\\"}, STATUS_INVALID_ARGUMENT, "URL");
    world_refused((struct fetch){.profile = "basic", .path = "/json", .authenticate = true}, STATUS_INTERNAL, "form");
    assert_int_equal(world_requests(), before);

    struct fetch_request m = {.profile = span_text("jwt"), .url = span_text("http://example.com/"), .timeout = 1000};
    message_put_frame(&world.channel.out, INTERNAL_FETCH, 77, &message_fetch_request, &m);
    message_put_frame(&world.channel.out, INTERNAL_SIGN, 78, &message_empty, &(struct empty_message){0});
    message_put_frame(&world.channel.out, INTERNAL_FETCH, 79, &message_empty, &(struct empty_message){0});
    assert_int_equal(channel_flush(&world.channel), 0);
    bool sent;
    assert_int_equal(world_next_failure(77, &sent).status, STATUS_INSECURE_URL);
    static const enum status expected[] = {STATUS_UNKNOWN_OPERATION, STATUS_MALFORMED};
    for (uint32_t i = 0; i < 2; i++) {
        struct frame frame = world_next_frame();
        struct error err;
        assert_int_equal(frame.operation, OPERATION_ERROR);
        assert_int_equal(frame.request, 78 + i);
        assert_int_equal(messages_take_error(frame.fields, &err), STATUS_OK);
        assert_int_equal(err.status, expected[i]);
    }
}

static void test_connections_names_and_tls_that_fail_say_so(void **state)
{
    (void)state;
    unsigned int port = world.port;
    int fd;
    world.port = world_listen(&fd);
    (void)close(fd);
    world_refused((struct fetch){.path = "/json"}, STATUS_SERVER_UNREACHABLE, "Connection refused");
    world.port = port;
    world_refused((struct fetch){.path = "/json", .https = true}, STATUS_SERVER_UNREACHABLE, "cannot agree on TLS");
    world_refused((struct fetch){.path = "/json", .https = true, .profile = "badca"}, STATUS_CONFIGURATION,
                  "/nonexistent.pem");
    struct fetch_request m = {.profile = span_text("jwt"), .url = span_text("https://no.invalid/x"), .timeout = 5000};
    message_put_frame(&world.channel.out, INTERNAL_FETCH, 5000, &message_fetch_request, &m);
    assert_int_equal(channel_flush(&world.channel), 0);
    bool sent;
    struct error err = world_next_failure(5000, &sent);
    assert_false(sent);
    assert_int_equal(err.status, STATUS_SERVER_UNREACHABLE);
    assert_non_null(strstr(err.message, "GET https://no.invalid/x: cannot "));
}

static void test_more_than_256_at_once_are_answered_busy_and_the_end_of_the_channel_ends_all_at_once(void **state)
{
    (void)state;
    unsigned int before = world_requests();
    for (int i = 0; i < 300; i++)
        (void)world_send((struct fetch){.path = "/hang", .timeout = 60000});
    for (int i = 0; i < 300 - 256; i++) {
        bool sent;
        assert_int_equal(world_next_failure(world.request - 43 + (uint32_t)i, &sent).status, STATUS_BUSY);
        assert_false(sent);
    }
    for (int i = 0; i < 200 && world_requests() < before + 256; i++)
        (void)usleep(50000);
    assert_int_equal(world_requests(), before + 256);
    int64_t begin = milliseconds();
    assert_int_equal(world_end_net(), 0);
    assert_true(milliseconds() - begin < 1000);
}

static void test_frames_in_single_bytes_and_many_in_one_piece_are_understood(void **state)
{
    (void)state;
    struct buffer bytes;
    struct fetch_request m = {.profile = span_text("nobody"), .url = span_text("https://a/"), .timeout = 1000};
    buffer_init(&bytes, 65536);
    for (uint32_t i = 0; i < 50; i++)
        message_put_frame(&bytes, INTERNAL_FETCH, i, &message_fetch_request, &m);
    size_t single = bytes.len / 50 * 2 + 3;
    for (size_t i = 0; i < single; i++)
        assert_int_equal(send(world.channel.fd, buffer_span(&bytes).data + i, 1, 0), 1);
    assert_int_equal(send(world.channel.fd, buffer_span(&bytes).data + single, bytes.len - single, 0),
                     (ssize_t)(bytes.len - single));
    for (uint32_t i = 0; i < 50; i++)
        assert_int_equal(world_next_frame().request, i);
    buffer_free(&bytes);
}

static void test_a_malformed_frame_ends_the_process_with_an_error(void **state)
{
    (void)state;
    assert_int_equal(send(world.channel.fd, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, 0), 12);
    struct frame frame;
    assert_int_equal(channel_read(&world.channel, &frame), 0);
    assert_int_equal(world_end_net(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_an_answer_brings_status_date_nonces_retry_after_and_members),
        WORLD_TEST(test_a_form_is_posted_and_a_jwt_s_thumbprint_and_lifetime_come_back),
        WORLD_TEST(test_json_is_posted_and_a_bearer_token_shown_for_no_profile_at_all),
        WORLD_TEST(test_a_redirect_is_an_answer_and_not_followed),
        WORLD_TEST(test_an_html_page_says_what_came),
        WORLD_TEST(test_1xx_answers_and_trailers_bring_no_nonce),
        WORLD_TEST(test_answers_over_the_limits_are_refused),
        WORLD_TEST(test_an_answer_that_ends_too_early_is_an_unreachable_server),
        WORLD_TEST(test_a_form_is_never_sent_twice_and_a_get_may_be),
        WORLD_TEST(test_a_connection_is_used_again_at_once_and_not_after_three_seconds),
        WORLD_TEST(test_a_server_that_hangs_costs_its_own_time_out_and_nobody_else_anything),
        WORLD_TEST(test_plain_http_and_wrong_requests_are_refused),
        WORLD_TEST(test_connections_names_and_tls_that_fail_say_so),
        WORLD_TEST(test_more_than_256_at_once_are_answered_busy_and_the_end_of_the_channel_ends_all_at_once),
        WORLD_TEST(test_frames_in_single_bytes_and_many_in_one_piece_are_understood),
        WORLD_TEST(test_a_malformed_frame_ends_the_process_with_an_error),
    };
    return cmocka_run_group_tests(tests, world_set_up, world_tear_down);
}
