// SPDX-License-Identifier: MIT
// A folder for targets that read one: its files live in memory, and it is gone when the program
// ends. Needs _GNU_SOURCE before the first include. One a program.
#ifndef FUZZ_MEMORY_FOLDER_H
#define FUZZ_MEMORY_FOLDER_H

#include "fuzz/fuzz.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY_FILES 8

typedef struct memory_folder {
    char root[64]; // a folder of ours, for what a target writes
    char path[96]; // in it, the folder to read
    int files[MEMORY_FILES];
    const char *names[MEMORY_FILES];
    size_t count;
} memory_folder;

static char memory_folder_root[64];

static inline int memory_folder_remove_one(const char *path, const struct stat *st, int kind,
                                           struct FTW *place)
{
    (void)st;
    (void)kind;
    (void)place;
    return remove(path);
}

static inline void memory_folder_remove(void)
{
    nftw(memory_folder_root, memory_folder_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

// Once; later calls do nothing. The names outlive the folder.
static inline void memory_folder_make(memory_folder *f, const char *const *names, size_t count)
{
    if (f->count > 0)
        return;
    snprintf(f->root, sizeof(f->root), "%s/inlay-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    fuzz_require(count <= MEMORY_FILES && mkdtemp(f->root) != NULL);
    memcpy(memory_folder_root, f->root, sizeof(f->root));
    atexit(memory_folder_remove);
    snprintf(f->path, sizeof(f->path), "%s/in", f->root);
    fuzz_require(mkdir(f->path, 0700) == 0);
    for (size_t i = 0; i < count; i++) {
        f->names[i] = names[i];
        f->files[i] = memfd_create("fuzz", MFD_CLOEXEC);
        fuzz_require(f->files[i] >= 0);
    }
    f->count = count;
}

// `data` NULL: the file is not there.
static inline void memory_folder_fill(const memory_folder *f, size_t file, const void *data,
                                      size_t size)
{
    char path[160], target[64];
    snprintf(path, sizeof(path), "%s/%s", f->path, f->names[file]);
    snprintf(target, sizeof(target), "/proc/self/fd/%d", f->files[file]);
    unlink(path);
    if (!data)
        return;
    fuzz_require(ftruncate(f->files[file], 0) == 0);
    fuzz_require(pwrite(f->files[file], data, size, 0) == (ssize_t)size);
    fuzz_require(symlink(target, path) == 0);
}

// Cuts the input's next part off, up to a zero byte, which is left out, or the end.
static inline const uint8_t *fuzz_part(const uint8_t **data, size_t *size, size_t *part_size)
{
    const uint8_t *part = *data, *zero = *size > 0 ? memchr(part, 0, *size) : NULL;
    *part_size = zero ? (size_t)(zero - part) : *size;
    size_t used = zero ? *part_size + 1 : *part_size;
    *data = part + used;
    *size -= used;
    return part;
}

#endif
