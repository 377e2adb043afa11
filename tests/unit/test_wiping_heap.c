/* The allocator that wipes: blocks like malloc(3)'s, used by the libraries. test_net_secrets.c sees that it wipes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <string.h>

#include "wiping_heap.h"

static void test_blocks_keep_their_bytes_when_they_grow_and_shrink(void **state)
{
    (void)state;
    uint8_t *p = wiping_heap_realloc(NULL, 10);
    assert_non_null(p);
    memcpy(p, "0123456789", 10);
    p = wiping_heap_realloc(p, 100000);
    assert_memory_equal(p, "0123456789", 10);
    p = wiping_heap_realloc(p, 4);
    assert_memory_equal(p, "0123", 4);
    p = wiping_heap_realloc(p, 0);
    assert_non_null(p);
    wiping_heap_free(p);
    wiping_heap_free(NULL);
}

static void test_zeroed_blocks_are_zero_and_texts_are_copied(void **state)
{
    (void)state;
    uint8_t *p = wiping_heap_calloc(3, 5);
    assert_memory_equal(p, (uint8_t[15]){0}, 15);
    wiping_heap_free(p);
    char *text = wiping_heap_strdup("text");
    assert_string_equal(text, "text");
    wiping_heap_free(text);
}

static void test_openssl_and_jansson_use_it_once_it_is_installed(void **state)
{
    CRYPTO_malloc_fn malloc_fn;
    CRYPTO_realloc_fn realloc_fn;
    CRYPTO_free_fn free_fn;
    json_malloc_t json_malloc_fn;
    json_free_t json_free_fn;
    (void)state;
    assert_int_equal(wiping_heap_install(), 0);
    CRYPTO_get_mem_functions(&malloc_fn, &realloc_fn, &free_fn);
    assert_ptr_not_equal(malloc_fn, CRYPTO_malloc);
    json_get_alloc_funcs(&json_malloc_fn, &json_free_fn);
    assert_ptr_equal(json_free_fn, wiping_heap_free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_keep_their_bytes_when_they_grow_and_shrink),
        cmocka_unit_test(test_zeroed_blocks_are_zero_and_texts_are_copied),
        cmocka_unit_test(test_openssl_and_jansson_use_it_once_it_is_installed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
