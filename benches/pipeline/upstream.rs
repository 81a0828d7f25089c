//! The upstream: files of 2,000 receipts and processing records, 820 bytes each on average.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use flate2::read::GzDecoder;
use mimecast_simulator::{Config, EventType, Generate, Simulator};
use mimecast_source::stream::Stream;
use serde_json::{Value, json};

/// The argument by which this program becomes the upstream of another copy of itself.
pub(crate) const SERVE: &str = "serve";

/// Records in a file.
pub(crate) const RECORDS_PER_FILE: usize = 2000;

/// Plain records in the usual form, ready before the first request.
pub(crate) fn config(files: u32) -> Config {
    Config {
        types: vec![EventType::Receipt, EventType::Process],
        pages: 1,
        files_per_page: files,
        records_per_file: u32::try_from(RECORDS_PER_FILE).unwrap(),
        audit_events: 0,
        batch_quota_calls: u32::MAX,
        odd_shapes: false,
        files_listed_twice: false,
        generate: Generate::AtStart,
        ..Config::default()
    }
}

/// Serves until standard input ends; prints what a client must know on standard output.
#[expect(
    clippy::print_stdout,
    reason = "the other copy of this program reads it"
)]
pub(crate) fn serve(files: u32) {
    let simulator = runtime().block_on(Simulator::start(config(files))).unwrap();
    println!("{}", connection_details(&simulator));
    let mut ignored = Vec::new();
    std::io::stdin().read_to_end(&mut ignored).unwrap();
}

/// Starts another copy of this program as the upstream, with so many files. Returns what a client must know as
/// well. It serves until its standard input is closed.
pub(crate) fn start(files: u32) -> (Child, Value) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([SERVE, &files.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

/// What a client of the simulator must know.
pub(crate) fn connection_details(simulator: &Simulator) -> Value {
    json!({
        "api": simulator.api_url(),
        "storage": simulator.storage_url(),
        "client_id": simulator.client_id(),
        "client_secret": simulator.client_secret(),
    })
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// The streams of the records.
pub(crate) const STREAMS: [Stream; 2] = [Stream::SiemReceipt, Stream::SiemProcess];

/// Writes the settings file of a run that collects these streams.
pub(crate) fn write_settings(
    connection_details: &Value,
    streams: &[Stream],
    directory: &Path,
) -> PathBuf {
    let streams: Vec<&str> = streams.iter().map(|stream| stream.name()).collect();
    let text = format!(
        "[[source]]\nname = \"bench\"\nallow = [{api}, {storage}]\n\
         [source.settings]\nbase_url = {api}\nclient_id = {id}\nclient_secret = {secret}\n\
         streams = {streams:?}\nformat = \"ecs\"\nstart = \"25h\"\n\
         siem_calls_per_15_min = 1000000\n\
         [[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n",
        api = connection_details["api"],
        storage = connection_details["storage"],
        id = connection_details["client_id"],
        secret = connection_details["client_secret"],
    );
    let path = directory.join("bench.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// One batch file as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) stream: Stream,
    pub(crate) gzip: Vec<u8>,
    pub(crate) text: Vec<u8>,
}

impl File {
    /// The first file of a stream, fetched as a client would.
    pub(crate) fn fetch(stream: Stream) -> Self {
        let simulator = runtime().block_on(Simulator::start(config(1))).unwrap();
        let api = simulator.api_url();
        let form = format!(
            "client_id={}&client_secret={}&grant_type=client_credentials",
            simulator.client_id(),
            simulator.client_secret()
        );
        let form_head = format!(
            "content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
            form.len()
        );
        let token: Value = json_of(&exchange(
            "POST",
            &format!("{api}/oauth/token"),
            &form_head,
            &form,
        ));
        let bearer = format!(
            "authorization: Bearer {}\r\n",
            token["access_token"].as_str().unwrap()
        );
        let kind = stream.name().trim_start_matches("siem.");
        let listing = format!("{api}/siem/v1/batch/events/cg?type={kind}&pageSize=1");
        let listing = json_of(&exchange("GET", &listing, &bearer, ""));
        let gzip = exchange("GET", listing["value"][0]["url"].as_str().unwrap(), "", "");
        let mut text = Vec::new();
        GzDecoder::new(gzip.as_slice())
            .read_to_end(&mut text)
            .unwrap();
        Self { stream, gzip, text }
    }
}

/// One request on a connection of its own. Returns the body.
fn exchange(method: &str, url: &str, head: &str, body: &str) -> Vec<u8> {
    let (authority, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .unwrap();
    let mut stream = TcpStream::connect(authority).unwrap();
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n{head}\r\n{body}"
    )
    .unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    let end = memchr::memmem::find(&response, b"\r\n\r\n").unwrap();
    assert!(
        response.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&response)
    );
    response.split_off(end.saturating_add(4))
}

fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}
