// SPDX-License-Identifier: MIT
// Our side of the comparison of chat templates: a JSON object a line on stdin and on stdout. In:
// template, messages, tools, options, specials, add_generation_prompt, now. Out: text and generated
// (spans of code points in {% generation %}), or error.
#include "io/jinja.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *spans_of(const inl_jinja_output *out)
{
    json_t *spans = json_array();
    size_t points = 0;
    for (size_t i = 0; i < out->count; i++) {
        const inl_jinja_piece *p = &out->pieces[i];
        size_t start = points;
        for (size_t k = 0; k < p->size; k++)
            points += ((unsigned char)out->text[p->start + k] & 0xc0) != 0x80;
        if (p->generated)
            json_array_append_new(spans, json_pack("[I, I]", (json_int_t)start,
                                                   (json_int_t)points));
    }
    return spans;
}

static json_t *render(const inl_env *env, const json_t *job)
{
    char error[512] = "";
    const char *text = json_string_value(json_object_get(job, "template"));
    const json_t *tools = json_object_get(job, "tools");
    inl_jinja *jinja;
    inl_jinja_output out;
    inlay_result result = inl_jinja_open(env, text, strlen(text), &jinja, error, sizeof(error));
    if (result == INLAY_OK) {
        inl_jinja_input input = {
            .messages = json_object_get(job, "messages"),
            .tools = json_is_array(tools) ? tools : NULL,
            .options = json_object_get(job, "options"),
            .specials = json_object_get(job, "specials"),
            .add_generation_prompt = json_is_true(json_object_get(job, "add_generation_prompt")),
            .now = json_integer_value(json_object_get(job, "now"))};
        result = inl_jinja_render(jinja, &input, &out, error, sizeof(error));
    }
    json_t *answer =
        result == INLAY_OK
            ? json_pack("{s:s%, s:o}", "text", out.text, out.size, "generated", spans_of(&out))
            : json_pack("{s:s, s:b}", "error", error, "unsupported",
                        result == INLAY_ERROR_UNSUPPORTED);
    if (result == INLAY_OK)
        inl_jinja_output_free(env, &out);
    inl_jinja_close(&jinja);
    return answer;
}

int main(void)
{
    inl_env env = inl_env_resolve(NULL);
    char *line = NULL;
    size_t cap = 0;
    size_t size = 0;
    for (int c; (c = getchar()) != EOF;) {
        if (size + 1 >= cap)
            line = realloc(line, cap = cap * 2 + 4096);
        line[size++] = (char)c;
        if (c != '\n')
            continue;
        json_t *job = json_loadb(line, size, 0, NULL);
        json_t *answer = job ? render(&env, job) : NULL;
        if (!answer)
            return 1;
        json_dumpf(answer, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(answer);
        json_decref(job);
        size = 0;
    }
    free(line);
    return 0;
}
