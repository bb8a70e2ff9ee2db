// SPDX-License-Identifier: MIT
#define _GNU_SOURCE // renameat2
#include "base/folder.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void inl_remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(path);
}

inlay_result inl_folder_check_free(const inl_env *env, const char *path)
{
    DIR *entries = opendir(path);
    bool empty = entries != NULL;
    for (struct dirent *e; entries && (e = readdir(entries));)
        empty &= strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    if (entries)
        closedir(entries);
    if (empty || !inl_exists(path))
        return INLAY_OK;
    return inl_fail(env, INLAY_ERROR_INVALID_ARGUMENT,
                    "%s is there already and is not an empty folder", path);
}

static void end(inl_folder_writer *w)
{
    inl_free(w->env, w->path);
    inl_free(w->env, w->made);
    inl_free(w->env, w->aside);
    *w = (inl_folder_writer){.env = w->env};
}

inlay_result inl_folder_begin(const inl_env *env, const char *path, inl_folder_writer *out)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    *out = (inl_folder_writer){.env = env, .path = inl_strndup(env, path, size)};
    if (out->path) {
        out->made = inl_sprintf(env, "%s.tmp-%ld", out->path, (long)getpid());
        out->aside = inl_sprintf(env, "%s.old-%ld", out->path, (long)getpid());
    }
    inlay_result result = out->made && out->aside ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK) {
        inl_remove_folder(out->made);
        inl_remove_folder(out->aside);
        result = inl_make_folder(env, out->made);
    }
    if (result != INLAY_OK)
        end(out);
    return result;
}

// Swaps two folders' names in one go, or, where that cannot be done, in two: a crash between them
// leaves nothing under `path` and both whole beside it.
static bool exchange(const inl_folder_writer *w)
{
#ifdef RENAME_EXCHANGE
    if (renameat2(AT_FDCWD, w->made, AT_FDCWD, w->path, RENAME_EXCHANGE) == 0)
        return true;
#endif
    if (rename(w->path, w->aside) != 0)
        return false;
    if (rename(w->made, w->path) == 0)
        return rename(w->aside, w->made) == 0;
    int error = errno;
    (void)rename(w->aside, w->path);
    errno = error;
    return false;
}

// A name is on the disk once the folder that has it is. Where that cannot be asked for, the system
// does it in its time.
static void sync_parent(const char *path)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int parent = folder >= 0 ? openat(folder, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (parent >= 0) {
        (void)fsync(parent);
        close(parent);
    }
    if (folder >= 0)
        close(folder);
}

inlay_result inl_folder_commit(inl_folder_writer *w)
{
    bool done = inl_exists(w->path) ? exchange(w) : rename(w->made, w->path) == 0;
    inlay_result result = INLAY_OK;
    if (done)
        sync_parent(w->path);
    else
        result = inl_fail(w->env, INLAY_ERROR_IO, "cannot rename %s to %s: %s", w->made, w->path,
                          strerror(errno));
    inl_folder_abandon(w); // what has failed, or what was there before
    return result;
}

void inl_folder_abandon(inl_folder_writer *w)
{
    if (w->made)
        inl_remove_folder(w->made);
    end(w);
}
