/* usage: make_corpus WIRE.TXT FOLDER: writes the frame of every vector into a file of its own, and all of them into
 * one. */
#include "../unit/wire_vectors.h"

static int write_file(const char *folder, unsigned int number, struct span bytes)
{
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/vector-%02u", folder, number);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return -1;
    size_t written = fwrite(bytes.data, 1, bytes.len, file);
    return fclose(file) == 0 && written == bytes.len ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct wire_vector v;
    struct buffer all;
    unsigned int count = 0;
    int result = 0;
    FILE *vectors = argc == 3 ? fopen(argv[1], "r") : NULL;
    if (vectors == NULL)
        return 1;
    buffer_init(&all, 1 << 20);
    for (; result == 0 && wire_next(vectors, &v); buffer_free(&v.frame)) {
        buffer_put(&all, buffer_span(&v.frame).data, v.frame.len);
        result = write_file(argv[2], ++count, buffer_span(&v.frame));
    }
    (void)fclose(vectors);
    if (result == 0)
        result = write_file(argv[2], 0, buffer_span(&all));
    buffer_free(&all);
    return result == 0 && count > 0 ? 0 : 1;
}
