/* Opens a URL in the user's browser: $BROWSER, or xdg-open where there is a display. No shell sees the URL. */
#ifndef CMD_BROWSER_H
#define CMD_BROWSER_H

#include <stdbool.h>

bool browser_likely(void); /* $BROWSER is set, or there is a display */
/* Starts it and does not wait for its end. NULL, or why it could not be started. */
const char *browser_open(const char *url);

#endif
