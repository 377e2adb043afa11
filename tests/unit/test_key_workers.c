/*
 * The processes of one key and what they are at (front/key_workers.c), with the test in the place of the processes:
 * what they are sent is read from their streams, which are open to nobody, and what they answer is given as a frame.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "key_workers_world.h"

#define SECOND UINT64_C(1000000)
#define WORKERS 2
#define AT_WORKER 8      /* at most */
#define AT_SLOW_WORKER 2 /* of a token that needs more than a millisecond */
#define JOBS 20

/* --- the world --- */

static struct front front;
static struct keys keys = {.front = &front};
static struct key_config config = {.workers = WORKERS, .sign_timeout = 5};
static struct child children[WORKERS];
static struct worker workers[WORKERS];
static struct key key;

static struct told {
    unsigned int times;
    enum status status;
    uint8_t signature;
    uint8_t field;
} told[JOBS];
static unsigned int tells, built;

static int set_up(void **state)
{
    (void)state;
    now = 100 * SECOND;
    killed = waits_for_its_turn = NULL;
    recovering = refused = tells = built = 0;
    memset(told, 0, sizeof(told));
    key = (struct key){.keys = &keys, .config = &config, .name = "k", .state = KEY_STATE_READY, .workers = workers};
    for (size_t i = 0; i < WORKERS; i++) {
        children[i] = (struct child){.id = 1, .stream = {.fd = -1}};
        buffer_init(&children[i].stream.out, INTERNAL_FRAME_MAX);
        workers[i] = (struct worker){.child = &children[i], .ready = true, .end = &workers[i].first};
    }
    return 0;
}

static int tear_down(void **state)
{
    struct error err;
    (void)state;
    (void)error_set(&err, STATUS_RESTARTED, NULL, "the agent ends");
    key_workers_end(&key, &err);
    for (size_t i = 0; i < WORKERS; i++) {
        struct stream *s = &children[i].stream;
        descriptors_close(&s->out_descriptors);
        buffer_free(&s->out);
    }
    return 0;
}

static enum status build(void *context, const struct key_public *public, uint8_t digest[JWK_DIGEST_SIZE],
                         struct error *err)
{
    (void)public;
    (void)err;
    memset(digest, (int)((struct told *)context - told), JWK_DIGEST_SIZE);
    built++;
    return STATUS_OK;
}

static void tell(struct told *t, const struct error *err)
{
    t->times++;
    tells++;
    t->status = err != NULL ? err->status : STATUS_OK;
    if (err != NULL)
        assert_true(err->message[0] != '\0');
}

static void on_signed(void *context, const struct error *err, const struct key_public *public, const uint8_t *signature)
{
    struct told *t = context;
    tell(t, err);
    assert_true(err != NULL || public == &key.public);
    t->signature = err == NULL ? signature[0] : 0;
}

static void on_called(void *context, const struct error *err, struct span fields)
{
    struct told *t = context;
    tell(t, err);
    t->field = err == NULL && fields.len > 0 ? fields.data[0] : 0;
}

static void sign(size_t i, uint32_t owner, uint64_t deadline)
{
    key_workers_sign(&key, &(struct sign_job){.build = build, .done = on_signed, .context = &told[i], .owner = owner,
                                              .deadline = deadline});
}

static struct key_call call_of(size_t i, bool repeatable, int fd)
{
    static const struct empty_message nothing;
    return (struct key_call){.operation = INTERNAL_KEY_MAKE, .message = &message_empty, .in = &nothing,
                             .descriptors = {fd, -1}, .repeatable = repeatable, .done = on_called, .context = &told[i],
                             .deadline = now + 100 * SECOND};
}

static void call(size_t i, bool repeatable, int fd)
{
    const struct key_call values = call_of(i, repeatable, fd);
    key_workers_call(&key, &values);
}

/* What the worker was sent last and first: the operation, and of a signature the digest's first byte. */
static uint16_t sent(size_t worker, uint8_t *digest)
{
    struct buffer *out = &children[worker].stream.out;
    struct frame frame;
    struct sign_request m;
    struct error err;
    size_t size;
    if (frame_take(buffer_span(out), INTERNAL_FRAME_MAX, &frame, &size) != FRAME_COMPLETE)
        return 0;
    if (frame.operation == INTERNAL_SIGN && digest != NULL) {
        assert_int_equal(message_take(frame.fields, &message_sign_request, &m, sizeof(m), &err), STATUS_OK);
        *digest = m.digest.data[0];
    }
    uint16_t operation = frame.operation;
    buffer_consume(out, size);
    return operation;
}

static void must_be_sent(size_t worker, uint8_t expected)
{
    uint8_t digest;
    assert_int_equal(sent(worker, &digest), INTERNAL_SIGN);
    assert_int_equal(digest, expected);
}

static bool answer(size_t worker, uint16_t operation, struct span fields)
{
    const struct frame frame = {.operation = operation, .fields = fields};
    return key_workers_frame(&key, &workers[worker], &frame);
}

static bool answer_signature(size_t worker, uint8_t byte, size_t len)
{
    uint8_t signature[JWK_SIGNATURE_SIZE + 1];
    struct buffer fields;
    memset(signature, byte, sizeof(signature));
    struct sign_answer m = {.signature = span_of(signature, len)};
    buffer_init(&fields, 1024);
    message_put(&fields, &message_sign_answer, &m);
    bool ok = answer(worker, INTERNAL_SIGN | OPERATION_ANSWER, buffer_span(&fields));
    buffer_free(&fields);
    return ok;
}

static bool answer_error(size_t worker, enum status status)
{
    struct buffer b;
    struct frame frame;
    struct error err;
    size_t size;
    (void)error_set(&err, status, NULL, "it went wrong");
    buffer_init(&b, INTERNAL_FRAME_MAX);
    messages_put_error(&b, 0, &err);
    assert_int_equal(frame_take(buffer_span(&b), INTERNAL_FRAME_MAX, &frame, &size), FRAME_COMPLETE);
    bool ok = answer(worker, frame.operation, frame.fields);
    buffer_free(&b);
    return ok;
}

static int open_one(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* --- signatures --- */

static void test_jobs_go_to_the_worker_with_the_fewest_and_no_more_than_it_needs(void **state)
{
    (void)state;
    for (size_t i = 0; i < 20; i++)
        sign(i, 0, now + SECOND);
    assert_int_equal(workers[0].count, AT_WORKER);
    assert_int_equal(workers[1].count, AT_WORKER);
    assert_int_equal(key.queue.waiting, 20 - 2 * AT_WORKER);
    assert_int_equal(built, 2 * AT_WORKER);
    for (uint8_t i = 0; i < AT_WORKER; i++) {
        must_be_sent(0, (uint8_t)(2 * i));
        must_be_sent(1, (uint8_t)(2 * i + 1));
    }
    assert_true(answer_signature(1, 7, JWK_SIGNATURE_SIZE));
    must_be_sent(1, 16); /* the next one that waits */
    assert_int_equal(told[1].times, 1);
    assert_int_equal(told[1].signature, 7);
    assert_int_equal(told[0].times, 0);
}

static void test_a_slow_token_has_one_job_and_the_next(void **state)
{
    (void)state;
    sign(0, 0, now + 60 * SECOND);
    now += SECOND;
    assert_true(answer_signature(0, 1, JWK_SIGNATURE_SIZE));
    assert_int_equal(key.sign_time, SECOND);
    for (size_t i = 1; i < 20; i++)
        sign(i, 0, now + 60 * SECOND);
    assert_int_equal(workers[0].count, AT_SLOW_WORKER);
    assert_int_equal(workers[1].count, AT_SLOW_WORKER);
    assert_int_equal(key.signatures, 1);
}

static void test_a_failure_gives_the_job_to_another_process_once(void **state)
{
    (void)state;
    sign(0, 0, now + SECOND);
    must_be_sent(0, 0);
    assert_true(answer_error(0, STATUS_KEY_FAILED));
    assert_false(workers[0].ready);
    assert_int_equal(recovering, 0);
    assert_int_equal(told[0].times, 0);
    must_be_sent(1, 0);
    assert_true(answer_error(1, STATUS_KEY_FAILED));
    assert_int_equal(told[0].times, 1);
    assert_int_equal(told[0].status, STATUS_KEY_FAILED);
    assert_int_equal(recovering, 1);
}

static void test_what_a_process_was_at_when_it_ended_comes_first_again_in_its_order(void **state)
{
    (void)state;
    workers[1].ready = false;
    for (size_t i = 0; i < AT_WORKER + 2; i++)
        sign(i, 0, now + SECOND);
    key_workers_ended(&key, &workers[0]);
    assert_int_equal(key.queue.waiting, AT_WORKER + 2);
    workers[1].ready = true;
    key_workers_pump(&key);
    for (uint8_t i = 0; i < AT_WORKER; i++)
        must_be_sent(1, i);
    key_workers_ended(&key, &workers[1]); /* for the second time: told, and not sent a third time */
    for (size_t i = 0; i < AT_WORKER; i++)
        assert_true(told[i].times == 1 && told[i].status == STATUS_RESTARTED);
    assert_int_equal(key.queue.waiting, 2);
}

static void test_who_waits_is_told_at_the_deadline_and_an_answer_after_it_is_nobodys(void **state)
{
    (void)state;
    workers[1].ready = false;
    for (size_t i = 0; i < AT_WORKER + 1; i++)
        sign(i, 0, now + (i == 1 ? 3 : 1) * SECOND);
    now += SECOND;
    key_workers_tick(&key, now);
    for (size_t i = 0; i < AT_WORKER + 1; i++)
        assert_true(told[i].times == (i != 1) && (i == 1 || told[i].status == STATUS_TIMEOUT));
    assert_int_equal(workers[0].count, AT_WORKER); /* it is at them still */
    assert_true(key_workers_waiting(&key));
    assert_true(answer_signature(0, 5, JWK_SIGNATURE_SIZE));
    assert_true(answer_signature(0, 6, JWK_SIGNATURE_SIZE));
    assert_true(told[0].times == 1 && told[0].status == STATUS_TIMEOUT);
    assert_true(told[1].times == 1 && told[1].status == STATUS_OK && told[1].signature == 6);
}

static void test_a_refused_key_tells_its_reason_to_all_who_wait(void **state)
{
    struct error why;
    (void)state;
    workers[0].ready = workers[1].ready = false;
    sign(0, 0, now + SECOND);
    sign(1, 9, now + SECOND);
    assert_int_equal(tells, 0);
    (void)error_set(&why, STATUS_KEY_ABSENT, NULL, "it is not there");
    keys_refuse(&key, &why);
    key_workers_pump(&key);
    assert_true(told[0].status == STATUS_KEY_ABSENT && told[1].status == STATUS_KEY_ABSENT);
    sign(2, 0, now + SECOND); /* and to who comes later */
    assert_int_equal(told[2].status, STATUS_KEY_ABSENT);
    assert_int_equal(built, 0);
}

/* --- processes that say nothing, or nonsense --- */

static void test_a_process_that_does_not_sign_in_time_is_killed(void **state)
{
    (void)state;
    sign(0, 0, now + 60 * SECOND);
    key_workers_tick(&key, now + 5 * SECOND);
    assert_null(killed);
    assert_int_equal(key_workers_stalled(&key, now + 3 * SECOND), 3000);
    key_workers_tick(&key, now + 5 * SECOND + 1);
    assert_ptr_equal(killed, &children[0]);
    assert_false(workers[0].ready);
    assert_int_equal(recovering, 0); /* the other one is ready */
    assert_int_equal(told[0].times, 0);
}

static void test_a_call_and_an_opening_have_thirty_seconds(void **state)
{
    (void)state;
    call(0, false, -1);
    key_workers_tick(&key, now + 30 * SECOND);
    assert_null(killed);
    key_workers_tick(&key, now + 30 * SECOND + 1);
    assert_ptr_equal(killed, &children[0]);

    killed = NULL;
    workers[1].ready = false;
    workers[1].progress = now;
    waits_for_its_turn = &children[1];
    key_workers_tick(&key, now + 40 * SECOND);
    assert_int_equal(refused, 0);
    waits_for_its_turn = NULL;
    workers[1].progress = UINT64_MAX; /* it waits for a PIN */
    key_workers_tick(&key, now + 90 * SECOND);
    assert_int_equal(refused, 0);
    workers[1].progress = now;
    key_workers_tick(&key, now + 30 * SECOND + 1);
    assert_int_equal(refused, 1);
    assert_ptr_equal(killed, &children[1]);
}

static void test_nonsense_from_a_process_is_refused(void **state)
{
    (void)state;
    assert_false(answer_signature(0, 1, JWK_SIGNATURE_SIZE)); /* to nothing that was asked */
    sign(0, 0, now + SECOND);
    assert_false(answer_signature(0, 1, JWK_SIGNATURE_SIZE - 1));
    assert_false(answer_signature(0, 1, JWK_SIGNATURE_SIZE + 1));
    assert_false(answer(0, INTERNAL_SIGN | OPERATION_ANSWER, span_text("x")));
    assert_false(answer(0, INTERNAL_KEY_MAKE | OPERATION_ANSWER, span_of("", 0)));
    assert_false(answer(0, OPERATION_ERROR, span_text("x")));
    call(1, false, -1);
    assert_false(answer_signature(1, 1, JWK_SIGNATURE_SIZE));
    assert_false(answer(1, INTERNAL_DATA_KEY | OPERATION_ANSWER, span_of("", 0)));
    assert_int_equal(tells, 0);
}

/* --- calls --- */

static void test_the_failure_of_a_call_is_that_calls_alone(void **state)
{
    (void)state;
    call(0, true, -1);
    assert_int_equal(sent(0, NULL), INTERNAL_KEY_MAKE);
    assert_true(answer_error(0, STATUS_INVALID_ARGUMENT));
    assert_true(told[0].times == 1 && told[0].status == STATUS_INVALID_ARGUMENT);
    assert_true(workers[0].ready);
    call(1, true, -1);
    assert_true(answer(0, INTERNAL_KEY_MAKE | OPERATION_ANSWER, span_text("z")));
    assert_true(told[1].times == 1 && told[1].status == STATUS_OK && told[1].field == 'z');
}

static void test_only_a_call_that_may_be_asked_twice_goes_to_the_next_process(void **state)
{
    (void)state;
    workers[1].ready = false;
    call(0, true, -1);
    call(1, false, -1);
    key_workers_ended(&key, &workers[0]);
    assert_true(told[0].times == 0 && told[1].times == 1 && told[1].status == STATUS_RESTARTED);
    workers[1].ready = true;
    key_workers_pump(&key);
    assert_int_equal(sent(1, NULL), INTERNAL_KEY_MAKE);
    key_workers_ended(&key, &workers[1]);
    assert_true(told[0].times == 1 && told[0].status == STATUS_RESTARTED);
}

static void test_descriptors_go_with_their_call_or_are_closed(void **state)
{
    int with = open_one(), waiting = open_one();
    (void)state;
    workers[1].ready = false;
    call(0, false, with);
    assert_int_equal(children[0].stream.out_descriptors.count, 1);
    assert_int_equal(children[0].stream.out_descriptors.fds[0], with);
    call(1, false, open_one()); /* the stream has room for those of one frame */
    assert_true(told[1].times == 1 && told[1].status == STATUS_BUSY);
    assert_true(answer(0, INTERNAL_KEY_MAKE | OPERATION_ANSWER, span_of("", 0)));
    assert_true(fcntl(with, F_GETFD) >= 0); /* the stream closes it */

    workers[0].ready = false;
    call(2, false, waiting);
    assert_true(fcntl(waiting, F_GETFD) >= 0);
    key_workers_tick(&key, now + 100 * SECOND);
    assert_int_equal(told[2].status, STATUS_TIMEOUT);
    assert_int_equal(fcntl(waiting, F_GETFD), -1);
}

static void test_unlock_goes_to_a_process_that_waits_for_a_pin_past_the_queue(void **state)
{
    const struct key_call unlock = call_of(0, false, -1);
    (void)state;
    workers[0].ready = workers[1].ready = false;
    assert_false(key_workers_unlock(&key, &unlock)); /* both are opening the token */
    sign(1, 0, now + SECOND);
    workers[1].progress = UINT64_MAX;
    assert_true(key_workers_unlock(&key, &unlock));
    assert_int_equal(sent(1, NULL), INTERNAL_KEY_MAKE);
    assert_int_equal(workers[1].count, 1);
    assert_int_equal(key.queue.waiting, 1);
    key_workers_ended(&key, &workers[1]);
    assert_true(told[0].times == 1 && told[0].status == STATUS_RESTARTED);
    assert_false(key_workers_unlock(&key, &unlock)); /* none lives */
    assert_int_equal(told[0].times, 1);
}

static void test_the_end_tells_everybody(void **state)
{
    struct error why;
    int fd = open_one();
    (void)state;
    workers[1].ready = false;
    sign(0, 0, now + SECOND);
    call(1, true, -1);
    workers[0].ready = false;
    sign(2, 3, now + SECOND);
    call(3, false, fd);
    (void)error_set(&why, STATUS_RESTARTED, NULL, "the agent ends");
    key_workers_end(&key, &why);
    for (size_t i = 0; i < 4; i++)
        assert_true(told[i].times == 1 && told[i].status == STATUS_RESTARTED);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(key.queue.waiting + workers[0].count, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_jobs_go_to_the_worker_with_the_fewest_and_no_more_than_it_needs),
        TEST(test_a_slow_token_has_one_job_and_the_next),
        TEST(test_a_failure_gives_the_job_to_another_process_once),
        TEST(test_what_a_process_was_at_when_it_ended_comes_first_again_in_its_order),
        TEST(test_who_waits_is_told_at_the_deadline_and_an_answer_after_it_is_nobodys),
        TEST(test_a_refused_key_tells_its_reason_to_all_who_wait),
        TEST(test_a_process_that_does_not_sign_in_time_is_killed),
        TEST(test_a_call_and_an_opening_have_thirty_seconds),
        TEST(test_nonsense_from_a_process_is_refused),
        TEST(test_the_failure_of_a_call_is_that_calls_alone),
        TEST(test_only_a_call_that_may_be_asked_twice_goes_to_the_next_process),
        TEST(test_descriptors_go_with_their_call_or_are_closed),
        TEST(test_unlock_goes_to_a_process_that_waits_for_a_pin_past_the_queue),
        TEST(test_the_end_tells_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
