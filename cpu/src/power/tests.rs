// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

const V0: VcpuId = VcpuId::new(0);
const V1: VcpuId = VcpuId::new(1);
const V2: VcpuId = VcpuId::new(2);

fn entry(context: u64) -> CpuEntry {
    CpuEntry { address: Ipa(0x4000_0000), context, endianness: Endianness::Little }
}

#[test]
fn a_cpu_goes_from_off_to_pending_to_on_to_off() {
    let mut power = PowerStates::new([0, 1]);
    assert_eq!((power.get(V1), power.remaining()), (Power::Off, Remaining::None));
    power.begin_on(V1, entry(7)).unwrap();
    assert_eq!((power.get(V1), power.remaining()), (Power::OnPending(entry(7)), Remaining::Some));
    assert_eq!(power.begin_on(V1, entry(8)), Err(NotOff::AlreadyOn));
    assert_eq!(power.take_pending(V1), Some(entry(7)));
    assert_eq!(power.take_pending(V1), None, "started once");
    assert_eq!(power.begin_on(V1, entry(8)), Err(NotOff::AlreadyOn));
    assert_eq!(power.off(V1), Remaining::None);
    assert_eq!(power.get(V1), Power::Off);
}

#[test]
fn a_cpu_that_is_pending_cannot_turn_itself_off() {
    let mut power = PowerStates::new([0]);
    power.begin_on(V0, entry(1)).unwrap();
    assert_eq!(power.off(V0), Remaining::Some);
    assert_eq!(power.take_pending(V0), Some(entry(1)));
}

#[test]
fn a_pending_cpu_keeps_the_vm_alive() {
    let mut power = PowerStates::new([0, 1]);
    power.begin_on(V0, entry(0)).unwrap();
    power.take_pending(V0);
    power.begin_on(V1, entry(0)).unwrap();
    assert_eq!(power.off(V0), Remaining::Some);
}

#[test]
fn who_is_left_beside_a_cpu() {
    let mut power = PowerStates::new([0, 1, 2]);
    power.begin_on(V0, entry(0)).unwrap();
    power.take_pending(V0);
    assert_eq!((power.remaining_beside(V0), power.remaining_beside(V1)), (Remaining::None, Remaining::Some));
    // One that is pending will run.
    power.begin_on(V2, entry(0)).unwrap();
    assert_eq!(power.remaining_beside(V0), Remaining::Some);
}

#[test]
fn a_reset_forgets_those_that_are_pending() {
    let mut power = PowerStates::new([0, 1]);
    power.begin_on(V0, entry(0)).unwrap();
    power.begin_on(V1, entry(0)).unwrap();
    power.take_pending(V0);
    power.all_off();
    assert_eq!((power.take_pending(V1), power.remaining()), (None, Remaining::None));
}

#[test]
fn a_cpu_that_does_not_exist_does_nothing() {
    let mut power = PowerStates::new([0]);
    assert_eq!(power.begin_on(V1, entry(0)), Err(NotOff::NoSuchCpu));
    assert_eq!((power.get(V1), power.take_pending(V1), power.off(V1)), (Power::Off, None, Remaining::None));
}

#[test]
fn affinities_are_found_whole_and_by_group() {
    let power = PowerStates::new([0, 1, 0x100, 0x1_0000, 0xFF_8000_0000 | 1 << 32]);
    assert_eq!(power.find(0x100), Some(V2));
    assert_eq!(power.find(0x1_0000_0000), None);
    assert_eq!(power.find(0xFF_0000_0000), Some(VcpuId::new(4)), "bits that are no affinity are dropped");
    let size = |affinity, level| power.in_group(affinity, level).count();
    assert_eq!([size(1, 0), size(7, 0)], [1, 0]);
    assert_eq!([size(7, 1), size(0x1FF, 1), size(0x200, 1)], [2, 1, 0]);
    assert_eq!([size(0xFFFF, 2), size(0x1_FFFF, 2)], [3, 1]);
    assert_eq!([size(0xFF_FFFF, 3), size(0xFF_00FF_FFFF, 3)], [4, 1]);
}
