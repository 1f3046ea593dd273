// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every order in which a few CPUs can make their calls.
//!
//! Each CPU is a list of steps; each step takes the VM's lock, so an execution is an order of all steps. All
//! of them are tried, and after each one the bookkeeping of a plain observer must agree.

use super::*;

fn vcpu(cpu: usize) -> VcpuId {
    VcpuId::new(cpu as u16)
}

/// What a CPU does next.
#[derive(Clone, Copy)]
enum Step {
    /// CPU_ON of the CPU with this number and this context.
    On(usize, u64),
    /// CPU_OFF.
    Off,
}

/// One CPU of the VM: what it does each time that it runs.
#[derive(Clone)]
struct Actor {
    steps: Vec<Step>,
    on: bool,
}

#[derive(Clone)]
struct World {
    power: PowerStates,
    actors: Vec<Actor>,
    /// Contexts of the successful CPU_ON calls that have not led to a start.
    promised: Vec<Vec<u64>>,
    /// Starts and successful calls so far.
    starts: usize,
    successes: usize,
}

impl World {
    /// CPUs with these programs, of which the first `on` are on.
    fn new(programs: &[&[Step]], on: usize) -> Self {
        let mut power = PowerStates::new(0..programs.len() as u64);
        for cpu in 0..on {
            power.begin_on(vcpu(cpu), entry(0x4000_0000, 0)).unwrap();
            power.take_pending(vcpu(cpu)).unwrap();
        }
        let actor = |(cpu, steps): (usize, &&[Step])| Actor { steps: steps.to_vec(), on: cpu < on };
        Self {
            power,
            actors: programs.iter().enumerate().map(actor).collect(),
            promised: vec![Vec::new(); programs.len()],
            starts: 0,
            successes: 0,
        }
    }

    /// The CPU takes its next step, or, when it is off, its physical CPU looks whether to start it. `None`:
    /// it has nothing to do.
    fn advance(&mut self, cpu: usize) -> Option<()> {
        if !self.actors[cpu].on {
            let entry = self.power.take_pending(vcpu(cpu))?;
            assert_eq!(self.promised[cpu].pop(), Some(entry.context), "starts where its caller said");
            assert!(self.promised[cpu].is_empty(), "two calls turned on one CPU");
            self.actors[cpu].on = true;
            self.starts += 1;
            return Some(());
        }
        if self.actors[cpu].steps.is_empty() {
            return None;
        }
        match self.actors[cpu].steps.remove(0) {
            Step::Off => {
                let outcome = self.call(cpu, [CPU_OFF.into(), 0, 0, 0]);
                self.actors[cpu].on = false;
                let any =
                    self.actors.iter().any(|actor| actor.on) || self.promised.iter().any(|p| !p.is_empty());
                let remaining = if any { Remaining::Some } else { Remaining::None };
                assert_eq!(outcome, CallOutcome::CpuOff(remaining));
            }
            Step::On(target, context) => {
                let on = self.actors[target].on;
                let pending = !self.promised[target].is_empty();
                match self.call(cpu, [(CPU_ON | WIDE).into(), target as u64, 0x4000_0000, context]) {
                    CallOutcome::CpuOn { target: told } => {
                        assert!(told == vcpu(target) && !on && !pending);
                        self.promised[target].push(context);
                        self.successes += 1;
                    }
                    other => {
                        assert!(on || pending);
                        assert_eq!(returned(other), ALREADY_ON);
                    }
                }
            }
        }
        Some(())
    }

    fn call(&mut self, cpu: usize, x: [u64; 4]) -> CallOutcome {
        super::super::call(
            &Call { immediate: 0, x, endianness: Endianness::Little },
            vcpu(cpu),
            &mut self.power,
            &Ram,
        )
    }
}

/// Tries all orders; returns how many there are. `check` looks at each end.
fn explore(world: &World, check: &impl Fn(&World)) -> usize {
    let mut orders = 0;
    for cpu in 0..world.actors.len() {
        let mut next = world.clone();
        if next.advance(cpu).is_some() {
            orders += explore(&next, check);
        }
    }
    if orders == 0 {
        check(world);
        assert_eq!(world.starts, world.successes, "every CPU_ON that succeeded led to one start");
        return 1;
    }
    orders
}

#[test]
fn two_cpus_turn_on_a_third() {
    let world = World::new(&[&[Step::On(2, 10)], &[Step::On(2, 11)], &[]], 2);
    let orders = explore(&world, &|end| assert_eq!(end.starts, 1));
    assert!(orders >= 4, "{orders}");
}

#[test]
fn a_cpu_turns_itself_off_while_others_turn_it_on() {
    let world = World::new(&[&[Step::On(2, 10)], &[Step::On(2, 11)], &[Step::Off]], 3);
    explore(&world, &|end| assert!(end.starts <= 1));
}

#[test]
fn a_cpu_comes_and_goes() {
    let calls: &[Step] = &[Step::On(1, 1), Step::On(1, 2), Step::On(1, 3)];
    let world = World::new(&[calls, &[Step::Off, Step::Off]], 2);
    let orders = explore(&world, &|end| assert!(end.starts <= 2));
    assert!(orders >= 10, "{orders}");
}

#[test]
fn cpus_turn_each_other_on_and_themselves_off() {
    let world = World::new(
        &[
            &[Step::On(1, 1), Step::Off],
            &[Step::On(2, 2), Step::Off],
            &[Step::On(0, 3), Step::On(1, 4), Step::Off],
        ],
        1,
    );
    explore(&world, &|end| assert!(end.starts >= 1));
}
