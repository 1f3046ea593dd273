// SPDX-License-Identifier: MIT OR Apache-2.0
extern crate std;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Inner {
    fixed: u16,
    value: u32,
}

restore_fields!(Inner { same fixed, whole value });

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Outer {
    version: Version<3>,
    name: String,
    inner: Inner,
    maybe: Option<u8>,
    numbers: Vec<u64>,
    inners: Box<[Inner]>,
    shape: Vec<u8>,
    four: [u16; 4],
    kind: Kind,
}

restore_fields!(Outer {
    whole version,
    text name,
    part inner,
    optional maybe,
    wholes numbers,
    parts inners,
    sames shape,
    array four,
    part kind,
});

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum Kind {
    Small(u8),
    Large(Box<Inner>),
}

impl Restore for Kind {
    fn restore<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
        struct Variant<'a>(&'a mut Kind);

        impl<'de> Visitor<'de> for Variant<'_> {
            type Value = ();

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a kind")
            }

            fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<(), A::Error> {
                match self.0 {
                    Kind::Small(value) => variant(from, 0, Whole(value)),
                    Kind::Large(value) => variant(from, 1, Part(&mut **value)),
                }
            }
        }

        from.deserialize_enum("Kind", &["Small", "Large"], Variant(self))
    }
}

fn outer(value: u8) -> Outer {
    let inner = Inner { fixed: 7, value: value.into() };
    Outer {
        version: Version,
        name: "name".into(),
        inner: inner.clone(),
        maybe: Some(value),
        numbers: [1, 2, value.into()].into(),
        inners: [inner.clone(), inner.clone()].into(),
        shape: [1, 2].into(),
        four: [value.into(); 4],
        kind: if value.is_multiple_of(2) { Kind::Small(value) } else { Kind::Large(Box::new(inner)) },
    }
}

fn restore(into: &mut Outer, bytes: &[u8]) -> Result<(), postcard::Error> {
    into.restore(&mut postcard::Deserializer::from_bytes(bytes))
}

#[test]
fn what_was_written_is_read_back_in_place() {
    for (before, after) in [(2, 4), (1, 3)] {
        let mut value = outer(before);
        let place = value.numbers.as_ptr();
        restore(&mut value, &postcard::to_allocvec(&outer(after)).unwrap()).unwrap();
        assert_eq!((&value, value.numbers.as_ptr()), (&outer(after), place));
    }
}

#[test]
fn another_shape_is_refused() {
    let others: [fn(&mut Outer); 9] = [
        |it| it.name.push('s'),
        |it| it.inner.fixed += 1,
        |it| it.maybe = None,
        |it| it.numbers.push(1),
        |it| it.numbers.truncate(2),
        |it| it.inners = [].into(),
        |it| it.inners[1].fixed = 0,
        |it| it.shape[1] = 3,
        |it| it.kind = outer(1).kind,
    ];
    for (at, other) in others.iter().enumerate() {
        let mut written = outer(2);
        other(&mut written);
        let bytes = postcard::to_allocvec(&written).unwrap();
        assert!(restore(&mut outer(2), &bytes).is_err(), "shape {at}");
        assert!(restore(&mut written, &postcard::to_allocvec(&outer(2)).unwrap()).is_err(), "shape {at}");
    }
}

#[test]
fn only_its_own_version_is_read() {
    let saved = postcard::to_allocvec(&Version::<3>).unwrap();
    assert_eq!(postcard::from_bytes::<Version<3>>(&saved), Ok(Version));
    assert!(postcard::from_bytes::<Version<4>>(&saved).is_err());
}

proptest! {
    /// Also a list of 2^60 elements takes no memory, and ends.
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..80), cut in 0usize..40, value: u8) {
        let mut written = postcard::to_allocvec(&outer(value)).unwrap();
        written.truncate(cut);
        written.extend(bytes);
        let _ = restore(&mut outer(value), &written);
    }
}
