// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that VMs share: who is a member of what.
//!
//! Members are numbered as they are listed, those who may write before those who only read.

use std::collections::BTreeMap;

use toml::Spanned;
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_wire::bundle::channel::{ChannelAccess, MAX_CHANNELS, MAX_MEMBERS, MAX_SIZE, Membership};

use super::cross_check::no_such_vm;
use super::file;
use super::io::{is_name, unlike_those_before};
use super::resolve::{PartialVm, size};
use super::structure::{PresentKeys, Wholeness};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};
use crate::values::Size;

/// A piece of memory that VMs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Its size: whole pages.
    pub size: Size,
    /// Its members by their index among the VMs, in the order of their numbers.
    pub members: Vec<(u16, ChannelAccess)>,
}

/// The channels, as far as they make sense.
pub(super) fn channels(
    sections: Vec<Spanned<file::Channel>>,
    vms: &[PartialVm],
    present: &PresentKeys,
    diagnostics: &mut Diagnostics,
) -> Vec<Channel> {
    let mut channels: Vec<(Span, Channel)> = Vec::new();
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for (index, section) in sections.into_iter().enumerate() {
        let head = section.span();
        let section = section.into_inner();
        let name = section.name.filter(|name| is_name(name, 63, "channel", diagnostics));
        if let Some(name) = &name {
            unlike_those_before(name, channels.iter().map(|(span, it)| (&it.name, span)), diagnostics);
        }
        let size = section
            .size
            .and_then(|text| size(&text, diagnostics).filter(|size| is_whole(*size, &text, diagnostics)));
        let writers = section.members.into_iter().flat_map(Spanned::into_inner);
        let readers = section.readers.into_iter().flat_map(Spanned::into_inner);
        let listed = writers
            .map(|name| (name, ChannelAccess::ReadWrite))
            .chain(readers.map(|name| (name, ChannelAccess::ReadOnly)));
        let members = members(listed, vms, &head, present.members_of(index), diagnostics);
        for (vm, _, span) in &members {
            let count = counts.entry(*vm).or_default();
            *count += 1;
            if *count == MAX_CHANNELS + 1 {
                let title = format!("a VM is a member of {MAX_CHANNELS} channels at most");
                diagnostics.push(
                    Diagnostic::new(Code::TooManyChannels, title).label(span.clone(), "this is one more"),
                );
            }
        }
        let members = members.into_iter().map(|(vm, access, _)| (vm, access)).collect();
        let (Some(name), Some(size)) = (name, size) else { continue };
        channels.push((name.span(), Channel { name: name.into_inner(), size, members }));
    }
    channels.into_iter().map(|(_, channel)| channel).collect()
}

/// The ends of channels that a VM has.
pub(super) fn memberships(channels: &[Channel], vm: usize) -> Vec<Membership> {
    let ends = (0..).zip(channels).flat_map(|(index, channel): (u16, &Channel)| {
        let members = channel.members.len() as u8;
        (0..).zip(&channel.members).filter_map(move |(number, (member, access))| {
            let is_its = usize::from(*member) == vm;
            is_its.then_some(Membership { channel: index, number, members, access: *access })
        })
    });
    ends.collect()
}

/// Whether a size is that of a channel.
fn is_whole(size: Size, text: &Spanned<String>, diagnostics: &mut Diagnostics) -> bool {
    let (problem, mended) = if size.0 == 0 {
        ("a channel has a page at least", Size(PAGE_SIZE))
    } else if size.0 > MAX_SIZE {
        ("a channel has at most 16MiB", Size(MAX_SIZE))
    } else if !size.0.is_multiple_of(PAGE_SIZE) {
        ("a channel's size is a multiple of 4KiB", size.align_up(PAGE_SIZE))
    } else {
        return true;
    };
    let wrong = Diagnostic::new(Code::ChannelSize, problem).label(text.span(), "");
    diagnostics.push(wrong.fix(format!("write {mended}"), text.span(), format!("\"{mended}\"")));
    false
}

/// The members that names mean.
fn members(
    listed: impl Iterator<Item = (Spanned<String>, ChannelAccess)>,
    vms: &[PartialVm],
    head: &Span,
    wholeness: Wholeness,
    diagnostics: &mut Diagnostics,
) -> Vec<(u16, ChannelAccess, Span)> {
    let mut members: Vec<(u16, ChannelAccess, Span)> = Vec::new();
    let mut wrong: Vec<Diagnostic> = Vec::new();
    for (name, access) in listed {
        let span = name.span();
        let Some(vm) = vms.iter().position(|vm| vm.called() == name.get_ref().as_str()) else {
            // One that is a member already was not meant.
            let is_new = |vm: &usize| members.iter().all(|(it, ..)| usize::from(*it) != *vm);
            let others = (0..vms.len()).filter(is_new).filter_map(|vm| vms.get(vm)).map(PartialVm::called);
            wrong.push(no_such_vm(&name, others));
            continue;
        };
        if let Some((.., first)) = members.iter().find(|(it, ..)| usize::from(*it) == vm) {
            let title = format!("`{}` is a member already", name.get_ref());
            wrong.push(
                Diagnostic::new(Code::ChannelMembers, title)
                    .label(span, "take one of them out")
                    .label(first.clone(), "first here"),
            );
            continue;
        }
        members.push((vm as u16, access, span));
    }
    // A name that means nothing may be the one that is missing.
    if wrong.is_empty() && wholeness == Wholeness::Whole {
        wrong.extend(check_members(&members, head));
    }
    wrong.into_iter().for_each(|wrong| diagnostics.push(wrong));
    members
}

/// What is wrong with the members as a whole.
fn check_members(members: &[(u16, ChannelAccess, Span)], head: &Span) -> Option<Diagnostic> {
    let wrong = |title: String, span: &Span, why: &str| {
        Diagnostic::new(Code::ChannelMembers, title).label(span.clone(), why)
    };
    if let Some((.., span)) = members.get(MAX_MEMBERS) {
        let title = format!("a channel has {MAX_MEMBERS} members at most");
        Some(wrong(title, span, "this is one more"))
    } else if members.len() < 2 {
        let title = "a channel has two members at least".to_owned();
        Some(wrong(title, head, "").help("name VMs in `members` and `readers`"))
    } else if members.iter().all(|(_, access, _)| *access == ChannelAccess::ReadOnly) {
        let title = "nobody may write to this channel".to_owned();
        Some(wrong(title, head, "").help("name who may in `members`"))
    } else {
        None
    }
}
