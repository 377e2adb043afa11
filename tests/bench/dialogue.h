/*
 * What a client says, and which answer is right: the one part of the load generator that knows who listens.
 *
 *   proof   dpop-agent: a proof for the profile "bench", with nonce and ath
 *   token   dpop-agent: the cached token of that profile
 *   ssh     an ssh-agent: a signature with its first ECDSA key
 *   echo    bench-echo: as many bytes as it is told to send
 *
 * All of them speak in frames of a uint32 length and a body, so that one loop can drive and compare them. The request
 * is the same bytes each time; the answer is right if its body begins as expected.
 */
#ifndef BENCH_DIALOGUE_H
#define BENCH_DIALOGUE_H

#include "buffer.h"

#define ANSWER_MAX 262144

struct dialogue {
    struct buffer greeting; /* said once on each connection, and answered by one frame; empty: none */
    struct buffer request;
    uint8_t expected[2]; /* the answer's body begins with these */
    size_t expected_len;
};

/* `sizes`: of the request and of the answer, for echo. Exits when the kind is not known, or there is no ssh key. */
void dialogue_open(struct dialogue *d, const char *kind, const char *socket_path, const size_t sizes[2]);
void dialogue_close(struct dialogue *d);

int dialogue_connect(const struct dialogue *d, const char *socket_path); /* connected and greeted; a blocking socket */
/* The size of the answer at the front of `in`; 0: it has not come whole. Exits when it is not the expected one. */
size_t dialogue_answer(const struct dialogue *d, struct span in);
/* Asks once, waits for the answer, and gives its size. */
size_t dialogue_ask(const struct dialogue *d, int fd, struct buffer *in);

#endif
