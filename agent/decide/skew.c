/* See skew.h. */
#include "skew.h"

#include "origin_table.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct skew_table {
    unsigned int bound;
    struct origin_table *seconds; /* int64_t */
};

struct skew_table *skew_table_new(size_t max, unsigned int bound_seconds)
{
    struct skew_table *table = malloc(sizeof(*table));
    if (table == NULL)
        return NULL;
    *table = (struct skew_table){.bound = bound_seconds, .seconds = origin_table_new(max, sizeof(int64_t), NULL)};
    if (table->seconds == NULL) {
        free(table);
        return NULL;
    }
    return table;
}

void skew_table_free(struct skew_table *table)
{
    if (table == NULL)
        return;
    origin_table_free(table->seconds);
    free(table);
}

int64_t skew_get(const struct skew_table *table, const char *origin)
{
    const int64_t *seconds = origin_table_find(table->seconds, origin);
    return seconds != NULL ? *seconds : 0;
}

static bool far_apart(int64_t a, int64_t b)
{
    return (a > b ? a - b : b - a) >= SKEW_WORTH_A_RETRY;
}

bool skew_learn(struct skew_table *table, const char *origin, struct span date, int64_t now, int64_t used)
{
    int64_t servers, difference;
    void *seconds;
    if (table->bound == 0 || skew_parse_date(date, &servers) != 0 || __builtin_sub_overflow(servers, now, &difference))
        return false;
    if (difference > (int64_t)table->bound || difference < -(int64_t)table->bound)
        return false;
    if (far_apart(difference, skew_get(table, origin))) {
        if (origin_table_put(table->seconds, origin, &seconds) != ORIGIN_TABLE_PUT)
            return false;
        *(int64_t *)seconds = difference;
    }
    return far_apart(skew_get(table, origin), used);
}

/* Takes one of `names` from the front of the text: its place in the list, -1 for none. */
static int take_name(struct span *text, const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        size_t len = strlen(names[i]);
        if (text->len >= len && memcmp(text->data, names[i], len) == 0) {
            *text = span_of(text->data + len, text->len - len);
            return i;
        }
    }
    return -1;
}

static int take_day_name(struct span *text)
{
    static const char *const names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    return take_name(text, names, 7);
}

static int take_long_day_name(struct span *text)
{
    static const char *const names[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    return take_name(text, names, 7);
}

static int take_month(struct span *text)
{
    static const char *const names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    return take_name(text, names, 12);
}

static bool take_literal(struct span *text, const char *literal)
{
    return take_name(text, (const char *const[]){literal}, 1) == 0;
}

/* Exactly that many digits; -1 for anything else. */
static int take_number(struct span *text, size_t digits)
{
    int number = 0;
    struct span taken;
    if (span_take(text, digits, &taken) != 0)
        return -1;
    for (size_t i = 0; i < digits; i++) {
        if (taken.data[i] < '0' || taken.data[i] > '9')
            return -1;
        number = number * 10 + (taken.data[i] - '0');
    }
    return number;
}

/* `08:49:37` */
static bool take_time(struct span *text, struct tm *tm)
{
    tm->tm_hour = take_number(text, 2);
    bool colons = take_literal(text, ":");
    tm->tm_min = take_number(text, 2);
    colons = take_literal(text, ":") && colons;
    tm->tm_sec = take_number(text, 2);
    return colons;
}

/* `Sun, 06 Nov 1994 08:49:37 GMT`. What a number or name failed to be is -1, and to_seconds refuses it. */
static bool take_imf_fixdate(struct span text, struct tm *tm)
{
    tm->tm_wday = take_day_name(&text);
    if (!take_literal(&text, ", "))
        return false;
    tm->tm_mday = take_number(&text, 2);
    bool ok = take_literal(&text, " ");
    tm->tm_mon = take_month(&text);
    ok = take_literal(&text, " ") && ok;
    tm->tm_year = take_number(&text, 4) - 1900;
    ok = take_literal(&text, " ") && take_time(&text, tm) && ok;
    return take_literal(&text, " GMT") && text.len == 0 && ok;
}

/* `Sunday, 06-Nov-94 08:49:37 GMT`; the year is 1900 to 1999 after it. */
static bool take_rfc850_date(struct span text, struct tm *tm)
{
    tm->tm_wday = take_long_day_name(&text);
    if (!take_literal(&text, ", "))
        return false;
    tm->tm_mday = take_number(&text, 2);
    bool ok = take_literal(&text, "-");
    tm->tm_mon = take_month(&text);
    ok = take_literal(&text, "-") && ok;
    tm->tm_year = take_number(&text, 2);
    ok = take_literal(&text, " ") && take_time(&text, tm) && ok && tm->tm_year >= 0;
    return take_literal(&text, " GMT") && text.len == 0 && ok;
}

/* `Sun Nov  6 08:49:37 1994` */
static bool take_asctime_date(struct span text, struct tm *tm)
{
    tm->tm_wday = take_day_name(&text);
    bool ok = take_literal(&text, " ");
    tm->tm_mon = take_month(&text);
    ok = take_literal(&text, " ") && ok;
    tm->tm_mday = take_literal(&text, " ") ? take_number(&text, 1) : take_number(&text, 2);
    ok = take_literal(&text, " ") && take_time(&text, tm) && ok;
    ok = take_literal(&text, " ") && ok;
    tm->tm_year = take_number(&text, 4) - 1900;
    return text.len == 0 && ok;
}

/* timegm takes 31 November for 1 December: what it makes of the date must be the same day, and have the day's name. */
static int to_seconds(struct tm date, int64_t *out)
{
    bool leap_second = date.tm_hour == 23 && date.tm_min == 59 && date.tm_sec == 60;
    struct tm check = date;
    if (date.tm_year < -1900 || date.tm_mon < 0 || date.tm_mday < 1 || date.tm_wday < 0 || date.tm_hour < 0 ||
        date.tm_hour > 23 || date.tm_min < 0 || date.tm_min > 59 || date.tm_sec < 0 ||
        (date.tm_sec > 59 && !leap_second))
        return -1;
    check.tm_hour = check.tm_min = check.tm_sec = 0; /* a leap second belongs to the day that it ends */
    int64_t midnight = timegm(&check);
    if (check.tm_mday != date.tm_mday || check.tm_mon != date.tm_mon || check.tm_wday != date.tm_wday)
        return -1;
    *out = midnight + date.tm_hour * 3600 + date.tm_min * 60 + date.tm_sec;
    return 0;
}

int skew_parse_date(struct span date, int64_t *out)
{
    struct tm tm = {0};
    if (date.data == NULL)
        return -1;
    if (take_imf_fixdate(date, &tm) || take_asctime_date(date, &tm))
        return to_seconds(tm, out);
    if (!take_rfc850_date(date, &tm))
        return -1;
    struct tm later = tm;
    later.tm_year += 100;
    return to_seconds(later, out) == 0 ? 0 : to_seconds(tm, out);
}
