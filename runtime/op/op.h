// SPDX-License-Identifier: MIT
// One function per kernel family: each adds its nodes to a plan. Shapes are [rows, cols]; T is the
// number of tokens in the micro-batch. "=" outputs are overwritten, "+=" outputs are added to.
#ifndef INL_OP_OP_H
#define INL_OP_OP_H

#include "op/moe.h"
#include "op/params.h"
#include "op/plan.h"
#include "quant/format.h"

// ---- what the host writes before each submission, one buffer on the device

typedef struct inl_inputs {
    inl_buf scalars;   // step_scalars
    inl_buf tokens;    // [T] ids
    inl_buf positions; // [T] in the token's sequence
    inl_buf starts;    // [T] key index of the sequence's first token
    inl_buf ends;      // [T] one past the key index of the sequence's last token
    inl_buf rows;      // [T] the supervised tokens, in order; scalars.supervised of them
    inl_buf labels;    // [T] their next tokens
    uint32_t longest;  // most tokens of a sequence; 0: not known
} inl_inputs;

// ---- weights

typedef struct inl_range {
    inl_buffer *buffer; // NULL in a dry run
    uint64_t offset, size;
} inl_range;

// Rows of a matrix that one binding can hold; of experts' matrices those of whole experts.
typedef struct inl_weight_part {
    uint32_t row0, rows;       // row0 a multiple of 8
    uint32_t expert0, experts; // of experts' matrices, whose row0 is 0
    inl_range quants, scales;
    inl_range expanded; // NF4: the scales as products read them; size 0: each decodes them first
} inl_weight_part;

// A frozen matrix W [rows, cols] in tiles (quant/tile.h), or `experts` of them one below the other,
// each padded to whole tiles.
typedef struct inl_weight {
    const inl_format *format;
    uint32_t rows, cols;
    uint32_t experts; // 0: it is one matrix
    uint32_t part_count;
    inl_weight_part *parts;
} inl_weight;

// Rows of a matrix, or of an expert's, that become those of a format's planes.
typedef struct inl_encode_args {
    const inl_format *format; // inl_op_encodes
    const inl_format *stored; // of the source: F32, F16 or BF16
    uint32_t rows, cols;      // NF4: rows * cols a multiple of 64, but at the matrix's end
    inl_range source;         // [rows, cols] as in files, and 32 bytes that may be read
    inl_range quants;         // of the part
    uint64_t quants_at;       // bytes of it before the rows'
    // Q8_0, Q4_0: the part's, and bytes of it before the rows'. NF4: the blocks' absmax, from which
    // the stored scales are made (quant/nf4.h), each with its inverse, f32 [blocks, 2], and 16
    // bytes that may be read.
    inl_range scales;
    uint64_t scales_at;
} inl_encode_args;

// Whether inl_op_encode knows the format, or reads it.
bool inl_op_encodes(const inl_format *format);
bool inl_op_encodes_from(const inl_format *stored);
// planes = those that inl_tile_pack makes of what the CPU's encoder makes, to the bit, where no
// number on the way is subnormal in f32.
void inl_op_encode(inl_plan *plan, const inl_encode_args *args);

// Where an adapter pair lies in the adapter arenas, in floats: A [rank4 * 4, in padded to 8],
// B [out padded to 8, rank4 * 4]. Padding is zero and stays zero. Experts' A's lie one below the
// other without a gap, and so do their B's.
typedef struct inl_lora_slot {
    uint64_t a, b;
    uint64_t magnitude; // DoRA: [out padded to 8] behind the B's of its group
    uint64_t norm;      // DoRA: where the norms and squares of its rows lie
    bool dora;
    uint32_t in, out, rank, rank4;
    uint32_t frozen4; // of rank4, the last so many get no gradient
    uint32_t experts; // 0: it is one pair
    float scale;
    uint32_t stream; // of dropout's random numbers
} inl_lora_slot;

// Floats of a slot's A and B with their padding.
uint64_t inl_lora_a_floats(const inl_lora_slot *slot);
uint64_t inl_lora_b_floats(const inl_lora_slot *slot);
// Lays slots that share an input into the arenas from float `at` on, their A's first, then their
// B's, then their magnitudes; returns the end. Each starts where any device can bind it; A's lie
// side by side where their sizes allow that.
uint64_t inl_lora_place(inl_lora_slot *slots, uint32_t count, uint64_t at);

// The arenas a linear layer's adapter is read from and its gradient added to.
typedef struct inl_lora_arena {
    inl_range weights, gradients;
    inl_range norms, squares; // of the rows of W + s B A and of W, where slots are DoRA's
    float dropout; // 0 in evaluation
    const inl_routing *routing; // the rows are experts'; NULL: all are one matrix's
} inl_lora_arena;

// The tail of a product: columns [column4 * 4, + rank) of `h`.
typedef struct inl_tail {
    const inl_lora_slot *slot; // NULL: no tail
    const inl_lora_arena *arena;
    inl_tensor h; // [T, ranks of the group]
    uint32_t column4;
} inl_tail;

// y[T, N] = x[T, K] W^T + bias + residual + scale h B^T. `bias` is f32 [N padded to 8] or
// INL_BUF_NONE; `residual` like y, or NONE. `limit` (inl_plan of the loss): rows past the
// supervised tokens, counted from `first`, may be left unwritten.
typedef struct inl_gemm_args {
    const inl_weight *w;
    inl_tensor x, y;
    inl_buf bias, residual;
    inl_tail tail;
    bool limit;
    uint32_t first;
    const inl_routing *routing; // of experts' matrices, which have no bias; NULL: one matrix
    const char *tag;
} inl_gemm_args;
void inl_op_gemm(inl_plan *plan, const inl_inputs *in, const inl_gemm_args *args);
// y[T, K] = x[T, N] W + residual + mask (h A): args->x is dY and args->y is dX; `bias` is ignored.
void inl_op_gemm_dx(inl_plan *plan, const inl_inputs *in, const inl_gemm_args *args);

// h[T, column4.. + ranks] = mask(x) A^T for `count` slots placed together.
void inl_op_lora_down(inl_plan *plan, const inl_inputs *in, const inl_lora_arena *arena,
                      const inl_lora_slot *slots, uint32_t count, inl_tensor x, inl_tensor h);
// g[T, column4..] = scale dy B, and dB += scale dy^T h.
void inl_op_lora_up_bwd(inl_plan *plan, const inl_inputs *in, const inl_tail *tail, inl_tensor dy,
                        inl_tensor g);
// dA += g^T mask(x) for `count` slots placed together.
void inl_op_lora_down_bwd(inl_plan *plan, const inl_inputs *in, const inl_lora_arena *arena,
                          const inl_lora_slot *slots, uint32_t count, inl_tensor x, inl_tensor g);

// y[T, D] = scale times the rows of the table for in->tokens.
void inl_op_embed(inl_plan *plan, const inl_inputs *in, const inl_weight *table, float scale,
                  inl_tensor y);

// ---- norms, positions, activation

typedef struct inl_norm {
    inl_range weight; // f32 [cols / heads padded to 8]
    float eps;
    uint32_t heads; // of a row, each with a mean of its own; 0 or 1: the row is one
} inl_norm;
// y = residual + x rstd weight; rstd [rows, heads]. `gather`: row r is of x's row
// in->rows[first + r]. `residual` INL_BUF_NONE: none.
void inl_op_rmsnorm(inl_plan *plan, const inl_inputs *in, const inl_norm *norm, inl_tensor x,
                    inl_buf residual, inl_tensor y, inl_buf rstd, bool gather, uint32_t first);
// dx = residual + the gradient through the norm. `scatter`: into rows in->rows[first + r] of dx,
// the other rows are left alone. `residual` INL_BUF_NONE: none.
void inl_op_rmsnorm_bwd(inl_plan *plan, const inl_inputs *in, const inl_norm *norm, inl_tensor x,
                        inl_buf rstd, inl_tensor dy, inl_buf residual, inl_tensor dx, bool scatter,
                        uint32_t first);

typedef struct inl_rope {
    inl_range table; // f32 [positions, rope_dim / 2, (cos, sin)]
    uint32_t rope_dim; // of each head, a multiple of 4
    bool halves;       // pairs are (i, i + rope_dim / 2) and not (2i, 2i + 1)
} inl_rope;
typedef struct inl_rope_args {
    const inl_rope *rope; // NULL: only copies
    uint32_t heads, head_dim;
    float sign; // -1 turns back
    inl_tensor x, y; // one and the same only where pairs are side by side
    uint32_t x_column, y_column; // where the heads begin, multiples of 4; y past the last is zeroed
    bool store;                  // row t goes to row cache_row + t of y
} inl_rope_args;
// y = x turned by its positions. With a y_column, or where y is wider than the heads by 8 columns
// or more, the other columns are left alone.
void inl_op_rope(inl_plan *plan, const inl_inputs *in, const inl_rope_args *args);

typedef enum inl_activation { INL_SILU, INL_GELU_TANH } inl_activation;
// y [T, F] = act(gate) up. `up` without a buffer: gate is [T, 2F], each row gate then up, and F a
// multiple of 4.
void inl_op_glu(inl_plan *plan, inl_activation act, inl_tensor gate, inl_tensor up, inl_tensor y);
// dgate and dup = gradients, of gate's and up's shapes.
void inl_op_glu_bwd(inl_plan *plan, inl_activation act, inl_tensor gate, inl_tensor up,
                    inl_tensor dy, inl_tensor dgate, inl_tensor dup);

// inl_op_gemm for one row, or with `routing` a row for each of a token's experts, and more in one
// go. `norm`: x is normed first. `glu`: W is gate's rows, then up's, and y[N / 2] = act(gate) up.
typedef struct inl_gemv_args {
    const inl_weight *w;
    inl_tensor x, y;
    uint32_t y_column; // where the result begins in y, a multiple of 8
    inl_buf bias, residual;
    inl_tail tail; // of the first rows, where `segments` name the rows at which others begin, whose
                   // columns of h and rows of B are behind its own; 0: there are none
    uint32_t segments[2];
    const inl_routing *routing;
    const inl_norm *norm; // NULL: none
    uint32_t glu;         // GLU_NONE, GLU_SILU or GLU_GELU
    const char *tag;
} inl_gemv_args;
void inl_op_gemv(inl_plan *plan, const inl_gemv_args *args);
// Several matrices as the rows of one, where they lie so on the device: of one format, in one part
// each, behind one another in both planes. False: they do not. `part` is what `out` points to.
bool inl_op_join_weights(const inl_weight *const *weights, uint32_t count, uint64_t max_range,
                         inl_weight_part *part, inl_weight *out);

// ---- attention

typedef struct inl_attention {
    uint32_t heads, kv_heads, head_dim;
    uint32_t window; // UINT32_MAX: all
    float scale;
    float softcap; // a score s is softcap tanh(s / softcap); 0: as it is
} inl_attention;
// o [T, heads * head_dim], lse [T, heads]. `cached`: k and v are a cache and query t is key
// cache_row + t.
void inl_op_attention(inl_plan *plan, const inl_inputs *in, const inl_attention *a, inl_tensor q,
                      inl_tensor k, inl_tensor v, inl_tensor o, inl_buf lse, bool cached);
void inl_op_attention_bwd(inl_plan *plan, const inl_inputs *in, const inl_attention *a,
                          inl_tensor q, inl_tensor k, inl_tensor v, inl_tensor o, inl_buf lse,
                          inl_tensor d_o, inl_tensor dq, inl_tensor dk, inl_tensor dv);

// One token, which is row cache_row of its sequence.
typedef struct inl_token_attention {
    const inl_attention *attention;
    const inl_rope *rope;           // NULL: q and k do not turn
    const inl_norm *q_norm, *k_norm; // of each head, before that; NULL: none
    inl_tensor qkv;                 // [1, (heads + 2 kv_heads) * head_dim]
    inl_tensor k, v;                // the cache, [context, kv_heads * head_dim]
    inl_tensor o;                   // [1, heads * head_dim]
    uint32_t splits;                // workgroups that share a head's keys; 0: as the device likes
} inl_token_attention;
// The token's k and v go into the cache; o = attention over it.
void inl_op_attention_token(inl_plan *plan, const inl_inputs *in, const inl_token_attention *args);

// ---- loss and update

// z = cap tanh(z / cap).
void inl_op_softcap(inl_plan *plan, inl_tensor z, float cap);
// losses[first + r] of the rows of logits [C, V]; with `gradient` the logits become dlogits, of
// what they were before inl_op_softcap with `softcap` where that is not 0.
void inl_op_loss(inl_plan *plan, const inl_inputs *in, inl_tensor logits, float softcap,
                 inl_range losses, uint32_t first, bool gradient);
// norm[0] = sqrt(sum of squares) of `floats` gradients.
void inl_op_grad_norm(inl_plan *plan, inl_range gradients, uint64_t floats, inl_range norm);
// The arenas of an update, `floats` each, and one float a vec4 that the learning rate is multiplied
// by (size 0: 1 for all).
typedef struct inl_adamw_args {
    inl_range weights, gradients, m, v, norm, rates;
    uint64_t floats;
} inl_adamw_args;
// One AdamW step over the arenas, unless norm[0] is not finite; gradients = 0.
void inl_op_adamw(inl_plan *plan, const inl_inputs *in, const inl_adamw_args *args);

// The range as a buffer of the plan.
inl_buf inl_op_external(inl_plan *plan, inl_range range);

#endif
