// SPDX-License-Identifier: MIT OR Apache-2.0
//! Maps of the manifests that come with the source, and of others.

use std::path::PathBuf;

use super::*;
use vambrace_manifest::diagnostic::Source;
use vambrace_manifest::workspace;
use vambrace_manifest::{self as manifest, BoardOptions};
use vambrace_svg::Rect;

fn of_file(name: &str) -> Map {
    let path = workspace().join("manifests").join(name);
    Map::new(&manifest::load(&path, &BoardOptions::default()).unwrap().0)
}

fn of_text(text: &str) -> Map {
    let source = Source { path: PathBuf::from("test.toml"), text: text.to_owned() };
    Map::new(&manifest::parse(source, &BoardOptions::default()).unwrap().0)
}

fn plain(map: &Map) -> String {
    anstream::adapter::strip_str(&map.text()).to_string()
}

/// Each VM's RAM and where it lies.
fn pieces(map: &Map) -> Vec<Vec<PhysicalLocation>> {
    let rams = map.vms.iter().flat_map(|vm| vm.regions.iter().filter(|region| region.what == "RAM"));
    rams.map(|region| region.lies_at.clone()).collect()
}

/// The same, where none is in several pieces.
fn ram(map: &Map) -> Vec<Option<PhysicalLocation>> {
    let only = |pieces: Vec<PhysicalLocation>| match pieces.as_slice() {
        [] => None,
        [piece] => Some(*piece),
        pieces => panic!("{pieces:?}"),
    };
    pieces(map).into_iter().map(only).collect()
}

/// What must hold of any map.
fn check(map: &Map) {
    for list in map.vms.iter().map(|vm| &vm.regions).chain([&map.physical]) {
        for pair in list.windows(2) {
            assert!(pair[0].end() <= pair[1].start, "{pair:?}");
        }
        assert!(list.iter().all(|region| region.size > 0));
    }
    for (pieces, vm) in pieces(map).iter().zip(&map.vms).filter(|(pieces, _)| !pieces.is_empty()) {
        let ram = vm.regions.iter().find(|region| region.what == "RAM").unwrap();
        assert_eq!(pieces.iter().map(|piece| piece.size).sum::<u64>(), ram.size);
    }
    for place in pieces(map).into_iter().flatten() {
        let aligned = if place.size < 2 << 20 { 4 << 10 } else { 2 << 20 };
        assert_eq!(place.start % aligned, 0);
        assert!(map.physical.iter().any(|region| (region.start, region.size) == (place.start, place.size)));
    }
}

#[test]
fn the_demo_has_its_vms_one_after_the_other() {
    let map = of_file("two-linux.toml");
    check(&map);
    let places = ram(&map);
    let (a, b) = (places[0].unwrap(), places[1].unwrap());
    assert_eq!(b.start, a.start + (512 << 20));
    // They come behind the bundle, whose size is not known here.
    assert!(a.start > 0x4800_0000 && a.certainty == Certainty::About);
}

#[test]
fn a_small_vm_is_right_behind_the_hypervisor_whatever_the_images() {
    let map = of_file("hello.toml");
    check(&map);
    let expected = PhysicalLocation { start: 0x4040_0000, size: 8 << 20, certainty: Certainty::Exact };
    assert_eq!(ram(&map), [Some(expected)]);
    let text = plain(&map);
    for line in [
        "VM hello, 1 vCPU: intermediate physical addresses",
        "0x4000_0000 ┌────────────────────────────────────────────┐",
        "│ RAM                                   8MiB │  ──► at PA 0x4040_0000",
        "0x4080_0000 └",
        "│ UART PL011                            4KiB │  traps to EL2",
        "0x4040_0000 ├────────────────────────────────────────────┤",
        "│ RAM of hello                          8MiB │",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}

#[test]
fn a_vm_with_its_ram_one_to_one_is_below_the_hypervisor() {
    let map = of_file("assigned.toml");
    check(&map);
    let starts: Vec<_> = ram(&map).into_iter().flatten().map(|place| place.start).collect();
    assert_eq!(starts.first(), Some(&0x4000_0000));
    let hypervisor = map.physical.iter().find(|region| region.what == "hypervisor").unwrap();
    assert_eq!(hypervisor.start, 0x6000_0000);
}

#[test]
fn devices_and_channels_of_a_vm_are_shown_where_it_sees_them() {
    let text = plain(&of_file("assigned.toml"));
    for line in ["/pl061@9030000", "──► at PA 0x0903_0000", "/virtio_mmio@a001000", "──► at PA 0x0a00_1000"]
    {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    let map = of_file("channel.toml");
    check(&map);
    let text = plain(&map);
    for line in [
        "│ doorbell of talk                      4KiB │  traps to EL2",
        "│ channel talk                         16KiB │  shared with other VMs",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    let map = of_file("storage.toml");
    check(&map);
    let text = plain(&map);
    for line in ["│ disk on storage", "│ network card on lan", "│ virtio entropy"] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}

#[test]
fn a_gigabyte_is_aligned_to_one_where_there_is_room() {
    let vms = "[[vm]]\nname = \"a\"\nkernel = \"guest:hello\"\nmemory = \"1GiB\"\n";
    let roomy = of_text(&format!("[board]\nmemory = \"4GiB\"\n{vms}"));
    assert_eq!(ram(&roomy)[0].unwrap().start, 0x8000_0000);
    // In 1.5 GiB from 0x4000_0000 on, no aligned GiB is free.
    let tight = of_text(&format!("[board]\nmemory = \"1536MiB\"\n{vms}"));
    assert_ne!(ram(&tight)[0].unwrap().start % (1 << 30), 0);
    check(&roomy);
    check(&tight);
}

#[test]
fn firmware_lies_beside_the_ram() {
    let map = of_text("[[vm]]\nname = \"boot\"\nfirmware = \"debian:u-boot\"\nmemory = \"64MiB\"\n");
    check(&map);
    let flash = &map.vms[0].regions[0];
    assert_eq!((flash.what.as_str(), flash.start, flash.size), ("flash", 0, 128 << 20));
    let [place] = flash.lies_at[..] else { panic!("{flash:?}") };
    assert_eq!(place.size, 2 << 20);
    // A block of firmware is small enough for the hole below the hypervisor.
    assert_eq!((place.start, place.certainty), (0x4000_0000, Certainty::Exact));
    assert!(map.physical.iter().any(|region| region.what == "erased flash of boot"));
}

#[test]
fn a_vm_that_waits_is_told_of() {
    let vm = |name: &str, more: &str| {
        format!("[[vm]]\nname = \"{name}\"\nkernel = \"guest:hello\"\nmemory = \"768MiB\"\n{more}")
    };
    let map = of_text(&format!("[board]\nmemory = \"1GiB\"\n{}{}", vm("a", ""), vm("b", "after = \"a\"\n")));
    check(&map);
    assert_eq!(ram(&map)[1], None);
    assert!(map.notes.iter().any(|note| note == "b has room only when a has ended."), "{:?}", map.notes);
    assert!(plain(&map).contains("VM b, 1 vCPU, after a has ended"));
}

/// The images divide a board of 1 GiB, and no part of it has room for 900 MiB.
fn divided(more: &str) -> Map {
    of_text(&format!(
        "[board]\nmemory = \"1GiB\"\n[[vm]]\nname = \"large\"\nkernel = \"guest:hello\"\nmemory = \"900MiB\"\n{more}"
    ))
}

#[test]
fn ram_in_pieces_is_drawn_piece_by_piece() {
    let map = divided("");
    check(&map);
    let [pieces] = &pieces(&map)[..] else { panic!("one VM") };
    let [first, second] = pieces[..] else { panic!("{pieces:?}") };
    // The larger of the two parts is above the bundle, and comes first.
    assert!(first.start > 0x4800_0000 && first.size > 800 << 20, "{first:?}");
    assert_eq!((second.start, second.size + first.size), (0x4040_0000, 900 << 20));
    let text = plain(&map);
    for line in [
        "│ RAM of large, piece 1",
        "│ RAM of large, piece 2",
        "──► 890MiB at PA 0x4840_0000",
        "──► 10MiB at PA 0x4040_0000",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    assert!(text.contains("large has its RAM in 2 pieces"), "{text}");
    assert_eq!(map.svg().matches("<path").count(), 2);
}

#[test]
fn small_pieces_are_told_of_and_not_drawn() {
    let map = divided("ram_piece = \"4MiB\"\n");
    check(&map);
    assert_eq!(pieces(&map), pieces(&divided("")));
    assert!(plain(&map).contains("large sees its RAM in pieces of 4MiB"), "{}", plain(&map));
}

#[test]
fn the_map_for_programs() {
    let json = serde_json::to_value(of_file("hello.toml")).unwrap();
    let regions = json["vms"][0]["regions"].as_array().unwrap();
    let ram = regions.iter().find(|region| region["what"] == "RAM").unwrap();
    assert_eq!(ram["start"], "0x4000_0000");
    assert_eq!(ram["lies_at"][0]["start"], "0x4040_0000");
    assert_eq!(ram["lies_at"][0]["certainty"], "exact");
}

/// The boxes of a picture: rectangles of the classes that boxes have.
fn boxes(svg: &str) -> Vec<Rect> {
    let attribute = |line: &str, name: &str| -> f64 {
        let rest = line.split_once(&format!(" {name}=\"")).unwrap().1;
        rest.split('"').next().unwrap().parse().unwrap()
    };
    svg.lines()
        .filter(|line| line.starts_with("<rect x="))
        .map(|line| Rect {
            x: attribute(line, "x"),
            y: attribute(line, "y"),
            width: attribute(line, "width"),
            height: attribute(line, "height"),
        })
        .collect()
}

#[test]
fn no_box_of_the_picture_overlaps_another() {
    let many: String = (0..5)
        .map(|index| {
            format!(
                "[[vm]]\nname = \"vm{index}\"\nkernel = \"guest:hello\"\nmemory = \"{}MiB\"\n",
                8 << index
            )
        })
        .collect();
    for map in [of_file("two-linux.toml"), of_file("hello.toml"), of_text(&many)] {
        let svg = map.svg();
        let boxes = boxes(&svg);
        assert!(boxes.len() > map.physical.len());
        for (index, one) in boxes.iter().enumerate() {
            // Written to a tenth of a pixel, neighbours may seem to share one.
            let inner = Rect { y: one.y + 0.1, height: one.height - 0.2, ..*one };
            for other in &boxes[index + 1..] {
                assert!(!inner.overlaps(other), "{one:?} {other:?}");
            }
        }
        assert_eq!(svg.matches("<path").count(), map.vms.len());
    }
}

/// The picture in the documentation is the demo's; `vambrace explain map` writes it anew.
#[test]
fn the_documentation_has_the_demos_picture() {
    let kept = std::fs::read_to_string(workspace().join("docs/map.svg")).unwrap();
    assert!(
        kept == of_file("two-linux.toml").svg(),
        "cargo run -- explain map manifests/two-linux.toml --svg docs/map.svg"
    );
}
