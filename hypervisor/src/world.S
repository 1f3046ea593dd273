// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The world switch. `world_enter` is a function that returns when the guest traps: the vectors put the guest's
// registers into its frame, take back what the function's caller needs, and return the cause. All policy is
// Rust's. EL2 is built without floating point, so V0-V31 stay the guest's throughout.

.section .text.world, "ax"

// extern "C" fn world_enter(frame: *mut Frame) -> u64 (Cause)
.balign 64
.global world_enter
world_enter:
    stp     x19, x20, [sp, #-96]!
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    msr     tpidr_el2, x0
    ldp     x1, x2, [x0, #{PC}]         // PC, PSTATE
    msr     elr_el2, x1
    msr     spsr_el2, x2
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret
    dsb     nsh                         // no speculation past the return
    isb

.macro from_guest cause
    .balign 128
    stp     x0, x1, [sp, #-16]!
    mov     x1, #\cause
    b       guest_exit
.endm

.macro from_el2
    .balign 128
    b       el2_fault
.endm

guest_exit:
    mrs     x0, tpidr_el2
    stp     x2, x3, [x0, #16]
    ldp     x2, x3, [sp], #16           // the guest's x0, x1
    stp     x2, x3, [x0]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    str     x30, [x0, #240]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [x0, #{PC}]
    mov     x0, x1
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    ldp     x19, x20, [sp], #96
    ret

// A fault in EL2 itself. The emergency stack, since the usual one may be the culprit.
el2_fault:
    adrp    x0, {emergency_stack}
    add     x0, x0, :lo12:{emergency_stack}
    add     x0, x0, #{EMERGENCY_STACK_SIZE}
    mov     x1, sp
    mov     sp, x0
    mov     x0, x1
    bl      {el2_fault}
8:  wfi
    b       8b

.balign 2048
.global vectors
vectors:
    from_el2                          // current EL with SP_EL0
    from_el2
    from_el2
    from_el2
    from_el2                          // current EL with SP_EL2
    from_el2
    from_el2
    from_el2
    from_guest {SYNCHRONOUS}            // lower EL, AArch64
    from_guest {INTERRUPT}
    from_guest {INTERRUPT}
    from_guest {SERROR}
    from_guest {SYNCHRONOUS}            // lower EL, AArch32
    from_guest {INTERRUPT}
    from_guest {INTERRUPT}
    from_guest {SERROR}
