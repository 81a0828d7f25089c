//! The component's code in this program: no sandbox, no network.

use std::hint::black_box;
use std::rc::Rc;

use mimecast_source::batch::{Batch, Limits, RecordProcessor, normalize_all};
use mimecast_source::decode::lines::{Line, LineReader};
use mimecast_source::machine::{Action, Machine as _};
use mimecast_source::normalize::{Format, Options};
use mimecast_source::response::Head;
use mimecast_source::session::Session;
use mimecast_source::settings::Settings;
use mimecast_source::stream::Stream;
use mimecast_source::time::Timestamp;
use serde_json::{Value, json};

use crate::Size;
use crate::measure::{Cost, cheapest_run, measure_cpu_time, print_row};
use crate::upstream::{File, RECORDS_PER_FILE, STREAMS};

const NOW: Timestamp = Timestamp::from_millis(1_770_100_000_000);

/// The size of the chunks in which a body arrives.
const CHUNK_BYTES: usize = 64 * 1024;

const FORMATS: [(Format, &str); 3] = [
    (Format::Ecs, "ecs"),
    (Format::Ocsf, "ocsf"),
    (Format::Raw, "raw"),
];

/// What the same work costs without the sandbox.
#[derive(Debug)]
pub(crate) struct NativeCosts {
    /// The stream whose files were collected.
    pub(crate) polled_stream: Stream,
    pub(crate) poll: Cost,
    pub(crate) normalize: Vec<NormalizeCost>,
}

/// The cost of normalizing the records of a file to events of one format.
#[derive(Debug)]
pub(crate) struct NormalizeCost {
    pub(crate) file: Rc<File>,
    pub(crate) format: &'static str,
    pub(crate) cost: Cost,
}

pub(crate) fn measure(size: Size) -> NativeCosts {
    let [receipt_file, process_file] = STREAMS.map(|stream| Rc::new(File::fetch(stream)));
    let cost_of = |file: &File, files: usize, time| Cost {
        events: files * RECORDS_PER_FILE,
        bytes: files * file.text.len(),
        time,
    };
    let files = usize::try_from(size.files).unwrap();
    let time_of_all = |act: &dyn Fn()| measure_cpu_time(|| (0..files).for_each(|_| act()));

    let split_time = cheapest_run(
        size.runs,
        || time_of_all(&|| split_lines(&receipt_file)),
        |time| *time,
    );
    let ratio = receipt_file.text.len() / receipt_file.gzip.len();
    print_row(
        "a file, native: inflate and split",
        cost_of(&receipt_file, files, split_time),
        &format!(
            "{} bytes a record, gzip {ratio}:1",
            receipt_file.text.len() / RECORDS_PER_FILE
        ),
    );
    let poll = cheapest_run(
        size.runs,
        || poll_all(&receipt_file, size.files),
        |time| *time,
    );
    let poll = cost_of(&receipt_file, files, poll);
    print_row("a file, native: gzip to batch", poll, "");
    let polled_stream = receipt_file.stream;
    let mut normalize = Vec::new();
    for file in [receipt_file, process_file] {
        for (format, name) in FORMATS {
            let mut processor = RecordProcessor::new(format, Options::default());
            let mut all = || normalize_all(&mut processor, file.stream, black_box(&file.text), NOW);
            let mut run = || measure_cpu_time(|| (0..files).for_each(|_| drop(black_box(all()))));
            let cost = cost_of(
                &file,
                files,
                cheapest_run(size.runs, &mut run, |time| *time),
            );
            let bytes = file.text.len() / RECORDS_PER_FILE;
            let what = format!("{} to {name}, native: normalize", file.stream);
            print_row(&what, cost, &format!("{bytes} bytes a record"));
            normalize.push(NormalizeCost {
                file: Rc::clone(&file),
                format: name,
                cost,
            });
        }
    }
    NativeCosts {
        polled_stream,
        poll,
        normalize,
    }
}

fn split_lines(file: &File) {
    let mut reader = LineReader::new();
    let mut chunks = file.gzip.chunks(CHUNK_BYTES);
    loop {
        match reader.next_line() {
            Line::Whole(line) => {
                black_box(line);
            }
            Line::NeedsInput => match chunks.next() {
                Some(chunk) => reader.push(chunk.to_vec()),
                None => reader.finish(),
            },
            Line::End => return,
            other => panic!("{other:?}"),
        }
    }
}

/// Collects the file `files` times in one session, as a batch each time. Returns what that costs.
fn poll_all(file: &File, files: u32) -> std::time::Duration {
    let settings = json!({
        "client_id": "id", "client_secret": "secret", "format": "ecs",
        "base_url": "https://api.example.test", "streams": [file.stream.name()],
    });
    let settings = Settings::parse(&settings.to_string()).unwrap();
    let mut session = Session::open(settings, None, NOW, 1).unwrap();
    let mut upstream = Upstream {
        file,
        listing: listing(files),
        remaining_chunks: None,
    };
    measure_cpu_time(|| {
        for _ in 0..files {
            let batch = poll(&mut session, &mut upstream);
            assert_eq!(batch.index.len(), RECORDS_PER_FILE);
        }
    })
}

fn poll(session: &mut Session, upstream: &mut Upstream<'_>) -> Batch {
    let limits = Limits {
        max_events: u32::try_from(RECORDS_PER_FILE).unwrap(),
        max_bytes: 1 << 30,
        max_requests: 10,
    };
    session.begin(limits, NOW);
    loop {
        match session.next(NOW) {
            Action::Continue => {}
            Action::Send(request) => session.handle_head(upstream.respond(&request.url), NOW),
            Action::Read => match upstream.read() {
                Some(chunk) => session.handle_chunk(chunk, NOW),
                None => session.handle_end(NOW),
            },
            Action::Yield(result) => return result.unwrap(),
        }
    }
}

/// Answers from memory.
struct Upstream<'a> {
    file: &'a File,
    listing: Vec<u8>,
    remaining_chunks: Option<Vec<Vec<u8>>>,
}

impl Upstream<'_> {
    fn respond(&mut self, url: &str) -> Head {
        let body = if url.ends_with("/oauth/token") {
            br#"{"access_token":"token","expires_in":1799}"#.as_slice()
        } else if url.contains("/siem/v1/batch/") {
            &self.listing
        } else {
            &self.file.gzip
        };
        self.remaining_chunks = Some(body.rchunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect());
        Head {
            status: 200,
            headers: Vec::new(),
        }
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        self.remaining_chunks.as_mut().and_then(Vec::pop)
    }
}

fn listing(files: u32) -> Vec<u8> {
    let file = |number| json!({ "url": format!("https://storage.example.test/{number}.json.gz") });
    let files: Vec<Value> = (0..files).map(file).collect();
    json!({ "value": files, "@nextPage": "token", "isCaughtUp": true })
        .to_string()
        .into_bytes()
}
