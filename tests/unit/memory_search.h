/* Searches all memory of another process for bytes that must not be there. */
#ifndef TEST_MEMORY_SEARCH_H
#define TEST_MEMORY_SEARCH_H

#include <stddef.h>
#include <stdint.h>

struct needle {
    const char *form, *name;
    uint8_t bytes[80];
    size_t len;
};

/* The first of the needles that is found, of two bytes or more each; NULL: none. */
const struct needle *memory_search(int pid, const struct needle *needles, size_t count);

#endif
