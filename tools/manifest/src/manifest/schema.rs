// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON schema of the manifest, generated from the types that read it.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use super::file::File;

/// The manifest's JSON schema (draft 2020-12), for editors, as text.
#[must_use]
pub fn schema() -> String {
    format!("{:#}\n", value())
}

/// The schema as a value, without references: [`super::structure`] checks files against it.
pub(crate) fn value() -> Value {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(RecursiveTransform(tidy))
        .into_generator()
        .into_root_schema_for::<File>()
        .into()
}

/// Joins the lines of descriptions, and takes out defaults of null: TOML has no null, the key is just not
/// there.
fn tidy(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
}

#[cfg(test)]
mod tests {
    /// Run with `UPDATE_SCHEMA=1` to write the file anew.
    #[test]
    fn the_published_schema_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/manifest.schema.json");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(path, super::schema()).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            published,
            super::schema(),
            "write it anew: UPDATE_SCHEMA=1 cargo test -p vambrace-manifest schema"
        );
    }
}
