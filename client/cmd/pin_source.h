/* Where pin_prompt.c has a typed secret from; each source fills room->secret, and gives a status. */
#ifndef CMD_PIN_SOURCE_H
#define CMD_PIN_SOURCE_H

#include "messages.h"
#include "dpop-agent.h"

/* In locked memory (pin_prompt.c). */
struct pin_room {
    char secret[LIMIT_PIN];
    size_t len;
    char line[2048]; /* what is read, before the secret is taken out of it */
    size_t line_len;
};

int pin_terminal_ask(struct pin_room *room, const char *description, const char *prompt, int64_t deadline,
                     struct dpop_error *err);
int pin_askpass_ask(struct pin_room *room, const char *program, const char *text, int64_t deadline,
                    struct dpop_error *err);
int pin_pinentry_ask(struct pin_room *room, const char *program, const char *description, const char *prompt,
                     int64_t deadline, struct dpop_error *err);

/* room->line without its line break becomes the secret. */
int pin_room_take_line(struct pin_room *room, const char *from, struct dpop_error *err);

#endif
