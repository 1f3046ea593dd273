// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a manifest to what a board boots: checks it, fetches and builds the images, plans the bundle.

use std::path::Path;

use crate::StartError;
use vambrace_manifest::diagnostic::Diagnostics;
use vambrace_manifest::plan::{self, Images, ImagesError};
use vambrace_manifest::{self as manifest, BoardOptions, Boot, InitrdSource, Manifest, Vm};
use vambrace_setup::debian::{self, KernelError};
use vambrace_setup::image;
use vambrace_setup::{Bare, Setup, SetupError, initramfs};

/// What becomes of a VM of the demo after it has introduced itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It gives a shell.
    Shell,
    /// The VM of this index gives a shell, the others power off.
    ShellIn(u16),
    /// It powers off.
    PowerOff,
}

/// A manifest, built.
#[derive(Clone, Debug)]
pub struct Built {
    /// What the manifest says.
    pub manifest: Manifest,
    /// What should be told the user nevertheless; may be empty.
    pub warnings: Diagnostics,
    /// The hypervisor's flat image.
    pub hypervisor: Vec<u8>,
    /// The bundle.
    pub bundle: Vec<u8>,
}

/// Builds the manifest in a file.
///
/// # Errors
/// When the manifest is wrong, or something is missing that cannot be fetched.
pub fn build(
    path: &Path,
    options: &BoardOptions,
    setup: &Setup,
    afterwards: Afterwards,
) -> Result<Built, StartError> {
    // A mistake in the manifest is told before anything is fetched.
    let (manifest, warnings) = manifest::load(path, options)?;
    from_manifest(manifest, warnings, setup, afterwards)
}

/// Builds a manifest that has been read.
///
/// # Errors
/// When an image is wrong for it, or something is missing that cannot be fetched.
pub fn from_manifest(
    manifest: Manifest,
    warnings: Diagnostics,
    setup: &Setup,
    afterwards: Afterwards,
) -> Result<Built, StartError> {
    let bare = setup.bare()?;
    let bundle = bundle(&manifest, setup, &bare, afterwards)?;
    let hypervisor = hypervisor(&manifest, &bare)?;
    Ok(Built { manifest, warnings, hypervisor, bundle })
}

/// The hypervisor's image for a manifest: above the RAM of a VM that has it one to one, which begins where the board's does.
///
/// # Errors
/// When what was built is no image.
pub fn hypervisor(manifest: &Manifest, bare: &Bare) -> Result<Vec<u8>, StartError> {
    let mut image = bare.hypervisor.clone();
    if let Some(vm) = manifest.one_to_one() {
        image::load_above(&mut image, vm.memory.0)?;
    }
    Ok(image)
}

/// Builds a manifest's bundle with guests that are built already.
///
/// # Errors
/// When an image is wrong for it, or something is missing that cannot be fetched.
pub fn bundle(
    manifest: &Manifest,
    setup: &Setup,
    bare: &Bare,
    afterwards: Afterwards,
) -> Result<Vec<u8>, StartError> {
    Ok(plan::build(manifest, &Fetched { setup, bare, manifest, afterwards })?)
}

/// The images that a manifest names by a word, fetched and built when asked for.
struct Fetched<'a> {
    setup: &'a Setup,
    bare: &'a Bare,
    manifest: &'a Manifest,
    afterwards: Afterwards,
}

impl Fetched<'_> {
    fn gives_shell(&self, vm: &Vm) -> bool {
        match self.afterwards {
            Afterwards::Shell => true,
            Afterwards::ShellIn(index) => {
                self.manifest.vms.get(usize::from(index)).is_some_and(|it| it.name == vm.name)
            }
            Afterwards::PowerOff => false,
        }
    }
}

impl Images for Fetched<'_> {
    fn debian_kernel(&self, version: Option<&str>) -> Result<Vec<u8>, ImagesError> {
        match debian::kernel(&self.setup.cache, self.setup.progress, version) {
            Ok(path) => read(&path),
            Err(KernelError::NoSuch { known, .. }) => Err(ImagesError::NoSuch { known }),
            Err(KernelError::Setup(error)) => Err(failed(error)),
        }
    }

    fn debian_u_boot(&self) -> Result<Vec<u8>, ImagesError> {
        read(&self.setup.u_boot().map_err(failed)?)
    }

    fn demo_initrd(&self) -> Result<Vec<u8>, ImagesError> {
        self.setup.initramfs().map_err(failed)
    }

    fn debian_initrd(&self) -> Result<Vec<u8>, ImagesError> {
        self.setup.root_initramfs().map_err(failed)
    }

    fn debian_modules(&self, version: Option<&str>) -> Result<Vec<u8>, ImagesError> {
        match debian::modules(&self.setup.cache, self.setup.progress, version) {
            Ok(path) => read(&path),
            Err(KernelError::NoSuch { known, .. }) => Err(ImagesError::NoSuch { known }),
            Err(KernelError::Setup(error)) => Err(failed(error)),
        }
    }

    fn guest(&self, name: &str) -> Result<Vec<u8>, ImagesError> {
        self.bare.guests.get(name).cloned().ok_or_else(|| ImagesError::NoSuch {
            known: self.bare.guests.keys().map(|name| format!("guest:{name}")).collect(),
        })
    }

    fn cmdline(&self, vm: &Vm) -> String {
        let Boot::Kernel { initrd: Some(initrd), .. } = &vm.boot else { return vm.cmdline.clone() };
        let name = format!("{}{}", initramfs::NAME, vm.name);
        let afterwards = match initrd {
            InitrdSource::File(_) => return vm.cmdline.clone(),
            InitrdSource::Demo if self.gives_shell(vm) => initramfs::INTERACTIVE,
            InitrdSource::Demo | InitrdSource::Debian => "",
        };
        [vm.cmdline.as_str(), &name, afterwards].join(" ").trim().to_owned()
    }
}

fn failed(error: SetupError) -> ImagesError {
    ImagesError::Failed(Box::new(error))
}

fn read(path: &Path) -> Result<Vec<u8>, ImagesError> {
    std::fs::read(path).map_err(|error| failed(SetupError::file("read", path, &error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vambrace_manifest::diagnostic::Source;

    /// The hypervisor's image, with an offset from the start of RAM and flags in its header.
    fn image(offset: u64, flags: u64) -> Vec<u8> {
        let mut bytes = vec![0xAA; 4096];
        bytes[8..16].copy_from_slice(&offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&(1u64 << 20).to_le_bytes());
        bytes[24..32].copy_from_slice(&flags.to_le_bytes());
        bytes[56..60].copy_from_slice(b"ARM\x64");
        bytes
    }

    #[test]
    fn the_hypervisor_lies_above_a_vm_trusted_with_dma() {
        let text = include_str!("../../manifest/src/plan/trusted.toml");
        let source = Source { path: "manifest.toml".into(), text: text.to_owned() };
        let (manifest, _) = manifest::parse(source, &BoardOptions::default()).unwrap();
        let bare = Bare { hypervisor: image(0, 0xA), ..Bare::default() };
        assert_eq!(hypervisor(&manifest, &bare).unwrap(), image(512 << 20, 0x2));
    }
}
