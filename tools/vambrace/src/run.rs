// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the manifest and the arguments of `run` say together: arguments go before the manifest, and expectations add up.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use regex::bytes::Regex;

use crate::args::Run;
use crate::console::inspection::Known;
use crate::expect::Judge;
use crate::failure::Failure;
use vambrace_manifest::run::{Expected, pattern};
use vambrace_manifest::symbols::Symbols;
use vambrace_manifest::{Manifest, Vm};
use vambrace_setup::SetupError;

/// Stands for every VM.
const EVERY: &str = "*";

/// `VM:REGEX`, as an argument.
#[derive(Clone, Debug)]
pub struct Text {
    /// The VM's name, or `*` for every VM.
    vm: String,
    regex: Regex,
}

impl FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((vm, regex)) = text.split_once(':') else {
            return Err("write VM:REGEX, such as 'web:login: ', or '*:REGEX' for every VM".to_owned());
        };
        Ok(Self { vm: vm.to_owned(), regex: pattern(regex)? })
    }
}

/// How a manifest is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The VM that gets the input, if one is named.
    pub input: Option<u16>,
    /// The folder for the logs.
    pub log_dir: Option<PathBuf>,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// What is expected of the VMs.
    pub judge: Judge,
}

impl Options {
    /// Of a manifest and the arguments.
    ///
    /// # Errors
    /// When an argument names a VM that the manifest does not have.
    pub fn new(manifest: &Manifest, run: &Run) -> Result<Self, Failure> {
        let input = run.input.as_deref().map(|name| find(manifest, "--input", name)).transpose()?;
        let mut vms: Vec<(String, Expected)> =
            manifest.vms.iter().map(|vm| (vm.name.clone(), vm.expected.clone())).collect();
        for text in &run.expect {
            add(manifest, "--expect", text, |vm| vms[vm].1.texts.push(text.regex.clone()))?;
        }
        for text in &run.fail_on {
            add(manifest, "--fail-on", text, |vm| vms[vm].1.never.push(text.regex.clone()))?;
        }
        let log_dir = manifest.run.log_dir.as_ref().map(|path| manifest.folder().join(path));
        Ok(Self {
            input: input.or(manifest.run.input),
            log_dir: run.log_dir.clone().or(log_dir),
            timeout: run.timeout.or(manifest.run.timeout),
            judge: Judge::new(vms),
        })
    }
}

/// What is known of the VMs, for telling what they do.
///
/// # Errors
/// When a file with symbols can no longer be read.
pub fn known(manifest: &Manifest) -> Result<Vec<Known>, Failure> {
    let known = |vm: &Vm| {
        let after = vm.after.and_then(|after| manifest.vms.get(usize::from(after)));
        let symbols = match &vm.symbols {
            Some(path) => {
                let path = manifest.folder().join(path);
                let bytes = std::fs::read(&path).map_err(|error| SetupError::file("read", &path, &error))?;
                Symbols::read(&bytes)
            }
            None => None,
        };
        Ok(Known { name: vm.name.clone(), after: after.map(|vm| vm.name.clone()), symbols })
    };
    manifest.vms.iter().map(known).collect()
}

/// Calls `to` for each VM that an argument means.
fn add(
    manifest: &Manifest,
    option: &'static str,
    text: &Text,
    mut to: impl FnMut(usize),
) -> Result<(), Failure> {
    if text.vm == EVERY {
        (0..manifest.vms.len()).for_each(to);
    } else {
        to(find(manifest, option, &text.vm)?.into());
    }
    Ok(())
}

/// The index of the VM that an argument names.
fn find(manifest: &Manifest, option: &'static str, name: &str) -> Result<u16, Failure> {
    let index =
        manifest.vms.iter().position(|vm| vm.name == name).and_then(|index| u16::try_from(index).ok());
    index.ok_or_else(|| {
        let known = manifest.vms.iter().map(|vm| vm.name.clone()).collect();
        Failure::NoSuchVm { option, name: name.to_owned(), known }
    })
}
