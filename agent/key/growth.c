/* See growth.h. */
#include "growth.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Bytes that are in memory; 0: not known. */
static size_t resident(void)
{
    char text[128];
    unsigned long size, pages;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    long page = sysconf(_SC_PAGESIZE);
    if (fd >= 0)
        (void)close(fd);
    if (n <= 0 || page <= 0)
        return 0;
    text[n] = '\0';
    return sscanf(text, "%lu %lu", &size, &pages) == 2 ? pages * (size_t)page : 0;
}

void growth_begin(struct growth *g)
{
    if (g->first == 0)
        g->first = resident();
}

bool growth_too_large(struct growth *g, bool now)
{
    if (g->first == 0 || (!now && ++g->calls < GROWTH_CALLS))
        return false;
    g->calls = 0;
    return resident() > g->first + GROWTH_MAX;
}
