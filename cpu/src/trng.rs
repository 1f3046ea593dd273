// SPDX-License-Identifier: MIT OR Apache-2.0
//! The true random number interface that firmware offers. Source: TRNG Firmware Interface (DEN0098) 1.0.

use crate::smccc::{Call, NOT_SUPPORTED, Services};

const VERSION: u32 = 0x8400_0050;
const FEATURES: u32 = 0x8400_0051;
const GET_UUID: u32 = 0x8400_0052;
const RND32: u32 = 0x8400_0053;
const RND64: u32 = 0xC400_0053;

const VERSION_1_0: u64 = 0x1_0000;
const INVALID_PARAMETERS: u64 = -2i64 as u64;
const NO_ENTROPY: u64 = -3i64 as u64;

/// Names this source of entropy: 7e1c4f0b-52a9-4d86-9b37-c0d5a61e8f24, each register with four of its bytes.
const UUID: [u64; 4] = [0x0B4F_1C7E, 0x864D_A952, 0xD5C0_379B, 0x248F_1EA6];

/// Whether a function id is in the range that the convention reserves for TRNG.
pub(crate) const fn is_function(id: u32) -> bool {
    matches!(id & !(1 << 30), 0x8400_0050..=0x8400_005F)
}

/// Serves a call whose function id [is TRNG's](is_function); returns X0 to X3.
pub(crate) fn call(call: &Call, services: &mut impl Services) -> [u64; 4] {
    match call.function() {
        VERSION => [VERSION_1_0, 0, 0, 0],
        FEATURES => match call.x[1] as u32 {
            VERSION | FEATURES | GET_UUID | RND32 | RND64 => [0; 4],
            _ => [NOT_SUPPORTED, 0, 0, 0],
        },
        GET_UUID => UUID,
        RND32 => random::<4>(u64::from(call.x[1] as u32), services),
        RND64 => random::<8>(call.x[1], services),
        _ => [NOT_SUPPORTED, 0, 0, 0],
    }
}

/// Answers with `bits` random bits: the lowest in X3, then in X2 and X1, `REGISTER` bytes in each.
fn random<const REGISTER: usize>(bits: u64, services: &mut impl Services) -> [u64; 4] {
    if bits == 0 || bits > 24 * REGISTER as u64 {
        return [INVALID_PARAMETERS, 0, 0, 0];
    }
    let mut bytes = [0; 24];
    let mut result = [0; 4];
    if services.entropy(&mut bytes).is_err() {
        return [NO_ENTROPY, 0, 0, 0];
    }
    let mut missing = bits as usize;
    for (register, chunk) in result.iter_mut().rev().zip(bytes.chunks_exact(REGISTER)) {
        let width = missing.min(8 * REGISTER);
        let value = chunk.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        *register = if width == 0 { 0 } else { value & (u64::MAX >> (64 - width)) };
        missing -= width;
    }
    // Three registers hold all the bits, and X0 is left 0: success.
    result
}

#[cfg(test)]
mod tests;
