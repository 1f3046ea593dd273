// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boards with too little memory: what does not fit is told, and everything else runs.

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Failed, Scenario, Tree, Verdict, ensure};
use vambrace_wire::message::VmState;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("memory::heap_too_small_for_a_vm", heap_too_small_for_a_vm),
        Case::new("memory::channel_that_does_not_fit", channel_that_does_not_fit),
    ]
}

/// A board of 128 MiB with little left free: the image with half a megabyte behind it, RAM for one VM of 8 MiB, half a megabyte
/// behind the bundle and behind the tree, and `room` bytes in one piece, less than 4 MiB.
fn tree_with(room: u64) -> Result<Tree, Failed> {
    const WINDOW: u64 = 0x4700_0000;
    Tree::with_reservations(&[
        (0x4000_0000, 0x4020_0000),
        (0x4030_0000, 0x4040_0000),
        (0x40C0_0000, 0x4400_0000),
        (0x4408_0000, 0x4420_0000),
        (0x4428_0000, WINDOW),
        (WINDOW + room, 0x4800_0000),
    ])
}

/// Two VMs share more memory than there is, and are not made: the RAM that the first had already is there for the next.
fn channel_that_does_not_fit(bench: &Bench) -> Verdict {
    let mut manifest = "[board]\nmemory = \"128MiB\"\n[[channel]]\nname = \"wide\"\nsize = \"16MiB\"\n\
                        members = [\"first\", \"second\"]\n"
        .to_owned();
    for vm in ["first", "second", "other"] {
        manifest.push_str(&format!("[[vm]]\nname = \"{vm}\"\nkernel = \"guest:hello\"\nmemory = \"4MiB\"\n"));
    }
    let tree = tree_with(1 << 20)?;
    let record = bench.run(&Scenario::new(manifest).with_qemu_args(&tree.qemu_args()))?;
    for member in ["first", "second"] {
        record.is_told(&format!("{member} cannot be made: there was no memory for channel 0"))?;
    }
    record.says("other", "guest: hello from EL1")?;
    record.exits(Exit::NotMade)
}

/// A VM with many CPUs, whose RAM fits and whose values in EL2's heap may not, and another, for which there is RAM only if the
/// first leaves it. However much the heap can grow, in steps that are smaller than any of the larger pieces that such a VM is
/// made of: the first is made whole, or not at all and the other gets all that it would have had.
fn heap_too_small_for_a_vm(bench: &Bench) -> Verdict {
    const MANIFEST: &str = r#"
        [board]
        memory = "128MiB"
        [[vm]]
        name = "many"
        kernel = "guest:hello"
        memory = "8MiB"
        vcpus = 512
        [[vm]]
        name = "other"
        kernel = "guest:hello"
        memory = "8MiB"
    "#;
    let (mut refused, mut made) = (0, 0);
    for step in 0..10 {
        let room = step * (384 << 10);
        let tree = tree_with(room)?;
        let record = bench.run(&Scenario::new(MANIFEST).with_qemu_args(&tree.qemu_args()).within(120))?;
        let (runs, fails, why) = match record.vm("many")?.console.is_empty() {
            true => ("other", "many", "the hypervisor's own values of it need "),
            false => ("many", "other", "8 MiB are not free "),
        };
        *(if runs == "many" { &mut made } else { &mut refused }) += 1;
        record.says(runs, "guest: hello from EL1")?;
        let told = format!("{fails} cannot be made: {why}");
        record.ensure(record.outcome.log.iter().any(|line| line.1.starts_with(&told)), || {
            format!("with {room} bytes more {runs} runs, and nothing says {told:?}")
        })?;
        let states = &record.vm(fails)?.states;
        record.ensure(states[..] == [VmState::NotMade], || format!("{fails} went through {states:?}"))?;
        record.exits(Exit::NotMade)?;
    }
    ensure(refused >= 2 && made >= 2, || format!("{refused} times refused, {made} times made"))
}
