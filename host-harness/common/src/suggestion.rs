//! Suggests the known name that a misspelled one probably meant.

/// Minimum similarity for a suggestion: below it, `cef` would suggest `ocsf`.
const SIMILARITY_MIN: f64 = 0.85;
/// Similarity assumed for names that differ by one edit.
const SIMILARITY_OF_ONE_EDIT: f64 = 0.9;

/// Returns the most similar candidate, if any is similar enough.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (similarity(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

fn similarity(name: &str, candidate: &str) -> f64 {
    // One typo in a short word scores low by Jaro-Winkler.
    let is_one_edit = name.len() > 1 && strsim::damerau_levenshtein(name, candidate) == 1;
    let similarity = strsim::jaro_winkler(name, candidate);
    if is_one_edit {
        similarity.max(SIMILARITY_OF_ONE_EDIT)
    } else {
        similarity
    }
}

/// Formats the error clause for an unknown key, with the nearest known key, or a hint where it may
/// belong.
#[must_use]
pub fn unknown_key(key: &str, known: &[&str], hint: Option<&str>) -> String {
    let list = known.join(", ");
    match (nearest(key, known.iter().copied()), hint) {
        (Some(meant), _) => format!("unknown key `{key}`; did you mean `{meant}`?"),
        (None, Some(hint)) => format!("unknown key `{key}`; {hint}; the keys are: {list}"),
        (None, None) => format!("unknown key `{key}`; the keys are: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_gets_a_suggestion() {
        let keys = ["client_id", "client_secret", "base_url", "streams"];
        assert_eq!(nearest("client_secert", keys), Some("client_secret"));
        assert_eq!(nearest("stream", keys), Some("streams"));
        assert_eq!(nearest("xyz", keys), None);
        assert_eq!(nearest("elastic", ["elasticsearch"]), Some("elasticsearch"));
        assert_eq!(nearest("cef", ["ecs", "ocsf", "raw"]), None);
        assert_eq!(nearest("enabled", ["name", "outputs"]), None);
    }
}
