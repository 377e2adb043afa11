/* See wiping_heap.h. malloc_usable_size(3) tells how much there is to wipe, so no header of our own is needed. */
#include "wiping_heap.h"

#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

void *wiping_heap_malloc(size_t size)
{
    return malloc(size > 0 ? size : 1);
}

void *wiping_heap_calloc(size_t count, size_t size)
{
    return calloc(count > 0 ? count : 1, size > 0 ? size : 1);
}

void wiping_heap_free(void *p)
{
    if (p == NULL)
        return;
    wipe(p, malloc_usable_size(p));
    free(p);
}

/* realloc(3) may leave the old bytes behind: always a new block, unless the old one is large enough. */
void *wiping_heap_realloc(void *old, size_t size)
{
    if (old == NULL)
        return wiping_heap_malloc(size);
    size_t have = malloc_usable_size(old);
    if (size > 0 && size <= have && size > have / 2)
        return old;
    void *new = wiping_heap_malloc(size);
    if (new == NULL)
        return NULL;
    memcpy(new, old, size < have ? size : have);
    wiping_heap_free(old);
    return new;
}

char *wiping_heap_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = wiping_heap_malloc(size);
    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return wiping_heap_malloc(size);
}

static void *openssl_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return wiping_heap_realloc(old, size);
}

static void openssl_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    wiping_heap_free(p);
}

int wiping_heap_install(void)
{
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return -1;
    json_set_alloc_funcs(wiping_heap_malloc, wiping_heap_free);
    return 0;
}
