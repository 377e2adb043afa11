/* Why an exchange failed: every kind has its status, a sentence that begins with the request, and a next step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/x509.h>
#include <string.h>

#include "failure.h"

static struct error err;

static void describe(struct failure f)
{
    f.request = "POST https://as.example/token";
    f.host = "as.example";
    f.profile = "work";
    if (f.detail == NULL)
        f.detail = "";
    enum status status = failure_describe(&f, &err);
    assert_int_equal(status, err.status);
    assert_memory_equal(err.message, "POST https://as.example/token: cannot ", 38);
}

static void assert_said(enum status status, const char *message, const char *next)
{
    assert_int_equal(err.status, status);
    assert_non_null(strstr(err.message, message));
    assert_non_null(strstr(err.next, next));
}

static void test_names_connections_and_tls_that_fail_are_an_unreachable_server(void **state)
{
    (void)state;
    describe((struct failure){.code = CURLE_COULDNT_RESOLVE_HOST});
    assert_said(STATUS_SERVER_UNREACHABLE, "resolve host as.example", "name servers");
    describe((struct failure){.code = CURLE_COULDNT_CONNECT, .os_errno = ECONNREFUSED});
    assert_said(STATUS_SERVER_UNREACHABLE, "connect: Connection refused", "runs");
    describe((struct failure){.code = CURLE_SSL_CONNECT_ERROR, .detail = "wrong version number"});
    assert_said(STATUS_SERVER_UNREACHABLE, "TLS with the server: wrong version number", "TLS 1.2");
    describe((struct failure){.code = CURLE_PARTIAL_FILE, .answer_began = true});
    assert_said(STATUS_SERVER_UNREACHABLE, "closed before its end", "server's log");
    describe((struct failure){.code = CURLE_RECV_ERROR, .detail = "reset"});
    assert_said(STATUS_SERVER_UNREACHABLE, "closed before the answer came: reset", "server's log");
}

static void test_a_form_that_libcurl_wanted_to_send_again_is_a_connection_that_was_closed(void **state)
{
    (void)state;
    describe((struct failure){.code = CURLE_ABORTED_BY_CALLBACK, .sent_before = true,
                              .detail = "operation aborted by pre-request callback"});
    assert_int_equal(err.status, STATUS_SERVER_UNREACHABLE);
    assert_string_equal(err.message, "POST https://as.example/token: cannot read the answer: the connection was closed before the "
                                     "answer came");
    assert_non_null(strstr(err.next, "server's log"));
}

static void test_a_certificate_that_cannot_be_verified_tells_openssl_s_reason(void **state)
{
    (void)state;
    describe((struct failure){.code = CURLE_PEER_FAILED_VERIFICATION,
                              .verify_result = X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY});
    assert_said(STATUS_SERVER_UNREACHABLE, "unable to get local issuer certificate", "ca-file in [profile work]");
    describe((struct failure){.code = CURLE_PEER_FAILED_VERIFICATION, .verify_result = X509_V_ERR_CERT_HAS_EXPIRED});
    assert_said(STATUS_SERVER_UNREACHABLE, "certificate has expired", "clock");
    describe((struct failure){.code = CURLE_PEER_FAILED_VERIFICATION, .verify_result = X509_V_ERR_INVALID_PURPOSE});
    assert_said(STATUS_SERVER_UNREACHABLE, "purpose", "corrected");
    describe((struct failure){.code = CURLE_PEER_FAILED_VERIFICATION, .verify_result = X509_V_ERR_UNSPECIFIED});
    assert_said(STATUS_SERVER_UNREACHABLE, "not for host as.example", "the name that the certificate is for");
    describe((struct failure){.code = CURLE_SSL_CACERT_BADFILE, .detail = "/x.pem"});
    assert_said(STATUS_CONFIGURATION, "CA certificates: /x.pem", "ca-file in [profile work]");
}

static void test_a_time_out_names_its_phase(void **state)
{
    (void)state;
    describe((struct failure){.code = CURLE_OPERATION_TIMEDOUT, .phase = FAILURE_RESOLVING, .milliseconds = 70});
    assert_said(STATUS_SERVER_UNREACHABLE, "resolving", "name servers");
    assert_non_null(strstr(err.message, "70 ms"));
    describe((struct failure){.code = CURLE_OPERATION_TIMEDOUT, .phase = FAILURE_CONNECTING});
    assert_said(STATUS_SERVER_UNREACHABLE, "connecting", "firewall");
    describe((struct failure){.code = CURLE_OPERATION_TIMEDOUT, .phase = FAILURE_TLS});
    assert_said(STATUS_SERVER_UNREACHABLE, "TLS", "TLS");
    describe((struct failure){.code = CURLE_OPERATION_TIMEDOUT, .phase = FAILURE_WAITING});
    assert_said(STATUS_SERVER_UNREACHABLE, "waiting", "timeout");
}

static void test_answers_over_a_limit_and_answers_that_are_no_http_are_misbehaviour(void **state)
{
    (void)state;
    describe((struct failure){.code = CURLE_WRITE_ERROR, .body_too_large = true});
    assert_said(STATUS_SERVER_MISBEHAVED, "1 MiB", "URL");
    describe((struct failure){.code = CURLE_WRITE_ERROR, .headers_too_large = true});
    assert_said(STATUS_SERVER_MISBEHAVED, "64 KiB", "URL");
    describe((struct failure){.code = CURLE_UNSUPPORTED_PROTOCOL, .detail = "Received HTTP/0.9 when not allowed"});
    assert_said(STATUS_SERVER_MISBEHAVED, "HTTP/0.9", "URL");
    describe((struct failure){.code = CURLE_OUT_OF_MEMORY, .phase = FAILURE_WAITING});
    assert_said(STATUS_SERVER_MISBEHAVED, "100 KiB", "");
    describe((struct failure){.code = CURLE_OUT_OF_MEMORY, .phase = FAILURE_RESOLVING});
    assert_int_equal(err.status, STATUS_NO_MEMORY);
}

static void test_every_code_of_libcurl_gives_an_error(void **state)
{
    (void)state;
    for (int code = 1; code < CURL_LAST; code++) {
        describe((struct failure){.code = (CURLcode)code});
        assert_int_not_equal(err.status, STATUS_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_connections_and_tls_that_fail_are_an_unreachable_server),
        cmocka_unit_test(test_a_form_that_libcurl_wanted_to_send_again_is_a_connection_that_was_closed),
        cmocka_unit_test(test_a_certificate_that_cannot_be_verified_tells_openssl_s_reason),
        cmocka_unit_test(test_a_time_out_names_its_phase),
        cmocka_unit_test(test_answers_over_a_limit_and_answers_that_are_no_http_are_misbehaviour),
        cmocka_unit_test(test_every_code_of_libcurl_gives_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
