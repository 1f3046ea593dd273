// SPDX-License-Identifier: MIT OR Apache-2.0
//! All CPUs; see `programs/smp.rs`. Natively: `-smp N -append native`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(smp);
