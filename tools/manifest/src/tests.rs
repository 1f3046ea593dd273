// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each file in `cases/` is a manifest; beside it stands what is said about it. `UPDATE_CASES=1` writes that
//! anew: then read the difference.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;
use vambrace_machine::devices::{self, Device};

use super::*;
use crate::diagnostic::{Code, Source};
use crate::images::fakes::{image, zboot};
use crate::manifest::schema;
use crate::plan::tests::FakeImages;
use crate::plan::{self, PlanError};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cases");

/// A folder with the files that the cases name.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let with = |at: usize, magic: &[u8]| {
        let mut bytes = vec![0; 4096];
        bytes[at..][..magic.len()].copy_from_slice(magic);
        bytes
    };
    let elf =
        |machine: u8| [with(0, b"\x7FELF\x02\x01")[..18].to_vec(), vec![machine, 0], vec![0; 100]].concat();
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::create_dir(folder.path().join("zephyr")).unwrap();
    file("Image", &image(0, 64 << 10, 0));
    file("Image-16k", &image(0, 64 << 10, 4));
    file("QEMU_EFI-arm32.fd", &0xEA00_00B8u32.to_le_bytes());
    file("QEMU_EFI.fd", &with(0, &[&[0, 0, 0, 0x14][..], &[0; 36], b"_FVH"].concat()));
    file("zephyr/Image", &image(0, 64 << 10, 0));
    file("Image.gz", &crate::images::fakes::gzip(&image(0, 2 << 20, 0)));
    file("Image-of-40MiB", &image(0, 40 << 20, 0));
    file("Image-of-exbibytes", &image(0, u64::MAX, 0));
    file("Image-big-endian", &image(0, 64 << 10, 1));
    file("Image-riscv", &with(0x30, b"RISCV\0\0\0"));
    file("Image.xz", &with(0, b"\xFD7zXZ\0"));
    file("bzImage", &with(0x202, b"HdrS"));
    file("zImage", &with(0x24, &0x016F_2818u32.to_le_bytes()));
    file("uImage", &with(0, &0x2705_1956u32.to_be_bytes()));
    file("vmlinuz.efi", &zboot("zstd22", b"packed"));
    file("vmlinux", &elf(183));
    file("vmlinux-x86", &elf(62));
    file("OVMF.fd", &[0; 4096]);
    file("initrd.cpio", b"070701 and so on");
    file("initrd-of-3MiB", &[b"070701".as_slice(), &vec![0; 3 << 20]].concat());
    file("notes.txt", b"buy milk\n");
    file("empty", b"");
    file("damaged.gz", b"\x1F\x8B\x08 no gzip");
    folder
}

/// What is said about a manifest, up to its plan.
fn said_about(path: &Path) -> String {
    let (manifest, warnings) = match load(path, &BoardOptions::default()) {
        Ok(loaded) => loaded,
        Err(diagnostics) => return diagnostics.to_string(),
    };
    match plan::plan(&manifest, &FakeImages) {
        Ok(_) => warnings.to_string(),
        Err(PlanError::Manifest(diagnostics)) => format!("{warnings}{diagnostics}"),
        Err(error) => panic!("{error}"),
    }
}

/// Compares with what is on file, or puts it there.
fn compare(name: &str, said: &str) -> Result<(), String> {
    let path = format!("{CASES}/{name}.txt");
    if std::env::var_os("UPDATE_CASES").is_some() {
        fs::write(&path, said).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if said == expected { Ok(()) } else { Err(format!("{name}: expected\n{expected}\nbut it says\n{said}")) }
}

#[test]
fn each_mistake_is_explained() {
    let folder = folder();
    let mut wrong = Vec::new();
    for entry in fs::read_dir(CASES).unwrap() {
        let case = entry.unwrap().path();
        if case.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = case.file_stem().unwrap().to_str().unwrap();
        let path = folder.path().join("manifest.toml");
        fs::copy(&case, &path).unwrap();
        let said = said_about(&path).replace(&format!("{}/", folder.path().display()), "");
        if let Some((code, _)) = name.split_once('-').filter(|(code, _)| code.starts_with("VB")) {
            assert!(said.contains(&format!("[{code}]")), "{name} has no {code}:\n{said}");
        }
        wrong.extend(compare(name, &said).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn six_mistakes_are_six_errors() {
    let text = fs::read_to_string(format!("{CASES}/six-mistakes.txt")).unwrap();
    assert_eq!(text.matches("\nerror[VB").count() + usize::from(text.starts_with("error[VB")), 6);
    assert_eq!(
        text.lines().filter(|line| line.trim_start().starts_with("| ") && line.contains('^')).count(),
        6
    );
    assert!(text.ends_with("6 errors\n"));
}

#[test]
fn a_file_that_is_no_text_is_said_to_be_none() {
    let folder = folder();
    let path = folder.path().join("manifest.toml");
    let said = |path: &Path| {
        let said = load(path, &BoardOptions::default()).unwrap_err().to_string();
        said.replace(&format!("{}/", folder.path().display()), "")
    };
    let missing = said(&path);
    fs::write(&path, b"[[vm]]\nname = \"gr\xFCn\"\n").unwrap();
    compare("VB0001-unreadable", &format!("{missing}{}", said(&path))).unwrap();
}

#[test]
fn each_code_has_a_case_and_is_in_the_reference() {
    let said: String = fs::read_dir(CASES)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/manifest.md");
    let reference = fs::read_to_string(reference).unwrap();
    for code in Code::ALL {
        assert!(said.contains(&format!("[{code}]")), "no case shows {code}");
        assert!(reference.contains(&format!("| {code} |")), "docs/manifest.md does not explain {code}");
    }
}

#[test]
fn each_key_is_in_the_reference_with_its_default() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/manifest.md");
    let reference = fs::read_to_string(reference).unwrap();
    let schema = schema::value();
    for (section, schema) in
        [("board", &schema["properties"]["board"]), ("vm", &schema["properties"]["vm"]["items"])]
    {
        let part = reference
            .split(&format!("\n## `[{section}"))
            .nth(1)
            .or(reference.split(&format!("\n## `[[{section}")).nth(1));
        let part = part.unwrap_or_else(|| panic!("no part on {section}")).split("\n## ").next().unwrap();
        for (key, schema) in schema["properties"].as_object().unwrap() {
            let line = part.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
            let line = line.unwrap_or_else(|| panic!("docs/manifest.md does not have {section}.{key}"));
            let default = match &schema["default"] {
                serde_json::Value::Null => continue,
                serde_json::Value::Array(items) => {
                    format!("[{}]", items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                }
                other => other.to_string(),
            };
            assert!(
                line.contains(&format!("`{default}`")),
                "{section}.{key} is {default} by default: {line}"
            );
        }
    }
}

fn understood(text: &str) -> Manifest {
    let source = Source { path: "manifest.toml".into(), text: text.to_owned() };
    let (manifest, warnings) =
        parse(source, &BoardOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    assert!(warnings.is_empty(), "{warnings}");
    manifest
}

#[test]
fn everything_has_its_default() {
    let manifest = understood("[[vm]]\nname = \"a\"\nkernel = \"guest:hello\"\n");
    let (machine, cpu, memory) = (BoardModel::Virt, "cortex-a72".into(), Size::mib(2048));
    let when_idle = WhenIdle::Off;
    let board = Board { machine, cpu, cpus: 4, memory, disks: Vec::new(), devices: Vec::new(), when_idle };
    assert_eq!(manifest.board, board);
    let vm = &manifest.vms[0];
    assert_eq!((vm.name.as_str(), vm.cmdline.as_str(), vm.memory), ("a", "", Size::mib(256)));
    assert_eq!(vm.boot, Boot::Kernel { kernel: KernelSource::Guest { name: "hello".into() }, initrd: None });
    assert_eq!((vm.vcpus.as_slice(), vm.weight, vm.after), ([None].as_slice(), 100, None));
    assert_eq!(vm.devices, devices::DEFAULT);
}

#[test]
fn every_key_is_understood() {
    let manifest = understood(
        r#"
        [board]
        machine = "virt"
        cpu = "max"
        cpus = 8
        memory = "4GiB"
        when_idle = "stay"
        [[vm]]
        name = "a"
        kernel = "debian:6.12"
        initrd = "demo"
        cmdline = "loglevel=4"
        memory = "1GiB"
        ram_piece = "2MiB"
        vcpus = 2
        cpus = [7, 7]
        weight = 300
        devices = ["pl011"]
        [[vm]]
        name = "b"
        firmware = "debian:u-boot"
        cpus = [0, 1, 2]
        after = "a"
        "#,
    );
    assert_eq!(
        (manifest.board.cpu.as_str(), manifest.board.cpus, manifest.board.memory),
        ("max", 8, Size::mib(4096))
    );
    assert_eq!(manifest.board.when_idle, WhenIdle::Stay);
    let [a, b] = manifest.vms.as_slice() else { panic!("two VMs") };
    let kernel = KernelSource::Debian { version: Some("6.12".into()) };
    assert_eq!(a.boot, Boot::Kernel { kernel, initrd: Some(InitrdSource::Demo) });
    assert_eq!((a.cmdline.as_str(), a.memory, a.weight), ("loglevel=4", Size::mib(1024), 300));
    assert_eq!((a.ram_piece(), b.ram_piece()), (Some(Size::mib(2)), None));
    assert_eq!(a.vcpus, [Some(7), Some(7)]);
    assert_eq!(a.devices, devices::set(&[Device::Pl011]));
    assert_eq!(b.boot, Boot::Firmware(FirmwareSource::DebianUBoot));
    assert_eq!((b.vcpus.len(), b.after), (3, Some(0)));
}

#[test]
fn the_command_line_goes_before_the_manifest() {
    let text =
        "[board]\ncpus = 2\nmemory = \"1GiB\"\n[[vm]]\nname = \"a\"\nkernel = \"guest:hello\"\ncpus = [3]\n";
    let source = Source { path: "manifest.toml".into(), text: text.to_owned() };
    let options =
        |cpus, mib| BoardOptions { cpus: Some(cpus), memory: Some(Size::mib(mib)), ..Default::default() };
    let (manifest, _) = parse(source.clone(), &options(4, 512)).unwrap();
    assert_eq!((manifest.board.cpus, manifest.board.memory), (4, Size::mib(512)));
    let codes =
        |options| parse(source.clone(), &options).unwrap_err().iter().map(|it| it.code).collect::<Vec<_>>();
    assert_eq!(codes(options(3, 128)), [Code::BoardTooSmall, Code::NoSuchCpu]);
}

#[test]
fn more_vms_than_a_bundle_holds_are_refused() {
    let vms = |count: usize| -> String {
        (0..count)
            .map(|index| {
                let after = if index > 0 { format!("after = \"vm{}\"\n", index - 1) } else { String::new() };
                format!("[[vm]]\nname = \"vm{index}\"\nkernel = \"guest:hello\"\n{after}")
            })
            .collect()
    };
    assert_eq!(understood(&vms(1024)).vms.len(), 1024);
    let source = Source { path: "manifest.toml".into(), text: vms(1025) };
    let diagnostics = parse(source, &BoardOptions::default()).unwrap_err();
    assert_eq!(diagnostics.iter().map(|it| it.code).collect::<Vec<_>>(), [Code::VmCount]);
}

#[test]
fn the_manifests_to_start_from_are_right() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let (_, warnings) =
                load(&path, &BoardOptions::default()).unwrap_or_else(|error| panic!("{error}"));
            assert!(warnings.is_empty(), "{warnings}");
        }
    }
}

/// Pieces from which manifests grow that are almost right.
fn piece() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "name",
        "kernel",
        "initrd",
        "firmware",
        "memory",
        "vcpus",
        "cpus",
        "weight",
        "devices",
        "after",
        "cmdline",
        "machine",
        "cpu",
        "vm",
        "board",
        "x",
        "\"quoted\"",
        "a.b",
        "ü",
    ]);
    let value = prop::sample::select(vec![
        "\"a\"",
        "\"b\"",
        "5",
        "-1",
        "99999999999999999999",
        "0x7F",
        "1.5",
        "true",
        "[0, 1]",
        "[",
        "[[]]",
        "{}",
        "{ name = \"a\" }",
        "[{ name = \"a\", kernel = \"debian\" }]",
        "\"debian\"",
        "\"guest:hello\"",
        "\"demo\"",
        "\"512MiB\"",
        "'''\n",
        "\"\"\"ü\n\"\"\"",
        "1979-05-27",
        "\"ü",
        "[\"pl011\"]",
        "nan",
        "",
    ]);
    prop_oneof![
        4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
        2 => Just("[[vm]]\n".to_owned()),
        1 => Just("[board]\n".to_owned()),
        1 => prop::sample::select(vec![
            "[vm]\n", "[[vm]\n", "[board", "\r\n", "# ü\n", "= 3\n", "\0", "]\n", "\u{feff}",
        ])
            .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..Default::default() })]

    /// Whatever the text: no panic, every complaint points into the text, and what passes can be planned.
    #[test]
    fn no_text_is_too_strange(pieces in prop::collection::vec(piece(), 0..14)) {
        let source = Source { path: "/nowhere/manifest.toml".into(), text: pieces.concat() };
        match parse(source.clone(), &BoardOptions::default()) {
            Ok((manifest, _)) => drop(plan::plan(&manifest, &FakeImages)),
            Err(diagnostics) => {
                prop_assert!(diagnostics.has_errors());
                for label in diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
                    prop_assert!(label.span.start <= label.span.end && label.span.end <= source.text.len());
                }
                prop_assert!(diagnostics.to_string().contains("error"));
            }
        }
    }
}
