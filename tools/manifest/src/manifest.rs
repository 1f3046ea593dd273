// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manifest: which VMs there are, and on which board.
//!
//! Reading goes through four steps, and each reports all it finds before the next looks at what is left: TOML
//! itself (`syntax`); keys and types, against the schema (`structure`); what the values mean, VM by VM, with
//! the local files they name (`resolve`, `files`); and what the VMs mean together (`cross_check`). So one run
//! shows every mistake, and no mistake is shown twice.
//!
//! Nothing is downloaded here. Images that have to be fetched are checked when the bundle is planned.

pub mod assign;
pub mod channels;
mod cross_check;
mod file;
mod files;
pub mod io;
mod listed;
pub mod ports;
mod ram_piece;
mod resolve;
pub mod run;
pub(crate) mod schema;
mod silent;
pub mod slots;
mod structure;
mod syntax;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::de::{DeTable, Deserializer};
use vambrace_wire::bundle::assigned::RamPlacement;
use vambrace_wire::bundle::channel::Membership;
use vambrace_wire::bundle::{self, DeviceSet};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Source, Span};

use crate::values::{FirmwareSource, InitrdSource, KernelSource, Size};
use run::Expected;
use structure::PresentKeys;

pub(crate) use files::{does_not_fit, not_startable};
pub(crate) use resolve::BoardMemory;
pub(crate) use structure::list as quoted_list;

/// The name that the hypervisor's own lines carry, which no VM can have.
pub const OWN_NAME: &str = "vambrace";

/// A manifest without mistakes.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The board.
    pub board: Board,
    /// The VMs, in the file's order; at least one.
    pub vms: Vec<Vm>,
    /// The networks between VMs.
    pub networks: Vec<io::Network>,
    /// The memory that VMs share.
    pub channels: Vec<channels::Channel>,
    /// How it is run.
    pub run: run::Run,
    /// The text, for complaints that come later.
    pub(crate) source: Arc<Source>,
    /// For the complaint that the board is too small, once the images are known.
    pub(crate) board_memory: BoardMemory,
}

/// The board that the hypervisor runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its kind.
    pub machine: BoardModel,
    /// QEMU's name for the processor.
    pub cpu: String,
    /// How many physical CPUs.
    pub cpus: u16,
    /// RAM.
    pub memory: Size,
    /// Its disks.
    pub disks: Vec<io::BoardDisk>,
    /// What else is in its virtio-mmio slots.
    pub devices: Vec<slots::BoardDevice>,
    /// What follows when no VM is left.
    pub when_idle: WhenIdle,
}

/// What the hypervisor does when no VM is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenIdle {
    /// It switches the board off.
    #[default]
    Off,
    /// It stays.
    Stay,
}

impl From<WhenIdle> for bundle::WhenIdle {
    fn from(when_idle: WhenIdle) -> Self {
        match when_idle {
            WhenIdle::Off => Self::Off,
            WhenIdle::Stay => Self::Stay,
        }
    }
}

/// The kinds of board.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Machine")]
pub enum BoardModel {
    /// QEMU's `virt`.
    #[default]
    Virt,
}

/// What the command line says about the board; it goes before the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoardOptions {
    /// QEMU's name for the processor; not checked.
    pub cpu: Option<String>,
    /// How many physical CPUs.
    pub cpus: Option<u16>,
    /// RAM.
    pub memory: Option<Size>,
}

/// One VM.
#[derive(Clone, Debug)]
pub struct Vm {
    /// Its name, unlike all others.
    pub name: String,
    /// What it starts.
    pub boot: Boot,
    /// The kernel's command line.
    pub cmdline: String,
    /// RAM; a multiple of 2 MiB.
    pub memory: Size,
    /// For each virtual CPU, the physical CPU it is pinned to.
    pub vcpus: Vec<Option<u16>>,
    /// Share of a physical CPU, 1 to 10000.
    pub weight: u32,
    /// Its platform devices.
    pub devices: DeviceSet,
    /// Its virtio devices, by slot.
    pub virtio: Vec<io::VirtioDevice>,
    /// Its ends of channels.
    pub channels: Vec<Membership>,
    /// Devices of the board that belong to it alone.
    pub assigned: Vec<assign::Assigned>,
    /// Where its RAM lies.
    pub placement: RamPlacement,
    /// The VM that must have ended first, by index.
    pub after: Option<u16>,
    /// A file with names for its addresses.
    pub symbols: Option<PathBuf>,
    /// What is expected of it.
    pub expected: Expected,
    /// Where in the text all this stands.
    pub(crate) spans: Spans,
}

impl Manifest {
    /// The VM whose RAM lies in the board's memory one to one.
    #[must_use]
    pub fn one_to_one(&self) -> Option<&Vm> {
        self.vms.iter().find(|vm| vm.placement == RamPlacement::OneToOne)
    }

    /// The folder that its paths start from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.source.folder()
    }
}

impl Vm {
    /// The size of the pieces that its RAM is cut into.
    #[must_use]
    pub fn ram_piece(&self) -> Option<Size> {
        match self.placement {
            RamPlacement::Pieces { size } => Some(Size(size)),
            RamPlacement::Anywhere | RamPlacement::OneToOne => None,
        }
    }
}

/// What a VM starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// A kernel.
    Kernel {
        /// The kernel itself.
        kernel: KernelSource,
        /// Its initial RAM disk.
        initrd: Option<InitrdSource>,
    },
    /// Firmware, from flash.
    Firmware(FirmwareSource),
}

/// Where a VM's keys stand in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spans {
    /// The value of `kernel` or `firmware`.
    pub(crate) boot: Span,
    /// The value of `initrd`, or as `boot`.
    pub(crate) initrd: Span,
    /// The value of `memory`, or of `name` when the memory is the default.
    pub(crate) memory: Span,
}

/// Reads a manifest and checks its text. Whether images are there and fit is not looked at: `load` does that.
///
/// # Errors
/// All that is wrong with the text.
pub fn read(path: &Path, options: &BoardOptions) -> Result<(Manifest, Diagnostics), Diagnostics> {
    let unreadable = |title: String, text: String, span: Option<Span>| {
        let mut diagnostics = Diagnostics::new(Arc::new(Source { path: path.to_owned(), text }));
        let diagnostic = Diagnostic::new(Code::Unreadable, title);
        diagnostics.push(match span {
            Some(span) => diagnostic.label(span, "not UTF-8 from here on"),
            None => diagnostic,
        });
        diagnostics
    };
    let bytes = std::fs::read(path).map_err(|error| {
        unreadable(format!("cannot read {}: {error}", path.display()), String::new(), None)
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(Source { path: path.to_owned(), text }, options),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            Err(unreadable(format!("{} is not a text file", path.display()), text, Some(at..at + 1)))
        }
    }
}

/// As [`read`], for a text that is at hand. Relative paths start at the folder of `source.path`.
///
/// # Errors
/// All that is wrong with it, warnings included.
pub fn parse(source: Source, options: &BoardOptions) -> Result<(Manifest, Diagnostics), Diagnostics> {
    let source = Arc::new(source);
    let mut diagnostics = Diagnostics::new(Arc::clone(&source));

    let text = syntax::check(&source.text, &mut diagnostics);
    let whole = !diagnostics.has_errors();
    let (mut root, _) = DeTable::parse_recoverable(&text);
    let present = structure::check(&mut root, &schema::value(), &source, &mut diagnostics);
    let manifest = match file::File::deserialize(Deserializer::from(root)) {
        Ok(file) => lower(file, &source, options, &present, &mut diagnostics),
        Err(error) => {
            // The schema let it pass and the types do not: they came apart. Still better said than hidden.
            let span = error.span().unwrap_or(0..0);
            diagnostics.push(Diagnostic::new(Code::WrongType, error.message()).label(span, ""));
            None
        }
    };
    if !whole {
        diagnostics.drop_consequences();
    }
    match manifest {
        Some(manifest) if !diagnostics.has_errors() => Ok((manifest, diagnostics)),
        _ => Err(diagnostics),
    }
}

/// From the file to the VMs, as far as its values make sense.
fn lower(
    file: file::File,
    source: &Arc<Source>,
    options: &BoardOptions,
    present: &PresentKeys,
    diagnostics: &mut Diagnostics,
) -> Option<Manifest> {
    let board = resolve::board(file.board, options, present, diagnostics);
    let networks = io::networks(file.network, diagnostics);
    let partial_vms: Vec<_> = file
        .vm
        .into_iter()
        .enumerate()
        .map(|(index, vm)| resolve::vm(index, vm, &board, &networks, present, diagnostics))
        .collect();
    files::check(&partial_vms, &board, source, diagnostics);
    silent::check(&partial_vms, diagnostics);
    let afters = cross_check::check(&board, &partial_vms, present, diagnostics);
    slots::check(&board, &partial_vms, &networks, diagnostics);
    let channels = channels::channels(file.channel, &partial_vms, present, diagnostics);
    let run = run::run(file.run, &partial_vms, diagnostics);
    let mut vms = resolve::finish(partial_vms, afters)?;
    for (index, vm) in vms.iter_mut().enumerate() {
        vm.channels = channels::memberships(&channels, index);
    }
    let (board, board_memory) = board.finish()?;
    Some(Manifest { board, vms, networks, channels, run, source: Arc::clone(source), board_memory })
}
