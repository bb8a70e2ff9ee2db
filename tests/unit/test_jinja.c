// SPDX-License-Identifier: MIT
// The interpreter of chat templates: what it writes, which bytes it says are the data's, which
// errors it gives and where. tests/parity/test_chat.py compares it with Jinja itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/jinja.h"

#define MESSAGES                                                                                   \
    "[{\"role\":\"user\",\"content\":\" q\\n\"},"                                                  \
    "{\"role\":\"assistant\",\"content\":\"r\",\"tool_calls\":[{\"b\":1.5,\"a\":[true,null]}]}]"

static inlay_result render(const char *template, inl_jinja_output *out, char *error, size_t room)
{
    inl_env env = inl_env_resolve(NULL);
    json_t *messages = json_loads(MESSAGES, 0, NULL);
    json_t *specials = json_pack("{s:s}", "bos_token", "<s>");
    inl_jinja *jinja;
    error[0] = '\0';
    *out = (inl_jinja_output){0};
    inlay_result result =
        inl_jinja_open(&env, template, strlen(template), &jinja, error, room);
    if (result == INLAY_OK) {
        inl_jinja_input input = {.messages = messages, .specials = specials, .now = 951782400};
        result = inl_jinja_render(jinja, &input, out, error, room);
    }
    inl_jinja_close(&jinja);
    json_decref(messages);
    json_decref(specials);
    return result;
}

static void check(const char *template, const char *expected)
{
    inl_env env = inl_env_resolve(NULL);
    inl_jinja_output out;
    char error[400];
    if (render(template, &out, error, sizeof(error)) != INLAY_OK)
        fail_msg("%s: %s", template, error);
    assert_string_equal(out.text, expected);
    size_t end = 0;
    for (size_t i = 0; i < out.count; i++) {
        assert_int_equal(out.pieces[i].start, end);
        end += out.pieces[i].size;
    }
    assert_int_equal(end, out.size);
    inl_jinja_output_free(&env, &out);
}

static void refuse(const char *template, inlay_result result, const char *expected)
{
    inl_jinja_output out;
    char error[400];
    inlay_result got = render(template, &out, error, sizeof(error));
    if (got != result || !strstr(error, expected))
        fail_msg("%s: %d, no \"%s\" in \"%s\"", template, got, expected, error);
    assert_null(out.text);
}

static void test_text(void **state)
{
    (void)state;
    check("", "");
    check("a\r\nb\n\n", "a\nb\n");
    check("  {% if true %}\n  x {# c #}\n {%- endif %}\n y", "  x  y");
    check("a\n  {{ 1 }}\n b", "a\n  1\n b");
    check("a  {%- set x = 1 -%}  \n b", "ab");
    check("a {%+ if true %}b{% endif +%}\nc", "a b\nc");
    check("{% raw %}{{ x }}{% endraw %}!", "{{ x }}!");
    check("{{ 'a\\n\\x41\\u00e9\\'\\q' \"b\" }}", "a\nA\xc3\xa9'\\qb");
    check("{{ {'a': {'b': 1}}['a']['b'] }}", "1");
}

static void test_expressions(void **state)
{
    (void)state;
    check("{{ 1 + 2 * 3 - 7 // 2 - -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 3 }} {{ -2 ** 2 }}", "2 3.5 8 4");
    check("{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1, 'x'] ~ {'k': (1,)} }}",
          "a1NoneTrue1.0[1, 'x']{'k': (1,)}");
    check("{{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ 'b' in 'abc' }} {{ 3 not in [1, 2] }}",
          "True True True True");
    check("{{ 'a' if false }}|{{ x.y if x else 'no' }}|{{ not (1 and 0) or 2 }}", "|no|True");
    check("{{ 'h\xc3\xa9llo'[1:-1] }} {{ [1,2,3][::-1] }} {{ 'abc'[-1] }}|{{ 'abc'[5] }}",
          "\xc3\xa9ll [3, 2, 1] c|");
    check("{{ 3 * 'ab' }} {{ [1] + [2] }} {{ 1e3 }} {{ 1e-7 }} {{ 1_000 }}",
          "ababab [1, 2] 1000.0 1e-07 1000");
    check("{{ x }}|{{ x is defined }}|{{ none is none }}|{{ 'a' is string }}|{{ 4 is even }}|"
          "{{ 5 is divisibleby 5 }}|{{ 1 is not number }}|{{ [] is iterable and {} is mapping }}",
          "|False|True|True|True|True|False|True");
}

static void test_statements(void **state)
{
    (void)state;
    check("{% for k, v in {'a': 1, 'b': 2}.items() if v > 1 %}{{ k }}{{ loop.last }}{% endfor %}",
          "bTrue");
    check("{% for i in [] %}x{% else %}none{% endfor %}", "none");
    check("{% set n = namespace(i=0) %}{% set x = 0 %}{% for i in range(5) %}{% if i == 1 %}"
          "{% continue %}{% elif i == 3 %}{% break %}{% endif %}{% set n.i = n.i + i %}"
          "{% set x = x + i %}{% endfor %}{{ n.i }}{{ x }}",
          "20");
    check("{% set a, b = [1, 2] %}{% set t %}<{{ a }}>{% endset %}{{ t }}{{ b }}", "<1>2");
    check("{% macro m(a, b='d') %}{{ a }}-{{ b }};{% endmacro %}{{ m(1) }}{{ m(b=2, a=3) }}",
          "1-d;3-2;");
    check("{% filter upper %}ab{% endfilter %}{% with x = 3 %}{{ x }}{% endwith %}{{ x }}", "AB3");
    check("{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.cycle('a', 'b') }}"
          "{{ loop.previtem }} {% endfor %}",
          "Truea Falseb1 Truea1 ");
}

static void test_functions(void **state)
{
    (void)state;
    check("{{ ' x '|trim }}{{ 'a,b'.split(',') }}{{ 'a  b c'.split(none, 1) }}",
          "x['a', 'b']['a', 'b c']");
    check("{{ messages[1].tool_calls[0] | tojson }}", "{\"b\": 1.5, \"a\": [true, null]}");
    check("{{ {'b': '<\\n\xc3\xa9>', 'a': []} | tojson(indent=2, sort_keys=true) }}",
          "{\n  \"a\": [],\n  \"b\": \"<\\n\xc3\xa9>\"\n}");
    check("{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='role') | list }}",
          "['user']");
    check("{{ [3, 1, 2] | sort | join('-') }} {{ 'aXbX'.replace('X', '.') }} {{ 'ab' | length }}",
          "1-2-3 a.b. 2");
    check("{{ x | default('d') }}{{ '' | default('e', true) }}{{ '3' | int + 1 }}{{ 'a b'|title }}",
          "de4A B");
    check("{{ 'x<think>y</think>z'.split('</think>')[-1] }}{{ 'aab'.rstrip('b').endswith('aa') }}",
          "zTrue");
    check("{{ strftime_now('%d %b %Y, %A %-d/%m/%y %H:%M:%S %j') }}",
          "29 Feb 2000, Tuesday 29/02/00 00:00:00 060");
    check("{{ '<' + ('&' | safe) }}{{ '<' ~ ('>' | e) }}{{ '<' + '>' }}", "&lt;&<&gt;<>");
    check("{{ '{} and {x}'.format(1, x=2) }}{{ dict(a=1) }}", "1 and 2{'a': 1}");
}

static void test_pieces(void **state)
{
    (void)state;
    inl_env env = inl_env_resolve(NULL);
    inl_jinja_output out;
    char error[400];
    const char *template = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{% generation %}"
                           "{{ m.content | trim + '#' }}{% endgeneration %}{% endfor %}";
    static const struct {
        const char *text;
        size_t message;
        bool from_data, generated;
    } expected[] = {{"<s>", 0, false, false},     {"<user>", 1, false, false},
                    {"q", 1, true, true},         {"#", 1, false, true},
                    {"<assistant>", 2, false, false}, {"r", 2, true, true},
                    {"#", 2, false, true}};
    assert_int_equal(render(template, &out, error, sizeof(error)), INLAY_OK);
    assert_int_equal(out.count, INL_COUNT(expected));
    for (size_t i = 0; i < out.count; i++) {
        const inl_jinja_piece *p = &out.pieces[i];
        assert_int_equal(p->size, strlen(expected[i].text));
        assert_memory_equal(out.text + p->start, expected[i].text, p->size);
        assert_int_equal(p->message, expected[i].message);
        assert_int_equal(p->from_data, expected[i].from_data);
        assert_int_equal(p->generated, expected[i].generated);
    }
    inl_jinja_output_free(&env, &out);
}

static void test_errors(void **state)
{
    (void)state;
    const inlay_result no = INLAY_ERROR_UNSUPPORTED;
    const inlay_result bad = INLAY_ERROR_BAD_FILE;
    refuse("a\n{% if x %}", no, "line 2: ");
    refuse("a\n{{ 'x }}", no, "line 2: a string has no end");
    refuse("{{ 1", no, "line 1: a tag has no end");
    refuse("{# 1", no, "line 1: the comment");
    refuse("{% raw %}x", no, "line 1: the raw block");
    refuse("{% include 'x' %}", no, "line 1: the statement \"include\" is not supported");
    refuse("{% endfor %}", no, "\"endfor\"");
    refuse("\n\n{{ a b }}", no, "line 3: \"b\" stands where the end of the tag is expected");
    refuse("{{ a. }}", no, "a name is missing");
    refuse("{{ 99999999999999999999 }}", no, "a number is too large");
    refuse("{{ 1 ? 2 }}", no, "an unexpected character, '?'");
    refuse("{{ x | frob }}", no, "line 1: the filter \"frob\" is not supported");
    refuse("{{ x is frob }}", no, "the test \"frob\" is not supported");
    refuse("{{ frob(1) }}", no, "there is no function \"frob\"");
    refuse("\n{{ x.y }}", bad, "line 2: \"x\" is undefined");
    refuse("{{ 'a' + 1 }}", bad, "a string + an int is not possible");
    refuse("{{ none + 'a' }}", bad, "None + a string is not possible");
    refuse("{{ 1 // 0 }}", bad, "division by zero");
    refuse("{{ raise_exception('Roles!') }}", bad, "Roles!");
    refuse("{{ messages.append(1) }}", bad, "must not change a list");
    refuse("{% for i in 3 %}{% endfor %}", bad, "an int cannot be iterated");
    refuse("{% for a, b in [[1]] %}{% endfor %}", bad, "1 values are given to 2 names");
    refuse("{{ 9223372036854775807 + 1 }}", bad, "a number is too large");
}

// What a hostile template may ask for.
static void test_limits(void **state)
{
    (void)state;
    const inlay_result bad = INLAY_ERROR_BAD_FILE;
    refuse("{{ range(10000000) | list }}", bad, "a range has more than");
    refuse("{{ 'x' * 1000000000 }}", bad, "it needs more than");
    refuse("{{ [1] * 1000000000 }}", bad, "it needs more than");
    refuse("{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}", bad,
           "it ");
    refuse("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", bad, "it ");
    refuse("{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x * 2 %}"
           "{% endfor %}",
           bad, "it needs more than");
    refuse("{% set n = namespace(x=1) %}{% for i in range(999) %}{% set n.x = [n.x, n.x] %}"
           "{% endfor %}{{ n.x }}",
           bad, "");
    char deep[4096] = "{{ ";
    for (int i = 0; i < 1000; i++)
        strcat(deep, "((");
    refuse(deep, INLAY_ERROR_UNSUPPORTED, "it nests more than");
    strcpy(deep, "");
    for (int i = 0; i < 300; i++)
        strcat(deep, "{% if 1 %}");
    refuse(deep, INLAY_ERROR_UNSUPPORTED, "it nests more than");
    strcpy(deep, "{{ 1");
    for (int i = 0; i < 1000; i++)
        strcat(deep, "~1");
    strcat(deep, " }}");
    refuse(deep, bad, "it nests too deep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),       cmocka_unit_test(test_expressions),
        cmocka_unit_test(test_statements), cmocka_unit_test(test_functions),
        cmocka_unit_test(test_pieces),     cmocka_unit_test(test_errors),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
