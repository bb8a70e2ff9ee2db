// SPDX-License-Identifier: MIT
// Devices: which there are, choosing one, memory and its budget, the pipeline cache, copies, the
// arena.
#include "harness/train_run.h"

#include "base/rng.h"
#include "gpu/vk.h" // the budget, the limits and the cache's calls are changed below
#include "op/arena.h"
#include "op_kernels.h"

#include <ctype.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define STAGING_BYTES (8u << 20)

extern char **environ;

static inl_gpu *gpu_of(inlay_device *device)
{
    return device->gpu;
}

static uint64_t used_by(const inlay_device *device)
{
    uint64_t used, peak;
    inlay_device_get_memory(device, &used, &peak);
    assert_true(peak >= used);
    return used;
}

// ---- which there are

static void devices_are_listed(void **state)
{
    (void)state;
    inlay_device_info infos[8], opened;
    uint32_t count = 0, room = 0, some = INL_COUNT(infos);
    TRAIN_OK(inlay_device_list(&train_env, NULL, &count));
    assert_true(count > 0);
    TRAIN_OK(inlay_device_list(&train_env, infos, &room));
    assert_int_equal(room, count);
    TRAIN_OK(inlay_device_list(&train_env, infos, &some));
    assert_int_equal(some, count);
    inlay_device_get_info(train_device, &opened);
    bool found = false;
    for (uint32_t i = 0; i < INL_MIN(count, INL_COUNT(infos)); i++) {
        const inlay_device_info *d = &infos[i];
        assert_int_equal(d->index, i);
        assert_true(d->name[0] && d->vendor[0] && d->memory_bytes > 0);
        assert_true(d->usable == (d->unusable_reason[0] == '\0'));
        assert_true(d->subgroup_size_min <= d->subgroup_size &&
                    d->subgroup_size <= d->subgroup_size_max);
        assert_true(d->path_count > 0 && d->paths[0].available == d->usable);
        for (uint32_t p = 0; p < d->path_count; p++)
            assert_true(d->paths[p].available == (d->paths[p].reason[0] == '\0'));
        found |= strcmp(d->name, opened.name) == 0;
    }
    assert_true(found);
}

static void expect_selected(const char *select, const char *name)
{
    inlay_device *device;
    inlay_device_info info;
    inlay_device_params params = {.select = select};
    TRAIN_OK(inlay_device_create(&device, &train_env, &params));
    inlay_device_get_info(device, &info);
    assert_string_equal(info.name, name);
    assert_int_equal(used_by(device), 0);
    inlay_device_destroy(&device);
    assert_null(device);
    inlay_device_destroy(&device);
}

static void expect_not_found(const char *select)
{
    inlay_device *device = train_device;
    inlay_device_params params = {.select = select};
    inlay_result result = inlay_device_create(&device, &train_env, &params);
    train_refused(result, INLAY_ERROR_NOT_FOUND, "matches", select, NULL);
    assert_null(device);
}

static void refuse_paths(const char *paths, inlay_result expected, const char *part)
{
    inlay_device *device = train_device;
    inlay_device_params params = {.paths = paths};
    inlay_result result = inlay_device_create(&device, &train_env, &params);
    train_refused(result, expected, part, NULL);
    assert_null(device);
}

// Each path can be switched off, and asked for where the device is able to run it.
static void paths_are_what_was_asked_for(void **state)
{
    (void)state;
    inlay_device_info info, with;
    inlay_device_get_info(train_device, &info);
    for (uint32_t i = 0; i < info.path_count; i++) {
        char words[80];
        const char *name = info.paths[i].name;
        inlay_device *device;
        if (strcmp(name, "f32") == 0)
            continue;
        snprintf(words, sizeof(words), "+f32,-%s", name);
        inlay_device_params params = {.paths = words};
        TRAIN_OK(inlay_device_create(&device, &train_env, &params));
        inlay_device_get_info(device, &with);
        assert_false(with.paths[i].available);
        assert_true(with.paths[i].reason[0] != '\0');
        inlay_device_destroy(&device);
        params.paths = name;
        inlay_result result = inlay_device_create(&device, &train_env, &params);
        if (result == INLAY_OK) {
            inlay_device_get_info(device, &with);
            assert_true(with.paths[i].available);
        } else {
            train_refused(result, INLAY_ERROR_UNSUPPORTED, info.paths[i].reason, NULL);
        }
        inlay_device_destroy(&device);
    }
    refuse_paths("-f32", INLAY_ERROR_INVALID_ARGUMENT, "f32");
    refuse_paths("-matrix,+tensor", INLAY_ERROR_INVALID_ARGUMENT, "\"+tensor\"");
    refuse_paths("-matrix,,", INLAY_ERROR_INVALID_ARGUMENT, "\"\"");
}

static void a_device_is_selected_by_name_or_index(void **state)
{
    (void)state;
    inlay_device_info infos[8];
    uint32_t count = INL_COUNT(infos);
    TRAIN_OK(inlay_device_list(&train_env, infos, &count));
    for (uint32_t i = 0; i < INL_MIN(count, INL_COUNT(infos)); i++) {
        char part[256], digits[16];
        if (!infos[i].usable)
            continue;
        snprintf(digits, sizeof(digits), "%u", i);
        expect_selected(digits, infos[i].name);
        expect_selected(infos[i].name, infos[i].name);
        snprintf(part, sizeof(part), "%s", infos[i].name + 1);
        part[strlen(part) / 2] = '\0';
        for (char *c = part; *c; c++)
            *c = (char)toupper((unsigned char)*c);
        if (count == 1) {
            expect_selected(part, infos[i].name);
            expect_selected(infos[i].vendor, infos[i].name);
            expect_selected("", infos[i].name);
            expect_selected(NULL, infos[i].name);
        }
    }
    expect_not_found("no such device");
    expect_not_found("77777");
    expect_not_found("-1");
}

// ---- no driver, no loader

// The part of the test that runs in a process which finds no device.
static int without_device(void)
{
    uint32_t count = 1;
    inlay_device *device = (inlay_device *)&count;
    inlay_result result = inlay_device_list(&train_env, NULL, &count);
    if (result != INLAY_OK || count != 0 || train_error[0] != '\0')
        return 1;
    if (inlay_device_create(&device, &train_env, NULL) != INLAY_ERROR_NO_DEVICE || device)
        return 2;
    return strstr(train_error, "there is no Vulkan") ? 0 : 3;
}

static void expect_no_device(const char *variable, const char *value)
{
    char *argv[] = {"/proc/self/exe", "--without-device", NULL};
    pid_t child;
    int status;
    assert_int_equal(setenv(variable, value, 1), 0);
    assert_int_equal(posix_spawn(&child, argv[0], NULL, NULL, argv, environ), 0);
    unsetenv(variable);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_machine_without_a_driver_or_loader_has_no_device(void **state)
{
    (void)state;
    expect_no_device("VK_ICD_FILENAMES", "/nonexistent.json");
    // Files that are no libraries, where the loader is looked for first.
    train_write(train_path("libvulkan.so.1"), "x");
    train_write(train_path("libvulkan.so"), "x");
    expect_no_device("LD_LIBRARY_PATH", train_folder);
}

// ---- memory

static void a_budget_is_kept(void **state)
{
    (void)state;
    inlay_device *device = train_open_device(3 << 20);
    inl_gpu *gpu = gpu_of(device);
    inl_buffer *first, *second;
    TRAIN_OK(inl_buffer_create(gpu, "the first", 2 << 20, INL_MEMORY_DEVICE, &first));
    inlay_result result = inl_buffer_create(gpu, "the second", 2 << 20, INL_MEMORY_DEVICE, &second);
    train_refused(result, INLAY_ERROR_OUT_OF_DEVICE_MEMORY, "the second", "2.0 MiB", "3.0 MiB",
                  NULL);
    assert_null(second);
    assert_int_equal(used_by(device), 2 << 20);
    uint64_t most = gpu->caps.max_allocation_bytes;
    gpu->caps.max_allocation_bytes = 1 << 20;
    result = inl_buffer_create(gpu, "the third", (1 << 20) + 1, INL_MEMORY_DEVICE, &second);
    gpu->caps.max_allocation_bytes = most;
    train_refused(result, INLAY_ERROR_OUT_OF_DEVICE_MEMORY, "the third", "one block", NULL);
    inl_buffer_destroy(gpu, &first);
    assert_int_equal(used_by(device), 0);
    train_close_device(&device);
}

// Whatever the budget, what does not fit leaves nothing behind. Allocations are kept small, so that
// many succeed before one fails.
static void what_does_not_fit_leaves_nothing_allocated(void **state)
{
    (void)state;
    train_run r;
    train_prepare(&r, &(train_setup){0});
    inlay_device *device = train_open_device(0);
    inl_gpu *gpu = gpu_of(device);
    inl_buffer *any;
    TRAIN_OK(inl_buffer_create(gpu, "any", 16, INL_MEMORY_DEVICE, &any));
    TRAIN_OK(inl_gpu_zero(gpu, any, 0, 16)); // makes the staging buffer, which stays
    inl_buffer_destroy(gpu, &any);
    assert_int_equal(used_by(device), STAGING_BYTES);
    gpu->caps.max_allocation_bytes = 26000;
    uint32_t refused = 0;
    inlay_result result;
    do {
        inl_weights *weights;
        gpu->budget = STAGING_BYTES + 4096 * refused;
        result = inl_weights_create(r.model->model, gpu, 0, 24, 24, &weights);
        if (result == INLAY_OK)
            inl_weights_destroy(&weights);
        else
            train_refused(result, INLAY_ERROR_OUT_OF_DEVICE_MEMORY, "MiB", NULL);
        assert_int_equal(used_by(device), STAGING_BYTES);
        refused += result != INLAY_OK;
    } while (result != INLAY_OK);
    assert_true(refused > 5);
    train_close_device(&device);
    train_close(&r);
}

static void a_run_that_does_not_fit_says_so(void **state)
{
    (void)state;
    train_run r;
    train_setup setup = {.params = {.batch_size = 2, .max_steps = 2}};
    inlay_train_params params = train_params_of(&setup);
    inlay_device *device = train_open_device(STAGING_BYTES + 65536);
    train_prepare(&r, &setup);
    inlay_result result = inlay_trainer_create(&r.trainer, &train_env, device, r.model, r.adapter,
                                               r.dataset, &params);
    train_refused(result, INLAY_ERROR_OUT_OF_DEVICE_MEMORY, "MiB", NULL);
    assert_null(r.trainer);
    assert_int_equal(used_by(device), 0);
    train_close(&r);
    train_close_device(&device);
}

// ---- copies

static void copies_of_any_size_come_back(void **state)
{
    (void)state;
    const uint64_t sizes[] = {1, 3, 4, 4097, STAGING_BYTES - 1, STAGING_BYTES, STAGING_BYTES + 5,
                              2 * STAGING_BYTES + 12345};
    const uint64_t offsets[] = {0, 1, 260, 4095};
    uint64_t room = 2 * STAGING_BYTES + 32768;
    inl_gpu *gpu = gpu_of(train_device);
    inl_buffer *buffer;
    uint8_t *sent = malloc(room), *back = malloc(room), *all = malloc(room);
    TRAIN_OK(inl_buffer_create(gpu, "copies", room, INL_MEMORY_DEVICE, &buffer));
    for (uint64_t i = 0; i < room; i++)
        sent[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < INL_COUNT(sizes); i++) {
        uint64_t size = sizes[i], offset = offsets[i % INL_COUNT(offsets)];
        TRAIN_OK(inl_gpu_zero(gpu, buffer, 0, room));
        TRAIN_OK(inl_gpu_upload(gpu, buffer, offset, sent, size));
        TRAIN_OK(inl_gpu_download(gpu, buffer, offset, back, size));
        assert_memory_equal(back, sent, size);
        TRAIN_OK(inl_gpu_download(gpu, buffer, 0, all, room));
        for (uint64_t b = 0; b < room; b++)
            if (all[b] != (b < offset || b >= offset + size ? 0 : sent[b - offset]))
                fail_msg("%llu bytes at %llu changed byte %llu", (unsigned long long)size,
                         (unsigned long long)offset, (unsigned long long)b);
    }
    inl_buffer_destroy(gpu, &buffer);
    free(sent);
    free(back);
    free(all);
}

// ---- the pipeline cache

static uint64_t given_bytes; // what the driver was given to start from
static PFN_vkCreatePipelineCache create_cache;

static VKAPI_ATTR VkResult VKAPI_CALL spy(VkDevice device, const VkPipelineCacheCreateInfo *info,
                                          const VkAllocationCallbacks *allocator,
                                          VkPipelineCache *cache)
{
    given_bytes = info->initialDataSize;
    return create_cache(device, info, allocator, cache);
}

// Opens the cache file anew on an open device and returns the bytes the driver got of it.
static uint64_t bytes_given(inl_gpu *gpu, const char *path)
{
    create_cache = gpu->vk.vkCreatePipelineCache;
    gpu->vk.vkCreatePipelineCache = spy;
    given_bytes = UINT64_MAX;
    inl_free(&gpu->env, gpu->cache_path); // closing would write
    gpu->cache_path = NULL;
    inl_pipecache_close(gpu);
    TRAIN_OK(inl_pipecache_open(gpu, path));
    gpu->vk.vkCreatePipelineCache = create_cache;
    return given_bytes;
}

static void write_bytes(const char *path, const char *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static inlay_device *open_cached(const char *path)
{
    inlay_device *device;
    inlay_device_params params = {.pipeline_cache_path = path,
                                  .validation = getenv("INLAY_TEST_VALIDATION") != NULL};
    TRAIN_OK(inlay_device_create(&device, &train_env, &params));
    return device;
}

static void pipelines_are_cached(void **state)
{
    (void)state;
    const char *path = train_path("pipelines");
    char kept[256];
    snprintf(kept, sizeof(kept), "%s", path);
    inlay_device *device = open_cached(kept);
    train_run run;
    train_open(&run, &(train_setup){.params = {.batch_size = 2, .max_steps = 1}, .device = device});
    train_steps(&run, 1);
    train_close(&run);
    train_close_device(&device);
    train_bytes whole = train_read(kept);
    device = open_cached(kept);
    uint64_t given = bytes_given(gpu_of(device), kept);
    assert_true(given > 0 && given < whole.size);
    // Cut anywhere, changed anywhere, longer than it was: not used, and no failure.
    for (size_t cut = 0; cut < whole.size; cut += 1 + whole.size / 50) {
        write_bytes(kept, whole.data, cut);
        assert_int_equal(bytes_given(gpu_of(device), kept), 0);
    }
    for (size_t at = 0; at < whole.size; at += 1 + whole.size / 100) {
        whole.data[at] ^= 16;
        write_bytes(kept, whole.data, whole.size);
        assert_int_equal(bytes_given(gpu_of(device), kept), 0);
        whole.data[at] ^= 16;
    }
    write_bytes(kept, whole.data, whole.size + 1);
    assert_int_equal(bytes_given(gpu_of(device), kept), 0);
    write_bytes(kept, whole.data, whole.size);
    assert_int_equal(bytes_given(gpu_of(device), kept), given);
    // A damaged one is replaced when the device goes.
    write_bytes(kept, whole.data, whole.size / 2);
    train_close_device(&device);
    device = open_cached(kept);
    assert_true(bytes_given(gpu_of(device), kept) > 0);
    train_close_device(&device);
    free(whole.data);
}

static void a_cache_that_cannot_be_kept_is_no_failure(void **state)
{
    (void)state;
    const char *paths[] = {train_folder, train_path("no/such/folder/pipelines"), "/dev/null", ""};
    for (size_t i = 0; i < INL_COUNT(paths); i++) {
        inlay_device *device = open_cached(paths[i]);
        train_close_device(&device);
    }
}

// Another device's and another driver's are kept beside; one that differs is merged with ours.
static uint32_t merges;
static PFN_vkMergePipelineCaches merge_caches;

static VKAPI_ATTR VkResult VKAPI_CALL count_merges(VkDevice device, VkPipelineCache into,
                                                   uint32_t count, const VkPipelineCache *from)
{
    merges++;
    return merge_caches(device, into, count, from);
}

static void a_cache_file_serves_several_devices(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof(path), "%s", train_path("shared"));
    uint64_t given[10];
    for (uint32_t id = 0; id < INL_COUNT(given); id++) { // the last eight are kept
        inlay_device *device = open_cached(path);
        gpu_of(device)->caps.driver_version ^= id << 8;
        train_close_device(&device);
    }
    inlay_device *device = open_cached(NULL);
    inl_gpu *gpu = gpu_of(device);
    uint32_t version = gpu->caps.driver_version;
    for (uint32_t id = 0; id < INL_COUNT(given); id++) {
        gpu->caps.driver_version = version ^ id << 8;
        given[id] = bytes_given(gpu, path);
    }
    for (uint32_t id = 0; id < INL_COUNT(given); id++)
        assert_true((given[id] > 0) == (id >= 2));
    // The file changes while the device is open: what is new in it is not lost, what is not new
    // does not touch the file.
    gpu->caps.driver_version = version;
    merge_caches = gpu->vk.vkMergePipelineCaches;
    gpu->vk.vkMergePipelineCaches = count_merges;
    inl_pipecache_close(gpu);
    TRAIN_OK(inl_pipecache_open(gpu, path));
    inl_pipecache_close(gpu);
    assert_int_equal(merges, 0);
    TRAIN_OK(inl_pipecache_open(gpu, path));
    gpu->cache_hash++; // as if it had been another file
    inl_pipecache_close(gpu);
    assert_int_equal(merges, 1);
    struct stat was, is;
    assert_int_equal(stat(path, &was), 0);
    TRAIN_OK(inl_pipecache_open(gpu, path));
    inl_pipecache_close(gpu);
    assert_int_equal(stat(path, &is), 0);
    assert_true(was.st_ino == is.st_ino); // not written anew
    TRAIN_OK(inl_pipecache_open(gpu, NULL));
    train_close_device(&device);
}

// ---- pipelines on several threads

static pthread_t calling_thread;
static uint32_t foreign_calls; // of the environment
static atomic_uint compiled;
static PFN_vkCreateComputePipelines create_pipelines;
static uint32_t to_fail; // this compilation and the next

static void *own_thread_realloc(void *user, void *ptr, size_t size)
{
    (void)user;
    foreign_calls += !pthread_equal(pthread_self(), calling_thread);
    if (size > 0)
        return realloc(ptr, size);
    free(ptr);
    return NULL;
}

static void own_thread_log(void *user, inlay_log_level level, const char *message)
{
    foreign_calls += !pthread_equal(pthread_self(), calling_thread);
    *(uint32_t *)user += level == INLAY_LOG_ERROR;
    train_message(NULL, level, message);
}

static VKAPI_ATTR VkResult VKAPI_CALL compile_or_fail(VkDevice device, VkPipelineCache cache,
                                                      uint32_t count,
                                                      const VkComputePipelineCreateInfo *infos,
                                                      const VkAllocationCallbacks *allocator,
                                                      VkPipeline *out)
{
    uint32_t number = atomic_fetch_add(&compiled, 1) + 1;
    if (number == to_fail || number == to_fail + 1)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    return create_pipelines(device, cache, count, infos, allocator, out);
}

// A list with each kernel twice, of which two fail to compile: one sentence, the others are kept,
// and a second call makes the two that are missing.
static void pipelines_are_made_on_threads(void **state)
{
    (void)state;
    enum { KERNELS = 12 };
    static const char *const names[KERNELS] = {
        "adamw", "embed_f32", "glu", "glu_bwd", "lora_grad", "loss", "moe_gather", "one_hot",
        "rmsnorm", "rope", "softcap", "sumsq"};
    uint32_t errors = 0, lanes = 8;
    calling_thread = pthread_self();
    inlay_env env = {.log = own_thread_log, .log_user = &errors, .realloc = own_thread_realloc};
    inlay_device *device;
    TRAIN_OK(inlay_device_create(&device, &env, &(inlay_device_params){.compile_threads = 5}));
    inl_gpu *gpu = gpu_of(device);
    inl_pipeline_key keys[2 * KERNELS];
    for (uint32_t i = 0; i < 2 * KERNELS; i++) {
        uint32_t k = 0;
        while (k + 1 < INL_KERNEL_COUNT && strcmp(inl_kernels[k].name, names[i % KERNELS]) != 0)
            k++;
        keys[i] = (inl_pipeline_key){&inl_kernels[k], &lanes, 1, 0};
    }
    create_pipelines = gpu->vk.vkCreateComputePipelines;
    gpu->vk.vkCreateComputePipelines = compile_or_fail;
    to_fail = 4;
    train_refused(inl_pipelines_make(gpu, keys, INL_COUNT(keys)), INLAY_ERROR_OUT_OF_MEMORY,
                  "compile the kernel", NULL);
    assert_int_equal(errors, 1);
    assert_int_equal(compiled, KERNELS);
    assert_int_equal(gpu->pipeline_count, KERNELS - 2);
    TRAIN_OK(inl_pipelines_make(gpu, keys, INL_COUNT(keys)));
    assert_int_equal(compiled, KERNELS + 2);
    TRAIN_OK(inl_pipelines_make(gpu, keys, INL_COUNT(keys)));
    assert_int_equal(compiled, KERNELS + 2);
    assert_int_equal(gpu->pipeline_count, KERNELS);
    assert_int_equal(foreign_calls, 0);
    inlay_device_destroy(&device);
}

// ---- weights in as many bindings as it takes

static double loss_within(uint64_t range, const char *quantize)
{
    static const toy_model wide = {.dim = 128, .ffn = 256, .layers = 2, .heads = 4, .kv_heads = 2,
                                   .head_dim = 32, .vocab = 1024, .seed = 5};
    inlay_device *device = train_open_device(0);
    inl_gpu *gpu = gpu_of(device);
    if (range > 0)
        gpu->caps.max_buffer_range_bytes = range;
    train_run run;
    train_setup setup = {.model = wide,
                         .open = {.quantize = quantize},
                         .params = {.batch_size = 1, .max_steps = 9},
                         .device = device};
    train_open(&run, &setup);
    double loss = train_steps(&run, 3).loss;
    train_close(&run);
    train_close_device(&device);
    return loss;
}

// 512 KiB of embedding and head, 128 KiB of each feed-forward matrix; sums are taken in another
// order.
static void weights_are_split_to_fit_bindings(void **state)
{
    (void)state;
    const char *const kinds[] = {NULL, "nf4", "q8_0"};
    for (size_t i = 0; i < INL_COUNT(kinds); i++) {
        double whole = loss_within(0, kinds[i]), split = loss_within(100000, kinds[i]);
        if (!(whole > 0.1 && __builtin_fabs(whole - split) < 2e-6 * whole))
            fail_msg("loss %.9f whole, %.9f split", whole, split);
    }
}

// ---- the arena

static uint64_t check_placement(const inl_arena_item *items, uint32_t count, uint64_t limit,
                                const uint64_t *sizes, uint32_t blocks)
{
    uint64_t total = 0;
    for (uint32_t b = 0; b < blocks; b++)
        total += sizes[b];
    for (uint32_t i = 0; i < count; i++) {
        const inl_arena_item *a = &items[i];
        assert_true(a->block < blocks && a->offset % 256 == 0);
        assert_true(a->offset + a->bytes <= sizes[a->block]);
        assert_true(a->offset + a->bytes <= limit || a->offset == 0);
        for (uint32_t j = 0; j < i; j++) {
            const inl_arena_item *b = &items[j];
            bool together = a->first <= b->last && b->first <= a->last;
            if (together && a->block == b->block && a->offset < b->offset + b->bytes &&
                b->offset < a->offset + a->bytes)
                fail_msg("items %u and %u lie over each other", i, j);
        }
    }
    return total;
}

static uint64_t most_alive(const inl_arena_item *items, uint32_t count, uint32_t nodes)
{
    uint64_t most = 0;
    for (uint32_t n = 0; n < nodes; n++) {
        uint64_t alive = 0;
        for (uint32_t i = 0; i < count; i++)
            alive += items[i].first <= n && n <= items[i].last ? items[i].bytes : 0;
        most = INL_MAX(most, alive);
    }
    return most;
}

static void the_arena_never_places_live_buffers_over_each_other(void **state)
{
    (void)state;
    const uint32_t seed = 12;
    uint32_t draw = 0;
    double used = 0.0, needed = 0.0;
    inl_arena_item items[120];
    inl_env env = inl_env_resolve(NULL);
    print_message("seed %u\n", seed);
    for (uint32_t round = 0; round < 400; round++) {
        uint32_t count = inl_rng_u32(seed, 0, draw++) % (INL_COUNT(items) + 1), nodes = 60;
        uint64_t limit = round % 3 ? 1ull << 40 : 50000; // of a block
        for (uint32_t i = 0; i < count; i++) {
            uint32_t first = inl_rng_u32(seed, 1, draw++) % nodes;
            uint32_t length = inl_rng_u32(seed, 2, draw++) % (round % 2 ? 8 : nodes);
            items[i] = (inl_arena_item){.bytes = 1 + inl_rng_u32(seed, 3, draw++) % 40000,
                                        .first = first,
                                        .last = INL_MIN(first + length, nodes - 1)};
        }
        uint64_t *sizes;
        uint32_t blocks;
        TRAIN_OK(inl_arena_place(&env, items, count, 256, limit, &sizes, &blocks));
        used += (double)check_placement(items, count, limit, sizes, blocks);
        needed += (double)most_alive(items, count, nodes);
        inl_free(&env, sizes);
    }
    print_message("%.1f %% over what is alive at once\n", 100.0 * (used / needed - 1.0));
    assert_true(used < 1.25 * needed);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--without-device") == 0)
        return without_device();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_listed),
        cmocka_unit_test(a_device_is_selected_by_name_or_index),
        cmocka_unit_test(paths_are_what_was_asked_for),
        cmocka_unit_test(a_machine_without_a_driver_or_loader_has_no_device),
        cmocka_unit_test(a_budget_is_kept),
        cmocka_unit_test(what_does_not_fit_leaves_nothing_allocated),
        cmocka_unit_test(a_run_that_does_not_fit_says_so),
        cmocka_unit_test(copies_of_any_size_come_back),
        cmocka_unit_test(pipelines_are_cached),
        cmocka_unit_test(a_cache_that_cannot_be_kept_is_no_failure),
        cmocka_unit_test(a_cache_file_serves_several_devices),
        cmocka_unit_test(pipelines_are_made_on_threads),
        cmocka_unit_test(weights_are_split_to_fit_bindings),
        cmocka_unit_test(the_arena_never_places_live_buffers_over_each_other),
    };
    return cmocka_run_group_tests(tests, train_begin, train_end);
}
