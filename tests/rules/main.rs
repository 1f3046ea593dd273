// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules of the house, checked on the sources themselves.
//!
//! The compiler and clippy enforce most of them where they look; this looks at every file, in every
//! configuration, and counts. To see the count of `unsafe`:
//!
//! ```text
//! cargo test -p vambrace-tests --test rules unsafe -- --nocapture
//! ```
#![forbid(unsafe_code)]

mod arithmetic;
mod clock;
mod commands;
mod dependencies;
mod documents;
mod drop_order;
mod fail_stop;
mod flags;
mod glossary;
mod lexer;
mod links;
mod sources;
mod text;
mod unsafe_code;
