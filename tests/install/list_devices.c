// SPDX-License-Identifier: MIT
// What a user's first program is: built against the installed library through pkg-config alone.
// WITH_VOLK: the host has its own volk, which must not meet the library's.
#ifdef WITH_VOLK
#define VOLK_IMPLEMENTATION
#include <volk.h>
#endif

#include <inlay/inlay.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    static inlay_device_info infos[16];
    uint32_t count = sizeof(infos) / sizeof(infos[0]);
#ifdef WITH_VOLK
    if (volkInitialize() != VK_SUCCESS)
        return 1;
#endif
    if (strcmp(inlay_version(), INLAY_VERSION) != 0 || inlay_api_version() != INLAY_API_VERSION) {
        printf("headers %s, library %s\n", INLAY_VERSION, inlay_version());
        return 1;
    }
    if (inlay_device_list(NULL, infos, &count) != INLAY_OK)
        return 1;
    if (count == 0) {
        printf("skipped: no Vulkan device to list\n");
        return 77;
    }
    for (uint32_t i = 0; i < count && i < sizeof(infos) / sizeof(infos[0]); i++)
        printf("%u %s\n", infos[i].index, infos[i].name);
    return 0;
}
