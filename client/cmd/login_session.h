/*
 * One login that the agent has begun, followed to its end:
 *
 *     begun ──browser, device, or a pasted line──▶ the agent's answer
 *       └──Ctrl-C, or the time is over──▶ cancelled
 *
 * The agent is asked in short waits, so that between two of them Ctrl-C and a pasted line are seen.
 */
#ifndef CMD_LOGIN_SESSION_H
#define CMD_LOGIN_SESSION_H

#include "command.h"
#include "messages.h"

struct login_session {
    uint8_t handle[LIMIT_LOGIN];
    size_t handle_len;
    uint32_t seconds; /* that the user has */
    bool paste;       /* lines of standard input are redirect URLs */
    struct buffer line;
};

/* Waits. DPOP_OK: `out` is filled, its spans live until call_done. */
int login_session_wait(struct command *cmd, struct login_session *s, struct login_wait_answer *out,
                       struct dpop_error *err);

#endif
