// SPDX-License-Identifier: MIT OR Apache-2.0
//! "Did you mean": the nearest of some words.

/// The candidate that `word` is most likely a misspelling of: a third of its letters may be wrong, case does
/// not count, and a swap of neighbours is one mistake.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap neighbours) between two words: optimal string alignment.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // Rows of the table of distances between prefixes: the one before last, the last, the current.
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits() {
        for (from, to, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kernel", "kernel", 0),
            ("kernal", "kernel", 1),
            ("kenrel", "kernel", 1),
            ("kern", "kernel", 2),
            ("vcpu", "cpus", 2),
            ("äpfel", "apfel", 1),
        ] {
            assert_eq!(distance(from, to), edits, "{from} {to}");
            assert_eq!(distance(to, from), edits, "{to} {from}");
        }
    }

    #[test]
    fn only_likely_words_are_proposed() {
        let keys = ["kernel", "memory", "vcpus", "cpus"];
        assert_eq!(nearest("kernal", keys), Some("kernel"));
        assert_eq!(nearest("Memory", keys), Some("memory"));
        assert_eq!(nearest("vcpu", keys), Some("vcpus"));
        assert_eq!(nearest("disk", keys), None);
    }
}
