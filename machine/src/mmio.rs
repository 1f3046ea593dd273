// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads and stores where there is no RAM.
//!
//! The syndrome usually says what the instruction moves; where it does not (pairs, write-back), the instruction
//! is fetched through the guest's own translation and decoded. An access to nothing is a synchronous external
//! abort for the guest, as on a bus without a device.

use spin::mutex::SpinMutex;
use vambrace_cpu::exception::{AbortedAccess, Exception, ExternalAbort, WalkLevel};
use vambrace_cpu::exit::{self, DataAbort};
use vambrace_cpu::pstate::Level;
use vambrace_cpu::syndrome::{FaultStatus, InstructionLength};
use vambrace_interrupts::VcpuSet;
use vambrace_io::bus::{Access, Completed, Destination, Direction, Extension, RegisterWidth, Width};
use vambrace_io::decode::{self, Base, Instruction};
use vambrace_memory::stage1::{self, El, Regime};
use vambrace_memory::{GuestMemory, Ipa, Va};

use crate::dispatch::{Resume, inject, read_instruction};
use crate::host::Host;
use crate::layout;
use crate::vcpu::Vcpu;
use crate::vm::{Device, Vm};

/// PSTATE.PAN, in SPSR_EL2.
const PAN: u64 = 1 << 22;

/// Serves a data abort from stage 2.
pub(crate) fn data_abort<H: Host>(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, abort: &DataAbort, host: &mut H) -> Resume {
    let outcome = match (abort.status, abort.ipa) {
        (FaultStatus::Translation(_), Some(ipa)) if !abort.on_walk && !abort.cache_maintenance => match abort.access {
            Some(access) => simple(vm, vcpu, bus_access(vcpu, abort.direction, access, ipa, host), host),
            None => decoded(vm, vcpu, abort.va, ipa, host),
        },
        // Cache maintenance of an address without RAM has nothing to maintain; a store to read-only memory
        // changes nothing, as on a board with ROM there.
        (FaultStatus::Translation(_), _) if abort.cache_maintenance && !abort.on_walk => Outcome::Done,
        (FaultStatus::Permission(_), _) if !abort.on_walk => Outcome::Done,
        _ => Outcome::Nothing,
    };
    match outcome {
        Outcome::Done => {
            vcpu.registers.frame.retire(abort.length);
            Resume::Guest
        }
        Outcome::Nothing => refuse(vm, vcpu, abort, host),
    }
}

/// What became of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was carried out: step over the instruction.
    Done,
    /// There is nothing, or nothing that such an instruction could reach.
    Nothing,
}

/// The guest gets a synchronous external abort; the first few are logged.
fn refuse(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, abort: &DataAbort, host: &mut impl Host) -> Resume {
    if vm.lock().should_log_mistake() {
        let (index, pc) = (vcpu.index, vcpu.registers.frame.pc);
        let at = abort.ipa.unwrap_or_default();
        host.guest_mistake(format_args!("vCPU {index}: {} of {at}, where it has nothing (PC {pc:#x})", abort.direction));
    }
    let access = if abort.cache_maintenance { AbortedAccess::CacheMaintenance } else { AbortedAccess::Data(abort.direction) };
    let aborted = ExternalAbort { access, va: abort.va, walk_level: walk_level(abort.on_walk, abort.status) };
    inject(vm, vcpu, Exception::ExternalAbort(aborted), host)
}

/// The level of the guest's own table whose address led nowhere.
pub(crate) fn walk_level(on_walk: bool, status: FaultStatus) -> Option<WalkLevel> {
    let (FaultStatus::Translation(level) | FaultStatus::AddressSize(level) | FaultStatus::Permission(level)) = status else {
        return None;
    };
    on_walk.then_some(match level {
        ..=0 => WalkLevel::L0,
        1 => WalkLevel::L1,
        2 => WalkLevel::L2,
        _ => WalkLevel::L3,
    })
}

/// The access that the syndrome describes, as the bus wants it.
fn bus_access(vcpu: &Vcpu, direction: exit::Direction, access: exit::Access, ipa: Ipa, host: &impl Host) -> Access {
    let width = Width::from_log2(u32::from(access.size.bytes()).trailing_zeros());
    let frame = &vcpu.registers.frame;
    let direction = match direction {
        exit::Direction::Write => {
            let value = access.stored(frame.get(access.register));
            Direction::Write { value: frame.endianness(host.sctlr_el1()).to_device(value, access.size.bytes()) }
        }
        exit::Direction::Read => Direction::Read(Destination {
            register: access.register,
            extension: match access.extension {
                exit::Extension::Zero => Extension::Zero,
                exit::Extension::Sign => Extension::Sign,
            },
            register_width: match access.width {
                exit::RegisterWidth::W => RegisterWidth::W,
                exit::RegisterWidth::X => RegisterWidth::X,
            },
        }),
    };
    Access { ipa, width, direction }
}

/// An access of one register, as the syndrome gave it.
fn simple(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, access: Access, host: &mut impl Host) -> Outcome {
    let Some(completed) = perform(vm, vcpu, &access, host) else { return Outcome::Nothing };
    complete(vcpu, completed);
    Outcome::Done
}

fn complete(vcpu: &mut Vcpu, completed: Completed) {
    if let Completed::Loaded { register, value } = completed {
        vcpu.registers.frame.set(register, value);
    }
}

/// An access without a syndrome: decode the instruction, check that it is what faulted, and do all of it.
fn decoded(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, va: Option<Va>, ipa: Ipa, host: &mut impl Host) -> Outcome {
    let word = match vcpu.registers.frame.level() {
        Level::El0Aarch32 => None,
        _ => read_instruction(vcpu, host),
    };
    let instruction = word.map(Instruction::decode);
    let Some(Ok(instruction)) = instruction else {
        let why = instruction.and_then(Result::err).unwrap_or(decode::Unsupported::Other);
        if vm.lock().should_log_mistake() {
            host.guest_mistake(format_args!("vCPU {}: {why}, at {ipa}", vcpu.index));
        }
        return Outcome::Nothing;
    };
    let before = vcpu.registers.clone();
    let registers = decode::Registers { x: &before.frame.x, sp: stack_pointer(vcpu), pc: before.frame.pc };
    let first = instruction.address(&registers);
    // Another CPU may have changed the instruction since, or a second page may be involved: the address that
    // faulted must be one of those that it makes.
    let is_it = instruction.transfers().any(|transfer| Some(Va(first.0.wrapping_add(transfer.offset))) == va);
    if !is_it {
        return Outcome::Nothing;
    }
    for transfer in instruction.transfers() {
        let here = Va(first.0.wrapping_add(transfer.offset));
        let access_kind = match instruction.operation {
            decode::Operation::Load => stage1::Access::Read,
            decode::Operation::Store => stage1::Access::Write,
        };
        let Some(target) = translate(vcpu, host.memory(), here, access_kind) else { return Outcome::Nothing };
        let mut access = instruction.access(transfer, target, &registers);
        if let Direction::Write { value } = access.direction {
            let endianness = before.frame.endianness(before.el1.sctlr);
            access.direction = Direction::Write { value: endianness.to_device(value, access.width.bytes() as u8) };
        }
        let Some(completed) = perform(vm, vcpu, &access, host) else { return Outcome::Nothing };
        complete(vcpu, completed);
    }
    match instruction.written_back(&registers) {
        Some((Base::Register(register), value)) => vcpu.registers.frame.set(register, value),
        Some((Base::StackPointer, value)) => set_stack_pointer(vcpu, value),
        Some((Base::ProgramCounter, _)) | None => {}
    }
    Outcome::Done
}

/// SP as the guest's present level sees it. SP_EL0 and SP_EL1 are true after [`Host::borrow_el1`].
fn stack_pointer(vcpu: &Vcpu) -> u64 {
    match vcpu.registers.frame.level() {
        Level::El1h => vcpu.registers.el1.sp_el1,
        _ => vcpu.registers.el1.sp_el0,
    }
}

fn set_stack_pointer(vcpu: &mut Vcpu, value: u64) {
    match vcpu.registers.frame.level() {
        Level::El1h => vcpu.registers.el1.sp_el1 = value,
        _ => vcpu.registers.el1.sp_el0 = value,
    }
}

/// The guest's own translation of the PC. EL1's registers are true after [`Host::borrow_el1`].
pub(crate) fn translate_fetch(vcpu: &Vcpu, memory: &impl GuestMemory) -> Option<Ipa> {
    translate(vcpu, memory, Va(vcpu.registers.frame.pc), stage1::Access::Execute)
}

fn translate(vcpu: &Vcpu, memory: &impl GuestMemory, va: Va, access: stage1::Access) -> Option<Ipa> {
    let el1 = &vcpu.registers.el1;
    let regime = Regime {
        sctlr: el1.sctlr,
        tcr: el1.tcr,
        ttbr0: el1.ttbr0,
        ttbr1: el1.ttbr1,
        mair: el1.mair,
        pan: vcpu.registers.frame.pstate & PAN != 0,
    };
    let level = if vcpu.registers.frame.level().is_el0() { El::El0 } else { El::El1 };
    stage1::translate(memory, &regime, va, access, level).ok().map(|translation| translation.ipa)
}

/// Carries an access out on whatever lies there; `None` for nothing.
fn perform(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, access: &Access, host: &mut impl Host) -> Option<Completed> {
    let mut shared = vm.lock();
    let (device, offset) = shared.bus.find(access.ipa, access.width)?;
    match device {
        Device::Distributor | Device::Redistributors(_) => Some(gic(&mut shared, vcpu, access, device, offset, host)),
        Device::Uart => {
            let completed = access.perform(shared.uart.as_mut()?, offset);
            shared.collect_output(host);
            shared.offer_input();
            let notify = shared.settle_lines();
            host.notify(&notify);
            Some(completed)
        }
        Device::Clock => {
            let seconds = host.seconds();
            let clock = shared.clock.as_mut()?;
            clock.advance(seconds);
            let completed = access.perform(clock, offset);
            let notify = shared.settle_lines();
            host.notify(&notify);
            Some(completed)
        }
    }
}

/// An access to the interrupt controller: the vCPU's list registers are taken back first, since they hold a part
/// of its state.
fn gic(shared: &mut Vm, vcpu: &Vcpu, access: &Access, device: Device, offset: u64, host: &mut impl Host) -> Completed {
    use vambrace_interrupts::Width as GicWidth;

    let index = usize::from(vcpu.index);
    let mut notify = shared.gic.fold(index, &host.interrupt_interface());
    let width = GicWidth::from_bytes(access.width.bytes()).unwrap_or(GicWidth::Word);
    let (target, offset) = match device {
        Device::Redistributors(first) => {
            (Some(usize::from(first) + (offset / layout::GICR_STRIDE) as usize), offset % layout::GICR_STRIDE)
        }
        _ => (None, offset),
    };
    let raw = match (access.direction, target) {
        (Direction::Read(_), None) => shared.gic.read_distributor(offset, width),
        (Direction::Read(_), Some(target)) => shared.gic.read_redistributor(target, offset, width),
        (Direction::Write { value }, None) => {
            notify.extend(&shared.gic.write_distributor(offset, width, value));
            0
        }
        (Direction::Write { value }, Some(target)) => {
            notify.extend(&shared.gic.write_redistributor(target, offset, width, value));
            0
        }
    };
    refill(shared, vcpu, host);
    host.notify(&notify);
    access.complete(raw)
}

/// Lends the vCPU's interrupts to the machine again.
pub(crate) fn refill(shared: &mut Vm, vcpu: &Vcpu, host: &mut impl Host) {
    if let Some(interface) = shared.gic.fill(usize::from(vcpu.index)) {
        host.set_interrupt_interface(interface);
    }
}

/// The vCPU alone, as a set.
pub(crate) fn only(vcpu: &Vcpu) -> VcpuSet {
    VcpuSet::from_iter([usize::from(vcpu.index)])
}

/// A T32 instruction may be 2 bytes long; everything else is 4.
pub(crate) const A64: InstructionLength = InstructionLength::Four;
