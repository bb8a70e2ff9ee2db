// SPDX-License-Identifier: MIT
// Reductions (lib/reduce.glsl) in workgroups of one subgroup, of a part of one, and of many. The
// wrappers in runtime/op use 64 threads, which on one device is 16 subgroups and on another less
// than one.
#include "verify/families.h"
#include "op/node.h"
#include "verify/ref.h"

#include "gpu/gpu.h"

#define BOUND 1e-12

static void check_norm(kt_suite *suite, uint32_t lanes)
{
    enum { T = 3, D = 1030 };
    kt *k = kt_begin(suite, "rmsnorm by %u threads", lanes);
    if (!k)
        return;
    kt_inputs inputs = kt_make_inputs(k, T);
    kt_mat x = kt_tensor(k, KT_IN, "x", T, D, 3.0f), g = kt_array(k, KT_IN, "weight", D, 8, 2.0f);
    kt_mat y = kt_tensor(k, KT_OUT, "y", T, D, 0.0f),
           rstd = kt_array(k, KT_OUT, "rstd", T, 1, 0.0f);
    inl_node node = {.kernel = INL_KERNEL_RMSNORM,
                     .tag = "test",
                     .uses = {{x.t.buf, INL_READ},
                              {g.t.buf, INL_READ},
                              {y.t.buf, INL_WRITE},
                              {rstd.t.buf, INL_WRITE},
                              {inputs.in.rows, INL_READ}},
                     .spec = {lanes, false},
                     .spec_count = 2,
                     .groups = {T, 1, 1}};
    struct push_rmsnorm push = {
        .cols = D, .width4 = inl_ld4(x.t), .heads = 1, .ld4 = inl_ld4(x.t), .eps = 1e-5f};
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(kt_plan(k), &node);
    ref_rmsnorm(x.v, g.v, NULL, T, D, (double)push.eps, y.v, rstd.v);
    if (kt_run(k)) {
        kt_expect(k, &y, BOUND);
        kt_expect(k, &rstd, BOUND);
    }
    kt_end(k);
}

// A sum and a maximum, one after the other through the same shared memory.
static void check_loss(kt_suite *suite, uint32_t lanes)
{
    enum { T = 5, V = 777 };
    kt *k = kt_begin(suite, "loss by %u threads", lanes);
    if (!k)
        return;
    kt_inputs inputs = kt_make_inputs(k, T);
    kt_mat z = kt_tensor(k, KT_ADD, "logits", T, V, 30.0f);
    kt_mat losses = kt_array(k, KT_OUT, "losses", T, 1, 0.0f);
    inputs.scalars->supervised = T;
    inputs.scalars->inv_tokens = 0.25f;
    for (uint32_t t = 0; t < T; t++) {
        double *row = z.v + (size_t)t * V;
        inputs.labels[t] = kt_below(k, V);
        losses.v[t] = ref_loss(kt_copy(k, row, V), V, inputs.labels[t], 0.25, 0.0, row);
    }
    inl_node node = {.kernel = INL_KERNEL_LOSS,
                     .tag = "test",
                     .uses = {{z.t.buf, INL_READ_WRITE},
                              {inputs.in.labels, INL_READ},
                              {losses.t.buf, INL_WRITE},
                              {inputs.in.scalars, INL_READ}},
                     .spec = {lanes},
                     .spec_count = 1,
                     .groups = {T, 1, 1}};
    struct push_loss push = {.cols = V, .ld4 = inl_ld4(z.t), .gradient = 1};
    inl_node_push(&node, &push, sizeof(push));
    inl_plan_add(kt_plan(k), &node);
    if (kt_run(k)) {
        kt_expect(k, &z, BOUND);
        kt_expect(k, &losses, BOUND);
    }
    kt_end(k);
}

void check_reduce(kt_suite *suite)
{
    uint32_t subgroup = inl_gpu_get_caps(kt_gpu(suite))->subgroup_size;
    const uint32_t lanes[] = {1, 2, subgroup, 2 * subgroup, 128};
    for (uint32_t i = 0; i < INL_COUNT(lanes); i++) {
        check_norm(suite, lanes[i]);
        check_loss(suite, lanes[i]);
    }
}
