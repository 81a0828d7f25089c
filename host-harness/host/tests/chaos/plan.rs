//! Everything that a seed decides: the tenant, the settings, the receivers, and what happens after
//! how many events.

use std::time::Duration;

use fastrand::Rng;
use mimecast_simulator::{Config, EventType};

use crate::faults::{EndpointFault, endpoint_faults};
use crate::receiver::Treatment;
use crate::receivers::Kind;

/// How much happens in a run.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// How many records there are at least.
    pub(crate) records_min: usize,
    /// How many faults of the upstream are prepared.
    pub(crate) upstream_faults: usize,
    /// How often the host is killed at least: it may be killed with a receiver as well.
    pub(crate) kills: usize,
    /// How often each other action on the host and on its receivers is performed; a treatment of a request three
    /// times as often.
    pub(crate) other_actions: usize,
    /// How many faults there have to be in the end.
    pub(crate) faults_min: u64,
}

/// One run.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) tenant: Config,
    /// Lines of `[[source]]`.
    pub(crate) source: String,
    /// Lines of `[source.settings]`.
    pub(crate) settings: String,
    pub(crate) receivers: &'static [Kind],
    /// The fault of a second source, whose component is broken.
    pub(crate) broken: Option<&'static str>,
    /// The actions, each with the number of events that a receiver has taken before it.
    pub(crate) actions: Vec<(usize, Action)>,
}

/// Something that is done to the host, the upstream or a receiver.
#[derive(Clone)]
pub(crate) enum Action {
    /// The upstream's clock is set forward by so many milliseconds: links, tokens and page tokens expire.
    Advance(i64),
    /// A file that was never sent is deleted: the one at this index, modulo their number.
    Delete(usize),
    /// A receiver is killed, and comes up again later; the host may be killed meanwhile.
    Down(usize, Duration, bool),
    /// Every access token expires.
    ExpireTokens,
    /// The receivers hold back their responses.
    Hold(Duration),
    /// SIGKILL, a little later.
    Kill(Duration),
    /// SIGSTOP and, later, SIGCONT.
    Pause(Duration),
    /// SIGTERM; the host is started again.
    Terminate,
    /// How the receivers treat a request.
    Treat(Treatment),
    /// A fault applies to the next response of its endpoint.
    Upstream(EndpointFault),
}

const RECEIVERS: [&[Kind]; 6] = [
    &[Kind::Forward],
    &[Kind::Http],
    &[Kind::File],
    &[Kind::Http, Kind::File],
    &[Kind::Forward, Kind::Http],
    &[Kind::Elasticsearch, Kind::File],
];

/// Faults of `tests/host_faults/broken_component.rs`.
const BROKEN: [Option<&str>; 4] = [None, Some("traps"), Some("loops"), Some("grows")];

/// How many records each POST log, list and feed has, audit apart.
const LOG_RECORDS: usize = 60;

impl Plan {
    pub(crate) fn new(seed: u64, size: Size) -> Self {
        let mut random = Rng::with_seed(seed);
        let receivers = RECEIVERS[usize::try_from(seed).unwrap() % RECEIVERS.len()];
        let broken = BROKEN[usize::try_from(seed).unwrap() % BROKEN.len()];
        let max_events = random.choice([150, 700, 3_000]).unwrap();
        let max_requests = random.choice([4, 15, 100]).unwrap();
        let format = random.choice(["raw", "raw", "ecs"]).unwrap();
        let feed = random.choice(["stix", "csv"]).unwrap();
        let mut plan = Self {
            seed,
            tenant: tenant(seed, size, &mut random),
            source: format!("max_events = {max_events}\nmax_requests = {max_requests}\n"),
            settings: format!(
                "start = \"40h\"\nformat = \"{format}\"\nthreat_feed = \"{feed}\"\n\
                 siem_calls_per_15_min = 100000\n"
            ),
            receivers,
            broken,
            actions: Vec::new(),
        };
        plan.draw_actions(size, &mut random);
        plan
    }

    /// Draws the actions, each with the number of events before it.
    fn draw_actions(&mut self, size: Size, random: &mut Rng) {
        let millis = |random: &mut Rng, max| Duration::from_millis(random.u64(0..max));
        let mut upstream = endpoint_faults();
        random.shuffle(&mut upstream);
        let upstream = upstream.into_iter().cycle().take(size.upstream_faults);
        let mut actions: Vec<Action> = upstream.map(Action::Upstream).collect();
        for _ in 0..size.kills {
            actions.push(Action::Kill(millis(random, 150)));
        }
        for _ in 0..size.other_actions {
            let receiver = random.usize(..self.receivers.len());
            actions.push(Action::Down(receiver, millis(random, 1_500), random.bool()));
            actions.push(Action::Terminate);
            actions.push(Action::Pause(millis(random, 1_500)));
            actions.push(Action::Hold(millis(random, 1_000)));
            for _ in 0..3 {
                actions.push(Action::Treat(treatment(random)));
            }
        }
        actions.push(Action::ExpireTokens);
        if random.bool() {
            actions.push(Action::Advance(random.i64(60_000..1_200_000)));
        }
        let last = size.records_min * 9 / 10;
        let mut timed: Vec<(usize, Action)> = actions
            .into_iter()
            .map(|action| (random.usize(..last), action))
            .collect();
        // While there still are files that nobody has asked for.
        if random.u8(..4) > 0 {
            timed.push((random.usize(..last / 3), Action::Delete(random.usize(..))));
        }
        timed.sort_by_key(|(at, _)| *at);
        self.actions = timed;
    }
}

fn tenant(seed: u64, size: Size, random: &mut Rng) -> Config {
    let (pages, files_per_page) = if size.records_min < 50_000 {
        (2, 2)
    } else {
        (random.u32(3..=5), random.u32(3..=5))
    };
    let types = EventType::ALL.to_vec();
    let audit = size.records_min / 20;
    let files = types.len() * usize::try_from(pages * files_per_page).unwrap();
    let in_files = size.records_min - audit - 15 * LOG_RECORDS;
    let count = |number: usize| u32::try_from(number).unwrap();
    Config {
        seed,
        types,
        pages,
        files_per_page,
        records_per_file: count(in_files / files + 1),
        audit_events: count(audit + LOG_RECORDS),
        log_records: count(LOG_RECORDS),
        skew_ms: random.choice([0, 0, -7_200_000, 7_200_000]).unwrap(),
        token_lifetime_s: random.choice([1_799, 1_799, 70]).unwrap(),
        page_records_max: random.choice([25, 100, 500]).unwrap(),
        malformed_per_mille: random.choice([0, 1, 4]).unwrap(),
        repeated_records: random.choice([0, 20]).unwrap(),
        batch_quota_calls: 1_000_000,
        // A throttled caller waits until the window ends, so no longer than this.
        batch_quota_window_ms: 2_000,
        // After a second fault the page is listed again, and after a third the file is set aside.
        faults_per_file_max: 1,
        gzip_level: 1,
        ..Config::default()
    }
}

fn treatment(random: &mut Rng) -> Treatment {
    let retry = &[("retry-after", "1")];
    match random.u8(..8) {
        0 => Treatment::Respond(429, retry.to_vec(), "slowly"),
        1 => Treatment::Respond(503, retry.to_vec(), "later"),
        2 => Treatment::ResetMidRequest,
        3 => Treatment::RespondHalf,
        4 => Treatment::Late(Duration::from_millis(random.u64(0..3_000))),
        5 => Treatment::Refuse,
        6 => Treatment::Reset,
        _ => Treatment::AcceptAndReset,
    }
}
