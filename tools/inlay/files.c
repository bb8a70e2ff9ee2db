// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 200809L
#include "files.h"

#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *path_join(const char *folder, const char *name)
{
    size_t size = strlen(folder);
    return xprintf("%s%s%s", folder, size && folder[size - 1] == '/' ? "" : "/", name);
}

bool path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool path_ends_in(const char *path, const char *ending)
{
    size_t size = strlen(path), most = strlen(ending);
    return size > most && strcmp(path + size - most, ending) == 0;
}

bool path_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool path_is_same(const char *a, const char *b)
{
    struct stat st[2];
    return stat(a, &st[0]) == 0 && stat(b, &st[1]) == 0 && st[0].st_dev == st[1].st_dev &&
           st[0].st_ino == st[1].st_ino;
}

static bool make_one(const char *path)
{
    return mkdir(path, 0777) == 0 || (errno == EEXIST && path_is_folder(path));
}

bool folder_make(const char *path, bool silent)
{
    char *copy = xstrdup(path);
    bool done = true;
    for (char *c = copy + 1; done && *copy && *c; c++) {
        if (*c != '/')
            continue;
        *c = '\0';
        done = make_one(copy);
        *c = '/';
    }
    done = done && make_one(copy);
    if (!done && !silent)
        cli_error("cannot create the folder %s: %s", path, strerror(errno));
    free(copy);
    return done;
}

bool folder_remove(const char *path)
{
    DIR *folder = opendir(path);
    bool done = folder != NULL;
    struct dirent *entry;
    while (done && (entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *file = path_join(path, entry->d_name);
        done = unlink(file) == 0;
        free(file);
    }
    int error = errno;
    if (folder)
        closedir(folder);
    errno = error;
    done = done && rmdir(path) == 0;
    if (!done)
        cli_error("cannot remove %s: %s", path, strerror(errno));
    return done;
}

static bool write_all(int fd, const void *data, size_t size)
{
    const char *bytes = data;
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

bool file_write(const char *path, const void *data, size_t size)
{
    char *temp = xprintf("%s.tmp-%ld", path, (long)getpid());
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool done = fd >= 0 && write_all(fd, data, size) && fsync(fd) == 0;
    done = done && rename(temp, path) == 0;
    if (!done)
        cli_error("cannot write %s: %s", path, strerror(errno));
    if (fd >= 0) {
        close(fd);
        if (!done)
            unlink(temp);
    }
    free(temp);
    return done;
}

char *stream_read(FILE *stream, size_t *size)
{
    size_t room = 1 << 16, used = 0;
    char *data = xalloc(room + 1, 1);
    for (;;) {
        used += fread(data + used, 1, room - used, stream);
        if (used < room)
            break;
        room *= 2;
        data = xrealloc(data, room + 1, 1);
    }
    data[used] = '\0';
    *size = used;
    if (!ferror(stream))
        return data;
    free(data);
    return NULL;
}

char *file_read(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rbe");
    if (!stream)
        return NULL;
    char *data = stream_read(stream, size);
    fclose(stream);
    return data;
}

bool append_open(append_file *file, const char *path, bool truncate)
{
    *file = (append_file){.path = xstrdup(path)};
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (truncate ? O_TRUNC : 0);
    file->fd = open(path, flags, 0666);
    if (file->fd < 0) {
        cli_error("cannot open %s: %s", path, strerror(errno));
        append_close(file);
        return false;
    }
    file->size = lseek(file->fd, 0, SEEK_END);
    return true;
}

bool append_write(append_file *file, const void *data, size_t size)
{
    if (write_all(file->fd, data, size)) {
        file->size += (int64_t)size;
        return true;
    }
    cli_error("cannot write %s: %s", file->path, strerror(errno));
    if (file->size >= 0 && ftruncate(file->fd, (off_t)file->size) != 0)
        cli_warn("%s ends in the middle of a record", file->path);
    return false;
}

void append_close(append_file *file)
{
    if (file->path && file->fd >= 0)
        close(file->fd);
    free(file->path);
    *file = (append_file){.fd = -1};
}
