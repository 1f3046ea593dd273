// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual GIC behind a machine with few list registers, against an ideal GIC with room for all.
//!
//! A guest of several vCPUs does random things; after each, what the machine would signal to each vCPU has to be
//! what the ideal GIC would. Where the architecture leaves a choice (equal priorities, 1 of N), any choice will do.
#![forbid(unsafe_code)]

#[cfg(test)]
mod late;
#[cfg(test)]
mod line;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod op;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod system;

use proptest::prelude::*;
use vambrace_ids::VcpuId;
use vambrace_interrupts::Width;

use op::{Field, Op, op};
use system::{Shape, System};

/// The vCPU whose place in the lists of the tests this is.
fn vcpu(cpu: usize) -> VcpuId {
    VcpuId::new(cpu as u16)
}

fn shape() -> impl Strategy<Value = Shape> {
    (1_usize..4, 1_u8..17, prop::sample::select(vec![(5_u8, 5_u8), (7, 6), (8, 7)]), any::<u64>()).prop_map(
        |(cpus, list_registers, (priority_bits, preemption_bits), seed)| Shape {
            cpus,
            list_registers,
            priority_bits,
            preemption_bits,
            seed,
        },
    )
}

/// Few list registers are where it is difficult.
fn narrow_shape() -> impl Strategy<Value = Shape> {
    (shape(), 1_u8..4).prop_map(|(shape, list_registers)| Shape { list_registers, ..shape })
}

fn run(shape: Shape, ops: &[Op]) {
    let mut system = System::new(shape);
    for op in ops {
        system.step(op);
    }
    system.drain();
}

/// An SPI that is over is in the list registers of a vCPU that was put and waits for its CPU. It comes again, for another vCPU.
#[test]
fn an_spi_does_not_wait_for_the_vcpu_that_had_it_last() {
    let shape = Shape {
        cpus: 3,
        list_registers: 2,
        priority_bits: 5,
        preemption_bits: 5,
        seed: 15_777_588_659_467_652_794,
    };
    let spi = |what| Op::Write { by: 0, cpu: 0, irq: 8, what, exact: false };
    let ops = [
        Op::Line { cpu: 0, irq: 0, high: false },
        spi(Field::Pending(true)),
        Op::Acknowledge { cpu: 2 },
        Op::End { cpu: 2 },
        Op::Leave { cpu: 2 },
        spi(Field::Route(3)),
        Op::Pulse { cpu: 0, irq: 8 },
    ];
    run(shape, &ops);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_gic_with_room_for_all(shape in shape(), ops in prop::collection::vec(op(), 0..120)) {
        run(shape, &ops);
    }

    #[test]
    fn behaves_so_with_few_list_registers(shape in narrow_shape(), ops in prop::collection::vec(op(), 60..200)) {
        run(shape, &ops);
    }

    #[test]
    fn nothing_is_lost_when_vcpus_are_kicked_late(
        list_registers in 1_u8..5,
        ops in prop::collection::vec(late::op(), 0..200),
    ) {
        let mut system = late::Late::new(list_registers);
        for op in &ops {
            system.step(op);
        }
        system.drain();
    }

    #[test]
    fn no_interrupt_is_taken_whose_line_has_fallen(
        list_registers in 1_u8..5,
        split: bool,
        sees_timer: bool,
        ops in prop::collection::vec(line::op(), 0..120),
    ) {
        let mut system = line::Lines::new(list_registers, split, sees_timer);
        for op in &ops {
            system.step(op);
        }
        system.drain();
    }

    #[test]
    fn a_damaged_state_does_no_harm(
        shape in narrow_shape(),
        ops in prop::collection::vec(op(), 0..40),
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        accesses in prop::collection::vec((0_u64..0x1000, any::<u64>()), 0..20),
    ) {
        let mut system = System::new(shape);
        for op in &ops {
            system.step(op);
        }
        if let Some(mut vgic) = system.damage(&changes) {
            for (offset, value) in accesses {
                let vcpu = vcpu(value as usize % 4);
                let _ = vgic.write_distributor(offset & !3, Width::Word, value);
                let _ = vgic.write_redistributor(vcpu, 0x1_0000 | offset & !3, Width::Word, value);
                let mut interface = vgic.flush(vcpu).cloned().unwrap_or_default();
                interface.lr[0] ^= value & 3 << 62;
                interface.hcr |= value & 0x1F << 27;
                let _ = vgic.sync(vcpu, &interface);
                let _ = vgic.write_dir(vcpu, value & 0x3FF);
                let _ = vgic.has_deliverable(vcpu);
                let _ = vgic.take_hw_deactivate(vcpu);
            }
            vgic.reset();
        }
    }
}

/// What an interrupt costs that the guest takes at once: nothing more.
#[test]
fn a_guest_that_masks_nothing_never_traps() {
    let mut system = line::Lines::new(4, false, false);
    for which in [0, 1, 2, 1, 0] {
        system.step(&line::Op::Mask(false));
        system.step(&line::Op::Line { which, high: true });
        system.step(&line::Op::Line { which, high: false });
        system.step(&line::Op::End);
    }
    assert_eq!(system.traps, 0);
    system.drain();
}
