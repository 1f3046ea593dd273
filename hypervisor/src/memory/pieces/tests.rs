// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;

const PAGE: u64 = PAGE_SIZE;

fn range(page: u64, pages: u64) -> PaRange {
    PaRange::new(Pa(page * PAGE), pages * PAGE).unwrap()
}

fn ram(runs: &[PaRange]) -> RamPieces {
    RamPieces::new(runs.iter().copied()).unwrap()
}

fn with_room(mut ram: RamPieces, places: usize) -> RamPieces {
    let _ = ram.move_to(Vec::with_capacity(places));
    ram
}

#[test]
fn an_address_is_found_in_each_piece_and_across_none() {
    let ram = ram(&[range(100, 2), range(50, 1), range(200, 3)]);
    assert_eq!(ram.locate(0, PAGE), Some(Pa(100 * PAGE)));
    assert_eq!(ram.locate(2 * PAGE - 8, 8), Some(Pa(102 * PAGE - 8)));
    assert_eq!(ram.locate(2 * PAGE - 8, 9), None, "in two pieces");
    assert_eq!(ram.locate(2 * PAGE + 4, 8), Some(Pa(50 * PAGE + 4)));
    assert_eq!(ram.locate(3 * PAGE, 3 * PAGE), Some(Pa(200 * PAGE)));
    assert_eq!(ram.locate(6 * PAGE, 1), None);
    assert_eq!(ram.part(PAGE, 4 * PAGE), Some(range(101, 1)));
    assert_eq!(ram.part(3 * PAGE, PAGE), Some(range(200, 1)));
    assert!(ram.contains(PAGE, 5 * PAGE) && !ram.contains(PAGE, 5 * PAGE + 1));
}

#[test]
fn pieces_that_continue_one_another_stay_apart_until_one_is_changed() {
    // Each is mapped by itself, so nothing is lost by it.
    let ram = ram(&[range(1, 1), range(2, 1)]);
    assert_eq!(ram.count(), 2);
    assert!(ram.contains(0, 2 * PAGE));
}

#[test]
fn a_full_list_is_not_changed() {
    let mut ram = ram(&[range(10, 8)]);
    // A hole makes two of one, for which there is room; a second does not.
    assert_eq!(ram.remove(2 * PAGE, PAGE), Ok(range(12, 1)));
    let before: Vec<_> = ram.iter().collect();
    assert_eq!(ram.remove(5 * PAGE, PAGE), Err(PiecesError::NoPlace));
    assert_eq!(ram.insert(2 * PAGE, range(90, 1)), Err(PiecesError::NoPlace));
    assert_eq!(ram.iter().collect::<Vec<_>>(), before);
    // What was taken out goes back, whether there is room or not.
    assert_eq!(ram.insert(2 * PAGE, range(12, 1)), Ok(()));
    assert_eq!(ram.iter().collect::<Vec<_>>(), [RamPiece { offset: 0, memory: range(10, 8) }]);
}

#[test]
fn what_is_not_there_is_not_removed_and_what_is_there_not_covered() {
    let mut ram = with_room(ram(&[range(10, 2), range(20, 2)]), 8);
    assert_eq!(ram.remove(PAGE, 2 * PAGE), Err(PiecesError::NotThere), "in two pieces");
    assert_eq!(ram.remove(0, 0), Err(PiecesError::NotThere));
    assert_eq!(ram.remove(u64::MAX, PAGE), Err(PiecesError::NotThere));
    ram.remove(PAGE, PAGE).unwrap();
    assert_eq!(ram.insert(PAGE, range(30, 2)), Err(PiecesError::Overlap));
    assert_eq!(ram.insert(0, range(30, 1)), Err(PiecesError::Overlap));
    ram.insert(PAGE, range(30, 1)).unwrap();
    assert!(ram.contains(0, 4 * PAGE));
}

#[test]
fn scattered_memory_is_all_there_and_in_no_place_continues() {
    let runs = [range(16, 8), range(100, 3)];
    let pieces: Vec<_> = scatter(&runs, 2 * PAGE).collect();
    let expected = [(22, 2), (20, 2), (18, 2), (16, 2), (102, 1), (100, 2)].map(|(at, len)| range(at, len));
    assert_eq!(pieces, expected);
    assert!(pieces.windows(2).all(|two| two[0].end() != two[1].start()));
    assert_eq!(scatter(&runs, 0).count(), 11, "a page at least");
}

proptest! {
    /// The list says what a map of pages says, whatever is taken out and put in.
    #[test]
    fn it_says_what_a_map_of_pages_says(
        runs in prop::collection::vec(1u64..6, 1..5),
        steps in prop::collection::vec((any::<bool>(), 0u64..24, 1u64..4, 0u64..3), 1..60),
    ) {
        let runs: Vec<_> = (0..).zip(&runs).map(|(at, len)| range(100 * at + 7, *len)).collect();
        let mut ram = with_room(ram(&runs), 64);
        let pages = runs.iter().flat_map(|run| (0..run.len() / PAGE).map(move |page| Some(run.start().0 + page * PAGE)));
        let mut map: Vec<Option<u64>> = pages.chain(core::iter::repeat(None)).take(32).collect();
        for (remove, at, len, from) in steps {
            let here = at as usize..(at + len) as usize;
            if remove {
                let first = map[at as usize];
                let is_one = (0..).zip(here.clone()).all(|(page, index)| {
                    map[index].is_some() && map[index] == first.map(|first| first + page * PAGE)
                });
                match ram.remove(at * PAGE, len * PAGE) {
                    Ok(memory) => {
                        prop_assert!(is_one);
                        prop_assert_eq!(Some(memory.start().0), first);
                        map[here].fill(None);
                    }
                    // Pieces that continue one another may be two still.
                    Err(error) => prop_assert_eq!(error, PiecesError::NotThere),
                }
            } else {
                // Memory that continues what is before it, or what is behind it, or neither.
                let base = match from {
                    0 => at.checked_sub(1).and_then(|before| map[before as usize]).map(|pa| pa + PAGE),
                    1 => map[(at + len) as usize].and_then(|pa| pa.checked_sub(len * PAGE)),
                    _ => None,
                };
                let memory = PaRange::new(Pa(base.unwrap_or((5000 + 100 * at) * PAGE)), len * PAGE).unwrap();
                let is_free = map[here.clone()].iter().all(Option::is_none);
                prop_assert_eq!(ram.insert(at * PAGE, memory).is_ok(), is_free);
                if is_free {
                    for (page, index) in (0..).zip(here) {
                        map[index] = Some(memory.start().0 + page * PAGE);
                    }
                }
            }
            for (index, page) in (0..).zip(&map) {
                prop_assert_eq!(ram.locate(index * PAGE, PAGE).map(|pa| pa.0), *page);
                prop_assert_eq!(ram.contains(index * PAGE + 1, 2 * PAGE - 1),
                    page.is_some() && map.get(index as usize + 1).copied().flatten().is_some());
            }
            let pieces: Vec<_> = ram.iter().collect();
            for two in pieces.windows(2) {
                prop_assert!(two[0].end() <= two[1].offset);
            }
            let mut seen = vec![];
            let mut at = 0;
            while let Some((offset, memory)) = ram.next(at, 2 * PAGE) {
                seen.extend((0..memory.len() / PAGE).map(|page| (offset / PAGE + page, memory.start().0 + page * PAGE)));
                at = offset + memory.len();
            }
            let expected: Vec<_> = (0..).zip(&map).filter_map(|(index, page)| Some((index, (*page)?))).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
