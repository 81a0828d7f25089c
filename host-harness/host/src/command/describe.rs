//! `describe`: what a component is and what it offers.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;
use source_common::exit::{Exit, Failure};
use source_runtime::bindings::Description;
use source_runtime::source::{ComponentLoader, NetworkAccess, OFFLINE_MEMORY_BYTES_MAX};

use super::{Table, cache_dir, print, terminal_width, user_cache_dir};
use crate::connection_check;
use crate::description::{order, schema, to_json};
use crate::settings::Settings;
use crate::source::{self, component_location};

/// Prints the description of a component, as text or as JSON.
pub async fn describe(component: Option<&Path>, as_json: bool) -> Result<Exit, Failure> {
    let components = ComponentLoader::new(user_cache_dir(), OFFLINE_MEMORY_BYTES_MAX)?;
    let component = components
        .get_or_load(&component_location(component))
        .await?;
    let description = component.description();
    print(&if as_json {
        format!("{:#}\n", to_json(description)?)
    } else {
        to_text(description)?
    })?;
    Ok(Exit::Done)
}

/// Prints what the sources of a settings file can read upstream: which streams
/// can be read, and the upstream's remark on each.
pub async fn describe_online(config: &Path) -> Result<Exit, Failure> {
    let settings = Settings::read(config)?;
    let components = source::component_loader(&settings, cache_dir(&settings))?;
    let mut text = String::new();
    let mut exit = Exit::Done;
    for faulty in &settings.faulty_sources {
        exit = exit.max(faulty.failure.exit);
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "source `{}`\nfailed: {}", faulty.name, faulty.failure);
    }
    for source_settings in &settings.sources {
        let name = &source_settings.name;
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "source `{name}`");
        let prepared = source::prepare(&components, source_settings, NetworkAccess::Online);
        let checked = match prepared.await {
            Ok(source) => connection_check::check_streams(&source, &source_settings.file)
                .await
                .map(|results| (source, results)),
            Err(failure) => Err(failure),
        };
        let (source, results) = match checked {
            Ok(checked) => checked,
            Err(failure) => {
                exit = exit.max(failure.exit);
                let _ = writeln!(text, "failed: {failure}");
                continue;
            }
        };
        let mut table = Table::new(&["stream", "outcome", "what the upstream says"]);
        let not_permitted_exit = connection_check::not_permitted_exit(&results);
        for result in results {
            let (outcome, stream_exit) =
                connection_check::outcome_text(&source, &result.outcome, not_permitted_exit);
            exit = exit.max(stream_exit);
            table.row(vec![
                result.stream,
                outcome,
                result.remark.unwrap_or_default(),
            ]);
        }
        text.push_str(&table.render_within(terminal_width()));
    }
    print(&text)?;
    Ok(exit)
}

fn to_text(description: &Description) -> Result<String, Failure> {
    // Writing to a `String` cannot fail.
    let mut text = String::new();
    let _ = writeln!(text, "{} {}", description.name, description.version);
    let _ = writeln!(text, "formats: {}", description.formats.join(", "));
    let _ = writeln!(text, "origins: {}\n", description.origins.join(", "));

    let mut streams = Table::new(&[
        "stream",
        "kept",
        "order",
        "permission",
        "product",
        "endpoint",
    ]);
    for stream in &description.streams {
        streams.row(vec![
            stream.name.clone(),
            stream
                .retention_hours
                .map_or_else(String::new, retention_text),
            order(stream.order).to_owned(),
            stream.permission.clone(),
            stream.product.clone(),
            stream.endpoint.clone(),
        ]);
    }
    text.push_str(&streams.render_within(terminal_width()));

    let schema = schema(description)?;
    let mut settings = Table::new(&["setting", "type", "default", "what it is"]);
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        settings.row(setting_row(name, property));
    }
    text.push('\n');
    text.push_str(&settings.render_within(terminal_width()));
    Ok(text)
}

fn setting_row(name: &str, property: &Value) -> Vec<String> {
    let text = |key: &str| {
        property
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let secret = property.get("writeOnly") == Some(&Value::Bool(true));
    let kind = match text("type") {
        _ if secret => "secret",
        "" => "any",
        kind => kind,
    };
    let default = match property.get("default") {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let description = text("description").replace('\n', " ");
    vec![name.to_owned(), kind.to_owned(), default, description]
}

fn retention_text(hours: u32) -> String {
    if hours.is_multiple_of(24) {
        format!("{} d", hours / 24)
    } else {
        format!("{hours} h")
    }
}
