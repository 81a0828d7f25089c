//! Extracts the stable id of an event from any of the formats.

use std::borrow::Cow;

use serde::Deserialize;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    event: Option<EcsEvent<'a>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: Option<OcsfMetadata<'a>>,
}

#[derive(Deserialize)]
struct EcsEvent<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct OcsfMetadata<'a> {
    #[serde(borrow)]
    uid: Option<Cow<'a, str>>,
}

/// Returns `event.id` of ECS, `metadata.uid` of OCSF or `id` of a raw event; a hash
/// of the body where it has none of them.
pub(super) fn event_id(body: &str) -> String {
    let known = serde_json::from_str::<Body<'_>>(body)
        .ok()
        .and_then(|body| {
            body.event
                .and_then(|event| event.id)
                .or_else(|| body.metadata.and_then(|metadata| metadata.uid))
                .or(body.id)
        });
    match known {
        Some(id) if !id.is_empty() => id.into_owned(),
        _ => {
            let mut hex = blake3::hash(body.as_bytes()).to_hex();
            hex.truncate(32);
            hex.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::event_id;

    #[test]
    fn the_id_of_each_format_is_found() {
        assert_eq!(
            event_id(r#"{"x":1,"event":{"kind":"event","id":"a"}}"#),
            "a"
        );
        assert_eq!(event_id(r#"{"metadata":{"uid":"b\u0041"}}"#), "bA");
        assert_eq!(event_id(r#"{"id":"c","record":{}}"#), "c");
    }

    #[test]
    fn a_body_without_an_id_is_identified_by_its_hash() {
        let id = event_id(r#"{"event":"text"}"#);
        assert_eq!(id.len(), 32);
        assert_eq!(id, event_id(r#"{"event":"text"}"#));
        assert_ne!(id, event_id(r#"{"event":"other"}"#));
    }
}
