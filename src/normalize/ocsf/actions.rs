//! What the upstream's words for actions mean as `action_id` and `disposition_id`.

use super::super::convert::push_number;

/// The `action_id` of what was not let through.
pub(in super::super) const DENIED: u8 = 2;

/// The words for actions, each with its `action_id` and its `disposition_id`. Case makes no difference.
#[rustfmt::skip]
pub const ACTIONS: &[(&str, u8, u8)] = &[
    // 1 Allowed: 1 Allowed, 16 No Action
    ("acc",                  1,  1),
    ("allow",                1,  1),
    ("allowed",              1,  1),
    ("delivered",            1,  1),
    ("delivery_in_progress", 1,  1),
    ("do_nothing",           1, 16),
    // 2 Denied: 2 Blocked, 3 Quarantined, 4 Isolated, 5 Deleted, 25 Rejected
    ("rej",                  2,  2),
    ("block",                2,  2),
    ("blocked",              2,  2),
    ("hld",                  2,  3),
    ("hold",                 2,  3),
    ("held",                 2,  3),
    ("quarantine",           2,  3),
    ("bnc",                  2, 25),
    ("bounce",               2, 25),
    ("reject",               2, 25),
    ("rejected",             2, 25),
    ("browser isolation",    2,  4),
    ("isolate",              2,  4),
    ("isolated",             2,  4),
    ("del",                  2,  5),
    ("delete",               2,  5),
    // 3 Observed: 16 No Action, 17 Logged, 19 Alert
    ("ign",                  3, 16),
    ("none",                 3, 17),
    ("notification",         3, 19),
    ("notify",               3, 19),
    ("warn",                 3, 19),
    // 4 Modified: 9 Restored, 14 Delayed
    ("sdbx",                 4, 14),
    ("rty",                  4, 14),
    ("released",             4,  9),
];

/// Returns the action and the disposition of a text: those of the first of its parts that is known.
/// Parts have commas between them.
pub(in super::super) fn find(text: &str) -> Option<(u8, u8)> {
    text.split(',').find_map(|part| {
        let part = part.trim();
        let (_, action, disposition) = ACTIONS.iter().find(|(word, ..)| is_same(word, part))?;
        Some((*action, *disposition))
    })
}

/// Returns whether two words are equal without regard to case, and to the separators between their
/// parts.
fn is_same(word: &str, other: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' | b'-' => b' ',
        _ => byte.to_ascii_lowercase(),
    };
    word.len() == other.len() && word.bytes().map(plain).eq(other.bytes().map(plain))
}

/// Appends the members for an action and a disposition, with their captions.
pub fn push_members(out: &mut String, action: u8, disposition: u8) {
    let caption = |captions: &[&'static str], id: u8| {
        let caption = captions.get(usize::from(id)).copied();
        caption.unwrap_or("Other")
    };
    for (key, id, caption_key, caption) in [
        (
            "\"action_id\":",
            action,
            ",\"action\":\"",
            caption(&ACTION_CAPTIONS, action),
        ),
        (
            ",\"disposition_id\":",
            disposition,
            ",\"disposition\":\"",
            caption(&DISPOSITION_CAPTIONS, disposition),
        ),
    ] {
        out.push_str(key);
        push_number(out, i64::from(id));
        out.push_str(caption_key);
        out.push_str(caption);
        out.push('"');
    }
}

/// By `action_id`.
const ACTION_CAPTIONS: [&str; 5] = ["Unknown", "Allowed", "Denied", "Observed", "Modified"];

/// By `disposition_id`.
const DISPOSITION_CAPTIONS: [&str; 28] = [
    "Unknown",
    "Allowed",
    "Blocked",
    "Quarantined",
    "Isolated",
    "Deleted",
    "Dropped",
    "Custom Action",
    "Approved",
    "Restored",
    "Exonerated",
    "Corrected",
    "Partially Corrected",
    "Uncorrected",
    "Delayed",
    "Detected",
    "No Action",
    "Logged",
    "Tagged",
    "Alert",
    "Count",
    "Reset",
    "Captcha",
    "Challenge",
    "Access Revoked",
    "Rejected",
    "Unauthorized",
    "Error",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_part_decides() {
        assert_eq!(find("Hld"), Some((2, 3)));
        assert_eq!(find("user release, none"), Some((3, 17)));
        assert_eq!(find("hold, notify"), Some((2, 3)));
        assert_eq!(find("Reject"), Some((2, 25)));
        assert_eq!(find("Browser_Isolation"), Some((2, 4)));
        assert_eq!(find("do nothing"), Some((1, 16)));
        assert_eq!(find("smart_folder"), None);
    }
}
