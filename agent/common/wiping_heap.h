/*
 * An allocator for OpenSSL, jansson and libcurl that wipes memory when it is freed.
 *
 * Their own copies of what passes through them (Authorization headers, tokens in JSON, TLS records; the private key
 * in a file that is imported) would otherwise stay in the heap of the net and key processes for as long as nothing
 * happens to overwrite them.
 */
#ifndef AGENT_WIPING_HEAP_H
#define AGENT_WIPING_HEAP_H

#include "buffer.h"

/* Gives it to OpenSSL and jansson. Before any other use of the two: OpenSSL refuses it (-1) once it has used its own.
 * (libcurl takes the functions below when it is initialised: net/main.c.) */
int wiping_heap_install(void) MUST_CHECK;

void *wiping_heap_malloc(size_t size);
void *wiping_heap_calloc(size_t count, size_t size);
void *wiping_heap_realloc(void *old, size_t size);
char *wiping_heap_strdup(const char *text);
void wiping_heap_free(void *p);

#endif
