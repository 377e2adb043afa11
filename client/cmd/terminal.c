/* See terminal.h. */
#include "terminal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int terminal_open(void)
{
    return open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
}

int terminal_confirm(const char *question)
{
    char answer[16] = "";
    int fd = terminal_open();
    if (fd < 0)
        return -1;
    (void)dprintf(fd, "%s [y/N] ", question);
    ssize_t n = read(fd, answer, sizeof(answer) - 1);
    (void)close(fd);
    answer[n > 0 ? n : 0] = '\0';
    answer[strcspn(answer, "\r\n")] = '\0';
    return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}
