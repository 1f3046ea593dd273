// SPDX-License-Identifier: MIT OR Apache-2.0
//! A core that may translate at any moment, with every mixture of what was written since the last ISB.

use super::*;

/// Whose a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Old,
    New,
    /// No VM: tables without an entry.
    Nobody,
}

#[derive(Clone, Copy, Debug)]
struct Sctlr {
    owner: Owner,
    stage1: bool,
    /// EL2 has set M for a guest that has not.
    forced: bool,
}

#[derive(Clone, Copy, Debug)]
struct Tcr {
    owner: Owner,
    walks: bool,
}

/// The registers as a translation may see them: any of the values since the last ISB, the last one last.
#[derive(Clone, Debug)]
struct Machine {
    stage2: Vec<Owner>,
    /// TTBR0_EL1, TTBR1_EL1, MAIR_EL1 and the others.
    registers: Vec<Owner>,
    sctlr: Vec<Sctlr>,
    tcr: Vec<Tcr>,
}

/// A vCPU, as far as it matters: whether its stage 1 is on, and whether it lets walks begin.
#[derive(Clone, Copy, Debug)]
struct Guest {
    stage1: bool,
    walks: bool,
}

const GUESTS: [Guest; 4] = [
    Guest { stage1: false, walks: false },
    Guest { stage1: false, walks: true },
    Guest { stage1: true, walks: false },
    Guest { stage1: true, walks: true },
];

impl Machine {
    fn running(old: Guest) -> Self {
        Self {
            stage2: vec![Owner::Old],
            registers: vec![Owner::Old],
            sctlr: vec![Sctlr { owner: Owner::Old, stage1: old.stage1, forced: false }],
            tcr: vec![Tcr { owner: Owner::Old, walks: old.walks }],
        }
    }

    fn take(&mut self, step: SwitchStep, to: Owner, new: Guest) {
        let (sctlr, tcr) = (*self.sctlr.last().unwrap(), *self.tcr.last().unwrap());
        match step {
            SwitchStep::Synchronise => {
                keep_last(&mut self.stage2);
                keep_last(&mut self.registers);
                keep_last(&mut self.sctlr);
                keep_last(&mut self.tcr);
            }
            SwitchStep::StopWalks => self.tcr.push(Tcr { walks: false, ..tcr }),
            SwitchStep::ForceStage1 => {
                self.sctlr.push(Sctlr { stage1: true, forced: sctlr.forced || !sctlr.stage1, ..sctlr });
            }
            SwitchStep::Stage2 => self.stage2.push(to),
            SwitchStep::Flush => assert_eq!(self.stage2, [to], "TLBI works on the VMID that is synchronised"),
            SwitchStep::Registers => self.registers.push(to),
            SwitchStep::Sctlr => self.sctlr.push(Sctlr { owner: to, stage1: new.stage1, forced: false }),
            SwitchStep::Tcr => self.tcr.push(Tcr { owner: to, walks: new.walks }),
        }
    }

    /// Whether every translation that can happen now is one VM's own.
    fn is_consistent(&self) -> bool {
        self.stage2.iter().all(|stage2| {
            self.sctlr.iter().all(|sctlr| {
                if !sctlr.stage1 {
                    return sctlr.owner == *stage2;
                }
                self.tcr.iter().filter(|tcr| tcr.walks).all(|tcr| {
                    let owners = self.registers.iter().chain([&sctlr.owner, &tcr.owner]);
                    !sctlr.forced && owners.copied().all(|owner| owner == *stage2)
                })
            })
        })
    }
}

fn keep_last<T>(values: &mut Vec<T>) {
    let last = values.pop();
    values.clear();
    values.extend(last);
}

/// Where `steps` let a wrong translation happen first, for any pair of vCPUs.
fn first_wrong(ways: &[(&[SwitchStep], Owner)]) -> Option<(Guest, Guest, SwitchStep)> {
    for old in GUESTS {
        for new in GUESTS {
            let mut machine = Machine::running(old);
            for (steps, to) in ways {
                for step in *steps {
                    machine.take(*step, *to, new);
                    if !machine.is_consistent() {
                        return Some((old, new, *step));
                    }
                }
            }
        }
    }
    None
}

#[test]
fn no_translation_mixes_two_vms() {
    assert!(first_wrong(&[(ENTER, Owner::New)]).is_none(), "{:?}", first_wrong(&[(ENTER, Owner::New)]));
    let by_nobody = [(LEAVE, Owner::Nobody), (ENTER, Owner::New)];
    assert!(first_wrong(&by_nobody).is_none(), "{:?}", first_wrong(&by_nobody));
}

#[test]
fn all_of_the_new_vcpu_is_in_place_at_the_end() {
    for old in GUESTS {
        for new in GUESTS {
            let mut machine = Machine::running(old);
            ENTER.iter().for_each(|step| machine.take(*step, Owner::New, new));
            machine.take(SwitchStep::Synchronise, Owner::New, new);
            let (sctlr, tcr) = (machine.sctlr[0], machine.tcr[0]);
            assert_eq!((machine.stage2[0], machine.registers[0]), (Owner::New, Owner::New));
            assert_eq!((sctlr.owner, sctlr.stage1, sctlr.forced), (Owner::New, new.stage1, false));
            assert_eq!((tcr.owner, tcr.walks), (Owner::New, new.walks));
        }
    }
}

/// The model finds what goes wrong without any of the steps that stop walks, and in the order of other cores.
#[test]
fn each_step_that_keeps_vms_apart_is_needed() {
    for at in 0..ENTER.len() {
        if !matches!(ENTER[at], SwitchStep::Synchronise | SwitchStep::StopWalks | SwitchStep::ForceStage1) {
            continue;
        }
        let without: Vec<_> = [&ENTER[..at], &ENTER[at + 1..]].concat();
        let runs = std::panic::catch_unwind(|| first_wrong(&[(&without, Owner::New)]));
        assert!(!matches!(runs, Ok(None)), "step {at} of {ENTER:?} could go");
    }
    let plain = [
        SwitchStep::Stage2,
        SwitchStep::Synchronise,
        SwitchStep::Flush,
        SwitchStep::Sctlr,
        SwitchStep::Tcr,
        SwitchStep::Registers,
    ];
    assert!(first_wrong(&[(&plain, Owner::New)]).is_some());
}

#[test]
fn the_cores_by_their_midr() {
    let of = |midr| SwitchOrder::of(midr);
    // As QEMU has them: r1p0, r0p3, r2p0.
    assert_eq!(of(0x411F_D070), SwitchOrder::Ordered, "Cortex-A57");
    assert_eq!(of(0x410F_D083), SwitchOrder::Ordered, "Cortex-A72");
    assert_eq!(of(0x412F_D050), SwitchOrder::Ordered, "Cortex-A55");
    assert_eq!(of(0x410F_D0B0), SwitchOrder::Ordered, "Cortex-A76 r0p0");
    assert_eq!(of(0x412F_D0B0), SwitchOrder::Ordered, "Cortex-A76 r2p0");
    assert_eq!(of(0x413F_D0B0), SwitchOrder::Plain, "Cortex-A76 r3p0");
    assert_eq!(of(0x414F_D0B1), SwitchOrder::Plain, "Cortex-A76 r4p1");
    assert_eq!(of(0x410F_D034), SwitchOrder::Plain, "Cortex-A53");
    assert_eq!(of(0x414F_D0C1), SwitchOrder::Plain, "Neoverse-N1");
    assert_eq!(of(0x51DF_805E), SwitchOrder::Ordered, "Kryo 4xx Silver");
    assert_eq!(of(0x000F_0510), SwitchOrder::Plain, "QEMU's max");
    assert_eq!(of(0x610F_D083), SwitchOrder::Plain, "another maker's part of the same number");
}
