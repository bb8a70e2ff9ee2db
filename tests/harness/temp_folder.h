// SPDX-License-Identifier: MIT
// A folder of its own for each test that writes files. Needs _XOPEN_SOURCE 700 before the first
// include; include after cmocka.h. Header only.
#ifndef HARNESS_TEMP_FOLDER_H
#define HARNESS_TEMP_FOLDER_H

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct temp_folder {
    char path[64];
    char file[128]; // what temp_path returned last
} temp_folder;

static inline void temp_folder_make(temp_folder *f)
{
    snprintf(f->path, sizeof(f->path), "/tmp/inlay-test-XXXXXX");
    assert_non_null(mkdtemp(f->path));
}

// The path of `name` in the folder, until the next call.
static inline const char *temp_path(temp_folder *f, const char *name)
{
    snprintf(f->file, sizeof(f->file), "%s/%s", f->path, name);
    return f->file;
}

static inline uint32_t temp_folder_entries(const char *path)
{
    uint32_t count = 0;
    DIR *list = opendir(path);
    assert_non_null(list);
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(list);
    return count;
}

static inline int temp_folder_remove_one(const char *path, const struct stat *st, int kind,
                                         struct FTW *place)
{
    (void)st;
    (void)kind;
    (void)place;
    return remove(path);
}

static inline void temp_folder_remove(temp_folder *f)
{
    assert_int_equal(nftw(f->path, temp_folder_remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static inline int temp_folder_set_up(void **state)
{
    static temp_folder folder;
    temp_folder_make(&folder);
    *state = &folder;
    return 0;
}

static inline int temp_folder_tear_down(void **state)
{
    temp_folder_remove(*state);
    return 0;
}

// A test that gets such a folder as its state.
#define temp_folder_test(test)                                                                     \
    cmocka_unit_test_setup_teardown(test, temp_folder_set_up, temp_folder_tear_down)

#endif
