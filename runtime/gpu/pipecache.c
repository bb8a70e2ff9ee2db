// SPDX-License-Identifier: MIT
// The driver's pipeline cache on disk, in a file the caller named. The driver checks what it is
// given, but a damaged file has crashed drivers before: the blob is stored with its length and
// hash.
#include "base/file.h"
#include "gpu/vk.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct cache_header {
    char magic[8];
    uint64_t bytes, hash;
    uint32_t vendor_id, device_id, driver_version, reserved;
} cache_header;

static const char cache_magic[8] = "inlaypc1";

static cache_header make_header(const inl_gpu *gpu, const void *blob, uint64_t bytes)
{
    cache_header h = {.bytes = bytes,
                      .hash = XXH3_64bits(blob, bytes),
                      .vendor_id = gpu->caps.vendor_id,
                      .device_id = gpu->caps.device_id,
                      .driver_version = gpu->caps.driver_version};
    memcpy(h.magic, cache_magic, sizeof(h.magic));
    return h;
}

// The blob inside a mapped cache file, or NULL when it is not ours, not whole, or of another
// driver.
static const uint8_t *checked_blob(const inl_gpu *gpu, const inl_map *map)
{
    cache_header there;
    if (map->size < sizeof(there))
        return NULL;
    memcpy(&there, map->data, sizeof(there));
    const uint8_t *blob = map->data + sizeof(there);
    if (there.bytes != map->size - sizeof(there))
        return NULL;
    cache_header expected = make_header(gpu, blob, there.bytes);
    return memcmp(&there, &expected, sizeof(there)) == 0 ? blob : NULL;
}

inlay_result inl_pipecache_open(inl_gpu *gpu, const char *path)
{
    inl_map map = {0};
    const uint8_t *blob = NULL;
    if (path) {
        gpu->cache_path = inl_strdup(&gpu->env, path);
        if (!gpu->cache_path)
            return INLAY_ERROR_OUT_OF_MEMORY;
        if (inl_exists(path) && inl_map_open(&gpu->env, path, &map) == INLAY_OK)
            blob = checked_blob(gpu, &map);
    }
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                      .initialDataSize = blob ? map.size - sizeof(cache_header) : 0,
                                      .pInitialData = blob};
    VkResult result =
        gpu->vk.vkCreatePipelineCache(gpu->device, &info, NULL, &gpu->pipeline_cache);
    inl_map_close(&map);
    if (result != VK_SUCCESS)
        return inl_vk_fail(gpu, result, "create a pipeline cache");
    return INLAY_OK;
}

static void save(inl_gpu *gpu)
{
    size_t bytes = 0;
    if (gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->pipeline_cache, &bytes, NULL) !=
        VK_SUCCESS)
        return;
    uint8_t *blob = inl_alloc(&gpu->env, bytes + 1, 1);
    if (!blob)
        return;
    if (gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->pipeline_cache, &bytes, blob) ==
        VK_SUCCESS) {
        cache_header header = make_header(gpu, blob, bytes);
        inl_writer w;
        if (inl_writer_open(&gpu->env, gpu->cache_path, &w) == INLAY_OK) {
            inl_writer_put(&w, &header, sizeof(header));
            inl_writer_put(&w, blob, bytes);
            (void)inl_writer_commit(&w); // a cache that cannot be kept costs only time
        }
    }
    inl_free(&gpu->env, blob);
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
