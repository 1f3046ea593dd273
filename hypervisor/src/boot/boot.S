// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The first instructions: the Linux arm64 Image header, so that whatever boots Linux boots us, and the way from
// there to Rust. On entry the MMU and data cache are off, x0 holds the device tree's address, and the caches
// hold nothing of ours (Documentation/arch/arm64/booting).

.section .head, "ax"
.global _start
_start:
    b       primary_entry
    .long   0
    .quad   0                           // text_offset: none asked for
    .quad   __image_size                // effective size, zero-initialised data and stack included
    .quad   0xA                         // little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

// Boots the first CPU. Keeps: x20 = device tree, x21 = the exception level we came in at.
primary_entry:
    mov     x20, x0
    mrs     x21, CurrentEL
    ubfx    x21, x21, #2, #2
    msr     daifset, #0xf
    cmp     x21, #2
    b.ne    1f
    ldr     x1, ={HCR_EL2}              // E2H and TGE off before anything depends on them
    msr     hcr_el2, x1
    isb
    ldr     x1, ={SCTLR_EL2}
    msr     sctlr_el2, x1
    isb
1:  adrp    x1, __bss_start
    add     x1, x1, :lo12:__bss_start
    adrp    x2, __bss_end
    add     x2, x2, :lo12:__bss_end
2:  stp     xzr, xzr, [x1], #64         // both ends are multiples of 64
    stp     xzr, xzr, [x1, #-48]
    stp     xzr, xzr, [x1, #-32]
    stp     xzr, xzr, [x1, #-16]
    cmp     x1, x2
    b.lo    2b
    adrp    x2, __boot_stack_top
    add     x2, x2, :lo12:__boot_stack_top
    mov     sp, x2

    // Relocate. A static PIE has relative relocations only, and they come packed (ELF gABI, SHT_RELR): an even word is the
    // place of one, an odd word says by its bits 1 to 63 which of the 63 places behind the last are others.
    adrp    x19, __image_start
    add     x19, x19, :lo12:__image_start
    adrp    x1, __relr_start
    add     x1, x1, :lo12:__relr_start
    adrp    x2, __relr_end
    add     x2, x2, :lo12:__relr_end
3:  cmp     x1, x2
    b.hs    4f
    ldr     x3, [x1], #8
    tbnz    x3, #0, 7f
    add     x4, x3, x19
    ldr     x5, [x4]
    add     x5, x5, x19
    str     x5, [x4], #8
    b       3b
7:  mov     x6, x4
8:  lsr     x3, x3, #1
    cbz     x3, 9f
    tbz     x3, #0, 10f
    ldr     x5, [x6]
    add     x5, x5, x19
    str     x5, [x6]
10: add     x6, x6, #8
    b       8b
9:  add     x4, x4, #63 * 8
    b       3b

4:  cmp     x21, #2
    b.ne    5f
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el2, x1
    isb
5:  mov     x0, x20
    mov     x1, x21
    mov     x2, x19
    bl      {primary}
6:  wfi
    b       6b

// A further CPU, started by PSCI CPU_ON with x0 = its SecondaryStart, MMU and caches off.
.global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    ldr     x1, ={HCR_EL2}
    msr     hcr_el2, x1
    isb
    ldp     x1, x2, [x0, #0]            // MAIR, TCR
    ldp     x3, x4, [x0, #16]           // TTBR0, SCTLR
    ldp     x5, x6, [x0, #32]           // stack top, argument
    msr     mair_el2, x1
    msr     tcr_el2, x2
    msr     ttbr0_el2, x3
    adrp    x7, vectors
    add     x7, x7, :lo12:vectors
    msr     vbar_el2, x7
    tlbi    alle2
    dsb     nsh
    isb
    msr     sctlr_el2, x4
    isb
    mov     sp, x5
    mov     x0, x6
    bl      {secondary}
7:  wfi
    b       7b
