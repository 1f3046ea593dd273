// SPDX-License-Identifier: MIT OR Apache-2.0
//! See the files.
#![no_std]
#![forbid(unsafe_code)]
