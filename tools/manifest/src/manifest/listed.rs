// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words of `devices`: those of platform devices come from the [list of them](vambrace_machine::devices).

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};
use vambrace_machine::devices::Device;

/// A virtual device that a VM is given by a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListedDevice {
    /// A platform device.
    Platform(Device),
    /// Random bytes, by virtio.
    VirtioRng,
    /// A console by virtio.
    VirtioConsole,
}

impl ListedDevice {
    /// All of them, each with its word and what it is.
    fn all() -> impl Iterator<Item = (Self, &'static str, &'static str)> {
        let platform = Device::ALL.into_iter().map(|it| (Self::Platform(it), it.word(), it.doc()));
        platform.chain([
            (Self::VirtioRng, "virtio-rng", "Random bytes, by virtio."),
            (Self::VirtioConsole, "virtio-console", "A console by virtio, besides the UART or in its place."),
        ])
    }
}

impl<'de> Deserialize<'de> for ListedDevice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Cow::<str>::deserialize(deserializer)?;
        let found = Self::all().find(|(_, known, _)| *known == word);
        found
            .map(|(device, ..)| device)
            .ok_or_else(|| D::Error::custom(format!("there is no device `{word}`")))
    }
}

impl JsonSchema for ListedDevice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ListedDevice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<_> = Self::all()
            .map(|(_, word, doc)| json_schema!({ "type": "string", "const": word, "description": doc }))
            .collect();
        json_schema!({ "description": "The virtual devices.", "oneOf": words })
    }
}
