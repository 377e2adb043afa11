/*
 * Where things are when nobody says: a user's agent follows the XDG folders, root's the system's. Paths are absolute.
 */
#ifndef SUPERVISOR_PATHS_H
#define SUPERVISOR_PATHS_H

#include "error.h"

#define PATHS_MAX 4096

enum status paths_configuration(char out[PATHS_MAX], struct error *err) MUST_CHECK;
enum status paths_state_folder(char out[PATHS_MAX], struct error *err) MUST_CHECK;
enum status paths_socket(char out[PATHS_MAX], struct error *err) MUST_CHECK;

#endif
