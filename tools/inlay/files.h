// SPDX-License-Identifier: MIT
// Folders and small files. A failure says one sentence and gives false or NULL.
#ifndef FILES_H
#define FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

char *path_join(const char *folder, const char *name); // allocated
bool path_exists(const char *path);
bool path_ends_in(const char *path, const char *ending); // with something before it
bool path_is_folder(const char *path);
// Whether both are there and one thing, under whatever names.
bool path_is_same(const char *a, const char *b);
// With parents; an existing folder is success.
bool folder_make(const char *path, bool silent);
// Files directly in it, then the folder: enough for what inlay writes.
bool folder_remove(const char *path);
// Whole or not at all.
bool file_write(const char *path, const void *data, size_t size);
// NUL-terminated, allocated; NULL without a word when there is no such file.
char *file_read(const char *path, size_t *size);
// All that a stream still has, NUL-terminated; NULL after a read error.
char *stream_read(FILE *stream, size_t *size);

// A file that grows by whole records: a record that does not fit leaves nothing behind.
typedef struct append_file {
    int fd; // -1: not open
    char *path;
    int64_t size;
} append_file;

bool append_open(append_file *file, const char *path, bool truncate);
bool append_write(append_file *file, const void *data, size_t size);
void append_close(append_file *file);

#endif
