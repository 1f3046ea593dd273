// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM made with KVM's ioctls (Linux's Documentation/virt/kvm/api.rst), laid out as QEMU's `virt` is: RAM, GICv3, UART.
//!
//! The interrupt controller, the timer and PSCI are the kernel's. Of a UART there is what the console needs: a register
//! that says there is room, and one that takes a character.

use core::ffi::CStr;

use crate::console;
use crate::linux::{self, Error, File, For};

/// RAM: where, and how much in bytes. The guest and its device tree go to fixed places in it.
const RAM: u64 = 0x4000_0000;
const RAM_SIZE: u64 = 64 << 20;
const IMAGE: usize = 2 << 20;
/// The GIC's distributor and redistributors, and the UART.
const GICD: u64 = 0x0800_0000;
const GICR: u64 = 0x080A_0000;
const UART: u64 = 0x0900_0000;
const UART_DR: u64 = UART;
/// UARTFR's offset, and its value: nothing to send, nothing received.
const UART_FR: u64 = UART + 0x18;
const IDLE: u64 = 0x90;

/// The most vCPUs; as many stacks are there for their threads.
const MAX_VCPUS: usize = 4;
const STACK: u64 = 64 << 10;

/// Requests: the direction, the structure's size, KVM's letter, the number.
const CREATE_VM: u64 = 0xAE01;
const GET_VCPU_MMAP_SIZE: u64 = 0xAE04;
const CREATE_VCPU: u64 = 0xAE41;
const SET_USER_MEMORY_REGION: u64 = 0x4020_AE46;
const RUN: u64 = 0xAE80;
const SET_ONE_REG: u64 = 0x4010_AEAC;
const ARM_VCPU_INIT: u64 = 0x4020_AEAE;
const ARM_PREFERRED_TARGET: u64 = 0x8020_AEAF;
const CREATE_DEVICE: u64 = 0xC00C_AEE0;
const SET_DEVICE_ATTR: u64 = 0x4018_AEE1;

/// vCPU features: it starts switched off; PSCI of 0.2 and later.
const POWER_OFF: u32 = 1;
const PSCI_0_2: u32 = 1 << 2;
/// The GICv3 and its attributes, as group and number.
const VGIC_V3: u32 = 7;
const DISTRIBUTOR: (u32, u64) = (0, 2);
const REDISTRIBUTORS: (u32, u64) = (0, 3);
const NR_IRQS: (u32, u64) = (3, 0);
const INIT: (u32, u64) = (4, 0);
const IRQS: u32 = 64;
/// Registers by KVM's numbers.
const X0: u64 = 0x6030_0000_0010_0000;
const PC: u64 = 0x6030_0000_0010_0040;

/// Why a vCPU came back.
const EXIT_MMIO: u32 = 6;
const EXIT_INTR: u32 = 10;
const EXIT_SYSTEM_EVENT: u32 = 24;

/// The beginning of what the kernel and this program share of a vCPU.
#[repr(C)]
struct Shared {
    _before: [u32; 2],
    exit_reason: u32,
    _flags: u32,
    _x86: [u64; 2],
    mmio: Mmio,
}

/// An access that the kernel does not emulate.
#[repr(C)]
#[derive(Clone, Copy)]
struct Mmio {
    address: u64,
    data: u64,
    len: u32,
    is_write: u8,
}

#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest: u64,
    size: u64,
    host: u64,
}

#[repr(C)]
struct VcpuInit {
    target: u32,
    features: [u32; 7],
}

#[repr(C)]
struct Register {
    id: u64,
    address: u64,
}

#[repr(C)]
struct Device {
    kind: u32,
    file: u32,
    flags: u32,
}

#[repr(C)]
struct Attribute {
    flags: u32,
    group: u32,
    number: u64,
    address: u64,
}

/// A vCPU that may run.
#[derive(Clone, Copy)]
struct Vcpu {
    file: File,
    shared: *mut Shared,
    index: usize,
}

/// Makes the VM and runs it; only an error comes back.
pub(crate) fn run(guest: &CStr, tree: &CStr, vcpus: usize) -> Result<(), Error> {
    let kvm = File::open(c"/dev/kvm", For::Control)?;
    let vm = File::of(kvm.control("make a VM", CREATE_VM, 0)?);
    load(vm, guest, tree)?;
    let shared_size = kvm.control("ask for the size of what is shared", GET_VCPU_MMAP_SIZE, 0)?;
    let mut all = [None; MAX_VCPUS];
    let vcpus = vcpus.clamp(1, MAX_VCPUS);
    for (index, slot) in all.iter_mut().enumerate().take(vcpus) {
        *slot = Some(make_vcpu(vm, index, shared_size)?);
    }
    make_gic(vm)?;
    for vcpu in all.into_iter().flatten().skip(1) {
        let stack = linux::memory(STACK)?.cast::<Vcpu>();
        // SAFETY: the memory is fresh and larger than that; its end is the thread's stack.
        unsafe {
            stack.write(vcpu);
            linux::start_thread(stack.cast::<u8>().add(STACK as usize), enter, stack.expose_provenance())?;
        }
    }
    match all[0] {
        Some(first) => first.run(),
        None => Ok(()),
    }
}

/// Gives the VM its RAM, with the guest and its device tree in it.
fn load(vm: File, guest: &CStr, tree: &CStr) -> Result<(), Error> {
    let memory = linux::memory(RAM_SIZE)?;
    // SAFETY: fresh memory of this length, which the VM does not use yet.
    let bytes = unsafe { core::slice::from_raw_parts_mut(memory, RAM_SIZE as usize) };
    let (low, high) = bytes.split_at_mut(IMAGE);
    File::open(tree, For::Reading)?.read_all(low)?;
    File::open(guest, For::Reading)?.read_all(high)?;
    let host = memory.expose_provenance() as u64;
    let mut region = MemoryRegion { slot: 0, flags: 0, guest: RAM, size: RAM_SIZE, host };
    // SAFETY: the memory is the VM's from now on.
    unsafe { vm.control_by("give the VM memory", SET_USER_MEMORY_REGION, &mut region) }.map(drop)
}

fn make_vcpu(vm: File, index: usize, shared_size: u64) -> Result<Vcpu, Error> {
    let file = File::of(vm.control("make a vCPU", CREATE_VCPU, index as u64)?);
    let mut init = VcpuInit { target: 0, features: [0; 7] };
    // SAFETY: the structure that both requests take.
    unsafe {
        vm.control_by("ask for the processor", ARM_PREFERRED_TARGET, &mut init)?;
        init.features[0] = PSCI_0_2 | if index == 0 { 0 } else { POWER_OFF };
        file.control_by("set up a vCPU", ARM_VCPU_INIT, &mut init)?;
    }
    if index == 0 {
        set(file, PC, RAM + IMAGE as u64)?;
        set(file, X0, RAM)?;
    }
    Ok(Vcpu { file, shared: file.map(shared_size)?.cast(), index })
}

fn set(vcpu: File, id: u64, value: u64) -> Result<(), Error> {
    let mut register = Register { id, address: (&raw const value).expose_provenance() as u64 };
    // SAFETY: the structure that the request takes; it points to the value.
    unsafe { vcpu.control_by("set a register", SET_ONE_REG, &mut register) }.map(drop)
}

fn make_gic(vm: File) -> Result<(), Error> {
    let mut device = Device { kind: VGIC_V3, file: 0, flags: 0 };
    // SAFETY: the structure that the request takes.
    unsafe { vm.control_by("make a GICv3", CREATE_DEVICE, &mut device)? };
    let gic = File::of(u64::from(device.file));
    let set = |(group, number), value: u64| {
        let address = (&raw const value).expose_provenance() as u64;
        let mut attribute = Attribute { flags: 0, group, number, address };
        // SAFETY: the structure that the request takes; it points to the value.
        unsafe { gic.control_by("set up the GICv3", SET_DEVICE_ATTR, &mut attribute) }
    };
    set(NR_IRQS, u64::from(IRQS))?;
    set(DISTRIBUTOR, GICD)?;
    set(REDISTRIBUTORS, GICR)?;
    set(INIT, 0).map(drop)
}

/// Where the thread of a further vCPU begins.
extern "C" fn enter(vcpu: usize) -> ! {
    // SAFETY: `run` has written it there, and nobody uses it otherwise.
    let vcpu = unsafe { core::ptr::with_exposed_provenance::<Vcpu>(vcpu).read() };
    if let Err(error) = vcpu.run() {
        println!("kvm: vCPU {}: {error}", vcpu.index);
    }
    linux::power_off()
}

impl Vcpu {
    /// Runs it, on a CPU of its own if there is one, until the VM ends.
    fn run(self) -> Result<(), Error> {
        linux::pin(self.index);
        loop {
            // A signal would be an error; there are none.
            self.file.control("run a vCPU", RUN, 0)?;
            // SAFETY: the kernel writes there only while the vCPU runs.
            let reason = unsafe { (&raw const (*self.shared).exit_reason).read_volatile() };
            match reason {
                EXIT_MMIO => self.access(),
                EXIT_INTR => {}
                EXIT_SYSTEM_EVENT => return Ok(()),
                reason => {
                    println!("kvm: vCPU {} came back for reason {reason}", self.index);
                    return Ok(());
                }
            }
        }
    }

    /// The UART; all else reads as zero.
    fn access(self) {
        // SAFETY: as for the reason; it says that this part is valid.
        let mmio = unsafe { &raw mut (*self.shared).mmio };
        // SAFETY: the same.
        let Mmio { address, data, is_write, .. } = unsafe { mmio.read_volatile() };
        if is_write == 0 {
            let value = if address == UART_FR { IDLE } else { 0 };
            // SAFETY: the same; the kernel reads it when the vCPU runs on.
            unsafe { (&raw mut (*mmio).data).write_volatile(value) };
        } else if address == UART_DR {
            console::put(data as u8);
        }
    }
}
