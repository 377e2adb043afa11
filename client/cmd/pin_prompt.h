/*
 * A PIN or password, as a descriptor that goes to the agent: a file as it is, or the read end of a pipe that holds
 * what a person typed. It comes from the first of these that is given:
 *
 *     --pin-file FILE      "-": standard input
 *     --askpass PROGRAM    prints it; the prompt is its argument          ($DPOP_ASKPASS)
 *     --pinentry PROGRAM   speaks Assuan on its standard input and output, as GnuPG's pinentry programs do
 *     the terminal         /dev/tty, without echo
 *
 * Typed secrets live in one locked page that no child inherits and no core file has, and are wiped when the pipe holds
 * them; they are never in an argument, in the environment or in the output.
 */
#ifndef CMD_PIN_PROMPT_H
#define CMD_PIN_PROMPT_H

#include "command.h"
#include "messages.h"

struct pin_prompt {
    const char *file, *askpass, *pinentry;
};

enum { PIN_PROMPT_FILE = 0x2000, PIN_PROMPT_ASKPASS, PIN_PROMPT_PINENTRY };
#define PIN_PROMPT_LONG_OPTIONS(file_option)                            \
    {file_option, required_argument, NULL, PIN_PROMPT_FILE},            \
    {"askpass", required_argument, NULL, PIN_PROMPT_ASKPASS},           \
    {"pinentry", required_argument, NULL, PIN_PROMPT_PINENTRY}
#define PIN_PROMPT_TEXT_OPTIONS(base)                                   \
    {PIN_PROMPT_FILE, (base) + offsetof(struct pin_prompt, file)},      \
    {PIN_PROMPT_ASKPASS, (base) + offsetof(struct pin_prompt, askpass)}, \
    {PIN_PROMPT_PINENTRY, (base) + offsetof(struct pin_prompt, pinentry)}
#define PIN_PROMPT_HELP                                                 \
    "  --askpass PROGRAM    prints it ($DPOP_ASKPASS)\n"                \
    "  --pinentry PROGRAM   a pinentry program asks for it\n"

/* Somebody or something can be asked. */
bool pin_prompt_possible(const struct pin_prompt *p);
/* Asks: `description` says what for, in a line; `prompt` what ("PIN"). The caller closes *fd. A status. */
int pin_prompt_ask(const struct command *cmd, const struct pin_prompt *p, const char *description, const char *prompt,
                   int *fd, struct dpop_error *err);

#endif
