// SPDX-License-Identifier: MIT OR Apache-2.0
//! Restores a VM from bytes that nobody vouches for.

use postcard::Deserializer;
use serde::Deserialize;
use vambrace_cpu::power::{CpuEntry, Power};
use vambrace_cpu::pstate;
use vambrace_cpu::sysreg::SysReg;
use vambrace_ids::VcpuId;
use vambrace_interrupts::HwLink;
use vambrace_io::virtio::net::Frame;
use vambrace_memory::Ipa;
use vambrace_state::{Bytes, Restore};

use super::{CRC, FORMAT, HEAD, Kind, MAGIC, Mismatch, PIECE, Shape, TAIL, Target};
use crate::inbox::Inbox;
use crate::layout;
use crate::lifecycle::Lifecycle;
use crate::vcpu::{MpState, Vcpu};
use crate::vm::{MemoryMap, Vm};

/// A VM could not be restored. What it was to be restored into is good for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The bytes do not begin as those of a VM.
    #[error("this is no saved VM")]
    NotAVm,
    /// They are of another version of the format.
    #[error("the VM was saved in format {found}, and this is format {FORMAT}: restore it where it was saved")]
    Format {
        /// The version.
        found: u16,
    },
    /// A record is not as it was written, or is cut off.
    #[error("the saved VM is damaged or cut off at byte {at}")]
    Damaged {
        /// Where it begins.
        at: usize,
    },
    /// A record comes where another kind is due.
    #[error("the saved VM is not whole: another part is due at byte {at}")]
    Order {
        /// Where it begins.
        at: usize,
    },
    /// It is of another VM.
    #[error("{0}")]
    Shape(#[from] Mismatch),
    /// The record's values are none that such a VM can have.
    #[error("the part at byte {at} of the saved VM is none of this VM's")]
    Value {
        /// Where it begins.
        at: usize,
    },
    /// Its values are such as no paused VM has, and would reach beyond it.
    #[error("the part at byte {at} of the saved VM cannot be: {unfit}")]
    Unfit {
        /// Where it begins.
        at: usize,
        /// Why.
        unfit: Unfit,
    },
    /// There is no place for a frame, a block or a piece of RAM.
    #[error("what the part at byte {at} of the saved VM has, has no place in this VM")]
    NoPlace {
        /// Where it begins.
        at: usize,
    },
}

/// What no paused VM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is not paused.
    #[error("the VM is not paused")]
    NotPaused,
    /// Its interrupt controller contradicts itself.
    #[error("its interrupt controller contradicts itself")]
    Gic,
    /// An interrupt stands for a physical one, which is not here.
    #[error("interrupt {} stands for the physical interrupt {}: its device is not saved with it", .0.intid.get(), .0.physical.get())]
    HwLink(HwLink),
    /// A vCPU is at a level that no guest has.
    #[error("a vCPU runs with PSTATE {0:#x}")]
    Pstate(u64),
    /// A vCPU is to start where there is no memory.
    #[error("a vCPU is to start at {0}, where there is no memory")]
    Entry(Ipa),
    /// A vCPU that is off is to run, or one that is on never.
    #[error("a vCPU that is off is to run, or one that is on is not")]
    MpState,
}

/// Whether there is more.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next record is to be restored.
    More,
    /// The VM is restored: it is paused, and has to go on.
    Done,
}

/// What is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Shape,
    Vm,
    /// The vCPU with this number, of so many.
    Vcpu(u16, u16),
    Outside,
    Nothing,
}

/// A record.
struct Record<'a> {
    kind: Kind,
    at: usize,
    value: &'a [u8],
}

/// Reads a VM, a record at a time.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    due: Due,
}

impl<'a> Reader<'a> {
    /// Begins.
    ///
    /// # Errors
    /// [`RestoreError::NotAVm`] and [`RestoreError::Format`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, RestoreError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(RestoreError::NotAVm)?;
        let format = rest.first_chunk().ok_or(RestoreError::NotAVm)?;
        match u16::from_le_bytes(*format) {
            FORMAT => Ok(Self { bytes, at: MAGIC.len() + format.len(), due: Due::Shape }),
            found => Err(RestoreError::Format { found }),
        }
    }

    /// Restores the next record, a bounded step.
    ///
    /// # Errors
    /// [`RestoreError`]: the target is good for nothing then.
    pub fn step(&mut self, target: &mut impl Target) -> Result<Step, RestoreError> {
        let record = self.next()?;
        let Record { kind, at, value } = record;
        self.due = match (self.due, kind) {
            (Due::Shape, Kind::Shape) => {
                let saved: Shape = record.read()?;
                saved.check(&target.with_vm(|vm| Shape::of(vm)))?;
                Due::Vm
            }
            (Due::Vm, Kind::Vm) => {
                target.with_vm(|vm| restore_vm(vm, at, value))?;
                Due::Vcpu(0, target.with_vm(|vm| vm.gic.vcpu_ids().count()) as u16)
            }
            (Due::Vcpu(number, count), Kind::Vcpu) => {
                let bounds = target.with_vm(|vm| Bounds::of(vm, VcpuId::new(number)));
                let restored = target.with_vcpu(number, |vcpu| restore_vcpu(vcpu, at, value, bounds));
                restored.ok_or(RestoreError::Order { at })??;
                if number + 1 < count { Due::Vcpu(number + 1, count) } else { Due::Outside }
            }
            (Due::Outside, Kind::Inbox) => {
                target.set_inbox(record.read::<Inbox>()?);
                Due::Outside
            }
            (Due::Outside, Kind::Frame) => {
                let (slot, frame): (u8, Frame<'_>) = record.read()?;
                target.add_frame(slot, &frame).ok_or(RestoreError::NoPlace { at })?;
                Due::Outside
            }
            (Due::Outside, Kind::Block) => {
                let (slot, block, Bytes(bytes)): (u8, u32, Bytes<'_>) = record.read()?;
                let bytes: &[u8; PIECE] = bytes.try_into().map_err(|_| RestoreError::Value { at })?;
                target.set_block(slot, block, bytes).ok_or(RestoreError::NoPlace { at })?;
                Due::Outside
            }
            (Due::Outside, Kind::Ram) => {
                let (ipa, Bytes(bytes)): (Ipa, Bytes<'_>) = record.read()?;
                target.set_ram(ipa, bytes).ok_or(RestoreError::NoPlace { at })?;
                Due::Outside
            }
            (Due::Outside, Kind::End) => {
                let () = record.read()?;
                Due::Nothing
            }
            _ => return Err(RestoreError::Order { at }),
        };
        Ok(if self.due == Due::Nothing { Step::Done } else { Step::More })
    }

    /// The next record, whole.
    fn next(&mut self) -> Result<Record<'a>, RestoreError> {
        let at = self.at;
        let next = || {
            let rest = self.bytes.get(at..)?;
            let (&[kind, len @ ..], _) = rest.split_first_chunk::<HEAD>()?;
            let len = HEAD.checked_add(u32::from_le_bytes(len) as usize)?;
            let (record, rest) = rest.split_at_checked(len)?;
            let crc = u32::from_le_bytes(*rest.first_chunk()?);
            let value = record.get(HEAD..)?;
            let kind = Kind::from_byte(kind).filter(|_| CRC.checksum(record) == crc)?;
            Some((Record { kind, at, value }, at + len + TAIL))
        };
        let (record, end) = next().ok_or(RestoreError::Damaged { at })?;
        self.at = end;
        Ok(record)
    }
}

impl<'a> Record<'a> {
    fn read<T: Deserialize<'a>>(&self) -> Result<T, RestoreError> {
        let error = RestoreError::Value { at: self.at };
        let (value, rest) = postcard::take_from_bytes(self.value).map_err(|_| error)?;
        if rest.is_empty() { Ok(value) } else { Err(error) }
    }
}

/// Restores a VM from all of `bytes`.
///
/// # Errors
/// [`RestoreError`]: the target is good for nothing then.
pub fn restore(bytes: &[u8], target: &mut impl Target) -> Result<(), RestoreError> {
    let mut reader = Reader::new(bytes)?;
    while reader.step(target)? == Step::More {}
    Ok(())
}

/// Restores a value in place.
fn restore_into(into: &mut impl Restore, at: usize, value: &[u8]) -> Result<(), RestoreError> {
    let error = RestoreError::Value { at };
    let mut from = Deserializer::from_bytes(value);
    into.restore(&mut from).map_err(|_| error)?;
    if from.finalize().is_ok_and(<[u8]>::is_empty) { Ok(()) } else { Err(error) }
}

fn restore_vm(vm: &mut Vm, at: usize, value: &[u8]) -> Result<(), RestoreError> {
    restore_into(vm, at, value)?;
    check_vm(vm).map_err(|unfit| RestoreError::Unfit { at, unfit })
}

fn check_vm(vm: &mut Vm) -> Result<(), Unfit> {
    if vm.lifecycle() != Lifecycle::Paused {
        return Err(Unfit::NotPaused);
    }
    vm.gic.check_restored().map_err(|_| Unfit::Gic)?;
    vm.detach();
    // The timer's interrupt is every vCPU's own, on each machine.
    let timer = layout::VIRTUAL_TIMER_INTID;
    for vcpu in vm.gic.vcpu_ids() {
        if let Power::OnPending(entry) = vm.power.get(vcpu) {
            check_entry(vm.memory, entry)?;
        }
    }
    let foreign =
        vm.gic.hw_links().find(|link| link.vcpu.is_none() || (link.intid, link.physical) != (timer, timer));
    foreign.map_or(Ok(()), |link| Err(Unfit::HwLink(link)))
}

fn check_entry(memory: MemoryMap, entry: CpuEntry) -> Result<(), Unfit> {
    if memory.is_executable(entry.address) { Ok(()) } else { Err(Unfit::Entry(entry.address)) }
}

/// What a vCPU of a VM may be.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    power: Power,
    memory: MemoryMap,
    /// EL0 may be AArch32.
    aarch32: bool,
}

impl Bounds {
    fn of(vm: &Vm, vcpu: VcpuId) -> Self {
        const EL0_IS_BOTH: u64 = 2;
        let features = vm.id_registers.read(SysReg::ID_AA64PFR0_EL1).unwrap_or(0);
        Self { power: vm.power.get(vcpu), memory: vm.memory, aarch32: features & 0xF == EL0_IS_BOTH }
    }

    fn check(&self, vcpu: &Vcpu) -> Result<(), Unfit> {
        let pstate = vcpu.registers.frame.pstate;
        // A return to any other level would be one into EL2, or an illegal one, which ends there too.
        let is_guests = match pstate & (pstate::AARCH32 | pstate::MODE) {
            pstate::EL0T | pstate::EL1T | pstate::EL1H => true,
            pstate::AARCH32 => self.aarch32,
            _ => false,
        };
        if !is_guests {
            return Err(Unfit::Pstate(pstate));
        }
        if let MpState::Blocked { then: Some(entry), .. } = vcpu.mp_state {
            check_entry(self.memory, entry)?;
        }
        if (self.power == Power::On) == (vcpu.mp_state == MpState::Off) {
            return Err(Unfit::MpState);
        }
        Ok(())
    }
}

fn restore_vcpu(vcpu: &mut Vcpu, at: usize, value: &[u8], bounds: Bounds) -> Result<(), RestoreError> {
    restore_into(vcpu, at, value)?;
    bounds.check(vcpu).map_err(|unfit| RestoreError::Unfit { at, unfit })
}
