/* file.h: whole files in, whole files out. Nothing half-written ever stands under a final name: write beside it, sync,
 * rename. All functions are thread-safe; their errors name the path. `stage` is a static string for the error. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Reads a file of at most `limit` bytes into malloc'd memory, followed by a NUL that *size does not count. A regular
 * file that is too large is refused before anything is read; pipes and devices are read up to the limit. Errors:
 * ERR_INPUT (no such file, a folder, too large), ERR_SYSTEM (not readable), ERR_MEMORY. */
bool base_file_read(const char *path, size_t limit, char **data, size_t *size, const char *stage, err *e);
/* Size of a regular file; false (no error set) if there is none. */
bool base_file_size(const char *path, int64_t *size);
/* Whether anything stands at the path; whether it is a folder. */
bool base_exists(const char *path);
bool base_is_folder(const char *path);

/* Writes a file whole: unique temporary beside it, fsync, rename, fsync of the folder. Whatever goes wrong, the
 * temporary is removed and an older file stays. A symbolic link is followed; a device or pipe (/dev/stdout) is written
 * directly. Errors: ERR_SYSTEM (full disk, unwritable folder ...), ERR_MEMORY. */
bool base_file_write(const char *path, const void *data, size_t size, const char *stage, err *e);

/* The same in pieces. After a failed open or add, or instead of commit, call base_writer_abort; it is harmless after
 * commit. */
typedef struct base_writer {
    int fd;
    char *path; /* final name, symbolic links resolved */
    char *temp; /* NULL: path is no regular file and is written directly */
    const char *stage;
} base_writer;
bool base_writer_open(base_writer *w, const char *path, const char *stage, err *e);
bool base_writer_add(base_writer *w, const void *data, size_t size, err *e);
bool base_writer_commit(base_writer *w, err *e);
void base_writer_abort(base_writer *w);

/* Next line of [*cursor, end), without its end (\n or \r\n); *cursor moves past it. False at the end. The last line
 * need not be closed; *closed (may be NULL) tells whether it was: a journal's torn last line is not. */
bool base_next_line(const char **cursor, const char *end, const char **line, size_t *length, bool *closed);

#endif
