use source_common::delivery::Entry;

use super::*;

/// Answers from a script, then accepts.
struct Scripted {
    responses: VecDeque<SendError>,
    rejected: &'static str,
    /// The place of the event that it names.
    suspect: Option<usize>,
    requests: usize,
    accepted: Vec<String>,
}

fn rejected(reason: &str, suspect: Option<usize>) -> SendError {
    let reason = reason.to_owned();
    SendError::PartRejected { reason, suspect }
}

#[async_trait]
impl Worker for Scripted {
    async fn send(&mut self, _: &str, part: &[Event<'_>]) -> Result<(), SendError> {
        self.requests += 1;
        if let Some(refusal) = self.responses.pop_front() {
            return Err(refusal);
        }
        if part.iter().any(|event| event.body == self.rejected) {
            return Err(rejected("400", self.suspect));
        }
        self.accepted
            .extend(part.iter().map(|event| event.body.to_owned()));
        Ok(())
    }
}

fn output(responses: Vec<SendError>, rejected: &'static str) -> WorkerPool<Scripted> {
    let worker = Scripted {
        responses: responses.into(),
        rejected,
        suspect: None,
        requests: 0,
        accepted: Vec::new(),
    };
    let part_settings = PartSettings {
        bytes_max: 1_000,
        events_max: 4,
        partition_by: None,
    };
    WorkerPool::new("test".to_owned(), vec![worker], part_settings)
}

/// `0` to `9`, one a line.
const EVENTS: &str = "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n";

async fn accept(output: &mut WorkerPool<Scripted>, events: &str) -> Result<(), OutputError> {
    accept_of("acme", output, events).await
}

async fn accept_of(
    source: &str,
    output: &mut WorkerPool<Scripted>,
    events: &str,
) -> Result<(), OutputError> {
    let index: Vec<Entry> = (1..=events.len() / 2)
        .map(|line| Entry {
            end: u32::try_from(line * 2).unwrap(),
            occurred_at: 0,
            kind: 0,
        })
        .collect();
    let delivery = Delivery {
        source,
        namespace: "test",
        events,
        index: &index,
        kinds: &[],
    };
    output.accept(&delivery).await
}

fn accepted(output: &WorkerPool<Scripted>) -> String {
    output.workers[0].accepted.concat()
}

#[tokio::test]
async fn parts_are_sent_in_order() {
    let mut output = output(Vec::new(), "");
    accept(&mut output, EVENTS).await.unwrap();
    assert_eq!(accepted(&output), "0123456789");
}

#[tokio::test]
async fn an_event_that_is_refused_is_found_and_the_others_are_accepted() {
    let mut output = output(Vec::new(), "6");
    let error = accept(&mut output, EVENTS).await.unwrap_err();
    let OutputError::Undeliverable(undeliverable_events) = error else {
        panic!("{error}");
    };
    assert_eq!(undeliverable_events.len(), 1);
    assert_eq!(
        (
            undeliverable_events[0].index,
            undeliverable_events[0].reason.as_str()
        ),
        (6, "400")
    );
    assert_eq!(accepted(&output), "012345789");
}

#[tokio::test]
async fn after_a_retry_only_what_was_not_accepted_is_sent() {
    let mut output = output(Vec::new(), "");
    output.workers[0].rejected = "5";
    output.workers[0].responses = VecDeque::from([SendError::EventErrors {
        undeliverable_events: Vec::new(),
        unsent_count: 0,
        retry_events: vec![1],
        cause: Some(RetryCause::Retry("429".to_owned().into())),
    }]);
    let error = accept(&mut output, EVENTS).await.unwrap_err();
    // Of two events of a part, one was accepted.
    assert!(
        matches!(error, OutputError::RetryAfterProgress(_)),
        "{error}"
    );
    assert_eq!(accepted(&output), "");
    let error = accept(&mut output, EVENTS).await.unwrap_err();
    assert!(matches!(error, OutputError::Undeliverable(_)), "{error}");
    assert_eq!(accepted(&output), "146789");
    // The delivery after that is a new one.
    accept(&mut output, "a\n").await.unwrap();
    assert_eq!(accepted(&output), "146789a");
}

#[tokio::test]
async fn another_delivery_of_the_source_does_not_inherit_what_is_left() {
    let mut output = output(vec![SendError::Retry("reset".to_owned().into())], "");
    accept(&mut output, EVENTS).await.unwrap_err();
    accept(&mut output, "a\nb\n").await.unwrap();
    assert_eq!(accepted(&output), "ab");
}

#[tokio::test]
async fn an_event_that_the_receiver_names_is_sent_alone_and_the_others_together() {
    let mut named = output(Vec::new(), "2");
    named.workers[0].suspect = Some(2);
    let error = accept(&mut named, "0\n1\n2\n3\n").await.unwrap_err();
    assert!(
        matches!(error, OutputError::Undeliverable(undeliverable_events) if undeliverable_events.len() == 1 && undeliverable_events[0].index == 2)
    );
    assert_eq!(accepted(&named), "013");
    assert_eq!(named.workers[0].requests, 3);
    // A receiver that names another one: that one is not rejected.
    for wrong in [1, 3, 4, usize::MAX] {
        let mut misled = output(Vec::new(), "2");
        misled.workers[0].suspect = Some(wrong);
        let error = accept(&mut misled, "0\n1\n2\n3\n").await.unwrap_err();
        assert!(
            matches!(error, OutputError::Undeliverable(undeliverable_events) if undeliverable_events.len() == 1 && undeliverable_events[0].index == 2)
        );
        let mut taken = misled.workers[0].accepted.clone();
        taken.sort();
        assert_eq!(taken, ["0", "1", "3"]);
    }
}

#[tokio::test]
async fn a_receiver_that_refuses_everything_from_the_start_blocks_and_rejects_nothing() {
    let always = || (0..30).map(|_| rejected("bad content type", None));
    let mut refusing = output(always().collect(), "");
    let error = accept(&mut refusing, EVENTS).await.unwrap_err();
    let OutputError::ActionRequired(reason) = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        &*reason,
        "test refuses every event of this source: bad content type"
    );
    // Corrected there: all of it is accepted.
    refusing.workers[0].responses.clear();
    accept(&mut refusing, EVENTS).await.unwrap();
    assert_eq!(accepted(&refusing), "0123456789");
    // Once it has accepted something of the source, the events are to blame.
    refusing.workers[0].responses = always().collect();
    let error = accept(&mut refusing, EVENTS).await.unwrap_err();
    assert!(matches!(error, OutputError::Undeliverable(events) if events.len() == 10));
}

#[tokio::test]
async fn what_has_another_place_is_returned_when_all_of_it_is_refused() {
    let always = (0..30).map(|_| rejected("400", None));
    let mut refusing = output(always.collect(), "");
    refusing.disable_blocking_on_refusal();
    let error = accept(&mut refusing, EVENTS).await.unwrap_err();
    assert!(matches!(error, OutputError::Undeliverable(events) if events.len() == 10));
}

#[tokio::test]
async fn events_that_are_not_sent_do_not_count_as_refused_by_the_receiver() {
    let unsent = |events: &[usize]| SendError::EventErrors {
        undeliverable_events: events
            .iter()
            .map(|index| UndeliverableEvent {
                index: *index,
                reason: "too large".to_owned(),
            })
            .collect(),
        unsent_count: events.len(),
        retry_events: Vec::new(),
        cause: None,
    };
    let mut healthy = output(vec![unsent(&[0, 1])], "");
    let error = accept(&mut healthy, "0\n1\n").await.unwrap_err();
    assert!(matches!(error, OutputError::Undeliverable(events) if events.len() == 2));
    // Nor do they over a retry, and beside one that the receiver refuses.
    let SendError::EventErrors {
        undeliverable_events,
        unsent_count,
        ..
    } = unsent(&[0])
    else {
        panic!("it is not accepted in part");
    };
    let partly = SendError::EventErrors {
        undeliverable_events,
        unsent_count,
        retry_events: vec![1],
        cause: Some(RetryCause::Retry("429".to_owned().into())),
    };
    let mut healthy = output(vec![partly, rejected("400", None)], "");
    let error = accept(&mut healthy, "0\n1\n").await.unwrap_err();
    assert!(
        matches!(error, OutputError::RetryAfterProgress(_)),
        "{error}"
    );
    let error = accept(&mut healthy, "0\n1\n").await.unwrap_err();
    assert!(matches!(error, OutputError::Undeliverable(events) if events.len() == 2));
}

#[tokio::test]
async fn a_source_whose_events_are_all_refused_does_not_block_another() {
    let mut shared = output(Vec::new(), "");
    let always = || (0..30).map(|_| rejected("400", None));
    // Before and after the other one has delivered.
    for _ in 0..2 {
        shared.workers[0].responses = always().collect();
        let error = accept_of("hostile", &mut shared, EVENTS).await.unwrap_err();
        assert!(matches!(error, OutputError::ActionRequired(_)), "{error:?}");
        shared.workers[0].responses.clear();
        accept_of("honest", &mut shared, EVENTS).await.unwrap();
    }
    assert_eq!(accepted(&shared), "01234567890123456789");
}

#[tokio::test]
async fn what_a_blocked_receiver_has_accepted_is_not_sent_again() {
    let mut output = output(Vec::new(), "");
    output.workers[0].responses = VecDeque::from([
        SendError::EventErrors {
            undeliverable_events: Vec::new(),
            unsent_count: 0,
            retry_events: vec![1, 3],
            cause: None,
        },
        SendError::ActionRequired("403".to_owned().into()),
    ]);
    let error = accept(&mut output, EVENTS).await.unwrap_err();
    assert!(matches!(error, OutputError::ActionRequired(_)), "{error:?}");
    accept(&mut output, EVENTS).await.unwrap();
    assert_eq!(accepted(&output), "13456789");
}

#[tokio::test]
async fn how_long_to_wait_is_passed_on() {
    let wait = Duration::from_secs(7);
    let reason = "429".to_owned().into();
    let mut output = output(vec![SendError::Throttled { reason, wait }], "");
    let error = accept(&mut output, EVENTS).await.unwrap_err();
    assert!(matches!(error, OutputError::Throttled { wait: asked, .. } if asked == wait));
}
