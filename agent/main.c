/*
 * dpop-agent: the program. Without --role it is the supervisor; with it, one of the processes that the supervisor
 * starts (common/role.h). Every process first gives up what it never needs: new privileges, core files, being traced.
 */
#include "config_check.h"
#include "role.h"
#include "supervisor.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int harden(void)
{
    struct rlimit none = {0, 0};
    (void)umask(077);
    (void)signal(SIGPIPE, SIG_IGN);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
        setrlimit(RLIMIT_CORE, &none) != 0 || sodium_init() < 0) {
        perror("dpop-agent: cannot harden the process");
        return -1;
    }
    return 0;
}

/* A connection is a descriptor: as many as the system allows. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int read_slice(struct buffer *out)
{
    for (;;) {
        uint8_t *room = buffer_room(out, 4096);
        ssize_t n = room != NULL ? read(CONFIG_FD, room, 4096) : -1;
        if (n < 0)
            return -1;
        if (n == 0)
            return close(CONFIG_FD);
        buffer_added(out, (size_t)n);
    }
}

static int run_role(const char *name, const char *argument)
{
    static const struct {
        const char *name;
        enum role role;
    } roles[] = {{"front", ROLE_FRONT}, {"key", ROLE_KEY},     {"net", ROLE_NET}, {"net-tls", ROLE_NET_TLS},
                 {"store", ROLE_STORE}, {"init", ROLE_INIT}};
    enum role role = ROLE_SUPERVISOR;
    bool named;
    struct buffer text;
    struct config *config = NULL;
    struct channel channel;
    struct error err;
    char label[96];
    int result = 1;

    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
        if (strcmp(roles[i].name, name) == 0)
            role = roles[i].role;
    named = (role == ROLE_KEY || role == ROLE_NET_TLS) && argument != NULL;
    (void)snprintf(label, sizeof(label), "%s%s%s", name, named ? " " : "", named ? argument : "");
    log_open(label, LOG_LEVEL_INFO);
    buffer_init(&text, CONFIG_MAX_FILE);
    if (role == ROLE_SUPERVISOR || read_slice(&text) != 0 ||
        config_parse(buffer_span(&text), "slice", role, &config, &err) != STATUS_OK) {
        log_error("--role is for the agent's own use");
        goto out;
    }
    log_open(label, config->agent.log_level);
    channel_init(&channel, CHANNEL_FD);
    if (role == ROLE_FRONT) {
        raise_descriptor_limit();
        result = front_main(config, argument);
    } else if (role == ROLE_KEY && config->key_count == 1) {
        result = key_main(config, &channel);
    } else if (role == ROLE_NET) {
        result = net_main(config, &channel);
    } else if (role == ROLE_NET_TLS) {
        result = net_tls_main(config, &channel);
    } else if (role == ROLE_STORE) {
        result = store_main(config, &channel);
    } else if (role == ROLE_INIT) {
        result = init_main(config, argument, config_check, &channel);
    }
    channel_free(&channel);
out:
    buffer_free(&text);
    config_free(config);
    return result;
}

static const char usage[] =
    "usage: dpop-agent [--config FILE] [--socket PATH]\n"
    "\n"
    "Holds DPoP keys in PKCS#11 tokens, obtains DPoP-bound access tokens (RFC 9449) and serves both on a Unix socket.\n"
    "Runs in the foreground. See dpop-agent(8), dpop-agent.conf(5); dpop(1) is the command that talks to it.\n"
    "\n"
    "  --config FILE   configuration; default $XDG_CONFIG_HOME/dpop-agent/agent.conf, "
    "for root /etc/dpop-agent/agent.conf\n"
    "  --socket PATH   socket; default the one that systemd passes, then $XDG_RUNTIME_DIR/dpop-agent/socket, for root\n"
    "                  /run/dpop-agent/socket\n"
    "  --help          this text\n"
    "  --version       the version\n";

static int run_supervisor(int argc, char **argv)
{
    static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
                                                 {"socket", required_argument, NULL, 's'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {"version", no_argument, NULL, 'V'},
                                                 {NULL, 0, NULL, 0}};
    struct supervisor_options options = {0};
    for (int o; (o = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        switch (o) {
        case 'c':
            options.configuration = optarg;
            break;
        case 's':
            options.socket = optarg;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        case 'V':
            (void)puts("dpop-agent " DPOP_VERSION);
            return 0;
        default:
            (void)fputs(usage, stderr);
            return 2;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "dpop-agent: unexpected argument \"%s\"\n%s", argv[optind], usage);
        return 2;
    }
    return supervisor_main(&options);
}

int main(int argc, char **argv)
{
    int result;
    if (harden() != 0)
        return 1;
    if (argc >= 3 && strcmp(argv[1], "--role") == 0)
        result = run_role(argv[2], argc > 3 ? argv[3] : NULL);
    else
        result = run_supervisor(argc, argv);
#ifdef __SANITIZE_ADDRESS__
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* the leak checker traces its own process */
#endif
    return result;
}
