// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The first instructions: the Linux arm64 Image header, the MMU with an identity map, and the way to Rust. On
// entry the MMU and data cache are off and x0 holds the device tree's address (Documentation/arch/arm64/booting).
// Nothing is read from memory before the MMU is on, and what is written goes around the cache, so that no stale
// line can hide it.

.section .head, "ax"
.global _start
_start:
    b       primary_entry
    .long   0
    .quad   0                           // text_offset: none asked for
    .quad   __image_size                // effective size, zero-initialised data and stacks included
    .quad   0xA                         // little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

primary_entry:
    mrs     x21, cntvct_el0
    msr     daifset, #0xf
    mov     x20, x0

    adrp    x1, __tables
    add     x3, x1, #4096
    mov     x2, x1
1:  dc      ivac, x2
    add     x2, x2, #16
    cmp     x2, x3
    b.lo    1b
    dsb     sy
    // One level-1 table, 512 entries of 1 GiB: devices, but for the ones with this program and the device tree.
    ldr     x5, ={DEVICE}
    mov     x4, #0
2:  orr     x6, x5, x4, lsl #30
    str     x6, [x1, x4, lsl #3]
    add     x4, x4, #1
    cmp     x4, #512
    b.lo    2b
    ldr     x5, ={NORMAL}
    adr     x7, _start
    lsr     x7, x7, #30
    orr     x6, x5, x7, lsl #30
    str     x6, [x1, x7, lsl #3]
    lsr     x7, x20, #30
    orr     x6, x5, x7, lsl #30
    str     x6, [x1, x7, lsl #3]
    dmb     sy
    mov     x2, x1
3:  dc      ivac, x2
    add     x2, x2, #16
    cmp     x2, x3
    b.lo    3b
    dsb     sy
    bl      enable_mmu

    adrp    x1, __bss_start
    add     x1, x1, :lo12:__bss_start
    adrp    x2, __bss_end
    add     x2, x2, :lo12:__bss_end
4:  cmp     x1, x2
    b.hs    5f
    stp     xzr, xzr, [x1], #16
    b       4b

    // Relocate: R_AARCH64_RELATIVE only, which is all that a static PIE has.
5:  adrp    x19, __image_start
    add     x19, x19, :lo12:__image_start
    adrp    x1, __rela_start
    add     x1, x1, :lo12:__rela_start
    adrp    x2, __rela_end
    add     x2, x2, :lo12:__rela_end
6:  cmp     x1, x2
    b.hs    7f
    ldp     x3, x4, [x1], #16           // offset, type
    ldr     x5, [x1], #8                // addend
    cmp     x4, #{R_AARCH64_RELATIVE}
    b.ne    6b
    add     x5, x5, x19
    str     x5, [x3, x19]
    b       6b

7:  mov     x0, #0
    bl      prepare_cpu
    mov     x0, x20
    mov     x1, x21
    bl      {primary}
8:  wfi
    b       8b

// A further CPU, started by PSCI CPU_ON with x0 = its index.
.global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    mov     x20, x0
    adrp    x1, __tables
    bl      enable_mmu
    mov     x0, x20
    bl      prepare_cpu
    mov     x0, x20
    bl      {secondary}
    b       8b

// x0 = the CPU's index: gives it its stack and its vectors.
prepare_cpu:
    msr     tpidr_el1, x0
    adrp    x1, __stacks
    add     x1, x1, :lo12:__stacks
    add     x0, x0, #1
    add     x1, x1, x0, lsl #14         // 16 KiB each
    mov     sp, x1
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el1, x1
    isb
    ret

// x1 = the table. At EL2 the map is EL2's own: EL1's registers are then the program's to play with.
enable_mmu:
    mrs     x2, CurrentEL
    cmp     x2, #(2 << 2)
    b.eq    enable_mmu_of_el2
    ldr     x2, ={MAIR}
    msr     mair_el1, x2
    ldr     x2, ={TCR}
    mrs     x3, id_aa64mmfr0_el1
    and     x3, x3, #0xf
    mov     x4, #5                      // 48 bits: what 4 KiB pages reach without FEAT_LPA2
    cmp     x3, x4
    csel    x3, x3, x4, lo
    orr     x2, x2, x3, lsl #32
    msr     tcr_el1, x2
    msr     ttbr0_el1, x1
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x2, ={SCTLR}
    msr     sctlr_el1, x2
    isb
    ret

// PS stays 32 bits: all that a program at EL2 needs lies below 4 GiB.
enable_mmu_of_el2:
    ldr     x2, ={MAIR}
    msr     mair_el2, x2
    ldr     x2, ={TCR_EL2}
    msr     tcr_el2, x2
    msr     ttbr0_el2, x1
    isb
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    ldr     x2, ={SCTLR_EL2}
    msr     sctlr_el2, x2
    isb
    ret

.ltorg

// All exceptions are taken on the one stack of the CPU, by the one handler, with a full frame.
.macro vector index
    .balign 128
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mov     x1, #\index
    b       exception_common
.endm

.text
.balign 2048
.global vectors
vectors:
    .set i, 0
    .rept 16
    vector  i
    .set i, i + 1
    .endr

exception_common:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x30, x2, [sp, #240]
    str     x3, [sp, #256]
    mov     x0, sp
    bl      {exception}
    ldp     x30, x2, [sp, #240]
    ldr     x3, [sp, #256]
    msr     elr_el1, x2
    msr     spsr_el1, x3
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldp     x0, x1, [sp]
    add     sp, sp, #272
    eret
