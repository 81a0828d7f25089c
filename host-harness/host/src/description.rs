//! The description of a component, as `describe --json` and the API return it.

use serde_json::{Value, json};
use source_common::exit::Failure;
use source_runtime::bindings::{Description, Order};

/// Parses the JSON schema of the component's settings.
pub(crate) fn schema(description: &Description) -> Result<Value, Failure> {
    serde_json::from_str(&description.settings_schema)
        .map_err(|error| Failure::failed(format!("the settings schema is not JSON: {error}")))
}

/// Returns the whole description as JSON.
pub(crate) fn to_json(description: &Description) -> Result<Value, Failure> {
    let streams: Vec<Value> = description
        .streams
        .iter()
        .map(|stream| {
            json!({
                "name": stream.name,
                "summary": stream.summary,
                "endpoint": stream.endpoint,
                "permission": stream.permission,
                "product": stream.product,
                "retention_hours": stream.retention_hours,
                "order": order(stream.order),
                "identity": stream.identity,
            })
        })
        .collect();
    let kinds: Vec<Value> = description
        .kinds
        .iter()
        .map(|kind| json!({ "name": kind.name, "stream": kind.stream }))
        .collect();
    Ok(json!({
        "name": description.name,
        "namespace": description.namespace,
        "version": description.version,
        "settings_schema": schema(description)?,
        "streams": streams,
        "kinds": kinds,
        "formats": description.formats,
        "origins": description.origins,
    }))
}

/// Returns the name of a stream order.
pub(crate) fn order(order: Order) -> &'static str {
    match order {
        Order::AsWritten => "as written",
        Order::NewestFirst => "newest first",
        Order::OldestFirst => "oldest first",
    }
}
