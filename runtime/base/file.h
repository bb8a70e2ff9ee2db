// SPDX-License-Identifier: MIT
// Files: read-only maps of untrusted input, and outputs that appear whole or not at all
// (written beside their final name, synced, renamed).
#ifndef INL_BASE_FILE_H
#define INL_BASE_FILE_H

#include "base/env.h"

typedef struct inl_map {
    const uint8_t *data;
    uint64_t size; // bytes
} inl_map;

// Maps the whole file. A missing file is INLAY_ERROR_NOT_FOUND, a folder or an unreadable one IO.
inlay_result inl_map_open(const inl_env *env, const char *path, inl_map *out);
void inl_map_close(inl_map *map);

// A file being written. Every function may be called after a failure; the first error is kept and
// returned by inl_writer_commit, which then leaves nothing under either name.
typedef struct inl_writer {
    const inl_env *env;
    void *stream; // FILE *
    char *path;
    char *temp_path;
    uint64_t written; // bytes so far
    inlay_result error;
} inl_writer;

inlay_result inl_writer_open(const inl_env *env, const char *path, inl_writer *out);
void inl_writer_put(inl_writer *w, const void *data, uint64_t size);
void inl_writer_pad(inl_writer *w, uint64_t multiple, uint8_t byte);
// Everything so far onto the disk: a commit after it only renames.
inlay_result inl_writer_flush(inl_writer *w);
inlay_result inl_writer_commit(inl_writer *w);
void inl_writer_abandon(inl_writer *w);

// Writes `size` bytes under `path`, whole or not at all.
inlay_result inl_file_write(const inl_env *env, const char *path, const void *data, uint64_t size);

// Creates a folder and its parents; an existing folder is success.
inlay_result inl_make_folder(const inl_env *env, const char *path);
bool inl_is_folder(const char *path);
bool inl_exists(const char *path);
// Whether both are there and one thing, under whatever names.
bool inl_is_same_file(const char *a, const char *b);
// folder + "/" + name, allocated.
char *inl_path_join(const inl_env *env, const char *folder, const char *name) INL_CHECKED;

#endif
