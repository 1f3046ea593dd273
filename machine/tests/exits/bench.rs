// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM on a workbench: its exits are made up, and the machine below it is plain values.
//!
//! The bench is as strict as EL2 is: a vCPU's EL1 registers are garbage until they are borrowed, its list registers
//! are the machine's, memory has canaries around it, and after each exit what must always hold is checked.

use std::fmt::Write;

use spin::mutex::SpinMutex;
use vambrace_cpu::exit::{Direction, Exit, SystemRegisterAccess};
use vambrace_cpu::id_registers::{HostIdRegisters, IdRegisters};
use vambrace_cpu::power::Power;
use vambrace_cpu::registers::{DebugRegisters, El1Registers, TrapFrame};
use vambrace_cpu::smccc::NoEntropy;
use vambrace_cpu::syndrome::{InstructionLength, Syndrome};
use vambrace_cpu::sysreg::SysReg;
use vambrace_interrupts::{LineLevel, VcpuSet, VirtualCpuInterface};
use vambrace_io::platform::Time;
use vambrace_machine::fast::wait;
use vambrace_machine::host::{Clock, Entropy, GuestRam, LoadedVcpu, Notify, Output, Report};
use vambrace_machine::vm::Platform;
use vambrace_machine::{Resume, Vcpu, Vm, devices, handle, layout};
use vambrace_memory::GuestMemory;
use vambrace_memory::features::Features;
use vambrace_wire::bundle::assigned::RamPlacement;
use vambrace_wire::bundle::channel::{ChannelAccess, MAX_CHANNELS, Membership};
use vambrace_wire::bundle::{VcpuConfig, VmConfig};

use crate::fast;
use crate::ram::Ram;

/// RAM of each VM here, in bytes.
pub(crate) const RAM_SIZE: u64 = 64 << 10;
/// Where code runs.
pub(crate) const CODE: u64 = layout::RAM.0 + 0x1000;
/// Where exception vectors are.
pub(crate) const VECTORS: u64 = layout::RAM.0 + 0x8000;
/// List registers of the machine.
pub(crate) const LIST_REGISTERS: u8 = 4;
/// EL1 with SP_EL1, everything masked.
pub(crate) const EL1H: u64 = 0x3C5;

/// The physical CPU of one vCPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Core {
    /// What the machine's EL1 registers hold.
    pub(crate) el1: El1Registers,
    /// What the machine's virtual CPU interface holds.
    pub(crate) interface: VirtualCpuInterface,
    /// DBGBVR, DBGBCR, DBGWVR and DBGWCR of each number.
    debug: [[u64; 4]; 6],
}

impl Core {
    /// What the virtual CPU interface holds, of as many list registers as `known` says are in use.
    pub(crate) fn read_interrupts(&self, known: &mut VirtualCpuInterface) {
        *known = VirtualCpuInterface { used: known.used, ..self.interface.clone() };
    }

    /// Writes the lists and ICH_HCR_EL2 only: the rest is the guest's, and stays.
    pub(crate) fn set_interrupt_interface(&mut self, interface: &VirtualCpuInterface) {
        self.interface.lr = interface.lr;
        self.interface.used = interface.used;
        self.interface.hcr = interface.hcr;
    }

    /// Saves the core's debug registers.
    pub(crate) fn save_debug(&self, to: &mut DebugRegisters) {
        for (n, held) in self.debug.iter().enumerate() {
            [to.breakpoint_value[n], to.breakpoint_control[n]] = [held[0], held[1]];
            [to.watchpoint_value[n], to.watchpoint_control[n]] = [held[2], held[3]];
        }
    }

    /// Loads them into the core.
    pub(crate) fn load_debug(&mut self, from: &DebugRegisters) {
        for (n, held) in self.debug.iter_mut().enumerate() {
            *held = [
                from.breakpoint_value[n],
                from.breakpoint_control[n],
                from.watchpoint_value[n],
                from.watchpoint_control[n],
            ];
        }
    }
}

/// The machine.
pub(crate) struct FakeHost {
    pub(crate) ram: Ram,
    pub(crate) cores: Vec<Core>,
    pub(crate) now: u64,
    pub(crate) seconds: u64,
    /// The byte that entropy consists of, if there is any.
    pub(crate) entropy: Option<u8>,
    pub(crate) timer_line: LineLevel,
    /// vCPUs that were told to look.
    pub(crate) notified: VcpuSet,
    /// What the console has printed.
    pub(crate) printed: Vec<u8>,
    /// How much more it takes.
    pub(crate) room: usize,
    pub(crate) flush_asked: bool,
    pub(crate) work_asked: bool,
    /// How much input waits in the console since the guest last took some.
    pub(crate) input_waits: usize,
    /// For each channel, the members that the guest has notified.
    pub(crate) doorbell_masks: [u32; MAX_CHANNELS],
    /// What the guest did wrong, a line each.
    pub(crate) guest_errors: String,
    /// The results that were told.
    pub(crate) results: Vec<u32>,
    /// Bytes of memory cleaned, and in how many steps.
    pub(crate) cleaned: (u64, u64),
    current: usize,
    borrowed: bool,
}

/// Bytes cleaned in one step.
pub(crate) const CLEAN_STEP: u64 = RAM_SIZE / 4;

impl FakeHost {
    pub(crate) fn new(vcpus: usize) -> Self {
        Self {
            ram: Ram::new(),
            cores: vec![Core::default(); vcpus],
            now: 1_000_000,
            seconds: 1_800_000_000,
            entropy: Some(0x5A),
            timer_line: LineLevel::Low,
            notified: VcpuSet::new(),
            printed: Vec::with_capacity(1 << 16),
            room: usize::MAX,
            flush_asked: false,
            work_asked: false,
            input_waits: 0,
            doorbell_masks: [0; MAX_CHANNELS],
            guest_errors: String::with_capacity(1 << 16),
            results: Vec::with_capacity(16),
            cleaned: (0, 0),
            current: 0,
            borrowed: false,
        }
    }

    fn core(&mut self) -> &mut Core {
        &mut self.cores[self.current]
    }
}

impl Clock for FakeHost {
    fn now(&self) -> u64 {
        self.now
    }

    fn device_time(&self) -> Time {
        Time { seconds: self.seconds, count: self.now }
    }
}

impl LoadedVcpu for FakeHost {
    fn sctlr_el1(&self) -> u64 {
        self.cores[self.current].el1.sctlr
    }

    fn virtual_timer_line(&self) -> LineLevel {
        self.timer_line
    }

    fn borrow_el1(&mut self, vcpu: &mut Vcpu) {
        if !self.borrowed {
            vcpu.registers.el1 = self.core().el1.clone();
            self.borrowed = true;
        }
    }

    fn debug_register(
        &mut self,
        access: SystemRegisterAccess,
        operand: u64,
        _: &DebugRegisters,
    ) -> Option<u64> {
        let SystemRegisterAccess { register: SysReg { crm, op2, .. }, direction, .. } = access;
        let core = self.core();
        let held = core.debug.get_mut(usize::from(crm))?.get_mut(usize::from(op2).checked_sub(4)?)?;
        if direction == Direction::Write {
            *held = operand;
        }
        Some(*held)
    }

    fn read_interrupts(&mut self, known: &mut VirtualCpuInterface) {
        self.core().read_interrupts(known);
    }

    fn set_interrupt_interface(&mut self, interface: &VirtualCpuInterface) {
        self.core().set_interrupt_interface(interface);
    }

    fn set_whole_interface(&mut self, interface: &VirtualCpuInterface) {
        self.core().interface = interface.clone();
    }
}

impl GuestRam for FakeHost {
    fn memory(&self) -> impl GuestMemory {
        &self.ram
    }

    fn translation_features(&self) -> Features {
        Features::ARMV8_0
    }

    fn clean_memory(&mut self, done: u64) -> Option<u64> {
        let len = CLEAN_STEP.min(RAM_SIZE.saturating_sub(done));
        self.cleaned = (self.cleaned.0 + len, self.cleaned.1 + 1);
        let done = done + len;
        (done < RAM_SIZE).then_some(done)
    }
}

impl Output for FakeHost {
    fn print(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.printed.extend_from_slice(&bytes[..taken]);
        taken
    }

    fn flush_soon(&mut self) {
        self.flush_asked = true;
    }

    fn input_taken(&mut self, waiting: usize) {
        self.input_waits = waiting;
    }
}

impl Notify for FakeHost {
    fn notify(&mut self, vcpus: &VcpuSet) {
        self.notified.extend(vcpus);
    }

    fn notify_members(&mut self, channel: usize, members: u32) {
        self.doorbell_masks[channel] |= members;
    }

    fn serve_virtio_soon(&mut self) {
        self.work_asked = true;
    }
}

impl Entropy for FakeHost {
    fn entropy(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        bytes.fill(self.entropy.ok_or(NoEntropy)?);
        Ok(())
    }
}

impl Report for FakeHost {
    fn result(&mut self, number: u32) {
        self.results.push(number);
    }

    fn guest_error(&mut self, text: core::fmt::Arguments<'_>) {
        // Told of as often as it happens, and kept once, so that what is kept has room.
        let before = self.guest_errors.len();
        writeln!(self.guest_errors, "{text}").expect("a string takes all");
        let (earlier, new) = self.guest_errors.split_at(before);
        if earlier.ends_with(new) {
            self.guest_errors.truncate(before);
        }
    }
}

/// A description with so many vCPUs, with flash or without.
pub(crate) fn config(vcpus: usize, flash: bool) -> VmConfig {
    VmConfig {
        name: "subject".into(),
        memory: RAM_SIZE,
        vcpus: vec![VcpuConfig::default(); vcpus],
        weight: 100,
        loads: Vec::new(),
        flash,
        entry: CODE,
        boot_argument: 7,
        seeds: Vec::new(),
        devices: devices::DEFAULT,
        virtio: Vec::new(),
        placement: RamPlacement::Anywhere,
        registers: Vec::new(),
        slots: Vec::new(),
        channels: vec![Membership { channel: 0, number: 1, members: 3, access: ChannelAccess::ReadWrite }],
        interrupts: Vec::new(),
        after: None,
    }
}

/// A machine that has every feature there is, and some that are yet to be.
pub(crate) fn platform() -> Platform {
    let mut host = HostIdRegisters::default();
    for register in HostIdRegisters::REGISTERS {
        // EL0 and EL1 in AArch32 and AArch64, and PAN, as on many machines; all ones in some.
        host.set(*register, if register.crm == 4 { 0x2222_2222_2222_2222 } else { u64::MAX });
    }
    Platform {
        id_registers: IdRegisters::for_vm(&host),
        priority_bits: 5,
        preemption_bits: 5,
        list_registers: LIST_REGISTERS,
    }
}

/// A VM and the machine below it.
pub(crate) struct Bench {
    pub(crate) vm: SpinMutex<Vm>,
    pub(crate) vcpus: Vec<Vcpu>,
    pub(crate) host: FakeHost,
}

impl Bench {
    /// A VM of so many vCPUs; the first runs, the others are off.
    pub(crate) fn new(vcpus: usize) -> Self {
        Self::with_config(&config(vcpus, false))
    }

    /// A VM with flash.
    pub(crate) fn with_flash() -> Self {
        Self::with_config(&config(2, true))
    }

    pub(crate) fn with_config(config: &VmConfig) -> Self {
        let host = FakeHost::new(config.vcpus.len());
        let vm = Vm::new(config, &platform(), host.seconds).expect("it can be built");
        let vcpus = vm.gic.vcpu_ids().map(Vcpu::new).collect();
        let mut bench = Self { vm: SpinMutex::new(vm), vcpus, host };
        bench.vm.lock().start(bench.host.now).expect("it was made just now");
        bench.start_pending();
        bench
    }

    /// Lets all CPUs start that are pending, as EL2 does when it is notified.
    pub(crate) fn start_pending(&mut self) {
        for (vcpu, core) in self.vcpus.iter_mut().zip(&mut self.host.cores) {
            let entry = self.vm.lock().power.take_pending(vcpu.id);
            if let Some(entry) = entry {
                vcpu.start(entry);
                vcpu.registers.el1.vbar = VECTORS;
                core.el1 = vcpu.registers.el1.clone();
                let _ = self.vm.lock().gic.reset_interface(vcpu.id);
            }
        }
    }

    /// The first vCPU's frame.
    pub(crate) fn frame(&mut self) -> &mut TrapFrame {
        &mut self.vcpus[0].registers.frame
    }

    /// What the first vCPU's EL1 registers hold.
    pub(crate) fn el1(&mut self) -> &mut El1Registers {
        &mut self.host.cores[0].el1
    }

    /// An exit of the first vCPU.
    pub(crate) fn exit(&mut self, esr: Syndrome) -> Resume {
        self.exit_of(0, esr.0, 0, 0)
    }

    /// An exit as ESR_EL2, FAR_EL2 and HPFAR_EL2 tell of it.
    pub(crate) fn exit_of(&mut self, index: usize, esr: u64, far: u64, hpfar: u64) -> Resume {
        let predicted = fast::predict(self, index, [esr, far, hpfar]);
        let vcpu = &mut self.vcpus[index];
        self.host.current = index;
        self.host.borrowed = false;
        vcpu.registers.el1 = garbage();
        vcpu.recent.push(esr, vcpu.registers.frame.pc);
        let mut waiting = vcpu.clone();
        let waits = wait(&mut waiting, esr);
        assert!(waits || waiting == *vcpu, "left to the long way, and yet something has changed");
        let mut resume = None;
        let allocations = allocation_counter::measure(|| {
            resume = Some(handle(&self.vm, vcpu, Exit::decode(esr, far, hpfar), &mut self.host));
        });
        assert_eq!(allocations.count_total, 0, "an exit allocates");
        let resume = resume.expect("it has been served");
        if waits {
            assert_eq!((resume, &waiting), (Resume::Wait(None), &*vcpu), "the short way waits otherwise");
        }
        if let Some(predicted) = predicted {
            let interface = &self.host.cores[index].interface;
            predicted.check(vcpu, &self.vm.lock(), interface, &self.host.notified, resume);
        }
        if self.host.borrowed {
            self.host.cores[index].el1 = vcpu.registers.el1.clone();
        } else {
            assert_eq!(vcpu.registers.el1, garbage(), "changed without being borrowed");
            vcpu.registers.el1 = self.host.cores[index].el1.clone();
        }
        self.check(index, resume);
        resume
    }

    /// What holds after every exit.
    fn check(&self, index: usize, resume: Resume) {
        let frame = &self.vcpus[index].registers.frame;
        let mode = frame.pstate & 0x1F;
        assert!(mode & 0x10 != 0 || matches!(mode, 0 | 4 | 5), "PSTATE {:#x}", frame.pstate);
        assert_eq!(self.host.ram.writes.get(), 0, "no exit writes to memory");
        let vm = self.vm.lock();
        if let Resume::Suspend(entry) = resume {
            assert!(vm.memory.is_executable(entry.address));
        }
        if let Power::OnPending(entry) = vm.power.get(self.vcpus[index].id) {
            assert!(vm.memory.is_executable(entry.address));
        }
        assert!(self.host.notified.iter().all(|vcpu| vcpu.index() < self.vcpus.len()), "tells a stranger");
        let interface = &self.host.cores[index].interface;
        assert!(interface.used <= LIST_REGISTERS);
        assert!(interface.lr.iter().skip(interface.used.into()).all(|lr| *lr == 0));
    }

    /// ESR_EL1, if the first vCPU is at one of its handlers.
    pub(crate) fn taken_syndrome(&mut self) -> Option<Syndrome> {
        let vectors = self.el1().vbar;
        [0, 0x200, 0x400, 0x600]
            .contains(&self.frame().pc.wrapping_sub(vectors))
            .then(|| Syndrome(self.el1().esr))
    }
}

/// Registers that nobody should rely on.
fn garbage() -> El1Registers {
    El1Registers {
        sctlr: 0xBAD0_BAD0,
        vbar: 0xBAD0_0000,
        sp_el1: 0xBAD1,
        elr: 0xBAD2,
        ..El1Registers::default()
    }
}

/// A syndrome of an instruction of 4 bytes.
pub(crate) fn syndrome(class: u8, iss: u32) -> Syndrome {
    Syndrome::new(class, InstructionLength::Four, iss)
}
