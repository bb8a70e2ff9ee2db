// SPDX-License-Identifier: MIT
// The model of machine code (tools/dev/isa.h), on loops whose cycles can be counted by hand, in the
// words of each driver.
#include "isa.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char code[1 << 16];

static void put(const char *text, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++)
        strcat(code, text);
}

static isa_model model(const char *chip, uint32_t width, uint32_t invocations, double subgroups)
{
    return isa_model_of(isa_find_chip(chip, ""), width, invocations, subgroups, code);
}

static void assert_near(double is, double expected)
{
    if (!(fabs(is - expected) < 0.002 * expected))
        fail_msg("%g, not %g", is, expected);
}

// 64 multiply-adds of 64 lanes, 4 cycles each on GCN, and what else a loop has.
static void gcn(uint32_t fused, uint32_t other)
{
    code[0] = '\0';
    put("BB0:\n\ts_mov_b32 s0, 0 ; 1\nBB1:\n", 1);
    put("\tv_mac_f32_e32 v0, v1, v2 ; 2c000501\n", fused);
    put("\tv_lshlrev_b32_e32 v3, 2, v3 ; 24060682\n", other);
    put("\ts_cmp_lt_u32 s0, s1 ; bf0a0100\n\ts_cbranch_scc1 BB1 ; bf85fff0\nBB2:\n\ts_endpgm\n", 1);
}

static void peak_is_one(void **state)
{
    (void)state;
    gcn(512, 0);
    isa_model m = model("polaris10", 64, 64, 4);
    assert_true(m.known);
    assert_near(m.share, 1.0);
    assert_int_equal(m.limit, ISA_VECTOR);
    assert_near(m.cycles, 2048);
    assert_near(m.flops, 1024);
}

static void other_work_and_empty_lanes_cost(void **state)
{
    (void)state;
    gcn(512, 512);
    assert_near(model("polaris10", 64, 64, 4).share, 0.5);
    assert_near(model("polaris10", 64, 32, 4).share, 0.25);
    assert_near(model("polaris10", 64, 96, 4).share, 0.375); // 32 of the second wave's 64 are empty
}

// A multiplication and an addition are one multiply-add; multiplications alone are decoding.
static void pairs_count(void **state)
{
    (void)state;
    code[0] = '\0';
    put("BB1:\n", 1);
    put("\tv_mul_f32_e32 v0, v1, v2 ; 1\n", 40);
    put("\tv_add_f32_e32 v0, v1, v2 ; 1\n", 20);
    put("\ts_cbranch_scc1 BB1 ; 1\n\ts_endpgm\n", 1);
    assert_near(model("navi21", 32, 32, 8).share, 20.0 / 60.0);
    assert_near(model("navi21", 32, 32, 8).flops, 40);
}

static void two_at_once(void **state)
{
    (void)state;
    code[0] = '\0';
    put("BB1:\n", 1);
    put("\tv_dual_fmac_f32 v0, v1, v2 :: v_dual_fmac_f32 v3, v4, v5 ; c8000000\n", 64);
    put("\tv_fmac_f32_e32 v0, v1, v2 ; 56000000\n", 64);
    put("\ts_cbranch_scc1 BB1 ; 1\n\ts_endpgm\n", 1);
    assert_near(model("navi31", 32, 32, 8).share, 0.75);
    code[0] = '\0';
    put("BB1:\n", 1);
    put("\tv_fmac_f32_e32 v0, v1, v2 ; 56000000\n", 64);   // a wave of 64 at once
    put("\tv_lshlrev_b32_e32 v3, 2, v3 ; 24060682\n", 32); // in two
    put("\ts_cbranch_scc1 BB1 ; 1\n\ts_endpgm\n", 1);
    assert_near(model("navi31", 64, 64, 8).share, 0.5);
}

// One wave waits for each load: 4 cycles of each instruction and the latency. Eight do not.
static void waiting_is_shared(void **state)
{
    (void)state;
    code[0] = '\0';
    put("BB1:\n\tbuffer_load_dword v9, v8, s[0:3], 0 ; 1\n\ts_waitcnt vmcnt(0) ; 1\n", 1);
    put("\tv_mac_f32_e32 v0, v1, v2 ; 1\n", 80);
    put("\ts_cbranch_scc1 BB1 ; 1\n\ts_endpgm\n", 1);
    isa_model m = model("vega20", 64, 64, 1);
    assert_int_equal(m.limit, ISA_WAIT);
    assert_near(m.share, 320.0 / (ISA_MEMORY_LATENCY + 320 + 4));
    assert_near(model("vega20", 64, 64, 8).share, 1.0);
}

// What is loaded a pass ahead of its use costs nothing when the pass is long enough.
static void loading_ahead(void **state)
{
    (void)state;
    code[0] = '\0';
    put("BB1:\n\ts_waitcnt vmcnt(0) ; 1\n\tbuffer_load_dword v9, v8, s[0:3], 0 ; 1\n", 1);
    put("\tv_mac_f32_e32 v0, v1, v2 ; 1\n", 800);
    put("\ts_cbranch_scc1 BB1 ; 1\n\ts_endpgm\n", 1);
    assert_near(model("vega20", 64, 64, 1).share, 3200.0 / 3208.0);
}

// RADV's loops begin with a jump to their condition; a side of a branch counts by half.
static void turned_loops_and_branches(void **state)
{
    (void)state;
    code[0] = '\0';
    put("BB0:\n\ts_branch BB3 ; 1\nBB1:\n", 1);
    put("\tv_fma_f32 v0, v1, v2, v0 ; 1\n", 100);
    put("\ts_cbranch_scc0 BB3 ; 1\nBB2:\n", 1);
    put("\tv_lshlrev_b32_e32 v3, 2, v3 ; 1\n", 100);
    put("BB3:\n\ts_cmp_lt_u32 s0, s1 ; 1\n\ts_cbranch_scc1 BB1 ; 1\nBB4:\n\ts_endpgm\n", 1);
    assert_near(model("navi21", 32, 32, 8).share, 100.0 / 150.0);
}

static void matrix_instructions(void **state)
{
    (void)state;
    code[0] = '\0';
    put("BB1:\n", 1);
    put("\tv_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7] ; 1\n", 4);
    put("\tds_load_b128 v[8:11], v40 ; 1\n", 32);
    put("\ts_cbranch_scc1 BB1 ; 1\n\ts_endpgm\n", 1);
    isa_model m = model("navi31", 32, 32, 8); // 4 of 32 cycles; 32 loads of 512 bytes at 64 a cycle
    assert_int_equal(m.kind, ISA_TENSOR);
    assert_int_equal(m.limit, ISA_SHARED);
    assert_near(m.share, 0.5);
}

static void intel(void **state)
{
    (void)state;
    code[0] = '\0';
    put("mov(8)          g37<1>UD        0x00000000UD                    { align1 1Q "
        "};\n\nLABEL2:\n",
        1);
    put("(+f0.0) break(8) JIP:  LABEL0         UIP:  LABEL0              { align1 1Q };\n", 1);
    put("mad(8)          g107<1>F        g42<8,8,1>F     g23<8,8,1>F     g96.0<0,1,0>F { align1 "
        "};\n",
        64);
    put("add(8)          g74<1>D         g72<1,1,0>D     g73<1,1,0>D     { align1 1Q };\n", 80);
    put("send(8)         g26UD           g25UD           nullUD          0x62403500\n"
        "                ugm MsgDesc: ( load, a32, d32, V4, L1STATE_L3MOCS dst_len = 4, src0_len = "
        "1,"
        " src1_len = 0 bti )  BTI 1  { align1 1Q $1 };\n",
        2);
    put("while(8)        JIP:  LABEL2                                    { align1 1Q };\nLABEL0:\n",
        1);
    isa_model m = model("dg2", 8, 32, 8); // integers beside on Arc, in the same pipe on Skylake
    assert_near(m.share, 64.0 / 80.0);
    assert_int_equal(m.limit, ISA_INTEGER);
    assert_near(model("skl", 8, 32, 7).share, 64.0 / 144.0);
}

static void nvidia(void **state)
{
    (void)state;
    code[0] = '\0';
    put("block.u 0 L0 [] -> {\n} -> [1]\nblock.u 1 L5 [0, 2] -> {\n", 1);
    put("      r1       = ffma.ftz r2 r3 r1                          // delay=4\n", 96);
    put("      r66      = iadd3 r66 c[0x1][0x30] rZ                  // delay=4\n", 32);
    put("      up0      = isetp.ge.u32 ur5 ur6                       // delay=1\n"
        "                 bra !up0 L9                                // delay=1\n} -> [2, 3]\n"
        "block.u 2 L7 [1] -> {\n                 bra pT L5                    // delay=1\n} -> "
        "[1]\n"
        "block.u 3 L9 [1] -> {\n                 exit                         // delay=1\n}\n",
        1);
    assert_near(model("ampere", 32, 32, 32).share, 96.0 / 131.0); // one a cycle
    assert_near(model("turing", 32, 32, 32).share, 1.0); // two cycles each, integers beside
    assert_near(model("ampere", 32, 32, 1).share, 96.0 / (128 * 4 + 3));
}

static void no_loop_no_share(void **state)
{
    (void)state;
    code[0] = '\0';
    put("BB0:\n", 1);
    put("\tv_mac_f32_e32 v0, v1, v2 ; 1\n", 20);
    put("\ts_endpgm\n", 1);
    assert_false(model("vega20", 64, 64, 1).known);
    assert_null(isa_find_chip(NULL, "a card of tomorrow"));
    assert_false(isa_model_of(NULL, 32, 32, 1, code).known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peak_is_one),
        cmocka_unit_test(other_work_and_empty_lanes_cost),
        cmocka_unit_test(pairs_count),
        cmocka_unit_test(two_at_once),
        cmocka_unit_test(waiting_is_shared),
        cmocka_unit_test(loading_ahead),
        cmocka_unit_test(turned_loops_and_branches),
        cmocka_unit_test(matrix_instructions),
        cmocka_unit_test(intel),
        cmocka_unit_test(nvidia),
        cmocka_unit_test(no_loop_no_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
