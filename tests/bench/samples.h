/*
 * The durations of many requests, and what is said about them: one line
 *
 *   RATE P50 P99
 *
 * requests per second, and two percentiles in microseconds. A program that cannot go on says why and exits with 1: a
 * bench that leaves out what fails measures something else.
 */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

struct samples {
    uint32_t *nanoseconds;
    size_t count, capacity;
};

int64_t samples_now(void); /* nanoseconds of CLOCK_MONOTONIC */
void samples_add(struct samples *s, int64_t nanoseconds);
void samples_print(struct samples *s, int64_t duration); /* sorts them */
void samples_free(struct samples *s);

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
