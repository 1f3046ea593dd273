// SPDX-License-Identifier: MIT OR Apache-2.0
use vambrace_wire::bundle::io::VirtioDevice;

use super::*;
use crate::virtio::tests::vm;

fn keys(bytes: &[u8]) -> impl ExactSizeIterator<Item = Input> {
    bytes.iter().map(|byte| Input::Key(*byte))
}

#[test]
fn what_waits_is_told_apart_from_what_was_taken() {
    let mut vm = vm(vec![]);
    let mut inbox = Inbox::new();
    assert_eq!(inbox.receive(0, keys(&[b'x'; INPUT_WINDOW])), 0);
    assert_eq!(inbox.untold(0), None, "nobody has looked");
    let _ = inbox.deliver(&mut vm);
    // The UART is without its FIFO.
    assert_eq!(vm.waiting_input(), INPUT_WINDOW - 1);
    assert_eq!(inbox.untold(vm.waiting_input()), None, "too little to be worth telling");
    assert_eq!(inbox.untold(INPUT_WINDOW - INPUT_TOLD as usize), Some(INPUT_TOLD));
    inbox.tell(INPUT_TOLD);
    assert_eq!(inbox.untold(INPUT_WINDOW - INPUT_TOLD as usize), None);
    assert_eq!(inbox.untold(0), Some(INPUT_WINDOW as u32));
}

#[test]
fn a_gap_is_missed_and_does_not_count_as_waiting() {
    let mut inbox = Inbox::new();
    // Just before the positions begin anew.
    let start = u32::MAX - 1;
    inbox.tell(start);
    assert_eq!(inbox.receive(start, keys(b"")), start, "all before it, if one does not know better");
    assert_eq!(inbox.receive(start, keys(b"ab")), 0);
    assert_eq!(inbox.receive(start.wrapping_add(100), keys(b"c")), 98);
    assert_eq!(inbox.untold(0), Some(start.wrapping_add(98)), "three wait");
}

#[test]
fn a_sender_that_does_not_keep_to_the_window_is_told_what_it_lost() {
    let mut inbox = Inbox::new();
    assert_eq!(inbox.receive(0, keys(&[b'x'; 200])), 0);
    assert_eq!(inbox.receive(200, keys(&[b'x'; 200])), 400 - INPUT_WINDOW as u32);
}

#[test]
fn a_virtio_console_that_gets_keys_has_work() {
    let mut vm = vm(vec![VirtioDevice::Console]);
    vm.devices.pl011 = None;
    let mut inbox = Inbox::new();
    inbox.receive(0, keys(b"k"));
    assert!(!vm.has_work());
    let _ = inbox.deliver(&mut vm);
    assert!(vm.has_work());
}
