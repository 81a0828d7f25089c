//! The categories of audit events, as the upstream lists them (`mimecast-api.md` §5.2).

use serde::Deserialize;

use crate::request::Request;
use crate::settings::Settings;

/// Names beyond so many are left out: nobody reads them.
const CATEGORIES_MAX: usize = 100;

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Category {
    code: String,
}

/// The question.
pub(super) fn request(settings: &Settings) -> Request {
    let url = format!("{}/api/audit/get-categories", settings.base_url);
    Request::post_json(url, "{\"data\":[]}".to_owned())
}

/// The codes in an answer, as a clause for people; nothing where there is none.
pub(super) fn read(body: &[u8]) -> Option<String> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let categories = answer.data.into_iter().flat_map(|item| item.categories);
    let codes: Vec<String> = categories
        .map(|category| category.code.replace(|c: char| c.is_control(), ""))
        .take(CATEGORIES_MAX)
        .collect();
    (!codes.is_empty()).then(|| format!("categories: {}", codes.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_codes_are_listed_and_an_answer_without_any_says_nothing() {
        let body = br#"{"data":[{"categories":[{"code":"account_logs","id":"1","name":"Account"},
            {"code":"a\nb"}]}],"fail":[]}"#;
        assert_eq!(read(body).unwrap(), "categories: account_logs, ab");
        for body in [
            "{}",
            r#"{"data":[]}"#,
            r#"{"data":[{"categories":[]}]}"#,
            "<html>",
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }
}
