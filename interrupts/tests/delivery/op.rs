// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can happen to a VM's interrupts: devices, guests and the hypervisor's scheduling.

use proptest::prelude::*;
use vambrace_interrupts::SgiRegister;

/// Something that happens. vCPUs and interrupts are taken modulo how many there are.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Line { cpu: usize, irq: u32, high: bool },
    Pulse { cpu: usize, irq: u32 },
    Timer { cpu: usize },
    Sgi { from: usize, intid: u32, register: SgiRegister, list: Option<u16> },
    Write { by: usize, cpu: usize, irq: u32, what: Field, exact: bool },
    DistributorGroups { by: usize, groups: u32 },
    Sleep { cpu: usize, asleep: bool },
    Acknowledge { cpu: usize },
    End { cpu: usize },
    Deactivate { cpu: usize, which: usize },
    CpuInterface { cpu: usize, mask: u8, groups: u32 },
    BinaryPoints { cpu: usize, points: [u32; 2] },
    Split { cpu: usize, split: bool },
    Exit { cpu: usize },
    Leave { cpu: usize },
    Enter { cpu: usize },
    ReadState { by: usize, cpu: usize },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Enabled(bool),
    Group1(bool),
    Priority(u8),
    Edge(bool),
    Pending(bool),
    Active(bool),
    Route(usize),
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        3 => any::<bool>().prop_map(Field::Enabled),
        1 => any::<bool>().prop_map(Field::Group1),
        2 => any::<u8>().prop_map(Field::Priority),
        1 => any::<bool>().prop_map(Field::Edge),
        4 => any::<bool>().prop_map(Field::Pending),
        2 => any::<bool>().prop_map(Field::Active),
        3 => (0_usize..8).prop_map(Field::Route),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let cpu = || 0_usize..3;
    let irq = || 0_u32..12;
    let register = prop::sample::select(vec![
        SgiRegister::Sgi1r,
        SgiRegister::Sgi1r,
        SgiRegister::Sgi0r,
        SgiRegister::Asgi1r,
    ]);
    prop_oneof![
        10 => (cpu(), irq(), any::<bool>()).prop_map(|(cpu, irq, high)| Op::Line { cpu, irq, high }),
        6 => (cpu(), irq()).prop_map(|(cpu, irq)| Op::Pulse { cpu, irq }),
        4 => cpu().prop_map(|cpu| Op::Timer { cpu }),
        6 => (cpu(), 0_u32..3, register, prop::option::of(any::<u16>()))
            .prop_map(|(from, intid, register, list)| Op::Sgi { from, intid, register, list }),
        8 => (cpu(), 0_u32..3, 0_usize..3).prop_map(|(from, intid, to)| {
            Op::Sgi { from, intid, register: SgiRegister::Sgi1r, list: Some(1 << to) }
        }),
        14 => (cpu(), cpu(), irq(), field(), any::<bool>())
            .prop_map(|(by, cpu, irq, what, exact)| Op::Write { by, cpu, irq, what, exact }),
        1 => (cpu(), 0_u32..4).prop_map(|(by, groups)| Op::DistributorGroups { by, groups }),
        1 => (cpu(), any::<bool>()).prop_map(|(cpu, asleep)| Op::Sleep { cpu, asleep }),
        30 => cpu().prop_map(|cpu| Op::Acknowledge { cpu }),
        18 => cpu().prop_map(|cpu| Op::End { cpu }),
        8 => (cpu(), 0_usize..8).prop_map(|(cpu, which)| Op::Deactivate { cpu, which }),
        3 => (cpu(), prop_oneof![Just(0xFF_u8), any::<u8>()], prop_oneof![Just(3_u32), 0_u32..4])
            .prop_map(|(cpu, mask, groups)| Op::CpuInterface { cpu, mask, groups }),
        1 => (cpu(), 0_u32..8, 0_u32..8).prop_map(|(cpu, a, b)| Op::BinaryPoints { cpu, points: [a, b] }),
        2 => (cpu(), any::<bool>()).prop_map(|(cpu, split)| Op::Split { cpu, split }),
        3 => cpu().prop_map(|cpu| Op::Exit { cpu }),
        2 => cpu().prop_map(|cpu| Op::Leave { cpu }),
        3 => cpu().prop_map(|cpu| Op::Enter { cpu }),
        3 => (cpu(), cpu()).prop_map(|(by, cpu)| Op::ReadState { by, cpu }),
    ]
}
