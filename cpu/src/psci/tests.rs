// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use crate::power::Remaining;
use crate::smccc::NoEntropy;

mod interleavings;

const SUCCESS: i64 = 0;
const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;
const INVALID_ADDRESS: i64 = -9;

const V0: VcpuId = VcpuId::new(0);
const V1: VcpuId = VcpuId::new(1);
const V2: VcpuId = VcpuId::new(2);
const V3: VcpuId = VcpuId::new(3);

/// AFFINITY_INFO's answers.
const ON: i64 = 0;
const OFF: i64 = 1;

const CPU_SUSPEND: u32 = 0x8400_0001;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON: u32 = 0x8400_0003;
const AFFINITY_INFO: u32 = 0x8400_0004;
const SYSTEM_RESET2: u32 = 0x8400_0012;
const FEATURES: u32 = 0x8400_000A;
/// Makes an id that of the 64-bit call.
const WIDE: u32 = 1 << 30;

/// RAM: 1 GiB from 1 GiB on, and from 4 GiB on.
struct Ram;

impl Services for Ram {
    fn is_executable(&self, address: Ipa) -> bool {
        matches!(address.0 >> 30, 1 | 4)
    }

    fn entropy(&mut self, _: &mut [u8]) -> Result<(), NoEntropy> {
        Err(NoEntropy)
    }
}

fn entry(address: u64, context: u64) -> CpuEntry {
    CpuEntry { address: Ipa(address), context, endianness: Endianness::Little }
}

/// A VM of four CPUs in two clusters, of which the first is on.
fn vm() -> PowerStates {
    let mut power = PowerStates::new([0x0, 0x1, 0x100, 0x1_0000_0100]);
    power.begin_on(V0, entry(0x4000_0000, 0)).unwrap();
    power.take_pending(V0);
    power
}

fn make(power: &mut PowerStates, function: u32, arguments: [u64; 3]) -> CallOutcome {
    let [x1, x2, x3] = arguments;
    let call = Call { immediate: 0, x: [function.into(), x1, x2, x3], endianness: Endianness::Little };
    super::call(&call, V0, power, &Ram)
}

fn returned(outcome: CallOutcome) -> i64 {
    match outcome {
        CallOutcome::Return([value, 0, 0, 0]) => value.cast_signed(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn version_and_migration() {
    assert_eq!(returned(make(&mut vm(), 0x8400_0000, [0; 3])), 0x1_0001);
    assert_eq!(returned(make(&mut vm(), 0x8400_0006, [0; 3])), 2, "MIGRATE_INFO_TYPE");
    // MIGRATE and MIGRATE_INFO_UP_CPU.
    for function in [0x8400_0005, 0xC400_0005, 0x8400_0007, 0xC400_0007] {
        assert_eq!(returned(make(&mut vm(), function, [u64::MAX; 3])), NOT_SUPPORTED);
    }
}

#[test]
fn features_tell_exactly_what_is_there() {
    let mut power = vm();
    for function in 0..0x20 {
        for id in [0x8400_0000 | function, 0xC400_0000 | function] {
            let feature = returned(make(&mut power, FEATURES, [id.into(), 0, 0]));
            let called = make(&mut vm(), id, [0; 3]);
            let is_there = called != CallOutcome::returning(NOT_SUPPORTED.cast_unsigned());
            // PSCI_FEATURES of function 0, which is no function.
            let is_there = is_there || id == FEATURES;
            assert_eq!(feature, if is_there { SUCCESS } else { NOT_SUPPORTED }, "{id:#x}");
        }
    }
    assert_eq!(returned(make(&mut power, FEATURES, [0x8000_0000, 0, 0])), SUCCESS, "SMCCC_VERSION");
    assert_eq!(returned(make(&mut power, FEATURES, [0x8000_0001, 0, 0])), NOT_SUPPORTED);
    // 64-bit ids of functions that only have 32-bit ones.
    for function in [0xC400_0000, 0xC400_0002, 0xC400_0008, 0xC400_000A] {
        assert_eq!(returned(make(&mut power, function, [0; 3])), NOT_SUPPORTED);
    }
}

#[test]
fn cpu_on_makes_the_target_pending() {
    let mut power = vm();
    let outcome = make(&mut power, CPU_ON | WIDE, [0x1_0000_0100, 0x1_0000_0000, u64::MAX]);
    assert_eq!(outcome, CallOutcome::CpuOn { target: V3 });
    assert_eq!(power.get(V3), Power::OnPending(entry(0x1_0000_0000, u64::MAX)));
    // The guest sees no difference between a CPU that is pending and one that is on.
    for _ in 0..2 {
        assert_eq!(returned(make(&mut power, CPU_ON | WIDE, [0x1_0000_0100, 0x4000_0000, 0])), ALREADY_ON);
        assert_eq!(returned(make(&mut power, AFFINITY_INFO | WIDE, [0x1_0000_0100, 0, 0])), ON);
        power.take_pending(V3);
    }
    assert_eq!(returned(make(&mut power, CPU_ON | WIDE, [0, 0x4000_0000, 0])), ALREADY_ON, "itself");
}

#[test]
fn the_arguments_of_a_32_bit_call_are_32_bits() {
    let mut power = vm();
    let garbage = 0xDEAD_BEEF_0000_0000;
    let outcome = make(&mut power, CPU_ON, [garbage | 1, garbage | 0x4000_0000, garbage | 9]);
    assert_eq!(outcome, CallOutcome::CpuOn { target: V1 });
    assert_eq!(power.get(V1), Power::OnPending(entry(0x4000_0000, 9)));
}

#[test]
fn cpu_on_only_within_the_vm() {
    let mut power = vm();
    for target in [2, 0x101, 0x1_0000, 0x1_0000_0000, 0xFF_00FF_FFFF] {
        assert_eq!(returned(make(&mut power, CPU_ON | WIDE, [target, 0x4000_0000, 0])), INVALID_PARAMETERS);
    }
    // Reserved bits: U, MT and RES1 of MPIDR_EL1, and above Aff3.
    for reserved in [1 << 31, 1 << 30, 1 << 24, 1 << 40, 1 << 63] {
        let outcome = make(&mut power, CPU_ON | WIDE, [reserved | 1, 0x4000_0000, 0]);
        assert_eq!(returned(outcome), INVALID_PARAMETERS);
    }
    assert_eq!(returned(make(&mut power, CPU_ON, [1 << 31 | 1, 0x4000_0000, 0])), INVALID_PARAMETERS);
    assert_eq!(power, vm());
}

#[test]
fn cpu_on_needs_an_entry_in_ram() {
    let mut power = vm();
    for address in [0, 0x0900_0000, 0x8000_0000, u64::MAX, 0x4000_0002] {
        assert_eq!(returned(make(&mut power, CPU_ON | WIDE, [1, address, 0])), INVALID_ADDRESS);
    }
    assert_eq!(power, vm());
    // A CPU that is not off says so before anything else.
    assert_eq!(returned(make(&mut power, CPU_ON | WIDE, [0, 0, 0])), ALREADY_ON);
    power.begin_on(V1, entry(0x4000_0000, 0)).unwrap();
    assert_eq!(returned(make(&mut power, CPU_ON | WIDE, [1, 0, 0])), ALREADY_ON);
}

#[test]
fn cpu_off_tells_whether_the_vm_lives() {
    let mut power = vm();
    power.begin_on(V1, entry(0x4000_0000, 0)).unwrap();
    assert_eq!(make(&mut power, CPU_OFF, [0; 3]), CallOutcome::CpuOff(Remaining::Some));
    assert_eq!(power.get(V0), Power::Off);
    assert_eq!(make(&mut vm(), CPU_OFF, [0; 3]), CallOutcome::CpuOff(Remaining::None));
}

#[test]
fn cpu_suspend_knows_two_states() {
    for function in [CPU_SUSPEND, CPU_SUSPEND | WIDE] {
        let mut power = vm();
        assert_eq!(make(&mut power, function, [0, 0, 0]), CallOutcome::Suspend(Suspend::Standby));
        let outcome = make(&mut power, function, [1 << 16, 0x4000_1000, 5]);
        assert_eq!(outcome, CallOutcome::Suspend(Suspend::PowerDown(entry(0x4000_1000, 5))));
        assert_eq!(returned(make(&mut power, function, [1 << 16, 0, 5])), INVALID_ADDRESS);
        // Other state ids, deeper levels, reserved bits, the extended format.
        for state in [1, 0xFFFF, 1 << 16 | 1, 1 << 24, 1 << 24 | 1 << 16, 1 << 30, 1 << 30 | 1 << 16, 1 << 31]
        {
            let outcome = make(&mut power, function, [state, 0x4000_1000, 5]);
            assert_eq!(returned(outcome), INVALID_PARAMETERS, "{state:#x}");
        }
        assert_eq!(power, vm(), "a suspended CPU is on");
    }
}

#[test]
fn affinity_info_at_each_level() {
    let mut power = vm();
    power.begin_on(V2, entry(0x4000_0000, 0)).unwrap();
    let mut info = |affinity, level| returned(make(&mut power, AFFINITY_INFO | WIDE, [affinity, level, 0]));
    assert_eq!([info(0, 0), info(1, 0), info(0x100, 0), info(0x1_0000_0100, 0)], [ON, OFF, ON, OFF]);
    assert_eq!([info(0xFF, 1), info(0x1FF, 1), info(0x1_0000_01FF, 1)], [ON, ON, OFF]);
    assert_eq!([info(0xFFFF, 2), info(0x1_0000_FFFF, 2)], [ON, OFF]);
    assert_eq!([info(0xFF_FFFF, 3), info(0x1_00FF_FFFF, 3)], [ON, OFF]);
    for (affinity, level) in [(2, 0), (0x200, 1), (0x2_0000_0000, 3), (0, 4), (1 << 31, 0), (0, 0xFFFF_FFFF)]
    {
        assert_eq!(info(affinity, level), INVALID_PARAMETERS, "{affinity:#x} at level {level}");
    }
    assert_eq!(returned(make(&mut power, AFFINITY_INFO, [0x100, 0, 0])), ON);
}

#[test]
fn the_system_ends_or_restarts() {
    assert_eq!(make(&mut vm(), 0x8400_0008, [0; 3]), CallOutcome::SystemOff);
    assert_eq!(make(&mut vm(), 0x8400_0009, [0; 3]), CallOutcome::SystemReset);
    for function in [SYSTEM_RESET2, SYSTEM_RESET2 | WIDE] {
        assert_eq!(make(&mut vm(), function, [0, 7, 0]), CallOutcome::SystemReset);
        assert_eq!(returned(make(&mut vm(), function, [1, 0, 0])), INVALID_PARAMETERS);
        assert_eq!(returned(make(&mut vm(), function, [1 << 31, 0, 0])), INVALID_PARAMETERS, "vendor");
    }
}
