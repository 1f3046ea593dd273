// SPDX-License-Identifier: MIT OR Apache-2.0
//
// EL2's vectors, and the way to EL1 and back. TPIDR_EL2 = 1 says that an instruction at EL2 may fault; it then holds
// ESR_EL2 with bit 63 set, and execution goes on behind the instruction.

.macro unexpected index
    .balign 128
    mov     x0, #\index
    b       unexpected_at_el2
.endm

.macro from_below
    .balign 128
    b       back_at_el2
.endm

.text
.balign 2048
conformance_vectors:
    .set i, 0
    .rept 4
    unexpected i
    .set i, i + 1
    .endr
    .balign 128
    stp     x0, x1, [sp, #-16]!
    mrs     x0, tpidr_el2
    cbz     x0, 1f
    mrs     x0, esr_el2
    orr     x0, x0, #(1 << 63)
    msr     tpidr_el2, x0
    mrs     x0, elr_el2
    add     x0, x0, #4
    msr     elr_el2, x0
    ldp     x0, x1, [sp], #16
    eret
1:  mov     x0, #4
    b       unexpected_at_el2
    .set i, 5
    .rept 3
    unexpected i
    .set i, i + 1
    .endr
    .rept 8
    from_below
    .endr
    .balign 128

unexpected_at_el2:
    mrs     x1, esr_el2
    mrs     x2, far_el2
    mrs     x3, elr_el2
    bl      {unexpected}
2:  wfi
    b       2b

// x0 = where to start, x1 = its PSTATE, x2, x3 = its x0 and x1. Returns its x0.
conformance_enter:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    msr     elr_el2, x0
    msr     spsr_el2, x1
    mov     x0, x2
    mov     x1, x3
    eret

back_at_el2:
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret
