// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with a manifest, and what to write instead.
//!
//! A [`Diagnostic`] is a value: a code that stays the same for good, places in the text, a mend. Reading a
//! manifest collects them in [`Diagnostics`] and goes on, so that one run shows them all. The look is
//! rustc's.

mod code;
mod render;
mod similar;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use code::{Code, Severity};
pub use similar::nearest;

/// A place in a manifest's text, in bytes.
pub type Span = Range<usize>;

/// A manifest's text and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl Source {
    /// The folder that the manifest's relative paths start from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// One thing that is wrong, or at least odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which rule is broken.
    pub code: Code,
    /// What is wrong, in one line.
    pub title: String,
    /// Where: the first label is the place to look at, the others explain it.
    pub labels: Vec<Label>,
    /// More about the why.
    pub notes: Vec<String>,
    /// What to do, where it is not a matter of replacing text.
    pub helps: Vec<String>,
    /// What to write instead.
    pub fix: Option<Fix>,
}

/// An underlined piece of text with a remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The piece.
    pub span: Span,
    /// The remark; may be empty.
    pub text: String,
}

/// A replacement that mends the manifest, or is the likeliest to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// What it does: "write", "did you mean ...".
    pub title: String,
    /// The text to replace; empty for an insertion.
    pub span: Span,
    /// What to put there.
    pub replacement: String,
}

impl Diagnostic {
    pub(crate) fn new(code: Code, title: impl Into<String>) -> Self {
        Self {
            code,
            title: title.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            helps: Vec::new(),
            fix: None,
        }
    }

    pub(crate) fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    pub(crate) fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.helps.push(text.into());
        self
    }

    pub(crate) fn fix(
        mut self,
        title: impl Into<String>,
        span: Span,
        replacement: impl Into<String>,
    ) -> Self {
        self.fix = Some(Fix { title: title.into(), span, replacement: replacement.into() });
        self
    }

    /// Where in the text to look first.
    fn start(&self) -> usize {
        self.labels.first().map_or(0, |label| label.span.start)
    }
}

/// All that was found in one manifest, in the order of the text. Displayed without colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    source: Arc<Source>,
    list: Vec<Diagnostic>,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Plain text.
    Plain,
    /// With the escape sequences of terminals.
    Coloured,
}

impl Diagnostics {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Self { source, list: Vec::new() }
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let at = self.list.partition_point(|other| other.start() <= diagnostic.start());
        self.list.insert(at, diagnostic);
    }

    /// Keeps, beside errors of syntax, only what is surely not a consequence of them: nothing that complains
    /// of something absent (it may stand in a line that could not be read), and nothing on the same line.
    pub(crate) fn drop_consequences(&mut self) {
        let line = |diagnostic: &Diagnostic| {
            let before = self.source.text.get(..diagnostic.start()).unwrap_or(&self.source.text);
            before.matches('\n').count()
        };
        let broken: BTreeSet<usize> =
            self.list.iter().filter(|diagnostic| diagnostic.code == Code::Syntax).map(line).collect();
        let independent = |diagnostic: &&Diagnostic| {
            diagnostic.code == Code::Syntax
                || !(diagnostic.code.is_absence() || broken.contains(&line(diagnostic)))
        };
        self.list = self.list.iter().filter(independent).cloned().collect();
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the manifest cannot be used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|diagnostic| diagnostic.code.severity() == severity).count()
    }

    /// Prints all of them, ended by a line that counts them. Empty when there are none.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        render::render(self, style)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Diagnostics {}
