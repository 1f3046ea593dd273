// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads a manifest, and checks what can be known of the images and of the board's memory before anything is fetched, built
//! or started.
//!
//! Sizes of what would be fetched are not known: nothing that depends on them is called wrong here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::debian::{SERIES, Series};
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::images::kernel::KernelImage;
use crate::layout::{self, Images, MAX_PIECES};
use crate::manifest::io::{DiskSource, VirtioDevice};
use crate::manifest::{BoardOptions, Boot, Manifest, Vm, read};
use crate::plan::{check_disk, no_such_image};
use crate::values::{FirmwareSource, InitrdSource, KernelSource, Size};
use crate::workspace::workspace;

/// Reads and checks a manifest, with all that can be known before anything is fetched. With it come warnings, which may be
/// empty.
///
/// # Errors
/// All that is wrong with it, warnings included.
pub fn load(path: &Path, options: &BoardOptions) -> Result<(Manifest, Diagnostics), Diagnostics> {
    let (manifest, mut diagnostics) = read(path, options)?;
    check(&manifest, &mut diagnostics);
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok((manifest, diagnostics)) }
}

/// Checks a manifest that has no mistakes otherwise.
fn check(manifest: &Manifest, diagnostics: &mut Diagnostics) {
    for vm in &manifest.vms {
        if let Some(wrong) = kernel_name(vm) {
            diagnostics.push(wrong);
        }
        for device in &vm.virtio {
            if let VirtioDevice::Disk(disk) = device
                && let Err(wrong) = check_disk(manifest, disk)
            {
                diagnostics.push(*wrong);
            }
        }
    }
    let sizes = manifest.vms.iter().map(|vm| (vm.memory, vm.spans.memory.clone(), vm.after));
    match manifest.board_memory.too_small(Size(known_images(manifest)), sizes) {
        Some(wrong) => diagnostics.push(wrong),
        None => room(manifest, diagnostics),
    }
}

/// A kernel's name that means nothing.
fn kernel_name(vm: &Vm) -> Option<Diagnostic> {
    let Boot::Kernel { kernel, .. } = &vm.boot else { return None };
    let span = &vm.spans.boot;
    match kernel {
        KernelSource::Guest { name } => {
            let known = guests()?;
            let known_words: Vec<String> = known.iter().map(|name| format!("guest:{name}")).collect();
            (!known.contains(name)).then(|| no_such_image(&format!("guest:{name}"), &known_words, span))
        }
        KernelSource::Debian { version: Some(version) } if Series::of(Some(version)).is_none() => {
            let known: Vec<String> =
                SERIES.iter().map(|series| format!("debian:{}", series.version)).collect();
            Some(no_such_image(&format!("debian:{version}"), &known, span))
        }
        _ => None,
    }
}

/// The names of our guests, if their sources are there.
fn guests() -> Option<BTreeSet<String>> {
    let files = std::fs::read_dir(workspace().join("guests/src/bin")).ok()?;
    let name = |path: PathBuf| {
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        is_source.then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))?
    };
    Some(files.flatten().filter_map(|file| name(file.path())).collect())
}

/// How much memory the images surely take, in bytes: those that are local files, each once, and the room for what VMs write.
fn known_images(manifest: &Manifest) -> u64 {
    let folder = manifest.source.folder();
    let len = |path: &Path| std::fs::metadata(folder.join(path)).map_or(0, |file| file.len());
    let (mut kernels, mut files) = (BTreeSet::new(), BTreeSet::new());
    let mut room = 0u64;
    for vm in &manifest.vms {
        match &vm.boot {
            Boot::Kernel { kernel, initrd } => {
                if let KernelSource::File(path) = kernel {
                    kernels.insert(path);
                }
                if let Some(InitrdSource::File(path)) = initrd {
                    files.insert(path);
                }
            }
            Boot::Firmware(FirmwareSource::File(path)) => _ = files.insert(path),
            Boot::Firmware(FirmwareSource::DebianUBoot) => {}
        }
        for device in &vm.virtio {
            if let VirtioDevice::Disk(disk) = device
                && let DiskSource::Image { path, room: its, .. } = &disk.source
            {
                files.insert(path);
                room = room.saturating_add(its.0);
            }
        }
    }
    let kernel = |path: &PathBuf| {
        let image = std::fs::read(folder.join(path)).ok().and_then(|bytes| KernelImage::open(bytes).ok());
        image.map_or(0, |image| image.bytes.len() as u64)
    };
    let channels = manifest.channels.iter().map(|channel| channel.size.0);
    let parts =
        kernels.into_iter().map(kernel).chain(files.into_iter().map(|path| len(path))).chain(channels);
    parts.fold(room, u64::saturating_add)
}

/// Reports VMs for whose RAM there is no room, however large the images are.
fn room(manifest: &Manifest, diagnostics: &mut Diagnostics) {
    let tries = [Images::Small, Images::Guessed, Images::Large];
    let together = tries.map(|images| layout::place(manifest, images));
    let left = together.iter().map(|placement| placement.free).max().unwrap_or(0);
    for (index, vm) in manifest.vms.iter().enumerate() {
        let fits = if vm.after.is_none() {
            let places = together.iter().filter_map(|placement| placement.vms.get(index));
            places.into_iter().any(|place| !place.ram.is_empty())
        } else {
            // Which of the others are still there is not known.
            tries.iter().any(|images| layout::fits_alone(manifest, index, *images))
        };
        if !fits {
            diagnostics.push(no_room(vm, Size(left)));
        }
    }
}

/// The complaint about a VM for whose RAM there is no room; `left` is what is free while the others are there.
fn no_room(vm: &Vm, left: Size) -> Diagnostic {
    let wrong = Diagnostic::new(Code::BoardTooSmall, format!("VM `{}` finds no room", vm.name))
        .label(vm.spans.memory.clone(), vm.memory.to_string());
    let wrong = if left < vm.memory {
        wrong
            .note(format!("beside the images and the other VMs, {} are left", Size(left.0 >> 20 << 20)))
            .help("give the board more memory, or this VM less")
    } else {
        wrong
            .note(format!("what is free would be more than {MAX_PIECES} pieces of its RAM"))
            .help("write a larger `ram_piece`, or leave it out; or give the board more memory")
    };
    wrong.help("`vambrace explain map` draws what lies where")
}
