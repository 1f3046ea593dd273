// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local files that a manifest names: there, readable, and what they should be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use vambrace_memory::granule::Stage;

use super::io::{DiskSource, VirtioDevice, VmDisk};
use super::resolve::{PartialBoard, PartialVm};
use super::silent;
use crate::cpus::features_of;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Source, Span, nearest};
use crate::images::kernel::{self, KernelImage, NotBootable};
use crate::images::placement::{DoesNotFit, Placement};
use crate::symbols::Symbols;
use crate::values::{FirmwareSource, InitrdSource, KernelSource};

/// How initial RAM disks begin: cpio, or packed by what Linux can unpack.
const INITRDS: [&[u8]; 8] = [
    b"0707",
    &[0x1F, 0x8B],
    &[0xFD, b'7', b'z', b'X', b'Z'],
    &[0x28, 0xB5, 0x2F, 0xFD],
    b"BZh",
    &[0x02, 0x21, 0x4C, 0x18],
    &[0x5D, 0x00, 0x00],
    &[0x89, b'L', b'Z', b'O'],
];

/// A device tree's length as far as placing is concerned: what a VM's is surely below.
const DEVICE_TREE: u64 = 256 << 10;

/// Checks each VM's files.
pub(super) fn check(vms: &[PartialVm], board: &PartialBoard, source: &Source, diagnostics: &mut Diagnostics) {
    let images = vms.iter().flat_map(|vm| &vm.virtio).filter_map(|device| match device {
        VirtioDevice::Disk(VmDisk { source: DiskSource::Image { path, .. }, span, .. }) => Some((path, span)),
        _ => None,
    });
    // A disk of the board that says how is made.
    let on_board = board.disks.iter().filter(|disk| disk.new.is_none()).map(|disk| (&disk.image, &disk.span));
    for (written, span) in images.chain(on_board) {
        let path = source.folder().join(written);
        if !path.is_file() {
            diagnostics.push(missing(&path, written, "disk", span.clone()));
        }
    }
    let mut files = Files { folder: source.folder(), read: BTreeMap::new() };
    for vm in vms {
        let kernel = kernel(vm, &mut files, diagnostics);
        let initrd = initrd(vm, &mut files, diagnostics);
        if let (Some(kernel), Some(source)) = (&kernel, &vm.kernel) {
            check_granule(kernel, source, &board.cpu, diagnostics);
        }
        silent::check_drivers(vm, files.known_initrd(vm).as_deref(), diagnostics);
        if let (Some(kernel), Some(initrd)) = (kernel, initrd) {
            fit(vm, &kernel, initrd, diagnostics);
        }
        if let Some(path) = &vm.symbols
            && let Some(bytes) = files.bytes(Path::new(path.get_ref()), "symbols", path.span(), diagnostics)
            && Symbols::read(&bytes).is_none()
        {
            let title = format!("{} has no symbols", path.get_ref());
            diagnostics.push(
                Diagnostic::new(Code::UnusableFile, title)
                    .label(path.span(), "neither an ELF file with a symbol table nor a System.map")
                    .help("take `vmlinux` or `System.map` of the kernel's build"),
            );
        }
        if let Some((FirmwareSource::File(path), span)) =
            vm.firmware.as_ref().map(|it| (it.get_ref(), it.span()))
            && let Some(bytes) = files.bytes(path, "firmware", span.clone(), diagnostics)
        {
            match kernel::check_firmware(&bytes) {
                Err(error) => diagnostics.push(not_startable(path, error, span)),
                Ok(()) if kernel::is_uefi(&bytes) => diagnostics.push(
                    Diagnostic::new(Code::Uefi, format!("{} is UEFI firmware", path.display()))
                        .label(span, "it keeps its variables in flash, which a VM can only read")
                        .help("start a kernel by `kernel`, or U-Boot by `firmware = \"debian:u-boot\"`"),
                ),
                Ok(()) => {}
            }
        }
    }
}

/// The VM's kernel, if it is a local file and one we can start.
fn kernel(vm: &PartialVm, files: &mut Files<'_>, diagnostics: &mut Diagnostics) -> Option<KernelImage> {
    let source = vm.kernel.as_ref()?;
    let KernelSource::File(path) = source.get_ref() else { return None };
    let bytes = files.bytes(path, "kernel", source.span(), diagnostics)?;
    KernelImage::open(bytes.to_vec())
        .map_err(|error| diagnostics.push(not_startable(path, error, source.span())))
        .ok()
}

/// A kernel cannot turn its MMU on if the CPU lacks the granule that it is built for, and stops before it has a console.
fn check_granule(
    kernel: &KernelImage,
    source: &Spanned<KernelSource>,
    cpu: &str,
    diagnostics: &mut Diagnostics,
) {
    let (Some(granule), Some(features)) = (kernel.granule, features_of(cpu)) else { return };
    if features.has_granule(granule, Stage::One) {
        return;
    }
    let size = 1u32 << (granule.page_shift() - 10);
    diagnostics.push(
        Diagnostic::new(Code::NoGranule, format!("{cpu} has no pages of {size} KiB"))
            .label(source.span(), format!("this kernel is built for pages of {size} KiB, by its header"))
            .help("take a kernel for pages of 4 KiB, or a `cpu` in [board] that has them, such as \"cortex-a76\""),
    );
}

/// The length of the VM's RAM disk, as far as it is known; nothing if it is unusable.
fn initrd(vm: &PartialVm, files: &mut Files<'_>, diagnostics: &mut Diagnostics) -> Option<Option<u64>> {
    let Some(source) = &vm.initrd else { return Some(None) };
    let InitrdSource::File(path) = source.get_ref() else { return Some(None) };
    let bytes = files.bytes(path, "initial RAM disk", source.span(), diagnostics)?;
    if !INITRDS.iter().any(|magic| bytes.starts_with(magic)) {
        diagnostics.push(
            Diagnostic::new(
                Code::OddInitrd,
                format!("{} is no initial RAM disk Linux knows", path.display()),
            )
            .label(source.span(), "neither a cpio archive nor a packed one"),
        );
    }
    Some(Some(bytes.len() as u64))
}

fn fit(vm: &PartialVm, kernel: &KernelImage, initrd: Option<u64>, diagnostics: &mut Diagnostics) {
    let (Some((memory, written)), Some(source)) = (&vm.memory, &vm.kernel) else { return };
    if let Err(error) = Placement::new(*memory, kernel, initrd, DEVICE_TREE) {
        let place = written.clone().unwrap_or(source.span());
        diagnostics.push(does_not_fit(error, kernel, initrd, place));
    }
}

/// The complaint about images that do not fit; also made of fetched ones, once the plan sees them.
pub(crate) fn does_not_fit(
    error: DoesNotFit,
    kernel: &KernelImage,
    initrd: Option<u64>,
    place: Span,
) -> Diagnostic {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let wrong =
        Diagnostic::new(Code::DoesNotFit, "the images do not fit into the VM's memory").label(place, "");
    let kernel = format!("the kernel takes {} of memory", mib(kernel.image_size));
    let initrd = initrd.map(|len| format!(", the initial RAM disk {}", mib(len))).unwrap_or_default();
    let wrong = wrong.note(format!("{kernel}{initrd}, and the device tree has the 2 MiB below the kernel"));
    match error.needed {
        Some(size) => wrong.help(format!("write `memory = \"{size}\"` or more")),
        None => wrong.help("no VM is large enough for them: is the kernel's header damaged?"),
    }
}

/// The complaint about a file that cannot be started, here or once the plan has fetched it.
pub(crate) fn not_startable(path: &Path, error: NotBootable, span: Span) -> Diagnostic {
    Diagnostic::new(error.code, format!("{} is {}", path.display(), error.what))
        .label(span, "")
        .help(error.help)
}

/// Files already read, by path: VMs often share them.
struct Files<'a> {
    folder: &'a Path,
    read: BTreeMap<PathBuf, Result<Arc<[u8]>, std::io::ErrorKind>>,
}

impl Files<'_> {
    /// A VM's initial RAM disk, if it is a file that has been read.
    fn known_initrd(&self, vm: &PartialVm) -> Option<Arc<[u8]>> {
        let InitrdSource::File(path) = vm.initrd.as_ref()?.get_ref() else { return None };
        self.read.get(&self.folder.join(path))?.as_ref().ok().map(Arc::clone)
    }

    fn bytes(
        &mut self,
        path: &Path,
        what: &str,
        span: Span,
        diagnostics: &mut Diagnostics,
    ) -> Option<Arc<[u8]>> {
        let written = path;
        let path = self.folder.join(path);
        let bytes = self
            .read
            .entry(path.clone())
            .or_insert_with(|| fs::read(&path).map(Arc::from).map_err(|error| error.kind()));
        match bytes {
            Ok(bytes) if !bytes.is_empty() => return Some(Arc::clone(bytes)),
            Ok(_) => diagnostics.push(
                Diagnostic::new(Code::UnusableFile, format!("the {what} {} is empty", path.display()))
                    .label(span, ""),
            ),
            Err(std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                diagnostics.push(missing(&path, written, what, span));
            }
            Err(kind) => diagnostics.push(
                Diagnostic::new(
                    Code::UnusableFile,
                    format!("the {what} {} cannot be read: {kind}", path.display()),
                )
                .label(span, ""),
            ),
        }
        None
    }
}

fn missing(path: &Path, written: &Path, what: &str, span: Span) -> Diagnostic {
    let missing = Diagnostic::new(Code::MissingFile, format!("there is no file {}", path.display()));
    let words = ["debian", "debian:u-boot", "guest:hello", "demo"];
    if let Some(near) = written.to_str().and_then(|written| nearest(written, words)) {
        return missing.label(span.clone(), "").fix(
            format!("did you mean `{near}`?"),
            span,
            format!("\"{near}\""),
        );
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(folder) else {
        return missing.label(span, format!("not even the folder {}", folder.display()));
    };
    let names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let missing = missing.label(span, format!("the {what}'s path, seen from the manifest's folder"));
    match nearest(&wanted, names.iter().map(String::as_str)) {
        Some(near) => missing.help(format!("that folder has a file `{near}`")),
        None => missing,
    }
}
