//! The pages that list files (`mimecast-api.md` §3.1).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::parse_json;
use crate::request::{is_usable, origin, path};
use crate::stream::Stream;
use crate::streams::InvalidResponse;
use crate::streams::done_files::FileKey;
use crate::streams::siem_pages::SiemPage;
use crate::time::Timestamp;

/// The longest name. Names go into the checkpoint, so a longer one is cut and ends with a hash of the
/// whole.
const NAME_BYTES_MAX: usize = 256;

/// The longest value of a parameter in a name. A longer one may be a credential, and is replaced by its
/// hash.
const VALUE_BYTES_MAX: usize = 32;

/// Parameters that sign a link or describe the signature, in lower case: their values differ in each
/// listing. Those of S3 come first, then CloudFront, Google and Azure.
const SIGNATURE_PARAMETERS: [&str; 23] = [
    "awsaccesskeyid",
    "signature",
    "expires",
    "x-id",
    "key-pair-id",
    "policy",
    "hash-algorithm",
    "googleaccessid",
    "sig",
    "se",
    "sp",
    "spr",
    "sr",
    "st",
    "sv",
    "ske",
    "skoid",
    "sks",
    "skt",
    "sktid",
    "skv",
    "token",
    "access_token",
];

/// Prefixes of further such parameters.
const SIGNATURE_PREFIXES: [&str; 2] = ["x-amz-", "x-goog-"];

/// The response to a call for a page. An optional member that cannot be read counts as missing: it is no
/// reason to drop the files.
pub(super) struct Listing {
    /// The files; `None` for one without a usable link.
    pub(super) files: Vec<Option<File>>,
    pub(super) next_token: Option<String>,
    pub(super) is_caught_up: bool,
    /// The names of members that cannot be read.
    pub(super) unreadable_members: [Option<&'static str>; 2],
}

impl Listing {
    /// Reads a page.
    ///
    /// # Errors
    ///
    /// The body is not a page.
    pub(super) fn read(stream: Stream, body: &[u8]) -> Result<Self, InvalidResponse> {
        let page = SiemPage::parse(body)?;
        Ok(Self {
            files: page
                .items
                .into_iter()
                .map(|item| file(stream, item))
                .collect(),
            next_token: page.next_token,
            is_caught_up: page.is_caught_up,
            unreadable_members: page.unreadable_members,
        })
    }
}

/// One file of the page in memory.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) key: FileKey,
    pub(super) url: String,
    pub(super) expiry: Option<Timestamp>,
    /// Whether the page lists it as a file of no bytes.
    pub(super) is_empty: bool,
}

impl File {
    /// Returns the name by which the file is recognized when it is listed again, and shown to
    /// people.
    pub(super) fn name(&self) -> String {
        bounded_name(&name(&self.url))
    }

    /// Returns whether this may be the file of that name although its own name differs: an older
    /// release wrote only the path, and a parameter that may be a credential may change.
    fn may_be_named(&self, name: &str) -> bool {
        let is_hashed = |name: &str| name.contains("=~");
        !name.contains('?') || (is_hashed(name) && is_hashed(&self.name()))
    }
}

/// Returns the indexes of the files of these names in a page, in one pass over the page.
pub(super) fn find_all(files: &VecDeque<File>, names: &[String]) -> Vec<Option<usize>> {
    let path_of = |name: &str| name.split('?').next().unwrap_or_default().to_owned();
    if names.is_empty() {
        return Vec::new();
    }
    // Inserted in a loop, and into maps of one type: each type of iterator or map adds code.
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut by_path: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for name in names {
        by_name.insert(name.clone(), Vec::new());
        by_path.insert(path_of(name), Vec::new());
    }
    for (at, file) in files.iter().enumerate() {
        if let Some(same_name) = by_name.get_mut(&file.name()) {
            same_name.push(at);
        }
        if let Some(same_path) = by_path.get_mut(&bounded_name(path(&file.url))) {
            same_path.push(at);
        }
    }
    let find_by_path = |name: &String| {
        let same_path = by_path.get(&path_of(name))?.iter().copied();
        let may_be_named = |at: &usize| files.get(*at).is_some_and(|file| file.may_be_named(name));
        let mut others = same_path.filter(may_be_named);
        let first = others.next()?;
        // An older release read the first file of a path.
        (!name.contains('?') || others.next().is_none()).then_some(first)
    };
    let find = |name: &String| {
        let first = by_name.get(name).and_then(|same_name| same_name.first());
        first.copied().or_else(|| find_by_path(name))
    };
    names.iter().map(find).collect()
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
fn file(stream: Stream, item: &RawValue) -> Option<File> {
    let item: Item<'_> = parse_json(item.get()).ok()?;
    let url = item.url.as_ref();
    let name = name(url);
    if !is_usable(url) || name.len() < 2 {
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
        key,
        url: url.to_owned(),
        expiry,
        is_empty: size == "0",
    })
}

/// Returns the path of a link and those parameters of its query that are no part of the signature.
fn name(url: &str) -> String {
    let path = path(url);
    let mut name = path.to_owned();
    let rest = url.get(origin(url).len().saturating_add(path.len())..);
    let query = rest
        .and_then(|rest| rest.strip_prefix('?'))
        .unwrap_or_default();
    let query = query.split('#').next().unwrap_or_default();
    let mut separator = '?';
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if is_signature(key) {
            continue;
        }
        name.push(separator);
        separator = '&';
        if value.len() > VALUE_BYTES_MAX {
            name.push_str(&format!("{key}=~{}", hash(value)));
        } else {
            name.push_str(parameter);
        }
    }
    name
}

fn is_signature(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SIGNATURE_PARAMETERS.contains(&key.as_str())
        || SIGNATURE_PREFIXES
            .iter()
            .any(|prefix| key.starts_with(prefix))
}

/// Returns a name within its bound.
fn bounded_name(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let cut = name.floor_char_boundary(NAME_BYTES_MAX - 17);
    format!("{}~{}", name.get(..cut).unwrap_or_default(), hash(name))
}

/// Returns 64 bits of a hash in hexadecimal.
fn hash(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes()).to_hex();
    hash.chars().take(16).collect()
}

/// The files that are done, and those that were listed before on the same page.
pub(super) struct SeenFiles {
    seen: BTreeSet<FileKey>,
}

impl SeenFiles {
    /// Creates the set of the files that are done.
    pub(super) fn new(done: impl Iterator<Item = FileKey>) -> Self {
        let mut seen = BTreeSet::new();
        for key in done {
            seen.insert(key);
        }
        Self { seen }
    }

    /// Adds the file. Returns whether it was not seen before.
    pub(super) fn insert(&mut self, file: &File) -> bool {
        self.seen.insert(file.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_parameters_that_are_no_signature() {
        let names = [
            (
                "https://h/a/1.gz?X-Amz-Signature=s&X-Amz-Expires=9",
                "/a/1.gz",
            ),
            ("https://h/d?file=0&sig=x", "/d?file=0"),
            (
                "https://h/d?file=1&Signature=x&Key-Pair-Id=k#f",
                "/d?file=1",
            ),
            ("https://h/?b=2&token=t&a=1", "/?b=2&a=1"),
            ("https://h/d?Policy=eyJ&Expires=1", "/d"),
        ];
        for (url, expected) in names {
            assert_eq!(name(url), expected, "{url}");
        }
    }

    #[test]
    fn a_value_that_may_be_a_credential_is_not_in_the_name() {
        let secret = "s3cr3t".repeat(8);
        let first = name(&format!("https://h/d?jwt={secret}"));
        assert!(!first.contains("s3cr3t"), "{first}");
        assert_ne!(first, name(&format!("https://h/d?jwt={secret}x")));
    }

    #[test]
    fn long_names_are_cut_and_stay_distinct() {
        let long = |end: &str| bounded_name(&format!("/{}{end}", "é".repeat(300)));
        assert!(long("a").len() <= NAME_BYTES_MAX);
        assert_ne!(long("a"), long("b"));
    }

    #[test]
    fn a_file_is_found_by_its_name_or_by_what_an_older_release_wrote() {
        let file = |url: &str| {
            let item = format!(r#"{{"url":"{url}"}}"#);
            let item = RawValue::from_string(item).unwrap();
            file(Stream::Audit, &item).unwrap()
        };
        let files = VecDeque::from([
            file("https://h/d?n=0"),
            file("https://h/d?n=1"),
            file(&format!("https://h/e?jwt={}", "x".repeat(40))),
        ]);
        let find = |name: &str| find_all(&files, &[name.to_owned()]);
        assert_eq!(find("/d?n=1"), [Some(1)]);
        assert_eq!(find("/d?n=2"), [None]);
        assert_eq!(find("/d"), [Some(0)]);
        assert_eq!(find("/e?jwt=~0011223344556677"), [Some(2)]);
        assert_eq!(find("/f"), [None]);
    }
}
