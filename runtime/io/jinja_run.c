// SPDX-License-Identifier: MIT
#include "io/jinja_run.h"

#include <stdio.h>
#include <string.h>

#define MIB (1u << 20)
#define PARSE_LIMIT (16u * MIB)  // bytes a template's tree may take, beside its size
#define RENDER_LIMIT (32u * MIB) // bytes a rendering may take, beside the data's size
#define STEPS 4000000u           // nodes and comparisons, beside the data's size

struct inl_jinja {
    inl_env env;
    jinja_state state;
    char *text;
    const jinja_node *first;
    bool has_generation;
};

jinja_value inl_jinja_unsupported(jinja_run *r, const char *fmt, ...)
{
    char text[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    bool first = !r->state->failed;
    inl_jinja_fail(r->state, "%s", text);
    if (first)
        r->state->result = INLAY_ERROR_UNSUPPORTED;
    return jinja_undefined();
}

// ---- scopes

void inl_jinja_open_scope(jinja_run *r, jinja_scope *outer)
{
    jinja_scope *scope = inl_jinja_alloc(r->state, 1, sizeof(*scope));
    if (!scope)
        return;
    scope->outer = outer;
    r->scope = scope;
}

void inl_jinja_assign(jinja_run *r, const jinja_string *name, jinja_value value)
{
    jinja_scope *scope = r->scope;
    if (r->state->failed || !name)
        return;
    for (size_t i = 0; i < scope->count; i++)
        if (inl_jinja_same(scope->variables[i].name, name)) {
            scope->variables[i].value = value;
            return;
        }
    if (scope->count == scope->cap) {
        size_t cap = INL_MAX(4, scope->cap * 2);
        jinja_variable *more = inl_jinja_alloc(r->state, cap, sizeof(*more));
        if (!more)
            return;
        if (scope->count > 0)
            memcpy(more, scope->variables, scope->count * sizeof(*more));
        scope->variables = more;
        scope->cap = cap;
    }
    scope->variables[scope->count++] = (jinja_variable){name, value};
}

static void assign_attribute(jinja_run *r, const jinja_node *target, jinja_value value)
{
    jinja_value of = inl_jinja_eval(r, target->a);
    if (of.type != JINJA_NAMESPACE) {
        inl_jinja_fail(r->state, "only a namespace's members can be set");
        return;
    }
    if (r->state->failed)
        return;
    inl_jinja_put(r->state, of.as.dict,
                  (jinja_value){.type = JINJA_STRING, .as.string = target->text}, value);
}

static void assign_target(jinja_run *r, const jinja_node *target, jinja_value value)
{
    if (r->state->failed)
        return;
    if (target->type == JINJA_N_NAME) {
        inl_jinja_assign(r, target->text, value);
        return;
    }
    if (target->type == JINJA_N_ATTRIBUTE) {
        assign_attribute(r, target, value);
        return;
    }
    const jinja_list *items = inl_jinja_items(r->state, value);
    size_t i = 0;
    for (const jinja_node *t = target->a; items && t; t = t->next, i++)
        if (i < items->count)
            assign_target(r, t, items->items[i]);
    if (items && i != items->count)
        inl_jinja_fail(r->state, "%zu values are given to %zu names", items->count, i);
}

// ---- output

// Writes to the main text are noted with the message they belong to.
static void note_seam(jinja_run *r)
{
    size_t last = r->seam_count ? r->seams[r->seam_count - 1].message : 0;
    if (r->out != &r->main || last == r->message)
        return;
    if (r->seam_count == r->seam_cap) {
        size_t cap = INL_MAX(32, r->seam_cap * 2);
        jinja_seam *more = inl_jinja_alloc(r->state, cap, sizeof(*more));
        if (!more)
            return;
        if (r->seam_count > 0)
            memcpy(more, r->seams, r->seam_count * sizeof(*more));
        r->seams = more;
        r->seam_cap = cap;
    }
    r->seams[r->seam_count++] = (jinja_seam){r->out->size, r->message};
}

static void write(jinja_run *r, jinja_value value)
{
    size_t before = r->out->size;
    if (r->state->failed)
        return;
    note_seam(r);
    inl_jinja_append_value(r->out, value);
    for (size_t i = before; r->generation && !r->state->failed && i < r->out->size; i++)
        r->out->marks[i] |= JINJA_GENERATED;
}

jinja_value inl_jinja_capture(jinja_run *r, const jinja_node *first)
{
    jinja_buffer text = {.state = r->state};
    jinja_buffer *before = r->out;
    r->out = &text;
    inl_jinja_execute(r, first);
    r->out = before;
    return inl_jinja_finish(&text);
}

// ---- statements

// The items of the loop that its condition lets through.
static const jinja_list *choose_items(jinja_run *r, const jinja_node *node, jinja_value over)
{
    const jinja_list *all = inl_jinja_items(r->state, over);
    if (!all || !node->e)
        return all;
    jinja_value chosen = inl_jinja_list(r->state);
    jinja_scope *outer = r->scope;
    for (size_t i = 0; i < all->count && !r->state->failed; i++) {
        inl_jinja_open_scope(r, outer);
        assign_target(r, node->a, all->items[i]);
        if (inl_jinja_truth(inl_jinja_eval(r, node->e)))
            inl_jinja_push(r->state, chosen.as.list, all->items[i]);
    }
    r->scope = outer;
    return r->state->failed ? NULL : chosen.as.list;
}

static size_t loop_depth(jinja_run *r)
{
    static const jinja_string name = {.data = "loop", .size = 4};
    for (const jinja_scope *s = r->scope; s; s = s->outer)
        for (size_t i = 0; i < s->count; i++)
            if (inl_jinja_same(s->variables[i].name, &name))
                return s->variables[i].value.type == JINJA_LOOP
                           ? s->variables[i].value.as.loop->depth
                           : 0;
    return 0;
}

static void execute_item(jinja_run *r, const jinja_node *node, jinja_loop *loop)
{
    static const jinja_string name = {.data = "loop", .size = 4};
    jinja_value item = loop->items->items[loop->index];
    size_t before = r->message;
    if (item.type == JINJA_DICT && item.as.dict->message > 0)
        r->message = item.as.dict->message;
    inl_jinja_assign(r, &name, (jinja_value){.type = JINJA_LOOP, .as.loop = loop});
    assign_target(r, node->a, item);
    inl_jinja_execute(r, node->c);
    r->message = before;
}

static void execute_for(jinja_run *r, const jinja_node *node)
{
    const jinja_list *items = choose_items(r, node, inl_jinja_eval(r, node->b));
    jinja_loop *loop = inl_jinja_alloc(r->state, 1, sizeof(*loop));
    jinja_scope *outer = r->scope;
    if (!items || !loop)
        return;
    *loop = (jinja_loop){.items = items, .depth = loop_depth(r) + 1};
    for (; loop->index < items->count && !r->state->failed; loop->index++) {
        inl_jinja_open_scope(r, outer);
        execute_item(r, node, loop);
        bool breaks = r->flow == JINJA_BREAKS;
        r->flow = JINJA_GO_ON;
        if (breaks)
            break;
    }
    r->scope = outer;
    if (items->count == 0)
        inl_jinja_execute(r, node->d);
}

// The captured text through the block's filters.
static jinja_value execute_captured(jinja_run *r, const jinja_node *node)
{
    jinja_value before = r->captured;
    jinja_scope *outer = r->scope;
    inl_jinja_open_scope(r, outer);
    r->captured = inl_jinja_capture(r, node->c);
    r->scope = outer;
    jinja_value out = inl_jinja_eval(r, node->b);
    r->captured = before;
    return out;
}

static void execute_with(jinja_run *r, const jinja_node *node)
{
    jinja_scope *outer = r->scope;
    inl_jinja_open_scope(r, outer);
    for (const jinja_node *set = node->a; set; set = set->next)
        assign_target(r, set->a, inl_jinja_eval(r, set->b));
    inl_jinja_execute(r, node->c);
    r->scope = outer;
}

static void define_macro(jinja_run *r, const jinja_node *node)
{
    jinja_macro *macro = inl_jinja_alloc(r->state, 1, sizeof(*macro));
    if (!macro)
        return;
    *macro = (jinja_macro){node, r->scope};
    inl_jinja_assign(r, node->text, (jinja_value){.type = JINJA_MACRO, .as.macro = macro});
}

// As in Jinja the block has a scope of its own.
static void execute_generation(jinja_run *r, const jinja_node *node)
{
    jinja_scope *outer = r->scope;
    inl_jinja_open_scope(r, outer);
    r->generation++;
    inl_jinja_execute(r, node->c);
    r->generation--;
    r->scope = outer;
}

static void execute_one(jinja_run *r, const jinja_node *node)
{
    switch (node->type) {
    case JINJA_N_TEXT: write(r, node->value); break;
    case JINJA_N_PRINT: write(r, inl_jinja_eval(r, node->a)); break;
    case JINJA_N_IF:
        inl_jinja_execute(r, inl_jinja_truth(inl_jinja_eval(r, node->a)) ? node->b : node->c);
        break;
    case JINJA_N_FOR: execute_for(r, node); break;
    case JINJA_N_SET: assign_target(r, node->a, inl_jinja_eval(r, node->b)); break;
    case JINJA_N_SET_BLOCK: assign_target(r, node->a, execute_captured(r, node)); break;
    case JINJA_N_FILTER_BLOCK: write(r, execute_captured(r, node)); break;
    case JINJA_N_MACRO: define_macro(r, node); break;
    case JINJA_N_GENERATION: execute_generation(r, node); break;
    case JINJA_N_WITH: execute_with(r, node); break;
    case JINJA_N_BREAK: r->flow = JINJA_BREAKS; break;
    case JINJA_N_CONTINUE: r->flow = JINJA_CONTINUES; break;
    default: inl_jinja_fail(r->state, "a statement is broken"); break;
    }
}

void inl_jinja_execute(jinja_run *r, const jinja_node *first)
{
    if (++r->state->depth > JINJA_MAX_NESTING * 2)
        inl_jinja_fail(r->state, "it calls itself too often");
    for (const jinja_node *n = first; n && !r->state->failed; n = n->next) {
        if (r->flow != JINJA_GO_ON)
            break;
        r->state->line = n->line;
        execute_one(r, n);
    }
    r->state->depth--;
}

// ---- a whole rendering

static jinja_value name_value(jinja_run *r, const char *name)
{
    return inl_jinja_text(r->state, name);
}

static void set_global(jinja_run *r, const char *name, jinja_value value)
{
    jinja_value key = name_value(r, name);
    if (!r->state->failed)
        inl_jinja_assign(r, key.as.string, value);
}

// A role names a speaker, and templates make markers of it: it is the template's, if it is a word.
static void free_role(jinja_dict *message)
{
    const jinja_value *role = inl_jinja_get(message, "role");
    if (!role || role->type != JINJA_STRING)
        return;
    for (size_t i = 0; i < role->as.string->size; i++) {
        char c = role->as.string->data[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '_' && c != '-')
            return;
    }
    ((jinja_string *)role->as.string)->marks = NULL;
}

static void set_data(jinja_run *r)
{
    const inl_jinja_input *in = r->input;
    const char *key;
    json_t *value;
    jinja_value messages = inl_jinja_from_json(r->state, in->messages);
    for (size_t i = 0; !r->state->failed && i < messages.as.list->count; i++)
        if (messages.as.list->items[i].type == JINJA_DICT) {
            messages.as.list->items[i].as.dict->message = i + 1;
            free_role(messages.as.list->items[i].as.dict);
        }
    set_global(r, "messages", messages);
    set_global(r, "tools", in->tools ? inl_jinja_from_json(r->state, in->tools) : jinja_none());
    set_global(r, "documents", jinja_none());
    set_global(r, "add_generation_prompt", jinja_bool(in->add_generation_prompt));
    json_object_foreach((json_t *)in->specials, key, value)
        if (json_is_string(value))
            set_global(r, key, inl_jinja_text(r->state, json_string_value(value)));
    json_object_foreach((json_t *)in->options, key, value)
        set_global(r, key, inl_jinja_from_json(r->state, value));
}

static bool same_kind(const jinja_run *r, size_t at, const inl_jinja_piece *p)
{
    uint8_t mark = r->main.marks[at];
    return p->from_data == !!(mark & JINJA_FROM_DATA) && p->generated == !!(mark & JINJA_GENERATED);
}

static inlay_result cut_pieces(const inl_env *env, const jinja_run *r, inl_jinja_output *out)
{
    size_t cap = 0, seam = 0;
    size_t message = 0;
    for (size_t at = 0; at < r->main.size; at++) {
        bool new_seam = false;
        for (; seam < r->seam_count && r->seams[seam].start == at; seam++) {
            message = r->seams[seam].message;
            new_seam = true;
        }
        inl_jinja_piece *last = out->count ? &out->pieces[out->count - 1] : NULL;
        if (last && !new_seam && same_kind(r, at, last)) {
            last->size++;
            continue;
        }
        INL_TRY(inl_grow(env, (void **)&out->pieces, &cap, out->count + 1, sizeof(*out->pieces)));
        out->pieces[out->count++] =
            (inl_jinja_piece){.start = at, .size = 1, .message = message,
                              .from_data = r->main.marks[at] & JINJA_FROM_DATA,
                              .generated = r->main.marks[at] & JINJA_GENERATED};
    }
    return INLAY_OK;
}

static inlay_result take_output(const inl_env *env, const jinja_run *r, inl_jinja_output *out)
{
    out->text = inl_alloc(env, r->main.size + 1, 1);
    if (!out->text)
        return INLAY_ERROR_OUT_OF_MEMORY;
    if (r->main.size > 0)
        memcpy(out->text, r->main.data, r->main.size);
    out->size = r->main.size;
    return cut_pieces(env, r, out);
}

static void say_error(const jinja_state *s, char *error, size_t room)
{
    if (s->refused)
        snprintf(error, room, "%s", s->error);
    else
        snprintf(error, room, "line %u: %s", s->line, s->error);
}

inlay_result inl_jinja_render(const inl_jinja *jinja, const inl_jinja_input *input,
                              inl_jinja_output *out, char *error, size_t room)
{
    *out = (inl_jinja_output){0};
    jinja_state state = {.env = &jinja->env, .limit = RENDER_LIMIT, .steps = STEPS};
    jinja_run r = {.state = &state, .input = input};
    r.main.state = &state;
    r.out = &r.main;
    inl_jinja_open_scope(&r, NULL);
    set_data(&r);
    state.limit = state.total * 64 + RENDER_LIMIT;
    state.steps = state.total + STEPS;
    state.depth = 0;
    inl_jinja_execute(&r, jinja->first);
    inlay_result result = state.failed ? state.result : take_output(&jinja->env, &r, out);
    if (state.failed)
        say_error(&state, error, room);
    if (result != INLAY_OK)
        inl_jinja_output_free(&jinja->env, out);
    inl_jinja_state_free(&state);
    return result;
}

void inl_jinja_output_free(const inl_env *env, inl_jinja_output *output)
{
    inl_free(env, output->text);
    inl_free(env, output->pieces);
    *output = (inl_jinja_output){0};
}

// The text with its line ends as Jinja sees them, and without the last one.
static size_t copy_lines(const char *text, size_t size, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\r' && i + 1 < size && text[i + 1] == '\n')
            continue;
        out[written++] = text[i] == '\r' ? '\n' : text[i];
    }
    return written - (written > 0 && out[written - 1] == '\n');
}

inlay_result inl_jinja_open(const inl_env *env, const char *text, size_t size, inl_jinja **out,
                            char *error, size_t room)
{
    *out = NULL;
    inl_jinja *jinja = inl_alloc(env, 1, sizeof(*jinja));
    if (!jinja)
        return INLAY_ERROR_OUT_OF_MEMORY;
    jinja->env = *env;
    jinja->state = (jinja_state){.env = &jinja->env, .limit = PARSE_LIMIT + 64 * (uint64_t)size};
    jinja->text = inl_alloc(env, size + 1, 1);
    inlay_result result = jinja->text ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK) {
        size = copy_lines(text, size, jinja->text);
        jinja->first = inl_jinja_parse(&jinja->state, jinja->text, size, &jinja->has_generation);
    }
    if (jinja->state.failed) {
        say_error(&jinja->state, error, room);
        result = jinja->state.result == INLAY_ERROR_OUT_OF_MEMORY ? jinja->state.result
                                                                  : INLAY_ERROR_UNSUPPORTED;
    }
    *out = jinja;
    if (result != INLAY_OK)
        inl_jinja_close(out);
    return result;
}

void inl_jinja_close(inl_jinja **handle)
{
    inl_jinja *jinja = *handle;
    *handle = NULL;
    if (!jinja)
        return;
    inl_jinja_state_free(&jinja->state);
    inl_env env = jinja->env;
    inl_free(&env, jinja->text);
    inl_free(&env, jinja);
}

bool inl_jinja_has_generation(const inl_jinja *jinja)
{
    return jinja->has_generation;
}
