//! The settings file of a source as the status page edits it: the body that `PUT` takes,
//! without secrets.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use source_common::value_reference::ValueReference;

use crate::settings::to_json;
use crate::source_file::LOCAL_KEYS;

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
        .map_err(|_| format!("{name} is no TOML: repair it there."))?;
    let mut source = Map::new();
    let mut secrets = Vec::new();
    for (key, value) in &table {
        if LOCAL_KEYS.contains(&key.as_str()) {
            return Err(format!(
                "{name} sets `{key}`, which can be changed only there."
            ));
        }
        let Some(settings) = value.as_table().filter(|_| key == "settings") else {
            source.insert(key.clone(), to_json(value));
            continue;
        };
        let mut shown = Map::new();
        for (key, value) in settings {
            let pointer = format!("/properties/{key}/writeOnly");
            if schema.pointer(&pointer) == Some(&Value::Bool(true)) {
                secrets.push(key.clone());
            } else if ValueReference::parse(value).is_some() {
                return Err(format!(
                    "`{key}` of {name} refers to another place and can be changed only there."
                ));
            } else {
                shown.insert(key.clone(), to_json(value));
            }
        }
        source.insert(key.clone(), Value::Object(shown));
    }
    Ok((source, secrets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Value {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acme.toml");
        fs::write(&file, text).unwrap();
        let schema = json!({ "properties": { "client_secret": { "writeOnly": true } } });
        editable_settings(&file, &directory.path().join("host.toml"), &schema)
    }

    #[test]
    fn everything_but_secrets_is_given() {
        let form = of(
            "enabled = false\noutputs = [\"siem\"]\nmemory_mib = 32\n[settings]\n\
                       client_id = \"id\"\nclient_secret = { file = \"acme.secret\" }\n",
        );
        assert_eq!(
            form,
            json!({
                "editable": true,
                "source": {
                    "enabled": false,
                    "outputs": ["siem"],
                    "memory_mib": 32,
                    "settings": { "client_id": "id" },
                },
                "secrets": ["client_secret"],
            })
        );
        let literal = of("[settings]\nclient_secret = \"hunter22\"\n");
        assert!(!literal.to_string().contains("hunter22"), "{literal}");
    }

    #[test]
    fn what_the_api_would_not_write_is_edited_in_the_file() {
        for (text, reason) in [
            ("ca_file = \"ca.pem\"\n[settings]\n", "`ca_file`"),
            ("[settings]\nbase_url = { env = \"URL\" }\n", "`base_url`"),
            ("[settings\n", "acme.toml"),
        ] {
            let form = of(text);
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
