// SPDX-License-Identifier: MIT
// Out of host memory at each allocation of everything the public API does without a device: an
// error code, a sentence, no block left, and nothing half-written in the folder.
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "harness/failing_env.h"
#include "harness/toy_folder.h"
#include "harness/toy_model.h"
#include "harness/toy_tokenizer_json.h"

#include <dirent.h>
#include <inlay/inlay.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST 400 // allocations of one act that are made to fail

// The same model and files for all acts; `name` is what the act works on.
typedef struct fixture {
    char folder[64], model_path[96], peft_path[96], gguf_path[96];
    inlay_model *model;
    inlay_adapter *adapter;
    const char *name, *text;
    const char *quantize;
} fixture;

static const inlay_adapter_params lora = {.r = 2, .target_modules = "q_proj,down_proj,lm_head"};

static int setup(void **state)
{
    static fixture f = {.folder = "/tmp/inlay-oom-XXXXXX"};
    const toy_model toy = {.dim = 32, .ffn = 64, .layers = 2, .heads = 2, .kv_heads = 1,
                           .head_dim = 16, .vocab = TOY_VOCAB, .format = INL_FORMAT_Q8_0,
                           .rope_factors = 1, .biases = 1, .seed = 1};
    *state = &f;
    if (!mkdtemp(f.folder))
        return 1;
    snprintf(f.model_path, sizeof(f.model_path), "%s/model.gguf", f.folder);
    snprintf(f.peft_path, sizeof(f.peft_path), "%s/peft", f.folder);
    snprintf(f.gguf_path, sizeof(f.gguf_path), "%s/adapter.gguf", f.folder);
    return toy_model_write(f.model_path, &toy) != 0 ||
           inlay_model_open(&f.model, NULL, f.model_path, NULL) != INLAY_OK ||
           inlay_adapter_create(&f.adapter, NULL, f.model, &lora) != INLAY_OK ||
           inlay_adapter_save_peft(f.adapter, f.peft_path) != INLAY_OK ||
           inlay_adapter_save_gguf(f.adapter, f.gguf_path) != INLAY_OK;
}

// Removes the files of a folder, and the folder; returns how many files there were.
static int empty_folder(const char *folder)
{
    int count = 0;
    DIR *list = opendir(folder);
    if (!list)
        return 0;
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        count += entry->d_name[0] != '.' && remove(path) == 0;
    }
    closedir(list);
    rmdir(folder);
    return count;
}

static int teardown(void **state)
{
    fixture *f = *state;
    inlay_adapter_destroy(&f->adapter);
    inlay_model_close(&f->model);
    empty_folder(f->peft_path);
    empty_folder(f->folder);
    return 0;
}

// ---- model and tokenizer

static inlay_result open_model(const inl_env *env, void *user)
{
    const fixture *f = user;
    inlay_model_params params = {.quantize = f->quantize};
    inlay_model *model;
    inlay_result result = inlay_model_open(&model, env, f->model_path, &params);
    assert_true((model != NULL) == (result == INLAY_OK));
    inlay_model_close(&model);
    return result;
}

static inlay_result tokenize(const inl_env *env, void *user)
{
    const fixture *f = user;
    inlay_model *model;
    int32_t ids[128];
    size_t count = INL_COUNT(ids), size = 16;
    char bytes[16];
    INL_TRY(inlay_model_open(&model, env, f->model_path, NULL));
    inlay_result result = inlay_tokenize(model, "hello \xff world", 13,
                                         &(inlay_tokenize_params){true, true}, ids, &count);
    if (result == INLAY_OK)
        result = inlay_detokenize(model, ids[1], false, bytes, &size);
    count = INL_COUNT(ids);
    if (result == INLAY_OK)
        result = inlay_chat_tokenize(model, "[{\"role\": \"user\", \"content\": \"a\"}]",
                                     &(inlay_chat_params){.chat_template = "chatml"}, ids, &count);
    if (result == INLAY_OK) {
        assert_true(count > 10 && count < INL_COUNT(ids));
        assert_non_null(inlay_model_get_token(model, ids[0], &size));
        assert_true(size > 0);
    }
    inlay_model_close(&model);
    return result;
}

static void test_chat(void **state)
{
    fixture *f = *state;
    inlay_chat_params params = {.chat_template = "chatml"};
    const char *messages = "[{\"role\": \"user\", \"content\": \"a\"}]";
    inlay_model *model;
    int32_t ids[128];
    size_t count = 0;
    assert_int_equal(inlay_model_open(&model, NULL, f->model_path, NULL), INLAY_OK);
    assert_int_not_equal(inlay_chat_tokenize(model, messages, &params, NULL, &count), INLAY_OK);
    size_t needed = count--;
    assert_int_equal(inlay_chat_tokenize(model, messages, &params, ids, &count),
                     INLAY_ERROR_INVALID_ARGUMENT);
    assert_int_equal(count, needed);
    assert_int_equal(inlay_chat_tokenize(model, messages, &params, ids, &count), INLAY_OK);
    params.no_generation_prompt = true;
    assert_int_equal(inlay_chat_tokenize(model, messages, &params, ids, &count), INLAY_OK);
    assert_true(count < needed);
    for (int i = 0; i < 4; i++) {
        static const char *const bad[] = {"", "{}", "[{\"role\": 1}]", "[]"};
        assert_int_equal(inlay_chat_tokenize(model, bad[i], &params, ids, &count),
                         INLAY_ERROR_BAD_FILE);
        count = INL_COUNT(ids);
    }
    params.chat_template = "nobody's";
    assert_int_equal(inlay_chat_tokenize(model, messages, &params, ids, &count),
                     INLAY_ERROR_UNSUPPORTED);
    inlay_model_close(&model);
}

static void test_model(void **state)
{
    fixture *f = *state;
    assert_true(check_each_failure("model", open_model, f, MOST) > 40);
    f->quantize = "nf4";
    assert_true(check_each_failure("model as nf4", open_model, f, MOST) > 40);
    assert_true(check_each_failure("tokenize", tokenize, f, MOST) > 40);
}

static inlay_result open_folder(const inl_env *env, void *user)
{
    inlay_model *model;
    inlay_result result = inlay_model_open(&model, env, user, NULL);
    assert_true((model != NULL) == (result == INLAY_OK));
    inlay_model_close(&model);
    return result;
}

static void write_file(const char *folder, const char *name, const void *data, size_t size)
{
    inl_env env = inl_env_resolve(NULL);
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(inl_file_write(&env, path, data, size), INLAY_OK);
}

// Each class's folder, with each kind of tokenizer.
static void test_folder(void **state)
{
    const fixture *f = *state;
    static const char *const tokenizers[] = {toy_byte_level_json, toy_byte_fallback_json};
    static const char beside[] = "{\"bos_token\":\"<s>\",\"chat_template\":\"{{ messages }}\"}";
    char folder[96];
    snprintf(folder, sizeof(folder), "%s/hf", f->folder);
    assert_int_equal(mkdir(folder, 0777), 0);
    for (size_t i = 0; i < INL_COUNT(toy_folders); i++) {
        safetensors_bytes s = {0};
        char config[TOY_FOLDER_CONFIG];
        const char *tokenizer = tokenizers[i % INL_COUNT(tokenizers)];
        toy_folder_tensors(&toy_folders[i], &s);
        write_file(folder, "config.json", config, toy_folder_config(&toy_folders[i], config));
        write_file(folder, "model.safetensors", s.data, s.size);
        write_file(folder, "tokenizer.json", tokenizer, strlen(tokenizer));
        write_file(folder, "tokenizer_config.json", beside, sizeof(beside) - 1);
        safetensors_bytes_free(&s);
        assert_true(check_each_failure(toy_folders[i].class, open_folder, folder, MOST) > 40);
    }
    empty_folder(folder);
}

// ---- dataset

static inlay_result open_dataset(const inl_env *env, void *user)
{
    const fixture *f = user;
    const char *jinja = "{% for m in messages %}{{ '<|im_start|>' + m.role }}:{{ m.content | trim "
                        "}}<|im_end|>{% endfor %}";
    const char *late = "{% for m in messages %}{{ eos_token if m.role == 'user' else ':' }}"
                       "{{ m.content }}{% endfor %}{% if add_generation_prompt %}:{% endif %}";
    const char *template = strcmp(f->name, "own.jsonl") == 0    ? jinja
                           : strcmp(f->name, "late.jsonl") == 0 ? late
                                                                : "chatml";
    inlay_dataset_params params = {.max_length = 64, .chat_template = template};
    inlay_dataset *data, *held_out = NULL;
    const char *prompt, *completion;
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", f->folder, f->name);
    inlay_result result = inlay_dataset_open(&data, env, f->model, path, &params);
    assert_true((data != NULL) == (result == INLAY_OK));
    if (result != INLAY_OK)
        return result;
    result = inlay_dataset_split(data, 0.5, 1, &held_out);
    if (result == INLAY_OK && strcmp(f->name, "pairs.jsonl") == 0)
        result = inlay_dataset_get_record(data, 0, &prompt, &completion);
    inlay_dataset_close(&held_out);
    inlay_dataset_close(&data);
    return result;
}

static void test_dataset(void **state)
{
    static const char *const files[][2] = {
        {"stream.txt",
         "hello world, this is one stream of tokens, long enough for several rows of them, "
         "so that some can be held out"},
        {"text.jsonl", "{\"text\": \"hello\"}\n{\"text\": \"w\\u00f6rld\"}\n"},
        {"pairs.jsonl", "{\"prompt\": \"a\", \"completion\": \"bc\"}\n"
                        "{\"prompt\": \"d\", \"completion\": \"ef\"}\n"},
        {"own.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
                      "{\"role\": \"assistant\", \"content\": \"b\"}]}\n"
                      "{\"messages\": [{\"role\": \"assistant\", \"content\": \"c\"}]}\n"},
        {"late.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
                       "{\"role\": \"assistant\", \"content\": \"b\"}]}\n"
                       "{\"messages\": [{\"role\": \"user\", \"content\": \"c\"}, "
                       "{\"role\": \"assistant\", \"content\": \"d\"}]}\n"},
        {"messages.jsonl",
         "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
         "\"content\": \"b\"}]}\n"
         "{\"messages\": [{\"role\": \"assistant\", \"content\": \"c\"}]}\n"},
    };
    fixture *f = *state;
    inl_env env = inl_env_resolve(NULL);
    for (size_t i = 0; i < INL_COUNT(files); i++) {
        char path[160];
        snprintf(path, sizeof(path), "%s/%s", f->folder, files[i][0]);
        assert_int_equal(inl_file_write(&env, path, files[i][1], strlen(files[i][1])), INLAY_OK);
        f->name = files[i][0];
        assert_true(check_each_failure(f->name, open_dataset, f, MOST) > 5);
    }
}

// ---- adapter

static inlay_result create_adapter(const inl_env *env, void *user)
{
    const fixture *f = user;
    inlay_adapter_params params = lora;
    params.target_modules = f->text;
    inlay_adapter *adapter;
    inlay_result result = inlay_adapter_create(&adapter, env, f->model, &params);
    assert_true((adapter != NULL) == (result == INLAY_OK));
    inlay_adapter_destroy(&adapter);
    return result;
}

static inlay_result load_adapter(const inl_env *env, void *user)
{
    const fixture *f = user;
    inlay_adapter *adapter;
    inlay_result result = inlay_adapter_load(&adapter, env, f->model, f->name);
    assert_true((adapter != NULL) == (result == INLAY_OK));
    inlay_adapter_destroy(&adapter);
    return result;
}

// What did not succeed leaves no file behind, under any name.
static inlay_result save_adapter(const inl_env *env, void *user)
{
    const fixture *f = user;
    bool as_gguf = f->name[0] == 'g';
    char folder[96], path[128];
    inlay_adapter *adapter;
    snprintf(folder, sizeof(folder), "%s/out", f->folder);
    snprintf(path, sizeof(path), "%s/adapter.gguf", folder);
    INL_TRY(inlay_adapter_create(&adapter, env, f->model, &lora));
    if (as_gguf)
        assert_int_equal(mkdir(folder, 0777), 0);
    inlay_result result = as_gguf ? inlay_adapter_save_gguf(adapter, path)
                                  : inlay_adapter_save_peft(adapter, folder);
    inlay_adapter_destroy(&adapter);
    int files = empty_folder(folder);
    assert_int_equal(files, result != INLAY_OK ? 0 : as_gguf ? 1 : 2);
    return result;
}

static inlay_result combine(const inl_env *env, void *user)
{
    const fixture *f = user;
    const inlay_adapter *parts[] = {f->adapter, f->adapter};
    const float scales[] = {0.5f, 2.0f};
    inlay_adapter *sum;
    inlay_result result = inlay_adapter_combine(&sum, env, f->model, parts, scales, 2);
    assert_true((sum != NULL) == (result == INLAY_OK));
    inlay_adapter_destroy(&sum);
    return result;
}

// Whole or not at all, into a folder of its own.
static inlay_result merge(const inl_env *env, void *user)
{
    const fixture *f = user;
    char folder[96], path[128];
    inlay_model *model = NULL;
    inlay_adapter *adapter = NULL;
    snprintf(folder, sizeof(folder), "%s/merged", f->folder);
    snprintf(path, sizeof(path), "%s/model.gguf", folder);
    assert_int_equal(mkdir(folder, 0777), 0);
    inlay_result result = inlay_model_open(&model, env, f->model_path, NULL);
    if (result == INLAY_OK)
        result = inlay_adapter_load(&adapter, env, model, f->gguf_path);
    if (result == INLAY_OK)
        result = inlay_adapter_merge(adapter, model, path, &(inlay_merge_params){.type = "f16"});
    inlay_adapter_destroy(&adapter);
    inlay_model_close(&model);
    assert_int_equal(empty_folder(folder), result == INLAY_OK);
    return result;
}

static void test_merge(void **state)
{
    assert_true(check_each_failure("combine", combine, *state, MOST) > 10);
    assert_true(check_each_failure("merge", merge, *state, MOST) > 80);
}

static void test_adapter(void **state)
{
    fixture *f = *state;
    f->text = NULL;
    assert_true(check_each_failure("all-linear", create_adapter, f, MOST) > 40);
    f->text = "k_proj,lm_head";
    assert_true(check_each_failure("a list", create_adapter, f, MOST) > 10);
    f->text = "model.layers.1.(self_attn|mlp).*_proj";
    assert_true(check_each_failure("a regular expression", create_adapter, f, MOST) > 10);
    f->name = f->peft_path;
    assert_true(check_each_failure("PEFT, loaded", load_adapter, f, MOST) > 10);
    f->name = f->gguf_path;
    assert_true(check_each_failure("GGUF adapter, loaded", load_adapter, f, MOST) > 10);
    f->name = "peft";
    assert_true(check_each_failure("PEFT, saved", save_adapter, f, MOST) > 20);
    f->name = "gguf";
    assert_true(check_each_failure("GGUF adapter, saved", save_adapter, f, MOST) > 20);
}

// ---- the plan of a run, without a device

static inlay_result plan_run(const inl_env *env, void *user)
{
    const fixture *f = user;
    inlay_dataset_params params = {.max_length = 16};
    inlay_dataset *data;
    char path[160];
    snprintf(path, sizeof(path), "%s/stream.txt", f->folder);
    assert_int_equal(inlay_dataset_open(&data, NULL, f->model, path, &params), INLAY_OK);
    inlay_train_plan plan;
    inlay_train_params train = {.gradient_checkpointing = INLAY_CHECKPOINT_ALL};
    inlay_result result =
        inlay_train_plan_run(&plan, env, NULL, f->model, f->adapter, data, &train);
    inlay_dataset_close(&data);
    return result;
}

static void test_plan(void **state)
{
    assert_true(check_each_failure("plan", plan_run, *state, MOST) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_dataset),
        cmocka_unit_test(test_adapter),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_plan),
    };
    return cmocka_run_group_tests_name("oom", tests, setup, teardown);
}
