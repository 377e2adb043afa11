/*
 * The fault matrix of the key process: every function of PKCS#11 that it calls fails with everything that the
 * specification lists for it (vectors/pkcs11-return-values.txt): once while the key is opened; once while it is in
 * use, by itself and while the process mends another failure; and for ever. The shim fails with the call not made, or
 * made. In each case no process may crash, leak, hang or answer wrongly, every failure says what to do, a refused PIN
 * is not sent again, and when the fault is over the key works again without help.
 *
 * test_key_matrix FUNCTION: every value of this one. DPOP_FULL=1: every value of all. Else a tenth of the pairs of
 * function and value, others for each kind of case.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "key_front.h"

#define VALUES_MAX 64
#define FUNCTIONS_MAX 48
#define SAMPLE 10  /* of so many values one is tried, unless all are */
#define HEALED 6   /* requests and processes until a fault that happens once must be over */
#define COMMAND 192

struct value {
    char name[48];
    CK_RV rv;
};

static struct {
    struct value values[VALUES_MAX * 2];
    size_t value_count;
    struct {
        char name[32];
        const struct value *values[VALUES_MAX];
        size_t count;
    } functions[FUNCTIONS_MAX];
    size_t function_count;
} table;

static struct key_front front;
static const char *only; /* the one function that is looked at; NULL: all */

/* ---- the table ---- */

static const struct value *find_value(const char *name)
{
    for (size_t i = 0; i < table.value_count; i++)
        if (strcmp(table.values[i].name, name) == 0)
            return &table.values[i];
    fail_msg("no number for %s", name);
    return NULL;
}

static void read_line(char *line)
{
    char *rest = NULL, *name = strtok_r(line, " \n", &rest), *word = strtok_r(NULL, " \n", &rest);
    assert_non_null(word);
    if (strncmp(name, "CKR_", 4) == 0) {
        assert_true(table.value_count < VALUES_MAX * 2);
        struct value *v = &table.values[table.value_count++];
        (void)snprintf(v->name, sizeof(v->name), "%s", name);
        v->rv = strtoul(word, NULL, 0);
        return;
    }
    assert_true(table.function_count < FUNCTIONS_MAX);
    size_t n = table.function_count++;
    (void)snprintf(table.functions[n].name, sizeof(table.functions[n].name), "%s", name);
    for (; word != NULL; word = strtok_r(NULL, " \n", &rest)) {
        assert_true(table.functions[n].count < VALUES_MAX);
        table.functions[n].values[table.functions[n].count++] = find_value(word);
    }
}

static void read_table(void)
{
    char line[4096];
    FILE *file = fopen(TEST_VECTORS "/pkcs11-return-values.txt", "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        if (line[0] != '#')
            read_line(line);
    (void)fclose(file);
    assert_true(table.function_count > 20 && table.value_count > 40);
}

static bool full(void)
{
    const char *text = getenv("DPOP_FULL");
    return text != NULL && strcmp(text, "1") == 0;
}

/* ---- going through it ---- */

typedef void try_case(const char *function, const struct value *value, const char *how);

/* Every function, or those of a list that ends with NULL. `kind` moves the sample. */
static void for_each(const char *const *functions, size_t kind, const char *how, try_case *try)
{
    size_t n = kind;
    struct timespec begun, ended;
    unsigned int cases = front.cases, wrong = front.wrong;
    (void)clock_gettime(CLOCK_MONOTONIC, &begun);
    for (size_t i = 0; i < table.function_count; i++) {
        const char *const *listed = functions;
        while (listed != NULL && *listed != NULL && strcmp(*listed, table.functions[i].name) != 0)
            listed++;
        if ((listed != NULL && *listed == NULL) || (only != NULL && strcmp(only, table.functions[i].name) != 0))
            continue;
        for (size_t j = 0; j < table.functions[i].count; j++)
            if (full() || only != NULL || n++ % SAMPLE == 0)
                try(table.functions[i].name, table.functions[i].values[j], how);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &ended);
    key_front_command(&front, "");
    print_message("# %u cases%s, %.1f s\n", front.cases - cases,
                  full() || only != NULL ? "" : " (DPOP_FULL=1: ten times as many)",
                  (double)(ended.tv_sec - begun.tv_sec) + (double)(ended.tv_nsec - begun.tv_nsec) / 1e9);
    assert_int_equal(front.wrong, wrong);
}

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* The token has judged the PIN, and will not have it. */
static bool refuses_pin(const char *function, CK_RV rv)
{
    return is(function, "C_Login") && (rv == CKR_PIN_INCORRECT || rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE ||
                                       rv == CKR_PIN_EXPIRED || rv == CKR_PIN_LOCKED);
}

/* A log-in that ended so may have been counted as one with a wrong PIN. */
static bool may_have_counted(CK_RV rv)
{
    return rv == CKR_GENERAL_ERROR || rv == CKR_FUNCTION_FAILED || rv == CKR_FUNCTION_CANCELED ||
           rv == CKR_DEVICE_ERROR || rv == CKR_DEVICE_MEMORY || rv == CKR_DEVICE_REMOVED || rv == CKR_HOST_MEMORY ||
           rv >= CKR_VENDOR_DEFINED;
}

/* The states that a failure which stays may lead to. */
static void check_state(const char *function, CK_RV rv, enum status status)
{
    bool gone = rv == CKR_DEVICE_REMOVED || rv == CKR_TOKEN_NOT_PRESENT || rv == CKR_TOKEN_NOT_RECOGNIZED;
    bool fits;
    if (refuses_pin(function, rv))
        fits = status == STATUS_KEY_LOCKED;
    else if (is(function, "C_Login") && rv == CKR_USER_PIN_NOT_INITIALIZED)
        fits = status == STATUS_KEY_UNFIT || status == STATUS_KEY_LOCKED;
    else if (gone)
        fits = status == STATUS_KEY_ABSENT;
    else if (is(function, "C_GetAttributeValue") &&
             (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE))
        fits = status == STATUS_KEY_UNFIT;
    else
        fits = status == STATUS_KEY_FAILED || status == STATUS_KEY_ABSENT ||
               (is(function, "C_Login") && status == STATUS_KEY_LOCKED); /* sent, and nobody knows what came of it */
    if (!fits)
        key_front_wrong(&front, "status %d does not fit: %s", status, front.error.message);
}

/* A PIN that was refused: later processes do not log in with it. */
static void check_not_sent_again(void)
{
    for (int i = 0; i < 2; i++) {
        size_t calls = key_world_calls(front.w, "C_Login");
        key_front_stop(&front);
        enum status status = key_front_ready(&front);
        if (status != STATUS_KEY_LOCKED || key_world_calls(front.w, "C_Login") != calls)
            key_front_wrong(&front, "status %d, and C_Login was called %zu times more", status,
                            key_world_calls(front.w, "C_Login") - calls);
    }
    key_front_stop(&front);
}

static void fail_while_opening(const char *function, const struct value *value, const char *how)
{
    char command[COMMAND];
    (void)snprintf(command, sizeof(command), "%s %s 0x%lx once\n", function, how, value->rv);
    key_front_stop(&front);
    key_front_begin(&front, command, "%s %s %s while the key is opened", function, how, value->name);
    enum status status = key_front_ready(&front);
    if (refuses_pin(function, value->rv)) {
        check_state(function, value->rv, status);
        if (value->rv != CKR_PIN_LOCKED) /* which says nothing about this PIN */
            check_not_sent_again();
        key_front_stop(&front);
        return;
    }
    if (is(function, "C_Login") && status != STATUS_OK && may_have_counted(value->rv)) { /* and was never accepted */
        status = key_front_ready(&front);
        if (status != STATUS_OK && status != STATUS_KEY_LOCKED)
            key_front_wrong(&front, "then status %d: %s", status, front.error.message);
        key_front_stop(&front);
        return;
    }
    key_front_heals(&front, HEALED);
}

/* A process that serves, and has accepted its PIN. */
static void serve_first(const char *function, const struct value *value, const char *how, const char *when)
{
    key_front_begin(&front, "", "%s %s %s %s", function, how, value->name, when);
    if (!front.ready && key_front_ready(&front) != STATUS_OK)
        key_front_wrong(&front, "it was not ready before: %s", front.error.message);
}

/* The function fails once, and at the same time another call does, so that the process goes up the ladder. */
static void fail_while_mending(const char *function, const struct value *value, const char *how, CK_RV first)
{
    char command[COMMAND];
    const char *other = is(function, "C_Sign") ? "C_SignInit" : "C_Sign";
    (void)snprintf(command, sizeof(command), "%s fail 0x%lx once\n%s %s 0x%lx once\n", other, (unsigned long)first,
                   function, how, value->rv);
    serve_first(function, value, how, first == CKR_OBJECT_HANDLE_INVALID ? "while the key is found again"
                                      : first == CKR_SESSION_HANDLE_INVALID ? "while it logs in again"
                                                                            : "when a signature has failed");
    key_front_command(&front, command);
    if (!front.ready)
        return;
    (void)key_front_ask(&front, false);
    if (refuses_pin(function, value->rv)) { /* if it logged in at all, then once */
        key_front_command(&front, "");
        key_front_stop(&front);
        return;
    }
    key_front_heals(&front, HEALED);
}

static void fail_in_use(const char *function, const struct value *value, const char *how)
{
    char command[COMMAND];
    (void)snprintf(command, sizeof(command), "%s %s 0x%lx once\n", function, how, value->rv);
    serve_first(function, value, how, "in use");
    key_front_command(&front, command);
    if (!front.ready)
        return;
    (void)key_front_ask(&front, false);
    key_front_heals(&front, HEALED);
}

static void fail_while_found_again(const char *function, const struct value *value, const char *how)
{
    fail_while_mending(function, value, how, CKR_OBJECT_HANDLE_INVALID);
}

static void fail_while_logging_in_again(const char *function, const struct value *value, const char *how)
{
    fail_while_mending(function, value, how, CKR_SESSION_HANDLE_INVALID);
}

static void fail_while_starting_again(const char *function, const struct value *value, const char *how)
{
    fail_while_mending(function, value, how, CKR_GENERAL_ERROR);
}

/* It fails always: a state that fits, or it does not matter. Then it does not fail any longer. */
static void fail_for_ever(const char *function, const struct value *value, const char *how)
{
    char command[COMMAND];
    (void)snprintf(command, sizeof(command), "%s %s 0x%lx\n", function, how, value->rv);
    key_front_stop(&front);
    key_front_begin(&front, command, "%s %s %s for ever", function, how, value->name);
    enum status status = STATUS_OK;
    for (int i = 0; i < 2; i++) {
        status = key_front_ready(&front);
        if (status == STATUS_OK && key_front_ask(&front, false) != STATUS_OK)
            key_front_wrong(&front, "it is ready, and does not sign");
        if (status != STATUS_OK)
            check_state(function, value->rv, status);
        key_front_stop(&front);
    }
    if (is(function, "C_Login") && key_world_calls(front.w, "C_Login") > (refuses_pin(function, value->rv) ? 1 : 4) &&
        value->rv != CKR_PIN_LOCKED)
        key_front_wrong(&front, "C_Login was called %zu times", key_world_calls(front.w, "C_Login"));
    key_front_command(&front, "");
    if (!is(function, "C_Login"))
        key_front_heals(&front, HEALED);
}

/* It works, then it fails always, and then it does not any longer. */
static void fail_from_now_on(const char *function, const struct value *value, const char *how)
{
    char command[COMMAND];
    const char *other = is(function, "C_Sign") ? "C_SignInit" : "C_Sign";
    (void)snprintf(command, sizeof(command), "%s %s 0x%lx\n%s fail 0x%lx once\n", function, how, value->rv, other,
                   CKR_SESSION_HANDLE_INVALID);
    serve_first(function, value, how, "from now on");
    key_front_command(&front, command);
    for (int i = 0; i < 2 && front.ready; i++)
        (void)key_front_ask(&front, false);
    if (!front.ready && front.error.status != STATUS_OK && !front.alive)
        (void)key_front_ready(&front);
    key_front_command(&front, "");
    if (is(function, "C_Login"))
        key_front_stop(&front);
    else
        key_front_heals(&front, HEALED);
}

/* ---- the data key ---- */

static void remove_data_keys(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_ATTRIBUTE wanted = {CKA_CLASS, &class, sizeof(class)};
    CK_OBJECT_HANDLE objects[8];
    CK_ULONG *count = data;
    assert_int_equal(f->C_FindObjectsInit(session, &wanted, 1), CKR_OK);
    assert_int_equal(f->C_FindObjects(session, objects, 8, count), CKR_OK);
    assert_int_equal(f->C_FindObjectsFinal(session), CKR_OK);
    for (CK_ULONG i = 0; i < *count; i++)
        assert_int_equal(f->C_DestroyObject(session, objects[i]), CKR_OK);
}

static void fail_while_data_key_is_made(const char *function, const struct value *value, const char *how)
{
    char command[COMMAND];
    CK_ULONG count = 0;
    (void)snprintf(command, sizeof(command), "%s %s 0x%lx once\n", function, how, value->rv);
    serve_first(function, value, how, "while the data key is made");
    key_front_command(&front, command);
    if (!front.ready)
        return;
    (void)key_front_ask(&front, true);
    key_front_heals(&front, HEALED);
    key_front_command(&front, "");
    if (front.ready && key_front_ask(&front, true) != STATUS_OK)
        key_front_wrong(&front, "no data key afterwards: %s", front.error.message);
    softhsm_with_session(&front.w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, remove_data_keys, &count);
    if (count != 1)
        key_front_wrong(&front, "there are %lu data keys", count);
}

/* ---- the tests ---- */

#define TEST(name, functions, kind, how)                 \
    static void name(void **state)                       \
    {                                                    \
        (void)state;                                     \
        for_each(functions, __LINE__, how, kind);        \
    }

static const char *const data_key_functions[] = {
    "C_OpenSession", "C_CloseSession", "C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal",
    "C_GetAttributeValue", "C_CreateObject", "C_DestroyObject", "C_GetSessionInfo", NULL,
};

TEST(a_call_that_fails_once_while_the_key_is_opened_delays_it, NULL, fail_while_opening, "fail")
TEST(a_call_that_is_made_and_fails_while_the_key_is_opened_delays_it, NULL, fail_while_opening, "late")
TEST(a_call_that_fails_once_in_use_costs_one_request, NULL, fail_in_use, "fail")
TEST(a_call_that_is_made_and_fails_in_use_costs_one_request, NULL, fail_in_use, "late")
TEST(a_second_failure_while_the_key_is_found_again_is_mended_too, NULL, fail_while_found_again, "fail")
TEST(a_second_failure_while_it_logs_in_again_is_mended_too, NULL, fail_while_logging_in_again, "fail")
TEST(a_second_failure_when_the_module_is_broken_is_mended_too, NULL, fail_while_starting_again, "fail")
TEST(a_call_that_always_fails_is_a_state_with_its_reason, NULL, fail_for_ever, "fail")
TEST(a_call_that_always_fails_from_some_moment_on_is_survived, NULL, fail_from_now_on, "fail")
TEST(a_failure_while_the_data_key_is_made_makes_no_second_one, data_key_functions, fail_while_data_key_is_made, "fail")

static int open_world(void **state)
{
    read_table();
    key_front_open(&front, state);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    key_front_close(&front);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_that_fails_once_while_the_key_is_opened_delays_it),
        cmocka_unit_test(a_call_that_is_made_and_fails_while_the_key_is_opened_delays_it),
        cmocka_unit_test(a_call_that_fails_once_in_use_costs_one_request),
        cmocka_unit_test(a_call_that_is_made_and_fails_in_use_costs_one_request),
        cmocka_unit_test(a_second_failure_while_the_key_is_found_again_is_mended_too),
        cmocka_unit_test(a_second_failure_while_it_logs_in_again_is_mended_too),
        cmocka_unit_test(a_second_failure_when_the_module_is_broken_is_mended_too),
        cmocka_unit_test(a_call_that_always_fails_is_a_state_with_its_reason),
        cmocka_unit_test(a_call_that_always_fails_from_some_moment_on_is_survived),
        cmocka_unit_test(a_failure_while_the_data_key_is_made_makes_no_second_one),
    };
    only = argc > 1 ? argv[1] : NULL;
    return cmocka_run_group_tests(tests, open_world, close_world);
}
