// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs' disks on a disk that is made up: one that serves requests in their order, or answers what it should not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::*;

mod fair;

const DATA: usize = 1024;
const SECTOR: usize = 512;
const TAG: Tag = Tag(0);

/// What the disk does with a request beside what it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// All of it.
    Whole,
    /// So many bytes, and says so.
    Short(u32),
    /// All of the data, without counting its status.
    WithoutStatus,
    /// Nothing, and says that it has written all.
    Nothing,
}

/// Requests in the disk, by token, and what it says of each.
#[derive(Debug)]
struct Inside {
    begun: VecDeque<u16>,
    done: VecDeque<u16>,
    next: u16,
    answer: Answer,
    /// The byte that is on the disk everywhere.
    byte: u8,
}

#[derive(Clone, Debug)]
struct Device(Rc<RefCell<Inside>>);

impl Device {
    fn new() -> Self {
        let inside =
            Inside { begun: VecDeque::new(), done: VecDeque::new(), next: 0, answer: Answer::Whole, byte: 0 };
        Self(Rc::new(RefCell::new(inside)))
    }

    /// The disk serves the first request that waits in it. Says whether there was one.
    fn serve(&self) -> bool {
        let mut inside = self.0.borrow_mut();
        let first = inside.begun.pop_front();
        inside.done.extend(first);
        first.is_some()
    }

    fn answers(&self, answer: Answer) {
        self.0.borrow_mut().answer = answer;
    }
}

impl DiskQueue for Device {
    fn submit(&mut self, _buffer: &mut Buffer<'_>, _data: Data) -> Option<u16> {
        let mut inside = self.0.borrow_mut();
        let token = inside.next;
        inside.next += 1;
        inside.begun.push_back(token);
        assert!(inside.begun.len() + inside.done.len() <= MAX_REQUESTS, "the queue is full");
        Some(token)
    }

    fn next_completed(&mut self) -> Option<u16> {
        self.0.borrow().done.front().copied()
    }

    fn complete(&mut self, token: u16, buffer: &mut Buffer<'_>, data: Data) -> Option<u32> {
        let mut inside = self.0.borrow_mut();
        assert_eq!(inside.done.pop_front(), Some(token));
        let (whole, all) = match data.direction {
            Direction::FromDisk => (data.len, data.len as u32 + 1),
            _ => (0, 1),
        };
        let (written, said) = match inside.answer {
            Answer::Whole => (whole, all),
            Answer::Short(bytes) => (bytes as usize, bytes),
            Answer::WithoutStatus => (whole, all - 1),
            Answer::Nothing => return Some(all),
        };
        buffer.data[..written].fill(inside.byte);
        buffer.status[0] = 0;
        Some(said)
    }
}

type Disk = BoardDisk<'static, Device>;

fn buffer() -> Option<Buffer<'static>> {
    Buffer::new(vec![0xEE; Buffer::size(DATA)].leak(), DATA)
}

/// A disk with the slots that all share, and what is in it.
fn disk() -> (Disk, Device) {
    let device = Device::new();
    let mut disk = BoardDisk::new(device.clone(), Features::all(), 1000);
    (0..SHARED).for_each(|_| disk.add_slot(buffer()).unwrap());
    (disk, device)
}

fn attach(disk: &mut Disk, vm: u16) -> Owner {
    disk.attach(VmId::first(vm), buffer).unwrap()
}

fn submit_read(disk: &mut Disk, owner: Owner, tag: u8) -> DiskStep {
    disk.operate(owner, Tag(tag), Operation::Read { sector: 0, to: &mut [0; DATA] })
}

/// Reads until it is done, and says what came.
fn read(disk: &mut Disk, device: &Device, owner: Owner) -> (DiskStep, Vec<u8>) {
    let mut to = vec![0x11; DATA];
    assert_eq!(submit_read(disk, owner, TAG.0), DiskStep::Pending);
    assert_eq!(disk.poll(owner, TAG, &mut to), DiskStep::Pending);
    assert!(device.serve());
    assert_eq!(disk.collect()[..], [owner.vm]);
    let step = disk.poll(owner, TAG, &mut to);
    (step, to)
}

#[test]
fn whole_answers_come_whole() {
    let (mut disk, device) = disk();
    let owner = attach(&mut disk, 3);
    device.0.borrow_mut().byte = 0x5A;
    for answer in [Answer::Whole, Answer::WithoutStatus] {
        device.answers(answer);
        assert_eq!(read(&mut disk, &device, owner), (DiskStep::Done, vec![0x5A; DATA]), "{answer:?}");
    }
    assert_eq!(disk.news(), None);
    assert_eq!(disk.poll(owner, TAG, &mut []), DiskStep::Failed, "nothing is under way");
}

/// The one slot that both use has what the other one read.
#[test]
fn a_short_answer_shows_nothing_of_anothers_data() {
    let (mut disk, device) = disk();
    let (victim, curious) = (attach(&mut disk, 0), attach(&mut disk, 1));
    device.0.borrow_mut().byte = 0x5A;
    assert_eq!(read(&mut disk, &device, victim), (DiskStep::Done, vec![0x5A; DATA]));
    device.0.borrow_mut().byte = 0x01;
    for written in [0, 1, SECTOR as u32, DATA as u32 - 1] {
        device.answers(Answer::Short(written));
        let (step, data) = read(&mut disk, &device, curious);
        assert_eq!(step, DiskStep::Failed, "{written} bytes are not what was asked for");
        assert!(!data.contains(&0x5A) && !data.contains(&0xEE), "{written} bytes, and then another's");
        device.answers(Answer::Whole);
        device.0.borrow_mut().byte = 0x5A;
        assert_eq!(read(&mut disk, &device, victim).0, DiskStep::Done);
        device.0.borrow_mut().byte = 0x01;
    }
    assert_eq!(disk.news(), Some(Conduct::Short));
    assert_eq!(disk.news(), None, "said once");
}

/// A token that is nobody's would come out again and again, and what is under way never.
#[test]
fn a_disk_that_ends_what_was_not_made_is_used_no_more() {
    let (mut disk, device) = disk();
    let (one, other) = (attach(&mut disk, 3), attach(&mut disk, 7));
    assert_eq!(submit_read(&mut disk, one, 0), DiskStep::Pending);
    assert_eq!(submit_read(&mut disk, one, 1), DiskStep::Pending);
    assert!(device.serve());
    device.0.borrow_mut().done.push_back(0x1234);
    assert_eq!(disk.collect()[..], [3, 7].map(VmId::first), "all look again, also who waits for a slot");
    assert_eq!(disk.news(), Some(Conduct::Astray));
    let mut to = [0x11; DATA];
    assert_eq!(disk.poll(one, Tag(0), &mut to), DiskStep::Done, "it was there before");
    assert_eq!(disk.poll(one, Tag(1), &mut to), DiskStep::Failed);
    assert_eq!(submit_read(&mut disk, other, 0), DiskStep::Failed, "no buffer is given to it any more");
    assert_eq!(disk.collect()[..], [], "and nothing goes round");
}

/// Each request begins with a status that no disk writes.
#[test]
fn a_status_that_was_not_written_is_no_success() {
    let (mut disk, device) = disk();
    let owner = attach(&mut disk, 0);
    assert_eq!(read(&mut disk, &device, owner).0, DiskStep::Done);
    device.answers(Answer::Nothing);
    assert_eq!(read(&mut disk, &device, owner), (DiskStep::Failed, vec![0x11; DATA]));
}

#[test]
fn a_name_may_be_shorter_than_its_field() {
    let (mut disk, device) = disk();
    let owner = attach(&mut disk, 0);
    for (answer, name) in [(Answer::Short(3), "AAA"), (Answer::Whole, "AAAAAAAAAAAAAAAAAAAA")] {
        device.answers(answer);
        device.0.borrow_mut().byte = b'A';
        assert_eq!(disk.ask_for_name(owner), DiskStep::Pending);
        assert_eq!(disk.take_name(owner), DiskStep::Pending);
        device.serve();
        assert_eq!(disk.collect()[..], [0].map(VmId::first));
        assert_eq!(disk.take_name(owner), DiskStep::Done);
        assert!(disk.is_called(name), "{answer:?}");
        assert!(!disk.is_called("AA") && !disk.is_called("AAAAAAAAAAAAAAAAAAAAA"));
    }
}

/// What a disk is asked for reaches it as the specification has it.
#[test]
fn a_write_goes_to_the_disk_and_a_range_too() {
    let (mut disk, device) = disk();
    let owner = attach(&mut disk, 0);
    let blocks = Blocks::MayUnmap;
    for (tag, operation) in [
        (1, Operation::Write { sector: 7, from: &[1; DATA] }),
        (2, Operation::Flush),
        (3, Operation::Discard { sector: 1, sectors: 2 }),
    ] {
        assert_eq!(disk.operate(owner, Tag(tag), operation), DiskStep::Pending);
    }
    let headers: Vec<u8> = disk.slots.iter().map(|slot| slot.buffer.header[0]).take(3).collect();
    assert_eq!(headers, [1, 4, 11]);
    assert_eq!(disk.slots[0].buffer.header[8..], 7u64.to_le_bytes());
    assert_eq!(disk.slots[2].buffer.data[..16], [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    while device.serve() {}
    assert_eq!(disk.collect()[..], [0].map(VmId::first));
    for tag in 1..4 {
        assert_eq!(disk.poll(owner, Tag(tag), &mut []), DiskStep::Done);
    }
    let plain = BoardDisk::new(device.clone(), Features::VERSION_1, 1000);
    let mut plain = plain;
    let zeroes = Operation::WriteZeroes { sector: 0, sectors: 1, blocks };
    assert_eq!(plain.operate(owner, TAG, Operation::Flush), DiskStep::Done);
    assert_eq!(plain.operate(owner, TAG, Operation::Discard { sector: 0, sectors: 1 }), DiskStep::Done);
    assert_eq!(plain.operate(owner, TAG, zeroes), DiskStep::Failed);
    let too_much = Operation::Write { sector: 0, from: &[0; DATA + 1] };
    assert_eq!(disk.operate(owner, TAG, too_much), DiskStep::Failed);
    assert_eq!(disk.free(), SHARED + 1, "what failed has no slot");
}
