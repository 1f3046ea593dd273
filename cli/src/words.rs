// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words in sentences.

/// "1 VM", "2 VMs": for words that take an s.
pub(crate) fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
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
