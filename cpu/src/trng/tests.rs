// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;
use vambrace_memory::Ipa;

use super::*;
use crate::pstate::Endianness;
use crate::smccc::NoEntropy;

/// Entropy whose bytes are all `0`; or none.
struct Source(Option<u8>);

impl Services for Source {
    fn is_executable(&self, _: Ipa) -> bool {
        true
    }

    fn entropy(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        bytes.fill(self.0.ok_or(NoEntropy)?);
        Ok(())
    }
}

fn ask(function: u32, argument: u64, byte: Option<u8>) -> [u64; 4] {
    let call = Call { immediate: 0, x: [function.into(), argument, 0, 0], endianness: Endianness::Little };
    super::call(&call, &mut Source(byte))
}

#[test]
fn version_features_and_uuid() {
    assert_eq!(ask(VERSION, 0, None), [0x1_0000, 0, 0, 0]);
    for function in [VERSION, FEATURES, GET_UUID, RND32, RND64] {
        assert_eq!(ask(FEATURES, function.into(), None), [0; 4]);
    }
    assert_eq!(ask(FEATURES, 0x8400_0054, None)[0], u64::MAX);
    assert_eq!(ask(0x8400_005F, 0, None)[0], u64::MAX);
    let uuid = ask(GET_UUID, 0, None);
    assert!(uuid.iter().all(|word| *word <= u32::MAX.into()) && uuid[0] != u64::from(u32::MAX));
}

#[test]
fn bits_fill_x3_first() {
    let (ones, one) = (0xFFFF_FFFF, u64::MAX);
    assert_eq!(ask(RND32, 1, Some(0xFF)), [0, 0, 0, 1]);
    assert_eq!(ask(RND32, 32, Some(0xFF)), [0, 0, 0, ones]);
    assert_eq!(ask(RND32, 33, Some(0xFF)), [0, 0, 1, ones]);
    assert_eq!(ask(RND32, 96, Some(0xFF)), [0, ones, ones, ones]);
    assert_eq!(ask(RND64, 64, Some(0xFF)), [0, 0, 0, one]);
    assert_eq!(ask(RND64, 130, Some(0xFF)), [0, 3, one, one]);
    assert_eq!(ask(RND64, 192, Some(0xFF)), [0, one, one, one]);
    assert_eq!(ask(RND64, 192, Some(0xA5))[1], 0xA5A5_A5A5_A5A5_A5A5);
}

#[test]
fn too_many_bits_or_none_are_refused() {
    for (function, bits) in [(RND32, 0), (RND32, 97), (RND64, 0), (RND64, 193), (RND64, u64::MAX)] {
        assert_eq!(ask(function, bits, Some(0xFF)), [INVALID_PARAMETERS, 0, 0, 0]);
    }
    // A 32-bit call's argument is W1.
    assert_eq!(ask(RND32, 0xFFFF_FFFF_0000_0001, Some(0xFF)), [0, 0, 0, 1]);
}

#[test]
fn without_entropy_it_says_so() {
    assert_eq!(ask(RND64, 64, None), [NO_ENTROPY, 0, 0, 0]);
}

proptest! {
    #[test]
    fn exactly_the_bits_asked_for(bits in 1u64..=192) {
        let ones = |registers: [u64; 4]| registers.iter().map(|x| u64::from(x.count_ones())).sum::<u64>();
        prop_assert_eq!(ones(ask(RND64, bits, Some(0xFF))), bits);
        if bits <= 96 {
            prop_assert_eq!(ones(ask(RND32, bits, Some(0xFF))), bits);
        }
    }
}
