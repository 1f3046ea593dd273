// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has to be dropped last is declared last in its struct, and first in the function that makes it.

use crate::lexer::lex;
use crate::sources;

/// The guard that tells that a VM is gone.
const GUARD: &str = "GoneGuard";

/// The code of a file of the hypervisor; empty if it is not there.
fn code(path: &str) -> String {
    let source = sources::all().into_iter().find(|source| source.path.ends_with(path));
    source.map(|source| lex(&source.text).code).unwrap_or_default()
}

/// The type of the last field of a struct without generic fields that have commas.
fn last_field<'a>(code: &'a str, of: &str) -> Option<&'a str> {
    let (_, rest) = code.split_once(&format!("struct {of} {{"))?;
    let (body, _) = rest.split_once('}')?;
    let last = body.trim().trim_end_matches(',').rsplit('\n').next()?;
    Some(last.split_once(": ")?.1)
}

/// What the first `let` after `start` is set to.
fn first_value<'a>(code: &'a str, start: &str) -> Option<&'a str> {
    let (_, rest) = code.split_once(start)?;
    Some(rest.split_once("let ")?.1.split_once(" = ")?.1)
}

#[test]
fn a_vm_is_told_to_be_gone_after_all_that_it_had() {
    assert_eq!(last_field(&code("hypervisor/src/vm/shared.rs"), "VmShared"), Some(GUARD));
    let registry = code("hypervisor/src/vm/registry.rs");
    let value = first_value(&registry, "fn create(").unwrap_or_default();
    assert!(
        value.starts_with(GUARD),
        "Registry::create takes something before it has the guard: {value:.40}"
    );
}

#[test]
fn the_rule_sees_the_last_field_and_the_first_value() {
    let code = "struct A {\n    b: B,\n    c: C,\n}\nfn d() {\n    let e = F::new();\n    let g = H;\n}\n";
    assert_eq!(last_field(code, "A"), Some("C"));
    assert!(first_value(code, "fn d(").is_some_and(|value| value.starts_with("F::new")));
}
