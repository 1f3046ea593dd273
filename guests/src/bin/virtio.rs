// SPDX-License-Identifier: MIT OR Apache-2.0
//! Uses every virtio device there is; see `programs/virtio.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(virtio);
