// SPDX-License-Identifier: MIT
// The tokenizer in a GGUF file's metadata.
#include "io/tokenizer_parts.h"

#include <stdio.h>
#include <string.h>

static inlay_result read_model(inl_tokenizer *t, const inl_gguf *gguf)
{
    inl_slice model;
    if (!inl_gguf_get_string(gguf, "tokenizer.ggml.model", &model))
        return inl_fail(&t->env, INLAY_ERROR_BAD_FILE, "%s: tokenizer.ggml.model is missing",
                        inl_gguf_path(gguf));
    bool spm = model.size == 5 && memcmp(model.data, "llama", 5) == 0;
    t->by_score = spm;
    if (!spm && !(model.size == 4 && memcmp(model.data, "gpt2", 4) == 0))
        return inl_fail(&t->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: the tokenizer model \"%.*s\" is not supported (llama and gpt2 are)",
                        inl_gguf_path(gguf), (int)INL_MIN(model.size, 64), model.data);
    snprintf(t->info.model, sizeof(t->info.model), "%s", spm ? "llama" : "gpt2");
    return INLAY_OK;
}

static inlay_result read_pre(inl_tokenizer *t, const inl_gguf *gguf)
{
    inl_slice pre = {"default", 7};
    if (!inl_gguf_get_string(gguf, "tokenizer.ggml.pre", &pre) && !t->by_score)
        inl_logf(&t->env, INLAY_LOG_WARN,
                 "%s: tokenizer.ggml.pre is missing, \"default\" is taken; tokens may be wrong",
                 inl_gguf_path(gguf));
    if (pre.size >= sizeof(t->info.pre) || memchr(pre.data, '\0', pre.size)) {
        if (!t->by_score)
            return inl_fail(&t->env, INLAY_ERROR_UNSUPPORTED,
                            "%s: tokenizer.ggml.pre is no name of a pre-tokenizer",
                            inl_gguf_path(gguf));
        pre = (inl_slice){"default", 7}; // of no consequence for SentencePiece
    }
    memcpy(t->info.pre, pre.data, pre.size);
    return INLAY_OK;
}

// A token id from the file, -1 where there is none or it is not one.
static int32_t read_id(const inl_tokenizer *t, const inl_gguf *gguf, const char *key,
                       int32_t otherwise)
{
    uint32_t id = (uint32_t)otherwise;
    bool said = inl_gguf_get_u32(gguf, key, &id);
    if (id < t->info.vocab)
        return (int32_t)id;
    if (said && id != UINT32_MAX)
        inl_logf(&t->env, INLAY_LOG_WARN, "%s: %s is %u, but there are %u tokens: ignored",
                 inl_gguf_path(gguf), key, id, t->info.vocab);
    return -1;
}

static inlay_result read_vocab(inl_tokenizer *t, const inl_gguf *gguf)
{
    bool spm = t->by_score;
    INL_TRY(inl_vocab_load(&t->env, gguf, spm, &t->vocab));
    t->info.vocab = t->vocab.count;
    inl_tokenizer_mark_control(&t->vocab);
    INL_TRY(inl_vocab_decode(&t->env, &t->vocab, !spm));
    t->info.bos = read_id(t, gguf, "tokenizer.ggml.bos_token_id", spm ? 1 : -1);
    t->info.eos = read_id(t, gguf, "tokenizer.ggml.eos_token_id", spm ? 2 : -1);
    t->vocab.unknown = read_id(t, gguf, "tokenizer.ggml.unknown_token_id", spm ? 0 : -1);
    return INLAY_OK;
}

static inlay_result read_rules(inl_tokenizer *t, const inl_gguf *gguf)
{
    bool add_bos = true;
    t->space_prefix = t->by_score;
    if (!t->by_score) {
        INL_TRY(inl_bpe_load(&t->env, gguf, &t->vocab, t->info.pre, &t->bpe));
        add_bos = inl_pretokenizer_adds_bos(t->bpe.pretokenizer);
    } else {
        INL_TRY(inl_spm_load(&t->env, inl_gguf_path(gguf), &t->vocab, &t->spm));
        inl_gguf_get_bool(gguf, "tokenizer.ggml.add_space_prefix", &t->space_prefix);
    }
    bool add_eos = false;
    inl_gguf_get_bool(gguf, "tokenizer.ggml.add_bos_token", &add_bos);
    inl_gguf_get_bool(gguf, "tokenizer.ggml.add_eos_token", &add_eos);
    t->info.add_bos = add_bos && t->info.bos >= 0;
    t->info.add_eos = add_eos && t->info.eos >= 0;
    t->start_spaces = t->space_prefix;
    return INLAY_OK;
}

// The file's end of text, turn and message, and the tokens that are one by name.
static inlay_result read_ends(inl_tokenizer *t, const inl_gguf *gguf)
{
    INL_TRY(inl_tokenizer_add_end(t, t->info.eos));
    INL_TRY(inl_tokenizer_add_end(t, read_id(t, gguf, "tokenizer.ggml.eot_token_id", -1)));
    INL_TRY(inl_tokenizer_add_end(t, read_id(t, gguf, "tokenizer.ggml.eom_token_id", -1)));
    return inl_tokenizer_add_turn_ends(t);
}

static inlay_result read_chat_template(inl_tokenizer *t, const inl_gguf *gguf)
{
    inl_slice text;
    if (inl_gguf_get_string(gguf, "tokenizer.chat_template", &text))
        INL_TRY(inl_tokenizer_set_template(t, false, text.data, text.size));
    if (inl_gguf_get_string(gguf, "tokenizer.chat_template.tool_use", &text))
        INL_TRY(inl_tokenizer_set_template(t, true, text.data, text.size));
    return INLAY_OK;
}

static bool is_special(const inl_vocab_token *token)
{
    return token->text.size > 0 &&
           (token->kind == INL_TOKEN_CONTROL || token->kind == INL_TOKEN_UNKNOWN ||
            token->kind == INL_TOKEN_USER_DEFINED);
}

// Phi-3's tokenizer swallows white space after its markers; GGUF has no field that says so.
static bool strips_after(const inl_tokenizer *t, const inl_gguf *gguf)
{
    inl_slice architecture = {0};
    inl_gguf_get_string(gguf, "general.architecture", &architecture);
    return t->by_score && architecture.size == 4 && memcmp(architecture.data, "phi3", 4) == 0;
}

static inlay_result list_specials(inl_tokenizer *t, const inl_gguf *gguf)
{
    bool strips = strips_after(t, gguf);
    for (uint32_t i = 0; i < t->vocab.count; i++) {
        const inl_vocab_token *token = &t->vocab.tokens[i];
        inl_added_token added = {.text = token->text,
                                 .id = (int32_t)i,
                                 .strips_right = strips,
                                 .control = token->kind != INL_TOKEN_USER_DEFINED};
        if (is_special(token))
            INL_TRY(inl_added_push(&t->env, &t->raw, &added));
    }
    inl_added_index(&t->raw);
    return INLAY_OK;
}

inlay_result inl_tokenizer_create(const inl_env *env, const inl_gguf *gguf, inl_tokenizer **out)
{
    inl_tokenizer *t;
    *out = NULL;
    INL_TRY(inl_tokenizer_new(env, &t));
    inlay_result result = read_model(t, gguf);
    if (result == INLAY_OK)
        result = read_pre(t, gguf);
    if (result == INLAY_OK)
        result = read_vocab(t, gguf);
    if (result == INLAY_OK)
        result = read_rules(t, gguf);
    if (result == INLAY_OK)
        result = read_chat_template(t, gguf);
    if (result == INLAY_OK)
        result = read_ends(t, gguf);
    if (result == INLAY_OK)
        result = list_specials(t, gguf);
    *out = t;
    if (result != INLAY_OK)
        inl_tokenizer_destroy(out);
    return result;
}
