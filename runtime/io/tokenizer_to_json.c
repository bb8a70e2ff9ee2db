// SPDX-License-Identifier: MIT
// A GGUF file's tokenizer as a folder's: tokenizer.json for the tokenizers library, and
// tokenizer_config.json. A byte-level one has its merges and the expressions that its name stands
// for. A SentencePiece-style one has scores; its merges are all pairs of tokens that make a token,
// in the order of the scores.
#include "io/pretokenizer_names.h"
#include "io/tokenizer_parts.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

#define SPACE "\xe2\x96\x81" // U+2581

typedef struct exporter {
    const inl_tokenizer *t;
    const char *file; // for messages
} exporter;

// NULL where the bytes are no UTF-8.
static json_t *text_of(const exporter *x, int32_t id)
{
    inl_slice text = x->t->vocab.tokens[id].text;
    return json_stringn(text.data, text.size);
}

static bool is_found(inl_token_kind kind)
{
    return kind == INL_TOKEN_CONTROL || kind == INL_TOKEN_USER_DEFINED || kind == INL_TOKEN_UNKNOWN;
}

// ---- tokens

static inlay_result make_vocab(const exporter *x, json_t *out)
{
    const inl_vocab *v = &x->t->vocab;
    for (uint32_t i = 0; i < v->count; i++) {
        inl_slice text = v->tokens[i].text;
        if (text.size > 0 && json_object_setn_new(out, text.data, text.size, json_integer(i)) != 0)
            return inl_fail(&x->t->env, INLAY_ERROR_UNSUPPORTED,
                            "%s: token %u is no UTF-8, which tokenizer.json must be", x->file, i);
    }
    return INLAY_OK;
}

static json_t *make_added(const exporter *x)
{
    const inl_added *raw = &x->t->raw;
    bool *strips = inl_alloc(&x->t->env, (size_t)x->t->vocab.count + 1, sizeof(*strips));
    json_t *list = strips ? json_array() : NULL;
    for (size_t i = 0; strips && i < raw->count; i++)
        strips[raw->tokens[i].id] = raw->tokens[i].strips_right;
    for (uint32_t i = 0; strips && i < x->t->vocab.count; i++) {
        const inl_vocab_token *token = &x->t->vocab.tokens[i];
        if (token->text.size > 0 && is_found(token->kind))
            json_array_append_new(
                list, json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (int)i, "content",
                                text_of(x, (int32_t)i), "single_word", 0, "lstrip", 0, "rstrip",
                                (int)strips[i], "normalized", 0, "special",
                                token->kind != INL_TOKEN_USER_DEFINED));
    }
    inl_free(&x->t->env, strips);
    return list;
}

// ---- merges

static void append_merge(const exporter *x, json_t *list, int32_t left, int32_t right)
{
    json_array_append_new(list, json_pack("[o, o]", text_of(x, left), text_of(x, right)));
}

static inlay_result list_merges(const exporter *x, json_t *list)
{
    uint32_t count;
    inl_bpe_merge *all;
    INL_TRY(inl_bpe_list_merges(&x->t->env, &x->t->bpe, &all, &count));
    for (uint32_t i = 0; i < count; i++)
        append_merge(x, list, all[i].left, all[i].right);
    inl_free(&x->t->env, all);
    return INLAY_OK;
}

typedef struct pair {
    float score;
    int32_t left, right;
} pair;

static int by_score(const void *one, const void *other)
{
    const pair *x = one, *y = other;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                              : (x->right > y->right) - (x->right < y->right);
}

static inlay_result list_pairs(const exporter *x, pair **pairs, size_t *count)
{
    const inl_vocab *v = &x->t->vocab;
    size_t cap = 0;
    for (uint32_t id = 0; id < v->count; id++) {
        inl_slice text = v->tokens[id].text;
        if (v->tokens[id].kind != INL_TOKEN_NORMAL)
            continue;
        for (uint64_t cut = 1; cut < text.size; cut++) {
            pair p = {.score = v->tokens[id].score,
                      .left = inl_vocab_find_text(v, text.data, cut),
                      .right = inl_vocab_find_text(v, text.data + cut, text.size - cut)};
            if (p.left < 0 || p.right < 0)
                continue;
            INL_TRY(inl_grow(&x->t->env, (void **)pairs, &cap, *count + 1, sizeof(p)));
            (*pairs)[(*count)++] = p;
        }
    }
    return INLAY_OK;
}

static inlay_result list_scored(const exporter *x, json_t *list)
{
    pair *pairs = NULL;
    size_t count = 0;
    inlay_result result = list_pairs(x, &pairs, &count);
    if (result == INLAY_OK && count > 0)
        qsort(pairs, count, sizeof(*pairs), by_score);
    for (size_t i = 0; result == INLAY_OK && i < count; i++)
        append_merge(x, list, pairs[i].left, pairs[i].right);
    inl_free(&x->t->env, pairs);
    return result;
}

// ---- what is done around the model

static json_t *make_passes(const exporter *x)
{
    const inl_pretokenizer_family *family = inl_pretokenizer_find(x->t->info.pre);
    json_t *steps = json_array();
    for (size_t i = 0; family && i < INL_PRETOKENIZER_PASSES && family->passes[i]; i++) {
        char pattern[INL_PRETOKENIZER_PATTERN];
        inl_pretokenizer_spell(family->passes[i], pattern);
        json_array_append_new(
            steps, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                             pattern, "behavior", "Isolated", "invert", 0));
    }
    json_array_append_new(steps,
                          json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space",
                                    0, "trim_offsets", 1, "use_regex", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

static json_t *make_spaces(const exporter *x)
{
    json_t *steps = json_array();
    if (x->t->space_prefix)
        json_array_append_new(steps, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", SPACE));
    json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern",
                                           "String", " ", "content", SPACE));
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", steps);
}

static json_t *make_decoder(const exporter *x)
{
    if (!x->t->by_score)
        return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 1,
                         "trim_offsets", 1, "use_regex", 1);
    json_t *steps = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern",
                              "String", SPACE, "content", " ", "type", "ByteFallback", "type",
                              "Fuse");
    if (x->t->space_prefix)
        json_array_append_new(steps, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content",
                                               " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps);
}

static void append_end(const exporter *x, json_t *single, json_t *specials, int32_t id)
{
    inl_slice text = x->t->vocab.tokens[id].text;
    json_array_append_new(single, json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", text_of(x, id),
                                            "type_id", 0));
    json_object_setn_new(specials, text.data, text.size,
                         json_pack("{s:o, s:[i], s:[o]}", "id", text_of(x, id), "ids", (int)id,
                                   "tokens", text_of(x, id)));
}

static json_t *make_template(const exporter *x)
{
    const inl_tokenizer_info *info = &x->t->info;
    json_t *single = json_array(), *specials = json_object();
    if (info->add_bos)
        append_end(x, single, specials, info->bos);
    json_array_append_new(single,
                          json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
    if (info->add_eos)
        append_end(x, single, specials, info->eos);
    json_t *both = json_deep_copy(single);
    json_array_append_new(both, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1));
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair",
                     both, "special_tokens", specials);
}

// ---- the files

static json_t *make_model(const exporter *x, json_t *vocab, json_t *merges)
{
    const inl_tokenizer *t = x->t;
    bool bytes = true;
    for (int i = 0; i < 256; i++)
        bytes &= t->vocab.byte_ids[i] >= 0;
    json_t *unknown = t->by_score && t->vocab.unknown >= 0 ? text_of(x, t->vocab.unknown)
                                                           : json_null();
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:O, s:O}", "type", "BPE", "dropout",
                     "unk_token", unknown, "continuing_subword_prefix", "end_of_word_suffix",
                     "fuse_unk", (int)t->by_score, "byte_fallback", (int)(t->by_score && bytes),
                     "ignore_merges", (int)(!t->by_score && t->bpe.ignores_merges), "vocab", vocab,
                     "merges", merges);
}

static inlay_result write(const exporter *x, const char *folder, const char *name, json_t *root)
{
    const inl_env *env = &x->t->env;
    char *path = inl_path_join(env, folder, name);
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    inlay_result result =
        path && text ? inl_file_write(env, path, text, strlen(text))
                     : inl_fail(env, INLAY_ERROR_OUT_OF_MEMORY, "out of memory writing %s", name);
    inl_free(env, path);
    free(text);
    json_decref(root);
    return result;
}

static inlay_result write_tokenizer(const exporter *x, const char *folder)
{
    const inl_tokenizer *t = x->t;
    json_t *vocab = json_object(), *merges = json_array();
    inlay_result result = make_vocab(x, vocab);
    if (result == INLAY_OK)
        result = t->by_score ? list_scored(x, merges) : list_merges(x, merges);
    if (result == INLAY_OK)
        result = write(x, folder, "tokenizer.json",
                       json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0",
                                 "truncation", "padding", "added_tokens", make_added(x),
                                 "normalizer", t->by_score ? make_spaces(x) : json_null(),
                                 "pre_tokenizer", t->by_score ? json_null() : make_passes(x),
                                 "post_processor", make_template(x), "decoder", make_decoder(x),
                                 "model", make_model(x, vocab, merges)));
    json_decref(vocab);
    json_decref(merges);
    return result;
}

static inlay_result write_config(const exporter *x, const char *folder)
{
    const inl_tokenizer_info *info = &x->t->info;
    json_t *root = json_pack("{s:s, s:b, s:b, s:b}", "tokenizer_class", "PreTrainedTokenizerFast",
                             "clean_up_tokenization_spaces", 0, "add_bos_token", (int)info->add_bos,
                             "add_eos_token", (int)info->add_eos);
    if (info->bos >= 0)
        json_object_set_new(root, "bos_token", text_of(x, info->bos));
    if (info->eos >= 0)
        json_object_set_new(root, "eos_token", text_of(x, info->eos));
    if (x->t->vocab.unknown >= 0)
        json_object_set_new(root, "unk_token", text_of(x, x->t->vocab.unknown));
    if (info->chat_template &&
        json_object_set_new(root, "chat_template", json_string(info->chat_template)) != 0)
        inl_logf(&x->t->env, INLAY_LOG_WARN, "%s: the chat template is no UTF-8 and is left out",
                 x->file);
    return write(x, folder, "tokenizer_config.json", root);
}

inlay_result inl_tokenizer_write_folder(const inl_tokenizer *t, const char *file,
                                        const char *folder)
{
    exporter x = {.t = t, .file = file};
    INL_TRY(write_tokenizer(&x, folder));
    return write_config(&x, folder);
}
