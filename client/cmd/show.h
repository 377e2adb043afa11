/*
 * The agent's descriptions of keys and profiles, as JSON members and as words for people; shared by the verbs that
 * show them.
 */
#ifndef CMD_SHOW_H
#define CMD_SHOW_H

#include "json.h"
#include "messages.h"

void show_key_json(struct json *j, const struct key_info *key);
void show_profile_json(struct json *j, const struct profile_info *profile);
/* null before the key has been seen */
void show_jwk_json(struct json *j, const char *name, const struct key_info *key);
bool show_has_jwk(const struct key_info *key);
/* How fast the key signs and what is the matter with it: lines for people, each behind `indent`. */
void show_pace(const struct key_info *key, const char *indent);
void show_attributes(const struct key_info *key, char *out, size_t size); /* "sensitive, never-extractable, …" */
/* A span as printf's %.*s takes it; "-" when it is absent or empty. */
#define SHOW(span) ((span).len > 0 ? (int)(span).len : 1), ((span).len > 0 ? (const char *)(span).data : "-")

#endif
