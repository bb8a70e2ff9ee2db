// SPDX-License-Identifier: MIT
// How kernels divide their work: generations, the choice by shape, what a file may ask for, the
// tuner and its file.
#include "harness/train_run.h"

#include "gpu/tuning.h"
#include "gpu/vk.h"

// ---- generations and the table

typedef struct card {
    uint32_t vendor_id, device_id, subgroup_min;
    bool dot8_fast, dot8_mixed;
    inl_generation generation;
} card;

static const card cards[] = {
    {0x1002, 0x67df, 64, 0, 0, INL_GENERATION_GCN},      // RX 580
    {0x1002, 0x66a1, 64, 1, 0, INL_GENERATION_GCN},      // Vega 20
    {0x1002, 0x731f, 32, 0, 0, INL_GENERATION_RDNA1},    // RX 5700 XT
    {0x1002, 0x7340, 32, 1, 0, INL_GENERATION_RDNA1},    // RX 5500
    {0x1002, 0x73bf, 32, 1, 0, INL_GENERATION_RDNA2},    // RX 6800
    {0x1002, 0x744c, 32, 1, 1, INL_GENERATION_RDNA3},    // RX 7900
    {0x1002, 0x15bf, 32, 1, 1, INL_GENERATION_RDNA3},    // 780M
    {0x1002, 0x7550, 32, 1, 1, INL_GENERATION_RDNA4},    // RX 9070
    {0x8086, 0x1912, 8, 0, 0, INL_GENERATION_XE_LP},     // HD 530
    {0x8086, 0x9a49, 8, 1, 1, INL_GENERATION_XE_LP},     // Tiger Lake
    {0x8086, 0x56a0, 8, 1, 1, INL_GENERATION_XE_HPG},    // Arc A770
    {0x8086, 0xe20b, 16, 1, 1, INL_GENERATION_XE2},      // Arc B580
    {0x10de, 0x1e04, 32, 1, 1, INL_GENERATION_TURING},   // RTX 2080 Ti
    {0x10de, 0x2184, 32, 1, 1, INL_GENERATION_TURING},   // GTX 1660
    {0x10de, 0x20b5, 32, 1, 1, INL_GENERATION_AMPERE},   // A100
    {0x10de, 0x2204, 32, 1, 1, INL_GENERATION_AMPERE},   // RTX 3090
    {0x10de, 0x2503, 32, 1, 1, INL_GENERATION_AMPERE},   // RTX 3060
    {0x10de, 0x2330, 32, 1, 1, INL_GENERATION_HOPPER},   // H100
    {0x10de, 0x2684, 32, 1, 1, INL_GENERATION_ADA},      // RTX 4090
    {0x10de, 0x2b85, 32, 1, 1, INL_GENERATION_BLACKWELL}, // RTX 5090
    {0x5143, 0x43050a01, 64, 1, 1, INL_GENERATION_UNKNOWN},
};

static inl_gpu_caps caps_of(const card *c)
{
    inl_gpu_caps caps = {.vendor_id = c->vendor_id,
                         .device_id = c->device_id,
                         .subgroup_size_min = c->subgroup_min,
                         .dot8_fast = c->dot8_fast,
                         .dot8_mixed = c->dot8_mixed,
                         .type = 2,
                         .shared_memory_bytes = 48 << 10,
                         .max_workgroup_size = 1024};
    inl_tiles_read(NULL, VK_NULL_HANDLE, &caps); // of Vulkan 1.0: nothing is asked
    return caps;
}

static void cards_have_a_generation_and_tiles(void **state)
{
    (void)state;
    for (size_t i = 0; i < INL_COUNT(cards); i++) {
        inl_gpu_caps caps = caps_of(&cards[i]);
        if (caps.generation != cards[i].generation)
            fail_msg("%04x:%04x is %s and not %s", caps.vendor_id, caps.device_id,
                     inl_generation_name(caps.generation),
                     inl_generation_name(cards[i].generation));
        if (!inl_tiles_fit(&caps, &caps.tiles))
            fail_msg("the tiles of %s do not fit", inl_generation_name(caps.generation));
    }
}

// Large products get the large tile, small ones enough workgroups, whatever the device.
static void the_tile_goes_by_the_shape(void **state)
{
    (void)state;
    for (size_t i = 0; i < INL_COUNT(cards); i++) {
        inl_gpu_caps caps = caps_of(&cards[i]);
        const inl_gemm_tile *tiles = caps.tiles.gemm;
        caps.compute_units = 60;
        assert_ptr_equal(inl_tile_for(&caps, 4096, 4096), &tiles[2]);
        assert_ptr_equal(inl_tile_for(&caps, 64, 256), &tiles[0]);
        assert_ptr_equal(inl_tile_for(&caps, 1, 8), &tiles[0]);
        for (uint32_t m = 1; m < 5000; m = m * 3 / 2 + 1) {
            const inl_gemm_tile *t = inl_tile_for(&caps, m, 2048);
            assert_true(t == tiles || 2 * m > t->rows);
        }
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    inl_gpu_caps caps = caps_of(&cards[4]);
    for (uint32_t number = 0; number < sizeof(inl_tiles) / 4; number++) {
        static const uint32_t wrong[] = {0, 3, 12345};
        for (size_t i = 0; i < INL_COUNT(wrong); i++) {
            inl_tiles tiles = caps.tiles;
            bool only_zero = number == 3 && wrong[i] > 0; // any number of rows will do
            ((uint32_t *)&tiles)[number] = wrong[i];
            if (inl_tiles_fit(&caps, &tiles) != only_zero)
                fail_msg("%u as number %u", wrong[i], number);
        }
    }
    inl_tiles large = caps.tiles;
    large.gemm[2] = (inl_gemm_tile){256, 256, 32, 8, 8};
    assert_false(inl_tiles_fit(&caps, &large)); // 66 KiB of shared memory
    large.gemm[2] = (inl_gemm_tile){256, 256, 16, 4, 4};
    assert_false(inl_tiles_fit(&caps, &large)); // 4096 threads
}

// ---- the file

static inlay_device *open_tuned(const char *path)
{
    inlay_device *device;
    inlay_device_params params = {.tuning_path = path};
    TRAIN_OK(inlay_device_create(&device, &train_env, &params));
    return device;
}

static uint32_t rows_with(const char *path)
{
    inlay_device *device = open_tuned(path);
    uint32_t rows = device->gpu->caps.tiles.gemm_rows;
    train_close_device(&device);
    return rows;
}

static void choices_are_kept_by_device_and_driver(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof(path), "%s", train_path("tuning.txt"));
    uint32_t own = train_device->gpu->caps.tiles.gemm_rows, other = own == 2 ? 4 : 2;
    assert_int_equal(rows_with(path), own); // there is none
    inlay_device *device = open_tuned(path);
    inl_gpu *gpu = device->gpu;
    inl_tiles tiles = gpu->caps.tiles;
    uint32_t version = gpu->caps.driver_version;
    for (uint32_t i = 0; i < 3; i++) { // two other drivers', and ours between
        gpu->caps.driver_version = version + (i == 0) + 2 * (i == 2);
        tiles.gemm_rows = i == 1 ? other : 1;
        inl_gpu_set_tiles(gpu, &tiles);
        TRAIN_OK(inl_tuning_save(gpu));
    }
    assert_int_equal(rows_with(path), other);
    gpu->caps.driver_version = version;
    tiles.gemm_rows = own;
    inl_gpu_set_tiles(gpu, &tiles);
    TRAIN_OK(inl_tuning_save(gpu));
    train_close_device(&device);
    assert_int_equal(rows_with(path), own);
    train_bytes whole = train_read(path);
    uint32_t records = 0;
    for (size_t i = 0; i + 1 < whole.size; i++)
        records += whole.data[i] == '\n' && whole.data[i + 1] == '[';
    assert_int_equal(records, 3);
    free(whole.data);
}

// Cut or changed anywhere: the device's own tiles, or others that fit; one line at most.
static void a_damaged_file_is_ignored(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof(path), "%s", train_path("damaged.txt"));
    inlay_device *device = open_tuned(path);
    inl_gpu *gpu = device->gpu;
    TRAIN_OK(inl_tuning_save(gpu));
    train_bytes whole = train_read(path);
    inl_tiles own = gpu->caps.tiles;
    for (size_t at = 0; at < 2 * whole.size; at++) {
        bool cut = at >= whole.size;
        size_t place = at % whole.size;
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        whole.data[place] ^= cut ? 0 : 8;
        assert_int_equal(fwrite(whole.data, 1, cut ? place : whole.size, f),
                         cut ? place : whole.size);
        whole.data[place] ^= cut ? 0 : 8;
        assert_int_equal(fclose(f), 0);
        uint32_t warnings = train_warnings;
        inl_free(&gpu->env, gpu->tuning_path);
        inl_gpu_set_tiles(gpu, &own);
        TRAIN_OK(inl_tuning_open(gpu, path));
        assert_true(inl_tiles_fit(&gpu->caps, &gpu->caps.tiles));
        assert_true(train_warnings - warnings <= 1);
    }
    TRAIN_OK(inl_tuning_save(gpu)); // it is replaced
    train_bytes again = train_read(path);
    assert_int_equal(again.size, whole.size);
    train_close_device(&device);
    free(whole.data);
    free(again.data);
}

// ---- the tuner

static uint32_t told, chosen;

static bool count_candidates(void *user, const inlay_tune_candidate *c)
{
    (void)user;
    told++;
    chosen += c->chosen;
    assert_true(c->what[0] && c->tiles[0]);
    assert_true(c->largest_error < 1e-9);
    return true;
}

static bool stop_at_once(void *user, const inlay_tune_candidate *c)
{
    (void)user, (void)c;
    return false;
}

static void the_tuner_keeps_its_choice(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof(path), "%s", train_path("tuned.txt"));
    inlay_device *device = open_tuned(path);
    inl_gpu *gpu = device->gpu;
    inl_tiles before = gpu->caps.tiles;
    uint64_t used, after, peak;
    inlay_device_get_memory(device, &used, &peak);
    inlay_tune_params params = {.seconds = 0.5, .progress = stop_at_once};
    assert_int_equal(inlay_device_tune(device, &params), INLAY_ERROR_INTERRUPTED);
    assert_memory_equal(&gpu->caps.tiles, &before, sizeof(before));
    assert_int_not_equal(access(path, F_OK), 0);
    params.progress = count_candidates;
    TRAIN_OK(inlay_device_tune(device, &params));
    assert_true(told >= 3 && chosen >= 1 && chosen < told);
    assert_true(inl_tiles_fit(&gpu->caps, &gpu->caps.tiles));
    uint32_t rows = gpu->caps.tiles.gemm_rows;
    inlay_device_get_memory(device, &after, &peak);
    assert_true(after <= used + (24u << 20)); // but for the staging buffer
    train_close_device(&device);
    assert_int_equal(rows_with(path), rows);
}

// The choices of GPUs, with their kernels on the CPU driver: whatever there is time for.
static void the_tuner_of_gpus_runs(void **state)
{
    (void)state;
    inlay_device *device = open_tuned(NULL);
    inl_gpu *gpu = device->gpu;
    gpu->caps.simd_lanes = 0;
    told = chosen = 0;
    inlay_tune_params params = {.seconds = 2.0, .progress = count_candidates};
    TRAIN_OK(inlay_device_tune(device, &params));
    assert_true(told >= 5 && chosen == 5);
    train_close_device(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cards_have_a_generation_and_tiles),
        cmocka_unit_test(the_tile_goes_by_the_shape),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(choices_are_kept_by_device_and_driver),
        cmocka_unit_test(a_damaged_file_is_ignored),
        cmocka_unit_test(the_tuner_keeps_its_choice),
        cmocka_unit_test(the_tuner_of_gpus_runs),
    };
    return cmocka_run_group_tests(tests, train_begin, train_end);
}
