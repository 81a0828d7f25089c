//! The MITRE ATT&CK techniques of a record. They depend on its stream and its verdict, never on text
//! that a sender writes. One table for both formats.
//!
//! Spam, plain rejections, holds, leaks of data, administration, and scans that found nothing or
//! did not finish name no technique.

use super::ecs::logs::{
    ALLOW, DETECTION_WORDS, HAS_ACTIONS, MALICIOUS_URL, MALICIOUS_WORDS, REJECTED_BY,
};
use super::ecs::threats::CLICK_ALLOWED;
use super::table::Test;
use crate::field;
use crate::stream::Stream;

/// The release of ATT&CK that defines the ids. In it Impersonation is T1656.
pub const ATTACK_RELEASE: &str = "17.1";

/// An id and its name.
type IdAndName = (&'static str, &'static str);

/// One technique, with the tactic it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Technique {
    /// Why it is used.
    pub tactic: IdAndName,
    /// The technique.
    pub technique: IdAndName,
    /// The sub-technique, if one is known.
    pub subtechnique: Option<IdAndName>,
}

/// Records of a stream, and the MITRE ATT&CK techniques that the rules find for them.
#[derive(Clone, Copy, Debug)]
pub struct TechniqueRule {
    /// The stream.
    pub stream: Stream,
    /// All of these hold.
    pub when: &'static [Test],
    /// The techniques.
    pub techniques: &'static [Technique],
    /// What the tests mean, for the page of fields.
    pub meaning: &'static str,
}

const INITIAL_ACCESS: IdAndName = ("TA0001", "Initial Access");
const PHISHING: IdAndName = ("T1566", "Phishing");

const ANY_PHISHING: Technique = Technique {
    tactic: INITIAL_ACCESS,
    technique: PHISHING,
    subtechnique: None,
};
const ATTACHMENT: Technique = Technique {
    subtechnique: Some(("T1566.001", "Spearphishing Attachment")),
    ..ANY_PHISHING
};
const LINK: Technique = Technique {
    subtechnique: Some(("T1566.002", "Spearphishing Link")),
    ..ANY_PHISHING
};
const CLICKED: Technique = Technique {
    tactic: ("TA0002", "Execution"),
    technique: ("T1204", "User Execution"),
    subtechnique: Some(("T1204.001", "Malicious Link")),
};
const INTERNAL: Technique = Technique {
    tactic: ("TA0008", "Lateral Movement"),
    technique: ("T1534", "Internal Spearphishing"),
    subtechnique: None,
};
const IMPERSONATION: Technique = Technique {
    tactic: ("TA0005", "Defense Evasion"),
    technique: ("T1656", "Impersonation"),
    subtechnique: None,
};

const fn row(
    stream: Stream,
    when: &'static [Test],
    techniques: &'static [Technique],
    meaning: &'static str,
) -> TechniqueRule {
    TechniqueRule {
        stream,
        when,
        techniques,
        meaning,
    }
}

const IS_PHISHING: Test = Test::Contains(&[field::THREAT_TYPE], &["phish"]);
const INSIDE: &[&str] = &["internal"];
const QR_CODE_OR_LINK: &[&str] = &["qrcode", "qr code", "url", "link"];

/// The rows of all streams; for each stream the first row that holds counts.
#[rustfmt::skip]
pub const ROWS: &[TechniqueRule] = &[
    row(Stream::SiemUrlProtect, &[CLICK_ALLOWED], &[LINK, CLICKED], "clicked and allowed"),
    row(Stream::SiemUrlProtect, &[],                                  &[LINK],          "every record"),
    row(Stream::TtpUrl, &[MALICIOUS_URL, Test::Is(field::CREATION_METHOD, &["entry scan"])],
                                                                      &[LINK],          "malicious, scanned without a click"),
    row(Stream::TtpUrl, &[MALICIOUS_URL, Test::Is(field::ACTIONS, ALLOW)], &[LINK, CLICKED], "malicious and allowed"),
    row(Stream::TtpUrl, &[MALICIOUS_URL, HAS_ACTIONS],                &[LINK],          "malicious"),
    row(Stream::TtpUrl, &[MALICIOUS_URL, Test::Is(field::ACTION, ALLOW)],  &[LINK, CLICKED], "malicious and allowed"),
    row(Stream::TtpUrl, &[MALICIOUS_URL],                             &[LINK],          "malicious"),
    row(Stream::CiUrlclick, &[CLICK_ALLOWED],                         &[LINK, CLICKED], "clicked and allowed"),
    row(Stream::CiUrlclick, &[],                                      &[LINK],          "every record"),
    row(Stream::SiemReceipt, &[Test::Contains(&[field::REJECTION_TYPE], DETECTION_WORDS), Test::Contains(&[field::REJECTION_TYPE], QR_CODE_OR_LINK)],
                                                                      &[LINK],          "rejected for a malicious QR code or link"),
    row(Stream::Rejections, &[Test::Contains(REJECTED_BY, DETECTION_WORDS), Test::Contains(REJECTED_BY, QR_CODE_OR_LINK)],
                                                                      &[LINK],          "rejected for a malicious QR code or link"),
    row(Stream::CiEntities, &[IS_PHISHING, Test::HasValue(&[field::URL, field::ORIGINAL_URL])], &[LINK],  "phishing with a link"),
    row(Stream::CiEntities, &[IS_PHISHING],                               &[ANY_PHISHING],  "phishing"),
    row(Stream::SiemAv, &[],                                          &[ATTACHMENT],    "every record"),
    row(Stream::SiemAttachmentProtect, &[],                           &[ATTACHMENT],    "every record"),
    row(Stream::TtpAttachment, &[Test::Is(field::RESULT, MALICIOUS_WORDS)],         &[ATTACHMENT],    "malicious or unsafe"),
    row(Stream::SiemInternalEmailProtect, &[Test::IsOrMissing(field::DIRECTION, INSIDE), Test::IsOrMissing(field::ROUTE, INSIDE)],
                                                                      &[INTERNAL],      "internal, or without a direction"),
    row(Stream::SiemImpersonationProtect, &[],                        &[IMPERSONATION], "every record"),
    row(Stream::TtpImpersonation, &[],                                &[IMPERSONATION], "every record"),
];

/// Returns the rows of a stream.
pub fn rows(stream: Stream) -> impl Iterator<Item = &'static TechniqueRule> {
    ROWS.iter().filter(move |row| row.stream == stream)
}

/// Returns the members of ECS's `threat`.
#[must_use]
pub fn ecs(techniques: &[Technique]) -> String {
    let tactics: Vec<IdAndName> = techniques.iter().map(|it| it.tactic).collect();
    let techniques_named: Vec<IdAndName> = techniques.iter().map(|it| it.technique).collect();
    let subs: Vec<IdAndName> = techniques.iter().filter_map(|it| it.subtechnique).collect();
    let mut json = String::from("\"framework\":\"MITRE ATT&CK\",\"tactic\":{");
    push_lists(&mut json, &tactics);
    json.push_str("},\"technique\":{");
    push_lists(&mut json, &techniques_named);
    if !subs.is_empty() {
        json.push_str(",\"subtechnique\":{");
        push_lists(&mut json, &subs);
        json.push('}');
    }
    json.push_str("},");
    json
}

/// Appends the ids and the names, each once.
fn push_lists(json: &mut String, all: &[IdAndName]) {
    for (at, key) in ["\"id\":[", ",\"name\":["].into_iter().enumerate() {
        let text = |named: &IdAndName| if at == 0 { named.0 } else { named.1 };
        json.push_str(key);
        for (place, named) in all.iter().enumerate() {
            let before = all.get(..place).unwrap_or_default();
            if before.iter().any(|other| text(other) == text(named)) {
                continue;
            }
            let comma = if place == 0 { "\"" } else { ",\"" };
            for piece in [comma, text(named), "\""] {
                json.push_str(piece);
            }
        }
        json.push(']');
    }
}

/// Returns OCSF's `attacks`.
#[must_use]
pub fn ocsf(techniques: &[Technique]) -> String {
    let mut json = String::from("[");
    for (place, it) in techniques.iter().enumerate() {
        if place > 0 {
            json.push(',');
        }
        let parts = [
            ("{\"tactic\":", Some(it.tactic)),
            (",\"technique\":", Some(it.technique)),
            (",\"sub_technique\":", it.subtechnique),
        ];
        for (key, named) in parts {
            if let Some((id, name)) = named {
                for piece in [key, "{\"uid\":\"", id, "\",\"name\":\"", name, "\"}"] {
                    json.push_str(piece);
                }
            }
        }
        for piece in [",\"version\":\"", ATTACK_RELEASE, "\"}"] {
            json.push_str(piece);
        }
    }
    json.push_str("],");
    json
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn ids_are_those_of_their_kind_and_each_stream_ends_with_its_widest_row() {
        for row in ROWS {
            for technique in row.techniques {
                let (id, _) = technique.technique;
                assert!(technique.tactic.0.starts_with("TA") && id.starts_with('T'));
                if let Some((sub, _)) = technique.subtechnique {
                    assert!(sub.starts_with(&format!("{id}.")), "{sub}");
                }
            }
            let all: Vec<_> = rows(row.stream).collect();
            let wide = all.iter().position(|row| row.when.is_empty());
            assert!(wide.is_none_or(|at| at + 1 == all.len()), "{}", row.stream);
        }
    }

    #[test]
    fn both_forms_are_json_and_name_each_thing_once() {
        let ecs: Value =
            serde_json::from_str(&format!("{{{}\"end\":0}}", ecs(&[LINK, CLICKED]))).unwrap();
        assert_eq!(ecs["tactic"]["id"], json!(["TA0001", "TA0002"]));
        assert_eq!(
            ecs["technique"]["subtechnique"]["id"],
            json!(["T1566.002", "T1204.001"])
        );
        let of_one_tactic: Value =
            serde_json::from_str(&format!("{{{}\"end\":0}}", super::ecs(&[LINK, ATTACHMENT])))
                .unwrap();
        assert_eq!(of_one_tactic["tactic"]["id"], json!(["TA0001"]));
        assert_eq!(of_one_tactic["technique"]["id"], json!(["T1566"]));
        let subtechniques = &of_one_tactic["technique"]["subtechnique"]["id"];
        assert_eq!(subtechniques.as_array().map(Vec::len), Some(2));
        let ocsf = ocsf(&[LINK, ANY_PHISHING]);
        let ocsf: Value = serde_json::from_str(ocsf.trim_end_matches(',')).unwrap();
        assert_eq!(ocsf[0]["sub_technique"]["uid"], "T1566.002");
        assert_eq!(
            ocsf[1],
            json!({
                "tactic": {"uid": "TA0001", "name": "Initial Access"},
                "technique": {"uid": "T1566", "name": "Phishing"},
                "version": ATTACK_RELEASE,
            })
        );
    }
}
