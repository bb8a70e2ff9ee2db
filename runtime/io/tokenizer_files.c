// SPDX-License-Identifier: MIT
// vocab.json and merges.txt, as folders had them before tokenizer.json. How the text is cut stands
// in no file: the class that tokenizer_config.json or config.json names has it.
#include "io/token_source.h"

#include "base/file.h"

#include <string.h>

#define LLAMA3_WITH(word, digits, not_word)                                                        \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?" word "|" digits "| ?[^\\s" not_word      \
    "\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

#define END "<|endoftext|>"

// Where `pattern` is NULL it is GPT-2's.
typedef struct class
{
    const char *name; // without "Fast" at its end
    const char *pattern;
    bool nfc, digits; // normal form C; digits are cut one by one before all else
    // Special tokens where tokenizer_config.json has none of its own.
    const char *unknown, *bos, *eos, *pad;
} class;

static const class classes[] = {
    {"Qwen2Tokenizer", LLAMA3_WITH("\\p{L}+", "\\p{N}", "\\p{L}"), .nfc = true, .unknown = END,
     .eos = END, .pad = END},
    {"Qwen3_5Tokenizer", LLAMA3_WITH("[\\p{L}\\p{M}]+", "\\p{N}", "\\p{L}\\p{M}"), .nfc = true,
     .unknown = END, .eos = END, .pad = END},
    {"GPT2Tokenizer", .unknown = END, .bos = END, .eos = END},
    {"CodeGenTokenizer", .unknown = END, .bos = END, .eos = END},
    {"GPTNeoXTokenizer", .nfc = true, .unknown = END, .bos = END, .eos = END, .pad = "<|padding|>"},
    {"CohereTokenizer", .nfc = true, .digits = true, .unknown = "<UNK>", .bos = "<BOS_TOKEN>",
     .eos = "<|END_OF_TURN_TOKEN|>", .pad = "<PAD>"},
};

// The classes of models whose configurations name none, by config.json's model_type.
static const struct {
    const char *model_type, *name;
} of_models[] = {
    {"qwen2", "Qwen2Tokenizer"},      {"qwen2_moe", "Qwen2Tokenizer"},
    {"qwen3", "Qwen2Tokenizer"},      {"qwen3_moe", "Qwen2Tokenizer"},
    {"qwen3_next", "Qwen2Tokenizer"}, {"qwen3_5", "Qwen3_5Tokenizer"},
    {"gpt2", "GPT2Tokenizer"},        {"codegen", "CodeGenTokenizer"},
    {"gpt_neox", "GPTNeoXTokenizer"}, {"cohere", "CohereTokenizer"},
};

typedef struct reader {
    inl_token_source s;
    const inl_tokenizer_beside *beside;
    const class *class;
    inl_map vocab, merges;
    char *vocab_path, *merges_path, *texts;
} reader;

// ---- the class

static bool is_named(const char *name, const char *known)
{
    size_t size = strlen(known);
    return strncmp(name, known, size) == 0 &&
           (name[size] == '\0' || strcmp(name + size, "Fast") == 0);
}

static const char *class_name(const inl_tokenizer_beside *beside)
{
    const char *name = json_string_value(json_object_get(beside->config, "tokenizer_class"));
    const char *type = json_string_value(json_object_get(beside->model, "model_type"));
    if (!name)
        name = json_string_value(json_object_get(beside->model, "tokenizer_class"));
    for (size_t i = 0; !name && type && i < INL_COUNT(of_models); i++)
        if (strcmp(type, of_models[i].model_type) == 0)
            name = of_models[i].name;
    return name;
}

static inlay_result find_class(reader *r)
{
    const char *name = class_name(r->beside);
    if (!name)
        return inl_fail(r->s.env, INLAY_ERROR_UNSUPPORTED,
                        "%s: there is no tokenizer.json, and no tokenizer_class in "
                        "tokenizer_config.json says how vocab.json's text is cut",
                        r->s.file);
    for (size_t i = 0; i < INL_COUNT(classes); i++)
        if (is_named(name, classes[i].name))
            r->class = &classes[i];
    return r->class ? INLAY_OK
                    : inl_fail(r->s.env, INLAY_ERROR_UNSUPPORTED,
                               "%s: there is no tokenizer.json, and how the tokenizer class "
                               "\"%.64s\" cuts text is not known",
                               r->s.file, name);
}

static inlay_result make_pipeline(reader *r)
{
    const class *c = r->class;
    const json_t *space = json_object_get(r->beside->config, "add_prefix_space");
    json_t *bytes = json_pack("{s:s, s:b, s:b}", "type", "ByteLevel", "add_prefix_space",
                              json_is_true(space), "use_regex", !c->pattern);
    json_t *before = NULL;
    if (c->pattern)
        before = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                           c->pattern, "behavior", "Isolated", "invert", 0);
    else if (c->digits)
        before = json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1);
    r->s.pretokenizer =
        before ? json_pack("{s:s, s:[o, o]}", "type", "Sequence", "pretokenizers", before, bytes)
               : bytes;
    r->s.decoder = json_pack("{s:s}", "type", "ByteLevel");
    if (c->nfc)
        r->s.normalizer = json_pack("{s:s}", "type", "NFC");
    return r->s.pretokenizer && r->s.decoder && (r->s.normalizer || !c->nfc)
               ? INLAY_OK
               : INLAY_ERROR_OUT_OF_MEMORY;
}

// ---- the files

static inlay_result read_vocab(reader *r)
{
    inl_json_scan scan = {.env = r->s.env,
                          .file = r->vocab_path,
                          .data = (const char *)r->vocab.data,
                          .size = r->vocab.size};
    uint64_t used = 0;
    r->texts = inl_alloc(r->s.env, r->vocab.size + 8, 1);
    if (!r->texts)
        return INLAY_ERROR_OUT_OF_MEMORY;
    INL_TRY(inl_source_read_vocab(&r->s, &scan, r->texts, &used));
    return inl_json_end(&scan);
}

// A merge a line, after a line that may say the version.
static inlay_result read_merges(reader *r)
{
    static const char version[] = "#version";
    const char *text = (const char *)r->merges.data;
    uint64_t line = 1;
    for (uint64_t at = 0; at < r->merges.size; line++) {
        const char *end = memchr(text + at, '\n', r->merges.size - at);
        inl_slice whole = {text + at, end ? (uint64_t)(end - text) - at : r->merges.size - at};
        inl_source_merge merge;
        at += whole.size + 1;
        if (whole.size > 0 && whole.data[whole.size - 1] == '\r')
            whole.size--;
        if (whole.size == 0 || (whole.size >= sizeof(version) - 1 &&
                                memcmp(whole.data, version, sizeof(version) - 1) == 0))
            continue;
        if (!inl_source_cut_merge(whole, &merge))
            return inl_fail(r->s.env, INLAY_ERROR_BAD_FILE,
                            "%s, line %llu: a merge is two tokens with a space between",
                            r->merges_path, (unsigned long long)line);
        INL_TRY(inl_source_push_merge(&r->s, &merge));
    }
    return INLAY_OK;
}

// ---- added tokens

static int64_t find_id(const reader *r, inl_slice text)
{
    for (size_t i = 0; i < r->s.vocab_count; i++)
        if (r->s.vocab[i].text.size == text.size &&
            memcmp(r->s.vocab[i].text.data, text.data, text.size) == 0)
            return r->s.vocab[i].id;
    return -1;
}

static int64_t next_id(const reader *r)
{
    int64_t next = 0;
    for (size_t i = 0; i < r->s.vocab_count; i++)
        next = INL_MAX(next, r->s.vocab[i].id + 1);
    for (size_t i = 0; i < json_array_size(r->s.added); i++)
        next = INL_MAX(
            next, 1 + json_integer_value(json_object_get(json_array_get(r->s.added, i), "id")));
    return next;
}

// A special token by its text is one wherever it stands in the vocabulary, or after it.
static inlay_result add_special(reader *r, const char *key, const char *otherwise)
{
    const json_t *value = json_object_get(r->beside->config, key);
    bool unsaid = !value; // null says that there is none
    if (json_is_object(value))
        value = json_object_get(value, "content");
    const char *text = unsaid ? otherwise : json_string_value(value);
    if (!text || !text[0])
        return INLAY_OK;
    for (size_t i = 0; i < json_array_size(r->s.added); i++) {
        const json_t *content = json_object_get(json_array_get(r->s.added, i), "content");
        if (json_is_string(content) && strcmp(json_string_value(content), text) == 0)
            return INLAY_OK;
    }
    int64_t id = find_id(r, (inl_slice){text, strlen(text)});
    json_t *token = json_pack("{s:I, s:s, s:b, s:b}", "id", (json_int_t)(id >= 0 ? id : next_id(r)),
                              "content", text, "special", 1, "normalized", 0);
    return json_array_append_new(r->s.added, token) == 0 ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

static inlay_result read_added(reader *r)
{
    INL_TRY(inl_tokenizer_list_added(r->s.env, r->beside, &r->s.added));
    INL_TRY(add_special(r, "bos_token", r->class->bos));
    INL_TRY(add_special(r, "eos_token", r->class->eos));
    INL_TRY(add_special(r, "unk_token", r->class->unknown));
    return add_special(r, "pad_token", r->class->pad);
}

static void set_ends(const reader *r)
{
    inl_tokenizer *t = r->s.t;
    if (r->class->bos && !json_object_get(r->beside->config, "bos_token"))
        t->info.bos = inl_tokenizer_find(t, r->class->bos);
    if (r->class->eos && !json_object_get(r->beside->config, "eos_token"))
        t->info.eos = inl_tokenizer_find(t, r->class->eos);
}

// ---- all of it

static inlay_result read_all(reader *r)
{
    const inl_env *env = r->s.env;
    INL_TRY(find_class(r));
    r->vocab_path = inl_path_join(env, r->s.file, "vocab.json");
    r->merges_path = inl_path_join(env, r->s.file, "merges.txt");
    if (!r->vocab_path || !r->merges_path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    INL_TRY(inl_map_open(env, r->vocab_path, &r->vocab));
    INL_TRY(inl_map_open(env, r->merges_path, &r->merges));
    INL_TRY(read_vocab(r));
    INL_TRY(read_merges(r));
    INL_TRY(read_added(r));
    INL_TRY(make_pipeline(r));
    INL_TRY(inl_source_build(&r->s));
    set_ends(r);
    return INLAY_OK;
}

inlay_result inl_tokenizer_read_files(inl_tokenizer *t, const inl_tokenizer_beside *beside)
{
    reader r = {.s = {.t = t, .env = &t->env, .file = beside->folder}, .beside = beside};
    inlay_result result = read_all(&r);
    inl_source_free(&r.s);
    inl_free(&t->env, r.texts);
    inl_free(&t->env, r.vocab_path);
    inl_free(&t->env, r.merges_path);
    inl_map_close(&r.vocab);
    inl_map_close(&r.merges);
    return result;
}
