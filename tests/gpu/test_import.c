// SPDX-License-Identifier: MIT
// Training on a device that the test made itself, between the test's own dispatches on the same
// queue.
#include "harness/train_run.h"
#include "harness/vulkan_host.h"

#include <inlay/vulkan.h>

#define STEPS 3

static const toy_model shape = {.dim = 40, .ffn = 52, .layers = 2, .heads = 4, .kv_heads = 2,
                                .head_dim = 12, .vocab = 261, .seed = 3, .biases = 1};
static char model_file[256];
static double expected[STEPS]; // losses of inlay's own device
static char device_name[256];

// ---- the host's queue lock

typedef struct queue_lock {
    int held, locks, unlocks, wrong;
} queue_lock;

static void lock_queue(void *user)
{
    queue_lock *l = user;
    l->wrong += l->held != 0;
    l->held++;
    l->locks++;
}

static void unlock_queue(void *user)
{
    queue_lock *l = user;
    l->held--;
    l->unlocks++;
    l->wrong += l->held != 0;
}

// ---- hosts and devices

static void open_host(vulkan_host *h)
{
    vulkan_host_params params = {.device = device_name,
                                 .validation = getenv("INLAY_TEST_VALIDATION") != NULL};
    assert_true(vulkan_host_open(h, &params));
    for (uint32_t i = 0; i < VULKAN_HOST_WORDS; i++)
        h->words[i] = 7 * i;
}

// The words after dispatches with these factors, 0 ends the list.
static void expect_words(const vulkan_host *h, const uint32_t *factors)
{
    for (uint32_t i = 0; i < VULKAN_HOST_WORDS; i++) {
        uint32_t value = 7 * i;
        for (const uint32_t *f = factors; *f; f++)
            value = value * *f + i;
        assert_int_equal(h->words[i], value);
    }
}

static void close_host(vulkan_host *h)
{
    vulkan_host_close(h);
    assert_int_equal(h->validation_errors, 0);
}

static inlay_device_import_params params_of(const vulkan_host *h)
{
    return (inlay_device_import_params){.instance = h->instance,
                                        .physical_device = h->physical,
                                        .device = h->device,
                                        .get_instance_proc_addr = h->get,
                                        .queue = h->queue,
                                        .queue_family = h->family};
}

static inlay_device *import(const vulkan_host *h)
{
    inlay_device *device;
    inlay_device_import_params params = params_of(h);
    TRAIN_OK(inlay_device_import(&device, &train_env, &params));
    return device;
}

static void open_run(train_run *run, inlay_device *device)
{
    train_open(run, &(train_setup){.model_file = model_file,
                                   .adapter = {.dropout = 0.1f},
                                   .params = {.batch_size = 2, .max_steps = 100},
                                   .device = device});
}

static void expect_step(train_run *run, uint32_t step)
{
    double loss = train_steps(run, 1).loss;
    assert_memory_equal(&loss, &expected[step], sizeof(loss));
}

static int setup(void **state)
{
    train_begin(state);
    snprintf(model_file, sizeof(model_file), "%s", train_path("shape.gguf"));
    assert_int_equal(toy_model_write(model_file, &shape), 0);
    inlay_device_info info;
    inlay_device_get_info(train_device, &info);
    snprintf(device_name, sizeof(device_name), "%s", info.name);
    train_run run;
    open_run(&run, train_device);
    for (uint32_t i = 0; i < STEPS; i++) {
        expected[i] = train_steps(&run, 1).loss;
        assert_true(expected[i] > 0.1 && (i == 0 || expected[i] != expected[i - 1]));
    }
    train_close(&run);
    return 0;
}

// ---- tests

static void trains_between_the_hosts_dispatches(void **state)
{
    (void)state;
    vulkan_host host;
    queue_lock lock = {0};
    open_host(&host);
    inlay_device_import_params params = params_of(&host);
    params.lock_queue = lock_queue;
    params.unlock_queue = unlock_queue;
    params.queue_user = &lock;
    params.features = inlay_required_features();
    inlay_device *device;
    assert_int_equal(inlay_device_import(&device, &train_env, &params), INLAY_OK);
    train_run run;
    open_run(&run, device);
    for (uint32_t i = 0; i < STEPS; i++) {
        int before = lock.locks;
        vulkan_host_dispatch(&host, 3 + i);
        expect_step(&run, i);
        assert_true(lock.locks > before);
    }
    vulkan_host_dispatch(&host, 11);
    vulkan_host_wait(&host);
    expect_words(&host, (const uint32_t[]){3, 4, 5, 11, 0});
    train_close(&run);
    train_close_device(&device);
    assert_int_equal(lock.locks, lock.unlocks);
    assert_int_equal(lock.held, 0);
    assert_int_equal(lock.wrong, 0);
    // The host's handles are its own still.
    vulkan_host_dispatch(&host, 13);
    vulkan_host_wait(&host);
    expect_words(&host, (const uint32_t[]){3, 4, 5, 11, 13, 0});
    close_host(&host);
}

static void memory_is_counted_and_given_back(void **state)
{
    (void)state;
    vulkan_host host;
    open_host(&host);
    inlay_device *device = import(&host);
    uint64_t used, peak;
    inlay_device_get_memory(device, &used, &peak);
    assert_int_equal(used, 0);
    train_run run;
    open_run(&run, device);
    expect_step(&run, 0);
    inlay_device_get_memory(device, &used, &peak);
    assert_true(used > 0 && peak >= used);
    train_close(&run);
    inlay_device_get_memory(device, &used, &peak);
    assert_true(used <= 8 << 20); // the staging buffer stays
    train_close_device(&device);
    close_host(&host);
}

// Submits of the fourth step, when the first three have been measured, and the losses of all.
static int submits_within(uint32_t ms, double losses[4])
{
    vulkan_host host;
    queue_lock lock = {0};
    open_host(&host);
    inlay_device_import_params params = params_of(&host);
    params.lock_queue = lock_queue;
    params.unlock_queue = unlock_queue;
    params.queue_user = &lock;
    params.max_submit_ms = ms;
    inlay_device *device;
    train_run run;
    TRAIN_OK(inlay_device_import(&device, &train_env, &params));
    open_run(&run, device);
    for (uint32_t i = 0; i < 3; i++)
        losses[i] = train_steps(&run, 1).loss;
    int before = lock.locks;
    losses[3] = train_steps(&run, 1).loss;
    int submits = lock.locks - before;
    train_close(&run);
    train_close_device(&device);
    close_host(&host);
    return submits;
}

// A host that can spare little gets many short submits, and the same bits.
static void submits_are_as_short_as_asked_for(void **state)
{
    (void)state;
    double losses[2][4];
    int many = submits_within(1, losses[0]), few = submits_within(1000000, losses[1]);
    assert_int_equal(few, 2); // a micro-batch and the update
    if (many <= few)
        fail_msg("%d submits of 1 ms, %d of any length", many, few);
    assert_memory_equal(losses[0], losses[1], sizeof(losses[0]));
    assert_memory_equal(losses[0], expected, sizeof(expected));
}

// Own and imported devices side by side, made and destroyed in either order: nothing of one
// instance may be called with the other's handles.
static void two_devices(bool own_first, bool own_leaves_first)
{
    vulkan_host host;
    open_host(&host);
    inlay_device *own = own_first ? train_open_device(0) : NULL, *imported = import(&host);
    if (!own_first)
        own = train_open_device(0);
    train_run runs[2];
    open_run(&runs[0], own);
    open_run(&runs[1], imported);
    for (uint32_t i = 0; i < 2; i++) {
        expect_step(&runs[0], i);
        expect_step(&runs[1], i);
    }
    uint32_t first = own_leaves_first ? 0 : 1;
    train_close(&runs[first]);
    train_close_device(own_leaves_first ? &own : &imported);
    expect_step(&runs[1 - first], 2);
    train_close(&runs[1 - first]);
    train_close_device(own_leaves_first ? &imported : &own);
    close_host(&host);
}

static void own_and_imported_at_once(void **state)
{
    (void)state;
    for (int order = 0; order < 4; order++)
        two_devices(order & 1, order & 2);
}

static void two_hosts_at_once(void **state)
{
    (void)state;
    vulkan_host hosts[2];
    inlay_device *devices[2];
    train_run runs[2];
    for (int i = 0; i < 2; i++) {
        open_host(&hosts[i]);
        devices[i] = import(&hosts[i]);
        open_run(&runs[i], devices[i]);
    }
    for (uint32_t step = 0; step < STEPS; step++)
        for (int i = 0; i < 2; i++)
            expect_step(&runs[i], step);
    for (int i = 0; i < 2; i++) {
        train_close(&runs[i]);
        train_close_device(&devices[i]);
        close_host(&hosts[i]);
    }
}

// A driver used without the loader: its instance-level functions take its own handles alone.
static void beside_a_driver_without_the_loader(void **state)
{
    (void)state;
    vulkan_host host;
    if (!vulkan_host_open(&host, &(vulkan_host_params){.library = "libvulkan_lvp.so",
                                                       .entry = "vk_icdGetInstanceProcAddr",
                                                       .device = device_name})) {
        print_message("skipped: the driver of %s is not libvulkan_lvp.so\n", device_name);
        skip();
    }
    inlay_device *own = train_open_device(0), *imported = import(&host),
                 *again = train_open_device(0);
    train_run runs[3];
    open_run(&runs[0], own);
    open_run(&runs[1], imported);
    open_run(&runs[2], again);
    for (uint32_t step = 0; step < STEPS; step++)
        for (int i = 0; i < 3; i++)
            expect_step(&runs[i], step);
    for (int i = 0; i < 3; i++)
        train_close(&runs[i]);
    uint32_t count = 0;
    assert_int_equal(inlay_device_list(&train_env, NULL, &count), INLAY_OK);
    assert_true(count > 0);
    train_close_device(&own);
    train_close_device(&imported);
    train_close_device(&again);
    vulkan_host_close(&host);
}

static void expect_refusal(const inlay_device_import_params *params, inlay_result expected_result,
                           const char *part)
{
    inlay_device *device = train_device;
    train_error[0] = '\0';
    inlay_result result = inlay_device_import(&device, &train_env, params);
    train_refused(result, expected_result, part, NULL);
    assert_null(device);
}

static void what_cannot_work_is_refused(void **state)
{
    (void)state;
    vulkan_host host;
    open_host(&host);
    const inlay_device_import_params good = params_of(&host);
    VkPhysicalDeviceVulkan12Features off = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceFeatures2 without = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                         .pNext = &off};
    VkPhysicalDeviceFeatures2 bare = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    inlay_device_import_params bad = good;
    bad.features = &without;
    expect_refusal(&bad, INLAY_ERROR_UNSUPPORTED, "timelineSemaphore");
    bad.features = &bare;
    expect_refusal(&bad, INLAY_ERROR_UNSUPPORTED, "timelineSemaphore");
    bad = good;
    bad.queue_family = 31;
    expect_refusal(&bad, INLAY_ERROR_UNSUPPORTED, "family 31");
    bad = good;
    bad.device = VK_NULL_HANDLE;
    expect_refusal(&bad, INLAY_ERROR_INVALID_ARGUMENT, "device");
    bad = good;
    bad.queue = VK_NULL_HANDLE;
    expect_refusal(&bad, INLAY_ERROR_INVALID_ARGUMENT, "queue");
    expect_refusal(NULL, INLAY_ERROR_INVALID_ARGUMENT, "params");
    // A refusal leaves the host's device as it was.
    vulkan_host_dispatch(&host, 5);
    vulkan_host_wait(&host);
    expect_words(&host, (const uint32_t[]){5, 0});
    close_host(&host);
}

static void the_older_features_struct_and_the_systems_loader_do(void **state)
{
    (void)state;
    vulkan_host host;
    open_host(&host);
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES,
        .timelineSemaphore = VK_TRUE};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &timeline};
    inlay_device_import_params params = params_of(&host);
    params.features = &features;
    params.get_instance_proc_addr = NULL;
    inlay_device *device;
    train_run run;
    assert_int_equal(inlay_device_import(&device, &train_env, &params), INLAY_OK);
    open_run(&run, device);
    expect_step(&run, 0);
    train_close(&run);
    train_close_device(&device);
    close_host(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trains_between_the_hosts_dispatches),
        cmocka_unit_test(memory_is_counted_and_given_back),
        cmocka_unit_test(submits_are_as_short_as_asked_for),
        cmocka_unit_test(own_and_imported_at_once),
        cmocka_unit_test(two_hosts_at_once),
        cmocka_unit_test(beside_a_driver_without_the_loader),
        cmocka_unit_test(what_cannot_work_is_refused),
        cmocka_unit_test(the_older_features_struct_and_the_systems_loader_do),
    };
    return cmocka_run_group_tests(tests, setup, train_end);
}
