/* See recover.h. */
#include "recover.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <stdbool.h>
#include <string.h>

#define HALF (JWK_SIGNATURE_SIZE / 2)
#define POINT_SIZE (1 + 2 * JWK_COORDINATE_SIZE)
#define CANDIDATES 4 /* x of R is r or r + n, with each parity of y */

/* What all candidates share. */
struct work {
    EC_GROUP *group;
    BN_CTX *context;
    BIGNUM *order, *field, *r, *s, *e;
};

static void close_work(struct work *w)
{
    BN_free(w->order);
    BN_free(w->field);
    BN_free(w->r);
    BN_free(w->s);
    BN_free(w->e);
    BN_CTX_free(w->context);
    EC_GROUP_free(w->group);
}

static int open_work(struct work *w, const struct recover_sample *sample)
{
    *w = (struct work){.group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1),
                       .context = BN_CTX_new(),
                       .order = BN_new(),
                       .field = BN_new(),
                       .r = BN_bin2bn(sample->signature, HALF, NULL),
                       .s = BN_bin2bn(sample->signature + HALF, HALF, NULL),
                       .e = BN_bin2bn(sample->digest, JWK_DIGEST_SIZE, NULL)};
    if (w->group == NULL || w->context == NULL || w->order == NULL || w->field == NULL || w->r == NULL ||
        w->s == NULL ||
        w->e == NULL || EC_GROUP_get_order(w->group, w->order, w->context) != 1 ||
        EC_GROUP_get_curve(w->group, w->field, NULL, NULL, w->context) != 1)
        return -1;
    return BN_is_zero(w->r) || BN_is_zero(w->s) || BN_cmp(w->r, w->order) >= 0 || BN_cmp(w->s, w->order) >= 0 ? -1 : 0;
}

/* Q = r^-1 (s R - e G), R the point with this x and the parity of y. */
static int compute(const struct work *w, const BIGNUM *x, int parity, struct jwk *out)
{
    int result = -1;
    uint8_t bytes[POINT_SIZE];
    EC_POINT *point = EC_POINT_new(w->group), *key = EC_POINT_new(w->group);
    BIGNUM *inverse = BN_mod_inverse(NULL, w->r, w->order, w->context);
    BIGNUM *u = BN_new(), *v = BN_new();
    if (point == NULL || key == NULL || inverse == NULL || u == NULL || v == NULL ||
        EC_POINT_set_compressed_coordinates(w->group, point, x, parity, w->context) != 1 ||
        BN_mod_mul(v, w->s, inverse, w->order, w->context) != 1 ||
        BN_mod_mul(u, w->e, inverse, w->order, w->context) != 1 || BN_mod_sub(u, w->order, u, w->order,
                                                                              w->context) != 1 ||
        EC_POINT_mul(w->group, key, u, point, v, w->context) != 1 || EC_POINT_is_at_infinity(w->group, key) == 1)
        goto out;
    if (EC_POINT_point2oct(w->group, key, POINT_CONVERSION_UNCOMPRESSED, bytes, sizeof(bytes),
                           w->context) == sizeof(bytes))
        result = jwk_from_point(span_of(bytes, sizeof(bytes)), out);
out:
    BN_free(u);
    BN_free(v);
    BN_free(inverse);
    EC_POINT_free(key);
    EC_POINT_free(point);
    return result;
}

/* The public keys that the sample fits. */
static size_t list_candidates(const struct recover_sample *sample, struct jwk out[CANDIDATES])
{
    struct work w;
    size_t count = 0;
    if (open_work(&w, sample) == 0) {
        BIGNUM *x = BN_dup(w.r);
        bool fits = x != NULL;
        while (fits && BN_cmp(x, w.field) < 0) {
            for (int parity = 0; parity < 2 && count < CANDIDATES; parity++)
                count += compute(&w, x, parity, &out[count]) == 0 ? 1 : 0;
            fits = BN_add(x, x, w.order) == 1;
        }
        BN_free(x);
    }
    close_work(&w);
    return count;
}

int recover_public_key(const struct recover_sample samples[2], struct jwk *out)
{
    struct jwk candidates[CANDIDATES];
    const struct jwk *found = NULL;
    size_t fitting = 0;
    if (memcmp(samples[0].digest, samples[1].digest, JWK_DIGEST_SIZE) == 0)
        return -1;
    ERR_set_mark(); /* half of all x are on no point of the curve, which is no error here */
    size_t count = list_candidates(&samples[0], candidates);
    ERR_pop_to_mark();
    for (size_t i = 0; i < count; i++)
        if (jwk_verify(&candidates[i], samples[0].digest, samples[0].signature) == 0 &&
            jwk_verify(&candidates[i], samples[1].digest, samples[1].signature) == 0) {
            found = &candidates[i];
            fitting++;
        }
    if (fitting != 1)
        return -1;
    *out = *found;
    return 0;
}
