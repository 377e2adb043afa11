/* The listening socket: who may have a path, what is replaced, which folders are good enough, and systemd's hand-over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "listen.h"

struct world {
    char top[32], folder[64], path[96], lock[112];
};

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return -1;
    strcpy(w->top, "/tmp/test-listen-XXXXXX");
    if (mkdtemp(w->top) == NULL)
        return -1;
    (void)snprintf(w->folder, sizeof(w->folder), "%s/dpop-agent", w->top);
    (void)snprintf(w->path, sizeof(w->path), "%s/socket", w->folder);
    (void)snprintf(w->lock, sizeof(w->lock), "%s.lock", w->path);
    (void)umask(077); /* as main does */
    *state = w;
    return 0;
}

static int remove_world(void **state)
{
    struct world *w = *state;
    (void)unlink(w->path);
    (void)unlink(w->lock);
    (void)rmdir(w->folder);
    int r = rmdir(w->top);
    free(w);
    return r;
}

static struct listener open_at(const char *path, bool shared)
{
    struct listener l = {.fd = -1, .lock_fd = -1};
    struct error err;
    if (listen_open(path, shared, &l, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_true(l.fd >= 0 && l.lock_fd >= 0);
    return l;
}

static void assert_refused(const char *path, enum status status, const char *why)
{
    struct listener l = {.fd = -77, .lock_fd = -77};
    struct error err;
    int before = dup(STDERR_FILENO), after;
    assert_int_equal(close(before), 0);
    assert_int_equal(listen_open(path, false, &l, &err), status);
    assert_true(l.fd == -77 && l.lock_fd == -77); /* outputs untouched */
    if (strstr(err.message, why) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", why, err.message);
    after = dup(STDERR_FILENO);
    assert_int_equal(close(after), 0);
    assert_int_equal(before, after); /* no descriptor is left open */
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

/* A socket that another program has bound; it listens while the descriptor is open. */
static int bind_with_queue(const char *path, int queue)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, queue), 0);
    return fd;
}

static int bind_at(const char *path)
{
    return bind_with_queue(path, 8);
}

static void test_folder_and_socket_are_made_for_the_user_alone(void **state)
{
    struct world *w = *state;
    struct listener l = open_at(w->path, false);
    assert_int_equal(mode_of(w->folder), 0700);
    assert_int_equal(mode_of(w->path), 0600);
    assert_int_equal(mode_of(w->lock), 0600);
    int fd = connect_to(w->path);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    listen_close(&l);
    assert_int_equal(access(w->path, F_OK), -1);
    assert_int_equal(access(w->lock, F_OK), 0);
    assert_int_equal(l.fd, -1);
    listen_close(&l);
}

static void test_a_shared_socket_and_its_folder_can_be_reached_by_others(void **state)
{
    struct world *w = *state;
    struct listener l = open_at(w->path, true);
    assert_int_equal(mode_of(w->folder), 0755);
    assert_int_equal(mode_of(w->path), 0660);
    listen_close(&l);
}

static void test_sharing_can_be_switched_when_the_configuration_is_reloaded(void **state)
{
    struct world *w = *state;
    struct listener l = open_at(w->path, false);
    struct error err;
    assert_int_equal(listen_share(&l, true, &err), STATUS_OK);
    assert_int_equal(mode_of(w->path), 0660);
    assert_int_equal(listen_share(&l, false, &err), STATUS_OK);
    assert_int_equal(mode_of(w->path), 0600);
    listen_close(&l);
}

static void test_a_second_agent_at_the_same_path_is_refused_and_the_first_one_serves_on(void **state)
{
    struct world *w = *state;
    struct listener l = open_at(w->path, false);
    assert_refused(w->path, STATUS_EXISTS, "another dpop-agent is already listening");
    int fd = connect_to(w->path);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    listen_close(&l);
    l = open_at(w->path, false); /* and after the first one's end the path is free */
    listen_close(&l);
}

static void test_a_stale_socket_is_replaced(void **state)
{
    struct world *w = *state;
    assert_int_equal(mkdir(w->folder, 0700), 0);
    assert_int_equal(close(bind_at(w->path)), 0);
    struct listener l = open_at(w->path, false);
    int fd = connect_to(w->path);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    listen_close(&l);
}

static void test_a_socket_that_another_program_listens_at_is_left_alone(void **state)
{
    struct world *w = *state;
    assert_int_equal(mkdir(w->folder, 0700), 0);
    int other = bind_at(w->path);
    assert_refused(w->path, STATUS_EXISTS, "another program is already listening");
    int fd = connect_to(w->path);
    assert_true(fd >= 0);
    assert_int_equal(access(w->path, F_OK), 0);
    (void)close(fd);
    assert_int_equal(close(other), 0);
}

static void test_a_program_whose_queue_of_connections_is_full_is_alive(void **state)
{
    struct world *w = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int queue[16];
    assert_int_equal(mkdir(w->folder, 0700), 0);
    int other = bind_with_queue(w->path, 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", w->path);
    for (int i = 0; i < 16; i++) {
        queue[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(queue[i], (const struct sockaddr *)&address, sizeof(address));
    }
    assert_int_equal(errno, EAGAIN);
    assert_refused(w->path, STATUS_EXISTS, "another program is already listening");
    for (int i = 0; i < 16; i++)
        (void)close(queue[i]);
    assert_int_equal(close(other), 0);
}

static void test_a_file_in_the_way_is_never_removed(void **state)
{
    struct world *w = *state;
    assert_int_equal(mkdir(w->folder, 0700), 0);
    int fd = open(w->path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_refused(w->path, STATUS_EXISTS, "exists and is not a socket");
    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(symlink("/nonexistent", w->path), 0);
    assert_refused(w->path, STATUS_EXISTS, "exists and is not a socket");
    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(mkdir(w->path, 0700), 0);
    assert_refused(w->path, STATUS_EXISTS, "exists and is not a socket");
    assert_int_equal(rmdir(w->path), 0);
}

static void test_a_lock_file_that_is_a_link_is_not_followed(void **state)
{
    struct world *w = *state;
    char target[128];
    (void)snprintf(target, sizeof(target), "%s/target", w->top);
    assert_int_equal(mkdir(w->folder, 0700), 0);
    assert_int_equal(symlink(target, w->lock), 0);
    assert_refused(w->path, STATUS_CONFIGURATION, "cannot open");
    assert_int_equal(access(target, F_OK), -1);
}

static void test_a_folder_that_others_may_write_is_refused_unless_it_is_sticky(void **state)
{
    static const mode_t bad[] = {0777, 0770, 0702, 0720};
    struct world *w = *state;
    assert_int_equal(mkdir(w->folder, 0700), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(chmod(w->folder, bad[i]), 0);
        assert_refused(w->path, STATUS_CONFIGURATION, "others may replace the socket");
    }
    assert_int_equal(chmod(w->folder, 01777), 0);
    struct listener l = open_at(w->path, false);
    listen_close(&l);
}

/* Only root can give a folder away. Another user finds one of root's that it may not write to. */
static void test_a_folder_of_another_user_is_refused(void **state)
{
    struct world *w = *state;
    if (geteuid() == 0) {
        assert_int_equal(mkdir(w->folder, 0700), 0);
        assert_int_equal(chown(w->folder, 65534, 65534), 0);
        assert_refused(w->path, STATUS_CONFIGURATION, "belongs to uid 65534");
    } else {
        assert_refused("/etc/dpop-agent-test-socket", STATUS_CONFIGURATION, "");
    }
}

static void test_a_folder_that_cannot_be_made_is_named(void **state)
{
    struct world *w = *state;
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/missing/folder/socket", w->top);
    assert_refused(path, STATUS_CONFIGURATION, "cannot make the folder");
}

static void test_a_path_that_is_relative_or_too_long_is_refused(void **state)
{
    struct world *w = *state;
    char path[200];
    assert_refused("socket", STATUS_CONFIGURATION, "must be absolute");
    assert_refused("", STATUS_CONFIGURATION, "must be absolute");
    int n = snprintf(path, sizeof(path), "%s/", w->top);
    memset(path + n, (int)'s', sizeof(path) - (size_t)n);
    path[108] = '\0';
    assert_refused(path, STATUS_CONFIGURATION, "shorter than 108 bytes");
    path[107] = '\0';
    struct listener l = open_at(path, false);
    listen_close(&l);
    (void)strcat(path, ".lock");
    assert_int_equal(unlink(path), 0);
}

static void test_only_the_socket_that_we_made_is_removed_at_the_end(void **state)
{
    struct world *w = *state;
    struct listener l = open_at(w->path, false);
    assert_int_equal(unlink(w->path), 0);
    int other = bind_at(w->path);
    listen_close(&l);
    assert_int_equal(access(w->path, F_OK), 0);
    assert_int_equal(close(other), 0);
}

/* --- systemd; in a child of its own, since descriptor 3 and the environment are the process's --- */

static int in_child(int (*run)(const struct world *w), const struct world *w)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char own[16];
        (void)close(3);
        (void)close(4);
        (void)snprintf(own, sizeof(own), "%d", (int)getpid());
        (void)setenv("LISTEN_PID", own, 1);
        _exit(run(w));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int place(int fd, int number)
{
    return fd == number || (dup2(fd, number) == number && close(fd) == 0) ? 0 : -1;
}

static int take_a_good_one(const struct world *w)
{
    struct listener l = {.fd = -1, .lock_fd = -1};
    struct error err;
    bool taken = false;
    (void)setenv("LISTEN_FDS", "1", 1);
    if (place(bind_at(w->path), 3) != 0 || listen_take(&l, &taken, &err) != STATUS_OK)
        return 1;
    if (!taken || l.fd < 10 || l.lock_fd != -1 || l.path != NULL || fcntl(3, F_GETFD) != -1)
        return 2;
    if (!(fcntl(l.fd, F_GETFL) & O_NONBLOCK) || !(fcntl(l.fd, F_GETFD) & FD_CLOEXEC) || getenv("LISTEN_FDS") != NULL)
        return 3;
    int fd = connect_to(w->path), accepted = accept(l.fd, NULL, NULL);
    if (fd < 0 || accepted < 0 || listen_share(&l, true, &err) != STATUS_OK)
        return 4;
    (void)close(fd);
    (void)close(accepted);
    listen_close(&l);
    return access(w->path, F_OK) == 0 ? 0 : 5; /* it is systemd's to remove */
}

static int take_none(const struct world *w)
{
    struct listener l = {.fd = -77};
    struct error err;
    bool taken = true;
    (void)w;
    (void)unsetenv("LISTEN_FDS");
    return listen_take(&l, &taken, &err) == STATUS_OK && !taken && l.fd == -77 ? 0 : 1;
}

static int take_another_processs(const struct world *w)
{
    struct listener l = {.fd = -77};
    struct error err;
    bool taken = true;
    (void)w;
    (void)setenv("LISTEN_PID", "1", 1);
    (void)setenv("LISTEN_FDS", "1", 1);
    return listen_take(&l, &taken, &err) == STATUS_OK && !taken ? 0 : 1;
}

static int take_two(const struct world *w)
{
    struct listener l = {.fd = -77};
    struct error err;
    bool taken;
    (void)setenv("LISTEN_FDS", "2", 1);
    if (place(bind_at(w->path), 3) != 0 || dup2(3, 4) != 4)
        return 1;
    return listen_take(&l, &taken, &err) == STATUS_CONFIGURATION && l.fd == -77 && strstr(err.message, "2 descriptors") ? 0 : 2;
}

static int take_what_does_not_listen(const struct world *w)
{
    struct listener l = {.fd = -77};
    struct error err;
    bool taken;
    (void)w;
    (void)setenv("LISTEN_FDS", "1", 1);
    if (place(open("/dev/null", O_RDWR), 3) != 0)
        return 1;
    if (listen_take(&l, &taken, &err) != STATUS_CONFIGURATION)
        return 2;
    char own[16];
    (void)snprintf(own, sizeof(own), "%d", (int)getpid());
    (void)setenv("LISTEN_PID", own, 1);
    (void)setenv("LISTEN_FDS", "1", 1);
    if (place(socket(AF_UNIX, SOCK_STREAM, 0), 3) != 0)
        return 3;
    return listen_take(&l, &taken, &err) == STATUS_CONFIGURATION && l.fd == -77 ? 0 : 4;
}

static void test_a_socket_from_systemd_is_taken_and_never_removed(void **state)
{
    struct world *w = *state;
    assert_int_equal(mkdir(w->folder, 0700), 0);
    assert_int_equal(in_child(take_a_good_one, w), 0);
}

static void test_without_a_socket_for_this_process_none_is_taken(void **state)
{
    assert_int_equal(in_child(take_none, *state), 0);
    assert_int_equal(in_child(take_another_processs, *state), 0);
}

static void test_anything_from_systemd_but_one_listening_stream_socket_is_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(mkdir(w->folder, 0700), 0);
    assert_int_equal(in_child(take_two, w), 0);
    assert_int_equal(in_child(take_what_does_not_listen, w), 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, make_world, remove_world)
    const struct CMUnitTest tests[] = {
        TEST(test_folder_and_socket_are_made_for_the_user_alone),
        TEST(test_a_shared_socket_and_its_folder_can_be_reached_by_others),
        TEST(test_sharing_can_be_switched_when_the_configuration_is_reloaded),
        TEST(test_a_second_agent_at_the_same_path_is_refused_and_the_first_one_serves_on),
        TEST(test_a_stale_socket_is_replaced),
        TEST(test_a_socket_that_another_program_listens_at_is_left_alone),
        TEST(test_a_program_whose_queue_of_connections_is_full_is_alive),
        TEST(test_a_file_in_the_way_is_never_removed),
        TEST(test_a_lock_file_that_is_a_link_is_not_followed),
        TEST(test_a_folder_that_others_may_write_is_refused_unless_it_is_sticky),
        TEST(test_a_folder_of_another_user_is_refused),
        TEST(test_a_folder_that_cannot_be_made_is_named),
        TEST(test_a_path_that_is_relative_or_too_long_is_refused),
        TEST(test_only_the_socket_that_we_made_is_removed_at_the_end),
        TEST(test_a_socket_from_systemd_is_taken_and_never_removed),
        TEST(test_without_a_socket_for_this_process_none_is_taken),
        TEST(test_anything_from_systemd_but_one_listening_stream_socket_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
