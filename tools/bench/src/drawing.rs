// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as a bar chart: for each operation a group of bars, Vambrace's first, and a mark where its target is.
//!
//! The scale is logarithmic, since systems differ by orders of magnitude: each line is ten times the one before, and no bar
//! is cut. What makes, resets and ends whole machines takes thousands of times as long and is left to the table.

use super::others::{OTHERS, Other};
use super::text::grouped;
use super::{PROCESSOR, Report, Row};
use vambrace_svg::{Anchor, Font, Rect, Svg, width};

const STYLE: &str = "\
.own { font-size: 11.5px; font-weight: bold; }
.vambrace { fill: #2f6fab; }
.native { fill: #566170; }
.other0 { fill: #e3b36b; }
.other1 { fill: #d58a97; }
.other2 { fill: #9dc792; }
.other3 { fill: #b79bce; }
.grid { stroke: #dfe3e8; }
.axis { stroke: #7d8792; }
.target { stroke: #b23a54; stroke-width: 2; }
";

const MARGIN: f64 = 28.0;
/// Where bars begin.
const LEFT: f64 = 330.0;
const TOP: f64 = 112.0;
/// Length of the scale in pixels.
const LENGTH: f64 = 600.0;
/// It begins at one instruction, and has so many powers of ten.
const DECADES: i32 = 5;
const BAR: f64 = 13.0;
const BETWEEN: f64 = 12.0;
/// From this many instructions on an operation is not drawn.
const TOO_MANY: u64 = 20_000;

/// A bar.
struct Bar {
    class: String,
    figure: u64,
}

impl Report {
    /// The picture, as SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = Svg::new("What a VM's operations cost, in instructions", STYLE);
        svg.text((MARGIN, 36.0), Anchor::Start, "heading", "What a VM's operations cost, in instructions");
        let how = format!(
            "{}, QEMU {}, instructions counted; each line is ten times the one before",
            self.cpu, self.qemu
        );
        svg.text((MARGIN, 58.0), Anchor::Start, "small", &how);
        self.legend(&mut svg);

        let groups: Vec<(&Row, Vec<Bar>)> = self
            .operations
            .iter()
            .filter(|row| row.vambrace.median < TOO_MANY)
            .map(|row| (row, self.bars(row)))
            .collect();
        let height = |bars: &[Bar]| bars.len() as f64 * BAR + BETWEEN;
        let bottom = TOP + groups.iter().map(|(_, bars)| height(bars)).sum::<f64>();
        grid(&mut svg, bottom);
        let mut y = TOP;
        for (row, bars) in &groups {
            group(&mut svg, row, bars, y);
            y += height(bars);
        }
        svg.line((LEFT, TOP - 8.0), (LEFT, bottom), "axis");
        svg.finish(LEFT + LENGTH + 90.0 + MARGIN, bottom + 34.0)
    }

    /// Others were measured on one processor only.
    fn has_others(&self) -> bool {
        self.cpu == PROCESSOR
    }

    fn bars(&self, row: &Row) -> Vec<Bar> {
        let mut bars = vec![Bar { class: "vambrace".to_owned(), figure: row.vambrace.median }];
        if self.has_others() {
            bars.extend(OTHERS.iter().enumerate().filter_map(|(index, other)| {
                Some(Bar { class: format!("other{index}"), figure: self.figure_of(other, &row.name)? })
            }));
        }
        bars.extend(row.native.map(|figure| Bar { class: "native".to_owned(), figure }));
        bars
    }

    /// What an operation takes elsewhere: as was measured in the same run, else as was measured once.
    fn figure_of(&self, other: &Other, operation: &str) -> Option<u64> {
        let measured = self.against.iter().find(|against| Some(against.name) == other.rival);
        match measured {
            Some(against) => against.figures.get(operation).map(|figures| figures.median),
            None => other.figure(operation),
        }
    }

    fn legend(&self, svg: &mut Svg) {
        let mut entries = vec![("vambrace".to_owned(), "Vambrace")];
        if self.has_others() {
            entries.extend(
                OTHERS.iter().enumerate().map(|(index, other)| (format!("other{index}"), other.name)),
            );
        }
        entries.push(("native".to_owned(), "without a hypervisor"));
        let mut x = MARGIN;
        let y = 82.0;
        for (class, text) in entries {
            svg.rect(Rect { x, y: y - 10.0, width: 18.0, height: 12.0 }, &class);
            svg.text((x + 24.0, y), Anchor::Start, "small", text);
            x += 24.0 + width(text, Font::Small) + 14.0;
        }
        svg.line((x + 4.0, y - 11.0), (x + 4.0, y + 3.0), "target");
        svg.text((x + 12.0, y), Anchor::Start, "small", "target");
    }
}

/// Where a figure is on the scale.
fn position(figure: u64) -> f64 {
    LEFT + LENGTH * (figure.max(1) as f64).log10() / f64::from(DECADES)
}

fn grid(svg: &mut Svg, bottom: f64) {
    let marks = std::iter::successors(Some(1), |mark: &u64| mark.checked_mul(10));
    for mark in marks.take_while(|mark| position(*mark) <= LEFT + LENGTH + 1.0) {
        let x = position(mark);
        svg.line((x, TOP - 8.0), (x, bottom), "grid");
        svg.text((x, bottom + 18.0), Anchor::Middle, "small", &grouped(mark));
    }
}

fn group(svg: &mut Svg, row: &Row, bars: &[Bar], top: f64) {
    let middle = top + bars.len() as f64 * BAR / 2.0;
    svg.text((LEFT - 12.0, middle + 4.0), Anchor::End, "", &row.what);
    for (index, bar) in bars.iter().enumerate() {
        let y = top + index as f64 * BAR;
        let end = position(bar.figure);
        let length = (end - LEFT).max(1.0);
        svg.rect(Rect { x: LEFT, y: y + 1.0, width: length, height: BAR - 2.0 }, &bar.class);
        let figure = grouped(bar.figure);
        let (class, font) = if index == 0 { ("own", Font::Bold) } else { ("small", Font::Small) };
        // Vambrace's figure makes room for its target's mark.
        let mark = row.target.map(position).filter(|_| index == 0).unwrap_or(end);
        let is_near = mark > end && mark < end + 8.0 + width(&figure, font);
        let x = if is_near { mark } else { end };
        svg.text((x + 8.0, y + BAR - 2.5), Anchor::Start, class, &figure);
    }
    if let Some(x) = row.target.map(position) {
        svg.line((x, top - 1.0), (x, top + BAR + 1.0), "target");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_power_of_ten_is_as_long_as_the_last() {
        let step = LENGTH / f64::from(DECADES);
        for (figure, decades) in [(0, 0.0), (1, 0.0), (10, 1.0), (1000, 3.0), (100_000, 5.0)] {
            assert!((position(figure) - LEFT - decades * step).abs() < 1e-6, "{figure}");
        }
    }

    #[test]
    fn figures_that_differ_much_look_different() {
        let bar = |figure| position(figure) - LEFT;
        assert!(bar(52_431) > 1.4 * bar(2014) && bar(2014) > 1.7 * bar(73));
    }
}
