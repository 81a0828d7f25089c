//! Verifies the sizes in a component's description, and its namespace.

use crate::bindings::Description;
use crate::untrusted_text::NAME_BYTES_MAX;

/// Maximum size of the schema, as the contract defines it.
const SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// Maximum number of streams, as the contract defines it; the host keeps counts for each.
const STREAMS_MAX: usize = 1_000;
/// Maximum number of kinds, as the contract defines it: as many as `entry.kind` can point to.
const KINDS_MAX: usize = 65_536;
const FORMATS_MAX: usize = 100;
const ORIGINS_MAX: usize = 1_000;

const NAMESPACE_BYTES_MAX: usize = 64;

/// Verifies a description. The error is a clause about the component.
pub(crate) fn verify(description: &Description) -> Result<(), String> {
    for (what, count, count_max) in [
        ("streams", description.streams.len(), STREAMS_MAX),
        ("kinds", description.kinds.len(), KINDS_MAX),
        ("formats", description.formats.len(), FORMATS_MAX),
        ("origins", description.origins.len(), ORIGINS_MAX),
    ] {
        if count > count_max {
            return Err(format!(
                "it describes {count} {what}; the limit is {count_max}"
            ));
        }
    }
    let namespace = &description.namespace;
    if !is_namespace(namespace) {
        return Err(format!(
            "its namespace `{namespace}` is not a word of lower-case letters, digits and hyphens"
        ));
    }
    let schema_bytes = description.settings_schema.len();
    if schema_bytes > SCHEMA_BYTES_MAX {
        return Err(format!(
            "its settings schema has {schema_bytes} bytes; the limit is {SCHEMA_BYTES_MAX}"
        ));
    }
    let names = description.streams.iter().map(|stream| &stream.name);
    let kinds = description.kinds.iter().map(|kind| &kind.name);
    // A longer name has been truncated, and could be mistaken for another.
    match names.chain(kinds).find(|name| name.len() > NAME_BYTES_MAX) {
        Some(name) => Err(format!(
            "the name `{name}` is too long; the limit is {NAME_BYTES_MAX} bytes"
        )),
        None => Ok(()),
    }
}

/// Returns whether text is a valid namespace. Receivers allow few other characters in names.
fn is_namespace(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAMESPACE_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::Kind;

    fn description() -> Description {
        Description {
            name: "test".to_owned(),
            version: "1".to_owned(),
            namespace: "test".to_owned(),
            settings_schema: "{}".to_owned(),
            streams: Vec::new(),
            kinds: Vec::new(),
            formats: Vec::new(),
            origins: Vec::new(),
        }
    }

    #[test]
    fn a_description_may_have_what_the_contract_permits_and_no_more() {
        let kind = Kind {
            name: "k".to_owned(),
            stream: String::new(),
        };
        let mut greatest = description();
        greatest.settings_schema = " ".repeat(256 * 1024);
        greatest.kinds = vec![kind.clone(); usize::from(u16::MAX) + 1];
        verify(&greatest).unwrap();
        let mut kinds = greatest.clone();
        kinds.kinds.push(kind);
        assert!(verify(&kinds).unwrap_err().contains("65537 kinds"));
        let mut schema = greatest;
        schema.settings_schema.push(' ');
        assert!(verify(&schema).unwrap_err().contains("262145 bytes"));
    }

    #[test]
    fn a_description_is_bounded() {
        verify(&description()).unwrap();
        let mut many = description();
        many.origins = vec!["https://a.example".to_owned(); ORIGINS_MAX + 1];
        assert!(verify(&many).unwrap_err().contains("1001 origins"));
        for namespace in ["", "Test", "a.b", "a b", &"a".repeat(65)] {
            let mut other = description();
            other.namespace = namespace.to_owned();
            assert!(verify(&other).unwrap_err().contains("its namespace"));
        }
        let mut named = description();
        named.kinds.push(Kind {
            name: "k".repeat(NAME_BYTES_MAX + 1),
            stream: String::new(),
        });
        assert!(verify(&named).unwrap_err().contains("is too long"));
    }
}
