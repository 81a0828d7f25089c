//! The event type of a file and of a record of API 1.0 (`mimecast-api.md` §7.3 to §7.6).

use crate::decode::json;
use crate::stream::Stream;

/// The prefixes of file names (`mimecast-api.md` §7.3, §7.5).
const FILE_PREFIXES: [(&str, Stream); 15] = [
    ("attachment", Stream::SiemAttachmentProtect),
    ("av", Stream::SiemAv),
    ("delivery", Stream::SiemDelivery),
    ("iep", Stream::SiemInternalEmailProtect),
    ("impersonation", Stream::SiemImpersonationProtect),
    ("journal", Stream::SiemJournal),
    ("jrnl", Stream::SiemJournal),
    ("process", Stream::SiemProcess),
    ("receipt", Stream::SiemReceipt),
    ("spam", Stream::SiemSpam),
    ("ttp_ap", Stream::SiemAttachmentProtect),
    ("ttp_attachment", Stream::SiemAttachmentProtect),
    ("ttp_impersonation", Stream::SiemImpersonationProtect),
    ("ttp_ip", Stream::SiemImpersonationProtect),
    ("ttp_url", Stream::SiemUrlProtect),
];

/// Returns the type of the records of a file, from the part of its name before the number.
#[must_use]
pub fn stream_of_file(name: &str) -> Option<Stream> {
    let stem = name.split('.').next().unwrap_or_default();
    let prefix = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let prefix = prefix.strip_suffix(['_', '-'])?;
    let found = FILE_PREFIXES
        .iter()
        .find(|(known, _)| prefix.eq_ignore_ascii_case(known));
    found.map(|(_, stream)| *stream)
}

/// Names of fields in lower case, by type: the first row with a name that the record has decides. Names
/// that only one type has come first. `filename` and `url` occur in several types, so they come after
/// the names that distinguish these (`mimecast-api.md` §7.6).
#[rustfmt::skip]
const TYPE_KEYS: [(&[&str], Stream); 15] = [
    (&["attempt", "delivered", "err", "latency", "receiptack", "snt", "usetls"], Stream::SiemDelivery),
    (&["attnames", "hld", "ipinternalname", "ipnewdomain", "ipreplymismatch", "ipsimilardomain", "ipthreaddict", "msgsize"], Stream::SiemProcess),
    (&["customname", "customthreatdictionary", "definition", "hits", "internalname", "newdomain", "replymismatch", "similarinternaldomain", "similarcustomexternaldomain", "similarmimecastexternaldomain", "taggedexternal", "taggedmalicious", "threatdictionary"], Stream::SiemImpersonationProtect),
    (&["scanresultinfo"], Stream::SiemInternalEmailProtect),
    (&["customerip", "mimecastip", "senderdomaininternal"], Stream::SiemAv),
    (&["rcptacttype", "rcpthdrtype"], Stream::SiemJournal),
    (&["reason", "urlcategory", "credentialtheft"], Stream::SiemUrlProtect),
    (&["error", "spaminfo", "spamlimit", "spamprocessingdetail", "spamscore", "rejtype", "rejcode", "rejinfo"], Stream::SiemReceipt),
    (&["filename", "sha256", "md5"], Stream::SiemAttachmentProtect),
    (&["sourceip"], Stream::SiemSpam),
    // The other records have few names; each row has the likeliest type of those with such a name.
    (&["url"], Stream::SiemUrlProtect),
    (&["virus"], Stream::SiemAv),
    (&["attcnt", "attsize"], Stream::SiemProcess),
    (&["act", "rcpt", "tlsver", "cphr"], Stream::SiemReceipt),
    (&["recipient", "headerfrom"], Stream::SiemSpam),
];

/// Returns the type of a record, from the names of its fields. A record whose type is unknown is
/// one of [`Stream::Siem`].
#[must_use]
pub fn stream_of_record(record: &[u8]) -> Stream {
    let mut members = Vec::new();
    let Some(text) = json::scan_repaired(record, &mut members) else {
        return Stream::Siem;
    };
    let has = |key: &&str| {
        let mut names = members.iter().map(|member| member.key.of(&text));
        names.any(|name| name.eq_ignore_ascii_case(key))
    };
    let found = TYPE_KEYS.iter().find(|(keys, _)| keys.iter().any(has));
    found.map_or(Stream::Siem, |(_, stream)| *stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field;
    use crate::record::Parser;

    #[test]
    fn names_of_api_1_are_understood_where_they_are_used_and_nowhere_else() {
        let line = r#"{"acc":"C0","IP":"192.0.2.1","Subject":"s","subject":"t","x":1}"#;
        let mut parser = Parser::new();
        for _ in 0..2 {
            let record = parser.parse(Stream::SiemReceipt, line).unwrap();
            assert_eq!(record.get(field::ACCOUNT_ID).unwrap().text, "C0");
            assert_eq!(record.get(field::SENDER_IP).unwrap().text, "192.0.2.1");
            let record = parser.parse(Stream::SiemDelivery, line).unwrap();
            assert_eq!(record.get(field::DESTINATION_IP).unwrap().text, "192.0.2.1");
            assert!(record.get(field::SENDER_IP).is_none());
            let record = parser.parse(Stream::Audit, line).unwrap();
            assert!(record.get(field::ACCOUNT_ID).is_none());
            assert_eq!(record.get(field::SUBJECT).unwrap().text, "t");
        }
    }

    #[test]
    fn two_spellings_in_one_record_lose_neither_value() {
        let line =
            r#"{"Rcpt":"a@example.com","Recipient":"b@example.com","subject":"t","Subject":"s"}"#;
        let mut parser = Parser::new();
        let record = parser.parse(Stream::SiemReceipt, line).unwrap();
        assert_eq!(record.fields().count(), 4);
    }

    #[test]
    fn of_several_spellings_the_known_one_counts_and_then_the_first() {
        let subject = |line: &str| {
            let mut parser = Parser::new();
            let record = parser.parse(Stream::SiemReceipt, line).unwrap();
            let values: Vec<_> = record.fields().map(|field| field.value.text).collect();
            let subject = record.get(field::SUBJECT).map(|value| value.text);
            (subject.unwrap_or_default().to_owned(), values.join(","))
        };
        for (line, value, values) in [
            (r#"{"Subject":"a","subject":"b"}"#, "b", "a,b"),
            (r#"{"subject":"a","Subject":"b"}"#, "a", "a,b"),
            (r#"{"Subject":"a","subject":null}"#, "a", "a,null"),
            (r#"{"subject":null,"Subject":"a"}"#, "a", "null,a"),
            (r#"{"Subject":"a","Subject":"b"}"#, "b", "b"),
            (r#"{"subject":"a","subject":"b","Subject":"c"}"#, "b", "b,c"),
            (
                r#"{"x":1,"Subject":"a","y":2,"subject":"b","z":3}"#,
                "b",
                "1,a,2,b,3",
            ),
        ] {
            let expected = (value.to_owned(), values.to_owned());
            assert_eq!(subject(line), expected, "{line}");
        }
        let line = r#"{"Rcpt":"a","Recipient":"b","Rcpt":"c"}"#;
        let mut parser = Parser::new();
        let record = parser.parse(Stream::SiemReceipt, line).unwrap();
        assert_eq!(record.get(field::RECIPIENTS).unwrap().text, "c");
    }

    #[test]
    fn the_identity_is_that_of_the_words_in_the_record() {
        let mut parser = Parser::new();
        let mut id = |line: &str| parser.parse(Stream::SiemReceipt, line).unwrap().id();
        let first = id(r#"{"Act":"Acc","acc":"C0"}"#);
        assert_eq!(id(r#"{"acc":"C0", "Act":"Acc"}"#), first);
        assert_ne!(id(r#"{"action":"Acc","accountId":"C0"}"#), first);
    }

    #[test]
    fn a_record_that_needs_a_repair_has_its_type() {
        for line in [
            r#"{"datetime":"x","Act":"Rej","RejType":"x","Subject":"a"}"#,
            r#"{"datetime":"x","Act":"Rej","RejType":"x","Subject":"a \ud83d"}"#,
            "{\"datetime\":\"x\",\"Act\":\"Rej\",\"RejType\":\"x\",\"Subject\":\"a\u{1}\"}",
        ] {
            assert_eq!(
                stream_of_record(line.as_bytes()),
                Stream::SiemReceipt,
                "{line}"
            );
        }
        assert_eq!(stream_of_record(b"{\"RejType\":"), Stream::Siem);
    }

    #[test]
    fn the_name_of_a_file_says_the_type() {
        for (name, stream) in [
            ("receipt_20211018093329655.json", Some(Stream::SiemReceipt)),
            ("jrnl_20211018093329655.json", Some(Stream::SiemJournal)),
            (
                "ttp_url_20211018093329655.txt",
                Some(Stream::SiemUrlProtect),
            ),
            ("a7bebfbb-0000-4000-8000-123456789012.zip", None),
            ("process.json", None),
            ("", None),
        ] {
            assert_eq!(stream_of_file(name), stream, "{name}");
        }
    }

    #[test]
    fn the_names_of_the_fields_say_the_type() {
        for (record, stream) in [
            (
                r#"{"Act":"Acc","Rcpt":"a","Cphr":"x"}"#,
                Stream::SiemReceipt,
            ),
            (
                r#"{"Act":"Hld","Hld":"Spm","Subject":"s"}"#,
                Stream::SiemProcess,
            ),
            (
                r#"{"Delivered":true,"RejType":null,"Act":"x"}"#,
                Stream::SiemDelivery,
            ),
            (
                r#"{"CustomerIP":"x","fileName":"f","sha256":"0"}"#,
                Stream::SiemAv,
            ),
            (
                r#"{"SourceIP":"x","headerFrom":"f","Recipient":"r"}"#,
                Stream::SiemSpam,
            ),
            (
                r#"{"ScanResultInfo":"x","URL":"u","UrlCategory":"c"}"#,
                Stream::SiemInternalEmailProtect,
            ),
            (
                r#"{"Action":"Hold","Hits":1}"#,
                Stream::SiemImpersonationProtect,
            ),
            (
                r#"{"action":"Block","reason":"malicious","url":"u"}"#,
                Stream::SiemUrlProtect,
            ),
            (
                r#"{"fileName":"f","sha256":"0","Route":"r"}"#,
                Stream::SiemAttachmentProtect,
            ),
            (r#"{"RcptActType":"Jnl","Rcpt":"r"}"#, Stream::SiemJournal),
            (r#"{"acc":"C0","datetime":"x"}"#, Stream::Siem),
            ("no JSON", Stream::Siem),
        ] {
            assert_eq!(stream_of_record(record.as_bytes()), stream, "{record}");
        }
    }
}
