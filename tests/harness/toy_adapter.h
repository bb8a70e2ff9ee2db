// SPDX-License-Identifier: MIT
// Adapters for a model that is only a list of modules: random ones, their files, and the comparison
// of two. Include after cmocka.h. Header only.
#ifndef HARNESS_TOY_ADAPTER_H
#define HARNESS_TOY_ADAPTER_H

#include "adapter/lora.h"
#include "harness/failing_env.h"
#include "harness/toy_modules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A fresh adapter whose B's are random too.
static inline inl_lora *toy_lora(const inl_modules *modules, const inl_lora_params *params)
{
    inl_env env = inl_env_resolve(NULL);
    inl_lora *lora;
    if (inl_lora_create(&env, &modules->list, params, &lora) != INLAY_OK)
        abort();
    for (uint32_t i = 0; i < lora->pair_count; i++) {
        inl_lora_pair *p = &lora->pairs[i];
        for (uint32_t k = 0; k < p->out * p->r; k++)
            p->b[k] = toy_half_value(p->module, true, k);
    }
    return lora;
}

// What a file must bring back, bit for bit.
static inline void check_same_lora(const inl_lora *want, const inl_lora *got)
{
    assert_int_equal(want->pair_count, got->pair_count);
    for (uint32_t i = 0; i < want->pair_count; i++) {
        const inl_lora_pair *w = &want->pairs[i], *g = &got->pairs[i];
        assert_string_equal(w->path, g->path);
        assert_true(w->module == g->module && w->r == g->r && w->in == g->in && w->out == g->out);
        if (memcmp(&w->scale, &g->scale, sizeof(w->scale)) != 0)
            fail_msg("%s: scale %.9g became %.9g", w->path, (double)w->scale, (double)g->scale);
        assert_memory_equal(w->a, g->a, sizeof(float) * w->r * w->in);
        assert_memory_equal(w->b, g->b, sizeof(float) * w->r * w->out);
        assert_true(!w->magnitude == !g->magnitude);
        if (w->magnitude)
            assert_memory_equal(w->magnitude, g->magnitude, sizeof(float) * w->out);
    }
    assert_true(want->has_head == got->has_head);
    assert_string_equal(want->architecture, got->architecture);
}

static inline const inl_lora_pair *find_pair(const inl_lora *lora, const char *path)
{
    for (uint32_t i = 0; i < lora->pair_count; i++)
        if (strcmp(lora->pairs[i].path, path) == 0)
            return &lora->pairs[i];
    fail_msg("there is no pair %s", path);
    return NULL;
}

// The adapter at `path`, or the test fails with the reason.
static inline inl_lora *toy_load(const char *path, const inl_module_list *list, const char *format)
{
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    inl_lora *lora;
    if (inl_lora_load(&env, list, path, &lora) != INLAY_OK)
        fail_msg("%s", e.text);
    lora->env = inl_env_resolve(NULL); // which frees what that one allocated; it does not outlive e
    assert_string_equal(lora->format, format);
    return lora;
}

// One sentence with both texts in it; no adapter, no memory left.
static inline void check_refused(const char *path, const inl_module_list *list, inlay_result want,
                                 const char *place, const char *what)
{
    failing_env e;
    inl_env env = failing_env_start(&e, 0, false);
    inl_lora *lora = (inl_lora *)&e;
    inlay_result result = inl_lora_load(&env, list, path, &lora);
    if (result != want || !strstr(e.text, place) || !strstr(e.text, what))
        fail_msg("wanted %d, \"%s\", \"%s\"; got %d, \"%s\"", want, place, what, result, e.text);
    assert_null(lora);
    assert_true(e.errors == 1 && e.live == 0);
}

// For check_each_failure: saves an adapter and loads it again.
typedef struct toy_saving {
    inlay_result (*save)(const inl_lora *, const inl_module_list *, const char *);
    const inl_lora *lora;
    const inl_module_list *list;
    const char *path;
} toy_saving;

static inline inlay_result toy_save_and_load(const inl_env *env, void *user)
{
    const toy_saving *s = user;
    inl_lora saved = *s->lora, *lora = NULL;
    saved.env = *env;
    INL_TRY(s->save(&saved, s->list, s->path));
    inlay_result result = inl_lora_load(env, s->list, s->path, &lora);
    inl_lora_destroy(&lora);
    return result;
}

#endif
