/* See certificate.h. */
#include "certificate.h"

#include "messages.h"
#include "report.h"

#include <errno.h>
#include <string.h>

static int write_file(const char *path, struct span pem)
{
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return -1;
    size_t written = fwrite(pem.data, 1, pem.len, file);
    return fclose(file) == 0 && written == pem.len ? 0 : -1;
}

static int print(const struct command *cmd, struct span pem, const char *path)
{
    struct json j;
    if (path != NULL && write_file(path, pem) != 0)
        return report_local(cmd, "check that the folder exists and may be written to, or name another file with -o",
                            "%s cannot be written: %s", path, strerror(errno));
    if (!cmd->json) {
        if (path == NULL)
            (void)fwrite(pem.data, 1, pem.len, stdout);
        return report_printed();
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    json_span(&j, "pem", pem);
    json_text(&j, "file", path);
    json_close(&j, '}');
    return report_json(&j);
}

int certificate_run(struct command *cmd, uint16_t operation, const struct message *request, const void *in,
                    const char *path)
{
    struct pem_answer answer;
    struct dpop_error err;
    if (command_call(cmd, operation, request, in, &message_pem_answer, &answer, sizeof(answer), &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = print(cmd, answer.pem, path);
    call_done(cmd->agent);
    return status;
}
