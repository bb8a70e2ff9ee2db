// SPDX-License-Identifier: MIT
// Drives a fuzz target without a fuzzer.
//
// usage: replay FOLDER             runs the target's seeds, each cut short and damaged too, and all
//                                  files in FOLDER, which need not exist
//        replay --seeds FOLDER     writes the seeds there
#include "base/file.h"
#include "base/rng.h"
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>

#define DAMAGED_COPIES 300 // of each seed

static uint32_t ran;

// From a block of exactly this size, so that a sanitizer sees a read past it.
static void run_copy(const uint8_t *data, size_t size, size_t flip, uint8_t mask)
{
    uint8_t *copy = calloc(size ? size : 1, 1);
    fuzz_require(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    if (flip < size)
        copy[flip] ^= mask;
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    ran++;
}

static void run_seed(void *user, const char *name, const void *data, size_t size)
{
    (void)user;
    (void)name;
    run_copy(data, size, SIZE_MAX, 0);
    for (uint32_t i = 0; size > 0 && i < DAMAGED_COPIES; i++) {
        size_t at = inl_rng_u32(1, ran, i) % size;
        run_copy(data, at, SIZE_MAX, 0);
        run_copy(data, size, at, (uint8_t)(1u << (i & 7)));
    }
}

static void write_seed(void *user, const char *name, const void *data, size_t size)
{
    inl_env env = inl_env_resolve(NULL);
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", (const char *)user, name);
    fuzz_require(inl_file_write(&env, path, data, size) == INLAY_OK);
    ran++;
}

static int run_folder(const char *folder)
{
    inl_env env = inl_env_resolve(NULL);
    DIR *list = opendir(folder);
    if (!list)
        return 0;
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        inl_map map;
        char path[1024];
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.')
            continue;
        if (inl_map_open(&env, path, &map) != INLAY_OK) {
            printf("cannot read %s\n", path);
            closedir(list);
            return 1;
        }
        printf("%s\n", entry->d_name);
        fflush(stdout); // what a crash is to be blamed on
        run_copy(map.data, map.size, SIZE_MAX, 0);
        inl_map_close(&map);
    }
    closedir(list);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0) {
        fuzz_seeds(write_seed, argv[2]);
        printf("%u seeds\n", ran);
        return ran == 0;
    }
    if (argc != 2) {
        printf("usage: replay FOLDER | replay --seeds FOLDER\n");
        return 2;
    }
    fuzz_seeds(run_seed, NULL);
    int failed = run_folder(argv[1]);
    printf("%u inputs\n", ran);
    return failed || ran == 0;
}
