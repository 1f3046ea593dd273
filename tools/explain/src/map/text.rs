// SPDX-License-Identifier: MIT OR Apache-2.0
//! The map for a terminal: a column of boxes for each address space, with the addresses beside the lines.

use std::fmt::Write as _;

use clap::builder::styling::{AnsiColor, Style};

use super::{Certainty, Map, PhysicalLocation, Region, RegionKind, about, rounded};
use crate::register::wrap;
use vambrace_manifest::Size;

/// Inside of a box.
const BOX: usize = 44;
/// Room for an address with its sign.
const ADDRESS: usize = 17;

/// One colour for each VM, again from the first when there are more.
const COLOURS: [AnsiColor; 5] =
    [AnsiColor::Cyan, AnsiColor::Green, AnsiColor::Yellow, AnsiColor::Magenta, AnsiColor::Blue];

impl Map {
    /// The drawing for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let heading = Style::new().bold();
        let mut text = String::new();
        for (index, vm) in self.vms.iter().enumerate() {
            let style = colour(index);
            let plural = if vm.vcpus == 1 { "" } else { "s" };
            let after =
                vm.after.as_ref().map(|after| format!(", after {after} has ended")).unwrap_or_default();
            let _ = writeln!(
                text,
                "{heading}VM {style}{}{style:#}{heading:#}, {} vCPU{plural}{after}: intermediate physical \
                 addresses",
                vm.name, vm.vcpus
            );
            column(&mut text, &vm.regions);
            text.push('\n');
        }
        let _ = writeln!(text, "{heading}Physical memory{heading:#}: {}", self.board);
        column(&mut text, &self.physical);
        text.push('\n');
        for note in &self.notes {
            text.push_str(&wrap(note, 0));
        }
        text
    }
}

fn colour(vm: usize) -> Style {
    COLOURS[vm % COLOURS.len()].on_default().bold()
}

fn style(kind: RegionKind) -> Style {
    match kind {
        RegionKind::Ram(vm) | RegionKind::Flash(vm) => colour(vm),
        RegionKind::Hypervisor => AnsiColor::Red.on_default(),
        RegionKind::Emulated | RegionKind::Device | RegionKind::Shared | RegionKind::Free => {
            Style::new().dimmed()
        }
    }
}

fn column(text: &mut String, regions: &[Region]) {
    let mut before: Option<&Region> = None;
    for region in regions {
        let joint = match before {
            None => "┌┐",
            Some(before) if before.end() == region.start => "├┤",
            Some(before) => {
                line(text, before.end(), Certainty::Exact, "└┘");
                let _ = writeln!(text, "{:ADDRESS$} {:>width$}", "", "⋮", width = BOX / 2 + 1);
                "┌┐"
            }
        };
        line(text, region.start, region.placed, joint);
        inside(text, region);
        before = Some(region);
    }
    if let Some(last) = before {
        // What is followed by nothing ends at a fixed place: a device, a VM's RAM, the board's.
        line(text, last.end(), Certainty::Exact, "└┘");
    }
}

/// A horizontal line with the address that it stands for.
fn line(text: &mut String, at: u64, certainty: Certainty, corners: &str) {
    let mut corners = corners.chars();
    let (left, right) = (corners.next().unwrap_or(' '), corners.next().unwrap_or(' '));
    let at = about(at, certainty);
    let _ = writeln!(text, "{at:>ADDRESS$} {left}{}{right}", "─".repeat(BOX));
}

/// A region's own lines: one for a few KiB, up to three for GiBs.
fn inside(text: &mut String, region: &Region) {
    let style = style(region.kind);
    let size = region.size_words();
    let room = BOX - 3 - size.len();
    let what: String = region.what.chars().take(room).collect();
    let remarks = remarks(region);
    let height: u32 = match region.size {
        ..0x1000_0000 => 0,
        0x1000_0000..0x4000_0000 => 1,
        _ => 2,
    };
    let (above, below) = (height as usize / 2, height.div_ceil(2) as usize);
    let empty = |text: &mut String, remark: &str| {
        let _ = writeln!(text, "{:ADDRESS$} │{:BOX$}│{remark}", "", "");
    };
    (0..above).for_each(|_| empty(text, ""));
    let remark = |index: usize| remarks.get(index).map_or("", |remark| remark.as_str());
    let _ = writeln!(text, "{:ADDRESS$} │ {style}{what:room$}{style:#} {size} │{}", "", remark(0));
    (1..remarks.len().max(below + 1)).for_each(|index| empty(text, remark(index)));
}

/// What stands beside a region: where it lies, piece by piece, or why it lies nowhere.
fn remarks(region: &Region) -> Vec<String> {
    let style = style(region.kind);
    let at = |place: &PhysicalLocation| {
        let part = match place.certainty {
            _ if place.size >= region.size => String::new(),
            Certainty::About if region.lies_at.len() > 1 => format!("~{} ", rounded(place.size)),
            _ => format!("{} ", Size(place.size)),
        };
        format!("  {style}──►{style:#} {part}at PA {}", about(place.start, place.certainty))
    };
    match region.kind {
        _ if !region.lies_at.is_empty() => region.lies_at.iter().map(at).collect(),
        RegionKind::Emulated => vec!["  traps to EL2".to_owned()],
        RegionKind::Shared => vec!["  shared with other VMs".to_owned()],
        _ => Vec::new(),
    }
}
