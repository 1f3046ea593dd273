// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a picture has to keep to, for the tests of those who draw: it is well-formed, texts stay inside and apart.
//!
//! A text's box is estimated by its class, out of the picture's own style sheet.

use roxmltree::{Document, Node};

use super::Rect;

/// A text and about where it is.
struct Label {
    text: String,
    place: Rect,
}

/// Holds a picture against all of it.
///
/// # Errors
/// What is wrong with the picture.
pub fn sound(picture: &str) -> Result<(), String> {
    let document = Document::parse(picture).map_err(|error| error.to_string())?;
    let root = document.root_element();
    let all = Rect { x: 0.0, y: 0.0, width: number(root, "width")?, height: number(root, "height")? };
    let style = root.descendants().find(|node| node.has_tag_name("style")).and_then(|node| node.text());
    let style = style.ok_or("no style sheet")?;
    let texts = root.descendants().filter(|node| node.has_tag_name("text"));
    let labels = texts.map(|node| Label::new(node, style)).collect::<Result<Vec<Label>, String>>()?;
    if labels.is_empty() {
        return Err("no text".to_owned());
    }
    for (at, label) in labels.iter().enumerate() {
        let place = label.place;
        let inside =
            place.x >= 0.0 && place.y >= 0.0 && place.right() <= all.width && place.bottom() <= all.height;
        if !inside {
            return Err(format!("`{}` leaves the picture: {place:?}", label.text));
        }
        if let Some(other) = labels.iter().skip(at + 1).find(|other| place.overlaps(&other.place)) {
            return Err(format!("`{}` and `{}` overlap", label.text, other.text));
        }
    }
    Ok(())
}

/// An attribute that is a number.
fn number(node: Node<'_, '_>, name: &str) -> Result<f64, String> {
    let value = node.attribute(name).and_then(|value| value.parse().ok());
    value.ok_or_else(|| format!("{node:?} has no number {name}"))
}

impl Label {
    fn new(node: Node<'_, '_>, style: &str) -> Result<Self, String> {
        let text = node.text().unwrap_or_default().to_owned();
        let rules: Vec<&str> =
            node.attribute("class").unwrap_or("").split(' ').filter_map(|class| rule(style, class)).collect();
        let says = |what: &str| rules.iter().any(|rule| rule.contains(what));
        let size = rules.iter().find_map(|rule| font_size(rule)).unwrap_or(13.0);
        let letter = if says("monospace") {
            0.603
        } else if says("bold") {
            0.64
        } else {
            0.56
        };
        let width = text.chars().count() as f64 * size * letter;
        let x = match node.attribute("text-anchor") {
            Some("middle") => number(node, "x")? - width / 2.0,
            Some("end") => number(node, "x")? - width,
            _ => number(node, "x")?,
        };
        // From the height of capitals to the depth of a comma.
        let place = Rect { x, y: number(node, "y")? - size * 0.75, width, height: size * 0.95 };
        Ok(Self { text, place })
    }
}

/// What the style sheet says of a class.
fn rule<'a>(style: &'a str, class: &str) -> Option<&'a str> {
    let (_, rest) = style.split_once(&format!(".{class} {{"))?;
    rest.split_once('}').map(|(rule, _)| rule)
}

fn font_size(rule: &str) -> Option<f64> {
    let (_, rest) = rule.split_once("font-size:")?;
    rest.split_once("px")?.0.trim().parse().ok()
}
