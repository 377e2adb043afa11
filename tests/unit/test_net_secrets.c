/* Where the net process lets secrets go: into the request that wants them, and nowhere else. */
#include "test_net_world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void test_the_client_secret_is_sent_as_the_profile_says_and_a_changed_file_counts_at_once(void **state)
{
    (void)state;
    world_write_file(world.secret_path, "c d\n");
    (void)world_answered((struct fetch){.profile = "basic", .path = "/json", .form = "f=1", .authenticate = true});
    assert_true(world_last_request_has("\r\nAuthorization: Basic YSUzQWI6Yytk\r\n"));
    assert_true(world_last_request_has("\r\n\r\nf=1"));
    world_write_file(world.secret_path, "e&f");
    (void)world_answered((struct fetch){.profile = "post", .path = "/json", .form = "f=1", .authenticate = true});
    assert_true(world_last_request_has("\r\n\r\nf=1&client_id=a%3Ab&client_secret=e%26f"));
    assert_false(world_last_request_has("Authorization"));
    (void)world_answered((struct fetch){.profile = "post", .path = "/json", .form = "f=1"});
    assert_false(world_last_request_has("client_secret"));
}

static void test_a_secret_that_cannot_be_read_is_an_error_and_nothing_is_sent(void **state)
{
    (void)state;
    unsigned int before = world_requests();
    world_write_file(world.secret_path, "s");
    assert_int_equal(chmod(world.secret_path, 0644), 0);
    world_refused((struct fetch){.profile = "basic", .path = "/json", .form = "f=1", .authenticate = true},
                   STATUS_SECRET_UNREADABLE, "client secret of profile basic");
    assert_int_equal(unlink(world.secret_path), 0);
    world_refused((struct fetch){.profile = "post", .path = "/json", .form = "f=1", .authenticate = true},
                   STATUS_SECRET_UNREADABLE, "No such file");
    assert_int_equal(world_requests(), before);
}

static void test_tokens_come_from_files_where_the_form_lacks_them(void **state)
{
    (void)state;
    unsigned int before = world_requests();
    world_write_file(world.token_path, "a+b c\n");
    (void)world_answered((struct fetch){.profile = "files", .path = "/json", .form = "f=1", .token_files = true});
    assert_true(world_last_request_has("\r\n\r\nf=1&subject_token=a%2Bb+c&actor_token=a%2Bb+c&assertion=a%2Bb+c"));
    world_write_file(world.token_path, "new");
    (void)world_answered((struct fetch){.profile = "files", .path = "/json", .form = "subject%5Ftoken=1&assertion=2",
                                        .token_files = true});
    assert_true(world_last_request_has("\r\n\r\nsubject%5Ftoken=1&assertion=2&actor_token=new"));
    (void)world_answered((struct fetch){.profile = "files", .path = "/json", .form = "f=1"});
    assert_false(world_last_request_has("token=new"));
    (void)world_answered((struct fetch){.path = "/json", .form = "f=1", .token_files = true});
    assert_true(world_last_request_has("\r\n\r\nf=1"));
    assert_int_equal(world_requests(), before + 4);
    assert_int_equal(chmod(world.token_path, 0640), 0);
    world_refused((struct fetch){.profile = "files", .path = "/json", .form = "f=1", .token_files = true},
                  STATUS_SECRET_UNREADABLE, "subject_token of profile files");
    assert_int_equal(world_requests(), before + 4);
    assert_int_equal(chmod(world.token_path, 0600), 0);
}

static void assert_trace_lacks(struct span trace, const char *text)
{
    if (memmem(trace.data, trace.len, text, strlen(text)) != NULL)
        fail_msg("%s stands in:\n%.*s", text, (int)trace.len, (const char *)trace.data);
}

static void assert_trace_has(struct span trace, const char *text)
{
    if (memmem(trace.data, trace.len, text, strlen(text)) == NULL)
        fail_msg("%s is missing in:\n%.*s", text, (int)trace.len, (const char *)trace.data);
}

static void test_the_session_log_shows_the_exchange_and_no_secret_even_if_the_server_repeats_them(void **state)
{
    (void)state;
    world_write_file(world.secret_path, "CANARY SECRET&");
    struct fetch_answer a = world_answered((struct fetch){
        .profile = "post", .path = "/echo?state=CANARYQUERY", .authenticate = true,
        .form = "grant_type=refresh_token&refresh_token=CANARYREFRESH&scope=read&unknown=CANARYOTHER", .dpop = "CANARYPROOF"});
    assert_trace_has(a.trace, "POST http://127.0.0.1:");
    assert_trace_has(a.trace, "/echo?(masked, 17 bytes)\n");
    assert_trace_has(a.trace, "\n> grant_type=refresh_token\n> refresh_token=(masked, 13 bytes)\n> scope=read\n");
    assert_trace_has(a.trace, "\n> client_id=a:b\n> client_secret=(masked, 14 bytes)\n");
    assert_trace_has(a.trace, "\n< HTTP/1.1 400");
    assert_trace_has(a.trace, "\n< error: invalid_request\n");
    assert_trace_has(a.trace, "\n< access_token: (masked, 19 bytes)\n");
    assert_trace_has(a.trace, "\n< scope: read (masked)\n");
    assert_trace_has(a.trace, "algs=\"ES256\"");
    assert_trace_has(a.trace, "\nconnected to 127.0.0.1 port ");
    assert_trace_has(a.trace, "\nanswered in ");
    assert_trace_lacks(a.trace, "CANARY");
    a = world_answered((struct fetch){.profile = "basic", .path = "/echo", .form = "code=CANARYCODE", .authenticate = true});
    assert_trace_has(a.trace, "\n> Authorization: Basic (masked, ");
    assert_trace_lacks(a.trace, "CANARY");
    assert_trace_lacks(a.trace, "YTpi"); /* a:b */
    assert_trace_lacks(a.trace, "YSUzQWI6");
    a = world_answered((struct fetch){.no_profile = true, .path = "/echo", .bearer = "CANARYBEARER",
                                      .json = "{\"client_name\":\"app\",\"software_statement\":\"CANARYSTATEMENT\"}"});
    assert_trace_has(a.trace, "\n> client_name: app\n> software_statement: (masked, 15 bytes)\n");
    assert_trace_has(a.trace, "\n> Authorization: Bearer (masked, 12 bytes)\n");
    assert_trace_lacks(a.trace, "CANARY");
}

static bool has(struct span s, const char *text)
{
    return memmem(s.data, s.len, text, strlen(text)) != NULL;
}

/* Does `text` stand in what the front gets of the answer: its members and challenges? */
static bool handed_on(const struct fetch_answer *a, const char *text)
{
    struct span item;
    for (size_t cursor = 0; list_next(&a->members, &cursor, &item);)
        if (has(item, text))
            return true;
    for (size_t cursor = 0; list_next(&a->challenges, &cursor, &item);)
        if (has(item, text))
            return true;
    return false;
}

static struct json_member member_of(const struct fetch_answer *a, const char *name)
{
    struct json_member m;
    struct span item;
    struct error err;
    for (size_t cursor = 0; list_next(&a->members, &cursor, &item);)
        if (message_take(item, &message_json_member, &m, sizeof(m), &err) == STATUS_OK && span_is(m.name, name))
            return m;
    fail_msg("no member %s", name);
    return m;
}

static void test_what_a_server_repeats_of_a_request_is_not_handed_on(void **state)
{
    (void)state;
    static const char *const secrets[] = {"CANARYREFRESH", "CANARYCODE", "CANARYVERIFIER", "CANARYASSERTION", "CANARYSUBJECT",
                                          "CANARYDEVICE", "CANARYSTATE", "CANARYPROOF", "SIGNATURE", "CANARY%26SECRET",
                                          "CANARY&SECRET", "CANARYBEARER", "YSUzQWI6"};
    const struct fetch fetches[] = {
        {.profile = "post", .authenticate = true, .form = "grant_type=refresh_token&refresh_token=CANARYREFRESH&scope=read"},
        {.profile = "basic", .authenticate = true, .form = "code=CANARYCODE&code_verifier=CANARYVERIFIER&state=CANARYSTATE"},
        {.profile = "jwt", .form = "client_assertion=e30.e30.SIGNATURE&assertion=CANARYASSERTION&subject_token=CANARYSUBJECT&"
                                   "device_code=CANARYDEVICE", .dpop = "CANARYPROOF"},
        {.no_profile = true, .bearer = "CANARYBEARER", .json = "[]"},
    };
    world_write_file(world.secret_path, "CANARY&SECRET");
    for (size_t i = 0; i < sizeof(fetches) / sizeof(fetches[0]); i++) {
        struct fetch f = fetches[i];
        f.path = "/echo";
        struct fetch_answer a = world_answered(f);
        assert_true(handed_on(&a, "(masked)"));
        assert_true(handed_on(&a, "CANARY-ACCESS-TOKEN")); /* which was not in the request */
        assert_true(span_is(member_of(&a, "error").text, "invalid_request"));
        for (size_t k = 0; k < sizeof(secrets) / sizeof(secrets[0]); k++)
            if (handed_on(&a, secrets[k]))
                fail_msg("fetch %zu: %s", i, secrets[k]);
    }
}

static void test_a_good_answer_is_handed_on_with_its_tokens_and_without_what_it_repeats_elsewhere(void **state)
{
    (void)state;
    static const char form[] = "refresh_token=CANARYREFRESH&client_id=a";
    struct fetch_answer a = world_answered((struct fetch){.profile = "jwt", .path = "/echo-well", .form = form});
    assert_true(span_is(member_of(&a, "access_token").text, form));
    assert_true(span_is(member_of(&a, "refresh_token").text, form));
    assert_true(span_is(member_of(&a, "token_type").text, "DPoP"));
    assert_true(span_is(member_of(&a, "scope").text, "read refresh_token=(masked)&client_id=a"));
    assert_true(span_is(member_of(&a, "nested").text, "{\"deep\":[[\"refresh_token=(masked)&client_id=a\"]]}"));
    assert_true(span_is(member_of(&a, "cnf.jkt").text, "refresh_token=(masked)&client_id=a"));
    struct span challenge;
    for (size_t cursor = 0; list_next(&a.challenges, &cursor, &challenge);)
        assert_false(has(challenge, "CANARYREFRESH"));
    assert_trace_lacks(a.trace, "CANARYREFRESH");
}

static void test_failures_have_a_session_log_too(void **state)
{
    (void)state;
    struct fetch_answer a;
    struct error err;
    (void)world_send((struct fetch){.path = "/partial", .form = "code=CANARYCODE"});
    struct frame frame = world_next_frame();
    assert_int_equal(message_take(frame.fields, &message_fetch_answer, &a, sizeof(a), &err), STATUS_OK);
    assert_trace_has(a.trace, "\n> code=(masked, 10 bytes)\n");
    assert_trace_has(a.trace, "\nfailed, after it was sent in whole or in part: POST http");
    (void)world_send((struct fetch){.profile = "strict", .path = "/json", .form = "code=CANARYCODE"});
    frame = world_next_frame();
    assert_int_equal(message_take(frame.fields, &message_fetch_answer, &a, sizeof(a), &err), STATUS_OK);
    assert_trace_has(a.trace, "not sent: plain http");
    assert_trace_lacks(a.trace, "CANARY");
}

static size_t read_file(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, out, size - 1);
    (void)close(fd);
    assert_true(n >= 0);
    out[n] = '\0';
    return (size_t)n;
}

static void test_the_log_names_members_and_errors_and_never_a_value_a_query_or_a_secret(void **state)
{
    (void)state;
    char log[65536];
    world_write_file(world.secret_path, "CANARYSECRET");
    (void)world_answered((struct fetch){.profile = "basic", .path = "/jwt?CANARYQUERY", .form = "CANARYFORM",
                                        .authenticate = true});
    (void)world_answered((struct fetch){.profile = "post", .path = "/jwt", .form = "CANARYFORM", .authenticate = true});
    world_broken((struct fetch){.profile = "post", .path = "/reset?CANARYQUERY", .form = "CANARYFORM",
                                .authenticate = true},
                 STATUS_SERVER_UNREACHABLE, "closed");
    (void)world_answered((struct fetch){.profile = "basic", .path = "/echo", .form = "code=CANARYCODE", .authenticate = true});
    assert_true(read_file(world.log_path, log, sizeof(log)) > 0);
    assert_non_null(strstr(log, "POST http://127.0.0.1:"));
    assert_non_null(strstr(log, "/jwt: 200 in "));
    assert_non_null(strstr(log, "members: access_token error and 0 others; error e\n"));
    assert_null(strstr(log, "CANARY"));
    assert_null(strstr(log, "Basic "));
    assert_null(strstr(log, "eyJjbmYi"));
    assert_null(strstr(log, "proof"));
}

/* Does `needle` stand anywhere in the process's writable memory? */
static bool memory_holds(pid_t pid, const char *needle)
{
    char path[64], line[512];
    bool found = false;
    (void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
    int mem = open(path, O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    assert_true(mem >= 0 && maps != NULL);
    while (!found && fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from, to;
        char rights[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 || rights[1] != 'w' || to - from > 1UL << 28)
            continue;
        char *bytes = malloc(to - from);
        ssize_t n = bytes != NULL ? pread(mem, bytes, to - from, (off_t)from) : -1;
        found = n > 0 && memmem(bytes, (size_t)n, needle, strlen(needle)) != NULL;
        free(bytes);
    }
    (void)fclose(maps);
    (void)close(mem);
    return found;
}

/* Made up while the process runs already, so that it has no other way to know it. */
static void make_canary(char out[17])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    unsigned int seed = (unsigned int)t.tv_nsec;
    for (int i = 0; i < 16; i++)
        out[i] = letters[(unsigned int)rand_r(&seed) % 52];
    out[16] = '\0';
}

static void test_no_secret_form_or_proof_stays_in_the_process_s_memory(void **state)
{
    (void)state;
    char secret[17], form[32] = "token=", keep[32] = "/json?";
    make_canary(secret);
    make_canary(form + 6);
    make_canary(keep + 6);
    world_write_file(world.secret_path, secret);
    uint32_t pending = world_send((struct fetch){.path = "/hang", .form = keep + 6, .timeout = 3000});
    (void)world_answered((struct fetch){.profile = "post", .path = "/jwt", .form = form, .authenticate = true});
    (void)world_answered((struct fetch){.profile = "basic", .path = "/jwt", .form = form, .authenticate = true});
    (void)world_answered((struct fetch){.path = "/json"});
    assert_true(memory_holds(world.pid, keep + 6)); /* what is under way is there: the search works */
    assert_false(memory_holds(world.pid, secret));
    assert_false(memory_holds(world.pid, form + 6));
    assert_false(memory_holds(world.pid, "eyJjbmYiOnsiamt0Ijoi"));
    assert_int_equal(world_next_frame().request, pending);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_the_client_secret_is_sent_as_the_profile_says_and_a_changed_file_counts_at_once),
        WORLD_TEST(test_a_secret_that_cannot_be_read_is_an_error_and_nothing_is_sent),
        WORLD_TEST(test_tokens_come_from_files_where_the_form_lacks_them),
        WORLD_TEST(test_the_session_log_shows_the_exchange_and_no_secret_even_if_the_server_repeats_them),
        WORLD_TEST(test_what_a_server_repeats_of_a_request_is_not_handed_on),
        WORLD_TEST(test_a_good_answer_is_handed_on_with_its_tokens_and_without_what_it_repeats_elsewhere),
        WORLD_TEST(test_failures_have_a_session_log_too),
        WORLD_TEST(test_the_log_names_members_and_errors_and_never_a_value_a_query_or_a_secret),
        WORLD_TEST(test_no_secret_form_or_proof_stays_in_the_process_s_memory),
    };
    return cmocka_run_group_tests(tests, world_set_up, world_tear_down);
}
