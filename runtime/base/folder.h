// SPDX-License-Identifier: MIT
// Folders that appear whole or not at all: written beside their final name and renamed.
#ifndef INL_BASE_FOLDER_H
#define INL_BASE_FOLDER_H

#include "base/env.h"

typedef struct inl_folder_writer {
    const inl_env *env;
    char *path;  // the final name, without slashes at its end
    char *made;  // the folder to write into
    char *aside; // where an old one waits while names change
} inl_folder_writer;

// INVALID_ARGUMENT: it is there and not empty. To be asked before hours of work.
inlay_result inl_folder_check_free(const inl_env *env, const char *path);
// Creates the folder and its parents. What a process of our id that was killed has left is removed.
// On failure nothing is left to be ended.
inlay_result inl_folder_begin(const inl_env *env, const char *path, inl_folder_writer *out);
// The folder gets its name; one that is there goes. On failure what was there is, and what was
// written is not. Ends the writer in either case.
inlay_result inl_folder_commit(inl_folder_writer *w);
// Removes what was written.
void inl_folder_abandon(inl_folder_writer *w);

// Removes a folder of files, also when memory has run out. Where there are folders in it, they and
// it stay.
void inl_remove_folder(const char *path);

#endif
