// SPDX-License-Identifier: MIT OR Apache-2.0
//! Figures in running text: each has a mark before it that names a figure of the record, and is written with the record.
//!
//! `<!-- figure: operations.switch -->964` is that figure as it is. A word behind the name says how it is written:
//! `KiB` in units of 1024 bytes, `.1` or `.3` with so many decimals.

use serde_json::Value;
use vambrace_bench::record::Record;

/// What begins a mark.
const MARK: &str = "<!-- figure: ";
/// What ends it.
const END: &str = " -->";

/// The documents that have figures in running text, seen from the workspace's root.
pub const DOCUMENTS: [&str; 2] = ["README.md", "docs/performance.md"];

/// The text with the record's figures at its marks.
///
/// # Errors
/// Names the mark that is of no figure.
pub fn filled(text: &str, record: &Record) -> Result<String, String> {
    let record = serde_json::to_value(record).map_err(|error| error.to_string())?;
    let mut parts = text.split(MARK);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (spec, rest) = part.split_once(END).ok_or_else(|| format!("{MARK}{part}: it has no end"))?;
        let written = write(spec, &record).ok_or_else(|| format!("the record has no figure {spec}"))?;
        // A full stop or comma behind a figure is the sentence's.
        let old = rest.find(|c: char| !(c.is_ascii_digit() || ",.".contains(c))).unwrap_or(rest.len());
        let kept = rest.get(..old).unwrap_or_default().trim_end_matches([',', '.']).len();
        whole.extend([MARK, spec, END, &written, rest.get(kept..).unwrap_or_default()]);
    }
    Ok(whole)
}

/// How many marks there are.
#[must_use]
pub fn count(text: &str) -> usize {
    text.matches(MARK).count()
}

fn write(spec: &str, record: &Value) -> Option<String> {
    let (name, form) = spec.split_once(' ').unwrap_or((spec, ""));
    let figure = match name.split_once('.') {
        Some((table, name)) => record.get(table)?.get(name)?,
        None => record.get(name)?,
    };
    match form {
        "" => Some(grouped(figure.as_u64()?)),
        "KiB" => Some(grouped(figure.as_u64()?.div_ceil(1024))),
        _ => Some(format!("{:.*}", form.strip_prefix('.')?.parse().ok()?, figure.as_f64()?)),
    }
}

/// With a comma for each thousand.
fn grouped(figure: u64) -> String {
    let digits = figure.to_string();
    let mut written = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            written.push(',');
        }
        written.push(digit);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let text =
            "cpu = \"c\"\nimage = 389888\n[operations]\nstart = 3730887\n[traffic]\nnetwork = 2.131188\n";
        Record::parse(text).unwrap()
    }

    #[test]
    fn figures_are_written_at_their_marks_only() {
        let text = "at <!-- figure: operations.start -->7, <!-- figure: image KiB -->1,000. \
                    <!-- figure: traffic.network .1 --> times, 5";
        let due = "at <!-- figure: operations.start -->3,730,887, <!-- figure: image KiB -->381. \
                   <!-- figure: traffic.network .1 -->2.1 times, 5";
        assert_eq!(filled(text, &record()).as_deref(), Ok(due));
        assert_eq!(filled(due, &record()).as_deref(), Ok(due));
    }

    #[test]
    fn a_figure_that_is_not_recorded_is_named() {
        let error = filled("<!-- figure: operations.fly -->1", &record()).unwrap_err();
        assert!(error.contains("operations.fly"), "{error}");
    }
}
