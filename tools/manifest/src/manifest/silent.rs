// SPDX-License-Identifier: MIT OR Apache-2.0
//! What makes a Linux silent, or keep from coming up: warnings, since it may be meant.

use vambrace_machine::devices::Device;

use super::resolve::PartialVm;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};
use crate::images::gzip;
use crate::values::{InitrdSource, KernelSource};

/// The most of an initial RAM disk that is looked at, unpacked.
const MAX_INITRD: u64 = 1 << 30;

/// Checks the words of each VM's command line that Linux reads.
pub(super) fn check(vms: &[PartialVm], diagnostics: &mut Diagnostics) {
    for vm in vms {
        let is_linux =
            vm.kernel.as_ref().is_some_and(|it| !matches!(it.get_ref(), KernelSource::Guest { .. }));
        let Some(span) = vm.cmdline_span.as_ref().filter(|_| is_linux) else { continue };
        for word in vm.cmdline.split_whitespace() {
            check_word(vm, word, span, diagnostics);
        }
    }
}

fn check_word(vm: &PartialVm, word: &str, span: &Span, diagnostics: &mut Diagnostics) {
    if let Some(console) = word.strip_prefix("console=") {
        let name = console.split(',').next().unwrap_or_default();
        if let Some(why) = no_console(vm, name) {
            let title = format!("`{word}` names a console that this VM does not have");
            diagnostics.push(
                Diagnostic::new(Code::NoSuchConsole, title)
                    .label(span.clone(), why)
                    .help("leave it out: Linux finds its console by the device tree"),
            );
        }
    } else if word == "quiet" {
        diagnostics.push(
            Diagnostic::new(Code::Quiet, "with `quiet` this Linux says nothing before its init does")
                .label(span.clone(), "")
                .help("leave it out as long as it is not sure that it comes up"),
        );
    } else if word.strip_prefix("panic=").is_some_and(|seconds| seconds.starts_with('-')) {
        let title = format!("with `{word}` a Linux that panics is reset at once, and then perhaps for ever");
        diagnostics.push(
            Diagnostic::new(Code::ResetLoop, title)
                .label(span.clone(), "")
                .help("leave it out to see the panic stand, or give it a time, as in `panic=30`"),
        );
    }
}

/// Why a VM does not have the console of this name; `None` if it has, or it is not known.
fn no_console(vm: &PartialVm, name: &str) -> Option<&'static str> {
    let is_number = |rest: &str| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit());
    let numbered = |kind: &str| name.strip_prefix(kind).is_some_and(is_number);
    if numbered("ttyS") {
        Some("it has no 16550: its UART is a PL011, `ttyAMA0`")
    } else if name == "ttyAMA0" && !Device::Pl011.is_in(vm.devices) && vm.assigned.is_empty() {
        Some("`devices` lists no `pl011`")
    } else if numbered("hvc") && !vm.has_virtio_console() {
        Some("`devices` lists no `virtio-console`")
    } else if name == "tty" || numbered("tty") {
        Some("it has no screen")
    } else {
        None
    }
}

/// Reports a VM with devices whose drivers its initial RAM disk cannot have; `archive` are the bytes of one that is a file.
pub(super) fn check_drivers(vm: &PartialVm, archive: Option<&[u8]>, diagnostics: &mut Diagnostics) {
    let (Some(kernel), Some(initrd)) = (&vm.kernel, &vm.initrd) else { return };
    let Some((driver, what)) = vm.needs_driver() else { return };
    let (why, help) = match (kernel.get_ref(), initrd.get_ref()) {
        (KernelSource::Debian { .. }, InitrdSource::File(_)) => {
            if archive.is_none_or(|bytes| may_have(bytes, driver)) {
                return;
            }
            (
                format!("no module {driver} is in it, and Debian's kernel has that one as a module"),
                "put the kernel's modules in, or take `initrd = \"demo\"` or `\"debian\"`, which get them",
            )
        }
        (KernelSource::File(_), InitrdSource::Demo | InitrdSource::Debian) => (
            format!("it has drivers for Debian's kernels only: this kernel needs {driver} built in"),
            "build it in, or take an initial RAM disk of your own",
        ),
        _ => return,
    };
    let title = format!("this Linux may find no driver for its {what}");
    diagnostics.push(
        Diagnostic::new(Code::NoDriver, title).label(initrd.span(), why).label(kernel.span(), "").help(help),
    );
}

/// Whether a RAM disk may have a module: only what can be unpacked here is known not to.
fn may_have(archive: &[u8], module: &str) -> bool {
    let name = format!("{module}.ko");
    let has = |bytes: &[u8]| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    if has(archive) {
        return true;
    }
    // Archives may follow one another, packed and not.
    if archive.starts_with(b"0707") {
        return archive.windows(3).any(|window| window == [0x1F, 0x8B, 8] || window == [0x28, 0xB5, 0x2F]);
    }
    match archive.starts_with(&[0x1F, 0x8B]).then(|| gzip::unpack(archive, MAX_INITRD)) {
        Some(Ok(bytes)) => has(&bytes),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::fakes::gzip;

    #[test]
    fn a_module_is_missed_only_where_all_can_be_read() {
        let with = b"070701 lib/modules/6.1/virtio_blk.ko.xz".as_slice();
        let without = b"070701 bin/busybox".as_slice();
        assert!(may_have(with, "virtio_blk") && may_have(&gzip(with), "virtio_blk"));
        assert!(!may_have(without, "virtio_blk") && !may_have(&gzip(without), "virtio_blk"));
        assert!(may_have(b"\xFD7zXZ\0 who knows", "virtio_blk"));
        assert!(may_have(&[without, &gzip(with)].concat(), "virtio_blk"));
    }
}
