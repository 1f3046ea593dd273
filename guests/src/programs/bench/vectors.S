// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Vectors that take an IRQ as fast as can be: x9 is the counter at the first instruction, x10 to x15 are lost. The virtual
// timer is turned off, since it would go on asserting. Anything else goes to the usual vectors.

.macro usual number
    .balign 128
    b       vectors + \number * 128
.endm

.section .text.bench, "ax"
.balign 2048
.global bench_vectors
bench_vectors:
    usual   0
    usual   1
    usual   2
    usual   3
    usual   4
    .balign 128
    mrs     x9, cntvct_el0
    mrs     x10, icc_iar1_el1
    msr     cntv_ctl_el0, xzr
    mrs     x11, cntvct_el0
    msr     icc_eoir1_el1, x10
    isb
    mrs     x12, cntvct_el0
    sub     x12, x12, x11
    sub     x12, x12, #2                // the ISB and the second read
    adrp    x13, bench_end_cost
    str     x12, [x13, :lo12:bench_end_cost]
    eret
    usual   6
    usual   7
    usual   8
    usual   9
    usual   10
    usual   11
    usual   12
    usual   13
    usual   14
    usual   15

.section .bss.bench, "aw", @nobits
.balign 8
.global bench_end_cost
bench_end_cost:
    .quad   0
