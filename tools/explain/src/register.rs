// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vambrace explain REGISTER VALUE`: a register's value, field by field.
//!
//! [`find`] takes names as people say them; [`Explanation`] is the answer as a value.

use std::fmt::Write as _;

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use super::ExplainError;
use super::registers::{self, Field, Meaning, Register, Remark};
use vambrace_manifest::diagnostic::nearest;

/// A register as it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// What it is made of.
    pub register: &'static Register,
    /// Its name, as far as the question has said it.
    name: &'static str,
    level: NamedLevel,
}

/// Whether the question has said the exception level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamedLevel {
    Said,
    /// It does not matter: the layout is the same at all that there are.
    Any,
}

impl Found {
    /// `HCR_EL2`; `ESR_ELx` where the level does not matter.
    #[must_use]
    pub fn name(&self) -> String {
        match self.level {
            NamedLevel::Said => self.name.to_owned(),
            NamedLevel::Any => format!("{}_ELx", stem(self.name)),
        }
    }
}

/// The register that `name` means: in any case, and without `_EL1` or `_EL2` where only one layout is left.
///
/// # Errors
/// [`ExplainError::UnknownRegister`], [`ExplainError::WhichLevel`].
pub fn find(name: &str) -> Result<Found, ExplainError> {
    let wanted = normal(name);
    let exact = registers::all().find_map(|register| {
        let name = register.names.iter().find(|name| **name == wanted)?;
        Some(Found { register, name, level: NamedLevel::Said })
    });
    if let Some(found) = exact {
        return Ok(found);
    }
    let candidates: Vec<Found> = registers::all()
        .filter_map(|register| {
            let names: Vec<_> = register.names.iter().filter(|name| stem(name) == wanted).collect();
            let level = if names.len() > 1 { NamedLevel::Any } else { NamedLevel::Said };
            names.first().map(|name| Found { register, name, level })
        })
        .collect();
    match candidates.as_slice() {
        [] => Err(unknown(name, &wanted)),
        [found] => Ok(*found),
        several => {
            let names: Vec<_> = several.iter().map(|found| found.name).collect();
            Err(ExplainError::WhichLevel { name: name.to_owned(), candidates: names.join(" and ") })
        }
    }
}

/// Upper case; a list register without its number.
fn normal(name: &str) -> String {
    let name = name.to_ascii_uppercase().replace('-', "_");
    match name.strip_prefix("ICH_LR") {
        Some(rest) => format!("ICH_LR{}", rest.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => name,
    }
}

/// A name without its exception level.
fn stem(name: &str) -> &str {
    ["_EL0", "_EL1", "_EL2"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

fn unknown(name: &str, wanted: &str) -> ExplainError {
    let names: Vec<&str> = registers::all().flat_map(|register| register.names).copied().collect();
    let stems = names.iter().map(|name| stem(name));
    let same_stem = names.iter().find(|name| stem(name) == stem(wanted)).copied();
    let near =
        same_stem.or_else(|| nearest(wanted, names.iter().copied())).or_else(|| nearest(wanted, stems));
    let listed = "`vambrace explain registers` lists those that can be explained";
    let mend = match near {
        Some(near) => format!("did you mean {near}? {listed}"),
        None => listed.to_owned(),
    };
    ExplainError::UnknownRegister { name: name.to_owned(), mend }
}

/// A register's value in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The register.
    pub register: String,
    /// What it is for.
    pub title: &'static str,
    /// The value, in hexadecimal.
    pub value: String,
    /// All fields, from the highest bit down.
    pub fields: Vec<FieldWords>,
    /// What they come to.
    pub remarks: Vec<String>,
    /// What the architecture forbids, or leaves without effect.
    pub wrong: Vec<String>,
}

/// One field in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldWords {
    /// The highest bit.
    pub high: u32,
    /// The lowest bit.
    pub low: u32,
    /// Arm's name.
    pub name: &'static str,
    /// Its value, moved down to bit 0.
    pub value: u64,
    /// What that means; empty for a flag that asks for nothing.
    pub words: String,
}

impl Explanation {
    /// Takes `value` apart.
    #[must_use]
    pub fn new(found: &Found, value: u64) -> Self {
        let fields = found.register.fields(value);
        let mut wrong = reserved(&fields, value);
        let mut remarks = Vec::new();
        for remark in (found.register.remarks)(value) {
            match remark {
                Remark::Says(text) => remarks.push(text),
                Remark::Wrong(text) => wrong.push(text),
            }
        }
        Self {
            register: found.name(),
            title: found.register.title,
            value: format!("{value:#018x}"),
            fields: fields.iter().map(|field| FieldWords::new(field, value)).collect(),
            remarks,
            wrong,
        }
    }

    /// For a terminal: aligned columns, then what they come to. Flags that ask for nothing share a line.
    #[must_use]
    pub fn text(&self) -> String {
        let (heading, dim, error) = (Style::new().bold(), Style::new().dimmed(), red());
        let name_style = AnsiColor::Cyan.on_default();
        let mut text = format!("{heading}{} = {}{heading:#}\n{}\n\n", self.register, self.value, self.title);
        let (told, silent): (Vec<_>, Vec<_>) =
            self.fields.iter().partition(|field| !(field.words.is_empty() && field.value == 0));
        let names = told.iter().map(|field| field.name.len()).max().unwrap_or(0).max("field".len());
        let values = told.iter().map(|field| field.number().len()).max().unwrap_or(0).max("value".len());
        let _ =
            writeln!(text, "{dim}{:>7}  {:names$}  {:>values$}  meaning{dim:#}", "bits", "field", "value");
        for field in &told {
            let (bits, number, words) = (field.bits(), field.number(), &field.words);
            let line = format!(
                "{bits:>7}  {name_style}{:names$}{name_style:#}  {number:>values$}  {words}",
                field.name
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if !silent.is_empty() {
            let names: Vec<_> = silent.iter().map(|field| field.name).collect();
            text.push_str(&wrap(&format!("0, asking for nothing: {}", names.join(", ")), 9));
        }
        if !self.remarks.is_empty() {
            text.push('\n');
        }
        for remark in &self.remarks {
            text.push_str(&wrap(remark, 2));
        }
        if !self.wrong.is_empty() {
            text.push('\n');
        }
        for wrong in &self.wrong {
            let _ = writeln!(text, "{error}wrong:{error:#} {}", wrap(wrong, 7).trim());
        }
        text
    }
}

fn red() -> Style {
    AnsiColor::Red.on_default().bold()
}

/// Bits that are set where the architecture wants 0, and the other way round.
fn reserved(fields: &[&Field], value: u64) -> Vec<String> {
    let known = fields.iter().fold(0, |known, field| known | field.mask());
    let mut wrong = Vec::new();
    if value & !known != 0 {
        let bits = ranges(value & !known);
        wrong.push(format!("{bits} set, but RES0: the architecture wants 0, or this program is older"));
    }
    let clear = fields
        .iter()
        .filter(|field| matches!(field.meaning, Meaning::Res1))
        .fold(0, |clear, field| clear | field.mask() & !value);
    if clear != 0 {
        wrong.push(format!("{} clear, but RES1: the architecture wants 1", ranges(clear)));
    }
    wrong
}

/// "bit 3 is", "bits 20:17 and 3 are".
fn ranges(mask: u64) -> String {
    let mut parts = Vec::new();
    let mut rest = mask;
    while rest != 0 {
        let high = 63 - rest.leading_zeros();
        let length = (rest << (63 - high)).leading_ones();
        let low = high + 1 - length;
        parts.push(if low == high { high.to_string() } else { format!("{high}:{low}") });
        rest &= !(u64::MAX >> (64 - length) << low);
    }
    let single = mask.count_ones() == 1;
    let list = match parts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => parts.concat(),
    };
    if single { format!("bit {list} is") } else { format!("bits {list} are") }
}

impl FieldWords {
    fn new(field: &Field, register: u64) -> Self {
        let value = field.of(register);
        let words = match field.meaning {
            Meaning::Flag { set, clear } => if value != 0 { set } else { clear }.to_owned(),
            Meaning::Values(list) => {
                let known = list.iter().find(|(number, _)| *number == value);
                known.map_or("reserved when this was written", |(_, words)| words).to_owned()
            }
            Meaning::Number(what) => what.to_owned(),
            Meaning::Words(words) => words(value),
            Meaning::Res1 => "always 1".to_owned(),
        };
        Self { high: field.high, low: field.low, name: field.name, value, words }
    }

    fn bits(&self) -> String {
        if self.high == self.low { self.high.to_string() } else { format!("{}:{}", self.high, self.low) }
    }

    /// Decimal where that says more: in fields of few bits.
    fn number(&self) -> String {
        if self.value < 10 || self.high - self.low < 6 {
            self.value.to_string()
        } else {
            format!("{:#x}", self.value)
        }
    }
}

/// Where lines end.
const WIDTH: usize = 110;

/// `text` in lines of at most [`WIDTH`] characters, indented by `indent`.
pub(super) fn wrap(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(lines, "{:indent$}{line}", "");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(lines, "{:indent$}{line}", "");
    lines
}

/// All registers, one a line.
#[must_use]
pub fn listing() -> String {
    let style = AnsiColor::Cyan.on_default();
    let mut text =
        String::from("Registers, with or without their _EL1 and _EL2 where only one layout is left:\n\n");
    for register in registers::all() {
        let names = register.names.join(", ");
        let _ = writeln!(text, "  {style}{names:24}{style:#} {}", register.title);
    }
    text.push_str("\nA value is 0x hexadecimal, 0b binary or decimal: vambrace explain hcr 0x80000038\n");
    text
}

#[cfg(test)]
mod tests;
