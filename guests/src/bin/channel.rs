// SPDX-License-Identifier: MIT OR Apache-2.0
//! Talks to the other members of a channel; see `programs/channel.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(channel);
