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
    world_refused((struct fetch){.profile = "post", .path = "/reset?CANARYQUERY", .form = "CANARYFORM",
                                 .authenticate = true},
                   STATUS_SERVER_UNREACHABLE, "closed");
    assert_true(read_file(world.log_path, log, sizeof(log)) > 0);
    assert_non_null(strstr(log, "POST http://127.0.0.1:"));
    assert_non_null(strstr(log, "/jwt: 200 in "));
    assert_non_null(strstr(log, "members: access_token error; error e\n"));
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
        WORLD_TEST(test_the_log_names_members_and_errors_and_never_a_value_a_query_or_a_secret),
        WORLD_TEST(test_no_secret_form_or_proof_stays_in_the_process_s_memory),
    };
    return cmocka_run_group_tests(tests, world_set_up, world_tear_down);
}
