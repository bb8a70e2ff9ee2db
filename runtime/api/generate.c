// SPDX-License-Identifier: MIT
#include "api/handles.h"
#include "model/expand.h"

#define DEFAULT_CONTEXT 4096

struct inlay_generator {
    inl_env env;
    const inl_model *model;
    inl_weights *weights;
    inl_resident_adapter resident;
    inl_generator *generator;
    uint32_t context;
};

static inlay_result build(inlay_generator *g, inl_gpu *gpu, const inlay_adapter *adapter)
{
    INL_TRY(inl_resident_create(&g->env, gpu, g->model, adapter, &g->resident));
    INL_TRY(inl_weights_create(g->model, gpu, 0, g->context, inl_generator_positions(g->context),
                               &g->weights));
    INL_TRY(inl_weights_expand(g->weights));
    INL_TRY(inl_resident_start(&g->env, g->weights, &g->resident));
    return inl_generator_create(&g->env, gpu, g->weights, &g->resident.slots,
                                adapter ? &g->resident.arena : NULL, g->context, &g->generator);
}

inlay_result inlay_generator_create(inlay_generator **out, const inlay_env *public_env,
                                    inlay_device *device, const inlay_model *model,
                                    const inlay_adapter *adapter,
                                    const inlay_generator_params *params)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    INL_REQUIRE(&env, device && model);
    INL_TRY(inl_check_adapter(&env, model, adapter));
    inlay_generator *g = inl_alloc(&env, 1, sizeof(*g));
    if (!g)
        return INLAY_ERROR_OUT_OF_MEMORY;
    g->env = env;
    g->model = model->model;
    g->context = params && params->context_length
                     ? params->context_length
                     : INL_MIN(model->model->config.context_length, DEFAULT_CONTEXT);
    inlay_result result = g->context <= 1u << 22
                              ? build(g, device->gpu, adapter)
                              : inl_fail(&env, INLAY_ERROR_INVALID_ARGUMENT,
                                         "a context of %u tokens is out of range", g->context);
    if (result != INLAY_OK) {
        inlay_generator_destroy(&g);
        return result;
    }
    *out = g;
    return INLAY_OK;
}

void inlay_generator_destroy(inlay_generator **handle)
{
    inlay_generator *g = handle ? *handle : NULL;
    if (!g)
        return;
    *handle = NULL;
    inl_generator_destroy(&g->generator);
    inl_weights_destroy(&g->weights);
    inl_resident_destroy(&g->env, &g->resident);
    inl_env env = g->env;
    inl_free(&env, g);
}

static inlay_result feed_prompt(inlay_generator *g, const int32_t *prompt, size_t count,
                                const float **logits)
{
    const inl_tokenizer_info *t = inl_tokenizer_get_info(g->model->tokenizer);
    if (count > UINT32_MAX)
        return inl_fail(&g->env, INLAY_ERROR_INVALID_ARGUMENT, "the prompt has too many tokens");
    inl_generator_reset(g->generator);
    if (count > 0)
        return inl_generator_feed(g->generator, prompt, (uint32_t)count, logits);
    if (t->bos < 0)
        return inl_fail(&g->env, INLAY_ERROR_INVALID_ARGUMENT,
                        "the prompt is empty and the model has no token to begin with");
    return inl_generator_feed(g->generator, &t->bos, 1, logits);
}

inlay_result inlay_generate(inlay_generator *g, const int32_t *prompt, size_t prompt_count,
                            uint32_t max_tokens, const inlay_sample_params *sample,
                            inlay_token_callback callback, void *user)
{
    INL_REQUIRE(&g->env, callback != NULL);
    INL_REQUIRE(&g->env, prompt != NULL || prompt_count == 0);
    INL_REQUIRE(&g->env, !sample || sample->temperature >= 0.0f);
    INL_REQUIRE(&g->env, !sample || (sample->top_p >= 0.0f && sample->top_p <= 1.0f));
    inl_sampling s = {0};
    if (sample)
        s = (inl_sampling){sample->temperature, sample->top_k, sample->top_p, sample->seed};
    const float *logits;
    INL_TRY(feed_prompt(g, prompt, prompt_count, &logits));
    const inl_tokenizer *tokenizer = g->model->tokenizer;
    uint32_t room = g->context - inl_generator_used(g->generator);
    max_tokens = INL_MIN(max_tokens, room);
    for (uint32_t i = 0; i < max_tokens; i++) {
        int32_t id;
        INL_TRY(inl_sample(&g->env, &s, logits, g->weights->head.rows, i, &id));
        if (inl_tokenizer_is_end(tokenizer, id) || !callback(user, id) || i + 1 == max_tokens)
            return INLAY_OK;
        INL_TRY(inl_generator_feed(g->generator, &id, 1, &logits));
    }
    return INLAY_OK;
}

inlay_result inlay_generator_logits(inlay_generator *g, const int32_t *ids, size_t count,
                                    float *logits)
{
    INL_REQUIRE(&g->env, ids && logits && count > 0 && count <= g->context);
    inl_generator_reset(g->generator);
    return inl_generator_feed_all(g->generator, ids, (uint32_t)count, logits);
}
