// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words in sentences, and values as text.

/// "1 VM", "2 VMs": for words that take an s.
#[must_use]
pub fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// A value of ours in JSON, with the end of its last line. Plain values always have a form in JSON.
#[must_use]
pub fn json(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let said = [0, 1, 2].map(|count| counted(count, "VM"));
        assert_eq!(said, ["0 VMs", "1 VM", "2 VMs"]);
    }
}
