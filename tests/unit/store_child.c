/* See store_child.h. */
#include "store_child.h"

#include "role.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE 60

static int make_small_disk(const char *folder)
{
    /* In a chroot whose / is no mount point the propagation cannot be set: whoever made it has seen to that. */
    if (unshare(CLONE_NEWNS) != 0 || (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 && errno != EINVAL))
        return -1;
    return mount("none", folder, "tmpfs", 0, "size=64k,mode=700,uid=65534");
}

static void become_store(int fd, const struct store_options *o)
{
    struct config config = {
        .path = (char *)(uintptr_t)"test", .profiles = o->profiles, .profile_count = o->profile_count};
    struct channel channel;
    const struct rlimit limit = {.rlim_cur = o->largest_file, .rlim_max = o->largest_file};

    (void)alarm(DEADLINE);
    (void)umask(0); /* modes must not depend on it */
    if (close_range(3, (unsigned int)fd - 1, 0) != 0 || close_range((unsigned int)fd + 1, ~0U, 0) != 0)
        _exit(99); /* other children must see the end of their channels */
    int log = open(o->log != NULL ? o->log : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if ((o->small_disk != NULL && make_small_disk(o->small_disk) != 0) || dup2(log, STDERR_FILENO) < 0)
        _exit(98);
    if (geteuid() == 0 && setresuid(STORE_CHILD_NOBODY, STORE_CHILD_NOBODY, STORE_CHILD_NOBODY) != 0)
        _exit(99);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_DUMPABLE, 1); /* for the leak checker */
    if (o->largest_file > 0 && setrlimit(RLIMIT_FSIZE, &limit) != 0)
        _exit(99);
    config.agent.state_folder = o->state != NULL ? strdup(o->state) : NULL;
    log_open("store", LOG_LEVEL_DEBUG);
    channel_init(&channel, fd);
    int status = store_main(&config, &channel);
    channel_free(&channel);
    free(config.agent.state_folder);
    exit(status);
}

void store_child_start(struct store_child *p, const struct store_options *options)
{
    int ends[2];
    (void)signal(SIGPIPE, SIG_IGN);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    (void)fflush(NULL);
    *p = (struct store_child){.pid = fork()};
    if (p->pid == 0)
        become_store(ends[1], options);
    assert_true(p->pid > 0);
    (void)close(ends[1]);
    channel_init(&p->channel, ends[0]);
}

int store_child_stop(struct store_child *p)
{
    int status = 0;
    (void)close(p->channel.fd);
    channel_free(&p->channel);
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    p->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int store_child_ask(struct store_child *p, uint16_t operation, const struct message *m, const void *in,
                    struct frame *out, struct error *err)
{
    message_put_frame(&p->channel.out, operation, ++p->request, m, in);
    if (channel_flush(&p->channel) != 0 || channel_read(&p->channel, out) != 1)
        return -1;
    assert_int_equal(out->request, p->request);
    if (out->operation == OPERATION_ERROR) {
        assert_int_equal(messages_take_error(out->fields, err), STATUS_OK);
        return (int)err->status;
    }
    assert_int_equal(out->operation, operation | OPERATION_ANSWER);
    return STATUS_OK;
}

void store_child_public_key(struct store_child *p, uint8_t out[STORE_PUBLIC_SIZE])
{
    const struct empty_message empty = {0};
    struct frame frame;
    struct store_public answer;
    struct error err;
    assert_int_equal(store_child_ask(p, INTERNAL_STORE_PUBLIC, &message_empty, &empty, &frame, &err), STATUS_OK);
    assert_int_equal(message_take(frame.fields, &message_store_public, &answer, sizeof(answer), &err), STATUS_OK);
    assert_int_equal(answer.public_key.len, STORE_PUBLIC_SIZE);
    memcpy(out, answer.public_key.data, STORE_PUBLIC_SIZE);
}

int store_child_give_key(struct store_child *p, const char *name, const uint8_t key[DATA_KEY_SIZE], struct error *err)
{
    struct frame frame;
    uint8_t public_key[STORE_PUBLIC_SIZE], sealed[DATA_KEY_SEALED_SIZE];
    const struct store_key m = {.key = span_text(name), .sealed = span_of(sealed, sizeof(sealed))};
    store_child_public_key(p, public_key);
    assert_int_equal(crypto_box_seal(sealed, key, DATA_KEY_SIZE, public_key), 0);
    return store_child_ask(p, INTERNAL_STORE_KEY, &message_store_key, &m, &frame, err);
}

void store_child_make_folder(char top[64])
{
    (void)strcpy(top, "/tmp/test_store_XXXXXX");
    assert_non_null(mkdtemp(top));
    if (geteuid() == 0)
        assert_int_equal(chown(top, STORE_CHILD_NOBODY, STORE_CHILD_NOBODY), 0);
}

int store_child_remove_folder(const char *top)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", top);
    return system(command);
}
