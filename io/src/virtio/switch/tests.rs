// SPDX-License-Identifier: MIT OR Apache-2.0
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::virtio::net::Offload;

const AGE: u64 = 1000;
const BROADCAST: Mac = Mac([0xFF; 6]);

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn bytes(to: Mac, sender: Mac, len: usize) -> Vec<u8> {
    let mut bytes = [to.0, sender.0].concat();
    bytes.resize(len, 0);
    bytes
}

/// Sends 100 bytes and says who gets them.
fn send(switch: &mut Switch, from: SwitchPort, to: Mac, sender: Mac, now: u64) -> Vec<u8> {
    let bytes = bytes(to, sender, 100);
    let frame = Frame { bytes: &bytes, offload: Offload::default() };
    switch.forward(from, &frame, now).iter().map(|port| port.0).collect()
}

fn policy(last: u8, addresses: Addresses) -> Policy {
    Policy { mac: mac(last), addresses, rate: None }
}

/// Ports 0 to 2 with addresses of their own only, 3 and 4 with any.
fn switch() -> Switch {
    let mut switch = Switch::new(AGE);
    for port in 0..5 {
        let addresses = if port < 3 { Addresses::Own } else { Addresses::Any };
        assert_eq!(switch.add(policy(port, addresses), 0), Ok(SwitchPort(port)));
    }
    switch
}

#[test]
fn frames_go_where_their_address_is() {
    let mut switch = switch();
    assert_eq!(send(&mut switch, SwitchPort(0), mac(1), mac(0), 0), [1]);
    assert_eq!(send(&mut switch, SwitchPort(0), mac(4), mac(0), 0), [4]);
    assert_eq!(send(&mut switch, SwitchPort(0), mac(0), mac(0), 0), [0; 0], "to itself");
    assert_eq!(send(&mut switch, SwitchPort(0), BROADCAST, mac(0), 0), [1, 2, 3, 4]);
    assert_eq!(send(&mut switch, SwitchPort(3), Mac([0x33, 0x33, 0, 0, 0, 1]), mac(3), 0), [0, 1, 2, 4]);
    assert_eq!(send(&mut switch, SwitchPort(0), mac(99), mac(0), 0), [3, 4], "unknown");
    assert_eq!(send(&mut switch, SwitchPort(7), mac(1), mac(7), 0), [0; 0], "no port");
}

#[test]
fn addresses_of_the_link_itself_are_not_forwarded() {
    let mut switch = switch();
    for last in 0..=15 {
        assert_eq!(send(&mut switch, SwitchPort(0), Mac([1, 0x80, 0xC2, 0, 0, last]), mac(0), 0), [0; 0]);
    }
    assert_eq!(send(&mut switch, SwitchPort(0), Mac([1, 0x80, 0xC2, 0, 0, 16]), mac(0), 0), [1, 2, 3, 4]);
}

#[test]
fn addresses_are_learned_move_and_age() {
    let mut switch = switch();
    assert_eq!(send(&mut switch, SwitchPort(3), mac(0), mac(50), 0), [0]);
    assert_eq!(send(&mut switch, SwitchPort(0), mac(50), mac(0), AGE), [3]);
    assert_eq!(send(&mut switch, SwitchPort(0), mac(50), mac(0), AGE + 1), [3, 4], "forgotten");
    assert_eq!(send(&mut switch, SwitchPort(4), mac(0), mac(50), AGE + 1), [0]);
    assert_eq!(send(&mut switch, SwitchPort(0), mac(50), mac(0), AGE + 1), [4]);
    assert_eq!(
        send(&mut switch, SwitchPort(4), mac(50), mac(4), AGE + 1),
        [0; 0],
        "it is where it comes from"
    );
    switch.remove(SwitchPort(4));
    assert_eq!(send(&mut switch, SwitchPort(0), mac(50), mac(0), AGE + 1), [3]);
}

#[test]
fn nobody_sends_under_anothers_address() {
    let mut switch = switch();
    for (from, sender) in [(0, 1), (0, 50), (3, 0), (3, 4)] {
        assert_eq!(
            send(&mut switch, SwitchPort(from), BROADCAST, mac(sender), 0),
            [0; 0],
            "{from} as {sender}"
        );
    }
    for sender in [BROADCAST, Mac([3, 0, 0, 0, 0, 0]), Mac([0; 6])] {
        assert_eq!(send(&mut switch, SwitchPort(3), BROADCAST, sender, 0), [0; 0]);
    }
    assert_eq!(switch.counters(SwitchPort(0)).unwrap(), Counters { spoofed: 2, ..Counters::default() });
    assert_eq!(switch.counters(SwitchPort(3)).unwrap(), Counters { spoofed: 5, ..Counters::default() });
    assert_eq!(send(&mut switch, SwitchPort(1), mac(0), mac(1), 0), [0], "nothing was learned of it");
}

#[test]
fn a_port_takes_its_address_from_what_was_learned() {
    let mut switch = switch();
    send(&mut switch, SwitchPort(3), BROADCAST, mac(60), 0);
    assert_eq!(switch.add(policy(60, Addresses::Own), 0), Ok(SwitchPort(5)));
    assert_eq!(send(&mut switch, SwitchPort(0), mac(60), mac(0), 0), [5]);
    switch.remove(SwitchPort(5));
    assert_eq!(send(&mut switch, SwitchPort(0), mac(60), mac(0), 0), [3, 4]);
}

#[test]
fn ports_come_and_go() {
    let mut switch = switch();
    for (mac, error) in [(mac(0), mac(0)), (BROADCAST, BROADCAST), (Mac([0; 6]), Mac([0; 6]))] {
        let policy = Policy { mac, ..policy(0, Addresses::Own) };
        assert_eq!(switch.add(policy, 0), Err(PortError::Address(error.0)));
    }
    switch.remove(SwitchPort(1));
    assert_eq!(switch.counters(SwitchPort(1)), None);
    assert_eq!(switch.add(policy(1, Addresses::Own), 0), Ok(SwitchPort(1)));
    for port in 5..32 {
        assert_eq!(switch.add(policy(port, Addresses::Own), 0), Ok(SwitchPort(port)));
    }
    assert_eq!(switch.add(policy(100, Addresses::Own), 0), Err(PortError::Full));
    assert_eq!(send(&mut switch, SwitchPort(31), BROADCAST, mac(31), 0).len(), 31);
    switch.remove(SwitchPort(200));
}

#[test]
fn what_goes_through_is_counted() {
    let mut switch = switch();
    send(&mut switch, SwitchPort(0), mac(1), mac(0), 0);
    switch.delivered(SwitchPort(1), 112);
    switch.lost(SwitchPort(2));
    assert_eq!(
        switch.counters(SwitchPort(0)).unwrap(),
        Counters { frames_in: 1, bytes_in: 100, ..Counters::default() }
    );
    assert_eq!(
        switch.counters(SwitchPort(1)).unwrap(),
        Counters { frames_out: 1, bytes_out: 112, ..Counters::default() }
    );
    assert_eq!(switch.counters(SwitchPort(2)).unwrap(), Counters { lost: 1, ..Counters::default() });
}

#[test]
fn a_rate_lets_a_burst_through_and_then_so_much() {
    let rate = Rate { bytes_per_second: 100_000, burst: 70_000, frequency: 100 };
    let mut switch = Switch::new(AGE);
    for policy in [policy(1, Addresses::Any), policy(0, Addresses::Own)] {
        switch.add(Policy { rate: Some(rate), ..policy }, 50).unwrap();
    }
    let bytes = bytes(mac(1), mac(0), 30_000);
    let frame = Frame { bytes: &bytes, offload: Offload::default() };
    let mut sent = |now| !switch.forward(SwitchPort(1), &frame, now).is_empty();
    assert_eq!([sent(50), sent(50), sent(50)], [true, true, false], "10,000 bytes are left");
    assert_eq!([sent(69), sent(70), sent(70)], [false, true, false], "1,000 bytes a count");
    assert_eq!(
        [sent(1000), sent(1000), sent(1000)],
        [true, true, false],
        "a pause gives no more than a burst"
    );
    assert_eq!(switch.counters(SwitchPort(1)).unwrap().limited, 4);
    for rate in [
        Rate { burst: MAX_FRAME as u64 - 1, ..rate },
        Rate { bytes_per_second: 0, ..rate },
        Rate { frequency: 0, ..rate },
    ] {
        let policy = Policy { rate: Some(rate), ..policy(9, Addresses::Own) };
        assert_eq!(switch.add(policy, 0), Err(PortError::Rate(rate)));
    }
}

proptest! {
    /// Over any time, no more than the burst and the rate; and no less than the rate, for one who always tries.
    #[test]
    fn a_rate_is_exact(
        bytes_per_second in 1u64..1 << 40,
        frequency in 1u64..1 << 32,
        start in any::<u64>().prop_map(|start| start >> 1),
        steps in prop::collection::vec((1u64..2000, 0u64..10_000), 1..100),
    ) {
        let rate = Rate { bytes_per_second, burst: 2000, frequency };
        let mut bucket = Bucket::full(start);
        let (mut now, mut sent, mut refused) = (start, 0u128, false);
        for (len, pause) in steps {
            now += pause;
            if bucket.take(rate, len, now) {
                sent += u128::from(len);
            } else {
                refused = true;
            }
            let earned = u128::from(now - start) * u128::from(bytes_per_second);
            prop_assert!(sent * u128::from(frequency) <= earned + 2000 * u128::from(frequency));
        }
        prop_assert!(refused || sent > 0);
        let mut bucket = Bucket::full(start);
        let wait = (2000 * u128::from(frequency)).div_ceil(u128::from(bytes_per_second)) as u64;
        for round in 0..20 {
            prop_assert!(bucket.take(rate, 2000, start + round * wait));
        }
    }

    /// Against a map without bounds: what the switch knows is right, and what it has lost it floods.
    #[test]
    fn learning_is_a_bounded_memory(
        sends in prop::collection::vec((3u8..5, 10u8..=255, 10u8..=255, 0u64..300), 0..400),
    ) {
        let mut switch = switch();
        let mut model: BTreeMap<u8, (u8, u64)> = BTreeMap::new();
        let mut now = 0;
        for (from, sender, to, pause) in sends {
            now += pause;
            let takers = send(&mut switch, SwitchPort(from), mac(to), mac(sender), now);
            model.insert(sender, (from, now));
            let other = 7 - from;
            match model.get(&to) {
                Some((port, seen)) if now - seen <= AGE && *port == from => {
                    prop_assert!(takers.is_empty() || takers == [other]);
                }
                _ => prop_assert_eq!(takers, [other]),
            }
        }
        let saved = postcard::to_allocvec(&switch).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Switch>(&saved).unwrap(), switch);
    }

    /// Frames and states may be nonsense; they still may not panic.
    #[test]
    fn nonsense_does_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20), any::<u64>()), 0..20),
    ) {
        let mut switch = switch();
        let rate = Rate { bytes_per_second: u64::MAX, burst: u64::MAX, frequency: u64::MAX };
        switch.add(Policy { rate: Some(rate), ..policy(9, Addresses::Any) }, u64::MAX).unwrap();
        send(&mut switch, SwitchPort(3), mac(1), mac(70), u64::MAX);
        let mut saved = postcard::to_allocvec(&switch).unwrap();
        for (at, byte) in damage {
            *at.get_mut(&mut saved) = byte;
        }
        let Ok(mut switch) = postcard::from_bytes::<Switch>(&saved) else { return Ok(()) };
        for (port, bytes, now) in frames {
            let frame = Frame { bytes: &bytes, offload: Offload::default() };
            let ports = switch.forward(SwitchPort(port % 8), &frame, now);
            prop_assert!(!ports.contains(SwitchPort(port % 8)));
        }
    }
}
