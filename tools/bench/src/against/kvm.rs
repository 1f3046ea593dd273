// SPDX-License-Identifier: MIT OR Apache-2.0
//! KVM: that of Debian's kernel, which boots at EL2, with a program of ours as all of user space.
//!
//! The program ([`linux-kvm`](../../../../guests/src/bin/linux-kvm/main.rs)) makes a VM with the same layout as Vambrace's, so that the
//! guest has the device tree that it has there. It does nothing that it need not, and each vCPU's thread stays on one CPU:
//! a full VMM only adds to the figures.

use std::path::Path;

use vambrace_machine::device_tree::{Description, DeviceTree};
use vambrace_machine::devices::{self, Device};

use super::super::suite::{GUEST, Suite, Testbed};
use super::{MEMORY, Opponent};
use crate::BenchError;
use vambrace_runner::{Board, Boot, Clock, RunError};
use vambrace_setup::debian::{LINUX, version_of};
use vambrace_setup::{SetupError, initramfs};

/// The program that runs the guest.
const RUNNER: &str = "linux-kvm";
/// The kernel's series.
const SERIES: &str = "6.12";
/// RAM of the board, in bytes.
const BOARD_MEMORY: u64 = 1 << 30;

/// Linux, fetched.
pub(super) struct Kvm<'a> {
    machine: &'a Testbed<'a>,
    image: Vec<u8>,
    version: String,
}

impl<'a> Kvm<'a> {
    pub(super) fn prepare(machine: &'a Testbed<'a>) -> Result<Self, BenchError> {
        let path = machine.setup.kernel(Some(SERIES))?;
        let image = std::fs::read(&path).map_err(|error| SetupError::file("read", &path, &error))?;
        Ok(Self { machine, image, version: version_of(LINUX, &path) })
    }
}

impl Opponent for Kvm<'_> {
    fn what(&self) -> String {
        format!(
            "KVM of Linux {}, Debian's kernel; a VM of {} MiB run by a minimal program, a thread on its own CPU for each vCPU",
            self.version,
            MEMORY >> 20
        )
    }

    fn boot(&self, suite: Suite, folder: &Path) -> Result<(Board, Boot), BenchError> {
        let options = self.machine.options;
        let cmdline = format!("suite={} rounds={}", suite.name(), options.rounds);
        let tree = tree(suite, &cmdline)?;
        let bare = self.machine.bare;
        let guest = bare.guests.get(GUEST).map(Vec::as_slice).unwrap_or_default();
        let runner = bare.linux.get(RUNNER).map(Vec::as_slice).unwrap_or_default();
        let packed = initramfs::of_runner(runner, guest, &tree);
        let packed = packed.map_err(|error| {
            SetupError::new(format!("cannot pack the initramfs: {error}"), "report this as a bug")
        })?;
        let file = folder.join("initramfs.cpio");
        std::fs::write(&file, packed).map_err(RunError::Files)?;
        let board = Board {
            cpu: options.cpu.clone(),
            cpus: suite.cpus(),
            memory: BOARD_MEMORY,
            clock: Clock::Instructions,
            qemu_args: ["-initrd".to_owned(), file.display().to_string()].into(),
        };
        Ok((board, Boot::Kernel { image: self.image.clone(), cmdline: kernel_cmdline(suite) }))
    }

    fn lacks(&self, operation: &str) -> Option<&'static str> {
        match operation {
            "start" => Some("a VM starts when a program of the running Linux asks for it"),
            "vm-reset" => Some("a VM's reset is up to the program that runs it"),
            name if name.starts_with("create") || name.starts_with("destroy") => {
                Some("a VM is made and done away with by the program that runs it")
            }
            _ => None,
        }
    }
}

/// Behind the dashes stands what the first program is told: how many vCPUs.
fn kernel_cmdline(suite: Suite) -> String {
    format!("console=ttyAMA0 quiet nokaslr cryptomgr.notests=1 panic=-1 -- {}", suite.vcpus())
}

/// The device tree of the VM, as Vambrace would make it.
fn tree(suite: Suite, cmdline: &str) -> Result<Vec<u8>, SetupError> {
    let vm = Description {
        memory: MEMORY,
        vcpus: suite.vcpus() as u16,
        devices: devices::set(&[Device::Pl011]),
        virtio: 0,
        assigned: &[],
        channels: &[],
        cmdline,
        initrd: None,
    };
    let tree = DeviceTree::new(&vm);
    tree.map(|tree| tree.bytes)
        .map_err(|error| SetupError::new(format!("cannot describe the VM: {error}"), "report this as a bug"))
}

#[cfg(test)]
mod tests {
    use dtoolkit::fdt::Fdt;
    use dtoolkit::{Node, Property};

    use super::*;

    #[test]
    fn the_tree_has_the_vcpus_and_the_guests_parameters() {
        let tree = tree(Suite::Shared, "suite=shared rounds=3").unwrap();
        let tree = Fdt::new(&tree).unwrap();
        let chosen = tree.find_node("/chosen").unwrap();
        assert_eq!(chosen.property("bootargs").unwrap().value_as::<&str>().unwrap(), "suite=shared rounds=3");
        assert!(tree.find_node("/cpus/cpu@1").is_some() && tree.find_node("/cpus/cpu@2").is_none());
    }

    #[test]
    fn the_program_is_told_how_many_vcpus() {
        assert!(kernel_cmdline(Suite::One).ends_with(" -- 1"));
        assert!(kernel_cmdline(Suite::Pair).ends_with(" -- 2"));
    }
}
