// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the first instruction in Rust to all CPUs in their loops: here with the MMU off, then in [`bring_up`].

mod bring_up;
pub(crate) mod cpu;
pub(crate) mod firmware;
pub(crate) mod layout;
pub(crate) mod secondary;

use core::fmt::Write;

use vambrace_hypervisor::boot::board::{self, Board, BoardError, Uart as UartDescription};
use vambrace_hypervisor::boot::footprint::{self, Footprint};
use vambrace_hypervisor::memory::regions::{FreeMemory, From, TooManyRanges};
use vambrace_interrupts::Intid;
use vambrace_memory::{Pa, PaRange};
use vambrace_wire::bundle::{Bundle, HEADER_LEN};

use crate::arch::mmu::{Map, MappingKind};
use crate::arch::sysreg::{MpidrEl1, Read};
use crate::console;
use crate::console::uart::Uart;
use bring_up::Found;
use secondary::Stacks;

core::arch::global_asm!(
    include_str!("boot/boot.S"),
    HCR_EL2 = const 1u64 << 31,
    SCTLR_EL2 = const crate::arch::mmu::SCTLR_OFF,
    primary = sym primary,
    secondary = sym secondary::secondary,
);

/// MPIDR_EL1's affinity fields.
const AFFINITY: u64 = 0xFF_00FF_FFFF;

/// The first CPU's way in, from `boot.S`: MMU and caches off, on the boot stack.
///
/// Not available here: locks and atomics (exclusives need cacheable memory), the heap, other CPUs.
extern "C" fn primary(device_tree: u64, exception_level: u64, _image: u64) -> ! {
    let tree = device_tree_bytes(device_tree);
    if exception_level != 2 {
        give_up(
            tree,
            format_args!(
                "vambrace was entered at EL{exception_level}, but a hypervisor needs EL2{}",
                board::BoardKind::of(tree).advice("; in QEMU: -machine virt,virtualization=on")
            ),
        );
    }
    let Some(tree_bytes) = tree else { give_up(None, format_args!("{}", BoardError::NoDeviceTree)) };
    let mut board = Board::unknown();
    if let Err(error) = board.discover(tree_bytes) {
        give_up(tree, format_args!("{error}"));
    }
    start(&board, tree_bytes)
}

/// The device tree's bytes, if x0 pointed to one.
fn device_tree_bytes(address: u64) -> Option<&'static [u8]> {
    if address == 0 || !address.is_multiple_of(8) {
        return None;
    }
    let header: *const [u8; 8] = core::ptr::with_exposed_provenance(address as usize);
    clean_for_us(address, size_of::<[u8; 8]>() as u64);
    // SAFETY: the boot protocol puts a device tree there; with the MMU off any address can be read.
    let len = board::device_tree_len(unsafe { header.read() })?;
    clean_for_us(address, len as u64);
    // SAFETY: its header has just said how long it is, and nobody writes there any more.
    Some(unsafe { core::slice::from_raw_parts(header.cast(), len) })
}

/// Where a message goes when there is no device tree to name a UART: QEMU's `virt`.
const FALLBACK_UART: UartDescription = UartDescription { base: Pa(0x0900_0000), intid: Some(Intid::new(33)) };

/// Says why the boot cannot go on, if a UART can be found, and stops.
#[inline(never)]
fn give_up(tree: Option<&[u8]>, why: core::fmt::Arguments<'_>) -> ! {
    struct Early(Uart);
    impl Write for Early {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            self.0.send_all(text.as_bytes());
            Ok(())
        }
    }
    if let Some(description) = board::find_uart(tree, FALLBACK_UART) {
        // SAFETY: the MMU is off, so the registers are reached as Device memory; nobody else drives them.
        let uart = unsafe { Uart::new(description) };
        let _ = write!(Early(uart), "\r\nvambrace cannot start: {why}\r\n");
    }
    loop {
        crate::arch::barrier::wfi();
    }
}

/// What the loader has written through its caches is read past ours for now. Only of the image does the boot protocol ask
/// that it be cleaned (Linux, "Booting AArch64 Linux": "Call the kernel image").
fn clean_for_us(address: u64, len: u64) {
    crate::arch::barrier::clean_invalidate(PaRange::clamped(Pa(address), len));
}

/// The board is known: turns the MMU on, then brings up everything else.
fn start(board: &Board, tree: &'static [u8]) -> ! {
    let tree_range = PaRange::clamped(Pa(tree.as_ptr().addr() as u64), tree.len() as u64);
    let bundle = match footprint::find_bundle(board, layout::image(), HEADER_LEN as u64, announced) {
        Ok(bundle) => bundle,
        Err(error) => give_up(Some(tree), format_args!("{error}")),
    };
    // SAFETY: the device tree's PL011, reached as Device memory with the MMU off and by `map_all`'s map.
    unsafe { console::announce(board.uart) };
    let footprint = Footprint::new(layout::image(), tree_range, bundle);
    let Some(stacks) = place_stacks(board, &footprint) else {
        give_up(Some(tree), format_args!("no memory is free for the CPUs' stacks"))
    };
    let Some(map) = map_all(board, &footprint, stacks) else {
        give_up(Some(tree), format_args!("{TooManyRanges}"))
    };
    let map_size = map.size();
    // SAFETY: `map_all` has mapped the image, all memory and all devices that are used from here on.
    let mmu = unsafe { map.activate() };
    bring_up::run(&mmu, &Found { board, tree, footprint, bundle, stacks, map_size })
}

/// How long a bundle at `start` says to be; 0 if none is there.
fn announced(start: Pa) -> u64 {
    clean_for_us(start.0, HEADER_LEN as u64);
    let header: *const [u8; HEADER_LEN] = core::ptr::with_exposed_provenance(start.0 as usize);
    // SAFETY: inside a memory bank, says `find_bundle`; read by value, before anyone else runs.
    Bundle::announced_len(&unsafe { header.read() }).unwrap_or(0)
}

/// Finds memory for the other CPUs' stacks, before there is an allocator: the top of the bank with the image,
/// or wherever there is room above or below what is in use.
///
/// Not inlined, as others that need a list: `start` keeps its stack for ever.
#[inline(never)]
fn place_stacks(board: &Board, footprint: &Footprint) -> Option<Stacks> {
    let len = Stacks::len_for(board);
    let mut unused = FreeMemory::new();
    footprint.add_unused(board, &mut unused).ok()?;
    let taken = unused.take(len.max(4096), 4096, From::Top)?;
    Some(Stacks::new(taken.part(0, len)))
}

/// The EL2 map: the image by its parts, memory, the devices.
#[inline(never)]
fn map_all(board: &Board, footprint: &Footprint, stacks: Stacks) -> Option<Map> {
    let mut memory = FreeMemory::new();
    footprint.add_mapped(board, stacks.guards(), &mut memory).ok()?;
    let mut map = Map::new();
    map.add(layout::text(), MappingKind::Text);
    map.add(layout::constants(), MappingKind::Constants);
    map.add(layout::data(), MappingKind::Data);
    map.add(layout::image().from(layout::boot_stack_guard().end()), MappingKind::Data);
    for range in memory.iter() {
        map.add(range, MappingKind::Data);
    }
    map.add(board.gic.distributor, MappingKind::Device);
    for region in &board.gic.redistributors {
        map.add(*region, MappingKind::Device);
    }
    if let Some(uart) = board.uart {
        map.add(PaRange::clamped(uart.base, 4096), MappingKind::Device);
    }
    if let Some(rtc) = board.rtc {
        map.add(PaRange::clamped(rtc, 4096), MappingKind::Device);
    }
    map.add(board.virtio, MappingKind::Device);
    Some(map)
}

/// This CPU's affinity.
pub(crate) fn affinity() -> u64 {
    MpidrEl1.read() & AFFINITY
}
