// SPDX-License-Identifier: MIT
// inlay devices: what Vulkan offers, and which kernels each device gets.
#include "cli.h"
#include "json_out.h"

#include <stdlib.h>

typedef struct options {
    common_options common;
    bool json;
} options;

static const arg table[] = {
    {.name = "json", .type = ARG_FLAG, .offset = offsetof(options, json), .help = "as JSON"},
    COMMON_ARGS(options),
};

static const char *type_name(inlay_device_type type)
{
    static const char *const names[] = {"other", "integrated GPU", "discrete GPU", "virtual GPU",
                                        "CPU"};
    return (unsigned)type < COUNT(names) ? names[type] : names[0];
}

static void version_text(char out[32], uint32_t version)
{
    snprintf(out, 32, "%u.%u.%u", version >> 22 & 0x7f, version >> 12 & 0x3ff, version & 0xfff);
}

static json_t *path_json(const inlay_kernel_path *path)
{
    json_t *object = json_object();
    json_put(object, "name", json_words(path->name));
    json_put(object, "available", json_boolean(path->available));
    json_put(object, "reason", path->available ? json_null() : json_words(path->reason));
    return object;
}

static json_t *device_json(const inlay_device_info *d)
{
    char version[32];
    version_text(version, d->api_version);
    json_t *o = json_object(), *paths = json_array();
    json_put(o, "index", json_count(d->index));
    json_put(o, "name", json_words(d->name));
    json_put(o, "vendor", json_words(d->vendor));
    json_put(o, "vendor_id", json_count(d->vendor_id));
    json_put(o, "device_id", json_count(d->device_id));
    json_put(o, "type", json_words(type_name(d->type)));
    json_put(o, "driver", json_words(d->driver_name));
    json_put(o, "driver_info", json_words(d->driver_info));
    json_put(o, "driver_version", json_count(d->driver_version));
    json_put(o, "api_version", json_words(version));
    json_put(o, "memory_bytes", json_count(d->memory_bytes));
    json_put(o, "budget_bytes", json_count(d->budget_bytes));
    json_put(o, "subgroup_size", json_count(d->subgroup_size));
    json_put(o, "subgroup_size_min", json_count(d->subgroup_size_min));
    json_put(o, "subgroup_size_max", json_count(d->subgroup_size_max));
    json_put(o, "shared_memory_bytes", json_count(d->shared_memory_bytes));
    json_put(o, "max_buffer_range_bytes", json_count(d->max_buffer_range_bytes));
    json_put(o, "max_allocation_bytes", json_count(d->max_allocation_bytes));
    json_put(o, "usable", json_boolean(d->usable));
    json_put(o, "unusable_reason", d->usable ? json_null() : json_words(d->unusable_reason));
    for (uint32_t i = 0; i < d->path_count; i++)
        json_array_append_new(paths, path_json(&d->paths[i]));
    json_put(o, "paths", paths);
    return o;
}

static void print_device(const inlay_device_info *d)
{
    char version[32];
    text_buffer memory, budget, shared;
    version_text(version, d->api_version);
    printf("%u  %s\n", d->index, d->name);
    printf("   %-10s %s, %s\n", "type", type_name(d->type), d->vendor);
    printf("   %-10s %s %s, Vulkan %s\n", "driver", d->driver_name, d->driver_info, version);
    printf("   %-10s %s, %s of it free to use now\n", "memory",
           text_bytes(&memory, d->memory_bytes), text_bytes(&budget, d->budget_bytes));
    printf("   %-10s %u (%u to %u), %s shared memory\n", "subgroup", d->subgroup_size,
           d->subgroup_size_min, d->subgroup_size_max, text_bytes(&shared, d->shared_memory_bytes));
    for (uint32_t i = 0; i < d->path_count; i++)
        printf("   %-10s %-20s %s%s\n", i == 0 ? "kernels" : "", d->paths[i].name,
               d->paths[i].available ? "yes" : "no: ", d->paths[i].reason);
    if (!d->usable)
        printf("   %-10s %s\n", "unusable", d->unusable_reason);
}

static inlay_device_info *list(uint32_t *count, inlay_result *result)
{
    *result = inlay_device_list(cli_env(), NULL, count);
    inlay_device_info *infos = xalloc(*count, sizeof(*infos));
    uint32_t room = *count;
    if (*result == INLAY_OK)
        *result = inlay_device_list(cli_env(), infos, count);
    if (*count > room)
        *count = room;
    return infos;
}

static void print_all(const inlay_device_info *infos, uint32_t count, bool json)
{
    if (json) {
        json_t *devices = json_array();
        for (uint32_t i = 0; i < count; i++)
            json_array_append_new(devices, device_json(&infos[i]));
        json_t *all = json_object();
        json_put(all, "devices", devices);
        json_print(all);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            puts("");
        print_device(&infos[i]);
    }
}

static int run(const command *self, int argc, char **argv)
{
    options o = {0};
    args a = {.table = table, .count = COUNT(table), .options = &o};
    int code;
    if (!setup_args(&a, self, argc, argv, &code))
        return code;
    setup_log(&o.common);
    uint32_t count = 0;
    inlay_result result;
    inlay_device_info *infos = list(&count, &result);
    if (result == INLAY_OK) {
        print_all(infos, count, o.json);
        if (count == 0)
            cli_error("there is no Vulkan device (no loader or no driver: on Debian, the package "
                      "mesa-vulkan-drivers has one for most GPUs and one for the CPU)");
    }
    free(infos);
    return result == INLAY_OK && count > 0 ? EXIT_OK : EXIT_FAILED;
}

const command command_devices = {.name = "devices",
                                 .usage = "devices [--json]",
                                 .summary = "lists the Vulkan devices and the kernels each gets",
                                 .run = run};
