// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tells code from comments and texts, as far as searching for a word needs it.

/// A file's code and its comments, each with the other blanked out. Both have the lines of the original.
pub(crate) struct Lexed {
    pub(crate) code: String,
    pub(crate) comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    BlockComment(usize),
    /// Inside a string literal, which ends with a quote and as many `#`; only a plain one has escapes.
    Text {
        hashes: Option<usize>,
    },
}

/// Takes Rust apart.
pub(crate) fn lex(text: &str) -> Lexed {
    let mut lexed = Lexed { code: String::new(), comments: String::new() };
    let mut state = State::Code;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (next, len) = step(state, rest, c);
        let (piece, tail) = rest.split_at(len);
        let is_code = state == State::Code && next == State::Code;
        let is_comment = matches!(state, State::LineComment | State::BlockComment(_))
            || matches!(next, State::LineComment | State::BlockComment(_));
        for c in piece.chars() {
            let blank = if c == '\n' { '\n' } else { ' ' };
            lexed.code.push(if is_code { c } else { blank });
            lexed.comments.push(if is_comment { c } else { blank });
        }
        state = next;
        rest = tail;
    }
    lexed
}

/// The state behind the next piece of text, and that piece's length in bytes.
fn step(state: State, rest: &str, c: char) -> (State, usize) {
    match state {
        State::Code => start(rest, c),
        State::LineComment if c == '\n' => (State::Code, 1),
        State::LineComment => (state, c.len_utf8()),
        State::BlockComment(depth) if rest.starts_with("/*") => (State::BlockComment(depth + 1), 2),
        State::BlockComment(1) if rest.starts_with("*/") => (State::Code, 2),
        State::BlockComment(depth) if rest.starts_with("*/") => (State::BlockComment(depth - 1), 2),
        State::Text { hashes: None } if c == '\\' => {
            (state, 1 + rest.chars().nth(1).map_or(0, char::len_utf8))
        }
        State::Text { hashes: None } if c == '"' => (State::Code, 1),
        State::Text { hashes: Some(hashes) } if rest.starts_with(&format!("\"{}", "#".repeat(hashes))) => {
            (State::Code, 1 + hashes)
        }
        State::BlockComment(_) | State::Text { .. } => (state, c.len_utf8()),
    }
}

/// What begins here in code.
fn start(rest: &str, c: char) -> (State, usize) {
    if rest.starts_with("//") {
        return (State::LineComment, 2);
    }
    if rest.starts_with("/*") {
        return (State::BlockComment(1), 2);
    }
    if c == '"' {
        return (State::Text { hashes: None }, 1);
    }
    if let Some(raw) = rest.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw.get(hashes..).is_some_and(|raw| raw.starts_with('"')) {
            return (State::Text { hashes: Some(hashes) }, 2 + hashes);
        }
    }
    if c == '\'' {
        // A character, or a lifetime.
        let mut characters = rest.chars().skip(1);
        let first = characters.next();
        if first == Some('\\') {
            let end = rest.get(3..).and_then(|rest| rest.find('\'')).map_or(1, |at| at + 4);
            return (State::Code, end);
        }
        if characters.next() == Some('\'') {
            return (State::Code, 2 + first.map_or(0, char::len_utf8));
        }
    }
    (State::Code, c.len_utf8())
}

#[test]
fn code_and_comments_come_apart() {
    let Lexed { code, comments } = lex("let a = \"// no\"; // yes \"\nr#\"unsafe \"# b /* c */ '\"' d 'l");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(code.lines().map(words).collect::<Vec<_>>(), ["let a = ;", "b '\"' d 'l"]);
    assert!(comments.contains("// yes \"") && comments.contains("/* c */") && !comments.contains("no"));
}
