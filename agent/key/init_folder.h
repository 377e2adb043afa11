/*
 * The folders and files that init makes, and how it takes them back: everything made is noted, and a failure removes
 * exactly that. Nothing that exists is ever changed.
 *
 * A file appears whole or not at all: it is written beside its place, flushed, and linked to its name, which fails
 * where something is. One init at a time works in a state folder.
 */
#ifndef KEY_INIT_FOLDER_H
#define KEY_INIT_FOLDER_H

#include "error.h"

#define INIT_FOLDER_MAX_MADE 64 /* entries; more folders in one path are refused */

struct init_folder {
    char *made[INIT_FOLDER_MAX_MADE]; /* in their order */
    size_t count;
    int lock;            /* of the state folder; -1: not held */
    char *tokens;        /* SoftHSM's folder or the TPM's store; NULL: not in use */
    char **tokens_before; /* what was in it */
    size_t tokens_before_count;
};

void init_folder_open(struct init_folder *f);
/* `undo`: removes what was made. In any case frees and unlocks. */
void init_folder_close(struct init_folder *f, bool undo);

enum status init_folder_check_absent(const char *path, const char *what, struct error *err) MUST_CHECK;
/* Makes a folder and the missing ones above it, mode 0700. */
enum status init_folder_make(struct init_folder *f, const char *path, struct error *err) MUST_CHECK;
enum status init_folder_make_parent(struct init_folder *f, const char *path, struct error *err) MUST_CHECK;
enum status init_folder_lock(struct init_folder *f, const char *path, struct error *err) MUST_CHECK;
/* A new file of mode 0600; STATUS_EXISTS where there is one. */
enum status init_folder_write(struct init_folder *f, const char *path, struct span content, const char *what,
                              struct error *err) MUST_CHECK;
/* As init_folder_write, but a file with just this content may be there already. */
enum status init_folder_write_same(struct init_folder *f, const char *path, struct span content, const char *what,
                                   struct error *err) MUST_CHECK;
/* What appears in `path`, which must be ours alone, is from now on this run's: token folders, or a store's files. */
enum status init_folder_watch_tokens(struct init_folder *f, const char *path, struct error *err) MUST_CHECK;
bool init_folder_had_tokens(const struct init_folder *f); /* something was there before */

#endif
