// SPDX-License-Identifier: MIT
#include "api/handles.h"

#include <string.h>

#define DEFAULT_LENGTH 512

static inlay_result wrap(const inl_env *env, inl_dataset *dataset, inlay_dataset **out)
{
    inlay_dataset *handle = inl_alloc(env, 1, sizeof(*handle));
    if (!handle) {
        inl_dataset_close(&dataset);
        return INLAY_ERROR_OUT_OF_MEMORY;
    }
    *handle = (inlay_dataset){.env = *env, .dataset = dataset};
    *out = handle;
    return INLAY_OK;
}

// Where the tokenizer has more tokens than the model has rows.
static inlay_result check_tokens(const inl_env *env, const inl_model *model, const char *path,
                                 const inl_dataset *dataset)
{
    uint32_t rows = model->config.vocab;
    if (inl_tokenizer_get_info(model->tokenizer)->vocab <= rows)
        return INLAY_OK;
    for (uint64_t i = 0; i < inl_dataset_get_info(dataset)->rows; i++) {
        inl_row row;
        inl_dataset_get_row(dataset, i, &row);
        for (uint32_t t = 0; t < row.count; t++)
            if ((uint32_t)row.tokens[t] >= rows ||
                (row.labels[t] >= 0 && (uint32_t)row.labels[t] >= rows))
                return inl_fail(env, INLAY_ERROR_BAD_FILE,
                                "%s: a token of the tokenizer's is %d, the model's embedding has "
                                "%u rows", path, INL_MAX(row.tokens[t], row.labels[t]), rows);
    }
    return INLAY_OK;
}

inlay_result inlay_dataset_open(inlay_dataset **out, const inlay_env *public_env,
                                const inlay_model *model, const char *path,
                                const inlay_dataset_params *params)
{
    inl_env env = inl_env_resolve(public_env);
    INL_REQUIRE(&env, out != NULL);
    *out = NULL;
    INL_REQUIRE(&env, model != NULL && path != NULL);
    uint32_t context = model->model->config.context_length;
    inl_dataset_params p = {.max_length = INL_MIN(context, DEFAULT_LENGTH)};
    if (params) {
        p.max_length = params->max_length ? params->max_length : p.max_length;
        p.chat_template = params->chat_template;
        p.no_packing = params->no_packing;
        p.no_eos = params->no_eos;
        p.no_records = params->no_records;
        p.now = params->local_time;
    }
    if (p.max_length < 2)
        return inl_fail(&env, INLAY_ERROR_INVALID_ARGUMENT,
                        "a row of %u tokens has nothing to predict", p.max_length);
    if (p.max_length > context)
        inl_logf(&env, INLAY_LOG_WARN,
                 "rows of %u tokens are longer than the model's context of %u", p.max_length,
                 context);
    inl_dataset *dataset;
    INL_TRY(inl_dataset_open(&env, model->model->tokenizer, path, &p, &dataset));
    inlay_result result = check_tokens(&env, model->model, path, dataset);
    if (result != INLAY_OK) {
        inl_dataset_close(&dataset);
        return result;
    }
    return wrap(&env, dataset, out);
}

inlay_result inlay_dataset_split(inlay_dataset *source, double fraction, uint32_t seed,
                                 inlay_dataset **held_out)
{
    INL_REQUIRE(&source->env, held_out != NULL);
    *held_out = NULL;
    INL_REQUIRE(&source->env, fraction > 0.0 && fraction < 1.0);
    inl_dataset *dataset;
    INL_TRY(inl_dataset_split(source->dataset, fraction, seed, &dataset));
    return wrap(&source->env, dataset, held_out);
}

void inlay_dataset_close(inlay_dataset **handle)
{
    inlay_dataset *dataset = handle ? *handle : NULL;
    if (!dataset)
        return;
    *handle = NULL;
    inl_dataset_close(&dataset->dataset);
    inl_env env = dataset->env;
    inl_free(&env, dataset);
}

void inlay_dataset_get_info(const inlay_dataset *dataset, inlay_dataset_info *info)
{
    const inl_dataset_info *i = inl_dataset_get_info(dataset->dataset);
    *info = (inlay_dataset_info){.max_length = i->max_length,
                                 .records = i->records,
                                 .sequences = i->sequences,
                                 .rows = i->rows,
                                 .tokens = i->tokens,
                                 .supervised_tokens = i->supervised_tokens,
                                 .truncated_sequences = i->truncated_sequences,
                                 .truncated_tokens = i->truncated_tokens,
                                 .dropped_records = i->dropped_records};
    memcpy(info->format, i->format, sizeof(info->format));
}

inlay_result inlay_dataset_get_record(const inlay_dataset *dataset, uint64_t index,
                                      const char **prompt, const char **completion)
{
    INL_REQUIRE(&dataset->env, prompt != NULL && completion != NULL);
    if (inl_dataset_get_record(dataset->dataset, index, prompt, completion))
        return INLAY_OK;
    return inl_fail(&dataset->env, INLAY_ERROR_UNSUPPORTED,
                    "there is no record %llu of prompt and completion",
                    (unsigned long long)index);
}

inlay_result inlay_dataset_get_sequence(const inlay_dataset *dataset, uint64_t index,
                                        inlay_sequence *out)
{
    INL_REQUIRE(&dataset->env, out != NULL &&
                                   index < inl_dataset_get_info(dataset->dataset)->sequences);
    const inl_sequence *s =
        inl_dataset_get_sequence(dataset->dataset, index, &out->tokens, &out->supervised);
    out->count = s->count;
    out->cut = s->cut;
    out->record = s->record;
    return INLAY_OK;
}
