//! Reads members of envelopes whose numbers and booleans may come as texts.
//!
//! Mimecast writes numbers and booleans as texts in many records, so an envelope may do the same.
//! An optional member that cannot be read at all has no value ([`Optional::Unreadable`]; with
//! [`text_or_absent`] it is absent): it never discards the response.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::parse_json;

/// Returns a boolean, or a text or number that means one.
#[must_use]
pub fn boolean(value: &RawValue) -> Option<bool> {
    match plain(value).to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Returns a finite number, or a text that is one.
#[must_use]
pub fn number(value: &RawValue) -> Option<f64> {
    let number: f64 = plain(value).parse().ok()?;
    number.is_finite().then_some(number)
}

/// Returns a text, or a number or boolean as text.
#[must_use]
pub fn text(value: &RawValue) -> Option<String> {
    let json = value.get();
    match json.bytes().next()? {
        b'"' => parse_json(json).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(json.to_owned()),
    }
}

/// Returns the elements of a list. Some endpoints answer with one object where others have a list
/// of one, so any other value than `null` is a list of itself.
#[must_use]
pub fn elements(value: &RawValue) -> Vec<&RawValue> {
    if value.get() == "null" {
        return Vec::new();
    }
    parse_json(value.get()).unwrap_or_else(|_| vec![value])
}

/// Returns the value without quotes and surrounding space.
fn plain(value: &RawValue) -> &str {
    value.get().trim_matches('"').trim()
}

/// An optional member of an envelope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optional<T> {
    /// It is not there, or `null`.
    #[default]
    Absent,
    /// Its value.
    Present(T),
    /// It is there and cannot be read. It has no value, and a notice names it.
    Unreadable,
}

impl<T> Optional<T> {
    fn of(value: Option<&RawValue>, read: fn(&RawValue) -> Option<T>) -> Self {
        match value.filter(|value| value.get() != "null") {
            None => Self::Absent,
            Some(value) => read(value).map_or(Self::Unreadable, Self::Present),
        }
    }

    /// Returns the value, where there is one that can be read.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Unreadable => None,
        }
    }

    /// Returns whether it is absent.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Returns the name of the member, where it cannot be read.
    #[must_use]
    pub const fn name_if_unreadable(&self, name: &'static str) -> Option<&'static str> {
        match self {
            Self::Unreadable => Some(name),
            Self::Absent | Self::Present(_) => None,
        }
    }
}

/// Deserializes an optional boolean.
///
/// # Errors
///
/// The document is not JSON.
pub fn optional_boolean<'de, D: Deserializer<'de>>(value: D) -> Result<Optional<bool>, D::Error> {
    Ok(Optional::of(Option::deserialize(value)?, boolean))
}

/// Deserializes an optional number.
///
/// # Errors
///
/// The document is not JSON.
pub fn optional_number<'de, D: Deserializer<'de>>(value: D) -> Result<Optional<f64>, D::Error> {
    Ok(Optional::of(Option::deserialize(value)?, number))
}

/// Deserializes an optional text.
///
/// # Errors
///
/// The document is not JSON.
pub fn optional_text<'de, D: Deserializer<'de>>(value: D) -> Result<Optional<String>, D::Error> {
    Ok(Optional::of(Option::deserialize(value)?, text))
}

/// Deserializes a text that is absent where it cannot be read.
///
/// # Errors
///
/// The document is not JSON.
pub fn text_or_absent<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<&RawValue>::deserialize(value)?.and_then(text))
}

/// Describes how an unreadable member is handled, as a clause.
#[must_use]
pub fn describe_unreadable(name: &str) -> String {
    format!("Mimecast's response has a member {name} that cannot be read; it is treated as missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Envelope {
        #[serde(default, deserialize_with = "optional_boolean")]
        flag: Optional<bool>,
        #[serde(default, deserialize_with = "optional_number")]
        number: Optional<f64>,
        #[serde(default, deserialize_with = "optional_text")]
        text: Optional<String>,
    }

    fn read(member: &str, value: &str) -> Envelope {
        serde_json::from_str(&format!("{{\"{member}\":{value}}}")).unwrap()
    }

    #[test]
    fn numbers_and_booleans_are_read_as_texts_too_and_what_is_neither_has_no_value() {
        for (value, flag) in [
            ("true", Some(true)),
            ("\"true\"", Some(true)),
            ("\" False \"", Some(false)),
            ("0", Some(false)),
            ("\"1\"", Some(true)),
            ("null", None),
            ("\"maybe\"", None),
            ("[true]", None),
            ("{}", None),
        ] {
            assert_eq!(read("flag", value).flag.value(), flag, "{value}");
        }
        for (value, number) in [
            ("1799", Some(1799.0)),
            ("\"1799\"", Some(1799.0)),
            ("\" 1.5e3 \"", Some(1500.0)),
            ("true", None),
            ("null", None),
            ("\"\"", None),
            ("\"NaN\"", None),
            ("\"inf\"", None),
            ("1e999", None),
        ] {
            assert_eq!(read("number", value).number.value(), number, "{value}");
        }
        for (value, text) in [
            ("\"a\\u0062\"", Some("ab")),
            ("4554", Some("4554")),
            ("null", None),
            ("{\"a\":1}", None),
        ] {
            assert_eq!(read("text", value).text.value().as_deref(), text, "{value}");
        }
        let empty: Envelope = serde_json::from_str("{}").unwrap();
        assert!(empty.flag.is_absent() && empty.number.is_absent() && empty.text.is_absent());
        assert!(read("flag", "null").flag.is_absent());
        assert_eq!(
            read("flag", "[7]").flag.name_if_unreadable("flag"),
            Some("flag")
        );
        assert_eq!(read("flag", "true").flag.name_if_unreadable("flag"), None);
    }
}
