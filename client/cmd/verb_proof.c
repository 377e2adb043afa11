/* dpop proof METHOD URL: one DPoP proof, for a request that somebody else sends. */
#include "command.h"
#include "report.h"
#include "secret_file.h"

struct options {
    const char *profile, *key, *nonce, *token_file, *ath;
};

static const struct option long_options[] = {
    {"profile", required_argument, NULL, 'p'},
    {"key", required_argument, NULL, 'k'},
    {"nonce", required_argument, NULL, 'n'},
    {"token-file", required_argument, NULL, 't'},
    {"ath", required_argument, NULL, 'a'},
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    {'p', offsetof(struct options, profile)},
    {'k', offsetof(struct options, key)},
    {'n', offsetof(struct options, nonce)},
    {'t', offsetof(struct options, token_file)},
    {'a', offsetof(struct options, ath)},
    {0, 0},
};

static int print(const struct command *cmd, const struct dpop_proof *proof)
{
    struct json j;
    if (!cmd->json) {
        (void)printf("%s\n", proof->proof);
        return report_printed();
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    json_text(&j, "proof", proof->proof);
    json_text(&j, "htu", proof->htu);
    json_text(&j, "jkt", proof->jkt);
    json_close(&j, '}');
    return report_json(&j);
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    struct buffer token;
    struct dpop_proof proof = {0};
    struct dpop_error err;
    int status = DPOP_OK;
    (void)count;
    if (o->profile != NULL && o->key != NULL)
        return report_usage(cmd, "give --profile or --key, not both");
    if (o->token_file != NULL && o->ath != NULL)
        return report_usage(cmd, "give --token-file or --ath, not both");
    buffer_init(&token, 0);
    if (o->token_file != NULL)
        status = secret_file_read(&token, o->token_file, &err);
    if (status == DPOP_OK)
        status = command_connect(cmd, &err);
    if (status == DPOP_OK)
        status = dpop_agent_proof(cmd->agent,
                                  &(struct dpop_proof_request){.key = o->key,
                                                               .profile = o->profile,
                                                               .method = operands[0],
                                                               .url = operands[1],
                                                               .nonce = o->nonce,
                                                               .access_token = (const char *)token.data,
                                                               .ath = o->ath,
                                                               .timeout_ms = cmd->timeout_ms},
                                  &proof, &err);
    buffer_free(&token);
    status = status == DPOP_OK ? print(cmd, &proof) : report_error(cmd, &err);
    dpop_proof_clear(&proof);
    return status;
}

const struct verb verb_proof = {
    .name = "proof",
    .arguments = "METHOD URL",
    .summary = "Make a DPoP proof",
    .help = "  --profile NAME     with the key of this profile, for its origins\n"
            "  --key NAME         with this key\n"
            "  --nonce NONCE      the nonce that the server wants\n"
            "  --token-file FILE  for the access token in this file (- is standard input): adds ath\n"
            "  --ath HASH         for the access token with this hash (43 characters base64url)\n",
    .short_options = "",
    .long_options = long_options,
    .min_operands = 2,
    .max_operands = 2,
    .options_size = sizeof(struct options),
    .texts = texts,
    .run = run,
};
