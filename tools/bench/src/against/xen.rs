// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen: Debian's, with the bench guest as its only domain, a domU that Xen itself makes ("dom0less").
//!
//! Xen takes the domain's description from `/chosen` of the board's device tree, so QEMU is asked for the tree of its board,
//! and boots with that and a node more (Xen's docs/misc/arm/device-tree/booting.txt). Schedulers and everything else are
//! as Xen has them by itself, but for `sync_console`: what is written then does not go out while the next operation is
//! being measured.

use std::path::Path;
use std::process::Command;

use dtoolkit::error::ModelError;
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::super::suite::{GUEST, Suite, Testbed};
use super::{MEMORY, Opponent};
use crate::BenchError;
use vambrace_runner::{Board, Boot, Clock, RunError, arguments};
use vambrace_setup::debian::{XEN, version_of};
use vambrace_setup::{SetupError, process};

/// RAM of the board, in bytes: Xen wants some for itself.
const BOARD_MEMORY: u64 = 512 << 20;
/// Where QEMU loads the guest: above Xen and the device tree.
const MODULE: u64 = 0x5000_0000;

const XEN_ARGUMENTS: &str = "sync_console";

/// Xen, fetched.
pub(super) struct Xen<'a> {
    machine: &'a Testbed<'a>,
    image: Vec<u8>,
    version: String,
}

impl<'a> Xen<'a> {
    pub(super) fn prepare(machine: &'a Testbed<'a>) -> Result<Self, BenchError> {
        let path = machine.setup.xen()?;
        let image = std::fs::read(&path).map_err(|error| SetupError::file("read", &path, &error))?;
        Ok(Self { machine, image, version: version_of(XEN, &path) })
    }

    /// The device tree of QEMU's board.
    fn board_tree(&self, board: &Board, folder: &Path) -> Result<Vec<u8>, BenchError> {
        let file = folder.join("board.dtb");
        let mut qemu = Command::new(&self.machine.qemu.path);
        qemu.args(arguments(board)).args(["-machine", &format!("dumpdtb={}", file.display())]);
        process::run(&mut qemu, "report this as a bug", |_| {})?;
        Ok(std::fs::read(&file).map_err(RunError::Files)?)
    }
}

impl Opponent for Xen<'_> {
    fn what(&self) -> String {
        format!(
            "Xen {}, Debian's package xen-hypervisor-4.17-arm64; a domU of {} MiB without a dom0, Xen's own defaults",
            self.version,
            MEMORY >> 20
        )
    }

    fn boot(&self, suite: Suite, folder: &Path) -> Result<(Board, Boot), BenchError> {
        let options = self.machine.options;
        let mut board = Board {
            cpu: options.cpu.clone(),
            cpus: suite.cpus(),
            memory: BOARD_MEMORY,
            clock: Clock::Instructions,
            qemu_args: Vec::new(),
        };
        let guest = self.machine.bare.guests.get(GUEST).map(Vec::as_slice).unwrap_or_default();
        let domain = Domain {
            vcpus: suite.vcpus(),
            image: guest.len() as u64,
            cmdline: format!("suite={} rounds={}", suite.name(), options.rounds),
        };
        let tree = domain.add_to(&self.board_tree(&board, folder)?).map_err(|error| {
            SetupError::new(format!("cannot describe a domain to Xen: {error}"), "report this as a bug")
        })?;
        let (tree_file, guest_file) = (folder.join("domain.dtb"), folder.join("guest.img"));
        std::fs::write(&tree_file, tree).map_err(RunError::Files)?;
        std::fs::write(&guest_file, guest).map_err(RunError::Files)?;
        let loader = format!("loader,file={},addr={MODULE:#x},force-raw=on", guest_file.display());
        board.qemu_args =
            ["-dtb".to_owned(), tree_file.display().to_string(), "-device".to_owned(), loader].into();
        Ok((board, Boot::Kernel { image: self.image.clone(), cmdline: XEN_ARGUMENTS.to_owned() }))
    }

    fn lacks(&self, operation: &str) -> Option<&'static str> {
        match operation {
            "start" => Some("the count that a domU sees does not begin at the board's reset"),
            "vm-reset" => Some("without a dom0 nobody makes a domain anew"),
            name if name.starts_with("create") || name.starts_with("destroy") => {
                Some("Xen does not tell when it begins")
            }
            _ => None,
        }
    }
}

/// The domU.
#[derive(Clone, Debug)]
struct Domain {
    vcpus: u32,
    /// The guest's length, in bytes.
    image: u64,
    cmdline: String,
}

impl Domain {
    /// Adds it to a board's flattened tree.
    fn add_to(&self, board: &[u8]) -> Result<Vec<u8>, TreeError> {
        let board = Fdt::new(board).map_err(|error| TreeError::Board(error.to_string()))?;
        let mut tree = DeviceTree::from_fdt(&board);
        let chosen = tree.root.child_mut("chosen").ok_or(TreeError::NoChosen)?;
        chosen.add_property(DeviceTreeProperty::new("xen,xen-bootargs", XEN_ARGUMENTS)?);
        chosen.add_property(DeviceTreeProperty::new("#address-cells", 2u32)?);
        chosen.add_property(DeviceTreeProperty::new("#size-cells", 2u32)?);
        chosen.add_child(self.node()?);
        Ok(tree.to_dtb())
    }

    fn node(&self) -> Result<DeviceTreeNode, ModelError> {
        let range = [MODULE.to_be_bytes(), self.image.to_be_bytes()].concat();
        let module = DeviceTreeNode::builder(format!("module@{MODULE:x}"))?
            .property(DeviceTreeProperty::new(
                "compatible",
                ["multiboot,kernel", "multiboot,module"].as_slice(),
            )?)
            .property(DeviceTreeProperty::new("reg", range)?)
            .property(DeviceTreeProperty::new("bootargs", self.cmdline.as_str())?)
            .build();
        Ok(DeviceTreeNode::builder("domU1")?
            .property(DeviceTreeProperty::new("compatible", "xen,domain")?)
            .property(DeviceTreeProperty::new("#address-cells", 2u32)?)
            .property(DeviceTreeProperty::new("#size-cells", 2u32)?)
            .property(DeviceTreeProperty::new("cpus", self.vcpus)?)
            // In KiB, two cells.
            .property(DeviceTreeProperty::new("memory", MEMORY >> 10)?)
            .property(DeviceTreeProperty::new("vpl011", Vec::<u8>::new())?)
            .child(module)
            .build())
    }
}

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
enum TreeError {
    #[error("QEMU's own device tree: {0}")]
    Board(String),
    #[error("QEMU's own device tree has no /chosen")]
    NoChosen,
    #[error(transparent)]
    Model(#[from] ModelError),
}

#[cfg(test)]
mod tests {
    use dtoolkit::standard::NodeStandard;
    use dtoolkit::{Node, Property};

    use super::*;

    #[test]
    fn a_domain_is_added_to_the_boards_tree() {
        let mut board = DeviceTree::new();
        let chosen = DeviceTreeNode::builder("chosen").unwrap();
        let stdout = DeviceTreeProperty::new("stdout-path", "/pl011@9000000").unwrap();
        board.root.add_child(chosen.property(stdout).build());
        let domain = Domain { vcpus: 2, image: 0x1_2345, cmdline: "suite=pair rounds=7".to_owned() };
        let tree = domain.add_to(&board.to_dtb()).unwrap();
        let tree = Fdt::new(&tree).unwrap();
        let chosen = tree.find_node("/chosen").unwrap();
        assert_eq!(chosen.property("stdout-path").unwrap().value_as::<&str>().unwrap(), "/pl011@9000000");
        let domain = tree.find_node("/chosen/domU1").unwrap();
        assert!(domain.is_compatible("xen,domain"));
        assert_eq!(domain.property("cpus").unwrap().value_as::<u32>().unwrap(), 2);
        assert_eq!(domain.property("memory").unwrap().value_as::<u64>().unwrap(), 65_536);
        let module = domain.children().next().unwrap();
        let reg = module.reg().unwrap().unwrap().next().unwrap();
        assert_eq!((reg.address::<u64>().unwrap(), reg.size::<u64>().unwrap()), (MODULE, 0x1_2345));
        assert_eq!(module.property("bootargs").unwrap().value_as::<&str>().unwrap(), "suite=pair rounds=7");
    }

    #[test]
    fn a_tree_without_a_place_for_it_is_an_error() {
        let domain = Domain { vcpus: 1, image: 1, cmdline: String::new() };
        assert!(matches!(domain.add_to(b"nothing"), Err(TreeError::Board(_))));
        assert!(matches!(domain.add_to(&DeviceTree::new().to_dtb()), Err(TreeError::NoChosen)));
    }
}
