// SPDX-License-Identifier: MIT
// Attention on GPUs: rows of one side (queries, or keys in the pass by key) stay in registers, rows
// of the other side come by tiles of TILE rows of two matrices through shared memory. PARTS lanes
// side by side, a team, have ROWS rows of the first kind, each lane every PARTS-th vec4 of a head.
// A score is a sum over the team: SIDE = ROWS * STEP of them are summed together, so that each
// ends in one lane (in PARTS / SIDE of them, the same), which alone takes its exponential. It hands
// them to the team through shared memory.
layout(constant_id = 4) const uint PARTS = 4;
layout(constant_id = 5) const uint ROWS = 4;
layout(constant_id = 6) const uint STEP = 1; // rows of the tile, a divisor of TILE; SIDE <= PARTS
layout(constant_id = 7) const uint TILE = 16;
const uint SIDE = ROWS * STEP;
const uint ALIKE = PARTS / SIDE; // lanes that get the same score
const uint N4 = (D4 + PARTS - 1) / PARTS;
const uint ROW4 = N4 * PARTS; // of a tile's row: what is past D4 is zero
const uint TEAMS = LANES / PARTS;
const uint WORKGROUP_ROWS = TEAMS * ROWS;
const uint WEIGHTS = TILE * ROWS + 4; // of a team; 4 more keep teams in different banks

shared vec4 tile_a[TILE * ROW4], tile_b[TILE * ROW4];

uint part()
{
    return gl_LocalInvocationID.x % PARTS;
}

uint team()
{
    return gl_LocalInvocationID.x / PARTS;
}

// The team's row r, which may be past the last one.
uint team_row(uint r)
{
    return gl_WorkGroupID.x * WORKGROUP_ROWS + team() * ROWS + r;
}

// Of the scores of a step, the lane's: of which of the team's rows, and of which row of the step.
uint score_row()
{
    return part() / ALIKE / STEP;
}

uint score_step()
{
    return part() / ALIKE % STEP;
}

// Whether the lane's vec4 i is one of the head.
bool in_head(uint i)
{
    return D4 % PARTS == 0 || i * PARTS + part() < D4;
}

// c + a.b as one chain: there are enough of them side by side, and a score takes one register.
float add_dot(vec4 a, vec4 b, float c)
{
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, c))));
}

// Sums v[n] over the team, for all n; the lane gets that of row score_row() and score_step(), where
// n = row * STEP + step. Half of what is left goes to the lanes of the other half at each distance.
float summed(float v[SIDE])
{
    uint distance = PARTS / 2;
    [[unroll]] for (uint kept = SIDE / 2; kept > 0; kept /= 2) {
        bool high = (gl_LocalInvocationID.x & distance) != 0;
        [[unroll]] for (uint i = 0; i < kept; i++)
            v[i] = (high ? v[i + kept] : v[i]) +
                   subgroupShuffleXor(high ? v[i] : v[i + kept], distance);
        distance /= 2;
    }
    [[unroll]] for (; distance > 0; distance /= 2)
        v[0] += subgroupShuffleXor(v[0], distance);
    return v[0];
}

// Over the lanes that have scores of the same row.
float row_max(float v)
{
    [[unroll]] for (uint distance = ALIKE; distance < ALIKE * STEP; distance *= 2)
        v = max(v, subgroupShuffleXor(v, distance));
    return v;
}

float row_sum(float v)
{
    [[unroll]] for (uint distance = ALIKE; distance < ALIKE * STEP; distance *= 2)
        v += subgroupShuffleXor(v, distance);
    return v;
}

// What a team has written to shared memory is there for all of it.
void team_barrier()
{
    subgroupMemoryBarrierShared();
    subgroupBarrier();
}

// Rows first .. first + TILE - 1 of two matrices, those past `last` as the last one is. They are
// there after a barrier().
#define LOAD_TILE(A, B, first, last, ld4, column)                                                  \
    barrier();                                                                                     \
    for (uint i_ = gl_LocalInvocationID.x; i_ < TILE * ROW4; i_ += LANES) {                        \
        uint c_ = i_ % ROW4, from_ = min((first) + i_ / ROW4, last) * (ld4) + (column) + c_;       \
        bool inside_ = ROW4 == D4 || c_ < D4;                                                      \
        tile_a[i_] = inside_ ? A(from_) : vec4(0.0);                                               \
        tile_b[i_] = inside_ ? B(from_) : vec4(0.0);                                               \
    }
