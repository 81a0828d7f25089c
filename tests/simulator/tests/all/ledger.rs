//! The ledger has every record, and the records have the forms that they should have.

use std::collections::BTreeSet;

use crate::client::{pull, small_config};
use mimecast_simulator::{Config, EventType, Simulator, identity};
use serde_json::Value;

#[tokio::test]
async fn the_ledger_has_exactly_the_records_that_are_served() {
    let simulator = Simulator::start(Config {
        malformed_per_mille: 50,
        ..small_config()
    })
    .await
    .unwrap();
    for event_type in EventType::ALL {
        let stream = event_type.stream();
        let records = pull(&simulator, event_type.name()).await;
        let served: BTreeSet<String> = records
            .iter()
            .filter_map(|record| identity(stream, record))
            .collect();
        let ledger = simulator.ledger();
        assert_eq!(records.len(), 160, "{stream}");
        assert_eq!(&served, ledger.expected(stream));
        assert_eq!(ledger.missing(stream, &served), BTreeSet::new());
        assert_eq!(
            ledger
                .served(stream)
                .filter(|(_, times)| *times == 1)
                .count(),
            160
        );
        assert!(ledger.malformed(stream) > 0);
    }
    assert_eq!(simulator.ledger().expected("audit").len(), 120);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_tenant_and_another_seed_another() {
    let ledger = |seed| async move {
        Simulator::start(Config {
            seed,
            ..small_config()
        })
        .await
        .unwrap()
        .ledger()
    };
    let (one, again, other) = (ledger(1).await, ledger(1).await, ledger(2).await);
    for stream in one.streams() {
        assert_eq!(one.expected(stream), again.expected(stream));
        assert!(one.expected(stream).is_disjoint(other.expected(stream)));
    }
}

#[tokio::test]
async fn repeated_records_have_the_identity_of_the_first() {
    let config = Config {
        repeated_records: 5,
        ..small_config()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let records = pull(&simulator, "delivery").await;
    assert_eq!(records.len(), 165);
    assert_eq!(simulator.ledger().expected("siem.delivery").len(), 160);
}

#[tokio::test]
async fn a_huge_file_inflates_to_its_size_and_has_distinct_records() {
    let config = Config {
        huge_file_mib: Some(3),
        pages: 0,
        ..small_config()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let records = pull(&simulator, "receipt").await;
    let served: BTreeSet<String> = records
        .iter()
        .filter_map(|record| identity("siem.receipt", record))
        .collect();
    assert!(records.len() > 2000, "{}", records.len());
    assert_eq!(served.len(), records.len());
    assert_eq!(&served, simulator.ledger().expected("siem.receipt"));
}

#[tokio::test]
async fn receipt_and_process_have_the_length_that_was_asked_for() {
    let config = Config {
        records_per_file: 400,
        ..small_config()
    };
    let simulator = Simulator::start(config).await.unwrap();
    for name in ["receipt", "process"] {
        let records = pull(&simulator, name).await;
        let bytes: usize = records.iter().map(|record| record.to_string().len()).sum();
        let average = bytes / records.len();
        assert!((740..=900).contains(&average), "{name}: {average}");
    }
}

#[tokio::test]
async fn the_odd_shapes_occur() {
    let simulator = Simulator::start(Config {
        records_per_file: 400,
        ..small_config()
    })
    .await
    .unwrap();
    let receipts = pull(&simulator, "receipt").await;
    let any = |test: &dyn Fn(&Value) -> bool| receipts.iter().any(test);
    let detail = |record: &Value| record["spamProcessingDetail"].clone();
    assert!(any(&|record| detail(record).is_null()));
    assert!(any(&|record| detail(record).is_object()));
    assert!(any(&|record| detail(record)
        .as_str()
        .is_some_and(|text| text.starts_with('{'))));
    assert!(any(&|record| detail(record)
        .as_str()
        .is_some_and(|text| text.starts_with("\"{"))));
    for direction in ["Inbound", "inbound", "INBOUND"] {
        assert!(any(&|record| record["direction"] == direction));
    }
    for key in ["type", "eventType", "_offset"] {
        assert!(any(&|record| record.get(key).is_some()));
        assert!(any(&|record| record.get(key).is_none()));
    }
    assert!(any(&|record| record["senderEnvelope"] == "<>"));
    assert!(any(&|record| record["subject"]
        .as_str()
        .is_some_and(|text| text.contains('\u{2028}'))));
    let times: Vec<_> = receipts
        .iter()
        .filter_map(|record| record["timestamp"].as_i64())
        .collect();
    assert!(!times.is_sorted());
    let deliveries = pull(&simulator, "delivery").await;
    let ids: BTreeSet<_> = deliveries
        .iter()
        .filter_map(|record| record["processingId"].as_str())
        .collect();
    assert!(ids.len() < deliveries.len());
    let attachments = pull(&simulator, "attachment protect").await;
    for key in ["recipient", "recipients"] {
        assert!(attachments.iter().any(|record| record.get(key).is_some()));
    }
}

#[tokio::test]
async fn without_odd_shapes_all_records_are_plain() {
    let simulator = Simulator::start(Config {
        odd_shapes: false,
        ..small_config()
    })
    .await
    .unwrap();
    for event_type in EventType::ALL {
        for record in pull(&simulator, event_type.name()).await {
            assert_eq!(record["type"], event_type.name());
            assert!(
                record
                    .as_object()
                    .unwrap()
                    .values()
                    .all(|value| value != ""),
                "{record}"
            );
        }
    }
}
