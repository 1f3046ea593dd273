// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each section's values mean.
//!
//! A value that means nothing is reported and leaves a gap in the [`PartialVm`]; the later checks step over gaps.

use toml::Spanned;
use vambrace_machine::devices::{self, Device};
use vambrace_wire::bundle::DeviceSet;
use vambrace_wire::bundle::assigned::RamPlacement;

use super::assign::{self, Assigned};
use super::file;
use super::io::{self, BoardResources, VirtioDevice};
use super::listed::ListedDevice;
use super::ram_piece::placement;
use super::run::{self, Expected};
use super::slots::{self, BoardDevice};
use super::structure::{PresentKeys, Wholeness};
use super::{Board, BoardModel, BoardOptions, Boot, OWN_NAME, Spans, Vm, WhenIdle};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};
use crate::values::{FirmwareSource, ImageNameError, InitrdSource, KernelSource, Size};
use crate::words::counted;

/// RAM is given to a VM in blocks of this size, in bytes.
const MEMORY_STEP: u64 = 2 << 20;

/// The least RAM that holds a device tree and a program.
const MEMORY_MIN: Size = Size::mib(4);

/// The most RAM: from 1 GiB up to where the second region of redistributors starts.
const MEMORY_MAX: Size = Size::mib(255 << 10);

/// The longest command line of an arm64 Linux, without its NUL, in bytes.
const CMDLINE_MAX: usize = 2047;

/// Where a value of the board comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Written(Span),
    Default,
    /// It is written, and makes no sense: the default is taken meanwhile.
    Assumed,
    Option(&'static str),
}

/// The board's RAM, and where that is said.
#[derive(Clone, Debug)]
pub(crate) struct BoardMemory {
    pub(super) size: Size,
    pub(super) origin: Origin,
}

/// The board; without what makes no sense.
pub(super) struct PartialBoard {
    machine: BoardModel,
    pub(super) cpu: String,
    pub(super) cpus: Option<(u16, Origin)>,
    pub(super) memory: Option<BoardMemory>,
    pub(super) disks: Vec<io::BoardDisk>,
    pub(super) devices: Vec<BoardDevice>,
    when_idle: WhenIdle,
}

/// A VM; without what makes no sense.
pub(super) struct PartialVm {
    /// The section's head.
    pub(super) head: Span,
    pub(super) name: Option<Spanned<String>>,
    pub(super) kernel: Option<Spanned<KernelSource>>,
    pub(super) initrd: Option<Spanned<InitrdSource>>,
    pub(super) firmware: Option<Spanned<FirmwareSource>>,
    pub(super) cmdline: String,
    pub(super) cmdline_span: Option<Span>,
    /// The place is missing for the default.
    pub(super) memory: Option<(Size, Option<Span>)>,
    pub(super) vcpus: Vec<Option<u16>>,
    pub(super) weight: u32,
    pub(super) devices: DeviceSet,
    pub(super) virtio: Vec<VirtioDevice>,
    pub(super) assigned: Vec<Assigned>,
    /// `dma = "trusted"`.
    pub(super) trust: Option<Span>,
    placement: RamPlacement,
    pub(super) after: Option<Spanned<String>>,
    pub(super) symbols: Option<Spanned<String>>,
    pub(super) expected: Expected,
}

pub(super) fn board(
    board: file::Board,
    options: &BoardOptions,
    present: &PresentKeys,
    diagnostics: &mut Diagnostics,
) -> PartialBoard {
    let cpus = match (options.cpus, board.cpus) {
        (Some(cpus), _) => Some((cpus, Origin::Option("--smp"))),
        (None, Some(cpus)) => Some((*cpus.get_ref(), Origin::Written(cpus.span()))),
        (None, None) if present.in_board("cpus") => Some((file::DEFAULT_CPUS, Origin::Assumed)),
        (None, None) => Some((file::DEFAULT_CPUS, Origin::Default)),
    };
    let memory = match (options.memory, board.memory) {
        (Some(size), _) => Some(BoardMemory { size, origin: Origin::Option("--memory") }),
        (None, Some(text)) => {
            size(&text, diagnostics).map(|size| BoardMemory { size, origin: Origin::Written(text.span()) })
        }
        (None, None) if present.in_board("memory") => None,
        (None, None) => Some(BoardMemory { size: file::DEFAULT_BOARD_MEMORY, origin: Origin::Default }),
    };
    let cpu = options.cpu.clone().or(board.cpu.map(Spanned::into_inner));
    let machine = board.machine.map(Spanned::into_inner).unwrap_or_default();
    let cpu = cpu.unwrap_or_else(|| file::DEFAULT_CPU.to_owned());
    let disks = io::board_disks(board.disk, diagnostics);
    let devices = slots::devices(board.device, diagnostics);
    let when_idle = board.when_idle.map(Spanned::into_inner).unwrap_or_default();
    PartialBoard { machine, cpu, cpus, memory, disks, devices, when_idle }
}

pub(super) fn vm(
    index: usize,
    vm: Spanned<file::Vm>,
    board: &PartialBoard,
    networks: &[io::Network],
    present: &PresentKeys,
    diagnostics: &mut Diagnostics,
) -> PartialVm {
    let head = vm.span();
    let vm = vm.into_inner();
    let nothing = vm.kernel.is_none() && vm.firmware.is_none();
    if nothing && !["kernel", "firmware"].iter().any(|key| present.in_vm(index, key)) {
        diagnostics.push(
            Diagnostic::new(Code::NothingToBoot, "this VM has nothing to start")
                .label(head.clone(), "neither `kernel` nor `firmware`")
                .help("add `kernel = \"debian\"` for Debian's kernel, or `kernel = \"PATH\"` for your own"),
        );
    }
    if let Some(firmware) = &vm.firmware {
        with_firmware(firmware, [("kernel", &vm.kernel), ("initrd", &vm.initrd)], diagnostics);
    }
    if let Some(initrd) = &vm.initrd
        && vm.disk.is_empty()
        && vm.assign.is_none()
        && !["disk", "assign"].iter().any(|key| present.in_vm(index, key))
    {
        check_disk(initrd, diagnostics);
    }
    let resources = BoardResources { networks, disks: &board.disks };
    let listed = vm.devices.as_ref().map(|list| list.get_ref().as_slice()).unwrap_or_default();
    let virtio = io::devices(index, vm.disk, vm.network, listed, resources, diagnostics);
    let kernel = vm.kernel.and_then(|text| image(&text, diagnostics));
    if let (Some(kernel), None) = (&kernel, &vm.initrd) {
        check_root(kernel, diagnostics);
    }
    let own = devices(vm.devices, present.list_in_vm(index, "devices"), diagnostics);
    // Without a number of vCPUs that makes sense, none can be missing.
    let pins =
        if present.in_vm(index, "vcpus") { Wholeness::Partial } else { present.list_in_vm(index, "cpus") };
    // There is one value.
    let trust = vm.dma.map(|dma| dma.span());
    let memory = match vm.memory {
        Some(text) => memory(&text, diagnostics).map(|size| (size, Some(text.span()))),
        None => (!present.in_vm(index, "memory")).then_some((file::DEFAULT_MEMORY, None)),
    };
    PartialVm {
        head,
        kernel,
        initrd: vm.initrd.and_then(|text| image(&text, diagnostics)),
        firmware: vm.firmware.and_then(|text| image(&text, diagnostics)),
        cmdline_span: vm.cmdline.as_ref().map(Spanned::span),
        cmdline: vm.cmdline.map(|text| cmdline(text, diagnostics)).unwrap_or_default(),
        placement: placement(vm.ram_piece.as_ref(), memory.as_ref(), trust.as_ref(), diagnostics),
        memory,
        vcpus: pinning(vm.vcpus, vm.cpus, pins, board, diagnostics),
        weight: vm.weight.map_or(file::DEFAULT_WEIGHT, Spanned::into_inner),
        devices: own,
        virtio,
        assigned: assign::devices(vm.assign, trust.as_ref(), own, diagnostics),
        trust,
        name: vm.name.filter(|name| check_name(name, diagnostics)),
        after: vm.after,
        symbols: vm.symbols,
        expected: run::expected(vm.expect, vm.fail_on, vm.result, diagnostics),
    }
}

/// The VMs, if none has a gap. `afters` are the indexes that the `after`s mean.
pub(super) fn finish(partial_vms: Vec<PartialVm>, afters: Vec<Option<u16>>) -> Option<Vec<Vm>> {
    let vm = |(partial, after): (PartialVm, Option<u16>)| {
        let name = partial.name?;
        let (memory, memory_span) = partial.memory?;
        let (boot, boot_span) = match (partial.kernel, partial.firmware) {
            (Some(kernel), None) => {
                let span = kernel.span();
                let initrd = partial.initrd.clone().map(Spanned::into_inner);
                (Boot::Kernel { kernel: kernel.into_inner(), initrd }, span)
            }
            (None, Some(firmware)) => {
                let span = firmware.span();
                (Boot::Firmware(firmware.into_inner()), span)
            }
            _ => return None,
        };
        let spans = Spans {
            initrd: partial.initrd.as_ref().map_or(boot_span.clone(), Spanned::span),
            memory: memory_span.unwrap_or(name.span()),
            boot: boot_span,
        };
        Some(Vm {
            name: name.into_inner(),
            boot,
            cmdline: partial.cmdline,
            memory,
            vcpus: partial.vcpus,
            weight: partial.weight,
            devices: partial.devices,
            virtio: partial.virtio,
            channels: Vec::new(),
            assigned: partial.assigned,
            placement: partial.placement,
            after,
            symbols: partial.symbols.map(|path| path.into_inner().into()),
            expected: partial.expected,
            spans,
        })
    };
    partial_vms.into_iter().zip(afters).map(vm).collect()
}

impl PartialVm {
    /// Its name, or nothing if it has none.
    pub(super) fn called(&self) -> &str {
        self.name.as_ref().map_or("", |name| name.get_ref())
    }

    pub(super) fn has_virtio_console(&self) -> bool {
        self.virtio.contains(&VirtioDevice::Console)
    }

    /// The driver that Linux needs for what it has by virtio: of its disks first, then of its network cards.
    pub(super) fn needs_driver(&self) -> Option<(&'static str, &'static str)> {
        let has = |is: fn(&VirtioDevice) -> bool| self.virtio.iter().any(is);
        if has(|device| matches!(device, VirtioDevice::Disk(_))) {
            Some(("virtio_blk", "disks"))
        } else if has(|device| matches!(device, VirtioDevice::Card(_))) {
            Some(("virtio_net", "network cards"))
        } else {
            None
        }
    }
}

impl PartialBoard {
    /// The board, if it has no gap.
    pub(super) fn finish(self) -> Option<(Board, BoardMemory)> {
        let memory = self.memory?;
        let Self { machine, cpu, disks, devices, when_idle, .. } = self;
        let cpus = self.cpus?.0;
        let board = Board { machine, cpu, cpus, memory: memory.size, disks, devices, when_idle };
        Some((board, memory))
    }
}

/// Debian's kernel without a RAM disk has no driver for any disk, and no root to mount.
fn check_root(kernel: &Spanned<KernelSource>, diagnostics: &mut Diagnostics) {
    if matches!(kernel.get_ref(), KernelSource::Debian { .. }) {
        diagnostics.push(
            Diagnostic::new(Code::NoRoot, "this Linux has no root file system")
                .label(kernel.span(), "Debian's kernel needs an initial RAM disk")
                .help("add `initrd = \"demo\"`, or `initrd = \"PATH\"` for your own"),
        );
    }
}

/// What starts the system on a disk needs one.
fn check_disk(initrd: &Spanned<String>, diagnostics: &mut Diagnostics) {
    if initrd.get_ref().parse() == Ok(InitrdSource::Debian) {
        diagnostics.push(
            Diagnostic::new(Code::NoRoot, "this Linux has no root file system")
                .label(initrd.span(), "it starts the system on a disk, and this VM has none")
                .help("add a section [[vm.disk]] with `board = \"NAME\"`")
                .help("and a section [[board.disk]] with that name, `image = \"FILE\"` and `system = \"debian\"`"),
        );
    }
}

fn with_firmware(
    firmware: &Spanned<String>,
    others: [(&str, &Option<Spanned<String>>); 2],
    diagnostics: &mut Diagnostics,
) {
    for (key, other) in others {
        if let Some(other) = other {
            diagnostics.push(
                Diagnostic::new(Code::KernelAndFirmware, format!("`{key}` does not go with `firmware`"))
                    .label(other.span(), "")
                    .label(firmware.span(), "this VM starts firmware")
                    .help("firmware finds its own system to start; keep one of the two"),
            );
        }
    }
}

fn check_name(name: &Spanned<String>, diagnostics: &mut Diagnostics) -> bool {
    let (text, span) = (name.get_ref(), name.span());
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let bad = |title: String| Diagnostic::new(Code::BadName, title);
    let problem = if text.eq_ignore_ascii_case(OWN_NAME) {
        bad(format!("a VM cannot be called `{text}`"))
            .label(span, "the hypervisor's own lines carry this name")
            .help("call it what it does, such as `web`")
    } else if text.is_empty() {
        bad("a VM's name cannot be empty".to_owned())
            .label(span, "")
            .help("call it what it does, such as `web`")
    } else if text.len() > 63 {
        bad(format!("a VM's name has at most 63 characters, this one has {}", text.chars().count()))
            .label(span, "")
    } else if let Some(bad_char) = text.chars().find(|c| !allowed(*c)) {
        let mended: String = text.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
        bad(format!("a VM's name cannot have {bad_char:?} in it")).label(span.clone(), "").fix(
            "use letters, digits, `-` and `_`",
            span,
            format!("\"{mended}\""),
        )
    } else {
        return true;
    };
    diagnostics.push(problem);
    false
}

fn image<T: std::str::FromStr<Err = ImageNameError>>(
    text: &Spanned<String>,
    diagnostics: &mut Diagnostics,
) -> Option<Spanned<T>> {
    match text.get_ref().parse() {
        Ok(source) => Some(Spanned::new(text.span(), source)),
        Err(ImageNameError { reason, suggestion }) => {
            let bad = Diagnostic::new(Code::BadImageName, reason).label(text.span(), "");
            diagnostics.push(match suggestion {
                Some(name) => bad.fix(format!("did you mean `{name}`?"), text.span(), format!("\"{name}\"")),
                None => bad,
            });
            None
        }
    }
}

pub(super) fn size(text: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Size> {
    match text.get_ref().parse::<Size>() {
        Ok(size) => Some(size),
        Err(error) => {
            let title = format!("{:?} is no size: {}", text.get_ref(), error.reason);
            let bad = Diagnostic::new(Code::BadSize, title).label(text.span(), "");
            diagnostics.push(match error.suggestion {
                Some(size) => bad.fix(format!("write {size}"), text.span(), format!("\"{size}\"")),
                None => bad,
            });
            None
        }
    }
}

fn memory(text: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Size> {
    let size = size(text, diagnostics)?;
    let (problem, mended) = if size < MEMORY_MIN {
        (format!("a VM has at least {MEMORY_MIN}"), MEMORY_MIN)
    } else if size > MEMORY_MAX {
        (format!("a VM has at most {MEMORY_MAX}"), MEMORY_MAX)
    } else if !size.0.is_multiple_of(MEMORY_STEP) {
        ("a VM's memory is a multiple of 2MiB".to_owned(), size.align_up(MEMORY_STEP))
    } else {
        return Some(size);
    };
    diagnostics.push(Diagnostic::new(Code::BadSize, problem).label(text.span(), "").fix(
        format!("write {mended}"),
        text.span(),
        format!("\"{mended}\""),
    ));
    None
}

fn cmdline(text: Spanned<String>, diagnostics: &mut Diagnostics) -> String {
    let span = text.span();
    let text = text.into_inner();
    if text.len() > CMDLINE_MAX {
        diagnostics.push(
            Diagnostic::new(Code::BadCmdline, format!("the command line has {} bytes", text.len()))
                .label(span.clone(), format!("Linux takes {CMDLINE_MAX}")),
        );
    }
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        diagnostics.push(
            Diagnostic::new(
                Code::BadCmdline,
                format!("the command line has the control character {control:?}"),
            )
            .label(span, "must be one line of text")
            .help("separate its words by spaces"),
        );
    }
    text
}

/// For each vCPU, the CPU that it is pinned to.
fn pinning(
    vcpus: Option<Spanned<u16>>,
    cpus: Option<Spanned<Vec<Spanned<u16>>>>,
    wholeness: Wholeness,
    board: &PartialBoard,
    diagnostics: &mut Diagnostics,
) -> Vec<Option<u16>> {
    let Some(list) = cpus else {
        return vec![None; vcpus.map_or(1, |count| usize::from(*count.get_ref()))];
    };
    let listed = list.get_ref().len();
    let count = vcpus.as_ref().map_or(listed.max(1), |count| usize::from(*count.get_ref()));
    if listed != count && wholeness == Wholeness::Whole {
        let vcpus_in_words = counted(count, "vCPU");
        let title = match listed {
            0 => "`cpus` lists no CPU".to_owned(),
            _ => format!("`cpus` lists {} for {vcpus_in_words}", counted(listed, "CPU")),
        };
        let wrong = Diagnostic::new(Code::PinningLength, title)
            .label(list.span(), "one physical CPU for each vCPU, in order")
            .help("the same CPU may be listed more than once; without `cpus`, the hypervisor chooses");
        diagnostics.push(match &vcpus {
            Some(vcpus) => wrong.label(vcpus.span(), vcpus_in_words),
            None => wrong,
        });
    }
    for cpu in list.get_ref() {
        check_cpu(cpu, board, diagnostics);
    }
    list.into_inner().into_iter().map(|cpu| Some(cpu.into_inner())).collect()
}

fn check_cpu(cpu: &Spanned<u16>, board: &PartialBoard, diagnostics: &mut Diagnostics) {
    let Some((count, origin)) = &board.cpus else { return };
    if cpu.get_ref() < count {
        return;
    }
    let last = count.saturating_sub(1);
    let wrong = Diagnostic::new(Code::NoSuchCpu, format!("the board has no CPU {}", cpu.get_ref()))
        .label(cpu.span(), format!("its CPUs are 0 to {last}"));
    diagnostics.push(match origin {
        Origin::Written(span) => wrong.label(span.clone(), format!("{count} CPUs")),
        Origin::Default => wrong.note(format!("without `cpus` in [board], it has {count}")),
        Origin::Assumed => wrong.note(format!("as `cpus` in [board] cannot be used, it would have {count}")),
        Origin::Option(option) => wrong.note(format!("{option} sets their number to {count}")),
    });
}

fn devices(
    list: Option<Spanned<Vec<Spanned<ListedDevice>>>>,
    wholeness: Wholeness,
    diagnostics: &mut Diagnostics,
) -> DeviceSet {
    let Some(list) = list else { return devices::DEFAULT };
    let span = list.span();
    let list = list.into_inner();
    for (index, device) in list.iter().enumerate() {
        let earlier = list.iter().take(index).find(|other| other.get_ref() == device.get_ref());
        if let Some(earlier) = earlier {
            diagnostics.push(
                Diagnostic::new(Code::Repeated, "this device is listed twice")
                    .label(device.span(), "remove this one")
                    .label(earlier.span(), "first here"),
            );
        }
    }
    let has = |device| list.iter().any(|listed| *listed.get_ref() == device);
    let has_uart = has(ListedDevice::Platform(Device::Pl011));
    if wholeness == Wholeness::Whole && !has_uart && !has(ListedDevice::VirtioConsole) {
        diagnostics.push(
            Diagnostic::new(Code::NoConsole, "this VM has no console")
                .label(span, "without `pl011`, nothing it says can be seen"),
        );
    }
    let platform = list.iter().filter_map(|listed| match listed.get_ref() {
        ListedDevice::Platform(device) => Some(*device),
        ListedDevice::VirtioRng | ListedDevice::VirtioConsole => None,
    });
    devices::set(&platform.collect::<Vec<_>>())
}
