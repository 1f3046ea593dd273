// SPDX-License-Identifier: MIT OR Apache-2.0
//! TOML's own mistakes, each reported once.
//!
//! A parser that recovers tends to stumble over the same mistake again and again: behind a list without its
//! bracket, everything is wrong. So this takes the first error only, blanks out what it spoilt, and parses
//! again; offsets stay what they were. What is left is whole, and the later checks can look at it.

use toml::de::DeTable;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};

/// After so many errors of syntax, it is enough.
const MOST: usize = 20;

/// Reports errors of syntax; the text without the lines that have them.
pub(super) fn check(text: &str, diagnostics: &mut Diagnostics) -> String {
    let mut rest = text.to_owned();
    for _ in 0..MOST {
        let Some((message, span)) = first_error(&rest) else { return rest };
        let unclosed = unclosed_list(&rest, &span);
        let (diagnostic, spoilt) = match &unclosed {
            Some(list) => (
                Diagnostic::new(Code::Syntax, "this list has no end").label(list.clone(), "expected `]`"),
                list.clone(),
            ),
            None => (Diagnostic::new(Code::Syntax, message).label(span.clone(), ""), span),
        };
        diagnostics.push(diagnostic);
        if !blank(&mut rest, spoilt) {
            // It is not the line's fault: no telling where the mistake ends.
            break;
        }
    }
    String::new()
}

fn first_error(text: &str) -> Option<(String, Span)> {
    let (_, errors) = DeTable::parse_recoverable(text);
    errors
        .iter()
        .map(|error| (error.message().trim_end().to_owned(), error.span().unwrap_or(0..0)))
        .min_by_key(|(_, span)| span.start)
}

/// The list that the parser was still reading when it met the beginning of something else: a line with a key
/// or a section's head. From its key on.
fn unclosed_list(text: &str, error: &Span) -> Option<Span> {
    let start = line_start(text, error.start);
    let before = text.get(..start)?;
    let line = text.get(start..)?.lines().next()?.trim_start();
    let key = line.split_once('=').map_or("", |(key, _)| key.trim_end());
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "-_.\"".contains(c));
    if !(is_key || line.starts_with('[')) {
        return None;
    }
    let end = before.trim_end().len();
    let list = line_start(text, before.rfind('=')?);
    let value = text.get(list..end)?.split_once('=')?.1;
    let depth = value.matches('[').count().checked_sub(value.matches(']').count())?;
    (depth > 0).then_some(list..end)
}

/// Replaces the lines of `span` by spaces, or for a section's head the whole section: without it, its keys
/// would count as another's. Says whether there was anything to replace.
fn blank(text: &mut String, span: Span) -> bool {
    let start = line_start(text, span.start);
    let mut end = span.end.max(start);
    end += text.get(end..).and_then(|rest| rest.find('\n')).unwrap_or(text.len().saturating_sub(end));
    let spoilt = text.get(start..end).unwrap_or_default();
    if spoilt.trim_start().starts_with('[') {
        end += text.get(end..).and_then(|rest| rest.find("\n[")).unwrap_or(text.len() - end);
    }
    let Some(spoilt) = text.get(start..end) else { return false };
    let something = !spoilt.trim().is_empty();
    let blanks: String = spoilt
        .bytes()
        .map(|byte| if byte == b'\n' || byte == b'\r' { char::from(byte) } else { ' ' })
        .collect();
    text.replace_range(start..end, &blanks);
    something
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..at.min(text.len())).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}
