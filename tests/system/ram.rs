// SPDX-License-Identifier: MIT OR Apache-2.0
//! RAM in pieces, and pages that are taken away from a VM that runs and given back.

use vambrace_runner::{Exit, RunOutcome};
use vambrace_tests::{Bench, Case, Live, Need, Scenario, Verdict};
use vambrace_wire::message::VmControl;

use crate::hostile::beats_in_time;

/// How often a page is replaced.
const TIMES: u32 = 100_000;
/// How often heartbeats tell of themselves beside that.
const LINES: usize = 3;
/// How late a heartbeat may be beside that, in microseconds of counted time: by a slice of the one that computes all the time.
const LATEST: u64 = 5000;

/// The page's number in the RAM: the last one of the block in which the program itself lies, with its tables and stacks.
const PAGE: u32 = 1023;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ram::a_page_is_replaced_100000_times_while_it_is_used", replaced),
        Case::new("ram::neighbours_are_on_time_while_pages_are_replaced", on_time),
        Case::new("ram::what_cannot_be_replaced_is_told", refused),
        Case::new("ram::all_of_it_is_there_in_what_others_have_left", left_by_others),
        Case::new("ram::all_of_it_is_there_in_300_pieces", |bench| fills(bench, "600MiB", "2MiB")),
        Case::new("ram::all_of_it_is_there_in_512_small_pieces", |bench| fills(bench, "8MiB", "16KiB")),
        Case::new("ram::disks_and_networks_in_512_pieces", |bench| {
            crate::virtio::neighbours(bench, "ram_piece = \"32KiB\"")
        }),
        Case::new("ram::linux_in_300_pieces", linux).needs(Need::Linux("6.12")),
    ]
}

/// A VM of this name that writes and reads all of its RAM.
fn fills_ram(name: &str, memory: &str, more: &str) -> String {
    format!(
        "\n[[vm]]\nname = {name:?}\nkernel = \"guest:pages\"\nmemory = {memory:?}\ncmdline = \"fill\"\n{more}\n"
    )
}

/// No piece of free memory is as large as a VM's RAM is: the bundle, which lies in the middle, and another VM divide it.
fn left_by_others(bench: &Bench) -> Verdict {
    let manifest = "[board]\nmemory = \"256MiB\"\n".to_owned()
        + &fills_ram("small", "8MiB", "")
        + &fills_ram("wide", "200MiB", "");
    let record = bench.run(&Scenario::new(manifest))?;
    record.passes("small", "pages")?;
    record.passes("wide", "pages")?;
    record.exits(Exit::Success)
}

/// A VM has all of its RAM, each byte of it once, in pieces none of which continues another.
fn fills(bench: &Bench, memory: &str, piece: &str) -> Verdict {
    let more = format!("ram_piece = {piece:?}");
    let manifest = "[board]\nmemory = \"1GiB\"\n".to_owned() + &fills_ram("pieces", memory, &more);
    let record = bench.run(&Scenario::new(manifest))?;
    record.passes("pieces", "pages")?;
    record.exits(Exit::Success)
}

/// Debian's kernel notices nothing.
fn linux(bench: &Bench) -> Verdict {
    let manifest = "[board]\nmemory = \"1GiB\"\n[[vm]]\nname = \"linux\"\nkernel = \"debian:6.12\"\ninitrd = \"demo\"\n\
                    memory = \"600MiB\"\nram_piece = \"2MiB\"\nvcpus = 2\n";
    let record = bench.run(&Scenario::new(manifest))?;
    record.says("linux", "vambrace-demo: linux up: 6.12.")?;
    record.exits(Exit::Success)
}

/// A VM of two CPUs, one of which uses the page, and both its neighbours.
fn uses_page() -> String {
    format!(
        "\n[[vm]]\nname = \"pages\"\nkernel = \"guest:pages\"\nmemory = \"8MiB\"\ncpus = [0, 1]\ncmdline = \"page={PAGE}\"\n"
    )
}

/// Has a page of VM `vm` replaced, and waits until that is over.
fn replace(live: &mut Live, vm: u16, page: u32, times: u32) -> Verdict {
    let so_far = |outcome: &RunOutcome| outcome.vms.get(usize::from(vm)).map_or(0, |vm| vm.replaced.len());
    let before = so_far(live.so_far());
    live.ask_for(vm, VmControl::ReplacePage { page, times });
    live.wait_until("that its page has been replaced", |outcome| so_far(outcome) > before)
}

/// A page that one CPU uses, and whose neighbours another uses at the same time, on another physical CPU, comes and goes. Both find
/// there what they must, and nobody writes to a page that has been taken away.
fn replaced(bench: &Bench) -> Verdict {
    let manifest = "[board]\ncpus = 2\n".to_owned() + &uses_page();
    let mut live = bench.start(&Scenario::new(manifest).within(600))?;
    live.wait_for(0, "CPUs work")?;
    replace(&mut live, 0, PAGE, TIMES)?;
    live.send(0, "q");
    live.wait_for(0, "guest: pages ")?;
    let record = live.finish();
    record.passes("pages", "pages")?;
    let vm = record.vm("pages")?;
    record.ensure(vm.replaced == [TIMES], || format!("it was replaced {:?} times", vm.replaced))?;
    record.ensure(record.outcome.log.iter().all(|(_, line)| !line.contains("has written to")), || {
        "a page was written to while it was away".to_owned()
    })?;
    record.exits(Exit::Success)
}

/// The heartbeats of others, on the CPU where the pages are replaced and on that where a vCPU uses their neighbours, are in time.
fn on_time(bench: &Bench) -> Verdict {
    let beats = |name: &str, cpu: u16, more: &str| {
        format!(
            "\n[[vm]]\nname = {name:?}\nkernel = \"guest:heartbeat\"\nmemory = \"8MiB\"\ncpus = [{cpu}]\n\
             cmdline = \"beats=4000000000 period=5 every=20\"\n{more}"
        )
    };
    // They are made when all else runs, since what is told here is not how VMs begin.
    let manifest = "[board]\ncpus = 2\n".to_owned()
        + &uses_page()
        + &beats("before", 1, "")
        + &beats("beside", 0, "after = \"before\"\n")
        + &beats("other", 1, "after = \"before\"\n");
    let mut live = bench.start(&Scenario::new(manifest).counted())?;
    live.wait_for(0, "CPUs work")?;
    live.wait_for(1, "beat 20")?;
    live.ask_for(1, VmControl::Destroy);
    let lines = |live: &Live, vm: usize| live.so_far().vms.get(vm).map_or(0, |vm| vm.text().lines().count());
    while lines(&live, 2).min(lines(&live, 3)) < LINES {
        replace(&mut live, 0, PAGE, 500)?;
    }
    live.send(0, "q");
    live.wait_for(0, "guest: pages ")?;
    live.ask_for(2, VmControl::Destroy);
    live.ask_for(3, VmControl::Destroy);
    let record = live.finish();
    record.passes("pages", "pages")?;
    ["beside", "other"].iter().try_for_each(|name| beats_in_time(&record, name, LATEST))?;
    record.exits(Exit::Success)
}

/// A page that the VM has not.
fn refused(bench: &Bench) -> Verdict {
    let manifest = "[board]\ncpus = 1\n[[vm]]\nname = \"small\"\nkernel = \"guest:heartbeat\"\nmemory = \"8MiB\"\n\
                    cmdline = \"beats=4000000000\"\n";
    let mut live = bench.start(&Scenario::new(manifest.to_owned()).counted())?;
    live.wait_for(0, "beat 1")?;
    replace(&mut live, 0, 2048, 1)?;
    live.ask_for(0, VmControl::Destroy);
    let record = live.finish();
    record.is_told("small: its page cannot be replaced: the VM has no memory there, or not all of it")?;
    record.exits(Exit::Success)
}
