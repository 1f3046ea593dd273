// SPDX-License-Identifier: MIT OR Apache-2.0
//! The map as a picture: a column for each VM, one for physical memory, bands from RAM to where it lies.
//!
//! Heights grow with the logarithm of the size, or a UART would vanish beside a gigabyte. What is at the same
//! address in all VMs is at the same height; a gap between regions is a short break. Physical memory stands in
//! the middle, so that bands are short, and lie behind the columns.

use super::{Certainty, Map, PhysicalLocation, Region, RegionKind, about, address};
use vambrace_svg::{Anchor, Font, Rect, Svg, width};

/// Fill, edge and text colour of one VM each, again from the first when there are more.
const PALETTE: [(&str, &str); 6] = [
    ("#cfe3f7", "#2f6fab"),
    ("#d6efd0", "#3f8a33"),
    ("#fbe3c0", "#b8741a"),
    ("#e8d8f3", "#7d4a9e"),
    ("#f8d3da", "#b23a54"),
    ("#cdeeee", "#23808a"),
];

const STYLE: &str = "\
.emulated { fill: #f7f7f5; stroke: #9aa3ad; stroke-dasharray: 4 3; }
.device { fill: #ececea; stroke: #7d8792; }
.hypervisor { fill: #d9dce1; stroke: #566170; }
.free { fill: #ffffff; stroke: #b9c0c8; }
.gap { stroke: #b9c0c8; stroke-dasharray: 1 4; stroke-width: 1.5; }
";

const MARGIN: f64 = 28.0;
const TOP: f64 = 104.0;
const BETWEEN: f64 = 96.0;
const PADDING: f64 = 10.0;
const GAP: f64 = 20.0;
/// Height of a region with two lines of text.
const LOWEST: f64 = 42.0;
const LINE: f64 = 17.0;

/// A region with its box.
struct Placed<'a> {
    region: &'a Region,
    rect: Rect,
}

/// A column with its boxes.
struct Column<'a> {
    title: String,
    subtitle: String,
    rect: Rect,
    boxes: Vec<Placed<'a>>,
}

impl Map {
    /// The picture, as SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = Svg::new("Where the VMs' memory lies", &style(self.vms.len()));
        let columns = self.columns();
        let right = columns.iter().map(|column| column.rect.right()).fold(0.0, f64::max);
        let bottom = columns.iter().map(|column| column.rect.bottom()).fold(0.0, f64::max);
        svg.text(
            (MARGIN, 34.0),
            Anchor::Start,
            "heading",
            "From intermediate physical addresses to physical memory",
        );
        self.bands(&mut svg, &columns);
        for column in &columns {
            draw_column(&mut svg, column);
        }
        let page = right + MARGIN;
        let mut y = legend(&mut svg, bottom + 34.0);
        for line in self.notes.iter().flat_map(|note| lines(note, page - 2.0 * MARGIN)) {
            svg.text((MARGIN, y), Anchor::Start, "small", &line);
            y += LINE;
        }
        svg.finish(page, y + 6.0)
    }

    /// The columns from left to right: half of the VMs, physical memory, the other VMs.
    fn columns(&self) -> Vec<Column<'_>> {
        let rows = self.rows();
        let left = self.vms.len().div_ceil(2);
        let mut columns = Vec::new();
        let mut x = MARGIN;
        for index in 0..=self.vms.len() {
            // Physical memory takes a place between the VMs.
            let vm = if index < left { Some(index) } else { index.checked_sub(1).filter(|vm| *vm >= left) };
            let column = match vm.and_then(|vm| self.vms.get(vm)) {
                Some(vm) => {
                    let plural = if vm.vcpus == 1 { "" } else { "s" };
                    let title = format!("VM {}", vm.name);
                    let subtitle = format!("IPA space, {} vCPU{plural}", vm.vcpus);
                    place_vm(x, title, subtitle, &vm.regions, &rows)
                }
                None => place_physical(x, self),
            };
            x = column.rect.right() + BETWEEN;
            columns.push(column);
        }
        columns
    }

    /// The heights that VMs' regions begin at, by address.
    fn rows(&self) -> Vec<(u64, f64)> {
        let mut regions: Vec<&Region> = self.vms.iter().flat_map(|vm| &vm.regions).collect();
        regions.sort_by_key(|region| region.start);
        let mut rows: Vec<(u64, f64)> = Vec::new();
        let (mut y, mut tallest, mut end) = (TOP, 0.0, 0);
        for region in regions {
            if rows.last().is_none_or(|(start, _)| *start != region.start) {
                y += tallest;
                if !rows.is_empty() && end != region.start {
                    y += GAP;
                }
                tallest = 0.0;
                rows.push((region.start, y));
            }
            tallest = f64::max(tallest, height(region));
            end = region.end();
        }
        rows
    }

    /// From each piece of a VM to where it lies.
    fn bands(&self, svg: &mut Svg, columns: &[Column<'_>]) {
        let Some(physical) = columns.get(self.vms.len().div_ceil(2)) else { return };
        for placed in columns.iter().flat_map(|column| &column.boxes) {
            let (from, class) = (placed.rect, format!("band{}", owner(placed.region.kind).unwrap_or(0)));
            for (place, part) in placed.region.lies_at.iter().zip(placed.parts()) {
                let is_it = |other: &&Placed<'_>| {
                    other.region.start == place.start && other.region.kind == placed.region.kind
                };
                let Some(to) = physical.boxes.iter().find(is_it).map(|target| target.rect) else { continue };
                let (x1, x2) = if from.x < to.x { (from.right(), to.x) } else { (from.x, to.right()) };
                svg.band((x1, part.0, part.1), (x2, to.y, to.bottom()), &class);
            }
        }
    }
}

impl Placed<'_> {
    /// From where to where each piece of the region reaches in its box, from top to bottom. The only one is all of it.
    fn parts(&self) -> Vec<(f64, f64)> {
        let pieces = &self.region.lies_at;
        let total: u64 = pieces.iter().map(|piece| piece.size).sum();
        let mut done = 0;
        let mut next = |piece: &PhysicalLocation| {
            let at = |bytes: u64| self.rect.y + self.rect.height * (bytes as f64 / total as f64);
            let from = at(done);
            done += piece.size;
            (from, at(done))
        };
        pieces.iter().map(&mut next).collect()
    }
}

/// The index of the VM that a region is memory of.
fn owner(kind: RegionKind) -> Option<usize> {
    match kind {
        RegionKind::Ram(vm) | RegionKind::Flash(vm) => Some(vm),
        _ => None,
    }
}

fn style(vms: usize) -> String {
    let rules = (0..vms.max(1)).map(|vm| {
        let (fill, edge) = PALETTE[vm % PALETTE.len()];
        format!(
            ".vm{vm} {{ fill: {fill}; stroke: {edge}; stroke-width: 1.5; }}\n\
             .band{vm} {{ fill: {fill}; fill-opacity: 0.55; stroke: {edge}; stroke-opacity: 0.5; }}\n"
        )
    });
    STYLE.to_owned() + &rules.collect::<String>()
}

/// A region's height: 8 pixels more for each doubling from 1 MiB on.
fn height(region: &Region) -> f64 {
    let doublings = (region.size >> 20).checked_ilog2().unwrap_or(0);
    let least = match region.kind {
        RegionKind::Free => LOWEST - 12.0,
        _ => LOWEST,
    };
    // What nobody has need not be tall, and flash is mostly empty.
    let each = match region.kind {
        RegionKind::Ram(_) => 9.0,
        RegionKind::Free => 2.0,
        _ => 1.0,
    };
    least + each * f64::from(doublings)
}

/// The second line of a box.
fn detail(region: &Region) -> String {
    match region.placed.and(region.sized) {
        Certainty::Exact => {
            format!("{} – {}", address(region.start), address(region.end().saturating_sub(1)))
        }
        Certainty::About => format!("from {}", about(region.start, region.placed)),
    }
}

/// The narrowest that shows all of a column's text.
fn column_width(title: &str, subtitle: &str, regions: &[Region]) -> f64 {
    let texts = regions.iter().map(|region| {
        let first = width(&region.what, Font::Bold) + 16.0 + width(&region.size_words(), Font::Small);
        first.max(width(&detail(region), Font::Address))
    });
    let heads = [width(title, Font::Bold) * 1.3, width(subtitle, Font::Small)];
    texts.chain(heads).fold(0.0, f64::max) + 2.0 * PADDING
}

fn place_vm<'a>(
    x: f64,
    title: String,
    subtitle: String,
    regions: &'a [Region],
    rows: &[(u64, f64)],
) -> Column<'a> {
    let width = column_width(&title, &subtitle, regions);
    let boxes: Vec<_> = regions
        .iter()
        .map(|region| {
            let row = rows.iter().find(|(start, _)| *start == region.start);
            let rect = Rect { x, y: row.map_or(TOP, |(_, y)| *y), width, height: height(region) };
            Placed { region, rect }
        })
        .collect();
    column(x, width, title, subtitle, boxes)
}

fn place_physical(x: f64, map: &Map) -> Column<'_> {
    let (title, subtitle) = ("Physical memory".to_owned(), map.board.clone());
    let width = column_width(&title, &subtitle, &map.physical);
    let mut boxes: Vec<Placed<'_>> = Vec::new();
    let mut y = TOP;
    for region in &map.physical {
        if boxes.last().is_some_and(|before| before.region.end() != region.start) {
            y += GAP;
        }
        let rect = Rect { x, y, width, height: height(region) };
        y = rect.bottom();
        boxes.push(Placed { region, rect });
    }
    column(x, width, title, subtitle, boxes)
}

fn column(x: f64, width: f64, title: String, subtitle: String, boxes: Vec<Placed<'_>>) -> Column<'_> {
    let bottom = boxes.iter().map(|placed| placed.rect.bottom()).fold(TOP, f64::max);
    Column { title, subtitle, rect: Rect { x, y: TOP, width, height: bottom - TOP }, boxes }
}

fn draw_column(svg: &mut Svg, column: &Column<'_>) {
    let middle = column.rect.x + column.rect.width / 2.0;
    svg.text((middle, TOP - 34.0), Anchor::Middle, "heading", &column.title);
    svg.text((middle, TOP - 14.0), Anchor::Middle, "small", &column.subtitle);
    let mut before: Option<Rect> = None;
    for Placed { region, rect } in &column.boxes {
        if let Some(before) = before.filter(|before| before.bottom() < rect.y) {
            for x in [rect.x + 1.0, rect.right() - 1.0] {
                svg.line((x, before.bottom()), (x, rect.y), "gap");
            }
        }
        svg.rect(*rect, &class(region.kind));
        draw_region(svg, region, *rect);
        before = Some(*rect);
    }
}

fn class(kind: RegionKind) -> String {
    match kind {
        RegionKind::Ram(vm) | RegionKind::Flash(vm) => format!("vm{vm}"),
        RegionKind::Emulated => "emulated".to_owned(),
        RegionKind::Device | RegionKind::Shared => "device".to_owned(),
        RegionKind::Hypervisor => "hypervisor".to_owned(),
        RegionKind::Free => "free".to_owned(),
    }
}

/// The text in a box: what and how much, then the addresses; free memory has one line.
fn draw_region(svg: &mut Svg, region: &Region, rect: Rect) {
    let (left, right) = (rect.x + PADDING, rect.right() - PADDING);
    let middle = rect.y + rect.height / 2.0;
    let (label, first) = match region.kind {
        RegionKind::Free => ("small", middle + 4.0),
        _ => ("label", middle - 4.0),
    };
    svg.text((left, first), Anchor::Start, label, &region.what);
    svg.text((right, first), Anchor::End, "small", &region.size_words());
    if region.kind != RegionKind::Free {
        svg.text((left, first + LINE), Anchor::Start, "address", &detail(region));
    }
}

/// What the looks of boxes mean. Returns where the next line of text goes.
fn legend(svg: &mut Svg, top: f64) -> f64 {
    let mut x = MARGIN;
    for (class, text) in [
        ("vm0", "a VM's memory"),
        ("emulated", "a VM's device: traps to EL2"),
        ("hypervisor", "EL2's memory"),
        ("device", "the board's devices"),
        ("free", "free"),
    ] {
        svg.rect(Rect { x, y: top - 11.0, width: 20.0, height: 14.0 }, class);
        svg.text((x + 27.0, top), Anchor::Start, "small", text);
        x += 27.0 + width(text, Font::Small) + 14.0;
    }
    top + 28.0
}

/// A note in lines that fit.
fn lines(text: &str, room: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let fits = lines
            .last()
            .is_some_and(|line| line.is_empty() || width(&format!("{line} {word}"), Font::Small) <= room);
        match lines.last_mut().filter(|_| fits) {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}
