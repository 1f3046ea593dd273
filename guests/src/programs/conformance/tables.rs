// SPDX-License-Identifier: MIT OR Apache-2.0
//! A set of tables, and addresses to try on it.
//!
//! Tables are made from the address down: for each address a leaf is chosen, and every table on the way to it, those
//! of stage 2 below each descriptor of stage 1 included. So walks get somewhere, however sparse the tables. What they
//! find there is random, and afterwards some descriptors are damaged. The geometry of the trees is taken from the
//! model: where it is wrong, the CPU walks elsewhere.

use arrayvec::ArrayVec;
use vambrace_memory::access::{Access, El};
use vambrace_memory::features::Features;
use vambrace_memory::granule::AddressFormat;
use vambrace_memory::stage1::Half;
use vambrace_memory::translation::Registers;
use vambrace_memory::walk::{DescriptorKind, Start};

use super::leaf::{self, Style};
use super::pool::{LANDING, Pool};
use super::random::{Random, bits};
use super::registers::{self, Extras, SCTLR_EE, canonical, other};
use super::stub::{self, Stub};

/// Addresses to try on a set.
const ADDRESSES: usize = 10;
/// Tables of stage 1 in a set.
const TABLES: usize = 64;

/// A set: registers, the tables in the pool, and addresses to try.
#[derive(Clone, Debug)]
pub(super) struct Set {
    /// The registers.
    pub(super) registers: Registers,
    /// The code at EL1.
    pub(super) stub: Stub,
    /// Virtual addresses.
    pub(super) addresses: ArrayVec<u64, ADDRESSES>,
}

/// A table of stage 1: its address as stage 1 knows it, and where it is.
#[derive(Clone, Copy, Debug)]
struct Table {
    ipa: u64,
    pa: u64,
}

struct Builder<'a> {
    random: &'a mut Random,
    pool: &'a mut Pool,
    registers: Registers,
    tables: ArrayVec<Table, TABLES>,
}

/// Makes a set in the empty pool.
pub(super) fn make(random: &mut Random, pool: &mut Pool, features: Features, extras: Extras) -> Set {
    let plain = if random.chance(50) { Half::Lower } else { Half::Upper };
    let registers = registers::random(random, features, extras, plain);
    let mut builder = Builder { random, pool, registers, tables: ArrayVec::new() };
    builder.root_of_stage2();
    let stub = builder.stub(plain);
    builder.root_of_stage1(other(plain));
    let mut addresses = ArrayVec::new();
    for _ in 0..6 {
        let address = builder.address(other(plain));
        let _ = addresses.try_push(address);
    }
    builder.near_misses(&mut addresses);
    let _ = addresses.try_push(stub.va);
    let registers = builder.registers;
    damage(builder.random, builder.pool);
    Set { registers, stub, addresses }
}

impl Builder<'_> {
    fn root_of_stage2(&mut self) {
        let Ok(start) = self.registers.stage2().start() else {
            self.registers.vttbr = self.random.field(48, 64) | self.random.field(12, 40);
            return;
        };
        let root = self.pool.allocate(start.root_size_shift().max(6)).unwrap_or(0);
        self.registers.vttbr = self.random.field(48, 64) | spell_root(&start, root) | self.too_wide(2);
    }

    /// Now and then a bit that no address should have.
    fn too_wide(&mut self, percent: u64) -> u64 {
        if self.random.chance(percent) { 1 << (32 + self.random.below(16)) } else { 0 }
    }

    /// Puts the code that makes accesses where EL1 finds it, in the plain half.
    fn stub(&mut self, plain: Half) -> Stub {
        let pa = self.pool.allocate(12).unwrap_or(0);
        let ipa = self.place(pa, 12);
        self.connect(ipa, pa, Style::Kept);
        let regime = self.registers.stage1();
        let is_plain = regime.enabled();
        let va = if is_plain { stub::address(plain, ipa) } else { ipa };
        if let (true, Ok(start)) = (is_plain, regime.start(canonical(plain), Access::Execute, El::El1)) {
            let root = spell_root(&start, ipa + stub::ROOT);
            *self.ttbr(plain) = self.random.field(48, 64) | root;
            for entry in 0..stub::ENTRIES {
                let raw = self.to_memory(leaf::of_stub(&start, ipa));
                self.pool.write(pa + stub::ROOT + entry * 8, raw, true);
            }
        }
        stub::write_code(self.pool, pa);
        Stub { pa, va }
    }

    fn ttbr(&mut self, half: Half) -> &mut u64 {
        match half {
            Half::Lower => &mut self.registers.ttbr0,
            Half::Upper => &mut self.registers.ttbr1,
        }
    }

    fn root_of_stage1(&mut self, half: Half) {
        let Ok(start) = self.start(half) else {
            *self.ttbr(half) = self.random.field(48, 64) | self.random.field(12, 40);
            return;
        };
        let Some(table) = self.table(start.root_size_shift().max(6)) else { return };
        *self.ttbr(half) = self.random.field(48, 64) | spell_root(&start, table.ipa) | self.too_wide(2);
    }

    fn start(&self, half: Half) -> Result<Start, ()> {
        self.registers.stage1().start(canonical(half), Access::Read, El::El1).map_err(|_| ())
    }

    /// A new table of stage 1.
    fn table(&mut self, shift: u32) -> Option<Table> {
        let pa = self.pool.allocate(shift)?;
        let table = Table { ipa: self.place(pa, shift), pa };
        self.tables.try_push(table).ok()?;
        Some(table)
    }

    /// Chooses the IPA of 2^`shift` bytes at `pa`. The lower bits stay, so that one leaf of stage 2 can map it.
    fn place(&mut self, pa: u64, shift: u32) -> u64 {
        let regime = self.registers.stage2();
        let Ok(start) = regime.start() else { return pa };
        if !regime.enabled() {
            return pa;
        }
        let level = self.leaf_level(&start);
        let low = start.granule.shift(level).max(shift);
        let registers = &self.registers;
        let reach = registers.stage1().start(canonical(Half::Lower), Access::Read, El::El1);
        let reach = reach.map_or(registers.features.pa_bits(), |start| start.output_bits);
        let high = if self.random.chance(97) { reach.min(regime.ipa_bits()) } else { regime.ipa_bits() };
        pa & bits(low.min(high)) | self.random.field(low, high)
    }

    /// A level that has blocks or pages, and is not above the root's.
    fn leaf_level(&mut self, start: &Start) -> i8 {
        let levels: ArrayVec<i8, 5> = (start.level..=3)
            .filter(|level| *level == 3 || start.format.has_blocks(start.granule, *level))
            .collect();
        if self.random.chance(50) { 3 } else { self.random.pick(&levels, 3) }
    }

    /// Makes stage 2 lead from `ipa` to `pa`, unless something else is there already.
    fn connect(&mut self, ipa: u64, pa: u64, style: Style) {
        let regime = self.registers.stage2();
        let Ok(start) = regime.start() else { return };
        if !regime.enabled() || ipa >> regime.ipa_bits() != 0 {
            return;
        }
        let wanted = self.leaf_level(&start);
        let fits = |level: &i8| {
            let can = *level == 3 || start.format.has_blocks(start.granule, *level);
            can && (ipa ^ pa) & bits(start.granule.shift(*level)) == 0
        };
        let Some(leaf) = (wanted.max(start.level)..=3).find(fits) else { return };
        let mut table = start.root;
        for level in start.level..=leaf {
            let slot = table + index(&start, ipa, level) * 8;
            let raw = self.pool.get(slot);
            if raw != 0 {
                let Some(next) = next_table(&start, raw, level, leaf) else { return };
                table = next;
            } else if level == leaf {
                let output = pa & !bits(start.granule.shift(level));
                let raw = leaf::of_stage2(self.random, &self.registers, &start, level, output, style);
                self.pool.write(slot, raw, style == Style::Kept);
            } else {
                let Some(next) = self.pool.allocate(start.granule.page_shift()) else { return };
                let ignored = if style == Style::Kept { 0 } else { leaf::ignored_in_table(self.random) };
                let raw = spell(start.format, next) | 0b11 | ignored;
                self.pool.write(slot, raw, style == Style::Kept);
                table = next;
            }
        }
    }

    /// An address that leads to the landing, if nothing comes between.
    fn address(&mut self, half: Half) -> u64 {
        let offset = self.random.below(LANDING / 8) * 8;
        let landing = self.pool.landing();
        let (ipa, pa) = (self.place(landing, LANDING.trailing_zeros()) + offset, landing + offset);
        self.connect(ipa, pa, Style::Data);
        let (true, Ok(start)) = (self.registers.stage1().enabled(), self.start(half)) else { return ipa };
        let leaf = self.leaf_level(&start);
        let input_bits = start.root_index_bits + start.granule.shift(start.level);
        let span = start.granule.shift(leaf);
        let top = match half {
            Half::Lower => 0,
            Half::Upper => !bits(input_bits),
        };
        let va = ipa & bits(span) | self.random.field(span, input_bits) | top;
        self.descend(&start, va, leaf, ipa & !bits(span));
        self.tag(va)
    }

    /// Makes stage 1 lead from `va` to the leaf, unless something else is there already.
    fn descend(&mut self, start: &Start, va: u64, leaf: i8, output: u64) {
        let mut table = start.root;
        for level in start.level..=leaf {
            let Some(known) = self.tables.iter().find(|known| known.ipa == table).copied() else { return };
            let offset = index(start, va, level) * 8;
            self.connect(known.ipa + offset, known.pa + offset, Style::Table);
            let slot = known.pa + offset;
            let raw = self.to_memory(self.pool.get(slot));
            if raw != 0 {
                let Some(next) = next_table(start, raw, level, leaf) else { return };
                table = next;
                continue;
            }
            let raw = if level == leaf {
                leaf::of_stage1(self.random, &self.registers, start, level, output)
            } else {
                let Some(next) = self.table(start.granule.page_shift()) else { return };
                table = next.ipa;
                spell(start.format, next.ipa)
                    | 0b11
                    | leaf::hierarchical(self.random)
                    | leaf::ignored_in_table(self.random)
            };
            let raw = self.to_memory(raw);
            self.pool.write(slot, raw, false);
        }
    }

    /// In the order of bytes that stage 1 walks by.
    fn to_memory(&self, raw: u64) -> u64 {
        if self.registers.sctlr & SCTLR_EE != 0 { raw.swap_bytes() } else { raw }
    }

    /// Now and then something in the topmost byte.
    fn tag(&mut self, va: u64) -> u64 {
        if self.random.chance(15) { va & bits(56) | self.random.field(56, 64) } else { va }
    }

    /// An address beside one that is mapped, and one from anywhere.
    fn near_misses(&mut self, addresses: &mut ArrayVec<u64, ADDRESSES>) {
        let base = self.random.pick(addresses, 0);
        let beside = base ^ 1 << self.random.below(64) & !7;
        let anywhere = self.random.next() >> self.random.below(40) & !7;
        for address in [beside, anywhere] {
            let _ = addresses.try_push(address & !7);
        }
    }
}

/// Where a table's descriptor leads; `None` if something else is in the way to the leaf.
fn next_table(start: &Start, raw: u64, level: i8, leaf: i8) -> Option<u64> {
    let is_table = level < leaf && start.kind(raw, level) == DescriptorKind::Table;
    is_table.then(|| start.format.address(raw, start.granule.page_shift()))
}

fn index(start: &Start, input: u64, level: i8) -> u64 {
    let width = if level == start.level { start.root_index_bits } else { start.granule.index_bits() };
    input >> start.granule.shift(level) & bits(width)
}

/// An address as a descriptor holds it.
pub(super) const fn spell(format: AddressFormat, address: u64) -> u64 {
    match format {
        AddressFormat::Plain => address,
        AddressFormat::Lpa => address & 0x0000_ffff_ffff_0000 | (address >> 48 & 0xf) << 12,
        AddressFormat::Lpa2 => address & 0x0003_ffff_ffff_f000 | (address >> 50 & 0b11) << 8,
    }
}

/// An address as a TTBR holds it.
const fn spell_root(start: &Start, address: u64) -> u64 {
    let wide = matches!(start.format, AddressFormat::Lpa2) || start.output_bits > 48;
    if wide { address & bits(48) | (address >> 48 & 0xf) << 2 } else { address }
}

/// Breaks some descriptors, of both stages alike.
fn damage(random: &mut Random, pool: &mut Pool) {
    for index in 0..pool.slots().len() {
        let Some(slot) = pool.slots().get(index).copied() else { return };
        if slot.is_kept || !random.chance(5) {
            continue;
        }
        let raw = match random.below(7) {
            0 => slot.raw & !1,
            1 => slot.raw ^ 2,
            2 => slot.raw | 1 << (32 + random.below(20)),
            3 | 4 => slot.raw ^ 1 << random.below(64),
            5 => slot.raw & !(1 << 10),
            _ => slot.raw ^ random.field(2, 64) & random.next() & random.next(),
        };
        pool.change(index, raw);
        pool.set(slot.pa, raw);
    }
}
