// SPDX-License-Identifier: MIT OR Apache-2.0
//! Anything that can happen to a VM, at random.

use proptest::prelude::*;
use proptest::sample::select;
use vambrace_cpu::power::Power;
use vambrace_cpu::syndrome::class;
use vambrace_cpu::sysreg::SysReg;
use vambrace_interrupts::{Intid, LineLevel, ListRegister, State, Trigger};
use vambrace_machine::devices::Device;
use vambrace_machine::host::Clock;
use vambrace_machine::{Resume, layout};
use vambrace_memory::{GuestMemory, Ipa};

use crate::bench::{Bench, CODE, EL1H, RAM_SIZE, VECTORS, syndrome};

/// Something that happens to one vCPU, or to its VM.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An exit with these values of ESR_EL2, FAR_EL2 and HPFAR_EL2.
    Exit { esr: u64, far: u64, hpfar: u64 },
    /// A call by HVC or SMC.
    Call { class: u8, x: [u64; 4] },
    /// The guest sets a register.
    Register(usize, u64),
    /// The guest goes elsewhere, where this instruction lies.
    Jump { pc: u64, pstate: u64, word: u32 },
    /// The guest sets SCTLR_EL1, TCR_EL1, TTBR0_EL1, VBAR_EL1 and SP_EL1.
    El1([u64; 5]),
    /// The CPU interface works: list register `n` goes on to its next state.
    Deliver(usize),
    /// The guest sets ICH_VMCR_EL2, by way of its own registers, and ends interrupts that are in no list register.
    Interface { vmcr: u64, ends: u64 },
    /// The virtual timer fires, or is quiet.
    Timer(bool),
    /// Time passes, in ticks and seconds.
    Time(u64, u64),
    /// Somebody types.
    Keys(u8),
}

fn address() -> impl Strategy<Value = u64> {
    let device = select(vec![
        (layout::GICD.start().0, layout::GICD.len()),
        (layout::GICR.0, 21 * layout::GICR_STRIDE),
        (Device::Pl011.base().0, 0x60),
        (Device::Pl011.base().0, Device::Pl011.range().len()),
        (Device::Pl031.base().0, 0x20),
        (Device::Pl031.base().0, Device::Pl031.range().len()),
        (layout::FLASH.start().0, layout::FLASH.len()),
        (layout::RAM.0, RAM_SIZE),
    ]);
    prop_oneof![
        8 => (device, any::<u64>(), 0u64..8).prop_map(|((base, size), offset, low)| {
            // Aligned for the most part.
            let offset = offset % size;
            base + if low < 7 { offset & !7 | (low & 4) } else { offset }
        }),
        2 => (0u64..4, select(vec![layout::GICD.len(), layout::GICR_STRIDE, Device::Pl011.range().len()]), 0u64..16)
            .prop_map(|(n, size, before)| {
                let bases = [layout::GICD.start().0, layout::GICR.0, Device::Pl011.base().0, Device::Pl031.base().0];
                bases[n as usize] + size + 4 - before
            }),
        1 => any::<u64>(),
    ]
}

/// Instructions: some that move pairs or write back, some of any kind.
fn word() -> impl Strategy<Value = u32> {
    let bases =
        vec![0x2840_0000, 0x2900_0000, 0x2980_0000, 0xA940_0000, 0xB840_0400, 0x3800_0C00, 0xF800_0400];
    prop_oneof![
        3 => (select(bases), any::<u32>()).prop_map(|(base, rest)| base | rest & 0x003F_FFFF),
        1 => any::<u32>(),
    ]
}

fn exit() -> impl Strategy<Value = Event> {
    let data = (0u32..1 << 25, select(vec![0x07u32, 0x05, 0x0F, 0x04]), any::<bool>(), address());
    let data = data.prop_map(|(bits, status, described, ipa)| {
        // Mostly plain loads and stores, and mostly missing translations.
        let isv = if described { 1 << 24 } else { 0 };
        let odd = if bits & 0xF == 0 { bits & 0x3F80 } else { 0 };
        let iss = bits & 0xFF_8040 & !(1 << 24) | isv | odd | status;
        let esr = syndrome(class::DATA_ABORT_LOWER, iss).0;
        Event::Exit { esr, far: ipa, hpfar: ipa >> 12 << 4 }
    });
    let fetch = (0u32..1 << 11, address()).prop_map(|(iss, ipa)| {
        let esr = syndrome(class::INSTRUCTION_ABORT_LOWER, iss).0;
        Event::Exit { esr, far: ipa, hpfar: ipa >> 12 << 4 }
    });
    let known = select(vec![
        SysReg::ICC_SGI1R_EL1,
        SysReg::ICC_SGI0R_EL1,
        SysReg::ICC_ASGI1R_EL1,
        SysReg::ICC_DIR_EL1,
        SysReg::CNTP_CTL_EL0,
        SysReg::CNTP_CVAL_EL0,
        SysReg::CNTP_TVAL_EL0,
        SysReg::DC_CISW,
        SysReg::OSLAR_EL1,
        SysReg::ID_AA64PFR0_EL1,
    ]);
    let register = prop_oneof![known.prop_map(SysReg::to_iss), 0u32..1 << 22];
    let system = (register, 0u32..32, 0u32..2).prop_map(|(register, rt, read)| Event::Exit {
        esr: syndrome(class::SYSTEM, register & !0x3E1 | rt << 5 | read).0,
        far: 0,
        hpfar: 0,
    });
    let any = (any::<u64>(), any::<u64>(), any::<u64>());
    prop_oneof![
        8 => data,
        1 => fetch,
        4 => system,
        2 => any.prop_map(|(esr, far, hpfar)| Event::Exit { esr, far, hpfar }),
    ]
}

fn call() -> impl Strategy<Value = Event> {
    let function = prop_oneof![
        6 => (0u64..0x60, any::<bool>()).prop_map(|(n, wide)| 0x8400_0000 | n | if wide { 1 << 30 } else { 0 }),
        2 => (any::<bool>(), 0u64..3).prop_map(|(wide, n)| 0x8000_0000 | n | if wide { 1 << 30 } else { 0 }),
        2 => any::<u32>().prop_map(u64::from),
        1 => any::<u64>(),
    ];
    let argument = || prop_oneof![0u64..24, address(), any::<u64>()];
    (select(vec![class::HVC64, class::SMC64]), function, argument(), address(), argument())
        .prop_map(|(class, function, x1, x2, x3)| Event::Call { class, x: [function, x1, x2, x3] })
}

/// Anything but keys.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let pstate = select(vec![EL1H, EL1H & !0x3C0, 0x3C4, 0, 0x10, 0x30, EL1H | 1 << 22, 0x200 | 0x10]);
    let pc = prop_oneof![Just(CODE), Just(VECTORS + 0x200), address(), any::<u64>()];
    let el1 = (any::<u64>(), any::<u64>(), address(), prop_oneof![Just(VECTORS), any::<u64>()], address());
    prop_oneof![
        12 => exit(),
        2 => call(),
        4 => (0usize..31, prop_oneof![address(), any::<u64>(), 0u64..64])
            .prop_map(|(register, value)| Event::Register(register, value)),
        3 => (pc, pstate, word()).prop_map(|(pc, pstate, word)| Event::Jump { pc, pstate, word }),
        1 => el1.prop_map(|(sctlr, tcr, ttbr0, vbar, sp)| Event::El1([sctlr, tcr, ttbr0, vbar, sp])),
        4 => (0usize..4).prop_map(Event::Deliver),
        1 => (any::<u64>(), 0u64..4).prop_map(|(vmcr, ends)| Event::Interface { vmcr, ends }),
        1 => any::<bool>().prop_map(Event::Timer),
        1 => (0u64..1_000_000, 0u64..1000).prop_map(|(ticks, seconds)| Event::Time(ticks, seconds)),
        1 => (0u8..100).prop_map(Event::Keys),
    ]
}

impl Bench {
    /// Lets an event happen to vCPU `index`, if it is on.
    pub(crate) fn happen(&mut self, index: usize, event: &Event) {
        let index = index % self.vcpus.len();
        if self.vm.lock().power.get(self.vcpus[index].id) != Power::On {
            return;
        }
        let resume = match *event {
            Event::Exit { esr, far, hpfar } => self.exit_of(index, esr, far, hpfar),
            Event::Call { class, x } => {
                self.vcpus[index].registers.frame.x[..4].copy_from_slice(&x);
                self.exit_of(index, syndrome(class, 0).0, 0, 0)
            }
            _ => {
                self.happen_outside(index, event);
                Resume::Guest
            }
        };
        match resume {
            Resume::Stop => self.restart(),
            Resume::Suspend(entry) => self.vcpus[index].start(entry),
            Resume::Guest | Resume::Wait(_) | Resume::Yield | Resume::Off | Resume::LoadFp => {}
        }
        self.start_pending();
        if self.host.guest_errors.len() > 1 << 12 {
            self.host.guest_errors.clear();
        }
        self.host.printed.clear();
    }

    pub(crate) fn happen_outside(&mut self, index: usize, event: &Event) {
        let frame = &mut self.vcpus[index].registers.frame;
        let core = &mut self.host.cores[index];
        match *event {
            Event::Exit { .. } | Event::Call { .. } => {}
            Event::Register(register, value) => frame.x[register] = value,
            Event::Jump { pc, pstate, word } => {
                (frame.pc, frame.pstate) = (pc, pstate);
                let mut old = [0; 4];
                if self.host.ram.read(Ipa(pc), &mut old).is_ok() {
                    self.host.ram.poke(pc, &word.to_le_bytes());
                }
            }
            Event::El1([sctlr, tcr, ttbr0, vbar, sp]) => {
                (core.el1.sctlr, core.el1.tcr, core.el1.ttbr0) = (sctlr, tcr, ttbr0);
                (core.el1.vbar, core.el1.sp_el1) = (vbar, sp);
                self.vcpus[index].registers.el1 = core.el1.clone();
            }
            Event::Deliver(n) if n < core.interface.used.into() => {
                let lr = &mut core.interface.lr[n];
                let next = match ListRegister(*lr).state() {
                    State::Pending | State::ActivePending => 2,
                    State::Active | State::Inactive => 0,
                };
                *lr = *lr & !(3 << 62) | next << 62;
            }
            Event::Deliver(_) => {}
            Event::Interface { vmcr, ends } => {
                core.interface.vmcr = vmcr;
                core.interface.hcr |= ends << 27;
            }
            Event::Timer(fires) => {
                self.host.timer_line = if fires { LineLevel::High } else { LineLevel::Low };
                if fires {
                    let _ = self.vm.lock().gic.inject_hw(
                        self.vcpus[index].id,
                        layout::VIRTUAL_TIMER_INTID,
                        Intid::new(27),
                        Trigger::Level,
                    );
                }
            }
            Event::Time(ticks, seconds) => {
                self.host.now += ticks;
                self.host.seconds += seconds;
                let _ = self.vm.lock().update_physical_timer_line(&self.vcpus[index], self.host.now);
                let _ = self.vm.lock().note_time(self.host.device_time());
            }
            Event::Keys(count) => {
                let _ = self.vm.lock().type_keys(&[b'k'; 100][..count.into()]);
            }
        }
    }

    /// What EL2 does when all CPUs have stopped, whatever the ending: the VM begins anew.
    pub(crate) fn restart(&mut self) {
        self.vm.lock().reset();
        for core in &mut self.host.cores {
            *core = Default::default();
        }
        self.vm.lock().start(self.host.now).expect("it was reset just now");
    }
}
