//! Finds the list of records in a JSON file that has not arrived completely.

use crate::decode::json::Nesting;

/// Where the list `data` of an object begins.
pub(super) enum ListStart {
    At(usize),
    NeedsInput,
    None,
}

/// Finds the list `data` among the members of the object that the text begins with.
pub(super) fn find_data_list(text: &[u8]) -> ListStart {
    let mut nesting = Nesting::default();
    let mut key = 0..0;
    let mut key_start = 0;
    let mut is_data = false;
    for (at, byte) in text.iter().enumerate() {
        let before = nesting;
        nesting.push(*byte);
        if nesting.depth() == 0 {
            return ListStart::None;
        }
        if before.depth() != 1 {
            continue;
        }
        match (byte, before.in_string(), nesting.in_string()) {
            (b'"', false, _) => key_start = at.saturating_add(1),
            (b'"', true, false) => key = key_start..at,
            (b':', false, _) => is_data = text.get(key.clone()) == Some(b"data"),
            (b'[', false, _) if is_data => return ListStart::At(at.saturating_add(1)),
            (_, _, _) => {}
        }
    }
    ListStart::NeedsInput
}
