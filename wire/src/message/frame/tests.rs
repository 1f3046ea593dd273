// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::super::{
    BootEpoch, FromHypervisor, LogLevel, MAX_TEXT, MemoryUse, ResetCause, TOLD_EXITS, ToHypervisor, ToldExit,
    VcpuActivity, VcpuReport, VmState,
};
use super::*;

/// What came out of a stream: text runs joined, messages re-encoded to owned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Text(Vec<u8>),
    Frame(Vec<u8>),
}

fn parse(stream: &[u8]) -> Vec<Found> {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    for byte in stream {
        match decoder.push(*byte) {
            Some(Piece::Text(text)) => add_text(&mut found, text),
            Some(Piece::Frame(frame)) => found.push(Found::Frame(frame.to_vec())),
            None => {}
        }
    }
    if let Some(text) = decoder.finish() {
        add_text(&mut found, text);
    }
    found
}

fn add_text(found: &mut Vec<Found>, text: &[u8]) {
    assert!(!text.is_empty());
    match found.last_mut() {
        Some(Found::Text(before)) => before.extend_from_slice(text),
        _ => found.push(Found::Text(text.to_vec())),
    }
}

fn frame_of(message: &impl Serialize) -> Vec<u8> {
    encode(message, &mut [0; MAX_FRAME]).unwrap().to_vec()
}

#[test]
fn a_message_between_two_texts_comes_back() {
    let message = FromHypervisor::Console { vm: 3, bytes: b"a\0b\r\n" };
    let stream = [b"before\n", frame_of(&message).as_slice(), b"after\n"].concat();
    let found = parse(&stream);
    let [Found::Text(before), Found::Frame(frame), Found::Text(after)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((before.as_slice(), after.as_slice()), (b"before\n".as_slice(), b"after\n".as_slice()));
    assert_eq!(decode(frame), Ok(message));
}

#[test]
fn the_longest_text_fits_every_message() {
    let (text, bytes) = ("x".repeat(MAX_TEXT), [0; MAX_TEXT]);
    let mut buffer = [0; MAX_FRAME];
    for message in [
        FromHypervisor::Log { level: LogLevel::Info, text: &text },
        FromHypervisor::Console { vm: u16::MAX, bytes: &bytes },
        FromHypervisor::Report { vm: u16::MAX, text: &text },
        FromHypervisor::State { vm: u16::MAX, state: VmState::Reset(u32::MAX, ResetCause::Watchdog) },
        FromHypervisor::BootEpoch { vm: u16::MAX, epoch: BootEpoch::from([u64::MAX; 4]) },
        FromHypervisor::Gone { vm: u16::MAX, cleared: u64::MAX, at: u64::MAX },
        FromHypervisor::Migrated { vm: u16::MAX, vcpu: u16::MAX, cpu: u16::MAX },
        FromHypervisor::Replaced { vm: u16::MAX, times: u32::MAX },
        FromHypervisor::Memory { vms: u16::MAX, memory: MemoryUse::from([u64::MAX; 7]) },
        FromHypervisor::Result { vm: u16::MAX, number: u32::MAX },
        FromHypervisor::Vcpu(longest_report()),
    ] {
        assert!(encode(&message, &mut buffer).is_ok());
    }
    let input = ToHypervisor::Input { vm: u16::MAX, position: u32::MAX, bytes: &bytes };
    assert!(encode(&input, &mut buffer).is_ok());
}

#[test]
fn what_is_too_long_is_refused_not_cut() {
    let bytes = [0xA5; MAX_FRAME];
    let long = FromHypervisor::Console { vm: 0, bytes: &bytes };
    assert_eq!(encode(&long, &mut [0; 4096]), Err(FrameError::TooLong));
    let short = FromHypervisor::End;
    let needed = frame_of(&short).len();
    for len in 0..needed {
        assert_eq!(encode(&short, &mut vec![0; len]), Err(FrameError::TooLong));
    }
    assert!(encode(&short, &mut vec![0; needed]).is_ok());
}

#[test]
fn text_after_a_frame_is_shown_at_once() {
    let mut decoder = Decoder::new();
    for byte in frame_of(&FromHypervisor::Failed) {
        decoder.push(byte);
    }
    assert_eq!(decoder.push(b'p'), Some(Piece::Text(b"p")));
}

#[test]
fn a_lost_delimiter_costs_one_frame_at_most() {
    let end = frame_of(&FromHypervisor::End);
    let failed = frame_of(&FromHypervisor::Failed);
    // The first frame has lost its closing delimiter: the second one's opening delimiter closes it, so the
    // second is text, and the third intact.
    let stream = [&end[..end.len() - 1], &end, &failed].concat();
    assert_eq!(parse(&stream).first(), parse(&end).first());
    assert_eq!(parse(&stream).last(), parse(&failed).last());
    // It has lost its opening delimiter: it is text, and the second frame is intact.
    let stream = [&end[1..], &failed].concat();
    assert_eq!(parse(&stream).last(), parse(&failed).last());
}

#[test]
fn trailing_bytes_make_a_message_unknown() {
    let Some(Found::Frame(frame)) = parse(&frame_of(&FromHypervisor::End)).pop() else { panic!() };
    assert_eq!(decode::<FromHypervisor<'_>>(&frame), Ok(FromHypervisor::End));
    assert_eq!(decode::<FromHypervisor<'_>>(&[frame, vec![0]].concat()), Err(FrameError::Unknown));
    assert_eq!(decode::<FromHypervisor<'_>>(&[0xFF]), Err(FrameError::Unknown));
}

proptest! {
    #[test]
    fn any_messages_come_back_among_any_text(
        parts in prop::collection::vec(
            (prop::collection::vec(1u8.., 0..400), any::<u16>(), prop::collection::vec(any::<u8>(), 0..MAX_TEXT)),
            1..6,
        ),
    ) {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for (text, vm, bytes) in &parts {
            stream.extend_from_slice(text);
            if !text.is_empty() {
                expected.push(Found::Text(text.clone()));
            }
            let message = FromHypervisor::Console { vm: *vm, bytes };
            stream.extend(frame_of(&message));
            expected.push(Found::Frame(postcard::to_allocvec(&message).unwrap()));
        }
        prop_assert_eq!(parse(&stream), expected);
    }

    #[test]
    fn text_without_zeros_passes_unharmed(text in prop::collection::vec(1u8.., 1..2000)) {
        prop_assert_eq!(parse(&text), vec![Found::Text(text)]);
    }

    #[test]
    fn garbage_never_panics_and_loses_nothing_but_delimiters(
        stream in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..3000),
    ) {
        let found = parse(&stream);
        // A frame by accident is one in 65536; skip it.
        prop_assume!(found.iter().all(|piece| matches!(piece, Found::Text(_))));
        let text: Vec<u8> = found.into_iter().flat_map(|piece| match piece {
            Found::Text(text) | Found::Frame(text) => text,
        }).collect();
        let nonzero: Vec<u8> = stream.into_iter().filter(|byte| *byte != 0).collect();
        prop_assert_eq!(text, nonzero);
    }

    #[test]
    fn a_flipped_bit_never_yields_another_message(bit in 0usize..8, at in any::<prop::sample::Index>()) {
        let message = FromHypervisor::State { vm: 7, state: VmState::Reset(999, ResetCause::Asked) };
        let good = frame_of(&message);
        let mut bad = good.clone();
        bad[at.index(good.len())] ^= 1 << bit;
        bad.extend_from_slice(&good);
        let frames: Vec<Found> = parse(&bad).into_iter().filter(|f| matches!(f, Found::Frame(_))).collect();
        prop_assert!(!frames.is_empty());
        for frame in frames {
            prop_assert_eq!(frame, Found::Frame(postcard::to_allocvec(&message).unwrap()));
        }
    }
}

/// The report of a vCPU that takes most bytes.
fn longest_report() -> VcpuReport {
    let exit = ToldExit { esr: u64::MAX, pc: u64::MAX, address: Some(u64::MAX) };
    VcpuReport {
        vm: u16::MAX,
        vcpu: u16::MAX,
        cpu: u16::MAX,
        activity: VcpuActivity::Waiting { timer: Some(u64::MAX) },
        pc: u64::MAX,
        pstate: u64::MAX,
        vbar: u64::MAX,
        exits: [Some(exit); TOLD_EXITS],
    }
}
