// SPDX-License-Identifier: MIT
// The driver's pipeline cache on disk, in a file the caller named: a record for each device and
// driver that used it, the last one first. The driver checks what it is given, but a damaged file
// has crashed drivers before: each blob is stored with its length and hash, and a file that is not
// whole is not used at all.
#include "base/file.h"
#include "gpu/vk.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAX_RECORDS 8
#define MAX_FILE_BYTES (256ull << 20) // of all records together, but for the first one

typedef struct record_header {
    char magic[8];
    uint64_t bytes, hash; // of the blob, which follows and is padded to 16 bytes
    uint32_t vendor_id, device_id, driver_version, reserved[3]; // zero
    uint8_t uuid[16]; // the driver's, of the format and the machine it compiles for
} record_header;
_Static_assert(sizeof(record_header) % 16 == 0, "blobs are aligned");

typedef struct record {
    record_header header;
    const uint8_t *blob;
} record;

static const uint32_t zeros[3];
static const char record_magic[8] = "inlaypc2";

static record make_record(const inl_gpu *gpu, const uint8_t *blob, uint64_t bytes)
{
    record r = {.header = {.bytes = bytes,
                           .hash = XXH3_64bits(blob, bytes),
                           .vendor_id = gpu->caps.vendor_id,
                           .device_id = gpu->caps.device_id,
                           .driver_version = gpu->caps.driver_version},
                .blob = blob};
    memcpy(r.header.magic, record_magic, sizeof(record_magic));
    memcpy(r.header.uuid, gpu->caps.cache_uuid, sizeof(r.header.uuid));
    return r;
}

static bool same_driver(const record *a, const record *b)
{
    const record_header *x = &a->header, *y = &b->header;
    return x->vendor_id == y->vendor_id && x->device_id == y->device_id &&
           x->driver_version == y->driver_version && memcmp(x->uuid, y->uuid, sizeof(x->uuid)) == 0;
}

static uint64_t bytes_of(const record *r)
{
    return sizeof(r->header) + inl_round_up(r->header.bytes, 16);
}

// The records of a mapped file; none where it is not ours from its first byte to its last.
static uint32_t read_records(const inl_map *map, record *records)
{
    uint32_t count = 0;
    for (uint64_t at = 0; at < map->size; at += bytes_of(&records[count++])) {
        record *r = &records[count];
        if (count == MAX_RECORDS || map->size - at < sizeof(r->header))
            return 0;
        memcpy(&r->header, map->data + at, sizeof(r->header));
        r->blob = map->data + at + sizeof(r->header);
        if (memcmp(r->header.magic, record_magic, sizeof(record_magic)) != 0 ||
            memcmp(r->header.reserved, zeros, sizeof(zeros)) != 0 || r->header.bytes > map->size ||
            bytes_of(r) > map->size - at)
            return 0;
    }
    return count;
}

// This device's record among those of a file, or NULL when it has none that is whole.
static const record *find_own(const inl_gpu *gpu, const record *records, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        record expected = make_record(gpu, records[i].blob, records[i].header.bytes);
        if (same_driver(&records[i], &expected))
            return records[i].header.hash == expected.header.hash ? &records[i] : NULL;
    }
    return NULL;
}

// Maps the file where there is one; what is wrong with it costs only time, so nothing is said.
static uint32_t open_file(const inl_gpu *gpu, const char *path, inl_map *map, record *records)
{
    inl_env quiet = gpu->env;
    quiet.log = NULL;
    *map = (inl_map){0};
    if (!inl_exists(path) || inl_map_open(&quiet, path, map) != INLAY_OK)
        return 0;
    uint32_t count = read_records(map, records);
    if (count == 0 && map->size > 0)
        inl_logf(&gpu->env, INLAY_LOG_DEBUG, "%s is no whole pipeline cache and is not used", path);
    return count;
}

static VkResult create_cache(const inl_gpu *gpu, const record *from, VkPipelineCache *out)
{
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                      .initialDataSize = from ? from->header.bytes : 0,
                                      .pInitialData = from ? from->blob : NULL};
    return gpu->vk.vkCreatePipelineCache(gpu->device, &info, NULL, out);
}

inlay_result inl_pipecache_open(inl_gpu *gpu, const char *path)
{
    inl_map map = {0};
    record records[MAX_RECORDS];
    const record *own = NULL;
    if (path) {
        gpu->cache_path = inl_strdup(&gpu->env, path);
        if (!gpu->cache_path)
            return INLAY_ERROR_OUT_OF_MEMORY;
        own = find_own(gpu, records, open_file(gpu, path, &map, records));
    }
    gpu->cache_hash = own ? own->header.hash : 0;
    VkResult result = create_cache(gpu, own, &gpu->pipeline_cache);
    inl_map_close(&map);
    if (result != VK_SUCCESS)
        return inl_vk_fail(gpu, result, "create a pipeline cache");
    return INLAY_OK;
}

// What another process has put there since this one read it.
static void merge(const inl_gpu *gpu, const record *theirs)
{
    VkPipelineCache other;
    if (!theirs || theirs->header.hash == gpu->cache_hash ||
        create_cache(gpu, theirs, &other) != VK_SUCCESS)
        return;
    (void)gpu->vk.vkMergePipelineCaches(gpu->device, gpu->pipeline_cache, 1, &other);
    gpu->vk.vkDestroyPipelineCache(gpu->device, other, NULL);
}

// The cache's bytes, allocated, or NULL.
static uint8_t *cache_data(const inl_gpu *gpu, size_t *bytes)
{
    if (gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->pipeline_cache, bytes, NULL) != VK_SUCCESS)
        return NULL;
    uint8_t *blob = inl_alloc(&gpu->env, *bytes + 1, 1);
    if (blob && gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->pipeline_cache, bytes, blob) !=
                    VK_SUCCESS) {
        inl_free(&gpu->env, blob);
        blob = NULL;
    }
    return blob;
}

static void put(inl_writer *w, const record *r)
{
    inl_writer_put(w, &r->header, sizeof(r->header));
    inl_writer_put(w, r->blob, r->header.bytes);
    inl_writer_pad(w, 16, 0);
}

// This device's record, then the others' as they are.
static void write_file(const inl_gpu *gpu, const record *own, const record *others, uint32_t count)
{
    inl_env quiet = gpu->env;
    quiet.log = NULL;
    inl_writer w;
    inlay_result result = inl_writer_open(&quiet, gpu->cache_path, &w);
    if (result == INLAY_OK) {
        put(&w, own);
        uint32_t kept = 1;
        for (uint32_t i = 0; i < count && kept < MAX_RECORDS; i++) {
            if (same_driver(&others[i], own) || w.written + bytes_of(&others[i]) > MAX_FILE_BYTES)
                continue;
            put(&w, &others[i]);
            kept++;
        }
        result = inl_writer_commit(&w);
    }
    if (result != INLAY_OK)
        inl_logf(&gpu->env, INLAY_LOG_DEBUG, "compiled pipelines cannot be kept in %s",
                 gpu->cache_path);
}

static void save(inl_gpu *gpu)
{
    inl_map map;
    record records[MAX_RECORDS];
    uint32_t count = open_file(gpu, gpu->cache_path, &map, records);
    const record *theirs = find_own(gpu, records, count);
    merge(gpu, theirs);
    size_t bytes = 0;
    uint8_t *blob = cache_data(gpu, &bytes);
    if (blob) {
        record own = make_record(gpu, blob, bytes);
        if (!theirs || theirs->header.hash != own.header.hash)
            write_file(gpu, &own, records, count);
    }
    inl_free(&gpu->env, blob);
    inl_map_close(&map);
}

void inl_pipecache_close(inl_gpu *gpu)
{
    if (gpu->pipeline_cache) {
        if (gpu->cache_path && !gpu->lost)
            save(gpu);
        gpu->vk.vkDestroyPipelineCache(gpu->device, gpu->pipeline_cache, NULL);
    }
    inl_free(&gpu->env, gpu->cache_path);
    gpu->cache_path = NULL;
}
