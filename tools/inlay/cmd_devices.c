// SPDX-License-Identifier: MIT
// inlay devices: what Vulkan offers, and which kernels each device gets.
#include "cli.h"
#include "device_text.h"

#include <stdlib.h>

typedef struct options {
    common_options common;
    bool json;
} options;

static const arg table[] = {
    {.name = "json", .type = ARG_FLAG, .offset = offsetof(options, json), .help = "as JSON"},
    COMMON_ARGS(options),
};

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
        device_print(stdout, &infos[i]);
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
