// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pictures for slides: a thin writer of SVG.
//!
//! Shapes are written in the order they are asked for, so what comes later lies on top. Looks are CSS classes:
//! the ones that all pictures share are here, a picture adds its own. [`width`] estimates a text's width, for
//! layouts that must not overlap; it errs on the wide side.

#![forbid(unsafe_code)]

#[cfg(any(test, feature = "check"))]
pub mod check;

use std::fmt::{Display, Write as _};

/// What all pictures share: dark text on white, one family of fonts, a few sizes.
const STYLE: &str = "\
text { font-family: 'DejaVu Sans', 'Helvetica Neue', Arial, sans-serif; font-size: 13px; fill: #1d2733; }
.heading { font-size: 17px; font-weight: bold; }
.label { font-weight: bold; }
.small { font-size: 11.5px; fill: #4a5665; }
.address { font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 11.5px; fill: #33404f; }
";

/// Where on the text its position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The position is the text's left end.
    Start,
    /// The position is the text's middle.
    Middle,
    /// The position is the text's right end.
    End,
}

/// The fonts, for [`width`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Font {
    /// Ordinary text.
    Normal,
    /// `.heading` and `.label`.
    Bold,
    /// `.small`.
    Small,
    /// `.address`.
    Address,
}

/// A rectangle, in pixels; y grows downward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// The left edge.
    pub x: f64,
    /// The top edge.
    pub y: f64,
    /// The width.
    pub width: f64,
    /// The height.
    pub height: f64,
}

impl Rect {
    /// The right edge.
    #[must_use]
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    /// The bottom edge.
    #[must_use]
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    /// Whether the two have a common area.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.x < other.right() && other.x < self.right() && self.y < other.bottom() && other.y < self.bottom()
    }
}

/// A picture in the making.
#[derive(Clone, Debug)]
pub struct Svg {
    title: String,
    style: String,
    body: String,
}

impl Svg {
    /// An empty picture. `title` is for those who cannot see it; `style` is CSS for the picture's own classes.
    #[must_use]
    pub fn new(title: &str, style: &str) -> Self {
        Self { title: title.to_owned(), style: style.to_owned(), body: String::new() }
    }

    /// A rectangle with slightly round corners.
    pub fn rect(&mut self, rect: Rect, class: &str) {
        let Rect { x, y, width, height } = rect;
        self.element(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="3" class="{}"/>"#,
            Escaped(class)
        ));
    }

    /// A line of text; `y` is its baseline.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.element(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{}">{}</text>"#,
            Escaped(class),
            Escaped(text)
        ));
    }

    /// A straight line.
    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        self.element(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{}"/>"#,
            Escaped(class)
        ));
    }

    /// A line of several pieces with an arrowhead at its end. Of the class `flow`, the head is `flow head`.
    pub fn arrow(&mut self, points: &[(f64, f64)], class: &str) {
        let [.., before, end] = points else { return };
        let list: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.element(format_args!(
            r#"<polyline points="{}" fill="none" class="{}"/>"#,
            list.join(" "),
            Escaped(class)
        ));
        let (dx, dy) = (end.0 - before.0, end.1 - before.1);
        let length = dx.hypot(dy).max(1.0);
        let (dx, dy) = (dx / length, dy / length);
        let corner = |side: f64| (end.0 - 7.0 * dx - side * dy, end.1 - 7.0 * dy + side * dx);
        let ((x1, y1), (x2, y2), (x, y)) = (corner(3.5), corner(-3.5), *end);
        self.element(format_args!(
            r#"<polygon points="{x:.1},{y:.1} {x1:.1},{y1:.1} {x2:.1},{y2:.1}" class="{} head"/>"#,
            Escaped(class)
        ));
    }

    /// A band with soft bends from one upright edge to another. An edge is x, top and bottom.
    pub fn band(&mut self, from: (f64, f64, f64), to: (f64, f64, f64), class: &str) {
        let ((x1, top1, bottom1), (x2, top2, bottom2)) = (from, to);
        let middle = f64::midpoint(x1, x2);
        self.element(format_args!(
            r#"<path d="M{x1:.1},{top1:.1} C{middle:.1},{top1:.1} {middle:.1},{top2:.1} {x2:.1},{top2:.1} L{x2:.1},{bottom2:.1} C{middle:.1},{bottom2:.1} {middle:.1},{bottom1:.1} {x1:.1},{bottom1:.1} Z" class="{}"/>"#,
            Escaped(class)
        ));
    }

    /// The file's text, for a picture of this size in pixels.
    #[must_use]
    pub fn finish(self, width: f64, height: f64) -> String {
        let Self { title, style, body } = self;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" role="img">
<title>{}</title>
<style>
{STYLE}{style}</style>
<rect width="100%" height="100%" fill="#ffffff"/>
{body}</svg>
"##,
            Escaped(&title)
        )
    }

    fn element(&mut self, element: impl Display) {
        let _ = writeln!(self.body, "{element}");
    }
}

/// How wide a line of text is at most, in pixels.
#[must_use]
pub fn width(text: &str, font: Font) -> f64 {
    let letter = match font {
        Font::Normal => 7.9,
        Font::Bold => 9.1,
        Font::Small => 7.0,
        Font::Address => 7.0,
    };
    text.chars().count() as f64 * letter
}

/// Text as it stands in XML, in content and in attributes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                // XML has no way to write these.
                control if control.is_control() => f.write_str(" ")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut svg = Svg::new("a < b", "");
        svg.text((1.0, 2.0), Anchor::End, "\"x\"", "R&D <\u{1}>");
        let text = svg.finish(10.0, 20.0);
        assert!(text.contains("<title>a &lt; b</title>"));
        assert!(text.contains(r#"class="&quot;x&quot;">R&amp;D &lt; &gt;</text>"#), "{text}");
    }

    #[test]
    fn rectangles_that_touch_do_not_overlap() {
        let rect = Rect { x: 0.0, y: 0.0, width: 10.0, height: 10.0 };
        assert!(rect.overlaps(&Rect { x: 9.0, y: 9.0, width: 1.0, height: 1.0 }));
        assert!(!rect.overlaps(&Rect { x: 10.0, ..rect }));
        assert!(!rect.overlaps(&Rect { y: 10.0, ..rect }));
    }
}
