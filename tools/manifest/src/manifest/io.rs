// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks, networks and other virtio devices: what they mean.
//!
//! A name that means nothing is reported where it stands; the device is then left out, since nobody uses a manifest with
//! an error in it.

use std::path::PathBuf;

use toml::Spanned;
use vambrace_wire::bundle::MAX_VMS;
use vambrace_wire::bundle::io::{DISK_NAME_LEN, DiskAccess, MAX_VIRTIO, PortAddresses, Uplink};

use super::file;
use super::listed::ListedDevice;
use super::ports::{ForwardedPort, ports};
use super::resolve::size;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, nearest};
use crate::values::Size;

/// The unit of a disk, in bytes.
pub(crate) const SECTOR: u64 = 512;

/// A virtio device of a VM; its place in the list is its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VirtioDevice {
    /// A disk.
    Disk(VmDisk),
    /// A network card.
    Card(Card),
    /// Random bytes.
    Entropy,
    /// A console.
    Console,
}

/// A VM's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmDisk {
    /// Where it is.
    pub source: DiskSource,
    /// What the VM may do with it.
    pub access: DiskAccess,
    /// Where that is said.
    pub(crate) span: Span,
}

/// Where a VM's disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// In the image that is built.
    Image {
        /// The file.
        path: PathBuf,
        /// Its size, if it is not the file's.
        size: Option<Size>,
        /// RAM for what is written.
        room: Size,
    },
    /// On a disk of the board.
    Board {
        /// Its index.
        disk: u16,
        /// Where it begins there.
        start: Size,
        /// Its size, if it is not all that is left.
        size: Option<Size>,
    },
    /// A partition of a disk of the board.
    Partition {
        /// The disk's index.
        disk: u16,
        /// The partition's name, or its number.
        name: String,
    },
}

/// A VM's network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// The network's index.
    pub network: u16,
    /// Its address.
    pub mac: [u8; 6],
    /// The largest packet.
    pub mtu: u16,
    /// Under which addresses it may send.
    pub addresses: PortAddresses,
    /// How much it may send in a second.
    pub rate: Option<Size>,
}

/// A network between VMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// How it is connected to the outside.
    pub uplink: Uplink,
    /// Ports of the computer that lead to VMs on it.
    pub ports: Vec<ForwardedPort>,
}

/// A disk of the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardDisk {
    /// Its serial number.
    pub name: String,
    /// The file that QEMU shows.
    pub image: PathBuf,
    /// What to make if there is no such file.
    pub new: Option<NewDisk>,
    /// Where the file is named.
    pub(crate) span: Span,
}

/// A disk that is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewDisk {
    /// Zeros, so many bytes.
    Empty(Size),
    /// Debian's system.
    Debian,
}

/// The networks; of two with one name, both.
pub(super) fn networks(list: Vec<Spanned<file::Network>>, diagnostics: &mut Diagnostics) -> Vec<Network> {
    let mut networks: Vec<(Span, Network)> = Vec::new();
    let mut uplinked: Option<Span> = None;
    for network in list {
        let network = network.into_inner();
        let name = network.name.filter(|name| is_name(name, 63, "network", diagnostics));
        if let Some(name) = &name {
            unlike_those_before(name, networks.iter().map(|(span, it)| (&it.name, span)), diagnostics);
        }
        if let Some(uplink) = &network.uplink {
            if let Some(first) = &uplinked {
                diagnostics.push(
                    Diagnostic::new(Code::TwoUplinks, "two networks want the board's network card")
                        .label(uplink.span(), "take one of them out")
                        .label(first.clone(), "first here"),
                );
            }
            uplinked = Some(uplink.span());
        }
        let ports = ports(network.ports, network.uplink.as_ref(), diagnostics);
        let uplink = match network.uplink.map(Spanned::into_inner) {
            Some(file::Uplink::Board) => Uplink::Board,
            None => Uplink::None,
        };
        let Some(name) = name else { continue };
        networks.push((name.span(), Network { name: name.into_inner(), uplink, ports }));
    }
    networks.into_iter().map(|(_, network)| network).collect()
}

/// The board's disks.
pub(super) fn board_disks(
    list: Vec<Spanned<file::BoardDisk>>,
    diagnostics: &mut Diagnostics,
) -> Vec<BoardDisk> {
    let mut disks: Vec<(Span, BoardDisk)> = Vec::new();
    for disk in list {
        let disk = disk.into_inner();
        let new = new_disk(disk.size, disk.system, diagnostics);
        let name = disk.name.filter(|name| is_name(name, DISK_NAME_LEN, "disk", diagnostics));
        if let Some(name) = &name {
            unlike_those_before(name, disks.iter().map(|(span, it)| (&it.name, span)), diagnostics);
        }
        let (Some(name), Some(image)) = (name, disk.image) else { continue };
        let (span, image) = (image.span(), image.into_inner().into());
        disks.push((name.span(), BoardDisk { name: name.into_inner(), image, new, span }));
    }
    disks.into_iter().map(|(_, disk)| disk).collect()
}

/// What to make where there is no file.
fn new_disk(
    size: Option<Spanned<String>>,
    system: Option<Spanned<file::System>>,
    diagnostics: &mut Diagnostics,
) -> Option<NewDisk> {
    let empty = size.as_ref().and_then(|text| sectors(text, diagnostics)).map(NewDisk::Empty);
    let Some(system) = system else { return empty };
    if let Some(size) = size {
        diagnostics.push(
            Diagnostic::new(Code::WhichDisk, "`size` does not go with `system`")
                .label(size.span(), "of an empty disk")
                .label(system.span(), "this one is not empty, and has a size of its own")
                .help("keep one of the two"),
        );
    }
    match system.into_inner() {
        file::System::Debian => Some(NewDisk::Debian),
    }
}

/// What a VM's devices may refer to.
#[derive(Clone, Copy)]
pub(super) struct BoardResources<'a> {
    pub(super) networks: &'a [Network],
    pub(super) disks: &'a [BoardDisk],
}

/// The virtio devices of VM number `vm`.
pub(super) fn devices(
    vm: usize,
    disks: Vec<Spanned<file::Disk>>,
    cards: Vec<Spanned<file::Card>>,
    listed: &[Spanned<ListedDevice>],
    resources: BoardResources<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<VirtioDevice> {
    let mut devices = Vec::new();
    let mut spans: Vec<Span> =
        disks.iter().map(Spanned::span).chain(cards.iter().map(Spanned::span)).collect();
    let is_virtio = |device: &&Spanned<ListedDevice>| {
        matches!(device.get_ref(), ListedDevice::VirtioRng | ListedDevice::VirtioConsole)
    };
    spans.extend(listed.iter().filter(is_virtio).map(Spanned::span));
    for disk in disks {
        devices.extend(self::disk(disk, resources, diagnostics).map(VirtioDevice::Disk));
    }
    for (index, card) in cards.into_iter().enumerate() {
        let own = own_address(vm, index);
        devices.extend(self::card(card.into_inner(), own, resources, diagnostics).map(VirtioDevice::Card));
    }
    devices.extend(listed.iter().filter_map(|device| match device.get_ref() {
        ListedDevice::VirtioRng => Some(VirtioDevice::Entropy),
        ListedDevice::VirtioConsole => Some(VirtioDevice::Console),
        ListedDevice::Platform(_) => None,
    }));
    if let Some(span) = spans.get(MAX_VIRTIO) {
        diagnostics.push(
            Diagnostic::new(Code::TooManyDevices, format!("this VM has {} virtio devices", spans.len()))
                .label(span.clone(), format!("at most {MAX_VIRTIO}")),
        );
    }
    devices
}

fn disk(
    disk: Spanned<file::Disk>,
    resources: BoardResources<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<VmDisk> {
    let head = disk.span();
    let disk = disk.into_inner();
    let size_span = disk.size.as_ref().map(Spanned::span);
    let size = disk.size.and_then(|text| sectors(&text, diagnostics));
    let start = disk.start.as_ref().and_then(|text| sectors(text, diagnostics));
    let room = disk.room.as_ref().and_then(|text| sectors(text, diagnostics));
    let access = match disk.access.map(Spanned::into_inner) {
        Some(file::AccessMode::ReadOnly) => DiskAccess::ReadOnly,
        Some(file::AccessMode::ReadWrite) | None => DiskAccess::ReadWrite,
    };
    let wrong = |title: &str| Diagnostic::new(Code::WhichDisk, title);
    match (disk.image, disk.board) {
        (Some(image), None) => {
            if let Some(partition) = &disk.partition {
                diagnostics.push(
                    wrong("`partition` goes with `board` only")
                        .label(partition.span(), "an image is used whole"),
                );
            }
            if let Some(start) = disk.start {
                diagnostics.push(
                    wrong("`start` goes with `board` only").label(start.span(), "an image is used whole"),
                );
            }
            let room = match access {
                DiskAccess::ReadOnly => Size(0),
                DiskAccess::ReadWrite => room.unwrap_or(file::DEFAULT_ROOM).align_up(4096),
            };
            let span = image.span();
            Some(VmDisk {
                source: DiskSource::Image { path: image.into_inner().into(), size, room },
                access,
                span,
            })
        }
        (None, Some(board)) => {
            if let Some(room) = disk.room {
                diagnostics.push(
                    wrong("`room` goes with `image` only")
                        .label(room.span(), "what is written to a disk of the board stays there"),
                );
            }
            let names = resources.disks.iter().map(|disk| disk.name.as_str());
            let found = find(&board, names, "disk", "[[board.disk]]", diagnostics);
            let Some(partition) = disk.partition else {
                let (disk, start) = (found?, start.unwrap_or(Size(0)));
                let source = DiskSource::Board { disk, start, size };
                return Some(VmDisk { source, access, span: board.span() });
            };
            if let Some(place) = disk.start.as_ref().map(Spanned::span).or(size_span) {
                diagnostics.push(
                    wrong("a partition is where its table says")
                        .label(place, "leave this out")
                        .label(partition.span(), ""),
                );
            }
            let span = partition.span();
            let source = DiskSource::Partition { disk: found?, name: partition.into_inner() };
            Some(VmDisk { source, access, span })
        }
        (None, None) => {
            diagnostics.push(
                wrong("this disk is nowhere")
                    .label(head, "neither `image` nor `board`")
                    .help("add `image = \"PATH\"`, or `board = \"NAME\"` of a disk in [[board.disk]]"),
            );
            None
        }
        (Some(image), Some(board)) => {
            diagnostics.push(
                wrong("this disk is in two places")
                    .label(image.span(), "in a file")
                    .label(board.span(), "on a disk of the board")
                    .help("keep one of the two"),
            );
            None
        }
    }
}

fn card(
    card: file::Card,
    own: [u8; 6],
    resources: BoardResources<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Card> {
    let names = resources.networks.iter().map(|network| network.name.as_str());
    let network = card.name.and_then(|name| find(&name, names, "network", "[[network]]", diagnostics));
    let mac = card.mac.as_ref().map_or(Some(own), |text| mac(text, diagnostics));
    let rate = card.rate.and_then(|text| size(&text, diagnostics));
    Some(Card {
        network: network?,
        mac: mac?,
        mtu: card.mtu.map_or(file::DEFAULT_MTU, Spanned::into_inner),
        addresses: match card.addresses.map(Spanned::into_inner) {
            Some(file::Addresses::Any) => PortAddresses::Any,
            Some(file::Addresses::Own) | None => PortAddresses::Own,
        },
        rate,
    })
}

/// The address of a VM's card that asks for none: locally administered, and no two alike.
fn own_address(vm: usize, card: usize) -> [u8; 6] {
    const _: () = assert!(MAX_VMS <= 1 << 16 && MAX_VIRTIO <= 1 << 8);
    let [high, low] = (vm as u16).to_be_bytes();
    [0x02, b'V', b'M', high, low, card as u8]
}

/// An Ethernet address of one card.
fn mac(text: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<[u8; 6]> {
    let octets: Option<Vec<u8>> = text
        .get_ref()
        .split(':')
        .map(|octet| (octet.len() == 2).then(|| u8::from_str_radix(octet, 16).ok())?)
        .collect();
    let mac = octets.and_then(|octets| <[u8; 6]>::try_from(octets).ok());
    let wrong = |title: String| Diagnostic::new(Code::BadMac, title).label(text.span(), "");
    match mac {
        None => diagnostics.push(
            wrong(format!("{:?} is no Ethernet address", text.get_ref()))
                .help("write six pairs of hexadecimal digits, as in \"02:00:00:00:00:01\""),
        ),
        Some(mac) if mac[0] & 1 != 0 || mac == [0; 6] => diagnostics.push(
            wrong("this address is not one card's".to_owned())
                .help("the first pair is an even number, such as 02"),
        ),
        Some(mac) => return Some(mac),
    }
    None
}

/// A size in whole sectors.
fn sectors(text: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Size> {
    // KiB are the smallest unit there is.
    const _: () = assert!(1024 % SECTOR == 0);
    size(text, diagnostics)
}

/// The index of what a name means.
fn find<'a>(
    name: &Spanned<String>,
    names: impl Iterator<Item = &'a str> + Clone,
    kind: &str,
    section: &str,
    diagnostics: &mut Diagnostics,
) -> Option<u16> {
    if let Some(index) = names.clone().position(|it| it == name.get_ref()) {
        return u16::try_from(index).ok();
    }
    let unknown = Diagnostic::new(Code::NoSuchName, format!("there is no {kind} `{}`", name.get_ref()))
        .label(name.span(), "");
    diagnostics.push(match nearest(name.get_ref(), names) {
        Some(near) => unknown.fix(format!("did you mean `{near}`?"), name.span(), format!("\"{near}\"")),
        None => unknown.help(format!("begin one with a line `{section}`, and its `name`")),
    });
    None
}

pub(super) fn is_name(
    name: &Spanned<String>,
    most: usize,
    kind: &str,
    diagnostics: &mut Diagnostics,
) -> bool {
    let text = name.get_ref();
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.len() <= most && text.chars().all(is_good) {
        return true;
    }
    let title = format!("{text:?} is no name for a {kind}");
    diagnostics.push(
        Diagnostic::new(Code::BadName, title)
            .label(name.span(), format!("at most {most} letters, digits, `-` and `_`")),
    );
    false
}

pub(super) fn unlike_those_before<'a>(
    name: &Spanned<String>,
    mut before: impl Iterator<Item = (&'a String, &'a Span)>,
    diagnostics: &mut Diagnostics,
) {
    if let Some((_, first)) = before.find(|(it, _)| *it == name.get_ref()) {
        diagnostics.push(
            Diagnostic::new(Code::DuplicateName, format!("`{}` is a name already", name.get_ref()))
                .label(name.span(), "choose another")
                .label(first.clone(), "first here"),
        );
    }
}

/// Reports cards of one address.
pub(super) fn check_addresses<'a>(
    cards: impl Iterator<Item = (&'a str, &'a VirtioDevice, Span)>,
    diagnostics: &mut Diagnostics,
) {
    let mut seen: Vec<(u16, [u8; 6], &str)> = Vec::new();
    for (vm, device, span) in cards {
        let VirtioDevice::Card(card) = device else { continue };
        if let Some((.., other)) =
            seen.iter().find(|(network, mac, _)| (*network, *mac) == (card.network, card.mac))
        {
            let title = format!("VM `{vm}` and VM `{other}` have one address on one network");
            diagnostics.push(
                Diagnostic::new(Code::BadMac, title)
                    .label(span.clone(), "")
                    .help("leave `mac` out of one of them, or choose another"),
            );
        }
        seen.push((card.network, card.mac, vm));
    }
}
