/* See samples.h. */
#include "samples.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define FIRST_CAPACITY 65536

int64_t samples_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void samples_add(struct samples *s, int64_t nanoseconds)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity == 0 ? FIRST_CAPACITY : 2 * s->capacity;
        s->nanoseconds = realloc(s->nanoseconds, s->capacity * sizeof(*s->nanoseconds));
        if (s->nanoseconds == NULL)
            die("out of memory for samples");
    }
    s->nanoseconds[s->count++] = nanoseconds < UINT32_MAX ? (uint32_t)nanoseconds : UINT32_MAX;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(const struct samples *s, double share)
{
    return s->nanoseconds[(size_t)((double)(s->count - 1) * share)] / 1e3;
}

void samples_print(struct samples *s, int64_t duration)
{
    if (s->count == 0)
        die("not one request was answered");
    qsort(s->nanoseconds, s->count, sizeof(*s->nanoseconds), by_size);
    double rate = (double)s->count * 1e9 / (double)duration;
    (void)printf("%.1f %.1f %.1f\n", rate, percentile(s, 0.50), percentile(s, 0.99));
}

void samples_free(struct samples *s)
{
    free(s->nanoseconds);
    *s = (struct samples){0};
}

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "%s: ", program_invocation_short_name);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\n");
    va_end(args);
    exit(EXIT_FAILURE);
}
