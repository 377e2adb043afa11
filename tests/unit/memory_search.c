/* See memory_search.h. */
#include "memory_search.h"

#include "buffer.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMORY_CHUNK (1 << 20)
#define PAGE 4096

/* A process's memory, as /proc shows it. */
struct memory {
    int bytes, pages; /* mem, pagemap */
    FILE *maps;
};

static int open_of(int pid, const char *name)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Has any page of these been used? The sanitizers map terabytes. */
static bool in_use(const struct memory *m, unsigned long from, size_t size)
{
    uint64_t entries[MEMORY_CHUNK / PAGE];
    size_t wanted = (size + PAGE - 1) / PAGE * sizeof(entries[0]);
    ssize_t n = pread(m->pages, entries, wanted, (off_t)(from / PAGE * sizeof(entries[0])));
    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(entries[0]); i++)
        if (entries[i] >> 62 != 0) /* present, or swapped out */
            return true;
    return false;
}

/* Which pairs of bytes some needle begins with: one look at each place instead of one for each needle. */
struct haystack {
    const struct needle *needles;
    size_t count;
    bool begins[UINT16_MAX + 1];
};

static uint16_t pair(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

__attribute__((no_sanitize("address", "undefined"))) /* it looks at every byte of a process */
static const struct needle *search_bytes(const struct haystack *h, const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at + 1 < len; at++) {
        if (!h->begins[pair(bytes + at)])
            continue;
        for (size_t i = 0; i < h->count; i++)
            if (h->needles[i].len <= len - at && memcmp(bytes + at, h->needles[i].bytes, h->needles[i].len) == 0)
                return &h->needles[i];
    }
    return NULL;
}

/* Pages that cannot be read hold nothing to find. */
static const struct needle *search_mapping(const struct memory *m, unsigned long from, unsigned long to,
                                           const struct haystack *h)
{
    static uint8_t chunk[MEMORY_CHUNK + sizeof(h->needles->bytes)];
    const struct needle *found = NULL;
    for (unsigned long at = from; found == NULL && at < to; at += MEMORY_CHUNK) {
        size_t left = to - at;
        if (!in_use(m, at, left < MEMORY_CHUNK ? left : MEMORY_CHUNK))
            continue;
        ssize_t len = pread(m->bytes, chunk, left < sizeof(chunk) ? left : sizeof(chunk), (off_t)at);
        found = len > 0 ? search_bytes(h, chunk, (size_t)len) : NULL;
    }
    wipe(chunk, sizeof(chunk));
    return found;
}

const struct needle *memory_search(int pid, const struct needle *needles, size_t count)
{
    char line[512], mode[8];
    struct memory m = {.bytes = open_of(pid, "mem"), .pages = open_of(pid, "pagemap")};
    struct haystack *h = calloc(1, sizeof(*h));
    const struct needle *found = NULL;
    assert_non_null(h);
    h->needles = needles;
    h->count = count;
    for (size_t i = 0; i < count; i++)
        h->begins[pair(needles[i].bytes)] = true;
    m.maps = fdopen(open_of(pid, "maps"), "r");
    assert_non_null(m.maps);
    while (found == NULL && fgets(line, sizeof(line), m.maps) != NULL) {
        unsigned long from, to;
        /* What is larger is the sanitizer's shadow, which says which bytes may be used, and holds none. */
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && mode[0] == 'r' && to - from <= 1UL << 32)
            found = search_mapping(&m, from, to, h);
    }
    (void)fclose(m.maps);
    (void)close(m.bytes);
    (void)close(m.pages);
    free(h);
    return found;
}
