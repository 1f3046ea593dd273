// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers as people write them: `0x9600_0047`, `0b1010`, `4096`.

/// A text that is no value of 64 bits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no value: {reason}\nwrite hexadecimal with 0x, binary with 0b, or decimal; _ may divide the digits"
)]
pub struct ValueError {
    /// As written.
    pub text: String,
    /// What is wrong with it, and where.
    pub reason: String,
}

/// Reads a value.
///
/// # Errors
/// See [`ValueError`].
pub fn parse_value(text: &str) -> Result<u64, ValueError> {
    let error = |reason: String| Err(ValueError { text: text.to_owned(), reason });
    let lower = text.to_ascii_lowercase();
    let (radix, kind, prefix) = match lower.get(..2) {
        Some("0x") => (16, "hexadecimal", 2),
        Some("0b") => (2, "binary", 2),
        _ => (10, "decimal", 0),
    };
    let mut value = 0u64;
    let mut digits = 0;
    for (place, letter) in text.chars().enumerate().skip(prefix) {
        if letter == '_' {
            continue;
        }
        let Some(digit) = letter.to_digit(radix) else {
            // A hexadecimal number whose 0x was forgotten.
            let forgotten = radix == 10 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '_');
            let hint = if forgotten { format!("; did you mean 0x{text}?") } else { String::new() };
            return error(format!("`{letter}` (character {}) is no {kind} digit{hint}", place + 1));
        };
        let next = value.checked_mul(radix.into()).and_then(|value| value.checked_add(digit.into()));
        let Some(next) = next else {
            return error("it is more than 64 bits can hold".to_owned());
        };
        value = next;
        digits += 1;
    }
    if digits == 0 { error("it has no digits".to_owned()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_write_a_number() {
        for (text, value) in [
            ("0x9600_0047", 0x9600_0047),
            ("0X9600004f", 0x9600_004F),
            ("0b1_0000", 16),
            ("4096", 4096),
            ("0", 0),
            ("0xffffffffffffffff", u64::MAX),
            ("18_446_744_073_709_551_615", u64::MAX),
        ] {
            assert_eq!(parse_value(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_told_with_its_place() {
        for (text, reason) in [
            ("0x96g0", "`g` (character 5) is no hexadecimal digit"),
            ("0b12", "`2` (character 4) is no binary digit"),
            ("96000f47", "`f` (character 6) is no decimal digit; did you mean 0x96000f47?"),
            ("-1", "`-` (character 1) is no decimal digit"),
            ("0x", "it has no digits"),
            ("", "it has no digits"),
            ("_", "it has no digits"),
            ("0x1_0000_0000_0000_0000", "it is more than 64 bits can hold"),
            ("18446744073709551616", "it is more than 64 bits can hold"),
            ("é", "`é` (character 1) is no decimal digit"),
        ] {
            assert_eq!(parse_value(text).unwrap_err().reason, reason, "{text}");
        }
    }
}
