// SPDX-License-Identifier: MIT OR Apache-2.0
//! How each command of the documents is tested. One that is not here fails the rules.

/// How a command is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is run as it stands, in a folder of its own, and says this. Its exit code is 0.
    Run(&'static str),
    /// It is run as it stands until it says this; by itself it does not end.
    RunUntil(&'static str),
    /// A case of the system tests does the same.
    Case(&'static str),
    /// It runs tests, of which those that read this are a part; that there are such tests is a rule.
    Tests,
    /// It cannot be run, for this reason.
    Not(&'static str),
}

use Way::{Case, Not, Run, RunUntil};

/// The commands, without those that run tests.
pub const WAYS: &[(&str, Way)] = &[
    // What boots VMs.
    ("cargo run -- run", Case("demo::the_command_without_arguments")),
    ("cargo run -- run manifests/hello.toml", Run("guest: hello from EL1")),
    ("cargo run -- run manifests/channel.toml", Run("vambrace | sender powered off")),
    ("cargo run -- run manifests/ci.toml", Run("unit-tests")),
    ("cargo run -- run manifests/debian.toml", RunUntil("Debian GNU/Linux 13")),
    ("cargo run -- run </dev/null | grep vambrace-demo", Run("vambrace-demo: linux-b up")),
    (
        "while sleep 1; do echo 'uname -a'; done | cargo run -- run --input linux-b --expect 'linux-b:^Linux linux-b '",
        Run("linux-b  | Linux linux-b "),
    ),
    (
        "while sleep 1; do echo 'uname -a'; done | vambrace run manifests/two-linux.toml --input linux-a \
         --expect 'linux-a:^Linux linux-a '",
        Run("linux-a  | Linux linux-a "),
    ),
    (
        "cargo run -- run manifests/assigned.toml --qemu-arg=-serial --qemu-arg=file:second.txt",
        Run("vambrace-demo: owner up"),
    ),
    ("vambrace run my.toml --expect 'linux:Debian' --fail-on '*:(?i)panic' --log-dir logs", Run("Debian")),
    // With a manifest of one's own: the document's, or the smallest.
    ("cargo run -- check my.toml", Run("")),
    ("vambrace check my.toml", Run("")),
    ("cargo run -- run my.toml", Run("vambrace-demo: linux up")),
    ("vambrace run my.toml", Run("guest: hello from EL1")),
    ("cargo run -- build my.toml -o vambrace.img", Run("")),
    ("vambrace build my.toml -o vambrace.img", Run("")),
    ("vambrace build my.toml -o image.bin", Run("")),
    ("vambrace build manifests/hello.toml -o vambrace.img", Case("boards::versal")),
    (
        "qemu-system-aarch64 -machine xlnx-versal-virt -m 2G -nographic -kernel vambrace.img",
        Case("boards::versal"),
    ),
    (
        "qemu-system-aarch64 -machine virt,virtualization=on,gic-version=3 -cpu cortex-a72 -smp 4 -m 2G \\\n\
         -nographic -nic none -kernel vambrace.img",
        RunUntil("vm1| "),
    ),
    // The recipes.
    ("cargo run -- check own.toml", Run("")),
    ("cargo run -- run own.toml", Run("guest: hello from EL1")),
    ("cargo run -- run port.toml", Case("recipes::a_port_from_the_computer")),
    ("cargo run -- run ssh.toml", Not("it installs packages from Debian's mirror, and takes long")),
    ("cargo run -- run disk.toml", Case("recipes::a_disk_that_stays")),
    ("cargo run -- run shared.toml", Case("recipes::shared_memory_from_linux")),
    (
        "cargo run -- run manifests/hello.toml --qemu-arg=-gdb --qemu-arg=tcp:127.0.0.1:1234 --qemu-arg=-S",
        Case("recipes::a_debugger"),
    ),
    // What answers at once.
    ("cargo run -- doctor", Run("QEMU")),
    ("vambrace explain esr 0x93c08006", Run("")),
    ("vambrace explain vtcr 0x8005_3550", Run("")),
    ("vambrace explain attrs device-nGnRE normal-wb", Run("")),
    ("vambrace explain attrs --matrix --svg attributes.svg", Run("")),
    ("vambrace explain walk --example mapped", Run("PA")),
    ("vambrace explain walk --example mapped --svg walk.svg", Run("")),
    ("vambrace explain walk --example fault-ptw --svg walk-fault.svg", Run("")),
    (
        "vambrace explain walk 0xffff_8000_0801_0000 --image ram.bin --registers registers.json --access write --el 1",
        Run("translation fault"),
    ),
    (
        "vambrace explain walk 0x1000 --image ram.bin --base 0x8000_0000 --ttbr0 0x8000_1000 --tcr 0x5_0080_0010 --mair 0xff",
        Run("translation fault"),
    ),
    // What measures.
    ("cargo run -- bench", Case("bench::whole_systems")),
    ("cargo run -- bench --json", Case("bench::whole_systems")),
    ("cargo run -- bench --cpu neoverse-n1 --rounds 20", Case("bench::says_the_same_twice")),
    ("cargo run -- bench --where switch", Case("bench::tells_where")),
    ("cargo run -- bench --where hvc-unknown", Case("bench::tells_where")),
    ("cargo run -- bench --scale", Case("bench::many_vms")),
    ("cargo run -- bench --scale --json", Case("bench::many_vms")),
    ("cargo run -- bench --storms", Case("bench::storms")),
    ("cargo run -- bench --operations-only", Case("bench::cortex_a72")),
    ("cargo run -- bench --operations-only --json > other.json", Case("bench::cortex_a72")),
    ("cargo run -- bench --operations-only --compare other.json", Case("bench::cortex_a72")),
    ("cargo run -- bench --against xen,kvm", Case("bench::against_xen_and_kvm")),
    // What cannot be run here.
    (
        "cargo install --locked --path tools/vambrace",
        Not("it changes what the computer's user has installed"),
    ),
    ("=> load mmc 0:1 ${kernel_addr_r} vambrace.img", Not(BOARD)),
    ("=> load mmc 0:1 ${fdt_addr_r} board.dtb", Not(BOARD)),
    ("=> booti ${kernel_addr_r} - ${fdt_addr_r}", Not(BOARD)),
    ("cargo fuzz run disk", Not(FUZZ)),
    ("cd fuzz", Not(FUZZ)),
    ("cargo run --release --bin disk -- -runs=2000000 -len_control=0 -max_len=2048", Not(FUZZ)),
    (".ci/run", Not("it runs all tests, of which those that read this are a part")),
];

const BOARD: &str = "it is typed to the U-Boot of a board";
const FUZZ: &str = "it needs a compiler for C++, and takes long";

/// The first words of the script in the document about CI.
const SCRIPT: &str = "#!/bin/sh\n# Boots the VMs of a manifest and fails";

/// How this command is tested, if somebody has said so.
#[must_use]
pub fn way(text: &str) -> Option<Way> {
    if text.starts_with(SCRIPT) {
        return Some(Case("ci::the_script_in_the_document_passes_and_fails"));
    }
    let command = text.split_whitespace().skip_while(|word| word.contains('='));
    if command.take(2).eq(["cargo", "test"]) {
        return Some(Way::Tests);
    }
    WAYS.iter().find(|(known, _)| *known == text).map(|(_, way)| *way)
}
