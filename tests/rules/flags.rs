// SPDX-License-Identifier: MIT OR Apache-2.0
//! Assembly that says it preserves the flags does: else the compiler keeps a comparison over it that is no longer true.

use crate::sources;

/// Instructions that set NZCV.
const SETTERS: [&str; 15] = [
    "adcs", "adds", "ands", "bics", "ccmn", "ccmp", "cmn", "cmp", "fcmp", "fcmpe", "negs", "ngcs", "sbcs",
    "subs", "tst",
];

/// Reads that set NZCV, by name and by encoding: RNDR and RNDRRS. And a write.
const REGISTERS: [&str; 5] = ["s3_3_c2_c4_0", "s3_3_c2_c4_1", "rndr", "rndrrs", "msr nzcv"];

/// The pieces of a source that are each one `asm!`, up to the end of its `options`.
fn asm(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices("asm!(").map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find("options(").and_then(|options| Some(options + rest[options..].find(')')?));
        (text[..at].matches('\n').count() + 1, &rest[..end.unwrap_or(rest.len())])
    })
}

/// What in an `asm!` changes the flags, if it claims that nothing does.
fn liar(asm: &str) -> Option<&'static str> {
    let asm = asm.to_lowercase();
    let templates: Vec<&str> = asm.split('"').skip(1).step_by(2).collect();
    let first_words = || templates.iter().filter_map(|template| template.split_whitespace().next());
    let setter = SETTERS.into_iter().find(|setter| first_words().any(|word| word == *setter));
    let register =
        REGISTERS.into_iter().find(|register| templates.iter().any(|template| template.contains(register)));
    setter.or(register).filter(|_| asm.contains("preserves_flags"))
}

#[test]
fn assembly_that_preserves_the_flags_does() {
    let mut wrong = Vec::new();
    for source in
        sources::all().iter().filter(|source| source.is_rust() && !source.path.ends_with("flags.rs"))
    {
        for (line, asm) in asm(&source.text) {
            if let Some(setter) = liar(asm) {
                wrong.push(format!("  {}:{line}: `{setter}`", source.path.display()));
            }
        }
        // In a table of registers the name is apart from the instruction, and from its options.
        let in_table = |line: &&str| line.contains(" = \"s3_3_c2_c4_") || line.contains(" = \"rndr");
        if let Some(line) = source.text.lines().find(in_table) {
            wrong.push(format!("  {}: `{}` in a table of registers", source.path.display(), line.trim()));
        }
    }
    assert!(wrong.is_empty(), "these change NZCV under `preserves_flags`:\n{}", wrong.join("\n"));
}

#[test]
fn a_liar_is_found() {
    let options = "options(nostack, preserves_flags)";
    assert_eq!(liar(&format!("asm!(\"cmp {{0}}, #1\", in(reg) x, {options}")), Some("cmp"));
    assert_eq!(
        liar(&format!("asm!(\"mrs {{}}, s3_3_c2_c4_0\", out(reg) x, {options}")),
        Some("s3_3_c2_c4_0")
    );
    assert_eq!(liar(&format!("asm!(\"mrs {{}}, sctlr_el1\", out(reg) x, {options}")), None);
    assert_eq!(liar("asm!(\"cmp {0}, #1\", in(reg) x, options(nostack)"), None);
}
