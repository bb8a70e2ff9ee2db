// SPDX-License-Identifier: MIT
#include <inlay/inlay.h>

const char *inlay_version(void)
{
    return INLAY_VERSION;
}

uint32_t inlay_api_version(void)
{
    return INLAY_API_VERSION;
}

const char *inlay_result_string(inlay_result result)
{
    switch (result) {
#define INLAY_RESULT_CASE(name, value, meaning)                                                    \
    case name:                                                                                     \
        return meaning;
        INLAY_RESULTS(INLAY_RESULT_CASE)
#undef INLAY_RESULT_CASE
    }
    return "unknown result";
}
