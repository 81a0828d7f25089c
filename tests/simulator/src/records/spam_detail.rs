//! `spamProcessingDetail`, in four shapes.

use serde_json::{Map, Value, json};

use crate::random::Random;

/// Generates the result of the spam scanner, with as many categories as fill that many bytes.
pub(crate) fn spam_detail(random: &mut Random, fill_bytes: usize) -> Value {
    let mut categories = Vec::new();
    let mut filled: usize = 0;
    while filled < fill_bytes {
        let category = category(random);
        filled += category.to_string().len() + 1;
        categories.push(category);
    }
    let passes = random.chance(850);
    let mut detail = Map::new();
    for (key, pass, fail) in [
        ("spf", "SPF_ALLOW", "SPF_FAIL"),
        ("dkim", "ALLOW", "DKIM_UNKNOWN"),
        ("dmarc", "DMARC_PASS", "DMARC_FAIL"),
    ] {
        let info = if passes || random.chance(500) {
            pass
        } else {
            fail
        };
        // `allow` is the gateway's decision; it can allow a failure.
        detail.insert(
            key.to_owned(),
            json!({"info": info, "allow": passes || random.chance(500)}),
        );
    }
    if random.chance(300) {
        detail.insert("greyEmail".to_owned(), Value::Bool(random.chance(200)));
    }
    if random.chance(200) {
        detail.insert(
            "permittedSender".to_owned(),
            json!({"info": "NONE", "allow": false}),
        );
    }
    if !categories.is_empty() {
        let key = if random.chance(800) {
            "verdict"
        } else {
            "spamVerdict"
        };
        let decision = random.pick(&["clean", "spam", "suspicious"]);
        detail.insert(
            key.to_owned(),
            json!({"decision": decision, "risk": "low", "description": "", "categories": categories}),
        );
    }
    Value::Object(detail)
}

/// Returns the detail in one of the shapes other than null: an object, its text, or the text of its
/// text.
pub(crate) fn in_random_shape(random: &mut Random, detail: Value, odd_shapes: bool) -> Value {
    match if odd_shapes { random.below(5) } else { 0 } {
        0..=2 => Value::String(detail.to_string()),
        3 => Value::String(Value::String(detail.to_string()).to_string()),
        _ => detail,
    }
}

fn category(random: &mut Random) -> Value {
    let name = random.pick(&[
        "bulk",
        "phishing",
        "impersonation",
        "graymail",
        "reputation",
    ]);
    let risk = random.pick(&["negligible", "low", "medium", "high"]);
    if random.chance(600) {
        return json!({"name": name, "risk": risk});
    }
    let inner = random.pick(&["new-sender", "link-shape", "header-order"]);
    json!({"name": name, "risk": risk, "score": random.below(100),
        "subcategories": [{"name": inner, "risk": risk, "augmentations": []}]})
}
