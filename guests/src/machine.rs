// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the device tree says: CPUs, memory, and the program's parameters.

use core::ptr;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

/// The virtual machine as the device tree describes it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    tree: Fdt<'static>,
    started: u64,
}

/// First word of a device tree, big-endian.
const MAGIC: u32 = 0xD00D_FEED;

impl Machine {
    /// Reads the device tree at `address`; `None` when there is none. The program's first instruction was at the virtual
    /// count `started`.
    ///
    /// # Safety
    /// `address` is 0 or that of mapped memory which nobody changes, and the device tree's own length is true.
    #[must_use]
    pub unsafe fn discover(address: usize, started: u64) -> Option<Self> {
        let header = ptr::with_exposed_provenance::<[u32; 2]>(address);
        if header.is_null() || !header.is_aligned() {
            return None;
        }
        // SAFETY: by the caller's promise.
        let [magic, len] = unsafe { header.read() };
        if u32::from_be(magic) != MAGIC {
            return None;
        }
        // SAFETY: by the caller's promise.
        let bytes = unsafe { core::slice::from_raw_parts(header.cast::<u8>(), u32::from_be(len) as usize) };
        Fdt::new(bytes).ok().map(|tree| Self { tree, started })
    }

    /// The virtual count at the program's first instruction.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started
    }

    /// The affinities of the CPUs, as MPIDR_EL1 has them; the first is the one that was started.
    pub fn cpus(&self) -> impl Iterator<Item = u64> {
        self.tree
            .find_node("/cpus")
            .into_iter()
            .flat_map(|cpus| cpus.children())
            .filter(|node| node.name_without_address() == "cpu")
            .filter_map(|node| node.reg().ok().flatten()?.next()?.address::<u64>().ok())
    }

    /// How many CPUs there are.
    #[must_use]
    pub fn cpu_count(&self) -> usize {
        self.cpus().count()
    }

    /// First address and length in bytes of the memory; zeros without any.
    #[must_use]
    pub fn memory(&self) -> (u64, u64) {
        let range = || {
            let reg = self.tree.find_node("/memory")?.reg().ok().flatten()?.next()?;
            Some((reg.address().ok()?, reg.size().ok()?))
        };
        range().unwrap_or((0, 0))
    }

    /// The ranges of addresses of the first device, outside any bus, that is compatible with `name`.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<impl Iterator<Item = (u64, u64)> + use<>> {
        self.tree.root().children().find(|node| node.is_compatible(name)).map(registers)
    }

    /// The first range of addresses of each device, outside any bus, that is compatible with `name`.
    pub fn devices(&self, name: &str) -> impl Iterator<Item = (u64, u64)> {
        let nodes = self.tree.root().children().filter(move |node| node.is_compatible(name));
        nodes.filter_map(|node| registers(node).next())
    }

    /// Every range of addresses that the device tree gives to memory or a device, a PCI host's windows included.
    /// CPUs are among them too, with ranges of no length.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.tree.root().children().flat_map(|node| {
            registers(node).chain(windows(node)).chain(node.children().flat_map(registers))
        })
    }

    /// The program's parameters, as one string.
    #[must_use]
    pub fn parameters(&self) -> &str {
        self.tree
            .find_node("/chosen")
            .and_then(|chosen| chosen.property("bootargs")?.value_as::<&str>().ok())
            .unwrap_or("")
    }

    /// The value of a parameter `name=value`; empty for a bare `name`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters().split_ascii_whitespace().find_map(|word| match word.split_once('=') {
            Some((left, value)) => (left == name).then_some(value),
            None => (word == name).then_some(""),
        })
    }

    /// The value of a parameter that is a number, or `default`.
    #[must_use]
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.parameter(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// Whether the program runs without a hypervisor.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.parameter("native").is_some()
    }
}

fn registers(node: FdtNode<'static>) -> impl Iterator<Item = (u64, u64)> {
    node.reg()
        .ok()
        .flatten()
        .into_iter()
        .flatten()
        .filter_map(|reg| Some((reg.address().ok()?, reg.size().ok()?)))
}

fn windows(node: FdtNode<'static>) -> impl Iterator<Item = (u64, u64)> {
    node.ranges()
        .ok()
        .flatten()
        .into_iter()
        .flatten()
        .filter_map(|range| Some((range.parent_bus_address().ok()?, range.length().ok()?)))
}
