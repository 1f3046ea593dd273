// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both stages as the grid of textbooks: a row for each level of stage 1 and one for the address itself, a column for
//! each level of stage 2. The numbers are the order in which memory is read.

use vambrace_memory::walk::DescriptorKind;

use crate::walk::report::{DescriptorWords, Hex, Report, Stage2Walk, WalkOutcome, bytes};
use vambrace_svg::{Anchor, Rect, Svg};

const LABEL: f64 = 92.0;
const IPA: f64 = 138.0;
const CELL: f64 = 124.0;
const READ: f64 = 150.0;
const GAP: f64 = 20.0;
const HEIGHT: f64 = 46.0;
const STEP: f64 = HEIGHT + 24.0;

const HEADING: &str = "Every address of stage 1 is an IPA: stage 2 translates it before memory is read";
const HEADING_WIDTH: f64 = 870.0;

/// A row of the grid.
struct Row<'a> {
    label: String,
    walk: &'a Stage2Walk,
    /// What is read at the end of it: stage 1's descriptor. None for the address itself.
    descriptor: Option<&'a DescriptorWords>,
    is_output: bool,
}

/// Where the grid is, and what has been read so far.
struct Grid {
    x: f64,
    y: f64,
    first_level: i8,
    levels: i8,
    reads: u32,
    is_fault: bool,
}

impl Grid {
    fn cell(&self, level: i8) -> f64 {
        self.x + LABEL + IPA + GAP + f64::from(level - self.first_level) * (CELL + GAP)
    }

    fn read(&self) -> f64 {
        self.cell(self.first_level + self.levels)
    }

    /// The grid may be narrower than its heading.
    fn right(&self) -> f64 {
        (self.read() + READ).max(self.x + HEADING_WIDTH)
    }
}

/// Draws the grid from `(x, y)`; returns its right and bottom edges.
pub(super) fn draw(svg: &mut Svg, report: &Report, (x, y): (f64, f64)) -> (f64, f64) {
    let rows = rows(report);
    if rows.is_empty() {
        return (x - 44.0, y);
    }
    let first_level = report.stage2.as_ref().map_or(0, |stage| stage.start_level);
    let is_fault = matches!(&report.outcome, WalkOutcome::Fault(fault) if fault.stage == 2);
    let mut grid = Grid { x, y: y + 60.0, first_level, levels: 4 - first_level, reads: 0, is_fault };
    heading(svg, &grid, y);
    for (number, row) in rows.iter().enumerate() {
        let is_last = number + 1 == rows.len();
        draw_row(svg, &mut grid, row, is_last);
        if !is_last {
            back(svg, &grid);
            grid.y += STEP;
        }
    }
    let bottom = grid.y + HEIGHT + 26.0;
    let then = match &report.outcome {
        WalkOutcome::Translated(_) => "before the access itself",
        WalkOutcome::Fault(_) => "before the fault",
    };
    let plural = if grid.reads == 1 { "" } else { "s" };
    let reads = format!("{} memory read{plural} {then}", grid.reads);
    svg.text((x, bottom), Anchor::Start, "tiny", &reads);
    (grid.right(), bottom)
}

fn rows(report: &Report) -> Vec<Row<'_>> {
    let tables = report.levels.iter().filter_map(|level| {
        let label = format!("S1 level {}", level.level);
        let descriptor = level.descriptor.as_ref();
        level.stage2.as_ref().map(|walk| Row { label, walk, descriptor, is_output: false })
    });
    let output = report.output.as_ref().map(|walk| Row {
        label: "the access".to_owned(),
        walk,
        descriptor: None,
        is_output: true,
    });
    tables.chain(output).collect()
}

fn heading(svg: &mut Svg, grid: &Grid, y: f64) {
    svg.text((grid.x, y + 14.0), Anchor::Start, "heading", HEADING);
    let head = grid.y - 12.0;
    svg.text((grid.x + LABEL + IPA / 2.0, head), Anchor::Middle, "label", "IPA");
    for level in grid.first_level..grid.first_level + grid.levels {
        let middle = grid.cell(level) + CELL / 2.0;
        svg.text((middle, head), Anchor::Middle, "label", &format!("S2 level {level}"));
    }
    svg.text((grid.read() + READ / 2.0, head), Anchor::Middle, "label", "PA");
}

fn draw_row(svg: &mut Svg, grid: &mut Grid, row: &Row<'_>, is_last: bool) {
    let (y, middle) = (grid.y, grid.y + HEIGHT / 2.0);
    svg.text((grid.x, middle + 5.0), Anchor::Start, "label", &row.label);
    let ipa = Rect { x: grid.x + LABEL, y, width: IPA, height: HEIGHT };
    svg.rect(ipa, "ipa");
    svg.text((ipa.x + IPA / 2.0, middle + 5.0), Anchor::Middle, "mono", &row.walk.ipa.to_string());
    let mut right = ipa.right();
    let stops_here = is_last && grid.is_fault;
    let count = row.walk.descriptors.len();
    for (number, descriptor) in row.walk.descriptors.iter().enumerate() {
        grid.reads += 1;
        let cell = Rect { x: grid.cell(descriptor.level), y, width: CELL, height: HEIGHT };
        let refuses = stops_here && number + 1 == count;
        svg.arrow(&[(right, middle), (cell.x, middle)], "flow");
        svg.rect(cell, if refuses { "bad" } else { "second" });
        let order = grid.reads.to_string();
        inside(svg, cell, ("order", &order), &kind(descriptor), descriptor.address);
        right = cell.right();
    }
    if count == 0 {
        let cell = Rect { x: grid.cell(grid.first_level), y, width: CELL, height: HEIGHT };
        svg.arrow(&[(right, middle), (cell.x, middle)], "flow");
        svg.rect(cell, "bad");
        svg.text((cell.x + CELL / 2.0, middle + 5.0), Anchor::Middle, "alarm", "no walk");
    }
    if let Some(pa) = row.walk.pa {
        let cell = Rect { x: grid.read(), y, width: READ, height: HEIGHT };
        svg.arrow(&[(right, middle), (cell.x, middle)], "flow");
        read(svg, grid, row, cell, pa);
    } else if stops_here {
        let center = grid.read() + READ / 2.0;
        svg.text((center, middle + 5.0), Anchor::Middle, "alarm", "stage 2 fault");
    }
}

/// What is read at the end of a row.
fn read(svg: &mut Svg, grid: &mut Grid, row: &Row<'_>, cell: Rect, pa: Hex) {
    if let Some(descriptor) = row.descriptor {
        grid.reads += 1;
        svg.rect(cell, "row");
        let order = grid.reads.to_string();
        inside(svg, cell, ("order1", &order), &format!("S1 {}", kind(descriptor)), pa);
    } else {
        let class = if row.is_output { "hit" } else { "bad" };
        svg.rect(cell, class);
        let middle = cell.x + READ / 2.0;
        svg.text((middle, cell.y + 19.0), Anchor::Middle, "label", "data or code");
        svg.text((middle, cell.y + 37.0), Anchor::Middle, "mono", &pa.to_string());
    }
}

/// Order, kind and address.
fn inside(svg: &mut Svg, cell: Rect, (class, order): (&str, &str), kind: &str, address: Hex) {
    svg.text((cell.x + 8.0, cell.y + 18.0), Anchor::Start, class, order);
    svg.text((cell.x + cell.width / 2.0 + 8.0, cell.y + 18.0), Anchor::Middle, "tiny", kind);
    svg.text((cell.x + cell.width / 2.0, cell.y + 37.0), Anchor::Middle, "mono", &address.to_string());
}

fn kind(descriptor: &DescriptorWords) -> String {
    match (descriptor.kind, descriptor.size) {
        (DescriptorKind::Table, _) => "table".to_owned(),
        (DescriptorKind::Invalid, _) => "invalid".to_owned(),
        (DescriptorKind::Block | DescriptorKind::Page, size) => size.map(bytes).unwrap_or_default(),
    }
}

/// From the descriptor at a row's end to the IPA of the next row.
fn back(svg: &mut Svg, grid: &Grid) {
    let bend = grid.y + HEIGHT + (STEP - HEIGHT) / 2.0 - 3.0;
    let (from, to) = (grid.read() + READ / 2.0, grid.x + LABEL + IPA / 2.0);
    let bottom = grid.y + HEIGHT;
    svg.arrow(&[(from, bottom), (from, bend), (to, bend), (to, grid.y + STEP)], "flow");
}
