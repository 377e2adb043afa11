/*
 * Promise 3 under everything at once: a server that rotates refresh tokens and takes each for one use, answers that are lost before
 * or behind it, a disk that is slow or full, kills at every moment, and callers in between. In random order, thousands of times,
 * with what must always hold:
 *
 *  - who gets an access token can rely on the newest refresh token being on disk;
 *  - a user has to log in only where the server has spent the token and its answer was not kept, or where two answers were lost;
 *  - while an access token still works, a refresh token that is in doubt, or held because of a gateway's failure, is not sent;
 *  - a refresh token reaches the server twice at most, and once more for each kill and each gateway's failure.
 */
#include "log.h"
#include "logins_world.h"

#define WORLDS 2000
#define STEPS 80
#define LIFETIME 100

static uint64_t seed;

static unsigned int dice(unsigned int sides)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned int)(seed >> 33) % sides;
}

static struct {
    unsigned int valid;     /* what the server takes */
    unsigned int delivered; /* the newest whose answer we read */
    unsigned int lost;      /* answers in a row that were lost, kills included */
    unsigned int issued;
    unsigned int reached[3 * STEPS]; /* how often each has come to the server */
    unsigned int kills;     /* since the newest was delivered */
    unsigned int gateways;  /* failures that a gateway tells, since then */
    bool held;              /* the last send failed so, and the agent knows it */
    uint64_t access_until;  /* end of the last access token that somebody has */
    size_t open_request;    /* index in sent; SIZE_MAX: none */
} world;
static struct {
    unsigned int tokens, logins, required, second_sends, kills, gateways;
} counts;

static struct fetched r[STEPS];
static bool told[STEPS];
static size_t fetches;

static const char *name_of(unsigned int token)
{
    static char name[16];
    (void)snprintf(name, sizeof(name), "r%u", token);
    return name;
}

static unsigned int number_of(const char *token)
{
    assert_int_equal(token[0], 'r');
    return (unsigned int)strtoul(token + 1, NULL, 10);
}

static unsigned int number_on_disk(void)
{
    char token[16];
    copy_text(on_disk().refresh_token, token, sizeof(token));
    return number_of(token);
}

/* The server has got the request. True: it gave new tokens. */
static bool reach(size_t i)
{
    unsigned int token = number_of(sent[i].refresh_token);
    world.reached[token]++;
    assert_true(world.reached[token] <= 2 + world.kills + world.gateways);
    if (token != world.valid)
        return false;
    world.valid = ++world.issued;
    return true;
}

static void answer_request(void)
{
    size_t i = world.open_request;
    char access[16];
    world.open_request = SIZE_MAX;
    world.held = false;
    switch (dice(8)) {
    case 0: /* it never left */
        refresh_failed(i, STATUS_SERVER_UNREACHABLE, false);
        break;
    case 1: /* it was lost on its way */
        world.lost++;
        refresh_failed(i, STATUS_TIMEOUT, true);
        break;
    case 2: /* the answer was */
        (void)reach(i);
        world.lost++;
        refresh_failed(i, STATUS_TIMEOUT, true);
        break;
    case 3: /* a gateway tells of a failure behind it */
        if (dice(2) == 0)
            (void)reach(i);
        world.lost++;
        world.gateways++;
        world.held = true;
        counts.gateways++;
        refresh_refused(i, 502, STATUS_SERVER_UNAVAILABLE, NULL);
        break;
    case 4: /* a refusal of the metadata's request, before anything is sent */
        refresh_not_begun(i);
        break;
    default:
        if (!reach(i)) {
            refresh_refused(i, 400, STATUS_SERVER_REFUSED, "invalid_grant");
            break;
        }
        world.delivered = world.valid;
        world.lost = world.kills = world.gateways = 0;
        (void)snprintf(access, sizeof(access), "a%u", world.valid);
        refreshed(i, name_of(world.valid), access, LIFETIME);
    }
}

static void kill_agent(void)
{
    if (world.open_request != SIZE_MAX) {
        if (dice(2) == 0)
            (void)reach(world.open_request);
        world.open_request = SIZE_MAX;
        world.lost++;
    }
    if (dice(2) == 0)
        store_lands();
    for (size_t i = 0; i < fetches; i++)
        told[i] = true; /* who waited hears nothing any more */
    world.kills++;
    world.held = false; /* it is not written */
    counts.kills++;
    restart();
    logins_key_ready(front.logins, "k");
    if (!store.there)
        return;
    world.delivered = number_on_disk();
    if (on_disk().refresh_state != REFRESH_FRESH && world.lost == 0)
        world.lost = 1; /* the intent was written, and nobody knows that nothing was sent */
}

static void log_in_again(void)
{
    world.valid = world.delivered = ++world.issued;
    world.lost = world.kills = world.gateways = 0;
    world.held = false;
    store.fails = STATUS_OK;
    store.slow = false;
    while (store_is_at_work())
        store_goes_on();
    assert_true(world.open_request == SIZE_MAX);
    log_in("user", name_of(world.valid), "a", LIFETIME);
    assert_true(kept.persisted);
    if (now + LIFETIME * SECOND > world.access_until)
        world.access_until = now + LIFETIME * SECOND;
    counts.logins++;
}

static void ask(void)
{
    bool other = dice(4) == 0;
    told[fetches] = false;
    fetch(&r[fetches++], "user", other ? "x" : NULL, dice(3) == 0, dice(4) == 0 ? 50 : 0);
}

static void step(void)
{
    switch (dice(10)) {
    case 0:
    case 1:
    case 2:
        ask();
        break;
    case 3:
    case 4:
        if (world.open_request != SIZE_MAX)
            answer_request();
        break;
    case 5:
    case 6:
        if (store_is_at_work())
            store_goes_on();
        break;
    case 7:
        store.slow = dice(2) == 0;
        store.fails = dice(4) == 0 ? STATUS_STORE_FAILED : STATUS_OK;
        break;
    case 8:
        now += dice(60) * SECOND;
        logins_tick(front.logins, now);
        break;
    default:
        if (dice(3) == 0)
            kill_agent();
    }
}

static void check_sends(size_t before)
{
    for (size_t i = before; i < sent_count; i++) {
        assert_true(world.open_request == SIZE_MAX); /* one at a time */
        world.open_request = i;
        assert_true(sent[i].state_on_disk == REFRESH_SENT || sent[i].state_on_disk == REFRESH_RESENT);
        if (sent[i].state_on_disk == REFRESH_RESENT || world.held)
            assert_true(now >= world.access_until);
        counts.second_sends += sent[i].state_on_disk == REFRESH_RESENT;
    }
}

static void check_what_was_told(void)
{
    bool required = false;
    for (size_t i = 0; i < fetches; i++) {
        if (told[i] || r[i].calls == 0)
            continue;
        told[i] = true;
        assert_int_equal(r[i].calls, 1);
        if (r[i].err.status == STATUS_OK) {
            assert_int_equal(number_of(r[i].disk_token), world.delivered);
            if (now + r[i].lifetime * SECOND > world.access_until)
                world.access_until = now + r[i].lifetime * SECOND;
            counts.tokens++;
        } else if (r[i].err.status == STATUS_LOGIN_REQUIRED) {
            assert_true(world.valid != world.delivered || world.lost >= 2);
            required = true;
            counts.required++;
        }
    }
    if (required)
        log_in_again();
}

static void test_refresh_tokens_survive_whatever_happens(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < WORLDS; i++) {
        seed = i;
        memset(&world, 0, sizeof(world));
        world.open_request = SIZE_MAX;
        fetches = 0;
        assert_int_equal(open_logins(NULL), 0);
        log_in_again();
        for (unsigned int s = 0; s < STEPS; s++) {
            size_t before = sent_count;
            step();
            check_sends(before);
            check_what_was_told();
        }
        (void)close_logins(NULL);
    }
    print_message("%u worlds: %u tokens, %u kills, %u second sends, %u failures of gateways, %u logins required\n", WORLDS,
                  counts.tokens, counts.kills, counts.second_sends, counts.gateways, counts.required);
    assert_true(counts.tokens > WORLDS && counts.kills > WORLDS && counts.second_sends > 100 && counts.gateways > 100 &&
                counts.required > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refresh_tokens_survive_whatever_happens),
    };
    log_open("test", LOG_LEVEL_ERROR);
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
