// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vambrace explain map`: the VMs' address spaces, and where they lie in physical memory.
//!
//! [`Map`] is the picture as a value: lists of [`Region`]s, lowest address first. Text, JSON and the drawing are
//! made from it. What a VM sees comes from the machine's address map, where it lies from `placement`.

mod drawing;
mod text;

use serde::{Serialize, Serializer};
use vambrace_machine::devices::Device;
use vambrace_machine::layout;

use vambrace_manifest::io::{DiskSource, VirtioDevice};
use vambrace_manifest::layout::{self as placement, BOARD_RAM, Images, Piece, Placement, VmPlace};
use vambrace_manifest::words::counted;
use vambrace_manifest::{Boot, Manifest, Size, Vm};

/// All address spaces of a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Map {
    /// The board in words.
    pub board: String,
    /// What to know when reading the map.
    pub notes: Vec<String>,
    /// Physical memory.
    pub physical: Vec<Region>,
    /// The VMs, in the manifest's order.
    pub vms: Vec<VmMap>,
}

/// One VM's intermediate physical addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmMap {
    /// Its name.
    pub name: String,
    /// Its virtual CPUs.
    pub vcpus: usize,
    /// The VM that must have ended before.
    pub after: Option<String>,
    /// What it sees.
    pub regions: Vec<Region>,
}

/// A range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Region {
    /// What is there.
    pub what: String,
    /// Of which kind that is.
    pub kind: RegionKind,
    /// The first address.
    #[serde(serialize_with = "hexadecimal")]
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Whether the start is certain.
    pub placed: Certainty,
    /// Whether the size is.
    pub sized: Certainty,
    /// In a VM: where it lies in physical memory, piece by piece as the VM sees them. Nothing if it is no memory, or has none.
    pub lies_at: Vec<PhysicalLocation>,
}

/// Where a region of a VM lies, or a piece of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PhysicalLocation {
    /// The first physical address.
    #[serde(serialize_with = "hexadecimal")]
    pub start: u64,
    /// Bytes; the rest of the region is filled otherwise.
    pub size: u64,
    /// Whether this is certain.
    pub certainty: Certainty,
}

/// The kinds of regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionKind {
    /// A VM's RAM; in physical memory, of the VM with this index.
    Ram(usize),
    /// A VM's flash, likewise.
    Flash(usize),
    /// No memory: each access traps, and EL2 plays the device.
    Emulated,
    /// The board's own devices; in a VM, one that belongs to it.
    Device,
    /// Memory that VMs share.
    Shared,
    /// EL2's own memory.
    Hypervisor,
    /// Nobody's.
    Free,
}

/// Whether a place is certain before the board runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// The manifest and the rules fix it.
    Exact,
    /// It depends on how large the images are.
    About,
}

impl Certainty {
    /// Certain, if both are.
    fn and(self, other: Self) -> Self {
        if self == Self::Exact { other } else { self }
    }

    /// Certain, if it comes out the same whatever the images' size.
    fn of(same: bool) -> Self {
        if same { Self::Exact } else { Self::About }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn hexadecimal<S: Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&self::address(*address))
}

/// An address with its certainty; the last digits of one that is about are no use.
fn about(at: u64, certainty: Certainty) -> String {
    match certainty {
        Certainty::Exact => address(at),
        Certainty::About => format!("~{}", address(at & !0xF_FFFF)),
    }
}

/// An address as it is printed: `0x4000_0000`.
fn address(address: u64) -> String {
    match (address >> 32, address >> 16 & 0xFFFF, address & 0xFFFF) {
        (0, high, low) => format!("0x{high:04x}_{low:04x}"),
        (top, high, low) => format!("0x{top:x}_{high:04x}_{low:04x}"),
    }
}

impl Region {
    fn new(what: impl Into<String>, kind: RegionKind, start: u64, size: u64) -> Self {
        let (placed, sized) = (Certainty::Exact, Certainty::Exact);
        Self { what: what.into(), kind, start, size, placed, sized, lies_at: Vec::new() }
    }

    /// The first address behind it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.size
    }

    /// Its size with a unit; nothing for the board's devices, which have gaps between them.
    fn size_words(&self) -> String {
        match (self.kind, self.sized) {
            (RegionKind::Device, _) => String::new(),
            (_, Certainty::Exact) => Size(self.size).to_string(),
            (_, Certainty::About) => format!("~{}", rounded(self.size)),
        }
    }
}

/// A size that is not known to the byte anyway.
fn rounded(size: u64) -> Size {
    Size(size.next_multiple_of(if size >= 1 << 20 { 1 << 20 } else { 1 << 10 }))
}

impl Map {
    /// Draws up the map for a manifest.
    #[must_use]
    pub fn new(manifest: &Manifest) -> Self {
        let tries = [Images::Guessed, Images::Small, Images::Large];
        let [places, small, large] = tries.map(|images| placement::place(manifest, images));
        let vms: Vec<VmMap> = manifest
            .vms
            .iter()
            .enumerate()
            .map(|(index, vm)| {
                let place = |placement: &Placement| placement.vms.get(index).cloned().unwrap_or_default();
                let others = [place(&small), place(&large)];
                vm_map(manifest, (index, vm), &place(&places), &others)
            })
            .collect();
        let memory = manifest.board.memory;
        Self {
            board: format!("QEMU's virt, {memory} RAM, {}", counted(manifest.board.cpus.into(), "CPU")),
            notes: notes(manifest, &places),
            physical: physical(memory, [&places, &small, &large], &vms),
            vms,
        }
    }
}

fn vm_map(manifest: &Manifest, (index, vm): (usize, &Vm), place: &VmPlace, others: &[VmPlace]) -> VmMap {
    let locate = |which: fn(&VmPlace) -> &[Piece]| locations(which, place, others);
    let mut regions = Vec::new();
    if matches!(vm.boot, Boot::Firmware(_)) {
        let flash =
            Region::new("flash", RegionKind::Flash(index), layout::FLASH.start().0, layout::FLASH.len());
        regions.push(Region { lies_at: locate(|place| place.flash.as_slice()), ..flash });
    }
    let device = |what: &str, start, size| Region::new(what, RegionKind::Emulated, start, size);
    regions.push(device("GIC distributor", layout::GICD.start().0, layout::GICD.len()));
    let vcpus = vm.vcpus.len() as u64;
    let redistributors = |count: u64| match count {
        1 => "GIC redistributor".to_owned(),
        count => format!("GIC redistributors ({count})"),
    };
    let low = vcpus.min(layout::GICR_COUNT);
    regions.push(device(&redistributors(low), layout::GICR.0, low * layout::GICR_STRIDE));
    for platform in Device::ALL.into_iter().filter(|platform| platform.is_in(vm.devices)) {
        let what = format!("{} {}", platform.role(), platform.model());
        regions.push(device(&what, platform.base().0, platform.range().len()));
    }
    regions.extend(virtio(manifest, vm));
    regions.extend(assigned(vm));
    regions.extend(channels(manifest, vm));
    let ram = Region::new("RAM", RegionKind::Ram(index), layout::RAM.0, vm.memory.0);
    regions.push(Region { lies_at: locate(|place| &place.ram), ..ram });
    if vcpus > low {
        let high = vcpus - low;
        regions.push(device(&redistributors(high), layout::GICR_HIGH.0, high * layout::GICR_STRIDE));
    }
    regions.sort_by_key(|region| region.start);
    let after = vm.after.and_then(|after| manifest.vms.get(usize::from(after)));
    VmMap {
        name: vm.name.clone(),
        vcpus: vm.vcpus.len(),
        after: after.map(|after| after.name.clone()),
        regions,
    }
}

/// Where some of a VM's memory lies; certain where it comes out the same in the `others`.
fn locations(which: fn(&VmPlace) -> &[Piece], place: &VmPlace, others: &[VmPlace]) -> Vec<PhysicalLocation> {
    let location = |(index, piece): (usize, &Piece)| {
        let same = others.iter().all(|other| which(other).get(index) == Some(piece));
        PhysicalLocation { start: piece.start, size: piece.size, certainty: Certainty::of(same) }
    };
    which(place).iter().enumerate().map(location).collect()
}

/// The VM's own virtio devices.
fn virtio(manifest: &Manifest, vm: &Vm) -> Vec<Region> {
    let slots = (0..).zip(&vm.virtio).map(|(slot, device): (u64, _)| {
        let place = layout::VIRTIO.place(slot);
        Region::new(virtio_words(manifest, device), RegionKind::Emulated, place.start().0, place.len())
    });
    slots.collect()
}

/// What a virtio device is, and where what it shows comes from.
fn virtio_words(manifest: &Manifest, device: &VirtioDevice) -> String {
    let board =
        |index: u16| manifest.board.disks.get(usize::from(index)).map_or("?", |disk| disk.name.as_str());
    match device {
        VirtioDevice::Entropy => "virtio entropy".to_owned(),
        VirtioDevice::Console => "virtio console".to_owned(),
        VirtioDevice::Card(card) => {
            let network = manifest.networks.get(usize::from(card.network));
            format!("network card on {}", network.map_or("?", |network| network.name.as_str()))
        }
        VirtioDevice::Disk(disk) => match &disk.source {
            DiskSource::Image { path, .. } => format!("disk {}", path.display()),
            DiskSource::Board { disk, start, .. } if start.0 == 0 => format!("disk on {}", board(*disk)),
            DiskSource::Board { disk, start, .. } => format!("disk on {} from {start}", board(*disk)),
            DiskSource::Partition { disk, name } => format!("disk {name} of {}", board(*disk)),
        },
    }
}

/// The board's devices that belong to the VM; of those that share a page, the first.
fn assigned(vm: &Vm) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    for device in &vm.assigned {
        for registers in &device.registers {
            let location =
                PhysicalLocation { start: registers.pa, size: registers.len, certainty: Certainty::Exact };
            if regions.iter().all(|region| region.start != registers.ipa) {
                let region = Region::new(&*device.path, RegionKind::Device, registers.ipa, registers.len);
                regions.push(Region { lies_at: vec![location], ..region });
            }
        }
    }
    regions
}

/// The VM's ends of channels: a doorbell and memory for each.
fn channels(manifest: &Manifest, vm: &Vm) -> Vec<Region> {
    let ends = (0..).zip(&vm.channels).filter_map(|(index, end): (u64, _)| {
        let channel = manifest.channels.get(usize::from(end.channel))?;
        let doorbell = layout::DOORBELLS.place(index);
        let memory = layout::CHANNEL.0 + index * layout::CHANNEL_STRIDE;
        Some([
            Region::new(
                format!("doorbell of {}", channel.name),
                RegionKind::Emulated,
                doorbell.start().0,
                doorbell.len(),
            ),
            Region::new(format!("channel {}", channel.name), RegionKind::Shared, memory, channel.size.0),
        ])
    });
    ends.flatten().collect()
}

/// The board's memory, without gaps from the start of RAM to its end. `tries` are for several sizes of images.
fn physical(memory: Size, tries: [&Placement; 3], vms: &[VmMap]) -> Vec<Region> {
    let [places, ..] = tries;
    let own = |what: &str, which: fn(&Placement) -> Piece| {
        let piece = which(places);
        Region {
            placed: Certainty::of(tries.iter().all(|other| which(other).start == piece.start)),
            sized: Certainty::About,
            ..Region::new(what, RegionKind::Hypervisor, piece.start, piece.size)
        }
    };
    let mut taken = vec![
        own("hypervisor", |places| places.image),
        own("bundle: images of the VMs", |places| places.bundle),
        own("device tree of the board", |places| places.tree),
        Region { placed: Certainty::About, ..own("EL2: stacks, heap, tables", |places| places.own) },
    ];
    if places.written.size > 0 {
        let what = "EL2: what VMs write to disks, channels";
        let written = Region { placed: Certainty::About, ..own(what, |places| places.written) };
        taken.push(Region { sized: Certainty::Exact, ..written });
    }
    for (vm, place) in vms.iter().zip(&places.vms) {
        let memory = vm.regions.iter().filter(|region| region.kind != RegionKind::Device);
        taken.extend(memory.flat_map(|region| pieces_of(region, &vm.name)));
        if let Some(Piece { start, size }) = place.erased {
            let what = format!("erased flash of {}", vm.name);
            taken.push(Region {
                placed: Certainty::About,
                ..Region::new(what, RegionKind::Hypervisor, start, size)
            });
        }
    }
    taken.sort_by_key(|region| region.start);
    let devices = Region::new("devices: GIC, UART, clock", RegionKind::Device, DEVICES.start, DEVICES.size);
    [devices].into_iter().chain(fill(taken, memory.0)).collect()
}

/// What of a VM's memory is in physical memory.
fn pieces_of<'a>(region: &'a Region, vm: &'a str) -> impl Iterator<Item = Region> + 'a {
    let only = region.lies_at.len() == 1;
    (1..).zip(&region.lies_at).map(move |(number, location): (usize, _)| {
        let PhysicalLocation { start, size, certainty } = *location;
        let (piece, sized) =
            if only { (String::new(), Certainty::Exact) } else { (format!(", piece {number}"), certainty) };
        let what = format!("{} of {vm}{piece}", region.what);
        Region { placed: certainty, sized, ..Region::new(what, region.kind, start, size) }
    })
}

/// The board's devices that EL2 drives: from the GIC's distributor to the clock.
const DEVICES: Piece =
    Piece { start: layout::GICD.start().0, size: Device::Pl031.range().end().0 - layout::GICD.start().0 };

/// Puts free memory between what is taken, up to the end of the board's RAM.
fn fill(taken: Vec<Region>, memory: u64) -> Vec<Region> {
    let free = |start, end, placed: Certainty, ends: Certainty| {
        let region = Region::new("free", RegionKind::Free, start, end - start);
        Region { placed, sized: placed.and(ends), ..region }
    };
    let mut regions = Vec::new();
    let (mut at, mut certainty) = (BOARD_RAM, Certainty::Exact);
    for region in taken {
        if region.start > at {
            regions.push(free(at, region.start, certainty, region.placed));
        }
        certainty = region.placed.and(region.sized);
        at = at.max(region.end());
        regions.push(region);
    }
    if at < BOARD_RAM + memory {
        regions.push(free(at, BOARD_RAM + memory, certainty, Certainty::Exact));
    }
    regions
}

fn notes(manifest: &Manifest, places: &Placement) -> Vec<String> {
    let mut notes = vec![
        "Physical addresses are not fixed by the manifest. They are those of vambrace run, with all VMs \
         there at once: RAM from the bottom of free memory, in the manifest's order; what EL2 needs for itself \
         and for channels from the top."
            .to_owned(),
        "~ marks what depends on the size of the images.".to_owned(),
        "A device of a VM is no memory: each access traps, and EL2 answers it, unless it is the board's own and assigned.".to_owned(),
    ];
    for (vm, place) in manifest.vms.iter().zip(&places.vms) {
        let after = vm.after.and_then(|after| manifest.vms.get(usize::from(after)));
        notes.extend(room_note(vm, after, place, places));
        notes.extend(pieces_note(vm, place));
    }
    notes
}

/// Whether the VM has room, if that is not plain.
fn room_note(vm: &Vm, after: Option<&Vm>, place: &VmPlace, places: &Placement) -> Option<String> {
    let name = &vm.name;
    match (after, place.ram.is_empty()) {
        (Some(after), false) => Some(format!(
            "{name} starts when {} has ended, and may then get other memory, such as that one's.",
            after.name
        )),
        (Some(after), true) => Some(format!("{name} has room only when {} has ended.", after.name)),
        (None, true) if places.free < vm.memory.0 => Some(format!(
            "{name} does not fit: it needs {}, and beside the others {} are left.",
            vm.memory,
            Size(places.free >> 20 << 20)
        )),
        (None, true) => Some(format!(
            "{name} does not fit: what is left would be more than {} pieces of its RAM.",
            placement::MAX_PIECES
        )),
        (None, false) => None,
    }
}

/// How the VM's RAM is divided, if it is.
fn pieces_note(vm: &Vm, place: &VmPlace) -> Option<String> {
    let name = &vm.name;
    match (vm.ram_piece(), place.ram.len()) {
        (Some(size), 1..) => Some(format!(
            "{name} sees its RAM in pieces of {size}: those of what is one box here from the last to the first."
        )),
        (_, pieces @ 2..) => {
            Some(format!("{name} has its RAM in {pieces} pieces, as nowhere is so much free in one."))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
