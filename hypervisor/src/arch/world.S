// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The world switch. `world_enter` is a function that returns when the guest traps: the vectors put the guest's
// registers into its frame, take back what the function's caller needs, and return the cause. All policy is
// Rust's. EL2 is built without floating point, so V0-V31 stay the guest's throughout.
//
// While the guest runs, SP_EL2 is its frame, so that the vectors can save at once, and TPIDR_EL2 is the entry (host
// stack, what the fast path works on); the frame's address is on the host's stack. A trap first goes the fast path: only what a function call may clobber is
// saved, and a Rust function answers what it can. Only if it cannot, the rest follows.

.section .text.world, "ax"

// extern "C" fn world_enter(frame: *mut TrapFrame, entry: *mut Entry) -> u64 (Cause)
.balign 64
.global world_enter
world_enter:
    stp     x19, x20, [sp, #-112]!
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    str     x0, [sp, #96]
    mov     x2, sp
    str     x2, [x1]
    msr     tpidr_el2, x1
    mov     sp, x0
    ldp     x1, x2, [x0, #{PC}]         // PC, PSTATE
    msr     elr_el2, x1
    msr     spsr_el2, x2
    ldr     x19, [sp, #152]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]

// SP is the frame: restores what the fast path clobbers, and goes on in the guest.
resume:
    ldr     x30, [sp, #240]
    ldr     x18, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    eret
    dsb     nsh                         // no speculation past the return
    isb

// Saves what a function call may clobber; x0 becomes the frame, x1 the entry, SP the host's stack.
.macro save_scratch
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    str     x18, [sp, #144]
    str     x30, [sp, #240]
    mov     x0, sp
    mrs     x1, tpidr_el2
    ldr     x2, [x1]
    mov     sp, x2
.endm

// A trap with a fast path: `fast` says 0 when it is served, else why not, or which register is to be reloaded.
.macro from_guest_fast cause, fast
    .balign 128
    save_scratch
    bl      \fast
    ldr     x1, [sp, #96]
    cbnz    x0, 1f
    mov     sp, x1
    b       resume
1:  mov     x2, #\cause
    b       not_simply_served
.endm

.macro from_guest cause
    .balign 128
    save_scratch
    mov     x1, x0
    mov     x2, #\cause
    b       guest_exit
.endm

.macro from_el2
    .balign 128
    b       el2_fault
.endm

// x0: not 0; x1: the frame; x2: the cause. Xn for n from 19 to 30 was written in the frame, and is not yet true.
not_simply_served:
    cmp     x0, #{NOT_SERVED}
    b.eq    guest_exit
    mov     sp, x1
    adr     x1, reload
    sub     x0, x0, #19
    add     x1, x1, x0, lsl #3
    br      x1
reload:
.irp n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
    ldr     x\n, [sp, #8 * \n]
    b       resume
.endr

// The fast path has not served it. x1: the frame; x2: the cause; SP: the host's stack.
guest_exit:
    str     x19, [x1, #152]
    stp     x20, x21, [x1, #160]
    stp     x22, x23, [x1, #176]
    stp     x24, x25, [x1, #192]
    stp     x26, x27, [x1, #208]
    stp     x28, x29, [x1, #224]
    mrs     x3, elr_el2
    mrs     x4, spsr_el2
    stp     x3, x4, [x1, #{PC}]
    mov     x0, x2
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    ldp     x19, x20, [sp], #112
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
    from_guest_fast {SYNCHRONOUS}, {fast_synchronous}    // lower EL, AArch64
    from_guest_fast {INTERRUPT}, {fast_interrupt}
    from_guest_fast {INTERRUPT}, {fast_interrupt}
    from_guest {SERROR}
    from_guest {SYNCHRONOUS}            // lower EL, AArch32
    from_guest_fast {INTERRUPT}, {fast_interrupt}
    from_guest_fast {INTERRUPT}, {fast_interrupt}
    from_guest {SERROR}
