// SPDX-License-Identifier: MIT OR Apache-2.0
//! The board, as its device tree describes it.
//!
//! Everything that differs from board to board is read here, once, into plain values; the rest of EL2 knows no
//! board. It runs before the MMU is on, so it takes no lock and allocates nothing.

use arrayvec::{ArrayString, ArrayVec};
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use crate::regions::Range;

mod sound;

/// The most physical CPUs that we run on.
pub const MAX_CPUS: usize = 128;

/// The most separate memory banks or reservations that we keep.
pub const MAX_BANKS: usize = 16;

/// The most redistributor regions of one GIC.
pub const MAX_GICR_REGIONS: usize = 4;

/// How firmware is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// By `HVC`: something already runs at EL2 above us; not usable from EL2.
    Hvc,
    /// By `SMC`, to EL3.
    Smc,
}

/// The interrupts (INTIDs) of the generic timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerInterrupts {
    /// The EL1 virtual timer's.
    pub virtual_timer: u32,
    /// The EL2 physical timer's.
    pub hypervisor_timer: u32,
}

/// A PL011 that we may use as our own console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// Its registers.
    pub base: u64,
    /// Its interrupt's INTID.
    pub intid: u32,
}

/// The interrupt controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gic {
    /// The distributor's registers.
    pub distributor: Range,
    /// The redistributors' regions.
    pub redistributors: ArrayVec<Range, MAX_GICR_REGIONS>,
    /// The maintenance interrupt's INTID.
    pub maintenance: u32,
}

/// The most virtio-mmio devices: as many as QEMU's `virt` has.
pub const MAX_VIRTIO: usize = 32;

/// A place for a virtio-mmio device; there may be none in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioSlot {
    /// Its registers.
    pub base: u64,
    /// Their length in bytes.
    pub len: u64,
    /// Its interrupt's INTID.
    pub intid: u32,
}

/// What we know of the board.
#[derive(Clone, Debug)]
pub struct Board {
    /// Memory banks.
    pub memory: ArrayVec<Range, MAX_BANKS>,
    /// Memory that is not ours to use: firmware's reservations.
    pub reserved: ArrayVec<Range, MAX_BANKS>,
    /// The CPUs' MPIDR affinity values.
    pub cpus: ArrayVec<u64, MAX_CPUS>,
    /// How to reach PSCI.
    pub conduit: Conduit,
    /// The interrupt controller.
    pub gic: Gic,
    /// The timers' interrupts.
    pub timer: TimerInterrupts,
    /// The console, if there is a PL011.
    pub uart: Option<Uart>,
    /// The registers of a PL031 real-time clock, if there is one.
    pub rtc: Option<u64>,
    /// Where the registers of virtio-mmio devices are.
    pub virtio: Range,
    /// The bundle, when it came as the initrd.
    pub initrd: Option<Range>,
    /// The command line.
    pub bootargs: ArrayString<256>,
    /// Entropy that the firmware hands over.
    pub seed: ArrayVec<u8, 64>,
}

/// Why a board cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoardError {
    /// Not a device tree.
    #[error("there is no device tree at the address in x0; boot as the Linux arm64 boot protocol says")]
    NoDeviceTree,
    /// No `/memory`.
    #[error("the device tree has no usable /memory node")]
    NoMemory,
    /// No `/cpus`.
    #[error("the device tree has no usable /cpus node")]
    NoCpus,
    /// No PSCI.
    #[error(
        "the device tree has no PSCI node (compatible \"arm,psci-0.2\" or newer), or its method is not \"smc\""
    )]
    NoPsci,
    /// No GICv3.
    #[error("the device tree has no GICv3 (compatible \"arm,gic-v3\"); in QEMU: -machine virt,gic-version=3")]
    NoGicV3,
    /// No architected timer.
    #[error(
        "the device tree has no \"arm,armv8-timer\" with a hypervisor timer interrupt; in QEMU: virtualization=on"
    )]
    NoTimer,
    /// More of something than the fixed tables hold.
    #[error("the board has more memory banks, reservations or CPUs than this build holds")]
    TooMuch,
}

/// The length of the device tree whose first bytes are given, from its header.
#[must_use]
pub fn device_tree_len(header: [u8; 8]) -> Option<usize> {
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    (word(0) == 0xD00D_FEED && word(4) >= 40).then_some(word(4) as usize)
}

impl Board {
    /// A board of which nothing is known yet.
    #[must_use]
    pub const fn unknown() -> Self {
        Self {
            memory: ArrayVec::new_const(),
            reserved: ArrayVec::new_const(),
            cpus: ArrayVec::new_const(),
            conduit: Conduit::Smc,
            gic: Gic {
                distributor: Range { start: 0, end: 0 },
                redistributors: ArrayVec::new_const(),
                maintenance: 0,
            },
            timer: TimerInterrupts { virtual_timer: 0, hypervisor_timer: 0 },
            uart: None,
            rtc: None,
            virtio: Range { start: 0, end: 0 },
            initrd: None,
            bootargs: ArrayString::new_const(),
            seed: ArrayVec::new_const(),
        }
    }

    /// Reads the board from its device tree's bytes, into its place: it is too large to be moved about.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn discover(&mut self, tree: &[u8]) -> Result<(), BoardError> {
        if !sound::is_sound(tree) {
            return Err(BoardError::NoDeviceTree);
        }
        let fdt = Fdt::new_unchecked(tree);
        let mut nodes = Nodes::default();
        nodes.find(fdt.root())?;
        self.uart = nodes.uart(fdt);
        self.rtc = nodes.rtc.and_then(first_register);
        self.virtio = nodes.virtio();
        self.read_memory(fdt, &nodes)?;
        self.read_cpus(nodes.cpus.ok_or(BoardError::NoCpus)?)?;
        self.conduit = nodes.psci.and_then(read_conduit).ok_or(BoardError::NoPsci)?;
        self.gic = nodes.gic.and_then(read_gic).ok_or(BoardError::NoGicV3)?;
        self.timer = nodes.timer.and_then(read_timer).ok_or(BoardError::NoTimer)?;
        if let Some(chosen) = nodes.chosen {
            self.read_chosen(chosen);
        }
        Ok(())
    }

    fn read_memory(&mut self, fdt: Fdt<'_>, nodes: &Nodes<'_>) -> Result<(), BoardError> {
        for range in nodes.memory.iter().flat_map(|node| ranges(*node)) {
            self.memory.try_push(range).map_err(|_| BoardError::TooMuch)?;
        }
        if self.memory.is_empty() {
            return Err(BoardError::NoMemory);
        }
        for entry in fdt.memory_reservations() {
            let range = Range::new(entry.address(), entry.size());
            self.reserved.try_push(range).map_err(|_| BoardError::TooMuch)?;
        }
        for node in nodes.reserved.iter().flat_map(|node| node.children()) {
            for range in ranges(node) {
                self.reserved.try_push(range).map_err(|_| BoardError::TooMuch)?;
            }
        }
        Ok(())
    }

    fn read_cpus(&mut self, cpus: FdtNode<'_>) -> Result<(), BoardError> {
        for node in cpus.children().filter(|node| node.name_without_address() == "cpu") {
            let Some(reg) = node.property("reg") else { continue };
            let affinity = big_endian(reg.value()).ok_or(BoardError::NoCpus)?;
            self.cpus.try_push(affinity).map_err(|_| BoardError::TooMuch)?;
        }
        if self.cpus.is_empty() { Err(BoardError::NoCpus) } else { Ok(()) }
    }

    fn read_chosen(&mut self, chosen: FdtNode<'_>) {
        let number = |name: &str| chosen.property(name).and_then(|property| big_endian(property.value()));
        if let (Some(start), Some(end)) = (number("linux,initrd-start"), number("linux,initrd-end")) {
            self.initrd = Some(Range { start, end }).filter(|range| !range.is_empty());
        }
        if let Some(bootargs) = chosen.property("bootargs") {
            let text = core::str::from_utf8(bootargs.value()).unwrap_or_default().trim_end_matches('\0');
            let fits = text.get(..text.len().min(self.bootargs.capacity())).unwrap_or_default();
            self.bootargs.push_str(fits);
        }
        for name in ["rng-seed", "kaslr-seed"] {
            let bytes = chosen.property(name);
            self.seed.extend(bytes.iter().flat_map(|bytes| bytes.value()).copied().take(32));
        }
    }

    /// Whether the command line contains `word` by itself.
    #[must_use]
    pub fn has_argument(&self, word: &str) -> bool {
        self.bootargs.split_ascii_whitespace().any(|argument| argument == word)
    }
}

/// The root's children that matter, found in one pass: a walk over the whole tree is what costs most of a boot.
#[derive(Default)]
struct Nodes<'a> {
    chosen: Option<FdtNode<'a>>,
    cpus: Option<FdtNode<'a>>,
    reserved: Option<FdtNode<'a>>,
    memory: ArrayVec<FdtNode<'a>, MAX_BANKS>,
    psci: Option<FdtNode<'a>>,
    gic: Option<FdtNode<'a>>,
    timer: Option<FdtNode<'a>>,
    /// The first PL011.
    uart: Option<FdtNode<'a>>,
    rtc: Option<FdtNode<'a>>,
    first_virtio: Option<FdtNode<'a>>,
    last_virtio: Option<FdtNode<'a>>,
}

/// As far apart the first and the last virtio-mmio device are at most, if those between are to be found.
const VIRTIO_WINDOW: u64 = 1 << 20;

impl<'a> Nodes<'a> {
    /// The addresses from the first virtio-mmio device's to the last one's, in either order.
    fn virtio(&self) -> Range {
        let ends = [self.first_virtio, self.last_virtio];
        let mut ends = ends.into_iter().filter_map(|node| ranges(node?).next());
        let (Some(one), Some(other)) = (ends.next(), ends.next()) else { return Range::default() };
        let window = Range { start: one.start.min(other.start), end: one.end.max(other.end) };
        if window.len() <= VIRTIO_WINDOW { window } else { Range::default() }
    }

    fn find(&mut self, root: FdtNode<'a>) -> Result<(), BoardError> {
        for node in root.children() {
            match node.name_without_address() {
                "chosen" => self.chosen = Some(node),
                "cpus" => self.cpus = Some(node),
                "reserved-memory" => self.reserved = Some(node),
                "memory" => self.memory.try_push(node).map_err(|_| BoardError::TooMuch)?,
                // QEMU's board has 32 of them, and they are nothing else: only the ends matter for now.
                "virtio_mmio" => {
                    self.first_virtio.get_or_insert(node);
                    self.last_virtio = Some(node);
                }
                _ => self.note_compatible(node),
            }
        }
        Ok(())
    }

    fn note_compatible(&mut self, node: FdtNode<'a>) {
        for entry in node.compatible().into_iter().flatten() {
            let place = match entry {
                "arm,psci-1.0" | "arm,psci-0.2" => &mut self.psci,
                "arm,gic-v3" => &mut self.gic,
                "arm,armv8-timer" => &mut self.timer,
                PL011 => &mut self.uart,
                "arm,pl031" => &mut self.rtc,
                _ => continue,
            };
            place.get_or_insert(node);
            return;
        }
    }

    /// The console: `/chosen/stdout-path`, else the first PL011.
    fn uart(&self, fdt: Fdt<'a>) -> Option<Uart> {
        let wanted = self.chosen.and_then(|chosen| {
            let property = chosen.property("stdout-path")?;
            let path = core::str::from_utf8(property.value()).ok()?;
            let path = path.trim_end_matches('\0').split(':').next()?;
            // Nearly always it is the one that is known already.
            let known = self.uart.filter(|node| path.strip_prefix('/') == Some(node.name()));
            known.or_else(|| fdt.find_node(path))
        });
        let by_path = wanted.filter(|node| is_compatible(*node, PL011));
        let node = by_path.or(self.uart)?;
        let base = ranges(node).next()?.start;
        Some(Uart { base, intid: interrupts(node).first().copied().unwrap_or(0) })
    }
}

const PL011: &str = "arm,pl011";

/// The virtio-mmio devices of a sound device tree whose registers are in `window`.
pub fn virtio_slots(tree: &[u8], window: Range) -> ArrayVec<VirtioSlot, MAX_VIRTIO> {
    let nodes = Fdt::new_unchecked(tree).root().children();
    let slots = nodes.filter(|node| node.name_without_address() == "virtio_mmio").filter_map(|node| {
        let registers = ranges(node).next()?;
        let is_inside = window.start <= registers.start && registers.end <= window.end;
        let intid = interrupts(node).first().copied()?;
        is_inside.then_some(VirtioSlot { base: registers.start, len: registers.len(), intid })
    });
    slots.take(MAX_VIRTIO).collect()
}

/// Finds the console's PL011: `/chosen/stdout-path`, else the first in the tree. For the message of a boot that cannot go
/// on.
#[must_use]
pub fn find_uart(fdt: Fdt<'_>) -> Option<Uart> {
    let mut nodes = Nodes::default();
    // Too much of something else is no reason to be silent.
    let _ = nodes.find(fdt.root());
    nodes.uart(fdt)
}

fn read_conduit(psci: FdtNode<'_>) -> Option<Conduit> {
    (psci.property("method")?.value() == b"smc\0").then_some(Conduit::Smc)
}

fn read_gic(node: FdtNode<'_>) -> Option<Gic> {
    let regions =
        node.property("#redistributor-regions").and_then(|count| big_endian(count.value())).unwrap_or(1);
    let mut reg = ranges(node);
    let distributor = reg.next()?;
    let redistributors = reg.take(usize::try_from(regions).ok()?.min(MAX_GICR_REGIONS)).collect();
    // QEMU's and every server's: PPI 9.
    let maintenance = interrupts(node).first().copied().unwrap_or(25);
    Some(Gic { distributor, redistributors, maintenance })
}

fn read_timer(node: FdtNode<'_>) -> Option<TimerInterrupts> {
    // The binding's order: secure physical, physical, virtual, hypervisor physical.
    let mut interrupts = interrupts(node).into_iter().skip(2);
    Some(TimerInterrupts { virtual_timer: interrupts.next()?, hypervisor_timer: interrupts.next()? })
}

fn is_compatible(node: FdtNode<'_>, with: &str) -> bool {
    node.compatible().is_some_and(|mut list| list.any(|entry| entry == with))
}

/// The node's `reg`, as ranges.
fn ranges(node: FdtNode<'_>) -> impl Iterator<Item = Range> {
    let reg = node.reg().ok().flatten();
    reg.into_iter().flatten().filter_map(|reg| Some(Range::new(reg.address().ok()?, reg.size().ok()?)))
}

fn first_register(node: FdtNode<'_>) -> Option<u64> {
    Some(ranges(node).next()?.start)
}

/// The node's `interrupts` as INTIDs, by the GIC binding: (type, number, flags), 0 = SPI, 1 = PPI. At most eight.
fn interrupts(node: FdtNode<'_>) -> ArrayVec<u32, 8> {
    let Some(property) = node.property("interrupts") else { return ArrayVec::new() };
    let intid = |cells: &[u8]| {
        let number = u32::try_from(big_endian(cells.get(4..8)?)?).ok()?;
        match big_endian(cells.get(..4)?)? {
            0 => number.checked_add(32),
            1 => number.checked_add(16),
            _ => None,
        }
    };
    property.value().chunks_exact(12).filter_map(intid).take(8).collect()
}

/// A property of one or two cells as a number.
fn big_endian(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        4 => Some(u64::from(u32::from_be_bytes(bytes.try_into().ok()?))),
        8 => Some(u64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
