//! Records of each type with the field names of API 1.0.

use serde_json::{Value, json};

use crate::random::Random;
use crate::time::UtcTime;

/// The types, with which file names begin.
pub(super) const TYPES: [&str; 10] = [
    "receipt", "process", "delivery", "av", "spam", "iep", "ttp_ip", "ttp_url", "ttp_ap", "jrnl",
];

const SUBJECTS: [&str; 5] = [
    "Harbour dues for May",
    "Re: a|b and c=d",
    "Invoice \\ 7 | due",
    "Grüße aus dem Hafen",
    "",
];

/// Generates one record of a type.
pub(super) fn record(seed: u64, kind: &str, number: u64, at_ms: i64) -> Value {
    let mut random = Random::new(seed, "legacy record", &[number]);
    // The zone of the account, without a colon.
    let time = UtcTime::new(at_ms + 3_600_000)
        .iso_with_utc_offset()
        .replace("+0000", "+0100");
    let code = format!("{}{number:06}", random.token(16));
    let mut record = json!({
        "acc": "C0A0",
        "datetime": time,
        "MsgId": format!("<{code}@harbour.example>"),
        "Sender": "ann@example.com",
        "Subject": random.pick(&SUBJECTS),
    });
    let has_code = !matches!(kind, "av" | "ttp_url" | "ttp_ap");
    if let Some(record) = record.as_object_mut().filter(|_| has_code) {
        record.insert("aCode".to_owned(), code.clone().into());
    }
    let own = match kind {
        "receipt" => json!({
            "Act": random.pick(&["Acc", "Rej", "Ign"]), "Dir": "Inbound", "IP": "192.0.2.7",
            "Rcpt": "bob@harbour.example", "headerFrom": "ann@example.com", "SpamInfo": "[]",
            "SpamLimit": 28, "SpamScore": random.below(40), "Virus": null, "Error": null,
            "SpamProcessingDetail": {"spf": {"info": "SPF_PASS", "allow": true}, "greyEmail": false},
            "RejType": null, "TlsVer": "TLSv1.2", "Cphr": "TLS_AES_256_GCM_SHA384",
        }),
        "process" => json!({
            "Act": "Hld", "Hld": "Spm", "AttCnt": 2, "AttNames": "\"a.pdf\", \"b.docx\"",
            "AttSize": 4000, "MsgSize": random.below(90_000), "IPNewDomain": "false",
        }),
        "delivery" => json!({
            "Delivered": true, "Attempt": 1, "Latency": random.below(9000), "Snt": 5000,
            "ReceiptAck": "250 ok", "UseTls": "Yes", "TlsVer": "TLSv1.3", "Route": "Default",
            "Err": null, "IP": "198.51.100.9", "Dir": "Outbound", "Rcpt": "eve@example.net",
        }),
        "av" => json!({
            "CustomerIP": "true", "MimecastIP": "false", "SenderDomainInternal": "false",
            "Virus": "Eicar-Test", "Size": 68, "fileExt": "com", "fileName": "eicar.com",
            "fileMime": "text/plain", "md5": "44d88612fea8a8f36de82e1278abb02f",
            "Recipient": "bob@harbour.example", "Route": "Inbound", "IP": "192.0.2.8",
            "SenderDomain": "example.com",
        }),
        "spam" => json!({
            "SourceIP": "192.0.2.9", "headerFrom": "ann@example.com",
            "Recipient": "bob@harbour.example", "Route": "Inbound", "SenderDomain": "example.com",
        }),
        "iep" => json!({
            "ScanResultInfo": "Blocked URL Category", "URL": "https://bad.example/a?b=c",
            "UrlCategory": "Compromised", "Route": "Internal", "Recipient": "bob@harbour.example",
        }),
        "ttp_ip" => json!({
            "Action": "Hold", "Definition": "Impersonation - default", "Hits": 2,
            "NewDomain": "true", "InternalName": "true", "TaggedMalicious": "true",
            "TaggedExternal": "false", "IP": "192.0.2.10", "Recipient": "bob@harbour.example",
            "Route": "Inbound",
        }),
        "ttp_url" => {
            let url = json!({
                "acc": "C0A0", "datetime": time, "msgid": format!("<{code}@harbour.example>"),
                "sender": "ann@example.com", "senderDomain": "example.com", "subject": "s",
                "recipient": "bob@harbour.example", "url": "https://bad.example/x",
                "urlCategory": "Phishing & Fraud", "reason": "malicious", "action": "Block",
                "route": "inbound", "sourceIp": "192.0.2.11",
            });
            return url;
        }
        "ttp_ap" => json!({
            "fileName": "a.exe", "fileExt": "exe", "fileMime": "application/x-msdownload",
            "Size": 71_825, "md5": "0cc175b9c0f1b6a831c399e269772661", "IP": "192.0.2.12",
            "Recipient": "bob@harbour.example", "Route": "Inbound", "SenderDomain": "example.com",
        }),
        _ => json!({
            "RcptActType": "Jnl", "RcptHdrType": "Unknown", "Dir": "Internal",
            "Rcpt": "bob@harbour.example",
        }),
    };
    if let (Some(all), Value::Object(own)) = (record.as_object_mut(), own) {
        all.extend(own);
    }
    record
}

/// Generates one audit event; a greater number is older.
pub(super) fn audit(seed: u64, number: u32, now_ms: i64) -> Value {
    let mut random = Random::new(seed, "legacy audit", &[u64::from(number)]);
    let at_ms = now_ms - 60_000 - i64::from(number / 3) * 60_000;
    json!({
        "id": format!("eNoVzb0{}{number:06}", random.token(20)),
        "auditType": "User Logged On",
        "user": "ann@harbour.example",
        "eventTime": UtcTime::new(at_ms).iso_with_utc_offset(),
        "eventInfo": "Successful authentication, IP: 192.0.2.1, Application: Console",
        "category": "authentication_logs",
    })
}
