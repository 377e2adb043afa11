/*
 * How the command tells people and programs what went wrong, and with which exit status.
 *
 *     dpop: key "work" is absent: no token "x"            on standard error
 *       next: plug it in or check uri in [key work]
 *
 * With --json standard output gets one object, {"error": {"stage", "status", "name", "message", "next", …}}, so that it
 * is valid JSON whatever happens.
 */
#ifndef CMD_REPORT_H
#define CMD_REPORT_H

#include "command.h"
#include "json.h"

int report_error(const struct command *cmd, const struct dpop_error *err); /* the exit status */
int report_usage(const struct command *cmd, const char *format, ...) __attribute__((format(printf, 2, 3)));
int report_local(const struct command *cmd, const char *next, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A remark on standard error that changes nothing, in both forms. */
void report_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

int report_exit_status(int status); /* also for the results of dpop-agent-curl.h */
/* Prints the finished value, frees it, and gives the exit status. */
int report_json(struct json *j);
/* Flushes what was printed as text, and gives the exit status. */
int report_printed(void);
void report_put_error(struct json *j, const struct dpop_error *err); /* the member "error" */

#endif
