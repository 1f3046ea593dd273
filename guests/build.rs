// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links the guests: position-independent, at address 0, by our own linker script. Programs for Linux, whose names begin
//! with `linux-`, are linked as the target's linker does it unasked: static, at a fixed address.

use std::path::Path;

/// Where the programs are.
const PROGRAMS: &str = "src/bin";
const FOR_LINUX: &str = "linux-";

fn main() {
    println!("cargo::rerun-if-changed=image.ld");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={PROGRAMS}");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        for guest in programs(&Path::new(&folder).join(PROGRAMS)).filter(|name| !name.starts_with(FOR_LINUX))
        {
            println!("cargo::rustc-link-arg-bin={guest}=-T{folder}/image.ld");
            // A guest runs wherever it has been loaded and relocates itself, constant data included.
            for argument in ["-pie", "--no-dynamic-linker", "-znotext", "-znorelro"] {
                println!("cargo::rustc-link-arg-bin={guest}={argument}");
            }
        }
    }
}

/// The programs' names, which are those of their files or folders.
fn programs(folder: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
}
