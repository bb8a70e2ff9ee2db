// SPDX-License-Identifier: MIT
#include "verify/families.h"
#include "verify/suite.h"

#include <stdio.h>

const kt_family inl_families[] = {
    {"driver", check_driver}, {"matmul", check_matmul},       {"lora", check_lora},
    {"layer", check_layer},   {"attention", check_attention}, {"update", check_update},
    {"reduce", check_reduce}, {"block", check_block},         {"moe", check_moe},
    {"dora", check_dora},     {"encode", check_encode},       {"peak", check_peak},
    {"token", check_token},
};
const uint32_t inl_family_count = INL_COUNT(inl_families);

static bool report_uncovered(kt_suite *s, inl_kernel kernel)
{
    static const uint8_t none[INL_KERNEL_COUNT];
    char name[256];
    snprintf(name, sizeof(name), "coverage of %s", inl_kernels[kernel].name);
    s->skipped++;
    return s->report(s->user, &(kt_report){.family = "coverage",
                                           .name = name,
                                           .seed = s->seed,
                                           .skipped = "no check runs this kernel",
                                           .message = "",
                                           .kernels = none});
}

inlay_result inl_verify(kt_suite *s)
{
    for (uint32_t i = 0; i < inl_family_count; i++)
        INL_TRY(kt_run_family(s, &inl_families[i]));
    for (uint32_t i = 0; i < INL_KERNEL_COUNT && !s->filter; i++)
        if (!s->ran[i] && kt_kernel_is_expected(inl_gpu_get_caps(s->gpu), i) &&
            !report_uncovered(s, i))
            return INLAY_ERROR_INTERRUPTED;
    return INLAY_OK;
}
