/*
 * A fake agent for the client's tests: a socket in a temporary folder, a thread for every connection, and a script that
 * says how it behaves there. fake_polite answers every operation; other scripts are the tests' own.
 */
#ifndef TEST_FAKE_AGENT_H
#define TEST_FAKE_AGENT_H

#include "messages.h"

#include <pthread.h>

#define FAKE_MOST_CONNECTIONS 64

struct fake_agent {
    char folder[64];
    char path[100];
    int listener;
    void (*serve)(struct fake_agent *fake, int fd, int number); /* `number` counts connections from 0 */
    void *context;
    pthread_t thread;
    pthread_t connections[FAKE_MOST_CONNECTIONS];
    int count;
};

void fake_start(struct fake_agent *fake, void (*serve)(struct fake_agent *, int, int), void *context);
void fake_stop(struct fake_agent *fake); /* ends all threads, removes the folder */

/* Reads one frame into `b`; false at the end of the connection. The next call drops it, and the descriptors that came
 * with it. */
bool fake_read(int fd, struct buffer *b, struct frame *frame);
int fake_take_descriptor(void); /* the oldest that came to this thread's connection; -1: none */
void fake_send(int fd, const void *data, size_t len);
void fake_answer(int fd, const struct frame *request, const struct message *m, const void *in);
void fake_error(int fd, uint32_t request, enum status status, const char *message);
bool fake_hello(int fd, struct buffer *b); /* reads and answers the hello */
void fake_hang(int fd);                    /* waits until the other end closes */

void fake_polite_answer(int fd, const struct frame *frame); /* one canned answer */
bool fake_more_answer(int fd, const struct frame *frame);   /* likewise (fake_operations.c); false: not of these */
bool fake_key_answer(int fd, const struct frame *frame);    /* likewise (fake_keys.c) */
int fake_cancelled_logins(void);                            /* how many were cancelled since the last call */
void fake_polite(struct fake_agent *fake, int fd, int number);
/* Greets, and gives the first request to fake->context, a fake_first. Connections after the first are polite. */
typedef void (*fake_first)(int fd, const struct frame *frame);
void fake_once(struct fake_agent *fake, int fd, int number);

#endif
