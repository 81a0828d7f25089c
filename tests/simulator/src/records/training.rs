//! What the awareness training knows of people: one row for each, which changes now and then.

use serde_json::{Value, json};

use super::{LogRecordBuilder, words};
use crate::time::{DAY_MS, UtcTime};

/// Answers to training questions.
pub(crate) fn performance(sketch: &mut LogRecordBuilder) -> Value {
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
pub(crate) fn safe_score(sketch: &mut LogRecordBuilder) -> Value {
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
pub(crate) fn watchlist(sketch: &mut LogRecordBuilder) -> Value {
    let person = person(sketch, "email");
    with(
        person,
        json!({"watchlistCount": 1 + sketch.random.below(9)}),
    )
}

/// What a person did in a phishing campaign, with the members of the campaign. There is a campaign
/// each day.
pub(crate) fn phished(sketch: &mut LogRecordBuilder) -> Value {
    let day = sketch.at_ms.div_euclid(DAY_MS);
    let steps = sketch.pick(&["sent", "opened", "clicked", "submitted"]);
    let mut record = with(
        person(sketch, "email"),
        json!({
            "campaignId": format!("campaign-{day}"), "campaignName": format!("Parcel of day {day}"),
            "launchDate": UtcTime::new(day * DAY_MS).offset_form(),
            "templateName": "Parcel", "status": steps, "timeScheduled": sketch.time(),
            "numCampaignsSent": 1 + sketch.random.below(9), "numCampaignsClicked": sketch.random.below(3),
            "numTrainingModulesAssigned": sketch.random.below(4),
            "numCorrectAnswers": sketch.random.below(9), "numIncorrectAnswers": sketch.random.below(3),
        }),
    );
    // What has not happened is absent.
    let times = ["timeOpened", "timeClicked", "timeSubmitted"];
    let count = match steps {
        "opened" => 1,
        "clicked" => 2,
        "submitted" => 3,
        _ => 0,
    };
    if let Some(record) = record.as_object_mut() {
        for time in times.into_iter().take(count) {
            record.insert(time.to_owned(), json!(sketch.time()));
        }
        if count > 1 {
            record.insert("clickedIp".to_owned(), json!("203.0.113.77"));
            let reaction = sketch.random.below(900);
            let is_text = sketch.odd(50);
            let reaction = if is_text {
                json!(reaction.to_string())
            } else {
                json!(reaction)
            };
            record.insert("reactionTime".to_owned(), reaction);
        }
        if sketch.random.chance(200) {
            record.insert("timeReported".to_owned(), json!(sketch.time()));
        }
    }
    record
}

fn person(sketch: &mut LogRecordBuilder, address: &str) -> Value {
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
