/*
 * Small files that survive a crash at any moment: a reader finds the old content or the new one, never a mixture.
 *
 * A write goes to NAME.new, is fsynced, renamed over NAME, and the folder is fsynced; only then it is reported as done.
 * The caller holds the folder's lock (state_folder.h), so one name for the temporary file is enough, and what a crash
 * left under it is garbage. All names are relative to the open folder. Files have mode 0600 whatever the umask.
 * Reading demands what writing guarantees: a regular file, ours, that nobody else can access.
 */
#ifndef STORE_DURABLE_FILE_H
#define STORE_DURABLE_FILE_H

#include "error.h"

/* `folder_path` only names the folder in errors. Failures are STATUS_STORE_FAILED. */
enum status durable_file_write(int folder, const char *folder_path, const char *name, struct span content,
                               struct error *err) MUST_CHECK;
/* Appends the content to `out` (its limit is the largest file); `*absent` is set when there is no such file. */
enum status durable_file_read(int folder, const char *folder_path, const char *name, struct buffer *out, bool *absent,
                              struct error *err) MUST_CHECK;
/* Overwrites the file, as far as that goes on its file system, and removes it durably; it need not be there. */
enum status durable_file_remove(int folder, const char *folder_path, const char *name, struct error *err) MUST_CHECK;

#endif
