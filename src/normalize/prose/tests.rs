use super::*;

fn find(text: &str, part: ProsePart) -> Option<&str> {
    super::find(&mut ProseCache::default(), text, part)
}

fn people(text: &str) -> impl Iterator<Item = &str> {
    let mut cache = ProseCache::default();
    cache.sections(text);
    let people = cache.people.into_iter();
    people.map(|(person, _)| text.get(person).unwrap())
}

fn reports_failure(text: &str) -> bool {
    super::reports_failure(&mut ProseCache::default(), text)
}

const LOGON: &str = "Failed authentication for ann@example.com <Li, Ann>, Date: 2026-02-03, \
    Time: 04:05:06 GMT-05:00, IP: 198.51.100.7, Application: Administration Console, \
    Method: Cloud, Reason: Bad password, or locked, 2FA: TOTP";

const PARTS: [ProsePart; 13] = [
    ProsePart::Application,
    ProsePart::File,
    ProsePart::FileSize,
    ProsePart::Hash(32),
    ProsePart::Hash(40),
    ProsePart::Hash(64),
    ProsePart::Ip,
    ProsePart::Method,
    ProsePart::Mfa,
    ProsePart::Object,
    ProsePart::Port,
    ProsePart::Reason,
    ProsePart::Role,
];

#[test]
fn what_was_found_in_one_record_is_not_found_in_the_next() {
    let mut cache = ProseCache::default();
    let texts = [
        "Failed for ann@a.test, Method: Cloud, IP: 192.0.2.1",
        "Added by bob@b.test, Reason: asked, IP: 192.0.2.22",
        "",
        "Logon of cyd@c.test, Method: Local, IP: 192.0.2.3",
        "Added by dee@d.test, IP: 192.0.2.4, Reason: asked",
    ];
    assert_eq!(texts[3].len(), texts[4].len());
    for text in texts.iter().chain(&texts) {
        cache.clear();
        for part in PARTS.into_iter().chain(PARTS) {
            assert_eq!(
                super::find(&mut cache, text, part),
                find(text, part),
                "{text}"
            );
        }
        let of_people = target_and_actor(&mut cache, text, "");
        assert_eq!(
            of_people,
            target_and_actor(&mut ProseCache::default(), text, "")
        );
        assert_eq!(
            super::reports_failure(&mut cache, text),
            reports_failure(text)
        );
    }
}

#[test]
fn the_parts_of_a_logon() {
    assert_eq!(find(LOGON, ProsePart::Ip), Some("198.51.100.7"));
    assert_eq!(
        find(LOGON, ProsePart::Application),
        Some("Administration Console")
    );
    assert_eq!(find(LOGON, ProsePart::Method), Some("Cloud"));
    assert_eq!(
        find(LOGON, ProsePart::Reason),
        Some("Bad password, or locked")
    );
    assert_eq!(find(LOGON, ProsePart::Mfa), Some("TOTP"));
    let named = |person| full_name(&mut ProseCache::default(), LOGON, person);
    assert_eq!(named("Ann@example.com"), Some("Li, Ann"));
    assert_eq!(named("bob@example.com"), None);
    assert_eq!(people(LOGON).collect::<Vec<_>>(), ["ann@example.com"]);
}

#[test]
fn addresses_in_all_spellings() {
    for text in [
        "x IP: 2001:db8::7, Application: Y",
        "x IP : 2001:db8::7",
        "x, IP: :2001:db8::7",
        "x IP Address : 2001:db8::7",
        "x Remote IP is 2001:db8::7.",
        "remote IP : 2001:db8::7)",
    ] {
        assert_eq!(find(text, ProsePart::Ip), Some("2001:db8::7"), "{text}");
    }
    assert_eq!(find("x IP: null, Application: Y", ProsePart::Ip), None);
    for (text, ip) in [
        ("x IP: 203.0.113.7:443, Application: Y", "203.0.113.7"),
        ("x Remote IP is [2001:db8::7]:443.", "2001:db8::7"),
    ] {
        assert_eq!(find(text, ProsePart::Ip), Some(ip), "{text}");
        assert_eq!(find(text, ProsePart::Port), Some("443"), "{text}");
    }
    let last = "IP: 192.0.2.4, Remote: x, IP: 203.0.113.7:443";
    assert_eq!(find(last, ProsePart::Port), Some("443"));
    assert_eq!(find("Internal IP range, zip: 1", ProsePart::Ip), None);
}

#[test]
fn a_value_ends_at_the_next_label_with_or_without_a_colon() {
    for text in [
        "Successful, Application: API, Remote IP is 198.51.100.23",
        "Successful, Application: API; IP Address : 198.51.100.23",
        "Successful, Application: API\nRemote IP is 198.51.100.23",
        "Successful, Application: API IP: 198.51.100.23",
        "Successful, Application: API, Unknown: x, IP: 198.51.100.23",
    ] {
        assert_eq!(find(text, ProsePart::Application), Some("API"), "{text}");
        assert_eq!(find(text, ProsePart::Ip), Some("198.51.100.23"), "{text}");
    }
}

#[test]
fn what_a_message_says_is_no_evidence() {
    let forged = "IP: 192.0.2.66, Remote IP is 192.0.2.67, Application: Nothing, \
        Method: none such, Reason: none at all, 2FA: SMS, Success: false, Size: 7, \
        Processed: 2026-03-01, for eve@example.net <Eve>, file: x.csv, role X";
    for start in [
        "Viewed Message - From: <Mallory> mallory@example.net, Subject: ",
        "Viewed Message - From: ",
        "Viewed Message - Subject: Re: From: x, ",
        "Viewed Message - To : ",
    ] {
        let text = format!(
            "{start}{forged}, Processed: 2026-03-01, IP: 198.51.100.21, Application: review"
        );
        assert_eq!(find(&text, ProsePart::Ip), Some("198.51.100.21"), "{text}");
        assert_eq!(
            find(&text, ProsePart::Application),
            Some("review"),
            "{text}"
        );
        for part in PARTS {
            if !matches!(part, ProsePart::Ip | ProsePart::Application) {
                assert_eq!(find(&text, part), None, "{part:?} in {text}");
            }
        }
        assert_eq!(people(&text).next(), None, "{text}");
        assert!(!reports_failure(&text), "{text}");
        // Without a trailer nothing after the quotation counts.
        let text = format!("{start}IP: 192.0.2.66, Application: Nothing, Reason: none at all");
        for part in PARTS {
            assert_eq!(find(&text, part), None, "{part:?} in {text}");
        }
    }
    let tried = "Failed authentication for x, Method: none such, 2FA: SMS@example.com, \
        Date: 2026-02-03, Time: 04:05:06 GMT, IP: 198.51.100.7, Application: API";
    assert_eq!(find(tried, ProsePart::Method), None);
    assert_eq!(find(tried, ProsePart::Mfa), None);
    assert_eq!(find(tried, ProsePart::Ip), Some("198.51.100.7"));
    // The subject looks like a trailer, and the trailer says no more than the date.
    let text = "Viewed Message - Subject: Processed: 2026-03-01, IP: 192.0.2.66, Reason: x, \
        Application: y, Date: 2026-02-03, Time: 04:05:06 GMT, IP: 198.51.100.7";
    assert_eq!(find(text, ProsePart::Ip), Some("198.51.100.7"));
    for part in [ProsePart::Reason, ProsePart::Application] {
        assert_eq!(find(text, part), None, "{part:?}");
    }
}

#[test]
fn who_and_what_was_changed() {
    for (text, person) in [
        (
            "Password reset for user: bob@example.com, IP: 198.51.100.21",
            "bob@example.com",
        ),
        (
            "Password reset for emailAddress=bob@example.test",
            "bob@example.test",
        ),
        (
            "User bob@example.com added to role Super Administrator",
            "bob@example.com",
        ),
        ("Account locked (bob@example.com).", "bob@example.com"),
    ] {
        assert_eq!(people(text).next(), Some(person), "{text}");
    }
    for text in [
        "User bob@example.com added to role Super Administrator",
        "Role 'Super Administrator' assigned to bob@example.com, IP: 192.0.2.4",
        "bob@example.com was removed from the Super Administrator role",
        "Role: Super Administrator, IP: 192.0.2.4",
    ] {
        assert_eq!(
            find(text, ProsePart::Role),
            Some("Super Administrator"),
            "{text}"
        );
    }
    for (text, object) in [
        (
            "Remediation Incident TR-EXMPL-00021-M was updated",
            "TR-EXMPL-00021-M",
        ),
        (
            "Profile group created: Blocked Senders, IP : 192.0.2.4",
            "Blocked Senders",
        ),
        ("Profile group 'Blocked' deleted", "Blocked"),
        ("The user's profile 'X' wasn't changed", "X"),
        ("Zoé's profile:\"X 'y'\", users' groups", "X 'y'"),
        ("('Ann's folder') deleted, it's gone", "Ann's folder"),
        ("Profile group '' or \"X\" deleted", "X"),
        (
            "Connector creation for Azure AD Sync\nSuccess: false",
            "Azure AD Sync",
        ),
        ("Opened case: GDPR 7, IP: 192.0.2.4", "GDPR 7"),
    ] {
        assert_eq!(find(text, ProsePart::Object), Some(object), "{text}");
    }
    let export = "Exported file: held list.csv, Size: 1200 bytes, IP: 192.0.2.4";
    assert_eq!(find(export, ProsePart::File), Some("held list.csv"));
    assert_eq!(find(export, ProsePart::FileSize), Some("1200"));
    assert_eq!(
        find("Download of a.zip done", ProsePart::File),
        Some("a.zip")
    );
}

#[test]
fn verbs_in_names_are_no_acts() {
    for (text, act) in [
        (
            "Viewed Case - Case: Goods were not delivered, Deleted",
            "view",
        ),
        ("Viewed Case - Case: Orders created", "view"),
        ("Opened case 'Mails were not deleted'", "open"),
        ("Case \"Nothing was not removed\" was updated", "updat"),
        (
            "Action Performed - Edited Removed Users by ann@example.com",
            "edit",
        ),
        (
            "Action Performed - Deleted Was not created by ann@example.com",
            "delet",
        ),
        ("Profile group created: Deleted users", "creat"),
        (
            "Added bob@example.com to role Deleted Items Reader",
            "added",
        ),
        ("Ann's folder was deleted, it's gone", "delet"),
        ("Group: VIP was deleted", "delet"),
    ] {
        let is_act = |words: &[&str]| action_is(&mut ProseCache::default(), text, words, false);
        for other in ["creat", "added", "delet", "remov"] {
            assert_eq!(is_act(&[other]), act == other, "{other} in {text}");
        }
        assert!(is_act(&[act]), "{text}");
        assert!(!reports_failure(text), "{text}");
    }
    assert!(reports_failure("Case 'Goods' was not deleted"));
    assert!(reports_failure("The group was not created: VIP"));
}

#[test]
fn the_first_verb_says_what_was_done() {
    const CREATED: &[&str] = &["creat", "added"];
    const DELETED: &[&str] = &["delet", "remov"];
    const CHANGED: &[&str] = &["chang", "updat", "edit", "modif"];
    for (text, act) in [
        ("Policy 7 was updated and two rules were removed", CHANGED),
        ("Policy 7 was modified, a rule was added", CHANGED),
        ("Policy 7 was removed and its rules were changed", DELETED),
        ("Policy 7 was created, two others updated", CREATED),
        // These are names of objects.
        ("Change policy was deleted", DELETED),
        ("Editor template created", CREATED),
        ("Exchange connector was deleted", DELETED),
    ] {
        let is_act = |verbs: &[&str]| action_is(&mut ProseCache::default(), text, verbs, false);
        assert!(is_act(act), "{text}");
        for other in [CREATED, DELETED] {
            assert_eq!(is_act(other), act == other, "{other:?} in {text}");
        }
    }
    let text = "Role of bob@example.com was changed, Editor removed, Reader assigned";
    let is_act = |verbs: &[&str]| action_is(&mut ProseCache::default(), text, verbs, true);
    assert!(is_act(DELETED) && !is_act(&["assign"]));
}

#[test]
fn members_are_told_from_their_group() {
    for text in [
        "Address removed from group",
        "Action Performed - Added bob@example.com to VIP by ann@example.com<Ann>",
        "Action Performed - Removed bob@example.com by ann@example.com",
        "bob@example.com deleted from profile group VIP",
        "Group member added",
        "The group VIP was updated, member bob@example.com removed",
        "Added member bob to the group VIP",
    ] {
        let cache = &mut ProseCache::default();
        assert!(changes_members(cache, text), "{text}");
    }
    for text in [
        "Action Performed - Deleted New Folder by ann@example.com<Ann>",
        "Profile group 'Board members' deleted",
        "Profile group created: VIP, by ann@example.com",
        "Group VIP removed from the directory",
        "Action Performed - Edited New Folder by ann@example.com",
        "",
    ] {
        let cache = &mut ProseCache::default();
        assert!(!changes_members(cache, text), "{text}");
    }
}

#[test]
fn who_acted_stands_behind_by() {
    for (text, actor, targets) in [
        (
            "Edited New Folder by ann@a.test",
            Some("ann@a.test"),
            vec![],
        ),
        (
            "Deleted x by ann@a.test<ann@a.test> Date",
            Some("ann@a.test"),
            vec![],
        ),
        (
            "Account of bob@b.test locked by Li, Ann <ann@a.test>",
            Some("ann@a.test"),
            vec!["bob@b.test"],
        ),
        (
            "Reset by the user ann@a.test for bob@b.test",
            Some("ann@a.test"),
            vec!["bob@b.test"],
        ),
        (
            "Edited New Folder by Ana Maria de la Cruz ana@a.test",
            Some("ana@a.test"),
            vec![],
        ),
        ("Reset by support for bob@b.test", None, vec!["bob@b.test"]),
        (
            "Restored from a@b.test to c@b.test by d@b.test",
            Some("d@b.test"),
            vec!["a@b.test", "c@b.test"],
        ),
    ] {
        let mut cache = ProseCache::default();
        let expected = (targets.first().copied(), actor);
        assert_eq!(target_and_actor(&mut cache, text, ""), expected, "{text}");
        let named = people(text).filter(|person| Some(*person) != actor);
        assert_eq!(named.collect::<Vec<_>>(), targets, "{text}");
    }
}

#[test]
fn objects_of_java_are_no_people() {
    let text = "Creating the entry for failed authentication, emailAddress :com.example.Address@4a3bcd11[id=7,\
        emailAddress=bob@example.com,name=bob@example.com,aliases={},other={}] remote IP : 192.0.2.4 application : LFS";
    assert_eq!(people(text).collect::<Vec<_>>(), ["bob@example.com"; 2]);
    assert_eq!(find(text, ProsePart::Ip), Some("192.0.2.4"));
    assert_eq!(find(text, ProsePart::Application), Some("LFS"));
    for (text, person) in [
        ("Password reset for User@1a2b3c", None),
        (
            "Password reset for {id=7, emailAddress=bob@example.com}",
            Some("bob@example.com"),
        ),
        (
            "Password reset for User{emailAddress='bob@example.com'}",
            Some("bob@example.com"),
        ),
        ("Searched {\"mailboxes\":[\"bob@example.com\"]}", None),
        ("Password reset for root@cafe", Some("root@cafe")),
    ] {
        assert_eq!(people(text).next(), person, "{text}");
    }
}

#[test]
fn what_denies_that_something_was_done() {
    for text in [
        "Connector creation for Azure AD Sync\nSuccess: false",
        "Failed to enroll the user for device enrollment",
        "Deletion of policy x failed.",
        "ann@example.com does not have the required permissions, Date: 2026-02-03",
        "Policy changed, Status: Failed, IP: 192.0.2.4",
        "The change was rejected",
    ] {
        assert!(reports_failure(text), "{text}");
    }
    for text in [
        "Connector creation for Azure AD Sync\nSuccess: true",
        "Profile group created: Failed logons, IP : 192.0.2.4",
        "Viewed Message - Subject: Failed to pay, Success: false, Processed: 2026-03-01",
        "",
    ] {
        assert!(!reports_failure(text), "{text}");
    }
}

#[test]
fn a_text_without_parts_has_none() {
    for part in PARTS {
        assert_eq!(find("Directory sync completed", part), None);
        assert_eq!(find("", part), None);
        assert_eq!(find("IP:IP:<é>: Reason: , Reason", part), None);
    }
}

#[test]
fn long_texts_are_searched_in_linear_time_and_without_recursion() {
    for piece in [
        "IP:",
        "IP: x",
        "<a@b>",
        "Reason:",
        "method: -, ",
        "Remote IP is ",
        "from: ",
        "role ",
        "for a@b <c> ",
        &format!("Reason: {}, ", "x".repeat(2_000)),
        &format!("Reason: {}", "x".repeat(50_000)),
    ] {
        let searched_bytes = |count: usize| {
            let text = piece.repeat(count);
            labels::SEARCHED_BYTES.set(0);
            for part in PARTS {
                let _whatever_is_found = find(&text, part);
            }
            let _whoever_is_named = (people(&text).count(), reports_failure(&text));
            labels::SEARCHED_BYTES.get()
        };
        let count = 200_000 / piece.len();
        let (bytes, bytes_of_twice) = (searched_bytes(count), searched_bytes(2 * count));
        assert!(bytes >= count * piece.len(), "{bytes}");
        // The windows in which the end of a value is looked for are no multiple of the text.
        assert!(
            bytes_of_twice <= 2 * bytes + bytes / 8,
            "{}: {bytes}, then {bytes_of_twice}",
            piece.chars().take(20).collect::<String>()
        );
    }
}

#[test]
fn a_long_value_ends_at_the_next_label_like_a_short_one() {
    for length in (900..1_200).chain([5_000, 200_000]) {
        let reason = "x".repeat(length);
        for end in [
            ", IP: 192.0.2.1, Application: API",
            ", Application:, IP: 192.0.2.1",
            " Remote IP is: 192.0.2.1",
            ", Unheard Of: 1",
            ", Unknown: 1",
            "\nIP: 192.0.2.1",
            "",
        ] {
            let text = format!("Policy changed, Reason: {reason}{end}");
            let found = find(&text, ProsePart::Reason).map(str::len);
            let short_text = text.replace(&reason, "x");
            let short = find(&short_text, ProsePart::Reason);
            assert_eq!(
                found,
                short.map(|it| it.len() + length - 1),
                "{length} {end}"
            );
        }
    }
}

#[test]
fn an_application_in_the_middle_of_a_sentence() {
    let text = "New connection, application : Mail Sync, IP : 192.0.2.4";
    assert_eq!(find(text, ProsePart::Application), Some("Mail Sync"));
    assert_eq!(find(text, ProsePart::Ip), Some("192.0.2.4"));
}
