/*
 * An allocator for libcurl, jansson and OpenSSL that wipes memory when it is freed.
 *
 * Their own copies of what passes through them (Authorization headers, tokens in JSON, TLS records) would otherwise
 * stay in the heap of the net process for as long as nothing happens to overwrite them.
 */
#ifndef NET_WIPING_HEAP_H
#define NET_WIPING_HEAP_H

#include "buffer.h"

/* Installs it, and initialises libcurl. Before any other use of the three libraries: OpenSSL refuses it (-1)
 * once it has used its own. */
int wiping_heap_install(void) MUST_CHECK;

void *wiping_heap_malloc(size_t size);
void *wiping_heap_calloc(size_t count, size_t size);
void *wiping_heap_realloc(void *old, size_t size);
char *wiping_heap_strdup(const char *text);
void wiping_heap_free(void *p);

#endif
