// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of a translation: from a JSON file, from flags that override it, and by the name of a CPU.
//!
//! What is not said but follows is assumed, and the explanation says so: who names a TTBR wants stage 1, who names
//! VTTBR wants stage 2.

use std::path::Path;

use clap::Args;
use serde_json::Value;
use vambrace_manifest::cpus::CPUS;
use vambrace_memory::features::Features;
use vambrace_memory::hcr;
use vambrace_memory::translation::Registers;

use super::WalkError;
use crate::parse_value;
use vambrace_manifest::diagnostic::nearest;

/// The registers as flags.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Registers")]
pub struct RegisterArguments {
    /// TTBR0_EL1
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub ttbr0: Option<u64>,
    /// TTBR1_EL1
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub ttbr1: Option<u64>,
    /// TCR_EL1
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub tcr: Option<u64>,
    /// MAIR_EL1
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub mair: Option<u64>,
    /// SCTLR_EL1; without it, MMU and caches are on if a TTBR is given
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub sctlr: Option<u64>,
    /// VTTBR_EL2
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub vttbr: Option<u64>,
    /// VTCR_EL2
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub vtcr: Option<u64>,
    /// HCR_EL2; without it, VM is 1 if VTTBR_EL2 is given
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub hcr: Option<u64>,
    /// ID_AA64MMFR0_EL1
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub mmfr0: Option<u64>,
    /// ID_AA64MMFR1_EL1
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub mmfr1: Option<u64>,
    /// ID_AA64MMFR2_EL1
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub mmfr2: Option<u64>,
    /// What the CPU implements, in place of the ID registers; without either, all that there is
    #[arg(long, value_name = "NAME")]
    pub cpu: Option<String>,
    /// PSTATE.PAN is set
    #[arg(long)]
    pub pan: bool,
}

fn number(text: &str) -> Result<u64, String> {
    parse_value(text).map_err(|error| error.to_string())
}

/// The names of a JSON file's registers.
const NAMES: [&str; 13] = [
    "ttbr0", "ttbr1", "tcr", "mair", "sctlr", "vttbr", "vtcr", "hcr", "mmfr0", "mmfr1", "mmfr2", "cpu", "pan",
];

impl RegisterArguments {
    /// These, and what they leave open out of a JSON file.
    ///
    /// # Errors
    /// A file that cannot be read, with the place; a name that is none.
    pub fn with_file(self, path: &Path) -> Result<Self, WalkError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| WalkError::File { path: shown.clone(), reason: error.to_string() })?;
        let file =
            Self::from_json(&text).map_err(|(line, reason)| WalkError::Json { path: shown, line, reason })?;
        Ok(Self {
            ttbr0: self.ttbr0.or(file.ttbr0),
            ttbr1: self.ttbr1.or(file.ttbr1),
            tcr: self.tcr.or(file.tcr),
            mair: self.mair.or(file.mair),
            sctlr: self.sctlr.or(file.sctlr),
            vttbr: self.vttbr.or(file.vttbr),
            vtcr: self.vtcr.or(file.vtcr),
            hcr: self.hcr.or(file.hcr),
            mmfr0: self.mmfr0.or(file.mmfr0),
            mmfr1: self.mmfr1.or(file.mmfr1),
            mmfr2: self.mmfr2.or(file.mmfr2),
            cpu: self.cpu.or(file.cpu),
            pan: self.pan || file.pan,
        })
    }

    /// Out of JSON: an object of register names, each with a number or a string of one. On failure, the line.
    fn from_json(text: &str) -> Result<Self, (usize, String)> {
        let object: serde_json::Map<String, Value> =
            serde_json::from_str(text).map_err(|error| (error.line(), error.to_string()))?;
        let mut registers = Self::default();
        for (name, value) in &object {
            let line = text.lines().position(|line| line.contains(&format!("\"{name}\""))).unwrap_or(0) + 1;
            registers.set(name, value).map_err(|reason| (line, reason))?;
        }
        Ok(registers)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let wanted = stem(name);
        let slot = match wanted.as_str() {
            "cpu" => {
                let cpu = value.as_str().ok_or("`cpu` is the name of a CPU, in quotes")?;
                self.cpu = Some(cpu.to_owned());
                return Ok(());
            }
            "pan" => {
                self.pan = value.as_bool().ok_or("`pan` is true or false")?;
                return Ok(());
            }
            "ttbr0" => &mut self.ttbr0,
            "ttbr1" => &mut self.ttbr1,
            "tcr" => &mut self.tcr,
            "mair" => &mut self.mair,
            "sctlr" => &mut self.sctlr,
            "vttbr" => &mut self.vttbr,
            "vtcr" => &mut self.vtcr,
            "hcr" => &mut self.hcr,
            "mmfr0" => &mut self.mmfr0,
            "mmfr1" => &mut self.mmfr1,
            "mmfr2" => &mut self.mmfr2,
            _ => return Err(unknown("register", name, nearest(&wanted, NAMES), &NAMES)),
        };
        *slot = Some(match value {
            Value::Number(number) => number.as_u64().ok_or(format!("`{name}` is no value of 64 bits"))?,
            Value::String(text) => number(text).map_err(|error| format!("`{name}`: {error}"))?,
            _ => return Err(format!("`{name}` is a number, or a string such as \"0x80000000\"")),
        });
        Ok(())
    }

    /// The registers, and what had to be assumed.
    ///
    /// # Errors
    /// A CPU that is not known; a control register that is missing.
    pub fn resolve(&self) -> Result<(Registers, Vec<String>), WalkError> {
        let mut notes = Vec::new();
        let features = self.features(&mut notes)?;
        let stage1 = self.ttbr0.is_some() || self.ttbr1.is_some();
        if stage1 && self.tcr.is_none() {
            return Err(WalkError::Needed { name: "TCR_EL1", flag: "--tcr" });
        }
        if self.vttbr.is_some() && self.vtcr.is_none() {
            return Err(WalkError::Needed { name: "VTCR_EL2", flag: "--vtcr" });
        }
        let sctlr = self.sctlr.unwrap_or_else(|| {
            if stage1 {
                notes.push("SCTLR_EL1 is not given: M, C and I are taken to be 1".to_owned());
            }
            if stage1 { MMU_AND_CACHES } else { 0 }
        });
        let hcr = self.hcr.unwrap_or_else(|| {
            if self.vttbr.is_some() {
                notes.push("HCR_EL2 is not given: VM is taken to be 1, all else 0".to_owned());
            }
            if self.vttbr.is_some() { hcr::VM } else { 0 }
        });
        if stage1 && self.mair.is_none() {
            notes.push("MAIR_EL1 is not given: 0 is taken, which is Device-nGnRnE throughout".to_owned());
        }
        let registers = Registers {
            sctlr,
            tcr: self.tcr.unwrap_or(0),
            ttbr0: self.ttbr0.unwrap_or(0),
            ttbr1: self.ttbr1.unwrap_or(0),
            mair: self.mair.unwrap_or(0),
            pan: self.pan,
            hcr,
            vtcr: self.vtcr.unwrap_or(0),
            vttbr: self.vttbr.unwrap_or(0),
            features,
        };
        Ok((registers, notes))
    }

    fn features(&self, notes: &mut Vec<String>) -> Result<Features, WalkError> {
        let base = match &self.cpu {
            Some(name) => cpu(name)?,
            None => {
                if self.mmfr0.is_none() {
                    notes.push("no CPU is named: one that has everything is taken (--cpu max)".to_owned());
                }
                Features::FULL
            }
        };
        Ok(Features {
            mmfr0: self.mmfr0.unwrap_or(base.mmfr0),
            mmfr1: self.mmfr1.unwrap_or(base.mmfr1),
            mmfr2: self.mmfr2.unwrap_or(base.mmfr2),
        })
    }
}

/// SCTLR_EL1: M, C, I.
const MMU_AND_CACHES: u64 = 1 | 1 << 2 | 1 << 12;

fn cpu(name: &str) -> Result<Features, WalkError> {
    let names = CPUS.map(|(name, _)| name);
    match CPUS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        Some((_, features)) => Ok(*features),
        None => Err(WalkError::Unknown(unknown("CPU", name, nearest(name, names), &names))),
    }
}

fn unknown(what: &str, name: &str, near: Option<&str>, known: &[&str]) -> String {
    match near {
        Some(near) => format!("there is no {what} `{name}` here\ndid you mean {near}?"),
        None => format!("there is no {what} `{name}` here\nthere are: {}", known.join(", ")),
    }
}

/// A register's name without what its exception level and its kind add: `tcr` of `TCR_EL1`.
fn stem(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("id_aa64").unwrap_or(&name);
    name.strip_suffix("_el1").or_else(|| name.strip_suffix("_el2")).unwrap_or(name).to_owned()
}
