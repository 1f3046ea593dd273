// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a manifest to the bundle that EL2 reads.
//!
//! All thinking is done here: which image goes to which address, what the device tree says, where each VM
//! starts. The images that are not local files come through [`Images`], so that this needs no network and no
//! tools.

mod io;
mod partition;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use vambrace_machine::device_tree::{ChannelEnd, Description, DeviceTree, ModelError};
use vambrace_machine::devices;
use vambrace_machine::layout::{FLASH, RAM};
use vambrace_memory::Ipa;
use vambrace_wire::bundle::assigned::Registers;
use vambrace_wire::bundle::channel::{Channel, Membership};
use vambrace_wire::bundle::io::{BoardDisk, Network};
use vambrace_wire::bundle::{self, BundleError, Directory, Load, Seed, VcpuConfig, VmConfig};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, nearest};
use crate::images::kernel::{self, KernelImage};
use crate::images::placement::Placement;
use crate::manifest::{Boot, Manifest, Vm, does_not_fit, not_startable, quoted_list};
use crate::values::{FirmwareSource, InitrdSource, KernelSource, Size};
pub(crate) use io::check_disk;

/// Where the images come from that a manifest names by a word.
pub trait Images {
    /// Debian's arm64 kernel: the newest, the newest of a series (`6.12`), or one exact version.
    ///
    /// # Errors
    /// See [`ImagesError`].
    fn debian_kernel(&self, version: Option<&str>) -> Result<Vec<u8>, ImagesError>;

    /// Debian's U-Boot for QEMU's arm64 `virt`, the raw image.
    ///
    /// # Errors
    /// See [`ImagesError`].
    fn debian_u_boot(&self) -> Result<Vec<u8>, ImagesError>;

    /// The demo's initial RAM disk.
    ///
    /// # Errors
    /// See [`ImagesError`].
    fn demo_initrd(&self) -> Result<Vec<u8>, ImagesError>;

    /// The initial RAM disk that starts the system on a disk.
    ///
    /// # Errors
    /// See [`ImagesError`].
    fn debian_initrd(&self) -> Result<Vec<u8>, ImagesError>;

    /// The drivers of Debian's kernel for a VM's devices, to go before an initial RAM disk of ours.
    ///
    /// # Errors
    /// See [`ImagesError`].
    fn debian_modules(&self, version: Option<&str>) -> Result<Vec<u8>, ImagesError>;

    /// A small program of Vambrace's own, in the format of a kernel.
    ///
    /// # Errors
    /// See [`ImagesError`].
    fn guest(&self, name: &str) -> Result<Vec<u8>, ImagesError>;

    /// The command line that the VM's kernel gets: the manifest's, unless the source of images adds to it.
    fn cmdline(&self, vm: &Vm) -> String {
        vm.cmdline.clone()
    }
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// Nobody has it: the manifest asks for a version or a name that does not exist.
    #[error("there is no such image")]
    NoSuch {
        /// What could be written instead (`guest:hello`), if that is known.
        known: Vec<String>,
    },
    /// It could not be fetched or built.
    #[error(transparent)]
    Failed(#[from] Box<dyn Error + Send + Sync>),
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The manifest is wrong, as its images show.
    #[error("{0}")]
    Manifest(Diagnostics),
    /// An image could not be fetched or built.
    #[error("cannot get {what}")]
    Image {
        /// Which.
        what: String,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The device tree's format cannot hold what it should say.
    #[error(transparent)]
    DeviceTree(#[from] ModelError),
    /// The bundle's format cannot hold it.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// The VMs of a bundle, and the images that they refer to by index.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the manifest's order.
    pub vms: Vec<VmConfig>,
    /// Each once.
    pub blobs: Vec<Arc<[u8]>>,
    /// The networks between VMs.
    pub networks: Vec<Network>,
    /// The board's disks.
    pub disks: Vec<BoardDisk>,
    /// The memory that VMs share.
    pub channels: Vec<Channel>,
}

/// Makes the bundle's bytes.
///
/// # Errors
/// See [`PlanError`]; everything that is wrong with the manifest is reported at once.
pub fn build(manifest: &Manifest, images: &dyn Images) -> Result<Vec<u8>, PlanError> {
    let plan = plan(manifest, images)?;
    let blobs: Vec<&[u8]> = plan.blobs.iter().map(|blob| &**blob).collect();
    let Plan { vms, networks, disks, channels, .. } = plan;
    let when_idle = manifest.board.when_idle.into();
    Ok(bundle::build(Directory { vms, networks, disks, channels, when_idle, blobs: Vec::new() }, &blobs)?)
}

/// Places every image of every VM.
///
/// # Errors
/// See [`PlanError`]; everything that is wrong with the manifest is reported at once.
pub fn plan(manifest: &Manifest, images: &dyn Images) -> Result<Plan, PlanError> {
    let mut planner = Planner {
        manifest,
        images,
        diagnostics: Diagnostics::new(Arc::clone(&manifest.source)),
        blobs: Blobs::default(),
        kernels: BTreeMap::new(),
        others: BTreeMap::new(),
        room: manifest.channels.iter().map(|channel| channel.size.0).sum(),
    };
    let mut vms = Vec::new();
    for vm in &manifest.vms {
        match planner.vm(vm) {
            Ok(config) => vms.push(config),
            Err(Stop::Reported) => {}
            Err(Stop::Fatal(error)) => return Err(error),
        }
    }
    let images = planner.blobs.list.iter().map(|blob| blob.len() as u64).sum::<u64>();
    let images = Size(images.saturating_add(planner.room));
    let sizes = manifest.vms.iter().map(|vm| (vm.memory, vm.spans.memory.clone(), vm.after));
    if let Some(diagnostic) = manifest.board_memory.too_small(images, sizes) {
        planner.diagnostics.push(diagnostic);
    }
    if planner.diagnostics.has_errors() {
        return Err(PlanError::Manifest(planner.diagnostics));
    }
    let networks = manifest.networks.iter();
    let disks = manifest.board.disks.iter();
    let channels = manifest.channels.iter();
    Ok(Plan {
        vms,
        blobs: planner.blobs.list,
        networks: networks.map(|it| Network { name: it.name.clone(), uplink: it.uplink }).collect(),
        disks: disks.map(|disk| BoardDisk { name: disk.name.clone() }).collect(),
        channels: channels.map(|it| Channel { name: it.name.clone(), size: it.size.0 }).collect(),
    })
}

struct Planner<'a> {
    manifest: &'a Manifest,
    images: &'a dyn Images,
    diagnostics: Diagnostics,
    blobs: Blobs,
    /// What earlier VMs have used, with its place in the bundle.
    kernels: BTreeMap<KernelSource, (Arc<KernelImage>, u16)>,
    others: BTreeMap<Other, (u64, u16)>,
    /// Bytes of RAM that take what VMs write to disks and channels.
    room: u64,
}

/// An image that goes to memory as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Other {
    Initrd(InitrdSource),
    /// One of ours, with the drivers of Debian's kernel of this version.
    WithDrivers(InitrdSource, Option<String>),
    Firmware(FirmwareSource),
}

/// The initial RAM disk that a VM gets: ours have drivers if the VM has devices for them beyond those that every VM has.
fn with_drivers(vm: &Vm, kernel: &KernelSource, initrd: &InitrdSource) -> Other {
    let has_more = !vm.devices.is_subset_of(devices::DEFAULT);
    let has_devices = has_more || !vm.virtio.is_empty() || !vm.assigned.is_empty();
    match (kernel, initrd) {
        (KernelSource::Debian { version }, InitrdSource::Demo) if has_devices => {
            Other::WithDrivers(InitrdSource::Demo, version.clone())
        }
        // Whatever the disk is on, its file system is a driver too.
        (KernelSource::Debian { version }, InitrdSource::Debian) => {
            Other::WithDrivers(InitrdSource::Debian, version.clone())
        }
        _ => Other::Initrd(initrd.clone()),
    }
}

/// The registers of a VM's assigned devices: each page once, since slots share them.
fn registers(vm: &Vm) -> Vec<Registers> {
    let mut registers: Vec<Registers> = Vec::new();
    for part in vm.assigned.iter().flat_map(|device| &device.registers) {
        if !registers.contains(part) {
            registers.push(*part);
        }
    }
    registers
}

/// What a VM starts with.
struct Start {
    /// The images, without the device tree.
    loads: Vec<Load>,
    tree: DeviceTree,
    entry: Ipa,
}

/// Why a VM could not be planned.
enum Stop {
    /// It is in the diagnostics; the other VMs can still be looked at.
    Reported,
    /// There is no going on.
    Fatal(PlanError),
}

impl Planner<'_> {
    fn vm(&mut self, vm: &Vm) -> Result<VmConfig, Stop> {
        let Start { mut loads, tree, entry } = match &vm.boot {
            Boot::Kernel { kernel, initrd } => self.with_kernel(vm, kernel, initrd.as_ref())?,
            Boot::Firmware(firmware) => self.with_firmware(vm, firmware)?,
        };
        // With or without firmware, the tree is the first thing in RAM.
        let seeds =
            tree.seeds.iter().map(|seed| Seed { ipa: RAM.0 + seed.offset as u64, len: seed.len }).collect();
        loads.push(Load { blob: self.blobs.add(tree.bytes.into())?, ipa: RAM.0 });
        Ok(VmConfig {
            name: vm.name.clone(),
            memory: vm.memory.0,
            placement: vm.placement,
            vcpus: vm.vcpus.iter().map(|cpu| VcpuConfig { cpu: *cpu }).collect(),
            weight: vm.weight,
            flash: loads.iter().any(|load| load.ipa == FLASH.start().0),
            loads,
            entry: entry.0,
            boot_argument: RAM.0,
            seeds,
            devices: vm.devices,
            virtio: self.virtio(vm)?,
            registers: registers(vm),
            slots: vm.assigned.iter().filter_map(|device| device.slot).collect(),
            interrupts: vm.assigned.iter().flat_map(|device| device.interrupts.clone()).collect(),
            channels: vm.channels.clone(),
            after: vm.after,
        })
    }

    fn with_kernel(
        &mut self,
        vm: &Vm,
        source: &KernelSource,
        initrd: Option<&InitrdSource>,
    ) -> Result<Start, Stop> {
        let (kernel, kernel_blob) = self.kernel(vm, source)?;
        let initrd = match initrd {
            Some(initrd) => Some(self.other(vm, with_drivers(vm, source, initrd))?),
            None => None,
        };
        let initrd_len = initrd.map(|(len, _)| len);
        // The tree's length does not depend on the addresses in it.
        let draft = self.tree(vm, initrd.map(|_| (RAM, RAM)))?;
        let place =
            Placement::new(vm.memory, &kernel, initrd_len, draft.bytes.len() as u64).map_err(|error| {
                self.report(does_not_fit(error, &kernel, initrd_len, vm.spans.memory.clone()))
            })?;

        let mut loads = vec![Load { blob: kernel_blob, ipa: place.kernel.0 }];
        if let (Some((_, blob)), Some((start, _))) = (initrd, place.initrd) {
            loads.push(Load { blob, ipa: start.0 });
        }
        Ok(Start { loads, tree: self.tree(vm, place.initrd)?, entry: place.kernel })
    }

    fn with_firmware(&mut self, vm: &Vm, source: &FirmwareSource) -> Result<Start, Stop> {
        let (_, blob) = self.other(vm, Other::Firmware(source.clone()))?;
        let loads = vec![Load { blob, ipa: FLASH.start().0 }];
        Ok(Start { loads, tree: self.tree(vm, None)?, entry: FLASH.start() })
    }

    fn tree(&mut self, vm: &Vm, initrd: Option<(Ipa, Ipa)>) -> Result<DeviceTree, Stop> {
        let cmdline = self.images.cmdline(vm);
        let vcpus = u16::try_from(vm.vcpus.len()).unwrap_or(u16::MAX);
        let assigned: Vec<_> = vm.assigned.iter().map(|device| device.node.clone()).collect();
        let description = Description {
            memory: vm.memory.0,
            vcpus,
            devices: vm.devices,
            virtio: vm.virtio.len(),
            assigned: &assigned,
            channels: &self.channel_ends(vm),
            cmdline: &cmdline,
            initrd,
        };
        DeviceTree::new(&description).map_err(|error| Stop::Fatal(error.into()))
    }

    /// What a VM's tree says of its channels.
    fn channel_ends(&self, vm: &Vm) -> Vec<ChannelEnd<'_>> {
        let end = |membership: &Membership| {
            let channel = self.manifest.channels.get(usize::from(membership.channel))?;
            Some(ChannelEnd { name: &channel.name, size: channel.size.0, membership: *membership })
        };
        vm.channels.iter().filter_map(end).collect()
    }

    fn kernel(&mut self, vm: &Vm, source: &KernelSource) -> Result<(Arc<KernelImage>, u16), Stop> {
        if let Some(known) = self.kernels.get(source) {
            return Ok(known.clone());
        }
        let (bytes, path) = match source {
            KernelSource::File(path) => (self.read(path, vm, &vm.spans.boot)?, path.clone()),
            KernelSource::Debian { version } => {
                let name =
                    version.as_ref().map_or("debian".to_owned(), |version| format!("debian:{version}"));
                (
                    self.fetched(self.images.debian_kernel(version.as_deref()), &name, &vm.spans.boot)?,
                    name.into(),
                )
            }
            KernelSource::Guest { name } => {
                let (bytes, name) = (self.images.guest(name), format!("guest:{name}"));
                (self.fetched(bytes, &name, &vm.spans.boot)?, name.into())
            }
        };
        let kernel = KernelImage::open(bytes)
            .map_err(|error| self.report(not_startable(&path, error, vm.spans.boot.clone())))?;
        let blob = self.blobs.add(kernel.bytes.as_slice().into())?;
        let known = (Arc::new(kernel), blob);
        self.kernels.insert(source.clone(), known.clone());
        Ok(known)
    }

    /// An image's length and place in the bundle.
    fn other(&mut self, vm: &Vm, source: Other) -> Result<(u64, u16), Stop> {
        if let Some(known) = self.others.get(&source) {
            return Ok(*known);
        }
        let bytes = match &source {
            Other::Initrd(source) => self.initrd(vm, source)?,
            Other::WithDrivers(source, version) => {
                let drivers = self.images.debian_modules(version.as_deref());
                let mut bytes = self.fetched(drivers, "the drivers of Debian's kernel", &vm.spans.boot)?;
                bytes.extend(self.initrd(vm, source)?);
                bytes
            }
            Other::Firmware(FirmwareSource::File(path)) => {
                let bytes = self.read(path, vm, &vm.spans.boot)?;
                kernel::check_firmware(&bytes)
                    .map_err(|error| self.report(not_startable(path, error, vm.spans.boot.clone())))?;
                bytes
            }
            Other::Firmware(FirmwareSource::DebianUBoot) => {
                self.fetched(self.images.debian_u_boot(), "debian:u-boot", &vm.spans.boot)?
            }
        };
        let known = (bytes.len() as u64, self.blobs.add(bytes.into())?);
        self.others.insert(source, known);
        Ok(known)
    }

    /// An initial RAM disk without drivers.
    fn initrd(&mut self, vm: &Vm, source: &InitrdSource) -> Result<Vec<u8>, Stop> {
        let (bytes, name) = match source {
            InitrdSource::File(path) => return self.read(path, vm, &vm.spans.initrd),
            InitrdSource::Demo => (self.images.demo_initrd(), "the demo's initial RAM disk"),
            InitrdSource::Debian => (self.images.debian_initrd(), "the initial RAM disk for Debian's system"),
        };
        self.fetched(bytes, name, &vm.spans.initrd)
    }

    /// A local file. It was there a moment ago, when the manifest was read.
    fn read(&mut self, path: &Path, vm: &Vm, span: &Span) -> Result<Vec<u8>, Stop> {
        let path = self.manifest.source.folder().join(path);
        fs::read(&path).map_err(|error| {
            let title = format!("cannot read {} for VM `{}`: {error}", path.display(), vm.name);
            self.report(Diagnostic::new(Code::UnusableFile, title).label(span.clone(), ""))
        })
    }

    fn fetched(
        &mut self,
        bytes: Result<Vec<u8>, ImagesError>,
        name: &str,
        span: &Span,
    ) -> Result<Vec<u8>, Stop> {
        let known = match bytes {
            Ok(bytes) => return Ok(bytes),
            Err(ImagesError::Failed(source)) => {
                return Err(Stop::Fatal(PlanError::Image { what: name.to_owned(), source }));
            }
            Err(ImagesError::NoSuch { known }) => known,
        };
        Err(self.report(no_such_image(name, &known, span)))
    }

    fn report(&mut self, diagnostic: Diagnostic) -> Stop {
        self.diagnostics.push(diagnostic);
        Stop::Reported
    }
}

/// The complaint about an image's name that nobody knows; shared with what is checked before images are fetched.
pub(crate) fn no_such_image(name: &str, known: &[String], span: &Span) -> Diagnostic {
    let wrong = Diagnostic::new(Code::NoSuchImage, format!("there is no `{name}`")).label(span.clone(), "");
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    // Of `debian:2.6`, only the second half is in doubt.
    let (kind, word) = name.rsplit_once(':').unwrap_or(("", name));
    let words = known.iter().filter_map(|known| known.strip_prefix(kind)?.strip_prefix(':'));
    match nearest(word, words).map(|near| format!("{kind}:{near}")) {
        Some(near) => wrong.fix(format!("did you mean `{near}`?"), span.clone(), format!("\"{near}\"")),
        None if known.is_empty() => wrong,
        None => wrong.help(format!("there is {}", quoted_list(&known))),
    }
}

/// The bundle's images, each once.
#[derive(Default)]
struct Blobs {
    list: Vec<Arc<[u8]>>,
    index: HashMap<Arc<[u8]>, u16>,
}

impl Blobs {
    fn add(&mut self, bytes: Arc<[u8]>) -> Result<u16, Stop> {
        if let Some(index) = self.index.get(&bytes) {
            return Ok(*index);
        }
        let index = u16::try_from(self.list.len()).map_err(|_| Stop::Fatal(BundleError::Malformed.into()))?;
        self.list.push(Arc::clone(&bytes));
        self.index.insert(bytes, index);
        Ok(index)
    }
}

#[cfg(test)]
pub(crate) mod tests;
