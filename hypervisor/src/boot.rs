// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the first instruction in Rust to all CPUs in their loops.

use alloc::boxed::Box;
use core::fmt::Write;

use vambrace_hypervisor::board::{self, Board, BoardError, Uart as UartDescription};
use vambrace_hypervisor::regions::{From, Range};
use vambrace_wire::bundle::{Bundle, HEADER_LEN};

use crate::console::{self, Mode};
use crate::ledger::{self, Fixed};
use crate::mmu::{Kind, Map, Regime};
use crate::sysreg::{MpidrEl1, Read};
use crate::uart::Uart;
use crate::{firmware, layout, memory, panic, percpu};

core::arch::global_asm!(
    include_str!("boot.S"),
    HCR_EL2 = const 1u64 << 31,
    SCTLR_EL2 = const crate::mmu::SCTLR_OFF,
    primary = sym primary,
    secondary = sym secondary,
);

/// MPIDR_EL1's affinity fields.
const AFFINITY: u64 = 0xFF_00FF_FFFF;

/// Each further CPU's stack, in bytes; the page below stays unmapped.
const STACK: u64 = 32 << 10;
const GUARD: u64 = 4 << 10;

/// The first CPU's way in, from `boot.S`: MMU and caches off, on the boot stack.
///
/// Not available here: locks and atomics (exclusives need cacheable memory), the heap, other CPUs.
extern "C" fn primary(device_tree: u64, exception_level: u64, _image: u64) -> ! {
    let tree = device_tree_bytes(device_tree);
    if exception_level != 2 {
        give_up(
            tree,
            format_args!(
                "vambrace was entered at EL{exception_level}, but a hypervisor needs EL2; in QEMU: -machine virt,virtualization=on"
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
    // SAFETY: the boot protocol puts a device tree there; with the MMU off any address can be read.
    let len = board::device_tree_len(unsafe { header.read() })?;
    // SAFETY: its header has just said how long it is, and nobody writes there any more.
    Some(unsafe { core::slice::from_raw_parts(header.cast(), len) })
}

/// Where a message goes when there is no device tree to name a UART: QEMU's `virt`.
const FALLBACK_UART: UartDescription = UartDescription { base: 0x0900_0000, intid: 33 };

/// Says why the boot cannot go on, if a UART can be found, and stops.
fn give_up(tree: Option<&[u8]>, why: core::fmt::Arguments<'_>) -> ! {
    struct Early(Uart);
    impl Write for Early {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            self.0.send_all(text.as_bytes());
            Ok(())
        }
    }
    let fdt = tree.and_then(|bytes| dtoolkit::fdt::Fdt::new(bytes).ok());
    let description = fdt.map_or(Some(FALLBACK_UART), board::find_uart);
    if let Some(description) = description {
        // SAFETY: the MMU is off, so the registers are reached as Device memory; nobody else drives them.
        let uart = unsafe { Uart::new(description) };
        let _ = write!(Early(uart), "\r\nvambrace cannot start: {why}\r\n");
    }
    loop {
        crate::barrier::wfi();
    }
}

/// The board is known: turn the MMU on, then bring up everything else.
fn start(board: &Board, tree: &'static [u8]) -> ! {
    let tree_range = Range::new(tree.as_ptr().addr() as u64, tree.len() as u64);
    let stacks = place_stacks(board, tree_range);
    let map = map_all(board, stacks);
    let map_size = map.size();
    // SAFETY: `map_all` has mapped the image, all memory and all devices that are used from here on.
    let regime = unsafe { map.activate() };

    let mode = if board.has_argument("vambrace.wire=1") { Mode::Frames } else { Mode::Text };
    // SAFETY: the device tree's PL011, mapped as Device memory; from here on only the console drives it.
    console::start(board.uart.map(|uart| unsafe { Uart::new(uart) }), mode);
    give_memory_to_allocator(board, tree_range, stacks);
    let loaded = pages(tree_range).len() + pages(bundle_range(board)).len();
    ledger::start(Fixed { map: map_size, stacks: stacks.len(), loaded });
    let board: &'static Board = Box::leak(Box::new(board.clone()));
    let bundle = open_bundle(board);
    crate::run::start(board, tree, bundle, |nth, index| {
        start_secondary(board, regime, index, stacks.start + nth as u64 * (GUARD + STACK));
    })
}

/// Finds memory for the other CPUs' stacks, before there is an allocator: the top of the bank with the image,
/// or wherever there is room above or below what is in use.
fn place_stacks(board: &Board, tree: Range) -> Range {
    let len = (board.cpus.len() as u64 - 1) * (GUARD + STACK);
    let mut free = vambrace_hypervisor::regions::FreeMemory::new();
    let fits = add_usable(&mut free, board, tree);
    match fits.and_then(|()| free.take(len.max(4096), 4096, From::Top)) {
        Some(start) => Range::new(start.0, len),
        None => give_up(None, format_args!("no memory for the CPUs' stacks")),
    }
}

/// Adds all memory that the firmware, the image, the device tree and the bundle leave free.
fn add_usable(free: &mut vambrace_hypervisor::regions::FreeMemory, board: &Board, tree: Range) -> Option<()> {
    for bank in &board.memory {
        free.add(*bank).ok()?;
    }
    for hole in in_use(board, tree) {
        free.remove(hole).ok()?;
    }
    Some(())
}

/// What lies in memory already.
fn in_use(board: &Board, tree: Range) -> impl Iterator<Item = Range> {
    let bundle = bundle_range(board);
    board.reserved.iter().copied().chain([layout::image(), pages(tree), pages(bundle)])
}

fn pages(range: Range) -> Range {
    Range { start: range.start & !0xFFF, end: (range.end + 0xFFF) & !0xFFF }
}

/// Where the bundle is: the initrd, or directly behind the image. Empty when there is none.
fn bundle_range(board: &Board) -> Range {
    let start = board.initrd.map_or(layout::image().end, |initrd| initrd.start);
    let inside = board.memory.iter().any(|bank| bank.start <= start && start + HEADER_LEN as u64 <= bank.end);
    if !inside {
        return Range::default();
    }
    let header: *const [u8; HEADER_LEN] = core::ptr::with_exposed_provenance(start as usize);
    // SAFETY: inside a memory bank, as just checked; read by value, before anyone else runs.
    let header = unsafe { header.read() };
    let announced = Bundle::announced_len(&header).unwrap_or(0);
    let len = board.initrd.map_or(announced, |initrd| initrd.len());
    Range::new(start, len)
}

/// The EL2 map: the image by its parts, all memory, the devices.
fn map_all(board: &Board, stacks: Range) -> Map {
    let mut map = Map::new();
    let mut memory = vambrace_hypervisor::regions::FreeMemory::new();
    for bank in &board.memory {
        // A full list leaves the rest unmapped and unused.
        let _ = memory.add(*bank);
    }
    let guards = (0..board.cpus.len() as u64 - 1)
        .map(|index| Range::new(stacks.start + index * (GUARD + STACK), GUARD));
    for hole in board.reserved.iter().copied().chain([layout::image()]).chain(guards) {
        let _ = memory.remove(hole);
    }
    map.add(layout::text(), Kind::Text);
    map.add(layout::constants(), Kind::Constants);
    map.add(layout::data(), Kind::Data);
    map.add(Range { start: layout::boot_stack_guard().end, end: layout::image().end }, Kind::Data);
    for range in memory.iter() {
        map.add(range, Kind::Data);
    }
    map.add(board.gic.distributor, Kind::Device);
    for region in &board.gic.redistributors {
        map.add(*region, Kind::Device);
    }
    if let Some(uart) = board.uart {
        map.add(Range::new(uart.base, 4096), Kind::Device);
    }
    if let Some(rtc) = board.rtc {
        map.add(Range::new(rtc, 4096), Kind::Device);
    }
    map.add(board.virtio, Kind::Device);
    map
}

/// Fills the allocator with what is left; from here on there is a heap.
fn give_memory_to_allocator(board: &Board, tree: Range, stacks: Range) {
    for bank in &board.memory {
        memory::release(*bank);
    }
    for hole in in_use(board, tree).chain([stacks]) {
        memory::withhold(hole);
    }
}

/// Opens the bundle, or stops with the reason.
fn open_bundle(board: &Board) -> Bundle<'static> {
    let range = bundle_range(board);
    if range.is_empty() {
        panic::fail(format_args!(
            "there is no bundle, neither as the initrd nor behind the image; `vambrace build MANIFEST -o FILE` makes both in one"
        ));
    }
    let bytes: *const u8 = core::ptr::with_exposed_provenance(range.start as usize);
    // SAFETY: inside a memory bank, withheld from the allocator, written by nobody.
    let bytes: &'static [u8] = unsafe { core::slice::from_raw_parts(bytes, range.len() as usize) };
    match Bundle::open(bytes) {
        Ok(bundle) => bundle,
        Err(error) => panic::fail(format_args!("{error}")),
    }
}

/// What a further CPU reads with its MMU off; `boot.S` knows the layout.
#[repr(C, align(64))]
struct SecondaryStart {
    regime: Regime,
    stack_top: u64,
    index: u64,
}

/// Starts CPU `index` of the board's list on the stack that starts with a guard page at `stack`.
fn start_secondary(board: &Board, regime: Regime, index: usize, stack: u64) {
    let start =
        Box::leak(Box::new(SecondaryStart { regime, stack_top: stack + GUARD + STACK, index: index as u64 }));
    let address = core::ptr::from_ref(start).expose_provenance() as u64;
    crate::barrier::clean_invalidate(address, size_of::<SecondaryStart>() as u64);
    let Some(affinity) = board.cpus.get(index) else { return };
    if let Err(error) = firmware::cpu_on(*affinity, layout::secondary_entry_point(), address) {
        console::warning!("CPU {index} ({affinity:#x}) does not start, so no vCPU is given to it: {error:?}");
        percpu::note_missing(index);
    }
}

/// A further CPU's way in, from `boot.S`: MMU and caches on, on its own stack.
extern "C" fn secondary(index: u64) -> ! {
    crate::run::secondary(index as usize)
}

/// This CPU's affinity.
pub(crate) fn affinity() -> u64 {
    MpidrEl1.read() & AFFINITY
}
