// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads and stores where there is no RAM.

use vambrace_cpu::syndrome::{FaultStatus, InstructionLength, Syndrome, class};
use vambrace_machine::devices::Device;
use vambrace_machine::{Resume, layout};
use vambrace_wire::bundle::DeviceSet;

use crate::access::{PERMISSION, TRANSLATION, iss, moves};
use crate::bench::{Bench, CODE, EL1H};

const GICD: u64 = layout::GICD.start().0;
const GICR: u64 = layout::GICR.0;
const UART: u64 = Device::Pl011.base().0;
const RTC: u64 = Device::Pl031.base().0;
/// PL011: integer and fractional baud rate divisors, 16 and 6 bits.
const IBRD: u64 = UART + 0x24;
const FBRD: u64 = UART + 0x28;
/// GICD_IPRIORITYR of SPI 32.
const PRIORITY: u64 = GICD + 0x420;
const SP: u32 = 31;

/// LDP or STP of W registers, in one of three ways to address.
fn pair(load: bool, mode: Mode, offset: i32, rt: u32, rt2: u32, rn: u32) -> u32 {
    let mode = match mode {
        Mode::Post => 0b01,
        Mode::Offset => 0b10,
        Mode::Pre => 0b11,
    };
    let imm7 = (offset / 4) as u32 & 0x7F;
    0b101 << 27 | mode << 23 | u32::from(load) << 22 | imm7 << 15 | rt2 << 10 | rn << 5 | rt
}

#[derive(Clone, Copy)]
enum Mode {
    Post,
    Offset,
    Pre,
}

#[test]
fn a_narrow_signed_load_fills_the_register_as_the_instruction_says() {
    let mut bench = Bench::new(1);
    bench.store(1, PRIORITY, 0xF8);
    bench.write(IBRD, 0x8001);
    bench.write(GICD + 0x104, u32::MAX.into());
    let (sign, wide) = (iss::SSE, iss::SF);
    for (bytes, extra, ipa, expected) in [
        // LDRB, LDRSB Wt, LDRSB Xt.
        (1, 0, PRIORITY, 0xF8),
        (1, sign, PRIORITY, 0xFFFF_FFF8),
        (1, sign | wide, PRIORITY, 0xFFFF_FFFF_FFFF_FFF8),
        // LDRH, LDRSH Wt, LDRSH Xt.
        (2, 0, IBRD, 0x8001),
        (2, sign, IBRD, 0xFFFF_8001),
        (2, sign | wide, IBRD, 0xFFFF_FFFF_FFFF_8001),
        // LDR Wt, LDRSW.
        (4, 0, GICD + 0x104, 0xFFFF_FFFF),
        (4, sign | wide, GICD + 0x104, 0xFFFF_FFFF_FFFF_FFFF),
    ] {
        assert_eq!(bench.load(bytes, extra, ipa), expected, "{bytes} bytes, {extra:#x}");
    }
}

#[test]
fn loads_to_xzr_are_dropped() {
    let mut bench = Bench::new(1);
    let before = bench.frame().clone();
    assert_eq!(bench.data_abort(moves(4, 31) | TRANSLATION, GICD + 4), Resume::Guest);
    assert_eq!((bench.frame().x, bench.frame().pc), (before.x, before.pc + 4));
}

#[test]
fn stores_from_xzr_store_zero() {
    let mut bench = Bench::new(1);
    bench.write(IBRD, 0x1234);
    assert_eq!(bench.data_abort(moves(4, 31) | iss::WNR | TRANSLATION, IBRD), Resume::Guest);
    assert_eq!(bench.read(IBRD), 0);
}

#[test]
fn a_store_carries_only_its_width() {
    let mut bench = Bench::new(1);
    bench.store(1, PRIORITY, 0xFFFF_FFFF_FFFF_FFA8);
    assert_eq!(bench.read(PRIORITY), 0xA8);
}

#[test]
fn gic_offsets_out_of_range_read_zero() {
    let mut bench = Bench::new(2);
    // Reserved, SPIs that do not exist, routes of such SPIs, a GICv2's SGI register.
    for offset in
        [0x0C, 0x40, 0x7C, 0x180 + 0x1C, 0x500, 0xD00, 0xF00, 0x6000 + 8 * 31, 0x7FE0, 0x8000, 0xC000, 0xFFCC]
    {
        assert_eq!(bench.read(GICD + offset), 0, "GICD {offset:#x}");
    }
    for offset in [0x10, 0x40, 0x70, 0x7F00, 0xFFCC, 0x1_0000, 0x1_0084, 0x1_0500, 0x1_0C08, 0x1_FFFC] {
        assert_eq!(bench.read(GICR + offset), 0, "GICR {offset:#x}");
    }
}

#[test]
fn a_doorbell_notifies_after_the_exit_and_asserts_its_interrupt_until_it_is_heard() {
    use vambrace_io::doorbell::registers::{CAUSE, NOTIFY, NUMBER};
    let mut bench = Bench::new(1);
    let at = layout::DOORBELLS.place(0).start().0;
    assert_eq!(bench.read(at + NUMBER), 1);
    bench.write(at + NOTIFY, 0b1101);
    // There are three members.
    assert_eq!(bench.host.doorbell_masks[..2], [0b101, 0]);
    let _ = bench.vm.lock().notified(0, 2);
    let pending = GICD + 0x200 + 4 * u64::from((layout::SPI_BASE + layout::DOORBELLS.spi(0)) / 32);
    let bit = 1 << ((layout::SPI_BASE + layout::DOORBELLS.spi(0)) % 32);
    assert_eq!((bench.read(at + CAUSE), bench.read(pending) & bit), (0b100, bit));
    bench.write(at + CAUSE, 0b100);
    assert_eq!((bench.read(at + CAUSE), bench.read(pending) & bit), (0, 0));
}

#[test]
fn every_offset_of_every_device_answers_every_width() {
    let mut bench = Bench::new(2);
    let devices = [
        (GICD, layout::GICD.len()),
        (GICR, 2 * layout::GICR_STRIDE),
        (UART, Device::Pl011.range().len()),
        (RTC, Device::Pl031.range().len()),
        (layout::DOORBELLS.place(0).start().0, layout::DOORBELLS.place(0).len()),
    ];
    for (base, size) in devices {
        for offset in (0..size).step_by(2).chain(1..9) {
            for bytes in [1, 2, 4, 8] {
                if offset + u64::from(bytes) > size {
                    continue;
                }
                bench.store(bytes, base + offset, 0xFFFF_FFFF_FFFF_FFFF);
                let value = bench.load(bytes, 0, base + offset);
                assert!(bytes == 8 || value >> (8 * bytes) == 0);
            }
        }
    }
    assert!(bench.host.guest_errors.is_empty());
    assert!(bench.host.ram.is_confined());
}

#[test]
fn a_doubleword_is_two_registers_of_a_32_bit_device() {
    let mut bench = Bench::new(1);
    let line_control = UART + 0x2C;
    bench.store(8, FBRD, 0x0000_0070_0000_0015);
    assert_eq!((bench.read(FBRD), bench.read(line_control)), (0x15, 0x70));
    assert_eq!(bench.load(8, 0, FBRD), 0x0000_0070_0000_0015);
    // GICD_IROUTER is one register of 64 bits.
    bench.store(8, GICD + 0x6000 + 8 * 40, 0x80_0001_0203);
    assert_eq!(bench.load(8, 0, GICD + 0x6000 + 8 * 40), 0x80_0001_0203);
}

#[test]
fn unaligned_accesses_read_zero_and_write_nothing() {
    let mut bench = Bench::new(1);
    bench.write(IBRD, 0x1234);
    for ipa in [IBRD - 2, IBRD + 1, IBRD + 2, IBRD + 3] {
        bench.store(4, ipa, u64::MAX);
        assert_eq!(bench.load(4, 0, ipa), 0);
    }
    assert_eq!(bench.read(IBRD), 0x1234);
    bench.store(4, PRIORITY + 2, u64::MAX);
    assert_eq!(bench.load(8, 0, PRIORITY + 4), 0);
    assert_eq!(bench.read(PRIORITY), 0);
}

/// Whether an access is answered by a synchronous external abort (not on a walk), with WnR as it was.
fn is_refused(bench: &mut Bench, iss: u32, ipa: u64) -> bool {
    let before = bench.frame().clone();
    assert_eq!(bench.data_abort(iss, ipa), Resume::Guest);
    let syndrome = bench.taken_syndrome();
    let is_abort = syndrome
        .is_some_and(|syndrome| matches!(syndrome.class(), class::DATA_ABORT_SAME | class::DATA_ABORT_LOWER));
    let says = syndrome.map(|syndrome| (syndrome.fault_status(), syndrome.iss() & iss::WNR));
    let refused = is_abort && says == Some((FaultStatus::External, iss & iss::WNR)) && bench.el1().far == ipa;
    assert!(bench.took(class::DATA_ABORT_SAME) || !refused || before.pstate & 0xF == 0);
    assert_eq!(*bench.frame(), before, "back at the instruction, nothing changed");
    refused
}

#[test]
fn an_access_to_nothing_is_an_external_abort() {
    let mut bench = Bench::new(2);
    let end_of_redistributors = GICR + 2 * layout::GICR_STRIDE;
    for ipa in
        [0, 0x1000, 0x0808_0000, GICD + layout::GICD.len(), end_of_redistributors, UART + 0x1000, RTC - 4]
    {
        assert!(is_refused(&mut bench, moves(4, 3) | TRANSLATION, ipa), "read of {ipa:#x}");
        assert!(is_refused(&mut bench, moves(4, 3) | iss::WNR | TRANSLATION, ipa), "write of {ipa:#x}");
    }
    for ipa in [0x3FFF_FFFC, layout::RAM.0 + (1 << 30), layout::GICR_HIGH.0, 0xFF_FFFF_FFFF_FFF8] {
        assert!(is_refused(&mut bench, moves(4, 3) | TRANSLATION, ipa), "read of {ipa:#x}");
    }
    let lines: Vec<_> = bench.host.guest_errors.lines().collect();
    assert_eq!(lines.len(), 18, "each is told, a line each");
    assert_eq!(lines[0], "vCPU 0: read of 0x0, where it has nothing (PC 0x40001000)");
    assert_eq!(lines[1], "vCPU 0: write of 0x0, where it has nothing (PC 0x40001000)");
}

#[test]
fn an_access_over_the_end_of_a_device_finds_nothing() {
    let mut bench = Bench::new(1);
    assert!(is_refused(&mut bench, moves(8, 3) | TRANSLATION, UART + 0xFFC));
    assert!(is_refused(&mut bench, moves(4, 3) | TRANSLATION, UART + 0xFFD));
    assert!(is_refused(&mut bench, moves(8, 3) | TRANSLATION, GICR + layout::GICR_STRIDE - 4));
    // Between two redistributors there is no gap, but the register would be half here and half there.
    let mut two = Bench::new(2);
    two.store(8, GICR + layout::GICR_STRIDE - 4, u64::MAX);
    assert_eq!(two.load(8, 0, GICR + layout::GICR_STRIDE - 4), 0);
}

#[test]
fn stage_2_faults_other_than_missing_translations_are_external_aborts() {
    let mut bench = Bench::with_flash();
    for status in (0..64).filter(|status| !matches!(status, 0x04..=0x07 | 0x2A | 0x2B)) {
        assert!(is_refused(&mut bench, moves(4, 3) | status, UART), "status {status:#x}");
    }
    for status in (0..64).filter(|status| !matches!(status, 0x04..=0x07 | 0x0C..=0x0F | 0x2A | 0x2B)) {
        assert!(is_refused(&mut bench, moves(4, 3) | iss::WNR | status, 0x1000), "status {status:#x}");
    }
}

#[test]
fn a_pair_is_decoded_and_carried_out() {
    let mut bench = Bench::new(1);
    bench.frame().x[1] = 0xAAAA_0000_1234;
    bench.frame().x[2] = 0xBBBB_0000_0015;
    bench.frame().x[10] = IBRD - 8;
    let pc = bench.frame().pc;
    // STP W1, W2, [X10, #8]!
    let stp = pair(false, Mode::Pre, 8, 1, 2, 10);
    assert_eq!(bench.undescribed(stp, iss::WNR, IBRD, IBRD), Resume::Guest);
    assert_eq!((bench.frame().pc, bench.frame().x[10]), (pc + 4, IBRD));
    assert_eq!((bench.read(IBRD), bench.read(FBRD)), (0x1234, 0x15));
    // LDP W3, W4, [X10], #-8
    let ldp = pair(true, Mode::Post, -8, 3, 4, 10);
    assert_eq!(bench.undescribed(ldp, 0, IBRD, IBRD), Resume::Guest);
    assert_eq!(bench.frame().x[3..5], [0x1234, 0x15]);
    assert_eq!(bench.frame().x[10], IBRD - 8);
    // LDP WZR, W10, [X10, #8]: the base is loaded.
    let ldp = pair(true, Mode::Offset, 8, 31, 10, 10);
    assert_eq!(bench.undescribed(ldp, 0, IBRD, IBRD), Resume::Guest);
    assert_eq!(bench.frame().x[10], 0x15);
}

#[test]
fn the_stack_pointer_is_the_one_in_use() {
    for (pstate, is_el1) in [(EL1H, true), (0x3C4, false), (0, false)] {
        let mut bench = Bench::new(1);
        bench.frame().pstate = pstate;
        (bench.el1().sp_el1, bench.el1().sp_el0) = if is_el1 { (IBRD, 1) } else { (1, IBRD) };
        bench.frame().x[1] = 7;
        // STP W1, WZR, [SP], #16
        let stp = pair(false, Mode::Post, 16, 1, 31, SP);
        assert_eq!(bench.undescribed(stp, iss::WNR, IBRD, IBRD), Resume::Guest);
        let (sp_el1, sp_el0) = (bench.el1().sp_el1, bench.el1().sp_el0);
        assert_eq!((sp_el1, sp_el0), if is_el1 { (IBRD + 16, 1) } else { (1, IBRD + 16) });
        assert_eq!(bench.read(IBRD), 7);
    }
}

#[test]
fn half_a_pair_is_not_carried_out() {
    let mut bench = Bench::new(1);
    bench.frame().x[1] = 1;
    // STP W1, W1, [X10, #0]!, of which the second is past the UART's end.
    let at = UART + 0xFFC;
    bench.frame().x[10] = at;
    bench.write(IBRD, 5);
    let before = bench.frame().clone();
    assert_eq!(bench.undescribed(pair(false, Mode::Pre, 0, 1, 1, 10), iss::WNR, at, at), Resume::Guest);
    assert!(bench.took(class::DATA_ABORT_SAME));
    assert_eq!(*bench.frame(), before);
    assert_eq!(bench.host.guest_errors.lines().count(), 1);
    // LDP W3, W4, [X10]: W3 could be loaded, and is not.
    assert_eq!(bench.undescribed(pair(true, Mode::Offset, 0, 3, 4, 10), 0, at, at), Resume::Guest);
    assert!(bench.took(class::DATA_ABORT_SAME));
    assert_eq!(*bench.frame(), before);
}

#[test]
fn an_instruction_that_does_not_make_the_address_is_not_believed() {
    let mut bench = Bench::new(1);
    bench.frame().x[10] = IBRD;
    let before = bench.frame().clone();
    let ldp = pair(true, Mode::Offset, 8, 3, 4, 10);
    assert_eq!(bench.undescribed(ldp, 0, IBRD, IBRD), Resume::Guest);
    assert!(bench.took(class::DATA_ABORT_SAME));
    assert_eq!(*bench.frame(), before);
}

#[test]
fn instructions_that_no_device_understands_are_external_aborts() {
    // LDXR, LDADD, LDR Q0, DC ZVA, NOP, an undefined word; and a PC where no code can be read.
    for word in [0x885F_7D43, 0xB820_0143, 0x3DC0_0140, 0xD50B_7420, 0xD503_201F, 0] {
        let mut bench = Bench::new(1);
        bench.frame().x = [UART; 31];
        assert_eq!(bench.undescribed(word, 0, UART, UART), Resume::Guest);
        assert!(bench.took(class::DATA_ABORT_SAME), "{word:#x}");
        assert_eq!(bench.host.guest_errors.lines().count(), 1);
    }
    let mut bench = Bench::new(1);
    bench.frame().pc = 0x1000;
    assert_eq!(bench.data_abort(TRANSLATION, UART), Resume::Guest);
    assert!(bench.took(class::DATA_ABORT_SAME));
}

#[test]
fn a_big_endian_guest_sees_its_bytes_turned() {
    let mut bench = Bench::new(1);
    bench.write(IBRD, 0x0180);
    bench.el1().sctlr |= 1 << 25;
    assert_eq!(bench.load(4, 0, IBRD), 0x8001_0000);
    assert_eq!(bench.load(2, 0, IBRD), 0x8001);
    assert_eq!(bench.load(2, iss::SSE, IBRD), 0xFFFF_8001);
    bench.store(4, IBRD, 0x3412_0000);
    bench.frame().x[10] = IBRD;
    // LDP W3, W4, [X10]
    assert_eq!(bench.undescribed(pair(true, Mode::Offset, 0, 3, 4, 10), 0, IBRD, IBRD), Resume::Guest);
    assert_eq!(bench.frame().x[3], 0x3412_0000);
    bench.el1().sctlr &= !(1 << 25);
    assert_eq!(bench.read(IBRD), 0x1234);
    // Of EL0 another bit says it.
    bench.frame().pstate = 0;
    bench.el1().sctlr |= 1 << 24;
    assert_eq!(bench.load(2, 0, IBRD), 0x3412);
}

#[test]
fn el0_reaches_devices_that_its_kernel_maps() {
    let mut bench = Bench::new(1);
    bench.frame().pstate = 0;
    bench.write(IBRD, 3);
    assert_eq!(bench.read(IBRD), 3);
    assert!(is_refused(&mut bench, moves(4, 3) | TRANSLATION, 0x1000));
    // AArch32: a T32 instruction of two bytes; one without a syndrome is not decoded.
    bench.frame().pstate = 0x30;
    let pc = bench.frame().pc;
    let ldrh = Syndrome::new(class::DATA_ABORT_LOWER, InstructionLength::Two, moves(2, 5) | TRANSLATION);
    assert_eq!(bench.exit_of(0, ldrh.0, IBRD, IBRD >> 12 << 4), Resume::Guest);
    assert_eq!((bench.frame().x[5], bench.frame().pc), (3, pc + 2));
    assert_eq!(bench.data_abort(TRANSLATION, IBRD), Resume::Guest);
    assert!(bench.took(class::DATA_ABORT_LOWER));
}

#[test]
fn cache_maintenance_of_nothing_does_nothing() {
    let mut bench = Bench::with_flash();
    let pc = bench.frame().pc;
    for (status, ipa) in [(TRANSLATION, 0x3000_0000), (TRANSLATION, UART), (PERMISSION, 0x1000)] {
        assert_eq!(bench.data_abort(iss::CM | iss::WNR | status, ipa), Resume::Guest);
    }
    assert_eq!(bench.frame().pc, pc + 12);
}

#[test]
fn stores_to_flash_are_ignored() {
    let mut bench = Bench::with_flash();
    bench.store(4, UART + 0x24, 7);
    let pc = bench.frame().pc;
    assert_eq!(bench.data_abort(moves(4, 1) | iss::WNR | PERMISSION, 0x1000), Resume::Guest);
    assert_eq!(bench.frame().pc, pc + 4);
    // STP W1, W2, [X10], #8: the base moves on all the same.
    bench.frame().x[10] = 0x2000;
    let stp = pair(false, Mode::Post, 8, 1, 2, 10);
    let before = bench.frame().pc;
    bench.host.ram.poke(before, &stp.to_le_bytes());
    assert_eq!(bench.data_abort(iss::WNR | PERMISSION, 0x2000), Resume::Guest);
    assert_eq!((bench.frame().pc, bench.frame().x[10]), (before + 4, 0x2008));
    // From the flash's last word into the distributor: the one is ignored, the other is not.
    bench.frame().x[10] = GICD - 4;
    bench.frame().x[2] = 0b10;
    let before = bench.frame().pc;
    bench.host.ram.poke(before, &pair(false, Mode::Offset, 0, 1, 2, 10).to_le_bytes());
    assert_eq!(bench.data_abort(iss::WNR | PERMISSION, GICD - 4), Resume::Guest);
    assert_eq!(bench.read(GICD) & 0b11, 0b10);
    assert!(bench.host.guest_errors.is_empty());
}

#[test]
fn only_stores_to_flash_are_ignored() {
    let mut bench = Bench::with_flash();
    // Loads from it, and stores elsewhere, that stage 2 does not permit.
    assert!(is_refused(&mut bench, moves(4, 3) | PERMISSION, 0x1000));
    assert!(is_refused(&mut bench, moves(4, 3) | iss::WNR | PERMISSION, CODE));
    assert!(is_refused(&mut bench, moves(4, 3) | iss::WNR | PERMISSION, UART));
    // And a VM without flash has nothing there.
    let mut without = Bench::new(1);
    assert!(is_refused(&mut without, moves(4, 3) | iss::WNR | PERMISSION, 0x1000));
    assert!(is_refused(&mut without, moves(4, 3) | iss::WNR | TRANSLATION, 0x1000));
}

#[test]
fn devices_that_a_vm_does_not_have_are_not_there() {
    let mut config = crate::bench::config(1, false);
    config.devices = DeviceSet::EMPTY;
    let mut bench = Bench::with_config(&config);
    assert!(is_refused(&mut bench, moves(4, 3) | TRANSLATION, UART));
    assert!(is_refused(&mut bench, moves(4, 3) | TRANSLATION, RTC));
}
