// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;
use vambrace_cpu::pstate::Endianness;
use vambrace_memory::Ipa;

use super::*;

#[test]
fn the_oldest_exits_are_forgotten() {
    let mut recent = Recent::default();
    assert_eq!(recent.iter().count(), 0);
    for n in 1..=3 {
        recent.push(n, 0x4000_0000 + n);
    }
    assert_eq!(recent.iter().map(|exit| exit.esr).collect::<Vec<_>>(), [1, 2, 3]);
    for n in 4..=20 {
        recent.push(n, 0x4000_0000 + n);
    }
    assert_eq!(recent.iter().map(|exit| exit.esr).collect::<Vec<_>>(), (13..=20).collect::<Vec<_>>());
}

#[test]
fn nothing_of_an_earlier_life_shows() {
    let entry = CpuEntry { address: Ipa(0x4008_0000), context: 5, endianness: Endianness::Little };
    let mut used = Vcpu::new(VcpuId::new(3));
    used.registers.frame.x = [7; 31];
    used.registers.fp.v[3] = 9;
    used.physical_timer.set_control(1);
    used.virtual_serror = true;
    used.crash = Some(CrashCause::HandlerFaults);
    used.recent.push(1, 2);
    used.start(entry);
    let mut fresh = Vcpu::new(VcpuId::new(3));
    fresh.start(entry);
    assert_eq!(used, fresh);
    assert_eq!(
        (fresh.id.index(), fresh.registers.frame.pc, fresh.registers.frame.get(0)),
        (3, 0x4008_0000, 5)
    );
}

proptest! {
    #[test]
    fn a_vcpu_is_a_value(index: u16, x: [u64; 31], esr: u64, serror: bool) {
        let mut vcpu = Vcpu::new(VcpuId::new(index));
        vcpu.registers.frame.x = x;
        vcpu.recent.push(esr, x[3]);
        vcpu.virtual_serror = serror;
        let saved = postcard::to_allocvec(&vcpu).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Vcpu>(&saved).unwrap(), vcpu);
    }
}
