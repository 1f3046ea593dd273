// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM's CPUs share: interrupt controller, devices, power states, lifecycle.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vambrace_cpu::id_registers::IdRegisters;
use vambrace_cpu::power::{CpuEntry, PowerStates};
use vambrace_cpu::pstate::Endianness;
use vambrace_ids::VcpuId;
use vambrace_interrupts::{
    ConfigError, LineLevel, VcpuSet, Vgic, VgicConfig, VirtualCpuInterface, Width as GicWidth,
};
use vambrace_io::bus::{Bus, BusError, Direction, MmioAccess, MmioDevice};
use vambrace_io::doorbell::Doorbell;
use vambrace_io::pl011::Pl011;
use vambrace_io::platform::Time;
use vambrace_memory::{Ipa, IpaRange};
use vambrace_state::{Version, restore_fields};
use vambrace_wire::bundle::VmConfig;
use vambrace_wire::message::ResetCause;

use crate::devices::{Device, Devices};
use crate::host::Output;
use crate::layout;
use crate::lifecycle::{Lifecycle, VirtualTime};
use crate::mmio::Target;
use crate::vcpu::Vcpu;
use crate::virtio::Slots;
use console::{Console, Unfinished};

pub use console::Input;

mod channels;
pub(crate) mod console;
mod devices;

/// After this many in a boot epoch, loops of exceptions are no longer logged. What loops has made an error each time round.
const LOGGED_LOOPS: u32 = 2;

/// GICR_ICPENDR0, from the start of a redistributor's frames.
const GICR_ICPENDR0: u64 = 0x1_0280;

/// Whether a result is the VM's.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// It is.
    Now,
    /// It gave another one before.
    Before,
}

/// What lies on the MMIO bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BusDevice {
    /// The GIC's distributor.
    Distributor,
    /// Redistributors, from that of this vCPU on.
    Redistributors(VcpuId),
    /// A platform device.
    Platform(Device),
    /// The virtio device in this slot.
    Virtio(u8),
    /// The doorbell of this one of the VM's channels.
    Doorbell(u8),
}

/// The machine's properties that a VM is built on.
#[derive(Clone, Debug)]
pub struct Platform {
    /// What the VM's CPUs look like.
    pub id_registers: IdRegisters,
    /// Priority bits of the virtual CPU interface.
    pub priority_bits: u8,
    /// Preemption bits of the virtual CPU interface.
    pub preemption_bits: u8,
    /// List registers.
    pub list_registers: u8,
}

/// Why a VM could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Its interrupt controller cannot be.
    #[error("{0}")]
    Gic(#[from] ConfigError),
    /// Its devices overlap.
    #[error("{0}")]
    Bus(#[from] BusError),
}

/// Where a VM has memory. The map never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryMap {
    /// RAM from [`layout::RAM`] on, in bytes.
    pub ram: u64,
    /// Flash, which a VM can execute and not write.
    pub flash: bool,
}

impl MemoryMap {
    /// Whether a CPU can start at an address.
    #[must_use]
    pub fn is_executable(&self, address: Ipa) -> bool {
        IpaRange::clamped(layout::RAM, self.ram).contains(address) || self.is_rom(address, 1)
    }

    /// Whether the `len` bytes at an address are memory that cannot be written.
    #[must_use]
    pub fn is_rom(&self, address: Ipa, len: u64) -> bool {
        let accessed = IpaRange::new(address, len);
        self.flash && accessed.is_some_and(|accessed| layout::FLASH.contains_range(accessed))
    }
}

/// A VM, but for its CPUs' registers and its RAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    version: Version<1>,
    /// Its name.
    pub name: String,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) time: VirtualTime,
    /// How often it has been reset.
    pub resets: u32,
    /// Why it was reset last.
    pub reset_cause: Option<ResetCause>,
    /// Which of its CPUs are on.
    pub power: PowerStates,
    /// Its interrupt controller.
    pub gic: Vgic,
    /// What its CPUs look like.
    pub id_registers: IdRegisters,
    /// Its address space outside RAM.
    pub bus: Bus<BusDevice>,
    /// Its platform devices.
    pub devices: Devices,
    /// Its memory.
    pub memory: MemoryMap,
    /// How its first CPU starts.
    entry: CpuEntry,
    pub(crate) virtio: Slots,
    pub(crate) doorbells: Vec<Doorbell>,
    pub(crate) console: Console,
    /// The number that it has given as its result since its last reset.
    result: Option<u32>,
    loops: u32,
}

restore_fields!(Vm {
    whole version,
    text name,
    whole lifecycle,
    whole time,
    whole resets,
    whole reset_cause,
    part power,
    part gic,
    same id_registers,
    part bus,
    part devices,
    same memory,
    same entry,
    part virtio,
    parts doorbells,
    whole console,
    whole result,
    whole loops,
});

impl core::fmt::Display for MemoryMap {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} MiB of RAM and {} flash", self.ram >> 20, if self.flash { "a" } else { "no" })
    }
}

impl Vm {
    /// Builds a VM in its reset state, with all CPUs off. The only place that allocates.
    ///
    /// # Errors
    /// [`BuildError`] when the description cannot be met.
    pub fn new(config: &VmConfig, platform: &Platform, seconds: u64) -> Result<Self, BuildError> {
        let count = u16::try_from(config.vcpus.len()).unwrap_or(u16::MAX);
        let affinities: Vec<u64> = (0..count).map(VcpuId::new).map(layout::affinity).collect();
        let mut bus = Bus::new();
        bus.add(layout::GICD.start(), layout::GICD.len(), BusDevice::Distributor)?;
        let low = u64::from(count).min(layout::GICR_COUNT);
        bus.add(layout::GICR, low * layout::GICR_STRIDE, BusDevice::Redistributors(VcpuId::new(0)))?;
        let high = u64::from(count) - low;
        if high > 0 {
            let first = BusDevice::Redistributors(VcpuId::new(low as u16));
            bus.add(layout::GICR_HIGH, high * layout::GICR_STRIDE, first)?;
        }
        for device in Device::ALL.into_iter().filter(|device| device.is_in(config.devices)) {
            bus.add(device.range().start(), device.range().len(), BusDevice::Platform(device))?;
        }
        for slot in 0..config.virtio.len() as u8 {
            let place = layout::VIRTIO.place(slot.into());
            bus.add(place.start(), place.len(), BusDevice::Virtio(slot))?;
        }
        for channel in 0..config.channels.len() as u8 {
            let place = layout::DOORBELLS.place(channel.into());
            bus.add(place.start(), place.len(), BusDevice::Doorbell(channel))?;
        }
        let mut ends: Vec<u16> = [low as u16, count].into();
        ends.dedup();
        let gic = Vgic::new(VgicConfig {
            region_ends: ends.iter().filter_map(|end| end.checked_sub(1)).map(VcpuId::new).collect(),
            spi_count: layout::SPI_COUNT,
            priority_bits: platform.priority_bits,
            preemption_bits: platform.preemption_bits,
            list_registers: platform.list_registers,
            affinities: affinities.clone(),
        })?;
        Ok(Self {
            version: Version,
            name: config.name.clone(),
            lifecycle: Lifecycle::Created,
            time: VirtualTime::default(),
            resets: 0,
            reset_cause: None,
            power: PowerStates::new(affinities),
            gic,
            id_registers: platform.id_registers.clone(),
            bus,
            devices: Devices::new(config.devices, Time { seconds, count: 0 }),
            memory: MemoryMap { ram: config.memory, flash: config.flash },
            entry: CpuEntry {
                address: Ipa(config.entry),
                context: config.boot_argument,
                endianness: Endianness::Little,
            },
            virtio: Slots::new(&config.virtio),
            doorbells: config.channels.iter().map(|it| Doorbell::new(it.number, it.members)).collect(),
            console: Console::default(),
            result: None,
            loops: 0,
        })
    }

    /// Puts everything back as after [`Vm::new`], but for the count of resets and their cause, the wall clock's time, and what is
    /// on its way to or from the console: that is outside the VM. No CPU of the VM may be running.
    pub fn reset(&mut self) {
        self.lifecycle.restart();
        self.time = VirtualTime::default();
        self.power.all_off();
        self.devices.reset();
        self.virtio.reset();
        self.doorbells.iter_mut().for_each(MmioDevice::reset);
        // Nobody runs whom the lines could interest; each CPU looks afresh when it starts.
        let _ = self.update_irq_lines();
        let _ = self.update_all_virtio_lines();
        for channel in 0..self.doorbells.len() {
            let _ = self.update_doorbell_line(channel);
        }
        for vcpu in self.gic.vcpu_ids() {
            let _ = self.gic.set_ppi_level(vcpu, layout::PHYSICAL_TIMER_INTID, LineLevel::Low);
        }
        self.gic.reset();
        self.result = None;
        self.loops = 0;
        self.offer_input();
    }

    /// Switches the first CPU on; it starts when its physical CPU next looks.
    pub(crate) fn power_on(&mut self) {
        // Refused only when it is on already.
        let _ = self.power.begin_on(VcpuId::new(0), self.entry);
    }

    /// Takes the VM's result. The first of a boot epoch stands, so that no guest can fill the line by giving others.
    pub(crate) fn give_result(&mut self, number: u32) -> Given {
        if self.result.is_some() {
            return Given::Before;
        }
        self.result = Some(number);
        Given::Now
    }

    /// What an access of a width finds at its address, if one thing has all of it.
    pub(crate) fn target(&self, access: &MmioAccess) -> Option<Target> {
        if let Some((device, offset)) = self.bus.find(access.ipa, access.width) {
            return Some(Target::Device(device, offset));
        }
        let is_ignored = matches!(access.direction, Direction::Write { .. })
            && self.memory.is_rom(access.ipa, access.width.bytes());
        is_ignored.then_some(Target::Rom)
    }

    /// Flushes a vCPU's interrupts to its list registers: [`Vgic::flush`], for one that is entered as it is now.
    pub fn flush_interrupts(&mut self, vcpu: &Vcpu) -> Option<&VirtualCpuInterface> {
        self.gic.set_masked_groups(vcpu.id, vcpu.registers.frame.masked_groups());
        self.gic.flush(vcpu.id)
    }

    /// Brings a vCPU's physical timer's line to the GIC when time has passed.
    #[inline]
    pub fn advance_physical_timer(&mut self, vcpu: &Vcpu, now: u64) -> VcpuSet {
        // The line of one that does not run went low when it was stopped.
        if vcpu.physical_timer.deadline().is_none() {
            return VcpuSet::new();
        }
        self.update_physical_timer_line(vcpu, now)
    }

    /// Brings a vCPU's physical timer's line to the GIC, of one that was just written to.
    pub fn update_physical_timer_line(&mut self, vcpu: &Vcpu, now: u64) -> VcpuSet {
        let level = if vcpu.physical_timer.line(now) { LineLevel::High } else { LineLevel::Low };
        self.gic.set_ppi_level(vcpu.id, layout::PHYSICAL_TIMER_INTID, level)
    }

    /// A vCPU's virtual timer is asserted no longer: what was made pending for it, and has not been taken, goes. The
    /// vCPU is synced. Without this a guest that looks at its timer before its interrupt would be interrupted for
    /// nothing later.
    #[must_use = "the vCPUs must be notified"]
    pub fn retract_virtual_timer(&mut self, vcpu: VcpuId) -> VcpuSet {
        if !self.gic.is_hw_active(vcpu, layout::VIRTUAL_TIMER_INTID) {
            return VcpuSet::new();
        }
        self.gic.write_redistributor(
            vcpu,
            GICR_ICPENDR0,
            GicWidth::Word,
            1 << layout::VIRTUAL_TIMER_INTID.get(),
        )
    }

    /// Keys for the console, as many as there is room for.
    #[must_use = "the vCPUs must be notified"]
    pub fn type_keys(&mut self, keys: &[u8]) -> VcpuSet {
        self.receive_input(keys.iter().map(|key| Input::Key(*key))).1
    }

    /// Input for the console: as much as there is room for, and how much that was. Virtio consoles may have work then
    /// ([`Vm::has_work`]).
    #[must_use = "the vCPUs must be notified"]
    pub fn receive_input(&mut self, input: impl Iterator<Item = Input>) -> (usize, VcpuSet) {
        let taken = self.console.add_input(input);
        self.offer_input();
        self.offer_keys();
        (taken, self.update_irq_lines())
    }

    /// How much input waits until the guest has read what came before.
    #[must_use]
    pub fn waiting_input(&self) -> usize {
        self.console.input().len()
    }

    /// Whether a break on the serial line reaches the guest.
    #[must_use]
    pub fn hears_breaks(&self) -> bool {
        self.devices.pl011.is_some()
    }

    /// Moves waiting input into the UART as it has room, and says how much. While the VM stops it waits: a reset would drop
    /// it.
    pub(crate) fn offer_input(&mut self) -> usize {
        let Some(uart) = &mut self.devices.pl011 else { return 0 };
        if self.console.input().is_empty() || self.lifecycle.stop_reason().is_some() {
            return 0;
        }
        let mut is_taken = |input: &&Input| match input {
            Input::Key(key) => uart.receive(&[*key]) == 1,
            Input::Break => uart.receive_break() == 1,
        };
        let taken = self.console.input().iter().take_while(|input| is_taken(input)).count();
        self.console.drop_input(taken);
        taken
    }

    /// Takes what the guest has sent, as far as there is room; passes it on by the line, or when there is much of it. The rest
    /// stays in the UART's FIFO, which the guest sees.
    pub(crate) fn collect_output(&mut self, host: &mut impl Output) {
        let Some(uart) = &mut self.devices.pl011 else { return };
        let mut sent = core::iter::from_fn(|| uart.take_output());
        if self.console.put_each(&mut sent, &mut |bytes: &[u8]| host.print(bytes)) == Unfinished::Since {
            host.flush_soon();
        }
    }

    /// Whether the UART holds something that the guest has sent, as there was no room for it.
    pub(crate) fn holds_output(&self) -> bool {
        self.devices.pl011.as_ref().is_some_and(Pl011::holds_output)
    }

    /// There is room for output again, where there was none: passes on what waited, the rest of virtio consoles' in their next
    /// turn ([`Vm::has_work`]).
    #[must_use = "the vCPUs must be notified"]
    pub fn output_has_room(&mut self, print: impl FnMut(&[u8]) -> usize) -> VcpuSet {
        self.flush_console(print);
        self.output_is_ready();
        self.update_irq_lines()
    }

    /// Passes all output on that waits, finished or not, as far as there is room.
    pub fn flush_console(&mut self, mut print: impl FnMut(&[u8]) -> usize) {
        self.console.flush(&mut print);
        if let Some(uart) = &mut self.devices.pl011
            && uart.holds_output()
        {
            let mut sent = core::iter::from_fn(|| uart.take_output());
            let _ = self.console.put_each(&mut sent, &mut print);
            self.console.flush(&mut print);
        }
    }

    /// Whether this loop of exceptions should still be told; counts it.
    pub(crate) fn should_log_loop(&mut self) -> bool {
        self.loops = self.loops.saturating_add(1);
        self.loops <= LOGGED_LOOPS
    }
}
