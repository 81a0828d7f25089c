use super::*;
use crate::bindings::Entry;

/// Answers from a script, then accepts.
struct Scripted {
    answers: VecDeque<Refusal>,
    poisonous: &'static str,
    accepted: Vec<String>,
}

#[async_trait]
impl Lane for Scripted {
    async fn send(&mut self, _: &str, part: &[Event<'_>]) -> Result<(), Refusal> {
        if let Some(refusal) = self.answers.pop_front() {
            return Err(refusal);
        }
        if part.iter().any(|event| event.body == self.poisonous) {
            return Err(Refusal::Poisoned("400".to_owned()));
        }
        self.accepted
            .extend(part.iter().map(|event| event.body.to_owned()));
        Ok(())
    }
}

fn output(answers: Vec<Refusal>, poisonous: &'static str) -> Lanes<Scripted> {
    let lane = Scripted {
        answers: answers.into(),
        poisonous,
        accepted: Vec::new(),
    };
    let cut = Cut {
        bytes_max: 1_000,
        events_max: 4,
        by: None,
    };
    Lanes::new("test".to_owned(), vec![lane], cut)
}

/// `0` to `9`, one a line.
const EVENTS: &str = "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n";

async fn accept(output: &mut Lanes<Scripted>, events: &str) -> Result<(), OutputError> {
    let index: Vec<Entry> = (1..=events.len() / 2)
        .map(|line| Entry {
            end: u32::try_from(line * 2).unwrap(),
            occurred_at: 0,
            kind: 0,
        })
        .collect();
    let delivery = Delivery {
        source: "acme",
        events,
        index: &index,
        kinds: &[],
    };
    output.accept(&delivery).await
}

fn accepted(output: &Lanes<Scripted>) -> String {
    output.lanes[0].accepted.concat()
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
    let OutputError::Poison(poison) = error else {
        panic!("{error}");
    };
    assert_eq!(poison.len(), 1);
    assert_eq!((poison[0].event, poison[0].reason.as_str()), (6, "400"));
    assert_eq!(accepted(&output), "012345789");
}

#[tokio::test]
async fn after_a_retry_only_what_was_not_accepted_is_sent() {
    let mut output = output(Vec::new(), "");
    output.lanes[0].poisonous = "5";
    output.lanes[0].answers = VecDeque::from([Refusal::Partly {
        poison: Vec::new(),
        again: vec![1],
        wait: Some("429".to_owned()),
    }]);
    let error = accept(&mut output, EVENTS).await.unwrap_err();
    assert!(matches!(error, OutputError::Retry(_)), "{error}");
    assert_eq!(accepted(&output), "");
    let error = accept(&mut output, EVENTS).await.unwrap_err();
    assert!(matches!(error, OutputError::Poison(_)), "{error}");
    assert_eq!(accepted(&output), "146789");
    // The delivery after that is a new one.
    accept(&mut output, "a\n").await.unwrap();
    assert_eq!(accepted(&output), "146789a");
}

#[tokio::test]
async fn another_delivery_of_the_source_does_not_inherit_what_is_left() {
    let mut output = output(vec![Refusal::Retry("reset".to_owned())], "");
    accept(&mut output, EVENTS).await.unwrap_err();
    accept(&mut output, "a\nb\n").await.unwrap();
    assert_eq!(accepted(&output), "ab");
}

#[tokio::test]
async fn a_receiver_that_refuses_everything_from_the_start_is_an_error_of_the_settings() {
    let always = |_| Refusal::Poisoned("bad content type".to_owned());
    let mut refusing = output((0..30).map(always).collect(), "");
    let error = accept(&mut refusing, EVENTS).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "test refuses every event: bad content type"
    );

    // Once it has accepted something, these events are to blame.
    let mut output = output(Vec::new(), "");
    accept(&mut output, EVENTS).await.unwrap();
    output.lanes[0].answers = (0..30).map(always).collect();
    let error = accept(&mut output, EVENTS).await.unwrap_err();
    assert!(matches!(error, OutputError::Poison(events) if events.len() == 10));
}

#[tokio::test]
async fn how_long_to_wait_is_passed_on() {
    let wait = Duration::from_secs(7);
    let reason = "429".to_owned();
    let mut output = output(vec![Refusal::Throttled { reason, wait }], "");
    let error = accept(&mut output, EVENTS).await.unwrap_err();
    assert!(matches!(error, OutputError::Throttled { wait: asked, .. } if asked == wait));
}
