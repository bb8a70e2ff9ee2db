// SPDX-License-Identifier: MIT
#include "train/profile.h"

#include <stdlib.h>
#include <string.h>

inlay_result inl_trainer_profile(inl_trainer *t, bool on)
{
    INL_TRY(inl_plan_profile(t->micro, on));
    return inl_plan_profile(t->update, on);
}

// The seconds of each of the plan's nodes, allocated; *out NULL: there are none.
static inlay_result node_seconds(const inl_trainer *t, const inl_plan *plan, double **out)
{
    *out = inl_alloc(&t->env, inl_plan_node_count(plan) + 1, sizeof(**out));
    if (!*out)
        return INLAY_ERROR_OUT_OF_MEMORY;
    if (!inl_plan_node_seconds(plan, *out)) {
        inl_free(&t->env, *out);
        *out = NULL;
    }
    return INLAY_OK;
}

inlay_result inl_trainer_times(const inl_trainer *t, inl_step_times *out)
{
    const inl_plan *plans[] = {t->micro, t->update};
    double longest, total;
    *out = (inl_step_times){0};
    for (size_t p = 0; p < INL_COUNT(plans); p++) {
        double *seconds;
        if (inl_plan_submit_seconds(plans[p], &longest, &total))
            out->longest_submit = INL_MAX(out->longest_submit, longest);
        INL_TRY(node_seconds(t, plans[p], &seconds));
        for (uint32_t i = 0; seconds && i < inl_plan_node_count(plans[p]); i++) {
            bool backward = inl_plan_node_is_backward(plans[p], i);
            *(p == 1 ? &out->update : backward ? &out->backward : &out->forward) += seconds[i];
        }
        inl_free(&t->env, seconds);
    }
    return INLAY_OK;
}

// ---- kernels

typedef struct kernel_list {
    inl_kernel_time *items;
    uint32_t room, count; // more may be counted than there is room for
} kernel_list;

static void add_node(kernel_list *list, const inl_plan *plan, uint32_t index, double seconds)
{
    const inl_node *node = inl_plan_node(plan, index);
    const char *kernel = node ? inl_kernels[node->kernel].name : "copy";
    const char *tag = node ? node->tag : "";
    uint32_t known = INL_MIN(list->count, list->room), i = 0;
    while (i < known &&
           (strcmp(list->items[i].kernel, kernel) != 0 || strcmp(list->items[i].tag, tag) != 0))
        i++;
    if (i == known) {
        list->count++;
        if (i == list->room)
            return;
        list->items[i] = (inl_kernel_time){.kernel = kernel, .tag = tag};
    }
    inl_kernel_time *k = &list->items[i];
    k->dispatches++;
    k->seconds += seconds;
    k->flops += node ? node->flops : 0;
    k->bytes += inl_plan_node_bytes(plan, index);
}

static int slower_first(const void *a, const void *b)
{
    double x = ((const inl_kernel_time *)a)->seconds, y = ((const inl_kernel_time *)b)->seconds;
    return (x < y) - (x > y);
}

inlay_result inl_trainer_kernels(const inl_trainer *t, inl_kernel_time *out, uint32_t *count)
{
    const inl_plan *plans[] = {t->micro, t->update};
    kernel_list list = {.items = out, .room = *count};
    for (size_t p = 0; p < INL_COUNT(plans); p++) {
        double *seconds;
        INL_TRY(node_seconds(t, plans[p], &seconds));
        for (uint32_t i = 0; seconds && i < inl_plan_node_count(plans[p]); i++)
            add_node(&list, plans[p], i, seconds[i]);
        inl_free(&t->env, seconds);
    }
    qsort(out, INL_MIN(list.count, list.room), sizeof(*out), slower_first);
    *count = list.count;
    return INLAY_OK;
}
