//! What the awareness training knows of people: one row for each, which changes now and then.

use serde_json::{Value, json};

use super::{Sketch, words};

/// Answers to training questions.
pub(crate) fn performance(sketch: &mut Sketch) -> Value {
    let person = person(sketch, "email");
    let count = sketch.random.below(9);
    let wrong = if sketch.odd(100) {
        json!("2")
    } else {
        json!(sketch.random.below(3))
    };
    with(
        person,
        json!({
            "numCorrect": count, "numIncorrect": wrong, "numNotWatched": sketch.random.below(2),
            "userDetails": [{"campaign": "Passwords", "correct": sketch.random.chance(700)}],
        }),
    )
}

/// Generates the grades of a person.
pub(crate) fn safe_score(sketch: &mut Sketch) -> Value {
    let person = person(sketch, "emailAddress");
    let mut grade = || sketch.random.pick(&["A", "B", "C", "D", "F"]);
    with(
        person,
        json!({
            "risk": grade(), "humanError": grade(), "sentiment": grade(), "engagement": grade(),
            "knowledge": grade(),
        }),
    )
}

/// Generates a person who needs attention.
pub(crate) fn watchlist(sketch: &mut Sketch) -> Value {
    let person = person(sketch, "email");
    with(
        person,
        json!({"watchlistCount": 1 + sketch.random.below(9)}),
    )
}

fn person(sketch: &mut Sketch, address: &str) -> Value {
    let (name, mailbox) = sketch.pick(words::PEOPLE);
    let department = sketch.pick(&["Quay", "Office", "Accounts, Payable", "IT"]);
    let (local, number) = (mailbox, sketch.number);
    json!({
        address: format!("{local}.{number}@harbour.example"), "name": name,
        "department": sketch.text_or_nothing(department),
        "userState": sketch.pick(&["ACTIVE", "DISABLED"]),
    })
}

/// Merges both objects.
fn with(mut one: Value, other: Value) -> Value {
    if let (Some(one), Value::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
    one
}
