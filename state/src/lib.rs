// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saved state: its version, and how it is read back.
//!
//! State is written by serde's derived `Serialize`. It is read back in place, by [`Restore`]: into a value that has been made
//! already from the same description, and so has all the memory that it needs. Nothing is allocated, however long a list is said to
//! be; what follows from the description has to be what it was, and a list has to have the length that it had. So a state that was
//! damaged or made up can give values that make no sense, which whoever restores has to look for, but not another shape.
//!
//! [`restore_fields`] writes `Restore` for a struct. It takes the struct apart, so a field that is left out does not compile, and a
//! field out of its order is found by each test that reads back what was written.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use core::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

mod version;

pub use version::Version;

/// Bytes that are read without being copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Bytes<'a>(#[serde(borrow)] pub &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

/// What a macro needs.
#[doc(hidden)]
pub use serde;

/// A value that is read back into one of the same shape.
pub trait Restore {
    /// Makes this value what it was when it was written. After an error it is neither, and good for nothing.
    ///
    /// # Errors
    /// `D`'s, and a custom one when what was written is not of this value's shape.
    fn restore<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error>;
}

/// Reads a value that has all it is in itself.
#[derive(Debug)]
pub struct Whole<'a, T>(pub &'a mut T);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Whole<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        *self.0 = T::deserialize(from)?;
        Ok(())
    }
}

/// Reads a value in place.
#[derive(Debug)]
pub struct Part<'a, T>(pub &'a mut T);

impl<'de, T: Restore> DeserializeSeed<'de> for Part<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.restore(from)
    }
}

/// Reads a value that has to be what it is.
#[derive(Debug)]
pub struct Same<'a, T>(pub &'a T);

impl<'de, T: Deserialize<'de> + PartialEq> DeserializeSeed<'de> for Same<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        if T::deserialize(from)? == *self.0 { Ok(()) } else { Err(other_shape()) }
    }
}

/// Reads a text that has to be what it is.
#[derive(Debug)]
pub struct SameText<'a>(pub &'a str);

impl<'de> DeserializeSeed<'de> for SameText<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for SameText<'_> {
    type Value = ();

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the text {:?}", self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if text == self.0 { Ok(()) } else { Err(other_shape()) }
    }
}

/// Reads a value that may be missing, and is where it was.
#[derive(Debug)]
pub struct Optional<'a, T>(pub &'a mut Option<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Optional<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Optional<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a value or none, as there is")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        if self.0.is_none() { Ok(()) } else { Err(other_shape()) }
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match self.0 {
            Some(value) => Whole(value).deserialize(from),
            None => Err(other_shape()),
        }
    }
}

/// How each element of a list is read.
pub trait Element<'a, 'de, T> {
    /// What reads it.
    type Seed: DeserializeSeed<'de, Value = ()>;

    /// That which reads this one.
    fn seed(element: &'a mut T) -> Self::Seed;
}

impl<'a, 'de, T: Deserialize<'de> + 'a> Element<'a, 'de, T> for Whole<'_, T> {
    type Seed = Whole<'a, T>;

    fn seed(element: &'a mut T) -> Whole<'a, T> {
        Whole(element)
    }
}

impl<'a, 'de, T: Restore + 'a> Element<'a, 'de, T> for Part<'_, T> {
    type Seed = Part<'a, T>;

    fn seed(element: &'a mut T) -> Part<'a, T> {
        Part(element)
    }
}

impl<'a, 'de, T: Deserialize<'de> + PartialEq + 'a> Element<'a, 'de, T> for Same<'_, T> {
    type Seed = Same<'a, T>;

    fn seed(element: &'a mut T) -> Same<'a, T> {
        Same(element)
    }
}

/// Reads a list of the same length, each element as `E` says.
#[derive(Debug)]
pub struct List<'a, T, E> {
    elements: &'a mut [T],
    how: PhantomData<E>,
}

/// Reads an array, each element as `E` says.
#[derive(Debug)]
pub struct Array<'a, T, E, const N: usize>(List<'a, T, E>);

/// Reads a list whose elements have all they are in themselves.
pub fn wholes<T>(elements: &mut [T]) -> List<'_, T, Whole<'static, T>> {
    List { elements, how: PhantomData }
}

/// Reads a list in place.
pub fn parts<T>(elements: &mut [T]) -> List<'_, T, Part<'static, T>> {
    List { elements, how: PhantomData }
}

/// Reads a list that has to be what it is.
pub fn sames<T>(elements: &mut [T]) -> List<'_, T, Same<'static, T>> {
    List { elements, how: PhantomData }
}

/// Reads an array, an element at a time.
pub fn array<T, const N: usize>(elements: &mut [T; N]) -> Array<'_, T, Whole<'static, T>, N> {
    Array(wholes(elements))
}

impl<'a, 'de, T: 'a, E: Element<'a, 'de, T>> DeserializeSeed<'de> for List<'a, T, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'a, 'de, T: 'a, E: Element<'a, 'de, T>, const N: usize> DeserializeSeed<'de> for Array<'a, T, E, N> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_tuple(N, self.0)
    }
}

impl<'a, 'de, T: 'a, E: Element<'a, 'de, T>> Visitor<'de> for List<'a, T, E> {
    type Value = ();

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "a list of {} elements", self.elements.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        for element in self.elements {
            from.next_element_seed(E::seed(element))?.ok_or_else(other_shape)?;
        }
        // One more is one too many.
        match from.next_element_seed(Nothing)? {
            None => Ok(()),
            Some(()) => Err(other_shape()),
        }
    }
}

/// Reads nothing.
struct Nothing;

impl<'de> DeserializeSeed<'de> for Nothing {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _from: D) -> Result<(), D::Error> {
        Ok(())
    }
}

/// Reads the number of an enum's variant, in the order of their declaration, and then its value.
///
/// # Errors
/// `A`'s, and a custom one when it is not variant `number`.
pub fn variant<'de, A: EnumAccess<'de>>(
    from: A,
    number: u32,
    value: impl DeserializeSeed<'de, Value = ()>,
) -> Result<(), A::Error> {
    let (found, rest) = from.variant_seed(PhantomData::<u32>)?;
    if found == number { rest.newtype_variant_seed(value) } else { Err(other_shape()) }
}

/// What was written is not of this shape.
pub fn other_shape<E: Error>() -> E {
    E::custom("not of the shape of the value that it is restored into")
}

/// Writes [`Restore`] for a struct, whose fields are given in their order, each with how it is read: `whole`, `part`, `same`, `text`
/// ([`SameText`]), `optional`, `wholes`, `parts`, `sames` or `array`.
#[macro_export]
macro_rules! restore_fields {
    ($type:ident { $($how:ident $field:ident),+ $(,)? }) => {
        $crate::restore_fields!(@ [] [$type] $type { $($how $field),+ });
    };
    ($type:ident<$param:ident: $bound:ident $(+ $more:ident)*> { $($how:ident $field:ident),+ $(,)? }) => {
        $crate::restore_fields!(@ [$param: 'static + $bound $(+ $more)*] [$type<$param>] $type { $($how $field),+ });
    };
    (@ [$($params:tt)*] [$($type:tt)+] $name:ident { $($how:ident $field:ident),+ }) => {
        impl<$($params)*> $crate::Restore for $($type)+ {
            fn restore<'de, FROM>(&mut self, from: FROM) -> Result<(), FROM::Error>
            where
                FROM: $crate::serde::Deserializer<'de>,
            {
                struct Fields<'a, T>(&'a mut T);

                impl<'de, $($params)*> $crate::serde::de::Visitor<'de> for Fields<'_, $($type)+> {
                    type Value = ();

                    fn expecting(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                        f.write_str(concat!("struct ", stringify!($name)))
                    }

                    fn visit_seq<A>(self, mut from: A) -> Result<(), A::Error>
                    where
                        A: $crate::serde::de::SeqAccess<'de>,
                    {
                        let $name { $($field),+ } = self.0;
                        $(
                            from.next_element_seed($crate::read!($how $field))?
                                .ok_or_else($crate::other_shape)?;
                        )+
                        Ok(())
                    }
                }

                const NAMES: &[&str] = &[$(stringify!($field)),+];
                from.deserialize_struct(stringify!($name), NAMES, Fields(self))
            }
        }
    };
}

/// What reads a field of [`restore_fields`].
#[doc(hidden)]
#[macro_export]
macro_rules! read {
    (whole $field:ident) => {
        $crate::Whole($field)
    };
    (part $field:ident) => {
        $crate::Part($field)
    };
    (same $field:ident) => {
        $crate::Same($field)
    };
    (text $field:ident) => {
        $crate::SameText($field)
    };
    (optional $field:ident) => {
        $crate::Optional($field)
    };
    ($list:ident $field:ident) => {
        $crate::$list($field)
    };
}

#[cfg(test)]
mod tests;
