//! The classes of OCSF that events have, and the rules by which a record gets its class.

use super::super::attack;
use super::super::mapping::{CompiledMapping, MappingInputs, StreamOptions};
use super::super::table::{FieldMapping, Test, UnmappedOutput};
use super::actions;
use crate::field::FieldName;

/// A class of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// `class_uid`
    pub uid: u16,
    /// `class_name`
    pub name: &'static str,
    /// `category_uid`
    pub category: u8,
}

const fn class(uid: u16, name: &'static str, category: u8) -> Class {
    Class {
        uid,
        name,
        category,
    }
}

/// Records that have no place in another class.
pub const BASE: Class = class(0, "Base Event", 0);
/// Something malicious was found.
pub const DETECTION: Class = class(2004, "Detection Finding", 2);
/// Data was about to leave.
pub const DATA_SECURITY: Class = class(2006, "Data Security Finding", 2);
/// A user account was changed.
pub const ACCOUNT_CHANGE: Class = class(3001, "Account Change", 3);
/// Somebody logged on, or tried to.
pub const AUTHENTICATION: Class = class(3002, "Authentication", 3);
/// Something that is managed was changed.
pub const ENTITY: Class = class(3004, "Entity Management", 3);
/// A role was given to a user or taken away.
pub const USER_ACCESS: Class = class(3005, "User Access Management", 3);
/// A group was changed.
pub const GROUP: Class = class(3006, "Group Management", 3);
/// Something happened to a message.
pub const EMAIL: Class = class(4009, "Email Activity", 4);
/// An inventory of users.
pub const USER_INVENTORY: Class = class(5003, "User Inventory Info", 5);
/// An inventory of threat indicators.
pub const OSINT_INVENTORY: Class = class(5021, "OSINT Inventory Info", 5);
/// What was found was removed, or put back.
pub const REMEDIATION: Class = class(7001, "Remediation Activity", 7);
/// Somebody looked at something.
pub const WEB_RESOURCES: Class = class(6001, "Web Resources Activity", 6);

/// The records of a stream that become events of one class.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// All of these must hold.
    pub when: &'static [Test],
    /// The class.
    pub class: Class,
    /// As in [`super::super::table::EcsTables`].
    pub rows: &'static [&'static [FieldMapping]],
    /// How the fields are written that no row uses; of a field in several lists the last counts.
    pub unmapped: &'static [&'static [(FieldName, UnmappedOutput)]],
    /// The activity that replaces that of every rule, if there is one.
    pub activity: Option<(u8, &'static str)>,
    /// The rules; the first that holds gives the classification.
    pub rules: &'static [Rule],
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// All of these must hold.
    pub when: &'static [Test],
    /// The classification of the event then.
    pub classification: Classification,
}

/// How OCSF classifies an event.
#[derive(Clone, Copy, Debug)]
pub struct Classification {
    /// `activity_id` and `activity_name`
    pub activity: (u8, &'static str),
    /// `severity_id`
    pub severity: u8,
    /// `status_id`, or nothing.
    pub status: Option<u8>,
    /// `is_alert`
    pub alert: bool,
    /// `action_id` and `disposition_id`, where no row of the variant writes them.
    pub action_disposition: Option<(u8, u8)>,
}

impl Classification {
    /// Creates the classification of an activity that succeeded and means no harm; setters change that.
    #[must_use]
    pub const fn activity(id: u8, name: &'static str) -> Self {
        Self {
            activity: (id, name),
            severity: 1,
            status: Some(1),
            alert: false,
            action_disposition: None,
        }
    }

    /// Creates a finding that is new, and an alert.
    #[must_use]
    pub const fn finding(severity: u8) -> Self {
        Self {
            alert: true,
            severity,
            ..Self::activity(1, "Create")
        }
    }

    /// Sets the severity.
    #[must_use]
    pub const fn severity(self, severity: u8) -> Self {
        Self { severity, ..self }
    }

    /// Sets the status.
    #[must_use]
    pub const fn status(self, status: Option<u8>) -> Self {
        Self { status, ..self }
    }

    /// Marks it as an alert.
    #[must_use]
    pub const fn alert(self) -> Self {
        Self {
            alert: true,
            ..self
        }
    }

    /// Sets action and disposition.
    #[must_use]
    pub const fn action_disposition(self, action: u8, disposition: u8) -> Self {
        Self {
            action_disposition: Some((action, disposition)),
            ..self
        }
    }
}

/// Creates a rule.
#[must_use]
pub const fn rule(when: &'static [Test], classification: Classification) -> Rule {
    Rule {
        when,
        classification,
    }
}

impl Variant {
    /// Compiles the tables. A success by a rule is a failure where `failure_test` holds.
    pub(in super::super) fn mapping(&self, options: &StreamOptions<'_>) -> CompiledMapping {
        let (severity, failure_test) = (options.severity, options.failure_test);
        let to_json = |classification: Classification| {
            let classification = Classification {
                activity: self.activity.unwrap_or(classification.activity),
                severity: severity(classification.alert).unwrap_or(classification.severity),
                ..classification
            };
            classification_json(&self.class, &classification)
        };
        let rules = self.rules.iter().flat_map(|rule| {
            let failure_test = failure_test.filter(|_| rule.classification.status == Some(1));
            let failure_rule = failure_test.map(|failure_test| {
                let classification = rule
                    .classification
                    .status(Some(2))
                    .severity(rule.classification.severity.max(2));
                (
                    [rule.when, &[failure_test]].concat(),
                    to_json(classification),
                )
            });
            failure_rule
                .into_iter()
                .chain([(rule.when.to_vec(), to_json(rule.classification))])
        });
        CompiledMapping::build(MappingInputs {
            rows: self.rows,
            unmapped: self.unmapped.concat(),
            classification_rules: rules.collect(),
            technique_rules: options.technique_rules(attack::ocsf),
            unmapped_object: "unmapped",
            observable_type: super::observable_type,
        })
    }
}

/// Returns the members of a class and a classification, as JSON.
fn classification_json(class: &Class, classification: &Classification) -> String {
    let severity = classification.severity;
    let Class {
        uid,
        name,
        category,
    } = class;
    let (activity, activity_name) = classification.activity;
    let severity_name = [
        "Unknown",
        "Informational",
        "Low",
        "Medium",
        "High",
        "Critical",
        "Fatal",
    ]
    .get(usize::from(severity))
    .copied()
    .unwrap_or("Unknown");
    let type_uid = u32::from(*uid) * 100 + u32::from(activity);
    let category_name = match category {
        2 => "Findings",
        3 => "Identity & Access Management",
        4 => "Network Activity",
        5 => "Discovery",
        6 => "Application Activity",
        7 => "Remediation",
        _ => "Uncategorized",
    };
    // Activity 99 has its own name in `activity_name` only, and is `Other` in `type_name`.
    let type_activity = if activity == 99 {
        "Other"
    } else {
        activity_name
    };
    let mut json = format!(
        "\"class_uid\":{uid},\"class_name\":\"{name}\",\"category_uid\":{category},\
         \"category_name\":\"{category_name}\",\"type_name\":\"{name}: {type_activity}\",\
         \"activity_id\":{activity},\"activity_name\":\"{activity_name}\",\"type_uid\":{type_uid},\
         \"severity_id\":{severity},\"severity\":\"{severity_name}\","
    );
    if let Some(status) = classification.status {
        let caption = match status {
            // The state of the work on a finding.
            1 if *category == 2 => "New",
            1 => "Success",
            2 => "Failure",
            _ => "Unknown",
        };
        json.push_str(&format!("\"status_id\":{status},\"status\":\"{caption}\","));
    }
    json.push_str(&format!("\"is_alert\":{},", classification.alert));
    if let Some((action, disposition)) = classification.action_disposition {
        actions::push_members(&mut json, action, disposition);
        json.push(',');
    }
    json
}
