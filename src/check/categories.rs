//! The categories of audit events, as the upstream lists them (`mimecast-api.md` §5.2).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::lenient;
use crate::decode::parse_json;
use crate::decode::sanitize::sanitize;
use crate::request::Call;

/// The most codes that are shown: a longer list is not readable.
const CATEGORIES_MAX: usize = 100;

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    categories: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Category {
    #[serde(default, deserialize_with = "lenient::text_or_absent")]
    code: Option<String>,
}

/// Returns the call for the categories.
pub(super) fn call() -> Call {
    let path = "/api/audit/get-categories".to_owned();
    Call::post(path, "{\"data\":[]}".to_owned())
}

/// Returns the codes in a response, as a clause for people; nothing where there is none.
pub(super) fn read(body: &[u8]) -> Option<String> {
    let response: Response<'_> = serde_json::from_slice(body).ok()?;
    let items = response.data.map(lenient::elements).unwrap_or_default();
    let categories = items.into_iter().filter_map(|item| {
        let item: Item<'_> = parse_json(item.get()).ok()?;
        item.categories.map(lenient::elements)
    });
    let code = |category: &RawValue| {
        let category: Category = parse_json(category.get()).ok()?;
        category.code
    };
    let codes: Vec<String> = categories
        .flatten()
        .filter_map(code)
        .map(|code| sanitize(&code))
        .take(CATEGORIES_MAX)
        .collect();
    (!codes.is_empty()).then(|| format!("categories: {}", codes.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_codes_are_listed_and_a_response_without_any_says_nothing() {
        let body = br#"{"data":[{"categories":[{"code":"account_logs","id":"1","name":"Account"},
            {"code":"a\nb"}]}],"fail":[]}"#;
        assert_eq!(read(body).unwrap(), "categories: account_logs, a b");
        for body in [
            r#"{"data":[null,{"categories":[{"code":7},"x",{"code":null},{"code":true},{"name":"n"}]}]}"#,
            r#"{"data":{"categories":[{"code":7},{"code":true}]}}"#,
        ] {
            assert_eq!(
                read(body.as_bytes()).unwrap(),
                "categories: 7, true",
                "{body}"
            );
        }
        for body in [
            "{}",
            r#"{"data":null}"#,
            r#"{"data":"x"}"#,
            r#"{"data":[{"categories":7}]}"#,
            r#"{"data":[]}"#,
            r#"{"data":[{"categories":[]}]}"#,
            "<html>",
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }
}
