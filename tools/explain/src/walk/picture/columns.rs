// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage 1: a column for each level, the VA's fields on top of them.

use vambrace_memory::walk::DescriptorKind;

use crate::walk::report::{DescriptorWords, Report, StageWords, WalkLevel, WalkOutcome, bytes};
use vambrace_svg::{Anchor, Rect, Svg};

/// From one column's left edge to the next's.
const PITCH: f64 = 226.0;
/// The width of a table.
const WIDTH: f64 = 180.0;
/// The bits above the fields, if any are drawn.
const HEAD: f64 = 130.0;
const BAR: f64 = 44.0;
/// The height of a table, and of its row that is read.
const TABLE: f64 = 148.0;
const ROW: f64 = 42.0;

/// Where a column of the picture begins: its left edge, the bar above it, and its table.
struct ColumnOrigin {
    x: f64,
    bar: f64,
    table: f64,
}

/// Draws the columns from `(x, y)`; returns their right and bottom edges.
pub(super) fn draw(svg: &mut Svg, report: &Report, (x, y): (f64, f64)) -> (f64, f64) {
    let Some(stage) = report.stage1.as_ref().filter(|_| !report.levels.is_empty()) else {
        return (x, y - 20.0);
    };
    let head = Rect { x, y: y + 18.0, width: HEAD, height: BAR };
    if stage.input_bits < 64 {
        bar(svg, head, "rest", (63, stage.input_bits), report.va.0);
    }
    let mut origin = ColumnOrigin { x: x + HEAD, bar: y + 18.0, table: y + 18.0 + BAR + 66.0 };
    let top = origin.table + 5.0;
    svg.text((x, top + 4.0), Anchor::Start, "label", stage.register);
    // What leads to the next table: the register, then the descriptor before.
    let mut from = (x + 96.0, top);
    for level in &report.levels {
        let row = column(svg, report, stage, level, &origin);
        lead(svg, from, &origin);
        from = (origin.x + WIDTH + MARGIN, row);
        origin.x += PITCH;
    }
    end(svg, report, stage, from, &origin);
    (origin.x + PITCH, origin.table + TABLE)
}

/// The column after the last table: the page or block, or what is left of the VA.
fn end(svg: &mut Svg, report: &Report, stage: &StageWords, from: (f64, f64), origin: &ColumnOrigin) {
    let Some(last) = report.levels.last() else { return };
    let (_, low) = bits(stage, last.level);
    if low > 0 {
        let rect = Rect { x: origin.x, y: origin.bar, width: PITCH, height: BAR };
        bar(svg, rect, "rest", (low - 1, 0), report.va.0);
    }
    match (&report.outcome, last.descriptor.as_ref()) {
        (WalkOutcome::Fault(fault), _) if fault.stage == 1 => {
            svg.text((from.0 + 14.0, from.1 + 5.0), Anchor::Start, "alarm", &fault.kind);
        }
        (_, Some(leaf)) if leaf.size.is_some() => {
            target(svg, report, leaf, origin);
            lead(svg, from, origin);
        }
        _ => {}
    }
}

/// The bits of the VA that index a table of `level`.
fn bits(stage: &StageWords, level: i8) -> (u32, u32) {
    let page = stage.granule.trailing_zeros();
    let low = page + (page - 3) * u32::try_from(3 - level).unwrap_or(0);
    let high = if level == stage.start_level { stage.input_bits } else { low + page - 3 };
    (high - 1, low)
}

/// Left of a table within its pitch.
const MARGIN: f64 = 30.0;

/// One field of the VA.
fn bar(svg: &mut Svg, rect: Rect, class: &str, (high, low): (u32, u32), va: u64) {
    svg.rect(rect, class);
    let middle = rect.x + rect.width / 2.0;
    let range = if high == low { high.to_string() } else { format!("{high}:{low}") };
    svg.text((middle, rect.y - 6.0), Anchor::Middle, "mono", &range);
    let value = va >> low & u64::MAX >> (63 - (high - low));
    svg.text((middle, rect.y + 28.0), Anchor::Middle, "value", &format!("{value:#x}"));
}

/// One table; returns the middle of the row that is read.
fn column(
    svg: &mut Svg,
    report: &Report,
    stage: &StageWords,
    level: &WalkLevel,
    origin: &ColumnOrigin,
) -> f64 {
    let x = origin.x + MARGIN;
    let table = Rect { x, y: origin.table, width: WIDTH, height: TABLE };
    let middle = x + WIDTH / 2.0;
    let heading = format!("level {} table", level.level);
    svg.text((middle, origin.table - 30.0), Anchor::Middle, "label", &heading);
    let field = Rect { x: origin.x, y: origin.bar, width: PITCH, height: BAR };
    bar(svg, field, "field", bits(stage, level.level), report.va.0);
    let Some(descriptor) = &level.descriptor else { return unread(svg, report, origin, table) };
    svg.text((middle, origin.table - 12.0), Anchor::Middle, "mono", &format!("IPA {}", descriptor.table));
    svg.rect(table, "table");
    let entries = 1_u64 << (descriptor.input_bits.0 - descriptor.input_bits.1 + 1);
    let share = descriptor.index as f64 / (entries.max(2) - 1) as f64;
    let row = Rect { x, y: origin.table + share * (TABLE - ROW), width: WIDTH, height: ROW };
    let is_last = report.levels.last().is_some_and(|last| last.level == level.level);
    let fault = is_last && matches!(&report.outcome, WalkOutcome::Fault(fault) if fault.stage == 1);
    svg.rect(row, if fault { "bad" } else { "row" });
    let what = match descriptor.kind {
        DescriptorKind::Table => format!("[{:#x}] table", descriptor.index),
        DescriptorKind::Block => format!("[{:#x}] block", descriptor.index),
        DescriptorKind::Page => format!("[{:#x}] page", descriptor.index),
        DescriptorKind::Invalid => format!("[{:#x}] invalid", descriptor.index),
    };
    svg.text((middle, row.y + 17.0), Anchor::Middle, "label", &what);
    svg.text((middle, row.y + 34.0), Anchor::Middle, "mono", &format!("{:#018x}", descriptor.value.0));
    let height = row.y + ROW / 2.0;
    let down = origin.x + 15.0;
    svg.arrow(&[(down, origin.bar + BAR), (down, height), (x, height)], "index");
    height
}

/// A table that stage 2 does not lead to.
fn unread(svg: &mut Svg, report: &Report, origin: &ColumnOrigin, table: Rect) -> f64 {
    let middle = table.x + WIDTH / 2.0;
    let before = report.levels.iter().filter_map(|level| level.descriptor.as_ref()).next_back();
    let root = report.stage1.as_ref().map(|stage| stage.root);
    if let Some(ipa) = before.map_or(root, |descriptor| descriptor.output) {
        svg.text((middle, origin.table - 12.0), Anchor::Middle, "mono", &format!("IPA {ipa}"));
    }
    svg.rect(table, "bad");
    let center = table.y + TABLE / 2.0;
    svg.text((middle, center - 4.0), Anchor::Middle, "alarm", "cannot be read:");
    svg.text((middle, center + 15.0), Anchor::Middle, "alarm", "stage 2 refuses");
    center
}

/// The page or block at the end.
fn target(svg: &mut Svg, report: &Report, leaf: &DescriptorWords, origin: &ColumnOrigin) {
    let low = leaf.input_bits.1;
    let x = origin.x + MARGIN;
    let middle = x + WIDTH / 2.0;
    let size = leaf.size.map(bytes).unwrap_or_default();
    let kind = if leaf.kind == DescriptorKind::Page { "page" } else { "block" };
    svg.text((middle, origin.table - 30.0), Anchor::Middle, "label", &format!("{kind} of {size}"));
    if let Some(output) = leaf.output {
        svg.text((middle, origin.table - 12.0), Anchor::Middle, "mono", &format!("IPA {output}"));
    }
    svg.rect(Rect { x, y: origin.table, width: WIDTH, height: TABLE }, "page");
    let offset = report.va.0 & ((1 << low) - 1);
    let share = offset as f64 / (1_u64 << low) as f64;
    let row = Rect { x, y: origin.table + share * (TABLE - ROW), width: WIDTH, height: ROW };
    svg.rect(row, "hit");
    svg.text((middle, row.y + 26.0), Anchor::Middle, "mono", &format!("+ {offset:#x}"));
    let height = row.y + ROW / 2.0;
    let down = origin.x + 15.0;
    svg.arrow(&[(down, origin.bar + BAR), (down, height), (x, height)], "index");
}

/// From a descriptor to what it leads to.
fn lead(svg: &mut Svg, (x, y): (f64, f64), origin: &ColumnOrigin) {
    let bend = origin.x + 5.0;
    let top = origin.table + 5.0;
    svg.arrow(&[(x, y), (bend, y), (bend, top), (origin.x + MARGIN, top)], "flow");
}
