// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 200809L
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

inlay_result inl_map_open(const inl_env *env, const char *path, inl_map *out)
{
    *out = (inl_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe without a writer would block
    if (fd < 0)
        return inl_fail(env, errno == ENOENT ? INLAY_ERROR_NOT_FOUND : INLAY_ERROR_IO,
                        "cannot open %s: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return inl_fail(env, INLAY_ERROR_IO, "%s is not a regular file", path);
    }
    out->size = (uint64_t)st.st_size;
    if (out->size > 0) {
        void *p = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            close(fd);
            return inl_fail(env, INLAY_ERROR_IO, "cannot map %s: %s", path, strerror(errno));
        }
        out->data = p;
    }
    close(fd);
    return INLAY_OK;
}

void inl_map_close(inl_map *map)
{
    if (map->data)
        munmap((void *)map->data, map->size);
    *map = (inl_map){0};
}

static void keep_error(inl_writer *w, const char *verb)
{
    if (w->error == INLAY_OK)
        w->error = inl_fail(w->env, INLAY_ERROR_IO, "cannot %s %s: %s", verb, w->path,
                            strerror(errno));
}

// The rename at the end would put a file in the place of a device or a pipe.
static inlay_result create(inl_writer *w)
{
    struct stat st;
    if (stat(w->path, &st) == 0 && !S_ISREG(st.st_mode))
        return inl_fail(w->env, INLAY_ERROR_IO,
                        "cannot create %s: there is something that is no file", w->path);
    w->stream = fopen(w->temp_path, "wb");
    if (!w->stream)
        keep_error(w, "create");
    return w->error;
}

inlay_result inl_writer_open(const inl_env *env, const char *path, inl_writer *out)
{
    *out = (inl_writer){.env = env};
    out->path = inl_strdup(env, path);
    out->temp_path = out->path ? inl_sprintf(env, "%s.tmp-%ld", path, (long)getpid()) : NULL;
    inlay_result result = out->temp_path ? create(out) : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK)
        return INLAY_OK;
    inl_writer_abandon(out);
    return out->error = result;
}

void inl_writer_put(inl_writer *w, const void *data, uint64_t size)
{
    if (w->error != INLAY_OK || size == 0)
        return;
    if (fwrite(data, 1, size, w->stream) != size)
        keep_error(w, "write");
    else
        w->written += size;
}

void inl_writer_pad(inl_writer *w, uint64_t multiple, uint8_t byte)
{
    while (w->error == INLAY_OK && w->written % multiple != 0)
        inl_writer_put(w, &byte, 1);
}

void inl_writer_abandon(inl_writer *w)
{
    if (w->stream) {
        fclose(w->stream);
        remove(w->temp_path);
    }
    inl_free(w->env, w->path);
    inl_free(w->env, w->temp_path);
    *w = (inl_writer){.env = w->env, .error = w->error};
}

inlay_result inl_writer_flush(inl_writer *w)
{
    if (w->error == INLAY_OK && (fflush(w->stream) != 0 || fsync(fileno(w->stream)) != 0))
        keep_error(w, "write");
    return w->error;
}

inlay_result inl_writer_commit(inl_writer *w)
{
    if (inl_writer_flush(w) == INLAY_OK && rename(w->temp_path, w->path) != 0)
        keep_error(w, "rename to");
    inlay_result error = w->error;
    if (error == INLAY_OK) {
        fclose(w->stream);
        w->stream = NULL;
    }
    inl_writer_abandon(w);
    return error;
}

inlay_result inl_file_write(const inl_env *env, const char *path, const void *data, uint64_t size)
{
    inl_writer w;
    INL_TRY(inl_writer_open(env, path, &w));
    inl_writer_put(&w, data, size);
    return inl_writer_commit(&w);
}

bool inl_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool inl_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool inl_is_same_file(const char *a, const char *b)
{
    struct stat st[2];
    return stat(a, &st[0]) == 0 && stat(b, &st[1]) == 0 && st[0].st_dev == st[1].st_dev &&
           st[0].st_ino == st[1].st_ino;
}

inlay_result inl_make_folder(const inl_env *env, const char *path)
{
    char *copy = inl_strdup(env, path);
    if (!copy)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (char *slash = strchr(copy + (copy[0] == '/'), '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(copy, 0777); // a parent that exists is fine; the last mkdir below tells of trouble
        *slash = '/';
    }
    int error = mkdir(copy, 0777) != 0 ? errno : 0;
    inl_free(env, copy);
    if (error == 0 || inl_is_folder(path))
        return INLAY_OK;
    return inl_fail(env, INLAY_ERROR_IO, "cannot create the folder %s: %s", path, strerror(error));
}

char *inl_path_join(const inl_env *env, const char *folder, const char *name)
{
    return inl_sprintf(env, "%s/%s", folder, name);
}
