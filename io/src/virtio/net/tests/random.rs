// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random nonsense against the bounds.

use proptest::prelude::*;

use super::cutting::tcp;
use super::*;
use crate::virtio::model::hostile::{self, Aim, Bytes};

proptest! {
    /// What the driver says of a frame is true or refused: nothing that is taken leads outside of it later.
    #[test]
    fn a_header_that_lies_does_no_harm(
        tcp in tcp(),
        header in prop::array::uniform12(any::<u8>()),
        kept in any::<u16>(),
        len in 0usize..200,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = tcp.frame();
        bytes.truncate(bytes.len().min(len.max(14)));
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        let mut mixed = tcp.header().as_bytes().to_vec();
        for (at, byte) in header.into_iter().enumerate().filter(|(at, _)| kept & 1 << at == 0) {
            mixed[at] = byte;
        }
        let header = Header::read_from_bytes(&mixed).unwrap();
        if let Some(offload) = Offload::check(&header, &bytes) {
            prop_assert_eq!(Offload::check(&offload.header(), &bytes), Some(offload));
            for features in [0, feature::GUEST_CSUM, ALL] {
                let mut receiver = Card::new(features);
                receiver.supply(128, 1526);
                let frame = Frame { bytes: &bytes, offload };
                let received = receiver.device.receive(&receiver.ram, &frame);
                prop_assert!(received.is_ok() || received == Err(Undelivered::Uncut));
            }
        }
    }

    #[test]
    fn a_hostile_driver_hurts_nobody(
        script in prop::collection::vec(any::<u8>(), 0..6000),
        features in prop_oneof![Just(ALL), Just(feature::MRG_RXBUF), Just(0)],
        lengths in prop::collection::vec(14usize..3000, 1..8),
    ) {
        let mut device = Virtio::<Net>::new(MAC, 1500);
        Driver::start(&mut device, features | common::COMMON, 2, hostile::SIZE).unwrap();
        let ram = Ram::new();
        let mut script = Bytes(&script);
        hostile::fill_queue(&ram, &mut script, 0, Aim::Buffers);
        hostile::fill_queue(&ram, &mut script, 1, Aim::Buffers);
        let mut buffer = vec![0; MAX_FRAME];
        let per_chain = 2 + u64::from(hostile::SIZE) + 8;
        loop {
            ram.clear_log();
            let sent = device.send(&ram, &mut buffer, &mut PLENTY.clone());
            prop_assert!(ram.accesses() <= 2 * per_chain);
            if let Sent::Frame(frame) = sent {
                prop_assert!(frame.bytes.len() >= ETHERNET && frame.longest() <= 1518);
            }
            for len in &lengths {
                ram.clear_log();
                let _ = device.receive(&ram, &plain(&frame(*len)));
                // At most one chain for each byte of the queue's size, and some for what does not fit.
                prop_assert!(ram.accesses() <= (u64::from(hostile::SIZE) + 2) * 3 * per_chain);
                prop_assert_eq!(hostile::stray(&ram, 2), None);
            }
            if script.is_empty() {
                break;
            }
            hostile::make_available(&ram, &mut script, 0);
            hostile::make_available(&ram, &mut script, 1);
            hostile::start_again(&mut device, &ram, &mut script, 2, Aim::Buffers);
        }
        let saved = postcard::to_allocvec(&device).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Virtio<Net>>(&saved).unwrap(), device);
    }
}
