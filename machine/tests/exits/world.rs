// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM with virtio devices in the middle of their work, and all that lies around it: backends, input and frames on their way, and
//! which vCPUs are loaded.
//!
//! A vCPU that waits, is off or is paused is not loaded, as in EL2: its list registers are put, and what its core holds is
//! lost.

use vambrace_cpu::exit::Wait;
use vambrace_cpu::syndrome::class;
use vambrace_cpu::sysreg::SysReg;
use vambrace_ids::VcpuId;
use vambrace_interrupts::{LineLevel, Put, VcpuRunState, Width as GicWidth};
use vambrace_io::virtio::mmio::registers;
use vambrace_io::virtio::net::{Frame, FrameQueue, Offload};
use vambrace_io::virtio::quota::Quota;
use vambrace_machine::devices::{self, Device};
use vambrace_machine::inbox::Inbox;
use vambrace_machine::vcpu::MpState;
use vambrace_machine::virtio::PollStep;
use vambrace_machine::vm::Input;
use vambrace_machine::{Resume, Vcpu, Vm, layout};
use vambrace_wire::bundle::VmConfig;
use vambrace_wire::bundle::io::{self, Backing, DiskAccess, PortAddresses, PortConfig, VirtioDevice};

use crate::access::{TRANSLATION, iss, moves};
use crate::bench::{self, Bench, CODE, Core, platform, syndrome};
use crate::events::Event;
use disk::SlowDisk;
use guest::{QUEUES, RINGS};

pub(crate) mod disk;
mod guest;
pub(crate) mod steps;

pub(crate) use steps::{Act, Outer, Step, outer, step};

/// The network card's slot.
const CARD: usize = 3;
/// The disk's slot.
pub(crate) const DISK: usize = 2;
/// A piece of a disk on its way: as long as a sector, so that requests take several operations. Frames are no longer.
const BUFFER: usize = 512;

/// As much as a poll can do.
pub(crate) const PLENTY: Quota = Quota { requests: 1000, bytes: 1 << 30 };

/// ICH_VMCR_EL2: no priority is masked, Group 1 is enabled.
const ALL_ENABLED: u64 = 0xFF << 24 | 0b10;
/// Registers of the interrupt controller, from the start of their frames.
const GICD_CTLR: u64 = 0;
const GICR_WAKER: u64 = 0x14;
const IGROUPR: u64 = 0x80;
const ISENABLER: u64 = 0x100;
/// From the start of a redistributor to its frame of SGIs and PPIs.
const SGI: u64 = 0x1_0000;

/// A VM, and all around it.
pub(crate) struct World {
    pub(crate) bench: Bench,
    pub(crate) outside: Outside,
    /// What each vCPU is doing, as whoever schedules them knows it.
    pub(crate) run: Vec<MpState>,
    /// What the exits came to.
    pub(crate) resumes: Vec<Resume>,
}

/// What of the VM lies outside of it.
#[derive(Default)]
pub(crate) struct Outside {
    pub(crate) inbox: Inbox,
    /// How much input was sent.
    position: u32,
    pub(crate) frames: FrameQueue,
    pub(crate) disk: SlowDisk,
    /// What the guest has sent.
    pub(crate) sent: Vec<Vec<u8>>,
    /// How much the console takes.
    room: usize,
    /// The next random byte.
    entropy: u8,
}

/// A VM with each kind of device; its virtio console has the keys unless it has a UART.
pub(crate) fn config(vcpus: usize, has_uart: bool) -> VmConfig {
    let mut config = bench::config(vcpus, true);
    if !has_uart {
        config.devices = devices::set(&[Device::Pl031]);
    }
    config.virtio = vec![
        VirtioDevice::Entropy,
        VirtioDevice::Console,
        VirtioDevice::Disk(io::DiskConfig {
            name: "disk".into(),
            access: DiskAccess::ReadWrite,
            sectors: disk::SECTORS,
            backing: Backing::Image { blob: 0, room: 0 },
        }),
        VirtioDevice::Network(PortConfig {
            network: 0,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            addresses: PortAddresses::Own,
            rate: None,
        }),
    ];
    config
}

impl World {
    /// The first vCPU runs, the others are off. The guest has brought all its devices up.
    pub(crate) fn new(config: &VmConfig) -> Self {
        let bench = Bench::with_config(config);
        let run = bench.vcpus.iter().map(|_| MpState::Off).collect();
        let mut this = Self { bench, outside: Outside::new(), run, resumes: Vec::new() };
        this.run[0] = MpState::Runnable;
        this.set_up_gic();
        for slot in 0..config.virtio.len() {
            this.set_up(slot);
        }
        this
    }

    /// All that is to be alike in two worlds in which the same has happened. Says what is not.
    pub(crate) fn difference(&self, other: &Self) -> Option<&'static str> {
        let (host, hosts) = (&self.bench.host, &other.bench.host);
        let (outside, others) = (&self.outside, &other.outside);
        let all = [
            ("the VM", *self.bench.vm.lock() == *other.bench.vm.lock()),
            ("the vCPUs", self.bench.vcpus == other.bench.vcpus),
            ("what the machine holds", host.cores == hosts.cores),
            ("what vCPUs do", self.run == other.run),
            ("RAM", host.ram.contents() == hosts.ram.contents()),
            ("exits", self.resumes == other.resumes),
            ("errors", host.guest_errors == hosts.guest_errors),
            ("results", host.results == hosts.results),
            ("doorbells", host.doorbell_masks == hosts.doorbell_masks),
            ("input on its way", outside.inbox == others.inbox),
            ("frames on their way", outside.frames.iter().eq(others.frames.iter())),
            ("frames sent", outside.sent == others.sent),
            ("the disk", outside.disk == others.disk),
            ("output", host.printed == hosts.printed),
        ];
        all.iter().find(|(_, is_same)| !is_same).map(|(what, _)| *what)
    }

    /// An exit or the like of a vCPU, if it runs, or what it waits for has come.
    pub(crate) fn happen(&mut self, index: usize, event: &Event) {
        let index = index % self.run.len();
        self.wake(index);
        if self.run[index] != MpState::Runnable {
            return;
        }
        let resume = match *event {
            Event::Exit { esr, far, hpfar } => self.bench.exit_of(index, esr, far, hpfar),
            Event::Call { class, x } => {
                self.bench.vcpus[index].registers.frame.x[..4].copy_from_slice(&x);
                self.bench.exit_of(index, syndrome(class, 0).0, 0, 0)
            }
            // Its code does not write over what its driver uses.
            Event::Jump { pc, pstate, word } if pc.wrapping_sub(RINGS - 8) < 0x8000 => {
                self.bench.happen_outside(index, &Event::Jump { pc: CODE, pstate, word });
                Resume::Guest
            }
            _ => {
                self.bench.happen_outside(index, event);
                Resume::Guest
            }
        };
        self.resumes.push(resume);
        match resume {
            Resume::Stop => self.restart(),
            Resume::Wait(until) => self.wait(index, MpState::Blocked { until, then: None }),
            Resume::Suspend(entry) => {
                self.wait(index, MpState::Blocked { until: None, then: Some(entry) });
            }
            Resume::Off => self.wait(index, MpState::Off),
            Resume::Guest | Resume::Yield | Resume::LoadFp => {}
        }
        self.bench.host.guest_errors.clear();
    }

    fn wait(&mut self, index: usize, run: MpState) {
        self.put(index);
        self.run[index] = run;
        if run != MpState::Off {
            self.bench.vm.lock().gic.set_run_state(VcpuId::new(index as u16), VcpuRunState::Blocked);
        }
    }

    /// What a vCPU waits for may be there: it runs again then.
    fn wake(&mut self, index: usize) {
        let MpState::Blocked { then, .. } = self.run[index] else { return };
        let vcpu = self.bench.vcpus[index].id;
        let is_awake = {
            let mut vm = self.bench.vm.lock();
            let _ = vm.gic.sync_put_if_changed(vcpu);
            vm.gic.has_deliverable(vcpu)
        };
        if !is_awake {
            self.bench.vm.lock().gic.set_run_state(vcpu, VcpuRunState::Blocked);
            return;
        }
        if let Some(entry) = then {
            self.bench.vcpus[index].start(entry);
            let _ = self.bench.vm.lock().gic.reset_interface(vcpu);
        }
        self.run[index] = MpState::Runnable;
        self.load(index);
    }

    /// vCPUs that were switched on start.
    pub(crate) fn start_pending(&mut self) {
        for index in 0..self.run.len() {
            let vcpu = self.bench.vcpus[index].id;
            let entry = self.bench.vm.lock().power.take_pending(vcpu);
            if let Some(entry) = entry {
                self.bench.vcpus[index].start(entry);
                let _ = self.bench.vm.lock().gic.reset_interface(vcpu);
                self.run[index] = MpState::Runnable;
                self.load(index);
                self.bench.host.cores[index].interface.vmcr = ALL_ENABLED;
            }
        }
    }

    /// The guest enables all its interrupts.
    fn set_up_gic(&mut self) {
        self.bench.host.cores[0].interface.vmcr = ALL_ENABLED;
        let mut vm = self.bench.vm.lock();
        for bank in 0..3 {
            for register in [IGROUPR, ISENABLER] {
                let _ = vm.gic.write_distributor(register + 4 * bank, GicWidth::Word, !0);
            }
        }
        let _ = vm.gic.write_distributor(GICD_CTLR, GicWidth::Word, 0b10);
        for vcpu in vm.gic.vcpu_ids() {
            for (register, value) in [(GICR_WAKER, 0), (SGI + IGROUPR, !0), (SGI + ISENABLER, !0)] {
                let _ = vm.gic.write_redistributor(vcpu, register, GicWidth::Word, value);
            }
        }
    }

    /// A vCPU that runs does what kernels do.
    pub(crate) fn act(&mut self, index: usize, act: Act) {
        if self.run[index] != MpState::Runnable {
            return;
        }
        let call = |function, x1, x2| (syndrome(class::HVC64, 0).0, [function, x1, x2, 7]);
        let msr = |register: SysReg, value| (syndrome(class::SYSTEM, register.to_iss()).0, [value, 0, 0, 0]);
        let (esr, x) = match act {
            Act::Sgi { intid, targets } => {
                msr(SysReg::ICC_SGI1R_EL1, u64::from(intid & 0xF) << 24 | u64::from(targets))
            }
            Act::CpuOn(cpu) => call(0xC400_0003, cpu.into(), CODE),
            Act::CpuOff => call(0x8400_0002, 0, 0),
            Act::Suspend => call(0xC400_0001, 1 << 16, CODE),
            Act::Wfi => (Wait::WFI.0, [0; 4]),
            Act::PhysicalTimer(after) => {
                self.exit(index, msr(SysReg::CNTP_CVAL_EL0, self.bench.host.now + u64::from(after)));
                msr(SysReg::CNTP_CTL_EL0, 1)
            }
            Act::VirtualTimer(after) => {
                let el1 = &mut self.bench.host.cores[index].el1;
                (el1.cntv_ctl, el1.cntv_cval) = (1, after.into());
                return;
            }
            Act::Registers(value) => {
                let registers = &mut self.bench.vcpus[index].registers;
                registers.fp.v[usize::from(value % 32)] = u128::from(value) << 64 | 1;
                registers.fp.fpcr = value.into();
                registers.deferred_error = value.into();
                self.bench.vcpus[index].virtual_serror = value.is_multiple_of(2);
                return;
            }
        };
        self.exit(index, (esr, x));
    }

    /// An exit of a vCPU at EL1, with these registers.
    fn exit(&mut self, index: usize, (esr, x): (u64, [u64; 4])) {
        let frame = &mut self.bench.vcpus[index].registers.frame;
        frame.pstate = bench::EL1H;
        frame.x[..4].copy_from_slice(&x);
        self.happen(index, &Event::Exit { esr, far: 0, hpfar: 0 });
    }

    /// A vCPU looks at its interrupts, as each does that is told to.
    pub(crate) fn refresh(&mut self, index: usize) {
        if self.run[index] != MpState::Runnable {
            return;
        }
        let Bench { vm, vcpus, host } = &mut self.bench;
        let (vcpu, core) = (&vcpus[index], &mut host.cores[index]);
        let mut vm = vm.lock();
        let _ = vm.gic.sync_from(vcpu.id, |known| core.read_interrupts(known));
        let lists = vm.flush_interrupts(vcpu).expect("it is the VM's");
        core.set_interrupt_interface(lists);
        while vm.gic.take_hw_deactivate(vcpu.id).is_some() {}
    }

    /// Unloads a vCPU.
    pub(crate) fn put(&mut self, index: usize) {
        let Bench { vm, vcpus, host } = &mut self.bench;
        let (vcpu, core) = (&mut vcpus[index], &mut host.cores[index]);
        vcpu.registers.el1 = core.el1.clone();
        core.save_debug(&mut vcpu.registers.debug);
        let mut vm = vm.lock();
        let put = vm.gic.put(vcpu.id, |known| core.read_interrupts(known));
        if let Put::Synced(_) = put {
            if host.timer_line == LineLevel::Low {
                let _ = vm.retract_virtual_timer(vcpu.id);
            }
            while vm.gic.take_hw_deactivate(vcpu.id).is_some() {}
        }
        *core = Core::default();
    }

    /// Loads a vCPU.
    pub(crate) fn load(&mut self, index: usize) {
        let Bench { vm, vcpus, host } = &mut self.bench;
        let (vcpu, core) = (&vcpus[index], &mut host.cores[index]);
        core.el1 = vcpu.registers.el1.clone();
        core.load_debug(&vcpu.registers.debug);
        let mut vm = vm.lock();
        let _ = vm.advance_physical_timer(vcpu, host.now);
        if !vm.gic.load(vcpu.id) {
            let _ = vm.gic.sync_put(vcpu.id);
            let _ = vm.flush_interrupts(vcpu);
            while vm.gic.take_hw_deactivate(vcpu.id).is_some() {}
        }
        core.interface = vm.gic.interface(vcpu.id).expect("it is the VM's").clone();
    }

    /// The VM pauses: each vCPU leaves the machine, and knows what it was doing.
    pub(crate) fn pause(&mut self) -> bool {
        if self.bench.vm.lock().pause().is_err() {
            return false;
        }
        for index in 0..self.run.len() {
            if self.run[index] == MpState::Runnable {
                self.put(index);
            }
            self.bench.vcpus[index].mp_state = self.run[index];
        }
        self.bench.vm.lock().note_paused(self.bench.host.now).expect("it is about to pause");
        true
    }

    /// The VM goes on.
    pub(crate) fn resume(&mut self) {
        self.bench.vm.lock().resume(self.bench.host.now).expect("it is paused");
        for index in 0..self.run.len() {
            self.run[index] = self.bench.vcpus[index].mp_state;
            match self.run[index] {
                MpState::Runnable => self.load(index),
                MpState::Blocked { .. } => self.wake(index),
                MpState::Off => {}
            }
        }
    }

    fn restart(&mut self) {
        self.bench.restart();
        self.run.fill(MpState::Off);
        self.start_pending();
        self.set_up_gic();
    }

    /// The VM's devices have their poll. Says whether there was any to do.
    pub(crate) fn poll(&mut self, mut quota: Quota) -> bool {
        let mut buffer = [0; BUFFER];
        let mut has_worked = false;
        if !self.bench.vm.lock().lifecycle().is_paused() {
            self.bench.vm.lock().backend_is_ready();
        }
        loop {
            let Bench { vm, host, .. } = &mut self.bench;
            let mut vm = vm.lock();
            let mut backends = self.outside.backends(&mut host.printed);
            let (step, _) = vm.serve_virtio(&host.ram, &mut backends, &mut buffer, &mut quota);
            match step {
                PollStep::Frame { frame, .. } => self.outside.sent.push(frame.bytes.to_vec()),
                PollStep::Done => {}
                PollStep::Spent | PollStep::Idle => break,
            }
            has_worked = true;
        }
        self.bench.host.ram.writes.set(0);
        has_worked
    }

    /// The VM takes frames and input that wait for it.
    pub(crate) fn take(&mut self) {
        let Bench { vm, host, .. } = &mut self.bench;
        let mut vm = vm.lock();
        if vm.lifecycle().is_paused() {
            return;
        }
        let _ = self.outside.inbox.deliver(&mut vm);
        while let Some(frame) = self.outside.frames.front() {
            let _ = vm.receive_frame(CARD, &host.ram, &frame);
            self.outside.frames.pop();
        }
        host.ram.writes.set(0);
    }

    /// The vCPU on which the guest's drivers run, if any does.
    fn driver(&self) -> Option<usize> {
        self.run.iter().position(|run| *run == MpState::Runnable)
    }

    /// The guest stores a word to a register of the virtio device in a slot.
    fn store(&mut self, slot: usize, register: u64, value: u32) {
        let Some(index) = self.driver() else { return };
        let ipa = layout::VIRTIO.place(slot as u64).start().0 + register;
        let frame = &mut self.bench.vcpus[index].registers.frame;
        let before = frame.clone();
        // At EL1 and little-endian: what the driver is in the middle of.
        frame.pstate = bench::EL1H;
        frame.x[6] = value.into();
        self.bench.host.cores[index].el1.sctlr &= !(1 << 25);
        let esr = syndrome(class::DATA_ABORT_LOWER, moves(4, 6) | iss::WNR | TRANSLATION);
        let resume = self.bench.exit_of(index, esr.0, ipa, ipa >> 12 << 4);
        assert_eq!(resume, Resume::Guest);
        self.bench.vcpus[index].registers.frame = before;
    }

    /// The next of the guest's requests in queue `queue` of the VM's.
    fn offer(&mut self, queue: usize, what: u8) {
        let (slot, number) = QUEUES[queue];
        if self.driver().is_some() && guest::offer(&self.bench.host.ram, queue, what).is_some() {
            self.store(slot, registers::QUEUE_NOTIFY, number);
        }
    }

    /// The guest resets a device and brings it up.
    fn set_up(&mut self, slot: usize) {
        // Its memory is the device's until that has been reset.
        if self.driver().is_none() {
            return;
        }
        self.store(slot, registers::STATUS, 0);
        guest::clear(&self.bench.host.ram, slot);
        for (register, value) in guest::set_up(slot) {
            self.store(slot, register, value);
        }
    }

    /// What happens outside of the VM, whether it is paused or not.
    pub(crate) fn happen_around(&mut self, outer: Outer) {
        match outer {
            Outer::Keys(count) => {
                let keys = (0..count).map(|key| Input::Key(b'a' + key % 26));
                let _ = self.outside.inbox.receive(self.outside.position, keys);
                self.outside.position += u32::from(count);
            }
            Outer::Frame(len) => {
                let mut bytes = vec![len as u8; usize::from(len)];
                bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
                let _ = self.outside.frames.push(&Frame { bytes: &bytes, offload: Offload::default() });
            }
            Outer::DiskIs { slow } => self.outside.disk.slow = slow,
            Outer::DiskIsDone => self.outside.disk.complete(),
            Outer::Doorbell(from) => {
                let _ = self.bench.vm.lock().notified(0, from);
            }
            Outer::Room(room) => self.outside.room = room.into(),
        }
    }
}

impl Outside {
    pub(crate) fn new() -> Self {
        Self { room: 1 << 20, ..Self::default() }
    }

    /// What of it is not the VM's, and stays where it is when the VM goes elsewhere.
    pub(crate) fn take_rest(&mut self, from: &mut Self) {
        self.position = from.position;
        self.sent = core::mem::take(&mut from.sent);
        self.room = from.room;
        self.entropy = from.entropy;
        self.disk.slow = from.disk.slow;
    }
}

/// Makes a VM from its description, as far as EL2 does before it starts.
pub(crate) fn made(config: &VmConfig, seconds: u64) -> (Vm, Vec<Vcpu>) {
    let vm = Vm::new(config, &platform(), seconds).expect("it can be built");
    let vcpus = vm.gic.vcpu_ids().map(Vcpu::new).collect();
    (vm, vcpus)
}
