// SPDX-License-Identifier: MIT
#include "device_text.h"

#include "cli.h"

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

json_t *device_json(const inlay_device_info *d)
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

void device_print(FILE *out, const inlay_device_info *d)
{
    char version[32];
    text_buffer memory, budget, shared;
    version_text(version, d->api_version);
    fprintf(out, "%u  %s\n", d->index, d->name);
    fprintf(out, "   %-10s %s, %s\n", "type", type_name(d->type), d->vendor);
    fprintf(out, "   %-10s %s %s, Vulkan %s\n", "driver", d->driver_name, d->driver_info, version);
    fprintf(out, "   %-10s %s, %s of it free to use now\n", "memory",
           text_bytes(&memory, d->memory_bytes), text_bytes(&budget, d->budget_bytes));
    fprintf(out, "   %-10s %u (%u to %u), %s shared memory\n", "subgroup", d->subgroup_size,
           d->subgroup_size_min, d->subgroup_size_max, text_bytes(&shared, d->shared_memory_bytes));
    for (uint32_t i = 0; i < d->path_count; i++)
        fprintf(out, "   %-10s %-20s %s%s\n", i == 0 ? "kernels" : "", d->paths[i].name,
               d->paths[i].available ? "yes" : "no: ", d->paths[i].reason);
    if (!d->usable)
        fprintf(out, "   %-10s %s\n", "unusable", d->unusable_reason);
}
