/* libdpop-agent-curl against a scripted agent and a scripted HTTP server: what is sent again, and what the
 * application sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "client_calls.h"
#include "dpop-agent-curl.h"
#include "fake_http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOSE "Connection: close\r\n"
#define OK_ANSWER "HTTP/1.1 200 OK\r\n" CLOSE "Content-Length: 5\r\nX-Final: yes\r\n\r\nhello"
#define NONCE_ANSWER                                                                                            \
    "HTTP/1.1 401 Unauthorized\r\n" CLOSE "DPoP-Nonce: n1\r\nWWW-Authenticate: DPoP error=\"use_dpop_nonce\"\r\n" \
    "Content-Length: 7\r\n\r\nrefused"
#define TOKEN_ANSWER                                                                                            \
    "HTTP/1.1 401 Unauthorized\r\n" CLOSE "WWW-Authenticate: DPoP algs=\"ES256\", error=\"invalid_token\"\r\n"    \
    "Content-Length: 7\r\n\r\nexpired"

struct world {
    struct fake_agent fake;
    struct fake_http http;
    struct dpop_agent *agent;
    CURL *easy;
    struct dpop_curl_result result;
    struct dpop_error err;
    char url[128];
    char body[300000], headers[4096];
    int rewinds;
};

static size_t take_body(char *data, size_t one, size_t len, void *user)
{
    struct world *w = user;
    (void)strncat(w->body, data, one * len);
    return one * len;
}

static size_t take_header(char *data, size_t one, size_t len, void *user)
{
    struct world *w = user;
    (void)strncat(w->headers, data, one * len);
    return one * len;
}

static struct world *begin(const char *const *answers)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    fake_start(&w->fake, fake_polite, NULL);
    fake_http_start(&w->http, answers);
    (void)snprintf(w->url, sizeof(w->url), "%s/items?page=2", w->http.origin);
    w->agent = connect_to(&w->fake);
    w->easy = curl_easy_init();
    assert_non_null(w->easy);
    return w;
}

static void end(struct world *w)
{
    curl_easy_cleanup(w->easy);
    dpop_agent_close(&w->agent);
    fake_http_stop(&w->http);
    fake_stop(&w->fake);
    free(w);
}

static struct dpop_curl_request request_of(struct world *w)
{
    return (struct dpop_curl_request){.profile = "work", .method = "GET", .url = w->url, .rewindable = 1,
                                      .write = take_body, .write_data = w, .header = take_header, .header_data = w,
                                      .timeout_ms = 5000};
}

static int perform(struct world *w, const struct dpop_curl_request *request)
{
    return dpop_curl_perform(w->agent, w->easy, request, &w->result, &w->err);
}

static void a_request_carries_both_headers_and_the_callers_own(void **state)
{
    const char *answers[] = {OK_ANSWER, NULL};
    struct world *w = begin(answers);
    struct curl_slist *own = curl_slist_append(NULL, "X-Own: 1");
    struct dpop_curl_request request = request_of(w);
    (void)state;
    request.headers = own;
    assert_int_equal(perform(w, &request), DPOP_OK);
    assert_int_equal(w->result.http_status, 200);
    assert_int_equal(w->result.sends, 1);
    assert_string_equal(w->body, "hello");
    assert_non_null(strstr(w->headers, "X-Final: yes\r\n"));
    assert_non_null(strstr(w->http.requests[0], "GET /items?page=2 HTTP/1.1\r\n"));
    assert_non_null(strstr(w->http.requests[0], "\r\nAuthorization: DPoP first-token\r\n"));
    assert_non_null(strstr(w->http.requests[0], "\r\nDPoP: eyJ0"));
    assert_non_null(strstr(w->http.requests[0], "\r\nX-Own: 1\r\n"));
    assert_null(own->next);
    curl_slist_free_all(own);
    end(w);
}

static void a_bearer_token_is_sent_without_a_proof(void **state)
{
    const char *answers[] = {OK_ANSWER, NULL};
    struct world *w = begin(answers);
    struct dpop_curl_request request = request_of(w);
    (void)state;
    request.profile = "bearer";
    assert_int_equal(perform(w, &request), DPOP_OK);
    assert_non_null(strstr(w->http.requests[0], "\r\nAuthorization: Bearer plain-token\r\n"));
    assert_null(strcasestr(w->http.requests[0], "\r\nDPoP:"));
    end(w);
}

static void a_nonce_challenge_is_answered_once_and_stays_unseen(void **state)
{
    const char *answers[] = {NONCE_ANSWER, OK_ANSWER, NULL};
    struct world *w = begin(answers);
    struct dpop_curl_request request = request_of(w);
    (void)state;
    (void)curl_easy_setopt(w->easy, CURLOPT_POSTFIELDS, "a=b");
    request.method = "POST";
    assert_int_equal(perform(w, &request), DPOP_OK);
    assert_int_equal(w->result.sends, 2);
    assert_string_equal(w->body, "hello");
    assert_null(strstr(w->headers, "401"));
    assert_non_null(strstr(w->http.requests[1], "Authorization: DPoP second-token\r\n"));
    assert_non_null(strstr(w->http.requests[0], "\r\n\r\na=b"));
    assert_non_null(strstr(w->http.requests[1], "\r\n\r\na=b"));
    end(w);
}

static void nonce_and_expired_token_together_take_three_sends_and_no_more(void **state)
{
    const char *fine[] = {NONCE_ANSWER, TOKEN_ANSWER, OK_ANSWER, NULL};
    const char *never[] = {NONCE_ANSWER, NULL};
    struct world *w = begin(fine);
    struct dpop_curl_request request = request_of(w);
    (void)state;
    assert_int_equal(perform(w, &request), DPOP_OK);
    assert_int_equal(w->result.sends, 3);
    end(w);
    w = begin(never);
    request = request_of(w);
    assert_int_equal(perform(w, &request), DPOP_CURL_REFUSED);
    assert_int_equal(w->result.sends, 3);
    assert_int_equal(w->http.count, 3);
    assert_string_equal(w->body, "refused");
    assert_string_equal(w->result.reason, w->err.message);
    end(w);
}

static void a_body_that_cannot_be_rewound_is_sent_once(void **state)
{
    const char *answers[] = {NONCE_ANSWER, OK_ANSWER, NULL};
    struct world *w = begin(answers);
    struct dpop_curl_request request = request_of(w);
    (void)state;
    request.rewindable = 0;
    assert_int_equal(perform(w, &request), DPOP_CURL_NOT_REWINDABLE);
    assert_int_equal(w->result.sends, 1);
    assert_int_equal(w->http.count, 1);
    assert_int_equal(w->result.http_status, 401);
    assert_string_equal(w->body, "refused"); /* the first answer is the final one */
    assert_non_null(strstr(w->headers, "HTTP/1.1 401"));
    end(w);
}

static int count_rewind(void *user)
{
    struct world *w = user;
    w->rewinds++;
    return w->rewinds > 1;
}

static void a_body_is_rewound_before_each_further_send(void **state)
{
    const char *answers[] = {NONCE_ANSWER, TOKEN_ANSWER, OK_ANSWER, NULL};
    struct world *w = begin(answers);
    struct dpop_curl_request request = request_of(w);
    (void)state;
    request.rewind = count_rewind;
    request.rewind_data = w;
    assert_int_equal(perform(w, &request), DPOP_CURL_NOT_REWINDABLE); /* the second rewind fails */
    assert_int_equal(w->rewinds, 2);
    assert_int_equal(w->result.sends, 2);
    end(w);
}

static void a_refusal_for_good_and_a_login_are_told_with_their_answer(void **state)
{
    const char *refused[] = {"HTTP/1.1 401 No\r\n" CLOSE "Content-Length: 2\r\n\r\nno", NULL};
    const char *login[] = {
        "HTTP/1.1 401 No\r\n" CLOSE "WWW-Authenticate: DPoP error=\"login\"\r\nContent-Length: 2\r\n\r\nno", NULL};
    struct world *w = begin(refused);
    struct dpop_curl_request request = request_of(w);
    (void)state;
    assert_int_equal(perform(w, &request), DPOP_CURL_REFUSED);
    assert_string_equal(w->body, "no");
    assert_non_null(strstr(w->err.message, "because"));
    end(w);
    w = begin(login);
    request = request_of(w);
    assert_int_equal(perform(w, &request), DPOP_LOGIN_REQUIRED);
    assert_string_equal(w->body, "no");
    end(w);
}

static void other_statuses_and_redirects_are_answers_like_any_other(void **state)
{
    const char *answers[] = {"HTTP/1.1 302 Found\r\n" CLOSE "Location: /elsewhere\r\nContent-Length: 0\r\n\r\n", NULL};
    struct world *w = begin(answers);
    struct dpop_curl_request request = request_of(w);
    (void)state;
    (void)curl_easy_setopt(w->easy, CURLOPT_FOLLOWLOCATION, 1L);
    assert_int_equal(perform(w, &request), DPOP_OK);
    assert_int_equal(w->result.http_status, 302);
    assert_int_equal(w->http.count, 1);
    end(w);
}

static void an_interim_answer_is_not_taken_for_the_final_one(void **state)
{
    const char *answers[] = {"HTTP/1.1 103 Early Hints\r\nDPoP-Nonce: wrong\r\n\r\n" OK_ANSWER, NULL};
    struct world *w = begin(answers);
    struct dpop_curl_request request = request_of(w);
    (void)state;
    assert_int_equal(perform(w, &request), DPOP_OK);
    assert_int_equal(w->result.http_status, 200);
    assert_null(strstr(w->headers, "103"));
    assert_string_equal(w->body, "hello");
    end(w);
}

static void a_transfer_that_fails_says_why(void **state)
{
    const char *answers[] = {"SSH-2.0-OpenSSH\r\n", NULL};
    struct world *w = begin(answers);
    struct dpop_curl_request request = request_of(w);
    (void)state;
    assert_int_equal(perform(w, &request), DPOP_CURL_TRANSFER_FAILED);
    assert_int_not_equal(w->result.curl_code, CURLE_OK);
    assert_non_null(strstr(w->err.message, w->url));
    fake_http_stop(&w->http);
    const char *fine[] = {OK_ANSWER, NULL};
    fake_http_start(&w->http, fine);
    assert_int_equal(perform(w, &request), DPOP_CURL_TRANSFER_FAILED); /* nobody listens there now */
    assert_int_equal(w->result.curl_code, CURLE_COULDNT_CONNECT);
    end(w);
}

static void headers_that_are_the_agents_or_hide_a_second_line_are_refused(void **state)
{
    static const char *const lines[] = {"Authorization: Basic eA==", "authorization;", "dpop: x", "X: a\r\nDPoP: b"};
    const char *answers[] = {OK_ANSWER, NULL};
    struct world *w = begin(answers);
    struct dpop_curl_request request = request_of(w);
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct curl_slist *list = curl_slist_append(NULL, lines[i]);
        request.headers = list;
        assert_int_equal(perform(w, &request), DPOP_INVALID_ARGUMENT);
        curl_slist_free_all(list);
    }
    assert_int_equal(w->http.count, 0);
    end(w);
}

static void header_lines_are_held_within_a_limit(void **state)
{
    static char answer[90000];
    const char *answers[] = {answer, NULL};
    (void)state;
    (void)snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\n" CLOSE);
    for (size_t i = strlen(answer); i < 80000; i = strlen(answer))
        (void)snprintf(answer + i, sizeof(answer) - i, "X-Many: %064d\r\n", 0);
    (void)snprintf(answer + strlen(answer), sizeof(answer) - strlen(answer), "\r\n");
    struct world *w = begin(answers);
    struct dpop_curl_request request = request_of(w);
    assert_int_equal(perform(w, &request), DPOP_CURL_TRANSFER_FAILED);
    assert_non_null(strstr(w->err.message, "header lines"));
    end(w);
}

static void a_huge_body_of_a_dropped_answer_is_not_read_to_its_end(void **state)
{
    static char answer[300000];
    const char *answers[] = {answer, OK_ANSWER, NULL};
    (void)state;
    (void)snprintf(answer, sizeof(answer),
                   "HTTP/1.1 401 No\r\n" CLOSE
                   "WWW-Authenticate: DPoP error=\"use_dpop_nonce\"\r\nContent-Length: 250000\r\n\r\n");
    memset(answer + strlen(answer), 'x', 250000);
    struct world *w = begin(answers);
    struct dpop_curl_request request = request_of(w);
    assert_int_equal(perform(w, &request), DPOP_OK);
    assert_string_equal(w->body, "hello");
    end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_carries_both_headers_and_the_callers_own),
        cmocka_unit_test(a_bearer_token_is_sent_without_a_proof),
        cmocka_unit_test(a_nonce_challenge_is_answered_once_and_stays_unseen),
        cmocka_unit_test(nonce_and_expired_token_together_take_three_sends_and_no_more),
        cmocka_unit_test(a_body_that_cannot_be_rewound_is_sent_once),
        cmocka_unit_test(a_body_is_rewound_before_each_further_send),
        cmocka_unit_test(a_refusal_for_good_and_a_login_are_told_with_their_answer),
        cmocka_unit_test(other_statuses_and_redirects_are_answers_like_any_other),
        cmocka_unit_test(an_interim_answer_is_not_taken_for_the_final_one),
        cmocka_unit_test(a_transfer_that_fails_says_why),
        cmocka_unit_test(headers_that_are_the_agents_or_hide_a_second_line_are_refused),
        cmocka_unit_test(header_lines_are_held_within_a_limit),
        cmocka_unit_test(a_huge_body_of_a_dropped_answer_is_not_read_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
