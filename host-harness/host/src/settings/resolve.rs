//! Resolves `[source.settings]` to the JSON that the component gets: checks keys and
//! types against its schema and reads referenced values.

use std::path::Path;

use serde_json::{Map, Value};
use source_common::exit::Failure;
use source_common::line_numbers::KeyLineNumbers;
use source_common::secret::{Redactor, Secret};
use source_common::section::{
    SettingsErrors, file_location, literal_secret_advice, unexpanded_variable_error,
};
use source_common::suggestion::{nearest, unknown_key};
use source_common::value_reference::{ValueReference, resolve_reference};
use source_runtime::source::set_default_tenant;

/// `[source.settings]`, as written in the file.
#[derive(Clone, Debug)]
pub struct SettingsTable {
    /// The table.
    pub table: toml::Table,
    /// Line numbers of its keys.
    pub lines: KeyLineNumbers,
    /// The header of the table in its file.
    pub header: &'static str,
    /// The lines of the keys of its source.
    pub source_lines: KeyLineNumbers,
}

impl Default for SettingsTable {
    fn default() -> Self {
        Self {
            table: toml::Table::new(),
            lines: KeyLineNumbers::default(),
            header: "[source.settings]",
            source_lines: KeyLineNumbers::default(),
        }
    }
}

/// Maximum length of the settings as JSON: what `pipeline:source` allows.
const SETTINGS_BYTES_MAX: usize = 256 * 1024;

/// The settings in the form that the component gets.
#[derive(Debug)]
pub struct ResolvedSettings {
    /// The settings as a JSON object.
    pub json: Secret,
    /// Redacts the secrets and the referenced values from other
    /// text.
    pub redactor: Redactor,
    /// Warnings for the operator, as clauses with their location.
    pub warnings: Vec<String>,
}

/// Returns the settings as the component gets them: checks `[source.settings]` against its schema, resolves
/// references, adds `https://` to origins without a scheme, and sets `tenant` to the name `source` where the
/// schema has that setting and the table does not. `env` looks up an environment variable.
pub fn resolve(
    file: &Path,
    source: &str,
    settings: &SettingsTable,
    schema: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<ResolvedSettings, Failure> {
    let location = |key: &str| {
        let at = file_location(file, settings.lines.line(key));
        format!("{at}: {} of `{source}`", settings.header)
    };
    let fail = |reason: String| Failure::settings(format!("{}: {reason}", location("")));
    let schema: Value = serde_json::from_str(schema).map_err(|error| {
        fail(format!(
            "the component's settings schema is not JSON: {error}"
        ))
    })?;
    let no_properties = Map::new();
    let properties = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&no_properties);
    let allows_unknown_keys = schema.get("additionalProperties") == Some(&Value::Bool(true));

    let mut object = Map::new();
    let mut secrets = Vec::new();
    let mut literal_secret_keys = Vec::new();
    let mut errors = SettingsErrors::default();
    let mut keys: Vec<(&String, &toml::Value)> = settings.table.iter().collect();
    keys.sort_by_key(|(key, _)| settings.lines.line(key));
    for (key, value) in keys {
        let location = location(key);
        let fail = |reason: String| Failure::settings(format!("{location}: {reason}"));
        let property = match properties.get(key) {
            Some(property) => property,
            None if allows_unknown_keys => &Value::Null,
            None => {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                errors.push(fail(unknown_key(key, &known, None)));
                continue;
            }
        };
        let is_secret = property.get("writeOnly") == Some(&Value::Bool(true));
        let json = match ValueReference::parse(value).filter(|_| !is_type(property, "object")) {
            Some(reference) => match resolve_reference(&reference, file, env) {
                Ok(text) => {
                    secrets.push(text.clone());
                    parse_typed(text, property)
                }
                Err(reason) => {
                    let failure = fail(format!("`{key}` {reason}"));
                    errors.push(match reference {
                        // Environment variables do not change while the process runs.
                        ValueReference::Env(_) => failure,
                        ValueReference::File(_) => failure.retryable(),
                    });
                    // Inserted, so that it is not reported as missing too.
                    object.insert(key.clone(), Value::Null);
                    continue;
                }
            },
            None => {
                let json = to_json(value);
                if let Some(reason) = json
                    .as_str()
                    .and_then(|text| unexpanded_variable_error(key, text))
                {
                    errors.push(fail(format!("`{key}` {reason}")));
                    object.insert(key.clone(), Value::Null);
                    continue;
                }
                if is_secret && let Value::String(text) = &json {
                    secrets.push(text.clone());
                    literal_secret_keys.push(key.as_str());
                }
                json
            }
        };
        let json = with_scheme(json, property);
        if let Err(reason) = check(&json, property) {
            errors.push(fail(format!("`{key}` {reason}")));
        }
        object.insert(key.clone(), json);
    }
    set_default_tenant(&mut object, &schema, source);
    if let Some(key) = missing_key(&schema, &object) {
        errors.push(fail(format!("`{key}` is missing")));
    }
    errors.into_result()?;
    let warnings = literal_secret_keys.first().map(|first| {
        let advice = literal_secret_advice(&literal_secret_keys);
        format!("{}: {advice}", location(first))
    });
    let json = Value::Object(object).to_string();
    if json.len() > SETTINGS_BYTES_MAX {
        return Err(fail(format!(
            "the settings take {} bytes as JSON, and a component gets at most 256 KiB; shorten the \
             longest value",
            json.len()
        )));
    }
    Ok(ResolvedSettings {
        json: Secret::new(json),
        redactor: Redactor::new(secrets),
        warnings: warnings.into_iter().collect(),
    })
}

/// Adds the scheme `https` to an origin without one.
fn with_scheme(json: Value, property: &Value) -> Value {
    if property.get("format") == Some(&Value::from("origin"))
        && let Value::String(text) = &json
        && !text.is_empty()
        && !text.contains("://")
    {
        return Value::String(format!("https://{text}"));
    }
    json
}

/// Converts an environment variable's or file's text to the type in the schema.
fn parse_typed(text: String, property: &Value) -> Value {
    let is_parsed = ["boolean", "integer", "number"]
        .iter()
        .any(|name| is_type(property, name));
    if is_parsed && let Ok(value) = serde_json::from_str(&text) {
        return value;
    }
    Value::String(text)
}

/// Converts a settings file's value to JSON.
#[must_use]
pub fn to_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::Array(values) => Value::Array(values.iter().map(to_json).collect()),
        toml::Value::Boolean(on) => Value::Bool(*on),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::String(text) => Value::String(text.clone()),
        toml::Value::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, value)| (key.clone(), to_json(value)))
                .collect(),
        ),
    }
}

/// Checks the part of JSON Schema for which the message is better here than from the
/// component, which checks all of it.
fn check(value: &Value, property: &Value) -> Result<(), String> {
    let types = type_names(property);
    if !types.is_empty() && !types.iter().any(|name| has_type(value, name)) {
        let expected = types.iter().map(|name| expected_in_words(name, property));
        let expected: Vec<String> = expected.collect();
        return Err(format!(
            "must be {}, not {}",
            expected.join(" or "),
            type_in_words(value)
        ));
    }
    if let Some(options) = property.get("enum").and_then(Value::as_array)
        && !options.contains(value)
    {
        let names: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
        let meant = value
            .as_str()
            .and_then(|text| nearest(text, names.iter().copied()));
        let list = names.join(", ");
        return Err(match meant {
            Some(meant) => format!("is {value}; did you mean `{meant}`?"),
            None => format!("is {value}; it must be one of: {list}"),
        });
    }
    if let (Some(items), Some(values)) = (property.get("items"), value.as_array()) {
        for value in values {
            check(value, items)?;
        }
    }
    Ok(())
}

/// Returns an expected type in words for messages, with an example where the schema has one.
fn expected_in_words(name: &str, property: &Value) -> String {
    let default = property
        .get("default")
        .filter(|default| has_type(default, name));
    let items = property.get("items").and_then(|items| items.get("enum"));
    let item = items
        .and_then(Value::as_array)
        .and_then(|items| items.first());
    match (name, default, item) {
        ("array", _, Some(item)) => format!("a list, such as [{item}]"),
        ("array", _, None) => "a list, such as [\"…\"]".to_owned(),
        ("boolean", ..) => "true or false".to_owned(),
        ("integer" | "number", Some(default), _) => format!("a number, such as {default}"),
        ("integer" | "number", None, _) => "a number".to_owned(),
        ("object", ..) => "a table, such as { name = \"value\" }".to_owned(),
        ("string", Some(default), _) => format!("a string in quotes, such as {default}"),
        ("string", None, _) => "a string in quotes".to_owned(),
        _ => name.to_owned(),
    }
}

/// Returns the type of a value in words for messages.
fn type_in_words(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a list",
        Value::Bool(_) => "true or false",
        Value::Null => "nothing",
        Value::Number(_) => "a number",
        Value::Object(_) => "a table",
        Value::String(_) => "a string",
    }
}

fn type_names(property: &Value) -> Vec<&str> {
    match property.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_type(property: &Value, name: &str) -> bool {
    type_names(property).contains(&name)
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        _ => true,
    }
}

fn missing_key<'a>(schema: &'a Value, object: &Map<String, Value>) -> Option<&'a str> {
    schema
        .get("required")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .find(|key| !object.contains_key(*key))
}
