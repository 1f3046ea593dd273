// SPDX-License-Identifier: MIT OR Apache-2.0
//! The board, as its device tree describes it.
//!
//! Everything that differs from board to board is read here, once, into plain values; the rest of EL2 knows no
//! board. It runs before the MMU is on, so it takes no lock and allocates nothing.

use arrayvec::ArrayVec;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use vambrace_interrupts::Intid;
use vambrace_memory::{Pa, PaRange};

mod assigned;
mod console;
mod device_node;
mod error;
mod interrupts;
mod sound;

pub use assigned::{NotOnBoard, assigned_range};
use console::PL011;
pub use console::{Named, Uart};
use device_node::{DeviceNode, is_okay};
pub use error::{BoardError, BoardKind, OtherGic};
use interrupts::Controller;

/// The most physical CPUs that we run on.
pub const MAX_CPUS: usize = 128;

/// The most separate memory banks that we keep, and the most reservations.
pub const MAX_BANKS: usize = 64;

/// The most redistributor regions of one GIC.
pub const MAX_GICR_REGIONS: usize = 16;

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
    pub virtual_timer: Intid,
    /// The EL2 physical timer's.
    pub hypervisor_timer: Intid,
}

/// The interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gic {
    /// The distributor's registers.
    pub distributor: PaRange,
    /// The redistributors' regions.
    pub redistributors: ArrayVec<PaRange, MAX_GICR_REGIONS>,
    /// The maintenance interrupt's INTID.
    pub maintenance: Intid,
}

/// The most virtio-mmio devices: as many as QEMU's `virt` has.
pub const MAX_VIRTIO: usize = 32;

/// A place for a virtio-mmio device; there may be none in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioSlot {
    /// Its registers.
    pub registers: PaRange,
    /// Its interrupt's INTID.
    pub intid: Intid,
}

/// What we know of the board.
#[derive(Clone, Debug)]
pub struct Board {
    /// Memory banks.
    pub memory: ArrayVec<PaRange, MAX_BANKS>,
    /// Memory that is not ours to use: firmware's reservations.
    pub reserved: ArrayVec<PaRange, MAX_BANKS>,
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
    /// What became of the console that the firmware names.
    pub named_console: Named,
    /// The registers of a PL031 real-time clock, if there is one.
    pub rtc: Option<Pa>,
    /// Where the registers of virtio-mmio devices are.
    pub virtio: PaRange,
    /// The bundle, when it came as the initrd.
    pub initrd: Option<PaRange>,
    /// Entropy that the firmware hands over.
    pub seed: ArrayVec<u8, 64>,
}

/// A list that counts what it has no room for.
#[derive(Debug)]
struct Counted<T, const MOST: usize> {
    list: ArrayVec<T, MOST>,
    count: usize,
}

impl<T, const MOST: usize> Default for Counted<T, MOST> {
    fn default() -> Self {
        Self { list: ArrayVec::new(), count: 0 }
    }
}

impl<T, const MOST: usize> Extend<T> for Counted<T, MOST> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            self.count = self.count.saturating_add(1);
            // What does not fit is told by `all`.
            let _ = self.list.try_push(item);
        }
    }
}

impl<T, const MOST: usize> Counted<T, MOST> {
    /// All of them, or how many there are too many.
    fn all(self, what: &'static str) -> Result<ArrayVec<T, MOST>, BoardError> {
        let Self { list, count } = self;
        if count > MOST { Err(BoardError::TooMany { what, count, most: MOST }) } else { Ok(list) }
    }
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
                distributor: PaRange::EMPTY,
                redistributors: ArrayVec::new_const(),
                maintenance: Intid::new(0),
            },
            timer: TimerInterrupts { virtual_timer: Intid::new(0), hypervisor_timer: Intid::new(0) },
            uart: None,
            named_console: Named::Nothing,
            rtc: None,
            virtio: PaRange::EMPTY,
            initrd: None,
            seed: ArrayVec::new_const(),
        }
    }

    /// Reads the board from its device tree's bytes, into its place: it is too large to be moved about. Not inlined, since who
    /// asks keeps its stack for ever.
    ///
    /// # Errors
    /// Says what is missing.
    #[inline(never)]
    pub fn discover(&mut self, tree: &[u8]) -> Result<(), BoardError> {
        if !sound::is_sound(tree) {
            return Err(BoardError::NoDeviceTree);
        }
        let fdt = Fdt::new_unchecked(tree);
        let root = fdt.root();
        let kind = BoardKind::of_root(root);
        let nodes = Nodes::find(root);
        // First of all: whatever is wrong with the rest can be told then.
        (self.uart, self.named_console) = nodes.console(root);
        self.rtc = nodes.rtc.and_then(|node| Some(ranges(node).next()?.start()));
        self.virtio = nodes.virtio();
        self.read_reservations(fdt, &nodes)?;
        self.cpus = read_cpus(nodes.cpus.ok_or(BoardError::NoCpus)?)?;
        self.conduit = nodes.psci.and_then(read_conduit).ok_or(BoardError::NoPsci)?;
        let gic = nodes.gic.ok_or(BoardError::NoGicV3 { instead: nodes.other_gic, kind })?;
        self.gic = read_gic(root, gic)?.ok_or(BoardError::NoGicV3 { instead: OtherGic::Unknown, kind })?;
        let timer =
            nodes.timer.and_then(|node| read_timer(&DeviceNode::below_root(root, node), Controller::of(gic)));
        self.timer = timer.ok_or(BoardError::NoTimer(kind))?;
        if let Some(chosen) = nodes.chosen {
            self.read_chosen(chosen);
        }
        self.memory = nodes.memory.all("memory banks")?;
        if self.memory.is_empty() { Err(BoardError::NoMemory) } else { Ok(()) }
    }

    fn read_reservations(&mut self, fdt: Fdt<'_>, nodes: &Nodes<'_>) -> Result<(), BoardError> {
        let mut reserved = Counted::default();
        reserved.extend(fdt.memory_reservations().map(|entry| reg(entry.address(), entry.size())));
        for node in nodes.reserved.iter().flat_map(|node| node.children()) {
            // Whatever its status: what is not used costs some memory, what is used in error costs everything.
            reserved.extend(ranges(node));
        }
        self.reserved = reserved.all("memory reservations")?;
        Ok(())
    }

    fn read_chosen(&mut self, chosen: FdtNode<'_>) {
        let number = |name: &str| chosen.property(name).and_then(|property| big_endian(property.value()));
        if let (Some(start), Some(end)) = (number("linux,initrd-start"), number("linux,initrd-end")) {
            self.initrd = PaRange::between(Pa(start), Pa(end)).filter(|range| !range.is_empty());
        }
        for name in ["rng-seed", "kaslr-seed"] {
            let bytes = chosen.property(name);
            self.seed.extend(bytes.iter().flat_map(|bytes| bytes.value()).copied().take(32));
        }
    }
}

/// Whether the command line in a sound device tree contains `word` by itself.
#[must_use]
#[inline(never)]
pub fn has_argument(tree: &[u8], word: &str) -> bool {
    let chosen = Fdt::new_unchecked(tree).root().children().find(|node| node.name() == "chosen");
    let bootargs = chosen.and_then(|chosen| chosen.property("bootargs"));
    let words = bootargs.iter().flat_map(|property| property.value().split(|byte| b" \t\n\0".contains(byte)));
    words.into_iter().any(|argument| argument == word.as_bytes())
}

/// The root's children that matter, found in one pass: a walk over the whole tree is what costs most of a boot.
#[derive(Default)]
struct Nodes<'a> {
    chosen: Option<FdtNode<'a>>,
    cpus: Option<FdtNode<'a>>,
    reserved: Option<FdtNode<'a>>,
    memory: Counted<PaRange, MAX_BANKS>,
    psci: Option<FdtNode<'a>>,
    gic: Option<FdtNode<'a>>,
    other_gic: OtherGic,
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
    fn virtio(&self) -> PaRange {
        let ends = [self.first_virtio, self.last_virtio];
        let mut ends = ends.into_iter().filter_map(|node| ranges(node?).next());
        let (Some(one), Some(other)) = (ends.next(), ends.next()) else { return PaRange::EMPTY };
        let window = one.joined(other);
        if window.len() <= VIRTIO_WINDOW { window } else { PaRange::EMPTY }
    }

    fn find(root: FdtNode<'a>) -> Self {
        let mut this = Self::default();
        for node in root.children() {
            match node.name_without_address() {
                "chosen" => this.chosen = Some(node),
                "cpus" => this.cpus = Some(node),
                "reserved-memory" => this.reserved = Some(node),
                "memory" if is_okay(node) => this.memory.extend(ranges(node)),
                // QEMU's board has 32 of them, and they are nothing else: only the ends matter for now.
                "virtio_mmio" => {
                    this.first_virtio.get_or_insert(node);
                    this.last_virtio = Some(node);
                }
                _ => this.note_compatible(node),
            }
        }
        this
    }

    fn note_compatible(&mut self, node: FdtNode<'a>) {
        for entry in node.compatible().into_iter().flatten() {
            let place = match entry {
                "arm,psci-1.0" | "arm,psci-0.2" => &mut self.psci,
                "arm,gic-v3" if !is_okay(node) => {
                    self.other_gic = OtherGic::NotUsable;
                    return;
                }
                "arm,gic-v3" => &mut self.gic,
                "arm,gic-400" | "arm,cortex-a15-gic" => {
                    self.other_gic = OtherGic::V2;
                    return;
                }
                "arm,armv8-timer" => &mut self.timer,
                PL011 => &mut self.uart,
                "arm,pl031" => &mut self.rtc,
                _ => continue,
            };
            if is_okay(node) {
                place.get_or_insert(node);
            }
            return;
        }
    }

    /// The console.
    fn console(&self, root: FdtNode<'a>) -> (Option<Uart>, Named) {
        console::find(root, self.chosen, self.uart, self.gic.map(Controller::of))
    }
}

/// The virtio-mmio devices of a sound device tree whose registers are in `window`.
#[inline(never)]
pub fn virtio_slots(tree: &[u8], window: PaRange) -> ArrayVec<VirtioSlot, MAX_VIRTIO> {
    let root = Fdt::new_unchecked(tree).root();
    let Some(gic) = root.children().find(|node| is_compatible(*node, "arm,gic-v3")).map(Controller::of)
    else {
        return ArrayVec::new();
    };
    let nodes = root.children().filter(|node| node.name_without_address() == "virtio_mmio" && is_okay(*node));
    let slots = nodes.filter_map(|node| {
        let registers = ranges(node).next()?;
        let intid = gic.interrupts(&DeviceNode::below_root(root, node)).first().copied().flatten()?;
        window.contains_range(registers).then_some(VirtioSlot { registers, intid })
    });
    slots.take(MAX_VIRTIO).collect()
}

/// Finds the console, for the message of a boot that cannot go on, whatever else is wrong with the board. `otherwise` is where
/// there may be one if there is no device tree that could be read.
#[must_use]
pub fn find_uart(tree: Option<&[u8]>, otherwise: Uart) -> Option<Uart> {
    let Some(tree) = tree.filter(|tree| sound::is_sound(tree)) else { return Some(otherwise) };
    let root = Fdt::new_unchecked(tree).root();
    Nodes::find(root).console(root).0
}

/// The CPUs. One that is "disabled" waits to be started, and "fail" says that it cannot be ("/cpus Node Properties").
fn read_cpus(cpus: FdtNode<'_>) -> Result<ArrayVec<u64, MAX_CPUS>, BoardError> {
    let mut found = Counted::default();
    let fails = |node: &FdtNode<'_>| {
        node.property("status").is_some_and(|status| status.value().starts_with(b"fail"))
    };
    for node in cpus.children().filter(|node| node.name_without_address() == "cpu" && !fails(node)) {
        // One without an address cannot be started.
        let Some(reg) = node.property("reg") else { continue };
        found.extend([big_endian(reg.value()).ok_or(BoardError::NoCpus)?]);
    }
    let found = found.all("CPUs")?;
    if found.is_empty() { Err(BoardError::NoCpus) } else { Ok(found) }
}

fn read_conduit(psci: FdtNode<'_>) -> Option<Conduit> {
    (psci.property("method")?.value() == b"smc\0").then_some(Conduit::Smc)
}

fn read_gic(root: FdtNode<'_>, node: FdtNode<'_>) -> Result<Option<Gic>, BoardError> {
    let regions =
        node.property("#redistributor-regions").and_then(|count| big_endian(count.value())).unwrap_or(1);
    let mut reg = ranges(node);
    let Some(distributor) = reg.next() else { return Ok(None) };
    let mut redistributors = Counted::default();
    redistributors.extend(reg.take(usize::try_from(regions).unwrap_or(usize::MAX)));
    let redistributors = redistributors.all("regions of redistributors")?;
    let interrupts = Controller::of(node).interrupts(&DeviceNode::below_root(root, node));
    // QEMU's and every server's: PPI 9.
    let maintenance =
        interrupts.first().copied().flatten().filter(|intid| intid.is_ppi()).unwrap_or(Intid::new(25));
    Ok(Some(Gic { distributor, redistributors, maintenance }))
}

fn read_timer(device: &DeviceNode<'_>, gic: Controller) -> Option<TimerInterrupts> {
    let interrupts = gic.interrupts(device);
    let names = device.node().property("interrupt-names");
    // Without names in the binding's order: secure physical, physical, virtual, hypervisor physical.
    let at = |name: &[u8], usual: usize| match &names {
        Some(names) => names.value().split(|byte| *byte == 0).position(|known| known == name),
        None => Some(usual),
    };
    let interrupt =
        |name: &[u8], usual| interrupts.get(at(name, usual)?).copied()?.filter(|intid| intid.is_ppi());
    Some(TimerInterrupts {
        virtual_timer: interrupt(b"virt", 2)?,
        hypervisor_timer: interrupt(b"hyp-phys", 3)?,
    })
}

fn is_compatible(node: FdtNode<'_>, with: &str) -> bool {
    node.compatible().is_some_and(|mut list| list.any(|entry| entry == with))
}

/// The node's `reg`, as ranges.
fn ranges(node: FdtNode<'_>) -> impl Iterator<Item = PaRange> {
    let entries = node.reg().ok().flatten().into_iter().flatten();
    entries.filter_map(|entry| Some(reg(entry.address().ok()?, entry.size().ok()?)))
}

/// An address and a size of the tree's. Some say of memory up to the end of the space, or beyond: that is kept as far as it goes,
/// since what is reserved must not be lost.
fn reg(address: u64, size: u64) -> PaRange {
    PaRange::clamped(Pa(address), size)
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
