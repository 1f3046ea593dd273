// SPDX-License-Identifier: MIT OR Apache-2.0
//! The allocator alone, and on the adversarial TLB: VMs with one page each, at the same IPA.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::stage2::{Attributes, Geometry, Mapping, Stage2};
use crate::tlb::{Board, Context, Scope, Tlbi, Window};
use crate::{Ipa, Pa};

/// A vCPU of a VM.
fn vcpu(number: u16) -> VcpuId {
    VcpuId::new(number)
}

/// A CPU of the board.
fn on(cpu: usize) -> PcpuId {
    PcpuId::new(cpu as u16)
}

#[test]
fn host_keeps_vmid_0_and_numbers_run_up() {
    let mut vmids = Vmids::<2>::new(VmidWidth::Eight);
    for expected in 1..=255 {
        let mut holder = VmidHolder::new();
        let entry = vmids.enter(on(0), &mut holder, vcpu(0));
        assert_eq!(entry, VmidEntry { vmid: expected, flush: Flush::None });
    }
    let entry = vmids.enter(on(0), &mut VmidHolder::new(), vcpu(0));
    assert_eq!(entry, VmidEntry { vmid: 1, flush: Flush::Vm }, "second holder of number 1");
}

#[test]
fn sixteen_bits_give_65535_vms_without_a_flush() {
    let mut vmids = Vmids::<1>::new(VmidWidth::Eight);
    vmids.set_width(VmidWidth::Sixteen);
    for _ in 1..=u16::MAX {
        assert_eq!(vmids.enter(on(0), &mut VmidHolder::new(), vcpu(0)).flush, Flush::None);
    }
    assert_eq!(vmids.enter(on(0), &mut VmidHolder::new(), vcpu(0)).flush, Flush::Vm);
}

#[test]
fn a_running_vm_keeps_its_number_through_rollovers() {
    let mut vmids = Vmids::<2>::with_last(NonZeroU16::new(4));
    let mut steady = VmidHolder::new();
    let first = vmids.enter(on(1), &mut steady, vcpu(0));
    for _ in 0..20 {
        assert_ne!(vmids.enter(on(0), &mut VmidHolder::new(), vcpu(0)).vmid, first.vmid);
    }
    assert_eq!(vmids.enter(on(1), &mut steady, vcpu(0)), VmidEntry { vmid: first.vmid, flush: Flush::None });
    // On another CPU too, where nobody else had the number since it was new.
    assert_eq!(vmids.enter(on(0), &mut steady, vcpu(1)), VmidEntry { vmid: first.vmid, flush: Flush::None });
}

#[test]
fn a_vm_that_left_loses_its_number_at_a_rollover() {
    let mut vmids = Vmids::<1>::with_last(NonZeroU16::new(3));
    let mut old = VmidHolder::new();
    let before = vmids.enter(on(0), &mut old, vcpu(0));
    let mut taken = BTreeSet::new();
    for _ in 0..4 {
        taken.insert(vmids.enter(on(0), &mut VmidHolder::new(), vcpu(0)).vmid);
    }
    assert!(taken.contains(&before.vmid));
    assert_eq!(vmids.enter(on(0), &mut old, vcpu(0)).flush, Flush::Vm);
}

#[test]
fn each_cpu_flushes_a_reused_number_once() {
    let mut vmids = Vmids::<3>::with_last(NonZeroU16::new(5));
    for _ in 0..5 {
        let _ = vmids.enter(on(0), &mut VmidHolder::new(), vcpu(0));
    }
    let mut holder = VmidHolder::new();
    for cpu in 0..3_usize {
        assert_eq!(vmids.enter(on(cpu), &mut holder, vcpu(0)).flush, Flush::Vm);
        assert_eq!(vmids.enter(on(cpu), &mut holder, vcpu(0)).flush, Flush::None);
    }
}

#[test]
fn vcpus_that_follow_one_another_on_a_cpu_drop_stage_1() {
    let mut vmids = Vmids::<2>::new(VmidWidth::Eight);
    let (mut a, mut b) = (VmidHolder::new(), VmidHolder::new());
    assert_eq!(vmids.enter(on(0), &mut a, vcpu(0)).flush, Flush::None);
    assert_eq!(vmids.enter(on(0), &mut a, vcpu(1)).flush, Flush::Stage1);
    assert_eq!(vmids.enter(on(0), &mut b, vcpu(0)).flush, Flush::None);
    assert_eq!(vmids.enter(on(0), &mut a, vcpu(1)).flush, Flush::None, "another VM in between does no harm");
    assert_eq!(vmids.enter(on(1), &mut a, vcpu(0)).flush, Flush::None, "nor does another CPU");
    assert_eq!(vmids.enter(on(0), &mut a, vcpu(0)).flush, Flush::Stage1);
}

#[test]
fn the_last_numbers_can_all_be_reserved_but_one() {
    let mut vmids = Vmids::<3>::with_last(NonZeroU16::new(3));
    let mut steady = [VmidHolder::new(), VmidHolder::new()];
    for (cpu, holder) in steady.iter_mut().enumerate() {
        let _ = vmids.enter(on(cpu), holder, vcpu(0));
    }
    for _ in 0..10 {
        assert_eq!(vmids.enter(on(2), &mut VmidHolder::new(), vcpu(0)).vmid, 3);
    }
}

const CPUS: usize = 3;
const PAGE: Ipa = Ipa(0x4000_0000);

/// One VM: its page is at a physical address of its own.
struct Vm {
    stage2: Stage2,
    holder: VmidHolder<CPUS>,
    page: Pa,
}

/// How the bench obeys the allocator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obedience {
    Full,
    /// Without the flushes of reused numbers.
    NoFlush,
}

/// Some VMs on some CPUs, and four VMIDs for all of them.
struct Bench {
    board: Board,
    vmids: Vmids<CPUS>,
    vms: Vec<Vm>,
    obedience: Obedience,
    /// Pages never repeat, so that every VM that ever was can be told from every other.
    vms_made: u64,
}

impl Bench {
    fn new(vms: usize, obedience: Obedience) -> Self {
        let board = Board::new(CPUS, 4 * vms + 4);
        let mut bench =
            Self { board, vmids: Vmids::with_last(NonZeroU16::new(4)), vms: vec![], obedience, vms_made: 0 };
        for _ in 0..vms {
            let vm = bench.make_vm();
            bench.vms.push(vm);
        }
        bench
    }

    fn make_vm(&mut self) -> Vm {
        self.vms_made += 1;
        let page = Pa(0x1_0000_0000 + self.vms_made * 0x1000);
        let geometry = Geometry::for_machine(40, 40).unwrap();
        let mut frames = self.board.clone();
        let encoding = crate::attributes::Stage2Encoding::Combining;
        let mut stage2 = Stage2::new(geometry, encoding, &mut frames).unwrap();
        let mapping = Mapping { ipa: PAGE, pa: page, size: 0x1000, attributes: Attributes::RAM };
        // Nothing runs under the new tables, so the maintaining CPU's VMID does not matter.
        stage2
            .plan_map(&mut self.board.clone(), &mut frames, mapping)
            .unwrap()
            .commit(&mut self.board.maintenance(0));
        Vm { stage2, holder: VmidHolder::new(), page }
    }

    fn enter(&mut self, cpu: usize, vm: usize, vcpu: u16) -> VmidEntry {
        let vm = &mut self.vms[vm];
        let entry = self.vmids.enter(on(cpu), &mut vm.holder, self::vcpu(vcpu));
        let vtcr = vm.stage2.geometry().vtcr(VmidWidth::Eight);
        let context = Context::from_registers(vtcr, vm.stage2.vttbr(entry.vmid), vec![Window::IDENTITY]);
        let obeys = self.obedience == Obedience::Full;
        self.board.with_machine(|machine| {
            machine.load(cpu, context);
            let op = match entry.flush {
                Flush::None => return,
                Flush::Stage1 => Tlbi::Stage1,
                Flush::Vm if obeys => Tlbi::Vm,
                Flush::Vm => return,
            };
            machine.issue(cpu, op, Scope::Local);
            machine.complete(cpu);
            machine.synchronize(cpu);
        });
        entry
    }

    fn leave(&mut self, cpu: usize) {
        self.vmids.leave(on(cpu));
        self.board.with_machine(|machine| machine.unload(cpu));
    }

    /// Ends a VM and makes another in its place, which may get the same frames.
    fn replace(&mut self, vm: usize, running: &[Option<usize>; CPUS]) {
        for cpu in (0..CPUS).filter(|&cpu| running[cpu] == Some(vm)) {
            self.leave(cpu);
        }
        let old = self.vms.swap_remove(vm);
        old.stage2.destroy(&self.board.clone(), &mut self.board.clone());
        let new = self.make_vm();
        self.vms.push(new);
        let last = self.vms.len() - 1;
        self.vms.swap(vm, last);
    }

    /// The pages that `cpu` could reach at the VMs' page.
    fn reachable(&self, cpu: usize) -> Vec<Pa> {
        self.board.with_machine(|machine| machine.outcomes(cpu, crate::Va(PAGE.0), 0))
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter { cpu: usize, vm: usize, vcpu: u16 },
    Leave { cpu: usize },
    Replace { vm: usize },
}

const VMS: usize = 7;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..CPUS, 0..VMS, 0..2_u16).prop_map(|(cpu, vm, vcpu)| Step::Enter { cpu, vm, vcpu }),
        2 => (0..CPUS).prop_map(|cpu| Step::Leave { cpu }),
        1 => (0..VMS).prop_map(|vm| Step::Replace { vm }),
    ]
}

/// Takes the steps; returns whether any CPU could ever reach a page that is not its VM's.
fn leaks(steps: &[Step], obedience: Obedience) -> bool {
    let mut bench = Bench::new(VMS, obedience);
    let mut running = [None; CPUS];
    let mut vmid_of = [0; CPUS];
    for &step in steps {
        match step {
            Step::Enter { cpu, vm, vcpu } => {
                vmid_of[cpu] = bench.enter(cpu, vm, vcpu).vmid;
                running[cpu] = Some(vm);
                assert!((1..=4).contains(&vmid_of[cpu]));
            }
            Step::Leave { cpu } => {
                bench.leave(cpu);
                running[cpu] = None;
            }
            Step::Replace { vm } => {
                bench.replace(vm, &running);
                running = running.map(|other| other.filter(|&other| other != vm));
            }
        }
        for cpu in 0..CPUS {
            let Some(vm) = running[cpu] else { continue };
            for other in (0..CPUS).filter(|&other| running[other].is_some()) {
                let same_vm = running[other] == Some(vm);
                assert_eq!(vmid_of[cpu] == vmid_of[other], same_vm, "live VMs and VMIDs go together");
            }
            if bench.reachable(cpu) != [bench.vms[vm].page] {
                return true;
            }
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn no_vm_ever_reaches_another(steps in prop::collection::vec(step(), 1..60)) {
        prop_assert!(!leaks(&steps, Obedience::Full));
    }
}

#[test]
fn without_the_flushes_one_would() {
    let steps: Vec<Step> = (0..VMS).map(|vm| Step::Enter { cpu: 0, vm, vcpu: 0 }).collect();
    assert!(!leaks(&steps, Obedience::Full));
    assert!(leaks(&steps, Obedience::NoFlush));
}
