/* See pin_records.h. */
#include "pin_records.h"

#include <sodium.h>
#include <string.h>

/* Waits for the next answer. What else the front sends is for whoever asked to be told, and otherwise not expected. */
static int read_answer(const struct pin_dialogue *d, struct frame *answer)
{
    for (;;) {
        int r = channel_read(d->channel, answer);
        bool request = r > 0 && answer->operation != OPERATION_ERROR && !(answer->operation & OPERATION_ANSWER);
        if (!request || d->meanwhile == NULL)
            return r;
        d->meanwhile(d->context, answer);
    }
}

/* Sends a message and waits for its answer. */
static enum status exchange(struct pin_dialogue *d, uint16_t operation, const struct message *m, const void *in,
                            struct frame *answer, struct error *err)
{
    message_put_frame(&d->channel->out, operation, ++d->request, m, in);
    int r = channel_flush(d->channel) == 0 ? read_answer(d, answer) : 0;
    if (r == 0)
        return error_set(err, STATUS_AGENT_UNREACHABLE, NULL, "the front is gone");
    if (r > 0 && answer->request == d->request && answer->operation == (operation | OPERATION_ANSWER))
        return STATUS_OK;
    if (r > 0 && answer->operation == OPERATION_ERROR && messages_take_error(answer->fields, err) == STATUS_OK &&
        err->status != STATUS_OK)
        return err->status;
    return error_set(err, STATUS_AGENT_MISBEHAVED, NULL, "an unexpected message came while the PIN was asked about");
}

enum status pin_records_load(struct pin_dialogue *d, struct error *err)
{
    struct pin_load in = {.token_id = d->token_id};
    struct pin_records records;
    struct frame answer;
    enum status status = exchange(d, INTERNAL_PIN_LOAD, &message_pin_load, &in, &answer, err);
    if (status == STATUS_OK)
        status = message_take(answer.fields, &message_pin_records, &records, sizeof(records), err);
    if (status != STATUS_OK)
        return status;
    if (records.salt.len != sizeof(d->salt))
        return error_set(err, STATUS_AGENT_MISBEHAVED, NULL, "the store's salt has %zu bytes", records.salt.len);
    memcpy(d->salt, records.salt.data, sizeof(d->salt));
    d->records = records;
    return STATUS_OK;
}

enum status pin_records_derive(struct pin_dialogue *d, const struct secret *pin, struct error *err)
{
    if (crypto_pwhash(d->verifier, sizeof(d->verifier), (const char *)pin->data, pin->len, d->salt,
                      crypto_pwhash_OPSLIMIT_INTERACTIVE, crypto_pwhash_MEMLIMIT_INTERACTIVE,
                      crypto_pwhash_ALG_ARGON2ID13) != 0)
        return error_set(err, STATUS_NO_MEMORY, NULL, "no memory to look up the PIN (%zu MiB are needed)",
                         (size_t)crypto_pwhash_MEMLIMIT_INTERACTIVE >> 20);
    return STATUS_OK;
}

_Static_assert(PIN_SOURCE_SIZE == PIN_VERIFIER_SIZE, "both are looked for in the same way");

bool pin_records_hold(const struct list *list, const uint8_t item[PIN_VERIFIER_SIZE])
{
    struct span held;
    size_t cursor = 0;
    while (list_next(list, &cursor, &held))
        if (held.len == PIN_VERIFIER_SIZE && sodium_memcmp(held.data, item, PIN_VERIFIER_SIZE) == 0)
            return true;
    return false;
}

enum status pin_records_tell(struct pin_dialogue *d, enum pin_verdict verdict, struct error *err)
{
    struct pin_record in = {
        .token_id = d->token_id, .verifier = span_of(d->verifier, sizeof(d->verifier)), .verdict = (uint16_t)verdict};
    struct frame answer;
    if (verdict == PIN_ACCEPTED)
        in.source = span_of(d->source, sizeof(d->source));
    return exchange(d, INTERNAL_PIN_RECORD, &message_pin_record, &in, &answer, err);
}
