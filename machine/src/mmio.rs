// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads and stores where there is no RAM, carried out on what lies there.
//!
//! The syndrome usually says what the instruction moves; where it does not (pairs, write-back), the instruction
//! is fetched through the guest's own translation and decoded.

use arrayvec::ArrayVec;
use spin::RelaxStrategy;
use spin::mutex::SpinMutex;
use vambrace_cpu::exit::{self, DataAbort, DataTransfer};
use vambrace_cpu::pstate::ExceptionLevel;
use vambrace_ids::VcpuId;
use vambrace_interrupts::{LineLevel, VcpuSet, Width as GicWidth};
use vambrace_io::bus::{Completed, Destination, Direction, Extension, MmioAccess, RegisterWidth, Width};
use vambrace_io::decode::{Base, Instruction, Operation, Registers, Transfer};
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_memory::{Ipa, Va};

use crate::abort::Refusal;
use crate::devices::Device;
use crate::host::{Clock, GuestRam, Host, LoadedVcpu, Notify, Output};
use crate::layout;
use crate::translation::{self, Stage1Access, read_instruction};
use crate::vcpu::Vcpu;
use crate::vm::{BusDevice, Vm};

/// Carries out the access that faulted at `ipa`, all of it or nothing; but for the step over the instruction.
pub(crate) fn carry_out(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    abort: &DataAbort,
    ipa: Ipa,
    host: &mut impl Host,
) -> Result<(), Refusal> {
    match abort.transfer() {
        Some(transfer) => perform(vm, vcpu, &mut described(transfer, vcpu, abort, ipa), host),
        None => decoded(vm, vcpu, abort, ipa, host),
    }
}

/// The access that the syndrome describes.
fn described(transfer: DataTransfer, vcpu: &Vcpu, abort: &DataAbort, ipa: Ipa) -> MmioAccess {
    let DataTransfer { log2_bytes, register, sign_extends, is_64_bit } = transfer;
    let width = Width::from_log2(log2_bytes.into());
    match abort.direction {
        exit::Direction::Write => MmioAccess::store(ipa, width, vcpu.registers.frame.get(register)),
        exit::Direction::Read => {
            let extension = if sign_extends { Extension::Sign } else { Extension::Zero };
            let register_width = if is_64_bit { RegisterWidth::X } else { RegisterWidth::W };
            MmioAccess::load(ipa, width, Destination { register, extension, register_width })
        }
    }
}

/// An access that the syndrome does not describe: decodes the instruction, checks that it is what faulted, and does
/// all of it.
fn decoded(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    abort: &DataAbort,
    ipa: Ipa,
    host: &mut impl Host,
) -> Result<(), Refusal> {
    let word = match vcpu.registers.frame.level() {
        ExceptionLevel::El0Aarch32 => None,
        _ => read_instruction(vcpu, host),
    };
    let instruction = Instruction::decode(word.ok_or(Refusal::Unreadable)?).map_err(Refusal::Instruction)?;
    // The registers from before: the first of a pair may load what the second's address was made of.
    let x = vcpu.registers.frame.x;
    let registers = Registers { x: &x, sp: stack_pointer(vcpu), pc: vcpu.registers.frame.pc };
    let accesses = accesses(&instruction, &registers, vcpu, abort, ipa, host)?;
    if accesses.iter().any(|access| vm.lock().target(access).is_none()) {
        return Err(Refusal::Nothing);
    }
    for mut access in accesses {
        perform(vm, vcpu, &mut access, host)?;
    }
    match instruction.written_back(&registers) {
        Some((Base::Register(register), value)) => vcpu.registers.frame.set(register, value),
        Some((Base::StackPointer, value)) => *stack_pointer_mut(vcpu) = value,
        Some((Base::ProgramCounter, _)) | None => {}
    }
    Ok(())
}

/// Where the one or two transfers of an instruction go.
fn accesses(
    instruction: &Instruction,
    registers: &Registers<'_>,
    vcpu: &mut Vcpu,
    abort: &DataAbort,
    ipa: Ipa,
    host: &mut (impl LoadedVcpu + GuestRam),
) -> Result<ArrayVec<MmioAccess, 2>, Refusal> {
    let first = instruction.address(registers);
    let address = |transfer: &Transfer| Va(first.0.wrapping_add(transfer.offset));
    // Another CPU may have replaced the instruction since: the address that faulted must be one that it makes.
    let faulted = abort.va.filter(|va| instruction.transfers().any(|transfer| address(&transfer) == *va));
    let faulted = faulted.ok_or(Refusal::Unreadable)?;
    let kind = match instruction.operation {
        Operation::Load => Stage1Access::Read,
        Operation::Store => Stage1Access::Write,
    };
    let mut accesses = ArrayVec::new();
    for transfer in instruction.transfers() {
        let va = address(&transfer);
        let target = if va.align_down(PAGE_SIZE) == faulted.align_down(PAGE_SIZE) {
            Ipa(ipa.align_down(PAGE_SIZE).0 | va.0 & (PAGE_SIZE - 1))
        } else {
            translation::translate(vcpu, va, kind, host).map_err(|_| Refusal::Nothing)?.ipa
        };
        accesses
            .try_push(instruction.access(transfer, target, registers))
            .map_err(|_| Refusal::Unreadable)?;
    }
    Ok(accesses)
}

/// SP as the guest's present level sees it. True after [`LoadedVcpu::borrow_el1`].
fn stack_pointer(vcpu: &mut Vcpu) -> u64 {
    *stack_pointer_mut(vcpu)
}

fn stack_pointer_mut(vcpu: &mut Vcpu) -> &mut u64 {
    match vcpu.registers.frame.level() {
        ExceptionLevel::El1h => &mut vcpu.registers.el1.sp_el1,
        ExceptionLevel::El1t | ExceptionLevel::El0 | ExceptionLevel::El0Aarch32 => {
            &mut vcpu.registers.el1.sp_el0
        }
    }
}

/// What an access finds at its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A device, and the offset there.
    Device(BusDevice, u64),
    /// Read-only memory, which a store does not change.
    Rom,
}

/// Carries an access of one register out. Devices are little-endian: a big-endian guest's values are turned.
fn perform(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    access: &mut MmioAccess,
    host: &mut impl Host,
) -> Result<(), Refusal> {
    let order = vcpu.registers.frame.endianness(host.sctlr_el1());
    let turn = |value| order.to_device(value, access.width.bytes() as u8);
    if let Direction::Write { value } = &mut access.direction {
        *value = turn(*value);
    }
    let mut shared = vm.lock();
    let raw = match shared.target(access).ok_or(Refusal::Nothing)? {
        Target::Device(device, offset) => exchange(&mut shared, vcpu, access, device, offset, host),
        Target::Rom => 0,
    };
    drop(shared);
    if let Completed::Loaded { register, value } = access.complete(turn(raw)) {
        vcpu.registers.frame.set(register, value);
    }
    Ok(())
}

/// What a load finds in a device; a store gives 0.
fn exchange(
    shared: &mut Vm,
    vcpu: &Vcpu,
    access: &MmioAccess,
    device: BusDevice,
    offset: u64,
    host: &mut impl Host,
) -> u64 {
    match device {
        BusDevice::Distributor => gic(shared, vcpu, access, GicFrame::Distributor, offset, host),
        BusDevice::Redistributors(first) => {
            let target = first.index() + (offset / layout::GICR_STRIDE) as usize;
            // There are as many redistributors as vCPUs.
            let Some(target) = VcpuId::from_index(target) else { return 0 };
            gic(shared, vcpu, access, GicFrame::Redistributor(target), offset % layout::GICR_STRIDE, host)
        }
        BusDevice::Platform(Device::Pl011) => uart(shared, access, offset, host),
        BusDevice::Platform(device) => platform(shared, access, device, offset, host),
        BusDevice::Virtio(slot) => virtio(shared, access, slot.into(), offset, host),
        BusDevice::Doorbell(channel) => doorbell(shared, access, channel.into(), offset, host),
    }
}

/// An access to a platform device. Apart, so that others' accesses do not save registers for it.
#[inline(never)]
fn platform(
    shared: &mut Vm,
    access: &MmioAccess,
    device: Device,
    offset: u64,
    host: &mut (impl Clock + Notify),
) -> u64 {
    let (raw, notify) = shared.access_device(device, access, offset, host.device_time());
    host.notify(&notify);
    raw
}

/// An access to the UART, whose other end is the VM's console.
#[inline(always)]
fn uart(shared: &mut Vm, access: &MmioAccess, offset: u64, host: &mut (impl Output + Notify)) -> u64 {
    let Some(uart) = shared.devices.pl011.as_mut() else { return 0 };
    let line = uart.irq_asserted();
    let raw = access.exchange(uart, offset);
    if matches!(access.direction, Direction::Write { .. }) || shared.holds_output() {
        shared.collect_output(host);
    }
    if shared.offer_input() > 0 {
        host.input_taken(shared.waiting_input());
    }
    if shared.devices.pl011.as_ref().is_some_and(|uart| uart.irq_asserted() != line) {
        host.notify(&shared.update_irq_lines());
    }
    raw
}

/// An access to a virtio device's registers. The work that it may ask for comes later.
fn virtio(shared: &mut Vm, access: &MmioAccess, slot: usize, offset: u64, host: &mut impl Notify) -> u64 {
    let Some(registers) = shared.virtio.registers(slot) else { return 0 };
    let raw = access.exchange(registers, offset);
    shared.virtio.note(slot);
    if shared.has_work() {
        host.serve_virtio_soon();
    }
    let moved = shared.update_virtio_line(slot);
    if !moved.is_empty() {
        host.notify(&moved);
    }
    raw
}

/// An access to a doorbell. The members are notified later, when this VM's lock is no longer held.
fn doorbell(
    shared: &mut Vm,
    access: &MmioAccess,
    channel: usize,
    offset: u64,
    host: &mut impl Notify,
) -> u64 {
    let Some(doorbell) = shared.doorbells.get_mut(channel) else { return 0 };
    let raw = access.exchange(doorbell, offset);
    let mask = doorbell.take_doorbell_mask();
    if mask != 0 {
        host.notify_members(channel, mask);
    }
    let moved = shared.update_doorbell_line(channel);
    if !moved.is_empty() {
        host.notify(&moved);
    }
    raw
}

/// A frame of the interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GicFrame {
    Distributor,
    /// Of this vCPU.
    Redistributor(VcpuId),
}

/// An access to the interrupt controller: the vCPU's list registers are taken back first, since they hold a part
/// of its state, unless this access has nothing to do with it.
fn gic(
    shared: &mut Vm,
    vcpu: &Vcpu,
    access: &MmioAccess,
    frame: GicFrame,
    offset: u64,
    host: &mut (impl Clock + LoadedVcpu + Notify),
) -> u64 {
    let width = GicWidth::from_bytes(access.width.bytes()).unwrap_or(GicWidth::Word);
    // What the vCPU's physical timer has come to by now shows here too.
    let mut notify = match frame {
        GicFrame::Redistributor(of) if of == vcpu.id => shared.advance_physical_timer(vcpu, host.now()),
        GicFrame::Redistributor(_) | GicFrame::Distributor => VcpuSet::new(),
    };
    let is_synced = match (access.direction, frame) {
        (Direction::Read(_), GicFrame::Distributor) => shared.gic.reads_synced(offset),
        (Direction::Write { .. }, GicFrame::Distributor) => shared.gic.is_synced(offset),
        (Direction::Read(_), GicFrame::Redistributor(of)) => {
            shared.gic.reads_synced_redistributor(of, offset)
        }
        (Direction::Write { .. }, GicFrame::Redistributor(of)) => {
            shared.gic.is_redistributor_synced(of, offset)
        }
    };
    notify.extend(&if is_synced { retract_timer(shared, vcpu, host) } else { take_back(shared, vcpu, host) });
    if !is_synced {
        // Who holds a part of what is read in its list registers comes and brings it: a guest that polls until an
        // interrupt is no longer active sees that, even if the vCPU that handled it has nothing else to exit for.
        notify.extend(&match frame {
            GicFrame::Distributor => shared.gic.distributor_lr_owners(offset),
            GicFrame::Redistributor(of) => shared.gic.redistributor_lr_owners(of, offset),
        });
    }
    let raw = match (access.direction, frame) {
        (Direction::Read(_), GicFrame::Distributor) => shared.gic.read_distributor(offset, width),
        (Direction::Read(_), GicFrame::Redistributor(of)) => shared.gic.read_redistributor(of, offset, width),
        (Direction::Write { value }, GicFrame::Distributor) => {
            notify.extend(&shared.gic.write_distributor(offset, width, value));
            0
        }
        (Direction::Write { value }, GicFrame::Redistributor(of)) => {
            notify.extend(&shared.gic.write_redistributor(of, offset, width, value));
            0
        }
    };
    if is_synced {
        if notify.is_empty() {
            return raw;
        }
        notify.extend(&take_back(shared, vcpu, host));
    }
    flush_lrs(shared, vcpu, host);
    host.notify(&notify);
    raw
}

/// Takes the vCPU's interrupts back from the hardware. Returns the vCPUs that have to look again.
pub(crate) fn take_back(shared: &mut Vm, vcpu: &Vcpu, host: &mut impl LoadedVcpu) -> VcpuSet {
    let mut notify = shared.gic.sync_from(vcpu.id, |known| host.read_interrupts(known));
    notify.extend(&retract_timer(shared, vcpu, host));
    notify
}

/// The virtual timer's interrupt does not pend any more if the guest has moved the timer on.
fn retract_timer(shared: &mut Vm, vcpu: &Vcpu, host: &impl LoadedVcpu) -> VcpuSet {
    match host.virtual_timer_line() {
        LineLevel::Low => shared.retract_virtual_timer(vcpu.id),
        LineLevel::High => VcpuSet::new(),
    }
}

/// Flushes the vCPU's interrupts to the hardware's list registers again.
pub(crate) fn flush_lrs(shared: &mut Vm, vcpu: &Vcpu, host: &mut impl LoadedVcpu) {
    if let Some(interface) = shared.flush_interrupts(vcpu) {
        host.set_interrupt_interface(interface);
    }
}
