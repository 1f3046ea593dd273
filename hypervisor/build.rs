// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links the EL2 program: position-independent, at address 0, by our own linker script.

fn main() {
    println!("cargo::rerun-if-changed=image.ld");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-T{folder}/image.ld");
        // The image runs wherever the firmware puts it and relocates itself before the MMU is on, constant
        // data included.
        for argument in ["-pie", "--no-dynamic-linker", "-znotext", "-znorelro", "--pack-dyn-relocs=relr"] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
