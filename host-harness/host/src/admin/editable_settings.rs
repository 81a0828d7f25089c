//! The settings file of a source as the status page edits it: the body that `PUT` takes,
//! without secrets.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use source_common::value_reference::ValueReference;

use crate::settings::to_json;
use crate::source_file::FILE_ONLY_KEYS;

/// Keys of a source that `PUT` takes, besides its settings.
const SOURCE_KEYS: [&str; 10] = [
    "allow",
    "allow_only",
    "enabled",
    "max_bytes",
    "max_events",
    "max_requests",
    "memory_mib",
    "outputs",
    "poll_timeout_secs",
    "renamed_from",
];

/// Returns the editable settings of a file, or the reason why it cannot be edited. `main_file` is
/// the settings file of the host, `schema` that of the component's settings.
pub(super) fn editable_settings(file: &Path, main_file: &Path, schema: &Value) -> Value {
    match read(file, main_file, schema) {
        Ok((source, secrets)) => json!({ "editable": true, "source": source, "secrets": secrets }),
        Err(reason) => json!({ "editable": false, "reason": reason }),
    }
}

fn read(
    file: &Path,
    main_file: &Path,
    schema: &Value,
) -> Result<(Map<String, Value>, Vec<String>), String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if file == main_file {
        return Err(format!("This source is in {name}: change it there."));
    }
    let text =
        fs::read_to_string(file).map_err(|error| format!("{name} cannot be read: {error}"))?;
    let table: toml::Table = text
        .parse()
        .map_err(|_| format!("{name} is not TOML: correct it there."))?;
    // An unknown key may be a secret that is misspelt, or in the wrong table.
    let unknown = |key: &str| format!("`{key}` of {name} is unknown: correct it there.");
    let mut source = Map::new();
    let mut secrets = Vec::new();
    for (key, value) in &table {
        if FILE_ONLY_KEYS.contains(&key.as_str()) {
            return Err(format!(
                "{name} sets `{key}`, which can be changed only there."
            ));
        }
        let Some(settings) = value.as_table().filter(|_| key == "settings") else {
            if !SOURCE_KEYS.contains(&key.as_str()) || value.is_table() {
                return Err(unknown(key));
            }
            source.insert(key.clone(), to_json(value));
            continue;
        };
        let mut shown = Map::new();
        for (key, value) in settings {
            let property = schema.get("properties").and_then(|known| known.get(key));
            let Some(property) = property else {
                return Err(unknown(key));
            };
            if property.get("writeOnly") == Some(&Value::Bool(true)) {
                secrets.push(key.clone());
            } else if ValueReference::parse(value).is_some() {
                return Err(format!(
                    "`{key}` of {name} refers to another place and can be changed only there."
                ));
            } else if !has_known_values(value, property) {
                return Err(format!(
                    "`{key}` of {name} has an invalid value: correct it there."
                ));
            } else {
                shown.insert(key.clone(), to_json(value));
            }
        }
        source.insert(key.clone(), Value::Object(shown));
    }
    Ok((source, secrets))
}

/// Returns whether every value of a table is one that the schema lists; `true` for a value that is no
/// table. A table with another value may hold a setting that was written below its header by mistake.
fn has_known_values(value: &toml::Value, property: &Value) -> bool {
    let options = property.pointer("/additionalProperties/enum");
    let options = options.and_then(Value::as_array);
    let mut values = value.as_table().into_iter().flat_map(toml::Table::values);
    values.all(|value| options.is_some_and(|options| options.contains(&to_json(value))))
}

#[cfg(test)]
mod tests {
    use source_common::line_numbers::KeyLineNumbers;

    use super::*;
    use crate::settings::{InheritedSettings, SourceSettings};

    fn editable(text: &str) -> Value {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acme.toml");
        fs::write(&file, text).unwrap();
        let schema = json!({ "properties": {
            "base_url": {},
            "client_id": {},
            "client_secret": { "writeOnly": true },
            "severity_overrides": { "additionalProperties": { "enum": ["low", "high"] } },
        } });
        editable_settings(&file, &directory.path().join("host.toml"), &schema)
    }

    #[test]
    fn everything_but_secrets_is_given() {
        let form = editable(
            "enabled = false\noutputs = [\"siem\"]\nmemory_mib = 32\n[settings]\n\
                       client_id = \"id\"\nclient_secret = { file = \"acme.secret\" }\n\
                       severity_overrides = { audit = \"low\" }\n",
        );
        assert_eq!(
            form,
            json!({
                "editable": true,
                "source": {
                    "enabled": false,
                    "outputs": ["siem"],
                    "memory_mib": 32,
                    "settings": { "client_id": "id", "severity_overrides": { "audit": "low" } },
                },
                "secrets": ["client_secret"],
            })
        );
        let literal = editable("[settings]\nclient_secret = \"hunter22\"\n");
        assert!(!literal.to_string().contains("hunter22"), "{literal}");
    }

    #[test]
    fn a_secret_that_is_misspelt_or_misplaced_is_not_given() {
        for (text, key) in [
            (
                "[settings]\nclient_secert = \"s3cret\"\n",
                "`client_secert`",
            ),
            (
                "client_secret = \"s3cret\"\n[settings]\n",
                "`client_secret`",
            ),
            (
                "[source.settings]\nclient_secret = \"s3cret\"\n",
                "`source`",
            ),
            ("[allow]\nclient_secret = \"s3cret\"\n", "`allow`"),
            ("settings = \"s3cret\"\n", "`settings`"),
            (
                "[settings.severity_overrides]\nclient_secret = \"s3cret\"\n",
                "`severity_overrides`",
            ),
            (
                "[settings.client_id]\nclient_secret = \"s3cret\"\n",
                "`client_id`",
            ),
        ] {
            let form = editable(text);
            assert_eq!(form["editable"], false, "{text}");
            assert!(form["reason"].as_str().unwrap().contains(key), "{form}");
            assert!(!form.to_string().contains("s3cret"), "{form}");
        }
    }

    #[test]
    fn every_key_that_is_given_is_one_of_a_source() {
        for key in SOURCE_KEYS {
            let table: toml::Table = format!("{key} = {{}}").parse().unwrap();
            let failure = SourceSettings::from_table(
                Path::new("acme.toml"),
                "acme",
                table,
                &KeyLineNumbers::default(),
                &InheritedSettings::default(),
            )
            .unwrap_err();
            assert!(
                failure.message.contains(&format!("`{key}` must be ")),
                "{failure}"
            );
        }
    }

    #[test]
    fn what_the_api_would_not_write_is_edited_in_the_file() {
        for (text, reason) in [
            ("ca_file = \"ca.pem\"\n[settings]\n", "`ca_file`"),
            ("[settings]\nbase_url = { env = \"URL\" }\n", "`base_url`"),
            ("[settings\n", "acme.toml"),
        ] {
            let form = editable(text);
            assert_eq!(form["editable"], false, "{text}");
            assert!(form["reason"].as_str().unwrap().contains(reason), "{form}");
        }
        let main = Path::new("host.toml");
        assert_eq!(
            editable_settings(main, main, &Value::Null)["editable"],
            false
        );
    }
}
