// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes that flow between a chain and the outside, a small piece at a time.

use vambrace_memory::GuestMemory;

use super::budget::{After, Budget};
use super::queue::{Buffer, Chain, Fault, Taken};
use super::transport::Transport;

/// How many bytes are moved at once, through EL2's stack.
const PIECE: u64 = 64;

/// Fills `to` with what `source` gives, until it is full or nothing more comes, or the budget is spent. Says how many bytes
/// that was.
fn fill(
    memory: &impl GuestMemory,
    to: Buffer<'_>,
    budget: &mut Budget,
    mut source: impl FnMut(&mut [u8]) -> usize,
) -> Result<u64, Fault> {
    let len = to.len();
    let mut done = 0;
    while done < len {
        let wanted = (len - done).min(budget.bytes).min(PIECE);
        let mut bytes = [0; PIECE as usize];
        let Some(wanted) = bytes.get_mut(..wanted as usize).filter(|wanted| !wanted.is_empty()) else {
            break;
        };
        let got = source(wanted);
        let Some(piece) = wanted.get(..got).filter(|piece| !piece.is_empty()) else { break };
        to.write(memory, done, piece)?;
        budget.charge(piece.len() as u64);
        done += piece.len() as u64;
    }
    Ok(done)
}

/// Fills the driver's buffers in `queue` with what `source` gives, while `budget` lasts; each gets what there is, one byte at
/// least. [`After::Outside`]: there is nothing more to give, and what buffers there are, if any, stay.
pub(super) fn supply(
    transport: &mut Transport,
    queue: usize,
    memory: &impl GuestMemory,
    budget: &mut Budget,
    mut source: impl FnMut(&mut [u8]) -> usize,
) -> After {
    let mut chain = Chain::new();
    transport.begin(queue, memory);
    loop {
        if budget.take_request().is_none() {
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
            fill(memory, to, budget, &mut source)
        };
        match filled {
            Ok(0) => {
                transport.put_back(queue, 1);
                return After::Outside;
            }
            Ok(written) => transport.complete(queue, memory, chain.head(), written as u32),
            Err(fault) => transport.fail(fault),
        }
    }
}

/// Gives the bytes of `from` to `sink`, from `start` on, until all are given or it takes no more, or the budget is spent.
/// Says where the first byte is that was not taken.
pub(super) fn drain(
    memory: &impl GuestMemory,
    from: Buffer<'_>,
    start: u64,
    budget: &mut Budget,
    mut sink: impl FnMut(&[u8]) -> usize,
) -> Result<u64, Fault> {
    let len = from.len();
    let mut done = start;
    while done < len {
        let wanted = (len - done).min(budget.bytes).min(PIECE);
        let mut bytes = [0; PIECE as usize];
        let Some(piece) = bytes.get_mut(..wanted as usize).filter(|piece| !piece.is_empty()) else { break };
        from.read(memory, done, piece)?;
        let taken = sink(piece).min(piece.len());
        if taken == 0 {
            break;
        }
        budget.charge(taken as u64);
        done += taken as u64;
    }
    Ok(done)
}
