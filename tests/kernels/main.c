// SPDX-License-Identifier: MIT
// Every kernel against float64. See harness/kernel_test.h for what a case is and for the options.
#include "kernels/families.h"

int main(int argc, char **argv)
{
    static const kt_family families[] = {
        {"matmul", check_matmul},       {"lora", check_lora},     {"layer", check_layer},
        {"attention", check_attention}, {"update", check_update}, {"reduce", check_reduce},
        {"block", check_block},         {"plan", check_plan},     {"large", check_large},
        {"moe", check_moe},             {"dora", check_dora},
        {"encode", check_encode},
    };
    return kt_main(argc, argv, families, INL_COUNT(families));
}
