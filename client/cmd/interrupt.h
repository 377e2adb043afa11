/* Ctrl-C, and whatever else asks the command to end, as a flag: for verbs that wait and have something to undo. */
#ifndef CMD_INTERRUPT_H
#define CMD_INTERRUPT_H

#include <stdbool.h>

void interrupt_catch(void); /* from now on SIGINT, SIGTERM and SIGHUP set the flag instead of ending the command */
bool interrupt_came(void);

#endif
