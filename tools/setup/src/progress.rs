// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tells the user what takes long: moving bars on a terminal, plain lines elsewhere, nothing in tests.
//!
//! All of it goes to standard error, so that standard output carries the VMs' consoles alone.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Where and how progress is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bars and spinners on standard error.
    Bars,
    /// One line for each step.
    Lines,
    /// Not at all.
    Silent,
}

impl Progress {
    /// Bars when standard error is a terminal, otherwise lines.
    #[must_use]
    pub fn for_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Bars } else { Self::Lines }
    }

    /// Announces a step. The bar goes away when the returned value is dropped.
    #[must_use]
    pub fn step(self, what: &str) -> ProgressStep {
        match self {
            Self::Bars => {
                let bar = ProgressBar::new_spinner();
                bar.set_style(spinner());
                bar.set_prefix(what.to_owned());
                bar.enable_steady_tick(Duration::from_millis(100));
                ProgressStep { bar: Some(bar) }
            }
            Self::Lines => {
                eprintln!("vambrace: {what}");
                ProgressStep { bar: None }
            }
            Self::Silent => ProgressStep { bar: None },
        }
    }
}

/// A step under way.
#[derive(Debug)]
pub struct ProgressStep {
    bar: Option<ProgressBar>,
}

impl ProgressStep {
    /// Says what the step is at.
    pub fn detail(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// Says how much of the step is done, in percent.
    pub fn percent(&self, percent: u64) {
        if let Some(bar) = &self.bar {
            if bar.length().is_none() {
                bar.set_length(100);
                bar.set_style(gauge());
            }
            bar.set_position(percent.min(100));
        }
    }
}

impl Drop for ProgressStep {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {wide_msg:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn gauge() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {percent:>3} % {wide_msg:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
