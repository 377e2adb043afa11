/* The terminal of whoever typed the command (/dev/tty), also when standard input and output are something else. */
#ifndef CMD_TERMINAL_H
#define CMD_TERMINAL_H

#include <stdbool.h>

int terminal_open(void); /* -1: there is none */
/* Asks a yes-or-no question; anything but y or yes is no. -1: there is no terminal. */
int terminal_confirm(const char *question);

#endif
