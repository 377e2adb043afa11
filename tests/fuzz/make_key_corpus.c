/* usage: make_key_corpus FOLDER: writes a key file of every form (unit/key_files.c), of a key made for this. */
#include "key_files.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    EVP_PKEY *key = argc == 2 && key_files_load_legacy() ? key_files_generate("prime256v1") : NULL;
    int result = key != NULL ? 0 : 1;
    for (size_t i = 0; result == 0 && i < key_form_count; i++) {
        struct buffer b;
        char path[1024];
        buffer_init(&b, 65536);
        (void)snprintf(path, sizeof(path), "%s/form-%02zu", argv[1], i);
        FILE *file = key_files_write(&key_forms[i], key, "password", &b) ? fopen(path, "we") : NULL;
        if (file == NULL || fwrite(buffer_span(&b).data, 1, b.len, file) != b.len)
            result = 1;
        if (file != NULL && fclose(file) != 0)
            result = 1;
        buffer_free(&b);
    }
    EVP_PKEY_free(key);
    return result;
}
