//! Results of the awareness training: one row for each person, which changes now and then.

use serde_json::{Value, json};

use super::{FieldGenerator, words};
use crate::time::{DAY_MS, UtcTime};

/// Generates the responses of a person to training questions.
pub(crate) fn performance(builder: &mut FieldGenerator) -> Value {
    let person = person(builder, "email");
    let count = builder.random.below(9);
    let wrong = if builder.odd_shape_occurs(100) {
        json!("2")
    } else {
        json!(builder.random.below(3))
    };
    merged(
        person,
        json!({
            "numCorrect": count, "numIncorrect": wrong, "numNotWatched": builder.random.below(2),
            "userDetails": [{"campaign": "Passwords", "correct": builder.random.chance(700)}],
        }),
    )
}

/// Generates the grades of a person.
pub(crate) fn safe_score(builder: &mut FieldGenerator) -> Value {
    let person = person(builder, "emailAddress");
    let mut grade = || builder.random.pick(&["A", "B", "C", "D", "F"]);
    merged(
        person,
        json!({
            "risk": grade(), "humanError": grade(), "sentiment": grade(), "engagement": grade(),
            "knowledge": grade(),
        }),
    )
}

/// Generates a person who needs attention.
pub(crate) fn watchlist(builder: &mut FieldGenerator) -> Value {
    let person = person(builder, "email");
    merged(
        person,
        json!({"watchlistCount": 1 + builder.random.below(9)}),
    )
}

/// Generates what a person did in a phishing campaign, with the members of the campaign. There is
/// one campaign each day.
pub(crate) fn phishing_result(builder: &mut FieldGenerator) -> Value {
    let day = builder.at_ms.div_euclid(DAY_MS);
    let status = builder.pick(&["sent", "opened", "clicked", "submitted"]);
    let mut record = merged(
        person(builder, "email"),
        json!({
            "campaignId": format!("campaign-{day}"), "campaignName": format!("Parcel of day {day}"),
            "launchDate": UtcTime::new(day * DAY_MS).iso_with_utc_offset(),
            "templateName": "Parcel", "status": status, "timeScheduled": builder.time(),
            "numCampaignsSent": 1 + builder.random.below(9), "numCampaignsClicked": builder.random.below(3),
            "numTrainingModulesAssigned": builder.random.below(4),
            "numCorrectAnswers": builder.random.below(9), "numIncorrectAnswers": builder.random.below(3),
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
            record.insert(time.to_owned(), json!(builder.time()));
        }
        if count > 1 {
            record.insert("clickedIp".to_owned(), json!("203.0.113.77"));
            let reaction = builder.random.below(900);
            let is_text = builder.odd_shape_occurs(50);
            let reaction = if is_text {
                json!(reaction.to_string())
            } else {
                json!(reaction)
            };
            record.insert("reactionTime".to_owned(), reaction);
        }
        if builder.random.chance(200) {
            record.insert("timeReported".to_owned(), json!(builder.time()));
        }
    }
    record
}

fn person(builder: &mut FieldGenerator, address_key: &str) -> Value {
    let (name, mailbox) = builder.pick(words::PEOPLE);
    let department = builder.pick(&["Quay", "Office", "Accounts, Payable", "IT"]);
    let (local, number) = (mailbox, builder.number);
    json!({
        address_key: format!("{local}.{number}@harbour.example"), "name": name,
        "department": builder.text_or_nothing(department),
        "userState": builder.pick(&["ACTIVE", "DISABLED"]),
    })
}

/// Merges both objects.
fn merged(mut one: Value, other: Value) -> Value {
    if let (Some(one), Value::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
    one
}
