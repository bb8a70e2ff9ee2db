// SPDX-License-Identifier: MIT
// Push constants and the step's scalars, one definition for GLSL and C (op/params.h includes it).
// Leading dimensions and offsets named *4 count vec4s; tiles are 8 x 8 blocks of a weight matrix.

// Workgroups along x of a kernel over single elements; the rest goes on along y (lib/linear.glsl).
#define LINEAR_GROUPS_X 32768

// Y = X W^T (gemm) or dX = dY W (gemm_dx), and the LoRA tail.
struct push_gemm {
    uint n_tiles, k_tiles; // tiles of this part of W: rows / 8, columns / 8
    uint cols;             // W's columns, unpadded
    uint row0;             // first row of this part of W in the whole matrix, a multiple of 8
    uint ldx4, ldy4;
    uint ldh4, h4;         // H or G: row length and first column
    uint rank4;            // its columns
    float scale;           // of the tail
    uint stream;           // dropout: random stream of this module
    float dropout;         // dropout: probability of a zero
    uint first;            // LIMIT: row 0 is this entry of the list of supervised tokens
    uint expert0, experts; // EXPERTS: those whose matrices this part of W holds, n_tiles each
    uint expert_scales;    // NF4: words of an expert's scales
    uint rows;             // of X, padded
};

// y = x W^T of one row, or of a row an expert, with a norm before or an activation behind it.
#define GLU_NONE 0
#define GLU_SILU 1
#define GLU_GELU 2
struct push_gemv {
    uint n_tiles, k_tiles; // as in push_gemm
    uint cols;             // of x, unpadded
    uint row0;             // first row of this part of W in the whole matrix, a multiple of 8
    uint y4;               // where that row's result lies in y
    uint ldx4, ldy4;       // of rows, where there are several
    uint ldh4, h4, rank4;  // the tail, as in push_gemm
    float scale;
    uint segment1, segment2;
    uint expert0, experts;
    float eps; // NORM
};

// Rows in f16 for matrix cores, eight a uvec4, one more holds 1 / factor.
struct push_halve {
    uint ldx4, ldy8, rows;
};

// H = X A^T and G = s dY B: few columns, long sums.
struct push_lora_down {
    uint cols4;      // of X that are summed over, in vec4s
    uint ldx4, ldw4, ldh4, h4;
    uint rank4;      // columns of the result
    float scale;
    uint stream;
    float dropout;
    uint cols;       // dropout's counter is row * cols + column
    uint expert4;    // EXPERTS: from one expert's A or B to the next
};

// dA += G^T X and dB += s dY^T H: few rows, sums over tokens.
struct push_lora_grad {
    uint rows;       // tokens
    uint cols8;      // of the wide operand, in eights
    uint ldx4, ldh4, h4, ldg4;
    uint rank4;
    float scale;
    uint stream;
    float dropout;
    uint cols;
    uint expert4;    // EXPERTS: from one expert's gradient to the next
};

// A mixture of experts: a token's probabilities, its `used` experts and their weights.
struct push_moe_route {
    uint experts, ld, used;
    uint normalize; // the weights of a token sum to 1
};

// Rows for the experts: `assignments` = tokens * used of them, by expert, `align` rows a tile.
struct push_moe_sort {
    uint experts, used, assignments, chunks;
    uint align, tiles; // tiles of the list of rows
};

// Over rows of ld4 vec4s: the experts', in tiles of `align`, or the tokens'.
struct push_moe_rows {
    uint ld4, align, rows, used;
};

// peak.comp: vec4s of the two buffers, and what a chain is made of.
struct push_peak {
    uint count4, rounds;
    float factor, addend;
};

// DoRA: u [rows, 4 ld4] and what is as wide.
struct push_dora {
    uint count4; // of the whole, its rows padded
    uint ld4;
    uint rows;
    uint rank4;  // of B's rows
    float scale;
};

struct push_dora_drop {
    uint count4, ld4;
    uint cols; // the mask's counter is row * cols + column
    uint stream;
    float dropout;
};

// What encode.comp makes, and of what.
#define ENCODE_Q8_0 0
#define ENCODE_Q4_0 1
#define ENCODE_NF4_ROWS 2
#define ENCODE_NF4_ABSMAX 3
#define ENCODE_NF4_ANY 4
#define ENCODE_F32 0
#define ENCODE_F16 1
#define ENCODE_BF16 2

// Rows of a matrix, from the first word of the source on.
struct push_encode {
    uint count; // threads that have something to do
    uint rows, cols, k_tiles;
    uint quants_at, scales_at; // words of the planes before theirs
};

struct push_one_hot {
    uint count4, ld4;
    uint first; // column of row 0's one
};

struct push_embed {
    uint k_tiles, cols, row0, rows; // of this part of the table
    uint ldy4;
    float scale;
};

struct push_rmsnorm {
    uint cols;   // that a mean is over: all of a row's, or a head's
    uint width4; // what one mean's loop goes over, in vec4s
    uint heads;  // of a row
    uint ld4;
    float eps;
    uint first; // row 0 is this entry of the list of supervised tokens
};

struct push_rope {
    uint heads, head_dim, rope_dim;
    uint ld_in4, ld_out4;
    uint in4, out4; // first column, of x and of y
    uint count4;    // columns that are written: those past the heads become zero
    float sign; // -1 turns back
};

struct push_attention {
    uint heads, group; // query heads, query heads a key-value head
    uint ldq4, ldkv4;
    uint rows;   // queries
    uint window; // keys a query sees, itself among them
    float scale;
    float softcap;
};

#define ROPE_NONE 0
#define ROPE_PAIRS 1
#define ROPE_HALVES 2
// q, k and v of one token side by side.
struct push_attention_token {
    uint heads, kv_heads, group;
    uint k4, v4; // where they begin
    uint ldkv4, ldo4;
    uint window, rope_dim;
    float scale, softcap;
    float eps; // NORM
};

struct push_glu {
    uint count4;
    uint ld4;             // FUSED: of y
    uint ld_fused4, cols4; // FUSED: of gate and up side by side, and the columns of each
};

struct push_softcap {
    uint count4;
    float cap;
};

struct push_loss {
    uint cols, ld4;
    uint first; // row 0 is this entry of the list of supervised tokens
    uint gradient; // 0: leave the logits
    float softcap; // the logits are capped already: their gradient goes through it; 0: they are not
};

struct push_reduce {
    uint count4;
    uint chunk4; // a workgroup's part
    uint first;  // part of workgroup 0
};

struct push_adamw {
    uint count4;
};

// Of the driver_* kernels.
struct push_driver {
    uint count; // threads that have something to do; driver_shared: rounds
    uint inner; // driver_loop: rounds of the inner loop
    uint write;
};

// At the start of the step's inputs; written by the host for every submission.
struct step_scalars {
    uint seed;
    float inv_tokens; // 1 / supervised tokens of the step
    float learning_rate, beta1, beta2, epsilon, weight_decay, max_grad_norm;
    float correction1, correction2; // 1 - beta^step
    uint cache_row;                 // first row of the key-value cache that is written
    uint supervised;                // entries in the list of supervised tokens
};
