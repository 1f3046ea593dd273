// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the registers are made of.
//!
//! A [`Register`] is a constant: its names, and a table of [`Field`]s with what each value means. What no table
//! can say, because several fields together say it, is a small function beside the table that adds [`Remark`]s.
//! A bit that no field covers is RES0. The tables are sorted by theme into the modules below; fields are
//! written from the highest bit down, as Arm prints them. Source: Arm ARM, "AArch64 System Register
//! Descriptions"; GIC architecture specification for `ICH_*`.

mod fault;
mod gic;
mod hypervisor;
mod identification;
mod mair;
mod processor;
mod syndrome;
mod translation;
mod vtcr;

pub(super) use mair::attribute as memory_attribute;

/// A register, or several with the same layout at different exception levels.
#[derive(Debug)]
pub struct Register {
    /// Arm's names, the exception level included; at least one.
    pub names: &'static [&'static str],
    /// What it is for.
    pub title: &'static str,
    /// Its fields, which may depend on its value.
    pub layout: Layout,
    /// What the fields together say.
    pub remarks: fn(u64) -> Vec<Remark>,
}

/// Which fields a register has.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// The same, whatever the value.
    Fixed(&'static [Field]),
    /// Those that its value calls for, in tables to be put together.
    ByValue(fn(u64) -> Vec<&'static [Field]>),
}

/// A part of a register: bits `high` down to `low`.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The highest bit.
    pub high: u32,
    /// The lowest bit.
    pub low: u32,
    /// Arm's name.
    pub name: &'static str,
    /// What it says.
    pub meaning: Meaning,
}

/// How to put a field's value in words.
#[derive(Clone, Copy, Debug)]
pub enum Meaning {
    /// One bit. The words for 0 are empty where 0 just means that the field asks for nothing.
    Flag {
        /// What 1 means.
        set: &'static str,
        /// What 0 means, or nothing.
        clear: &'static str,
    },
    /// The values that have a meaning; all others are reserved.
    Values(&'static [(u64, &'static str)]),
    /// A number or address: what it is.
    Number(&'static str),
    /// What a function makes of it.
    Words(fn(u64) -> String),
    /// RES1.
    Res1,
}

/// Something that the whole value says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// What it comes to.
    Says(String),
    /// The architecture forbids it, or leaves open what happens.
    Wrong(String),
}

impl Field {
    /// The field's bits of `value`, moved down to bit 0.
    #[must_use]
    pub const fn of(&self, value: u64) -> u64 {
        bits(value, self.high, self.low)
    }

    /// The field's bits in the register.
    #[must_use]
    pub const fn mask(&self) -> u64 {
        (u64::MAX >> (63 - (self.high - self.low))) << self.low
    }
}

/// Bits `high` down to `low` of `value`.
const fn bits(value: u64, high: u32, low: u32) -> u64 {
    value >> low & u64::MAX >> (63 - (high - low))
}

/// A bit of which 0 means nothing in particular.
const fn one(bit: u32, name: &'static str, set: &'static str) -> Field {
    either(bit, name, set, "")
}

/// A bit with a meaning for 1 and for 0.
const fn either(bit: u32, name: &'static str, set: &'static str, clear: &'static str) -> Field {
    Field { high: bit, low: bit, name, meaning: Meaning::Flag { set, clear } }
}

const fn values(high: u32, low: u32, name: &'static str, values: &'static [(u64, &'static str)]) -> Field {
    Field { high, low, name, meaning: Meaning::Values(values) }
}

const fn number(high: u32, low: u32, name: &'static str, what: &'static str) -> Field {
    Field { high, low, name, meaning: Meaning::Number(what) }
}

const fn words(high: u32, low: u32, name: &'static str, words: fn(u64) -> String) -> Field {
    Field { high, low, name, meaning: Meaning::Words(words) }
}

const fn res1(high: u32, low: u32) -> Field {
    Field { high, low, name: "RES1", meaning: Meaning::Res1 }
}

/// For registers whose fields need no more to be said.
fn nothing(_: u64) -> Vec<Remark> {
    Vec::new()
}

fn says(text: impl Into<String>) -> Remark {
    Remark::Says(text.into())
}

fn wrong(text: impl Into<String>) -> Remark {
    Remark::Wrong(text.into())
}

/// A number of bytes with the largest unit that it is a multiple of.
fn size(bytes: u64) -> String {
    vambrace_manifest::Size(bytes).to_string()
}

/// TWEDEL: how long a WFE that traps waits before, if TWEDEn is set.
fn wfe_delay(log: u64) -> String {
    if log == 0 {
        String::new()
    } else {
        format!("a WFE waits at least {} cycles before it traps", 256u64 << log)
    }
}

/// All registers, in the order of the listing.
pub fn all() -> impl Iterator<Item = &'static Register> {
    [
        fault::REGISTERS,
        hypervisor::REGISTERS,
        vtcr::REGISTERS,
        translation::REGISTERS,
        mair::REGISTERS,
        processor::REGISTERS,
        identification::REGISTERS,
        gic::REGISTERS,
    ]
    .into_iter()
    .flatten()
}

impl Register {
    /// The fields for `value`, from the highest bit down.
    #[must_use]
    pub fn fields(&self, value: u64) -> Vec<&'static Field> {
        let mut fields: Vec<_> = match self.layout {
            Layout::Fixed(fields) => fields.iter().collect(),
            Layout::ByValue(tables) => tables(value).into_iter().flatten().collect(),
        };
        fields.sort_by_key(|field| std::cmp::Reverse(field.low));
        fields
    }
}

#[cfg(test)]
mod tests;
