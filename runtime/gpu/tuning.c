// SPDX-License-Identifier: MIT
// See tuning.h. A record is
//     [VENDOR DEVICE DRIVER UUID INLAY] NAME
//     gemm LANES ROWS
//     gemv LANES
//     tiled ROWS
//     tile ROWS COLUMNS DEPTH THREAD_ROWS THREAD_COLUMNS
// with INL_TILE_SIZES of the last line, the smallest first, behind a line that says what the file
// is. Ids are hexadecimal, all else decimal.
#include "gpu/tuning.h"
#include "base/file.h"
#include "gpu/vk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "# inlay's choice of tiles, made by inlay bench --tune: version 1\n"
#define MAX_BYTES (1u << 20)

// "[1002 744c 6803c0 UUID 0.1.0]"
static void key_of(const inl_gpu *gpu, char *key, size_t size)
{
    const inl_gpu_caps *caps = &gpu->caps;
    char uuid[2 * sizeof(caps->cache_uuid) + 1];
    for (size_t i = 0; i < sizeof(caps->cache_uuid); i++)
        snprintf(uuid + 2 * i, 3, "%02x", caps->cache_uuid[i]);
    snprintf(key, size, "[%x %x %x %s %s]", caps->vendor_id, caps->device_id, caps->driver_version,
             uuid, INLAY_VERSION);
}

// ---- reading

typedef struct text {
    const char *at; // NULL: something was wrong
} text;

static void expect(text *t, const char *word)
{
    size_t length = strlen(word);
    if (t->at && strncmp(t->at, word, length) == 0)
        t->at += length;
    else
        t->at = NULL;
}

static void read_number(text *t, uint32_t *out)
{
    char *end;
    expect(t, " ");
    if (!t->at || t->at[0] < '0' || t->at[0] > '9') {
        t->at = NULL;
        return;
    }
    unsigned long value = strtoul(t->at, &end, 10);
    *out = (uint32_t)value;
    t->at = value <= 4096 ? end : NULL;
}

static bool read_tiles(const char *at, inl_tiles *tiles)
{
    text t = {at};
    expect(&t, "gemm");
    read_number(&t, &tiles->gemm_lanes);
    read_number(&t, &tiles->gemm_rows);
    expect(&t, "\ngemv");
    read_number(&t, &tiles->gemv_lanes);
    expect(&t, "\ntiled");
    read_number(&t, &tiles->tiled_rows);
    for (uint32_t i = 0; i < INL_TILE_SIZES; i++) {
        inl_gemm_tile *tile = &tiles->gemm[i];
        expect(&t, "\ntile");
        read_number(&t, &tile->rows);
        read_number(&t, &tile->columns);
        read_number(&t, &tile->depth);
        read_number(&t, &tile->thread_rows);
        read_number(&t, &tile->thread_columns);
    }
    expect(&t, "\n");
    return t.at && (*t.at == '[' || *t.at == '\0');
}

// The file as a string, or NULL where there is none that is ours.
static char *load(const inl_gpu *gpu, const char *path)
{
    inl_env quiet = gpu->env;
    quiet.log = NULL;
    inl_map map;
    char *copy = NULL;
    if (!inl_exists(path) || inl_map_open(&quiet, path, &map) != INLAY_OK)
        return NULL;
    if (map.size >= sizeof(HEAD) - 1 && map.size <= MAX_BYTES &&
        memcmp(map.data, HEAD, sizeof(HEAD) - 1) == 0 && !memchr(map.data, 0, map.size))
        copy = inl_strndup(&quiet, (const char *)map.data, map.size);
    else
        inl_logf(&gpu->env, INLAY_LOG_WARN, "%s: this is no file of inlay's tiles: it is not used",
                 path);
    inl_map_close(&map);
    return copy;
}

// Where the record of `key` begins, at a line's start, or NULL.
static char *find_record(char *file, const char *key)
{
    for (char *line = file; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, strlen(key)) == 0)
            return line;
    }
    return NULL;
}

static void read_file(inl_gpu *gpu, const char *path)
{
    char key[160];
    key_of(gpu, key, sizeof(key));
    char *file = load(gpu, path), *record = file ? find_record(file, key) : NULL;
    char *body = record ? strchr(record, '\n') : NULL;
    inl_tiles tiles;
    if (body && read_tiles(body + 1, &tiles) && inl_tiles_fit(&gpu->caps, &tiles))
        inl_gpu_set_tiles(gpu, &tiles);
    else if (record)
        inl_logf(&gpu->env, INLAY_LOG_WARN,
                 "%s: the tiles of %s are damaged or do not fit it: they are not used", path,
                 gpu->caps.name);
    inl_free(&gpu->env, file);
}

inlay_result inl_tuning_open(inl_gpu *gpu, const char *path)
{
    if (!path)
        return INLAY_OK;
    gpu->tuning_path = inl_strdup(&gpu->env, path);
    if (!gpu->tuning_path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    read_file(gpu, path);
    return INLAY_OK;
}

// ---- writing

static void put_text(inl_writer *w, const char *words, size_t length)
{
    inl_writer_put(w, words, length);
}

static void put_own(inl_writer *w, const inl_gpu *gpu, const char *key)
{
    const inl_tiles *t = &gpu->caps.tiles;
    char line[512];
    char name[sizeof(gpu->caps.name)];
    snprintf(name, sizeof(name), "%s", gpu->caps.name);
    for (char *c = name; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    int length = snprintf(line, sizeof(line), "%s %s\ngemm %u %u\ngemv %u\ntiled %u\n",
                          key, name, t->gemm_lanes, t->gemm_rows, t->gemv_lanes, t->tiled_rows);
    put_text(w, line, (size_t)length);
    for (uint32_t i = 0; i < INL_TILE_SIZES; i++) {
        const inl_gemm_tile *tile = &t->gemm[i];
        length = snprintf(line, sizeof(line), "tile %u %u %u %u %u\n", tile->rows, tile->columns,
                          tile->depth, tile->thread_rows, tile->thread_columns);
        put_text(w, line, (size_t)length);
    }
}

inlay_result inl_tuning_save(const inl_gpu *gpu)
{
    const char *path = gpu->tuning_path;
    char key[160];
    if (!path)
        return INLAY_OK;
    key_of(gpu, key, sizeof(key));
    char *file = load(gpu, path), *record = file ? find_record(file, key) : NULL;
    inl_writer w;
    inlay_result result = inl_writer_open(&gpu->env, path, &w);
    if (result == INLAY_OK) {
        put_text(&w, HEAD, sizeof(HEAD) - 1);
        put_own(&w, gpu, key);
        char *others = file ? file + sizeof(HEAD) - 1 : NULL;
        char *next = record ? strstr(record, "\n[") : NULL;
        if (record)
            put_text(&w, others, (size_t)(record - others));
        if (next)
            put_text(&w, next + 1, strlen(next + 1));
        else if (others && !record)
            put_text(&w, others, strlen(others));
        result = inl_writer_commit(&w);
    }
    inl_free(&gpu->env, file);
    return result;
}
