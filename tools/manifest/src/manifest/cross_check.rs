// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the VMs mean together: names, order, and the board they share.

use std::collections::BTreeMap;

use toml::Spanned;
use vambrace_wire::bundle::MAX_VMS;

use super::assign::check_conflicts;
use super::io::check_addresses;
use super::resolve::{BoardMemory, Origin, PartialBoard, PartialVm};
use super::structure::PresentKeys;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, nearest};
use crate::values::Size;

/// What the hypervisor takes of the board's memory for itself: its program, tables, stacks and buffers.
const HYPERVISOR_MEMORY: Size = Size::mib(32);

/// So many VMs are underlined for one complaint; more would help nobody.
const LABELS: usize = 8;

/// Checks the VMs together; for each, the index that its `after` means.
pub(super) fn check(
    board: &PartialBoard,
    vms: &[PartialVm],
    present: &PresentKeys,
    diagnostics: &mut Diagnostics,
) -> Vec<Option<u16>> {
    if !(vms.is_empty() && present.at_top("vm")) {
        count(vms, diagnostics);
    }
    let names = names(vms, diagnostics);
    let mut afters = afters(vms, &names, diagnostics);
    break_circles(vms, &mut afters, diagnostics);
    memory(board, vms, &afters, diagnostics);
    let cards = vms.iter().flat_map(|vm| {
        let name = vm.called();
        vm.virtio.iter().map(move |device| (name, device, vm.head.clone()))
    });
    check_addresses(cards, diagnostics);
    let assigned = vms.iter().flat_map(|vm| {
        let name = vm.called();
        vm.assigned.iter().map(move |device| (name, device))
    });
    check_conflicts(assigned, diagnostics);
    afters
}

fn count(vms: &[PartialVm], diagnostics: &mut Diagnostics) {
    let wrong = |title: String| Diagnostic::new(Code::VmCount, title);
    if vms.is_empty() {
        diagnostics.push(
            wrong("there is no VM".to_owned())
                .help("begin one with a line `[[vm]]`, then `name = \"...\"` and `kernel = \"...\"`"),
        );
    }
    if let Some(vm) = vms.get(MAX_VMS) {
        diagnostics.push(
            wrong(format!("there are {} VMs", vms.len()))
                .label(vm.head.clone(), format!("at most {MAX_VMS}")),
        );
    }
}

/// The index of each name; the first of those that share one.
fn names<'a>(vms: &'a [PartialVm], diagnostics: &mut Diagnostics) -> BTreeMap<&'a str, usize> {
    let mut names: BTreeMap<&str, (usize, &Spanned<String>)> = BTreeMap::new();
    for (index, vm) in vms.iter().enumerate() {
        let Some(name) = &vm.name else { continue };
        if let Some((_, first)) = names.get(name.get_ref().as_str()) {
            diagnostics.push(
                Diagnostic::new(Code::DuplicateName, format!("two VMs are called `{}`", name.get_ref()))
                    .label(name.span(), "give this one another name")
                    .label(first.span(), "the first"),
            );
        } else {
            names.insert(name.get_ref(), (index, name));
        }
    }
    names.into_iter().map(|(name, (index, _))| (name, index)).collect()
}

fn afters(
    vms: &[PartialVm],
    names: &BTreeMap<&str, usize>,
    diagnostics: &mut Diagnostics,
) -> Vec<Option<u16>> {
    let after = |vm: &PartialVm| {
        let after = vm.after.as_ref()?;
        if let Some(index) = names.get(after.get_ref().as_str()) {
            return u16::try_from(*index).ok();
        }
        // It would wait for its own end.
        let others = names.keys().copied().filter(|name| *name != vm.called());
        diagnostics.push(no_such_vm(after, others));
        None
    };
    vms.iter().map(after).collect()
}

/// The complaint about a name that no VM has; `names` are those that there are.
pub(super) fn no_such_vm<'a>(name: &Spanned<String>, names: impl Iterator<Item = &'a str>) -> Diagnostic {
    let unknown = Diagnostic::new(Code::NoSuchVm, format!("there is no VM `{}`", name.get_ref()))
        .label(name.span(), "");
    match nearest(name.get_ref(), names) {
        Some(near) => unknown.fix(format!("did you mean `{near}`?"), name.span(), format!("\"{near}\"")),
        None => unknown,
    }
}

/// Reports VMs that wait for each other in a circle, each circle once, and cuts it.
fn break_circles(vms: &[PartialVm], afters: &mut [Option<u16>], diagnostics: &mut Diagnostics) {
    // Each VM waits for at most one other, so following them from anywhere ends, or comes round in so many
    // steps.
    let mut seen = vec![None; vms.len()];
    for start in 0..vms.len() {
        let mut at = Some(start);
        while let Some(index) = at {
            match seen[index] {
                None => seen[index] = Some(start),
                Some(walk) if walk == start => {
                    report_circle(index, vms, afters, diagnostics);
                    afters[index] = None;
                    break;
                }
                Some(_) => break,
            }
            at = afters[index].map(usize::from);
        }
    }
}

fn report_circle(start: usize, vms: &[PartialVm], afters: &[Option<u16>], diagnostics: &mut Diagnostics) {
    let next = |index: &usize| afters[*index].map(usize::from).filter(|next| *next != start);
    let circle: Vec<&PartialVm> =
        std::iter::successors(Some(start), next).filter_map(|index| vms.get(index)).collect();
    let name = |vm: &PartialVm| vm.called().to_owned();
    let title = match circle.as_slice() {
        [vm] => format!("VM `{}` waits for its own end", name(vm)),
        _ => "these VMs wait for each other, so none ever starts".to_owned(),
    };
    let places = circle.iter().filter_map(|vm| Some((vm, vm.after.as_ref()?)));
    diagnostics.push(places.fold(Diagnostic::new(Code::Circular, title), |diagnostic, (vm, after)| {
        diagnostic.label(after.span(), format!("`{}` waits for `{}`", name(vm), after.get_ref()))
    }));
}

fn memory(board: &PartialBoard, vms: &[PartialVm], afters: &[Option<u16>], diagnostics: &mut Diagnostics) {
    let Some(memory) = &board.memory else { return };
    let sizes = vms.iter().zip(afters).map(|(vm, after)| {
        let (size, span) = vm.memory.clone().unwrap_or_default();
        (size, span.unwrap_or(vm.head.clone()), *after)
    });
    if let Some(diagnostic) = memory.too_small(Size(0), sizes) {
        diagnostics.push(diagnostic);
    }
}

impl BoardMemory {
    /// The complaint about VMs that need more memory at one time than is left beside the hypervisor and the
    /// `images` that it keeps for resets. Of each VM: its memory, the place of that in the text, and the VM
    /// that has ended before.
    pub(crate) fn too_small(
        &self,
        images: Size,
        vms: impl Iterator<Item = (Size, Span, Option<u16>)>,
    ) -> Option<Diagnostic> {
        let vms: Vec<_> = vms.collect();
        let sizes: Vec<u64> = vms.iter().map(|(size, ..)| size.0).collect();
        let afters: Vec<Option<u16>> = vms.iter().map(|(.., after)| *after).collect();
        let needed = Size(peak(&sizes, &afters));
        let total = Size(needed.0.saturating_add(HYPERVISOR_MEMORY.0).saturating_add(images.0));
        let memory = self.size;
        if total <= memory {
            return None;
        }
        let round = total.align_up(256 << 20);
        let title = format!("the VMs need {needed} at one time, too much for a board of {memory}");
        let note = match images.align_up(1 << 20) {
            Size(0) => format!("the hypervisor takes {HYPERVISOR_MEMORY} for itself"),
            images => {
                format!("the hypervisor takes {HYPERVISOR_MEMORY} for itself, the images take {images}")
            }
        };
        let wrong = Diagnostic::new(Code::BoardTooSmall, title).note(note);
        let wrong = match &self.origin {
            Origin::Written(span) => wrong.label(span.clone(), "the board's memory").fix(
                "give the board more, or the VMs less",
                span.clone(),
                format!("\"{round}\""),
            ),
            Origin::Default | Origin::Assumed => {
                wrong.help(format!("write `memory = \"{round}\"` in a section [board], or give the VMs less"))
            }
            Origin::Option(option) => wrong.help(format!("say `{option} {round}`, or give the VMs less")),
        };
        let places = vms.into_iter().map(|(size, span, _)| (span, size)).take(LABELS);
        Some(places.fold(wrong, |wrong, (span, size)| wrong.label(span, size.to_string())))
    }
}

/// The most memory in use at one time.
///
/// A VM and those created after its end never run together, so they form a tree: its need is the greater of
/// its root's and the sum of its branches'.
fn peak(sizes: &[u64], afters: &[Option<u16>]) -> u64 {
    let mut branches = vec![0u64; sizes.len()];
    let mut waiting = vec![0usize; sizes.len()];
    for after in afters.iter().flatten() {
        waiting[usize::from(*after)] += 1;
    }
    let mut ready: Vec<usize> = (0..sizes.len()).filter(|index| waiting[*index] == 0).collect();
    let mut total = 0u64;
    while let Some(index) = ready.pop() {
        let need = sizes[index].max(branches[index]);
        let Some(after) = afters[index].map(usize::from) else {
            total = total.saturating_add(need);
            continue;
        };
        branches[after] = branches[after].saturating_add(need);
        waiting[after] -= 1;
        if waiting[after] == 0 {
            ready.push(after);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::peak;

    #[test]
    fn those_that_follow_one_another_share_memory() {
        assert_eq!(peak(&[], &[]), 0);
        assert_eq!(peak(&[5, 7], &[None, None]), 12);
        assert_eq!(peak(&[5, 7, 3], &[None, Some(0), Some(1)]), 7);
        assert_eq!(peak(&[5, 4, 3], &[None, Some(0), Some(0)]), 7);
        assert_eq!(peak(&[9, 4, 3], &[None, Some(0), Some(0)]), 9);
    }

    /// Whether one of the two is created only after the other's end.
    fn follow(a: usize, b: usize, afters: &[Option<u16>]) -> bool {
        let chain = |from| std::iter::successors(Some(from), |at: &usize| afters[*at].map(usize::from));
        chain(a).any(|at| at == b) || chain(b).any(|at| at == a)
    }

    proptest! {
        /// Against all sets of VMs that may run together.
        #[test]
        fn the_peak_is_the_heaviest_set_that_may_run_together(
            vms in prop::collection::vec((0u64..100, any::<prop::sample::Index>(), any::<bool>()), 1..9)
        ) {
            let sizes: Vec<u64> = vms.iter().map(|vm| vm.0).collect();
            let afters: Vec<Option<u16>> = vms
                .iter()
                .enumerate()
                .map(|(at, vm)| (at > 0 && vm.2).then(|| vm.1.index(at) as u16))
                .collect();
            let heaviest = (0..1u32 << sizes.len())
                .filter_map(|set| {
                    let members: Vec<usize> = (0..sizes.len()).filter(|at| set >> at & 1 != 0).collect();
                    let together =
                        members.iter().all(|a| members.iter().all(|b| a == b || !follow(*a, *b, &afters)));
                    together.then(|| members.iter().map(|at| sizes[*at]).sum::<u64>())
                })
                .max();
            prop_assert_eq!(Some(peak(&sizes, &afters)), heaviest);
        }
    }
}
