// SPDX-License-Identifier: MIT OR Apache-2.0
//! From diagnostics to text, by `annotate-snippets`.

use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Severity, Source, Span, Style};

pub(super) fn render(diagnostics: &Diagnostics, style: Style) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    let path = diagnostics.source.path.to_string_lossy();
    let mut text = String::new();
    for diagnostic in &diagnostics.list {
        text += &renderer.render(&report(diagnostic, &diagnostics.source, &path));
        text += "\n\n";
    }
    text += &renderer.render(&[Group::with_title(
        level(if diagnostics.has_errors() { Severity::Error } else { Severity::Warning })
            .primary_title(summary(diagnostics, &path)),
    )]);
    text.push('\n');
    text
}

fn report<'a>(diagnostic: &'a Diagnostic, source: &'a Source, path: &'a str) -> Vec<Group<'a>> {
    let title = level(diagnostic.code.severity())
        .primary_title(diagnostic.title.as_str())
        .id(diagnostic.code.to_string());
    let mut group = Group::with_title(title);
    if !diagnostic.labels.is_empty() {
        let annotations = diagnostic.labels.iter().enumerate().map(|(index, label)| {
            let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let annotation = kind.span(within(&source.text, &label.span));
            if label.text.is_empty() { annotation } else { annotation.label(label.text.as_str()) }
        });
        group = group.element(Snippet::source(source.text.as_str()).path(path).annotations(annotations));
    }
    group = group.elements(diagnostic.notes.iter().map(|note| Level::NOTE.message(note.as_str())));
    group = group.elements(diagnostic.helps.iter().map(|help| Level::HELP.message(help.as_str())));
    let fix = diagnostic.fix.as_ref().map(|fix| {
        let patch = Patch::new(within(&source.text, &fix.span), fix.replacement.as_str());
        Group::with_title(Level::HELP.secondary_title(fix.title.as_str()))
            .element(Snippet::source(source.text.as_str()).path(path).patch(patch))
    });
    [group].into_iter().chain(fix).collect()
}

fn level(severity: Severity) -> Level<'static> {
    match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    }
}

fn summary(diagnostics: &Diagnostics, path: &str) -> String {
    let count = |severity, one: &str| match diagnostics.count(severity) {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {one}s")),
    };
    let counts: Vec<_> = [count(Severity::Error, "error"), count(Severity::Warning, "warning")]
        .into_iter()
        .flatten()
        .collect();
    format!("{path}: {}", counts.join(", "))
}

/// The span, moved inward to what the text has: whole characters, nothing past its end.
fn within(text: &str, span: &Span) -> Span {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    start..end
}
