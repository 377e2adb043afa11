/* Runs the dpop command against the polite fake agent, for the tests of its verbs: what it prints, how it ends. */
#ifndef TEST_CLIENT_COMMAND_H
#define TEST_CLIENT_COMMAND_H

#include "client_calls.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define DPOP TEST_BUILD "/client/dpop"
#define MOST_ARGUMENTS 24

static struct fake_agent fake;
static char out[200000], err[200000];

static inline void slurp(int fd, char *text, size_t size)
{
    size_t len = 0;
    (void)lseek(fd, 0, SEEK_SET);
    for (ssize_t n; len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    (void)close(fd);
}

static inline int scratch(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

struct running {
    pid_t pid;
    int out, err;
};

/* Starts dpop with --socket and these words; standard input is `in`. */
static inline struct running begin_with(int in, const char *socket, const char *const *words)
{
    const char *argv[MOST_ARGUMENTS + 4] = {DPOP, "--socket", socket};
    int fds[2] = {scratch(), scratch()};
    for (size_t i = 0; words[i] != NULL; i++) {
        assert_true(i < MOST_ARGUMENTS);
        argv[i + 3] = words[i];
    }
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(in, 0);
        (void)dup2(fds[0], 1);
        (void)dup2(fds[1], 2);
        (void)execv(DPOP, (char **)(uintptr_t)argv);
        _exit(127);
    }
    return (struct running){child, fds[0], fds[1]};
}

/* Waits for its end: the exit status. Fills out and err. */
static inline int finish(struct running r)
{
    int status;
    assert_int_equal(waitpid(r.pid, &status, 0), r.pid);
    slurp(r.out, out, sizeof(out));
    slurp(r.err, err, sizeof(err));
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static inline int run_with(int in, const char *socket, const char *const *words)
{
    return finish(begin_with(in, socket, words));
}

static inline int run(const char *const *words)
{
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int status = run_with(in, fake.path, words);
    (void)close(in);
    return status;
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

/* What was printed is one JSON value; the caller releases it. */
static inline json_t *parse(void)
{
    json_error_t wrong;
    json_t *value = json_loads(out, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &wrong);
    if (value == NULL)
        fail_msg("not JSON (%s): %s", wrong.text, out);
    return value;
}

static inline const char *member(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    assert_non_null(text);
    return text;
}

static inline int start_polite(void **state)
{
    (void)state;
    fake_start(&fake, fake_polite, NULL);
    return 0;
}

static inline int stop(void **state)
{
    (void)state;
    fake_stop(&fake);
    return 0;
}

#endif
