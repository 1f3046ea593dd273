// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::power::Power;
use crate::pstate::EL1H;

const V0: VcpuId = VcpuId::new(0);
const V1: VcpuId = VcpuId::new(1);

/// A VM with RAM at 1 GiB and no entropy.
struct Vm;

impl Services for Vm {
    fn is_executable(&self, address: Ipa) -> bool {
        (0x4000_0000..0x8000_0000).contains(&address.0)
    }

    fn entropy(&mut self, _: &mut [u8]) -> Result<(), NoEntropy> {
        Err(NoEntropy)
    }
}

fn running() -> PowerStates {
    let mut power = PowerStates::new([0, 1]);
    let entry = CpuEntry { address: Ipa(0x4000_0000), context: 0, endianness: Endianness::Little };
    power.begin_on(V0, entry).unwrap();
    power.take_pending(V0);
    power
}

fn make(immediate: u16, x: [u64; 4]) -> CallOutcome {
    call(&Call { immediate, x, endianness: Endianness::Little }, V0, &mut running(), &mut Vm)
}

#[test]
fn version_and_features() {
    assert_eq!(make(0, [0x8000_0000, 0, 0, 0]), CallOutcome::returning(0x1_0001));
    for function in [0x8000_0000, 0x8000_0001] {
        assert_eq!(make(0, [0x8000_0001, function, 0, 0]), CallOutcome::returning(0));
    }
    // ARCH_WORKAROUND_1 to 3, SOC_ID.
    for function in [0x8000_8000, 0x8000_7FFF, 0x8000_3FFF, 0x8000_0002] {
        assert_eq!(make(0, [0x8000_0001, function, 0, 0]), CallOutcome::returning(NOT_SUPPORTED));
        assert_eq!(make(0, [function, 0, 0, 0]), CallOutcome::returning(NOT_SUPPORTED));
    }
}

#[test]
fn every_other_owner_is_refused() {
    // CPU, SiP and OEM services, standard calls, Trusted Applications and Trusted OSs; fast and yielding, 32 and
    // 64 bits.
    for owner in [1, 2, 3, 4, 5, 7, 0x30, 0x32, 0x3F] {
        for kind in [0x0000_0000, 0x4000_0000, 0x8000_0000, 0xC000_0000u64] {
            let function = kind | owner << 24 | 0xFF01;
            assert_eq!(make(0, [function, 0, 0, 0]), CallOutcome::returning(NOT_SUPPORTED), "{function:#x}");
        }
    }
}

#[test]
fn the_vendors_calls_name_themselves_and_no_other_is_there() {
    // b1750e15-82d4-4f70-8028-e4c4503ce10b, as a caller compares it.
    let uid = [0x150E_75B1, 0x704F_D482, 0xC4E4_2880, 0x0BE1_3C50];
    assert_eq!(make(0, [0x8600_FF01, 0, 0, 0]), CallOutcome::Return(uid));
    assert_eq!(make(0, [0x8600_FF03, 0, 0, 0]), CallOutcome::Return([1, 0, 0, 0]));
    let calls = [0x8600_0000, 0x8600_0001, 0x8600_FF01, 0x8600_FF03];
    for function in 0x8600_0000..=0x8600_FFFFu64 {
        let answer = if calls.contains(&function) { 0 } else { NOT_SUPPORTED };
        assert_eq!(make(0, [0x8600_0000, function, 0, 0]), CallOutcome::returning(answer), "{function:#x}");
        if !calls.contains(&function) {
            assert_eq!(make(0, [function, 0, 0, 0]), CallOutcome::returning(NOT_SUPPORTED), "{function:#x}");
        }
        // Yielding calls, and those of 64 bits.
        for kind in [0x0000_0000, 0x4000_0000, 0xC000_0000] {
            let other = function & 0x0FFF_FFFF | kind;
            assert_eq!(make(0, [other, 0, 0, 0]), CallOutcome::returning(NOT_SUPPORTED), "{other:#x}");
        }
    }
}

#[test]
fn a_result_is_w1() {
    assert_eq!(make(0, [0x8600_0001, 0xFFFF_FFFF_0000_0007, 9, 9]), CallOutcome::Result(7));
    assert_eq!(make(1, [0x8600_0001, 7, 0, 0]), CallOutcome::returning(NOT_SUPPORTED), "an immediate");
}

#[test]
fn the_function_id_is_w0() {
    assert_eq!(make(0, [0xFFFF_FFFF_8000_0000, 0, 0, 0]), CallOutcome::returning(0x1_0001));
}

#[test]
fn an_immediate_is_no_call_of_the_convention() {
    assert_eq!(make(1, [0x8000_0000, 0, 0, 0]), CallOutcome::returning(NOT_SUPPORTED));
    assert_eq!(make(1, [0x8400_0008, 0, 0, 0]), CallOutcome::returning(NOT_SUPPORTED), "SYSTEM_OFF");
}

#[test]
fn a_call_is_taken_from_the_frame() {
    let mut frame = TrapFrame { pstate: EL1H, ..TrapFrame::default() };
    for register in 0..5 {
        frame.set(register, u64::from(register) + 10);
    }
    let call = Call::new(3, &frame, 1 << 25);
    assert_eq!(call, Call { immediate: 3, x: [10, 11, 12, 13], endianness: Endianness::Big });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_calls_are_answered(
        function in prop_oneof![
            any::<u64>(),
            0x8400_0000u64..0x8400_0060,
            0xC400_0000u64..0xC400_0060,
            0x8600_0000u64..0x8600_0004,
        ],
        x1 in prop_oneof![any::<u64>(), 0u64..4],
        x2 in prop_oneof![any::<u64>(), 0x4000_0000u64..0x8000_0000],
        x3: u64,
        immediate in prop_oneof![Just(0u16), any::<u16>()],
    ) {
        let mut power = running();
        let x = [function, x1, x2, x3];
        let outcome =
            call(&Call { immediate, x, endianness: Endianness::Little }, V0, &mut power, &mut Vm);
        match outcome {
            CallOutcome::CpuOn { target } => {
                prop_assert_eq!(target, V1);
                let Power::OnPending(entry) = power.get(V1) else { panic!("{:?}", power.get(V1)) };
                prop_assert!(Vm.is_executable(entry.address));
            }
            CallOutcome::CpuOff(remaining) => {
                prop_assert_eq!((remaining, power), (Remaining::None, PowerStates::new([0, 1])));
            }
            CallOutcome::Suspend(Suspend::PowerDown(entry)) => prop_assert!(Vm.is_executable(entry.address)),
            _ => prop_assert_eq!(power, running()),
        }
    }
}
