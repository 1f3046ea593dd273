// SPDX-License-Identifier: MIT OR Apache-2.0
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| vambrace_io::virtio::model::torture::console(script));
