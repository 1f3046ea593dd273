// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys and types, checked against the schema.
//!
//! The schema comes from the types in [`super::file`], so what editors accept and what we accept is one
//! thing. What does not fit is reported and taken out of the tree; the rest is then sure to deserialise, and
//! is checked further.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Source, Span, nearest};

/// Keys that are written but unusable: nobody should be told that they are missing.
#[derive(Debug, Default)]
pub(super) struct PresentKeys(BTreeSet<(Section, String)>);

impl PresentKeys {
    /// Whether `key` of VM `index` was written, if badly.
    pub(super) fn in_vm(&self, index: usize, key: &str) -> bool {
        self.0.contains(&(Section::Vm(index), key.to_owned()))
    }

    /// Whether the list `key` of VM `index` has all that was written.
    pub(super) fn list_in_vm(&self, index: usize, key: &str) -> Wholeness {
        if self.in_vm(index, key) { Wholeness::Partial } else { Wholeness::Whole }
    }

    /// Whether the members of channel `index` are all that were written.
    pub(super) fn members_of(&self, index: usize) -> Wholeness {
        let has = |key: &str| self.0.contains(&(Section::Channel(index), key.to_owned()));
        if has("members") || has("readers") { Wholeness::Partial } else { Wholeness::Whole }
    }

    /// Whether `key` stands at the top, if badly.
    pub(super) fn at_top(&self, key: &str) -> bool {
        self.0.contains(&(Section::Top, key.to_owned()))
    }

    /// Whether `key` of the board was written, if badly.
    pub(super) fn in_board(&self, key: &str) -> bool {
        self.0.contains(&(Section::Board, key.to_owned()))
    }
}

/// Whether a list has all that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wholeness {
    /// It has.
    Whole,
    /// Of what was written, something could not be used: nobody should be told that it is missing.
    Partial,
}

/// Where in the file a table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Top,
    Board,
    Run,
    BoardDisk,
    BoardDevice,
    Network(usize),
    Channel(usize),
    Vm(usize),
    Disk(usize),
    Card(usize),
}

impl Section {
    /// The section in the manifest's own notation.
    const fn notation(self) -> &'static str {
        match self {
            Self::Top => "the manifest",
            Self::Board => "[board]",
            Self::Run => "[run]",
            Self::BoardDisk => "[[board.disk]]",
            Self::BoardDevice => "[[board.device]]",
            Self::Network(_) => "[[network]]",
            Self::Channel(_) => "[[channel]]",
            Self::Vm(_) => "[[vm]]",
            Self::Disk(_) => "[[vm.disk]]",
            Self::Card(_) => "[[vm.network]]",
        }
    }

    /// The section that item `index` of a list of tables under `key` is.
    fn item(self, key: &str, index: usize) -> Self {
        match (self, key) {
            (Self::Top, "network") => Self::Network(index),
            (Self::Top, "channel") => Self::Channel(index),
            (Self::Top, _) => Self::Vm(index),
            (Self::Board, "disk") => Self::BoardDisk,
            (Self::Board, "device") => Self::BoardDevice,
            (Self::Vm(vm), "disk") => Self::Disk(vm),
            (Self::Vm(vm), "network") => Self::Card(vm),
            (other, _) => other,
        }
    }
}

/// Whether a value stays in the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Drop,
}

/// Reports keys and values that the schema does not allow, and takes them out of `root`.
pub(super) fn check(
    root: &mut Spanned<DeTable<'_>>,
    schema: &Json,
    source: &Source,
    diagnostics: &mut Diagnostics,
) -> PresentKeys {
    let mut checker = Checker { schema, source, diagnostics, present: PresentKeys::default() };
    let span = root.span();
    checker.table(Section::Top, root.get_mut(), span, schema);
    checker.present
}

struct Checker<'a> {
    schema: &'a Json,
    source: &'a Source,
    diagnostics: &'a mut Diagnostics,
    present: PresentKeys,
}

impl Checker<'_> {
    fn table(&mut self, section: Section, table: &mut DeTable<'_>, span: Span, schema: &Json) {
        for key in words(&schema["required"]) {
            if !table.contains_key(key) {
                let missing = Diagnostic::new(Code::MissingKey, format!("`{key}` is missing"))
                    .label(span.clone(), format!("this section has no `{key}`"))
                    .help(format!("add a line such as `{key} = {}`", example(&schema["properties"][key])));
                self.present.0.insert((section, key.to_owned()));
                self.diagnostics.push(missing);
            }
        }
        for (key, mut value) in std::mem::take(table) {
            let name = key.get_ref().as_ref();
            let verdict = match schema["properties"].get(name) {
                Some(schema) => self.value(section, name, &mut value, schema),
                None => self.unknown_key(section, name, key.span(), schema),
            };
            match verdict {
                Verdict::Keep => _ = table.insert(key, value),
                Verdict::Drop => _ = self.present.0.insert((section, name.to_owned())),
            }
        }
    }

    fn unknown_key(&mut self, section: Section, key: &str, span: Span, schema: &Json) -> Verdict {
        let place = section.notation();
        let unknown = match section {
            Section::Top => format!("unknown key `{key}` before the first section"),
            _ => format!("unknown key `{key}` in {place}"),
        };
        let unknown = Diagnostic::new(Code::UnknownKey, unknown);
        let keys: Vec<&str> =
            schema["properties"].as_object().into_iter().flatten().map(|(key, _)| &**key).collect();
        let unknown = if let Some(near) = nearest(key, keys.iter().copied()) {
            self.present.0.insert((section, near.to_owned()));
            unknown.label(span.clone(), "").fix(format!("did you mean `{near}`?"), span, near)
        } else if let Some(home) = self.home_of(section, key) {
            unknown.label(span, "").help(format!("`{key}` is a key of {home}: move it there"))
        } else {
            unknown.label(span, "").help(format!("{place} knows {}", list(&keys)))
        };
        self.diagnostics.push(unknown);
        Verdict::Drop
    }

    /// The section, other than `here`, that has this key.
    fn home_of(&self, here: Section, key: &str) -> Option<&'static str> {
        let properties = &self.schema["properties"];
        let homes = [
            (Section::Board, &properties["board"]),
            (Section::Run, &properties["run"]),
            (Section::Vm(0), &properties["vm"]["items"]),
        ];
        let has = |(section, schema): &(Section, &Json)| {
            section.notation() != here.notation() && schema["properties"].get(key).is_some()
        };
        homes.into_iter().find(has).map(|(section, _)| section.notation())
    }

    fn value(
        &mut self,
        section: Section,
        key: &str,
        value: &mut Spanned<DeValue<'_>>,
        schema: &Json,
    ) -> Verdict {
        let span = value.span();
        let kind = if choices(schema).is_empty() { schema["type"].as_str() } else { Some("string") };
        match (kind.unwrap_or_default(), value.get_mut()) {
            ("object", DeValue::Table(table)) => {
                let section = match (section, key) {
                    (Section::Top, "run") => Section::Run,
                    (Section::Top, _) => Section::Board,
                    _ => section,
                };
                self.table(section, table, span, schema);
                Verdict::Keep
            }
            ("array", DeValue::Array(items)) => {
                let schema = &schema["items"];
                let mut index = 0;
                for mut item in std::mem::replace(items, DeArray::new()) {
                    let at = match item.get_ref() {
                        DeValue::Table(_) if is_section(schema) => section.item(key, index),
                        _ => section,
                    };
                    if self.value(at, key, &mut item, schema) == Verdict::Keep {
                        index += 1;
                        items.push(item);
                    } else {
                        // The others are looked at further.
                        self.present.0.insert((section, key.to_owned()));
                    }
                }
                Verdict::Keep
            }
            ("string", DeValue::String(text)) => self.word(key, text, span, schema),
            ("integer", DeValue::Integer(number)) => {
                let parsed = i128::from_str_radix(number.as_str(), number.radix()).ok();
                self.number(key, parsed, span, schema)
            }
            (wanted, found) => self.wrong_type(section, key, wanted, found, span, schema),
        }
    }

    fn word(&mut self, key: &str, word: &str, span: Span, schema: &Json) -> Verdict {
        let allowed = choices(schema);
        if allowed.is_empty() || allowed.contains(&word) {
            return Verdict::Keep;
        }
        let unknown = Diagnostic::new(Code::UnknownValue, format!("unknown word {word:?} for `{key}`"))
            .label(span.clone(), "");
        self.diagnostics.push(match nearest(word, allowed.iter().copied()) {
            Some(near) => unknown.fix(format!("did you mean `{near}`?"), span, format!("\"{near}\"")),
            None => unknown.help(format!("`{key}` can be {}", list(&allowed))),
        });
        Verdict::Drop
    }

    fn number(&mut self, key: &str, number: Option<i128>, span: Span, schema: &Json) -> Verdict {
        let limit = |name: &str| schema[name].as_i64().map(i128::from);
        let (minimum, maximum) = (limit("minimum").unwrap_or(0), limit("maximum").unwrap_or(i128::MAX));
        if number.is_some_and(|number| (minimum..=maximum).contains(&number)) {
            return Verdict::Keep;
        }
        let written = self.source.text.get(span.clone()).unwrap_or_default();
        self.diagnostics.push(
            Diagnostic::new(Code::OutOfRange, format!("`{key}` cannot be {written}"))
                .label(span, format!("must be from {minimum} to {maximum}")),
        );
        Verdict::Drop
    }

    fn wrong_type(
        &mut self,
        section: Section,
        key: &str,
        wanted: &str,
        found: &DeValue<'_>,
        span: Span,
        schema: &Json,
    ) -> Verdict {
        let written = self.source.text.get(span.clone()).unwrap_or_default();
        if section == Section::Top {
            let is_list = self.schema["properties"][key]["type"] == "array";
            let head = if is_list { format!("[[{key}]]") } else { format!("[{key}]") };
            let wrong =
                Diagnostic::new(Code::WrongType, format!("`{key}` is a section, begun by a line {head}"))
                    .label(span.clone(), "");
            self.diagnostics.push(if written.starts_with('[') && matches!(found, DeValue::Table(_)) {
                wrong.fix("write its head so", span, head)
            } else {
                wrong.help(format!("write {head}, and its keys on lines of their own below"))
            });
            return Verdict::Drop;
        }
        let items = if wanted == "array" { &schema["items"] } else { schema };
        if is_section(items) {
            self.diagnostics.push(no_section(section, key, found, written, span, items));
            return Verdict::Drop;
        }
        let title = format!("`{key}` takes {}, not {}", with_article(wanted), with_article(found.type_str()));
        let wrong = Diagnostic::new(Code::WrongType, title).label(span.clone(), "");
        self.diagnostics.push(match (wanted, found) {
            ("array", DeValue::String(_) | DeValue::Integer(_)) => {
                wrong.fix("write a list", span, format!("[{written}]"))
            }
            ("integer", DeValue::String(text)) if text.parse::<u32>().is_ok() => {
                wrong.fix("write it without quotes", span, text.to_string())
            }
            ("string", DeValue::Integer(_))
                if schema["pattern"].as_str().is_some_and(|it| it.contains("MiB")) =>
            {
                wrong.fix("write it with a unit, in quotes", span, format!("\"{written}MiB\""))
            }
            // An item of a list has no example of its own.
            _ if schema["examples"].is_null() => wrong.help(format!("write {} there", with_article(wanted))),
            _ => wrong.help(format!("write it like this: `{key} = {}`", example(schema))),
        });
        Verdict::Drop
    }
}

/// Whether a schema is that of a section.
fn is_section(schema: &Json) -> bool {
    schema["type"] == "object"
}

/// The complaint about a value where sections should be, each begun by a line of its own.
fn no_section(
    section: Section,
    key: &str,
    found: &DeValue<'_>,
    written: &str,
    span: Span,
    schema: &Json,
) -> Diagnostic {
    let head = section.item(key, 0).notation();
    let wrong = Diagnostic::new(Code::WrongType, format!("`{key}` is a section, begun by a line {head}"))
        .label(span.clone(), "");
    match found {
        DeValue::Table(_) if written.starts_with('[') => wrong.fix("write its head so", span, head),
        // What stands there is probably its name.
        DeValue::String(_) if schema["properties"]["name"].is_object() => {
            wrong.help(format!("write a line {head}, and below it `name = {written}`"))
        }
        _ => wrong.help(format!("write a line {head}, and its keys on lines of their own below")),
    }
}

/// The strings in a JSON array; none if it is not one.
fn words(array: &Json) -> Vec<&str> {
    array.as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

/// The words that a schema allows: `enum`, or `oneOf` where each has a description.
fn choices(schema: &Json) -> Vec<&str> {
    let described = schema["oneOf"].as_array().into_iter().flatten();
    let mut choices = words(&schema["enum"]);
    for schema in described {
        choices.extend(schema["const"].as_str());
        choices.extend(words(&schema["enum"]));
    }
    choices
}

/// The schema's first example, in TOML.
fn example(schema: &Json) -> String {
    match &schema["examples"][0] {
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(Json::to_string).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// "`a`, `b` and `c`".
pub(crate) fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => format!("`{word}`"),
        [words @ .., last] => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            format!("{} and `{last}`", words.join(", "))
        }
    }
}

/// The name of a TOML or JSON type, for a sentence.
fn with_article(kind: &str) -> &str {
    match kind {
        "object" | "table" => "a section",
        "array" => "a list",
        "string" => "a text in quotes",
        "integer" => "a whole number",
        "float" => "a fraction",
        "boolean" => "true or false",
        "datetime" => "a date",
        other => other,
    }
}
