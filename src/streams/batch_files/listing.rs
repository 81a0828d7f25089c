//! The pages that list files (`mimecast-api.md` §3.1).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::lenient;
use crate::request::{is_usable, path};
use crate::stream::Stream;
use crate::streams::done_files::FileKey;
use crate::streams::pages::escaped_len;
use crate::time::Timestamp;

/// A name from outside is bounded, because it goes into the checkpoint.
const NAME_BYTES_MAX: usize = 1024;

/// What a call for a page answers.
#[derive(Deserialize)]
pub(super) struct Listing<'a> {
    #[serde(borrow)]
    pub(super) value: Option<Vec<&'a RawValue>>,
    #[serde(
        rename = "@nextPage",
        default,
        deserialize_with = "lenient::optional_text"
    )]
    pub(super) next_page: Option<String>,
    #[serde(
        rename = "isCaughtUp",
        default,
        deserialize_with = "lenient::optional_boolean"
    )]
    pub(super) is_caught_up: Option<bool>,
}

/// One file of the page in memory.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) key: FileKey,
    pub(super) url: String,
    pub(super) expiry: Option<Timestamp>,
    /// Whether the page lists it as a file of no bytes.
    pub(super) is_empty: bool,
}

/// One item of a page.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    size: Option<&'a RawValue>,
    #[serde(borrow)]
    expiry: Option<&'a RawValue>,
}

/// Reads one item of a page.
pub(super) fn file(stream: Stream, item: &RawValue) -> Option<File> {
    let item: Item<'_> = serde_json::from_str(item.get()).ok()?;
    let url = item.url.as_ref();
    let name = path(url);
    if !is_usable(url) || name.len() < 2 || escaped_len(name) > NAME_BYTES_MAX {
        return None;
    }
    // A file that has grown is another file; the host part may change with the region.
    let mut hasher = blake3::Hasher::new();
    hasher.update(stream.name().as_bytes());
    hasher.update(name.as_bytes());
    let size = item.size.map_or("", RawValue::get);
    hasher.update(size.as_bytes());
    let key = FileKey::try_from(hasher.finalize().as_bytes().get(..8)?).ok()?;
    let expiry = item
        .expiry
        .and_then(|expiry| Timestamp::parse(expiry.get().trim_matches('"')));
    Some(File {
        name: name.to_owned(),
        key,
        url: url.to_owned(),
        expiry,
        is_empty: size == "0",
    })
}
