// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why what a manifest describes does not run.

use vambrace_manifest::diagnostic::Diagnostics;
use vambrace_manifest::plan::PlanError;
use vambrace_setup::SetupError;
use vambrace_setup::image::ImageError;

use crate::{Exit, RunError};

/// What stands between a manifest and its running VMs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The manifest is wrong.
    #[error("the manifest has mistakes")]
    Manifest(#[from] Diagnostics),
    /// Something is missing on this computer.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// There is no bundle.
    #[error(transparent)]
    Plan(PlanError),
    /// The hypervisor's image cannot be joined with the bundle.
    #[error("the hypervisor's image is of no use: {0}\nreport this as a bug")]
    Image(#[from] ImageError),
    /// QEMU did not start.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<PlanError> for StartError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Manifest(diagnostics) => Self::Manifest(diagnostics),
            other => Self::Plan(other),
        }
    }
}

impl StartError {
    /// The command's exit code for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Plan(PlanError::Image { .. }) => Exit::Setup,
            Self::Manifest(_) | Self::Plan(_) => Exit::Usage,
            Self::Setup(_) | Self::Image(_) | Self::Run(_) => Exit::Setup,
        }
    }
}
