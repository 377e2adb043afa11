/* See paths.h. */
#include "paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SYSTEM_CONFIGURATION "/etc/dpop-agent/agent.conf"
#define SYSTEM_STATE "/var/lib/dpop-agent"
#define SYSTEM_SOCKET "/run/dpop-agent/socket"

/* An environment variable that holds an absolute path; others are ignored, as the XDG specification asks. */
static const char *absolute(const char *variable)
{
    const char *value = getenv(variable);
    return value != NULL && value[0] == '/' ? value : NULL;
}

static enum status join(char out[PATHS_MAX], const char *folder, const char *rest, struct error *err)
{
    int n = snprintf(out, PATHS_MAX, "%s%s", folder, rest);
    if (n < 0 || n >= PATHS_MAX)
        return error_set(err, STATUS_CONFIGURATION, NULL, "%.100s…: the path is too long", folder);
    return STATUS_OK;
}

/* $XDG_x_HOME/dpop-agent/…, or the same under $HOME. */
static enum status user_path(char out[PATHS_MAX], const char *xdg, const char *in_home, const char *rest, struct error *err)
{
    char folder[PATHS_MAX];
    if (absolute(xdg) != NULL)
        return join(out, absolute(xdg), rest, err);
    if (absolute("HOME") == NULL)
        return error_set(err, STATUS_CONFIGURATION, "set HOME, or name the paths with --config and state-folder",
                         "neither $%s nor $HOME is set", xdg);
    enum status status = join(folder, absolute("HOME"), in_home, err);
    return status == STATUS_OK ? join(out, folder, rest, err) : status;
}

enum status paths_configuration(char out[PATHS_MAX], struct error *err)
{
    if (geteuid() == 0 && absolute("XDG_CONFIG_HOME") == NULL)
        return join(out, SYSTEM_CONFIGURATION, "", err);
    return user_path(out, "XDG_CONFIG_HOME", "/.config", "/dpop-agent/agent.conf", err);
}

enum status paths_state_folder(char out[PATHS_MAX], struct error *err)
{
    if (absolute("STATE_DIRECTORY") != NULL)
        return join(out, absolute("STATE_DIRECTORY"), "", err);
    if (geteuid() == 0 && absolute("XDG_STATE_HOME") == NULL)
        return join(out, SYSTEM_STATE, "", err);
    return user_path(out, "XDG_STATE_HOME", "/.local/state", "/dpop-agent", err);
}

enum status paths_socket(char out[PATHS_MAX], struct error *err)
{
    if (absolute("XDG_RUNTIME_DIR") != NULL)
        return join(out, absolute("XDG_RUNTIME_DIR"), "/dpop-agent/socket", err);
    if (geteuid() == 0)
        return join(out, SYSTEM_SOCKET, "", err);
    return error_set(err, STATUS_CONFIGURATION, "name the socket with --socket PATH", "$XDG_RUNTIME_DIR is not set");
}
