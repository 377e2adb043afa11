/*
 * The options of the configuration as one table: for each its section, how its value is read, where it goes, how long
 * or large it may be, and which roles may see it. Whatever is not listed here is an unknown option.
 */
#ifndef AGENT_CONFIG_OPTION_H
#define AGENT_CONFIG_OPTION_H

#include "config.h"

enum config_option_kind { KIND_TEXT, KIND_PATH, KIND_NUMBER, KIND_YES_NO, KIND_WORDS, KIND_LINES, KIND_CHOICE,
                          KIND_PIN_KEY /* in slices alone, made by the supervisor: unknown in a file */ };

#define CONFIG_OPTION_PIN_KEY "pin-key"

struct config_option {
    const char *section, *name;
    enum config_option_kind kind;
    size_t offset;              /* of its member in agent_config, key_config or profile_config */
    unsigned int roles;
    unsigned int min, max;      /* KIND_NUMBER: of the number; KIND_CHOICE: 0; else max is the most bytes of a line's
                                   value */
    const char *const *choices; /* KIND_CHOICE: the enum's names in its order, ended by NULL */
};

const struct config_option *config_option_find(const char *section, const char *name); /* NULL: there is none */

/* Reads a value into its member of `section_struct`. NULL, or what is wrong with it, perhaps in `wrong`. */
const char *config_option_set(const struct config_option *o, struct span value, void *section_struct, char *wrong,
                              size_t wrong_size);

/* The names of an enum's values, in its order. */
extern const char *const config_option_client_authentications[], *const config_option_grants[],
    *const config_option_dpop_policies[];

#endif
