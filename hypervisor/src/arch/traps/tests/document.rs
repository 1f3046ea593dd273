// SPDX-License-Identifier: MIT OR Apache-2.0
//! `docs/traps.md`, printed from the tables.

use std::fmt::Write;

use super::*;

const DOCUMENT: &str = include_str!("../../../../../docs/traps.md");
/// What is printed begins behind this line, and goes on to the document's end.
const BEGIN: &str = "<!-- printed from hypervisor/src/arch/traps -->\n";

/// Each register's name, or both of a pair.
pub(super) const REGISTERS: [(Register, &str); 13] = [
    (Register::Hcr, "HCR_EL2"),
    (Register::Hcrx, "HCRX_EL2"),
    (Register::Mdcr, "MDCR_EL2"),
    (Register::Cptr, "CPTR_EL2"),
    (Register::Cnthctl, "CNTHCTL_EL2"),
    (Register::Mpam2, "MPAM2_EL2"),
    (Register::IccSre, "ICC_SRE_EL2"),
    (Register::Hfgrtr, "HFGRTR_EL2, HFGWTR_EL2"),
    (Register::Hfgitr, "HFGITR_EL2"),
    (Register::Hdfgrtr, "HDFGRTR_EL2, HDFGWTR_EL2"),
    (Register::Hfgrtr2, "HFGRTR2_EL2, HFGWTR2_EL2"),
    (Register::Hfgitr2, "HFGITR2_EL2"),
    (Register::Hdfgrtr2, "HDFGRTR2_EL2, HDFGWTR2_EL2"),
];

fn setting(control: &Control) -> String {
    match control.setting {
        Setting::Always(value) => value.to_string(),
        Setting::Reserved => "1 (RES1)".into(),
        Setting::Kept => "kept".into(),
        Setting::WhileOthersWait => "1 while another vCPU waits for the CPU".into(),
        Setting::WithPointerAuth => "1 with FEAT_PAuth".into(),
        Setting::WithForcedWriteBack => "1 with FEAT_S2FWB".into(),
        Setting::PerVcpu => "by vCPU".into(),
    }
}

fn place(control: &Control) -> String {
    match control.width {
        1 => control.lsb.to_string(),
        width => format!("{}:{}", control.lsb + width - 1, control.lsb),
    }
}

fn controls(hidden: &Hidden) -> Vec<&'static Control> {
    let Guard::Controlled(by) = hidden.guard else { return Vec::new() };
    let mut found: Vec<&Control> = Vec::new();
    for control in by.iter().copied().flatten().filter_map(|trap| trap.control()) {
        if !found.contains(&control) {
            found.push(control);
        }
    }
    found
}

fn field_name(hidden: &Hidden) -> String {
    match hidden.lsb {
        Some(_) => format!("{}.{}", hidden.register, hidden.name),
        None => hidden.register.to_string(),
    }
}

fn print() -> String {
    let mut text = String::new();
    for (register, name) in REGISTERS {
        write!(text, "\n## {name}\n\n").unwrap();
        let rows: Vec<_> = TABLE.iter().filter(|control| control.register == register).collect();
        text.push_str(
            "| bits | name | value | why | a guest finds | ID fields |\n|---|---|---|---|---|---|\n",
        );
        for control in rows {
            let fields = hidden::all().filter(|hidden| controls(hidden).contains(&control));
            let fields = fields.map(field_name).collect::<Vec<_>>().join(", ");
            let Control { name, why, guest, .. } = control;
            let (place, setting) = (place(control), setting(control));
            writeln!(text, "| {place} | {name} | {setting} | {why} | {guest} | {fields} |").unwrap();
        }
    }
    text.push_str(
        "\n## What a VM's ID registers hide\n\n| field | shown up to | why that is enough |\n|---|---|---|\n",
    );
    for hidden in hidden::all() {
        let names = controls(hidden).iter().map(|control| control.name).collect::<Vec<_>>().join(", ");
        let why = match hidden.guard {
            Guard::Controlled(_) => names,
            Guard::Switched(what, registers) => format!("switched: {what} ({})", registers.join(", ")),
            Guard::Harmless(why) => format!("harmless: {why}"),
        };
        let limit =
            if hidden.lsb.is_some() { hidden.shown.to_string() } else { format!("0 ({})", hidden.name) };
        writeln!(text, "| {} | {limit} | {why} |", field_name(hidden)).unwrap();
    }
    text
}

/// To renew the document, put what this prints behind the line `BEGIN`.
#[test]
fn the_document_is_what_the_tables_say() {
    let printed = print();
    let written = DOCUMENT.split_once(BEGIN).map(|(_, rest)| rest);
    assert!(written == Some(printed.as_str()), "docs/traps.md has to say:\n{BEGIN}{printed}");
}
