/* path.h: names and folders: making, removing, syncing, and putting a whole folder in the place of another at once.
 * Errors are ERR_SYSTEM or ERR_MEMORY and name the path; `stage` is a static string. */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include "base/err.h"

/* "folder/name", malloc'd, or NULL where memory ran out. An empty folder means the working directory. */
char *base_path_join(const char *folder, const char *name);
/* A name in the same folder as `path`, hidden, unique to this process and call: FOLDER/.nhac-PID-COUNT.tmp; malloc'd or
 * NULL. */
char *base_path_beside(const char *path);
/* Removes what base_path_beside named in the folder of `path` more than an hour ago: left by processes that were killed.
 * Best effort. */
void base_sweep_beside(const char *path);
/* Makes a folder and those above it; one that is there already is fine. */
bool base_mkdirs(const char *path, const char *stage, err *e);
/* Makes a fresh folder beside `path` (whose parent must exist); its name is malloc'd into *temp. */
bool base_mkdir_beside(const char *path, char **temp, const char *stage, err *e);
/* Removes a file or folder with all in it; never follows a link; what is not there is fine. */
bool base_remove(const char *path, const char *stage, err *e);
/* fsync of every file and folder below `path`, itself included. */
bool base_sync_tree(const char *path, const char *stage, err *e);
/* fsync of the folder that holds `path`; best effort. */
void base_sync_parent(const char *path);
/* Puts folder `temp` in the place of `path` at once and removes what was there. Where the file system cannot exchange
 * two names, the old one is renamed away first and renamed back if the second step fails. Sync `temp` before. On
 * failure `temp` is still there and so is the old folder. Both must be on one file system. */
bool base_publish(const char *temp, const char *path, const char *stage, err *e);

#endif
