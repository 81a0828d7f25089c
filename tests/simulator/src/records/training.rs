//! Results of the awareness training: one row for each person, which changes now and then.

use serde_json::{Value, json};

use super::{FieldGenerator, words};
use crate::time::{DAY_MS, UtcTime};

/// Generates the responses of a person to training questions.
pub(crate) fn performance(generator: &mut FieldGenerator) -> Value {
    let person = person(generator, "email");
    let count = generator.random.below(9);
    let wrong = if generator.odd_shape_occurs(100) {
        json!("2")
    } else {
        json!(generator.random.below(3))
    };
    merged(
        person,
        json!({
            "numCorrect": count, "numIncorrect": wrong, "numNotWatched": generator.random.below(2),
            "userDetails": [{"campaign": "Passwords", "correct": generator.random.chance(700)}],
        }),
    )
}

/// Generates the grades of a person.
pub(crate) fn safe_score(generator: &mut FieldGenerator) -> Value {
    let person = person(generator, "emailAddress");
    let mut grade = || generator.random.pick(&["A", "B", "C", "D", "F"]);
    merged(
        person,
        json!({
            "risk": grade(), "humanError": grade(), "sentiment": grade(), "engagement": grade(),
            "knowledge": grade(),
        }),
    )
}

/// Generates a person who needs attention.
pub(crate) fn watchlist(generator: &mut FieldGenerator) -> Value {
    let person = person(generator, "email");
    merged(
        person,
        json!({"watchlistCount": 1 + generator.random.below(9)}),
    )
}

/// Generates what a person did in a phishing campaign, with the members of the campaign. There is
/// one campaign each day.
pub(crate) fn phishing_result(generator: &mut FieldGenerator) -> Value {
    let day = generator.at_ms.div_euclid(DAY_MS);
    let status = generator.pick(&["sent", "opened", "clicked", "submitted"]);
    let mut record = merged(
        person(generator, "email"),
        json!({
            "campaignId": format!("campaign-{day}"), "campaignName": format!("Parcel of day {day}"),
            "launchDate": UtcTime::new(day * DAY_MS).iso_with_utc_offset(),
            "templateName": "Parcel", "status": status, "timeScheduled": generator.time(),
            "numCampaignsSent": 1 + generator.random.below(9), "numCampaignsClicked": generator.random.below(3),
            "numTrainingModulesAssigned": generator.random.below(4),
            "numCorrectAnswers": generator.random.below(9), "numIncorrectAnswers": generator.random.below(3),
        }),
    );
    // What has not happened is absent.
    let times = ["timeOpened", "timeClicked", "timeSubmitted"];
    let count = match status {
        "opened" => 1,
        "clicked" => 2,
        "submitted" => 3,
        _ => 0,
    };
    if let Some(record) = record.as_object_mut() {
        for time in times.into_iter().take(count) {
            record.insert(time.to_owned(), json!(generator.time()));
        }
        if count > 1 {
            record.insert("clickedIp".to_owned(), json!("203.0.113.77"));
            let reaction = generator.random.below(900);
            let is_text = generator.odd_shape_occurs(50);
            let reaction = if is_text {
                json!(reaction.to_string())
            } else {
                json!(reaction)
            };
            record.insert("reactionTime".to_owned(), reaction);
        }
        if generator.random.chance(200) {
            record.insert("timeReported".to_owned(), json!(generator.time()));
        }
    }
    record
}

fn person(generator: &mut FieldGenerator, address_key: &str) -> Value {
    let (name, mailbox) = generator.pick(words::PEOPLE);
    let department = generator.pick(&["Quay", "Office", "Accounts, Payable", "IT"]);
    let (local, number) = (mailbox, generator.number);
    json!({
        address_key: format!("{local}.{number}@harbour.example"), "name": name,
        "department": generator.text_or_nothing(department),
        "userState": generator.pick(&["ACTIVE", "DISABLED"]),
    })
}

/// Merges both objects.
fn merged(mut one: Value, other: Value) -> Value {
    if let (Some(one), Value::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
    one
}
