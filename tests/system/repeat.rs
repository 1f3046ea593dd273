// SPDX-License-Identifier: MIT OR Apache-2.0
//! With counted instructions a run is the same as the last one, to the byte.

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Need, Scenario, Verdict};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("repeat::guests_say_the_same_twice", |bench| {
            let guest = |name: &str, vcpus: u16, parameters: &str| {
                format!(
                    "[[vm]]\nname = \"{name}\"\nkernel = \"guest:{name}\"\nmemory = \"64MiB\"\n\
                     vcpus = {vcpus}\ncmdline = \"{parameters}\"\n"
                )
            };
            let guests = [
                guest("smp", 4, "rounds=5"),
                guest("isa", 1, ""),
                guest("heartbeat", 1, ""),
                guest("gic", 1, ""),
            ];
            twice(bench, &Scenario::new(guests.concat()))
        }),
        Case::new("repeat::linux_says_the_same_twice", |bench| {
            let manifest = "[[vm]]\nname = \"linux\"\nkernel = \"debian:6.12\"\ninitrd = \"demo\"\n\
                            memory = \"512MiB\"\nvcpus = 2\n";
            twice(bench, &Scenario::new(manifest))
        })
        .needs(Need::Linux("6.12")),
    ]
}

fn twice(bench: &Bench, scenario: &Scenario) -> Verdict {
    let scenario = scenario.clone().counted();
    let (first, second) = (bench.run(&scenario)?, bench.run(&scenario)?);
    first.exits(Exit::Success)?;
    for (one, other) in first.outcome.vms.iter().zip(&second.outcome.vms) {
        let (said, says) = (one.text(), other.text());
        let difference = said.lines().zip(says.lines()).find(|(line, again)| line != again);
        first.ensure(difference.is_none(), || format!("{} said other things: {difference:?}", one.name))?;
        first.ensure(said == says, || format!("{} said more in one run than in the other", one.name))?;
    }
    first.ensure(first.outcome.vms == second.outcome.vms, || "the states differ".into())?;
    first.ensure(first.outcome.log == second.outcome.log, || "the hypervisor's log differs".into())
}
