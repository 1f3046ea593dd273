// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;

/// A device that remembers the last access.
#[derive(Default)]
struct Probe {
    answer: u64,
    seen: Option<(u64, Width, Option<u64>)>,
}

impl MmioDevice for Probe {
    fn read(&mut self, offset: u64, width: Width) -> u64 {
        self.seen = Some((offset, width, None));
        self.answer
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) {
        self.seen = Some((offset, width, Some(value)));
    }

    fn label(&self) -> &'static str {
        "probe"
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

const REGISTER: u8 = 7;

fn load(width: Width, extension: Extension, register_width: RegisterWidth, answer: u64) -> Completed {
    let destination = Destination { register: REGISTER, extension, register_width };
    let access = MmioAccess { ipa: Ipa(0x1000), width, direction: Direction::Read(destination) };
    access.perform(&mut Probe { answer, ..Probe::default() }, 0)
}

#[test]
fn loads_extend_as_the_instruction_says() {
    use {Extension::*, RegisterWidth::*, Width::*};

    let loaded = |value| Completed::Loaded { register: REGISTER, value };
    // LDRB, LDRH, LDR W, LDR X.
    assert_eq!(load(Byte, Zero, W, 0xFFFF_FF80), loaded(0x80));
    assert_eq!(load(Halfword, Zero, W, 0xFFFF_8001), loaded(0x8001));
    assert_eq!(load(Word, Zero, W, 0xFFFF_FFFF_8000_0001), loaded(0x8000_0001));
    assert_eq!(load(Doubleword, Zero, X, u64::MAX), loaded(u64::MAX));
    // LDRSB W and X, LDRSH W and X, LDRSW.
    assert_eq!(load(Byte, Sign, W, 0x80), loaded(0xFFFF_FF80));
    assert_eq!(load(Byte, Sign, X, 0x80), loaded(0xFFFF_FFFF_FFFF_FF80));
    assert_eq!(load(Halfword, Sign, W, 0x8001), loaded(0xFFFF_8001));
    assert_eq!(load(Halfword, Sign, X, 0x7001), loaded(0x7001));
    assert_eq!(load(Word, Sign, X, 0x8000_0000), loaded(0xFFFF_FFFF_8000_0000));
}

#[test]
fn a_store_carries_only_its_width() {
    for (width, value) in [
        (Width::Byte, 0x88),
        (Width::Halfword, 0x7788),
        (Width::Word, 0x5566_7788),
        (Width::Doubleword, 0x1122_3344_5566_7788),
    ] {
        let access = MmioAccess::store(Ipa(8), width, 0x1122_3344_5566_7788);
        let mut probe = Probe::default();
        assert_eq!(access.perform(&mut probe, 0x18), Completed::Stored);
        assert_eq!(probe.seen, Some((0x18, width, Some(value))));
    }
}

#[test]
fn an_access_over_the_end_finds_nothing() {
    let mut bus = Bus::new();
    bus.add(Ipa(0x1000), 0x10, 'a').unwrap();
    bus.add(Ipa(0x1010), 0x10, 'b').unwrap();
    assert_eq!(bus.find(Ipa(0x100C), Width::Word), Some(('a', 0xC)));
    assert_eq!(bus.find(Ipa(0x100C), Width::Doubleword), None);
    assert_eq!(bus.find(Ipa(0x1018), Width::Doubleword), Some(('b', 8)));
    assert_eq!(bus.find(Ipa(0x0FFF), Width::Halfword), None);
    assert_eq!(bus.find(Ipa(0x1020), Width::Byte), None);
    assert_eq!(bus.find(Ipa(u64::MAX), Width::Halfword), None);
}

#[test]
fn overlaps_and_impossible_ranges_are_refused() {
    let mut bus = Bus::new();
    bus.add(Ipa(0x1000), 0x1000, ()).unwrap();
    let before = bus.clone();
    for (base, len) in [(0x1000, 0x1000), (0x1FFF, 1), (0xFFF, 2), (0, 0x10_0000), (0x1800, 0x10)] {
        let base = Ipa(base);
        assert_eq!(bus.add(base, len, ()), Err(BusError::Overlap { base, len }));
    }
    for (base, len) in [(0x8000, 0), (u64::MAX, 2)] {
        let base = Ipa(base);
        assert_eq!(bus.add(base, len, ()), Err(BusError::NoRange { base, len }));
    }
    assert_eq!(bus, before);
    bus.add(Ipa(u64::MAX), 1, ()).unwrap();
    bus.add(Ipa(0), 0x1000, ()).unwrap();
    assert_eq!(bus.find(Ipa(u64::MAX), Width::Byte), Some(((), 0)));
    let bases: Vec<_> = bus.devices().map(|(base, len, ())| (base.0, len)).collect();
    assert_eq!(bases, [(0, 0x1000), (0x1000, 0x1000), (u64::MAX, 1)]);
}

fn width() -> impl Strategy<Value = Width> {
    (0u32..4).prop_map(Width::from_log2)
}

proptest! {
    /// Against a map with one entry for each byte.
    #[test]
    fn a_bus_is_a_map_from_bytes_to_devices(
        ranges in prop::collection::vec((0u64..200, 0u64..24), 0..24),
        lookups in prop::collection::vec((0u64..256, width()), 32),
    ) {
        let mut bus = Bus::new();
        let mut bytes = [None; 256];
        for (id, (base, len)) in ranges.into_iter().enumerate() {
            let slots = &mut bytes[base as usize..(base + len) as usize];
            let free = !slots.is_empty() && slots.iter().all(Option::is_none);
            prop_assert_eq!(bus.add(Ipa(base), len, id).is_ok(), free);
            if free {
                slots.iter_mut().zip(0..).for_each(|(slot, offset)| *slot = Some((id, offset)));
            }
        }
        for (ipa, width) in lookups {
            let wanted = (ipa..ipa + width.bytes()).map(|at| bytes.get(at as usize).copied().flatten());
            let ids: Vec<_> = wanted.map(|slot| slot.map(|(id, _)| id)).collect();
            let whole = ids.iter().all(|id| id.is_some() && *id == ids[0]);
            prop_assert_eq!(bus.find(Ipa(ipa), width), if whole { bytes[ipa as usize] } else { None });
        }
    }

    /// Against the conversions of Rust's own integers.
    #[test]
    fn extension_agrees_with_integer_conversions(raw: u64, register in 0u8..32) {
        let extend = |extension, register_width, width| {
            Destination { register, extension, register_width }.extend(width, raw)
        };
        use {Extension::*, RegisterWidth::*, Width::*};
        prop_assert_eq!(extend(Sign, X, Byte), raw as i8 as u64);
        prop_assert_eq!(extend(Sign, X, Halfword), raw as i16 as u64);
        prop_assert_eq!(extend(Sign, X, Word), raw as i32 as u64);
        prop_assert_eq!(extend(Sign, W, Byte), u64::from(raw as i8 as u32));
        prop_assert_eq!(extend(Sign, W, Halfword), u64::from(raw as i16 as u32));
        prop_assert_eq!(extend(Zero, W, Byte), u64::from(raw as u8));
        prop_assert_eq!(extend(Zero, W, Word), u64::from(raw as u32));
        prop_assert_eq!(extend(Zero, X, Doubleword), raw);
    }
}
