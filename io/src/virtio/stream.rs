// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes that flow between a chain and the outside, a small piece at a time.

use vambrace_memory::GuestMemory;

use super::queue::{Buffer, Chain, Fault, Taken};
use super::quota::{After, Quota};
use super::transport::Transport;

/// How many bytes are moved at once, through EL2's stack.
const PIECE: u64 = 64;

/// Fills `to` with what `source` gives, until it is full or nothing more comes, or the quota is spent. Says how many bytes
/// that was.
fn fill(
    memory: &impl GuestMemory,
    to: Buffer<'_>,
    quota: &mut Quota,
    mut source: impl FnMut(&mut [u8]) -> usize,
) -> Result<u64, Fault> {
    let len = to.len();
    let mut done = 0;
    while done < len {
        let wanted = (len - done).min(quota.bytes).min(PIECE);
        let mut bytes = [0; PIECE as usize];
        let Some(wanted) = bytes.get_mut(..wanted as usize).filter(|wanted| !wanted.is_empty()) else {
            break;
        };
        let got = source(wanted);
        let Some(piece) = wanted.get(..got).filter(|piece| !piece.is_empty()) else { break };
        to.write(memory, done, piece)?;
        quota.charge(piece.len() as u64);
        done += piece.len() as u64;
    }
    Ok(done)
}

/// Fills the driver's buffers in `queue` with what `source` gives, while `quota` lasts; each gets what there is, one byte at
/// least. [`After::Backend`]: there is nothing more to give, and what buffers there are, if any, stay.
pub(super) fn supply(
    transport: &mut Transport,
    queue: usize,
    memory: &impl GuestMemory,
    quota: &mut Quota,
    mut source: impl FnMut(&mut [u8]) -> usize,
) -> After {
    let mut chain = Chain::new();
    transport.begin(queue, memory);
    loop {
        if quota.take_request().is_none() {
            return After::More;
        }
        if transport.take(queue, memory, &mut chain) == Taken::Nothing {
            match transport.listen(queue, memory) {
                Taken::Nothing => return After::Idle,
                Taken::Chain => continue,
            }
        }
        let to = chain.writable();
        let filled = if to.is_empty() {
            Err(Fault::Request { head: chain.head() })
        } else {
            fill(memory, to, quota, &mut source)
        };
        match filled {
            Ok(0) => {
                transport.put_back(queue, 1);
                return After::Backend;
            }
            Ok(written) => transport.complete(queue, memory, chain.head(), written as u32),
            Err(fault) => transport.fail(fault),
        }
    }
}

/// Gives the bytes of `from` to `sink`, from `start` on, until all are given or it takes no more, or the quota is spent.
/// Says where the first byte is that was not taken.
pub(super) fn drain(
    memory: &impl GuestMemory,
    from: Buffer<'_>,
    start: u64,
    quota: &mut Quota,
    mut sink: impl FnMut(&[u8]) -> usize,
) -> Result<u64, Fault> {
    let len = from.len();
    let mut done = start;
    while done < len {
        let wanted = (len - done).min(quota.bytes).min(PIECE);
        let mut bytes = [0; PIECE as usize];
        let Some(piece) = bytes.get_mut(..wanted as usize).filter(|piece| !piece.is_empty()) else { break };
        from.read(memory, done, piece)?;
        let taken = sink(piece).min(piece.len());
        if taken == 0 {
            break;
        }
        quota.charge(taken as u64);
        done += taken as u64;
    }
    Ok(done)
}
