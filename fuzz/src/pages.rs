//! The responses of each stream: whatever comes in place of a page, a listing or a file.

use mimecast_source::batch::Limits;
use mimecast_source::machine::{Action, Machine as _};
use mimecast_source::response::Head;
use mimecast_source::session::Session;
use mimecast_source::settings::Settings;
use mimecast_source::stream::STREAMS;
use mimecast_source::time::Timestamp;

use crate::session::{API, SECRET, START, TOKEN, assert_batch, assert_no_secret, check_request};

const ACTIONS_MAX: u32 = 1_000_000;
const POLLS: u32 = 3;
/// Between two responses of an input; after the last one the first comes again.
const SEPARATOR: &[u8] = b"\n--\n";

/// The first byte chooses the stream, the rest are the bodies of its responses.
pub fn pages(data: &[u8]) {
    let Some((choice, bodies)) = data.split_first() else {
        return;
    };
    let row = &STREAMS[usize::from(*choice) % STREAMS.len()];
    let api_2_settings = format!(
        r#"{{"base_url":"{API}","client_id":"c","client_secret":"{SECRET}",
           "format":"raw","streams":["{}"]}}"#,
        row.name
    );
    let api_1_settings = format!(
        r#"{{"api":"1.0","base_url":"{API}","app_id":"a","app_key":"{SECRET}",
           "access_key":"{SECRET}","secret_key":"aHVzaC05",
           "format":"raw","streams":["{}"]}}"#,
        row.name
    );
    let settings = Settings::parse(&api_2_settings).or_else(|_| Settings::parse(&api_1_settings));
    let settings = settings.unwrap();
    let mut bodies = split(bodies).into_iter().cycle();
    let mut now = START;
    // Opening one costs far more than a page; the target of sessions opens many.
    let mut session = Session::open(settings, None, now, 1).unwrap();
    for _ in 0..POLLS {
        let limits = Limits {
            max_events: 50,
            max_bytes: 100_000,
            max_requests: 6,
        };
        session.begin(limits, now);
        match poll(&mut session, &mut bodies, &mut now) {
            Ok(batch) => assert_batch(&batch, limits),
            Err(error) => return assert_no_secret(&format!("{error:?}")),
        }
        now = now.plus_ms(3_600_000);
    }
}

fn split(mut bodies: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(at) = bodies
        .windows(SEPARATOR.len())
        .position(|part| part == SEPARATOR)
    {
        found.push(&bodies[..at]);
        bodies = &bodies[at + SEPARATOR.len()..];
    }
    found.push(bodies);
    found
}

type Polled = Result<mimecast_source::batch::Batch, mimecast_source::session::PollError>;

fn poll<'a>(
    session: &mut Session,
    bodies: &mut impl Iterator<Item = &'a [u8]>,
    now: &mut Timestamp,
) -> Polled {
    let mut body: Option<Vec<u8>> = None;
    for _ in 0..ACTIONS_MAX {
        match session.next(*now) {
            Action::Continue => {}
            Action::Yield(result) => return result,
            Action::Send(request) => {
                check_request(&request);
                *now = now.plus_ms(40);
                body = Some(if request.url.ends_with("/oauth/token") {
                    format!(r#"{{"access_token":"{TOKEN}","expires_in":1799}}"#).into_bytes()
                } else {
                    bodies.next().unwrap_or_default().to_vec()
                });
                let head = Head {
                    status: 200,
                    ..Head::default()
                };
                session.handle_head(head, *now);
            }
            Action::Read => match body.take() {
                Some(body) => session.handle_chunk(body, *now),
                None => session.handle_end(*now),
            },
        }
    }
    panic!("the session does not come to an end");
}
