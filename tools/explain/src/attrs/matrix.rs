// SPDX-License-Identifier: MIT OR Apache-2.0
//! All combinations at once: a row for each memory type of stage 1, a column for each of stage 2.

use std::fmt::Write as _;

use serde::Serialize;
use vambrace_memory::attributes::{
    CacheControl, Cacheability, MemoryType, Shareability, Stage2Encoding, Stage2Type, combine,
};

use super::{Tint, names};
use vambrace_svg::{Anchor, Rect, Svg};

/// The table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// Whether `HCR_EL2.FWB` is set.
    pub fwb: bool,
    /// What stage 2 asks for, a column each.
    pub columns: Vec<String>,
    /// What stage 1 asks for, a row each.
    pub rows: Vec<Row>,
    #[serde(skip)]
    stage2: Vec<Stage2Type>,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What stage 1 asks for.
    pub stage1: String,
    /// What comes together with each of the columns.
    pub cells: Vec<Cell>,
    #[serde(skip)]
    memory: MemoryType,
}

/// A cell of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The memory type of both together.
    pub memory: String,
    /// Why.
    pub rule: String,
    #[serde(skip)]
    combined: MemoryType,
}

impl Matrix {
    /// Asks the model for every pair.
    #[must_use]
    pub fn new(encoding: Stage2Encoding) -> Self {
        let stage2 = names::stage2_types(encoding);
        let rows = names::memory_types().map(|memory| Row::new(memory, &stage2)).collect();
        let columns = stage2.iter().map(|memory| names::stage2_name(*memory)).collect();
        Self { fwb: encoding == Stage2Encoding::Forcing, columns, rows, stage2 }
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n{:>9} ", self.title(), "");
        for memory in &self.stage2 {
            let _ = write!(text, "{:>7}", short_stage2(*memory));
        }
        text.push_str("  < stage 2\n");
        for row in &self.rows {
            let style = Tint::of(row.memory).style();
            let _ = write!(text, "{style}{:>9}{style:#} ", short(row.memory));
            for cell in &row.cells {
                let style = Tint::of(cell.combined).style();
                let _ = write!(text, "{style}{:>7}{style:#}", short(cell.combined));
            }
            text.push('\n');
        }
        text.push_str("  ^ stage 1\n\n");
        text.push_str(
            "nGnRnE, nGnRE, nGRE, GRE: Device. NC, WT, WB: Normal Non-cacheable, Write-Through, Write-Back; \
             inner/outer\nwhere they differ. `vambrace explain attrs S1 S2` tells the rule behind a cell.\n",
        );
        text
    }

    fn title(&self) -> String {
        let fwb = u8::from(self.fwb);
        format!("Memory types of stage 1 and stage 2 together, HCR_EL2.FWB = {fwb}")
    }

    /// As a picture.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = Svg::new(&self.title(), STYLE);
        let (left, top) = (96.0, 118.0);
        let right = left + CELL.0 * self.stage2.len() as f64;
        let bottom = top + CELL.1 * self.rows.len() as f64;
        svg.text((24.0, 36.0), Anchor::Start, "heading", &self.title());
        svg.text((f64::midpoint(left, right), 70.0), Anchor::Middle, "label", "stage 2 asks for (MemAttr)");
        svg.text((24.0, 98.0), Anchor::Start, "label", "stage 1");
        for (column, memory) in self.stage2.iter().enumerate() {
            let x = left + CELL.0 * (column as f64 + 0.5);
            svg.text((x, 98.0), Anchor::Middle, "head", &short_stage2(*memory));
        }
        for (number, row) in self.rows.iter().enumerate() {
            let y = top + CELL.1 * number as f64;
            svg.text((left - 12.0, y + 21.0), Anchor::End, "head", &short(row.memory));
            for (column, cell) in row.cells.iter().enumerate() {
                let rect =
                    Rect { x: left + CELL.0 * column as f64, y, width: CELL.0 - 4.0, height: CELL.1 - 4.0 };
                svg.rect(rect, class(Tint::of(cell.combined)));
                let middle = (rect.x + rect.width / 2.0, y + 20.0);
                svg.text(middle, Anchor::Middle, "cell", &short(cell.combined));
            }
        }
        let encoding = if self.fwb { Stage2Encoding::Forcing } else { Stage2Encoding::Combining };
        legend(&mut svg, encoding, (24.0, bottom + 18.0));
        svg.finish((right + 24.0).max(LEGEND_WIDTH), bottom + 94.0)
    }
}

impl Row {
    fn new(memory: MemoryType, stage2: &[Stage2Type]) -> Self {
        let ish = Shareability::InnerShareable;
        let cell = |theirs: &Stage2Type| {
            let together = combine((memory, ish), (*theirs, ish), CacheControl::AsMapped);
            Cell {
                memory: together.memory.to_string(),
                rule: together.memory_rule.to_string(),
                combined: together.memory,
            }
        };
        Self { stage1: names::name(memory), cells: stage2.iter().map(cell).collect(), memory }
    }
}

/// Width and height of a cell, the gap included.
const CELL: (f64, f64) = (74.0, 36.0);

const LEGEND_WIDTH: f64 = 810.0;

const STYLE: &str = "\
.head { font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 13px; font-weight: bold; }
.cell { font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 13px; }
.device { fill: #f4b6a6; }
.nc { fill: #f7e3a1; }
.wt { fill: #b5dff0; }
.wb { fill: #b9e3b4; }
.mixed { fill: #dcd3ef; }
";

fn legend(svg: &mut Svg, encoding: Stage2Encoding, (left, y): (f64, f64)) {
    let entries = [
        ("device", "Device", 100.0),
        ("nc", "NC: Normal Non-cacheable", 218.0),
        ("wt", "WT: Write-Through", 168.0),
        ("wb", "WB: Write-Back", 130.0),
        ("mixed", "inner and outer differ", 0.0),
    ];
    let mut x = left;
    for (class, words, width) in entries {
        svg.rect(Rect { x, y, width: 16.0, height: 16.0 }, class);
        svg.text((x + 22.0, y + 13.0), Anchor::Start, "small", words);
        x += width;
    }
    let rules: &[&str] = match encoding {
        Stage2Encoding::Combining => &[
            "WB/NC and the like: inner/outer caches apart. Any Device type beats Normal; of two Device types the",
            "stricter wins; of two Normal types the less cached, inner and outer apart.",
        ],
        Stage2Encoding::Forcing => &[
            "=WB: stage 2 forces Write-Back, whatever stage 1 says. =S1: stage 2 leaves it to stage 1.",
            "WB/NC and the like: inner/outer caches apart.",
        ],
    };
    for (number, words) in rules.iter().enumerate() {
        svg.text((left, y + 40.0 + 18.0 * number as f64), Anchor::Start, "small", words);
    }
}

const fn class(memory: Tint) -> &'static str {
    match memory {
        Tint::Device => "device",
        Tint::NonCacheable => "nc",
        Tint::WriteThrough => "wt",
        Tint::WriteBack => "wb",
        Tint::Mixed => "mixed",
    }
}

/// For a cell: at most six letters.
fn short(memory: MemoryType) -> String {
    match memory {
        MemoryType::Device(kind) => kind.to_string(),
        MemoryType::Normal { inner, outer } if inner == outer => cache(inner).to_owned(),
        MemoryType::Normal { inner, outer } => format!("{}/{}", cache(inner), cache(outer)),
    }
}

fn short_stage2(memory: Stage2Type) -> String {
    match memory {
        Stage2Type::Device(kind) => kind.to_string(),
        Stage2Type::Normal { inner, outer } => short(MemoryType::Normal { inner, outer }),
        Stage2Type::NonCacheable => "NC".to_owned(),
        Stage2Type::ForcedWriteBack => "=WB".to_owned(),
        Stage2Type::Stage1 => "=S1".to_owned(),
    }
}

const fn cache(cache: Cacheability) -> &'static str {
    match cache {
        Cacheability::NonCacheable => "NC",
        Cacheability::WriteThrough => "WT",
        Cacheability::WriteBack => "WB",
    }
}
