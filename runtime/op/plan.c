// SPDX-License-Identifier: MIT
// Emission, the arena, and recording. See plan.h.
#include "op/plan.h"
#include "op/arena.h"

#include <string.h>

#define ARENA_BLOCK_BYTES (1ull << 30) // one allocation of the arena, where the device allows it
// Before anything has been measured a piece is this much work: a tenth of a second of a slow
// device.
#define FIRST_PIECE_FLOPS (2ull << 30)
#define FIRST_PIECES_MAX 256
#define PIECES_MAX 8192
#define SPEC_SPREAD 8 // shaders/lib/inputs.glsl

typedef enum node_kind { NODE_DISPATCH, NODE_COPY, NODE_ZERO } node_kind;

typedef struct plan_node {
    inl_node node; // a copy or zero uses uses[0] (and [1], the target of a copy)
    node_kind kind;
    bool backward;
    uint64_t bytes;
} plan_node;

typedef struct plan_buffer {
    inl_buffer *buffer;
    uint64_t offset, size;
    bool external;
    inl_purpose purpose;
    uint32_t first, last, item; // nodes, index among the arena's items
    inl_buf derived;            // what was made of it, as rows of derived_ld; NONE: nothing
    uint32_t derived_ld;
} plan_buffer;

typedef struct access_range {
    inl_binding at;
    inl_access access;
} access_range;

// A node or, of a dispatch that is too long for one submit, some of its workgroups.
typedef struct plan_part {
    uint32_t node;
    uint32_t first, count; // workgroups along the node's longest side
} plan_part;

typedef struct plan_submit {
    inl_commands *commands;
    uint32_t first, count; // parts
} plan_submit;

struct inl_plan {
    inl_env env;
    inl_gpu *gpu;             // NULL: dry
    const inl_gpu_caps *caps; // NULL: no limits
    inlay_result error;
    bool backward; // of nodes to come
    plan_node *nodes;
    size_t node_count, node_cap;
    plan_buffer *buffers;
    size_t buffer_count, buffer_cap;
    inl_buffer **blocks; // of the arena
    uint32_t block_count;
    const inl_plan *owner; // whose blocks may be used, or NULL
    bool borrowed;         // they are
    uint64_t memory[INL_PURPOSE_COUNT];
    plan_part *parts; // of the submits
    uint32_t part_count;
    plan_submit *submits;
    uint32_t submit_count;
    bool profiling; // a timestamp after each node, not only after the last
    access_range *ranges; // accesses since the last barrier, while recording
    size_t range_count, range_cap;
};

inlay_result inl_plan_create(const inl_env *env, inl_gpu *gpu, inl_plan **out)
{
    *out = inl_alloc(env, 1, sizeof(**out));
    if (!*out)
        return INLAY_ERROR_OUT_OF_MEMORY;
    (*out)->env = *env;
    (*out)->gpu = gpu;
    (*out)->caps = gpu ? inl_gpu_get_caps(gpu) : NULL;
    return INLAY_OK;
}

inlay_result inl_plan_create_dry(const inl_env *env, const inl_gpu_caps *caps, inl_plan **out)
{
    INL_TRY(inl_plan_create(env, NULL, out));
    (*out)->caps = caps;
    return INLAY_OK;
}

void inl_plan_share(inl_plan *plan, const inl_plan *owner)
{
    plan->owner = owner;
}

static void drop_submits(inl_plan *plan)
{
    for (uint32_t i = 0; i < plan->submit_count; i++)
        inl_commands_destroy(plan->gpu, &plan->submits[i].commands);
    inl_free(&plan->env, plan->submits);
    inl_free(&plan->env, plan->parts);
    plan->submits = NULL;
    plan->parts = NULL;
    plan->submit_count = plan->part_count = 0;
}

void inl_plan_destroy(inl_plan **handle)
{
    inl_plan *plan = *handle;
    if (!plan)
        return;
    *handle = NULL;
    drop_submits(plan);
    for (uint32_t i = 0; i < plan->block_count && !plan->borrowed; i++)
        inl_buffer_destroy(plan->gpu, &plan->blocks[i]);
    inl_free(&plan->env, plan->blocks);
    inl_free(&plan->env, plan->nodes);
    inl_free(&plan->env, plan->buffers);
    inl_free(&plan->env, plan->ranges);
    inl_env env = plan->env;
    inl_free(&env, plan);
}

bool inl_kernel_usable(const inl_gpu_caps *caps, inl_kernel kernel)
{
    const inl_shader *shader = &inl_kernels[kernel];
    for (inl_path path = 0; path < INL_PATH_COUNT; path++)
        if ((shader->needs >> path & 1u) && !(caps && caps->paths[path].on))
            return false;
    return shader->code != NULL;
}

void inl_plan_set_backward(inl_plan *plan, bool backward)
{
    plan->backward = backward;
}

void inl_plan_fail(inl_plan *plan, inlay_result error)
{
    if (plan->error == INLAY_OK)
        plan->error = error;
}

static inl_buf add_buffer(inl_plan *plan, plan_buffer buffer)
{
    inlay_result grown = inl_grow(&plan->env, (void **)&plan->buffers, &plan->buffer_cap,
                                  plan->buffer_count + 1, sizeof(*plan->buffers));
    if (grown != INLAY_OK) {
        inl_plan_fail(plan, grown);
        return INL_BUF_NONE;
    }
    buffer.first = UINT32_MAX;
    buffer.derived = INL_BUF_NONE;
    plan->buffers[plan->buffer_count] = buffer;
    return (inl_buf)plan->buffer_count++;
}

inl_buf inl_plan_external(inl_plan *plan, inl_buffer *buffer, uint64_t offset, uint64_t size)
{
    return add_buffer(
        plan, (plan_buffer){.buffer = buffer, .offset = offset, .size = size, .external = true});
}

inl_buf inl_plan_scratch(inl_plan *plan, inl_purpose purpose, uint64_t bytes)
{
    return add_buffer(plan, (plan_buffer){.size = inl_round_up(INL_MAX(bytes, 16), 16),
                                          .purpose = purpose});
}

uint64_t inl_tensor_bytes(uint32_t rows, uint32_t cols)
{
    return 4ull * inl_round_up(rows, 8) * inl_round_up(cols, 8);
}

inl_tensor inl_plan_tensor(inl_plan *plan, uint32_t rows, uint32_t cols)
{
    return (inl_tensor){
        .buf = inl_plan_scratch(plan, INL_ACTIVATION, inl_tensor_bytes(rows, cols)),
        .rows = rows,
        .cols = cols,
        .ld = (uint32_t)inl_round_up(cols, 8)};
}

uint64_t inl_plan_buf_bytes(const inl_plan *plan, inl_buf buf)
{
    return buf < plan->buffer_count ? plan->buffers[buf].size : 0;
}

inl_buf inl_plan_derived(const inl_plan *plan, inl_buf from, uint32_t ld)
{
    if (from >= plan->buffer_count || plan->buffers[from].derived_ld != ld)
        return INL_BUF_NONE;
    return plan->buffers[from].derived;
}

void inl_plan_set_derived(inl_plan *plan, inl_buf from, uint32_t ld, inl_buf derived)
{
    if (from >= plan->buffer_count || plan->buffers[from].external)
        return; // another buffer of the plan may be the same memory
    plan->buffers[from].derived = derived;
    plan->buffers[from].derived_ld = ld;
}

static void touch(inl_plan *plan, inl_buf buf, inl_access access)
{
    if (buf >= plan->buffer_count)
        return;
    plan_buffer *b = &plan->buffers[buf];
    if (access & INL_WRITE)
        b->derived = INL_BUF_NONE;
    b->first = INL_MIN(b->first, (uint32_t)plan->node_count);
    b->last = (uint32_t)plan->node_count;
}

static void add_node(inl_plan *plan, const plan_node *node)
{
    if (plan->error != INLAY_OK)
        return;
    inlay_result grown = inl_grow(&plan->env, (void **)&plan->nodes, &plan->node_cap,
                                  plan->node_count + 1, sizeof(*plan->nodes));
    if (grown != INLAY_OK) {
        inl_plan_fail(plan, grown);
        return;
    }
    for (uint32_t i = 0; i < INL_NODE_BINDINGS; i++)
        if (node->node.uses[i].access != INL_UNUSED)
            touch(plan, node->node.uses[i].buf, node->node.uses[i].access);
    plan->nodes[plan->node_count] = *node;
    plan->nodes[plan->node_count++].backward = plan->backward;
}

// What every Vulkan device takes. Few take more, and a plan should not fail on the next machine.
#define MAX_GROUPS 65535u

static void check_groups(inl_plan *plan, const inl_node *node)
{
    const uint32_t *g = node->groups;
    if (g[0] > MAX_GROUPS || g[1] > MAX_GROUPS || g[2] > MAX_GROUPS)
        inl_plan_fail(plan, inl_fail(&plan->env, INLAY_ERROR_UNSUPPORTED,
                                     "a kernel of %s needs %u x %u x %u workgroups, devices take "
                                     "%u a side: use a shorter --max-length or a smaller batch",
                                     node->tag, g[0], g[1], g[2], MAX_GROUPS));
}

static void check_rounds(inl_plan *plan, const inl_node *node)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    if (caps && node->rounds > caps->max_loop_rounds)
        inl_plan_fail(plan,
                      inl_fail(&plan->env, INLAY_ERROR_UNSUPPORTED,
                               "a kernel of %s needs %llu rounds of its loops, which this driver "
                               "ends after %u: use a shorter --max-length or a newer driver",
                               node->tag, (unsigned long long)node->rounds,
                               caps->max_loop_rounds));
}

static void check_binding(inl_plan *plan, const inl_node *node, inl_buf buf)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    if (buf >= plan->buffer_count)
        return; // not made for want of memory: the plan has failed already
    const plan_buffer *b = &plan->buffers[buf];
    if (caps && b->size > caps->max_buffer_range_bytes)
        inl_plan_fail(plan,
                      inl_fail(&plan->env, INLAY_ERROR_UNSUPPORTED,
                               "a buffer of %s needs %llu bytes in one binding, the device "
                               "binds at most %llu: use a shorter --max-length or a smaller batch",
                               node->tag, (unsigned long long)b->size,
                               (unsigned long long)caps->max_buffer_range_bytes));
    if (b->offset % INL_BINDING_ALIGNMENT != 0)
        inl_plan_fail(plan,
                      inl_fail(&plan->env, INLAY_ERROR_INTERNAL,
                               "a binding of %s starts at byte %llu, which not every device binds",
                               node->tag, (unsigned long long)b->offset));
}

void inl_plan_add(inl_plan *plan, const inl_node *node)
{
    if (plan->error == INLAY_OK) // one sentence is enough
        check_groups(plan, node);
    if (plan->error == INLAY_OK)
        check_rounds(plan, node);
    for (uint32_t i = 0; i < INL_NODE_BINDINGS && plan->error == INLAY_OK; i++)
        if (node->uses[i].access != INL_UNUSED)
            check_binding(plan, node, node->uses[i].buf);
    plan_node added = {.node = *node, .kind = NODE_DISPATCH};
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    if (caps && caps->simd_lanes && inl_simd_kernels[node->kernel] != node->kernel) {
        added.node.kernel = inl_simd_kernels[node->kernel];
        added.node.spec[SPEC_SPREAD] = caps->simd_lanes;
        added.node.spec_count = INL_MAX(node->spec_count, SPEC_SPREAD + 1);
    }
    add_node(plan, &added);
}

void inl_plan_copy(inl_plan *plan, inl_buf from, inl_buf to, uint64_t bytes)
{
    add_node(plan,
             &(plan_node){.kind = NODE_COPY,
                          .bytes = bytes,
                          .node = {.tag = "copy", .uses = {{from, INL_READ}, {to, INL_WRITE}}}});
}

void inl_plan_zero(inl_plan *plan, inl_buf buf)
{
    add_node(plan, &(plan_node){.kind = NODE_ZERO,
                                .bytes = inl_plan_buf_bytes(plan, buf),
                                .node = {.tag = "zero", .uses = {{buf, INL_WRITE}}}});
}

// ---- the arena

static void account(inl_plan *plan, const inl_arena_item *items)
{
    // What each purpose needs at its own worst moment would count shared memory twice: scratch is
    // what the arena holds beyond the activations' own peak.
    uint64_t peak = 0, live = 0;
    for (uint32_t n = 0; n < plan->node_count; n++) {
        for (size_t i = 0; i < plan->buffer_count; i++) {
            const plan_buffer *b = &plan->buffers[i];
            if (b->external || b->first == UINT32_MAX || b->purpose != INL_ACTIVATION)
                continue;
            if (b->first == n)
                live += items[b->item].bytes;
            if (n > 0 && b->last == n - 1)
                live -= items[b->item].bytes;
        }
        peak = INL_MAX(peak, live);
    }
    plan->memory[INL_ACTIVATION] = peak;
}

static inlay_result place(inl_plan *plan, uint64_t **sizes)
{
    const inl_gpu_caps *caps = inl_plan_caps(plan);
    inl_arena_item *items = inl_alloc(&plan->env, plan->buffer_count + 1, sizeof(*items));
    if (!items)
        return INLAY_ERROR_OUT_OF_MEMORY;
    uint32_t count = 0;
    for (size_t i = 0; i < plan->buffer_count; i++) {
        plan_buffer *b = &plan->buffers[i];
        if (b->external || b->first == UINT32_MAX)
            continue;
        b->item = count;
        items[count++] = (inl_arena_item){.bytes = b->size, .first = b->first, .last = b->last};
    }
    uint64_t most =
        caps ? INL_MIN(caps->max_allocation_bytes, ARENA_BLOCK_BYTES) : ARENA_BLOCK_BYTES;
    inlay_result result = inl_arena_place(&plan->env, items, count, INL_BINDING_ALIGNMENT, most,
                                          sizes, &plan->block_count);
    if (result == INLAY_OK) {
        uint64_t total = 0;
        for (uint32_t i = 0; i < plan->block_count; i++)
            total += (*sizes)[i];
        account(plan, items);
        plan->memory[INL_ACTIVATION] = INL_MIN(plan->memory[INL_ACTIVATION], total);
        plan->memory[INL_SCRATCH] = total - plan->memory[INL_ACTIVATION];
        for (size_t i = 0; i < plan->buffer_count; i++)
            if (!plan->buffers[i].external && plan->buffers[i].first != UINT32_MAX)
                plan->buffers[i].offset = items[plan->buffers[i].item].offset;
    }
    for (size_t i = 0; i < plan->buffer_count && result == INLAY_OK; i++)
        if (!plan->buffers[i].external && plan->buffers[i].first != UINT32_MAX)
            plan->buffers[i].item = items[plan->buffers[i].item].block;
    inl_free(&plan->env, items);
    return result;
}

static bool owner_has_room(const inl_plan *plan, const uint64_t *sizes, uint32_t count)
{
    const inl_plan *owner = plan->owner;
    bool fits = owner && count <= owner->block_count;
    for (uint32_t i = 0; fits && i < count; i++)
        fits = sizes[i] <= inl_buffer_size(owner->blocks[i]);
    return fits;
}

static inlay_result create_blocks(inl_plan *plan, const uint64_t *sizes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        INL_TRY(inl_buffer_create(plan->gpu, "activations", sizes[i], INL_MEMORY_DEVICE,
                                  &plan->blocks[i]));
        plan->block_count++;
        INL_TRY(inl_gpu_zero(plan->gpu, plan->blocks[i], 0, inl_buffer_size(plan->blocks[i])));
    }
    return INLAY_OK;
}

static inlay_result allocate_arena(inl_plan *plan, const uint64_t *sizes)
{
    uint32_t count = plan->block_count;
    plan->block_count = 0;
    plan->blocks = inl_alloc(&plan->env, count + 1, sizeof(*plan->blocks));
    if (!plan->blocks)
        return INLAY_ERROR_OUT_OF_MEMORY;
    plan->borrowed = owner_has_room(plan, sizes, count);
    if (plan->borrowed) {
        plan->block_count = count;
        memcpy(plan->blocks, plan->owner->blocks, count * sizeof(*plan->blocks));
    } else {
        INL_TRY(create_blocks(plan, sizes, count));
    }
    for (size_t i = 0; i < plan->buffer_count; i++) {
        plan_buffer *b = &plan->buffers[i];
        if (!b->external && b->first != UINT32_MAX)
            b->buffer = plan->blocks[b->item];
    }
    return INLAY_OK;
}

// ---- recording

static inl_binding binding_of(const inl_plan *plan, inl_buf buf)
{
    const plan_buffer *b = &plan->buffers[buf];
    return (inl_binding){.buffer = b->buffer, .offset = b->offset, .size = b->size};
}

static bool conflicts(const inl_plan *plan, inl_binding at, inl_access access)
{
    for (size_t i = 0; i < plan->range_count; i++) {
        const access_range *r = &plan->ranges[i];
        if (r->at.buffer == at.buffer && r->at.offset < at.offset + at.size &&
            at.offset < r->at.offset + r->at.size && ((r->access | access) & INL_WRITE))
            return true;
    }
    return false;
}

// A barrier where this node meets an access since the last one; then remembers its own.
static inlay_result synchronize(inl_plan *plan, inl_commands *c, const inl_node *node)
{
    bool needed = false;
    for (uint32_t i = 0; i < INL_NODE_BINDINGS; i++)
        if (node->uses[i].access != INL_UNUSED)
            needed |= conflicts(plan, binding_of(plan, node->uses[i].buf), node->uses[i].access);
    if (needed) {
        inl_commands_barrier(c);
        plan->range_count = 0;
    }
    for (uint32_t i = 0; i < INL_NODE_BINDINGS; i++) {
        if (node->uses[i].access == INL_UNUSED)
            continue;
        INL_TRY(inl_grow(&plan->env, (void **)&plan->ranges, &plan->range_cap,
                         plan->range_count + 1, sizeof(*plan->ranges)));
        plan->ranges[plan->range_count++] = (access_range){
            .at = binding_of(plan, node->uses[i].buf), .access = node->uses[i].access};
    }
    return INLAY_OK;
}

static uint32_t longest_side(const inl_node *node)
{
    const uint32_t *g = node->groups;
    return g[0] >= g[1] && g[0] >= g[2] ? 0 : g[1] >= g[2] ? 1 : 2;
}

static inlay_result record_dispatch(inl_plan *plan, inl_commands *c, const inl_node *node,
                                    const plan_part *part)
{
    const inl_shader *shader = &inl_kernels[node->kernel];
    inl_pipeline *pipeline;
    INL_TRY(inl_pipeline_get(plan->gpu, shader, node->spec, node->spec_count, node->subgroup,
                             &pipeline));
    inl_binding bindings[INL_NODE_BINDINGS];
    for (uint32_t i = 0; i < INL_NODE_BINDINGS; i++)
        bindings[i] = binding_of(
            plan, node->uses[i].access == INL_UNUSED ? node->uses[0].buf : node->uses[i].buf);
    uint32_t first[3] = {0}, groups[3] = {node->groups[0], node->groups[1], node->groups[2]};
    first[longest_side(node)] = part->first;
    groups[longest_side(node)] = part->count;
    return inl_commands_dispatch(c, pipeline, bindings, node->push, first, groups);
}

// `starts`: what the node reads has not been waited for by an earlier part in the same submit.
static inlay_result record_part(inl_plan *plan, inl_commands *c, const plan_part *part, bool starts)
{
    const plan_node *n = &plan->nodes[part->node];
    if (starts)
        INL_TRY(synchronize(plan, c, &n->node));
    inl_binding a = binding_of(plan, n->node.uses[0].buf);
    a.size = n->kind == NODE_DISPATCH ? a.size : n->bytes;
    switch (n->kind) {
    case NODE_DISPATCH: return record_dispatch(plan, c, &n->node, part);
    case NODE_COPY: inl_commands_copy(c, a, binding_of(plan, n->node.uses[1].buf)); break;
    case NODE_ZERO: inl_commands_zero(c, a); break;
    }
    return INLAY_OK;
}

static inlay_result record_range(inl_plan *plan, uint32_t from, uint32_t to)
{
    inl_commands *c;
    uint32_t count = to - from;
    INL_TRY(inl_commands_create(plan->gpu, count, count * INL_NODE_BINDINGS,
                                plan->profiling ? count + 1 : 2, &c));
    plan->submits[plan->submit_count++] = (plan_submit){c, from, count};
    plan->range_count = 0;
    inl_commands_timestamp(c);
    for (uint32_t i = from; i < to; i++) {
        const plan_part *part = &plan->parts[i];
        INL_TRY(record_part(plan, c, part, i == from || part->first == 0));
        if (plan->profiling || i + 1 == to)
            inl_commands_timestamp(c);
    }
    return inl_commands_end(c);
}

// A dispatch counts for something even where its FLOPs do not.
static double work_of(const plan_node *n)
{
    return (double)n->node.flops + 2e5;
}

static double total_work(const inl_plan *plan)
{
    double sum = 0.0;
    for (size_t i = 0; i < plan->node_count; i++)
        sum += work_of(&plan->nodes[i]);
    return sum;
}

// In how many parts a node is dispatched when a piece is `most` work.
static uint32_t parts_of(const plan_node *n, double most)
{
    uint32_t side = n->node.groups[longest_side(&n->node)];
    double parts = n->kind == NODE_DISPATCH ? work_of(n) / most : 1.0;
    return (uint32_t)INL_MAX(1.0, INL_MIN(parts, (double)side));
}

static inlay_result list_parts(inl_plan *plan, double most)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->node_count; i++)
        count += parts_of(&plan->nodes[i], most);
    plan->parts = inl_alloc(&plan->env, count + 1, sizeof(*plan->parts));
    if (!plan->parts)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < plan->node_count; i++) {
        const inl_node *node = &plan->nodes[i].node;
        uint64_t parts = parts_of(&plan->nodes[i], most), side = node->groups[longest_side(node)];
        for (uint64_t p = 0; p < parts; p++) {
            uint32_t first = (uint32_t)(side * p / parts), end = (uint32_t)(side * (p + 1) / parts);
            plan->parts[plan->part_count++] = (plan_part){i, first, end - first};
        }
    }
    return INLAY_OK;
}

// Cuts into `pieces` of about equal work, so many exactly where there are parts enough.
static inlay_result record(inl_plan *plan, uint32_t pieces)
{
    double most = total_work(plan) / INL_MAX(1, pieces), work = 0.0;
    INL_TRY(list_parts(plan, most));
    pieces = INL_MAX(1, INL_MIN(pieces, plan->part_count));
    plan->submits = inl_alloc(&plan->env, pieces + 1, sizeof(*plan->submits));
    if (!plan->submits)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0, from = 0; i < plan->part_count; i++) {
        const plan_node *n = &plan->nodes[plan->parts[i].node];
        work += work_of(n) / parts_of(n, most);
        uint32_t cuts_left = pieces - plan->submit_count - 1;
        bool enough = work >= 0.999 * most * (plan->submit_count + 1);
        bool last_chance = plan->part_count - i - 1 <= cuts_left;
        if (i + 1 == plan->part_count || (cuts_left > 0 && (enough || last_chance))) {
            INL_TRY(record_range(plan, from, i + 1));
            from = i + 1;
        }
    }
    return INLAY_OK;
}

static bool same_pipeline(const inl_pipeline_key *a, const inl_pipeline_key *b)
{
    return a->shader == b->shader && a->spec_count == b->spec_count &&
           a->subgroup == b->subgroup &&
           memcmp(a->spec, b->spec, a->spec_count * sizeof(*a->spec)) == 0;
}

// The pipelines of all nodes, each once, made together.
static inlay_result make_pipelines(inl_plan *plan)
{
    inl_pipeline_key *keys = inl_alloc(&plan->env, plan->node_count + 1, sizeof(*keys));
    if (!keys)
        return INLAY_ERROR_OUT_OF_MEMORY;
    uint32_t count = 0;
    for (size_t i = 0; i < plan->node_count; i++) {
        const inl_node *node = &plan->nodes[i].node;
        if (plan->nodes[i].kind != NODE_DISPATCH)
            continue;
        keys[count] =
            (inl_pipeline_key){&inl_kernels[node->kernel], node->spec, node->spec_count,
                               node->subgroup};
        uint32_t k = 0;
        while (!same_pipeline(&keys[k], &keys[count]))
            k++;
        count += k == count;
    }
    inlay_result result = inl_pipelines_make(plan->gpu, keys, count);
    inl_free(&plan->env, keys);
    return result;
}

inlay_result inl_plan_finish(inl_plan *plan)
{
    if (plan->error != INLAY_OK)
        return plan->error;
    uint64_t *sizes = NULL;
    inlay_result result = place(plan, &sizes);
    if (result == INLAY_OK && plan->gpu)
        result = allocate_arena(plan, sizes);
    else if (result == INLAY_OK)
        plan->block_count = 0;
    inl_free(&plan->env, sizes);
    uint64_t pieces = 1 + inl_plan_flops(plan) / FIRST_PIECE_FLOPS;
    if (result == INLAY_OK && plan->gpu)
        result = make_pipelines(plan);
    if (result == INLAY_OK && plan->gpu)
        result = record(plan, (uint32_t)INL_MIN(pieces, FIRST_PIECES_MAX));
    return result;
}

inlay_result inl_plan_run(inl_plan *plan, uint64_t *ticket)
{
    *ticket = 0;
    for (uint32_t i = 0; i < plan->submit_count; i++)
        INL_TRY(inl_gpu_submit(plan->gpu, plan->submits[i].commands, ticket));
    return INLAY_OK;
}

inlay_result inl_plan_once(inl_plan *plan)
{
    uint64_t ticket;
    inlay_result result = inl_plan_finish(plan);
    if (result == INLAY_OK)
        result = inl_plan_run(plan, &ticket);
    if (result == INLAY_OK)
        result = inl_gpu_wait(plan->gpu, ticket);
    inl_plan_destroy(&plan);
    return result;
}

bool inl_plan_submit_seconds(const inl_plan *plan, double *longest, double *total)
{
    *longest = *total = 0.0;
    for (uint32_t i = 0; i < plan->submit_count; i++) {
        double seconds[2];
        if (plan->profiling ||
            !inl_commands_seconds(plan->gpu, plan->submits[i].commands, seconds, 2))
            return false;
        *longest = INL_MAX(*longest, seconds[1]);
        *total += seconds[1];
    }
    return true;
}

inlay_result inl_plan_adjust(inl_plan *plan)
{
    double longest, total;
    if (!inl_plan_submit_seconds(plan, &longest, &total))
        return INLAY_OK;
    double budget = 1e-3 * inl_gpu_max_submit_ms(plan->gpu);
    bool too_long = longest > budget;
    bool too_many = plan->submit_count > 1 && total < 0.25 * budget * plan->submit_count;
    if (!too_long && !too_many)
        return INLAY_OK;
    double pieces = 1.5 * total / budget + 1.0;
    if (too_long)
        pieces = INL_MAX(pieces, plan->submit_count * longest / budget + 1.0);
    uint32_t wanted = (uint32_t)INL_MIN(pieces, (double)PIECES_MAX);
    if (wanted == plan->submit_count)
        return INLAY_OK;
    drop_submits(plan);
    return record(plan, wanted);
}

// ---- profiling

inlay_result inl_plan_profile(inl_plan *plan, bool on)
{
    if (!plan->gpu || plan->profiling == on)
        return INLAY_OK;
    uint32_t pieces = plan->submit_count;
    plan->profiling = on;
    drop_submits(plan);
    return record(plan, pieces);
}

bool inl_plan_node_seconds(const inl_plan *plan, double *seconds)
{
    double *ends =
        plan->profiling ? inl_alloc(&plan->env, plan->part_count + 1, sizeof(*ends)) : NULL;
    bool known = ends != NULL;
    memset(seconds, 0, plan->node_count * sizeof(*seconds));
    for (uint32_t i = 0; i < plan->submit_count && known; i++) {
        const plan_submit *s = &plan->submits[i];
        known = inl_commands_seconds(plan->gpu, s->commands, ends, s->count + 1);
        for (uint32_t n = 0; n < s->count && known; n++)
            seconds[plan->parts[s->first + n].node] += ends[n + 1] - ends[n];
    }
    inl_free(&plan->env, ends);
    return known;
}

// ---- questions

uint64_t inl_plan_memory(const inl_plan *plan, inl_purpose purpose)
{
    return plan->memory[purpose];
}

uint64_t inl_plan_flops(const inl_plan *plan)
{
    uint64_t flops = 0;
    for (size_t i = 0; i < plan->node_count; i++)
        flops += plan->nodes[i].node.flops;
    return flops;
}

uint32_t inl_plan_node_count(const inl_plan *plan)
{
    return (uint32_t)plan->node_count;
}

const inl_node *inl_plan_node(const inl_plan *plan, uint32_t index)
{
    return plan->nodes[index].kind == NODE_DISPATCH ? &plan->nodes[index].node : NULL;
}

bool inl_plan_node_is_backward(const inl_plan *plan, uint32_t index)
{
    return plan->nodes[index].backward;
}

uint64_t inl_plan_node_bytes(const inl_plan *plan, uint32_t index)
{
    const plan_node *n = &plan->nodes[index];
    uint64_t bytes = 0;
    if (n->kind != NODE_DISPATCH)
        return n->kind == NODE_COPY ? 2 * n->bytes : n->bytes;
    for (uint32_t i = 0; i < INL_NODE_BINDINGS; i++) {
        const inl_node_use *use = &n->node.uses[i];
        if (use->access != INL_UNUSED)
            bytes += inl_plan_buf_bytes(plan, use->buf) * (use->access == INL_READ_WRITE ? 2 : 1);
    }
    return bytes;
}

uint32_t inl_plan_submit_count(const inl_plan *plan)
{
    return plan->submit_count;
}

const inl_env *inl_plan_env(const inl_plan *plan)
{
    return &plan->env;
}

const inl_gpu_caps *inl_plan_caps(const inl_plan *plan)
{
    return plan->caps;
}
