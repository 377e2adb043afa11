/*
 * Any bytes as a URL: no crash, and what is accepted is stable: the claim of a claim and the normal form of a normal form
 * are themselves, both have the origin of the input, and a refusal never quotes the input's userinfo or query.
 */
#include "htu.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void same_origin(const char *text, const char *origin)
{
    char own[URL_ORIGIN_SIZE];
    struct error err;
    must(url_origin(span_text(text), own, sizeof(own), &err) == STATUS_OK);
    must(strcmp(own, origin) == 0);
    must(strncmp(text, origin, strlen(origin)) == 0 && text[strlen(origin)] == '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char claim[URL_SIZE], again[URL_SIZE], url[URL_SIZE], htu[URL_SIZE], url2[URL_SIZE], htu2[URL_SIZE];
    char origin[URL_ORIGIN_SIZE];
    struct span text = span_of(data, size);
    struct url parsed;
    struct error err;

    if (url_parse(text, &parsed, &err) != STATUS_OK) {
        must(err.message[0] != '\0' && err.status != STATUS_OK);
        must(htu_claim(text, claim, sizeof(claim), &err) != STATUS_OK);
        must(htu_sent(text, url, sizeof(url), htu, sizeof(htu), &err) != STATUS_OK);
        return 0;
    }
    must(parsed.port != 0 && parsed.host[0] != '\0');
    must(url_origin(text, origin, sizeof(origin), &err) == STATUS_OK);
    (void)url_is_loopback(text);
    if (htu_claim(text, claim, sizeof(claim), &err) == STATUS_OK) {
        same_origin(claim, origin);
        must(strpbrk(claim, "?#@ ") == NULL || strchr(claim, '@') != NULL);
        must(htu_claim(span_text(claim), again, sizeof(again), &err) == STATUS_OK && strcmp(claim, again) == 0);
    }
    if (htu_sent(text, url, sizeof(url), htu, sizeof(htu), &err) == STATUS_OK) {
        same_origin(url, origin);
        must(strchr(htu, '?') == NULL && strncmp(url, htu, strlen(htu)) == 0);
        must(url[strlen(htu)] == '\0' || url[strlen(htu)] == '?');
        must(htu_sent(span_text(url), url2, sizeof(url2), htu2, sizeof(htu2), &err) == STATUS_OK);
        must(strcmp(url, url2) == 0 && strcmp(htu, htu2) == 0);
    }
    return 0;
}
