// SPDX-License-Identifier: MIT OR Apache-2.0
//
// memcpy and memset without floating-point registers, for the small structures that EL2 moves all the time and for what guests
// send each other: 64 or 32 bytes a round where that may be done. With the MMU off no access may be unaligned: both ends must be aligned to 8, or come to be so
// together (the compiler likes to move all but the first byte of a value), else it is a byte a round. They stand in for the
// weak ones of compiler_builtins, which take about five times as many instructions.

.section .text.mem, "ax"

// void *memcpy(void *to, const void *from, size_t len): x0 is kept.
.balign 64
.global memcpy
memcpy:
    orr     x3, x0, x1
    mov     x4, x0
    tst     x3, #7
    b.ne    8f
9:  subs    x2, x2, #64
    b.lo    12f
1:  ldp     x7, x8, [x1, #16]
    ldp     x9, x10, [x1, #32]
    ldp     x11, x12, [x1, #48]
    ldp     x5, x6, [x1], #64
    stp     x7, x8, [x4, #16]
    stp     x9, x10, [x4, #32]
    stp     x11, x12, [x4, #48]
    stp     x5, x6, [x4], #64
    subs    x2, x2, #64
    b.hs    1b
12: tbz     x2, #5, 2f                  // x2 is the rest less 64: its low bits are the rest's
    ldp     x7, x8, [x1, #16]
    ldp     x5, x6, [x1], #32
    stp     x7, x8, [x4, #16]
    stp     x5, x6, [x4], #32
2:  tbz     x2, #4, 3f
    ldp     x5, x6, [x1], #16
    stp     x5, x6, [x4], #16
3:  tbz     x2, #3, 5f
    ldr     x5, [x1], #8
    str     x5, [x4], #8
5:  and     x2, x2, #7
4:  cbz     x2, 7f
6:  ldrb    w5, [x1], #1
    strb    w5, [x4], #1
    subs    x2, x2, #1
    b.ne    6b
7:  ret
8:  cmp     x2, #32
    b.lo    4b
    mrs     x3, CurrentEL
    tbz     x3, #3, 11f                 // EL1: entered by mistake, the MMU off
    mrs     x3, sctlr_el2
    tbnz    x3, #0, 9b
11: eor     x3, x0, x1
    tst     x3, #7
    b.ne    4b                          // never aligned together
10: cbz     x2, 7b
    ldrb    w5, [x1], #1
    strb    w5, [x4], #1
    sub     x2, x2, #1
    tst     x4, #7
    b.ne    10b
    b       9b

// void *memset(void *to, int byte, size_t len): x0 is kept.
.balign 64
.global memset
memset:
    and     x1, x1, #0xff
    mov     x4, x0
    tst     x0, #7
    b.ne    4f
    cbz     x1, 1f
    mov     x3, #0x0101010101010101
    mul     x5, x1, x3
    b       2f
1:  mov     x5, #0
2:  subs    x2, x2, #32
    b.lo    3f
8:  stp     x5, x5, [x4]
    stp     x5, x5, [x4, #16]
    add     x4, x4, #32
    subs    x2, x2, #32
    b.hs    8b
3:  tbz     x2, #4, 5f
    stp     x5, x5, [x4], #16
5:  tbz     x2, #3, 6f
    str     x5, [x4], #8
6:  and     x2, x2, #7
4:  cbz     x2, 7f
9:  strb    w1, [x4], #1
    subs    x2, x2, #1
    b.ne    9b
7:  ret
